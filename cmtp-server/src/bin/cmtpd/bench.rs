//! `cmtpd bench`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use cmtp_client::load::{Load, Report};
use cmtp_client::{Channel, Client, ClientConfig, Identity, Trust};
use cmtp_codec::{Fqmn, Pattern, PublicKey, Scope};
use cmtp_server::{Bus, Grant, NodeKeys};
use cmtp_spec::limits;
use futures::StreamExt;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Start a node, load it with calls, and print how it did.
///
/// The node is a process of its own, on a free loopback port, with its key and journal in a temporary directory (TMPDIR says
/// where: in mode wal the disk below it is measured, too). With a NATS bus, calls go over it to a
/// service that sends back what it gets, in the process that loads. Node and directory are gone afterwards.
///
///   cmtpd bench
///   cmtpd bench --journal async --in-flight 256 --seconds 10 --json
///   cmtpd bench --bus nats=nats://127.0.0.1:4222
///
/// A node that runs elsewhere is loaded with `cmtp bench`. Exit code 0 says that every request had an answer with a status
/// below 400.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Bench {
    /// How exchanges are journalled.
    #[arg(long, value_enum, default_value_t = Journal::Wal)]
    journal: Journal,
    /// Where the service is: local (in the node) or nats=URL.
    #[arg(long, value_name = "BUS", default_value = "local")]
    bus: Bus,
    /// Bytes of each request's body.
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = RangedU64ValueParser::<u64>::new().range(0..=limits::BODY_MAX))]
    size: u64,
    /// Requests under way at a time, on all connections together.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = RangedU64ValueParser::<u32>::new().range(1..=100_000))]
    in_flight: u32,
    /// Connections, each from a socket of its own; requests are spread over them.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<u32>::new().range(1..=10_000))]
    connections: u32,
    /// Sign requests, as writes must be: to make and to check a signature costs both sides more than all else.
    #[arg(long)]
    signed: bool,
    /// Verify one answer in N in full; of the others only the status counts, so that the load leaves more of this machine
    /// to the node.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    verify: u64,
    /// Seconds for which new requests are made.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = RangedU64ValueParser::<u64>::new().range(1..=SECONDS_MAX))]
    seconds: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// How exchanges are journalled.
#[derive(Clone, Copy, ValueEnum)]
enum Journal {
    /// Durable before the answer leaves.
    Wal,
    /// Durable a little later, as receipts then say.
    Async,
}

impl Bench {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(async {
            // Whatever ends this, what it started is dropped, and thereby ended.
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                report = self.bench() => report,
                _ = terminate.recv() => bail!("told to stop"),
                _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            }
        })?;
        println!("{}", if self.json { report.to_json().to_string() } else { report.to_string() });
        ensure!(report.is_clean(), "some requests were refused or lost");
        Ok(())
    }

    async fn bench(&self) -> anyhow::Result<Report> {
        if let Bus::Nats(url) = &self.bus {
            let (ready, is_ready) = oneshot::channel();
            let url = url.clone();
            // On a thread of its own, as a service of its own would be; it ends with the process.
            std::thread::spawn(move || echo_on_nats(&url, ready));
            let ready = is_ready.await.context("the echo service ended")?;
            ready.with_context(|| format!("a service on {}", self.bus))?;
        }
        let node = Node::start(&self.config()).await?;
        let identity = Arc::new(Identity::ephemeral()?);
        let config = ClientConfig {
            token: Some(node.grant(identity.did())?),
            ..ClientConfig::new(identity)
        };
        let mut channels = Vec::new();
        for _ in 0..self.connections {
            let client = Client::new(config.clone())?;
            let (host, port) = (node.address.ip().to_string(), node.address.port());
            let channel = Channel::new(client, host, port, Trust::Pinned(node.did));
            channel.connect().await?;
            channels.push(channel);
        }
        let target = match self.bus {
            Bus::Nats(_) => ON_NATS,
            _ => "0xS:echo",
        };
        let targets = vec![Fqmn::parse(target)?; usize::try_from(self.in_flight)?];
        let span = Duration::from_secs(self.seconds);
        let mut load = Load::new(targets).size(usize::try_from(self.size)?).lasts(span);
        load = load.verify(self.verify);
        if self.signed {
            load = load.signed();
        }
        let mut running = load.start(channels)?;
        running.ended().await?;
        Ok(running.finish().await)
    }

    fn config(&self) -> String {
        let mode = match self.journal {
            Journal::Wal => "wal",
            Journal::Async => "async",
        };
        let journal = format!("[journal]\nmode = \"{mode}\"\n");
        match &self.bus {
            Bus::Nats(url) => format!(
                "bus = {:?}\n{journal}[[route]]\ntarget = \"{ON_NATS}\"\nto = \"nats:{}\"\n",
                format!("nats={url}"),
                subject(),
            ),
            _ => journal,
        }
    }
}

/// A node in a process of its own, which ends with this.
struct Node {
    child: Child,
    data: TempDir,
    address: SocketAddr,
    did: PublicKey,
}

impl Node {
    /// Starts this program once more, as a node with this configuration.
    async fn start(config: &str) -> anyhow::Result<Self> {
        let data = tempfile::Builder::new().prefix("cmtpd-bench-").tempdir()?;
        let file = data.path().join("cmtpd.toml");
        std::fs::write(&file, config).with_context(|| file.display().to_string())?;
        let did = NodeKeys::load_or_create(data.path())?.public();
        let program = std::env::current_exe().context("where this program is")?;
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&file);
        command.arg("--data").arg(data.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "warn");
        }
        let child = command.spawn().context("the node does not start")?;
        let mut node = Self { child, data, address: ([127, 0, 0, 1], 0).into(), did };
        let said = node.child.stdout.take().context("stdout is piped")?;
        node.address = tokio::task::spawn_blocking(move || address(said)).await??;
        Ok(node)
    }

    fn grant(&self, to: PublicKey) -> anyhow::Result<String> {
        let scope = Scope::new(vec![Pattern::parse("0xS:**")?], Vec::new())?;
        let grant = Grant { to, scope, lifetime: Duration::from_secs(limits::TOKEN_LIFETIME_MAX) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(grant.mint(&NodeKeys::load_or_create(self.data.path())?, now)?)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good. Nothing of its data stays, so it need not end in order.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Where a node listens, by the line that it prints then.
fn address(said: ChildStdout) -> anyhow::Result<SocketAddr> {
    let line = BufReader::new(said).lines().next();
    let line = line.context("the node ended before it listened; stderr says why")??;
    let word = line.split_whitespace().nth(3);
    word.and_then(|word| word.parse().ok()).with_context(|| format!("an address in {line:?}"))
}

/// A plain service that sends back what it gets, for as long as this process lives; says when it listens.
fn echo_on_nats(url: &str, ready: oneshot::Sender<anyhow::Result<()>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error.into()))),
    };
    runtime.block_on(async {
        let (client, mut requests) = match listen(url).await {
            Ok(listening) => listening,
            Err(error) => return drop(ready.send(Err(error))),
        };
        if ready.send(Ok(())).is_err() {
            return;
        }
        while let Some(request) = requests.next().await {
            if let Some(inbox) = request.reply
                && client.publish(inbox, request.payload).await.is_err()
            {
                return;
            }
        }
    });
}

async fn listen(url: &str) -> anyhow::Result<(async_nats::Client, async_nats::Subscriber)> {
    let client = async_nats::connect(url).await?;
    let requests = client.subscribe(subject()).await?;
    client.flush().await?;
    Ok((client, requests))
}

/// Two benches on one server do not meet.
fn subject() -> String {
    format!("cmtpd-bench.{}", std::process::id())
}

/// The target of the service that is reached over NATS.
const ON_NATS: &str = "0xS:0x001:bench";
/// The token outlives the load; the rest is for what is under way then.
const SECONDS_MAX: u64 = limits::TOKEN_LIFETIME_MAX - 60;
