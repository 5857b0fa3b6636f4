//! The CMTP node: terminates QUIC, admits, resolves, dispatches, seals, answers.
//!
//! ```text
//! QUIC stream → codec → admit → resolve → dispatch → service → seal → journal → answer
//! ```
//!
//! Each arrow goes one way. What an answer promises is in the journal before the answer leaves. The node never changes a
//! layer that somebody else made, and never executes a write twice.
//!
//! Start from [`Config`], [`Node`] and [`Listener`]; a [`Service`] is what a route leads to, and [`Services`] are those of the
//! program that has the node in it: `cargo run -p cmtp-server --example embedded`.

mod addresses;
mod admit;
mod answer;
mod audit_stream;
mod config;
mod connection;
mod erasure;
mod exchange;
mod gate;
mod handshake;
mod http;
mod incoming;
mod issuers;
mod journal;
mod limits;
mod listener;
mod log;
mod metrics;
mod names;
mod nats;
mod node;
mod node_keys;
mod outgoing;
mod pace;
mod policies;
mod proved;
mod rebuild;
mod refusal;
mod refusals;
mod room;
mod routes;
mod seal;
pub mod service;
mod sessions;
mod state;
mod stream;
mod token;
mod witness;
mod writes;

pub use cmtp_codec::journal::Degree;

pub use crate::config::{
    AuditSettings, Binding, Bus, Config, ConfigError, Destination, IssuerAlgorithm, IssuerSettings,
    IssuerSettingsError, KeySource, LogSettings, RouteConfig, SessionSettings, WitnessSettings,
};
pub use crate::erasure::{EraseError, Erased, erase_closed};
pub use crate::http::Http;
pub use crate::issuers::{
    IssuerCheck, IssuerError, IssuerOpenError, IssuerRefusal, Issuers, KeySetError, KeyTrouble,
    ListedJwk,
};
pub use crate::journal::{
    JournalCheck, JournalEntry, JournalFault, JournalFaultKind, JournalOpenError, JournalReport,
    check_journal,
};
pub use crate::limits::{LimitError, Limits};
pub use crate::listener::{Bound, ListenError, Listener};
pub use crate::log::LogError;
pub use crate::node::{JOURNAL, LOG, Node, NodeError};
pub use crate::node_keys::{
    NodeKeys, NodeKeysError, Passphrase, RootKey, RootKeyError, RotateError, Rotation, rotate,
};
pub use crate::rebuild::RebuildError;
pub use crate::refusals::{Reason, Refusals};
pub use crate::service::{Service, Services};
pub use crate::sessions::SessionFault;
pub use crate::token::{Grant, MintError, TokenError};
pub use crate::witness::{
    Refused as WitnessRefused, Witness, WitnessError, WitnessHttp, WitnessKey,
};
