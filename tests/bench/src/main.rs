//! What CMTP is compared with, and the runner that measures all of it in one go.
//!
//! `cmtp-bench run` starts each server in a process of its own and loads it from another one: this same program, as
//! `cmtp-bench serve` and `cmtp-bench load`, for the peers; `cmtpd serve` and `cmtp bench` for CMTP. Nothing of CMTP is
//! linked into it. `tests/bench/run` builds everything and calls it.

mod ceiling;
mod cell;
mod evidence;
mod gateway;
mod grpc;
mod h3;
mod headers;
mod keys;
mod load;
mod nats;
mod peer;
mod process;
mod quic;
mod run;
mod table;

use anyhow::anyhow;
use clap::Parser;

/// mimalloc for all peers, so that no allocator makes the difference.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure CMTP beside its peers.
#[derive(Parser)]
enum Command {
    Run(run::Run),
    Serve(peer::Serve),
    Load(peer::LoadPeer),
    NatsEcho(nats::NatsEcho),
}

fn main() -> anyhow::Result<()> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().map_err(|_other| anyhow!("another TLS provider is installed"))?;
    match Command::parse() {
        Command::Run(run) => run.run(),
        Command::Serve(serve) => serve.run(),
        Command::Load(load) => load.run(),
        Command::NatsEcho(echo) => echo.run(),
    }
}
