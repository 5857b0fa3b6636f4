//! Why identities can't be read, kept or had.

use std::io;
use std::path::PathBuf;

use cmtp_codec::{RevocationError, SignatureError, WordsError};

use crate::entropy::NoEntropy;
use crate::identity::IdentityError;
use crate::keyring::name::PersonaName;

/// Why identities can't be read, kept or had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// There are identities already.
    #[error("{} holds an identity already; --force replaces it, and it is lost for good", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others may read the secrets.
    #[error("others may read {0}; run: chmod 600 {0}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("{} holds no identity: {what}; restore it from a copy, or from its words: cmtp id restore --force", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file is encrypted, and nobody can be asked.
    #[error("{} is encrypted, and there is no terminal to ask for its passphrase; set CMTP_PASSPHRASE", path.display())]
    NoPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// It is encrypted under another passphrase.
    #[error("that passphrase does not open {}; look at CMTP_PASSPHRASE, or type it again", path.display())]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// To open it would take minutes, and gigabytes of memory.
    #[error(
        "{} was encrypted with work factor {factor}, which takes minutes to open; decrypt it with `age -d`, and let \
         `cmtp id passphrase` encrypt it again", path.display()
    )]
    TooMuchWork {
        /// The file.
        path: PathBuf,
        /// The binary logarithm of scrypt's N.
        factor: u8,
    },
    /// Another process changed the file since it was read.
    #[error("{} was changed meanwhile; do it again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read or written.
    #[error("identity {}: {source}; CMTP_HOME may name another directory", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A file beside it, such as one to import, can't be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// No persona has this name.
    #[error("no persona is called {name}; `cmtp id list` shows them")]
    NoSuchPersona {
        /// The name.
        name: String,
    },
    /// Another persona has the name.
    #[error("a persona is called {name} already; choose another name (to import: --as NAME)")]
    NameTaken {
        /// The name.
        name: PersonaName,
    },
    /// The persona that is imported is there.
    #[error("that persona is here already, and called {name}")]
    Known {
        /// What it is called here.
        name: PersonaName,
    },
    /// As many personas as a file may hold.
    #[error("a file of identities holds {most} personas at most")]
    TooMany {
        /// How many it may hold.
        most: u32,
    },
    /// There is no root to derive from.
    #[error(
        "there is no root here, only what was imported; to have one: cmtp id export, cmtp id new --force, and \
         cmtp id import"
    )]
    NoRoot,
    /// The root is on another device.
    #[error("{name} was imported: its recovery key is derived where its root is; do it there")]
    NoRecovery {
        /// The persona.
        name: PersonaName,
    },
    /// The words are no root.
    #[error(transparent)]
    Words(#[from] WordsError),
    /// A statement that can't be made.
    #[error(transparent)]
    Revocation(#[from] RevocationError),
    /// No key.
    #[error("no key can be made: {0}")]
    Crypto(#[from] SignatureError),
    /// No key of a persona.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No randomness.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}

impl KeyringError {
    /// Whether the same may work later: where the file system failed, or another process was quicker.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::File { .. } | Self::Changed { .. })
    }
}
