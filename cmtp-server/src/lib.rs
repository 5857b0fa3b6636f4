//! The CMTP node: terminates QUIC, admits, resolves, dispatches, seals, answers.
//!
//! ```text
//! QUIC stream → codec → admit → resolve → dispatch → service → seal → answer
//! ```
//!
//! Each arrow goes one way. The node holds no message after its answer left (it keeps no journal yet, and its receipts
//! say so: mode `none`), and it never changes a layer that somebody else made.
//!
//! Start from [`Config`], [`Node`] and [`Listener`]; a [`Service`] is what a route leads to.

mod admit;
mod config;
mod connection;
mod exchange;
mod incoming;
mod listener;
mod names;
mod nats;
mod node;
mod node_key;
mod refusal;
mod routes;
mod seal;
pub mod service;
mod token;

pub use crate::config::{Bus, Config, ConfigError};
pub use crate::listener::{ListenError, Listener};
pub use crate::node::{Node, NodeError};
pub use crate::node_key::{NodeKey, NodeKeyError};
pub use crate::service::Service;
pub use crate::token::{Grant, MintError};
