//! `cmtp bench`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use cmtp_client::NodeUrl;
use cmtp_client::load::{Load, LoadError, Running};
use cmtp_codec::Fqmn;
use cmtp_spec::limits;

use crate::caller::{CallerArgs, NOTICE_LOSS};
use crate::connect;
use crate::exit::{Exit, Failure, Outcome};
use crate::receipts::Receipts;
use crate::terminal;

/// Load a node, verify all of its answers, and print how it did.
///
/// Over its connections so many requests in all are under way at a time, each slot one after the other. Where the
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
    /// Connections, each from a socket of its own; requests are spread over them.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<u32>::new().range(1..=10_000))]
    connections: u32,
    /// Sign reads, too, as writes are: to make and to check a signature costs both sides more than all else.
    #[arg(long)]
    signed: bool,
    /// Verify one answer in N in full; of the others only the status counts. With --receipts all are verified.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    verify: u64,
    /// Seconds for which new requests are made.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<u64>::new().range(1..=Load::SECONDS_MAX))]
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

impl Bench {
    pub(crate) fn run(self) -> Outcome {
        let targets: Vec<_> = (0..self.in_flight)
            .map(|slot| self.target(slot))
            .collect::<anyhow::Result<_>>()
            .map_err(Failure::usage)?;
        let caller = self.caller.caller().map_err(Failure::usage)?;
        let receipts = self.receipts.as_deref().map(Receipts::append).transpose()?.map(Arc::new);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime")?;
        runtime.block_on(async {
            let mut channels = Vec::new();
            for _ in 0..self.connections {
                // Each has a socket of its own.
                let client = caller.client(Some(NOTICE_LOSS))?;
                let (pin, home) = (self.caller.pin, caller.home.as_ref());
                channels.push(connect::connect(client, &self.url, pin, home, None).await?);
            }
            let mut running =
                self.load(targets, receipts.clone())?.start(channels).context("a load")?;
            let watched = watch(&mut running).await;
            let report = running.finish().await;
            let interrupted = match (watched, &receipts) {
                (Err(error @ LoadError::Keep(_)), Some(receipts)) => {
                    let path = receipts.path().display().to_string();
                    return Err(anyhow::Error::from(error).context(path).into());
                }
                (watched, _) => watched.context("the load")?,
            };
            if let Some(receipts) = receipts {
                receipts.finish()?;
            }
            let text = if self.json { report.to_json().to_string() } else { report.to_string() };
            terminal::write_line(&text)?;
            Ok(match (interrupted, report.is_clean()) {
                (true, _) => Exit::Interrupted,
                (false, true) => Exit::Success,
                (false, false) => Exit::Refused,
            })
        })
    }

    fn load(&self, targets: Vec<Fqmn>, receipts: Option<Arc<Receipts>>) -> anyhow::Result<Load> {
        let size = usize::try_from(self.size).context("the size")?;
        let mut load = Load::new(targets).size(size).lasts(Duration::from_secs(self.seconds));
        load = load.verify(self.verify);
        if self.signed {
            load = load.signed();
        }
        Ok(match receipts {
            Some(receipts) => {
                load.keep(move |answer, target| receipts.add(answer, target.target()))
            }
            None => load,
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
}

/// Waits for the end of the load, or for Ctrl-C; shows on a terminal how it goes. Says whether it was interrupted.
async fn watch(running: &mut Running) -> Result<bool, LoadError> {
    let mut ticks = tokio::time::interval(PROGRESS);
    let shows = io::stderr().is_terminal();
    let interrupted = loop {
        tokio::select! {
            ended = running.ended() => break ended.map(|()| false),
            // What was done by then is still worth printing.
            Ok(()) = tokio::signal::ctrl_c() => break Ok(true),
            _ = ticks.tick(), if shows => eprint!("{CLEAR}{}", running.report().progress()),
        }
    };
    if shows {
        eprint!("{CLEAR}");
    }
    interrupted
}

/// To the line's beginning, and all of it gone.
const CLEAR: &str = "\r\x1b[K";
const PROGRESS: Duration = Duration::from_millis(500);
