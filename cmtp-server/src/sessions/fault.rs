//! Why a message of the handshake is refused. Stays in the node: `[STA-3]`.

use cmtp_spec::{Status, limits, remedies};

use crate::issuers::IssuerError;
use crate::refusal::Refusal;

/// Why a message of the handshake is refused; the wire shows status and remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SessionFault {
    /// This node opens no sessions.
    #[error("this node opens no sessions")]
    Closed,
    /// AUTH stands on its stream.
    #[error("AUTH stands on the stream")]
    Auth,
    /// Too many from one address.
    #[error("too many from this address")]
    Rate,
    /// Not the object that it should be.
    #[error("not the message that it should be")]
    Malformed,
    /// No version that both have.
    #[error("no version that both have")]
    Version,
    /// The origin is by another than the persona.
    #[error("the origin is not by the persona")]
    Persona,
    /// No cookie, or none of this node.
    #[error("not a cookie of this node's for this connection, persona and step")]
    Cookie,
    /// A cookie that is too old.
    #[error("the cookie is too old")]
    CookieOld,
    /// The signature over the transcript.
    #[error("the signature does not hold over this connection's transcript")]
    Signature,
    /// The wanted scope.
    #[error("the wanted scope is malformed or too large")]
    Scope,
    /// Something required is not given.
    #[error("something that is required is missing")]
    Missing,
    /// A token of an outside issuer.
    #[error("a token of an outside issuer: {0}")]
    Outside(IssuerError),
    /// The grant does not last.
    #[error("the grant has ended, was revoked or is another's")]
    Grant,
    /// The persona was revoked.
    #[error("the persona was revoked by its recovery key")]
    Stolen,
    /// Not the key that the persona committed to.
    #[error("the persona did not commit to this recovery key")]
    Recovery,
    /// No room for another grant.
    #[error("no room for another grant")]
    Full,
    /// One of the checks that every origin passes.
    #[error("a check of the origin")]
    Origin,
}

impl From<IssuerError> for SessionFault {
    fn from(error: IssuerError) -> Self {
        Self::Outside(error)
    }
}

impl SessionFault {
    /// The word under which such refusals are counted.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "session-closed",
            Self::Auth => "session-auth",
            Self::Rate => "session-rate",
            Self::Malformed => "session-malformed",
            Self::Version => "session-version",
            Self::Persona => "session-persona",
            Self::Cookie => "session-cookie",
            Self::CookieOld => "session-cookie-old",
            Self::Signature => "session-signature",
            Self::Scope => "session-scope",
            Self::Missing => "session-missing",
            Self::Outside(error) => error.word(),
            Self::Grant => "session-grant",
            Self::Stolen => "session-stolen",
            Self::Recovery => "session-recovery",
            Self::Full => "session-full",
            Self::Origin => "session-origin",
        }
    }

    /// What the peer is told.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Rate => {
                Refusal::new(Status::TOO_MANY_REQUESTS, "too many handshakes from this address")
                    .after(RATE_AFTER)
            }
            Self::Full => Refusal::new(Status::UNAVAILABLE, "this node keeps no more grants")
                .after(limits::GRANT_INTERVAL),
            Self::Version => {
                Refusal::new(Status::NOT_IMPLEMENTED, "no version of the handshake that both have")
            }
            Self::Closed => Refusal::new(
                Status::NOT_IMPLEMENTED,
                "this node opens no sessions; its operator grants tokens by hand",
            ),
            Self::Auth => Refusal::new(Status::BAD_REQUEST, "a handshake shows no token"),
            Self::Malformed | Self::Scope | Self::Missing | Self::Origin => {
                Refusal::new(Status::BAD_REQUEST, "the handshake's message is at fault")
            }
            _ => Refusal::new(Status::TOKEN_INVALID, "no session; begin the handshake anew")
                .with_remedy(remedies::CREATE_IDENTITY),
        }
    }
}

/// Seconds in which `session-rate` gives back some.
const RATE_AFTER: u64 = 1;
