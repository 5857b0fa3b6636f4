//! The node: what all connections share.

use std::time::{SystemTime, UNIX_EPOCH};

use cmtp_codec::{Digest, KeyList, PublicKey, Salt};

use crate::config::Config;
use crate::names::Names;
use crate::nats::ConnectError;
use crate::node_key::{NodeKey, NodeKeyError};
use crate::routes::Routes;
use crate::seal::Sealer;

/// What a node is and knows: key, names, routes. All connections share it.
pub struct Node {
    pub(crate) key: NodeKey,
    /// Signed once: a connection without a token costs no signature but TLS's.
    pub(crate) keys: KeyList,
    pub(crate) names: Names,
    pub(crate) routes: Routes,
    pub(crate) sealer: Sealer,
    pub(crate) body_max: u64,
    /// Digest of the rules that decide beside the token; there are none yet: `cmtp-spec/spec/10-admission.md`.
    pub(crate) policy: Digest,
}

impl Node {
    /// Opens the node: reads or makes its key, connects to the bus.
    ///
    /// # Errors
    /// [`NodeError`] names the culprit.
    pub async fn open(config: &Config) -> Result<Self, NodeError> {
        let key = NodeKey::load_or_create(&config.data)?;
        Ok(Self {
            names: Names::new(config.names.clone()),
            routes: Routes::open(config).await?,
            sealer: Sealer::new(&key),
            body_max: config.body_max,
            policy: Digest::of(&[]),
            keys: key.key_list(),
            key,
        })
    }

    /// Who the node is.
    pub const fn did(&self) -> PublicKey {
        self.key.public()
    }
}

/// Why a node can't open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Its key.
    #[error(transparent)]
    Key(#[from] NodeKeyError),
    /// The bus.
    #[error("bus {url}: {source}; is a nats-server running there?")]
    Bus {
        /// Where it should be.
        url: String,
        /// What went wrong.
        source: ConnectError,
    },
    /// A route to a bus that there is not.
    #[error("route {target} leads to NATS and the node has no bus: start it with --bus nats=URL")]
    NoBus {
        /// The route's target.
        target: String,
    },
    /// A route to a service that there is not.
    #[error("no service {name:?} in this node: there are echo, time and hello")]
    NoService {
        /// The name.
        name: String,
    },
}

/// The node's clock: microseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A fresh salt: `[HSH-6]`.
pub(crate) fn salt() -> Result<Salt, aws_lc_rs::error::Unspecified> {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt)?;
    Ok(Salt(salt))
}
