//! What can go wrong with a call: `cmtp-spec/spec/08-statuses.md`, `cmtp-spec/spec/09-quic.md`.

use cmtp_codec::{DecodeError, PublicKey};
use cmtp_spec::CloseCode;
use quinn::ConnectionError;

use crate::answer::BadAnswer;
use crate::request::PrepareError;

/// Why a call has no verified answer. A refusal by the node is none of these: it is an [`crate::Answer`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The request can't be made.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The request was made for another node than the one that is connected; it was not sent.
    #[error("the request was made for the node {0}, which is not the one connected")]
    OtherNode(PublicKey),
    /// The request's not-after has passed, after which no node dispatches it; it was not sent then.
    #[error("the request's not-after has passed; it is not sent any more")]
    TooLate,
    /// The node takes no more requests on this connection; this one was not sent, or not processed.
    #[error("the node takes no more requests on this connection; connect again")]
    GoingAway,
    /// The connection went away before the request was sent.
    #[error("the connection was lost before the request was sent: {0}")]
    NotSent(#[source] ConnectionError),
    /// The connection went away.
    #[error("the connection was lost: {0}")]
    Connection(#[from] ConnectionError),
    /// The node ended the stream.
    #[error("the node ended the request: {0}")]
    Reset(CloseCode),
    /// The answer ended before its seal.
    #[error("the answer ended before its seal")]
    Lost,
    /// No answer came by the request's not-after and some more.
    #[error("no answer came in time")]
    TimedOut,
    /// The answer's bytes break a rule.
    #[error("the answer can't be read, layer {layer}, {error}")]
    Malformed {
        /// The layer that was being read.
        layer: u32,
        /// The rule, and the byte of the stream.
        error: DecodeError,
    },
    /// The answer is larger than the client takes.
    #[error("the answer has more than {max} bytes, which is what this client takes")]
    TooLarge {
        /// The client's limit.
        max: u64,
    },
    /// The answer does not verify.
    #[error("the answer does not verify: {0}")]
    Bad(#[from] BadAnswer),
}

impl CallError {
    /// Whether the same prepared request may be sent again, with the same bytes, on this or another connection.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::GoingAway
            | Self::NotSent(_)
            | Self::Connection(_)
            | Self::Lost
            | Self::TimedOut => true,
            Self::Reset(code) => {
                matches!(*code, CloseCode::NOT_PROCESSED | CloseCode::INTERNAL | CloseCode::TIMEOUT)
            }
            Self::Prepare(_)
            | Self::OtherNode(_)
            | Self::TooLate
            | Self::Malformed { .. }
            | Self::TooLarge { .. }
            | Self::Bad(_) => false,
        }
    }

    /// Whether a write may have had its effect although there is no answer.
    pub const fn is_outcome_unknown(&self) -> bool {
        // [QUI-23] A request that ended without SEAL otherwise is of unknown outcome.
        !matches!(
            self,
            Self::Prepare(_)
                | Self::OtherNode(_)
                | Self::TooLate
                | Self::GoingAway
                | Self::NotSent(_)
                | Self::Reset(CloseCode::NOT_PROCESSED)
        )
    }

    /// The code with which the stream is ended.
    pub(crate) const fn close_code(&self) -> CloseCode {
        match self {
            Self::Malformed { error, .. } => error.kind.close_code(),
            Self::TooLarge { .. } => CloseCode::LIMIT_EXCEEDED,
            Self::Bad(_) => CloseCode::BAD_CHAIN,
            Self::TimedOut => CloseCode::TIMEOUT,
            _ => CloseCode::CANCELLED,
        }
    }
}
