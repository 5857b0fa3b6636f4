//! A peer as a process: its server, or what loads it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use tokio::runtime::{Builder, Runtime};

use crate::keys::Keys;
use crate::load::{Outcome, Plan, load};
use crate::{ceiling, gateway, grpc, h3, nats, quic};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// A bidirectional QUIC stream for each request, and nothing else.
    Quinn,
    /// Quinn with the evidence of an exchange, and nothing else of CMTP.
    Ceiling,
    /// The same over NATS.
    CeilingNats,
    /// HTTP/3.
    H3,
    /// gRPC.
    Grpc,
    /// HTTP/2 to NATS, with a JWT check for each request.
    Gateway,
    /// HTTP/2 to NATS, without any check.
    GatewayUnchecked,
    /// NATS alone; its servers are started by themselves.
    Nats,
}

/// Serve a peer; prints the address that it listens on.
#[derive(Args)]
pub(crate) struct Serve {
    peer: Peer,
    /// The directory of certificate and keys.
    #[arg(long)]
    keys: PathBuf,
    /// The NATS server behind a gateway or a ceiling.
    #[arg(long, default_value = "")]
    nats: String,
    /// 1 is a current-thread runtime.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

impl Serve {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let keys = Keys::load(self.keys)?;
        runtime(self.threads)?.block_on(async {
            match self.peer {
                Peer::Quinn => quic::serve(&keys).await,
                Peer::Ceiling => ceiling::serve(&keys, None).await,
                Peer::CeilingNats => ceiling::serve(&keys, Some(&self.nats)).await,
                Peer::H3 => h3::serve(&keys).await,
                Peer::Grpc => grpc::serve(&keys).await,
                Peer::Gateway => gateway::serve(&keys, &self.nats, true).await,
                Peer::GatewayUnchecked => gateway::serve(&keys, &self.nats, false).await,
                Peer::Nats => anyhow::bail!("nats-server and nats-echo serve this"),
            }
        })
    }
}

/// Load a peer; prints the outcome as JSON, with the keys of `cmtp bench`.
#[derive(Args)]
pub(crate) struct LoadPeer {
    peer: Peer,
    /// Where its server listens; a URL for NATS.
    address: String,
    /// The directory of certificate and keys.
    #[arg(long)]
    keys: PathBuf,
    /// Requests under way at a time, on one connection.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Bytes of each body, in both directions.
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// 1 is a current-thread runtime.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

impl LoadPeer {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let keys = Keys::load(self.keys.clone())?;
        let outcome = runtime(self.threads)?.block_on(self.load(&keys))?;
        println!("{}", outcome.to_json());
        Ok(())
    }

    async fn load(&self, keys: &Keys) -> anyhow::Result<Outcome> {
        let plan = Plan {
            in_flight: self.in_flight,
            span: Duration::from_secs(self.seconds),
            body: Bytes::from(vec![b'x'; self.size]),
        };
        let address = || self.address.parse::<SocketAddr>().context("the server's address");
        match self.peer {
            Peer::Quinn => load(plan, quic::Stream::connect(address()?, keys).await?).await,
            Peer::Ceiling | Peer::CeilingNats => {
                load(plan, ceiling::Exchange::connect(address()?, keys).await?).await
            }
            Peer::H3 => load(plan, h3::Post::connect(address()?, keys).await?).await,
            Peer::Grpc => load(plan, grpc::Unary::connect(address()?, keys).await?).await,
            Peer::Gateway | Peer::GatewayUnchecked => {
                load(plan, gateway::Post::connect(address()?, keys).await?).await
            }
            Peer::Nats => load(plan, nats::Request::connect(&self.address).await?).await,
        }
    }
}

fn runtime(threads: usize) -> anyhow::Result<Runtime> {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    Ok(builder.worker_threads(threads).enable_all().build()?)
}

/// Tells who started this server where it listens.
pub(crate) fn announce(address: SocketAddr) {
    println!("{address}");
}
