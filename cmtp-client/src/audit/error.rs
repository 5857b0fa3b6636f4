//! Why there is nothing to audit.

use std::io;
use std::path::PathBuf;

use cmtp_codec::PublicKey;
use cmtp_codec::audit::What;

/// Why a journal, an archive or a log can't be audited.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no journal.
    #[error("{}: no journal of a node; name a node's data folder, or an archive that `cmtp audit export` made", folder.display())]
    NoJournal {
        /// The folder.
        folder: PathBuf,
    },
    /// A journal that can't be read on.
    #[error("{}: entry {index}: {what}; `cmtp audit verify` says more", folder.display())]
    Broken {
        /// The folder.
        folder: PathBuf,
        /// The first entry that can't be read.
        index: u64,
        /// What is wrong.
        what: What,
    },
    /// A file that holds no record keys.
    #[error("{}: no record keys of this node; name the file that `cmtp audit export --with-keys` made with this archive", path.display())]
    NoKeys {
        /// The file.
        path: PathBuf,
    },
    /// A file that holds no key list.
    #[error("{}: no key list that a node signed", path.display())]
    NoKeyList {
        /// The file.
        path: PathBuf,
    },
    /// Another node.
    #[error("it is of the node {found}, and {expected} was meant")]
    OtherNode {
        /// The node that was meant.
        expected: PublicKey,
        /// The node that it is of.
        found: PublicKey,
    },
    /// A receipt that does not hold by itself.
    #[error("{name}: {source}")]
    Receipt {
        /// The file.
        name: String,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
