//! Subscribes to a stream and prints what comes: at once to standard error, and to standard output once the node has
//! signed for it. Ctrl-C cancels the subscription.
//!
//!     CMTP_TOKEN=… cargo run -p cmtp-client --example subscribe -- cmtp://127.0.0.1:4433/0xE:orders.created

use std::env;
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Context;
use cmtp_client::{
    Channel, Client, ClientConfig, Home, Identity, NodeUrl, Request, Streaming, Trust,
};
use cmtp_codec::Fqmn;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let url: NodeUrl = env::args().nth(1).context("argument: URL")?.parse()?;
    let identity = Identity::load(&Home::from_env()?)?.context("make one: cmtp id new")?;
    let token = env::var("CMTP_TOKEN").ok();
    let client = Client::new(ClientConfig { token, ..ClientConfig::new(Arc::new(identity)) })?;
    let trust = url.did.map_or(Trust::FirstUse, Trust::Pinned);
    let channel = Channel::new(client, url.host, url.port, trust);

    let streaming = channel.open(Request::new(Fqmn::from_sugar(&url.path)?)).await?;
    tokio::select! {
        read = read(streaming) => read?,
        // Dropping the stream cancels it; closing the channel waits until the node was told.
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    channel.close().await;
    Ok(())
}

async fn read(mut streaming: Streaming) -> anyhow::Result<()> {
    while let Some(piece) = streaming.next().await? {
        if piece.is_sealed() {
            io::stdout().write_all(&piece.data)?;
            io::stdout().flush()?;
        } else {
            eprintln!("{} bytes that nobody stands for yet", piece.data.len());
        }
    }
    let ending = streaming.finish().await?;
    eprintln!("{} {}, {} layers", ending.status().0, ending.status(), ending.layers());
    Ok(())
}
