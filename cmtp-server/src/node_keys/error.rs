//! Why there are no keys, and why none are replaced.

use std::io;
use std::path::PathBuf;

use cmtp_codec::{PublicKey, SignatureError};
use cmtp_spec::{KeyUse, limits};

/// Why there are no node keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeKeysError {
    /// The root key's file.
    #[error(transparent)]
    Root(#[from] RootKeyError),
    /// A file can't be read or written.
    #[error("node keys {}: {source}; the data directory (--data) has to be one that cmtpd can write", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("node keys {}: not the online keys of a node; restore the file from a backup", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The keys are of another node than the root key.
    #[error("node keys {}: they are of another node than node.key beside it; restore both from one backup", path.display())]
    OtherRoot {
        /// The file.
        path: PathBuf,
    },
    /// The root key is elsewhere, and the online keys are gone.
    #[error("node keys {}: the file is gone, and without the root key no others can be made; restore it from a backup", path.display())]
    Lost {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("no random numbers from the system")]
    NoEntropy,
    /// The crypto library failed.
    #[error("node keys: {0}")]
    Crypto(#[from] SignatureError),
}

/// Why the root key is not at hand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootKeyError {
    /// The file can't be read or written.
    #[error(
        "root key {}: {source}; the data directory (--data) has to be one that cmtpd can write, and a file outside of it one \
         that can be read, or that is not there yet",
        path.display()
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is none.
    #[error("root key {}: there is none; say where it is: --root FILE", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It was taken out of the data directory.
    #[error(
        "the root key of {node} is offline: it was exported to {file}; say where it is now: --root FILE"
    )]
    Offline {
        /// The node.
        node: String,
        /// The file that it was written to.
        file: String,
    },
    /// The file holds something else.
    #[error("root key {}: not a node key; restore it from a backup, or move it away to make a new node", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase is not the one.
    #[error("root key {}: it does not open: {reason}; is the passphrase right?", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// What was written is not what is read.
    #[error("root key {}: what was written there is not read back; nothing was removed, export it to another place", path.display())]
    NotReadBack {
        /// The file.
        path: PathBuf,
    },
    /// Nobody gave a passphrase.
    #[error("no passphrase for the root key: {0}; set CMTP_PASSPHRASE")]
    NoPassphrase(#[source] io::Error),
    /// The system gives no random numbers.
    #[error("no random numbers from the system")]
    NoEntropy,
    /// The crypto library failed.
    #[error("root key: {0}")]
    Crypto(#[from] SignatureError),
}

/// Why no keys were replaced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// The key that signs checkpoints.
    #[error(
        "the log's key is not replaced: witnesses and policies know the log by it, and a checkpoint has no time, so that a \
         replaced key would count for ever; leave out --use log"
    )]
    Log,
    /// A use that a node has no key for.
    #[error("a node has no key of its own for use {}; expected tls, token or layer", key_use.0)]
    Use {
        /// The use.
        key_use: KeyUse,
    },
    /// Another node's root key.
    #[error(
        "the root key is that of {shown}, and the node is {node}; name the file with its root key: --root FILE"
    )]
    OtherRoot {
        /// The node.
        node: PublicKey,
        /// Whose key it is.
        shown: PublicKey,
    },
    /// The list is full.
    #[error(
        "the key list would have {keys} keys, and {} is the most: its layer keys must stay, because what they sealed is \
         verified by them; keys of use tls and token can still be replaced with --now",
        limits::KEYS_MAX
    )]
    Full {
        /// How many it would have.
        keys: usize,
    },
    /// There is nothing to replace.
    #[error(
        "there are no online keys here; start the node once, or say where its data is: --data or --config"
    )]
    NoKeys,
    /// A file.
    #[error(transparent)]
    Keys(#[from] NodeKeysError),
}
