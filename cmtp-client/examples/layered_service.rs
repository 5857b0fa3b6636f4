//! A layered service: greets whoever the node lets in, and answers with a layer of its own.
//!
//! The node has a route for it, with the DID that this prints as an actor:
//!
//!     [[route]]
//!     target = "0xS:0x001:hello_world"
//!     to = "nats:demo.hello"
//!     actors = ["did:key:z6Mk…"]
//!
//! Then, with the DID that `cmtpd` prints at its start:
//!
//!     cargo run -p cmtp-client --example layered_service -- did:key:z6Mk… [nats://127.0.0.1:4222]
//!
//! The service's key is that of CMTP_HOME (`cmtp id new`). Ctrl-C drains it: what it took is answered, nothing more is taken.

use std::env;

use anyhow::Context;
use cmtp_client::service::{Call, Refusal, Reply, Service};
use cmtp_client::{Home, Identity};
use cmtp_spec::Status;

async fn hello(call: Call) -> Result<Reply, Refusal> {
    let names: Vec<String> = serde_json::from_str(call.args().unwrap_or("[]"))
        .map_err(|_| Refusal::new(Status::BAD_REQUEST, "arguments: names, as JSON text"))?;
    Ok(Reply::text(format!("Hello, {}! You are {}.", names.join(" and "), call.caller())))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let node =
        env::args().nth(1).or(env::var("CMTP_NODE").ok()).context("argument: DID of the node")?;
    let bus = env::args().nth(2).unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned());
    let identity = Identity::load(&Home::from_env()?)?.context("make one: cmtp id new")?;
    println!("actor {}", identity.did());

    let service = Service::new("hello", "0.1.0", identity)
        .for_node(node.parse()?)
        .endpoint("demo.hello", hello)
        .start(&bus)
        .await?;
    println!("hello is ready");
    service.run_until(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await?;
    Ok(())
}
