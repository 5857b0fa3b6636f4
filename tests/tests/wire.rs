//! Every rule of the QUIC binding and of admission, over real connections, by a client that breaks them one by one.

use bytes::BytesMut;
use cmtp_codec::{Auth, Digest, Field, Frame, Layer, ProcessVerdict, SigningKey};
use cmtp_spec::{
    CloseCode, EntryType, FieldIndex, JournalMode, KeyUse, LayerFlags, SettingId, Status, Step,
    limits,
};
use cmtp_tests::Node;
use cmtp_tests::wire::{Forge, Wire, badly_signed, dial, now, salt, signed};
use futures::FutureExt;
use serde_json::{Value, json};

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

    /// How a request stream with these bytes behind a good AUTH ends.
    async fn reset(&self, bytes: &[u8]) -> CloseCode {
        let mut all = BytesMut::new();
        self.auth().encode(&mut all);
        all.extend_from_slice(bytes);
        self.wire.exchange_bytes(&all, &self.origin("0xS:echo")).await.reset()
    }
}

fn encoded(layer: &Layer) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    layer.encode(&mut bytes);
    bytes.to_vec()
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
    assert_eq!(admit.text(FieldIndex::POLICIES), Some("0xS:**"));
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
    assert_eq!(settings, SettingId::ALL);
}

#[tokio::test]
async fn control_streams() {
    let scene = Scene::new().await;
    // [QUI-4]
    assert!(scene.wire.connection.accept_bi().now_or_never().is_none());
    // [QUI-5] An unknown type is not an error.
    let mut unknown = scene.wire.connection.open_uni().await.unwrap();
    unknown.write_all(&[0x40, 0x55, 1, 2, 3]).await.unwrap();
    assert!(unknown.stopped().await.is_ok());
    assert_eq!(scene.status(scene.origin("0xS:echo")).await, Status::OK);

    // [QUI-6] [QUI-7]
    let table: [(&[u8], CloseCode); 5] = [
        (&[0x00, 0x12, 0x01, 0x08], CloseCode::SETTINGS),
        (&[0x00, 0x10, 0x00, 0x10, 0x00], CloseCode::SETTINGS),
        (&[0x00, 0x10, 0x00, 0x12, 0x01, 0x08], CloseCode::UNEXPECTED),
        // [FRM-19]
        (&[0x00, 0x10, 0x04, 0x02, 0x01, 0x01, 0x01], CloseCode::SETTINGS),
        (&[0x00, 0x40, 0x10, 0x00], CloseCode::MALFORMED),
    ];
    for (bytes, code) in table {
        let wire = Wire::connect(&scene.node).await;
        let mut control = wire.connection.open_uni().await.unwrap();
        control.write_all(bytes).await.unwrap();
        // [QUI-8] An error on a control stream ends the connection.
        assert_eq!(wire.close_code().await, Some(code), "{bytes:02x?}");
    }
    let wire = Wire::connect(&scene.node).await;
    let mut control = wire.connection.open_uni().await.unwrap();
    control.write_all(&[0x00, 0x10, 0x00]).await.unwrap();
    let mut second = wire.connection.open_uni().await.unwrap();
    second.write_all(&[0x00]).await.unwrap();
    assert_eq!(wire.close_code().await, Some(CloseCode::STREAM_CREATION));

    let wire = Wire::connect(&scene.node).await;
    let mut control = wire.connection.open_uni().await.unwrap();
    control.write_all(&[0x00, 0x10, 0x00]).await.unwrap();
    control.finish().unwrap();
    assert_eq!(wire.close_code().await, Some(CloseCode::CLOSED_CRITICAL_STREAM));
}

#[tokio::test]
async fn malformed_requests_end_their_stream_and_no_other() {
    let scene = Scene::new().await;
    let origin = scene.origin("0xS:echo");
    let good = encoded(&origin);
    let with_body = encoded(&scene.origin("0xS:echo").with_body(salt(), "x"));
    let mut layer_1 = good.clone();
    layer_1.extend_from_slice(&encoded(&Layer::new(Step::RESOLVE, scene.key.public(), 1, salt())));
    let trailing = |frame: &[u8]| [good.as_slice(), frame].concat();
    let table: [(&str, Vec<u8>, CloseCode); 16] = [
        // [QUI-18]
        ("no origin", vec![], CloseCode::MALFORMED),
        ("cut within a frame", good[..good.len() - 1].to_vec(), CloseCode::MALFORMED),
        ("cut before END", with_body[..with_body.len() - 20].to_vec(), CloseCode::MALFORMED),
        // [QUI-15]
        ("a second layer", layer_1, CloseCode::UNEXPECTED),
        // [QUI-19] [QUI-16]
        ("BODY after the origin", trailing(&[0x04, 0x01, 0x00]), CloseCode::UNEXPECTED),
        // [FRM-5]
        ("SETTINGS on a request stream", trailing(&[0x10, 0x00]), CloseCode::UNEXPECTED),
        ("GOAWAY on a request stream", vec![0x12, 0x01, 0x08], CloseCode::UNEXPECTED),
        ("CORE on a request stream", core_frame(), CloseCode::UNEXPECTED),
        // [FRM-3]
        ("unknown even frame", trailing(&[0x20, 0x00]), CloseCode::UNKNOWN_CRITICAL),
        // [CNV-1]
        ("varint too long", vec![0x40, 0x02, 0x00], CloseCode::MALFORMED),
        // [CNV-4] [LIM-1] [LIM-2] 2^62 − 1 bytes are promised, and none is waited for.
        ("LAYER of 2^62", [&[0x02][..], &[0xff; 8]].concat(), CloseCode::LIMIT_EXCEEDED),
        (
            "BODY too long",
            [&with_head(&scene)[..], &[0x04, 0x80, 0, 0x40, 1]].concat(),
            CloseCode::LIMIT_EXCEEDED,
        ),
        // [FRM-4]
        (
            "17 unknown frames",
            [[0x21, 0x00].repeat(17), good.clone()].concat(),
            CloseCode::LIMIT_EXCEEDED,
        ),
        // [FRM-8]
        ("empty BODY", [&with_head(&scene)[..], &[0x04, 0x00]].concat(), CloseCode::MALFORMED),
        // [LAY-4]
        (
            "layer 0 is no origin",
            encoded(&Layer { step: Step::ADMIT, ..origin.clone() }),
            CloseCode::MALFORMED,
        ),
        // [LAY-8]
        (
            "an origin without target",
            encoded(&Layer { public: origin.public[..2].to_vec(), ..origin.clone() }),
            CloseCode::MALFORMED,
        ),
    ];
    for (name, bytes, code) in table {
        // [QUI-8] One on a request stream ends that stream, with the code that names it.
        assert_eq!(scene.reset(&bytes).await, code, "{name}");
    }
    // [QUI-9]
    let mut twice = BytesMut::new();
    scene.auth().encode(&mut twice);
    twice.extend_from_slice(&good);
    assert_eq!(scene.reset(&twice).await, CloseCode::UNEXPECTED, "AUTH twice");
    let mut late = BytesMut::from(good.as_slice());
    scene.auth().encode(&mut late);
    assert_eq!(scene.wire.exchange_bytes(&late, &origin).await.reset(), CloseCode::UNEXPECTED);
    // [LAY-9]
    let bad = badly_signed(scene.origin("0xS:echo"));
    assert_eq!(scene.reset(&encoded(&bad)).await, CloseCode::BAD_CHAIN);
    // [FRM-2] Unknown frames of odd type are skipped, and the connection lives.
    let mut skipped = BytesMut::from(&[0x21, 0x02, 1, 2][..]);
    scene.auth().encode(&mut skipped);
    skipped.extend_from_slice(&trailing(&[0x23, 0x00]));
    let answer = scene.wire.exchange_bytes(&skipped, &origin).await.answer();
    assert_eq!(answer.status(), Status::OK);
}

fn core_frame() -> Vec<u8> {
    [&[0x0c, 0x40, 152][..], &[0; 152]].concat()
}

/// The LAYER frame of an origin whose body is still to come.
fn with_head(scene: &Scene) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    scene.origin("0xS:echo").with_body(salt(), "").encode_head(&mut bytes);
    bytes.to_vec()
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
async fn bad_tokens_are_refused_without_a_reason() {
    let scene = Scene::new().await;
    let good = Forge::new(&scene.node, scene.key.public());
    let now = now() / 1_000_000;
    let header = |key: &str, value: Value| {
        let mut forge = good.clone();
        forge.header[key] = value;
        forge.token()
    };
    let claim = |path: &str, value: Value| {
        let mut forge = good.clone();
        *forge.claims.pointer_mut(path).expect("a claim") = value;
        forge.token()
    };
    let extra = |key: &str, value: Value| {
        let mut forge = good.clone();
        forge.claims[key] = value;
        forge.token()
    };
    let without = |key: &str| {
        let mut forge = good.clone();
        forge.claims.as_object_mut().unwrap().remove(key);
        forge.token()
    };
    let other = SigningKey::from_seed(&[9; 32]).unwrap();
    let foreign = Forge { seed: [9; 32], ..good.clone() };
    let mut foreign_kid = foreign.clone();
    foreign_kid.header["kid"] = json!(other.public().multibase());
    let token = good.token();
    let patterns: Vec<String> =
        (0..=limits::SCOPE_PATTERNS_MAX).map(|n| format!("0xS:a{n}")).collect();
    let table = [
        // [ADM-1]
        ("alg none", header("alg", json!("none"))),
        ("alg HS256", header("alg", json!("HS256"))),
        ("alg Ed25519", header("alg", json!("Ed25519"))),
        ("typ JWT", header("typ", json!("JWT"))),
        ("jwk in the header", header("jwk", json!({"kty": "OKP"}))),
        ("crit in the header", header("crit", json!(["exp"]))),
        ("foreign kid", foreign_kid.token()),
        ("foreign key", foreign.token()),
        ("no jti", without("jti")),
        ("no nbf", without("nbf")),
        ("another claim", extra("admin", json!(true))),
        ("a cnf with kid", claim("/cnf", json!({"kid": "x"}))),
        ("jti too long", claim("/jti", json!("x".repeat(65)))),
        // [ADM-2]
        ("other iss", claim("/iss", json!(other.public().to_string()))),
        ("other aud", claim("/aud", json!(other.public().to_string()))),
        ("aud a list", claim("/aud", json!([good.claims["aud"]]))),
        // [ADM-3]
        ("sub of another", claim("/sub", json!(other.public().to_string()))),
        // [ADM-4]
        ("expired", claim("/exp", json!(now))),
        ("not yet valid", claim("/nbf", json!(now + 30))),
        ("lives too long", claim("/exp", json!(now + 901))),
        ("a fraction as exp", claim("/exp", json!(now as f64 + 30.5))),
        // [ADM-5]
        ("padded", format!("{token}=")),
        ("two parts", token.rsplit_once('.').unwrap().0.to_owned()),
        ("four parts", format!("{token}.x")),
        ("standard alphabet", token.replacen('.', "+.", 1)),
        ("stray bits", stray_bits(&token)),
        // [ADM-6]
        ("too many patterns", claim("/scope/read", json!(patterns))),
        ("no pattern", claim("/scope/read", json!(["0xS:%41"]))),
        ("a write form under read", claim("/scope/read", json!(["0xSW:x"]))),
    ];
    let mut said = Vec::new();
    for (name, token) in table {
        // One connection each: a connection bears with few bad tokens.
        let wire = Wire::connect(&scene.node).await;
        let origin = wire.origin(&scene.key, "0xS:echo");
        let answer = wire.exchange(&[wire.auth(&token, &scene.key)], &origin).await.answer();
        assert_eq!(answer.status(), Status::TOKEN_INVALID, "{name}");
        // [ADM-11]
        assert!(answer.replay.message.seal.unlogged, "{name}");
        said.push((
            answer.remedy().to_owned(),
            answer.last().text(FieldIndex::DETAIL).map(str::to_owned),
        ));
    }
    // [STA-3] All are told the same, and the token's own key proved by another as well.
    let wire = Wire::connect(&scene.node).await;
    let origin = wire.origin(&other, "0xS:echo");
    let answer = wire.exchange(&[wire.auth(&token, &other)], &origin).await.answer();
    said.push((
        answer.remedy().to_owned(),
        answer.last().text(FieldIndex::DETAIL).map(str::to_owned),
    ));
    // [ADM-10] A good token, proved, and an origin by somebody else.
    let wire = Wire::connect(&scene.node).await;
    let origin = signed(wire.origin(&other, "0xS:echo"), &other);
    let answer = wire.exchange(&[wire.auth(&token, &scene.key)], &origin).await.answer();
    assert_eq!(answer.status(), Status::TOKEN_INVALID);
    said.push((
        answer.remedy().to_owned(),
        answer.last().text(FieldIndex::DETAIL).map(str::to_owned),
    ));
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    // A proof made for another connection.
    let proof = scene.auth();
    let origin = wire.origin(&scene.key, "0xS:echo");
    let answer = Wire::connect(&scene.node).await.exchange(&[proof], &origin).await.answer();
    assert_eq!(answer.status(), Status::TOKEN_INVALID);
}

/// The token with a bit set in the last character of its signature that no byte takes.
fn stray_bits(token: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = token.chars().last().unwrap();
    let other = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    format!("{}{other}", &token[..token.len() - 1])
}

#[tokio::test]
async fn too_many_bad_tokens_close_the_connection() {
    let scene = Scene::new().await;
    let origin = scene.origin("0xS:echo");
    let bad = scene.wire.auth("x.y.z", &scene.key);
    for _ in 0..limits::BAD_TOKENS_MAX {
        let answer = scene.wire.exchange(std::slice::from_ref(&bad), &origin).await.answer();
        assert_eq!(answer.status(), Status::TOKEN_INVALID);
    }
    // [QUI-14] The last answer may be lost with the connection.
    let _last = scene.wire.exchange(&[bad], &origin).await;
    assert_eq!(scene.wire.close_code().await, Some(CloseCode::AUTH_FAILED));
}

#[tokio::test]
async fn requests_are_admitted_in_order() {
    let scene = Scene::new().await;
    let origin = |target| scene.origin(target);
    let with = |index: FieldIndex, field: Field| {
        let mut origin = scene.origin("0xS:echo");
        let place = origin.public.iter_mut().find(|field| field.name.index() == Some(index));
        *place.unwrap() = field;
        origin
    };
    let time = now();
    let id_at = |time: u64| {
        let mut id = [0x80; 16];
        id[..6].copy_from_slice(&(time / 1000).to_be_bytes()[2..]);
        id[6] = 0x70;
        Field::bytes(FieldIndex::MESSAGE_ID, id.to_vec())
    };
    let not_after = |time: u64| Field::number(FieldIndex::NOT_AFTER, time);
    let hour = 3_600_000_000;
    let audience = Field::key(FieldIndex::AUDIENCE, scene.key.public());
    let journal = Field::octet(FieldIndex::JOURNAL, JournalMode::WAL.0 + 1);
    let long = format!("0xS:{}", "a".repeat(1025));
    // [ADM-9] Each is the admit layer's own, so nothing was done before.
    let table = [
        ("other audience", with(FieldIndex::AUDIENCE, audience), Status::WRONG_AUDIENCE),
        // [IDM-3]
        (
            "old id",
            with(FieldIndex::MESSAGE_ID, id_at(time - hour - 60_000_000)),
            Status::ID_OUTSIDE_WINDOW,
        ),
        (
            "future id",
            with(FieldIndex::MESSAGE_ID, id_at(time + hour + 60_000_000)),
            Status::ID_OUTSIDE_WINDOW,
        ),
        ("too late", with(FieldIndex::NOT_AFTER, not_after(time - 1)), Status::TOO_LATE),
        (
            "too far ahead",
            with(FieldIndex::NOT_AFTER, not_after(time + hour + 60_000_000)),
            Status::BAD_REQUEST,
        ),
        // [PRC-3]
        ("unknown opcode", origin("0xZ:echo"), Status::BAD_REQUEST),
        // [FQN-9]
        ("sugar", origin("0Sx:echo"), Status::BAD_REQUEST),
        ("a bare name", origin("hello"), Status::BAD_REQUEST),
        // [FQN-8]
        ("arguments in the target", origin("0xS:echo:[1]"), Status::BAD_REQUEST),
        ("a long target", origin(&long), Status::TARGET_TOO_LONG),
        ("an unsigned write", origin("0xSW:0x001:x"), Status::BAD_REQUEST),
        // [ADM-7]
        ("not covered", origin("0xE:orders"), Status::FORBIDDEN),
        (
            "a journal mode that there is not",
            origin("0xS:echo").with_public(journal),
            Status::NOT_IMPLEMENTED,
        ),
    ];
    for (name, origin, status) in table {
        let answer = scene.wire.exchange(&[scene.auth()], &origin).await.answer();
        assert_eq!(answer.status(), status, "{name}");
        assert_eq!(answer.replay.message.links.len(), 2, "{name}");
        // [STA-1]
        assert!(!answer.remedy().is_empty(), "{name}");
        // [ADM-11]
        let receipt = answer.replay.message.seal.receipt.as_ref();
        assert_eq!(receipt.map(|receipt| receipt.entry_type), Some(EntryType::REFUSAL), "{name}");
    }
    // [STA-2] [ADM-11] Without a token nothing else is looked at.
    let answer = scene.wire.exchange(&[], &origin("nonsense")).await.answer();
    assert_eq!((answer.status(), answer.remedy()), (Status::IDENTITY_REQUIRED, "create-identity"));
    assert!(answer.replay.message.seal.unlogged);
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

#[tokio::test]
async fn streams_are_bounded_in_number_and_time() {
    let scene = Scene::new().await;
    // [LIM-4]
    let mut open = Vec::new();
    for _ in 0..limits::REQUEST_STREAMS {
        open.push(scene.wire.open().now_or_never().expect("a stream"));
    }
    assert!(scene.wire.connection.open_bi().now_or_never().is_none());
    // [LIM-3] A stream that says nothing is ended.
    let (mut send, recv) = open.pop().unwrap();
    send.write_all(&[0x02]).await.unwrap();
    let ending = scene.wire.read_answer(recv, &scene.origin("0xS:echo")).await;
    assert_eq!(ending.reset(), CloseCode::TIMEOUT);
}
