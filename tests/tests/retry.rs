//! The same bytes again: executed once, answered from the record. `cmtp-spec/spec/14-idempotency.md`.

use cmtp_codec::{Field, Layer, SigningKey};
use cmtp_spec::{EntryType, FieldIndex, JournalMode, Status};
use cmtp_tests::load::{Caller, Receipt, entries};
use cmtp_tests::wire::{Answer, Forge, Wire, salt, signed};
use cmtp_tests::{NatsServer, Node};
use futures::StreamExt;
use serde_json::Value;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

fn write(wire: &Wire, key: &SigningKey, target: &str, body: &str) -> Layer {
    signed(wire.origin(key, target).with_body(salt(), body.to_owned()), key)
}

async fn send(wire: &Wire, node: &Node, key: &SigningKey, origin: &Layer) -> Answer {
    let token = Forge::new(node, key.public()).token();
    wire.exchange(&[wire.auth(&token, key)], origin).await.answer()
}

fn version(answer: &Answer) -> Option<u64> {
    let layers = answer.replay.message.links.iter().filter_map(|link| link.layer());
    layers.filter_map(|layer| layer.number(FieldIndex::STATE_VERSION)).last()
}

#[tokio::test]
async fn a_lost_answer_comes_again_from_the_record() {
    // [IDM-2]
    let mut node = Node::start("");
    let wire = Wire::connect(&node).await;
    let origin = write(&wire, &key(1), "0xSW:0x001:color", "blue");
    let token = Forge::new(&node, key(1).public()).token();
    // The answer is lost on purpose: nobody reads it, and the connection ends once the journal has it.
    let (mut lost, recv) = wire.open().await;
    let mut bytes = bytes::BytesMut::new();
    wire.auth(&token, &key(1)).encode(&mut bytes);
    origin.encode(&mut bytes);
    lost.write_all(&bytes).await.unwrap();
    lost.finish().unwrap();
    drop(recv);
    wire.connection.close(0_u32.into(), b"");
    let again = Wire::connect(&node).await;
    let recorded = send(&again, &node, &key(1), &origin).await;
    assert_eq!((recorded.status(), version(&recorded)), (Status::CREATED, Some(1)));
    // The process that answered first may have been this second one; the third is from the record for certain.
    let third = send(&Wire::connect(&node).await, &node, &key(1), &origin).await;
    assert!(third.replay.message.seal.recorded);
    let first = recorded.replay.message.seal.receipt.clone();
    assert_eq!(third.replay.message.seal.receipt, first, "its first R0, and no new entry");
    // … and so after the node was killed.
    node.kill();
    node.restart();
    let fourth = send(&Wire::connect(&node).await, &node, &key(1), &origin).await;
    assert!(fourth.replay.message.seal.recorded);
    assert_eq!(fourth.replay.message.seal.receipt, first);
    node.kill();
    // The node's own sessions are of 0xIW.
    let is_ours = |entry: &&Value| entry["executed_write"] == true && entry["opcode"] == "0xSW";
    assert_eq!(entries(&node).iter().filter(is_ours).count(), 1, "one effect");
}

#[tokio::test]
async fn an_id_belongs_to_its_caller_and_its_bytes() {
    // [IDM-1] [IDM-5]
    let node = Node::start("");
    let wire = Wire::connect(&node).await;
    let first = write(&wire, &key(1), "0xSW:0x001:color", "blue");
    assert_eq!(send(&wire, &node, &key(1), &first).await.status(), Status::CREATED);
    let id = first.value(FieldIndex::MESSAGE_ID).unwrap().clone();
    let with_id = |key: &SigningKey, body: &str| {
        let mut origin = wire.origin(key, "0xSW:0x001:color").with_body(salt(), body.to_owned());
        let is_id = |field: &&mut Field| field.name.index() == Some(FieldIndex::MESSAGE_ID);
        origin.public.iter_mut().find(is_id).unwrap().value = id.clone();
        signed(origin, key)
    };
    let other = send(&wire, &node, &key(1), &with_id(&key(1), "green")).await;
    assert_eq!(other.status(), Status::ID_REUSED);
    // 422 tells nothing of the first: neither its layers nor its receipt.
    assert_eq!(other.replay.message.links.len(), 2);
    assert!(!other.replay.message.seal.recorded);
    // Another caller with the same id has a write of its own.
    let stranger = send(&wire, &node, &key(2), &with_id(&key(2), "red")).await;
    assert_eq!((stranger.status(), version(&stranger)), (Status::OK, Some(2)));
    assert!(!stranger.replay.message.seal.recorded);
    // A refusal claims no id: the same id with other bytes is free after it.
    let conflict = wire.origin(&key(1), "0xSW:0x001:color").with_body(salt(), "x");
    let conflict = conflict.with_public(Field::number(FieldIndex::IF_STATE_VERSION, 9));
    let conflict = signed(conflict, &key(1));
    let refused = send(&wire, &node, &key(1), &conflict).await;
    assert_eq!(refused.status(), Status::VERSION_CONFLICT);
    let again = send(&wire, &node, &key(1), &conflict).await;
    assert!(!again.replay.message.seal.recorded, "it was looked at again");
}

#[tokio::test]
async fn many_at_once_are_one_write() {
    // [IDM-2]
    let node = Node::start("");
    let wire = Wire::connect(&node).await;
    let origin = write(&wire, &key(1), "0xSW:0x001:color", "blue");
    let caller = key(1);
    let sends = (0..20).map(|_| send(&wire, &node, &caller, &origin));
    let answers = futures::future::join_all(sends).await;
    let recorded = answers.iter().filter(|answer| answer.replay.message.seal.recorded).count();
    assert_eq!(recorded, 19);
    assert!(answers.iter().all(|answer| version(answer) == Some(1)));
}

#[tokio::test]
async fn a_write_that_was_dispatched_when_the_node_died_is_of_unknown_outcome() {
    // [IDM-2] [PRC-6] [JRN-2] [JRN-6]
    let nats = NatsServer::start();
    let mut node = Node::start(&format!(
        "bus = \"nats={}\"\n[[route]]\ntarget = \"0xSW:orders:*\"\nto = \"nats:orders\"\n",
        nats.url
    ));
    let service = async_nats::connect(&nats.url).await.unwrap();
    let mut orders = service.subscribe("orders").await.unwrap();
    service.flush().await.unwrap();
    let caller = Caller::new(&node);
    let mut connection = caller.connect().await;
    let request = caller.write(&connection, "0xSW:orders:new", "an order");
    // The service has the order and does not answer; the node dies.
    tokio::select! {
        answer = connection.send(&request) => panic!("{answer:?}"),
        order = orders.next() => assert_eq!(order.unwrap().payload, "an order"),
    }
    node.kill();
    node.restart();
    let answer = caller.insist(&mut connection, &request).await;
    assert_eq!(answer.status(), Status::INTERNAL_ERROR);
    assert_eq!(answer.remedy(), Some("look-before-retry"));
    assert!(answer.fields().any(|field| field.name.index() == Some(FieldIndex::OUTCOME_UNKNOWN)));
    let receipt = Receipt::of(&answer);
    assert!(receipt.recorded);
    assert_eq!(
        answer.replay().message.seal.receipt.as_ref().unwrap().entry_type,
        EntryType::OUTCOME
    );
    // The service was not asked again: nothing came after the first.
    service.publish("orders", "end".into()).await.unwrap();
    assert_eq!(orders.next().await.unwrap().payload, "end");
}

#[tokio::test]
async fn a_write_without_effect_frees_its_id() {
    // [PRC-6] [IDM-5]
    let nats = NatsServer::start();
    let node = Node::start(&format!(
        "bus = \"nats={}\"\n[[route]]\ntarget = \"0xSW:orders:*\"\nto = \"nats:orders\"\n",
        nats.url
    ));
    let caller = Caller::new(&node);
    let mut connection = caller.connect().await;
    let request = caller.write(&connection, "0xSW:orders:new", "an order");
    let refused = caller.insist(&mut connection, &request).await;
    assert_eq!(refused.status(), Status::UNAVAILABLE);
    assert!(refused.fields().any(|field| field.name.index() == Some(FieldIndex::NO_EFFECT)));
    // Now somebody answers: the same bytes are executed, once.
    let service = async_nats::connect(&nats.url).await.unwrap();
    let mut orders = service.subscribe("orders").await.unwrap();
    service.flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(order) = orders.next().await {
            service.publish(order.reply.unwrap(), "taken".into()).await.unwrap();
        }
    });
    let taken = caller.insist(&mut connection, &request).await;
    assert_eq!((taken.status(), taken.body().unwrap().as_ref()), (Status::OK, &b"taken"[..]));
    let recorded = caller.insist(&mut connection, &request).await;
    assert!(Receipt::of(&recorded).recorded);
}

#[tokio::test]
async fn a_caller_may_ask_for_more_than_the_route_has_and_never_less() {
    // [RCP-3] [RCP-14] [JRN-3]
    let node = Node::start("[journal]\nmode = \"async\"\n");
    let wire = Wire::connect(&node).await;
    let mode = |answer: &Answer| {
        let receipt = answer.replay.message.seal.receipt.clone().unwrap();
        (receipt.statement.mode, receipt.index().is_some())
    };
    let plain = signed(wire.origin(&key(1), "0xS:echo"), &key(1));
    let answer = send(&wire, &node, &key(1), &plain).await;
    assert_eq!(mode(&answer), (JournalMode::ASYNC, false));
    let wal = Field::octet(FieldIndex::JOURNAL, JournalMode::WAL.0);
    let wal = signed(wire.origin(&key(1), "0xS:echo").with_public(wal), &key(1));
    assert_eq!(mode(&send(&wire, &node, &key(1), &wal).await), (JournalMode::WAL, true));
    let node = Node::start("");
    let wire = Wire::connect(&node).await;
    let less = Field::octet(FieldIndex::JOURNAL, JournalMode::ASYNC.0);
    let less = signed(wire.origin(&key(1), "0xS:echo").with_public(less), &key(1));
    assert_eq!(mode(&send(&wire, &node, &key(1), &less).await), (JournalMode::WAL, true));
}
