//! Consents without their answer, of another handshake, or to more than was offered.

use cmtp_codec::session::{Consent, Message, Parties, Transcript};
use cmtp_codec::{Field, Layer};
use cmtp_spec::{CloseCode, FieldIndex, Status, binding, limits};
use cmtp_tests::session::{Heard, Persona, Said, issued};
use cmtp_tests::wire::{badly_signed, signed};
use serde_json::Value;

use crate::scene::{Attacks, Fate, Scene, key};

const COOKIE: Fate = Fate::Counted(Status::TOKEN_INVALID, "session-cookie");
const SIGNATURE: Fate = Fate::Counted(Status::TOKEN_INVALID, "session-signature");
const MALFORMED: Fate = Fate::Counted(Status::BAD_REQUEST, "session-malformed");
const GRANT: Fate = Fate::Counted(Status::TOKEN_INVALID, "session-grant");

pub async fn run(attacks: &mut Attacks) {
    let mut scene = Scene::new("").await;
    alone(attacks, &mut scene).await;
    elsewhere(attacks, &mut scene).await;
    signatures(attacks, &mut scene).await;
    messages(attacks, &mut scene).await;
    origins(attacks, &mut scene).await;
    again(attacks, &mut scene).await;
    attacks.end(scene).await;
}

/// What a spoilt consent is made from.
struct Made<'a> {
    persona: &'a Persona<'a>,
    confirm: &'a Heard,
}

type Spoil = fn(&Made<'_>) -> Said;

async fn spoil(attacks: &mut Attacks, scene: &mut Scene, name: &str, fate: Fate, spoil: Spoil) {
    let wire = scene.wire().await;
    let persona_key = key(7);
    let persona = Persona { wire: &wire, key: &persona_key };
    let confirm = persona.confirmed().await;
    let said = spoil(&Made { persona: &persona, confirm: &confirm });
    attacks.attack(scene, name, fate, persona.send(&said)).await;
}

impl Made<'_> {
    fn good(&self) -> Said {
        self.persona.consent(self.confirm)
    }

    fn transcript(&self) -> Transcript {
        self.confirm.transcript.then(&Consent::GIVEN.to_bytes())
    }

    fn over(&self, transcript: Transcript) -> Said {
        self.good().signed(&self.persona.parties().sign(transcript, self.persona.key))
    }

    fn saying(&self, message: &str) -> Said {
        self.persona.next(binding::SESSION_CONSENT, self.confirm, message.as_bytes())
    }
}

/// [SES-10] A consent without what goes before it.
async fn alone(attacks: &mut Attacks, scene: &mut Scene) {
    let persona_key = key(7);
    let wire = scene.wire().await;
    let persona = Persona { wire: &wire, key: &persona_key };
    let call = persona.called().await;
    let said = persona.consent(&call);
    let run = async { persona.send(&said).await };
    attacks.attack(scene, "a consent with the call's cookie, without an answer", COOKIE, run).await;
    // As if the answer had been made, and signed for the step that a consent is.
    let as_if = Heard {
        transcript: Transcript::resumed(4, call.transcript.then(b"{}").hash()),
        ..call.clone()
    };
    let said = persona.consent(&as_if);
    let run = async { persona.send(&said).await };
    attacks.attack(scene, "a consent to an answer that was never sent", COOKIE, run).await;
    let table: [(&str, Fate, Spoil); 3] = [
        ("a consent without a cookie", COOKIE, |it| Said { cookie: None, ..it.good() }),
        ("a consent with an empty cookie", COOKIE, |it| it.good().with_cookie(&[])),
        ("a consent with a bit turned in what it grants", COOKIE, |it| {
            let mut cookie = it.confirm.cookie.clone();
            cookie[120] ^= 1;
            it.good().with_cookie(&cookie)
        }),
    ];
    for (name, fate, make) in table {
        spoil(attacks, scene, name, fate, make).await;
    }
}

/// [SES-10] A consent on another connection, of another persona, at another node.
async fn elsewhere(attacks: &mut Attacks, scene: &mut Scene) {
    let (first, second) = (key(7), key(8));
    let wires = [scene.wire().await, scene.wire().await];
    let here = Persona { wire: &wires[0], key: &first };
    let there = Persona { wire: &wires[1], key: &first };
    let beside = Persona { wire: &wires[0], key: &second };
    let confirm = here.confirmed().await;
    let origin = signed(here.origin(&here.consent(&confirm)), &first);
    let run = async { wires[1].exchange(&[], &origin).await };
    attacks.attack(scene, "a consent's bytes on another connection", COOKIE, run).await;
    let said = there.consent(&confirm);
    let run = async { there.send(&said).await };
    attacks.attack(scene, "a consent signed anew for another connection", COOKIE, run).await;
    let said = beside.consent(&confirm);
    let run = async { beside.send(&said).await };
    attacks.attack(scene, "a consent to what another persona was offered", COOKIE, run).await;
    let said = here.consent(&confirm);
    let run = async { beside.send(&said).await };
    attacks.attack(scene, "another persona's consent", COOKIE, run).await;
    let other = Scene::new("").await;
    let wire = other.wire().await;
    let foreign = Persona { wire: &wire, key: &first };
    let theirs = foreign.confirmed().await;
    let said = here.consent(&theirs);
    let run = async { here.send(&said).await };
    attacks.attack(scene, "a consent to what another node offered", COOKIE, run).await;
    let said = here.consent(&theirs).with_cookie(&confirm.cookie);
    let run = async { here.send(&said).await };
    attacks.attack(scene, "the transcript of another node", SIGNATURE, run).await;
    attacks.end(other).await;
    let other = here.confirmed().await;
    let said = here.consent(&other).with_cookie(&confirm.cookie);
    let run = async { here.send(&said).await };
    let name = "the confirm of one handshake and the consent of another";
    attacks.attack(scene, name, SIGNATURE, run).await;
}

/// [SES-9] Signatures of another step, by another, or to something else.
async fn signatures(attacks: &mut Attacks, scene: &mut Scene) {
    let table: [(&str, Spoil); 10] = [
        ("a consent without a signature", |it| Said { signature: None, ..it.good() }),
        ("a consent under the confirm's own signature", |it| {
            it.good().signed(&it.confirm.signature)
        }),
        ("a consent signed as an answer is", |it| {
            it.over(Transcript::resumed(3, it.transcript().hash()))
        }),
        ("a consent signed as a confirm is", |it| {
            it.over(Transcript::resumed(4, it.transcript().hash()))
        }),
        ("a consent signed as a renewal is", |it| {
            it.over(Transcript::resumed(6, it.transcript().hash()))
        }),
        ("a consent under the answer's signature", |it| it.over(it.confirm.before)),
        ("a consent signed by another", |it| {
            it.good().signed(&it.persona.parties().sign(it.transcript(), &key(66)))
        }),
        ("a consent signed for another connection", |it| {
            let parties = Parties { exporter: [7; 32], ..it.persona.parties() };
            it.good().signed(&parties.sign(it.transcript(), it.persona.key))
        }),
        ("a consent to a wider scope than was offered", |it| {
            let mut confirm: Value = serde_json::from_slice(&it.confirm.body).unwrap();
            confirm["scope"]["write"] = serde_json::json!(["0xI:**"]);
            let confirm = it.confirm.before.then(confirm.to_string().as_bytes());
            it.over(confirm.then(&Consent::GIVEN.to_bytes()))
        }),
        ("a consent to groups that were not offered", |it| {
            let confirm = String::from_utf8(it.confirm.body.clone()).unwrap();
            let confirm = confirm.replace(r#""groups":[]"#, r#""groups":["admin"]"#);
            let confirm = it.confirm.before.then(confirm.as_bytes());
            it.over(confirm.then(&Consent::GIVEN.to_bytes()))
        }),
    ];
    for (name, make) in table {
        spoil(attacks, scene, name, SIGNATURE, make).await;
    }
}

/// [SES-6] What the message says.
async fn messages(attacks: &mut Attacks, scene: &mut Scene) {
    let table: [(&str, Fate, Spoil); 10] = [
        ("a consent with a wider scope in it", MALFORMED, |it| {
            it.saying(r#"{"consents":true,"scope":{"read":["0xI:**"],"write":["0xI:**"]}}"#)
        }),
        ("a consent with groups in it", MALFORMED, |it| {
            it.saying(r#"{"consents":true,"groups":["admin"]}"#)
        }),
        ("a consent that is a refusal", MALFORMED, |it| it.saying(r#"{"consents":false}"#)),
        ("a consent that is 1", MALFORMED, |it| it.saying(r#"{"consents":1}"#)),
        ("a consent that is a text", MALFORMED, |it| it.saying(r#"{"consents":"true"}"#)),
        ("a consent twice in a message", MALFORMED, |it| {
            it.saying(r#"{"consents":false,"consents":true}"#)
        }),
        ("a consent that says nothing", MALFORMED, |it| it.saying("{}")),
        ("a consent that is a list", MALFORMED, |it| it.saying("[true]")),
        ("a consent that is too long", MALFORMED, |it| {
            let room = " ".repeat(limits::SESSION_MESSAGE_MAX as usize);
            it.saying(&format!(r#"{{"consents":true}}{room}"#))
        }),
        ("a consent without a body", SIGNATURE, |it| Said { body: None, ..it.good() }),
    ];
    for (name, fate, make) in table {
        spoil(attacks, scene, name, fate, make).await;
    }
}

/// [SES-1] What carries it.
async fn origins(attacks: &mut Attacks, scene: &mut Scene) {
    let persona_key = key(7);
    let wire = scene.wire().await;
    let persona = Persona { wire: &wire, key: &persona_key };
    let confirm = persona.confirmed().await;
    let consent = persona.consent(&confirm);
    let run = async { wire.exchange(&[], &persona.origin(&consent)).await };
    attacks.attack(scene, "a consent in an origin that is not signed", MALFORMED, run).await;
    let run = async { wire.exchange(&[], &signed(persona.origin(&consent), &key(66))).await };
    let chain = Fate::Reset(CloseCode::BAD_CHAIN);
    attacks.attack(scene, "a consent in an origin that another signed", chain, run).await;
    let run = async { wire.exchange(&[], &badly_signed(persona.origin(&consent))).await };
    attacks.attack(scene, "a consent in an origin with a signature of sevens", chain, run).await;
    // [IDM-2] The id of a consent that was answered, for another one.
    let first = signed(persona.origin(&consent), &persona_key);
    issued(&wire.exchange(&[], &first).await.answer());
    let confirm = persona.confirmed().await;
    let run = async {
        let origin = with_id_of(persona.origin(&persona.consent(&confirm)), &first);
        wire.exchange(&[], &signed(origin, &persona_key)).await
    };
    let reused = Fate::Counted(Status::ID_REUSED, "session-origin");
    attacks.attack(scene, "a consent under the id of another", reused, run).await;
}

/// [SES-11] A consent that is sent again makes no second grant, and none once the grant has ended.
async fn again(attacks: &mut Attacks, scene: &mut Scene) {
    let persona_key = key(11);
    let wire = scene.wire().await;
    let persona = Persona { wire: &wire, key: &persona_key };
    let confirm = persona.confirmed().await;
    let consent = persona.consent(&confirm);
    let origin = signed(persona.origin(&consent), &persona_key);
    let first = issued(&wire.exchange(&[], &origin).await.answer());
    // The same bytes, and the same consent under another id: no attack is accepted here, since nothing new comes of it.
    let repeated = wire.exchange(&[], &origin).await.answer();
    assert_eq!(issued(&repeated), first);
    assert_eq!(issued(&persona.send(&consent).await.answer()), first);
    let auth = || wire.auth(&first.token, &persona_key);
    let listed = persona.call(auth(), binding::SESSION_LIST, None).await.answer();
    let listed: Value = serde_json::from_slice(listed.last().data().unwrap()).unwrap();
    assert_eq!(listed["grants"].as_array().map(Vec::len), Some(1), "{listed}");

    let ended = persona.hang_up(&first.token, None).await.answer();
    assert_eq!(ended.status(), Status::OK);
    let run = async { wire.exchange(&[], &origin).await };
    attacks.attack(scene, "a consent's bytes after its grant was hung up", GRANT, run).await;
    let run = async { persona.send(&consent).await };
    let name = "a consent under another id after its grant was hung up";
    attacks.attack(scene, name, GRANT, run).await;
    let other = persona.confirmed().await;
    let token = issued(&persona.send(&persona.consent(&other)).await.answer()).token;
    let did = format!("[\"{}\"]", persona_key.public());
    assert_eq!(persona.hang_up(&token, Some(&did)).await.answer().status(), Status::OK);
    let said = persona.consent(&other);
    let run = async { persona.send(&said).await };
    let name = "a consent after all of its persona's grants were hung up";
    attacks.attack(scene, name, GRANT, run).await;
    let run = async { persona.send(&consent).await };
    attacks.attack(scene, "an older consent after that", GRANT, run).await;
}

fn with_id_of(mut origin: Layer, other: &Layer) -> Layer {
    let id: [u8; 16] = other.fixed(FieldIndex::MESSAGE_ID).unwrap();
    let field = Field::bytes(FieldIndex::MESSAGE_ID, id.to_vec());
    let place = origin.public.iter_mut().find(|it| it.name == field.name).unwrap();
    *place = field;
    origin
}
