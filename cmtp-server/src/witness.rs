//! A witness of logs: what it has seen once it lets no log take back. `cmtp-spec/spec/18-log.md`.
//!
//! A process and a key of its own, and no part of a node: C2SP tlog-witness over HTTP. It cosigns a checkpoint where the tree
//! begins with the one that it cosigned last, and never otherwise. What it remembers is on the disk before it answers.

mod http;
mod key;
mod memory;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cmtp_client::{Existing, write_whole};
use cmtp_codec::log::{
    CheckpointError, Growth, GrowthError, NoteKind, NoteSigner, Policy, SignedCheckpoint,
    VerifierKey, VerifierKeyError,
};
use cmtp_codec::{Digest, SignatureError};
use data_encoding::HEXLOWER;

pub use crate::witness::http::WitnessHttp;
pub use crate::witness::key::WitnessKey;
use crate::witness::memory::{Lock, Remembered};

/// A witness: its key, the logs that it watches, and what it saw of each.
///
/// All of it may block on the disk.
#[derive(Debug)]
pub struct Witness {
    signer: NoteSigner,
    logs: BTreeMap<String, Watched>,
    /// By the name that the log has in a URL.
    origins: BTreeMap<String, String>,
    /// Held as long as it lives: two that remember apart would cosign two stories.
    _lock: Lock,
}

#[derive(Debug)]
struct Watched {
    keys: Vec<VerifierKey>,
    remembered: Remembered,
}

impl Witness {
    /// Opens the witness whose memory is in `data`, for the logs of `policy`.
    ///
    /// # Errors
    /// [`WitnessError`] names the file and the cure. What can't be read is never taken for nothing seen.
    pub fn open(data: &Path, signer: NoteSigner, policy: &Policy) -> Result<Self, WitnessError> {
        if policy.logs.is_empty() {
            return Err(WitnessError::NoLog);
        }
        let lock = Lock::take(data)?;
        let (mut logs, mut origins) = (BTreeMap::new(), BTreeMap::new());
        for key in &policy.logs {
            let origin = key.name().to_owned();
            let keys: Vec<_> = policy.logs.iter().filter(|it| it.name() == origin).collect();
            let folder = log_name(&origin);
            let remembered = Remembered::open(data.join(&folder), origin.clone(), |note| {
                verify(note, keys.iter().copied()).map(drop)
            })?;
            let keys = keys.into_iter().cloned().collect();
            logs.insert(origin.clone(), Watched { keys, remembered });
            origins.insert(folder, origin);
        }
        Ok(Self { signer, logs, origins, _lock: lock })
    }

    /// By which others verify what it signs.
    pub const fn public(&self) -> &VerifierKey {
        self.signer.public()
    }

    /// Takes the body of an add-checkpoint at a time, seconds since 1970, and gives its signature line.
    ///
    /// # Errors
    /// [`Refused`] says why it is not cosigned; nothing changed then.
    pub fn add_checkpoint(&self, body: &str, now: u64) -> Result<String, Refused> {
        let growth = Growth::parse(body)?;
        let claimed = growth.checkpoint.untrusted();
        let watched = self.logs.get(&claimed.origin).ok_or(Refused::UnknownLog)?;
        let key = verify(&growth.checkpoint, &watched.keys).map_err(Refused::NotTrusted)?;
        if growth.old > claimed.size {
            return Err(Refused::OldBeyond { old: growth.old, size: claimed.size });
        }
        // [LOG-22] Looking, remembering and answering are one: nobody else is asked of this log meanwhile.
        watched.remembered.replace(|known| {
            if growth.old != known.size {
                return Err(Refused::OtherSize { known: known.size });
            }
            growth.verify(Some(known), key).map_err(|error| match error {
                // [LOG-24] As large and not the same: there is no size from which a proof would lead on.
                GrowthError::Forked { known, size } if known == size => {
                    Refused::OtherSize { known }
                }
                other => Refused::Inconsistent(other),
            })?;
            let line = self.signer.sign(claimed, now);
            let signed = own_line(&growth.checkpoint).unwrap_or_default();
            let note = format!("{}\n{signed}\n{line}", claimed.text());
            Ok((SignedCheckpoint::parse(&note)?, line))
        })
    }

    /// The last checkpoint that it cosigned of the log that has this name in a URL.
    pub fn checkpoint(&self, name: &str) -> Option<String> {
        let watched = self.logs.get(self.origins.get(name)?)?;
        watched.remembered.note()
    }
}

/// The log's key among `keys` that signed a note.
fn verify<'a>(
    note: &SignedCheckpoint,
    keys: impl IntoIterator<Item = &'a VerifierKey>,
) -> Result<&'a VerifierKey, CheckpointError> {
    let mut fault = CheckpointError::NotSigned;
    for key in keys {
        match note.verify(key) {
            Ok(_) => return Ok(key),
            Err(error) => fault = error,
        }
    }
    Err(fault)
}

/// The signature line of the log itself; those of others are not for a witness to keep.
fn own_line(note: &SignedCheckpoint) -> Option<&str> {
    let (_, lines) = note.note().rsplit_once("\n\n")?;
    let own = format!("\u{2014} {} ", note.untrusted().origin);
    lines.lines().find(|line| line.starts_with(&own))
}

/// What a witness calls a log in URLs and on its disk: SHA-256 of the origin.
pub(crate) fn log_name(origin: &str) -> String {
    HEXLOWER.encode(&Digest::of(origin.as_bytes()).0)
}

/// Why a witness does not cosign.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Not the body of an add-checkpoint.
    #[error("{0}")]
    Malformed(#[from] GrowthError),
    /// The note would be too long with another signature.
    #[error("there is no room for another signature: {0}")]
    TooLong(#[from] CheckpointError),
    /// No log of the policy.
    #[error("this witness does not know the log")]
    UnknownLog,
    /// Not by the log.
    #[error("{0}")]
    NotTrusted(CheckpointError),
    /// A proof from more leaves than there are.
    #[error("the proof is from {old} entries, and the checkpoint has {size}")]
    OldBeyond {
        /// What the proof begins with.
        old: u64,
        /// What the checkpoint says.
        size: u64,
    },
    /// A proof from another size than the one that was cosigned last, or another root at that size.
    #[error("{known} entries are known here")]
    OtherSize {
        /// What was cosigned last.
        known: u64,
    },
    /// The tree does not begin with the one that was cosigned last.
    #[error("{0}")]
    Inconsistent(GrowthError),
    /// It can't be remembered, so it is not signed.
    #[error("the witness can't remember it: {0}")]
    Io(#[from] io::Error),
}

/// Why a witness can't begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// No log to watch.
    #[error("the policy has no `log KEY` line, so that there is nothing to witness")]
    NoLog,
    /// A file.
    #[error("witness {}: {source}; --data has to be a directory that cmtpd can write", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has it.
    #[error("witness {}: another cmtpd witness uses it; stop that one first, or choose another --data", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The key's file holds something else.
    #[error("witness key {}: not a witness key; restore it from a backup", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// The name can't be that of a key.
    #[error("--name: {0}")]
    Name(#[from] VerifierKeyError),
    /// What was seen can't be read.
    #[error(
        "witness {}: {fault}; restore the file from a backup: without it the log could tell another story", path.display()
    )]
    Memory {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: CheckpointError,
    },
    /// The crypto library failed.
    #[error("witness key: {0}")]
    Crypto(#[from] SignatureError),
}

/// Writes a file so that it is whole and durable, or not there.
fn write(path: &Path, text: &str, existing: Existing) -> io::Result<()> {
    write_whole(path, text.as_bytes(), existing)
}

/// The name of a witness that was given none.
pub(crate) fn default_name(key: &cmtp_codec::PublicKey) -> String {
    format!("cmtp-witness/{}", key.multibase())
}

/// What its signatures are over.
const KIND: NoteKind = NoteKind::Cosignature;
