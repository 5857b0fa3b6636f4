//! Good tokens in wrong hands: stolen, replayed, or proved by a signature that was made for something else.

use cmtp_codec::{Auth, Digest, Frame, Signature, SigningKey};
use cmtp_spec::{CloseCode, Status, binding, limits, uses};
use cmtp_tests::session::{Heard, Persona};
use cmtp_tests::wire::{Ending, Wire, online_seed, signed};

use crate::scene::{Attacks, Fate, Scene, key};

const PROOF: Fate = Fate::Counted(Status::TOKEN_INVALID, "proof");
const ACTOR: Fate = Fate::Counted(Status::TOKEN_INVALID, "actor");

pub async fn run(attacks: &mut Attacks) {
    let mut scene = Scene::new("").await;
    stolen(attacks, &mut scene).await;
    borrowed(attacks, &mut scene).await;
    unproved(attacks, &mut scene).await;
    attacks.end(scene).await;
}

/// [QUI-12] [ADM-10] A session's token, and what was seen of it, in the hands of a thief with a session of its own.
async fn stolen(attacks: &mut Attacks, scene: &mut Scene) {
    let thief = key(66);
    let (token, victim) = (scene.issued.token.clone(), key(42));
    let first = scene.wire().await;
    let replayed = first.auth(&token, &victim);
    let seen = signed(first.origin(&victim, "0xS:echo"), &victim);
    let heard = first.exchange(std::slice::from_ref(&replayed), &seen).await.answer();
    assert_eq!(heard.status(), Status::OK);

    let wire = scene.wire().await;
    let run = async { show(&wire, wire.auth(&token, &thief), &thief).await };
    attacks.attack(scene, "a stolen token, proved by the thief's key", PROOF, run).await;
    let wire = scene.wire().await;
    let run = async { wire.exchange(&[wire.auth(&token, &thief)], &seen).await };
    let name = "a stolen token and a stolen origin, proved by the thief's key";
    attacks.attack(scene, name, PROOF, run).await;
    let wire = scene.wire().await;
    let run = async { wire.exchange(std::slice::from_ref(&replayed), &seen).await };
    attacks.attack(scene, "AUTH and origin replayed on another connection", PROOF, run).await;
    let wire = scene.wire().await;
    let run = async { show(&wire, replayed.clone(), &victim).await };
    let name = "the same client's AUTH of another of its connections";
    attacks.attack(scene, name, PROOF, run).await;
    let wire = scene.wire().await;
    let known = Frame::Auth(Auth::Known(Digest::of(token.as_bytes())));
    let run = async { show(&wire, known.clone(), &victim).await };
    let fate = Fate::Counted(Status::TOKEN_INVALID, "unknown-digest");
    attacks.attack(scene, "a digest that another connection knows", fate, run).await;

    let wire = scene.wire().await;
    let own = Persona { wire: &wire, key: &thief }.session().await;
    let run = async { show(&wire, wire.auth(&own.token, &thief), &victim).await };
    attacks.attack(scene, "another's origin under one's own token", ACTOR, run).await;
    let run = async { wire.exchange(&[wire.auth(&own.token, &thief)], &seen).await };
    let name = "another's signed origin, seen elsewhere, under one's own token";
    attacks.attack(scene, name, ACTOR, run).await;
    let run = async {
        let name = binding::SESSION_HANGUP;
        let origin = signed(wire.origin(&victim, name), &victim);
        wire.exchange(&[wire.auth(&own.token, &thief)], &origin).await
    };
    attacks.attack(scene, "another's hangup under one's own token", ACTOR, run).await;
    // One connection for two, as behind a proxy: the digest of the one, the origin of the other.
    let shared = scene.wire().await;
    assert_eq!(status(show(&shared, shared.auth(&token, &victim), &victim).await), Status::OK);
    let run = async { show(&shared, known, &thief).await };
    attacks.attack(scene, "one's own origin under another's known digest", ACTOR, run).await;
}

/// [SES-9] Signatures that were made for something else, as proof of the token's key.
async fn borrowed(attacks: &mut Attacks, scene: &mut Scene) {
    let (token, holder) = (scene.issued.token.clone(), key(42));
    let node = SigningKey::from_seed(&online_seed(&scene.node, "token")).unwrap();
    // By the persona on its connection, from the confirm that it heard there and what a proof is over.
    type Make<'a> = &'a dyn Fn(&Persona<'_>, &Heard, &[u8]) -> Signature;
    let good = |right: &[u8]| holder.sign(uses::AUTH, right);
    let table: [(&str, Make<'_>); 13] = [
        ("a consent's signature as proof", &|at, confirm, _| {
            array(&at.consent(confirm).signature.unwrap())
        }),
        ("a confirm's signature as proof", &|_, confirm, _| confirm.signature),
        ("a proof signed as an answer is", &|_, _, right| holder.sign(uses::SESSION_ANSWER, right)),
        ("a proof signed as a renewal is", &|_, _, right| holder.sign(uses::SESSION_RENEW, right)),
        ("a proof signed as a layer is", &|_, _, right| holder.sign(uses::LAYER, right)),
        ("a proof over the exporter for sessions", &|at, _, right| {
            good(&[&at.exporter(), &right[32..]].concat())
        }),
        ("a proof over no exporter", &|_, _, right| good(&[&[0; 32], &right[32..]].concat())),
        ("a proof for another node", &|at, _, _| {
            good(&at.wire.proved(key(9).public(), token.as_bytes()))
        }),
        ("a proof of another token", &|at, _, _| good(&at.wire.proved(at.wire.root(), b"x"))),
        ("a proof by the node's own key", &|_, _, right| node.sign(uses::AUTH, right)),
        ("a proof with a bit turned", &|_, _, right| turned(good(right))),
        ("a proof with the order added to S", &|_, _, right| array(&plus_order(&good(right).0))),
        ("a proof of zeros", &|_, _, _| Signature([0; 64])),
    ];
    for (name, make) in table {
        let wire = scene.wire().await;
        let persona = Persona { wire: &wire, key: &holder };
        let confirm = persona.confirmed().await;
        let right = wire.proved(wire.root(), token.as_bytes());
        let proof = make(&persona, &confirm, &right);
        let auth = Frame::Auth(Auth::Shown { proof, token: token.clone().into() });
        attacks.attack(scene, name, PROOF, show(&wire, auth, &holder)).await;
    }
}

/// [STA-2] [QUI-14] No token at all, and too many bad ones.
async fn unproved(attacks: &mut Attacks, scene: &mut Scene) {
    let stranger = key(9);
    let nothing = Fate::Counted(Status::IDENTITY_REQUIRED, "no-token");
    for (name, target) in [
        ("a request without a token", "0xS:echo"),
        ("a list of sessions without a token", binding::SESSION_LIST),
        ("a hangup without a token", binding::SESSION_HANGUP),
    ] {
        let wire = scene.wire().await;
        let origin = signed(wire.origin(&stranger, target), &stranger);
        attacks.attack(scene, name, nothing, wire.exchange(&[], &origin)).await;
    }
    let token = scene.issued.token.clone();
    for (name, reason, bad) in [
        ("bad tokens without end", "token-header", "e30.e30.AAAA"),
        ("bad proofs without end", "proof", token.as_str()),
    ] {
        let wire = scene.wire().await;
        let run = async {
            for _ in 0..limits::BAD_TOKENS_MAX {
                assert_eq!(
                    status(show(&wire, wire.auth(bad, &stranger), &stranger).await),
                    Status::TOKEN_INVALID
                );
            }
            // The last answer may be lost with the connection.
            let _last = show(&wire, wire.auth(bad, &stranger), &stranger).await;
            Ending::Closed(wire.close_code().await)
        };
        let count = limits::BAD_TOKENS_MAX + 1;
        let fate = Fate::Closed(CloseCode::AUTH_FAILED, count, reason);
        attacks.attack(scene, name, fate, run).await;
    }
}

async fn show(wire: &Wire, auth: Frame, actor: &SigningKey) -> Ending {
    wire.exchange(&[auth], &wire.origin(actor, "0xS:echo")).await
}

fn status(ending: Ending) -> Status {
    ending.answer().status()
}

fn turned(mut signature: Signature) -> Signature {
    signature.0[63] ^= 0x10;
    signature
}

fn array(signature: &[u8]) -> Signature {
    Signature(signature.try_into().unwrap())
}

/// The signature with the order of the base point added to S: the same equation holds, and [SIG-1] refuses it.
pub fn plus_order(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let (r, s) = signature.split_at(32);
    let mut carry = 0;
    let sum = s.iter().zip(ORDER).map(|(&byte, order)| {
        let sum = u16::from(byte) + u16::from(order) + carry;
        carry = sum >> 8;
        sum.to_le_bytes()[0]
    });
    [r, &sum.collect::<Vec<_>>()].concat()
}
