//! The outside issuers that the node trusts, as the configuration file has them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use cmtp_spec::limits;
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};
use ureq::http::Uri;

use super::ConfigError;

/// An outside issuer that the node trusts: `cmtp-spec/spec/24-issuers.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// What its groups are called by: `NAME/group`.
    pub name: String,
    /// What its tokens have as `iss`.
    pub iss: String,
    /// What its tokens have as, or in, `aud`.
    pub audience: String,
    /// What its tokens may be signed with; never empty.
    pub algorithms: Vec<IssuerAlgorithm>,
    /// Where its keys are.
    pub jwks: KeySource,
    /// The claim that lists groups, as a path such as `realm_access.roles`.
    pub groups: Option<String>,
    /// Attributes of the grant, and the claim that each is.
    pub attributes: BTreeMap<String, String>,
    /// What ties a token to a persona.
    pub bind: Binding,
    /// How old a token may be, seconds since its `iat`.
    pub max_age: u64,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySource {
    /// In this file.
    File(PathBuf),
    /// At this URL: `https://`, or `http://` to a loopback address.
    Url(String),
}

/// What ties an outside token to a persona.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Binding {
    /// Its `nonce`, which is made of the persona's key.
    Nonce,
    /// Nothing: whoever has the token may show it.
    None,
}

/// An algorithm that an outside issuer's token may be signed with; none is that signs with a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuerAlgorithm(Algorithm);

impl IssuerAlgorithm {
    pub(crate) const fn jws(self) -> Algorithm {
        self.0
    }
}

impl FromStr for IssuerAlgorithm {
    type Err = IssuerSettingsError;

    fn from_str(text: &str) -> Result<Self, IssuerSettingsError> {
        // [ISS-5] `none`, and what signs with a secret that the node shares, MUST NOT be among these.
        let known = ALGORITHMS.into_iter().find(|known| Self(*known).to_string() == text);
        known.map(Self).ok_or_else(|| IssuerSettingsError::Algorithm { algorithm: text.to_owned() })
    }
}

impl fmt::Display for IssuerAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The library's names are those of RFC 7518 and RFC 8037.
        write!(f, "{:?}", self.0)
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct IssuerTable {
    name: String,
    iss: String,
    audience: String,
    algorithms: Vec<String>,
    jwks: String,
    groups: Option<String>,
    bind: Option<String>,
    max_age: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
}

impl IssuerTable {
    /// The settings, beside those of the issuers that stand before.
    pub(super) fn settings(self, before: &[IssuerSettings]) -> Result<IssuerSettings, ConfigError> {
        let name = self.name.clone();
        self.checked(before).map_err(|error| ConfigError::Issuer { name, error })
    }

    fn checked(self, before: &[IssuerSettings]) -> Result<IssuerSettings, IssuerSettingsError> {
        if before.len() >= ISSUERS_MAX {
            return Err(IssuerSettingsError::TooMany);
        }
        if !is_name(&self.name, NAME_MAX, b"-") {
            return Err(IssuerSettingsError::Name);
        }
        if before.iter().any(|other| other.name == self.name) {
            return Err(IssuerSettingsError::Twice { key: "name" });
        }
        if before.iter().any(|other| other.iss == self.iss) {
            return Err(IssuerSettingsError::Twice { key: "iss" });
        }
        for (key, value) in [("iss", &self.iss), ("audience", &self.audience)] {
            if value.is_empty() || value.len() > TEXT_MAX {
                return Err(IssuerSettingsError::Text { key });
            }
        }
        if self.algorithms.is_empty() {
            return Err(IssuerSettingsError::NoAlgorithms);
        }
        if self.attributes.len() as u64 > limits::ATTRIBUTES_MAX {
            return Err(IssuerSettingsError::Attributes);
        }
        for (attribute, claim) in &self.attributes {
            if !is_name(attribute, NAME_MAX, b"-_") {
                return Err(IssuerSettingsError::Attribute { attribute: attribute.clone() });
            }
            check_claim(claim)?;
        }
        self.groups.as_deref().map(check_claim).transpose()?;
        let max_age = self.max_age.unwrap_or(limits::OUTSIDE_AGE);
        if !(1..=AGE_MAX).contains(&max_age) {
            return Err(IssuerSettingsError::MaxAge { max_age });
        }
        Ok(IssuerSettings {
            algorithms: self.algorithms.iter().map(|it| it.parse()).collect::<Result<_, _>>()?,
            jwks: self.jwks.parse()?,
            bind: self.bind.as_deref().map_or(Ok(Binding::Nonce), str::parse)?,
            name: self.name,
            iss: self.iss,
            audience: self.audience,
            groups: self.groups,
            attributes: self.attributes,
            max_age,
        })
    }
}

impl From<&IssuerSettings> for IssuerTable {
    fn from(settings: &IssuerSettings) -> Self {
        Self {
            name: settings.name.clone(),
            iss: settings.iss.clone(),
            audience: settings.audience.clone(),
            algorithms: settings.algorithms.iter().map(ToString::to_string).collect(),
            jwks: settings.jwks.to_string(),
            groups: settings.groups.clone(),
            bind: Some(settings.bind.to_string()),
            max_age: Some(settings.max_age),
            attributes: settings.attributes.clone(),
        }
    }
}

impl FromStr for KeySource {
    type Err = IssuerSettingsError;

    fn from_str(text: &str) -> Result<Self, IssuerSettingsError> {
        let bad = || IssuerSettingsError::Jwks { jwks: text.to_owned() };
        if text.is_empty() {
            return Err(bad());
        }
        if !text.contains("://") {
            return Ok(Self::File(PathBuf::from(text)));
        }
        let url: Uri = text.parse().map_err(|_no_url| bad())?;
        // What the configuration says is journalled, and nobody's password with it.
        let is_plain = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let host = url.host().unwrap_or_default();
        // [ISS-9] A key set by URL MUST come over TLS … unless the URL names a loopback address.
        let is_safe = match url.scheme_str() {
            Some("https") => !host.is_empty(),
            Some("http") => is_loopback(host),
            _ => false,
        };
        if is_plain && is_safe { Ok(Self::Url(text.to_owned())) } else { Err(bad()) }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(url),
        }
    }
}

impl FromStr for Binding {
    type Err = IssuerSettingsError;

    fn from_str(text: &str) -> Result<Self, IssuerSettingsError> {
        match text {
            "nonce" => Ok(Self::Nonce),
            "none" => Ok(Self::None),
            _ => Err(IssuerSettingsError::Bind { bind: text.to_owned() }),
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nonce => "nonce",
            Self::None => "none",
        })
    }
}

/// What is wrong with an issuer's settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerSettingsError {
    /// More than anybody has.
    #[error("there are {ISSUERS_MAX} issuers at most")]
    TooMany,
    /// A name that would not read well before a group.
    #[error(
        "a name is 1 to {NAME_MAX} of a-z, 0-9 and -, such as \"corp\"; groups become corp/GROUP"
    )]
    Name,
    /// Two that could not be told apart.
    #[error("there is another issuer with this {key}; each has its own")]
    Twice {
        /// What they share.
        key: &'static str,
    },
    /// No text, or a very long one.
    #[error("{key} is a text of 1 to {TEXT_MAX} bytes, as the issuer's tokens have it")]
    Text {
        /// The key.
        key: &'static str,
    },
    /// Nothing that a token may be signed with.
    #[error("algorithms names none; name what the issuer signs with, such as [\"RS256\"]")]
    NoAlgorithms,
    /// An algorithm that is not taken.
    #[error(
        "algorithm {algorithm:?}: expected RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA; with \"none\" \
         anybody could make tokens, and with HS256 and its like whoever checks them"
    )]
    Algorithm {
        /// What was given.
        algorithm: String,
    },
    /// Where no keys can be had safely.
    #[error(
        "jwks {jwks:?}: expected a file, or https://HOST/PATH without a password; http:// to a loopback address only"
    )]
    Jwks {
        /// What was given.
        jwks: String,
    },
    /// No claim has such a name.
    #[error(
        "a claim's name has 1 to {TEXT_MAX} bytes, such as \"groups\" or \"realm_access.roles\""
    )]
    Claim,
    /// An attribute that policies could not name.
    #[error(
        "attribute {attribute:?}: expected 1 to {NAME_MAX} of a-z, 0-9, - and _, such as department"
    )]
    Attribute {
        /// What was given.
        attribute: String,
    },
    /// More than a grant may have.
    #[error("there are {} attributes at most", limits::ATTRIBUTES_MAX)]
    Attributes,
    /// A binding that there is not.
    #[error(
        "bind {bind:?}: expected \"nonce\" (a token is for one persona), or \"none\" (whoever has it may show it)"
    )]
    Bind {
        /// What was given.
        bind: String,
    },
    /// No age, or an age at which a token says nothing any more.
    #[error("max-age {max_age}: choose 1 to {AGE_MAX} seconds")]
    MaxAge {
        /// What was given.
        max_age: u64,
    },
}

fn is_name(text: &str, max: usize, others: &[u8]) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=max).contains(&text.len()) && text.bytes().all(|it| is_plain(it) || others.contains(&it))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn check_claim(claim: &str) -> Result<(), IssuerSettingsError> {
    if claim.is_empty() || claim.len() > TEXT_MAX {
        Err(IssuerSettingsError::Claim)
    } else {
        Ok(())
    }
}

const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// A thread each, where their keys have a URL.
const ISSUERS_MAX: usize = 16;
/// Characters of a name: chapter 24.
const NAME_MAX: usize = 32;
/// Far longer than any URL that is an issuer's name.
const TEXT_MAX: usize = 1024;
/// A day: groups change.
const AGE_MAX: u64 = 86_400;
