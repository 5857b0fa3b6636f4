//! Answers whose cookie, signature or message is not that of this handshake.

use cmtp_codec::session::{Parties, Transcript};
use cmtp_spec::{Status, binding, limits, uses};
use cmtp_tests::session::{Heard, Persona, Said};

use crate::proofs::plus_order;
use crate::scene::{Attacks, Fate, Scene, key};

const COOKIE: Fate = Fate::Counted(Status::TOKEN_INVALID, "session-cookie");
const SIGNATURE: Fate = Fate::Counted(Status::TOKEN_INVALID, "session-signature");
const MALFORMED: Fate = Fate::Counted(Status::BAD_REQUEST, "session-malformed");

pub async fn run(attacks: &mut Attacks) {
    let mut scene = Scene::new("").await;
    cookies(attacks, &mut scene).await;
    foreign_cookies(attacks, &mut scene).await;
    signatures(attacks, &mut scene).await;
    spliced(attacks, &mut scene).await;
    messages(attacks, &mut scene).await;
    attacks.end(scene).await;
    let recovery = format!(r#"{{"recovery":"{}"}}"#, "A".repeat(43));
    let mut scene = Scene::with_answer("[session]\nrequire-recovery = true\n", &recovery).await;
    missing(attacks, &mut scene).await;
    attacks.stop(scene).await;
}

/// What a spoilt answer is made from.
struct Made<'a> {
    persona: &'a Persona<'a>,
    call: &'a Heard,
}

type Spoil = fn(&Made<'_>) -> Said;

/// Sends what `spoil` makes of a call, on a connection of its own.
async fn spoil(attacks: &mut Attacks, scene: &mut Scene, name: &str, fate: Fate, spoil: Spoil) {
    let wire = scene.wire().await;
    let persona_key = key(7);
    let persona = Persona { wire: &wire, key: &persona_key };
    let call = persona.called().await;
    let said = spoil(&Made { persona: &persona, call: &call });
    attacks.attack(scene, name, fate, persona.send(&said)).await;
}

impl Made<'_> {
    fn good(&self) -> Said {
        self.persona.answer(self.call)
    }

    fn cookie(&self, change: impl FnOnce(&mut Vec<u8>)) -> Said {
        let mut cookie = self.call.cookie.clone();
        change(&mut cookie);
        Said { cookie: Some(cookie), ..self.good() }
    }

    fn turned(&self, at: usize) -> Said {
        self.cookie(|cookie| cookie[at] ^= 1)
    }

    fn transcript(&self) -> Transcript {
        self.call.transcript.then(&self.good().body.unwrap())
    }

    /// The good answer under the signature of these parties.
    fn between(&self, parties: Parties) -> Said {
        self.good().signed(&parties.sign(self.transcript(), self.persona.key))
    }

    /// The good answer, signed over another transcript.
    fn over(&self, transcript: Transcript) -> Said {
        self.good().signed(&self.persona.parties().sign(transcript, self.persona.key))
    }

    /// An answer with this message, signed well.
    fn saying(&self, message: &str) -> Said {
        self.persona.answer_with(self.call, message.as_bytes())
    }
}

/// [SES-10] Cookies that the node did not make so.
async fn cookies(attacks: &mut Attacks, scene: &mut Scene) {
    let table: [(&str, Spoil); 16] = [
        ("an answer without a cookie", |it| Said { cookie: None, ..it.good() }),
        ("an empty cookie", |it| it.cookie(Vec::clear)),
        ("a cookie of one byte", |it| it.cookie(|cookie| cookie.truncate(1))),
        ("a cookie that is its nonce alone", |it| it.cookie(|cookie| cookie.truncate(12))),
        ("half a cookie", |it| it.cookie(|cookie| cookie.truncate(cookie.len() / 2))),
        ("a cookie without its last byte", |it| {
            it.cookie(|cookie| cookie.truncate(cookie.len() - 1))
        }),
        ("a cookie with a byte more", |it| it.cookie(|cookie| cookie.push(0))),
        ("a cookie twice, end to end", |it| it.cookie(|cookie| cookie.extend(cookie.clone()))),
        ("a cookie with a bit turned in its nonce", |it| it.turned(3)),
        ("a cookie with a bit turned in its step", |it| it.turned(12)),
        ("a cookie with a bit turned in its end", |it| it.turned(13)),
        ("a cookie with a bit turned in its persona", |it| it.turned(30)),
        ("a cookie with a bit turned in its transcript", |it| it.turned(60)),
        ("a cookie with a bit turned in its tag", |it| it.turned(it.call.cookie.len() - 1)),
        ("a cookie of zeros", |it| it.cookie(|cookie| cookie.fill(0))),
        ("a cookie that is too long", |it| {
            it.cookie(|cookie| cookie.resize(limits::SESSION_COOKIE_MAX as usize + 1, 7))
        }),
    ];
    for (name, make) in table {
        spoil(attacks, scene, name, COOKIE, make).await;
    }
}

/// [SES-10] Good cookies of other connections, personas, steps and nodes.
async fn foreign_cookies(attacks: &mut Attacks, scene: &mut Scene) {
    let (first, second) = (key(7), key(8));
    let wires = [scene.wire().await, scene.wire().await];
    let here = Persona { wire: &wires[0], key: &first };
    let there = Persona { wire: &wires[1], key: &first };
    let beside = Persona { wire: &wires[0], key: &second };
    let call = here.called().await;
    let other_call = there.called().await;
    let confirm = here.confirmed().await;

    let said = here.answer(&Heard { cookie: other_call.cookie.clone(), ..call.clone() });
    let run = async { here.send(&said).await };
    attacks.attack(scene, "a cookie of another of one's connections", COOKIE, run).await;
    let said = there.answer(&call);
    let run = async { there.send(&said).await };
    attacks.attack(scene, "an answer taken to another connection", COOKIE, run).await;
    let said = beside.answer(&call);
    let run = async { beside.send(&said).await };
    attacks.attack(scene, "a cookie of another persona on the connection", COOKIE, run).await;
    // Good for the one that it was made for, and then tried by another.
    assert_eq!(here.send(&here.answer(&call)).await.answer().status(), Status::OK);
    let said = here.answer(&call);
    let run = async { beside.send(&said).await };
    attacks.attack(scene, "an answer sent again by another persona", COOKIE, run).await;
    let said = here.next(binding::SESSION_ANSWER, &confirm, b"{}");
    let run = async { here.send(&said).await };
    attacks.attack(scene, "an answer with the confirm's cookie", COOKIE, run).await;
    let other = Scene::new("").await;
    let elsewhere = other.wire().await;
    let elsewhere = Persona { wire: &elsewhere, key: &first };
    let foreign = elsewhere.called().await;
    let said = here.answer(&Heard { cookie: foreign.cookie, ..call.clone() });
    let run = async { here.send(&said).await };
    attacks.attack(scene, "a cookie of another node", COOKIE, run).await;
    let said = here.answer(&Heard { cookie: confirm.signature.0.repeat(2), ..call });
    let run = async { here.send(&said).await };
    attacks.attack(scene, "a cookie that is a signature twice", COOKIE, run).await;
    attacks.end(other).await;
}

/// [SES-9] Signatures by another, for another, or of another step.
async fn signatures(attacks: &mut Attacks, scene: &mut Scene) {
    let table: [(&str, Spoil); 20] = [
        ("an answer without a signature", |it| Said { signature: None, ..it.good() }),
        ("an answer with an empty signature", |it| signed(it, |_| Vec::new())),
        ("an answer with 63 bytes of a signature", |it| signed(it, |it| it[..63].to_vec())),
        ("an answer with 65 bytes of a signature", |it| signed(it, |it| [it, &[0]].concat())),
        ("an answer with a signature of zeros", |it| signed(it, |_| vec![0; 64])),
        ("an answer with a bit turned in R", |it| signed(it, |it| turned(it, 0))),
        ("an answer with a bit turned in S", |it| signed(it, |it| turned(it, 40))),
        ("an answer with the order added to S", |it| signed(it, plus_order)),
        ("an answer under the call's own signature", |it| it.good().signed(&it.call.signature)),
        ("an answer signed by another", |it| {
            it.good().signed(&it.persona.parties().sign(it.transcript(), &key(66)))
        }),
        ("an answer signed for another connection", |it| {
            it.between(Parties { exporter: [7; 32], ..it.persona.parties() })
        }),
        ("an answer signed for another node", |it| {
            it.between(Parties { node: key(9).public(), ..it.persona.parties() })
        }),
        ("an answer signed for another persona", |it| {
            it.between(Parties { persona: key(9).public(), ..it.persona.parties() })
        }),
        ("an answer signed for node and persona the other way round", |it| {
            let parties = it.persona.parties();
            it.between(Parties { node: parties.persona, persona: parties.node, ..parties })
        }),
        ("an answer signed as a call is", |it| {
            it.over(Transcript::resumed(2, it.transcript().hash()))
        }),
        ("an answer signed as a confirm is", |it| {
            it.over(Transcript::resumed(4, it.transcript().hash()))
        }),
        ("an answer signed as a consent is", |it| {
            it.over(Transcript::resumed(5, it.transcript().hash()))
        }),
        ("an answer signed as a renewal is", |it| {
            it.over(Transcript::resumed(6, it.transcript().hash()))
        }),
        ("an answer signed over the call alone", |it| {
            it.over(Transcript::resumed(3, it.call.transcript.hash()))
        }),
        ("an answer under a proof of a token", |it| {
            let proof = it.persona.wire.proved(it.persona.wire.root(), b"a.b.c");
            it.good().signed(&it.persona.key.sign(uses::AUTH, &proof))
        }),
    ];
    for (name, make) in table {
        spoil(attacks, scene, name, SIGNATURE, make).await;
    }
}

/// [SES-10] [SES-7] Transcripts put together from two, or changed behind the node's back.
async fn spliced(attacks: &mut Attacks, scene: &mut Scene) {
    let persona_key = key(7);
    let wire = scene.wire().await;
    let persona = Persona { wire: &wire, key: &persona_key };
    let (one, other) = (persona.called().await, persona.called().await);
    let said = persona.answer(&other).with_cookie(&one.cookie);
    let run = async { persona.send(&said).await };
    attacks
        .attack(scene, "the call of one handshake and the answer of another", SIGNATURE, run)
        .await;
    let table: [(&str, Spoil); 7] = [
        ("a hello that was changed after the call", |it| {
            let hello = Transcript::START.then(&it.persona.hello().body.unwrap());
            it.over(hello.then(&it.call.body).then(b"{}"))
        }),
        ("a version list that was changed after the call", |it| {
            let hello = it.persona.hello().body.unwrap();
            let hello = String::from_utf8(hello).unwrap().replace("[0]", "[0,1]");
            it.over(Transcript::START.then(hello.as_bytes()).then(&it.call.body).then(b"{}"))
        }),
        ("a call that was changed on its way", |it| {
            let call = String::from_utf8(it.call.body.clone()).unwrap();
            it.over(
                it.call.before.then(call.replace("\"asks\"", " \"asks\"").as_bytes()).then(b"{}"),
            )
        }),
        ("a transcript without the call", |it| {
            it.over(Transcript::resumed(2, it.call.before.hash()).then(b"{}"))
        }),
        ("a transcript without the hello", |it| {
            let call = Transcript::resumed(1, Transcript::START.hash()).then(&it.call.body);
            it.over(call.then(b"{}"))
        }),
        ("an answer that was changed after it was signed", |it| {
            let wanted = br#"{"scope":{"read":["0xS:**"],"write":["0xS:**"]}}"#;
            Said { body: Some(wanted.to_vec()), ..it.good() }
        }),
        ("an answer with a space more than was signed", |it| Said {
            body: Some(b"{} ".to_vec()),
            ..it.good()
        }),
    ];
    for (name, make) in table {
        spoil(attacks, scene, name, SIGNATURE, make).await;
    }
}

/// [SES-6] [SES-8] What the message says.
async fn messages(attacks: &mut Attacks, scene: &mut Scene) {
    let wanted = Fate::Counted(Status::BAD_REQUEST, "session-scope");
    let outside = Fate::Counted(Status::TOKEN_INVALID, "outside-header");
    let table: [(&str, Fate, Spoil); 18] = [
        ("an answer with a member that is none", MALFORMED, |it| {
            it.saying(r#"{"groups":["admin"]}"#)
        }),
        ("an answer that names its persona", MALFORMED, |it| it.saying(r#"{"persona":"x"}"#)),
        ("an answer with a scope twice", MALFORMED, |it| {
            it.saying(r#"{"scope":{"read":[],"write":[]},"scope":{"read":["0xS:**"],"write":[]}}"#)
        }),
        ("a wanted scope with a third list", MALFORMED, |it| {
            it.saying(r#"{"scope":{"read":[],"write":[],"all":["0xS:**"]}}"#)
        }),
        ("a wanted scope with one list", MALFORMED, |it| it.saying(r#"{"scope":{"read":[]}}"#)),
        ("a wanted scope that is null", MALFORMED, |it| it.saying(r#"{"scope":null}"#)),
        ("a wanted scope that is a list of its lists", MALFORMED, |it| {
            it.saying(r#"{"scope":[["0xS:**"],[]]}"#)
        }),
        ("a recovery that is null", MALFORMED, |it| it.saying(r#"{"recovery":null}"#)),
        ("a recovery that is too short", MALFORMED, |it| it.saying(r#"{"recovery":"AAAA"}"#)),
        ("an outside that is null", MALFORMED, |it| it.saying(r#"{"outside":null}"#)),
        ("more outside tokens than may be", MALFORMED, |it| {
            let most = limits::OUTSIDE_TOKENS_MAX as usize;
            it.saying(&format!(r#"{{"outside":{:?}}}"#, vec!["a.b.c"; most + 1]))
        }),
        ("an answer that is a list", MALFORMED, |it| it.saying("[]")),
        ("an answer that is empty", MALFORMED, |it| it.saying("")),
        ("an answer that is too long", MALFORMED, |it| {
            it.saying(&" ".repeat(limits::SESSION_MESSAGE_MAX as usize + 1))
        }),
        ("a wanted pattern that is none", wanted, |it| {
            it.saying(r#"{"scope":{"read":["0xS:%41"],"write":[]}}"#)
        }),
        ("a wanted pattern in the write form", wanted, |it| {
            it.saying(r#"{"scope":{"read":["0xSW:x"],"write":[]}}"#)
        }),
        ("more wanted patterns than may be", wanted, |it| {
            let most = limits::SCOPE_PATTERNS_MAX as usize;
            it.saying(&format!(
                r#"{{"scope":{{"read":{:?},"write":[]}}}}"#,
                vec!["0xS:a"; most + 1]
            ))
        }),
        ("an outside token of nobody that the node takes", outside, |it| {
            it.saying(r#"{"outside":["e30.e30.AAAA"]}"#)
        }),
    ];
    for (name, fate, make) in table {
        spoil(attacks, scene, name, fate, make).await;
    }
    spoil(attacks, scene, "an answer without a body", SIGNATURE, |it| Said {
        body: None,
        ..it.good()
    })
    .await;
}

/// [SES-7] What a node requires.
async fn missing(attacks: &mut Attacks, scene: &mut Scene) {
    let fate = Fate::Counted(Status::BAD_REQUEST, "session-missing");
    spoil(attacks, scene, "an answer without the recovery that is required", fate, |it| it.good())
        .await;
}

fn signed(made: &Made<'_>, change: impl FnOnce(&[u8]) -> Vec<u8>) -> Said {
    let good = made.good();
    let signature = good.signature.as_deref().map(change);
    Said { signature, ..good }
}

fn turned(signature: &[u8], at: usize) -> Vec<u8> {
    let mut turned = signature.to_vec();
    turned[at] ^= 1;
    turned
}
