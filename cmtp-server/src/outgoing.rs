//! An answer on its way out, to a client that may not take it. `cmtp-spec/spec/15-limits.md`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cmtp_spec::CloseCode;
use futures::FutureExt;
use quinn::{SendStream, VarInt};
use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

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

/// Finished answers of a connection that its client may not have all of yet: until then QUIC keeps the rest in memory.
///
/// Nobody waits for each: they are looked through when there are twice as many as were left the last time, and at times.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    answers: Vec<Sent>,
    /// So many were left when they were last looked through.
    left: usize,
    /// Exchanges that go on.
    expected: usize,
}

#[derive(Debug)]
struct Sent {
    stream: SendStream,
    at: Instant,
    /// An exchange is over when the client has the answer: a node that drains waits for that, not for having sent it.
    _exchange: TaskTrackerToken,
}

/// How many answers came to an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) taken: u64,
    /// Not taken: stopped, too slow, or the connection is over.
    pub(crate) lost: u64,
}

impl Outbox {
    /// Takes a finished stream, and looks through the others where there are many.
    pub(crate) fn put(
        &self,
        stream: SendStream,
        exchange: TaskTrackerToken,
        answer_timeout: Duration,
    ) -> Ended {
        let at = Instant::now();
        let mut waiting = self.waiting();
        waiting.expected = waiting.expected.saturating_sub(1);
        waiting.answers.push(Sent { stream, at, _exchange: exchange });
        if waiting.answers.len() < FEW.max(2 * waiting.left) {
            return Ended::default();
        }
        waiting.look_through(at, answer_timeout)
    }

    /// Looks through all; whether more may come is given back, too.
    pub(crate) fn look_through(&self, answer_timeout: Duration) -> (Ended, bool) {
        let mut waiting = self.waiting();
        let ended = waiting.look_through(Instant::now(), answer_timeout);
        (ended, waiting.expected > 0 || !waiting.answers.is_empty())
    }

    /// An exchange began.
    pub(crate) fn begin(&self) {
        self.waiting().expected += 1;
    }

    /// It ended without an answer.
    pub(crate) fn end(&self) {
        let mut waiting = self.waiting();
        waiting.expected = waiting.expected.saturating_sub(1);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Each answer is looked at by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn look_through(&mut self, now: Instant, answer_timeout: Duration) -> Ended {
        let mut ended = Ended::default();
        self.answers.retain_mut(|Sent { stream, at, .. }| {
            match stream.stopped().now_or_never() {
                Some(Ok(None)) => ended.taken += 1,
                Some(Ok(Some(_)) | Err(_)) => ended.lost += 1,
                None if now.duration_since(*at) < answer_timeout => return true,
                None => {
                    give_up(stream);
                    ended.lost += 1;
                }
            }
            false
        });
        self.left = self.answers.len();
        ended
    }
}

/// [LIM-5] A node MUST reset the stream of an answer that its client does not take within `answer-timeout`.
fn give_up(send: &mut SendStream) -> Fault {
    // If the client closed it meanwhile there is nobody to tell.
    let _closed = send.reset(VarInt::from(code(CloseCode::TIMEOUT)));
    Fault::Timeout
}

/// So many answers are left alone: about as many as are on their way to a busy client.
const FEW: usize = 128;
