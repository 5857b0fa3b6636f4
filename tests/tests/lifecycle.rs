//! Stopping in order, and a configuration that is read again.

use bytes::BytesMut;
use cmtp_codec::SigningKey;
use cmtp_spec::{CloseCode, Status};
use cmtp_tests::wire::{Ending, Forge, Wire, salt, signed};
use cmtp_tests::{NatsServer, Node};
use futures::StreamExt;

fn key() -> SigningKey {
    SigningKey::from_seed(&[5; 32]).unwrap()
}

#[tokio::test]
async fn what_was_begun_is_answered_and_the_rest_is_told_so() {
    // [QUI-22] [QUI-24]
    let nats = NatsServer::start();
    let mut node = Node::start(&format!(
        "bus = \"nats={}\"\n[[route]]\ntarget = \"0xS:slow\"\nto = \"nats:slow\"\n",
        nats.url
    ));
    let service = async_nats::connect(&nats.url).await.unwrap();
    let mut requests = service.subscribe("slow").await.unwrap();
    service.flush().await.unwrap();
    let mut wire = Wire::connect(&node).await;
    let token = Forge::new(&node, key().public()).token();
    let origin = signed(wire.origin(&key(), "0xS:slow"), &key());
    let (mut send, recv) = wire.open().await;
    let mut bytes = BytesMut::new();
    wire.auth(&token, &key()).encode(&mut bytes);
    origin.encode(&mut bytes);
    send.write_all(&bytes).await.unwrap();
    send.finish().unwrap();
    // The request is with the service when the node is told to stop.
    let request = requests.next().await.unwrap();
    node.signal("TERM");
    assert_eq!(wire.goaway().await, 4, "the one stream that was opened is below");
    let late = signed(wire.origin(&key(), "0xS:echo"), &key());
    let Ending::Reset(code) = wire.exchange(&[wire.auth(&token, &key())], &late).await else {
        panic!("a request after GOAWAY is not processed")
    };
    assert_eq!(code, CloseCode::NOT_PROCESSED);
    // A connection that comes now is refused.
    assert!(cmtp_tests::wire::dial(&node, cmtp_spec::binding::ALPN).await.is_err());
    service.publish(request.reply.unwrap(), "done".into()).await.unwrap();
    let answer = wire.read_answer(recv, &origin).await.answer();
    assert_eq!(
        (answer.status(), answer.last().data().unwrap().as_ref()),
        (Status::OK, &b"done"[..])
    );
    assert_eq!(wire.close_code().await, Some(CloseCode::NO_ERROR));
    assert_eq!(node.wait().code(), Some(0));
}

#[tokio::test]
async fn connections_are_spread_over_threads_and_all_are_drained() {
    let mut node = Node::start("threads = 3");
    let token = Forge::new(&node, key().public()).token();
    let mut wires = Vec::new();
    for _ in 0..40 {
        let wire = Wire::connect(&node).await;
        let origin = signed(wire.origin(&key(), "0xS:echo"), &key());
        let answer = wire.exchange(&[wire.auth(&token, &key())], &origin).await.answer();
        assert_eq!(answer.status(), Status::OK);
        wires.push(wire);
    }
    // Two beside the first. A handshake wakes a thread a few times; that one of three gets none of 40 by chance is one in
    // ten million.
    let wakes = node.wakes("cmtpd-quic");
    assert!(wakes.len() == 2 && wakes.iter().all(|&wakes| wakes > 8), "{wakes:?}");
    node.signal("TERM");
    for wire in &mut wires {
        assert_eq!(wire.goaway().await, 4);
        assert_eq!(wire.close_code().await, Some(CloseCode::NO_ERROR));
    }
    assert_eq!(node.wait().code(), Some(0));
    let check = node.cmtpd(&["journal", "check"]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[tokio::test]
async fn a_stream_is_cut_when_the_node_stops() {
    // [PRC-5] [QUI-26]
    let mut node = Node::start("");
    let wire = Wire::connect(&node).await;
    let token = Forge::new(&node, key().public()).token();
    let origin = signed(wire.origin(&key(), "0xS:time:ticks"), &key());
    let (mut send, mut recv) = wire.open().await;
    let mut bytes = BytesMut::new();
    wire.auth(&token, &key()).encode(&mut bytes);
    origin.encode(&mut bytes);
    send.write_all(&bytes).await.unwrap();
    send.finish().unwrap();
    let first = recv.read_chunk(1, true).await.unwrap().unwrap();
    node.signal("INT");
    let answer = wire.read_answer_from(first.bytes, recv, &origin).await.answer();
    let last = answer.last();
    assert!(last.has(cmtp_spec::LayerFlags::CUT), "{last:?}");
    // Waiting for the process would keep this side from acknowledging.
    assert_eq!(wire.close_code().await, Some(CloseCode::NO_ERROR));
    assert_eq!(node.wait().code(), Some(0));
}

#[tokio::test]
async fn a_reload_keeps_connections_and_a_bad_file_changes_nothing() {
    let node = Node::start("");
    let wire = Wire::connect(&node).await;
    let token = Forge::new(&node, key().public()).token();
    let call = async |target: &str| {
        let origin = signed(wire.origin(&key(), target).with_body(salt(), "x"), &key());
        wire.exchange(&[wire.auth(&token, &key())], &origin).await.answer().status()
    };
    assert_eq!(call("0xR:name").await, Status::NOT_FOUND);
    let file = node.data().join("cmtpd.toml");
    let write = |text: &str| {
        std::fs::write(&file, text).unwrap();
        node.signal("HUP");
    };
    write("[names]\nname = \"0xS:echo\"\n");
    // The signal is seen at some time after it was sent; until then the old configuration answers.
    while call("0xR:name").await != Status::OK {}
    write("[names]\nname = 7\n");
    write("[names]\nother = \"0xS:echo\"\n");
    while call("0xR:other").await != Status::OK {}
    assert_eq!(call("0xR:name").await, Status::NOT_FOUND);
}

#[tokio::test]
async fn strangers_are_counted_and_cost_no_entry_of_their_own() {
    // [JRN-9] [STA-3]
    let mut node = Node::start("");
    let wire = Wire::connect(&node).await;
    let origin = wire.origin(&key(), "0xS:echo");
    for _ in 0..20 {
        let answer = wire.exchange(&[], &origin).await.answer();
        assert_eq!(answer.status(), Status::IDENTITY_REQUIRED);
        assert!(answer.replay.message.seal.unlogged);
    }
    let mut forged = Forge::new(&node, key().public());
    forged.seed = [9; 32];
    let refused = wire.exchange(&[wire.auth(&forged.token(), &key())], &origin).await.answer();
    assert_eq!(refused.status(), Status::TOKEN_INVALID);
    node.signal("TERM");
    assert_eq!(wire.close_code().await, Some(CloseCode::NO_ERROR));
    assert_eq!(node.wait().code(), Some(0));
    let entries = cmtp_tests::load::entries(&node);
    let types: Vec<_> = entries.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    // The outcome is the node's own session.
    assert_eq!(types, ["opened", "keys", "config", "policy", "outcome", "summary"]);
}

#[tokio::test]
async fn a_stream_is_sealed_piece_by_piece_and_ends_with_its_token() {
    // [QUI-25] [QUI-26]
    let node = Node::start("");
    let wire = Wire::connect(&node).await;
    let mut short = Forge::new(&node, key().public());
    let now = cmtp_tests::wire::now() / 1_000_000;
    short.claims["exp"] = (now + 2).into();
    let origin = wire.origin(&key(), "0xS:time:ticks");
    let args = cmtp_codec::Field::bytes(cmtp_spec::FieldIndex::ARGS, "[1000000, 20]");
    let origin = signed(origin.with_private(salt(), args), &key());
    let answer = wire.exchange(&[wire.auth(&short.token(), &key())], &origin).await.answer();
    assert!(answer.last().has(cmtp_spec::LayerFlags::CUT));
    let message = &answer.replay.message;
    let segments = message.links.len() - 3;
    assert!(segments > 5 && message.interims.len() == segments - 1, "{segments} segments");
}

#[tokio::test]
async fn the_log_holds_no_secret() {
    let node = Node::start_logging("");
    let wire = Wire::connect(&node).await;
    let token = Forge::new(&node, key().public()).token();
    let args = cmtp_codec::Field::bytes(cmtp_spec::FieldIndex::ARGS, "[\"secret-argument\"]");
    let field = cmtp_codec::Field::new("x-secret", "secret-value").unwrap();
    let origin = wire.origin(&key(), "0xS:echo").with_body(salt(), "secret-body");
    let origin = origin.with_private(salt(), args).with_private(salt(), field);
    let answer =
        wire.exchange(&[wire.auth(&token, &key())], &signed(origin, &key())).await.answer();
    assert_eq!(answer.status(), Status::OK);
    node.signal("TERM");
    wire.close_code().await;
    let log = node.into_log();
    assert!(log.contains("answered") && log.contains("0xS:echo"), "{log}");
    for secret in ["secret-", &token, token.rsplit('.').next().unwrap()] {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}
