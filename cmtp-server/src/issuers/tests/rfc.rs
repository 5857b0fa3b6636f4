//! The signed examples of RFC 7515, RFC 7520 and RFC 8037: to a node all are foreign, and none is taken for what it is not.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use cmtp_codec::Digest;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value, json};

use super::forge::hmac;
use super::{NOW, persona};
use crate::config::{Config, IssuerAlgorithm};
use crate::issuers::keys::{KeySet, KeyTrouble};
use crate::issuers::token::OutsideToken;
use crate::issuers::{IssuerError, claims};
use crate::node_keys::NodeKeys;
use crate::token::{Token, TokenError};

/// Section, what a node says of it as a token, what an issuer's check says, and the algorithms of its signatures: true where an
/// issuer may have them.
type Row = (&'static str, TokenError, IssuerError, &'static [(&'static str, bool)]);

const ROWS: [Row; 16] = [
    ("RFC 7515 A.1", TokenError::Header, IssuerError::Algorithm, &[("HS256", false)]),
    // Signed well, by an issuer that is trusted, and for nobody.
    ("RFC 7515 A.2", TokenError::Header, IssuerError::Audience, &[("RS256", true)]),
    ("RFC 7515 A.3", TokenError::Header, IssuerError::Audience, &[("ES256", true)]),
    ("RFC 7515 A.4", TokenError::Header, IssuerError::Json, &[("ES512", false)]),
    ("RFC 7515 A.5", TokenError::Header, IssuerError::Algorithm, &[]),
    (
        "RFC 7515 A.6",
        TokenError::Encoding,
        IssuerError::Encoding,
        &[("RS256", true), ("ES256", true)],
    ),
    ("RFC 7515 A.7", TokenError::Encoding, IssuerError::Encoding, &[("ES256", true)]),
    // Their payload is a text, and no claims.
    ("RFC 7520 4.1", TokenError::Header, IssuerError::Json, &[("RS256", true)]),
    ("RFC 7520 4.2", TokenError::Header, IssuerError::Json, &[("PS384", true)]),
    ("RFC 7520 4.3", TokenError::Header, IssuerError::Json, &[("ES512", false)]),
    ("RFC 7520 4.4", TokenError::Header, IssuerError::Json, &[("HS256", false)]),
    ("RFC 7520 4.5", TokenError::Header, IssuerError::Json, &[("HS256", false)]),
    ("RFC 7520 4.6", TokenError::Encoding, IssuerError::Encoding, &[("HS256", false)]),
    ("RFC 7520 4.7", TokenError::Encoding, IssuerError::Encoding, &[("HS256", false)]),
    (
        "RFC 7520 4.8",
        TokenError::Encoding,
        IssuerError::Encoding,
        &[("RS256", true), ("ES512", false), ("HS256", false)],
    ),
    ("RFC 8037 A.4", TokenError::Header, IssuerError::Json, &[("EdDSA", true)]),
];

#[test]
fn each_example_is_refused_as_a_token_and_verified_as_a_signature() {
    // [ADM-1] [ADM-5] [ISS-2] [ISS-5] [ISS-6]
    let file = file();
    let node = NodeKeys::from_seed(&[1; 32]).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), ROWS.len());
    for (case, (section, by_node, by_issuer, signatures)) in cases.iter().zip(ROWS) {
        assert_eq!(case["section"], section);
        let text = case["token"].as_str().map_or_else(|| case["token"].to_string(), str::to_owned);
        assert_eq!(
            Token::verify(text.as_bytes(), &node, 0).map(|_token| ()),
            Err(by_node),
            "{section}"
        );
        assert_eq!(said_by_issuer(&text, &keys_of(&file, case)), Err(by_issuer), "{section}");
        let signed = signed(case);
        let found: Vec<_> = signed.iter().map(|it| it.algorithm.as_str()).collect();
        assert_eq!(found, signatures.iter().map(|it| it.0).collect::<Vec<_>>(), "{section}");
        let keys = case["keys"].as_array().unwrap();
        for ((signed, key), (algorithm, may_be_allowed)) in signed.iter().zip(keys).zip(signatures)
        {
            let key = &file["keys"][key.as_str().unwrap()];
            let what = format!("{section} {algorithm}");
            assert!(signed.holds_by(key), "{what}: not as the RFC has it");
            assert_eq!(algorithm.parse::<IssuerAlgorithm>().is_ok(), *may_be_allowed, "{what}");
            if *may_be_allowed {
                check_with_issuer(signed, key, &what);
            }
        }
    }
}

/// A signature that an issuer may make is taken by its key, and refused where one bit is another.
fn check_with_issuer(signed: &Signed, key: &Value, what: &str) {
    let set = KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).unwrap();
    assert_eq!((set.len(), set.listed()[0].trouble), (1, None), "{what}");
    let algorithm: IssuerAlgorithm = signed.algorithm.parse().unwrap();
    let verify = |message: &str, signature: &[u8], algorithm: Algorithm| {
        let token = OutsideToken {
            algorithm: signed.algorithm.clone(),
            kid: signed.kid.clone(),
            claims: Map::new(),
            signed: message,
            signature: &BASE64URL_NOPAD.encode(signature),
        };
        set.verify(&token, algorithm).map_err(|refusal| refusal.error)
    };
    let (message, signature) = (signed.message.as_str(), signed.signature.as_slice());
    let is_named = signed.kid.as_deref() == key["kid"].as_str();
    if !is_named {
        // The JSON form has a `kid` of its own, which the RFC's key has not.
        assert_eq!(verify(message, signature, algorithm.jws()), Err(IssuerError::UnknownKey));
        return;
    }
    assert_eq!(verify(message, signature, algorithm.jws()), Ok(()), "{what}");
    for bit in [0, signature.len() * 4, signature.len() * 8 - 1] {
        let mut flipped = signature.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let found = verify(message, &flipped, algorithm.jws());
        assert_eq!(found, Err(IssuerError::Signature), "{what}: bit {bit}");
    }
    let mut other = message.to_owned();
    let last = if other.pop() == Some('4') { '0' } else { 'w' };
    other.push(last);
    assert_eq!(verify(&other, signature, algorithm.jws()), Err(IssuerError::Signature), "{what}");
    // Under another algorithm it is nothing.
    for other in [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA] {
        let is_same = other == algorithm.jws();
        assert_eq!(verify(message, signature, other).is_ok(), is_same, "{what}: {other:?}");
    }
}

#[test]
fn keys_of_the_examples_that_no_issuer_may_have_are_passed_over() {
    // [ISS-7]
    let file = file();
    let trouble = |section: &str| {
        let set = json!({ "keys": [file["keys"][section]] }).to_string();
        KeySet::parse(set.as_bytes()).unwrap().listed()[0].trouble
    };
    for section in ["RFC 7515 A.1", "RFC 7520 3.5"] {
        assert_eq!(trouble(section), Some(KeyTrouble::Secret), "{section}");
    }
    for section in ["RFC 7515 A.4", "RFC 7520 3.1"] {
        assert_eq!(trouble(section), Some(KeyTrouble::Kind), "{section}");
    }
}

#[test]
fn the_ed25519_example_is_made_again() {
    let file = file();
    let seed = decode(&file["RFC 8037 A.1"]["d"]);
    let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let public = &file["keys"]["RFC 8037 A.2"];
    assert_eq!(key.public_key().as_ref(), decode(&public["x"]));
    // A.3: the members that there must be, in order (RFC 7638).
    let (crv, kty, x) = (&public["crv"], &public["kty"], &public["x"]);
    let thumbprint = Digest::of(format!("{{\"crv\":{crv},\"kty\":{kty},\"x\":{x}}}").as_bytes());
    assert_eq!(thumbprint.0, decode(&file["RFC 8037 A.3"]["thumbprint"])[..]);
    let case = file["cases"].as_array().unwrap().last().unwrap();
    assert_eq!(case["section"], "RFC 8037 A.4");
    let signed = &signed(case)[0];
    assert_eq!(key.sign(signed.message.as_bytes()).as_ref(), signed.signature);
}

/// What was signed, and how.
struct Signed {
    algorithm: String,
    kid: Option<String>,
    message: String,
    signature: Vec<u8>,
}

impl Signed {
    fn of(protected: &str, unprotected: &Value, payload: &str, signature: &str) -> Self {
        let protected_text = BASE64URL_NOPAD.decode(protected.as_bytes()).unwrap();
        let header: Value = match protected_text.as_slice() {
            [] => json!({}),
            text => serde_json::from_slice(text).unwrap(),
        };
        let text = |name: &str| {
            let value = header.get(name).or(unprotected.get(name));
            value.and_then(Value::as_str).map(str::to_owned)
        };
        Self {
            algorithm: text("alg").unwrap(),
            kid: text("kid"),
            message: format!("{protected}.{payload}"),
            signature: BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap(),
        }
    }

    /// Whether the crypto library by itself finds that the key made it.
    fn holds_by(&self, key: &Value) -> bool {
        let message = self.message.as_bytes();
        let point = || [vec![4], decode(&key["x"]), decode(&key["y"])].concat();
        let rsa = |parameters| {
            let (n, e) = (decode(&key["n"]), decode(&key["e"]));
            let key = signature::RsaPublicKeyComponents { n, e };
            key.verify(parameters, message, &self.signature).is_ok()
        };
        let verify = |algorithm: &'static dyn signature::VerificationAlgorithm, key: Vec<u8>| {
            UnparsedPublicKey::new(algorithm, key).verify(message, &self.signature).is_ok()
        };
        match self.algorithm.as_str() {
            "HS256" => hmac(&decode(&key["k"]), message) == self.signature,
            "RS256" => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_2048_8192_SHA384),
            "ES256" => verify(&signature::ECDSA_P256_SHA256_FIXED, point()),
            "ES512" => verify(&signature::ECDSA_P521_SHA512_FIXED, point()),
            "EdDSA" => verify(&signature::ED25519, decode(&key["x"])),
            other => panic!("{other}"),
        }
    }
}

/// The signatures of a case, whatever its form.
fn signed(case: &Value) -> Vec<Signed> {
    let token = &case["token"];
    if let Some(compact) = token.as_str() {
        let parts: Vec<&str> = compact.split('.').collect();
        let payload = case["payload"].as_str().unwrap_or(parts[1]);
        // One without a signature is not signed.
        let signatures = Some(parts[2]).filter(|signature| !signature.is_empty());
        let signed = |it| Signed::of(parts[0], &Value::Null, payload, it);
        return signatures.into_iter().map(signed).collect();
    }
    let one = std::slice::from_ref(token);
    let all = token["signatures"].as_array().map_or(one, Vec::as_slice);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let payload = text(&token["payload"]);
    let signed = |it: &Value| {
        Signed::of(&text(&it["protected"]), &it["header"], &payload, &text(&it["signature"]))
    };
    all.iter().map(signed).collect()
}

/// An issuer that takes whatever can be taken, by the RFC's own keys.
fn said_by_issuer(token: &str, keys: &KeySet) -> Result<(), IssuerError> {
    let all =
        "\"RS256\",\"RS384\",\"RS512\",\"PS256\",\"PS384\",\"PS512\",\"ES256\",\"ES384\",\"EdDSA\"";
    let settings = Config::from_toml(&format!(
        "[[issuer]]\nname = \"rfc\"\niss = \"joe\"\naudience = \"x\"\nalgorithms = [{all}]\njwks = \"x\"\n"
    ));
    let token = OutsideToken::read(token).map_err(|refusal| refusal.error)?;
    let settings = &settings.unwrap().issuers[0];
    claims::judge(&token, settings, keys, Some(&persona()), NOW)
        .map(|_subject| ())
        .map_err(|refusal| refusal.error)
}

fn keys_of(file: &Value, case: &Value) -> KeySet {
    let named = case["keys"].as_array().unwrap().iter();
    let keys: Vec<_> = named.map(|key| file["keys"][key.as_str().unwrap()].clone()).collect();
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn file() -> Value {
    serde_json::from_str(include_str!("rfc.json")).unwrap()
}

fn decode(text: &Value) -> Vec<u8> {
    BASE64URL_NOPAD.decode(text.as_str().unwrap().as_bytes()).unwrap()
}
