//! CMTP client: calls nodes, and proves to itself what they answered.
//!
//! It connects to a node over QUIC, decides whether it is the node that was meant, sends requests and verifies every
//! answer, whole or part by part, before it hands anything of it out as verified. It never executes anything, never makes
//! a new request of one that failed (what is sent again is sent byte for byte), and never calls authentic what the node's
//! key does not vouch for.
//!
//! Start from [`Client`] (which has an [`Identity`], one persona of a [`Keyring`], and a token), [`Channel`] (which connects, and
//! again) and [`Request`]; an [`Answer`] comes back, or a [`Streaming`] one. A [`Connection`] by itself sends each request once.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use cmtp_client::{Client, ClientConfig, Home, Identity, Request, Trust};
//! use cmtp_codec::Fqmn;
//!
//! let identity = Identity::load(&Home::from_env()?)?.ok_or("make one: cmtp id new")?;
//! let token = Some(std::env::var("CMTP_TOKEN")?);
//! let client = Client::new(ClientConfig { token, ..ClientConfig::new(Arc::new(identity)) })?;
//! let node = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK".parse()?;
//! let connection =
//!     client.connect("192.0.2.7:4433".parse()?, "node.example", Trust::Pinned(node)).await?;
//!
//! let target = Fqmn::from_sugar("helloworld.mcom")?.with_words(["Dexter"])?;
//! let answer = connection.call(Request::new(target)).await?;
//! std::fs::write("answer.cmtp", answer.to_saved().to_stored())?;
//! # Ok(())
//! # }
//! ```
//!
//! The other side of a node: [`service`] answers what a node sends over a bus.
//!
//! What is kept can be judged later and offline: [`tree`] and [`json`] show a message, whoever stands for which part of it.

mod answer;
pub mod audit;
pub mod bus;
mod call;
mod channel;
mod client;
mod clock;
mod close;
mod connection;
mod control;
mod ending;
pub mod entropy;
mod exchange;
mod home;
mod identity;
mod json;
mod judge;
mod keyring;
mod known_logs;
mod known_nodes;
pub mod load;
mod load_report;
mod outgoing;
mod outside;
mod pause;
mod pending;
pub mod policy;
mod render;
mod request;
mod salvage;
pub mod service;
pub mod session;
mod stream_type;
mod streaming;
mod system_tls;
#[cfg(test)]
mod testing;
mod tls;
mod tls_sessions;
mod token;
mod trust;
mod url;
mod value;
mod walk;

pub use crate::answer::{Answer, BadAnswer};
pub use crate::call::CallError;
pub use crate::channel::{Channel, ChannelError};
pub use crate::client::{Client, ClientConfig, ConnectError};
pub use crate::connection::Connection;
pub use crate::control::{ControlError, Settings};
pub use crate::ending::Ending;
pub use crate::home::{Existing, Home, HomeError, write_whole};
pub use crate::identity::{Identity, IdentityError};
pub use crate::json::json;
pub use crate::judge::{Piece, Standing};
pub use crate::keyring::{
    Keyring, KeyringError, Passphrase, Persona, PersonaName, PersonaNameError,
};
pub use crate::known_logs::{KnownLogs, KnownLogsError, LogBroken, LogSeen};
pub use crate::known_nodes::{KnownNode, KnownNodes, KnownNodesError};
pub use crate::outside::outside_nonce;
pub use crate::pending::{Pending, PendingError, RestoreError};
pub use crate::render::{Paint, Style, tree, untrusted_tree};
pub use crate::request::{PrepareError, PreparedRequest, Request};
pub use crate::salvage::salvage;
pub use crate::stream_type::{StreamTypeError, read_stream_type};
pub use crate::streaming::Streaming;
pub use crate::system_tls::system_tls;
pub use crate::tls::TlsError;
pub use crate::token::{Token, TokenError};
pub use crate::trust::{Trust, TrustedBy, Untrusted};
pub use crate::url::{NodeUrl, UrlError};
pub use crate::walk::{walk, walk_html};
