//! A node's keys are replaced while it runs, and its root key is elsewhere. `cmtp-spec/spec/25-node-keys.md`.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cmtp_client::{Answer, Connection, LogSeen, Request};
use cmtp_codec::{Fqmn, PublicKey, Unverified, Verdict};
use cmtp_spec::{KeyUse, Status};
use cmtp_tests::archive::{Maker, Plan};
use cmtp_tests::load::{Caller, Load, check, entries};
use cmtp_tests::{Home, Node};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Runs `cmtpd keys` with these arguments, which has to succeed.
fn keys(node: &Node, arguments: &[&str]) -> String {
    let output = node.cmtpd(&[&["keys"], arguments].concat());
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What `cmtpd keys list` says.
fn listed(node: &Node) -> Value {
    serde_json::from_str(&keys(node, &["list", "--json"])).unwrap()
}

fn request(target: &str) -> Request {
    Request::new(Fqmn::parse(target).unwrap()).body("hello").valid_for(Duration::from_secs(60))
}

/// Waits until the connection was shown the list with this number.
async fn shown(connection: &Connection, number: u64) {
    while connection.keys().number < number {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the node signs with the keys of the list that it noted last.
async fn in_use(connection: &Connection) -> PublicKey {
    let newest = |key| {
        let keys = connection.keys();
        let layers = keys.keys.iter().filter(|listed| listed.key_use == KeyUse::LAYER);
        layers.max_by_key(|listed| listed.not_after).is_some_and(|listed| listed.key == key)
    };
    loop {
        let answer = connection.call(request("0xS:echo")).await.unwrap();
        let key = answer.replay().message.seal.key;
        if newest(key) {
            return key;
        }
    }
}

fn saved(answer: &Answer) -> bytes::Bytes {
    answer.to_saved().to_stored()
}

fn is_authentic(file: bytes::Bytes, node: &PublicKey) -> bool {
    Unverified::from_stored(file).unwrap().verify(Some(node)).unwrap().verdict == Verdict::Authentic
}

/// Both auditors find nothing, in the data folder and in an archive of it without the keys of its records.
fn is_sound(node: &Node) {
    let folder = tempfile::tempdir().unwrap();
    let data = node.data().to_str().unwrap();
    let archive = folder.path().join("archive");
    let archive = archive.to_str().unwrap();
    let export = Home::new().cmtp(["audit", "export", data, archive]);
    assert!(export.status.success(), "{}", said(&export));
    for folder in [data, archive] {
        // The node goes on meanwhile: who keeps what it saw of the one would miss it in the other.
        let output = Home::new().cmtp(["audit", "verify", folder, "--pin", &node.did]);
        assert!(output.status.success(), "{}", said(&output));
    }
    node.read_by_peer();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_replaced_under_load_and_no_request_fails() {
    // [NKY-2] [NKY-5] [NKY-6] [NKY-7] [NKY-9] [QUI-6]
    let mut node = Node::start("");
    let did: PublicKey = node.did.parse().unwrap();
    let caller = Arc::new(Caller::new(&node));
    let connection = caller.connect().await;
    let LogSeen::Grew(before) = ({
        connection.call(request("0xS:echo")).await.unwrap();
        connection.log_seen().await.unwrap()
    }) else {
        panic!("the log does not grow");
    };

    let ends = Arc::new(AtomicBool::new(false));
    let read = |connection: Connection| {
        let ends = Arc::clone(&ends);
        tokio::spawn(async move {
            let mut files = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                let answer = connection.call(request("0xS:echo")).await.unwrap();
                assert_eq!(answer.status(), Status::OK, "{answer:?}");
                files.push((answer.replay().message.seal.key, saved(&answer)));
            }
            files
        })
    };
    let readers: Vec<_> = (0..4).map(|_| read(connection.clone())).collect();
    let load = Arc::new(Load::default());
    let write = |slot| {
        let target = format!("0xSW:0x001:w{slot}");
        tokio::spawn(Arc::clone(&load).write(Arc::clone(&caller), target, slot))
    };
    let writers: Vec<_> = (0..4).map(write).collect();
    let mut ticks = connection.open(request("0xS:time:ticks")).await.unwrap();

    let mut sealers = vec![in_use(&connection).await];
    for number in 2..=5 {
        keys(&node, &["rotate"]);
        shown(&connection, number).await;
        sealers.push(in_use(&connection).await);
        load.reached(load.received().len() + 20).await;
        assert!(ticks.next().await.unwrap().is_some());
        // Whoever comes now is shown the new list, and a certificate that it has.
        assert_eq!(caller.connect().await.keys().number, number);
        if number == 3 {
            is_sound(&node);
        }
    }
    // A signal does it at once.
    keys(&node, &["rotate", "--use", "layer"]);
    node.signal("HUP");
    shown(&connection, 6).await;
    in_use(&connection).await;
    drop(ticks);
    ends.store(true, Ordering::Relaxed);
    load.stop();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut read = Vec::new();
    for reader in readers {
        read.extend(reader.await.unwrap());
    }
    for sealer in &sealers {
        assert!(read.iter().any(|(key, _)| key == sealer), "{sealer} sealed nothing");
    }
    sealers.dedup();
    assert_eq!(sealers.len(), 5);
    println!("{} reads and {} writes over 5 lists", read.len(), load.received().len());
    for (_, file) in read {
        assert!(is_authentic(file, &did));
    }

    // The log went on under one key: who kept a checkpoint accepts the newest.
    let again = caller.connect().await;
    again.call(request("0xS:echo")).await.unwrap();
    let Some(LogSeen::Grew(after)) = again.log_seen().await else { panic!("the log was broken") };
    assert!(after.size > before.size && after.origin == before.origin);

    node.kill();
    node.restart();
    let noted = check(&node, &load.received(), 0);
    let noted = noted.iter().filter(|entry| entry["type"] == "keys").count();
    assert_eq!(noted, 6);
    is_sound(&node);
    let listed = listed(&node);
    assert_eq!(listed["number"], 6);
    assert_eq!(listed["did"], node.did.as_str());
    let current = |it: &&Value| it["state"] == "current";
    assert_eq!(listed["keys"].as_array().unwrap().iter().filter(current).count(), 4);
}

#[tokio::test]
async fn a_token_of_a_replaced_key_lives_out_its_time_unless_the_key_was_stolen() {
    // [NKY-3] [NKY-8]
    let node = Node::start("");
    let caller = Caller::new(&node);
    let connection = caller.connect().await;
    let status = async |connection: &Connection| {
        connection.call(request("0xS:echo")).await.unwrap().status()
    };
    assert_eq!(status(&connection).await, Status::OK);
    keys(&node, &["rotate", "--use", "token"]);
    shown(&connection, 2).await;
    assert_eq!(status(&connection).await, Status::OK);
    assert_eq!(status(&caller.connect().await).await, Status::OK);
    assert_eq!(status(&Caller::new(&node).connect().await).await, Status::OK);

    let mut ticks = connection.open(request("0xS:time:ticks")).await.unwrap();
    assert!(ticks.next().await.unwrap().is_some());
    keys(&node, &["rotate", "--use", "token", "--now"]);
    shown(&connection, 3).await;
    assert_eq!(status(&connection).await, Status::TOKEN_INVALID);
    assert_eq!(status(&caller.connect().await).await, Status::TOKEN_INVALID);
    // The stream ends, and says so under a seal.
    let ending = ticks.finish().await.unwrap();
    assert_eq!(ending.verdict(), Verdict::Authentic);
    assert_eq!(status(&Caller::new(&node).connect().await).await, Status::OK);
}

#[tokio::test]
async fn a_stolen_layer_key_seals_no_more_and_its_past_is_sound() {
    // [NKY-3] [NKY-6]
    let node = Node::start("");
    let did: PublicKey = node.did.parse().unwrap();
    let connection = Caller::new(&node).connect().await;
    let before = connection.call(request("0xS:echo")).await.unwrap();
    keys(&node, &["rotate", "--now"]);
    shown(&connection, 2).await;
    let sealer = in_use(&connection).await;
    assert_ne!(before.replay().message.seal.key, sealer);
    assert!(is_authentic(saved(&before), &did));
    let exported = |index: &Value| {
        let output = node.cmtpd(&["journal", "export", &index.to_string()]);
        assert!(output.status.success(), "{}", said(&output));
        is_authentic(output.stdout.into(), &did)
    };
    // With the newest list, too.
    for entry in entries(&node).iter().filter(|entry| entry["type"] == "exchange") {
        assert!(exported(&entry["index"]), "{entry}");
    }
    is_sound(&node);
}

#[tokio::test]
async fn a_node_runs_without_its_root_key() {
    // [NKY-1]
    let mut node = Node::start("");
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("root.key");
    let file = file.to_str().unwrap();
    let caller = Caller::new(&node);
    let connection = caller.connect().await;
    let written = caller.write(&connection, "0xSW:0x001:color", "blue");
    let written = connection.send(&written).await.unwrap();
    let seal = written.replay().message.seal.hash.to_string();
    keys(&node, &["export-root", file, "--no-passphrase"]);
    assert!(!node.data().join("node.key").exists());

    node.kill();
    node.restart();
    let connection = caller.connect().await;
    let answer = connection.call(request("0xS:echo")).await.unwrap();
    assert_eq!(answer.status(), Status::OK);
    for arguments in [&["keys", "rotate"][..], &["erase", "--redact", &seal, "--yes"]] {
        let output = node.cmtpd(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(file) && said.contains("--root FILE"), "{said}");
    }
    keys(&node, &["rotate", "--root", file]);
    shown(&connection, 2).await;
    in_use(&connection).await;
    let output = node.cmtpd(&["erase", "--redact", &seal, "--yes", "--root", file]);
    assert!(output.status.success(), "{}", said(&output));
    is_sound(&node);
}

#[tokio::test]
async fn a_crash_between_lists_loses_nothing() {
    // [NKY-5]
    let mut node = Node::start("");
    let caller = Arc::new(Caller::new(&node));
    let load = Arc::new(Load::default());
    let mut slots: FuturesUnordered<_> = (0..2)
        .map(|slot| {
            let target = format!("0xSW:0x001:w{slot}");
            tokio::spawn(Arc::clone(&load).write(Arc::clone(&caller), target, slot))
        })
        .collect();
    for round in 0..4 {
        load.reached(load.received().len() + 10).await;
        keys(&node, &["rotate"]);
        // Before, while and after the node takes the list over.
        tokio::time::sleep(Duration::from_millis(250 * round)).await;
        node.kill();
        node.restart();
    }
    load.reached(load.received().len() + 10).await;
    load.stop();
    while let Some(slot) = slots.next().await {
        slot.unwrap();
    }
    assert_eq!(listed(&node)["number"], 5);
    check(&node, &load.received(), 0);
    is_sound(&node);
}

#[tokio::test]
async fn a_data_directory_of_before_goes_on() {
    // [NKY-2]
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { entries: 40, file_entries: 1_000, commit_entries: 8, is_archive: false };
    let mut maker = Maker::new(folder.path(), plan);
    while maker.next_index() < plan.entries {
        maker.message();
    }
    let archive = maker.finish();
    // Its log is of another key than a node's would be.
    fs::remove_dir_all(folder.path().join("log")).unwrap();
    let seed = format!("cmtp-node-key-v0 {}\n", "01".repeat(32));
    fs::write(folder.path().join("node.key"), seed).unwrap();

    let node = Node::start_in(folder.path(), "", &[]);
    assert_eq!(node.did, archive.node.to_string());
    assert_eq!(listed(&node)["number"], 2);
    let connection = Caller::new(&node).connect().await;
    let answer = connection.call(request("0xS:echo")).await.unwrap();
    assert_ne!(answer.replay().message.seal.key, archive.node);
    assert!(is_authentic(saved(&answer), &archive.node));
    assert!(has_online_keys(folder.path()));
    let output = Home::new().cmtp([
        "audit",
        "verify",
        folder.path().to_str().unwrap(),
        "--pin",
        &archive.node.to_string(),
    ]);
    assert!(output.status.success(), "{}", said(&output));
}

fn has_online_keys(data: &Path) -> bool {
    data.join("online.keys").exists() && data.join("node.key").exists()
}
