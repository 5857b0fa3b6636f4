//! A journal's files, read in order: a node's own, or those of an archive. `cmtp-spec/spec/17-journal.md`.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cmtp_codec::audit::What;
use cmtp_codec::journal::{
    ALIGN, Commit, HEADER, PREFIX, PieceKeys, body_length, framed, header, scan,
};
use cmtp_codec::{Entry, PublicKey};
use cmtp_spec::binding;

use crate::audit::error::AuditError;

/// The files of a journal, and how far they were read.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    node: PublicKey,
    keys: RecordKeys,
    /// Whether records are left alone.
    entries_only: bool,
    next: u64,
    /// First index of the file that was begun last: one without entries is not begun again.
    begun: Option<u64>,
    current: Option<Current>,
}

/// Where the keys of the records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKeys {
    /// Beside the records, as a node has them.
    Beside,
    /// In a file of their own, as an archive may have them.
    In(PathBuf),
    /// Nowhere.
    Nowhere,
}

/// What comes next in a journal.
#[derive(Debug)]
#[non_exhaustive]
pub enum Next {
    /// A commit.
    Commit(Box<Commit>),
    /// Entries alone, where nothing else was asked for.
    Entries(Vec<[u8; Entry::LENGTH]>),
    /// The files can't be read on.
    Broken {
        /// The first entry that it concerns.
        index: u64,
        /// What is wrong.
        what: What,
        /// The entries of the commit that is not whole, as far as they are: one of them may be what was changed.
        entries: Vec<[u8; Entry::LENGTH]>,
    },
    /// One file is read to its end; there may be others.
    FileEnd,
    /// Nothing follows.
    End,
}

#[derive(Debug)]
enum Current {
    Log { bytes: Bytes, at: usize },
    Moved(Box<Moved>),
    Entries(BufReader<File>),
}

/// Records, entries and keys, read side by side.
#[derive(Debug)]
struct Moved {
    records: BufReader<File>,
    left: u64,
    entries: BufReader<File>,
    keys: Option<BufReader<File>>,
}

impl Clone for Journal {
    /// Goes on with the next file; for a journal of which no file is half read.
    fn clone(&self) -> Self {
        let (folder, keys) = (self.folder.clone(), self.keys.clone());
        let Self { node, entries_only, next, begun, .. } = *self;
        Self { folder, node, keys, entries_only, next, begun, current: None }
    }
}

impl Journal {
    /// Opens the journal in `folder`, of whichever node it is.
    ///
    /// # Errors
    /// [`AuditError`] where there is none.
    pub fn open(folder: &Path, keys: RecordKeys) -> Result<Self, AuditError> {
        let first = files(folder)?.into_iter().next();
        let (_, path) = first.ok_or_else(|| AuditError::NoJournal { folder: folder.to_owned() })?;
        let path = if path.extension().is_some_and(|ending| ending == ENTRIES) {
            path.with_extension(RECORDS)
        } else {
            path
        };
        let mut head = [0; HEADER];
        let read = File::open(&path).and_then(|mut file| file.read_exact(&mut head));
        read.map_err(|source| AuditError::Io { path: path.clone(), source })?;
        let node = head[NODE].try_into().map(PublicKey).unwrap_or(PublicKey([0; 32]));
        if !head.starts_with(&binding::JOURNAL_MAGIC) {
            return Err(AuditError::NoJournal { folder: folder.to_owned() });
        }
        if let RecordKeys::In(path) = &keys {
            check_keys(path, &node)?;
        }
        let folder = folder.to_owned();
        Ok(Self { folder, node, keys, entries_only: false, next: 0, begun: None, current: None })
    }

    /// Leaves the records alone from here on.
    #[must_use]
    pub const fn entries_only(mut self) -> Self {
        self.entries_only = true;
        self
    }

    /// The root key of the node whose journal it says it is.
    pub const fn node(&self) -> PublicKey {
        self.node
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the keys of the records are there.
    pub fn has_keys(&self) -> bool {
        self.keys != RecordKeys::Nowhere
    }

    /// The index of the next entry.
    pub const fn next_index(&self) -> u64 {
        self.next
    }

    /// Reads the next commit.
    ///
    /// # Errors
    /// [`AuditError`] where a file can't be read; what is wrong with what it holds is no error, but [`Next::Broken`].
    pub fn read(&mut self) -> Result<Next, AuditError> {
        let Some(current) = &mut self.current else { return self.begin_file() };
        let path = self.folder.join(format!("{:020}", self.next));
        let next = match current {
            Current::Log { bytes, at } => Ok(next_of_log(bytes, at, self.next, &self.node)),
            Current::Moved(moved) => moved.next(self.next),
            Current::Entries(file) => next_entries(file, self.next),
        };
        let next = next.map_err(|source| AuditError::Io { path, source })?;
        match &next {
            Next::Commit(commit) => self.next += commit.pieces.len() as u64,
            Next::Entries(entries) => self.next += entries.len() as u64,
            Next::FileEnd => self.current = None,
            Next::Broken { .. } | Next::End => {}
        }
        Ok(next)
    }

    fn begin_file(&mut self) -> Result<Next, AuditError> {
        for _ in 0..ATTEMPTS {
            let files = files(&self.folder)?;
            let is_next = |first: u64| first >= self.next && Some(first) != self.begun;
            let Some((first, path)) = files.into_iter().find(|(first, _)| is_next(*first)) else {
                return Ok(Next::End);
            };
            if first != self.next {
                return Ok(broken(self.next, "entries are missing before the next file"));
            }
            let begun = if path.extension().is_some_and(|ending| ending == ENTRIES) {
                self.begin_moved(&path)
            } else {
                self.begin_log(&path)
            };
            match begun {
                // A node that runs moved it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(AuditError::Io { path, source }),
                Ok(false) => {
                    return Ok(broken(self.next, "a header is not that of this node's journal"));
                }
                Ok(true) => {
                    self.begun = Some(first);
                    return self.read();
                }
            }
        }
        let source = io::Error::from(io::ErrorKind::NotFound);
        Err(AuditError::Io { path: self.folder.clone(), source })
    }

    fn begin_log(&mut self, path: &Path) -> io::Result<bool> {
        let bytes = Bytes::from(fs::read(path)?);
        // A log that was moved loses its name before it is written over for the next: what still has it was read whole.
        fs::metadata(path)?;
        let is_ours = bytes.get(..HEADER) == Some(&header(&self.node, self.next));
        self.current = Some(Current::Log { bytes, at: HEADER });
        Ok(is_ours)
    }

    fn begin_moved(&mut self, path: &Path) -> io::Result<bool> {
        if self.entries_only {
            let file = BufReader::with_capacity(BUFFER, File::open(path)?);
            self.current = Some(Current::Entries(file));
            return Ok(true);
        }
        let records = File::open(path.with_extension(RECORDS))?;
        let left = records.metadata()?.len().saturating_sub(HEADER as u64);
        let mut records = BufReader::with_capacity(BUFFER, records);
        let mut head = [0; HEADER];
        let is_ours = match records.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            read => read.map(|()| head == header(&self.node, self.next))?,
        };
        let keys = match &self.keys {
            RecordKeys::Beside => Some(File::open(path.with_extension(KEYS))?),
            RecordKeys::In(path) => {
                let mut file = File::open(path)?;
                let at = self.next.saturating_mul(PieceKeys::LENGTH as u64);
                file.seek(SeekFrom::Start(at.saturating_add(HEADER as u64)))?;
                Some(file)
            }
            RecordKeys::Nowhere => None,
        };
        let keys = keys.map(|keys| BufReader::with_capacity(BUFFER, keys));
        let entries = BufReader::with_capacity(BUFFER, File::open(path)?);
        self.current = Some(Current::Moved(Box::new(Moved { records, left, entries, keys })));
        Ok(is_ours)
    }
}

fn next_of_log(bytes: &Bytes, at: &mut usize, next: u64, node: &PublicKey) -> Next {
    if let Some(body) = framed(bytes, *at) {
        *at = body.end.next_multiple_of(ALIGN);
        return match Commit::decode(bytes.slice(body)) {
            Some(commit) => Next::Commit(Box::new(commit)),
            None => broken(next, NO_COMMIT),
        };
    }
    let rest = bytes.get(*at..).unwrap_or_default();
    // [JRN-7] A torn end is no damage, unless a later commit says that what is there was durable.
    let first = bytes.get(FIRST).and_then(|first| first.try_into().ok()).map(u64::from_be_bytes);
    let is_damaged = rest.iter().any(|&byte| byte != 0)
        && first.is_some_and(|first| scan(bytes, node, first).is_err());
    if is_damaged { broken(next, "a commit that was durable is damaged") } else { Next::FileEnd }
}

fn next_entries(file: &mut impl Read, next: u64) -> io::Result<Next> {
    let mut entries = vec![0; ENTRIES_AT_ONCE * Entry::LENGTH];
    let length = read_most(file, &mut entries)?;
    let (chunks, rest) = entries[..length].as_chunks::<{ Entry::LENGTH }>();
    Ok(match (chunks, rest) {
        ([], []) => Next::FileEnd,
        ([], _) => broken(next, "an entry is not whole"),
        (entries, _) => Next::Entries(entries.to_vec()),
    })
}

impl Moved {
    fn next(&mut self, next: u64) -> io::Result<Next> {
        if self.left == 0 {
            let mut more = [0];
            return match self.entries.read(&mut more)? {
                0 => Ok(Next::FileEnd),
                _ => Ok(broken(next, "an entry has no record")),
            };
        }
        let mut record = vec![0; PREFIX];
        if self.left < PREFIX as u64 || !read_all(&mut self.records, &mut record)? {
            return Ok(broken(next, NO_COMMIT));
        }
        let length = u64::from(body_length(&record).unwrap_or(0));
        let size = PREFIX as u64 + length;
        // A length beyond the file is damage, and no reason to make room for it.
        if size > self.left {
            return Ok(broken(next, NO_COMMIT));
        }
        let padded = size.next_multiple_of(ALIGN as u64).min(self.left);
        record.resize(usize::try_from(padded).unwrap_or(PREFIX), 0);
        if !read_all(&mut self.records, &mut record[PREFIX..])? {
            return Ok(broken(next, NO_COMMIT));
        }
        self.left -= padded;
        let Some(body) = framed(&record, 0) else { return Ok(broken(next, NO_COMMIT)) };
        let body = Bytes::from(record).slice(body);
        let Some((_, count)) = Commit::decode_bare(body.clone()) else {
            return Ok(broken(next, NO_COMMIT));
        };
        // Each has a row in the record, so that there is no room made for more than the record has.
        if count > body.len() {
            return Ok(broken(next, NO_COMMIT));
        }
        let mut entries = vec![0; count * Entry::LENGTH];
        let whole = read_most(&mut self.entries, &mut entries)? / Entry::LENGTH;
        let (chunks, _) = entries.as_chunks::<{ Entry::LENGTH }>();
        let chunks = &chunks[..whole];
        let is_none = |bytes: &[u8; Entry::LENGTH]| Entry::from_bytes(bytes).is_none();
        if let Some(place) = chunks.iter().position(is_none) {
            let (index, entries) = (next + place as u64, chunks[..place].to_vec());
            return Ok(Next::Broken { index, what: What::NoEntry, entries });
        }
        let cut = |whole: usize, what| {
            let (index, entries) = (next + whole as u64, chunks.to_vec());
            Ok(Next::Broken { index, what: What::Files(what), entries })
        };
        if whole < count {
            return cut(whole, "the entries end before the records");
        }
        let mut keys = vec![0; count * PieceKeys::LENGTH];
        if let Some(file) = &mut self.keys {
            let whole = read_most(file, &mut keys)? / PieceKeys::LENGTH;
            if whole < count {
                return cut(whole, "the keys end before the records");
            }
        }
        match Commit::decode_record(body, &entries, &keys) {
            Some(commit) => Ok(Next::Commit(Box::new(commit))),
            None => cut(0, NO_COMMIT),
        }
    }
}

/// Files that can't be read on, in a place where no entry is known.
const fn broken(index: u64, what: &'static str) -> Next {
    Next::Broken { index, what: What::Files(what), entries: Vec::new() }
}

/// Fills `room`, unless the file ends before.
fn read_all(file: &mut impl Read, room: &mut [u8]) -> io::Result<bool> {
    Ok(read_most(file, room)? == room.len())
}

/// Fills `room` as far as the file goes.
pub(crate) fn read_most(file: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < room.len() {
        match file.read(&mut room[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// The files with entries, in their order; where there are both, what was moved and not its log.
pub(crate) fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>, AuditError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => AuditError::NoJournal { folder: folder.to_owned() },
        _ => AuditError::Io { path: folder.to_owned(), source },
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        let first = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (Some(ENTRIES | LOG), Some(first)) = (ending, first) {
            found.push((first, path));
        }
    }
    // `entries` stands before `wal`.
    found.sort();
    found.dedup_by_key(|(first, _)| *first);
    Ok(found)
}

/// Whether a file of record keys is one of this node's.
fn check_keys(path: &Path, node: &PublicKey) -> Result<(), AuditError> {
    let mut head = [0; HEADER];
    let read = File::open(path).and_then(|mut file| read_most(&mut file, &mut head));
    read.map_err(|source| AuditError::Io { path: path.to_owned(), source })?;
    if head == header(node, 0) { Ok(()) } else { Err(AuditError::NoKeys { path: path.to_owned() }) }
}

/// Where a file's header names its first entry.
const FIRST: std::ops::Range<usize> = 8..16;
/// Where it names the node.
const NODE: std::ops::Range<usize> = 16..48;
pub(crate) const ENTRIES: &str = "entries";
pub(crate) const RECORDS: &str = "records";
const KEYS: &str = "keys";
const LOG: &str = "wal";
const NO_COMMIT: &str = "a record is no whole commit";
const BUFFER: usize = 1 << 20;
const ENTRIES_AT_ONCE: usize = 4096;
/// A node moves a log once; a second look finds it moved.
const ATTEMPTS: usize = 3;
