//! Sessions: from an identity to a token, without anybody's doing but one's own and the node's.
//! `cmtp-spec/spec/22-sessions.md`.
//!
//! [`Connection::begin_login`] asks a node what it offers; [`Offered::consent`] takes it. [`Sessions`] keeps what is open, and a
//! [`Connection`] renews it in time. A client opens a session by itself only where [`crate::ClientConfig::login`] says so.

mod error;
mod login;
mod opener;
mod sessions;

pub use cmtp_codec::session::{GrantName, ScopeTexts};

#[cfg(doc)]
use crate::connection::Connection;
pub use crate::session::error::LoginError;
pub use crate::session::login::{Login, Offer, Offered};
pub(crate) use crate::session::opener::Opener;
pub use crate::session::sessions::{Again, Session, Sessions, SessionsError};
