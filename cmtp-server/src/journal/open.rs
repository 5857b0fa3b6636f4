//! Opens the journal: finishes what was begun, cuts off what was torn, shows everything to who keeps an index of it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::thread;

use cmtp_codec::PublicKey;
use cmtp_codec::journal::{Commit, Damage, HEADER, Piece, Scanned, scan};
use cmtp_codec::log::log_origin;
use cmtp_spec::EntryType;
use tokio::sync::watch;

use crate::journal::clerk::{self, Clerk};
use crate::journal::segment::ENTRIES;
use crate::journal::store::Store;
use crate::journal::wal::{self, UNFINISHED, WAL, Wal};
use crate::journal::writer::{Chore, Committer, Mover, Writer, open_segment};
use crate::journal::{Journal, JournalConfig};
use crate::node_keys::NodeKeys;

/// A message that was begun and has no final seal: a crash came between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenMessage {
    /// The entries of its pieces so far.
    pub(crate) pieces: Vec<u64>,
}

/// What opening a journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalReport {
    /// Entries in all.
    pub entries: u64,
    /// Commits in all.
    pub commits: u64,
    /// Whether the end of the log was torn and cut off; nothing in it had been acknowledged.
    pub torn: bool,
}

/// Reads the commits of a journal in order, changing nothing.
pub(crate) struct Walk<'a> {
    folder: &'a Path,
    node: &'a PublicKey,
    next: u64,
    open: BTreeMap<u64, OpenMessage>,
    report: JournalReport,
}

impl<'a> Walk<'a> {
    pub(crate) const fn new(folder: &'a Path, node: &'a PublicKey) -> Self {
        let report = JournalReport { entries: 0, commits: 0, torn: false };
        Self { folder, node, next: 0, open: BTreeMap::new(), report }
    }

    /// Shows every commit of the journal to `show`.
    pub(crate) fn all(
        &mut self,
        mut show: impl FnMut(&Commit),
    ) -> Result<JournalReport, JournalOpenError> {
        for (first, place) in files(self.folder)? {
            match place {
                Place::Moved { .. } => drop(self.segment(first, &mut show)?),
                Place::Log => match self.log(first, &mut show) {
                    // A node that runs has moved it meanwhile.
                    Err(JournalOpenError::Io { source, .. })
                        if source.kind() == io::ErrorKind::NotFound =>
                    {
                        drop(self.segment(first, &mut show)?);
                    }
                    read => drop(read?),
                },
            }
        }
        Ok(self.report.clone())
    }

    /// The messages that have no final seal.
    pub(crate) fn into_open(self) -> Vec<OpenMessage> {
        self.open.into_values().collect()
    }

    fn segment(
        &mut self,
        first: u64,
        show: &mut impl FnMut(&Commit),
    ) -> Result<(crate::journal::segment::Segment, Vec<(u64, u64)>), JournalOpenError> {
        self.expect(first, ENTRIES)?;
        let path = wal::path(self.folder, first, ENTRIES);
        open_segment(self.folder, self.node, first, |commit| self.take(commit, show))
            .map_err(|source| JournalOpenError::Io { path, source })
    }

    fn log(
        &mut self,
        first: u64,
        show: &mut impl FnMut(&Commit),
    ) -> Result<Scanned, JournalOpenError> {
        self.expect(first, WAL)?;
        let path = wal::path(self.folder, first, WAL);
        let io = |source| JournalOpenError::Io { path: path.clone(), source };
        let bytes = fs::read(&path).map_err(io)?.into();
        // A log that was moved loses its name before it is written over for the next: what still has it was read whole.
        fs::metadata(&path).map_err(io)?;
        let damaged = |damage| JournalOpenError::Damaged { path: path.clone(), damage };
        let scanned = scan(&bytes, self.node, first).map_err(damaged)?;
        scanned.commits.iter().for_each(|(commit, _)| self.take(commit, show));
        self.report.torn |= scanned.torn;
        Ok(scanned)
    }

    /// The entries of a file follow those before; else some are missing.
    fn expect(&self, first: u64, extension: &str) -> Result<(), JournalOpenError> {
        if first == self.next {
            return Ok(());
        }
        let path = wal::path(self.folder, first, extension);
        Err(JournalOpenError::Missing { path, next: self.next })
    }

    fn take(&mut self, commit: &Commit, show: &mut impl FnMut(&Commit)) {
        for (index, piece) in (commit.first..).zip(&commit.pieces) {
            self.follow(index, piece);
        }
        self.next = commit.first + commit.pieces.len() as u64;
        self.report.entries = self.next;
        self.report.commits += 1;
        show(commit);
    }

    fn follow(&mut self, index: u64, piece: &Piece) {
        match piece.entry.entry_type {
            EntryType::INTENT | EntryType::SEGMENT => {
                let message = self.open.entry(piece.begin);
                let message = message.or_insert(OpenMessage { pieces: Vec::new() });
                message.pieces.push(index);
            }
            _ => {
                self.open.remove(&piece.begin);
            }
        }
    }
}

impl Journal {
    /// Opens the journal in a folder, or begins one there; `show` sees every commit, the oldest first.
    ///
    /// # Errors
    /// [`JournalOpenError`] names the file. A log that ends in a torn commit is no error: it is cut off there.
    pub(crate) fn open(
        config: &JournalConfig,
        keys: Arc<NodeKeys>,
        mut show: impl FnMut(&Commit),
    ) -> Result<(Self, JournalReport, Vec<OpenMessage>), JournalOpenError> {
        let folder = config.folder.as_path();
        let node = keys.public();
        let lock = lock(folder)?;
        remove_unfinished(folder)?;
        let mut walk = Walk::new(folder, &node);
        let mut last_time = 0;
        let store = Arc::new(Store::default());
        let mut show = |commit: &Commit| {
            last_time = commit.time;
            store.log_opened(commit);
            show(commit);
        };
        let mut logs = Vec::new();
        for (first, place) in files(folder)? {
            let path = wal::path(folder, first, WAL);
            let io = |source| JournalOpenError::Io { path: path.clone(), source };
            if let Place::Moved { log_is_left } = place {
                let (segment, commits) = walk.segment(first, &mut show)?;
                store.add_segment(first, segment, commits);
                // The crash came between moving the log and removing it.
                if log_is_left {
                    fs::remove_file(&path).map_err(io)?;
                }
                continue;
            }
            let scanned = walk.log(first, &mut show)?;
            let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io)?;
            let size = cut(&file, &scanned, config.segment_bytes).map_err(io)?;
            let places = scanned.commits.iter().map(|(commit, at)| (commit.first, *at)).collect();
            store.add_log(first, file.try_clone().map_err(io)?, places);
            logs.push((first, file, scanned.end, size));
        }
        let (log_first, file, end, size) = match logs.pop() {
            Some(log) => log,
            None => {
                let (first, size) = (walk.next, config.segment_bytes);
                let path = wal::path(folder, first, WAL);
                let created = wal::create(&path, &node, first, size);
                let file = created.map_err(|source| JournalOpenError::Io { path, source })?;
                let clone = file.try_clone();
                let io = |source| JournalOpenError::Io { path: folder.to_owned(), source };
                store.add_log(first, clone.map_err(io)?, Vec::new());
                (first, file, HEADER as u64, size)
            }
        };
        let spare = Arc::new(Mutex::new(None));
        let mover = Mover {
            folder: folder.to_owned(),
            node,
            store: Arc::clone(&store),
            segment_bytes: config.segment_bytes,
            spare: Arc::clone(&spare),
        };
        let (mover, moving) = mover.start();
        for (first, ..) in logs {
            // The mover runs as long as its sender is there.
            let _running = mover.send(Chore::Move(first));
        }
        let committer = Committer {
            wal: Wal::new(file, end, size),
            next: walk.next,
            last_time,
            log_origin: log_origin(&node, store.log_of(u64::MAX)),
            merge_delay: config.merge_delay,
            keys: Arc::clone(&keys),
        };
        let signing = Arc::new(RwLock::new(keys));
        let (failed, has_failed) = watch::channel(None);
        let (durable, is_durable) = watch::channel(walk.next);
        let is_full = Arc::new(AtomicBool::new(false));
        let (sender, batches) = mpsc::channel();
        let (settled, results) = tokio::sync::mpsc::unbounded_channel();
        let clerk = Arc::new(Clerk::new(sender, settled));
        tokio::spawn(clerk::tell(results));
        tokio::spawn({
            let clerk = Arc::clone(&clerk);
            async move { clerk.run().await }
        });
        let writer = Writer {
            committer,
            folder: folder.to_owned(),
            segment_bytes: config.segment_bytes,
            log_first,
            signing: Arc::clone(&signing),
            notes: Vec::new(),
            store: Arc::clone(&store),
            mover,
            asked_spare: false,
            spare,
            failed,
            durable,
            is_full: Arc::clone(&is_full),
            metrics: config.metrics.clone(),
        };
        let writing = thread::spawn(move || writer.run(&batches));
        let report = walk.report.clone();
        let journal = Self {
            clerk,
            threads: Mutex::new(vec![writing, moving]),
            store,
            failed: has_failed,
            durable: is_durable,
            is_full,
            node,
            signing,
            lock: Mutex::new(Some(lock)),
        };
        Ok((journal, report, walk.into_open()))
    }
}

/// Zeros what stands behind the last whole commit, so that nothing of it is ever taken for one.
fn cut(file: &File, scanned: &Scanned, segment_bytes: u64) -> io::Result<u64> {
    let size = file.metadata()?.len().max(segment_bytes);
    if scanned.torn {
        file.set_len(scanned.end)?;
        wal::allocate(file, size)?;
        file.sync_all()?;
    }
    // What was read may have stood in memory only, and after a failed sync the system takes it for written: it is
    // written again, because it is built upon from here.
    let at = scanned.end - scanned.last.len() as u64;
    file.write_all_at(&scanned.last, at)?;
    file.sync_data()?;
    Ok(size)
}

/// One node at a time writes to a journal.
fn lock(folder: &Path) -> Result<File, JournalOpenError> {
    let io = |path: &Path, source| JournalOpenError::Io { path: path.to_owned(), source };
    fs::create_dir_all(folder).map_err(|source| io(folder, source))?;
    let path = folder.join("lock");
    let options = &mut OpenOptions::new();
    let file = wal::private(options.create(true).truncate(false).write(true)).open(&path);
    let file = file.map_err(|source| io(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalOpenError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io(&path, source)),
    }
}

fn remove_unfinished(folder: &Path) -> Result<(), JournalOpenError> {
    let io = |source| JournalOpenError::Io { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| extension.ends_with(UNFINISHED)) {
            fs::remove_file(&path).map_err(io)?;
        }
    }
    Ok(())
}

/// Where the entries from some index on stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Log,
    Moved { log_is_left: bool },
}

/// All files of the journal, by the index of their first entry.
fn files(folder: &Path) -> Result<BTreeMap<u64, Place>, JournalOpenError> {
    let io = |source| JournalOpenError::Io { path: folder.to_owned(), source };
    let (mut logs, mut moved) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        logs.extend(wal::first_of(&path, WAL));
        moved.extend(wal::first_of(&path, ENTRIES));
    }
    let mut files: BTreeMap<_, _> = logs.into_iter().map(|first| (first, Place::Log)).collect();
    for first in moved {
        let log_is_left = files.contains_key(&first);
        files.insert(first, Place::Moved { log_is_left });
    }
    Ok(files)
}

/// Why a journal can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalOpenError {
    /// A file can't be read or written.
    #[error("journal {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another node runs on it.
    #[error("journal {}: another cmtpd uses it; stop that one first, or choose another --data", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A file is missing.
    #[error("journal {}: entries from {next} on are missing before it; restore the folder from a backup", path.display())]
    Missing {
        /// The file before which some are missing.
        path: PathBuf,
        /// The first that is missing.
        next: u64,
    },
    /// What was durable is not whole any more.
    #[error("journal {}: {damage}; the disk lost what was acknowledged: restore the folder from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        damage: Damage,
    },
}
