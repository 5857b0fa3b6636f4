//! What an operator watches, in the Prometheus text format (OpenMetrics 1.0).

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cmtp_spec::{Opcode, Status};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::refusals::Reason;

/// The node's counters. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    requests: Family<Request, Counter>,
    request_seconds: Histogram,
    refusals: Family<Refused, Counter>,
    policy_reloads: Family<Reload, Counter>,
    pub(crate) connections: Gauge,
    pub(crate) journal: JournalMetrics,
    pub(crate) bus: BusMetrics,
    pub(crate) audit: AuditMetrics,
}

/// The audit stream's part.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditMetrics {
    published: Counter,
    /// The entry that the stream wants next.
    next: Arc<AtomicU64>,
}

/// The bus's part: replies that reach nobody.
#[derive(Clone, Debug, Default)]
pub(crate) struct BusMetrics {
    /// Nobody waits for it any more, or ever did.
    pub(crate) late: Counter,
    /// Another reply came before it.
    pub(crate) double: Counter,
    /// Not the answer of a service that the route pins.
    pub(crate) refused: Counter,
    /// By nobody that a route pins, or not as it must be.
    pub(crate) refused_asks: Counter,
}

/// The journal's part.
#[derive(Clone, Debug)]
pub(crate) struct JournalMetrics {
    entries: Counter,
    bytes: Counter,
    commit_seconds: Histogram,
}

/// Neither names nor callers: their number is the operator's to bound, not a peer's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    opcode: &'static str,
    status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reload {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    reason: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            request_seconds: seconds(),
            refusals: Family::default(),
            policy_reloads: Family::default(),
            connections: Gauge::default(),
            journal: JournalMetrics {
                entries: Counter::default(),
                bytes: Counter::default(),
                commit_seconds: seconds(),
            },
            bus: BusMetrics::default(),
            audit: AuditMetrics::default(),
        }
    }
}

impl Metrics {
    /// A request was answered.
    pub(crate) fn answered(&self, opcode: Opcode, status: Status, took: Duration) {
        // By class: a service may answer with any number.
        let status = format!("{}xx", status.0 / 100);
        let opcode = opcode.name().unwrap_or("none");
        self.requests.get_or_create(&Request { opcode, status }).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// So many were refused for `reason` before a token was accepted.
    pub(crate) fn refused(&self, reason: Reason, count: u64) {
        self.refusals.get_or_create(&Refused { reason: reason.to_string() }).inc_by(count);
    }

    /// Policies were read again: they are in force, or there is something wrong with them.
    pub(crate) fn policies_reloaded(&self, is_good: bool) {
        let result = if is_good { "ok" } else { "invalid" };
        self.policy_reloads.get_or_create(&Reload { result }).inc();
    }

    /// The text that a scrape gets; `durable` entries are in the journal, for an audit stream to have.
    pub(crate) fn text(&self, in_flight: usize, durable: Option<u64>) -> String {
        let mut registry = Registry::with_prefix("cmtpd");
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        let requests = self.requests.clone();
        registry.register("requests", "Requests that were answered", requests);
        let request_seconds = self.request_seconds.clone();
        let help = "From a request that was read to its answer on the way";
        registry.register_with_unit("request", help, Unit::Seconds, request_seconds);
        registry.register("requests_in_flight", "Requests that are being answered", gauge);
        registry.register("connections", "Connections", self.connections.clone());
        let help = "Refused before a token was accepted";
        registry.register("refusals", help, self.refusals.clone());
        let help = "Policies that were read again; invalid ones did not come into force";
        registry.register("policy_reloads", help, self.policy_reloads.clone());
        let JournalMetrics { entries, bytes, commit_seconds } = self.journal.clone();
        registry.register("journal_entries", "Entries that were journalled", entries);
        let help = "Written to the journal";
        registry.register_with_unit("journal_written", help, Unit::Bytes, bytes);
        let help = "Signing, writing and, in mode wal, syncing a commit";
        registry.register_with_unit("journal_commit", help, Unit::Seconds, commit_seconds);
        let BusMetrics { late, double, refused, refused_asks } = self.bus.clone();
        let help = "Replies of the bus that came when nobody waited for them any more";
        registry.register("bus_late_replies", help, late);
        let help = "Replies of the bus to requests that had one already";
        registry.register("bus_double_replies", help, double);
        let help = "Replies of the bus that were not the answer of a service that the route pins";
        registry.register("bus_refused_replies", help, refused);
        let help = "Asks for the keys of a layered route that were refused";
        registry.register("bus_refused_asks", help, refused_asks);
        if let Some(durable) = durable {
            self.audit.register(&mut registry, durable);
        }
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What runs here", version);
        let mut text = String::new();
        // Writing to a string does not fail.
        if encode(&mut text, &registry).is_err() {
            let _nothing = writeln!(text, "# EOF");
        }
        text
    }
}

impl AuditMetrics {
    /// So many entries were published.
    pub(crate) fn published(&self, entries: u64) {
        self.published.inc_by(entries);
    }

    /// The stream holds all entries below `next`.
    pub(crate) fn reached(&self, next: u64) {
        self.next.store(next, Ordering::Relaxed);
    }

    fn register(&self, registry: &mut Registry, durable: u64) {
        let help = "Entries that were published to the audit stream";
        registry.register("audit_stream_entries", help, self.published.clone());
        let lag: Gauge = Gauge::default();
        let behind = durable.saturating_sub(self.next.load(Ordering::Relaxed));
        lag.set(i64::try_from(behind).unwrap_or(i64::MAX));
        let help = "Durable entries that the audit stream was not seen to hold";
        registry.register("audit_stream_lag", help, lag);
    }
}

impl JournalMetrics {
    /// A commit was written.
    pub(crate) fn committed(&self, entries: usize, bytes: usize, took: Duration) {
        self.entries.inc_by(entries as u64);
        self.bytes.inc_by(bytes as u64);
        self.commit_seconds.observe(took.as_secs_f64());
    }
}

/// From 50 µs, an echo, to 26 s, the service deadline.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 20))
}
