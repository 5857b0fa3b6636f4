//! A node under load that is stopped in order and started again: `cmtp bench` notices nothing but new connections.

use std::process::{Command, Stdio};

use cmtp_tests::load::{Receipt, check};
use cmtp_tests::{Home, Node, binary};
use serde_json::Value;

#[test]
fn a_load_goes_on_over_stops_and_starts() {
    let stops: usize = std::env::var("CMTP_ROUNDS").map_or(3, |it| it.parse().unwrap()).min(20);
    let mut node = Node::start("[journal]\nsegment-bytes = 4194304\n");
    let home = Home::new();
    let token = node.grant(&home.did, &["--scope", "0xS:**", "--write", "0xS:**"]);
    let receipts = home.file("receipts.jsonl");
    // Long enough for all the stops; it is told to end by them being over.
    let seconds = (3 + 2 * stops).to_string();
    let bench = Command::new(binary("cmtp"))
        .args(["bench", &node.url("0xSW:bench"), "--write", "--in-flight", "64", "--json"])
        .args(["--seconds", &seconds, "--token", &token, "--pin", &node.did, "--receipts"])
        .arg(&receipts)
        .env("CMTP_HOME", home.file("."))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut before = 0;
    for _ in 0..stops {
        // Some answers more than at the last stop: the load is running again.
        before = wait_for(&receipts, before + 100);
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
    let received = read(&receipts);
    assert_eq!(received.len() as u64, report["requests"].as_u64().unwrap());
    let entries = check(&node, &received, stops);
    println!("{stops} stops, {} answers, {} entries: {report}", received.len(), entries.len());
}

/// Waits until so many receipts are written, and says how many there are.
fn wait_for(receipts: &std::path::Path, count: usize) -> usize {
    loop {
        let lines = std::fs::read_to_string(receipts).map_or(0, |text| text.lines().count());
        if lines >= count {
            return lines;
        }
        std::thread::yield_now();
    }
}

fn read(receipts: &std::path::Path) -> Vec<Receipt> {
    let text = std::fs::read_to_string(receipts).unwrap();
    let parse = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        let id = data_encoding::HEXLOWER.decode(value["message_id"].as_str().unwrap().as_bytes());
        Receipt {
            message_id: id.unwrap().try_into().unwrap(),
            index: value["index"].as_u64().unwrap(),
            seal: value["seal"].as_str().unwrap().to_owned(),
            status: value["status"].as_u64().unwrap().try_into().unwrap(),
            recorded: value["recorded"].as_bool().unwrap(),
        }
    };
    text.lines().map(parse).collect()
}
