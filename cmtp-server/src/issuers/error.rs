//! Why an outside token is refused.

use std::fmt;

/// Why an outside token is not accepted. Stays in the node: `[ISS-15]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// Above `outside-token-max`.
    #[error("too long")]
    TooLong,
    /// Padding, stray bits, another alphabet, another number of parts.
    #[error("not three parts of canonical base64url")]
    Encoding,
    /// Header or claims.
    #[error("header or claims are no JSON object, or have a member twice")]
    Json,
    /// A member that would choose a key, or change what is signed.
    #[error("the header has a member that is never taken")]
    Header,
    /// Another kind of JWT.
    #[error("typ is neither JWT nor at+jwt")]
    Type,
    /// `iss`.
    #[error("from another issuer")]
    Issuer,
    /// `alg`.
    #[error("alg is not one of the issuer's algorithms")]
    Algorithm,
    /// None was got so far.
    #[error("the issuer's keys were not got yet")]
    NoKeys,
    /// `kid`.
    #[error("the issuer has no such key")]
    UnknownKey,
    /// No `kid`, and no only key.
    #[error("without kid, and the issuer has not exactly one key that can be used")]
    KeyNotNamed,
    /// The key is of another type, or for another algorithm.
    #[error("the key that is named does not fit alg")]
    KeyMismatch,
    /// Two keys would do.
    #[error("the issuer has several keys of this name that fit alg")]
    KeyAmbiguous,
    /// Not by the key.
    #[error("signed by another key")]
    Signature,
    /// `aud`.
    #[error("made for another audience")]
    Audience,
    /// `iat`, `exp`, `nbf`.
    #[error("times are missing, or no whole seconds")]
    Times,
    /// `exp`.
    #[error("expired")]
    Expired,
    /// `iat` or `nbf`.
    #[error("not valid yet; the clocks may differ")]
    NotYet,
    /// Older than `max-age`.
    #[error("made too long ago")]
    TooOld,
    /// `nonce`.
    #[error("its nonce is not that of the persona")]
    Nonce,
    /// The claim of groups.
    #[error("the claim of groups is no list of plain texts")]
    Groups,
    /// The claim of an attribute.
    #[error("the claim of an attribute is no plain text, whole number or boolean")]
    Attribute,
    /// More or longer ones than a grant may have.
    #[error("too many groups or attributes, or too long ones")]
    Excess,
    /// Two tokens of one issuer.
    #[error("the issuer has another token among those shown")]
    Repeated,
    /// Two issuers differ.
    #[error("two issuers differ in an attribute")]
    Conflict,
}

impl IssuerError {
    /// The word under which such refusals are counted.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooLong => "outside-too-long",
            Self::Encoding => "outside-encoding",
            Self::Json => "outside-json",
            Self::Header => "outside-header",
            Self::Type => "outside-type",
            Self::Issuer => "outside-issuer",
            Self::Algorithm => "outside-algorithm",
            Self::NoKeys => "outside-no-keys",
            Self::UnknownKey => "outside-unknown-key",
            Self::KeyNotNamed => "outside-key-not-named",
            Self::KeyMismatch => "outside-key-mismatch",
            Self::KeyAmbiguous => "outside-key-ambiguous",
            Self::Signature => "outside-signature",
            Self::Audience => "outside-audience",
            Self::Times => "outside-times",
            Self::Expired => "outside-expired",
            Self::NotYet => "outside-not-yet",
            Self::TooOld => "outside-too-old",
            Self::Nonce => "outside-nonce",
            Self::Groups => "outside-groups",
            Self::Attribute => "outside-attribute",
            Self::Excess => "outside-excess",
            Self::Repeated => "outside-repeated",
            Self::Conflict => "outside-conflict",
        }
    }

    /// With the values that it is about.
    pub(super) fn on(self, detail: impl fmt::Display) -> IssuerRefusal {
        let detail = detail.to_string();
        // What a token holds is said, and no more of it than a line.
        let end = detail.char_indices().nth(DETAIL_MAX).map_or(detail.len(), |(at, _)| at);
        let cut = if end < detail.len() { "…" } else { "" };
        let detail = format!("{}{cut}", detail.get(..end).unwrap_or_default());
        IssuerRefusal { error: self, detail }
    }
}

/// Why an outside token is not accepted, and on which values: for who runs the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerRefusal {
    /// Why.
    pub error: IssuerError,
    /// The values, some of them the token's; empty where there are none to show.
    pub detail: String,
}

impl From<IssuerError> for IssuerRefusal {
    fn from(error: IssuerError) -> Self {
        Self { error, detail: String::new() }
    }
}

impl fmt::Display for IssuerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => self.error.fmt(f),
            detail => write!(f, "{}: {detail}", self.error),
        }
    }
}

impl std::error::Error for IssuerRefusal {}

/// Characters.
const DETAIL_MAX: usize = 400;
