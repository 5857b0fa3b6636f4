//! Where each entry of the journal is, in the log or moved out of it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use cmtp_codec::Entry;
use cmtp_codec::journal::Commit;

use crate::journal::body::read_body;
use crate::journal::segment::Segment;

/// Finds commits by index. Appended to by the writer, read by everybody.
#[derive(Debug, Default)]
pub(crate) struct Store {
    files: RwLock<BTreeMap<u64, Held>>,
    recent: Mutex<Recent>,
    /// By the index of the first entry of the commit that opened it: the number of a log.
    logs: RwLock<BTreeMap<u64, u32>>,
}

/// The newest entries, for who follows the journal: to read them from its files would mean to read the records, too.
#[derive(Debug, Default)]
struct Recent {
    /// Index of the first.
    first: u64,
    entries: VecDeque<EntryBytes>,
}

/// An entry as it is hashed.
pub(crate) type EntryBytes = [u8; Entry::LENGTH];

/// A file and where its commits begin: (first index, byte), ascending.
#[derive(Clone, Debug)]
struct Held {
    file: Source,
    commits: Vec<(u64, u64)>,
}

#[derive(Clone, Debug)]
enum Source {
    Log(Arc<File>),
    Moved(Segment),
}

impl Source {
    /// The commit that begins at `at`.
    fn read(&self, at: u64) -> io::Result<Commit> {
        match self {
            Self::Moved(segment) => segment.read(at).map(|(commit, _)| commit),
            Self::Log(file) => {
                let (body, _) = read_body(file, at)?;
                Commit::decode(body).ok_or_else(|| {
                    io::Error::new(io::ErrorKind::InvalidData, "the journal's log is damaged")
                })
            }
        }
    }
}

impl Store {
    /// A log file that begins with the entry `first`.
    pub(crate) fn add_log(&self, first: u64, file: File, commits: Vec<(u64, u64)>) {
        self.write().insert(first, Held { file: Source::Log(Arc::new(file)), commits });
    }

    /// What was moved: takes the place of its log.
    pub(crate) fn add_segment(&self, first: u64, segment: Segment, commits: Vec<(u64, u64)>) {
        self.write().insert(first, Held { file: Source::Moved(segment), commits });
    }

    /// A commit was written to the log that is being written.
    pub(crate) fn committed(&self, commit: &Commit, at: u64) {
        self.log_opened(commit);
        if let Some(mut last) = self.write().last_entry() {
            last.get_mut().commits.push((commit.first, at));
        }
        self.recent().push(commit);
    }

    /// The number of entries up to the newest that was written since the store was opened; 0 where none was.
    pub(crate) fn written(&self) -> u64 {
        let recent = self.recent();
        recent.first + recent.entries.len() as u64
    }

    /// Takes note of the log that a commit opens, if it does.
    pub(crate) fn log_opened(&self, commit: &Commit) {
        if let Some(number) = commit.opened_log() {
            let mut logs = self.logs.write().unwrap_or_else(PoisonError::into_inner);
            logs.insert(commit.first, number);
        }
    }

    /// The number of the log of which the commit is that begins with the entry `first`.
    pub(crate) fn log_of(&self, first: u64) -> u32 {
        let logs = self.logs.read().unwrap_or_else(PoisonError::into_inner);
        logs.range(..=first).next_back().map_or(0, |(_, &number)| number)
    }

    /// Entries from `from` on, at least one and about `max` at most; none where there is none yet.
    pub(crate) fn entries(&self, from: u64, max: usize) -> io::Result<Vec<EntryBytes>> {
        if let Some(entries) = self.recent().get(from, max) {
            return Ok(entries);
        }
        let mut entries = Vec::new();
        while entries.len() < max {
            let next = from + entries.len() as u64;
            if let Some((Source::Moved(segment), _)) = self.find(next) {
                let moved = segment.entries_from(next, max - entries.len())?;
                if !moved.is_empty() {
                    entries.extend(moved);
                    continue;
                }
            }
            let commit = match self.read(next) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !entries.is_empty() => {
                    break;
                }
                read => read?,
            };
            let skip = usize::try_from(next - commit.first).unwrap_or(usize::MAX);
            entries.extend(commit.pieces.iter().skip(skip).map(|piece| piece.entry.to_bytes()));
        }
        Ok(entries)
    }

    /// The commits of the log that begins with the entry `first`, each read when its turn comes.
    pub(crate) fn log(&self, first: u64) -> impl Iterator<Item = io::Result<Commit>> + use<> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let held = files.get(&first).cloned();
        let commits =
            |Held { file, commits }: Held| commits.into_iter().map(move |(_, at)| file.read(at));
        held.into_iter().flat_map(commits)
    }

    /// Shows every entry with its index; of what was moved without a look at the records.
    pub(crate) fn each_entry(&self, mut show: impl FnMut(u64, &EntryBytes)) -> io::Result<()> {
        let firsts: Vec<u64> = {
            let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
            files.keys().copied().collect()
        };
        for first in firsts {
            if let Some((segment, _)) = self.segment(first) {
                (first..).zip(&segment.entries()?).for_each(|(index, entry)| show(index, entry));
                continue;
            }
            for at in self.commits(first) {
                let commit = self.read(at)?;
                for (index, piece) in (commit.first..).zip(&commit.pieces) {
                    show(index, &piece.entry.to_bytes());
                }
            }
        }
        Ok(())
    }

    /// Where the entry `index` was moved to, and the file's first entry; `None` while it is in a log.
    pub(crate) fn segment(&self, index: u64) -> Option<(Segment, u64)> {
        match self.find(index)?.0 {
            Source::Moved(segment) => Some((segment.clone(), segment.first())),
            Source::Log(_) => None,
        }
    }

    /// First indexes of the commits of the file that begins with the entry `first`.
    fn commits(&self, first: u64) -> Vec<u64> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let held = files.get(&first).map(|held| held.commits.iter().map(|(first, _)| *first));
        held.into_iter().flatten().collect()
    }

    /// The commit that holds the entry `index`.
    pub(crate) fn read(&self, index: u64) -> io::Result<Commit> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no entry {index}"));
        let (file, at) = self.find(index).ok_or_else(missing)?;
        let commit = file.read(at).or_else(|error| match self.find(index) {
            // The log was moved, and written over for the next, between the look and the read.
            Some((moved @ Source::Moved(_), at)) => moved.read(at),
            _ => Err(error),
        })?;
        if index < commit.first + commit.pieces.len() as u64 { Ok(commit) } else { Err(missing()) }
    }

    /// The file, and the byte where the commit would begin. Nothing is read under the lock, for which the writer waits.
    fn find(&self, index: u64) -> Option<(Source, u64)> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let (_, held) = files.range(..=index).next_back()?;
        let place = held.commits.partition_point(|(first, _)| *first <= index);
        let (_, at) = held.commits.get(place.checked_sub(1)?)?;
        Some((held.file.clone(), *at))
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<u64, Held>> {
        self.files.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn push(&mut self, commit: &Commit) {
        if self.first + self.entries.len() as u64 != commit.first {
            (self.first, self.entries) = (commit.first, VecDeque::new());
        }
        self.entries.extend(commit.pieces.iter().map(|piece| piece.entry.to_bytes()));
        let surplus = self.entries.len().saturating_sub(RECENT);
        self.entries.drain(..surplus);
        self.first += surplus as u64;
    }

    /// `None` where they are older than what is kept, or not there yet.
    fn get(&self, from: u64, max: usize) -> Option<Vec<EntryBytes>> {
        let skip = usize::try_from(from.checked_sub(self.first)?).ok()?;
        let entries: Vec<_> = self.entries.iter().skip(skip).take(max).copied().collect();
        (!entries.is_empty()).then_some(entries)
    }
}

/// Entries that are kept at hand: 4.5 MB, more than a second's at full load.
const RECENT: usize = 1 << 16;
