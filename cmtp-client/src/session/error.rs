//! Why no session was opened.

use cmtp_codec::session::MessageError;
use cmtp_spec::Status;

use crate::call::CallError;
use crate::client::ConnectError;
use crate::entropy::NoEntropy;

/// Why no session was opened or renewed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// There is no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The connection can't carry a handshake.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The node refuses.
    #[error("the node refuses: {} {status}{}", status.0, said(detail.as_deref()))]
    Refused {
        /// With what.
        status: Status,
        /// A sentence for a person.
        detail: Option<String>,
    },
    /// What the node sent is no message of the handshake.
    #[error("the node's message can't be read: {0}")]
    Malformed(#[from] MessageError),
    /// The node's signature over the handshake is missing or does not hold.
    #[error(
        "the node did not sign this handshake: somebody may stand between, or the node is broken"
    )]
    Signature,
    /// The message names another node, or a version that was not offered.
    #[error("the node's message is not one of this handshake")]
    Foreign,
    /// The node demands what is not given.
    #[error("the node demands {what}, which is not given")]
    Required {
        /// What it asks for.
        what: String,
    },
    /// The offer is wider than what was wanted.
    #[error("the node offers more than was asked for")]
    Wider,
    /// The token is none, or somebody else's.
    #[error("the node's token is none, or somebody else's")]
    Token,
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

impl LoginError {
    /// Whether the same may work later.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Call(error) => error.is_retryable(),
            Self::Connect(error) => error.is_retryable(),
            Self::Refused { status, .. } => {
                matches!(
                    *status,
                    Status::UNAVAILABLE | Status::TOO_MANY_REQUESTS | Status::STORAGE_FULL
                )
            }
            _ => false,
        }
    }
}

fn said(detail: Option<&str>) -> String {
    detail.map_or(String::new(), |detail| format!(": {detail}"))
}
