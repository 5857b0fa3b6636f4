//! Tokens: minting, and the one check that accepts them. `cmtp-spec/spec/10-admission.md`.

use std::time::Duration;

use cmtp_codec::object::{Object, object};
use cmtp_codec::session::{GrantName, ScopeTexts};
use cmtp_codec::{Fqmn, Pattern, PublicKey, Scope, SignatureError};
use cmtp_spec::{KeyUse, binding, limits};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::{Deserialize, Serialize};

use crate::node_keys::NodeKeys;

/// What a token is to allow.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who may use it.
    pub to: PublicKey,
    /// Which targets it covers.
    pub scope: Scope,
    /// How long it lives; whole seconds count.
    pub lifetime: Duration,
}

impl Grant {
    /// Makes the token, valid from `now` (seconds since 1970).
    ///
    /// # Errors
    /// [`MintError`].
    pub fn mint(&self, keys: &NodeKeys, now: u64) -> Result<String, MintError> {
        let lifetime = self.lifetime.as_secs();
        // [ADM-4] exp − iat MUST be at most `token-lifetime-max`.
        if lifetime == 0 || lifetime > limits::TOKEN_LIFETIME_MAX {
            return Err(MintError::Lifetime { lifetime });
        }
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_no_entropy| SignatureError::Mismatch)?;
        let id = format!("{}{}", binding::OPERATOR_TOKEN, BASE64URL_NOPAD.encode(&id));
        mint(keys, (&self.to, &self.scope), (now, now + lifetime), id)
    }
}

/// Makes a token for its holder and scope, valid in these times (seconds since 1970).
pub(crate) fn mint(
    keys: &NodeKeys,
    (to, scope): (&PublicKey, &Scope),
    (from, until): (u64, u64),
    id: String,
) -> Result<String, MintError> {
    let node = keys.public().to_string();
    let claims = Claims {
        iss: node.clone(),
        aud: node,
        sub: to.to_string(),
        iat: from,
        nbf: from,
        exp: until,
        jti: id,
        scope: ScopeTexts::from(scope),
        cnf: Confirmation { jwk: Jwk::of(to) },
    };
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(binding::TOKEN_TYPE.to_owned());
    header.kid = Some(keys.token_key().public().multibase());
    let signer = EncodingKey::from_ed_der(&keys.token_key().to_pkcs8()?);
    let token = jsonwebtoken::encode(&header, &claims, &signer)?;
    // [ADM-5] The token is at most `token-max` bytes.
    if token.len() as u64 > limits::TOKEN_MAX { Err(MintError::TooLong) } else { Ok(token) }
}

/// Why a token can't be minted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// None, or too long a life.
    #[error("a token lives 1 to {} seconds, not {lifetime}", limits::TOKEN_LIFETIME_MAX)]
    Lifetime {
        /// What was asked for, seconds.
        lifetime: u64,
    },
    /// The patterns are too long.
    #[error(
        "the token would be longer than {} bytes: use fewer or wider patterns",
        limits::TOKEN_MAX
    )]
    TooLong,
    /// The crypto library failed.
    #[error("token: {0}")]
    Crypto(#[from] SignatureError),
    /// The JWT library failed.
    #[error("token: {0}")]
    Jwt(#[from] jsonwebtoken::errors::Error),
}

/// A token that was checked: signature, issuer, audience, form. Expiry is asked for at each request.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) holder: PublicKey,
    id: String,
    kind: TokenKind,
    /// The node's key that signed it.
    key: PublicKey,
    scope: Scope,
    issued: u64,
    not_before: u64,
    expires: u64,
}

/// Where a token is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// The handshake: it is one of this grant.
    Session(GrantName),
    /// The node's operator, by hand.
    Operator,
}

impl Token {
    /// Checks a token that a peer showed; that the peer holds its key is another check.
    pub(crate) fn verify(token: &[u8], keys: &NodeKeys, now: u64) -> Result<Self, TokenError> {
        // [ADM-5] The token is at most `token-max` bytes.
        if token.len() as u64 > limits::TOKEN_MAX {
            return Err(TokenError::TooLong);
        }
        let text = std::str::from_utf8(token).map_err(|_not_utf8| TokenError::Encoding)?;
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Encoding);
        };
        let header = decode_part(header)?;
        let claims = decode_part(claims)?;
        decode_part(signature)?;
        let key = check_header(&header, keys, now)?;
        check_signature(text, &key)?;
        let Object(claims): Object<Claims> =
            serde_json::from_slice(&claims).map_err(|_foreign_claims| TokenError::Claims)?;
        claims.check(&keys.public())?.into_token(key)
    }

    /// Whether the token is valid at `now`, microseconds since 1970.
    pub(crate) fn is_valid_at(&self, now: u64) -> bool {
        // [ADM-4] A token is valid while nbf ≤ now < exp, without leeway.
        (self.not_before..self.expires).contains(&(now / 1_000_000))
    }

    /// Its `jti`.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) const fn kind(&self) -> TokenKind {
        self.kind
    }

    /// Its `iat`, seconds since 1970.
    pub(crate) const fn issued_at(&self) -> u64 {
        self.issued
    }

    /// [NKY-8] Whether the key that signed it is one of the node's token keys now.
    pub(crate) fn is_by(&self, keys: &NodeKeys, now: u64) -> bool {
        keys.list().allows(KeyUse::TOKEN, &self.key, now)
    }

    /// When it is not valid any more, microseconds since 1970.
    pub(crate) const fn expires_at(&self) -> u64 {
        self.expires.saturating_mul(1_000_000)
    }

    /// The pattern that covers `target`: `[ADM-7]`.
    pub(crate) fn covering<'a>(&'a self, target: &'a Fqmn) -> Option<&'a Pattern> {
        self.scope.covering(target).next()
    }
}

/// Why a token is not accepted. Stays in the node: `[STA-3]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Above `token-max`.
    #[error("too long")]
    TooLong,
    /// Padding, stray bits, another alphabet, another number of parts.
    #[error("not three parts of canonical base64url")]
    Encoding,
    /// Another member or value, a foreign `kid` among them.
    #[error("the header is not {{alg, typ, kid}} with our values")]
    Header,
    /// Signed by a key of the node that was replaced.
    #[error("signed by a key that was replaced")]
    Retired,
    /// Not by the node's token key.
    #[error("signed by another key")]
    Signature,
    /// One is missing, foreign or of another type.
    #[error("claims are missing, foreign or malformed")]
    Claims,
    /// `iss` or `aud`.
    #[error("issued by, or for, another node")]
    OtherNode,
    /// `cnf` and `sub` disagree.
    #[error("cnf is not the key of sub")]
    Confirmation,
    /// `iat`, `nbf` and `exp` among themselves.
    #[error("times out of order, or too long a life")]
    Times,
    /// `scope`.
    #[error("a scope pattern is malformed, or there are too many")]
    Scope,
}

impl TokenError {
    /// The word under which such refusals are counted.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooLong => "token-too-long",
            Self::Encoding => "token-encoding",
            Self::Header => "token-header",
            Self::Retired => "token-retired",
            Self::Signature => "token-signature",
            Self::Claims => "token-claims",
            Self::OtherNode => "token-other-node",
            Self::Confirmation => "token-confirmation",
            Self::Times => "token-times",
            Self::Scope => "token-scope",
        }
    }
}

/// [ADM-1] The header has these members and no other.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenHeader {
    alg: String,
    typ: String,
    kid: String,
}

/// [ADM-1] The claims are these and no other.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    #[serde(deserialize_with = "object")]
    scope: ScopeTexts,
    #[serde(deserialize_with = "object")]
    cnf: Confirmation,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    #[serde(deserialize_with = "object")]
    jwk: Jwk,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
}

impl Jwk {
    fn of(key: &PublicKey) -> Self {
        Self { kty: KEY_TYPE.into(), crv: CURVE.into(), x: BASE64URL_NOPAD.encode(&key.0) }
    }

    fn key(&self) -> Option<PublicKey> {
        let bytes = BASE64URL_NOPAD.decode(self.x.as_bytes()).ok()?;
        (self.kty == KEY_TYPE && self.crv == CURVE)
            .then_some(PublicKey(bytes.try_into().ok()?))
            .filter(|key| key.check().is_ok())
    }
}

impl Claims {
    fn check(self, node: &PublicKey) -> Result<Self, TokenError> {
        let node = node.to_string();
        // [ADM-2] `iss` and `aud` MUST both be the node's DID, `aud` a single text.
        if self.iss != node || self.aud != node {
            return Err(TokenError::OtherNode);
        }
        // [ADM-4] exp − iat MUST be at most `token-lifetime-max`, and iat ≤ nbf.
        let lifetime = self.exp.checked_sub(self.iat).ok_or(TokenError::Times)?;
        if lifetime > limits::TOKEN_LIFETIME_MAX || self.iat > self.nbf {
            return Err(TokenError::Times);
        }
        if self.jti.is_empty() || self.jti.chars().count() > JTI_MAX {
            return Err(TokenError::Claims);
        }
        Ok(self)
    }

    fn into_token(self, key: PublicKey) -> Result<Token, TokenError> {
        let holder = self.cnf.jwk.key().ok_or(TokenError::Confirmation)?;
        // [ADM-3] The key of `cnf` MUST be the key of `sub`.
        if self.sub.parse() != Ok(holder) {
            return Err(TokenError::Confirmation);
        }
        // [ADM-6] A token MUST NOT hold more than `scope-patterns-max` patterns.
        let scope = self.scope.parse().map_err(|_malformed| TokenError::Scope)?;
        // Chapter 10: a session's, or the operator's.
        let kind = match GrantName::of_jti(&self.jti) {
            Some(grant) => TokenKind::Session(grant),
            None if self.jti.starts_with(binding::OPERATOR_TOKEN) => TokenKind::Operator,
            None => return Err(TokenError::Claims),
        };
        let (id, issued) = (self.jti, self.iat);
        let (not_before, expires) = (self.nbf, self.exp);
        Ok(Token { holder, id, kind, key, scope, issued, not_before, expires })
    }
}

fn decode_part(part: &str) -> Result<Vec<u8>, TokenError> {
    // [ADM-5] All three parts MUST be canonical base64url without padding; this decoder refuses stray bits.
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_malformed| TokenError::Encoding)
}

/// The key that the header names.
fn check_header(header: &[u8], keys: &NodeKeys, now: u64) -> Result<PublicKey, TokenError> {
    let Object(header): Object<TokenHeader> =
        serde_json::from_slice(header).map_err(|_foreign_member| TokenError::Header)?;
    // [ADM-1] Other members, other values, or a `kid` that is not one of its own token keys.
    if header.alg != binding::TOKEN_ALGORITHM || header.typ != binding::TOKEN_TYPE {
        return Err(TokenError::Header);
    }
    let listed = keys.list().keys.iter().filter(|listed| listed.key_use == KeyUse::TOKEN);
    let mut named = listed.filter(|listed| listed.key.multibase() == header.kid);
    let key = named.next().ok_or(TokenError::Header)?.key;
    // [NKY-8] A token whose key the list does not have as valid now MUST be refused.
    keys.list().allows(KeyUse::TOKEN, &key, now).then_some(key).ok_or(TokenError::Retired)
}

fn check_signature(token: &str, key: &PublicKey) -> Result<(), TokenError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Encoding)?;
    let verifier = DecodingKey::from_ed_der(&key.0);
    // The signature and nothing else: the library's checks of claims allow leeway and lists; here they are checked to the
    // second and to the letter.
    let algorithm = Algorithm::EdDSA;
    match jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &verifier, algorithm) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(TokenError::Signature),
    }
}

const KEY_TYPE: &str = "OKP";
const CURVE: &str = "Ed25519";
/// Characters of a `jti`: chapter 10.
pub(crate) const JTI_MAX: usize = 64;

#[cfg(test)]
mod tests;
