//! Copies a journal and its log to a folder that outlives the node. `cmtp-spec/spec/20-audit.md`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use cmtp_codec::KeyList;
use cmtp_codec::journal::{Commit, header};
use cmtp_codec::log::Tile;
use cmtp_spec::EntryType;

use crate::audit::error::AuditError;
use crate::audit::journal::{ENTRIES, Journal, Next, RECORDS, RecordKeys};
use crate::audit::log::{CHECKPOINT, LOG, Log};
use crate::audit::{JOURNAL, KEY_LIST};

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Entries.
    pub entries: u64,
    /// Entries under the checkpoint that was copied; 0 where there is none.
    pub logged: u64,
}

/// Copies what is under the last checkpoint of the node whose data are in `data`, or all where there is none, to the new
/// folder `archive`; the keys of the records to the new file `keys`, where one is named. The node may run.
///
/// Each file is durable once this returns. No later erasure reaches the copy.
///
/// # Errors
/// [`AuditError`] names the file; [`AuditError::Broken`] where the journal can't be read to its end.
pub fn export(data: &Path, archive: &Path, keys: Option<&Path>) -> Result<Exported, AuditError> {
    let mut journal = Journal::open(&data.join(JOURNAL), RecordKeys::Beside)?;
    let log = Log::in_folder(data);
    let checkpoint = match &log {
        Some(log) => log.checkpoint()?,
        None => None,
    };
    let logged = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.untrusted().size);
    let folder = archive.join(JOURNAL);
    make_new(archive)?;
    make_new(&folder)?;
    let mut keys = match keys {
        Some(path) => {
            let mut out = Out::create(path)?;
            out.write(&header(&journal.node(), 0))?;
            Some(out)
        }
        None => None,
    };
    let (mut files, mut entries, mut list) = (None, 0, None);
    loop {
        // A commit is copied whole, since one signature is over all of it.
        if checkpoint.is_some() && entries >= logged {
            break;
        }
        match journal.read()? {
            Next::Commit(commit) => {
                let files = match &mut files {
                    Some(files) => files,
                    None => files.insert(Files::create(&folder, &journal, commit.first)?),
                };
                files.add(&commit, keys.as_mut())?;
                entries = commit.first + commit.pieces.len() as u64;
                list = key_list(&commit).or(list);
            }
            Next::Entries(_) => {}
            Next::FileEnd => files.take().map_or(Ok(()), Files::finish)?,
            Next::Broken { index, what, .. } => {
                return Err(AuditError::Broken { folder: data.to_owned(), index, what });
            }
            Next::End => break,
        }
    }
    files.take().map_or(Ok(()), Files::finish)?;
    keys.map_or(Ok(()), Out::finish)?;
    if let (Some(log), Some(checkpoint)) = (&log, &checkpoint) {
        let folder = archive.join(LOG).join(log.number().to_string());
        copy_log(log, &folder, logged)?;
        write(&folder.join(CHECKPOINT), checkpoint.note().as_bytes())?;
    }
    let list = list.ok_or_else(|| AuditError::NoKeyList { path: data.to_owned() })?;
    // Last, since it is what an archive is told by.
    write(&archive.join(KEY_LIST), &list)?;
    sync(archive)?;
    Ok(Exported { entries, logged })
}

/// The key list that a commit notes, as bytes.
fn key_list(commit: &Commit) -> Option<Vec<u8>> {
    let noted = commit.pieces.iter().rev().find(|it| it.entry.entry_type == EntryType::KEYS)?;
    let content = noted.hidden.content(&noted.entry.seal)?;
    KeyList::from_bytes(content.clone()).ok()?;
    Some(content.to_vec())
}

fn copy_log(log: &Log, to: &Path, size: u64) -> Result<(), AuditError> {
    let full = Tile::FULL as u64;
    let (mut hashes, mut level) = (size, 0);
    while hashes > 0 {
        for number in 0..hashes.div_ceil(full) {
            let width = usize::try_from(hashes - number * full).unwrap_or(Tile::FULL);
            let tile = Tile { level, number, width: width.min(Tile::FULL) };
            if let Some(found) = log.tile(tile)? {
                write(
                    &to.join(tile.path()),
                    found.iter().map(|hash| hash.0).collect::<Vec<_>>().as_flattened(),
                )?;
            }
            if level == 0
                && let Some(bundle) = log.bundle(tile)?
            {
                write(&to.join(tile.bundle_path()), &bundle)?;
            }
        }
        hashes /= full;
        level += 1;
    }
    Ok(())
}

/// Records and entries of one file of the journal.
struct Files {
    records: Out,
    entries: Out,
    record: Vec<u8>,
}

impl Files {
    fn create(folder: &Path, journal: &Journal, first: u64) -> Result<Self, AuditError> {
        let path = |ending: &str| folder.join(format!("{first:020}.{ending}"));
        let mut records = Out::create(&path(RECORDS))?;
        records.write(&header(&journal.node(), first))?;
        Ok(Self { records, entries: Out::create(&path(ENTRIES))?, record: Vec::new() })
    }

    fn add(&mut self, commit: &Commit, mut keys: Option<&mut Out>) -> Result<(), AuditError> {
        commit.encode_record(&mut self.record);
        self.records.write(&self.record)?;
        for piece in &commit.pieces {
            self.entries.write(&piece.entry.to_bytes())?;
            if let Some(keys) = &mut keys {
                keys.write(&piece.hidden.keys.0)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(), AuditError> {
        self.records.finish()?;
        self.entries.finish()
    }
}

/// A new file, for its owner only.
struct Out {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Out {
    fn create(path: &Path) -> Result<Self, AuditError> {
        let mut options = OpenOptions::new();
        options.create_new(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(io_at(path))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::with_capacity(BUFFER, file) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), AuditError> {
        self.file.write_all(bytes).map_err(io_at(&self.path))
    }

    fn finish(mut self) -> Result<(), AuditError> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(io_at(&self.path))?;
        sync(crate::home::directory_of(&self.path))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), AuditError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
        fs::create_dir_all(folder).map_err(io_at(folder))?;
    }
    let mut out = Out::create(path)?;
    out.write(bytes)?;
    out.finish()
}

fn make_new(folder: &Path) -> Result<(), AuditError> {
    fs::create_dir(folder).map_err(io_at(folder))
}

fn sync(folder: &Path) -> Result<(), AuditError> {
    crate::home::sync_directory(folder).map_err(io_at(folder))
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> AuditError {
    let path = path.to_owned();
    move |source| AuditError::Io { path, source }
}

const BUFFER: usize = 1 << 20;
