//! Hellos that are none, or lie, and targets that look like the handshake's.

use cmtp_codec::{Auth, Digest, Field, Frame, Layer};
use cmtp_spec::{CloseCode, FieldIndex, JournalMode, Status, binding, limits};
use cmtp_tests::session::{Persona, Said};
use cmtp_tests::wire::{badly_signed, now, signed};

use crate::scene::{Attacks, Fate, Scene, key};

const MALFORMED: Fate = Fate::Counted(Status::BAD_REQUEST, "session-malformed");
const VERSION: Fate = Fate::Counted(Status::NOT_IMPLEMENTED, "session-version");
const AUTH: Fate = Fate::Counted(Status::BAD_REQUEST, "session-auth");

pub async fn run(attacks: &mut Attacks) {
    let mut scene = Scene::new("").await;
    messages(attacks, &mut scene).await;
    shown(attacks, &mut scene).await;
    targets(attacks, &mut scene).await;
    origins(attacks, &mut scene).await;
    attacks.end(scene).await;
    closed(attacks).await;
}

/// [SES-2] [SES-6] [SES-7] What the message says.
async fn messages(attacks: &mut Attacks, scene: &mut Scene) {
    let (persona, other) = (key(42), key(9).public());
    let did = persona.public();
    let nonce = "A".repeat(43);
    let good = format!(r#"{{"versions":[0],"persona":"{did}","nonce":"{nonce}"}}"#);
    let versions = |list: &str| good.replace("[0]", list).into_bytes();
    let seventeen = format!("{:?}", (0..17).collect::<Vec<_>>());
    let others = good.replace(&did.to_string(), &other.to_string());
    let not_utf8 = good.replace("AAAA\"}", "AAA\u{1}\"}").into_bytes();
    let not_utf8 = not_utf8.into_iter().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
    let person = Fate::Counted(Status::TOKEN_INVALID, "session-persona");
    let table: Vec<(&str, Fate, Vec<u8>)> = vec![
        ("a hello without the node's version", VERSION, versions("[1]")),
        ("a hello with later versions alone", VERSION, versions("[1,2,9007199254740991]")),
        ("versions out of order", MALFORMED, versions("[1,0]")),
        ("a version twice", MALFORMED, versions("[0,0]")),
        ("no versions", MALFORMED, versions("[]")),
        ("seventeen versions", MALFORMED, versions(&seventeen)),
        ("a version below zero", MALFORMED, versions("[-1]")),
        ("a version with a fraction", MALFORMED, versions("[0.0]")),
        ("a version that is a text", MALFORMED, versions(r#"["0"]"#)),
        ("versions that are a number", MALFORMED, versions("0")),
        ("a version of 10^400", MALFORMED, versions("[0,1e400]")),
        ("a hello for another persona than its actor", person, others.into()),
        ("a persona of another method", MALFORMED, good.replace("did:key", "did:web").into()),
        ("a persona that is no key", MALFORMED, good.replace(&did.multibase(), "z6Mk").into()),
        ("a member more", MALFORMED, good.replacen('{', r#"{"admin":true,"#, 1).into()),
        ("a member twice", MALFORMED, good.replacen('{', r#"{"versions":[0],"#, 1).into()),
        (
            "a member twice, once escaped",
            MALFORMED,
            good.replacen('{', r#"{"\u0076ersions":[0],"#, 1).into(),
        ),
        ("a member less", MALFORMED, good.replace(r#""versions":[0],"#, "").into()),
        ("a nonce that is too short", MALFORMED, good.replace(&nonce, &"A".repeat(42)).into()),
        ("a nonce that is padded", MALFORMED, good.replace(&nonce, &format!("{nonce}=")).into()),
        (
            "a nonce with stray bits",
            MALFORMED,
            good.replace(&nonce, &format!("{}B", &nonce[1..])).into(),
        ),
        ("a nonce that is null", MALFORMED, good.replace(&format!("\"{nonce}\""), "null").into()),
        ("something behind the hello", MALFORMED, format!("{good}{good}").into()),
        ("a NUL behind the hello", MALFORMED, format!("{good}\0").into()),
        ("a byte order mark before the hello", MALFORMED, format!("\u{feff}{good}").into()),
        ("a hello that is not UTF-8", MALFORMED, not_utf8),
        ("a hello that is a list", MALFORMED, format!("[{good}]").into()),
        (
            "a hello that is a list of its values",
            MALFORMED,
            format!(r#"[[0],"{did}","{nonce}"]"#).into(),
        ),
        ("a hello that is ten thousand lists deep", MALFORMED, "[".repeat(10_000).into()),
        ("an empty hello", MALFORMED, Vec::new()),
        (
            "a hello that is too long by a byte",
            MALFORMED,
            format!("{good}{}", " ".repeat(limits::SESSION_MESSAGE_MAX as usize + 1 - good.len()))
                .into(),
        ),
        ("a hello of a megabyte", MALFORMED, vec![b' '; 1_000_000]),
    ];
    for (name, fate, body) in table {
        let wire = scene.wire().await;
        let said = Said::new(binding::SESSION_HELLO, body);
        let run = async { Persona { wire: &wire, key: &persona }.send(&said).await };
        attacks.attack(scene, name, fate, run).await;
    }
    let wire = scene.wire().await;
    let said = Said { body: None, ..Said::new(binding::SESSION_HELLO, "") };
    let run = async { Persona { wire: &wire, key: &persona }.send(&said).await };
    attacks.attack(scene, "a hello without a body", MALFORMED, run).await;
    // As long as may be is no attack.
    let wire = scene.wire().await;
    let longest =
        format!("{good}{}", " ".repeat(limits::SESSION_MESSAGE_MAX as usize - good.len()));
    let said = Said::new(binding::SESSION_HELLO, longest);
    let persona = Persona { wire: &wire, key: &persona };
    assert_eq!(persona.send(&said).await.answer().status(), Status::OK);
    // [SES-3] Nor is it one to want an entry in the journal; there is none.
    let journal = Field::octet(FieldIndex::JOURNAL, JournalMode::WAL.0);
    let origin = persona.origin(&persona.hello()).with_public(journal);
    let answer = wire.exchange(&[], &origin).await.answer();
    let seal = &answer.replay.message.seal;
    assert!(answer.status() == Status::OK && seal.unlogged && seal.receipt.is_none());
}

/// [SES-1] AUTH where none may stand.
async fn shown(attacks: &mut Attacks, scene: &mut Scene) {
    let persona = key(42);
    let token = scene.issued.token.clone();
    for (name, target) in [
        ("a hello with a good token", binding::SESSION_HELLO),
        ("an answer with a good token", binding::SESSION_ANSWER),
        ("a consent with a good token", binding::SESSION_CONSENT),
        ("a renewal with a good token", binding::SESSION_RENEW),
        ("a statement with a good token", binding::SESSION_REVOKE),
    ] {
        let wire = scene.wire().await;
        let said = Persona { wire: &wire, key: &persona }.hello();
        let origin = Persona { wire: &wire, key: &persona }
            .origin(&Said { target: target.to_owned(), ..said });
        let origin = signed(origin, &persona);
        attacks
            .attack(scene, name, AUTH, wire.exchange(&[wire.auth(&token, &persona)], &origin))
            .await;
    }
    let digest = Frame::Auth(Auth::Known(Digest::of(token.as_bytes())));
    let wire = scene.wire().await;
    let bad = wire.auth("x.y.z", &persona);
    for (name, frame) in [("a hello with a digest", digest), ("a hello with a bad token", bad)] {
        let said = Persona { wire: &wire, key: &persona }.hello();
        let origin = Persona { wire: &wire, key: &persona }.origin(&said);
        attacks.attack(scene, name, AUTH, wire.exchange(&[frame], &origin)).await;
    }
}

/// [SES-1] Targets that are nearly one of the five need a token.
async fn targets(attacks: &mut Attacks, scene: &mut Scene) {
    let persona = key(42);
    let nothing = Fate::Counted(Status::IDENTITY_REQUIRED, "no-token");
    for (name, target) in [
        ("a hello to a longer path", "0xI:session:hello:x"),
        ("a hello with arguments in its target", "0xI:session:hello:[1]"),
        ("a hello in the write form", "0xIW:session:hello"),
        ("an answer in the write form", "0xIW:session:answer"),
        ("a consent in the read form", "0xI:session:consent"),
        ("a renewal in the read form", "0xI:session:renew"),
        ("a hello in upper case", "0xI:SESSION:HELLO"),
        ("a hello under another spelling of its opcode", "0xi:session:hello"),
        ("a hello in percent signs", "0xI:session:%68ello"),
        ("a hello with an empty element", "0xI:session::hello"),
        ("a hello with a space behind it", "0xI:session:hello "),
        ("a hello with a NUL behind it", "0xI:session:hello\0"),
        ("a hello under another opcode", "0xS:session:hello"),
        ("a pattern for all of the handshake", "0xI:session:*"),
        ("a part of the handshake that is none", "0xI:session:grant"),
    ] {
        let wire = scene.wire().await;
        let hello = Persona { wire: &wire, key: &persona }.hello();
        let said = Said { target: target.to_owned(), ..hello };
        let origin = signed(Persona { wire: &wire, key: &persona }.origin(&said), &persona);
        attacks.attack(scene, name, nothing, wire.exchange(&[], &origin)).await;
    }
}

/// [SES-1] The checks of chapter 10 that are left, and those of a write.
async fn origins(attacks: &mut Attacks, scene: &mut Scene) {
    let persona = key(42);
    let wire = scene.wire().await;
    let at = Persona { wire: &wire, key: &persona };
    let origin = || at.origin(&at.hello());
    let audience = Field::key(FieldIndex::AUDIENCE, key(9).public());
    let origin_fault = |status| Fate::Counted(status, "session-origin");
    let old = {
        let mut id = origin().fixed::<16>(FieldIndex::MESSAGE_ID).unwrap();
        id[..6].copy_from_slice(&[0; 6]);
        Field::bytes(FieldIndex::MESSAGE_ID, id.to_vec())
    };
    let after = |time| Field::number(FieldIndex::NOT_AFTER, time);
    let far = after(now() + 10_000_000 * limits::NOT_AFTER_MAX);
    let table = [
        ("a hello for another node", Status::WRONG_AUDIENCE, with(origin(), audience)),
        ("a hello of 1970", Status::ID_OUTSIDE_WINDOW, with(origin(), old)),
        ("a hello that is too late", Status::TOO_LATE, with(origin(), after(now() - 1))),
        ("a hello for too long a time", Status::BAD_REQUEST, with(origin(), far)),
    ];
    for (name, status, origin) in table {
        attacks.attack(scene, name, origin_fault(status), wire.exchange(&[], &origin)).await;
    }
    let run = async { wire.exchange(&[], &badly_signed(origin())).await };
    let reset = Fate::Reset(CloseCode::BAD_CHAIN);
    attacks.attack(scene, "a hello with a layer's signature that is none", reset, run).await;
}

/// A node that opens no sessions refuses all of the five.
async fn closed(attacks: &mut Attacks) {
    let mut scene = Scene::new("").await;
    std::fs::write(scene.node.data().join("cmtpd.toml"), "[session]\nopen = false\n").unwrap();
    let persona = key(42);
    let fate = Fate::Counted(Status::NOT_IMPLEMENTED, "session-closed");
    scene.kill().await;
    for (name, target) in [
        ("a hello to a node that opens no sessions", binding::SESSION_HELLO),
        ("a renewal at a node that opens no sessions", binding::SESSION_RENEW),
    ] {
        let wire = scene.wire().await;
        let at = Persona { wire: &wire, key: &persona };
        let said = Said { target: target.to_owned(), ..at.renew(scene.issued.grant) };
        attacks.attack(&mut scene, name, fate, async { at.send(&said).await }).await;
    }
    attacks.stop(scene).await;
}

fn with(mut origin: Layer, field: Field) -> Layer {
    let place = origin.public.iter_mut().find(|it| it.name == field.name).unwrap();
    *place = field;
    origin
}
