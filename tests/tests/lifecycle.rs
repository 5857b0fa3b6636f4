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
async fn a_stream_is_cut_when_the_node_stops() {
    // [PRC-5]
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
