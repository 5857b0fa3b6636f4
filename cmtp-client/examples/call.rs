//! Calls a node and keeps the verified answer in a file, which `verify_file` judges without the node.
//!
//!     CMTP_TOKEN=… cargo run -p cmtp-client --example call -- cmtp://127.0.0.1:4433/0xS:echo hello answer.cmtp

use std::env;
use std::sync::Arc;

use anyhow::Context;
use cmtp_client::{
    Channel, Client, ClientConfig, Existing, Home, Identity, NodeUrl, Request, Trust, write_whole,
};
use cmtp_codec::Fqmn;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [url, body, file] = &arguments[..] else { anyhow::bail!("arguments: URL BODY FILE") };
    let url: NodeUrl = url.parse()?;

    let identity = Identity::load(&Home::from_env()?)?.context("make one: cmtp id new")?;
    let token = env::var("CMTP_TOKEN").ok();
    let client = Client::new(ClientConfig { token, ..ClientConfig::new(Arc::new(identity)) })?;
    // A DID in the URL says which node is meant; else it is whichever answers.
    let trust = url.did.map_or(Trust::FirstUse, Trust::Pinned);
    let channel = Channel::new(client, url.host, url.port, trust);

    let request = Request::new(Fqmn::from_sugar(&url.path)?).body(body.clone());
    let answer = channel.call(request).await?;
    write_whole(file.as_ref(), &answer.to_saved().to_stored(), Existing::Replace)?;
    println!("{} {}, in {file}", answer.status().0, answer.status());
    channel.close().await;
    Ok(())
}
