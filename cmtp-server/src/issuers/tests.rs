//! Tokens of every kind that an issuer could make, and of many that it could not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod forge;
mod rfc;
mod served;

use std::fs;
use std::path::Path;

use cmtp_client::policy::Subject;
use cmtp_codec::{PublicKey, SigningKey};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::forge::{Forge, Secret, b64, jwk_of, rsa, rsa_also};
use super::keys::{KeySet, KeyTrouble};
use super::source::KeySetError;
use super::{IssuerCheck, IssuerError, Issuers};
use crate::config::Config;
use crate::node::Node;
use crate::node_keys::NodeKeys;
use crate::token::Token;

/// Seconds since 1970, as the node's clock has them in these tests.
const NOW: u64 = 1_800_000_000;

fn persona() -> PublicKey {
    SigningKey::from_seed(&[7; 32]).unwrap().public()
}

/// A node's configuration with one issuer, whose keys are in a file beside it.
fn config(folder: &Path, more: &str) -> Config {
    let jwks = folder.join("corp.jwks.json");
    let config = format!(
        "data = {folder:?}\n[[issuer]]\nname = \"corp\"\niss = \"https://login.example\"\naudience = \"cmtp-node-1\"\n\
         algorithms = [\"RS256\", \"RS384\", \"PS256\", \"ES256\", \"EdDSA\"]\njwks = {jwks:?}\ngroups = \"groups\"\n\
         attributes = {{ department = \"dept\", level = \"level\" }}\nmax-age = 600\n{more}"
    );
    Config::from_toml(&config).unwrap()
}

fn open(keys: &Value) -> (TempDir, Issuers) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("corp.jwks.json"), keys.to_string()).unwrap();
    let issuers = Issuers::open(&config(folder.path(), "")).unwrap();
    (folder, issuers)
}

fn verify(issuers: &Issuers, token: &str) -> Result<Subject, IssuerError> {
    issuers.verify(token, &persona(), NOW * 1_000_000)
}

/// A key set with keys that can be used, and such that can't.
fn keys() -> Value {
    let with = |mut key: Value, more: Value| {
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    };
    let es = jwk_of(&Secret::es256(1), "es");
    let ed = jwk_of(&Secret::ed25519(1), "ed");
    json!({ "keys": [
        jwk_of(&rsa(), "rsa"),
        with(jwk_of(&rsa(), "rs384"), json!({ "alg": "RS384", "use": "sig", "key_ops": ["verify"] })),
        es,
        ed,
        jwk_of(&Secret::es384(), "es384"),
        // Two keys of one name, which `alg` tells apart; and two that it does not.
        jwk_of(&rsa(), "both"),
        with(ed.clone(), json!({ "kid": "both" })),
        with(es.clone(), json!({ "kid": "twin" })),
        jwk_of(&Secret::es256(2), "twin"),
        with(es.clone(), json!({ "kid": "enc", "use": "enc" })),
        with(es.clone(), json!({ "kid": "ops", "key_ops": ["sign"] })),
        with(es.clone(), json!({ "kid": "private", "d": b64([1; 32]) })),
        json!({ "kid": "secret", "kty": "oct", "k": b64([1; 32]) }),
        with(es.clone(), json!({ "kid": "es512", "alg": "ES512" })),
        with(es.clone(), json!({ "kid": "for-rsa", "alg": "RS256" })),
        with(es.clone(), json!({ "kid": "p521", "crv": "P-521" })),
        with(es.clone(), json!({ "kid": "off", "x": b64([1; 32]) })),
        with(es.clone(), json!({ "kid": "short", "x": b64([1; 31]) })),
        with(es.clone(), json!({ "kid": "padded", "x": format!("{}=", b64([1; 32])) })),
        with(ed.clone(), json!({ "kid": "small", "x": b64([0; 32]) })),
        json!({ "kid": "weak", "kty": "RSA", "n": b64([0xc5; 128]), "e": "AQAB" }),
        json!({ "kid": "almost", "kty": "RSA", "n": b64([&[0x7f; 1][..], &[0xc5; 255]].concat()), "e": "AQAB" }),
        json!({ "kid": "huge", "kty": "RSA", "n": b64([0xc5; 1_025]), "e": "AQAB" }),
        with(jwk_of(&rsa(), "one"), json!({ "e": "AAAB" })),
        with(jwk_of(&rsa(), "even"), json!({ "e": "AQAA" })),
        with(jwk_of(&rsa(), "none"), json!({ "e": "" })),
        json!({ "kid": "post-quantum", "kty": "AKP", "pub": "x" }),
        json!({ "kid": 5, "kty": "OKP" }),
    ]})
}

#[test]
fn what_an_issuer_signs_is_taken() {
    let (_folder, issuers) = open(&keys());
    assert_eq!(issuers.names().collect::<Vec<_>>(), ["corp"]);
    let nested = json!({ "realm_access": { "roles": ["a"] }, "x.y": ["b"], "x": { "y": ["c"] } });
    let groups = |all: &[&str]| Subject {
        groups: all.iter().map(|group| format!("corp/{group}")).collect(),
        ..Subject::default()
    };
    let by = |kid: &'static str, alg: &'static str, key: Secret| {
        Forge::new(key).header("alg", alg).header("kid", kid)
    };
    let plain = || by("ed", "EdDSA", Secret::ed25519(1));
    let table = [
        ("RS256", by("rsa", "RS256", rsa())),
        ("PS256", by("rsa", "PS256", rsa())),
        ("RS384, by the key that is for it", by("rs384", "RS384", rsa())),
        ("ES256", by("es", "ES256", Secret::es256(1))),
        ("EdDSA", plain()),
        ("two keys of one name: RSA", by("both", "RS256", rsa())),
        ("two keys of one name: Ed25519", by("both", "EdDSA", Secret::ed25519(1))),
        // [ISS-3] Names of types know no case; other members are ignored.
        ("no typ", plain().without_header("typ")),
        ("an access token", plain().header("typ", "at+jwt")),
        ("a media type", plain().header("typ", "application/AT+JWT")),
        ("a thumbprint beside kid", plain().header("x5t", "x").header("cty", "x")),
        // [ISS-10]
        ("several audiences", plain().claim("aud", json!(["a", "cmtp-node-1"]))),
        ("for another client", plain().claim("azp", "app")),
        // [ISS-11] At the very edges.
        ("a clock that is ahead", plain().claim("iat", NOW + 60).claim("nbf", NOW + 60)),
        ("as old as may be", plain().claim("iat", NOW - 660)),
        ("expired by a clock that is behind", plain().claim("exp", NOW - 59)),
        ("no nbf", plain().without("nbf")),
    ];
    for (what, forge) in table {
        let found = verify(&issuers, &forge.token());
        assert_eq!(found, Ok(groups(&["staff"])), "{what}");
    }
    // [ISS-13]
    let none = plain().without("groups");
    assert_eq!(verify(&issuers, &none.token()), Ok(Subject::default()));
    let sixty_four: Vec<_> = (0..64).map(|i| format!("{i:0150}")).collect();
    let found = verify(&issuers, &plain().claim("groups", json!(sixty_four)).token()).unwrap();
    assert_eq!(found.groups.len(), 64);
    assert!(verify(&issuers, &plain().claim("groups", json!(["x".repeat(251)])).token()).is_ok());
    let told = plain().claim("dept", "Räder & Söhne").claim("level", 7);
    let found = verify(&issuers, &told.token()).unwrap().attributes;
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        [
            ("department".to_owned(), "Räder & Söhne".to_owned()),
            ("level".to_owned(), "7".to_owned()),
        ]
    );
    let found = verify(&issuers, &plain().claim("level", true).token()).unwrap();
    assert_eq!(found.attributes["level"], "true");

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("corp.jwks.json"), keys().to_string()).unwrap();
    for (path, expected) in
        [("realm_access.roles", &["a"][..]), ("x.y", &["b"]), ("x.z", &[]), ("sub.x", &[])]
    {
        let mut config = config(folder.path(), "");
        config.issuers[0].groups = Some(path.to_owned());
        let issuers = Issuers::open(&config).unwrap();
        let mut forge = plain();
        forge.claims.extend(nested.as_object().unwrap().clone());
        assert_eq!(verify(&issuers, &forge.token()), Ok(groups(expected)), "{path}");
    }
}

#[test]
fn what_no_issuer_should_sign_is_refused_each_by_its_reason() {
    use IssuerError as E;
    let (_folder, issuers) = open(&keys());
    let plain = || Forge::new(Secret::ed25519(1)).header("alg", "EdDSA").header("kid", "ed");
    let by = |kid: &'static str, alg: &'static str, key: Secret| {
        Forge::new(key).header("alg", alg).header("kid", kid)
    };
    let head = |header: &str| plain().token_of(header, &plain().claims_text());
    let says = |claims: &str| plain().token_of(&plain().header_text(), claims);
    let good = plain().token();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let flipped = |at: usize| {
        let mut bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        bytes[at] ^= 1;
        format!("{signed}.{}", b64(bytes))
    };
    let times = |name: &'static str, time: Value| plain().claim(name, time).token();
    let es_header = r#"{"alg":"ES256","kid":"es"}"#;
    let es_signed = format!("{}.{}", b64(es_header), parts[1]);
    let es_der = format!("{es_signed}.{}", b64(Secret::es256(1).sign_der(es_signed.as_bytes())));
    let hs = |secret: &[u8]| {
        let signed = format!("{}.{}", b64(r#"{"alg":"HS256","kid":"rsa"}"#), parts[1]);
        format!("{signed}.{}", b64(forge::hmac(secret, signed.as_bytes())))
    };
    let modulus =
        BASE64URL_NOPAD.decode(keys()["keys"][0]["n"].as_str().unwrap().as_bytes()).unwrap();
    let long = || json!(vec!["x".repeat(150); 80]);
    let table = [
        // [ISS-2]
        ("too long", plain().claim("groups", long()).token(), E::TooLong),
        ("empty", String::new(), E::Encoding),
        ("two parts", format!("{}.{}", parts[0], parts[1]), E::Encoding),
        ("four parts", format!("{good}.x"), E::Encoding),
        ("five parts, as of JWE", format!("{good}.x.y"), E::Encoding),
        ("padded", format!("{}=.{}.{}", parts[0], parts[1], parts[2]), E::Encoding),
        ("stray bits", format!("{signed}.{}", stray(signature)), E::Encoding),
        (
            "the other alphabet",
            format!("{}.{}.+/{}", parts[0], parts[1], &parts[2][2..]),
            E::Encoding,
        ),
        ("white space", format!("{good}\n"), E::Encoding),
        ("no JSON", head("hello"), E::Json),
        ("a list as header", head("[]"), E::Json),
        ("a list as claims", says("[]"), E::Json),
        ("alg twice", head(r#"{"alg":"EdDSA","kid":"ed","alg":"none"}"#), E::Json),
        (
            "a claim twice",
            says(&plain().claims_text().replacen('{', r#"{"groups":["root"],"#, 1)),
            E::Json,
        ),
        (
            "a claim twice, escaped",
            says(&plain().claims_text().replacen('{', r#"{"gr\u006fups":["root"],"#, 1)),
            E::Json,
        ),
        (
            "a member twice, deep in a list",
            says(&plain().claims_text().replacen('{', r#"{"a":[{"b":1,"b":2}],"#, 1)),
            E::Json,
        ),
        ("something behind", says(&format!("{} x", plain().claims_text())), E::Json),
        (
            "nested too deep",
            says(&format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200))),
            E::Json,
        ),
        ("no UTF-8", format!("{}.{}.{}", parts[0], b64(b"{\"a\":\"\xff\"}"), parts[2]), E::Json),
        // [ISS-3]
        (
            "a key of its own",
            plain().header("jwk", jwk_of(&Secret::ed25519(1), "ed")).token(),
            E::Header,
        ),
        ("a URL for keys", plain().header("jku", "https://evil.example").token(), E::Header),
        (
            "a URL for certificates",
            plain().header("x5u", "https://evil.example").token(),
            E::Header,
        ),
        ("certificates", plain().header("x5c", json!(["MII"])).token(), E::Header),
        ("crit", plain().header("crit", json!(["exp"])).token(), E::Header),
        ("crit of nothing", plain().header("crit", json!([])).token(), E::Header),
        ("b64", plain().header("b64", false).token(), E::Header),
        ("no alg", plain().without_header("alg").token(), E::Header),
        ("alg is a number", plain().header("alg", 5).token(), E::Header),
        ("kid is a list", plain().header("kid", json!(["ed"])).token(), E::Header),
        ("a node's token", plain().header("typ", "cmtp+jwt").token(), E::Type),
        ("a logout token", plain().header("typ", "logout+jwt").token(), E::Type),
        ("typ is null", plain().header("typ", Value::Null).token(), E::Type),
        // [ISS-4]
        ("another issuer", plain().claim("iss", "https://login.example.evil").token(), E::Issuer),
        ("a slash more", plain().claim("iss", "https://login.example/").token(), E::Issuer),
        ("upper case", plain().claim("iss", "https://LOGIN.example").token(), E::Issuer),
        (
            "a list of issuers",
            plain().claim("iss", json!(["https://login.example"])).token(),
            E::Issuer,
        ),
        ("no issuer", plain().without("iss").token(), E::Issuer),
        // [ISS-5]
        ("unsecured", format!("{}.{}.", b64(r#"{"alg":"none"}"#), parts[1]), E::Algorithm),
        (
            "unsecured, in capitals",
            format!("{}.{}.", b64(r#"{"alg":"NONE","kid":"ed"}"#), parts[1]),
            E::Algorithm,
        ),
        ("the public key as a secret", hs(&modulus), E::Algorithm),
        ("the key set as a secret", hs(keys().to_string().as_bytes()), E::Algorithm),
        (
            "an algorithm that is not on the list",
            by("es384", "ES384", Secret::es384()).token(),
            E::Algorithm,
        ),
        ("an algorithm in lower case", by("rsa", "rs256", rsa()).token(), E::Algorithm),
        // [ISS-6]
        ("no kid, and several keys", plain().without_header("kid").token(), E::KeyNotNamed),
        ("an unknown kid", plain().header("kid", "other").token(), E::UnknownKey),
        ("an empty kid", plain().header("kid", "").token(), E::UnknownKey),
        ("kid is a path", plain().header("kid", "../../etc/passwd").token(), E::UnknownKey),
        ("two keys of this name", by("twin", "ES256", Secret::es256(1)).token(), E::KeyAmbiguous),
        // [ISS-7]
        ("RS256 by an EC key", by("es", "RS256", rsa()).token(), E::KeyMismatch),
        ("ES256 by an RSA key", by("rsa", "ES256", Secret::es256(1)).token(), E::KeyMismatch),
        ("EdDSA by an EC key", by("es", "EdDSA", Secret::ed25519(1)).token(), E::KeyMismatch),
        ("ES256 by a key of P-384", by("es384", "ES256", Secret::es256(1)).token(), E::KeyMismatch),
        ("RS256 by a key that is for RS384", by("rs384", "RS256", rsa()).token(), E::KeyMismatch),
        ("PS256 by a key that is for RS384", by("rs384", "PS256", rsa()).token(), E::KeyMismatch),
        ("a key for encryption", by("enc", "ES256", Secret::es256(1)).token(), E::UnknownKey),
        ("a key for signing only", by("ops", "ES256", Secret::es256(1)).token(), E::UnknownKey),
        (
            "a key that everybody has",
            by("private", "ES256", Secret::es256(1)).token(),
            E::UnknownKey,
        ),
        ("a key of 1,024 bits", by("weak", "RS256", rsa()).token(), E::UnknownKey),
        ("a key of small order", by("small", "EdDSA", Secret::ed25519(1)).token(), E::UnknownKey),
        ("a symmetric key", by("secret", "RS256", rsa()).token(), E::UnknownKey),
        ("the first bit of R", flipped(0), E::Signature),
        ("the last byte of S", flipped(63), E::Signature),
        ("a signature too short", format!("{signed}.{}", &signature[..84]), E::Signature),
        ("no signature", format!("{signed}."), E::Signature),
        (
            "another Ed25519 key",
            Forge::new(Secret::ed25519(2)).header("alg", "EdDSA").header("kid", "ed").token(),
            E::Signature,
        ),
        ("another EC key", by("es", "ES256", Secret::es256(2)).token(), E::Signature),
        ("another RSA key", by("rsa", "RS256", rsa_also()).token(), E::Signature),
        (
            "PS256, said to be RS256",
            by("rsa", "RS256", rsa()).signed_as("PS256").token(),
            E::Signature,
        ),
        (
            "RS256, said to be PS256",
            by("rsa", "PS256", rsa()).signed_as("RS256").token(),
            E::Signature,
        ),
        ("ES256 in DER", es_der, E::Signature),
        ("ES256 of zeros", format!("{es_signed}.{}", b64([0; 64])), E::Signature),
        (
            "claims of another token",
            format!(
                "{}.{}.{}",
                parts[0],
                b64(plain().claim("groups", json!(["root"])).claims_text()),
                parts[2]
            ),
            E::Signature,
        ),
        // [ISS-10]
        ("another audience", plain().claim("aud", "cmtp-node-2").token(), E::Audience),
        ("other audiences", plain().claim("aud", json!(["a", "b"])).token(), E::Audience),
        (
            "a list with a number",
            plain().claim("aud", json!(["cmtp-node-1", 1])).token(),
            E::Audience,
        ),
        ("a list in a list", plain().claim("aud", json!([["cmtp-node-1"]])).token(), E::Audience),
        ("the beginning of the audience", plain().claim("aud", "cmtp-node").token(), E::Audience),
        ("no audience", plain().without("aud").token(), E::Audience),
        // [ISS-11]
        ("no iat", plain().without("iat").token(), E::Times),
        ("no exp", plain().without("exp").token(), E::Times),
        ("a fraction", times("iat", json!(1_799_999_999.5)), E::Times),
        ("a fraction that is none", times("exp", json!(1_800_000_100.0)), E::Times),
        ("before 1970", times("nbf", json!(-1)), E::Times),
        ("a time as text", times("exp", json!("1800000100")), E::Times),
        ("nbf is null", times("nbf", Value::Null), E::Times),
        (
            "beyond 64 bits",
            says(&plain().claims_text().replace("1800000300", "18446744073709551616")),
            E::Times,
        ),
        ("made in the future", times("iat", json!(NOW + 61)), E::NotYet),
        ("valid in the future", times("nbf", json!(NOW + 61)), E::NotYet),
        ("expired", times("exp", json!(NOW - 60)), E::Expired),
        ("expired in 1970", times("exp", json!(0)), E::Expired),
        ("too old", times("iat", json!(NOW - 661)), E::TooOld),
        // [ISS-12]
        ("no nonce", plain().without("nonce").token(), E::Nonce),
        (
            "another persona's nonce",
            plain().claim("nonce", cmtp_client::outside_nonce(&PublicKey([1; 32]))).token(),
            E::Nonce,
        ),
        (
            "a padded nonce",
            plain().claim("nonce", format!("{}=", cmtp_client::outside_nonce(&persona()))).token(),
            E::Nonce,
        ),
        (
            "the key without a tag",
            plain().claim("nonce", b64(cmtp_codec::Digest::of(&persona().0).0)).token(),
            E::Nonce,
        ),
        (
            "a list of nonces",
            plain().claim("nonce", json!([cmtp_client::outside_nonce(&persona())])).token(),
            E::Nonce,
        ),
        // [ISS-13]
        ("groups as one text", plain().claim("groups", "staff").token(), E::Groups),
        ("groups is null", plain().claim("groups", Value::Null).token(), E::Groups),
        ("a number among groups", plain().claim("groups", json!(["staff", 1])).token(), E::Groups),
        ("an empty group", plain().claim("groups", json!([""])).token(), E::Groups),
        ("a line feed in a group", plain().claim("groups", json!(["a\nb"])).token(), E::Groups),
        (
            "65 groups",
            plain()
                .claim("groups", json!((0..65).map(|i| i.to_string()).collect::<Vec<_>>()))
                .token(),
            E::Excess,
        ),
        (
            "a group of 252 bytes, 257 with its issuer",
            plain().claim("groups", json!(["x".repeat(252)])).token(),
            E::Excess,
        ),
        ("an attribute of 257 bytes", plain().claim("dept", "x".repeat(257)).token(), E::Excess),
        ("an attribute as a list", plain().claim("dept", json!(["a"])).token(), E::Attribute),
        ("an attribute with a fraction", plain().claim("level", 1.5).token(), E::Attribute),
        ("an attribute that is empty", plain().claim("dept", "").token(), E::Attribute),
        ("an escape in an attribute", plain().claim("dept", "\u{1b}[2J").token(), E::Attribute),
    ];
    println!("{} bad tokens", table.len());
    for (what, token, error) in &table {
        assert_eq!(verify(&issuers, token), Err(*error), "{what}");
    }
    assert_eq!(verify(&Issuers::default(), &good), Err(E::Issuer));
    assert!(verify(&issuers, &good).is_ok());
    // [ISS-1] None of them is a token that admits, and least of all the good one.
    let node = NodeKeys::from_seed(&[1; 32]).unwrap();
    assert!(Token::verify(good.as_bytes(), &node, 0).is_err());
}

/// The same bytes in base64url whose last digit has a bit set that stands for nothing.
fn stray(text: &str) -> String {
    assert_eq!(text.len() % 4, 2, "two digits stand for the last byte");
    let (head, last) = text.split_at(text.len() - 1);
    let next = char::from(last.as_bytes()[0] + 1);
    assert!("BCDEFGHIJKLMNOPQRSTUVWXYZbcdefghijklmnopqrstuvwxyz123456789".contains(next));
    format!("{head}{next}")
}

#[test]
fn a_key_that_can_not_be_used_is_passed_over_and_says_why() {
    // [ISS-7]
    let set = KeySet::parse(keys().to_string().as_bytes()).unwrap();
    let named =
        |kid: &str| set.listed().iter().find(|key| key.kid.as_deref() == Some(kid)).unwrap();
    for kid in ["rsa", "rs384", "es", "ed", "es384", "both", "twin"] {
        assert_eq!(named(kid).trouble, None, "{kid}");
    }
    assert_eq!(
        (named("rsa").kind.as_str(), named("ed").kind.as_str()),
        ("RSA 2048", "OKP Ed25519")
    );
    for (kid, trouble) in [
        ("enc", KeyTrouble::Use),
        ("ops", KeyTrouble::Operations),
        ("private", KeyTrouble::Secret),
        ("secret", KeyTrouble::Secret),
        ("es512", KeyTrouble::Algorithm),
        ("for-rsa", KeyTrouble::Algorithm),
        ("p521", KeyTrouble::Kind),
        ("off", KeyTrouble::Point),
        ("short", KeyTrouble::Number),
        ("padded", KeyTrouble::Number),
        ("small", KeyTrouble::Ed25519(cmtp_codec::SignatureError::SmallOrder)),
        ("weak", KeyTrouble::RsaSize { bits: 1_024 }),
        ("almost", KeyTrouble::RsaSize { bits: 2_047 }),
        ("huge", KeyTrouble::RsaSize { bits: 8_200 }),
        ("one", KeyTrouble::Exponent),
        ("even", KeyTrouble::Exponent),
        ("none", KeyTrouble::Exponent),
        ("post-quantum", KeyTrouble::Kind),
    ] {
        assert_eq!(named(kid).trouble, Some(trouble), "{kid}");
    }
    assert_eq!(set.listed().last().unwrap().trouble, Some(KeyTrouble::Malformed));
    assert_eq!(set.len(), 9);
}

#[test]
fn a_key_set_is_bounded_and_taken_as_a_whole() {
    // [ISS-8]
    let keys =
        |count| json!({ "keys": vec![jwk_of(&Secret::ed25519(1), "ed"); count] }).to_string();
    assert_eq!(KeySet::parse(keys(64).as_bytes()).unwrap().len(), 64);
    assert_eq!(KeySet::parse(br#"{"keys":[],"x":1}"#).unwrap().len(), 0);
    let parse = |text: &str| KeySet::parse(text.as_bytes()).unwrap_err();
    assert!(matches!(parse(&keys(65)), KeySetError::TooMany { count: 65 }));
    let mut long = keys(1);
    long.push_str(&" ".repeat(262_145 - long.len()));
    assert!(KeySet::parse(&long.as_bytes()[..262_144]).is_ok());
    assert!(matches!(parse(&long), KeySetError::TooLong));
    for bad in
        ["", "[]", "<html>", r#"{"keys":[],"keys":[]}"#, r#"{"keys":[{"kid":"a","kid":"b"}]}"#]
    {
        assert!(matches!(parse(bad), KeySetError::Json(_)), "{bad}");
    }
    for bad in ["{}", r#"{"keys":{}}"#, r#"{"Keys":[]}"#] {
        assert!(matches!(parse(bad), KeySetError::NoList), "{bad}");
    }
}

#[test]
fn a_token_without_kid_is_by_the_only_key() {
    // [ISS-6] Keys that can't be used do not count.
    let only = json!({ "keys": [keys()["keys"][9], jwk_of(&Secret::ed25519(1), "ed")] });
    let (_folder, issuers) = open(&only);
    let forge = || Forge::new(Secret::ed25519(1)).header("alg", "EdDSA").without_header("kid");
    assert!(verify(&issuers, &forge().token()).is_ok());
    let other = Forge::new(Secret::es256(1)).header("alg", "ES256").without_header("kid");
    assert_eq!(verify(&issuers, &other.token()), Err(IssuerError::KeyMismatch));
    let (_folder, issuers) = open(&json!({ "keys": [] }));
    assert_eq!(verify(&issuers, &forge().token()), Err(IssuerError::KeyNotNamed));
}

#[test]
fn several_issuers_are_joined_and_do_not_contradict_each_other() {
    // [ISS-14]
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("corp.jwks.json"), keys().to_string()).unwrap();
    let other = format!(
        "[[issuer]]\nname = \"school\"\niss = \"school\"\naudience = \"cmtp-node-1\"\nalgorithms = [\"EdDSA\"]\njwks = {:?}\n\
         groups = \"groups\"\nattributes = {{ department = \"faculty\" }}\nbind = \"none\"\n",
        folder.path().join("corp.jwks.json")
    );
    let issuers = Issuers::open(&config(folder.path(), &other)).unwrap();
    assert_eq!(issuers.names().collect::<Vec<_>>(), ["corp", "school"]);
    let plain = || Forge::new(Secret::ed25519(1)).header("alg", "EdDSA").header("kid", "ed");
    let school = || plain().claim("iss", "school").without("nonce");
    let all = |tokens: &[Forge]| {
        let tokens: Vec<_> = tokens.iter().map(Forge::token).collect();
        issuers.verify_all(tokens.iter().map(String::as_str), &persona(), NOW * 1_000_000)
    };
    assert_eq!(all(&[]), Ok(Subject::default()));
    let joined = all(&[plain().claim("dept", "x"), school().claim("faculty", "x")]).unwrap();
    let groups: Vec<_> = joined.groups.iter().map(String::as_str).collect();
    assert_eq!(
        (groups.as_slice(), joined.attributes["department"].as_str()),
        (&["corp/staff", "school/staff"][..], "x")
    );
    let contradicted = all(&[plain().claim("dept", "x"), school().claim("faculty", "y")]);
    assert_eq!(contradicted, Err(IssuerError::Conflict));
    assert_eq!(all(&[plain(), plain()]), Err(IssuerError::Repeated));
    let many = |from: u32| json!((from..from + 33).map(|i| i.to_string()).collect::<Vec<_>>());
    let excess = all(&[plain().claim("groups", many(0)), school().claim("groups", many(0))]);
    assert_eq!(excess, Err(IssuerError::Excess));
    assert_eq!(all(&[plain(), school().claim("aud", "x")]), Err(IssuerError::Audience));
}

#[test]
fn an_operator_sees_values_and_a_peer_none() {
    // [ISS-15] What the node gives back is one word without values; what the operator's check gives has them.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("corp.jwks.json"), keys().to_string()).unwrap();
    let check = IssuerCheck::new(&config(folder.path(), "").issuers[0]).unwrap();
    // A key that no algorithm of this issuer's uses is as good as none.
    let trouble = |kid: &str| {
        check.keys().iter().find(|key| key.kid.as_deref() == Some(kid)).unwrap().trouble
    };
    assert_eq!(trouble("es384"), Some(KeyTrouble::NotAsked));
    assert_eq!((trouble("es"), trouble("weak")), (None, Some(KeyTrouble::RsaSize { bits: 1_024 })));
    let plain = || Forge::new(Secret::ed25519(1)).header("alg", "EdDSA").header("kid", "ed");
    let now = NOW * 1_000_000;
    // Without a persona its nonce is not looked at.
    assert!(check.judge(&plain().without("nonce").token(), None, now).is_ok());
    for (forge, says) in [
        (plain().claim("iss", "x"), "from another issuer: iss is \"x\", not https://login.example"),
        (plain().claim("aud", "x"), "made for another audience: aud is \"x\", not \"cmtp-node-1\""),
        (plain().claim("exp", NOW - 90), "expired: 90 s ago"),
        (plain().claim("iat", NOW - 700), "made too long ago: 700 s ago, 600 s are allowed"),
        (plain().claim("nbf", NOW + 90), "the clocks may differ: nbf lies 90 s ahead"),
        (
            plain().header("kid", "weak"),
            "the issuer has no such key: kid \"weak\" is passed over: an RSA key of 1024 bits",
        ),
        (
            plain().header("kid", "rs384"),
            "does not fit alg: kid \"rs384\" (Rsa, for RS384 only), EdDSA",
        ),
        (plain().header("alg", "HS256"), "alg is not one of the issuer's algorithms: HS256"),
        (plain().header("jwk", 1), "never taken: jwk"),
        (plain().claim("nonce", "x"), "not that of the persona: \"x\", not \""),
        (plain().claim("dept", json!("x".repeat(9_000))), "xxx…"),
    ] {
        let said = check.judge(&forge.token(), Some(&persona()), now).unwrap_err().to_string();
        assert!(said.contains(says), "{says}: {said}");
        assert!(said.len() < 600, "{said}");
    }
}

#[test]
fn a_file_is_read_again_when_it_changed_and_the_old_keys_stay_where_that_fails() {
    let of = |seed, kid| json!({ "keys": [jwk_of(&Secret::ed25519(seed), kid)] });
    let (folder, issuers) = open(&of(1, "a"));
    let path = folder.path().join("corp.jwks.json");
    let put = |text: &str| {
        let new = folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
    };
    let check = |seed, kid| {
        let forge = Forge::new(Secret::ed25519(seed)).header("alg", "EdDSA").header("kid", kid);
        verify(&issuers, &forge.token()).map(|_subject| ())
    };
    assert_eq!((check(1, "a"), check(2, "b")), (Ok(()), Err(IssuerError::UnknownKey)));
    put(&of(2, "b").to_string());
    assert_eq!((check(1, "a"), check(2, "b")), (Err(IssuerError::UnknownKey), Ok(())));
    for bad in ["", "hello", "{}", &" ".repeat(300_000)] {
        put(bad);
        assert_eq!(check(2, "b"), Ok(()), "{:.9}", bad);
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(check(2, "b"), Ok(()));
    fs::create_dir(&path).unwrap();
    assert_eq!(check(2, "b"), Ok(()));
    fs::remove_dir(&path).unwrap();
    put(&of(3, "b").to_string());
    assert_eq!((check(2, "b"), check(3, "b")), (Err(IssuerError::Signature), Ok(())));
    // What is withdrawn is withdrawn.
    put(r#"{"keys":[]}"#);
    assert_eq!(check(3, "b"), Err(IssuerError::UnknownKey));
}

#[test]
fn a_file_that_can_not_be_used_at_the_start_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corp.jwks.json");
    let open = || Issuers::open(&config(folder.path(), "")).unwrap_err().to_string();
    for (text, says) in [
        (None, "No such file"),
        (Some("<html>"), "expected a JWK Set"),
        (Some("{}"), "no list `keys`"),
    ] {
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let error = open();
        assert!(error.contains("issuer \"corp\": key set") && error.contains(says), "{error}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(open().contains("it is no file"), "{}", open());
}

#[tokio::test]
async fn a_reload_takes_new_issuers_over() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("corp.jwks.json"), keys().to_string()).unwrap();
    let (before, more) = (
        config(folder.path(), ""),
        config(
            folder.path(),
            "[[issuer]]\nname = \"x\"\niss = \"x\"\naudience = \"x\"\nalgorithms = [\"ES256\"]\njwks = \"http://127.0.0.1:1/\"",
        ),
    );
    let node = Node::open(&before).await.unwrap();
    let old = node.issuers();
    assert_eq!(old.names().collect::<Vec<_>>(), ["corp"]);
    assert_eq!(node.reload(&more).await.unwrap(), Vec::<&str>::new());
    let new = node.issuers();
    assert_eq!(new.names().collect::<Vec<_>>(), ["corp", "x"]);
    // Those that were known keep their keys; none were got of the other one.
    assert!(std::sync::Arc::ptr_eq(&old.0[0].source, &new.0[0].source));
    let forge = || Forge::new(Secret::es256(1)).header("alg", "ES256").header("kid", "es");
    assert_eq!(verify(&new, &forge().claim("iss", "x").token()), Err(IssuerError::NoKeys));
    assert!(verify(&new, &forge().token()).is_ok());
    // One that can't be opened leaves all as it was.
    let mut bad = before.clone();
    bad.issuers[0].jwks = "/nonexistent".parse().unwrap();
    let error = node.reload(&bad).await.unwrap_err().to_string();
    assert!(error.contains("/nonexistent"), "{error}");
    assert_eq!(node.issuers().names().count(), 2);
    node.close();
}
