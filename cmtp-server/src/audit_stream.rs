//! `0xE:audit`: the journal's entries as they become durable. `cmtp-spec/spec/19-audit-stream.md`.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use cmtp_codec::Entry;
use cmtp_spec::{BusAuth, EntryType, Opcode, Status, limits};
use data_encoding::BASE64;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until};

use crate::journal::{EntryBytes, Follower};
use crate::refusal::Refusal;
use crate::service::{Call, Reply, Segments, Service, arguments, number};

/// Streams entries, each as a line. Argument: the index of the first; without it those that come from now on.
#[derive(Clone, Debug)]
pub(crate) struct Audit(Follower);

impl Audit {
    pub(crate) const fn new(follower: Follower) -> Self {
        Self(follower)
    }

    fn lines(&self, args: Option<&str>) -> Result<Segments, Refusal> {
        let there = self.0.durable();
        let from = number(&arguments(args)?, 0)?.unwrap_or(there);
        if from > there {
            let detail = format!("entry {from} is not there: the next is {there}");
            return Err(Refusal::new(Status::NOT_FOUND, detail));
        }
        let tail = Tail {
            follower: self.0.clone(),
            next: from,
            due: from,
            seen: from,
            // The first look waits for nothing.
            looked: Instant::now().checked_sub(INTERVAL).unwrap_or_else(Instant::now),
        };
        Ok(futures::stream::unfold(tail, Tail::lines).boxed())
    }
}

impl Service for Audit {
    fn call<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>> {
        let reply = self.lines(call.args()).map(Reply::lines);
        async { reply }.boxed()
    }

    fn bus_auth(&self) -> BusAuth {
        BusAuth::LOCAL
    }
}

/// How far a stream is: `next` ≤ `due` ≤ `seen`.
struct Tail {
    follower: Follower,
    /// The entry that is sent next.
    next: u64,
    /// Those below it are to be sent at once.
    due: u64,
    /// Those below it were looked at: what of them is not due are segments of streams like this.
    seen: u64,
    looked: Instant,
}

impl Tail {
    /// The next lines; `None` once the journal is closed.
    async fn lines(mut self) -> Option<(Result<Bytes, Refusal>, Self)> {
        while self.next >= self.due {
            if let Err(error) = self.look().await? {
                return Some((Err(unreadable(&error)), self));
            }
        }
        match read(&self.follower, self.next, self.due).await {
            Ok(entries) => {
                let text = text(self.next, &entries);
                self.next += entries.len() as u64;
                Some((Ok(text.into()), self))
            }
            Err(error) => Some((Err(unreadable(&error)), self)),
        }
    }

    /// Waits for entries, and finds out whether one of them is worth a segment.
    async fn look(&mut self) -> Option<io::Result<()>> {
        self.follower.beyond(self.seen).await?;
        // [AUS-8] Not for more until `audit-interval-ms` after it last did.
        sleep_until(self.looked + INTERVAL).await;
        self.looked = Instant::now();
        // [AUS-6] Only what is durable.
        let durable = self.follower.durable();
        while self.seen < durable {
            match read(&self.follower, self.seen, durable).await {
                // [AUS-7] Not for the sake of `segment` entries with opcode 0xE; they go with the next of another kind.
                Ok(entries) if entries.iter().any(|entry| !is_own(entry)) => {
                    (self.due, self.seen) = (durable, durable);
                }
                Ok(entries) => self.seen += entries.len() as u64,
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(()))
    }
}

/// Some entries from `from` on, one at least, none from `end` on.
async fn read(follower: &Follower, from: u64, end: u64) -> io::Result<Vec<EntryBytes>> {
    let max = usize::try_from(end - from).unwrap_or(LINES).min(LINES);
    let entries = follower.read(from, max).await?;
    // Else whoever asks again and again would never rest.
    if entries.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(entries) }
}

/// Whether it is a segment of a stream of events, of which this is one.
fn is_own(entry: &EntryBytes) -> bool {
    Entry::from_bytes(entry)
        .is_some_and(|it| it.entry_type == EntryType::SEGMENT && it.opcode == Opcode::E)
}

fn text(first: u64, entries: &[EntryBytes]) -> String {
    let mut text = String::with_capacity(entries.len() * LINE);
    for (index, entry) in (first..).zip(entries) {
        // Writing to a string does not fail.
        let _written = writeln!(text, "{index} {}", BASE64.encode_display(entry));
    }
    text
}

fn unreadable(error: &io::Error) -> Refusal {
    tracing::error!(%error, "the journal can't be read for an audit stream");
    Refusal::new(Status::INTERNAL_ERROR, "the journal can't be read")
}

/// Lines at a time: about what a segment holds.
const LINES: usize = 512;
/// Bytes of one: 20 digits, base64 of 68 bytes, space and line feed.
const LINE: usize = 114;
const INTERVAL: Duration = Duration::from_millis(limits::AUDIT_INTERVAL_MS);
