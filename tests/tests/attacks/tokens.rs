//! Tokens that are none: a real session's, with one thing changed, and shown on a connection where everything else is right.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use cmtp_codec::{Auth, Digest, Frame, KeyList, PublicKey, SigningKey};
use cmtp_spec::{KeyUse, Status, limits, uses};
use cmtp_tests::session::{Persona, forge};
use cmtp_tests::wire::{Forge, now, online_seed, root_seed};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};

use crate::proofs::plus_order;
use crate::scene::{Attacks, Fate, Scene, key};

const ENCODING: &str = "token-encoding";
const HEADER: &str = "token-header";
const SIGNATURE: &str = "token-signature";
const CLAIMS: &str = "token-claims";
const OTHER_NODE: &str = "token-other-node";
const CONFIRMATION: &str = "token-confirmation";
const TIMES: &str = "token-times";
const SCOPE: &str = "token-scope";

type Row = (&'static str, &'static str, Vec<u8>);

pub async fn run(attacks: &mut Attacks) {
    let mut scene = Scene::new("").await;
    let other = Scene::new("").await;
    let keys = scene.wire().await.keys;
    let good = forge(&scene.node, &scene.issued.token);
    let mut table = confusion(&scene, &good, &keys);
    table.extend(headers(&good));
    table.extend(claims(&good));
    table.extend(times(&good));
    table.extend(encodings(&scene.issued.token));
    table.extend(foreign(&scene, &other, &good));
    let wire = scene.wire().await;
    let theirs = Persona { wire: &wire, key: &key(9) }.session().await.grant;
    table.push(("the grant of another persona", "revoked", {
        let mut forge = good.clone();
        forge.claims["jti"] = json!(theirs.to_string());
        forge.token().into()
    }));
    for (name, reason, token) in table {
        let wire = scene.wire().await;
        let origin = wire.origin(&scene.key, "0xS:echo");
        let auth = wire.auth(&token, &scene.key);
        let run = async move { wire.exchange(&[auth], &origin).await };
        attacks.attack(&mut scene, name, Fate::Counted(Status::TOKEN_INVALID, reason), run).await;
    }
    attacks.end(scene).await;
    attacks.end(other).await;
    retired(attacks).await;
}

/// [NKY-8] What a token key signed that was taken back.
async fn retired(attacks: &mut Attacks) {
    let mut scene = Scene::new("").await;
    let (token, key) = (scene.issued.token.clone(), key(42));
    let good = forge(&scene.node, &token);
    let open = scene.wire().await;
    assert_eq!(scene.echo(&open, &token, &key).await.answer().status(), Status::OK);
    let rotated = scene.node.cmtpd(&["keys", "rotate", "--use", "token", "--now"]);
    assert!(rotated.status.success(), "{rotated:?}");
    let before = open.keys.number;
    let wire = loop {
        let wire = scene.wire().await;
        if wire.keys.number > before {
            break wire;
        }
    };
    // Whoever is served meanwhile has a token by the new key.
    scene.issued.token = scene.node.grant(&key.public().to_string(), &["--scope", "0xS:**"]);
    // The list does not have it any more: it is a stranger's.
    let fate = Fate::Counted(Status::TOKEN_INVALID, HEADER);
    let run = async {
        let origin = wire.origin(&key, "0xS:echo");
        wire.exchange(&[wire.auth(&token, &key)], &origin).await
    };
    attacks.attack(&mut scene, "a token by a key that was taken back", fate, run).await;
    let wire = scene.wire().await;
    let anew = Forge { claims: good.claims.clone(), ..good }.token();
    let run = async {
        let origin = wire.origin(&key, "0xS:echo");
        wire.exchange(&[wire.auth(&anew, &key)], &origin).await
    };
    attacks.attack(&mut scene, "a token made anew by a key that was taken back", fate, run).await;
    let known = Frame::Auth(Auth::Known(Digest::of(token.as_bytes())));
    let run = async {
        let origin = open.origin(&key, "0xS:echo");
        open.exchange(&[known], &origin).await
    };
    let fate = Fate::Counted(Status::TOKEN_INVALID, "token-retired");
    attacks.attack(&mut scene, "the same where it was shown before", fate, run).await;
    attacks.end(scene).await;
}

/// Algorithms, types and keys taken for one another. [ADM-1]
fn confusion(scene: &Scene, good: &Forge, keys: &KeyList) -> Vec<Row> {
    let root: PublicKey = scene.node.did.parse().unwrap();
    let node = SigningKey::from_seed(&good.seed).unwrap();
    let mine = &scene.key;
    let (text, signature) = scene.issued.token.rsplit_once('.').unwrap();
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let with =
        |signature: &[u8]| Text::from(format!("{text}.{}", BASE64URL_NOPAD.encode(signature)));
    let log = keys.keys.iter().find(|listed| listed.key_use == KeyUse::LOG).unwrap().key;
    let header = |key: &str, value: Value| changed_header(good, |it| it[key] = value);
    let without = |member: &str| changed_header(good, |it| drop(members(it).remove(member)));
    let prefixed = |usage: &str| with(&node.sign(usage, text.as_bytes()).0);
    let spoilt = [&[signature[0] ^ 1], &signature[1..]].concat();
    let own = Forge { seed: [42; 32], ..good.clone() };
    let own_kid = changed_header(&own, |it| it["kid"] = json!(mine.public().multibase()));
    let log_kid = json!(log.multibase());
    let layer = online_seed(&scene.node, "layer");
    vec![
        ("alg none", HEADER, header("alg", json!("none"))),
        ("alg none and no signature", HEADER, unsigned(good, "none", b"")),
        ("alg None, in another case", HEADER, header("alg", json!("None"))),
        ("alg HS256 under the node's public key", HEADER, hashed(good, &node.public().0)),
        ("alg HS256 under the node's root key", HEADER, hashed(good, &root.0)),
        (
            "alg HS256 under the text of the kid",
            HEADER,
            hashed(good, node.public().multibase().as_bytes()),
        ),
        ("alg RS256", HEADER, header("alg", json!("RS256"))),
        ("alg ES256", HEADER, header("alg", json!("ES256"))),
        ("alg ES512", HEADER, header("alg", json!("ES512"))),
        ("alg Ed25519", HEADER, header("alg", json!("Ed25519"))),
        ("alg in lower case", HEADER, header("alg", json!("eddsa"))),
        ("a list of algorithms", HEADER, header("alg", json!(["EdDSA"]))),
        ("no alg", HEADER, without("alg")),
        ("typ JWT", HEADER, header("typ", json!("JWT"))),
        ("typ at+jwt", HEADER, header("typ", json!("at+jwt"))),
        ("typ application/cmtp+jwt", HEADER, header("typ", json!("application/cmtp+jwt"))),
        ("no typ", HEADER, without("typ")),
        ("no kid", HEADER, without("kid")),
        ("the kid of the node's log key", HEADER, header("kid", log_kid.clone())),
        (
            "signed by the node's log key, under its kid",
            HEADER,
            changed_header(&Forge { seed: log_seed(scene), ..good.clone() }, |it| {
                it["kid"] = log_kid;
            }),
        ),
        (
            "signed by the node's log key",
            SIGNATURE,
            Forge { seed: log_seed(scene), ..good.clone() }.token().into(),
        ),
        (
            "signed by the node's layer key, under its kid",
            HEADER,
            changed_header(&Forge { seed: layer, ..good.clone() }, |it| {
                it["kid"] = json!(SigningKey::from_seed(&layer).unwrap().public().multibase());
            }),
        ),
        (
            "signed by the node's layer key",
            SIGNATURE,
            Forge { seed: layer, ..good.clone() }.token().into(),
        ),
        (
            "signed by the node's root key, under its kid",
            HEADER,
            changed_header(&Forge { seed: root_seed(&scene.node), ..good.clone() }, |it| {
                it["kid"] = json!(root.multibase());
            }),
        ),
        (
            "signed by the node's root key",
            SIGNATURE,
            Forge { seed: root_seed(&scene.node), ..good.clone() }.token().into(),
        ),
        ("signed by its holder, under its kid", HEADER, own_kid),
        ("signed by its holder", SIGNATURE, own.token().into()),
        ("signed as a layer is", SIGNATURE, prefixed(uses::LAYER)),
        ("signed as a proof is", SIGNATURE, prefixed(uses::AUTH)),
        ("signed as a call is", SIGNATURE, prefixed(uses::SESSION_CALL)),
        ("signed as a confirm is", SIGNATURE, prefixed(uses::SESSION_CONFIRM)),
        ("no signature", SIGNATURE, with(&[])),
        ("half a signature", SIGNATURE, with(&signature[..32])),
        ("a signature of zeros", SIGNATURE, with(&[0; 64])),
        ("a signature with a bit turned", SIGNATURE, with(&spoilt)),
        ("a signature with the order added to S", SIGNATURE, with(&plus_order(&signature))),
    ]
    .into_iter()
    .map(|(name, reason, token): (_, _, Text)| (name, reason, token.0))
    .collect()
}

/// Things that other verifiers take from a header. [ADM-1]
fn headers(good: &Forge) -> Vec<Row> {
    let own = key(42).public();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64URL_NOPAD.encode(&own.0)});
    let add = |name: &str, value: Value| changed_header(good, |it| it[name] = value).0;
    let raw =
        |header: String| signed_text(good, header.as_bytes(), good.claims.to_string().as_bytes());
    let text = good.header.to_string();
    let kid = good.header["kid"].as_str().unwrap();
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    let own_signed = Forge { seed: [42; 32], ..good.clone() };
    let with_own_jwk = changed_header(&own_signed, |it| it["jwk"] = jwk.clone()).0;
    vec![
        ("a jwk in the header, which signed it", HEADER, with_own_jwk),
        ("a jwk in the header", HEADER, add("jwk", jwk)),
        ("jku", HEADER, add("jku", json!("https://keys.invalid/set"))),
        ("x5u", HEADER, add("x5u", json!("https://keys.invalid/chain"))),
        ("x5c", HEADER, add("x5c", json!(["MIIB"]))),
        ("x5t#S256", HEADER, add("x5t#S256", json!("AAAA"))),
        ("crit", HEADER, add("crit", json!(["exp"]))),
        (
            "crit with b64",
            HEADER,
            changed_header(good, |it| {
                (it["b64"], it["crit"]) = (json!(false), json!(["b64"]));
            })
            .0,
        ),
        ("zip", HEADER, add("zip", json!("DEF"))),
        ("cty", HEADER, add("cty", json!("JWT"))),
        ("a kid that is a path", HEADER, add("kid", json!("../../node.key"))),
        ("a kid that is /dev/null", HEADER, add("kid", json!("/dev/null"))),
        ("a kid with SQL", HEADER, add("kid", json!(format!("{kid}' OR '1'='1")))),
        ("a kid with a NUL behind it", HEADER, add("kid", json!(format!("{kid}\0")))),
        ("a kid that is a DID", HEADER, add("kid", json!(format!("did:key:{kid}")))),
        ("a kid that is a list", HEADER, add("kid", json!([kid]))),
        ("a kid that is null", HEADER, add("kid", Value::Null)),
        ("a claim in the header", HEADER, add("sub", good.claims["sub"].clone())),
        ("alg twice", HEADER, raw(text.replacen('{', r#"{"alg":"none","#, 1))),
        ("kid twice", HEADER, raw(text.replacen('{', r#"{"kid":"x","#, 1))),
        ("alg twice, once escaped", HEADER, raw(text.replacen('{', r#"{"\u0061lg":"EdDSA","#, 1))),
        ("a header that is a list", HEADER, raw(format!("[{text}]"))),
        (
            "a header that is a list of its values",
            HEADER,
            raw(json!(["EdDSA", "cmtp+jwt", kid]).to_string()),
        ),
        ("a header that is a text", HEADER, raw(json!(text).to_string())),
        ("a header that is a thousand lists deep", HEADER, raw(deep)),
        ("a header with something behind it", HEADER, raw(format!("{text}{{}}"))),
        ("a header with a NUL behind it", HEADER, raw(format!("{text}\0"))),
        ("no header", HEADER, raw(String::new())),
    ]
}

/// Claims that say more, less, or the same twice. [ADM-1] [ADM-2] [ADM-3] [ADM-6]
fn claims(good: &Forge) -> Vec<Row> {
    let other = key(9).public();
    let x = json!(BASE64URL_NOPAD.encode(&other.0));
    let claim = |path: &str, value: Value| {
        let mut forge = good.clone();
        *forge.claims.pointer_mut(path).unwrap() = value;
        forge.token().into_bytes()
    };
    let add = |path: &str, name: &str, value: Value| {
        let mut forge = good.clone();
        forge.claims.pointer_mut(path).unwrap()[name] = value;
        forge.token().into_bytes()
    };
    let without = |name: &str| {
        let mut forge = good.clone();
        drop(members(&mut forge.claims).remove(name));
        forge.token().into_bytes()
    };
    let raw = |claims: &[u8]| signed_text(good, good.header.to_string().as_bytes(), claims);
    let text = good.claims.to_string();
    let again = |member: &str| raw(text.replacen('{', &format!("{{{member},"), 1).as_bytes());
    let own_sub = good.claims["sub"].as_str().unwrap();
    let (sub, did) = (json!(other.to_string()), json!(other.to_string()));
    let not_utf8 = [&b"{\"iss\":\"\xff\","[..], &text.as_bytes()[1..]].concat();
    let patterns: Vec<String> =
        (0..=limits::SCOPE_PATTERNS_MAX).map(|n| format!("0xS:a{n}")).collect();
    let deep = json!(nested(100));
    vec![
        ("an extra claim", CLAIMS, add("", "admin", json!(true))),
        ("a claim act", CLAIMS, add("", "act", json!({"sub": sub}))),
        ("a claim groups", CLAIMS, add("", "groups", json!(["admin"]))),
        ("sub twice", CLAIMS, again(&format!(r#""sub":{sub}"#))),
        ("exp twice", CLAIMS, again(r#""exp":9999999999"#)),
        ("scope twice", CLAIMS, again(r#""scope":{"read":["0xS:**"],"write":[]}"#)),
        ("cnf twice", CLAIMS, again(r#""cnf":{}"#)),
        ("no jti", CLAIMS, without("jti")),
        ("no nbf", CLAIMS, without("nbf")),
        ("no exp", CLAIMS, without("exp")),
        ("no cnf", CLAIMS, without("cnf")),
        ("no aud", CLAIMS, without("aud")),
        ("no scope", CLAIMS, without("scope")),
        ("a cnf with jku", CLAIMS, add("/cnf", "jku", json!("https://keys.invalid/set"))),
        ("a cnf with kid alone", CLAIMS, claim("/cnf", json!({"kid": "x"}))),
        ("a jwk in cnf with its secret", CLAIMS, add("/cnf/jwk", "d", x.clone())),
        ("a jwk in cnf with kid", CLAIMS, add("/cnf/jwk", "kid", json!("x"))),
        ("a cnf of another curve", CONFIRMATION, claim("/cnf/jwk/crv", json!("X25519"))),
        ("a cnf of another kind of key", CONFIRMATION, claim("/cnf/jwk/kty", json!("EC"))),
        ("a cnf of small order", CONFIRMATION, claim("/cnf/jwk/x", json!("A".repeat(43)))),
        ("the cnf of another", CONFIRMATION, claim("/cnf/jwk/x", x)),
        ("the sub of another", CONFIRMATION, claim("/sub", did.clone())),
        ("a sub that is a name", CONFIRMATION, claim("/sub", json!("root"))),
        ("a sub with a NUL behind it", CONFIRMATION, claim("/sub", json!(format!("{own_sub}\0")))),
        ("the node's own DID as sub", CONFIRMATION, claim("/sub", good.claims["iss"].clone())),
        ("an aud that is a list", CLAIMS, claim("/aud", json!([good.claims["aud"]]))),
        ("an aud that is a list of two", CLAIMS, claim("/aud", json!([good.claims["aud"], did]))),
        ("claims that are a list", CLAIMS, raw(format!("[{text}]").as_bytes())),
        ("claims that are a list of their values", CLAIMS, raw(values(good).as_bytes())),
        ("a scope that is a list of its lists", CLAIMS, claim("/scope", json!([["0xS:**"], []]))),
        ("a cnf that is a list", CLAIMS, claim("/cnf", json!([good.claims["cnf"]["jwk"]]))),
        ("claims that are a text", CLAIMS, raw(json!(text).to_string().as_bytes())),
        ("claims that are not UTF-8", CLAIMS, raw(&not_utf8)),
        ("claims with something behind them", CLAIMS, raw(format!("{text} x").as_bytes())),
        ("a claim that is a hundred objects deep", CLAIMS, claim("/scope", deep)),
        ("an exp of 10^400", CLAIMS, again_number(good, "exp", "1e400")),
        ("an exp of 2^64", CLAIMS, again_number(good, "exp", "18446744073709551616")),
        ("an exp with a fraction", CLAIMS, again_number(good, "exp", "9999999999.5")),
        ("an exp below zero", CLAIMS, claim("/exp", json!(-1))),
        ("an exp that is a text", CLAIMS, claim("/exp", json!("9999999999"))),
        ("an exp of 2^64 − 1", TIMES, claim("/exp", json!(u64::MAX))),
        ("an empty jti", CLAIMS, claim("/jti", json!(""))),
        ("a jti that is too long", CLAIMS, claim("/jti", json!("x".repeat(65)))),
        ("a jti that is a number", CLAIMS, claim("/jti", json!(7))),
        ("too many patterns", SCOPE, claim("/scope/read", json!(patterns))),
        ("a pattern that is none", SCOPE, claim("/scope/read", json!(["0xS:%41"]))),
        ("a write form under read", SCOPE, claim("/scope/read", json!(["0xSW:x"]))),
        ("a scope with a third list", CLAIMS, add("/scope", "all", json!(["0xS:**"]))),
        ("a scope that is a text", CLAIMS, claim("/scope", json!("read write"))),
    ]
}

/// [ADM-4] Times that are over, not yet, or too far from one another.
fn times(good: &Forge) -> Vec<Row> {
    let now = now() / 1_000_000;
    let times = |iat: u64, nbf: u64, exp: u64| {
        let mut forge = good.clone();
        let claims = &mut forge.claims;
        (claims["iat"], claims["nbf"], claims["exp"]) = (json!(iat), json!(nbf), json!(exp));
        forge.token().into_bytes()
    };
    let most = limits::TOKEN_LIFETIME_MAX;
    let outside = "token-outside-times";
    vec![
        ("an nbf in the future", outside, times(now, now + 300, now + 600)),
        ("a token that is over for a second", outside, times(now - 60, now - 60, now - 1)),
        ("a token that is over now", outside, times(now - 60, now - 60, now)),
        (
            "a token of last year",
            outside,
            times(now - 31_536_000, now - 31_536_000, now - 31_535_400),
        ),
        ("a life that is too long by a second", TIMES, times(now, now, now + most + 1)),
        ("a life from 1970", TIMES, times(0, 0, now + 60)),
        ("an iat behind nbf", TIMES, times(now + 5, now, now + 60)),
        ("an exp before iat", TIMES, times(now, now, now - 60)),
    ]
}

/// [ADM-5] The same token, spelt otherwise.
fn encodings(token: &str) -> Vec<Row> {
    let (head, rest) = token.split_once('.').unwrap();
    let (text, signature) = token.rsplit_once('.').unwrap();
    let bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let not_utf8 = [&token.as_bytes()[..9], &[0xff], &token.as_bytes()[9..]].concat();
    vec![
        ("a token that is padded", ENCODING, format!("{token}==").into()),
        (
            "a signature in the standard alphabet",
            ENCODING,
            format!("{text}.+{}", BASE64.encode(&bytes)).into(),
        ),
        ("a signature with stray bits", ENCODING, stray_bits(token).into()),
        ("a line feed in the token", ENCODING, format!("{head}.\n{rest}").into()),
        ("a space before the token", ENCODING, format!(" {token}").into()),
        ("Bearer before the token", ENCODING, format!("Bearer {token}").into()),
        ("a NUL behind the token", ENCODING, format!("{token}\0").into()),
        ("a percent sign in the token", ENCODING, token.replacen('.', "%2e", 1).into()),
        ("a token that is not UTF-8", ENCODING, not_utf8),
        ("two parts", ENCODING, text.into()),
        ("four parts", ENCODING, format!("{token}.").into()),
        ("five parts, as of what is encrypted", ENCODING, format!("{token}.x.y").into()),
        ("the JSON form of a token", ENCODING, json!({"protected": head}).to_string().into()),
        ("dots alone", HEADER, b"..".to_vec()),
        ("a token as long as may be", ENCODING, vec![b'a'; limits::TOKEN_MAX as usize]),
    ]
}

/// What another node made, or was made for another. [ADM-2] [SES-12]
fn foreign(scene: &Scene, other: &Scene, good: &Forge) -> Vec<Row> {
    let theirs = forge(&other.node, &other.issued.token);
    let mut renamed = theirs.clone();
    renamed.header["kid"] = good.header["kid"].clone();
    let claim = |name: &str, value: Value| {
        let mut forge = good.clone();
        forge.claims[name] = value;
        forge.token().into_bytes()
    };
    let did = &scene.node.did;
    let relabelled = Forge { seed: online_seed(&scene.node, "token"), ..renamed.clone() };
    vec![
        ("a token of another node", HEADER, other.issued.token.clone().into()),
        ("a token of another node under this one's kid", SIGNATURE, renamed.token().into()),
        ("another node's claims, signed by this one", OTHER_NODE, relabelled.token().into()),
        ("another node as aud", OTHER_NODE, claim("aud", json!(other.node.did))),
        ("another node as iss", OTHER_NODE, claim("iss", json!(other.node.did))),
        ("an aud with something behind it", OTHER_NODE, claim("aud", json!(format!("{did}#x")))),
        ("an aud in upper case", OTHER_NODE, claim("aud", json!(did.to_uppercase()))),
        ("an empty aud", OTHER_NODE, claim("aud", json!(""))),
        ("a grant that nobody made", "revoked", claim("jti", json!("A".repeat(22)))),
        (
            "a later token of such a grant",
            "revoked",
            claim("jti", json!(format!("{}.7", "A".repeat(22)))),
        ),
        (
            "the grant of another node",
            "revoked",
            claim("jti", json!(other.issued.grant.to_string())),
        ),
    ]
}

/// A token as bytes.
struct Text(Vec<u8>);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

fn changed_header(forge: &Forge, change: impl FnOnce(&mut Value)) -> Text {
    let mut forge = forge.clone();
    change(&mut forge.header);
    forge.token().into()
}

fn members(object: &mut Value) -> &mut serde_json::Map<String, Value> {
    object.as_object_mut().expect("an object")
}

/// Header and claims as bytes, signed as the node signs.
fn signed_text(forge: &Forge, header: &[u8], claims: &[u8]) -> Vec<u8> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&forge.seed).unwrap();
    let text = format!("{}.{}", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(claims));
    let signature = BASE64URL_NOPAD.encode(pair.sign(text.as_bytes()).as_ref());
    format!("{text}.{signature}").into()
}

/// The claims with another number, which no library need be able to write.
fn again_number(forge: &Forge, name: &str, number: &str) -> Vec<u8> {
    let mut forge = forge.clone();
    forge.claims[name] = json!("number");
    let claims = forge.claims.to_string().replace(r#""number""#, number);
    signed_text(&forge, forge.header.to_string().as_bytes(), claims.as_bytes())
}

/// Header and claims with another `alg` and this signature.
fn unsigned(forge: &Forge, algorithm: &str, signature: &[u8]) -> Text {
    let mut header = forge.header.clone();
    header["alg"] = json!(algorithm);
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let text = format!("{}.{}", part(&header), part(&forge.claims));
    format!("{text}.{}", BASE64URL_NOPAD.encode(signature)).into()
}

/// The old confusion: a MAC whose key is what everybody knows.
fn hashed(forge: &Forge, secret: &[u8]) -> Text {
    let Text(text) = unsigned(forge, "HS256", b"");
    let text = String::from_utf8(text).unwrap();
    let signed = text.trim_end_matches('.');
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(mac.as_ref())).into()
}

/// The seed of the node's log key, since an attack is to know as much as may be.
fn log_seed(scene: &Scene) -> [u8; 32] {
    online_seed(&scene.node, "log")
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!({"read": inner}))
}

/// The claims' values, in the order in which the node writes them.
fn values(forge: &Forge) -> String {
    let names = ["iss", "aud", "sub", "iat", "nbf", "exp", "jti", "scope", "cnf"];
    json!(names.map(|name| &forge.claims[name])).to_string()
}

/// The token with a bit set in the last character of its signature that no byte takes.
fn stray_bits(token: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = token.chars().last().unwrap();
    let other = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    format!("{}{other}", &token[..token.len() - 1])
}
