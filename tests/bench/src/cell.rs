//! The cells of the table: which server, which load.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::keys::Keys;
use crate::nats::SUBJECT;
use crate::process::{Process, output};

/// A row of the table.
pub(crate) struct Cell {
    /// What floors and `--json` call it.
    pub(crate) key: &'static str,
    /// What a reader is told.
    pub(crate) name: &'static str,
    pub(crate) in_flight: u32,
    setup: Setup,
}

enum Setup {
    /// A peer's name, and the threads of server and client.
    Peer(&'static str, usize),
    /// nats-server and the echo service, without anything before them.
    Bus,
    Cmtp(Cmtp),
}

#[derive(Clone, Copy)]
struct Cmtp {
    /// Of the journal.
    mode: &'static str,
    service: Service,
    signed: bool,
    /// One answer in so many is verified in full.
    verify: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    /// The echo in the node.
    Local,
    /// The echo that the peers use, too.
    Plain,
    /// `cmtp-client/examples/layered_service.rs`.
    Layered,
}

/// All cells, in the order of the table.
pub(crate) fn cells(stage: &Stage) -> Vec<Cell> {
    use Service::{Layered, Local, Plain};
    let peer = |key, name, peer, threads| Cell {
        key,
        name,
        in_flight: 64,
        setup: Setup::Peer(peer, threads),
    };
    let cmtp = |key, name, in_flight, mode, service| Cell {
        key,
        name,
        in_flight,
        setup: Setup::Cmtp(Cmtp { mode, service, signed: false, verify: 64 }),
    };
    let echo = |key, name, signed, verify| Cell {
        key,
        name,
        in_flight: 64,
        setup: Setup::Cmtp(Cmtp { mode: "async", service: Local, signed, verify }),
    };
    let mut cells = vec![
        peer("quinn", "raw quinn echo, 2 workers on each side", "quinn", 2),
        peer("quinn-1", "the same on current-thread runtimes", "quinn", 1),
        peer(
            "ceiling",
            "*ceiling*: that with the cryptography and bytes of an exchange",
            "ceiling",
            1,
        ),
        peer("h3", "h3 over quinn, POST, 12 headers", "h3", 2),
        peer("tonic", "tonic gRPC over TLS, unary, 12 metadata entries", "grpc", 2),
        Cell {
            key: "nats",
            name: "async-nats request and reply alone",
            in_flight: 64,
            setup: Setup::Bus,
        },
        peer("gateway", "HTTP/2 gateway, JWT check, async-nats", "gateway", 2),
        peer("gateway-open", "the same gateway without the check", "gateway-unchecked", 2),
        peer("ceiling-nats", "*ceiling* over NATS", "ceiling-nats", 1),
        echo("async", "**CMTP** echo, `async`", false, 64),
        echo("async-verified", "**CMTP** echo, `async`, each answer verified", false, 1),
        echo("async-signed", "**CMTP** echo, `async`, each request signed, too", true, 1),
        cmtp("wal", "**CMTP** echo, `wal`", 64, "wal", Local),
        cmtp("async-256", "**CMTP** echo, `async`, 256 in flight", 256, "async", Local),
        cmtp("wal-256", "**CMTP** echo, `wal`, 256 in flight", 256, "wal", Local),
        cmtp("plain", "**CMTP** over NATS, plain service, `async`", 64, "async", Plain),
        cmtp(
            "layered",
            "**CMTP** over NATS, layered service under MAC (which greets), `async`",
            64,
            "async",
            Layered,
        ),
    ];
    // The example is built by `tests/bench/run` where it is in the tree.
    cells.retain(|cell| stage.layered.is_some() || cell.key != "layered");
    cells
}

/// What all cells share, up for the whole run.
pub(crate) struct Stage {
    pub(crate) program: PathBuf,
    pub(crate) cmtp: PathBuf,
    pub(crate) cmtpd: PathBuf,
    /// The example of a layered service.
    pub(crate) layered: Option<PathBuf>,
    pub(crate) keys: Keys,
    /// URL of nats-server.
    pub(crate) nats: String,
    pub(crate) nats_server: Process,
    /// Who calls, and who serves layered.
    pub(crate) caller: Person,
    pub(crate) service: Person,
    pub(crate) seconds: u64,
    pub(crate) size: u32,
}

/// An identity of CMTP.
pub(crate) struct Person {
    /// Its `CMTP_HOME`.
    home: TempDir,
    did: String,
}

impl Person {
    /// Makes one with the program `cmtp`.
    pub(crate) fn make(cmtp: &Path) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let id = |word| output(Command::new(cmtp).args(["id", word]).env("CMTP_HOME", home.path()));
        id("new")?;
        Ok(Self { did: id("show")?, home })
    }
}

/// What a cell came to in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// CPU time of the server that the client is connected to, microseconds a request.
    pub(crate) cpu: f64,
}

/// What load generators print.
#[derive(Deserialize)]
struct Printed {
    requests: u64,
    errors: serde_json::Map<String, serde_json::Value>,
    requests_per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Cell {
    /// Starts the server, loads it, and ends it.
    pub(crate) fn measure(&self, stage: &Stage) -> anyhow::Result<Measure> {
        match &self.setup {
            Setup::Peer(peer, threads) => {
                let threads = threads.to_string();
                let server = Process::start(
                    Command::new(&stage.program)
                        .args(["serve", peer, "--threads", &threads, "--nats", &stage.nats])
                        .arg("--keys")
                        .arg(stage.keys.folder()),
                )?;
                let mut load = self.load_peer(stage, peer, server.word(0)?);
                measure(load.args(["--threads", &threads]), &server)
            }
            Setup::Bus => {
                let mut load = self.load_peer(stage, "nats", &stage.nats);
                measure(&mut load, &stage.nats_server)
            }
            Setup::Cmtp(cmtp) => self.measure_cmtp(stage, *cmtp),
        }
    }

    fn load_peer(&self, stage: &Stage, peer: &str, address: &str) -> Command {
        let mut load = Command::new(&stage.program);
        load.args(["load", peer, address, "--keys"]).arg(stage.keys.folder());
        self.how_much(&mut load, stage);
        load
    }

    fn how_much(&self, load: &mut Command, stage: &Stage) {
        load.args(["--in-flight", &self.in_flight.to_string()]).args([
            "--seconds",
            &stage.seconds.to_string(),
            "--size",
            &stage.size.to_string(),
        ]);
    }

    fn measure_cmtp(&self, stage: &Stage, cmtp: Cmtp) -> anyhow::Result<Measure> {
        let data = tempfile::tempdir()?;
        let config = data.path().join("cmtpd.toml");
        std::fs::write(&config, cmtp.config(stage))?;
        let node = Process::start(
            Command::new(&stage.cmtpd)
                .args(["serve", "--listen", "127.0.0.1:0", "--config"])
                .arg(&config)
                .arg("--data")
                .arg(data.path())
                .env("RUST_LOG", "warn"),
        )?;
        let (address, did) = (node.word(3)?, node.word(5)?);
        let token = output(
            Command::new(&stage.cmtpd)
                .args(["grant", "--to", &stage.caller.did, "--scope", "0xS:**", "--data"])
                .arg(data.path()),
        )?;
        let target = if cmtp.service == Service::Local { "0xS:echo" } else { TARGET };
        let url = format!("cmtp://{address}/{target}");
        let command = |word: &str| {
            let mut command = Command::new(&stage.cmtp);
            command.args([word, &url, "--json", "--pin", did, "--token", &token]);
            command.env("CMTP_HOME", stage.caller.home.path());
            command
        };
        let layered =
            (cmtp.service == Service::Layered).then(|| layered(stage, did)).transpose()?;
        if layered.is_some() {
            // It says who it is before it has the node's keys.
            let answered = (0..ATTEMPTS).any(|_| output(&mut command("call")).is_ok());
            ensure!(answered, "the layered service does not answer");
        }
        let mut load = command("bench");
        load.args(["--verify", &cmtp.verify.to_string()]);
        if cmtp.signed {
            load.arg("--signed");
        }
        self.how_much(&mut load, stage);
        measure(&mut load, &node)
    }
}

impl Cmtp {
    /// The node's configuration.
    fn config(self, stage: &Stage) -> String {
        let Self { mode, service, .. } = self;
        let journal = format!("[journal]\nmode = \"{mode}\"\n");
        let actors = format!("actors = [\"{}\"]\n", stage.service.did);
        let (subject, actors) = match service {
            Service::Local => return journal,
            Service::Plain => (SUBJECT, ""),
            Service::Layered => (LAYERED_SUBJECT, actors.as_str()),
        };
        let bus = format!("bus = \"nats={}\"\n", stage.nats);
        let route = format!("[[route]]\ntarget = \"{TARGET}\"\nto = \"nats:{subject}\"\n");
        bus + &journal + &route + actors
    }
}

/// Starts the example of a layered service for the node with this DID.
fn layered(stage: &Stage, node: &str) -> anyhow::Result<Process> {
    let program = stage.layered.as_ref().context("the example was built")?;
    let home = stage.service.home.path();
    Process::start(Command::new(program).args([node, &stage.nats]).env("CMTP_HOME", home))
}

fn measure(load: &mut Command, server: &Process) -> anyhow::Result<Measure> {
    let before = server.cpu()?;
    let printed = output(load)?;
    let used = server.cpu()? - before;
    let printed: Printed = serde_json::from_str(&printed).with_context(|| printed.clone())?;
    ensure!(printed.errors.is_empty() && printed.requests > 0, "errors: {:?}", printed.errors);
    Ok(Measure {
        rate: printed.requests_per_second,
        p50: printed.p50_us,
        p99: printed.p99_us,
        cpu: used as f64 / printed.requests as f64,
    })
}

/// The target that leads over NATS.
const TARGET: &str = "0xS:0x001:bench";
/// The subject of the example of a layered service.
const LAYERED_SUBJECT: &str = "demo.hello";
/// How often a layered service is called until it answers.
const ATTEMPTS: usize = 100;
