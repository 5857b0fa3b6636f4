//! The one loop that loads every peer.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// What a slot of the load calls, one call after the other. Clones share one connection.
pub(crate) trait Call: Clone + Send + 'static {
    /// Sends `body`, and gives the number of bytes of the body that came back, once all of it did and the status was success.
    fn call(&mut self, body: Bytes) -> impl Future<Output = anyhow::Result<usize>> + Send;
}

/// How a peer is loaded.
pub(crate) struct Plan {
    pub(crate) in_flight: usize,
    pub(crate) span: Duration,
    pub(crate) body: Bytes,
}

/// What came of it: every request was answered, or there is no outcome.
pub(crate) struct Outcome {
    elapsed: Duration,
    /// Microseconds.
    latency: Histogram<u64>,
}

impl Outcome {
    /// With the keys of `cmtp bench`.
    pub(crate) fn to_json(&self) -> Value {
        let requests = self.latency.len();
        json!({
            "requests": requests,
            "errors": {},
            "requests_per_second": requests as f64 / self.elapsed.as_secs_f64(),
            "p50_us": self.latency.value_at_quantile(0.5),
            "p99_us": self.latency.value_at_quantile(0.99),
        })
    }
}

pub(crate) async fn load(plan: Plan, call: impl Call) -> anyhow::Result<Outcome> {
    let mut slots = JoinSet::new();
    let began = Instant::now();
    let until = began + plan.span;
    for _ in 0..plan.in_flight {
        slots.spawn(slot(call.clone(), plan.body.clone(), until));
    }
    let mut latency = histogram()?;
    while let Some(slot) = slots.join_next().await {
        latency.add(slot??).context("histograms of one kind")?;
    }
    Ok(Outcome { elapsed: began.elapsed(), latency })
}

async fn slot(mut call: impl Call, body: Bytes, until: Instant) -> anyhow::Result<Histogram<u64>> {
    let mut latency = histogram()?;
    let mut began = Instant::now();
    while began < until {
        let received = call.call(body.clone()).await?;
        ensure!(received == body.len(), "{received} bytes came back, not {}", body.len());
        let ended = Instant::now();
        latency.saturating_record(u64::try_from((ended - began).as_micros())?);
        began = ended;
    }
    Ok(latency)
}

/// Up to a minute, three digits.
fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000, 3).context("a histogram")
}
