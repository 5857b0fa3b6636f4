//! The transparency log: the journal's entries as the leaves of one tree, for anybody to audit.
//! `cmtp-spec/spec/18-log.md`.
//!
//! It follows the journal and never goes before it: only what is durable there becomes a leaf. What it signs once it never
//! contradicts.

mod cosigners;
mod edge;
mod folder;
mod keeper;
mod past;
mod service;

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cmtp_codec::Digest;
use cmtp_codec::log::{CheckpointError, Growth, LogProof, NoteSigner, SignedCheckpoint};
use tlog_tiles::TileHashReader;
use tlog_tiles::tlog::{self, EMPTY_HASH, prove_record, prove_tree};
use tokio::sync::watch;

use crate::journal::Follower;
pub(crate) use crate::log::cosigners::Cosigners;
pub(crate) use crate::log::folder::CHECKPOINT;
use crate::log::folder::Folder;
use crate::log::keeper::{Keeper, Recent, lock, restore};
pub(crate) use crate::log::past::Past;
pub(crate) use crate::log::service::LogService;
use crate::node_keys::NodeKeysError;

/// The log of a node: what is asked of it while its thread lets it grow.
pub(crate) struct Log {
    folder: Folder,
    published: watch::Receiver<Checkpointed>,
    recent: Arc<Mutex<Recent>>,
    running: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

/// A tree that was signed.
#[derive(Clone, Debug)]
pub(crate) struct Checkpointed {
    pub(crate) size: u64,
    pub(crate) root: tlog::Hash,
    /// The checkpoint with its signatures.
    pub(crate) note: Arc<str>,
}

/// How a log is kept.
pub(crate) struct LogConfig<'a> {
    /// Its number.
    pub(crate) number: u32,
    /// The folder of this log, `DATA/log/NUMBER`.
    pub(crate) folder: &'a Path,
    /// Time between two checkpoints, at least.
    pub(crate) interval: Duration,
    /// What the journal has to continue.
    pub(crate) past: &'a Past,
}

impl Log {
    /// Opens the log that the files in a folder hold, or begins one, and lets it grow from then on.
    ///
    /// # Errors
    /// [`LogError`]: the journal is not the one of which the last checkpoint was signed.
    pub(crate) fn open(
        config: &LogConfig<'_>,
        signer: NoteSigner,
        journal: Follower,
        cosigners: Cosigners,
    ) -> Result<Self, LogError> {
        let folder = Folder::new(config.folder);
        let last = match folder.checkpoint()? {
            Some(note) => read(&note, &signer)?,
            None => Checkpointed { size: 0, root: EMPTY_HASH, note: "".into() },
        };
        let edge = restore(&folder, &journal, &last)?;
        config.past.check(config.number, &journal, &folder, (&last, &edge))?;
        let (publishing, published) = watch::channel(last.clone());
        let recent = Arc::new(Mutex::new(Recent::default()));
        let keeper = Keeper {
            folder: folder.clone(),
            journal,
            signer,
            cosigners,
            asked: Instant::now(),
            interval: config.interval,
            edge,
            last,
            published: publishing,
            recent: Arc::clone(&recent),
        };
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("cmtpd-log".to_owned());
        let thread = thread.spawn(move || keeper.run(&stopped))?;
        Ok(Self { folder, published, recent, running: Mutex::new(Some((stop, thread))) })
    }

    /// The tree that was signed last.
    pub(crate) fn checkpoint(&self) -> Checkpointed {
        self.published.borrow().clone()
    }

    /// Waits for a checkpoint over more than `size` leaves.
    pub(crate) async fn beyond(&self, size: u64) -> Option<Checkpointed> {
        let mut published = self.published.clone();
        published.wait_for(|it| it.size > size).await.ok().map(|it| it.clone())
    }

    /// The index of a recent entry with this F.
    pub(crate) fn find(&self, seal: &Digest) -> Option<u64> {
        lock(&self.recent).find(seal)
    }

    /// [LOG-9] The proof that entry `index` is in `tree`, reads files.
    pub(crate) fn proof(&self, tree: &Checkpointed, index: u64) -> Result<LogProof, LogError> {
        let reader = TileHashReader::new(tree.size, tree.root, &self.folder);
        let path = digests(prove_record(tree.size, index, &reader))?;
        let checkpoint = SignedCheckpoint::parse(&tree.note)?;
        Ok(LogProof { index, path, checkpoint })
    }

    /// [LOG-7] The proof that `tree` begins with the `old` leaves that it had once; reads files.
    pub(crate) fn growth(&self, tree: &Checkpointed, old: u64) -> Result<Growth, LogError> {
        let path = consistency(&self.folder, tree, old)?;
        let checkpoint = SignedCheckpoint::parse(&tree.note)?;
        Ok(Growth { old, path, checkpoint })
    }

    /// Signs what is durable by now, and ends. To be called when the journal was closed.
    pub(crate) fn close(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = running {
            drop(stop);
            // A thread that panicked said so.
            let _panicked = thread.join();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

/// Reads a checkpoint that this log signed once.
fn read(note: &str, signer: &NoteSigner) -> Result<Checkpointed, LogError> {
    let checkpoint = SignedCheckpoint::parse(note)?.verify(signer.public())?;
    let root = tlog::Hash(checkpoint.root.0);
    Ok(Checkpointed { size: checkpoint.size, root, note: note.into() })
}

/// [LOG-7] The hashes of that proof: none where the earlier tree had no leaf, or as many. Reads files.
fn consistency(folder: &Folder, tree: &Checkpointed, old: u64) -> Result<Vec<Digest>, LogError> {
    if old == 0 || old == tree.size {
        return Ok(Vec::new());
    }
    digests(prove_tree(tree.size, old, &TileHashReader::new(tree.size, tree.root, folder)))
}

fn digests(proof: Result<Vec<tlog::Hash>, tlog::Error>) -> Result<Vec<Digest>, LogError> {
    let proof = proof.map_err(|error| LogError::Tiles { error: error.to_string() })?;
    Ok(proof.into_iter().map(|hash| Digest(hash.0)).collect())
}

impl LogError {
    /// Whether the journal is not the one that was signed, which a new log can say for everybody to see.
    pub(crate) const fn is_of_the_past(&self) -> bool {
        matches!(
            self,
            Self::Smaller { .. }
                | Self::Other { .. }
                | Self::Newer { .. }
                | Self::WitnessAhead { .. }
                | Self::WitnessOther { .. }
        )
    }
}

/// Why the log can't be opened, or does not grow.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A file.
    #[error("transparency log: {0}")]
    Io(#[from] io::Error),
    /// The last checkpoint is not one of this node.
    #[error(
        "transparency log: the last checkpoint is not one that this node signed: {0}; restore log/ from a backup"
    )]
    Checkpoint(#[from] CheckpointError),
    /// The log's key.
    #[error(transparent)]
    Key(#[from] NodeKeysError),
    /// The journal is older than the log.
    #[error(
        "transparency log: {size} entries were signed and the journal has {entries}: it was restored from a backup; \
         start once with --follow-log to begin a new log that says so, or restore a newer journal"
    )]
    Smaller {
        /// Leaves that were signed.
        size: u64,
        /// Entries of the journal.
        entries: u64,
    },
    /// The journal is another one.
    #[error(
        "transparency log: the journal's first {size} entries are not those that were signed; restore the data directory from a \
         newer backup, or start once with --follow-log to begin a new log that says so"
    )]
    Other {
        /// Leaves that were signed.
        size: u64,
    },
    /// The log was followed by another, of which the journal knows nothing.
    #[error(
        "transparency log: {who} has a checkpoint of log {number}, and the journal is still at log {current}: it was restored from \
         a backup; start once with --follow-log to begin a new log that says so, or restore a newer data directory"
    )]
    Newer {
        /// Who knows.
        who: String,
        /// The log's number.
        number: u32,
        /// That of the journal.
        current: u32,
    },
    /// A witness knows more than the journal.
    #[error(
        "transparency log: witness {witness} cosigned {size} entries and the journal has {entries}: it was restored from a backup; \
         start once with --follow-log to begin a new log that says so, or restore a newer data directory"
    )]
    WitnessAhead {
        /// The name of its key.
        witness: String,
        /// Leaves that it cosigned.
        size: u64,
        /// Entries of the journal.
        entries: u64,
    },
    /// A witness knows another tree.
    #[error(
        "transparency log: witness {witness} cosigned {size} entries that are not the journal's first {size}: another copy of this \
         node went on; stop that one, and start this one once with --follow-log to begin a new log, or restore its data directory"
    )]
    WitnessOther {
        /// The name of its key.
        witness: String,
        /// Leaves that it cosigned.
        size: u64,
    },
    /// The new tree does not continue the old one.
    #[error(
        "transparency log: a tree of {size} does not continue that of {before}, so it is not signed: {error}"
    )]
    Different {
        /// Leaves of the new tree.
        size: u64,
        /// Leaves of the old one.
        before: u64,
        /// What does not fit.
        error: String,
    },
    /// Tiles that are not of the tree.
    #[error("transparency log: {error}")]
    Tiles {
        /// What does not fit.
        error: String,
    },
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
