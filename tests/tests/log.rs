//! The transparency log of a node, as callers and auditors see it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use cmtp_codec::log::{Growth, LogProof, NoteKind, SignedCheckpoint, VerifierKey, log_origin};
use cmtp_codec::merkle::{Tree, leaf};
use cmtp_codec::{Digest, Entry, Field, Layer, Receipt, SigningKey};
use cmtp_spec::{FieldIndex, KeyUse, Status};
use cmtp_tests::Node;
use cmtp_tests::wire::{Answer, Forge, Wire, salt, signed};
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
        let keys = &self.wire.keys.keys;
        let listed = keys.iter().find(|listed| listed.key_use == KeyUse::LOG).unwrap();
        // [LOG-3] No key list may have that key for another use.
        assert_eq!(keys.iter().filter(|other| other.key == listed.key).count(), 1);
        // [LOG-1]
        let origin = log_origin(&self.wire.root(), 0);
        VerifierKey::new(origin, NoteKind::Ed25519, listed.key).unwrap()
    }
}

#[tokio::test]
async fn an_answer_is_proved_whatever_the_scope() {
    let node = Node::start("");
    let caller = Caller::connect(&node).await;
    let log = caller.log_key();
    for _ in 0..3 {
        let (leaf, receipt, seal) = caller.echo().await;
        // [LOG-14] A promise, which is kept below.
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
    let refused = caller.ask("0xI:session:x", None).await;
    assert_eq!(refused.status(), Status::FORBIDDEN, "nothing else of 0xI is for everybody");
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
    let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let node =
        Node::start(&format!("[http]\nlisten = \"127.0.0.1:{http}\"\n[log]\ninterval-ms = 50"));
    let caller = Caller::connect(&node).await;
    let mut seal = Digest::ZERO;
    for _ in 0..300 {
        (_, _, seal) = caller.echo().await;
    }
    let seal = format!("[\"{}\"]", HEXLOWER.encode(&seal.0));
    caller.text("0xI:log:proof", Some(seal)).await;
    let (head, checkpoint) = get(http, "/log/0/checkpoint");
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
        let (head, tile) = get(http, &format!("/log/0/tile/0/{number:03}{partial}"));
        assert!(head.contains("content-type: application/octet-stream"), "{head}");
        hashes.extend(tile.as_chunks::<32>().0.iter().copied().map(Digest));
        let (_, bundle) = get(http, &format!("/log/0/tile/entries/{number:03}{partial}"));
        for entry in bundle.as_chunks::<{ 2 + Entry::LENGTH }>().0 {
            assert_eq!(entry[..2], [0, 68]);
            leaves.push(leaf(&entry[2..]));
        }
    }
    assert_eq!(hashes, leaves);
    assert_eq!(Tree::new(hashes).root(), checkpoint.root);
    for missing in ["/log/0/tile/0/x9", "/log/0/../../node.key", "/log/7/checkpoint"] {
        assert!(get(http, missing).0.starts_with("HTTP/1.1 404"), "{missing}");
    }
}

/// Head and body of an answer over HTTP.
fn get(port: u16, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
}
