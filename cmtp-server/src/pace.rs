//! How slow a request may come in: `cmtp-spec/spec/15-limits.md`. Told the time, so that it can be tested without any.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::Limits;

/// By when more of a request must be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    deadline: Instant,
    /// When the body falls below its least rate, unless more of it comes.
    rate: Option<Instant>,
}

impl Pace {
    /// For a request stream that was opened at `now`.
    pub(crate) fn new(now: Instant, limits: &Limits) -> Self {
        Self { deadline: now + limits.header_timeout, rate: None }
    }

    /// The origin's LAYER frame is whole.
    pub(crate) fn head_ended(&mut self, now: Instant, limits: &Limits) {
        self.deadline = now + limits.body_timeout;
        if limits.body_rate_min > 0 {
            self.rate = Some(now + limits.body_rate_grace);
        }
    }

    /// So many bytes behind the LAYER frame came.
    pub(crate) fn received(&mut self, bytes: usize, limits: &Limits) {
        if let Some(rate) = &mut self.rate {
            let micros = bytes as u64 * 1_000_000 / limits.body_rate_min.max(1);
            *rate += Duration::from_micros(micros);
        }
    }

    /// The node did not read for so long: the peer is not to blame.
    pub(crate) fn paused(&mut self, time: Duration) {
        if let Some(rate) = &mut self.rate {
            *rate += time;
        }
    }

    /// When the stream is too slow. [LIM-3] Slower than `header-timeout`, `body-timeout` or `body-rate-min`.
    pub(crate) fn ends(&self, body_is_open: bool) -> Instant {
        match self.rate {
            Some(rate) if body_is_open => self.deadline.min(rate),
            _ => self.deadline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_must_keep_its_rate_after_a_grace() {
        let limits = Limits { body_rate_min: 1000, ..Limits::default() };
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(start, &limits);
        assert_eq!(pace.ends(false), after(10));
        pace.head_ended(after(1), &limits);
        assert_eq!(pace.ends(true), after(6));
        pace.received(3000, &limits);
        assert_eq!(pace.ends(true), after(9));
        pace.paused(Duration::from_secs(2));
        assert_eq!(pace.ends(true), after(11));
        // Without a body that is open only the end of the stream is waited for.
        assert_eq!(pace.ends(false), after(61));
        pace.received(1_000_000, &limits);
        assert_eq!(pace.ends(true), after(61));
    }
}
