//! The one thread that writes: takes what came in, signs it once, makes it durable once, lets the answers go.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cmtp_codec::journal::{ALIGN, Commit, HEADER, Hidden, PREFIX, Piece};
use cmtp_codec::log::log_origin;
use cmtp_codec::{Entry, PublicKey, Receipt, Signature};
use cmtp_spec::{EntryFlags, JournalMode};
use rustix::io::Errno;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use crate::journal::clerk::{Batch, Begin, Errand, Moving, Note, Settled};
use crate::journal::segment::{self, Segment};
use crate::journal::store::Store;
use crate::journal::wal::{self, LogFile, Spare, Wal};
use crate::journal::{JournalError, Recorded};
use crate::metrics::JournalMetrics;
use crate::node::now;
use crate::node_keys::NodeKeys;

/// What is to be journalled, and who waits for it.
pub(crate) struct Submission {
    pub(crate) mode: JournalMode,
    /// Without its time, which is the commit's.
    pub(crate) entry: Entry,
    /// The key in F; `None` where there is none in it.
    pub(crate) sealed_by: Option<PublicKey>,
    /// Index of the entry that the message began with; `None` where it begins here.
    pub(crate) begin: Option<u64>,
    pub(crate) hidden: Hidden,
    pub(crate) reply: oneshot::Sender<Result<Recorded, JournalError>>,
}

/// Signs and appends commits; knows no thread and no channel.
pub(crate) struct Committer<F> {
    pub(crate) wal: Wal<F>,
    pub(crate) next: u64,
    pub(crate) last_time: u64,
    pub(crate) keys: Arc<NodeKeys>,
    pub(crate) log_origin: String,
    pub(crate) merge_delay: u16,
}

impl<F: LogFile> Committer<F> {
    /// A commit of all that came in one mode, signed; nothing is written yet.
    pub(crate) fn prepare(
        &mut self,
        mode: JournalMode,
        drafts: Vec<(Entry, Option<u64>, Hidden)>,
        now: u64,
    ) -> (Commit, Vec<Receipt>) {
        // [JRN-8] Entry times MUST NOT decrease, whatever the clock does.
        self.last_time = self.last_time.max(now);
        let first = self.next;
        let piece = |(index, (entry, begin, hidden)): (u64, (Entry, Option<u64>, Hidden))| {
            let mut entry = Entry { time: self.last_time, ..entry };
            // [RCP-14] The entry flag `async` MUST be set in mode `async`, and in no other.
            if mode == JournalMode::ASYNC {
                entry.flags.0 |= EntryFlags::ASYNC.0;
            }
            Piece { entry, begin: begin.unwrap_or(index), hidden }
        };
        let mut commit = Commit {
            first,
            durable: 0,
            mode,
            // [LOG-20] Within so many seconds the log has it under a checkpoint.
            merge_delay: self.merge_delay,
            time: self.last_time,
            signature: Signature([0; 64]),
            pieces: (first..).zip(drafts).map(piece).collect(),
        };
        let opened = self.opened_origin(&commit);
        let origin = opened.as_ref().unwrap_or(&self.log_origin);
        let receipts = commit.sign(origin, self.keys.layer_key());
        (commit, receipts)
    }

    /// [LOG-19] The R0s of a commit that opens a log are of that log, whatever an older one has at their indices.
    fn opened_origin(&self, commit: &Commit) -> Option<String> {
        commit.opened_log().map(|number| log_origin(&self.keys.public(), number))
    }

    /// Writes a prepared commit, and in mode `wal` makes it durable.
    ///
    /// # Errors
    /// Where writing failed, nothing happened; where [`CommitError::Sync`], the file can't be relied on any more.
    pub(crate) fn commit(&mut self, commit: &mut Commit) -> Result<u64, CommitError> {
        let (at, _) = self.wal.append(commit).map_err(CommitError::Write)?;
        self.next += commit.pieces.len() as u64;
        if let Some(opened) = self.opened_origin(commit) {
            self.log_origin = opened;
        }
        // [JRN-1] Not sent before its entry, and the layers under it, are durable.
        if commit.mode == JournalMode::WAL {
            self.wal.sync().map_err(CommitError::Sync)?;
        }
        Ok(at)
    }
}

/// What failed.
#[derive(Debug)]
pub(crate) enum CommitError {
    Write(io::Error),
    Sync(io::Error),
}

/// Where those who handed in a batch are told what came of it.
type Settling = UnboundedSender<Vec<Settled>>;

/// The thread.
pub(crate) struct Writer {
    pub(crate) committer: Committer<File>,
    pub(crate) folder: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) log_first: u64,
    /// The keys that sign, for who seals.
    pub(crate) signing: Arc<RwLock<Arc<NodeKeys>>>,
    /// What the journal has to note before anything else.
    pub(crate) notes: Vec<Note>,
    pub(crate) store: Arc<Store>,
    pub(crate) mover: Sender<Chore>,
    /// Whether a spare was asked for since the log began.
    pub(crate) asked_spare: bool,
    pub(crate) spare: Arc<Mutex<Option<Spare>>>,
    pub(crate) failed: watch::Sender<Option<String>>,
    /// The number of entries that are durable.
    pub(crate) durable: watch::Sender<u64>,
    /// Whether the disk was full at the last commit, so that it is said once.
    pub(crate) is_full: Arc<AtomicBool>,
    pub(crate) metrics: JournalMetrics,
}

impl Writer {
    /// Runs until nobody can send any more; what was sent is then journalled and durable.
    pub(crate) fn run(mut self, incoming: &Receiver<Batch>) {
        let mut written = Instant::now();
        loop {
            let first = if self.committer.wal.is_dirty() {
                incoming.recv_timeout(ASYNC_SYNC.saturating_sub(written.elapsed()))
            } else {
                incoming.recv().map_err(|_nobody_left| RecvTimeoutError::Disconnected)
            };
            match first {
                Ok(first) => {
                    if !self.committer.wal.is_dirty() {
                        written = Instant::now();
                    }
                    self.take(first, incoming);
                    if written.elapsed() >= ASYNC_SYNC {
                        self.sync();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.sync(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.sync();
                    return;
                }
            }
        }
    }

    /// Takes all that is waiting, up to a bound, and commits it.
    fn take(&mut self, first: Batch, incoming: &Receiver<Batch>) {
        let (mut quick, mut durable, mut errands) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(batch) = next {
            let (at_once, after_sync): (Vec<_>, Vec<_>) =
                batch.submissions.into_iter().partition(|it| it.mode != JournalMode::WAL);
            let pieces = at_once.iter().chain(&after_sync);
            bytes +=
                pieces.map(|it| it.hidden.content.len() + it.hidden.cores.len()).sum::<usize>();
            quick.push((batch.settled.clone(), at_once));
            durable.push((batch.settled, after_sync));
            // What comes behind it is sealed by the key that it brings.
            let is_last = matches!(batch.errand, Some(Errand::Begin(_)));
            errands.extend(batch.errand);
            let entries = quick.iter().chain(&durable).map(|(_, part)| part.len()).sum::<usize>();
            let room = entries < COMMIT_ENTRIES && bytes < COMMIT_BYTES && !is_last;
            next = if room { incoming.try_recv().ok() } else { None };
        }
        // What waits for no disk goes first.
        self.commit(JournalMode::ASYNC, quick);
        self.commit(JournalMode::WAL, durable);
        for errand in errands {
            match errand {
                Errand::Move(moving) => self.have_moved(moving),
                Errand::Begin(begin) => self.begin(begin),
            }
        }
    }

    /// [NKY-5] Signs with other keys from here on, and notes so before anything else is signed with them.
    fn begin(&mut self, Begin { keys, notes, noted }: Begin) {
        if let Some(keys) = keys {
            self.committer.keys = Arc::clone(&keys);
            *self.signing.write().unwrap_or_else(PoisonError::into_inner) = keys;
        }
        self.notes.extend(notes);
        if let Some(noted) = noted {
            // Where the runtime is gone nobody waits.
            let _gone = noted.send(self.note());
        }
    }

    /// Notes what has to be noted first.
    fn note(&mut self) -> Result<(), JournalError> {
        if self.notes.is_empty() {
            return Ok(());
        }
        self.try_commit(JournalMode::WAL, self.notes.clone())?;
        self.notes.clear();
        Ok(())
    }

    /// Ends the log that holds an entry, where it is the one that is written, and has the mover tell when it is moved.
    fn have_moved(&mut self, Moving { entry, moved }: Moving) {
        if self.failed.borrow().is_some() {
            return;
        }
        if entry >= self.log_first
            && entry < self.committer.next
            && let Err(error) = self.rotate(0)
        {
            self.refuse(error);
            return;
        }
        // The mover ends after the writer only.
        let _running = self.mover.send(Chore::Tell(moved));
    }

    /// Commits what several batches have of one mode, and tells each.
    fn commit(&mut self, mode: JournalMode, parts: Vec<(Settling, Vec<Submission>)>) {
        let (mut drafts, mut waiting) = (Vec::new(), Vec::new());
        for (settled, submissions) in parts {
            let mut replies = Vec::with_capacity(submissions.len());
            let mut outdated = Vec::new();
            for Submission { entry, sealed_by, begin, hidden, reply, .. } in submissions {
                // [NKY-5] R0 of a commit and the seals under it are of one key.
                if sealed_by.is_some_and(|key| key != self.committer.keys.layer_key().public()) {
                    outdated.push(Settled { reply, result: Err(JournalError::OtherKey) });
                    continue;
                }
                drafts.push((entry, begin, hidden));
                replies.push(reply);
            }
            if !outdated.is_empty() {
                // Where the runtime is gone nobody waits.
                let _gone = settled.send(outdated);
            }
            waiting.push((settled, replies));
        }
        if drafts.is_empty() {
            return;
        }
        let committed = self.note().and_then(|()| self.try_commit(mode, drafts));
        let mut results = committed.map(|(first, receipts)| {
            (first..).zip(receipts).map(|(index, receipt)| Recorded { receipt, index })
        });
        for (settled, replies) in waiting {
            let told = replies.into_iter().map(|reply| {
                let result = match &mut results {
                    Ok(recorded) => recorded.next().ok_or(JournalError::Failed),
                    Err(error) => Err(*error),
                };
                Settled { reply, result }
            });
            // Where the runtime is gone nobody waits.
            let _gone = settled.send(told.collect());
        }
    }

    fn try_commit(
        &mut self,
        mode: JournalMode,
        drafts: Vec<(Entry, Option<u64>, Hidden)>,
    ) -> Result<(u64, Vec<Receipt>), JournalError> {
        if self.failed.borrow().is_some() {
            return Err(JournalError::Failed);
        }
        let begun = Instant::now();
        let (mut commit, receipts) = self.committer.prepare(mode, drafts, now());
        let size = commit.size();
        if self.committer.wal.is_full_for(size) {
            self.rotate(size).map_err(|error| self.refuse(error))?;
        }
        match self.committer.commit(&mut commit) {
            Ok(at) => {
                if self.is_full.swap(false, Ordering::Relaxed) {
                    tracing::info!("the journal's disk has room again");
                }
                self.metrics.committed(receipts.len(), size, begun.elapsed());
                self.store.committed(&commit, at);
                if !self.committer.wal.is_dirty() {
                    self.durable.send_replace(self.committer.next);
                }
                if !self.asked_spare && self.committer.wal.is_half_full() {
                    self.asked_spare = true;
                    // The mover ends after the writer only.
                    let _running = self.mover.send(Chore::MakeSpare);
                }
                Ok((commit.first, receipts))
            }
            Err(CommitError::Write(error)) => Err(self.refuse(error)),
            Err(CommitError::Sync(error)) => Err(self.fail(&error)),
        }
    }

    /// Begins a new log file; the old one is moved behind our back.
    fn rotate(&mut self, size: usize) -> Result<(), io::Error> {
        let needed = (HEADER + PREFIX + ALIGN + size) as u64;
        let (first, room) = (self.committer.next, self.segment_bytes.max(needed));
        let path = wal::path(&self.folder, first, wal::WAL);
        // All of the old file is durable before anything stands in the new one.
        if let Err(error) = self.committer.wal.sync() {
            self.fail(&error);
            return Err(error);
        }
        self.durable.send_replace(self.committer.next);
        let node = self.committer.keys.public();
        let spare = lock(&self.spare).take().filter(|spare| spare.size >= room);
        let (file, room) = match spare.map(|spare| (spare.size, spare.begin(&path, &node, first))) {
            Some((size, Ok(file))) => (file, size),
            // One of its own then, or the error that says why there is none.
            _ => (wal::create(&path, &node, first, room)?, room),
        };
        self.store.add_log(first, file.try_clone()?, Vec::new());
        self.committer.wal = Wal::new(file, HEADER as u64, room);
        // The mover ends after the writer only.
        let _running = self.mover.send(Chore::Move(self.log_first));
        self.asked_spare = false;
        self.log_first = first;
        Ok(())
    }

    fn sync(&mut self) {
        match self.committer.wal.sync() {
            Ok(()) => drop(self.durable.send_replace(self.committer.next)),
            Err(error) => drop(self.fail(&error)),
        }
    }

    /// A full disk is refused and may have room again; anything else is the end.
    fn refuse(&self, error: io::Error) -> JournalError {
        match Errno::from_io_error(&error) {
            // A file that can't be made for want of descriptors is tried again, too.
            Some(Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE) => {
                if !self.is_full.swap(true, Ordering::Relaxed) {
                    let folder = self.folder.display();
                    tracing::warn!(%error, %folder, "requests are refused until the disk has room");
                }
                JournalError::Full
            }
            _ => self.fail(&error),
        }
    }

    /// [JRN-5] After a failed sync nobody knows what is on the disk: nothing is acknowledged any more.
    fn fail(&self, error: &io::Error) -> JournalError {
        let folder = self.folder.display();
        self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            if first {
                tracing::error!(%error, %folder, "the journal failed: nothing more is acknowledged");
                *failed = Some(format!("{folder}: {error}"));
            }
            first
        });
        JournalError::Failed
    }
}

/// What is done behind the writer's back.
pub(crate) enum Chore {
    /// A log that is not written to any more, named by its first index, is moved.
    Move(u64),
    /// The next log's file is made.
    MakeSpare,
    /// Somebody waits until all logs that were to be moved are.
    Tell(oneshot::Sender<()>),
}

/// Moves logs that are not written to any more, and makes new ones ahead.
pub(crate) struct Mover {
    pub(crate) folder: PathBuf,
    pub(crate) node: PublicKey,
    pub(crate) store: Arc<Store>,
    pub(crate) segment_bytes: u64,
    pub(crate) spare: Arc<Mutex<Option<Spare>>>,
}

impl Mover {
    /// Starts the thread; it ends when the sender is gone, all logs moved or the disk full.
    pub(crate) fn start(self) -> (Sender<Chore>, JoinHandle<()>) {
        let (sender, chores) = mpsc::channel();
        let thread = thread::spawn(move || {
            let (mut waiting, mut told) = (Vec::<u64>::new(), Vec::new());
            loop {
                let chore = if waiting.is_empty() {
                    chores.recv().map_err(|_writer_ended| RecvTimeoutError::Disconnected)
                } else {
                    chores.recv_timeout(MOVE_AGAIN)
                };
                let ends = matches!(chore, Err(RecvTimeoutError::Disconnected));
                match chore {
                    Ok(Chore::Move(first)) => waiting.push(first),
                    Ok(Chore::MakeSpare) => self.make_spare(None),
                    Ok(Chore::Tell(moved)) => told.push(moved),
                    Err(_) => {}
                }
                waiting.retain(|&first| self.try_move(first).is_err());
                if waiting.is_empty() {
                    // Who does not wait any more looks again.
                    for moved in told.drain(..) {
                        let _gone: Result<(), ()> = oneshot::Sender::send(moved, ());
                    }
                }
                // What is left is moved at the next start.
                if ends {
                    return;
                }
            }
        });
        (sender, thread)
    }

    /// Keeps a file ready for the next log, made of `old` where there is one.
    fn make_spare(&self, old: Option<&Path>) {
        if lock(&self.spare).is_some() {
            return;
        }
        match Spare::create(&self.folder, self.segment_bytes, old) {
            Ok(spare) => *lock(&self.spare) = spare,
            // The next log is then made when it is needed, or refused with the disk's own words.
            Err(error) => tracing::debug!(%error, "no spare log file"),
        }
    }

    fn try_move(&self, first: u64) -> Result<(), ()> {
        self.move_log(first).map_err(|error| {
            tracing::warn!(%error, first, "a log of the journal can't be moved yet; tried again");
        })
    }

    fn move_log(&self, first: u64) -> io::Result<()> {
        let path = wal::path(&self.folder, first, wal::WAL);
        let places = segment::write(&self.folder, &self.node, first, self.store.log(first))?;
        let segment = Segment::open(&self.folder, &self.node, first)?;
        self.store.add_segment(first, segment, places);
        self.make_spare(Some(&path));
        match std::fs::remove_file(&path) {
            // It is the spare.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| wal::sync_folder(&path)),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is shared is put and taken as a whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens what was moved, shows each of its commits, and says where they are.
pub(crate) fn open_segment(
    folder: &Path,
    node: &PublicKey,
    first: u64,
    mut show: impl FnMut(&Commit),
) -> io::Result<(Segment, Vec<(u64, u64)>)> {
    let segment = Segment::open(folder, node, first)?;
    let (mut commits, mut at, size) = (Vec::new(), HEADER as u64, segment.size()?);
    while at < size {
        let (commit, next) = segment.read(at)?;
        commits.push((commit.first, at));
        show(&commit);
        at = next;
    }
    Ok((segment, commits))
}

/// Entries after which a commit takes no further batch; one has as many as there are requests in flight, 4,096 at most, so an
/// audit path has 13 hashes at most.
const COMMIT_ENTRIES: usize = 1024;
/// Bytes after which a commit is closed, so that the buffer stays bounded.
const COMMIT_BYTES: usize = 32 << 20;
/// What was journalled in mode `async` is durable at the latest after this.
const ASYNC_SYNC: Duration = Duration::from_secs(1);
const MOVE_AGAIN: Duration = Duration::from_secs(1);
