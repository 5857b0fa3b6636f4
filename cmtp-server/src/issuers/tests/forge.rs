//! Keys of every kind, and tokens signed with them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value, json};

use super::{NOW, persona};

/// A secret key.
#[derive(Clone, Copy)]
pub(super) enum Secret {
    Rsa(&'static RsaKeyPair),
    Es256(u8),
    Es384,
    Ed25519(u8),
}

/// An RSA key takes a while to make.
static RSA: LazyLock<[RsaKeyPair; 2]> =
    LazyLock::new(|| [(); 2].map(|()| RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
static P384: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap());
/// As PKCS #8, so that one key signs in both forms.
static P256: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    [(); 2].map(|()| {
        let key =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        key.unwrap().as_ref().to_vec()
    })
});

pub(super) fn rsa() -> Secret {
    Secret::Rsa(&RSA[0])
}

pub(super) fn rsa_also() -> Secret {
    Secret::Rsa(&RSA[1])
}

impl Secret {
    pub(super) const fn es256(number: u8) -> Self {
        Self::Es256(number)
    }

    pub(super) const fn es384() -> Self {
        Self::Es384
    }

    pub(super) const fn ed25519(seed: u8) -> Self {
        Self::Ed25519(seed)
    }

    fn p256(number: u8, algorithm: &'static signature::EcdsaSigningAlgorithm) -> EcdsaKeyPair {
        EcdsaKeyPair::from_pkcs8(algorithm, &P256[usize::from(number - 1)]).unwrap()
    }

    fn sign(self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let padding: &'static dyn signature::RsaEncoding =
                    match algorithm.to_uppercase().as_str() {
                        "RS256" => &signature::RSA_PKCS1_SHA256,
                        "RS384" => &signature::RSA_PKCS1_SHA384,
                        "PS256" => &signature::RSA_PSS_SHA256,
                        other => panic!("{other}"),
                    };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Es256(number) => {
                let key = Self::p256(number, &ECDSA_P256_SHA256_FIXED_SIGNING);
                key.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Self::Es384 => P384.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(seed) => {
                let key = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
                key.sign(message).as_ref().to_vec()
            }
        }
    }

    /// ECDSA in the form that TLS has.
    pub(super) fn sign_der(self, message: &[u8]) -> Vec<u8> {
        let Self::Es256(number) = self else { panic!("ES256 only") };
        let key = Self::p256(number, &ECDSA_P256_SHA256_ASN1_SIGNING);
        key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }
}

/// The public half, as a key set has it.
pub(super) fn jwk_of(key: &Secret, kid: &str) -> Value {
    let ec = |curve, point: &[u8]| {
        let (x, y) = point[1..].split_at(point.len() / 2);
        json!({ "kid": kid, "kty": "EC", "crv": curve, "x": b64(x), "y": b64(y) })
    };
    match *key {
        Secret::Rsa(key) => {
            let (n, e) = (key.public_key().modulus(), key.public_key().exponent());
            let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
            json!({ "kid": kid, "kty": "RSA", "n": b64(n), "e": b64(e) })
        }
        Secret::Es256(number) => {
            let key = Secret::p256(number, &ECDSA_P256_SHA256_FIXED_SIGNING);
            ec("P-256", key.public_key().as_ref())
        }
        Secret::Es384 => ec("P-384", P384.public_key().as_ref()),
        Secret::Ed25519(seed) => {
            let key = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
            json!({ "kid": kid, "kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().as_ref()) })
        }
    }
}

pub(super) fn hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
}

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

/// A token that is good where nothing is changed in it.
pub(super) struct Forge {
    key: Secret,
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    signed_as: Option<&'static str>,
}

impl Forge {
    pub(super) fn new(key: Secret) -> Self {
        let claims = json!({
            "iss": "https://login.example", "aud": "cmtp-node-1", "sub": "alice",
            "iat": NOW - 100, "nbf": NOW - 100, "exp": NOW + 300,
            "nonce": cmtp_client::outside_nonce(&persona()), "groups": ["staff"],
        });
        let (Value::Object(header), Value::Object(claims)) = (json!({ "typ": "JWT" }), claims)
        else {
            panic!("objects")
        };
        Self { key, header, claims, signed_as: None }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    pub(super) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Signs by another algorithm than the header says.
    pub(super) fn signed_as(mut self, algorithm: &'static str) -> Self {
        self.signed_as = Some(algorithm);
        self
    }

    pub(super) fn header_text(&self) -> String {
        Value::Object(self.header.clone()).to_string()
    }

    pub(super) fn claims_text(&self) -> String {
        Value::Object(self.claims.clone()).to_string()
    }

    pub(super) fn token(&self) -> String {
        self.token_of(&self.header_text(), &self.claims_text())
    }

    /// Signs these very texts.
    pub(super) fn token_of(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        let algorithm = self.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let signature = self.key.sign(self.signed_as.unwrap_or(algorithm), signed.as_bytes());
        format!("{signed}.{}", b64(signature))
    }
}
