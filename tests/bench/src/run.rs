//! The runner: all cells in turn, several times.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::cell::{Measure, Person, Stage, cells};
use crate::keys::Keys;
use crate::process::{Process, sibling};
use crate::table::Table;

/// Measure all cells, interleaved, and print one table.
#[derive(Args)]
pub(crate) struct Run {
    /// Seconds for which each cell is loaded in each round.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// How often each cell is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Bytes of each body, in both directions.
    #[arg(long, default_value_t = 256)]
    size: u32,
    /// Only cells whose key begins with one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// The nats-server to use.
    #[arg(long)]
    nats_server: PathBuf,
}

impl Run {
    /// A signal ends it between two cells, so that no server is left behind.
    #[tokio::main(worker_threads = 1)]
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            STOP.store(true, Ordering::Relaxed);
        });
        tokio::task::spawn_blocking(|| self.measure()).await?
    }

    fn measure(self) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("where this program is")?;
        let folder = tempfile::tempdir()?;
        let nats_server = Process::start_logging(
            Command::new(&self.nats_server).args(["--addr", "127.0.0.1", "--port", "-1"]),
            LISTENS,
        )?;
        let (_, address) = nats_server.ready.split_once(LISTENS).context("an address")?;
        let nats = format!("nats://{}", address.trim());
        let echo = Process::start(Command::new(&program).args(["nats-echo", &nats]))?;
        let cmtp = sibling(&program, "cmtp")?;
        let stage = Stage {
            cmtpd: sibling(&program, "cmtpd")?,
            layered: sibling(&program, "examples/layered_service").ok(),
            caller: Person::make(&cmtp)?,
            service: Person::make(&cmtp)?,
            cmtp,
            program,
            keys: Keys::make(folder.path().to_owned())?,
            nats,
            nats_server,
            seconds: self.seconds,
            size: self.size,
        };
        let mut table = Table::new(cells(&stage), &self.only);
        for round in 0..self.rounds {
            self.round(round, &stage, &mut table)?;
        }
        drop(echo);
        let conditions = format!(
            "{} bytes each way, {} s a cell, {} rounds",
            self.size, self.seconds, self.rounds
        );
        if self.json {
            println!("{:#}", table.to_json());
        } else {
            println!("{}", table.to_markdown(&conditions));
        }
        Ok(())
    }

    /// Every other round goes the other way, so that what drifts drifts for all.
    fn round(&self, round: usize, stage: &Stage, table: &mut Table) -> anyhow::Result<()> {
        let mut order: Vec<_> = (0..table.rows.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for number in order {
            ensure!(!STOP.load(Ordering::Relaxed), "told to stop");
            let row = &mut table.rows[number];
            let measured = row.cell.measure(stage);
            let measured: Measure = measured.with_context(|| row.cell.name.to_owned())?;
            eprintln!(
                "{}/{} {:<14} {:>8.0}/s",
                round + 1,
                self.rounds,
                row.cell.key,
                measured.rate
            );
            row.measured.push(measured);
        }
        Ok(())
    }
}

/// Set by a signal.
static STOP: AtomicBool = AtomicBool::new(false);
const LISTENS: &str = "Listening for client connections on ";
