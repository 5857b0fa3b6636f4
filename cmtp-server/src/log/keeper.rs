//! The one thread that lets the tree grow: durable entries in, files and signed checkpoints out.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cmtp_codec::log::{Checkpoint, NoteSigner, SignedCheckpoint, Tile};
use cmtp_codec::{Digest, Entry};
use tlog_tiles::TileHashReader;
use tlog_tiles::tlog::{self, check_tree, prove_tree};
use tokio::sync::watch;

use crate::journal::{EntryBytes, Follower};
use crate::log::cosigners::Cosigners;
use crate::log::edge::{Edge, TileFile};
use crate::log::folder::Folder;
use crate::log::{Checkpointed, LogError, consistency};

/// The thread, and what it has.
pub(crate) struct Keeper {
    pub(crate) folder: Folder,
    pub(crate) journal: Follower,
    pub(crate) signer: NoteSigner,
    pub(crate) cosigners: Cosigners,
    /// When the witnesses were asked last.
    pub(crate) asked: Instant,
    pub(crate) interval: Duration,
    pub(crate) edge: Edge,
    pub(crate) last: Checkpointed,
    pub(crate) published: watch::Sender<Checkpointed>,
    pub(crate) recent: Arc<Mutex<Recent>>,
}

/// The seals of the newest leaves, and where they are.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    places: HashMap<Digest, u64>,
    order: VecDeque<Digest>,
}

impl Recent {
    /// The index of the entry with this F.
    pub(crate) fn find(&self, seal: &Digest) -> Option<u64> {
        self.places.get(seal).copied()
    }

    fn push(&mut self, seal: Digest, index: u64) {
        if self.places.insert(seal, index).is_none() {
            self.order.push_back(seal);
        }
        if self.order.len() > RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
    }
}

impl Keeper {
    /// Runs until `stop` is dropped; what is durable by then is under a checkpoint.
    pub(crate) fn run(mut self, stop: &Receiver<()>) {
        let mut trouble = None;
        loop {
            let begun = Instant::now();
            match self.step() {
                Ok(()) => trouble = None,
                Err(error) => {
                    let text = error.to_string();
                    // Said once: it is tried again with every step.
                    if trouble.as_ref() != Some(&text) {
                        tracing::warn!(error = text, "the transparency log does not grow");
                        trouble = Some(text);
                    }
                }
            }
            let left = self.interval.saturating_sub(begun.elapsed());
            match stop.recv_timeout(left) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = self.step() {
            tracing::warn!(%error, "the last entries are under no checkpoint yet; the next start sees to it");
        }
    }

    /// Takes what is durable and not in the tree yet, and signs the tree that it makes.
    fn step(&mut self) -> Result<(), LogError> {
        // [LOG-2] An entry MUST NOT be under a checkpoint before it is durable in the journal.
        let durable = self.journal.durable();
        // What failed between the files and the checkpoint is done again from what was signed last.
        if self.edge.size() != self.last.size {
            self.edge = restore(&self.folder, &self.journal, &self.last)?;
        }
        if durable == self.edge.size() {
            return self.ask_again();
        }
        let mut full = Vec::new();
        while self.edge.size() < durable {
            let entries = self.journal.entries(self.edge.size(), READ)?;
            if entries.is_empty() {
                break;
            }
            self.take(&entries, &mut full);
            for file in full.drain(..) {
                self.folder.write(&file)?;
            }
        }
        for file in self.edge.partial() {
            self.folder.write(&file)?;
        }
        let next = (self.edge.size(), self.edge.root());
        self.check_consistent(next)?;
        let (size, root) = next;
        let origin = self.signer.public().name().to_owned();
        let checkpoint = Checkpoint { origin, size, root: Digest(root.0) }.sign(&self.signer);
        // [LOG-25] Before anybody else sees it: after a crash no other tree of this size is signed.
        self.folder.write_checkpoint(checkpoint.note())?;
        self.last = Checkpointed { size, root, note: checkpoint.note().into() };
        let cosigned = self.cosign(&checkpoint);
        self.published.send_replace(self.last.clone());
        cosigned
    }

    /// Adds what witnesses say to the tree that was signed last; who does not answer in time is left out.
    fn cosign(&mut self, checkpoint: &SignedCheckpoint) -> Result<(), LogError> {
        let (folder, last) = (&self.folder, &self.last);
        let lines = self.cosigners.ask(checkpoint, &|before| consistency(folder, last, before));
        self.asked = Instant::now();
        if lines.is_empty() {
            return Ok(());
        }
        let cosigned = checkpoint.with_signatures(&lines)?;
        self.folder.write_checkpoint(cosigned.note())?;
        self.last.note = cosigned.note().into();
        Ok(())
    }

    /// Asks those witnesses for the last tree that did not answer when it was signed.
    fn ask_again(&mut self) -> Result<(), LogError> {
        let is_due = self.last.size > 0 && self.asked.elapsed() >= ASK_AGAIN;
        if !is_due || !self.cosigners.lacks(self.last.size) {
            return Ok(());
        }
        let checkpoint = SignedCheckpoint::parse(&self.last.note)?;
        let before = self.last.note.clone();
        self.cosign(&checkpoint)?;
        if before != self.last.note {
            self.published.send_replace(self.last.clone());
        }
        Ok(())
    }

    fn take(&mut self, entries: &[EntryBytes], full: &mut Vec<TileFile>) {
        let mut recent = lock(&self.recent);
        for entry in entries {
            if let Some(Entry { seal, .. }) = Entry::from_bytes(entry) {
                recent.push(seal, self.edge.size());
            }
            self.edge.push(entry, full);
        }
    }

    /// [LOG-5] Never signs a smaller tree or a different one: what is on the disk has to lead from the last one to this.
    fn check_consistent(&self, (size, root): (u64, tlog::Hash)) -> Result<(), LogError> {
        let (before, same) = (&self.last, self.last.size == size);
        if before.size == 0 || same && before.root == root {
            return Ok(());
        }
        let reader = TileHashReader::new(size, root, &self.folder);
        prove_tree(size, before.size, &reader)
            .and_then(|proof| check_tree(&proof, size, root, before.size, before.root))
            .map_err(|error| LogError::Different {
                size,
                before: before.size,
                error: error.to_string(),
            })
    }
}

/// The right edge of the tree that was signed last, from the files, and where they are no good from the journal.
///
/// # Errors
/// [`LogError::Smaller`] and [`LogError::Other`]: the journal is not the one that was signed.
pub(crate) fn restore(
    folder: &Folder,
    journal: &Follower,
    last: &Checkpointed,
) -> Result<Edge, LogError> {
    if journal.durable() < last.size {
        return Err(LogError::Smaller { size: last.size, entries: journal.durable() });
    }
    match from_files(folder, journal, last.size) {
        Ok(edge) if edge.root() == last.root => return Ok(edge),
        Ok(_) => tracing::warn!(
            "the tiles of the transparency log are not those that were signed; they are made anew"
        ),
        Err(error) => tracing::warn!(%error, "the tiles of the transparency log are made anew"),
    }
    let (mut edge, mut full) = (Edge::default(), Vec::new());
    while edge.size() < last.size {
        let left = usize::try_from(last.size - edge.size()).unwrap_or(READ);
        for entry in journal.entries(edge.size(), left.min(READ))? {
            edge.push(&entry, &mut full);
        }
        for file in full.drain(..) {
            folder.write(&file)?;
        }
    }
    if edge.root() == last.root { Ok(edge) } else { Err(LogError::Other { size: last.size }) }
}

fn from_files(folder: &Folder, journal: &Follower, size: u64) -> io::Result<Edge> {
    let full = Tile::FULL as u64;
    let (mut levels, mut hashes) = (Vec::new(), size);
    for level in 0..u8::MAX {
        if hashes == 0 {
            break;
        }
        let (number, width) = (hashes / full, usize::try_from(hashes % full).unwrap_or(0));
        let data = match width {
            0 => Vec::new(),
            width => folder.read(Tile { level, number, width })?,
        };
        let (tile, _) = data.as_chunks::<{ tlog::HASH_SIZE }>();
        levels.push(tile.iter().copied().map(Digest).collect());
        hashes = number;
    }
    let bundle = usize::try_from(size % full).unwrap_or(0);
    let entries = journal.entries(size - bundle as u64, bundle)?;
    Edge::restore(size, levels, entries).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "a tile has not as many hashes as it should")
    })
}

pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is shared is changed by one push at a time.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Entries that are read at a time.
pub(crate) const READ: usize = 1 << 14;
/// A witness that was down is back under the checkpoint of a quiet log by then.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Seals that are found without their index: of more than a second at full load.
const RECENT: usize = 1 << 16;
