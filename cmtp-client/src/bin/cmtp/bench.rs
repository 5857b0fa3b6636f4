//! `cmtp bench`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use cmtp_client::{Answer, Channel, ChannelError, NodeUrl, Request};
use cmtp_codec::Fqmn;
use cmtp_spec::limits;
use tokio::task::JoinSet;

use crate::bench_report::Report;
use crate::caller::{CallerArgs, NOTICE_LOSS};
use crate::connect;
use crate::exit::{Exit, Failure, Outcome};
use crate::receipts::Receipts;

/// Load a node, verify all of its answers, and print how it did.
///
/// Over one connection so many requests are under way at a time, each slot one after the other. Where the
/// node dies or drains, connect again and send the same bytes again, for up to 30 seconds beyond the end.
///
///   cmtp bench cmtp://127.0.0.1:4433/0xS:echo
///   cmtp bench cmtp://127.0.0.1:4433/0xS:counter --write --seconds 30 --receipts receipts.jsonl
///
/// Exit code 0 says that every request had an answer with a status below 400.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Bench {
    /// Where and what to call: cmtp://host:port/target
    url: NodeUrl,
    #[command(flatten)]
    caller: CallerArgs,
    /// Call the write form of the target; slot k writes to TARGET:k, so that slots do not contend.
    #[arg(long)]
    write: bool,
    /// Requests under way at a time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = RangedU64ValueParser::<u32>::new().range(1..=100_000))]
    in_flight: u32,
    /// Seconds for which new requests are made.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<u64>::new().range(1..=SECONDS_MAX))]
    seconds: u64,
    /// Bytes of each request's body.
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = RangedU64ValueParser::<u64>::new().range(0..=limits::BODY_MAX))]
    size: u64,
    /// Append one line of JSON for each answer.
    #[arg(long, value_name = "FILE")]
    receipts: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What all slots share.
struct Load {
    channel: Channel,
    body: Vec<u8>,
    began: Instant,
    /// When no new requests are made any more.
    until: Instant,
    report: Mutex<Report>,
    receipts: Option<Receipts>,
}

impl Bench {
    pub(crate) fn run(self) -> Outcome {
        let targets: Vec<_> = (0..self.in_flight)
            .map(|slot| self.target(slot))
            .collect::<anyhow::Result<_>>()
            .map_err(Failure::usage)?;
        let caller = self.caller.caller().map_err(Failure::usage)?;
        let receipts = self.receipts.as_deref().map(Receipts::append).transpose()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("no runtime")?;
        runtime.block_on(async {
            let client = caller.client(Some(NOTICE_LOSS))?;
            let (pin, home) = (self.caller.pin, caller.home.as_ref());
            let channel = connect::connect(client, &self.url, pin, home, None).await?;
            let size = usize::try_from(self.size).context("the size")?;
            let began = Instant::now();
            let load = Arc::new(Load {
                channel,
                body: vec![FILLER; size],
                began,
                until: began + Duration::from_secs(self.seconds),
                report: Mutex::new(Report::new()?),
                receipts,
            });
            let interrupted = tokio::select! {
                loaded = Load::run(&load, targets) => {
                    loaded?;
                    false
                }
                // What was done by then is still worth printing.
                Ok(()) = tokio::signal::ctrl_c() => true,
            };
            let exit = self.finish(&load).await?;
            Ok(if interrupted { Exit::Interrupted } else { exit })
        })
    }

    /// The target of a slot.
    fn target(&self, slot: u32) -> anyhow::Result<Fqmn> {
        let target = Fqmn::from_sugar(&self.url.path).with_context(|| self.url.path.clone())?;
        if !self.write {
            return Ok(target);
        }
        let (opcode, rest) = target.target().split_once(':').context("a target has an element")?;
        // Chapter 6: W is the write form.
        let form = if target.is_write() { "" } else { "W" };
        let slot = Fqmn::parse_target(&format!("{opcode}{form}:{rest}:{slot}"))?;
        Ok(match target.args() {
            Some(args) => slot.with_args(args)?,
            None => slot,
        })
    }

    async fn finish(&self, load: &Load) -> Outcome {
        let elapsed = load.began.elapsed();
        if io::stderr().is_terminal() {
            eprint!("{CLEAR}");
        }
        load.channel.close().await;
        if let Some(receipts) = &load.receipts {
            receipts.finish()?;
        }
        let mut report = load.report();
        report.end(elapsed, load.channel.reconnects(), load.channel.resent());
        report.print(self.json)?;
        Ok(if report.is_clean() { Exit::Success } else { Exit::Refused })
    }
}

impl Load {
    /// Runs all slots to their end.
    async fn run(load: &Arc<Self>, targets: Vec<Fqmn>) -> anyhow::Result<()> {
        let mut slots: JoinSet<anyhow::Result<()>> = JoinSet::new();
        for target in targets {
            let load = Arc::clone(load);
            slots.spawn(async move { load.slot(target).await });
        }
        let mut ticks = tokio::time::interval(PROGRESS);
        let shows = io::stderr().is_terminal();
        loop {
            tokio::select! {
                slot = slots.join_next() => match slot {
                    Some(slot) => slot.context("a slot ended early")??,
                    None => break,
                },
                _ = ticks.tick(), if shows => {
                    let reconnects = load.channel.reconnects();
                    eprint!("{CLEAR}{}", load.report().progress(load.began.elapsed(), reconnects));
                }
            }
        }
        Ok(())
    }

    /// One request after the other.
    async fn slot(&self, target: Fqmn) -> anyhow::Result<()> {
        while Instant::now() < self.until {
            // Good until the end and the grace: so long the same bytes are sent again.
            let good_for = self.until.saturating_duration_since(Instant::now()) + GRACE;
            let request = Request::new(target.clone()).body(self.body.clone()).valid_for(good_for);
            let began = Instant::now();
            let answer = self.channel.call(request).await;
            self.report().take(began.elapsed(), self.body.len(), &answer);
            match &answer {
                Ok(answer) => self.keep(answer, &target)?,
                // Another attempt of the same kind would fail the same way, as fast as this machine can.
                Err(error) if !error.is_retryable() => break,
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn keep(&self, answer: &Answer, target: &Fqmn) -> anyhow::Result<()> {
        match &self.receipts {
            Some(receipts) => receipts.add(answer, target.target()),
            None => Ok(()),
        }
    }

    fn report(&self) -> std::sync::MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kind of a failure, for counting.
pub(crate) fn kind(error: &ChannelError) -> &'static str {
    use cmtp_client::CallError;
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
        _ => "other",
    }
}

/// The byte that bodies are made of.
const FILLER: u8 = b'x';
/// How long after the end a request that is under way is still sent again.
const GRACE: Duration = Duration::from_secs(30);
/// To the line's beginning, and all of it gone.
const CLEAR: &str = "\r\x1b[K";
const PROGRESS: Duration = Duration::from_millis(500);
/// The first requests are good to the end and the grace, which no node lets be longer than `not-after-max`; a minute is left
/// for clocks that differ.
const SECONDS_MAX: u64 = limits::NOT_AFTER_MAX - 90;
