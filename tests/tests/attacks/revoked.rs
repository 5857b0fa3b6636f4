//! Tokens that were revoked, and hangups of what is another's.

use cmtp_codec::{Auth, Digest, Frame, SigningKey};
use cmtp_spec::{Status, binding};
use cmtp_tests::session::{Persona, forge, issued};
use cmtp_tests::wire::{Ending, Wire, signed};
use serde_json::Value;

use crate::scene::{Attacks, Fate, Scene, key};

const REVOKED: Fate = Fate::Counted(Status::TOKEN_INVALID, "revoked");
const GRANT: Fate = Fate::Counted(Status::TOKEN_INVALID, "session-grant");
const FORBIDDEN: Fate = Fate::Logged(Status::FORBIDDEN);
const BAD: Fate = Fate::Logged(Status::BAD_REQUEST);

pub async fn run(attacks: &mut Attacks) {
    let mut scene = Scene::new("").await;
    used_on(attacks, &mut scene).await;
    by_another_name(attacks, &mut scene).await;
    operators(attacks, &mut scene).await;
    hangups(attacks, &mut scene).await;
    attacks.end(scene).await;
    after_kill(attacks).await;
}

/// [SES-17] A session's token after its hangup, on the connection that showed it and on others.
async fn used_on(attacks: &mut Attacks, scene: &mut Scene) {
    let holder = key(7);
    let (wire, open, fresh) = (scene.wire().await, scene.wire().await, scene.wire().await);
    let persona = Persona { wire: &wire, key: &holder };
    let token = persona.session().await.token;
    assert_eq!(shows(&open, &token, &holder).await.answer().status(), Status::OK);
    assert_eq!(persona.hang_up(&token, None).await.answer().status(), Status::OK);
    let run = shows(&wire, &token, &holder);
    attacks.attack(scene, "a token after its hangup, where it was hung up", REVOKED, run).await;
    let run = shows(&open, &token, &holder);
    attacks
        .attack(scene, "a token after its hangup, on a connection that knows it", REVOKED, run)
        .await;
    let run = knows(&open, &token, &holder);
    attacks.attack(scene, "the digest of a token after its hangup", REVOKED, run).await;
    let run = shows(&fresh, &token, &holder);
    attacks.attack(scene, "a token after its hangup, on a new connection", REVOKED, run).await;
    let run = async { persona.hang_up(&token, None).await };
    attacks.attack(scene, "a second hangup under the token that was hung up", REVOKED, run).await;
    let run = async {
        let auth = wire.auth(&token, &holder);
        persona.call(auth, binding::SESSION_LIST, None).await
    };
    attacks.attack(scene, "a list of sessions under a token that was hung up", REVOKED, run).await;
}

/// [SES-15] All tokens of a grant end with it, whichever of them names it.
async fn by_another_name(attacks: &mut Attacks, scene: &mut Scene) {
    let holder = key(7);
    let wire = scene.wire().await;
    let persona = Persona { wire: &wire, key: &holder };
    let (first, kept) = (persona.session().await, persona.session().await);
    let later = issued(&persona.send(&persona.renew(first.grant)).await.answer());
    assert_ne!(first.token, later.token);
    // By the jti of the first, under another grant's token.
    let named = format!("[\"{}\"]", first.grant);
    assert_eq!(persona.hang_up(&kept.token, Some(&named)).await.answer().status(), Status::OK);
    let run = shows(&wire, &first.token, &holder);
    attacks
        .attack(scene, "the first token of a grant that was hung up by name", REVOKED, run)
        .await;
    let run = shows(&wire, &later.token, &holder);
    attacks.attack(scene, "a later token of a grant that was hung up by name", REVOKED, run).await;
    // By the jti of a later one.
    let second = persona.session().await;
    let named = format!("[\"{}.1\"]", second.grant);
    assert_eq!(persona.hang_up(&kept.token, Some(&named)).await.answer().status(), Status::OK);
    let run = shows(&wire, &second.token, &holder);
    attacks.attack(scene, "a token after the hangup of a later one", REVOKED, run).await;
    assert_eq!(shows(&wire, &kept.token, &holder).await.answer().status(), Status::OK);
    let did = format!("[\"{}\"]", holder.public());
    assert_eq!(persona.hang_up(&kept.token, Some(&did)).await.answer().status(), Status::OK);
    let run = shows(&wire, &kept.token, &holder);
    attacks.attack(scene, "a token after all of its persona's were hung up", REVOKED, run).await;
}

/// [SES-15] Tokens that the operator made by hand.
async fn operators(attacks: &mut Attacks, scene: &mut Scene) {
    let holder = key(12);
    let wire = scene.wire().await;
    let persona = Persona { wire: &wire, key: &holder };
    let made = || scene.node.grant(&holder.public().to_string(), &["--scope", "0xS:**"]);
    let (one, other) = (made(), made());
    assert_eq!(persona.hang_up(&one, None).await.answer().status(), Status::OK);
    let run = shows(&wire, &one, &holder);
    attacks.attack(scene, "an operator's token after its hangup", REVOKED, run).await;
    assert_eq!(shows(&wire, &other, &holder).await.answer().status(), Status::OK);
    let did = format!("[\"{}\"]", holder.public());
    assert_eq!(persona.hang_up(&other, Some(&did)).await.answer().status(), Status::OK);
    let run = shows(&wire, &other, &holder);
    attacks.attack(scene, "an operator's token after the hangup of its holder", REVOKED, run).await;
}

/// [SES-15] [SES-5] What is another's gets 403, and is in the journal: a token was accepted.
async fn hangups(attacks: &mut Attacks, scene: &mut Scene) {
    let thief = key(66);
    let wire = scene.wire().await;
    let persona = Persona { wire: &wire, key: &thief };
    let own = persona.session().await;
    let victim = &scene.issued;
    let by_hand = scene.node.grant(&key(42).public().to_string(), &["--scope", "0xS:**"]);
    let by_hand = forge(&scene.node, &by_hand);
    let named = [
        ("a hangup of another's grant", FORBIDDEN, format!("[\"{}\"]", victim.grant)),
        ("a hangup of another's later token", FORBIDDEN, format!("[\"{}.7\"]", victim.grant)),
        ("a hangup of another's DID", FORBIDDEN, format!("[\"{}\"]", key(42).public())),
        ("a hangup of the node's own DID", FORBIDDEN, format!("[\"{}\"]", scene.node.did)),
        ("a hangup of another's operator token", FORBIDDEN, format!("[{}]", by_hand.claims["jti"])),
        ("a hangup of a grant that nobody made", FORBIDDEN, format!("[\"{}\"]", "A".repeat(22))),
        ("a hangup of two at once", BAD, format!("[\"{}\",\"{}\"]", own.grant, victim.grant)),
        ("a hangup of a list", BAD, format!("[[\"{}\"]]", victim.grant)),
        ("a hangup of a number", BAD, "[7]".to_owned()),
        ("a hangup with a line feed in it", BAD, format!("[\"x\\ngrant {}\"]", victim.grant)),
        ("a hangup with a space in it", BAD, format!("[\"x {}\"]", victim.grant)),
        ("a hangup of nothing", BAD, "[\"\"]".to_owned()),
        ("a hangup of what is too long", BAD, format!("[\"{}\"]", "x".repeat(65))),
    ];
    for (name, fate, arguments) in named {
        let run = async { persona.hang_up(&own.token, Some(&arguments)).await };
        attacks.attack(scene, name, fate, run).await;
    }
    let run = async {
        let origin = wire.origin(&thief, binding::SESSION_HANGUP);
        wire.exchange(&[wire.auth(&own.token, &thief)], &origin).await
    };
    attacks.attack(scene, "a hangup that nobody signed", BAD, run).await;
    let missing = Fate::Logged(Status::NOT_FOUND);
    for (name, target) in [
        ("a hangup in the read form", "0xI:session:hangup"),
        ("a list of sessions in the write form", "0xIW:session:list"),
        ("a handshake that a session goes on with", "0xI:session:grant"),
    ] {
        let run = async { persona.call(wire.auth(&own.token, &thief), target, None).await };
        attacks.attack(scene, name, missing, run).await;
    }
    // [SES-5] A list shows one's own alone.
    let auth = wire.auth(&own.token, &thief);
    let listed = persona.call(auth, binding::SESSION_LIST, None).await.answer();
    let listed: Value = serde_json::from_slice(listed.last().data().unwrap()).unwrap();
    let names: Vec<_> =
        listed["grants"].as_array().unwrap().iter().map(|it| &it["grant"]).collect();
    assert_eq!(names, [&Value::from(own.grant.to_string())]);
    // A session for one target is no session for another, nor for what the node's operator may.
    let narrow = persona.session_with(br#"{"scope":{"read":["0xS:time"],"write":[]}}"#).await;
    let run = async { persona.call(wire.auth(&narrow.token, &thief), "0xS:echo", None).await };
    attacks.attack(scene, "a call beyond the wanted scope", FORBIDDEN, run).await;
    let run = async { persona.call(wire.auth(&narrow.token, &thief), "0xSW:a:b", None).await };
    attacks.attack(scene, "a write under a session for reads", FORBIDDEN, run).await;
    let run = async {
        persona.call(wire.auth(&own.token, &thief), "0xIW:erase", Some("[\"forget\",\"1\"]")).await
    };
    attacks.attack(scene, "an erasure by who is not the operator", FORBIDDEN, run).await;
}

/// [SES-17] After `kill -9` and a start.
async fn after_kill(attacks: &mut Attacks) {
    let holder = key(7);
    let mut scene = Scene::new("").await;
    let wire = scene.wire().await;
    let persona = Persona { wire: &wire, key: &holder };
    let first = persona.session().await;
    let later = issued(&persona.send(&persona.renew(first.grant)).await.answer());
    let consented = persona.confirmed().await;
    let consent = signed(persona.origin(&persona.consent(&consented)), &holder);
    let second = issued(&wire.exchange(&[], &consent).await.answer());
    let by_hand = scene.node.grant(&holder.public().to_string(), &["--scope", "0xS:**"]);
    let named = format!("[\"{}\"]", first.grant);
    assert_eq!(persona.hang_up(&second.token, Some(&named)).await.answer().status(), Status::OK);
    let did = format!("[\"{}\"]", holder.public());
    assert_eq!(persona.hang_up(&second.token, Some(&did)).await.answer().status(), Status::OK);
    scene.kill().await;
    let again = scene.wire().await;
    let persona = Persona { wire: &again, key: &holder };
    let table = [
        ("a first token that was revoked before kill -9", &first.token),
        ("a later token that was revoked before kill -9", &later.token),
        ("a token of a DID that was revoked before kill -9", &second.token),
        ("an operator's token of a DID that was revoked before kill -9", &by_hand),
    ];
    for (name, token) in table {
        attacks.attack(&mut scene, name, REVOKED, shows(&again, token, &holder)).await;
    }
    for (name, grant) in [
        ("a renewal of a grant that was revoked before kill -9", first.grant),
        ("a renewal of a DID's grant that was revoked before kill -9", second.grant),
    ] {
        let run = async { persona.send(&persona.renew(grant)).await };
        attacks.attack(&mut scene, name, GRANT, run).await;
    }
    let run = async { again.exchange(&[], &consent).await };
    let fate = Fate::Counted(Status::TOKEN_INVALID, "session-cookie");
    attacks.attack(&mut scene, "a consent's bytes after kill -9", fate, run).await;
    attacks.end(scene).await;
}

async fn shows(wire: &Wire, token: &str, key: &SigningKey) -> Ending {
    wire.exchange(&[wire.auth(token, key)], &wire.origin(key, "0xS:echo")).await
}

async fn knows(wire: &Wire, token: &str, key: &SigningKey) -> Ending {
    let known = Frame::Auth(Auth::Known(Digest::of(token.as_bytes())));
    wire.exchange(&[known], &wire.origin(key, "0xS:echo")).await
}
