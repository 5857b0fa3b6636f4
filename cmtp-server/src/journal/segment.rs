//! What was moved out of the write-ahead log: entries, records and keys, in a file of their own each.
//! `cmtp-spec/spec/17-journal.md`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cmtp_codec::{Entry, PublicKey};

use crate::journal::commit::{Commit, read_body};
use crate::journal::piece::PieceKeys;
use crate::journal::wal::{self, HEADER};

/// Moves the commits of a log file that is not written to any more. The log may be removed afterwards.
///
/// Entries come last: where they stand under their name, all three files are whole. Done twice, it does no harm.
pub(crate) fn write(
    folder: &Path,
    node: &PublicKey,
    first: u64,
    commits: &[(Commit, u64)],
) -> io::Result<()> {
    let commits = || commits.iter().map(|(commit, _)| commit);
    let pieces = || commits().flat_map(|commit| &commit.pieces);
    let head = wal::header(node, first);
    let header = [Bytes::copy_from_slice(&head)];
    let records = header.iter().cloned().chain(commits().map(Commit::encode_record));
    write_file(folder, first, RECORDS, records)?;
    let keys = pieces().map(|piece| Bytes::copy_from_slice(&piece.hidden.keys.0));
    write_file(folder, first, KEYS, keys)?;
    let entries = pieces().map(|piece| Bytes::copy_from_slice(&piece.entry.to_bytes()));
    write_file(folder, first, ENTRIES, entries)
}

fn write_file(
    folder: &Path,
    first: u64,
    extension: &str,
    parts: impl Iterator<Item = Bytes>,
) -> io::Result<()> {
    let path = wal::path(folder, first, extension);
    // Not `.unfinished` beside the log's own, which may be in the making at the same time.
    let unfinished = path.with_extension(format!("{extension}-{}", wal::UNFINISHED));
    let written = (|| {
        let file = wal::private(OpenOptions::new().create(true).truncate(true).write(true))
            .open(&unfinished)?;
        let mut out = io::BufWriter::with_capacity(BUFFER, file);
        for part in parts {
            out.write_all(&part)?;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&unfinished, &path)?;
        wal::sync_folder(&path)
    })();
    if written.is_err() {
        // What is not whole only takes the room that may be missing.
        let _gone = fs::remove_file(&unfinished);
    }
    written
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
        if head == wal::header(node, first) { Ok(segment) } else { Err(damaged("header")) }
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

    /// Bytes of the records file.
    pub(crate) fn size(&self) -> io::Result<u64> {
        Ok(self.file(RECORDS)?.metadata()?.len())
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
