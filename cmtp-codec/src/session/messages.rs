//! What the messages of the handshake say.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use cmtp_spec::limits;
use data_encoding::BASE64URL_NOPAD;
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::Digest;
use crate::key::PublicKey;
use crate::object::{Object, given, given_object, object, objects};
use crate::pattern::{Pattern, PatternError, Scope, TooManyPatterns};
use crate::session::Transcript;

/// A message of the handshake.
pub trait Message: Serialize + DeserializeOwned {
    /// The bytes that travel.
    fn to_bytes(&self) -> Vec<u8> {
        // A structure of texts and numbers is always JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// [SES-6] Reads a message: an object with no other member, none twice, none missing.
    ///
    /// # Errors
    /// [`MessageError`].
    fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() as u64 > limits::SESSION_MESSAGE_MAX {
            return Err(MessageError::TooLong { length: bytes.len() });
        }
        let Object(message) = serde_json::from_slice::<Object<Self>>(bytes)?;
        message.check().map_err(MessageError::Bounds)?;
        Ok(message)
    }

    /// What its members must hold beside their types.
    #[doc(hidden)]
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

/// Why bytes are no such message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Longer than `session-message-max`.
    #[error("{length} bytes, and a message has {} at most", limits::SESSION_MESSAGE_MAX)]
    TooLong {
        /// Its bytes.
        length: usize,
    },
    /// Not the object that it should be.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A list that is too long, empty or out of order, or a number that is too great.
    #[error("{0}")]
    Bounds(&'static str),
}

/// 32 bytes as base64url without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random(pub [u8; 32]);

/// hello: who wants a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The versions that the client speaks, ascending.
    pub versions: Vec<u64>,
    /// Who it is for.
    #[serde(with = "did")]
    pub persona: PublicKey,
    /// Of the client.
    pub nonce: Random,
}

/// call: what the node asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The highest version that both have.
    pub version: u64,
    /// The node's root key.
    #[serde(with = "did")]
    pub node: PublicKey,
    /// Of the node.
    pub nonce: Random,
    /// What it asks for.
    #[serde(deserialize_with = "objects")]
    pub asks: Vec<Ask>,
}

/// One thing that a node asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// `recovery`, or `issuer:NAME`.
    pub what: String,
    /// Whether there is no session without it.
    pub required: bool,
}

/// answer: what the persona gives and wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// What is wanted at most; without it all that the node offers.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given_object")]
    pub scope: Option<ScopeTexts>,
    /// The commitment to a recovery key.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub recovery: Option<Random>,
    /// Tokens of outside issuers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<String>,
}

/// confirm: what the node offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Confirm {
    /// What tokens of the grant will cover.
    #[serde(deserialize_with = "object")]
    pub scope: ScopeTexts,
    /// The groups that policies see.
    pub groups: Vec<String>,
    /// The attributes that policies see.
    #[serde(deserialize_with = "once")]
    pub attributes: BTreeMap<String, String>,
    /// How long the grant will last.
    pub grant_seconds: u64,
    /// How long each token of it will.
    pub token_seconds: u64,
}

/// What a consent made, as the node keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Granted {
    /// Whose it is.
    #[serde(with = "did")]
    pub persona: PublicKey,
    /// What its tokens cover.
    #[serde(deserialize_with = "object")]
    pub scope: ScopeTexts,
    /// The groups that policies see.
    pub groups: Vec<String>,
    /// The attributes that policies see.
    #[serde(deserialize_with = "once")]
    pub attributes: BTreeMap<String, String>,
    /// The commitment to a recovery key.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub recovery: Option<Random>,
    /// Its first second, since 1970.
    pub begun: u64,
    /// The first second after it.
    pub ends: u64,
    /// How long each token lives, in seconds.
    pub token_seconds: u64,
}

/// consent: the persona agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// Always true.
    pub consents: bool,
}

/// A token of a grant.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// Of which grant it is.
    pub grant: GrantName,
    /// The first second after the grant, since 1970.
    pub ends: u64,
}

/// renew: another token of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// Which grant.
    pub grant: GrantName,
}

/// Patterns as texts, each parsed when a [`Scope`] is made of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeTexts {
    /// For reads.
    pub read: Vec<String>,
    /// For writes.
    pub write: Vec<String>,
}

/// The name of a grant: 16 bytes, shown as 22 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantName(pub [u8; 16]);

impl Message for Hello {
    fn check(&self) -> Result<(), &'static str> {
        let ascends = self.versions.windows(2).all(|pair| pair[0] < pair[1]);
        match self.versions.len() {
            1..=VERSIONS_MAX if ascends => exact(&self.versions),
            _ => Err("versions: expected 1 to 16 numbers, ascending"),
        }
    }
}

impl Message for Call {
    fn check(&self) -> Result<(), &'static str> {
        match self.asks.len() as u64 {
            0..=limits::SESSION_ASKS_MAX => exact(&[self.version]),
            _ => Err("asks: too many"),
        }
    }
}

impl Message for Answer {
    fn check(&self) -> Result<(), &'static str> {
        match self.outside.len() as u64 {
            0..=limits::OUTSIDE_TOKENS_MAX => Ok(()),
            _ => Err("outside: too many tokens"),
        }
    }
}

impl Message for Consent {
    fn check(&self) -> Result<(), &'static str> {
        if self.consents { Ok(()) } else { Err("consents: expected true") }
    }
}

impl Message for Confirm {
    fn check(&self) -> Result<(), &'static str> {
        exact(&[self.grant_seconds, self.token_seconds])
    }
}

impl Message for Granted {
    fn check(&self) -> Result<(), &'static str> {
        exact(&[self.begun, self.ends, self.token_seconds])
    }
}

impl Message for Issued {
    fn check(&self) -> Result<(), &'static str> {
        exact(&[self.ends])
    }
}

impl Message for Renew {}

impl Consent {
    /// The one consent that there is.
    pub const GIVEN: Self = Self { consents: true };
}

impl ScopeTexts {
    /// Reads the patterns.
    ///
    /// # Errors
    /// [`ScopeError`].
    pub fn parse(&self) -> Result<Scope, ScopeError> {
        let parse = |texts: &[String]| texts.iter().map(|text| Pattern::parse(text)).collect();
        let read: Result<Vec<_>, _> = parse(&self.read);
        Ok(Scope::new(read?, parse(&self.write)?)?)
    }
}

impl From<&Scope> for ScopeTexts {
    fn from(scope: &Scope) -> Self {
        let spell = |patterns: &[Pattern]| patterns.iter().map(Pattern::to_string).collect();
        Self { read: spell(scope.read()), write: spell(scope.write()) }
    }
}

/// Why texts are no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// One is no pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// There are too many.
    #[error(transparent)]
    TooMany(#[from] TooManyPatterns),
}

impl GrantName {
    /// [SES-11] The first 16 bytes of th_5.
    pub fn of(consent: Transcript) -> Self {
        let mut name = [0; 16];
        name.copy_from_slice(&consent.hash().0[..16]);
        Self(name)
    }

    /// The grant of a session token's `jti`: `G` or `G.N`.
    pub fn of_jti(jti: &str) -> Option<Self> {
        let (name, number) = jti.split_once('.').map_or((jti, None), |(name, n)| (name, Some(n)));
        let is_number = |n: &str| n.parse::<u64>().is_ok_and(|parsed| parsed.to_string() == n);
        number.is_none_or(is_number).then(|| name.parse().ok())?
    }
}

impl fmt::Display for GrantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl FromStr for GrantName {
    type Err = NotAGrant;

    fn from_str(text: &str) -> Result<Self, NotAGrant> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_base64| NotAGrant)?;
        bytes.try_into().map(Self).map_err(|_length| NotAGrant)
    }
}

/// A text that names no grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a grant's name has 22 letters, digits, - and _")]
pub struct NotAGrant;

impl From<Digest> for Random {
    fn from(digest: Digest) -> Self {
        Self(digest.0)
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("grant", &self.grant).field("ends", &self.ends).finish()
    }
}

impl Serialize for Random {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Random {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| D::Error::custom("expected 32 bytes as base64url"))
    }
}

impl Serialize for GrantName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GrantName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

mod did {
    use super::{Deserialize, Deserializer, Error, PublicKey, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &PublicKey, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(key)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PublicKey, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// [SES-6] A map that has no name twice.
fn once<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Once;

    impl<'de> Visitor<'de> for Once {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of texts")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut read = BTreeMap::new();
            while let Some((name, value)) = map.next_entry()? {
                if read.insert(name, value).is_some() {
                    return Err(A::Error::custom("a name stands twice"));
                }
            }
            Ok(read)
        }
    }

    from.deserialize_map(Once)
}

/// Numbers that every reader of JSON has exactly.
fn exact(numbers: &[u64]) -> Result<(), &'static str> {
    let is_exact = numbers.iter().all(|&number| number < NUMBER_END);
    if is_exact { Ok(()) } else { Err("expected numbers below 2^53") }
}

const VERSIONS_MAX: usize = 16;
const NUMBER_END: u64 = 1 << 53;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    fn persona() -> PublicKey {
        SigningKey::from_seed(&[7; 32]).unwrap().public()
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let hello = Hello { versions: vec![0], persona: persona(), nonce: Random([1; 32]) };
        assert_eq!(Hello::from_bytes(&hello.to_bytes()).unwrap(), hello);
        assert_eq!(Answer::from_bytes(b"{}").unwrap(), Answer::default());
        assert_eq!(Consent::from_bytes(&Consent::GIVEN.to_bytes()).unwrap(), Consent::GIVEN);
    }

    #[test]
    fn what_is_no_such_object_is_refused() {
        // [SES-6]
        let did = persona();
        let nonce = "A".repeat(43);
        let good = format!(r#"{{"versions":[0],"persona":"{did}","nonce":"{nonce}"}}"#);
        assert!(Hello::from_bytes(good.as_bytes()).is_ok());
        let bad = [
            good.replace(r#","nonce""#, r#","more":1,"nonce""#),
            good.replace(r#""versions":[0],"#, r#""versions":[0],"versions":[0],"#),
            good.replace(r#""versions":[0],"#, ""),
            good.replace("[0]", "[]"),
            good.replace("[0]", "[1,0]"),
            good.replace("[0]", "[0,0]"),
            good.replace("[0]", "[-1]"),
            good.replace("[0]", "[0.0]"),
            good.replace("[0]", "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]"),
            good.replace(&nonce, &"A".repeat(42)),
            good.replace(&nonce, &format!("{nonce}=")),
            good.replace(&nonce, &format!("{}B", &nonce[1..])),
            good.replace("did:key:", "did:web:"),
            format!("{good} x"),
            format!("[{good}]"),
            " ".repeat(32_769),
            String::new(),
        ];
        for bad in bad {
            assert!(Hello::from_bytes(bad.as_bytes()).is_err(), "{bad}");
        }
        let confirm = r#"{"scope":{"read":[],"write":[]},"groups":[],"attributes":{"a":"1","a":"2"},"grant-seconds":1,"token-seconds":1}"#;
        assert!(Confirm::from_bytes(confirm.as_bytes()).is_err());
        assert!(Confirm::from_bytes(confirm.replace(r#","a":"2""#, "").as_bytes()).is_ok());
        assert!(Consent::from_bytes(br#"{"consents":false}"#).is_err());
    }

    #[test]
    fn a_jti_names_its_grant() {
        // [SES-11]
        let name = GrantName([5; 16]);
        assert_eq!(GrantName::of_jti(&name.to_string()), Some(name));
        assert_eq!(GrantName::of_jti(&format!("{name}.17")), Some(name));
        for other in
            ["op.x", "", "x", &format!("{name}.017"), &format!("{name}.x"), &format!("{name}.1.2")]
        {
            assert_eq!(GrantName::of_jti(other), None, "{other}");
        }
    }
}
