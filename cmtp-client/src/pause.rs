//! When a request is sent again, and after how long: `cmtp-spec/spec/08-statuses.md`, `cmtp-spec/spec/09-quic.md`.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use cmtp_spec::Retry;

use crate::answer::Answer;
use crate::call::CallError;

/// How long to wait before the next attempt.
#[derive(Debug)]
pub(crate) struct Pause {
    backoff: ExponentialBackoff,
    hurried: bool,
}

impl Pause {
    pub(crate) fn new() -> Self {
        let backoff = ExponentialBuilder::new()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter()
            .without_max_times();
        Self { backoff: backoff.build(), hurried: false }
    }

    pub(crate) fn next(&mut self) -> Option<Duration> {
        self.backoff.next()
    }

    /// `None` where the answer stands.
    pub(crate) fn after_answer(&mut self, answer: &Answer) -> Option<Duration> {
        match answer.retry() {
            Retry::Never | Retry::New => None,
            Retry::Same => self.next(),
            Retry::Later => {
                let asked = Duration::from_secs(answer.retry_after().unwrap_or_default());
                Some(self.next()?.max(asked))
            }
        }
    }

    /// `None` where the error stands.
    pub(crate) fn after_error(&mut self, error: &CallError) -> Option<Duration> {
        if !error.is_retryable() {
            return None;
        }
        // [QUI-22] It may be sent again freely on another connection: at once, but not again and again.
        let at_once = matches!(error, CallError::GoingAway | CallError::NotSent(_));
        if at_once && !std::mem::replace(&mut self.hurried, true) {
            return Some(Duration::ZERO);
        }
        self.next()
    }
}

/// A round trip on most networks: a service that is just restarting is back soon, and one that is not loses little.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Who waits longer than this for a node to come back waits for nothing more precise. Jitter adds up to as much again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
