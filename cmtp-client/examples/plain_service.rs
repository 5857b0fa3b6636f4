//! A plain service: any NATS micro service will do, it knows nothing of CMTP. Body in, body out.
//!
//! Who may publish on the bus may call it, and may answer in its place; where that is too little: `layered_service.rs`.
//! The node's route for it:
//!
//!     [[route]]
//!     target = "0xS:0x001:hello_world"
//!     to = "nats:demo.hello"
//!
//!     cargo run -p cmtp-client --example plain_service -- [nats://127.0.0.1:4222]

use std::env;

use anyhow::anyhow;
use async_nats::service::ServiceExt;
use async_nats::service::error::Error;
use futures::StreamExt;

/// The arguments are the payload where the request has no body: JSON text of an array.
fn hello(payload: &[u8]) -> Result<String, Error> {
    let names: Vec<String> = serde_json::from_slice(payload)
        .map_err(|error| Error { status: format!("arguments: {error}"), code: 400 })?;
    Ok(format!("Hello, {}!", names.join(" and ")))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let bus = env::args().nth(1).unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned());
    let client = cmtp_client::bus::connect(&bus, "hello").await?;
    let builder = client.service_builder().queue_group("hello");
    let service = builder.start("hello", "0.1.0").await.map_err(|error| anyhow!(error))?;
    let mut requests = service.endpoint("demo.hello").await.map_err(|error| anyhow!(error))?;
    client.flush().await?;
    println!("hello is ready");
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            _stop = tokio::signal::ctrl_c() => None,
        };
        let Some(request) = request else { break };
        request.respond(hello(&request.message.payload).map(Into::into)).await?;
    }
    service.stop().await.map_err(|error| anyhow!(error))?;
    client.flush().await?;
    Ok(())
}
