//! The server goes away, and comes back.

use cmtp_spec::{EntryFlags, FieldIndex, Status};
use futures::StreamExt;

use crate::scene::{Scene, has, listen, route, settled};
use crate::traffic::{Process, Told, Traffic};

const ROUTES: &str = "
    [[route]]
    target = \"0xS:held\"
    to = \"nats:held\"
    [[route]]
    target = \"0xSW:held\"
    to = \"nats:held\"
    [[route]]
    target = \"0xS:there\"
    to = \"nats:there\"
    [[route]]
    target = \"0xSW:there\"
    to = \"nats:there\"
";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_takes_no_request_with_it() {
    // [NAT-5] [NAT-18] [JRN-2]
    let mut scene = Scene::new("", ROUTES).await;
    let client = scene.client().await;
    listen(&client, "there", async |client, request| {
        client.publish(request.reply.unwrap(), request.payload).await.unwrap();
    })
    .await;
    let mut held = client.subscribe("held").await.unwrap();
    settled(&client).await;
    // A read and a write are with the service when the server dies.
    let read = scene.caller.write(&scene.connection, "0xS:held", "read");
    let write = scene.caller.write(&scene.connection, "0xSW:held", "write");
    let (connection, server) = (&scene.connection, &mut scene.server);
    let (read, written, ()) =
        tokio::join!(connection.send(&read), connection.send(&write), async {
            held.next().await.unwrap();
            held.next().await.unwrap();
            server.kill();
        });
    let read = read.unwrap();
    assert_eq!((read.status(), read.retry_after()), (Status::UNAVAILABLE, Some(1)));
    let written = written.unwrap();
    assert_eq!(written.status(), Status::BAD_SERVICE_ANSWER);
    assert!(has(&written, FieldIndex::OUTCOME_UNKNOWN), "{written:?}");
    // What comes while it is down is refused at once, and a write is known to have had no effect.
    for target in ["0xS:there", "0xSW:there"] {
        let refused = scene.call(target, "x").await;
        assert_eq!((refused.status(), refused.retry_after()), (Status::UNAVAILABLE, Some(1)));
        assert_eq!(has(&refused, FieldIndex::NO_EFFECT), target == "0xSW:there");
    }
    // The node lives, and finds the server when it is back.
    assert_eq!(scene.call("0xS:echo", "x").await.status(), Status::OK);
    scene.server.restart();
    for target in ["0xS:there", "0xSW:there"] {
        while scene.call(target, "x").await.status() == Status::UNAVAILABLE {}
        assert_eq!(scene.call(target, "again").await.body().unwrap(), "again");
    }
    let entries = cmtp_tests::load::check(&scene.node, &[], 0);
    let unknown =
        |entry: &&serde_json::Value| entry["flags"] == u64::from(EntryFlags::OUTCOME_UNKNOWN.0);
    assert_eq!(entries.iter().filter(unknown).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_again_and_again_costs_no_answer() {
    // [NAT-5] [NAT-18] [JRN-2]
    let mut scene = Scene::new("", &route("hello", "hello", "timeout-ms = 2000")).await;
    let _instances = [(); 2].map(|()| Process::start(&scene, "hello"));
    let traffic = Traffic::begin(&scene, "hello", 8);
    for _ in 0..RESTARTS {
        traffic.served(50).await;
        scene.server.kill();
        traffic.refused(8).await;
        tokio::task::block_in_place(|| scene.server.restart());
    }
    traffic.served(50).await;
    let told = traffic.end(&scene).await;
    let named = |told: &&Told| match told.status {
        Status::OK | Status::UNAVAILABLE | Status::DEADLINE_EXCEEDED => true,
        // A write that a service may have had when the server died.
        Status::BAD_SERVICE_ANSWER => told.is_write,
        _ => false,
    };
    let other: Vec<_> = told.iter().filter(|told| !named(told)).collect();
    assert!(other.is_empty(), "{other:?}");
    assert_eq!(scene.call("0xS:echo", "x").await.status(), Status::OK);
}

const RESTARTS: usize = 10;
