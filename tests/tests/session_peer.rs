//! A session that a peer opens which was written from the specification alone: `tests/peer/session.py`.

use std::process::Output;

use cmtp_tests::{Node, python, root};
use serde_json::{Value, json};

/// What the peer says of a session with this node, for the persona with this seed.
fn session(node: &Node, seed: u8, arguments: &[&str]) -> Output {
    let (host, port) = node.address.split_once(':').unwrap();
    let script = root().join("tests/peer/session.py");
    let seed = format!("{seed:02x}").repeat(32);
    let fixed = [host, port, "0xS:time", "--pin", &node.did, "--seed", &seed];
    python().arg(script).args(fixed).args(arguments).output().unwrap()
}

fn said(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The status of a call with a token that the peer left.
fn called(node: &Node, seed: u8, token: &str) -> Option<i32> {
    let (host, port) = node.address.split_once(':').unwrap();
    let script = root().join("tests/peer/client.py");
    let seed = format!("{seed:02x}").repeat(32);
    let arguments =
        ["call", host, port, "0xS:time", "--pin", &node.did, "--seed", &seed, "--token", token];
    python().arg(script).args(arguments).output().unwrap().status.code()
}

#[test]
fn a_session_from_hello_to_hangup() {
    let node = Node::start("");
    let wanted = r#"{"read":["0xS:**","0xP:**"],"write":["0xS:0x001:*"]}"#;
    let commitment = "5a".repeat(32);
    let said = said(&session(&node, 42, &["--want", wanted, "--recovery", &commitment]));
    // [SES-8] What is offered MUST NOT be wider than what is wanted, nor than the node's own.
    assert_eq!(said["scope"], json!({ "read": ["0xS:**"], "write": ["0xS:0x001:*"] }));
    // [SES-11] The first token is named as the grant, later ones by their second, too.
    let grant = said["grant"].as_str().unwrap();
    assert_eq!(grant.len(), 22);
    assert_eq!(said["jti"], grant);
    let renewed = said["renewed"].as_str().unwrap();
    assert!(renewed.strip_prefix(grant).unwrap().starts_with('.'), "{renewed}");
    assert_eq!((&said["called"], &said["calledRenewed"]), (&json!(200), &json!(200)));
    assert_eq!(said["listed"], json!([grant]));
    // [SES-12] [SES-15] A hangup ends the grant: its tokens, renewals, and the consent sent again.
    assert_eq!(said["hungUp"], renewed);
    let after = json!({ "called": [401, 401], "renewed": 401, "consented": 401 });
    assert_eq!(said["after"], after);
    let token = said["token"].as_str().unwrap();
    assert_eq!(called(&node, 42, token), Some(1), "refused on another connection, too");
}

#[test]
fn a_session_that_outlives_the_connection_and_the_node() {
    let mut node = Node::start("[session]\nread = [\"0xS:**\"]\nwrite = []\n");
    let kept = said(&session(&node, 43, &["--keep"]));
    assert_eq!(kept["scope"], json!({ "read": ["0xS:**"], "write": [] }));
    let ended = said(&session(&node, 44, &[]));
    let [kept, ended] = [kept, ended].map(|said| said["token"].as_str().unwrap().to_owned());
    assert_eq!(called(&node, 43, &kept), Some(0));
    // [SES-17] A token that was revoked MUST be refused after each start, and no other.
    node.kill();
    node.restart();
    assert_eq!(called(&node, 43, &kept), Some(0));
    assert_eq!(called(&node, 44, &ended), Some(1));
    // The reader of chapter 17 finds the grants in the journal, and the line that ended one.
    // Two are the node's own, one for each start.
    assert_eq!(node.read_by_peer()["grants"], 4);
}

#[test]
fn a_node_that_requires_what_the_peer_does_not_give() {
    let node = Node::start("[session]\nrequire-recovery = true\n");
    let output = session(&node, 45, &[]);
    // [SES-7] A client MUST end the handshake where something is required that it does not give.
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("SES-7"));
    let commitment = "5a".repeat(32);
    said(&session(&node, 45, &["--recovery", &commitment]));
}
