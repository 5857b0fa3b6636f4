//! A log's files: in a folder, or served by a node. C2SP tlog-tiles.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cmtp_codec::log::{SignedCheckpoint, Tile};
use cmtp_codec::{Digest, Entry};
use cmtp_spec::limits;

use crate::audit::error::AuditError;
use crate::audit::served::Served;

/// Where a log's checkpoint and tiles are.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    number: u32,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Folder(PathBuf),
    Served(Served),
}

impl Log {
    /// The newest log below a data folder or archive: that with the highest number that has a checkpoint.
    pub(crate) fn in_folder(folder: &Path) -> Option<Self> {
        let logs = fs::read_dir(folder.join(LOG)).ok()?;
        let numbers = logs.filter_map(|log| log.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let log = |number: u32| folder.join(LOG).join(number.to_string());
        let newest = numbers.filter(|&number| log(number).join(CHECKPOINT).exists()).max()?;
        Some(Self { number: newest, place: Place::Folder(log(newest)) })
    }

    /// The checkpoint; `None` where it is none.
    pub(crate) fn checkpoint(&self) -> Result<Option<SignedCheckpoint>, AuditError> {
        let bytes = self.read(CHECKPOINT, limits::CHECKPOINT_MAX)?;
        let note = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(note.and_then(|note| SignedCheckpoint::parse(&note).ok()))
    }

    /// The log that is served below `url`, which ends in its number.
    pub(crate) fn served(url: &str) -> Result<Self, AuditError> {
        let url = url.trim_end_matches('/').trim_end_matches("/checkpoint").to_owned();
        let number = url.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        Ok(Self { number, place: Place::Served(Served::new(url)?) })
    }

    /// Its number.
    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    /// The entries beside a tile of leaves, each behind its length; of a narrow one that was filled since, its beginning.
    pub(crate) fn bundle(&self, tile: Tile) -> Result<Option<Vec<u8>>, AuditError> {
        let max = (Tile::FULL * ENTRY) as u64;
        let mut bytes = self.read(&tile.bundle_path(), max)?;
        if bytes.is_none() && tile.width < Tile::FULL {
            bytes = self.read(&tile.full().bundle_path(), max)?;
        }
        Ok(bytes.map(|mut bytes| {
            bytes.truncate(tile.width * ENTRY);
            bytes
        }))
    }

    /// The hashes of a tile; of a narrow one that was filled since, its beginning.
    pub(crate) fn tile(&self, tile: Tile) -> Result<Option<Vec<Digest>>, AuditError> {
        let max = (Tile::FULL * HASH) as u64;
        let mut bytes = self.read(&tile.path(), max)?;
        if bytes.is_none() && tile.width < Tile::FULL {
            bytes = self.read(&tile.full().path(), max)?;
        }
        let hashes = |bytes: Vec<u8>| {
            let (hashes, _) = bytes.as_chunks::<HASH>();
            hashes.iter().take(tile.width).copied().map(Digest).collect()
        };
        Ok(bytes.map(hashes))
    }

    /// A file of the log; `None` where there is none, or a longer one.
    pub(crate) fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, AuditError> {
        match &self.place {
            Place::Served(served) => served.get(name, max),
            Place::Folder(folder) => {
                let path = folder.join(name);
                let read = fs::metadata(&path).and_then(|found| match found.len() > max {
                    true => Ok(None),
                    false => fs::read(&path).map(Some),
                });
                match read {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    read => read.map_err(|source| AuditError::Io { path, source }),
                }
            }
        }
    }
}

/// The folder of the logs, below a node's data and in an archive.
pub(crate) const LOG: &str = "log";
/// The file with a log's last checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";
const HASH: usize = 32;
/// An entry in a bundle: its length in two bytes, and itself.
pub(crate) const ENTRY: usize = 2 + Entry::LENGTH;
