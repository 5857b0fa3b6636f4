//! Why a node can't open, or go on as it was told.

use cmtp_client::policy::PolicyError;

use crate::config::ConfigError;
use crate::issuers::IssuerOpenError;
use crate::journal::JournalOpenError;
use crate::log::LogError;
use crate::nats::{ConnectError, SubscribeError};
use crate::node_keys::NodeKeysError;
use crate::rebuild::RebuildError;
use crate::service::Services;

/// Why a node can't open, or does not take over what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Its keys.
    #[error(transparent)]
    Key(#[from] NodeKeysError),
    /// Its policies.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Its journal.
    #[error(transparent)]
    Journal(#[from] JournalOpenError),
    /// Its transparency log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What its journal holds.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The bus.
    #[error("bus {url}: {source}; is a nats-server running there?")]
    Bus {
        /// Where it should be.
        url: String,
        /// What went wrong.
        source: ConnectError,
    },
    /// No replies can be had from the bus.
    #[error("bus {url}: {source}")]
    Inbox {
        /// Where it is.
        url: String,
        /// What went wrong.
        source: SubscribeError,
    },
    /// The system gives no random numbers.
    #[error("no random numbers from the system")]
    NoEntropy,
    /// A route to a bus that there is not.
    #[error(
        "route {target} leads to NATS and the node has no bus: start it with --bus nats=URL, or give the file bus = \"nats=URL\""
    )]
    NoBus {
        /// The route's target.
        target: String,
    },
    /// An audit stream without a bus.
    #[error(
        "audit.stream = true and the node has no bus: start it with --bus nats=URL, or give the file bus = \"nats=URL\""
    )]
    NoBusForAudit,
    /// What the file says can't be in force.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An issuer's keys.
    #[error(transparent)]
    Issuer(#[from] IssuerOpenError),
    /// A route to a service that there is not.
    #[error(
        "a route leads to local:{name}, and there is no such service in this node: there are {known}"
    )]
    NoService {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
}

impl NodeError {
    /// A route to a service that there is not.
    pub fn no_service(name: &str, services: &Services) -> Self {
        Self::NoService { name: name.to_owned(), known: services.names() }
    }
}
