//! Why there is nothing to audit.

use std::io;
use std::path::PathBuf;

use cmtp_codec::PublicKey;
use cmtp_codec::audit::What;
use cmtp_codec::log::CheckpointError;

use crate::known_logs::KnownLogsError;
use crate::policy::PolicyError;

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
    /// A file that is served can't be had.
    #[error("{url}: {source}")]
    Http {
        /// The file.
        url: String,
        /// What went wrong.
        source: Box<ureq::Error>,
    },
    /// There is no log.
    #[error("{url}: no log is served there; name one such as http://127.0.0.1:8080/log/0")]
    NoLog {
        /// Where it was looked for.
        url: String,
    },
    /// Nothing to verify a checkpoint by.
    #[error(
        "a log that is served is verified by its key: name the node's key list (--key-list) or the log's key (--vkey)"
    )]
    NoLogKey,
    /// A checkpoint that was kept and can't be read.
    #[error("{}: {source}; restore the file from a backup, or remove it, and with it what was known of this log", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CheckpointError,
    },
    /// What is known of the log from calls can't be read.
    #[error(transparent)]
    Known(KnownLogsError),
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
    /// Policies that are none.
    #[error(
        "{0}; --policies takes a folder of .cedar files, a folder of such folders, or the word journal"
    )]
    Policies(PolicyError),
    /// Another node.
    #[error("it is of the node {found}, and {expected} was meant")]
    OtherNode {
        /// The node that was meant.
        expected: PublicKey,
        /// The node that it is of.
        found: PublicKey,
    },
}
