//! What was moved out of the write-ahead log: entries, records and keys, in a file of their own each.
//! `cmtp-spec/spec/17-journal.md`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cmtp_codec::journal::{Commit, Degree, HEADER, PieceKeys, header};
use cmtp_codec::{Entry, PublicKey};

use crate::journal::body::read_body;
use crate::journal::store::EntryBytes;
use crate::journal::wal;

/// Moves the commits of a log file that is not written to any more, and says where each one's record begins. The log may
/// be removed afterwards.
///
/// Entries come last: where they stand under their name, all three files are whole. Done twice, it does no harm.
pub(crate) fn write(
    folder: &Path,
    node: &PublicKey,
    first: u64,
    commits: impl Iterator<Item = io::Result<Commit>>,
) -> io::Result<Vec<(u64, u64)>> {
    let mut records = Part::create(folder, first, RECORDS)?;
    let mut keys = Part::create(folder, first, KEYS)?;
    let mut entries = Part::create(folder, first, ENTRIES)?;
    records.out.write_all(&header(node, first))?;
    let (mut places, mut at, mut record) = (Vec::new(), HEADER as u64, Vec::new());
    let mut synced = 0;
    for commit in commits {
        let commit = commit?;
        commit.encode_record(&mut record);
        places.push((commit.first, at));
        at += record.len() as u64;
        records.out.write_all(&record)?;
        if at - synced >= wal::TRICKLE {
            // A little at a time: the log's own syncs wait for whatever the disk has to do.
            records.out.get_ref().sync_data()?;
            synced = at;
        }
        for piece in &commit.pieces {
            keys.out.write_all(&piece.hidden.keys.0)?;
            entries.out.write_all(&piece.entry.to_bytes())?;
        }
    }
    records.finish()?;
    keys.finish()?;
    entries.finish()?;
    Ok(places)
}

/// One of the three files in the making; dropped before it is finished, it is removed.
struct Part {
    path: PathBuf,
    unfinished: PathBuf,
    out: io::BufWriter<File>,
    is_finished: bool,
}

impl Part {
    fn create(folder: &Path, first: u64, extension: &str) -> io::Result<Self> {
        let path = wal::path(folder, first, extension);
        // Not `.unfinished` beside the log's own, which may be in the making at the same time.
        let unfinished = path.with_extension(format!("{extension}-{}", wal::UNFINISHED));
        let file = wal::private(OpenOptions::new().create(true).truncate(true).write(true))
            .open(&unfinished)?;
        let out = io::BufWriter::with_capacity(BUFFER, file);
        Ok(Self { path, unfinished, out, is_finished: false })
    }

    /// Makes it durable, and gives it its name.
    fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        fs::rename(&self.unfinished, &self.path)?;
        self.is_finished = true;
        wal::sync_folder(&self.path)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_finished {
            // What is not whole only takes the room that may be missing.
            let _gone = fs::remove_file(&self.unfinished);
        }
    }
}

/// The three files. They are opened to be read: there are more of them than a process may have open.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    folder: PathBuf,
    first: u64,
}

impl Segment {
    /// Opens the files that begin with the entry `first`.
    pub(crate) fn open(folder: &Path, node: &PublicKey, first: u64) -> io::Result<Self> {
        let segment = Self { folder: folder.to_owned(), first };
        let mut head = [0; HEADER];
        segment.file(RECORDS)?.read_exact_at(&mut head, 0)?;
        if head == header(node, first) { Ok(segment) } else { Err(damaged("header")) }
    }

    /// The commit whose record begins at `at`, and where the next one would.
    pub(crate) fn read(&self, at: u64) -> io::Result<(Commit, u64)> {
        let (body, next) = read_body(&self.file(RECORDS)?, at)?;
        let (bare, count) = Commit::decode_bare(body.clone()).ok_or_else(|| damaged("head"))?;
        let offset = bare.first.checked_sub(self.first).ok_or_else(|| damaged("order"))?;
        let slots = |extension: &str, length: usize| {
            let mut slots = vec![0; count.saturating_mul(length)];
            self.file(extension)?
                .read_exact_at(&mut slots, offset.saturating_mul(length as u64))
                .map(|()| slots)
        };
        let (entries, keys) = (slots(ENTRIES, Entry::LENGTH)?, slots(KEYS, PieceKeys::LENGTH)?);
        let commit =
            Commit::decode_record(body, &entries, &keys).ok_or_else(|| damaged("record"))?;
        Ok((commit, next))
    }

    /// All entries, without what belongs to them.
    pub(crate) fn entries(&self) -> io::Result<Vec<EntryBytes>> {
        let bytes = fs::read(wal::path(&self.folder, self.first, ENTRIES))?;
        Ok(bytes.as_chunks().0.to_vec())
    }

    /// Overwrites the keys of these entries with zeros, and comes back when that is durable.
    pub(crate) fn destroy(&self, entries: &[u64], degree: Degree) -> io::Result<()> {
        let path = wal::path(&self.folder, self.first, KEYS);
        let file = OpenOptions::new().write(true).open(path)?;
        let zeros = match degree {
            Degree::Redact => &[0; PieceKeys::LENGTH][PieceKeys::LENGTH / 2..],
            Degree::Forget => &[0; PieceKeys::LENGTH][..],
        };
        for index in entries {
            let place = index.checked_sub(self.first).ok_or_else(|| damaged("order"))?;
            file.write_all_at(zeros, place.saturating_mul(PieceKeys::LENGTH as u64))?;
        }
        file.sync_data()
    }

    /// Index of the first entry.
    pub(crate) const fn first(&self) -> u64 {
        self.first
    }

    /// Bytes of the records file.
    pub(crate) fn size(&self) -> io::Result<u64> {
        Ok(self.file(RECORDS)?.metadata()?.len())
    }

    /// Entries from `index` on, `max` at most, without a look at the records; none where the file ends before it.
    pub(crate) fn entries_from(&self, index: u64, max: usize) -> io::Result<Vec<EntryBytes>> {
        let file = self.file(ENTRIES)?;
        let skip = index.checked_sub(self.first).ok_or_else(|| damaged("order"))?;
        let there = file.metadata()?.len() / Entry::LENGTH as u64;
        let left = usize::try_from(there.saturating_sub(skip)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(max).saturating_mul(Entry::LENGTH)];
        file.read_exact_at(&mut bytes, skip.saturating_mul(Entry::LENGTH as u64))?;
        Ok(bytes.as_chunks().0.to_vec())
    }

    fn file(&self, extension: &str) -> io::Result<File> {
        File::open(wal::path(&self.folder, self.first, extension))
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the journal's records are damaged: {what}"))
}

/// Endings of the three files.
pub(crate) const ENTRIES: &str = "entries";
const RECORDS: &str = "records";
const KEYS: &str = "keys";
const BUFFER: usize = 1 << 20;
