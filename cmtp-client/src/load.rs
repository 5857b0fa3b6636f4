//! Load on a node: many calls at a time, each verified, counted and timed.
//!
//! [`Load`] says what is called and for how long, [`Running`] is one that was started, and [`Report`] what came of it.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cmtp_codec::Fqmn;
use cmtp_spec::limits;
use tokio::task::JoinSet;

use crate::answer::Answer;
use crate::channel::Channel;
use crate::request::Request;

pub use crate::load_report::Report;

/// Calls to make for some time: so many slots, each with one call after the other.
///
/// ```no_run
/// # async fn example(channel: cmtp_client::Channel) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use cmtp_client::load::Load;
/// use cmtp_codec::Fqmn;
///
/// let load = Load::new(vec![Fqmn::parse("0xS:echo")?; 64]).size(256).lasts(Duration::from_secs(5));
/// let mut running = load.start(vec![channel])?;
/// running.ended().await?;
/// println!("{}", running.finish().await);
/// # Ok(())
/// # }
/// ```
pub struct Load {
    targets: Vec<Fqmn>,
    body: Bytes,
    span: Duration,
    signed: bool,
    verified: u64,
    keep: Option<Keep>,
}

/// Is told of each answer; what it fails with ends the load.
type Keep = Box<dyn Fn(&Answer, &Fqmn) -> io::Result<()> + Send + Sync>;

impl Load {
    /// Seconds that a load lasts at most: its first requests are good to its end and the grace, which no node lets be longer
    /// than `not-after-max`; a minute is left for clocks that differ.
    pub const SECONDS_MAX: u64 = limits::NOT_AFTER_MAX - 90;

    /// One slot for each target. Calls with an empty body, reads unsigned, for 5 seconds; every answer is verified.
    pub const fn new(targets: Vec<Fqmn>) -> Self {
        Self { targets, body: Bytes::new(), span: SPAN, signed: false, verified: 1, keep: None }
    }

    /// Sets how many bytes the body of each request has.
    #[must_use]
    pub fn size(mut self, bytes: usize) -> Self {
        self.body = vec![FILLER; bytes].into();
        self
    }

    /// Sets for how long new calls are made, at most [`Load::SECONDS_MAX`]. A call that is under way then is still sent again
    /// for up to 30 seconds, where its node was lost.
    #[must_use]
    pub const fn lasts(mut self, span: Duration) -> Self {
        self.span = span;
        self
    }

    /// Signs reads, too; a signature costs caller and node more than all else in a request.
    #[must_use]
    pub const fn signed(mut self) -> Self {
        self.signed = true;
        self
    }

    /// Verifies one answer in `every`, at least 1, of each slot; of the others, where they can be read to their end, only the
    /// status counts. To verify an answer costs about what it costs to make the request. All are verified where they are kept.
    #[must_use]
    pub const fn verify(mut self, every: u64) -> Self {
        self.verified = if every == 0 { 1 } else { every };
        self
    }

    /// Sets what is told of each answer, and of the target that gave it. An error of it ends the load.
    #[must_use]
    pub fn keep(
        mut self,
        keep: impl Fn(&Answer, &Fqmn) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.keep = Some(Box::new(keep));
        self
    }

    /// Starts all slots on the current runtime, spread over the channels in turn. Without a channel nothing is called.
    ///
    /// # Errors
    /// [`LoadError::Length`].
    pub fn start(self, channels: Vec<Channel>) -> Result<Running, LoadError> {
        let Self { targets, body, span, signed, verified, keep } = self;
        if span > Duration::from_secs(Self::SECONDS_MAX) {
            return Err(LoadError::Length);
        }
        let began = Instant::now();
        let until = began + span;
        let report = Mutex::new(Report::new());
        let verified = if keep.is_some() { 1 } else { verified };
        let shared = Arc::new(Shared { body, signed, verified, keep, until, report });
        let mut slots = JoinSet::new();
        for (target, channel) in targets.into_iter().zip(channels.iter().cycle()) {
            let (shared, channel) = (Arc::clone(&shared), channel.clone());
            slots.spawn(async move { shared.slot(&channel, target).await });
        }
        Ok(Running { shared, channels, began, slots })
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { targets, body, span, signed, verified, keep } = self;
        f.debug_struct("Load")
            .field("slots", &targets.len())
            .field("size", &body.len())
            .field("span", span)
            .field("signed", signed)
            .field("verified", verified)
            .field("keeps", &keep.is_some())
            .finish()
    }
}

/// A load that was started. Dropping it ends its calls.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    channels: Vec<Channel>,
    began: Instant,
    slots: JoinSet<io::Result<()>>,
}

impl Running {
    /// Waits until all slots ended. It may be dropped, and called again.
    ///
    /// # Errors
    /// [`LoadError`] where a slot ended early; the others go on.
    pub async fn ended(&mut self) -> Result<(), LoadError> {
        while let Some(slot) = self.slots.join_next().await {
            slot.map_err(|_panicked| LoadError::Slot)?.map_err(LoadError::Keep)?;
        }
        Ok(())
    }

    /// What was done so far.
    pub fn report(&self) -> Report {
        let reconnects = self.channels.iter().map(Channel::reconnects).sum();
        let resent = self.channels.iter().map(Channel::resent).sum();
        self.shared.report().clone().at(self.began.elapsed(), reconnects, resent)
    }

    /// Ends all calls and channels, and says what was done.
    pub async fn finish(mut self) -> Report {
        let report = self.report();
        self.slots.shutdown().await;
        for channel in &self.channels {
            channel.close().await;
        }
        report
    }
}

/// What all slots share.
struct Shared {
    body: Bytes,
    signed: bool,
    verified: u64,
    keep: Option<Keep>,
    /// When no new requests are made any more.
    until: Instant,
    report: Mutex<Report>,
}

impl Shared {
    /// One request after the other.
    async fn slot(&self, channel: &Channel, target: Fqmn) -> io::Result<()> {
        for number in 0.. {
            let began = Instant::now();
            if began >= self.until {
                break;
            }
            let request = self.request(&target, began);
            let answer = if number % self.verified == 0 {
                channel.call(request).await
            } else {
                match channel.glance(request).await {
                    Ok(seen) => {
                        self.report().take_seen(began.elapsed(), self.body.len() + seen.received);
                        continue;
                    }
                    Err(answer) => answer,
                }
            };
            self.report().take(began.elapsed(), self.body.len(), &answer);
            match (&answer, &self.keep) {
                (Ok(answer), Some(keep)) => keep(answer, &target)?,
                // Another attempt of the same kind would fail the same way, as fast as this machine can.
                (Err(error), _) if !error.is_retryable() => break,
                _ => {}
            }
        }
        Ok(())
    }

    fn request(&self, target: &Fqmn, now: Instant) -> Request {
        // Good until the end and the grace: so long the same bytes are sent again.
        let good_for = self.until.saturating_duration_since(now) + GRACE;
        let request = Request::new(target.clone()).body(self.body.clone()).valid_for(good_for);
        if self.signed { request } else { request.unsigned() }
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("until", &self.until).finish_non_exhaustive()
    }
}

/// Why a load did not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It is to last longer than a request may be good for.
    #[error("a load lasts at most {} seconds", Load::SECONDS_MAX)]
    Length,
    /// An answer could not be kept.
    #[error("an answer could not be kept: {0}")]
    Keep(#[source] io::Error),
    /// A slot panicked, which is a bug.
    #[error("a slot ended early")]
    Slot,
}

/// The byte that bodies are made of.
const FILLER: u8 = b'x';
const SPAN: Duration = Duration::from_secs(5);
/// How long after the end a request that is under way is still sent again.
const GRACE: Duration = Duration::from_secs(30);

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use cmtp_codec::Digest;
    use cmtp_spec::binding;
    use serde_json::json;

    use super::*;
    use crate::client::{Client, ClientConfig};
    use crate::identity::Identity;
    use crate::testing::{FakeNode, NODE, Sample};
    use crate::trust::Trust;

    fn channel(node: &FakeNode) -> Channel {
        let identity = Arc::new(Identity::from_seed(&[2; 32]).unwrap());
        let client = Client::new(ClientConfig::new(identity)).unwrap();
        Channel::new(client, "127.0.0.1", node.address().port(), Trust::FirstUse)
    }

    fn load(slots: usize) -> Load {
        Load::new(vec![Fqmn::parse("0xS:echo").unwrap(); slots]).size(5)
    }

    #[tokio::test]
    async fn slots_are_spread_over_the_channels_and_every_answer_is_kept() {
        let nodes = [FakeNode::listen(NODE, binding::ALPN), FakeNode::listen(NODE, binding::ALPN)];
        let kept = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&kept);
        // The third answer can't be kept, and ends the load.
        let load = load(4).keep(move |_answer, target| {
            assert_eq!(target.target(), "0xS:echo");
            match counter.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => Ok(()),
                _ => Err(io::ErrorKind::StorageFull.into()),
            }
        });
        let mut running = load.start(nodes.iter().map(channel).collect()).unwrap();
        let script = async |node: &FakeNode| {
            let (peer, control) = node.greet().await;
            let sample = peer.answer();
            for _ in 0..2 {
                peer.request().await.answer(&sample).await;
            }
            (peer, control)
        };
        let scripts = async { tokio::join!(script(&nodes[0]), script(&nodes[1])) };
        let (ended, _open) = tokio::join!(running.ended(), scripts);
        assert!(matches!(ended, Err(LoadError::Keep(_))), "{ended:?}");
        assert!(kept.load(Ordering::SeqCst) >= 3);
        let report = running.finish().await;
        assert!(report.is_clean(), "{report}");
        let json = report.to_json();
        assert!(json["requests"].as_u64().unwrap() >= 3, "{json}");
        assert_eq!(json["reconnects"], 0);
    }

    #[tokio::test]
    async fn of_answers_that_are_not_verified_only_the_status_counts() {
        let node = FakeNode::listen(NODE, binding::ALPN);
        let mut running = load(1).verify(2).start(vec![channel(&node)]).unwrap();
        let script = async {
            let (peer, control) = node.greet().await;
            let good = peer.answer();
            // One that was made for another connection: no client takes it for an answer.
            let foreign = Sample { exporter: Digest([1; 32]), ..good.clone() };
            for sample in [&good, &foreign, &good, &foreign, &foreign] {
                peer.request().await.answer(sample).await;
            }
            (peer, control)
        };
        let (ended, _open) = tokio::join!(running.ended(), script);
        ended.unwrap();
        let json = running.finish().await.to_json();
        assert_eq!((&json["requests"], &json["errors"]), (&5.into(), &json!({ "invalid": 1 })));
    }

    #[tokio::test]
    async fn a_load_that_no_request_would_outlive_is_refused() {
        let load = load(1).lasts(Duration::from_secs(Load::SECONDS_MAX + 1));
        assert!(matches!(load.start(Vec::new()), Err(LoadError::Length)));
    }
}
