//! What a service does not act on, and counts.

use std::fmt;

use cmtp_spec::Status;

/// Why a service did not act on what came. Nobody is told more than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// Not an envelope, or not the layers of a request.
    Malformed,
    /// For a node that the service does not serve.
    OtherNode,
    /// Scheme `none`, which nobody asked for.
    NotAuthenticated,
    /// Its time is more than five minutes from this clock.
    Clock,
    /// The sender is no layer key of the node.
    OtherSender,
    /// The tag, or a signature within, is wrong.
    BadTag,
    /// It came on another subject than it was sent to.
    OtherSubject,
    /// The deadline passed, here or on the way.
    Late,
    /// It came before.
    Seen,
    /// There is no room to remember it, or to let it wait.
    NoRoom,
    /// The node gives no keys for it.
    NoKeys,
}

impl Rejection {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::OtherNode,
        Self::NotAuthenticated,
        Self::Clock,
        Self::OtherSender,
        Self::BadTag,
        Self::OtherSubject,
        Self::Late,
        Self::Seen,
        Self::NoRoom,
        Self::NoKeys,
    ];

    /// A word for it, as metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::OtherNode => "other-node",
            Self::NotAuthenticated => "not-authenticated",
            Self::Clock => "clock",
            Self::OtherSender => "other-sender",
            Self::BadTag => "bad-tag",
            Self::OtherSubject => "other-subject",
            Self::Late => "late",
            Self::Seen => "seen",
            Self::NoRoom => "no-room",
            Self::NoKeys => "no-keys",
        }
    }

    /// The number of the NATS micro error that answers it (chapter 11, A request at the service).
    pub const fn status(self) -> Status {
        match self {
            Self::Malformed => Status::BAD_REQUEST,
            Self::OtherNode
            | Self::NotAuthenticated
            | Self::Clock
            | Self::OtherSender
            | Self::BadTag
            | Self::OtherSubject => Status::TOKEN_INVALID,
            Self::Seen => Status::RUNNING,
            Self::NoRoom | Self::NoKeys => Status::UNAVAILABLE,
            Self::Late => Status::DEADLINE_EXCEEDED,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
