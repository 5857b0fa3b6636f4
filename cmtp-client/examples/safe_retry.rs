//! Sends a write so that it is executed once, whatever dies meanwhile: the node, the network or this program.
//!
//! The request is in a file before it is sent. Whoever finds the file sends the same bytes, which a node answers from its
//! records if it has executed them. Run it, kill it, and run it again with the same arguments.
//!
//!     CMTP_TOKEN=… cargo run -p cmtp-client --example safe_retry -- cmtp://127.0.0.1:4433/0xSW:orders 'one pizza' order.pending

use std::env;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cmtp_client::{
    Channel, Client, ClientConfig, Home, Identity, NodeUrl, Pending, Request, Trust,
};
use cmtp_codec::Fqmn;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [url, body, file] = &arguments[..] else { anyhow::bail!("arguments: URL BODY FILE") };
    let (url, file): (NodeUrl, _) = (url.parse()?, Path::new(file));

    let identity = Identity::load(&Home::from_env()?)?.context("make one: cmtp id new")?;
    let identity = Arc::new(identity);
    let token = env::var("CMTP_TOKEN").ok();
    // Five seconds without a packet, and the connection is made anew.
    let idle_timeout = Duration::from_secs(5);
    let config = ClientConfig { token, idle_timeout, ..ClientConfig::new(Arc::clone(&identity)) };
    let trust = url.did.map_or(Trust::FirstUse, Trust::Pinned);
    let channel = Channel::new(Client::new(config)?, url.host, url.port, trust);

    let pending = match Pending::load(file, &identity)? {
        Some(pending) => pending,
        None => {
            let request = Request::new(Fqmn::from_sugar(&url.path)?)
                .body(body.clone())
                .valid_for(Duration::from_secs(300));
            Pending::keep(file, channel.prepare(request).await?)?
        }
    };
    // Again and again for five minutes from when it was made, where that is safe.
    let answer = channel.send(pending.request()).await?;
    let recorded = if answer.is_recorded() { " (recorded earlier)" } else { "" };
    println!("{} {}{recorded}", answer.status().0, answer.status());
    if !pending.settle(&answer)? {
        println!("not settled: run this again");
    }
    channel.close().await;
    Ok(())
}
