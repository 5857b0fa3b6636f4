//! An answer on its way out, to a client that may not take it. `cmtp-spec/spec/15-limits.md`.

use std::time::Duration;

use bytes::Bytes;
use cmtp_spec::CloseCode;
use quinn::{SendStream, VarInt};
use tokio::time::timeout;

use crate::exchange::code;
use crate::incoming::Fault;

/// Writes an answer, or a piece of a streamed one, within `answer_timeout`.
///
/// # Errors
/// [`Fault::Timeout`] after the stream was reset; [`Fault::Gone`].
pub(crate) async fn write(
    send: &mut SendStream,
    bytes: Bytes,
    answer_timeout: Duration,
) -> Result<(), Fault> {
    match timeout(answer_timeout, send.write_chunk(bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_stopped_or_lost)) => Err(Fault::Gone),
        Err(_elapsed) => Err(give_up(send)),
    }
}

/// Waits until the client has all of a finished answer: until then QUIC keeps the rest in memory.
///
/// # Errors
/// As [`write`].
pub(crate) async fn taken(send: &mut SendStream, answer_timeout: Duration) -> Result<(), Fault> {
    match timeout(answer_timeout, send.stopped()).await {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(_)) | Err(_)) => Err(Fault::Gone),
        Err(_elapsed) => Err(give_up(send)),
    }
}

/// [LIM-5] A node MUST reset the stream of an answer that its client does not take within `answer-timeout`.
fn give_up(send: &mut SendStream) -> Fault {
    // If the client closed it meanwhile there is nobody to tell.
    let _closed = send.reset(VarInt::from(code(CloseCode::TIMEOUT)));
    Fault::Timeout
}
