//! What `cmtp bench` counts and prints.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::Context;
use cmtp_client::{Answer, ChannelError};
use hdrhistogram::Histogram;
use serde_json::json;

use crate::bench::kind;
use crate::terminal;

/// Counts of a run.
#[derive(Debug)]
pub(crate) struct Report {
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
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            requests: 0,
            errors: BTreeMap::new(),
            latency: Histogram::new_with_bounds(1, LATENCY_MAX, DIGITS).context("a histogram")?,
            bytes: 0,
            elapsed: Duration::ZERO,
            reconnects: 0,
            resent: 0,
        })
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

    pub(crate) fn end(&mut self, elapsed: Duration, reconnects: u64, resent: u64) {
        (self.elapsed, self.reconnects, self.resent) = (elapsed, reconnects, resent);
    }

    /// Whether every request had an answer below 400, and there was one.
    pub(crate) fn is_clean(&self) -> bool {
        self.requests > 0 && self.errors.is_empty()
    }

    /// One line for a terminal.
    pub(crate) fn progress(&self, elapsed: Duration, reconnects: u64) -> String {
        let errors: u64 = self.errors.values().sum();
        format!(
            "{:.0} s  {} requests  {:.0}/s  {errors} errors  {reconnects} reconnects",
            elapsed.as_secs_f64(),
            self.requests,
            rate(self.requests, elapsed),
        )
    }

    pub(crate) fn print(&self, as_json: bool) -> anyhow::Result<()> {
        let Self { requests, errors, latency, bytes, elapsed, reconnects, resent } = self;
        let per_second = rate(*requests, *elapsed);
        let [p50, p99] = [0.5, 0.99].map(|quantile| latency.value_at_quantile(quantile));
        let max = latency.max();
        if as_json {
            let result = json!({
                "requests": requests, "errors": errors, "seconds": elapsed.as_secs_f64(),
                "requests_per_second": per_second, "p50_us": p50, "p99_us": p99, "max_us": max,
                "bytes": bytes, "reconnects": reconnects, "resent": resent,
            });
            return terminal::write_line(&result.to_string());
        }
        let failed: u64 = errors.values().sum();
        let mut text = format!(
            "requests             {requests} in {:.1} s\nerrors               {failed}\n",
            elapsed.as_secs_f64()
        );
        for (kind, count) in errors {
            writeln!(text, "  {kind:<18} {count}")?;
        }
        write!(
            text,
            "requests_per_second  {per_second:.0}\n\
             p50_us               {p50}\n\
             p99_us               {p99}\n\
             max_us               {max}\n\
             bytes                {bytes}\n\
             reconnects           {reconnects}\n\
             resent               {resent}"
        )?;
        terminal::write_line(&text)
    }
}

fn rate(requests: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { requests as f64 / seconds } else { 0.0 }
}

/// An hour, which no request is good for; what takes longer counts as that.
const LATENCY_MAX: u64 = 3_600_000_000;
/// Values are good to one part in a thousand.
const DIGITS: u8 = 3;
