//! The journal's entries on JetStream. `cmtp-spec/spec/19-audit-stream.md`.

use std::io;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{CreateStreamError, GetStreamError, PublishError};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{
    self, LastRawMessageError, LastRawMessageErrorKind, StorageType,
};
use async_nats::jetstream::{self, Context, ErrorCode};
use bytes::Bytes;
use cmtp_codec::log::log_origin;
use cmtp_codec::{Entry, PublicKey};
use cmtp_spec::{binding, limits};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::config::AuditSettings;
use crate::journal::{EntryBytes, Follower};
use crate::metrics::AuditMetrics;
use crate::nats::Bus;

/// Publishes the journal's durable entries, each once and in their order, as long as it runs.
///
/// One message is on its way at a time: it takes what came meanwhile, up to 512 entries, so that a server that is ten
/// milliseconds away keeps up with 50,000 entries a second.
pub(crate) struct AuditStream {
    follower: Follower,
    context: Context,
    /// Changes when a connection is lost or made.
    link: watch::Receiver<()>,
    name: String,
    subject: String,
    log_origin: String,
    settings: AuditSettings,
    metrics: AuditMetrics,
    /// Where it was last, for a stream that was emptied since.
    last: End,
}

/// How far the stream goes.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// Of the last message; 0 where there is none.
    sequence: u64,
    /// The entry that comes next.
    next: u64,
}

impl AuditStream {
    pub(crate) fn new(
        bus: &Bus,
        follower: Follower,
        (node, log): (&PublicKey, u32),
        settings: AuditSettings,
        metrics: AuditMetrics,
    ) -> Self {
        let name = node.multibase();
        Self {
            follower,
            context: jetstream::new(bus.client.clone()),
            link: bus.link.clone(),
            name: format!("{}{name}", binding::AUDIT_STREAM_PREFIX),
            subject: format!("{}{name}", binding::AUDIT_SUBJECT_PREFIX),
            log_origin: log_origin(node, log),
            settings,
            metrics,
            last: End::default(),
        }
    }

    /// Publishes until the journal is closed; what keeps it from that is said once, and tried again.
    pub(crate) async fn run(mut self) {
        let mut said = None;
        loop {
            let mut link = self.link.clone();
            link.mark_unchanged();
            let halt = tokio::select! {
                // [AUS-3] A node whose connection was lost reads the last message.
                _changed = link.changed() => Halt::Link,
                halt = self.follow(&mut said) => halt,
            };
            match halt {
                Halt::Closed => return,
                Halt::Link | Halt::Duplicate => {}
                halt => self.say(&halt, &mut said),
            }
            sleep(RETRY).await;
        }
    }

    fn say(&self, halt: &Halt, said: &mut Option<String>) {
        let (stream, text) = (self.name.as_str(), halt.to_string());
        if said.as_ref() == Some(&text) {
            return;
        }
        match halt {
            Halt::Ahead { .. } | Halt::Foreign { .. } => tracing::error!("stream {stream}: {text}"),
            _ => tracing::warn!("entries wait for the stream {stream}: {text}"),
        }
        *said = Some(text);
    }

    /// Publishes until something is in the way.
    async fn follow(&mut self, said: &mut Option<String>) -> Halt {
        if self.context.client().connection_state() != State::Connected {
            return Halt::Link;
        }
        let mut end = match self.find_end().await {
            Ok(end) => end,
            Err(halt) => return halt,
        };
        if said.take().is_some() {
            tracing::info!("entries go to the stream {} again, from {}", self.name, end.next);
        }
        loop {
            self.metrics.reached(end.next);
            self.last = end;
            let Some(pending) = self.follower.beyond(end.next).await else { return Halt::Closed };
            if pending - end.next < limits::AUDIT_MESSAGE_ENTRIES {
                sleep(GATHER).await;
            }
            end = match self.publish(end).await {
                Ok(end) => end,
                Err(halt) => return halt,
            };
        }
    }

    /// [AUS-3] Reads the last message of the subject, to go on behind it.
    async fn find_end(&self) -> Result<End, Halt> {
        let stream = self.context.get_stream_no_info(&self.name).await?;
        let last = match stream.get_last_raw_message_by_subject(&self.subject).await {
            Ok(last) => last,
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => return self.end_of_emptied().await,
                LastRawMessageErrorKind::JetStream(why)
                    if why.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    // [AUS-5] Makes the stream where there is none; one that is there stays as it is.
                    self.context.create_stream(self.config()).await?;
                    return Ok(End::default());
                }
                _ => return Err(error.into()),
            },
        };
        let sequence = last.sequence;
        let foreign = Halt::Foreign { sequence };
        let Some((first, payload)) = entries(&last) else { return Err(foreign) };
        let count = payload.len();
        let next = first.checked_add(count as u64).ok_or(Halt::Foreign { sequence })?;
        let durable = self.follower.durable();
        // [AUS-4] Not where the last message is not of consecutive entries of its own journal.
        if next > durable {
            return Err(Halt::Ahead { next, durable });
        }
        if self.read(first, count).await? != payload {
            return Err(foreign);
        }
        Ok(End { sequence, next })
    }

    /// The end of a stream that discarded all it had: where this node left it, if it was this stream.
    async fn end_of_emptied(&self) -> Result<End, Halt> {
        let stream = self.context.get_stream(&self.name).await?;
        let is_same = stream.cached_info().state.last_sequence >= self.last.sequence;
        Ok(End { sequence: 0, next: if is_same { self.last.next } else { 0 } })
    }

    /// Publishes the next message, behind `end`, and says where the stream ends then.
    async fn publish(&self, end: End) -> Result<End, Halt> {
        // [AUS-1] Nothing before it is durable.
        let entries = self.read(end.next, MESSAGE).await?;
        let (first, count) = (end.next, entries.len() as u64);
        // [AUS-2] Every publish carries the four headers.
        let message = PublishMessage::build()
            .header(binding::AUDIT_INDEX_HEADER, first.to_string())
            .message_id(format!("{}@{first}", self.log_origin))
            .expected_stream(&self.name)
            .expected_last_subject_sequence(end.sequence)
            .payload(Bytes::from(entries.concat()));
        let ack = self.context.send_publish(self.subject.clone(), message).await?.await?;
        if ack.duplicate {
            return Err(Halt::Duplicate);
        }
        self.metrics.published(count);
        Ok(End { sequence: ack.sequence, next: first + count })
    }

    /// So many entries, or fewer where there are no more yet; one at least.
    async fn read(&self, from: u64, count: usize) -> Result<Vec<EntryBytes>, Halt> {
        let mut entries = self.follower.read(from, count).await?;
        while entries.len() < count {
            let more = from + entries.len() as u64;
            match self.follower.read(more, count - entries.len()).await? {
                none if none.is_empty() => break,
                more => entries.extend(more),
            }
        }
        if entries.is_empty() {
            Err(Halt::Journal(io::ErrorKind::NotFound.into()))
        } else {
            Ok(entries)
        }
    }

    fn config(&self) -> stream::Config {
        let limit = |value: Option<u64>| value.map(|it| i64::try_from(it).unwrap_or(i64::MAX));
        let days = self.settings.stream_max_days.unwrap_or_default();
        stream::Config {
            name: self.name.clone(),
            description: Some(format!("entries of {}", self.log_origin)),
            subjects: vec![self.subject.clone()],
            storage: StorageType::File,
            max_bytes: limit(self.settings.stream_max_bytes).unwrap_or(-1),
            max_age: Duration::from_secs(days.saturating_mul(DAY)),
            allow_direct: true,
            ..stream::Config::default()
        }
    }
}

/// First index and entries of a message of the stream; `None` for any other.
fn entries(message: &StreamMessage) -> Option<(u64, Vec<EntryBytes>)> {
    let index = message.headers.get(binding::AUDIT_INDEX_HEADER)?.as_str();
    let first: u64 = index.parse().ok().filter(|first: &u64| first.to_string() == index)?;
    let (entries, rest) = message.payload.as_chunks::<{ Entry::LENGTH }>();
    let is_whole = rest.is_empty() && (1..=MESSAGE).contains(&entries.len());
    is_whole.then(|| (first, entries.to_vec()))
}

/// Why nothing is published for now.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error("the journal is closed")]
    Closed,
    #[error("the bus was lost")]
    Link,
    #[error("a message was there already")]
    Duplicate,
    #[error("{0}; is a nats-server with JetStream (-js) on the bus?")]
    Last(#[from] LastRawMessageError),
    #[error("{0}; is a nats-server with JetStream (-js) on the bus?")]
    Find(#[from] GetStreamError),
    #[error("the stream can't be made: {0}")]
    Create(#[from] CreateStreamError),
    #[error("{0}")]
    Publish(#[from] PublishError),
    #[error("the journal can't be read: {0}")]
    Journal(#[from] io::Error),
    #[error(
        "the stream has {next} entries and the journal {durable}: this node runs on a restored backup, or on another's key; nothing is published until the stream is removed or the newer journal is back"
    )]
    Ahead { next: u64, durable: u64 },
    #[error(
        "the stream's last message ({sequence}) is not of this journal: somebody else wrote it, or this node runs on a restored backup; nothing is published until the message or the stream is removed"
    )]
    Foreign { sequence: u64 },
}

const MESSAGE: usize = limits::AUDIT_MESSAGE_ENTRIES as usize;
/// Fifty messages a second at most, unless they are full: a message costs the server much more than an entry.
const GATHER: Duration = Duration::from_millis(20);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(500);
/// Seconds.
const DAY: u64 = 24 * 60 * 60;
