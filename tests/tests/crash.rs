//! kill -9 under load: what was answered is in the journal, and nothing is executed twice.

use std::sync::Arc;

use cmtp_tests::load::{Caller, Load, check};
use cmtp_tests::{NatsServer, Node};
use futures::StreamExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kill_9_and_nothing_is_executed_twice() {
    let rounds: usize = std::env::var("CMTP_ROUNDS").map_or(3, |it| it.parse().unwrap());
    let nats = NatsServer::start();
    let mut node = Node::start(&format!(
        "bus = \"nats={}\"\n[journal]\nsegment-bytes = 1048576\n\
         [[route]]\ntarget = \"0xSW:orders:*\"\nto = \"nats:orders\"\n",
        nats.url
    ));
    let load = Arc::new(Load::default());
    serve_orders(&nats, Arc::clone(&load)).await;
    let caller = Arc::new(Caller::new(&node));
    let slots: Vec<_> = (0..SLOTS)
        .map(|slot| {
            // One in four goes over the bus, where the effect is not the node's.
            let family = if slot % 4 == 0 { "orders" } else { "crash" };
            let target = format!("0xSW:{family}:{slot}");
            tokio::spawn(Arc::clone(&load).write(Arc::clone(&caller), target, slot))
        })
        .collect();
    for round in 0..rounds {
        let before = load.received().len();
        load.reached(before + 40 + round * 37 % 400).await;
        node.kill();
        let received = load.received();
        check(&node, &received, round);
        node.restart();
    }
    load.stop();
    for slot in slots {
        slot.await.unwrap();
    }
    node.signal("TERM");
    assert_eq!(node.wait().code(), Some(0));
    let received = load.received();
    let journal = check(&node, &received, rounds);
    independent_reader_agrees(&node);
    let recorded = received.iter().filter(|receipt| receipt.recorded).count();
    let served = load.served.lock().unwrap();
    for (body, times) in served.iter() {
        assert_eq!(*times, 1, "the service was given {body:?} {times} times");
    }
    let confirmed = load.confirmed.lock().unwrap();
    for body in confirmed.iter().filter(|body| is_order(body)) {
        assert!(served.contains_key(body), "{body:?} was confirmed and never served");
    }
    println!(
        "{rounds} kills, {} answers ({recorded} from the record), {} orders served, {} entries: all there, none twice",
        received.len(),
        served.len(),
        journal.len(),
    );
}

/// A reader that was written from chapter 17 alone finds what the node itself finds.
fn independent_reader_agrees(node: &Node) {
    let read = node.read_by_peer();
    let own = node.cmtpd(&["journal", "check", "--json"]).stdout;
    let own: serde_json::Value = serde_json::from_slice(&own).unwrap();
    for (theirs, ours) in [
        ("entries", "entries"),
        ("commits", "commits"),
        ("messages", "messages"),
        ("open", "open"),
        ("executed_writes", "writes"),
        ("torn", "torn"),
    ] {
        assert_eq!(read[theirs], own[ours], "{theirs}: {read} {own}");
    }
}

/// A service that counts what it is given.
async fn serve_orders(nats: &NatsServer, load: Arc<Load>) {
    let client = async_nats::connect(&nats.url).await.unwrap();
    let mut orders = client.subscribe("orders").await.unwrap();
    client.flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(order) = orders.next().await {
            let body = String::from_utf8(order.payload.to_vec()).unwrap();
            *load.served.lock().unwrap().entry(body).or_default() += 1;
            client.publish(order.reply.unwrap(), "taken".into()).await.unwrap();
        }
    });
}

/// Bodies begin with their slot's number.
fn is_order(body: &str) -> bool {
    body.split(' ').next().unwrap().parse::<usize>().unwrap().is_multiple_of(4)
}

const SLOTS: usize = 16;
