//! The transparency log of a node, as callers and auditors see it.

use std::path::Path;
use std::time::Instant;

use cmtp_client::{LogSeen, Request};
use cmtp_codec::log::{
    Growth, GrowthError, LogProof, NoteKind, NoteSigner, SignedCheckpoint, VerifierKey,
};
use cmtp_codec::merkle::{Tree, leaf};
use cmtp_codec::{Digest, Entry, Field, Fqmn, Layer, Receipt, SigningKey};
use cmtp_spec::{FieldIndex, Status};
use cmtp_tests::wire::{Answer, Forge, Wire, salt, signed};
use cmtp_tests::{Home, Node, copy, http, load};
use data_encoding::HEXLOWER;

fn key() -> SigningKey {
    SigningKey::from_seed(&[5; 32]).unwrap()
}

/// A caller whose token covers nothing but `0xS:echo`.
struct Caller {
    wire: Wire,
    token: String,
}

impl Caller {
    async fn connect(node: &Node) -> Self {
        let mut forge = Forge::new(node, key().public());
        forge.claims["scope"] = serde_json::json!({"read": ["0xS:echo"], "write": []});
        Self { wire: Wire::connect(node).await, token: forge.token() }
    }

    async fn ask(&self, target: &str, args: Option<String>) -> Answer {
        let mut origin = self.wire.origin(&key(), target);
        if let Some(args) = args {
            origin = origin.with_private(salt(), Field::bytes(FieldIndex::ARGS, args));
        }
        self.send(origin).await
    }

    async fn send(&self, origin: Layer) -> Answer {
        let origin = signed(origin, &key());
        self.wire.exchange(&[self.wire.auth(&self.token, &key())], &origin).await.answer()
    }

    async fn text(&self, target: &str, args: Option<String>) -> String {
        let answer = self.ask(target, args).await;
        assert_eq!(answer.status(), Status::OK, "{answer:?}");
        String::from_utf8(answer.last().data().unwrap().to_vec()).unwrap()
    }

    /// An echo, its leaf and its R0.
    async fn echo(&self) -> (Digest, Receipt, Digest) {
        let answer = self.ask("0xS:echo", None).await;
        let message = &answer.replay.message;
        let receipt = message.seal.receipt.clone().unwrap();
        let layers = u32::try_from(message.links.len()).unwrap();
        let entry = receipt.entry(answer.status(), layers, message.seal.hash);
        (entry.leaf(), receipt, message.seal.hash)
    }

    fn log_key(&self) -> VerifierKey {
        self.wire.log_key()
    }
}

#[tokio::test]
async fn an_answer_is_proved_whatever_the_scope() {
    let node = Node::start("");
    let caller = Caller::connect(&node).await;
    let log = caller.log_key();
    for _ in 0..3 {
        let (leaf, receipt, seal) = caller.echo().await;
        // [LOG-20] A promise, which is kept below.
        assert!(receipt.statement.merge_delay > 0, "{receipt:?}");
        let seal = HEXLOWER.encode(&seal.0);
        // [LOG-8] Asked for at once: it waits for the checkpoint. [LOG-10] The scope does not cover it.
        let proof = caller.text("0xI:log:proof", Some(format!("[\"{seal}\"]"))).await;
        let proof = LogProof::parse(&proof).unwrap();
        assert_eq!(Some(proof.index), receipt.index());
        let checkpoint = proof.verify(leaf, &log).unwrap();
        let delay = u64::from(receipt.statement.merge_delay);
        assert!(checkpoint.size > proof.index && delay >= 1);
        let with_index = format!("[\"{seal}\",{}]", proof.index);
        let again = caller.text("0xI:log:proof", Some(with_index)).await;
        LogProof::parse(&again).unwrap().verify(leaf, &log).unwrap();
        let elsewhere = format!("[\"{seal}\",{}]", proof.index - 1);
        let refused = caller.ask("0xI:log:proof", Some(elsewhere)).await;
        assert_eq!(refused.status(), Status::NOT_FOUND);
    }
    for bad in ["[]", "[\"00\"]", "[1]", "[\"x\",1,2]"] {
        let refused = caller.ask("0xI:log:proof", Some(bad.to_owned())).await;
        assert_eq!(refused.status(), Status::BAD_REQUEST, "{bad}");
    }
    let refused = caller.ask("0xI:log:other", None).await;
    assert_eq!(refused.status(), Status::NOT_FOUND);
    let refused = caller.ask("0xI:other:x", None).await;
    assert_eq!(
        refused.status(),
        Status::FORBIDDEN,
        "nothing but this and sessions is for everybody"
    );
}

#[tokio::test]
async fn a_promise_is_short_however_many_are_under_way() {
    let node = Node::start("");
    let caller = load::Caller::new(&node);
    let connection = caller.connect().await;
    let call = |_| async {
        let begun = Instant::now();
        let answer = connection.call(Request::new(Fqmn::parse("0xS:echo").unwrap())).await.unwrap();
        let receipt = answer.replay().message.seal.receipt.clone().unwrap();
        (receipt.to_bytes().len(), receipt.path.len(), begun.elapsed())
    };
    let mut receipts = Vec::new();
    for _ in 0..4 {
        receipts.extend(futures::future::join_all((0..256).map(call)).await);
    }
    receipts.sort_unstable();
    let ((longest, hashes, _), middle) = (receipts[receipts.len() - 1], receipts.len() / 2);
    receipts.sort_unstable_by_key(|(_, _, time)| *time);
    println!(
        "256 in flight: R0 of {longest} bytes at most, {hashes} hashes in it, after {:?} (median)",
        receipts[middle].2
    );
    assert!(longest <= 1024, "{longest}");
}

#[tokio::test]
async fn a_log_only_grows_over_kills() {
    // [LOG-5] [LOG-7]
    let mut node = Node::start("[log]\ninterval-ms = 50");
    let mut known = None;
    for _ in 0..5 {
        let caller = Caller::connect(&node).await;
        let (_, receipt, seal) = caller.echo().await;
        let seal = HEXLOWER.encode(&seal.0);
        caller.text("0xI:log:proof", Some(format!("[\"{seal}\"]"))).await;
        let old = known.as_ref().map_or(0, |known: &cmtp_codec::log::Checkpoint| known.size);
        let growth = caller.text("0xI:log:checkpoint", Some(format!("[{old}]"))).await;
        let growth = Growth::parse(&growth).unwrap();
        let checkpoint = growth.verify(known.as_ref(), &caller.log_key()).unwrap().into_inner();
        assert!(checkpoint.size > receipt.index().unwrap());
        let more = format!("[{}]", checkpoint.size + 1_000);
        assert_eq!(caller.ask("0xI:log:checkpoint", Some(more)).await.status(), Status::NOT_FOUND);
        known = Some(checkpoint);
        node.kill();
        node.restart();
    }
}

#[tokio::test]
async fn tiles_and_bundles_are_those_of_the_checkpoint() {
    // [LOG-6]
    let port = http::free_port();
    let node =
        Node::start(&format!("[http]\nlisten = \"127.0.0.1:{port}\"\n[log]\ninterval-ms = 50"));
    let caller = Caller::connect(&node).await;
    let mut seal = Digest::ZERO;
    for _ in 0..300 {
        (_, _, seal) = caller.echo().await;
    }
    let seal = format!("[\"{}\"]", HEXLOWER.encode(&seal.0));
    caller.text("0xI:log:proof", Some(seal)).await;
    let (head, checkpoint) = get(port, "/log/0/checkpoint");
    assert!(head.contains("content-type: text/plain; charset=utf-8"), "{head}");
    let checkpoint = SignedCheckpoint::parse(std::str::from_utf8(&checkpoint).unwrap()).unwrap();
    let checkpoint = checkpoint.verify(&caller.log_key()).unwrap();
    assert!(checkpoint.size > 300);
    let (mut hashes, mut leaves) = (Vec::new(), Vec::new());
    for number in 0..=checkpoint.size / 256 {
        let width = (checkpoint.size - number * 256).min(256);
        let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
        if width == 0 {
            continue;
        }
        let (head, tile) = get(port, &format!("/log/0/tile/0/{number:03}{partial}"));
        assert!(head.contains("content-type: application/octet-stream"), "{head}");
        hashes.extend(tile.as_chunks::<32>().0.iter().copied().map(Digest));
        let (_, bundle) = get(port, &format!("/log/0/tile/entries/{number:03}{partial}"));
        for entry in bundle.as_chunks::<{ 2 + Entry::LENGTH }>().0 {
            assert_eq!(entry[..2], [0, 68]);
            leaves.push(leaf(&entry[2..]));
        }
    }
    assert_eq!(hashes, leaves);
    assert_eq!(Tree::new(hashes).root(), checkpoint.root);
    for missing in ["/log/0/tile/0/x9", "/log/0/../../node.key", "/log/7/checkpoint"] {
        assert!(get(port, missing).0.starts_with("HTTP/1.1 404"), "{missing}");
    }
}

/// Head and body of an answer over HTTP.
fn get(port: u16, path: &str) -> (String, Vec<u8>) {
    http::get(port, path).unwrap()
}

/// A copy of a stopped node's data directory.
fn copied(from: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(from, folder.path());
    folder
}

#[tokio::test]
async fn two_stories_are_found_at_the_next_connection() {
    // [QUI-27] [QUI-28]
    let config = "[log]\ninterval-ms = 20";
    let mut node = Node::start(config);
    LibraryCaller(load::Caller::new(&node)).call(&node, 3).await;
    node.signal("TERM");
    assert!(node.wait().success());
    let fork = copied(node.data());
    node.restart();
    let other = Node::start_in(fork.path(), config, &[]);
    assert_eq!(node.did, other.did);
    let mut found = 0;
    for round in 0..100 {
        // Who knows nothing yet believes whoever comes first.
        let caller = LibraryCaller(load::Caller::new(&node));
        let (first, second) = if round % 2 == 0 { (&node, &other) } else { (&other, &node) };
        caller.call(first, 1 + round % 3).await;
        let LogSeen::Grew(before) = caller.look(first).await else {
            panic!("the first is believed")
        };
        let LogSeen::Grew(again) = caller.look(first).await else { panic!("and so it stays") };
        assert!(again.size >= before.size);
        caller.call(second, 1 + round % 3).await;
        match caller.look(second).await {
            LogSeen::Broken(broken) => {
                let is_contradiction = matches!(
                    broken.fault,
                    GrowthError::Smaller { .. } | GrowthError::Forked { .. }
                );
                assert!(is_contradiction, "{broken}");
                found += 1;
            }
            seen => panic!("round {round}: {seen:?}"),
        }
    }
    println!("{found} of 100 split views were found");
}

/// A caller by the client library, which remembers logs for as long as it lives.
struct LibraryCaller(load::Caller);

impl LibraryCaller {
    /// Calls so often, and waits until the log has it.
    async fn call(&self, node: &Node, times: usize) {
        let connection = self.0.connect_to(node).await;
        let mut seal = Digest::ZERO;
        for _ in 0..times {
            let answer = connection.call(Request::new(Fqmn::parse("0xS:echo").unwrap())).await;
            // Where the log is broken the connection is.
            let Ok(answer) = answer else { return };
            seal = answer.replay().message.seal.hash;
        }
        let proof = format!("0xI:log:proof:[\"{}\"]", HEXLOWER.encode(&seal.0));
        if let Ok(proof) = connection.call(Request::new(Fqmn::parse(&proof).unwrap())).await {
            assert_eq!(proof.status(), Status::OK);
        }
    }

    /// What the node shows of its log on a new connection.
    async fn look(&self, node: &Node) -> LogSeen {
        let connection = self.0.connect_to(node).await;
        // Only who shows a token is shown the log.
        let _broken = connection.call(Request::new(Fqmn::parse("0xS:echo").unwrap())).await;
        connection.log_seen().await.expect("the node shows its log")
    }
}

#[test]
fn a_saved_answer_proves_its_entry_offline() {
    let mut node = Node::start("[log]\ninterval-ms = 50");
    let home = Home::new();
    let token = node.grant(home.did.as_str(), &["--scope", "0xS:**"]);
    let file = home.file("answer.cmtp");
    let path = file.to_str().unwrap();
    let call = |arguments: &[&str]| {
        let url = node.url("0xS:echo");
        let fixed = ["call", &url, "--pin", &node.did, "--token", &token, "--data", "hi"];
        home.cmtp(fixed.iter().chain(arguments))
    };
    let called = call(&["--receipt", "proof", "--save", path]);
    assert!(called.status.success(), "{}", String::from_utf8_lossy(&called.stderr));
    let witnessed = call(&["--receipt", "witnessed"]);
    assert_eq!(witnessed.status.code(), Some(2), "without a policy there is nobody to ask");
    let did = node.did.clone();
    node.signal("TERM");
    node.wait();
    let verify = |arguments: &[&str]| {
        let fixed = ["verify", path, "--pin", did.as_str(), "--json"];
        let judged = home.cmtp(fixed.iter().chain(arguments));
        (judged.status.code(), serde_json::from_slice::<serde_json::Value>(&judged.stdout).unwrap())
    };
    let (code, view) = verify(&[]);
    assert_eq!((code, view["standing"]["is"].as_str()), (Some(0), Some("logged")), "{view:#}");
    // A policy file alone names the log's key as well as a key list does, and asks for witnesses that are not there.
    let witness =
        NoteSigner::new("w", NoteKind::Cosignature, SigningKey::from_seed(&[3; 32]).unwrap());
    let policy = home.file("policy");
    let lines = format!("witness w {}\nquorum w\n", witness.unwrap().public());
    std::fs::write(&policy, lines).unwrap();
    let (code, view) = verify(&["--policy", policy.to_str().unwrap()]);
    assert_eq!((code, view["standing"]["is"].as_str()), (Some(5), Some("logged")), "{view:#}");
    // Any byte of the proof, changed.
    let bytes = std::fs::read(&file).unwrap();
    let text = b"c2sp.org/tlog-proof@v1";
    let start = bytes.windows(text.len()).position(|it| it == text).unwrap();
    let end = start + bytes[start..].windows(3).position(|it| it == b"=\n\n").unwrap();
    for at in (start..end).step_by(7) {
        let mut forged = bytes.clone();
        forged[at] ^= 1;
        std::fs::write(&file, forged).unwrap();
        let (code, view) = verify(&[]);
        assert_eq!(
            (code, view["verdict"].as_str()),
            (Some(4), Some("invalid")),
            "byte {at}: {view:#}"
        );
    }
}

#[test]
fn a_node_that_was_set_back_is_refused_by_who_knows_better() {
    // [QUI-28]
    let config = "[log]\ninterval-ms = 50";
    let mut node = Node::start(config);
    let home = Home::new();
    let token = node.grant(home.did.as_str(), &["--scope", "0xS:**"]);
    let call = |node: &Node, receipt: &str| {
        let (url, did) = (node.url("0xS:echo"), &node.did);
        let arguments = ["call", &url, "--pin", did, "--token", &token, "--receipt", receipt];
        home.cmtp(arguments)
    };
    assert!(call(&node, "proof").status.success());
    node.signal("TERM");
    node.wait();
    let backup = copied(node.data());
    node.restart();
    assert!(call(&node, "proof").status.success());
    // What was shown at the beginning of that call is known; one more, to know what it added.
    let last = call(&node, "promise");
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    node.signal("TERM");
    node.wait();
    let restored = Node::start_in(backup.path(), config, &[]);
    let refused = call(&restored, "promise");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("not what it was") && said.contains("evidence"), "{said}");
    let evidence = std::fs::read_dir(home.file("evidence")).unwrap().count();
    assert_eq!(evidence, 1, "both checkpoints are kept");
}

#[tokio::test]
async fn connections_side_by_side_are_shown_one_log() {
    // [QUI-28] Each proof is from what was known when it was asked for, whatever other connections learned meanwhile.
    let node = Node::start("[log]\ninterval-ms = 1");
    let caller = LibraryCaller(load::Caller::new(&node));
    for _ in 0..10 {
        let seen = futures::future::join_all((0..8).map(|_| caller.look(&node))).await;
        assert!(seen.iter().all(|seen| matches!(seen, LogSeen::Grew(_))), "{seen:?}");
    }
}
