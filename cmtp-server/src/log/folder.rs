//! The log's files: each is whole and durable once it stands under its name.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cmtp_client::{Existing, write_whole};
use cmtp_codec::log::Tile;
use tlog_tiles::TileReader;
use tlog_tiles::tlog::{Error, HASH_SIZE};

use crate::log::edge::TileFile;

/// The folder of one log, `DATA/log/NUMBER`: what is in it can be served as it is.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Writes a tile or bundle. A full one takes the place of its narrower forms.
    pub(crate) fn write(&self, file: &TileFile) -> io::Result<()> {
        let path = self.0.join(file.name.path());
        if let Some(parent) = path.parent() {
            make(parent)?;
        }
        write_whole(&path, &file.data, Existing::Replace)?;
        match file.name.partial_folder().map(|folder| fs::remove_dir_all(self.0.join(folder))) {
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The last checkpoint, where there is one.
    pub(crate) fn checkpoint(&self) -> io::Result<Option<String>> {
        match fs::read_to_string(self.0.join(CHECKPOINT)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    pub(crate) fn write_checkpoint(&self, note: &str) -> io::Result<()> {
        make(&self.0)?;
        write_whole(&self.0.join(CHECKPOINT), note.as_bytes(), Existing::Replace)
    }

    /// The hashes of a tile; of a narrow one that was filled since, its beginning.
    pub(crate) fn read(&self, tile: Tile) -> io::Result<Vec<u8>> {
        let exact = fs::read(self.0.join(tile.path()));
        let mut data = match exact {
            Err(error) if error.kind() == ErrorKind::NotFound && tile.width < Tile::FULL => {
                fs::read(self.0.join(tile.full().path()))?
            }
            read => read?,
        };
        data.truncate(tile.width * HASH_SIZE);
        Ok(data)
    }
}

impl TileReader for Folder {
    fn height(&self) -> u8 {
        HEIGHT
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |tile: &tlog_tiles::Tile| {
            let (level, number, width) = (tile.level(), tile.level_index(), tile.width() as usize);
            let tile = Tile { level, number, width };
            self.read(tile)
                .map_err(|error| Error::InvalidInput(format!("{}: {error}", tile.path())))
        };
        tiles.iter().map(read).collect()
    }

    /// They are where they were read.
    fn save_tiles(&self, _tiles: &[tlog_tiles::Tile], _data: &[Vec<u8>]) {}
}

/// Makes a folder and those above it, each durable.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(parent) = folder.parent() else { return Ok(()) };
    make(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

/// Levels of the tree in one tile.
const HEIGHT: u8 = 8;
/// Name of the file that holds the last checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";
