//! Every rule of the QUIC binding and of admission, over real connections, by a client that breaks them one by one.

use bytes::BytesMut;
use cmtp_codec::{Auth, Digest, Field, Frame, Layer, ProcessVerdict, SigningKey};
use cmtp_spec::{
    CloseCode, EntryType, FieldIndex, JournalMode, KeyUse, LayerFlags, SettingId, Status, Step,
};
use cmtp_tests::Node;
use cmtp_tests::wire::{Forge, Wire, dial, now, salt, signed};
use serde_json::json;

const CONFIG: &str = r#"
    body-max = 100000
    [names]
    "hello" = "0xS:0x001:hello_world"
    "again" = "0xR:hello"
    "loop" = "0xR:pool"
    "pool" = "0xR:loop"
    "writes" = "0xSW:0x001:x"
    "secret" = "0xE:secret"
    [[route]]
    target = "0xS:0x001:hello_world"
    to = "local:hello"
"#;

/// A node, a connection, and a caller with a token for it.
struct Scene {
    node: Node,
    wire: Wire,
    key: SigningKey,
    token: String,
}

impl Scene {
    async fn new() -> Self {
        let node = Node::start(CONFIG);
        let wire = Wire::connect(&node).await;
        let key = SigningKey::from_seed(&[42; 32]).unwrap();
        let token = Forge::new(&node, key.public()).token();
        Self { node, wire, key, token }
    }

    fn auth(&self) -> Frame {
        self.wire.auth(&self.token, &self.key)
    }

    fn origin(&self, target: &str) -> Layer {
        self.wire.origin(&self.key, target)
    }

    /// What a request with a good token and this origin is answered.
    async fn status(&self, origin: Layer) -> Status {
        self.wire.exchange(&[self.auth()], &origin).await.answer().status()
    }
}

#[tokio::test]
async fn an_echo_is_answered_and_verifies() {
    let scene = Scene::new().await;
    let origin = signed(scene.origin("0xS:echo").with_body(salt(), "hi"), &scene.key);
    let answer = scene.wire.exchange(&[scene.auth()], &origin).await.answer();
    assert_eq!(answer.status(), Status::OK);
    assert_eq!(answer.last().data().unwrap(), "hi");
    // [HSH-6] Fresh salts: the same request again is salted anew by the node.
    let again = scene.wire.exchange(&[scene.auth()], &origin).await.answer();
    assert_ne!(answer.last().public_salt, again.last().public_salt);
    // [ADM-8]
    let admit = answer.replay.message.links[1].layer().unwrap();
    assert_eq!(admit.step, Step::ADMIT);
    assert_eq!(admit.digest(FieldIndex::TOKEN_DIGEST), Some(Digest::of(scene.token.as_bytes())));
    assert_eq!(admit.text(FieldIndex::POLICIES), Some("0xS:** everybody operator"));
    // [ADM-11]
    let receipt = answer.replay.message.seal.receipt.as_ref().unwrap();
    assert_eq!(receipt.statement.mode, JournalMode::WAL);
    assert!(receipt.index().is_some());
    assert_eq!(receipt.entry_type, EntryType::EXCHANGE);
}

#[tokio::test]
async fn the_handshake_is_ours_alone() {
    let node = Node::start("");
    // [QUI-1]
    assert!(dial(&node, "h3").await.is_err());
    let wire = Wire::connect(&node).await;
    // [QUI-3]
    let certificates = wire.connection.peer_identity().unwrap();
    let certificates = certificates.downcast::<Vec<rustls::pki_types::CertificateDer>>().unwrap();
    let tls = wire.keys.keys.iter().find(|listed| listed.key_use == KeyUse::TLS).unwrap();
    assert!(certificates[0].windows(32).any(|window| window == tls.key.0));
    assert_eq!(wire.root().to_string(), node.did);
    // [QUI-2] The ticket of the first connection allows no early data on a second.
    let address = node.address.parse().unwrap();
    let second = wire.endpoint().connect(address, "cmtp.invalid").unwrap();
    assert!(second.into_0rtt().is_err());
    let settings: Vec<SettingId> = wire.settings.iter().map(|&(id, _)| id).collect();
    let (client_only, node) = SettingId::ALL.split_last().unwrap();
    assert_eq!((settings.as_slice(), *client_only), (node, SettingId::LOG_SIZE));
}

#[tokio::test]
async fn a_token_is_shown_once_and_then_named() {
    let scene = Scene::new().await;
    let known = Frame::Auth(Auth::Known(Digest::of(scene.token.as_bytes())));
    let origin = scene.origin("0xS:echo");
    // [QUI-11] A digest that the connection does not know.
    let answer = scene.wire.exchange(std::slice::from_ref(&known), &origin).await.answer();
    assert_eq!((answer.status(), answer.remedy()), (Status::TOKEN_INVALID, "resend-token"));
    // [QUI-10] [IDM-6] The same origin bytes, with the whole token, then with the digest alone.
    let answer = scene.wire.exchange(&[scene.auth()], &origin).await.answer();
    assert_eq!(answer.status(), Status::OK);
    let answer = scene.wire.exchange(std::slice::from_ref(&known), &origin).await.answer();
    assert_eq!(answer.status(), Status::OK);
    // [QUI-12] What is known on one connection is not on another.
    let other = Wire::connect(&scene.node).await;
    let answer = other.exchange(&[known], &origin).await.answer();
    assert_eq!(answer.remedy(), "resend-token");
}

#[tokio::test]
async fn a_token_expires_in_the_middle_of_a_connection() {
    let mut scene = Scene::new().await;
    let mut forge = Forge::new(&scene.node, scene.key.public());
    let now = now() / 1_000_000;
    forge.claims["exp"] = json!(now + 2);
    scene.token = forge.token();
    assert_eq!(scene.status(scene.origin("0xS:echo")).await, Status::OK);
    // [QUI-13] [ADM-4] Known, proved, and checked again at each request: refused from the second on that `exp` names.
    let answer = loop {
        let known = Frame::Auth(Auth::Known(Digest::of(scene.token.as_bytes())));
        let before = cmtp_tests::wire::now();
        let answer = scene.wire.exchange(&[known], &scene.origin("0xS:time")).await.answer();
        if answer.status() != Status::OK {
            break answer;
        }
        assert!(before < (now + 2) * 1_000_000, "an expired token was accepted");
    };
    assert_eq!((answer.status(), answer.remedy()), (Status::TOKEN_INVALID, "renew-token"));
}

#[tokio::test]
async fn what_this_node_lacks_is_said() {
    let scene = Scene::new().await;
    let journal = Field::octet(FieldIndex::JOURNAL, JournalMode::WAL.0 + 1);
    // A journal mode that there is not yet: a caller that asks for it must not be told that it has it.
    let origin = scene.origin("0xS:echo").with_public(journal);
    assert_eq!(scene.status(origin).await, Status::NOT_IMPLEMENTED);
}

#[tokio::test]
async fn unknown_frames_are_skipped() {
    let scene = Scene::new().await;
    // [FRM-2] Unknown frames of odd type are skipped, wherever they stand, and are no part of the message.
    let origin = scene.origin("0xS:echo");
    let mut skipped = BytesMut::from(&[0x21, 0x02, 1, 2][..]);
    scene.auth().encode(&mut skipped);
    origin.encode(&mut skipped);
    skipped.extend_from_slice(&[0x23, 0x00]);
    let answer = scene.wire.exchange_bytes(&skipped, &origin).await.answer();
    assert_eq!(answer.status(), Status::OK);
}

#[tokio::test]
async fn names_are_resolved() {
    let scene = Scene::new().await;
    let args = Field::bytes(FieldIndex::ARGS, r#"["Dexter"]"#);
    let origin = scene.origin("0xR:hello").with_private(salt(), args);
    let answer = scene.wire.exchange(&[scene.auth()], &origin).await.answer();
    assert_eq!(answer.last().data().unwrap(), "Hello, Dexter!");
    let resolved = answer.replay.message.links[2].layer().unwrap();
    assert_eq!(resolved.text(FieldIndex::RESOLVED), Some("0xS:0x001:hello_world"));
    assert_eq!(scene.status(scene.origin("0xR:again")).await, Status::OK);
    let table = [
        ("0xR:nobody", Status::NOT_FOUND),
        // [PRC-8]
        ("0xR:writes", Status::WRITE_FORM_REQUIRED),
        // [PRC-9]
        ("0xR:loop", Status::LOOP_DETECTED),
        // [ADM-7] So MUST a target that resolution gave.
        ("0xR:secret", Status::FORBIDDEN),
        ("0xS:0x001:nowhere", Status::NOT_FOUND),
        // What the name stands for goes on with what follows it.
        ("0xR:hello:there", Status::NOT_FOUND),
    ];
    for (target, status) in table {
        let answer = scene.wire.exchange(&[scene.auth()], &scene.origin(target)).await.answer();
        let detail = answer.last().text(FieldIndex::DETAIL);
        assert_eq!(answer.status(), status, "{target}: {detail:?}");
    }
    // [PRC-7]
    let times = answer.replay.message.links[1..].iter().map(|link| link.time());
    assert!(times.is_sorted());
}

#[tokio::test]
async fn a_write_that_is_given_to_nobody_says_that_it_had_no_effect() {
    let scene = Scene::new().await;
    // [PRC-6]
    let origin = signed(scene.origin("0xSW:nowhere"), &scene.key);
    let answer = scene.wire.exchange(&[scene.auth()], &origin).await.answer();
    assert_eq!((answer.last().step, answer.status()), (Step::DISPATCH, Status::NOT_FOUND));
    assert!(answer.last().value(FieldIndex::NO_EFFECT).is_some());
    assert_eq!(answer.replay.process, ProcessVerdict::Follows);
    let read = scene.origin("0xS:nowhere");
    let answer = scene.wire.exchange(&[scene.auth()], &read).await.answer();
    assert!(answer.last().value(FieldIndex::NO_EFFECT).is_none());
    assert_eq!(answer.replay.process, ProcessVerdict::Follows);
}

#[tokio::test]
async fn a_refusal_need_not_wait_for_the_body() {
    let scene = Scene::new().await;
    // [QUI-17] No token: the answer stands before the body has come.
    let origin = scene.origin("0xS:echo").with_body(salt(), vec![0; 50_000]);
    let (mut send, recv) = scene.wire.open().await;
    let mut head = BytesMut::new();
    origin.encode_head(&mut head);
    send.write_all(&head).await.unwrap();
    let answer = scene.wire.read_answer(recv, &origin).await.answer();
    assert_eq!(answer.status(), Status::IDENTITY_REQUIRED);
    assert!(answer.replay.message.seal.body_unread);
    assert!(answer.replay.message.origin().unwrap().has(LayerFlags::BODY_UNREAD));
    let stopped = send.stopped().await.unwrap().map(|code| CloseCode(code.into_inner()));
    assert_eq!(stopped, Some(CloseCode::REFUSED));
    // [LIM-2] A body above the node's limit.
    let origin = signed(scene.origin("0xS:echo").with_body(salt(), vec![7; 100_001]), &scene.key);
    let answer = scene.wire.exchange(&[scene.auth()], &origin).await.answer();
    assert_eq!((answer.status(), answer.remedy()), (Status::BODY_TOO_LARGE, "send-less"));
    assert!(answer.replay.message.seal.body_unread);
    let origin = signed(scene.origin("0xS:echo").with_body(salt(), vec![7; 100_000]), &scene.key);
    assert_eq!(scene.status(origin).await, Status::OK);
}
