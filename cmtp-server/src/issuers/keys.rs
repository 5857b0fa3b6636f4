//! The key set of an issuer: which of its keys can be used, and which one a token names.

use std::fmt;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use cmtp_codec::{PublicKey, SignatureError};
use cmtp_spec::limits;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::error::{IssuerError, IssuerRefusal};
use super::json;
use super::source::KeySetError;
use super::token::OutsideToken;
use crate::config::IssuerAlgorithm;

/// Keys that tokens may be signed with.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    usable: Vec<Key>,
    listed: Vec<ListedJwk>,
}

/// A key that fits the algorithms of its family.
struct Key {
    kid: Option<String>,
    family: Family,
    /// Its own, where it has one.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// One key of a set, as it is shown to who runs the node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListedJwk {
    /// Its `kid`.
    pub kid: Option<String>,
    /// Its `kty`, and its `crv` or size.
    pub kind: String,
    /// Its own `alg`.
    pub algorithm: Option<String>,
    /// Why it is passed over; none where it can be used.
    pub trouble: Option<KeyTrouble>,
}

/// What an algorithm needs of a key: the table of chapter 24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Family {
    const fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => Some(Self::Rsa),
            Algorithm::ES256 => Some(Self::P256),
            Algorithm::ES384 => Some(Self::P384),
            Algorithm::EdDSA => Some(Self::Ed25519),
            // What signs with a shared secret, and what comes in a later version of the library.
            _ => None,
        }
    }
}

impl KeySet {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        // [ISS-8] A node MUST refuse a key set of more than `jwks-max` bytes or `jwks-keys-max` keys.
        if bytes.len() as u64 > limits::JWKS_MAX {
            return Err(KeySetError::TooLong);
        }
        let mut set = json::object(bytes).map_err(KeySetError::Json)?;
        let Some(Value::Array(keys)) = set.remove("keys") else {
            return Err(KeySetError::NoList);
        };
        if keys.len() as u64 > limits::JWKS_KEYS_MAX {
            return Err(KeySetError::TooMany { count: keys.len() });
        }
        let mut read = Self::default();
        for key in keys {
            let text = |name| key.get(name).and_then(Value::as_str).map(str::to_owned);
            let kind = [text("kty"), text("crv")].into_iter().flatten().collect::<Vec<_>>();
            let (kid, algorithm, mut kind) = (text("kid"), text("alg"), kind.join(" "));
            let trouble = match Key::read(key) {
                Ok(key) => {
                    kind = key.shown_kind(kind);
                    read.usable.push(key);
                    None
                }
                Err(trouble) => Some(trouble),
            };
            read.listed.push(ListedJwk { kid, kind, algorithm, trouble });
        }
        Ok(read)
    }

    /// The same, with the keys that none of an issuer's algorithms uses listed as passed over.
    pub(super) fn for_algorithms(mut self, algorithms: &[IssuerAlgorithm]) -> Self {
        let listed = self.listed.iter_mut().filter(|listed| listed.trouble.is_none());
        for (listed, key) in listed.zip(&self.usable) {
            // [ISS-5] `alg` MUST be one of the issuer's algorithms.
            if !algorithms.iter().any(|it| key.fits(it.jws())) {
                listed.trouble = Some(KeyTrouble::NotAsked);
            }
        }
        self
    }

    pub(super) fn listed(&self) -> &[ListedJwk] {
        &self.listed
    }

    /// How many can be used.
    pub(super) fn len(&self) -> usize {
        self.usable.len()
    }

    /// Checks the signature of a token, by the one key that it names.
    pub(super) fn verify(
        &self,
        token: &OutsideToken<'_>,
        algorithm: Algorithm,
    ) -> Result<(), IssuerRefusal> {
        let key = self.named(token.kid.as_deref(), algorithm)?;
        let message = token.signed.as_bytes();
        match jsonwebtoken::crypto::verify(token.signature, message, &key.key, algorithm) {
            Ok(true) => Ok(()),
            // The library fails only where key and algorithm don't fit, and they do.
            Ok(false) | Err(_) => {
                Err(IssuerError::Signature.on(format_args!("{key:?}, {algorithm:?}")))
            }
        }
    }

    fn named(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, IssuerRefusal> {
        // [ISS-6] The one whose `kid` is the token's and which fits `alg`; for a token without `kid` the only one.
        let Some(kid) = kid else {
            let [key] = self.usable.as_slice() else {
                let count = self.usable.len();
                return Err(IssuerError::KeyNotNamed.on(format_args!("it has {count}")));
            };
            return if key.fits(algorithm) {
                Ok(key)
            } else {
                Err(IssuerError::KeyMismatch.on(format_args!("{key:?}, {algorithm:?}")))
            };
        };
        let of_name: Vec<&Key> =
            self.usable.iter().filter(|key| key.kid.as_deref() == Some(kid)).collect();
        let fitting: Vec<&Key> = of_name.iter().copied().filter(|it| it.fits(algorithm)).collect();
        match (of_name.as_slice(), fitting.as_slice()) {
            ([], _) => Err(match self.listed.iter().find(|it| it.kid.as_deref() == Some(kid)) {
                Some(ListedJwk { trouble: Some(trouble), .. }) => IssuerError::UnknownKey
                    .on(format_args!("kid {kid:?} is passed over: {trouble}")),
                _ => IssuerError::UnknownKey.on(format_args!("kid {kid:?}")),
            }),
            (_, [key]) => Ok(key),
            ([key, ..], []) => {
                Err(IssuerError::KeyMismatch.on(format_args!("{key:?}, {algorithm:?}")))
            }
            _ => Err(IssuerError::KeyAmbiguous.on(format_args!("kid {kid:?}"))),
        }
    }
}

impl Key {
    fn read(key: Value) -> Result<Self, KeyTrouble> {
        // [ISS-7] A node MUST NOT use a key which holds its secret.
        if ["d", "k"].iter().any(|secret| key.get(secret).is_some()) {
            return Err(KeyTrouble::Secret);
        }
        let key: Jwk = serde_json::from_value(key).map_err(|_json| KeyTrouble::Malformed)?;
        // [ISS-7] A key whose `use` is not `sig`, whose `key_ops` lacks `verify`.
        if key.common.public_key_use.is_some_and(|it| it != PublicKeyUse::Signature) {
            return Err(KeyTrouble::Use);
        }
        if key.common.key_operations.is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
            return Err(KeyTrouble::Operations);
        }
        let (family, decoded) = public_key(&key.algorithm)?;
        let algorithm = match key.common.key_algorithm {
            None => None,
            Some(own) => Some(Algorithm::try_from(own).map_err(|_other| KeyTrouble::Algorithm)?),
        };
        if algorithm.is_some_and(|own| Family::of(own) != Some(family)) {
            return Err(KeyTrouble::Algorithm);
        }
        Ok(Self { kid: key.common.key_id, family, algorithm, key: decoded })
    }

    /// [ISS-7] `kty` and `crv` are those of the table, and its own `alg`, if it has one, is that algorithm.
    fn fits(&self, algorithm: Algorithm) -> bool {
        Family::of(algorithm) == Some(self.family)
            && self.algorithm.is_none_or(|own| own == algorithm)
    }

    fn shown_kind(&self, kind: String) -> String {
        match self.key.kind() {
            jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, .. } => {
                format!("{kind} {}", bits(n))
            }
            jsonwebtoken::DecodingKeyKind::SecretOrDer(_) => kind,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kid, family) = (self.kid.as_deref().unwrap_or_default(), self.family);
        match self.algorithm {
            Some(own) => write!(f, "kid {kid:?} ({family:?}, for {own:?} only)"),
            None => write!(f, "kid {kid:?} ({family:?})"),
        }
    }
}

/// Why a key of a set is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyTrouble {
    /// Members are missing, or of another type.
    #[error("it is no JWK")]
    Malformed,
    /// `d` or `k`.
    #[error(
        "it holds its secret, which everybody who reads the set then has: publish public keys only, and make new ones"
    )]
    Secret,
    /// `use`.
    #[error("use is not sig")]
    Use,
    /// `key_ops`.
    #[error("key_ops lacks verify")]
    Operations,
    /// `alg`.
    #[error("its alg is none that such a key signs tokens with")]
    Algorithm,
    /// The configuration's `algorithms`.
    #[error("none of the algorithms that the configuration allows this issuer uses it")]
    NotAsked,
    /// `kty` or `crv`.
    #[error("no such keys sign tokens here; RSA, EC P-256 and P-384, and OKP Ed25519 do")]
    Kind,
    /// A number is not what it should be.
    #[error("a number in it is not base64url, or not of the length that it has to be")]
    Number,
    /// RSA.
    #[error("an RSA key of {bits} bits; 2,048 to 8,192 are taken")]
    RsaSize {
        /// Bits of its modulus.
        bits: usize,
    },
    /// RSA, signatures by which anybody could make.
    #[error("its exponent is 1 or even")]
    Exponent,
    /// EC.
    #[error("it is no point of its curve")]
    Point,
    /// Ed25519.
    #[error("{0}")]
    Ed25519(SignatureError),
}

fn public_key(key: &AlgorithmParameters) -> Result<(Family, DecodingKey), KeyTrouble> {
    match key {
        AlgorithmParameters::RSA(rsa) => {
            let (n, e) = (number(&rsa.n)?, number(&rsa.e)?);
            let n: Vec<u8> = n.into_iter().skip_while(|byte| *byte == 0).collect();
            let bits = bits(&n);
            // [ISS-7] An RSA key of less than 2,048 or more than 8,192 bits.
            if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                return Err(KeyTrouble::RsaSize { bits });
            }
            // [ISS-7] An exponent that is 1 or even.
            let is_one = e.iter().rev().skip(1).all(|byte| *byte == 0) && e.last() == Some(&1);
            if is_one || e.last().is_none_or(|last| last % 2 == 0) {
                return Err(KeyTrouble::Exponent);
            }
            Ok((Family::Rsa, DecodingKey::from_rsa_raw_components(&n, &e)))
        }
        AlgorithmParameters::EllipticCurve(ec) => {
            let (family, size, algorithm): (_, _, &'static dyn VerificationAlgorithm) =
                match ec.curve {
                    EllipticCurve::P256 => (Family::P256, 32, &signature::ECDSA_P256_SHA256_FIXED),
                    EllipticCurve::P384 => (Family::P384, 48, &signature::ECDSA_P384_SHA384_FIXED),
                    _ => return Err(KeyTrouble::Kind),
                };
            let (x, y) = (number(&ec.x)?, number(&ec.y)?);
            if x.len() != size || y.len() != size {
                return Err(KeyTrouble::Number);
            }
            let point = [&[UNCOMPRESSED][..], &x, &y].concat();
            // [ISS-7] A point that is not on its curve.
            ParsedPublicKey::new(algorithm, &point).map_err(|_rejected| KeyTrouble::Point)?;
            Ok((family, DecodingKey::from_ec_der(&point)))
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            let key = number(&pair.x)?.try_into().map_err(|_length| KeyTrouble::Number)?;
            // [ISS-7] An Ed25519 key that chapter 5 refuses.
            PublicKey(key).check().map_err(KeyTrouble::Ed25519)?;
            Ok((Family::Ed25519, DecodingKey::from_ed_der(&key)))
        }
        _ => Err(KeyTrouble::Kind),
    }
}

fn number(text: &str) -> Result<Vec<u8>, KeyTrouble> {
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_malformed| KeyTrouble::Number)
}

/// Bits of a number that begins with no zero byte.
fn bits(number: &[u8]) -> usize {
    let first = number.first().map_or(0, |first| first.leading_zeros() as usize);
    (number.len() * 8).saturating_sub(first)
}

const RSA_BITS_MIN: usize = 2_048;
const RSA_BITS_MAX: usize = 8_192;
/// SEC 1, section 2.3.3.
const UNCOMPRESSED: u8 = 4;
