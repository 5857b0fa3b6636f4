//! `cmtpd serve`.

use std::env;
use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use cmtp_client::session::{Login, LoginError};
use cmtp_client::{Client, ClientConfig, ConnectError, TokenError, Trust};
use cmtp_codec::PublicKey;
use cmtp_server::{Bound, Bus, Config, Http, Listener, Node, NodeError};
use cmtp_spec::limits;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::address_file;

/// Start the node.
///
/// Prints one line once it listens: address, DID, and how to pin it. Logs go to stderr; RUST_LOG sets how
/// much (such as RUST_LOG=cmtp_server=debug). IAM comes first: the node opens a session at itself, then starts its
/// services. On first start the node's key is made in the data directory;
/// whoever has that file is the node. SIGINT and SIGTERM end it in order: requests that came are answered
/// first; a second signal ends it at once. SIGHUP reads the configuration file again, and keeps
/// connections; a bad file changes nothing.
///
///   cmtpd serve
///   cmtpd serve --config cmtpd.toml --http 127.0.0.1:9433
///   cmtpd serve --listen 0.0.0.0:4433 --data /var/lib/cmtpd --log json
///   cmtpd serve --bus nats=nats://127.0.0.1:4222 --config cmtpd.toml
///
/// Exit codes: 0 after a signal; 1 where it can't start, or its disk fails; 2 for usage.
#[derive(Args)]
#[command(verbatim_doc_comment, after_long_help = CONFIGURATION)]
pub(crate) struct Serve {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// UDP address to listen on; port 0 takes a free one [default: 127.0.0.1:4433]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Directory for the node's key and journal [default: ~/.local/share/cmtpd]
    #[arg(long, value_name = "DIR", env = "CMTPD_DATA")]
    data: Option<PathBuf>,
    /// Where services outside of the process are reached: local (none) or nats=URL [default: local]
    #[arg(long, value_name = "BUS")]
    bus: Option<String>,
    /// Take routes with bus-auth = "none": whoever is on the bus can forge their callers and answers.
    #[arg(long)]
    insecure_bus: bool,
    /// Threads that serve connections, 1 to 256 [default: 1]
    ///
    /// Each connection stays on one. A client whose address changes may come to another and has to connect again, which
    /// the client library does. The journal and the bus have threads of their own, or share the first.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// TCP address of /healthz and /metrics, such as 127.0.0.1:9433 [default: not served]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Begin a new transparency log where the journal does not continue the last one, as after a backup was restored.
    ///
    /// The new log cites the newest checkpoint that is known of the old one, for every auditor to see, and no writes are
    /// served for an hour: what was done since the backup is not known any more. Does nothing where nothing was lost.
    #[arg(long)]
    follow_log: bool,
    /// How the log is written.
    #[arg(long, value_enum, default_value_t = Log::Text)]
    log: Log,
}

/// How the log is written.
#[derive(Clone, Copy, ValueEnum)]
enum Log {
    /// A line for people.
    Text,
    /// An object a line.
    Json,
}

impl Serve {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let filter = env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| !filter.is_empty());
        // The NATS client tells of each attempt to connect again; the node says when the bus is lost and back.
        let filter = filter.unwrap_or_else(|| "info,async_nats=warn".to_owned());
        let filter = EnvFilter::try_new(&filter)
            .with_context(|| format!("RUST_LOG={filter}: expected such as cmtp_server=debug"))?;
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log {
            Log::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
            Log::Json => log.json().init(),
        }
        runtime()?.block_on(serve(self))
    }

    fn config(&self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::from_file(path)?,
            None => Config::default(),
        };
        config.listen = self.listen.unwrap_or(config.listen);
        config.http = self.http.or(config.http);
        config.threads = self.threads.unwrap_or(config.threads);
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        }
        if let Some(bus) = &self.bus {
            config.bus = bus.parse::<Bus>().context("--bus")?;
        }
        config.insecure_bus = self.insecure_bus;
        config.follow_log = self.follow_log;
        Ok(config)
    }
}

/// What the system tells the node.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal means.
enum Told {
    Stop,
    Reload,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}

async fn serve(options: Serve) -> anyhow::Result<()> {
    // Before anything can be reloaded or stopped, so that no signal is missed.
    let mut signals = Signals::new().context("can't wait for signals")?;
    let config = options.config()?;
    let node = Arc::new(Node::open(&config).await?);
    node.hold_services();
    let did = node.did();
    let report = node.journal_report();
    tracing::info!(entries = report.entries, torn = report.torn, "the journal is open");
    let mut sockets = Bound::sockets(&node, config.listen, config.threads)?.into_iter();
    let first = sockets.next().context("there is at least one socket")?;
    let listener = Arc::new(first.listen()?);
    let address = listener.address()?;
    let others = sockets.map(Thread::start).collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(listen) = config.http {
        let http = Http::bind(Arc::clone(&node), listen).await;
        let http = http.with_context(|| {
            format!("can't serve HTTP on {listen}; choose another with --http or http.listen")
        })?;
        tracing::info!(address = %http.address()?, "/healthz and /metrics are served");
        tokio::spawn(http.run());
    }
    let running = tokio::spawn({
        let listener = Arc::clone(&listener);
        async move { listener.run().await }
    });
    boot(&node, address, config.session.is_open).await?;
    let said = address_file::write(&config.data, address);
    // Once nothing is left that could keep it from starting.
    println!(
        "cmtpd listens on {address} as {did} (pin it: cmtp call --pin {did} cmtp://{address}/0xS:echo)"
    );
    let keys = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.keep_keys().await }
    });
    let summaries = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.keep_summaries().await }
    });
    let policies = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.keep_policies().await }
    });
    let failed = loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::Reload => {
                    reload(&options, &node).await;
                    node.reload_policies().await;
                }
                Told::Stop => break None,
            },
            // What is not durable must not be acknowledged, so there is nothing left to do.
            reason = node.failed() => break Some(reason),
        }
    };
    if failed.is_none() {
        tracing::info!("stopping: no more requests are taken, those that came are finished");
        tokio::select! {
            left = listener.drain(Duration::from_secs(limits::DRAIN_TIMEOUT)) => match left {
                0 => tracing::info!("all requests were answered"),
                left => tracing::warn!(left, "some requests took too long and were cut off"),
            },
            _again = signals.next() => tracing::warn!("told again to stop: requests are cut off"),
        }
    }
    for thread in &others {
        thread.listener.close().await;
    }
    listener.close().await;
    others.into_iter().for_each(Thread::join);
    running.abort();
    summaries.abort();
    policies.abort();
    keys.abort();
    drop(said);
    node.summarize().await;
    node.close();
    match failed {
        Some(reason) => Err(anyhow!("the journal failed: {reason}")),
        None => Ok(()),
    }
}

/// Brings the node up in its order: IAM listens already; the node opens a session of its own there, as everybody does, and
/// then starts its services.
async fn boot(node: &Arc<Node>, address: SocketAddr, has_sessions: bool) -> anyhow::Result<()> {
    if has_sessions {
        tracing::info!("IAM is up; the node opens its own session");
        match own_session(node, address).await {
            Ok(persona) => tracing::info!(%persona, "the node has its session"),
            // Whoever else asks is told the same, until there is room.
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "the node has no session of its own for now");
            }
            Err(error) => return Err(anyhow!("the node can't open a session at itself: {error}")),
        }
    }
    node.start_services();
    tracing::info!("the services are up");
    Ok(())
}

async fn own_session(node: &Node, address: SocketAddr) -> Result<PublicKey, BootError> {
    let client = Client::new(ClientConfig::new(Arc::new(node.identity()?)))?;
    let own = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(own, address.port());
    let connection = client.connect(address, "localhost", Trust::Pinned(node.did())).await?;
    let login = Login { recovery: connection.identity().recovery(), ..Login::default() };
    connection.begin_login(&login).await?.consent().await?;
    client.close().await;
    Ok(connection.identity().did())
}

/// Why the node has no session of its own.
#[derive(Debug, thiserror::Error)]
enum BootError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Client(#[from] TokenError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Login(#[from] LoginError),
}

impl BootError {
    /// Whether it may go better later: callers may have taken all the room there is.
    const fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_retryable(),
            Self::Login(error) => error.is_retryable(),
            Self::Node(_) | Self::Client(_) => false,
        }
    }
}

/// A thread that serves the connections of one socket.
struct Thread {
    listener: Arc<Listener>,
    thread: JoinHandle<()>,
}

impl Thread {
    /// Starts it, and waits until it listens.
    fn start(socket: Bound) -> anyhow::Result<Self> {
        let (listening, is_listening) = mpsc::channel();
        let thread = thread::Builder::new().name("cmtpd-quic".to_owned());
        let thread = thread.spawn(move || {
            let runtime = match runtime() {
                Ok(runtime) => runtime,
                Err(error) => return drop(listening.send(Err(error.into()))),
            };
            runtime.block_on(async {
                let listener = match socket.listen() {
                    Ok(listener) => Arc::new(listener),
                    Err(error) => return drop(listening.send(Err(anyhow::Error::from(error)))),
                };
                if listening.send(Ok(Arc::clone(&listener))).is_ok() {
                    listener.run().await;
                    // Until its peers were told.
                    listener.close().await;
                }
            });
        })?;
        let listener = is_listening.recv().context("a thread ended before it listened")??;
        Ok(Self { listener, thread })
    }

    /// Waits for its end, which closing its listener brings.
    fn join(self) {
        // One that panicked said so.
        let _panicked = self.thread.join();
    }
}

/// Connections and what they ask for stay on one thread.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

async fn reload(options: &Serve, node: &Node) {
    if let Err(error) = node.renew_keys().await {
        tracing::error!(%error, "the keys of before stay in use");
    }
    let reloaded = match options.config() {
        Ok(config) => node.reload(&config).await.map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    match reloaded {
        Ok(unchanged) => {
            tracing::info!("the configuration was reloaded");
            for key in unchanged {
                tracing::warn!(key, "changed in the file, and stays as it is until the next start");
            }
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the old configuration stays in force");
        }
    }
}

const CONFIGURATION: &str = "\
The configuration file (TOML) may hold any of these; flags win over it:
  listen = \"127.0.0.1:4433\"
  threads = 1                            # that serve connections
  data = \"/var/lib/cmtpd\"
  bus = \"nats=nats://127.0.0.1:4222\"     # or \"local\"
  body-max = 16777216                    # bytes

  [journal]
  mode = \"wal\"                          # durable before the answer; or \"async\", as receipts then say
  segment-bytes = 67108864               # of a log file; the room is set aside on the disk

  [audit]
  stream = false                         # true: entries go to JetStream on the bus, too (chapter 19)
  stream-max-bytes = 107374182400        # of the stream, where the node makes it; no limit without this
  stream-max-days = 365                  # no limit without this

  [http]                                 # /healthz and /metrics; not served without this
  listen = \"127.0.0.1:9433\"
  allow-remote = false                   # true: another than a loopback address

  [policy]
  folder = \"/etc/cmtpd/policies\"       # of *.cedar; without this, policies in the data directory

  [limits]                               # each may be set lower than chapter 15 of the specification
  in-flight-max = 1000

  [log]
  interval-ms = 1000                     # between two checkpoints
  merge-delay = 60                       # seconds within which an entry is under one, as receipts promise

  [session]                              # what the handshake offers (cmtp login)
  open = true                            # false: only tokens that cmtpd grant makes
  read = [\"0xS:**\"]                     # at most, within the policies; all without this
  write = [\"0xS:**\"]
  grant-seconds = 2592000                # how long a session lasts
  token-seconds = 900                    # how long each of its tokens does
  require-recovery = false               # true: a persona has to commit to a recovery key

  [[log.witness]]                        # asked to cosign each checkpoint; see: cmtpd witness --help
  key = \"cmtp-witness/z6Mk…\"           # the line of: cmtpd witness --vkey
  url = \"http://127.0.0.1:7380\"

  [[issuer]]                             # OpenID Connect: whose word is taken for groups and attributes
  name = \"corp\"                          # groups become corp/GROUP; see: cmtpd issuer check --help
  iss = \"https://login.example\"
  audience = \"cmtp-node-1\"              # what the issuer calls this node
  algorithms = [\"RS256\", \"ES256\", \"EdDSA\"]
  jwks = \"/etc/cmtpd/corp.jwks.json\"    # or an https:// URL
  groups = \"groups\"                     # the claim that lists them, or a path: realm_access.roles
  attributes = { department = \"dept\" }  # attribute = claim
  bind = \"nonce\"                        # a token is for one persona; \"none\": whoever has it may show it
  max-age = 3600                         # seconds since it was made

  [names]
  \"helloworld.mcom\" = \"0xS:0x001:hello_world\"

  [[route]]
  target = \"0xS:0x001:*\"               # a pattern: * is one element, ** the rest
  to = \"nats:greet\"                    # or \"nats\" (subject from the target), \"local:hello\"
  timeout-ms = 5000
  headers = [\"content-type\"]           # fields that pass as NATS headers, both ways
  journal = \"async\"                     # how its exchanges are journalled, if not as above

  [[route]]
  target = \"0xS:hello\"
  to = \"nats:demo.hello\"
  actors = [\"did:key:z6Mk…\"]           # a layered service: who may answer, by their keys
  bus-auth = \"mac\"                      # or \"signature\"; \"none\" needs --insecure-bus

A target that is spelled with a write opcode, such as 0xSW:orders:*, is a route for writes, any other one for reads.
0xS:echo, 0xS:time, 0xS:time:ticks, 0xE:audit and State (0xS:ADDRESS:KEY, 0xSW:ADDRESS:KEY) are always there.
Policies decide what of a token's scope is allowed: see cmtpd policy --help. A change of them needs no signal.
SIGHUP reads the file and the node's keys again; listen, threads, data, bus, http, audit, policy, limits and segment-bytes need a new start.";
