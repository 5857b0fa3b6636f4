//! A node under load that is stopped in order and started again: `cmtp bench` notices nothing but new connections.

use std::process::{Command, Stdio};

use cmtp_tests::load::{Receipts, check};
use cmtp_tests::{Home, Node, binary};
use serde_json::Value;

#[test]
fn a_load_goes_on_over_stops_and_starts() {
    let stops: usize = std::env::var("CMTP_ROUNDS").map_or(3, |it| it.parse().unwrap()).min(20);
    let mut node = Node::start("[journal]\nsegment-bytes = 4194304\n");
    let home = Home::new();
    let token = node.grant(&home.did, &["--scope", "0xS:**", "--write", "0xS:**"]);
    let mut receipts = Receipts::new(home.file("receipts.jsonl"));
    // Long enough for all the stops; it is told to end by them being over.
    let seconds = (3 + 2 * stops).to_string();
    let bench = Command::new(binary("cmtp"))
        .args(["bench", &node.url("0xSW:bench"), "--write", "--in-flight", "64", "--json"])
        .args(["--seconds", &seconds, "--token", &token, "--pin", &node.did, "--receipts"])
        .arg(receipts.path())
        .env("CMTP_HOME", home.file("."))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut before = 0;
    for _ in 0..stops {
        // Some answers more than at the last stop: the load is running again.
        receipts.reached(before + 100);
        before = receipts.received().len();
        node.signal("TERM");
        assert_eq!(node.wait().code(), Some(0), "a node that is told to stop ends in order");
        node.restart();
    }
    let output = bench.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "every call succeeds in the end: {text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert!(report["reconnects"].as_u64().unwrap() >= stops as u64, "{report}");
    node.signal("TERM");
    assert_eq!(node.wait().code(), Some(0));
    let received = receipts.received();
    assert_eq!(received.len() as u64, report["requests"].as_u64().unwrap());
    let entries = check(&node, received, stops);
    println!("{stops} stops, {} answers, {} entries: {report}", received.len(), entries.len());
}
