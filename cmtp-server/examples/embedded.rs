//! A node in a program of one's own, with a service of one's own in it: no second process, no bus.
//!
//!     cargo run -p cmtp-server --example embedded -- /tmp/embedded $(cmtp id show)
//!
//! It prints where it listens and a token for that identity; then, in another terminal,
//!
//!     cmtp call cmtp://127.0.0.1:PORT/0xS:words --data 'how many words' --token TOKEN

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, path::PathBuf};

use cmtp_codec::{Pattern, Scope};
use cmtp_server::service::{BoxFuture, BusAuth, Call, Refusal, Reply, Service};
use cmtp_server::{Config, Grant, Listener, Node, NodeKeys, Services};
use cmtp_spec::Status;

/// Counts the words of a body.
struct Words;

impl Service for Words {
    fn call<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>> {
        Box::pin(async move {
            let body = call.origin.data().map(|body| std::str::from_utf8(body)).transpose();
            let Ok(Some(text)) = body else {
                return Err(Refusal::new(Status::BAD_REQUEST, "send the text as the body"));
            };
            let count = text.split_whitespace().count();
            Ok(Reply::ok("text/plain", format!("{count} words from {}", call.caller)))
        })
    }

    fn bus_auth(&self) -> BusAuth {
        BusAuth::LOCAL
    }
}

const CONFIG: &str = r#"
    listen = "127.0.0.1:0"
    [[route]]
    target = "0xS:words"
    to = "local:words"
"#;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [data, caller] = &arguments[..] else { anyhow::bail!("arguments: DATA-DIRECTORY DID") };
    let mut config = Config::from_toml(CONFIG)?;
    config.data = PathBuf::from(data);

    let services = Services::default().with("words", Words);
    let node = Arc::new(Node::open_with(&config, services).await?);
    let listener = Arc::new(Listener::bind(Arc::clone(&node), config.listen)?);
    println!("{} as {}", listener.address()?, node.did());

    let scope = Scope::new(vec![Pattern::parse("0xS:words")?], Vec::new())?;
    let grant = Grant { to: caller.parse()?, scope, lifetime: Duration::from_secs(900) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    println!("{}", grant.mint(&NodeKeys::load_or_create(&config.data)?, now)?);

    let running = tokio::spawn({
        let listener = Arc::clone(&listener);
        async move { listener.run().await }
    });
    tokio::signal::ctrl_c().await?;
    // What was begun is answered first.
    listener.drain(Duration::from_secs(10)).await;
    listener.close().await;
    node.close();
    Ok(running.await?)
}
