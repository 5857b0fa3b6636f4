//! What a load counted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::call::CallError;
use crate::channel::ChannelError;

/// Counts and times of a [`Load`](crate::load::Load). Its text form is a table.
#[derive(Clone, Debug)]
pub struct Report {
    /// Requests that ended, well or not.
    requests: u64,
    /// Requests without an answer below 400, by kind.
    errors: BTreeMap<String, u64>,
    /// Microseconds from the first attempt to the answer.
    latency: Histogram<u64>,
    /// Bytes of bodies, in both directions.
    bytes: u64,
    elapsed: Duration,
    reconnects: u64,
    resent: u64,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            requests: 0,
            errors: BTreeMap::new(),
            latency: latency(),
            bytes: 0,
            elapsed: Duration::ZERO,
            reconnects: 0,
            resent: 0,
        }
    }

    /// Counts a request that ended, after `took`, with a body of `sent` bytes.
    pub(crate) fn take(
        &mut self,
        took: Duration,
        sent: usize,
        answer: &Result<Answer, ChannelError>,
    ) {
        self.requests += 1;
        let error = match answer {
            Ok(answer) => {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.latency.saturating_record(micros);
                let received = answer.body().map_or(0, |body| body.len());
                self.bytes += (sent + received) as u64;
                let status = answer.status();
                (!answer.is_success()).then(|| format!("{} {status}", status.0))
            }
            Err(error) => Some(kind(error).to_owned()),
        };
        if let Some(error) = error {
            *self.errors.entry(error).or_default() += 1;
        }
    }

    /// Counts a request that was answered well, as far as was looked, with so many bytes of bodies.
    pub(crate) fn take_seen(&mut self, took: Duration, bytes: usize) {
        self.requests += 1;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(micros);
        self.bytes += bytes as u64;
    }

    pub(crate) const fn at(mut self, elapsed: Duration, reconnects: u64, resent: u64) -> Self {
        (self.elapsed, self.reconnects, self.resent) = (elapsed, reconnects, resent);
        self
    }

    /// Whether every request had an answer below 400, and there was one.
    pub fn is_clean(&self) -> bool {
        self.requests > 0 && self.errors.is_empty()
    }

    /// One line for a terminal, while the load runs.
    pub fn progress(&self) -> String {
        format!(
            "{:.0} s  {} requests  {:.0}/s  {} errors  {} reconnects",
            self.elapsed.as_secs_f64(),
            self.requests,
            self.rate(),
            self.failed(),
            self.reconnects,
        )
    }

    /// For programs: `requests`, `errors` (counts by kind), `seconds`, `requests_per_second`, microseconds `p50_us`, `p75_us`,
    /// `p90_us`, `p99_us`, `p99_9_us` and `max_us` of the requests that were answered, `bytes` of bodies in both directions,
    /// `reconnects`, `resent`.
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "requests": self.requests, "errors": self.errors,
            "seconds": self.elapsed.as_secs_f64(), "requests_per_second": self.rate(),
            "max_us": self.latency.max(), "bytes": self.bytes,
            "reconnects": self.reconnects, "resent": self.resent,
        });
        for (name, quantile) in QUANTILES {
            value[format!("p{}_us", name.replace('.', "_"))] =
                json!(self.latency.value_at_quantile(quantile));
        }
        value
    }

    fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Requests per second.
    fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.requests as f64 / seconds } else { 0.0 }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, errors, latency, bytes, elapsed, reconnects, resent } = self;
        writeln!(f, "requests             {requests} in {:.1} s", elapsed.as_secs_f64())?;
        writeln!(f, "errors               {}", self.failed())?;
        for (kind, count) in errors {
            writeln!(f, "  {kind:<18} {count}")?;
        }
        writeln!(f, "requests_per_second  {:.0}", self.rate())?;
        for (name, quantile) in QUANTILES {
            let micros = latency.value_at_quantile(quantile);
            writeln!(f, "{:<20} {micros}", format!("p{name}_us"))?;
        }
        write!(
            f,
            "max_us               {}\n\
             bytes                {bytes}\n\
             reconnects           {reconnects}\n\
             resent               {resent}",
            latency.max()
        )
    }
}

/// The kind of a failure, for counting.
fn kind(error: &ChannelError) -> &'static str {
    match error {
        ChannelError::Prepare(_) => "prepare",
        ChannelError::Connect { .. } => "connect",
        ChannelError::Call { source, .. } => match source {
            CallError::Bad(_) | CallError::Malformed { .. } => "invalid",
            CallError::TimedOut | CallError::TooLate => "timeout",
            CallError::Reset(_) => "reset",
            CallError::TooLarge { .. } => "too-large",
            _ => "lost",
        },
    }
}

#[expect(clippy::expect_used, reason = "the bounds are constants, and a test makes one")]
fn latency() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, DIGITS).expect("the bounds are in order")
}

/// By name, in percent.
const QUANTILES: [(&str, f64); 5] =
    [("50", 0.5), ("75", 0.75), ("90", 0.9), ("99", 0.99), ("99.9", 0.999)];
/// An hour, which no request is good for; what takes longer counts as that.
const LATENCY_MAX: u64 = 3_600_000_000;
/// Values are good to one part in a thousand.
const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_and_has_no_latency() {
        let mut report = Report::new();
        assert!(!report.is_clean(), "nothing was called");
        report.take(Duration::from_secs(1), 5, &Err(CallError::TimedOut.into()));
        let report = report.at(Duration::from_secs(2), 3, 4);
        assert!(!report.is_clean());
        let json = report.to_json();
        assert_eq!(json["errors"]["timeout"], 1);
        assert_eq!((&json["requests_per_second"], &json["p99_9_us"]), (&json!(0.5), &json!(0)));
        assert_eq!((&json["reconnects"], &json["resent"]), (&json!(3), &json!(4)));
        assert_eq!(report.progress(), "2 s  1 requests  0/s  1 errors  3 reconnects");
        assert!(report.to_string().contains("\n  timeout            1\nrequests_per_second  0\n"));
    }
}
