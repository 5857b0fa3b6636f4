//! Services on NATS. `cmtp-spec/spec/11-nats.md`.

mod audit;
mod keys;
mod layered;
mod plain;
mod replies;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::header::HeaderMap;
use async_nats::{
    Client, ConnectOptions, Event, Message, PublishErrorKind, StatusCode, Subscriber,
};
pub(crate) use async_nats::{ConnectError, SubscribeError};
use bytes::Bytes;
use cmtp_client::bus;
use cmtp_spec::Status;
use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::config;
use crate::metrics::BusMetrics;
use crate::nats::keys::Keys;
use crate::nats::replies::Replies;
use crate::node::NodeError;
use crate::node_keys::NodeKeys;
use crate::refusal::Refusal;

pub(crate) use self::audit::AuditStream;
pub(crate) use self::layered::Layered;
pub(crate) use self::plain::Plain;

/// The node's connection to NATS. Clones share it.
///
/// It mends itself; while it is down, requests are refused with 503.
#[derive(Clone)]
pub(crate) struct Bus {
    client: Client,
    replies: Arc<Replies>,
    keys: Arc<Keys>,
    metrics: BusMetrics,
    /// Changes when a connection is lost or made.
    link: watch::Receiver<()>,
    _running: Arc<[AbortOnDropHandle<()>; 2]>,
}

impl Bus {
    /// Connects, where there is a bus.
    pub(crate) async fn open(
        configured: &config::Bus,
        node_keys: &Arc<NodeKeys>,
        metrics: BusMetrics,
    ) -> Result<Option<Self>, NodeError> {
        let config::Bus::Nats(url) = configured else { return Ok(None) };
        let failed = |source| NodeError::Bus { url: configured.to_string(), source };
        let keys = Keys::new(Arc::clone(node_keys)).map_err(|_unspecified| NodeError::NoEntropy)?;
        let keys = Arc::new(keys);
        let prefix = bus::inbox_prefix();
        let replies = Arc::new(Replies::new(&prefix, metrics.clone()));
        let (linked, link) = watch::channel(());
        let options = options(&prefix, Arc::clone(&replies), linked);
        let client = bus::connect_with(url, options).await.map_err(failed)?;
        let unsubscribed = |source| NodeError::Inbox { url: configured.to_string(), source };
        let received = client.subscribe(replies.subject()).await.map_err(unsubscribed)?;
        let asks = client.subscribe(keys.subject()).await.map_err(unsubscribed)?;
        let receiving = tokio::spawn(receive(received, Arc::clone(&replies)));
        let giving = tokio::spawn(keys::give(
            Arc::clone(&keys),
            client.clone(),
            asks,
            metrics.refused_asks.clone(),
        ));
        let running = Arc::new([receiving, giving].map(AbortOnDropHandle::new));
        Ok(Some(Self { client, replies, keys, metrics, link, _running: running }))
    }

    /// Gives services this list from now on.
    pub(crate) fn renew(&self, keys: Arc<NodeKeys>) {
        self.keys.renew(keys);
    }

    /// Publishes a request, and waits for its reply without an end: that is the caller's to set.
    ///
    /// Dropped, it gives the place of its reply back, and a reply that comes afterwards is counted and dropped.
    async fn request(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Message, Unanswered> {
        if self.client.connection_state() != State::Connected {
            return Err(Unanswered::Down);
        }
        let mut waiting = self.replies.begin().ok_or(Unanswered::Full)?;
        {
            // The client gathers what is published at a time into one write.
            let (subject, reply) = (subject.to_owned(), waiting.subject());
            let mut publishing = pin!(async {
                if headers.is_empty() {
                    self.client.publish_with_reply(subject, reply, payload).await
                } else {
                    let publishing = self
                        .client
                        .publish_with_reply_and_headers(subject, reply, headers, payload);
                    publishing.await
                }
            });
            // Where the client takes no more, because the bus went down, this one was not sent.
            tokio::select! {
                biased;
                published = &mut publishing => published.map_err(Unanswered::from)?,
                _lost = &mut waiting.reply => return Err(Unanswered::Down),
            }
        }
        let message = (&mut waiting.reply).await.map_err(|_lost| Unanswered::Lost)?;
        // [NAT-5] No responder is 503 at once.
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(Unanswered::NoResponders);
        }
        Ok(message)
    }
}

/// Why a request on the bus has no reply.
#[derive(Debug)]
enum Unanswered {
    /// The bus is not connected; it was not sent.
    Down,
    /// As many wait as may; it was not sent.
    Full,
    /// Larger than the bus takes; it was not sent.
    TooLarge,
    /// The client took offence; it was not sent.
    Unsent(async_nats::PublishError),
    /// Nobody listens on the subject.
    NoResponders,
    /// The bus was lost when it may have been sent.
    Lost,
}

impl Unanswered {
    /// What the caller is told of a request, or of a write.
    ///
    /// [NAT-18] A write that was not sent, or that nobody listened for, had no effect; else nobody knows.
    fn refusal(self, is_write: bool) -> Refusal {
        match self {
            Self::Down => unavailable("the bus is not connected").without_effect(),
            Self::Full => unavailable("too many requests wait for services").without_effect(),
            Self::TooLarge => {
                let detail = "the request is larger than the bus takes";
                Refusal::new(Status::BODY_TOO_LARGE, detail).without_effect()
            }
            Self::Unsent(error) => {
                tracing::warn!(%error, "a request could not be given to the bus");
                unavailable("the bus does not take the request").without_effect()
            }
            Self::NoResponders => unavailable("no service answers this target").without_effect(),
            // A caller that sent the same bytes again would be shown this answer.
            Self::Lost if is_write => Refusal::new(Status::BAD_SERVICE_ANSWER, LOST),
            Self::Lost => unavailable(LOST),
        }
    }
}

impl From<async_nats::PublishError> for Unanswered {
    fn from(error: async_nats::PublishError) -> Self {
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => Self::TooLarge,
            PublishErrorKind::InvalidSubject | PublishErrorKind::Send => Self::Unsent(error),
        }
    }
}

async fn receive(mut received: Subscriber, replies: Arc<Replies>) {
    while let Some(message) = received.next().await {
        replies.deliver(message);
    }
}

/// The client tells `replies` when the bus is lost, and `link` when it is lost or back.
fn options(prefix: &str, replies: Arc<Replies>, link: watch::Sender<()>) -> ConnectOptions {
    ConnectOptions::new()
        .name("cmtpd")
        .custom_inbox_prefix(prefix)
        .subscription_capacity(REPLIES_MAX)
        .ping_interval(PING_INTERVAL)
        .event_callback(move |event| {
            match event {
                Event::Disconnected => {
                    tracing::warn!("the bus is lost: what goes to it is refused until it is back");
                    // What was asked on a connection that is gone has no reply to come.
                    replies.lose();
                    link.send_replace(());
                }
                Event::Connected => {
                    tracing::info!("the bus is connected");
                    link.send_replace(());
                }
                _ => {}
            }
            async {}
        })
}

/// A service that did not answer in time.
pub(crate) fn deadline_exceeded() -> Refusal {
    Refusal::new(Status::DEADLINE_EXCEEDED, "the service did not answer in time")
}

fn unavailable(detail: &str) -> Refusal {
    Refusal::new(Status::UNAVAILABLE, detail).after(RETRY_AFTER)
}

/// NATS micro: a refusal's status, and its text.
const ERROR_CODE: &str = "Nats-Service-Error-Code";
const ERROR_TEXT: &str = "Nats-Service-Error";
const LOST: &str = "the bus was lost while the service had the request";
/// A server that went away without a word is known after three of them, before `service-deadline` passed.
const PING_INTERVAL: Duration = Duration::from_secs(8);
/// Messages that a subscription may have unread before the next is lost: 16 for each request that can be waiting, so that
/// only a flood of replies that nobody asked for fills it. Room is made as they come.
const REPLIES_MAX: usize = 16 * cmtp_spec::limits::IN_FLIGHT_MAX as usize;
/// Seconds: about what a service takes to restart.
const RETRY_AFTER: u64 = 1;
