//! The type that a unidirectional stream begins with: `cmtp-spec/spec/09-quic.md`, "Streams". Both ends read it so.

use cmtp_codec::{DecodeErrorKind, varint};
use cmtp_spec::StreamType;
use quinn::{ReadError, RecvStream};

/// Reads the type, and not a byte more.
///
/// # Errors
/// [`StreamTypeError`]; the stream can't be read on after it.
pub async fn read_stream_type(stream: &mut RecvStream) -> Result<StreamType, StreamTypeError> {
    let mut bytes = Vec::with_capacity(1);
    loop {
        let chunk = stream.read_chunk(1, true).await?.ok_or(StreamTypeError::Ended)?;
        bytes.extend_from_slice(&chunk.bytes);
        match varint::read(&bytes) {
            varint::Read::Value(value, _) => return Ok(StreamType(value)),
            varint::Read::Incomplete => {}
            // [CNV-1] A receiver MUST treat a longer form than the shortest as malformed.
            varint::Read::NotMinimal => {
                return Err(StreamTypeError::Malformed(DecodeErrorKind::NotMinimal));
            }
        }
    }
}

/// Why a unidirectional stream has no type.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamTypeError {
    /// It begins with bytes that are no varint.
    #[error("the type of a stream: {0}")]
    Malformed(DecodeErrorKind),
    /// It ended before its type was whole.
    #[error("a stream ended before its type was whole")]
    Ended,
    /// It was reset, or the connection was lost.
    #[error("the type of a stream: {0}")]
    Read(#[from] ReadError),
}
