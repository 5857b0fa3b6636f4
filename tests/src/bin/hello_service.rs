//! A layered service in a process of its own, to be killed: `hello_service NATS-URL NODE-DID SUBJECT SEED`.
//!
//! Says `ready` once it answers. SIGTERM drains it; it then says how many requests it answered.

use cmtp_client::Identity;
use cmtp_client::service::{Call, Reply, Service};
use data_encoding::HEXLOWER;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, node, subject, seed] = arguments.as_slice() else {
        panic!("hello_service NATS-URL NODE-DID SUBJECT SEED");
    };
    let seed = HEXLOWER.decode(seed.as_bytes()).expect("hexadecimal digits");
    let seed = seed.as_slice().try_into().expect("32 bytes");
    let mut terminate = signal(SignalKind::terminate()).expect("a signal can be waited for");
    let running = Service::new("hello", "0.1.0", Identity::from_seed(seed).expect("an identity"))
        .for_node(node.parse().expect("a DID"))
        .endpoint(subject, |call: Call| async move {
            let body = call.body().cloned().unwrap_or_default();
            Ok(Reply::new("text/plain", body))
        })
        .start(url)
        .await
        .expect("the service starts");
    println!("ready");
    let counts = running.counter();
    running.run_until(async { _ = terminate.recv().await }).await.expect("it drains");
    println!("{}", counts().answered);
}
