//! Tokens and proofs that a node must not accept: all are told the same, and none costs it anything that lasts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aws_lc_rs::hmac;
use cmtp_codec::{Auth, Digest, Frame, SigningKey};
use cmtp_spec::{CloseCode, FieldIndex, Status, limits};
use cmtp_tests::wire::{Answer, Forge, Wire, now, signed};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::scene::{Cases, End, Scene, said};

pub async fn run(cases: &mut Cases) {
    let scene = Scene::new("");
    let before = files(scene.node.data());
    let mut told = BTreeSet::new();
    for (name, token) in table(&scene) {
        let run = async {
            let wire = scene.wire().await;
            let origin = wire.origin(&scene.key, "0xS:echo");
            let auth = wire.auth(&token, &scene.key);
            let answer = wire.exchange(&[auth], &origin).await.answer();
            told.insert(words(&answer));
            not_logged(&answer)
        };
        cases.case(&scene, name, End::Status(Status::TOKEN_INVALID), run).await;
    }
    proofs(cases, &scene, &mut told).await;
    // [STA-3] All are told the same.
    let all_alike = async { said(told.len() == 1) };
    cases.case(&scene, "all bad tokens are told the same", End::AsSaid, all_alike).await;
    // Before a token is accepted nothing is written.
    let nothing_written = async { said(files(scene.node.data()) == before) };
    cases.case(&scene, "bad tokens leave nothing on disk", End::AsSaid, nothing_written).await;
    budgets(cases, &scene).await;
}

fn table(scene: &Scene) -> Vec<(&'static str, String)> {
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
    let times = |iat: u64, nbf: u64, exp: u64| {
        let mut forge = good.clone();
        (forge.claims["iat"], forge.claims["nbf"], forge.claims["exp"]) =
            (json!(iat), json!(nbf), json!(exp));
        forge.token()
    };
    let extra = |key: &str, value: Value| {
        let mut forge = good.clone();
        forge.claims[key] = value;
        forge.token()
    };
    let without = |part: &str, key: &str| {
        let mut forge = good.clone();
        let object = if part == "header" { &mut forge.header } else { &mut forge.claims };
        object.as_object_mut().unwrap().remove(key);
        forge.token()
    };
    let other = SigningKey::from_seed(&[9; 32]).unwrap();
    let foreign = Forge { seed: [9; 32], ..good.clone() };
    let mut foreign_kid = foreign.clone();
    foreign_kid.header["kid"] = json!(other.public().multibase());
    let other_x = BASE64URL_NOPAD.encode(&other.public().0);
    let token = good.token();
    let (signed_part, _) = token.rsplit_once('.').unwrap();
    let (head, rest) = token.split_once('.').unwrap();
    let patterns: Vec<String> =
        (0..=limits::SCOPE_PATTERNS_MAX).map(|n| format!("0xS:a{n}")).collect();
    vec![
        // [ADM-1]
        ("alg none", header("alg", json!("none"))),
        ("alg none without a signature", format!("{}.", unsigned(&good, "none"))),
        ("alg HS256", header("alg", json!("HS256"))),
        ("HS256 keyed with the node's public key", keyed(&good, scene)),
        ("alg ES256", header("alg", json!("ES256"))),
        ("alg Ed25519", header("alg", json!("Ed25519"))),
        ("alg in lower case", header("alg", json!("eddsa"))),
        ("typ JWT", header("typ", json!("JWT"))),
        ("no typ", without("header", "typ")),
        ("no kid", without("header", "kid")),
        ("jwk in the header", header("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": other_x}))),
        ("jku in the header", header("jku", json!("https://keys.invalid/set"))),
        ("x5u in the header", header("x5u", json!("https://keys.invalid/chain"))),
        ("x5c in the header", header("x5c", json!([]))),
        ("crit in the header", header("crit", json!(["exp"]))),
        ("a foreign kid", foreign_kid.token()),
        ("a kid that is a path", header("kid", json!("../../node.key"))),
        ("signed by a foreign key", foreign.token()),
        ("no jti", without("claims", "jti")),
        ("no nbf", without("claims", "nbf")),
        ("no exp", without("claims", "exp")),
        ("no cnf", without("claims", "cnf")),
        ("no scope", without("claims", "scope")),
        ("an extra claim", extra("admin", json!(true))),
        ("a cnf with kid", claim("/cnf", json!({"kid": "x"}))),
        ("a cnf of another curve", claim("/cnf/jwk/crv", json!("P-256"))),
        ("an empty jti", claim("/jti", json!(""))),
        ("a jti too long", claim("/jti", json!("x".repeat(65)))),
        ("a jti that is a number", claim("/jti", json!(7))),
        ("claims that are no object", replaced(&good, b"[]")),
        ("claims that are no JSON", replaced(&good, b"{")),
        ("a claim twice", replaced(&good, br#"{"iss":"a","iss":"b"}"#)),
        // [ADM-2]
        ("wrong iss", claim("/iss", json!(other.public().to_string()))),
        ("wrong aud", claim("/aud", json!(other.public().to_string()))),
        ("aud a list", claim("/aud", json!([good.claims["aud"]]))),
        ("aud a list of two", claim("/aud", json!([good.claims["aud"], "x"]))),
        // [ADM-3]
        ("sub of another", claim("/sub", json!(other.public().to_string()))),
        ("cnf of another", claim("/cnf/jwk/x", json!(other_x))),
        ("sub that is no DID", claim("/sub", json!("root"))),
        // [ADM-4]
        ("expired by one second", times(now - 60, now - 60, now - 1)),
        ("expired now", times(now - 60, now - 60, now)),
        ("not yet valid", claim("/nbf", json!(now + 30))),
        ("iat behind nbf", times(now + 5, now, now + 60)),
        ("exp before iat", times(now, now, now - 900)),
        ("a life too long by one second", times(now, now, now + limits::TOKEN_LIFETIME_MAX + 1)),
        ("exp of 2^64 − 1", claim("/exp", json!(u64::MAX))),
        ("exp below zero", claim("/exp", json!(-1))),
        ("a fraction as exp", claim("/exp", json!(now as f64 + 30.5))),
        ("exp as text", claim("/exp", json!((now + 60).to_string()))),
        // [ADM-5]
        ("padded", format!("{token}=")),
        ("two parts", signed_part.to_owned()),
        ("four parts", format!("{token}.x")),
        ("the standard alphabet", token.replacen('.', "+.", 1)),
        ("stray bits", stray_bits(&token)),
        ("a line feed within", format!("{head}.\n{rest}")),
        ("a space before", format!(" {token}")),
        ("one character", "x".to_owned()),
        ("dots alone", "..".to_owned()),
        ("a token as long as may be", "a".repeat(limits::TOKEN_MAX as usize)),
        // [ADM-6]
        ("too many patterns", claim("/scope/read", json!(patterns))),
        ("a pattern that is none", claim("/scope/read", json!(["0xS:%41"]))),
        ("a write form under read", claim("/scope/read", json!(["0xSW:x"]))),
        ("a scope with a third list", claim("/scope", json!({"read": [], "write": [], "all": []}))),
    ]
}

/// Good tokens in wrong hands.
async fn proofs(cases: &mut Cases, scene: &Scene, told: &mut BTreeSet<String>) {
    let other = SigningKey::from_seed(&[9; 32]).unwrap();
    let first = scene.wire().await;
    let replayed = scene.auth(&first);
    let others_token = Forge::new(&scene.node, other.public()).token();
    let spoilt = |wire: &Wire| match scene.auth(wire) {
        Frame::Auth(Auth::Shown { mut proof, token }) => {
            proof.0[0] ^= 1;
            Frame::Auth(Auth::Shown { proof, token })
        }
        frame => frame,
    };
    // A name, who proves, and whose origin it is.
    type Show<'a> = Box<dyn Fn(&Wire) -> Frame + 'a>;
    let table: [(&str, Show, &SigningKey); 5] = [
        ("a proof with another key", Box::new(|wire| wire.auth(&scene.token, &other)), &scene.key),
        ("a proof with a bit turned", Box::new(spoilt), &scene.key),
        ("AUTH replayed on another connection", Box::new(|_| replayed.clone()), &scene.key),
        // [ADM-10] Proved, and an origin by somebody else, though that one signed it.
        ("an origin by another actor", Box::new(|wire| scene.auth(wire)), &other),
        ("another actor's token", Box::new(|wire| wire.auth(&others_token, &other)), &scene.key),
    ];
    for (name, show, actor) in table {
        let run = async {
            let wire = scene.wire().await;
            let origin = signed(wire.origin(actor, "0xS:echo"), actor);
            let answer = wire.exchange(&[show(&wire)], &origin).await.answer();
            told.insert(words(&answer));
            not_logged(&answer)
        };
        cases.case(scene, name, End::Status(Status::TOKEN_INVALID), run).await;
    }
    // [QUI-11] [QUI-12] What one connection knows another does not.
    let run = async {
        assert_eq!(scene.echo(&first, b"x".to_vec()).await.answer().status(), Status::OK);
        let wire = scene.wire().await;
        let known = Frame::Auth(Auth::Known(Digest::of(scene.token.as_bytes())));
        let answer = wire.exchange(&[known], &wire.origin(&scene.key, "0xS:echo")).await.answer();
        assert_eq!(answer.remedy(), "resend-token");
        not_logged(&answer)
    };
    let wanted = End::Status(Status::TOKEN_INVALID);
    cases.case(scene, "a digest that another connection knows", wanted, run).await;
}

/// [QUI-14] Connections that show too many.
async fn budgets(cases: &mut Cases, scene: &Scene) {
    let closed = End::Closed(CloseCode::AUTH_FAILED);
    let run = async {
        let wire = scene.wire().await;
        let origin = wire.origin(&scene.key, "0xS:echo");
        let bad = wire.auth("x.y.z", &scene.key);
        for _ in 0..limits::BAD_TOKENS_MAX {
            let answer = wire.exchange(std::slice::from_ref(&bad), &origin).await.answer();
            assert_eq!(answer.status(), Status::TOKEN_INVALID);
        }
        // The last answer may be lost with the connection.
        let _last = wire.exchange(&[bad], &origin).await;
        wire.close_code().await.map_or(End::Other, End::Closed)
    };
    cases.case(scene, "too many bad tokens", closed, run).await;
    let run = async {
        let wire = scene.wire().await;
        let other = SigningKey::from_seed(&[9; 32]).unwrap();
        let origin = wire.origin(&scene.key, "0xS:echo");
        let bad = wire.auth(&scene.token, &other);
        let all = (0..=limits::BAD_TOKENS_MAX)
            .map(|_| async { drop(wire.exchange(std::slice::from_ref(&bad), &origin).await) });
        futures::future::join_all(all).await;
        wire.close_code().await.map_or(End::Other, End::Closed)
    };
    cases.case(scene, "too many bad proofs at once", closed, run).await;
    // Digests that are not known, and expired tokens, are honest mistakes.
    let run = async {
        let wire = scene.wire().await;
        let origin = wire.origin(&scene.key, "0xS:echo");
        let known = Frame::Auth(Auth::Known(Digest::of(b"no token")));
        for _ in 0..=limits::BAD_TOKENS_MAX {
            wire.exchange(std::slice::from_ref(&known), &origin).await.answer();
        }
        scene.echo(&wire, b"x".to_vec()).await.into()
    };
    cases.case(scene, "many unknown digests", End::Status(Status::OK), run).await;
    let lowered = Scene::new("[limits]\nbad-tokens-max = 0");
    let run = async {
        let wire = lowered.wire().await;
        let origin = wire.origin(&lowered.key, "0xS:echo");
        let _last = wire.exchange(&[wire.auth("x.y.z", &lowered.key)], &origin).await;
        wire.close_code().await.map_or(End::Other, End::Closed)
    };
    cases.case(&lowered, "one bad token where none is borne with", closed, run).await;
}

/// [ADM-11] The status of an answer that carries `unlogged` and no R0.
fn not_logged(answer: &Answer) -> End {
    let seal = &answer.replay.message.seal;
    assert!(seal.unlogged && seal.receipt.is_none());
    End::Status(answer.status())
}

fn words(answer: &Answer) -> String {
    format!("{} {:?}", answer.remedy(), answer.last().text(FieldIndex::DETAIL))
}

/// Header and claims with another `alg`, not signed.
fn unsigned(forge: &Forge, algorithm: &str) -> String {
    let mut header = forge.header.clone();
    header["alg"] = json!(algorithm);
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("{}.{}", part(&header), part(&forge.claims))
}

/// The old confusion: a MAC whose key is what everybody knows, the node's public key.
fn keyed(forge: &Forge, scene: &Scene) -> String {
    let text = unsigned(forge, "HS256");
    let root: cmtp_codec::PublicKey = scene.node.did.parse().unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &root.0);
    let mac = hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", BASE64URL_NOPAD.encode(mac.as_ref()))
}

/// A token with other claims, signed well.
fn replaced(forge: &Forge, claims: &[u8]) -> String {
    let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&forge.seed).unwrap();
    let header = BASE64URL_NOPAD.encode(forge.header.to_string().as_bytes());
    let text = format!("{header}.{}", BASE64URL_NOPAD.encode(claims));
    format!("{text}.{}", BASE64URL_NOPAD.encode(pair.sign(text.as_bytes()).as_ref()))
}

/// The token with a bit set in the last character of its signature that no byte takes.
fn stray_bits(token: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = token.chars().last().unwrap();
    let other = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    format!("{}{other}", &token[..token.len() - 1])
}

/// Names and lengths of all files of the node.
/// All files but the log's, which grows by what good callers do meanwhile, whenever it gets to it.
fn files(folder: &Path) -> BTreeSet<(String, u64)> {
    if folder.ends_with("log") {
        return BTreeSet::new();
    }
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .flat_map(|entry| match entry.file_type().unwrap().is_dir() {
            true => files(&entry.path()),
            false => BTreeSet::from([(
                entry.path().display().to_string(),
                entry.metadata().unwrap().len(),
            )]),
        })
        .collect()
}
