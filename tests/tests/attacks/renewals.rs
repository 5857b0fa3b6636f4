//! Renewals of what has ended, is another's, or is nobody's.

use std::time::Duration;

use cmtp_codec::session::{GrantName, Message, Parties, Renew, Transcript};
use cmtp_spec::{Status, binding, uses};
use cmtp_tests::session::{Persona, Said, forge, issued};
use cmtp_tests::wire::{Ending, signed};

use crate::scene::{Attacks, Fate, Scene, key};

const SIGNATURE: Fate = Fate::Counted(Status::TOKEN_INVALID, "session-signature");
const MALFORMED: Fate = Fate::Counted(Status::BAD_REQUEST, "session-malformed");
const PAUSE: Duration = Duration::from_millis(100);
const GRANT: Fate = Fate::Counted(Status::TOKEN_INVALID, "session-grant");

pub async fn run(attacks: &mut Attacks) {
    let mut scene = Scene::new("").await;
    ended(attacks, &mut scene).await;
    foreign(attacks, &mut scene).await;
    signatures(attacks, &mut scene).await;
    messages(attacks, &mut scene).await;
    attacks.end(scene).await;
    over(attacks).await;
}

/// [SES-12] A grant that has ended.
async fn ended(attacks: &mut Attacks, scene: &mut Scene) {
    let persona_key = key(7);
    let (wire, other) = (scene.wire().await, scene.wire().await);
    let persona = Persona { wire: &wire, key: &persona_key };
    let beside = Persona { wire: &other, key: &persona_key };
    let first = persona.session().await;
    let renewal = persona.renew(first.grant);
    let origin = signed(persona.origin(&renewal), &persona_key);
    let renewed = issued(&wire.exchange(&[], &origin).await.answer());
    assert_eq!((renewed.grant, renewed.ends), (first.grant, first.ends));
    let answer = persona.hang_up(&renewed.token, None).await.answer();
    assert_eq!(answer.status(), Status::OK);
    let run = async { persona.send(&renewal).await };
    attacks.attack(scene, "a renewal after the hangup", GRANT, run).await;
    let run = async { wire.exchange(&[], &origin).await };
    attacks.attack(scene, "a renewal's bytes after the hangup", GRANT, run).await;
    let run = async { beside.send(&beside.renew(first.grant)).await };
    attacks.attack(scene, "a renewal after the hangup, on another connection", GRANT, run).await;

    let second = persona.session().await;
    let did = format!("[\"{}\"]", persona_key.public());
    let answer = beside.hang_up(&second.token, Some(&did)).await.answer();
    assert_eq!(answer.status(), Status::OK);
    let run = async { persona.send(&persona.renew(second.grant)).await };
    attacks.attack(scene, "a renewal after all of its persona's were hung up", GRANT, run).await;
}

/// [SES-12] [SES-2] Grants of others.
async fn foreign(attacks: &mut Attacks, scene: &mut Scene) {
    let persona_key = key(7);
    let victim = key(42);
    let grant = scene.issued.grant;
    let wire = scene.wire().await;
    let persona = Persona { wire: &wire, key: &persona_key };
    let run = async { persona.send(&persona.renew(grant)).await };
    attacks.attack(scene, "a renewal of another's grant", GRANT, run).await;
    let run = async { persona.send(&persona.renew(GrantName([7; 16]))).await };
    attacks.attack(scene, "a renewal of a grant that nobody made", GRANT, run).await;
    let as_victim = Persona { wire: &wire, key: &victim };
    let seen = as_victim.renew(grant);
    let run = async { persona.send(&seen).await };
    let name = "a renewal of another's grant under the other's signature";
    attacks.attack(scene, name, SIGNATURE, run).await;
    // What the victim sent on its connection, byte for byte, taken to the thief's.
    let theirs = scene.wire().await;
    let as_victim = Persona { wire: &theirs, key: &victim };
    let origin = signed(as_victim.origin(&as_victim.renew(grant)), &victim);
    issued(&theirs.exchange(&[], &origin).await.answer());
    let run = async { wire.exchange(&[], &origin).await };
    attacks.attack(scene, "a renewal's bytes on another connection", SIGNATURE, run).await;
    let other = Scene::new("").await;
    let run = async { persona.send(&persona.renew(other.issued.grant)).await };
    attacks.attack(scene, "a renewal of another node's grant", GRANT, run).await;
    attacks.end(other).await;
}

/// [SES-9] Signatures by another, for another, or of another step.
async fn signatures(attacks: &mut Attacks, scene: &mut Scene) {
    type Spoil = fn(&Persona<'_>, Transcript, Said) -> Said;
    let table: [(&str, Spoil); 9] = [
        ("a renewal without a signature", |_, _, it| Said { signature: None, ..it }),
        ("a renewal signed by another", |at, transcript, it| {
            it.signed(&at.parties().sign(transcript, &key(66)))
        }),
        ("a renewal signed for another connection", |at, transcript, it| {
            let parties = Parties { exporter: [7; 32], ..at.parties() };
            it.signed(&parties.sign(transcript, at.key))
        }),
        ("a renewal signed for another node", |at, transcript, it| {
            let parties = Parties { node: key(9).public(), ..at.parties() };
            it.signed(&parties.sign(transcript, at.key))
        }),
        ("a renewal signed as a consent is", |at, transcript, it| {
            let transcript = Transcript::resumed(5, transcript.hash());
            it.signed(&at.parties().sign(transcript, at.key))
        }),
        ("a renewal signed as an answer is", |at, transcript, it| {
            let transcript = Transcript::resumed(3, transcript.hash());
            it.signed(&at.parties().sign(transcript, at.key))
        }),
        ("a renewal signed as the first message of a handshake", |at, _, it| {
            let transcript = Transcript::START.then(it.body.as_deref().unwrap());
            it.signed(&at.parties().sign(transcript, at.key))
        }),
        ("a renewal under a proof of a token", |at, _, it| {
            it.signed(&at.key.sign(uses::AUTH, &at.wire.proved(at.wire.root(), b"a.b.c")))
        }),
        ("a renewal that was changed after it was signed", |_, _, it| {
            let body = Renew { grant: GrantName([7; 16]) }.to_bytes();
            Said { body: Some(body), ..it }
        }),
    ];
    let persona_key = key(7);
    for (name, make) in table {
        let wire = scene.wire().await;
        let persona = Persona { wire: &wire, key: &persona_key };
        let grant = persona.session().await.grant;
        let good = persona.renew(grant);
        let transcript = Transcript::of_renewal(good.body.as_deref().unwrap());
        let said = make(&persona, transcript, good);
        attacks.attack(scene, name, SIGNATURE, persona.send(&said)).await;
    }
}

/// [SES-6] What the message says, and what carries it.
async fn messages(attacks: &mut Attacks, scene: &mut Scene) {
    let persona_key = key(7);
    let wire = scene.wire().await;
    let persona = Persona { wire: &wire, key: &persona_key };
    let grant = persona.session().await.grant;
    let table = [
        ("a renewal with a scope in it", format!(r#"{{"grant":"{grant}","scope":{{}}}}"#)),
        ("a renewal of two grants", format!(r#"{{"grant":"{grant}","grant":"{grant}"}}"#)),
        ("a renewal of a list of grants", format!(r#"{{"grant":["{grant}"]}}"#)),
        ("a renewal of a token's jti", format!(r#"{{"grant":"{grant}.7"}}"#)),
        ("a renewal of a padded grant", format!(r#"{{"grant":"{grant}=="}}"#)),
        ("a renewal of a grant with a NUL behind it", format!(r#"{{"grant":"{grant}\u0000"}}"#)),
        ("a renewal of an empty grant", r#"{"grant":""}"#.to_owned()),
        ("a renewal of nothing", "{}".to_owned()),
        ("a renewal that is a list", format!(r#"["{grant}"]"#)),
    ];
    for (name, message) in table {
        let run = async { persona.send(&persona.renew_with(message.as_bytes())).await };
        attacks.attack(scene, name, MALFORMED, run).await;
    }
    let run = async { wire.exchange(&[], &persona.origin(&persona.renew(grant))).await };
    attacks.attack(scene, "a renewal in an origin that is not signed", MALFORMED, run).await;
    // A consent's cookie beside a renewal says nothing: it is the signature that counts.
    let confirm = persona.confirmed().await;
    let said = persona.next(binding::SESSION_RENEW, &confirm, &Renew { grant }.to_bytes());
    let run = async { persona.send(&said).await };
    attacks.attack(scene, "a renewal signed as if it were a consent", SIGNATURE, run).await;
}

/// [SES-12] A grant whose time is over: neither renewed, nor are its tokens taken.
async fn over(attacks: &mut Attacks) {
    let persona_key = key(7);
    // Whoever is served meanwhile has a token of the operator's.
    let mut scene = Scene::with_operator("[session]\ngrant-seconds = 1\n").await;
    let wire = scene.wire().await;
    let persona = Persona { wire: &wire, key: &persona_key };
    let first = persona.session().await;
    let run = async {
        loop {
            match persona.send(&persona.renew(first.grant)).await {
                Ending::Answer(answer) if answer.status() == Status::OK => {
                    tokio::time::sleep(PAUSE).await;
                }
                ending => return ending,
            }
        }
    };
    attacks.attack(&mut scene, "a renewal of a grant whose time is over", GRANT, run).await;
    let run = async { echo(&persona, &first.token).await };
    let fate = Fate::Counted(Status::TOKEN_INVALID, "token-outside-times");
    attacks.attack(&mut scene, "a token of a grant whose time is over", fate, run).await;
    let mut longer = forge(&scene.node, &first.token);
    longer.claims["exp"] = (first.ends + 60).into();
    let run = async { echo(&persona, &longer.token()).await };
    let fate = Fate::Counted(Status::TOKEN_INVALID, "revoked");
    attacks.attack(&mut scene, "a token that outlives its grant", fate, run).await;
    attacks.stop(scene).await;
}

async fn echo(persona: &Persona<'_>, token: &str) -> Ending {
    let origin = persona.wire.origin(persona.key, "0xS:echo");
    persona.wire.exchange(&[persona.wire.auth(token, persona.key)], &origin).await
}
