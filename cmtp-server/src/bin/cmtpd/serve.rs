//! `cmtpd serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::Args;
use cmtp_server::{Bus, Config, Listener, Node};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Start the node.
///
/// Prints one line once it listens: the address, the node's DID, and how to pin it. Logs go to stderr; RUST_LOG sets how
/// much (such as RUST_LOG=cmtp_server=debug). On first start the node's key is made in the data directory; whoever has
/// that file is the node. SIGINT and SIGTERM end it.
#[derive(Args)]
#[command(after_long_help = CONFIGURATION)]
pub(crate) struct Serve {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// UDP address to listen on; port 0 takes a free one [default: 127.0.0.1:4433]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Directory for the node's key [default: ~/.local/share/cmtpd]
    #[arg(long, value_name = "DIR", env = "CMTPD_DATA")]
    data: Option<PathBuf>,
    /// Where services outside of the process are reached: local (none) or nats=URL [default: local]
    #[arg(long, value_name = "BUS")]
    bus: Option<String>,
}

impl Serve {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        tracing_subscriber::fmt()
            .with_env_filter(
                EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("info")),
            )
            .with_writer(std::io::stderr)
            .init();
        let config = self.config()?;
        tokio::runtime::Runtime::new()?.block_on(serve(config))
    }

    fn config(self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::from_file(path).with_context(|| path.display().to_string())?,
            None => Config::default(),
        };
        config.listen = self.listen.unwrap_or(config.listen);
        config.data = self.data.unwrap_or(config.data);
        if let Some(bus) = self.bus {
            config.bus = bus.parse::<Bus>()?;
        }
        Ok(config)
    }
}

/// Waits for SIGINT or SIGTERM.
async fn told_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let node = Arc::new(Node::open(&config).await?);
    let did = node.did();
    let listener = Listener::bind(Arc::clone(&node), config.listen)?;
    let address = listener.address()?;
    println!(
        "cmtpd listens on {address} as {did} (pin it: cmtp call --pin {did} cmtp://{address}/0xS:echo)"
    );
    let ended = tokio::select! {
        () = listener.run() => Ok(()),
        stopped = told_to_stop() => stopped.context("can't wait for signals"),
        // What is not durable must not be acknowledged, so there is nothing left to do.
        reason = node.failed() => Err(anyhow!("the journal failed: {reason}")),
    };
    listener.close().await;
    node.close();
    ended
}

const CONFIGURATION: &str = "\
The configuration file (TOML) may hold any of these; flags win over it:
  listen = \"127.0.0.1:4433\"
  data = \"/var/lib/cmtpd\"
  bus = \"nats=nats://127.0.0.1:4222\"     # or \"local\"
  body-max = 16777216                    # bytes

  [names]
  \"helloworld.mcom\" = \"0xS:0x001:hello_world\"

  [[route]]
  target = \"0xS:0x001:*\"               # a pattern: * is one element, ** the rest
  to = \"nats:greet\"                    # or \"nats\" (subject from the target), \"local:hello\"
  timeout-ms = 5000
  headers = [\"content-type\"]           # fields that pass as NATS headers, both ways

0xS:echo and 0xS:time are always there.";
