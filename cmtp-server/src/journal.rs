//! The journal: what was promised is here, and is here before the promise. `cmtp-spec/spec/17-journal.md`.
//!
//! Exchanges hand in pieces of messages and wait; a clerk gathers them, one thread takes all that came, signs it once (R0),
//! writes it once, makes it durable once, and lets them go. Behind it the log is moved to segments, where entries, records
//! and keys have a file of their own each. It never acknowledges what is not durable, and never drops what it acknowledged.

mod body;
mod clerk;
mod erase;
mod inspect;
mod open;
mod segment;
mod store;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
mod wal;
mod writer;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use cmtp_client::entropy::{self, NoEntropy};
use cmtp_codec::journal::{Degree, Hidden, MessageReader, PieceError, PieceKeys};
use cmtp_codec::log::log_origin;
use cmtp_codec::{Digest, Entry, PublicKey, Receipt};
use cmtp_spec::{EntryFlags, EntryType, JournalMode, Opcode, Status};
use tokio::sync::{oneshot, watch};

use crate::journal::clerk::{Begin, Clerk};
pub(crate) use crate::journal::erase::{DestroyError, FindError, Found, Named};
pub use crate::journal::inspect::{
    JournalCheck, JournalEntry, JournalFault, JournalFaultKind, check_journal,
};
pub use crate::journal::open::{JournalOpenError, JournalReport};
pub(crate) use crate::journal::store::EntryBytes;
use crate::journal::store::Store;
use crate::journal::writer::Submission;
use crate::metrics::JournalMetrics;
use crate::node_keys::NodeKeys;

/// The journal of a node. Closing it makes all of it durable.
pub(crate) struct Journal {
    clerk: Arc<Clerk>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    store: Arc<Store>,
    failed: watch::Receiver<Option<String>>,
    durable: watch::Receiver<u64>,
    is_full: Arc<AtomicBool>,
    node: PublicKey,
    /// The keys that sign now.
    signing: Arc<RwLock<Arc<NodeKeys>>>,
    /// Held until the journal is closed, so that no other node writes to it.
    lock: Mutex<Option<File>>,
}

/// Sees the entries that are durable, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    store: Arc<Store>,
    durable: watch::Receiver<u64>,
}

impl Follower {
    /// The number of entries that are durable now.
    pub(crate) fn durable(&self) -> u64 {
        *self.durable.borrow()
    }

    /// The number of entries that were written, durable or not.
    pub(crate) fn written(&self) -> u64 {
        self.store.written().max(self.durable())
    }

    /// Waits until more than `seen` entries are durable, and says how many; `None` once the journal is closed.
    pub(crate) async fn beyond(&mut self, seen: u64) -> Option<u64> {
        self.durable.wait_for(|&durable| durable > seen).await.ok().map(|durable| *durable)
    }

    /// Durable entries from `from` on, `max` at most; none where there is none yet. Reads files where they are old.
    pub(crate) fn entries(&self, from: u64, max: usize) -> io::Result<Vec<EntryBytes>> {
        let left = usize::try_from(self.durable().saturating_sub(from)).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(Vec::new());
        }
        let mut entries = self.store.entries(from, left.min(max))?;
        entries.truncate(left.min(max));
        Ok(entries)
    }

    /// The same without keeping the thread waiting for the disk.
    pub(crate) async fn read(&self, from: u64, max: usize) -> io::Result<Vec<EntryBytes>> {
        let follower = self.clone();
        let read = tokio::task::spawn_blocking(move || follower.entries(from, max));
        read.await.map_err(io::Error::other)?
    }
}

/// A piece to be journalled: what its entry says, and what it hides.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) mode: JournalMode,
    pub(crate) entry_type: EntryType,
    pub(crate) opcode: Opcode,
    pub(crate) flags: EntryFlags,
    pub(crate) status: Status,
    pub(crate) layers: u32,
    pub(crate) message_id: [u8; 16],
    pub(crate) seal: Digest,
    /// The key in F; `None` where there is none in it.
    pub(crate) sealed_by: Option<PublicKey>,
    pub(crate) begin: Option<u64>,
    pub(crate) hidden: Hidden,
}

impl Draft {
    /// That the log with this number was opened.
    pub(crate) fn opened(
        number: u32,
        content: &[u8],
    ) -> Result<Self, aws_lc_rs::error::Unspecified> {
        Ok(Self { layers: number, ..Self::note(EntryType::OPENED, content)? })
    }

    /// A note of the node's own: an entry that stands for no message. F is the digest of what it says.
    pub(crate) fn note(
        entry_type: EntryType,
        content: &[u8],
    ) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let seal = Digest::of(content);
        Ok(Self {
            mode: JournalMode::WAL,
            entry_type,
            opcode: Opcode(0),
            flags: EntryFlags(0),
            status: Status::NONE,
            layers: 0,
            message_id: [0; 16],
            seal,
            sealed_by: None,
            begin: None,
            hidden: hide(&[], content, &seal)?,
        })
    }
}

impl Draft {
    /// Without its time, which is the commit's.
    const fn entry(&self) -> Entry {
        let Self { entry_type, opcode, flags, status, layers, message_id, seal, .. } = *self;
        Entry { entry_type, opcode, flags, status, layers, time: 0, message_id, seal }
    }

    /// A note that the message whose last entry is `erased` was erased: the entry names the message, as its own did.
    pub(crate) fn erasure(
        degree: Degree,
        erased: &Entry,
        content: &[u8],
    ) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let Entry { opcode, message_id, seal, .. } = *erased;
        let hidden = hide(&[], content, &seal)?;
        Ok(Self { opcode, message_id, seal, hidden, ..Self::note(degree.entry_type(), &[])? })
    }
}

/// What was journalled.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) receipt: Receipt,
    pub(crate) index: u64,
}

/// Why something was not journalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("the journal's disk is full")]
    Full,
    #[error("the journal failed")]
    Failed,
    #[error("it is sealed by a key that was replaced")]
    OtherKey,
}

impl Journal {
    /// Journals a piece; in mode `wal` it is durable when this comes back.
    pub(crate) async fn record(&self, draft: Draft) -> Result<Recorded, JournalError> {
        let (reply, recorded) = oneshot::channel();
        let (entry, mode) = (draft.entry(), draft.mode);
        let Draft { sealed_by, begin, hidden, .. } = draft;
        let submission = Submission { mode, entry, sealed_by, begin, hidden, reply };
        self.clerk.hand_in(submission)?;
        // Where the writer ended there is nobody to acknowledge.
        recorded.await.unwrap_or(Err(JournalError::Failed))
    }

    /// The keys that sign now: who seals has to use them.
    pub(crate) fn signing(&self) -> Arc<NodeKeys> {
        Arc::clone(&self.signing.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// [NKY-5] Has these keys sign from here on. The notes, which are of the node's own, come before all else that they sign;
    /// where the disk has no room for them, nothing is signed before it has.
    pub(crate) fn begin(&self, keys: Arc<NodeKeys>, notes: Vec<Draft>) {
        let notes = notes.into_iter().map(|note| (note.entry(), None, note.hidden)).collect();
        self.clerk.begin(Begin { keys: Some(keys), notes, noted: None });
    }

    /// Waits until the notes of [`Journal::begin`] are durable.
    pub(crate) async fn noted(&self) -> Result<(), JournalError> {
        let (noted, done) = oneshot::channel();
        self.clerk.begin(Begin { keys: None, notes: Vec::new(), noted: Some(noted) });
        done.await.unwrap_or(Err(JournalError::Failed))
    }

    /// Reads the message whose pieces these entries are, in ascending order.
    pub(crate) fn read(&self, pieces: &[u64]) -> Result<MessageReader, ReadError> {
        let mut message = MessageReader::new(self.signing().sealers());
        for &index in pieces {
            let commit = self.store.read(index)?;
            let offset = index.checked_sub(commit.first).and_then(|it| usize::try_from(it).ok());
            let missing = || io::Error::new(io::ErrorKind::NotFound, format!("entry {index}"));
            let offset = offset.ok_or_else(missing)?;
            let origin = log_origin(&self.node, self.store.log_of(commit.first));
            let receipt = commit.receipt(&origin, offset).ok_or_else(missing)?;
            let piece = commit.pieces.get(offset).ok_or_else(missing)?;
            message.push(piece, receipt)?;
        }
        Ok(message)
    }

    /// Number of the log that is being written.
    pub(crate) fn log_number(&self) -> u32 {
        self.store.log_of(u64::MAX)
    }

    /// What follows the journal entry by entry, in threads and tasks of its own.
    pub(crate) fn follow(&self) -> Follower {
        Follower { store: Arc::clone(&self.store), durable: self.durable.clone() }
    }

    /// Waits for the first failure, and says what failed.
    pub(crate) async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // A writer that ends before it was told to has panicked.
            Err(_ended) if self.clerk.is_open() => "its writer ended".to_owned(),
            Err(_ended) => std::future::pending().await,
        }
    }

    /// What failed, if something did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failed.borrow().clone()
    }

    /// Whether the disk was full at the last commit.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Makes durable what was handed in, and ends.
    pub(crate) fn close(&self) {
        self.clerk.close();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread that panicked said so.
            let _panicked = thread.join();
        }
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

/// Why a message can't be read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Piece(#[from] PieceError),
}

/// Hides cores and content of a piece under fresh keys.
pub(crate) fn hide(
    cores: &[u8],
    content: &[u8],
    seal: &Digest,
) -> Result<Hidden, aws_lc_rs::error::Unspecified> {
    let mut keys = [0; PieceKeys::LENGTH];
    entropy::fill(&mut keys).map_err(|NoEntropy| aws_lc_rs::error::Unspecified)?;
    Hidden::hide(PieceKeys(keys), cores, content, seal)
}

/// How a journal is kept.
#[derive(Clone, Debug)]
pub(crate) struct JournalConfig {
    pub(crate) folder: PathBuf,
    /// Bytes of a log file, which is how much is moved at a time.
    pub(crate) segment_bytes: u64,
    /// Seconds within which an entry will be under a checkpoint.
    pub(crate) merge_delay: u16,
    pub(crate) metrics: JournalMetrics,
}
