//! The right edge of the tree: what is not in full tiles yet. `cmtp-spec/spec/18-log.md`.

use cmtp_codec::Digest;
use cmtp_codec::log::tile_path;
use cmtp_codec::merkle::leaf;
use tlog_tiles::tlog::{EMPTY_HASH, Hash, node_hash};
use tlog_tiles::{Tile, tlog};

use crate::journal::EntryBytes;

/// A tree that grows leaf by leaf; full tiles and bundles are handed out as they come about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edge {
    size: u64,
    /// The hashes of each level's last tile, fewer than 256.
    levels: Vec<Vec<Hash>>,
    /// The entries behind the last full bundle, as a bundle has them.
    bundle: Vec<u8>,
}

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TileFile {
    pub(crate) name: TileName,
    pub(crate) data: Vec<u8>,
}

/// Which file: hashes of a level, or entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TileName {
    Hashes(Tile),
    Entries { number: u64, width: u32 },
}

impl Edge {
    /// The edge of a tree of `size` leaves: the hashes of each level's last tile, and the entries behind the last full
    /// bundle. `None` where that is not what such a tree has there.
    pub(crate) fn restore(size: u64, levels: &[Vec<u8>], entries: &[EntryBytes]) -> Option<Self> {
        let mut edge = Self { size: size - size % WIDTH, ..Self::default() };
        for (level, data) in (0..).zip(levels) {
            let (hashes, rest) = data.as_chunks::<{ tlog::HASH_SIZE }>();
            let width = (size >> (HEIGHT * level)) % WIDTH;
            if !rest.is_empty() || hashes.len() as u64 != width {
                return None;
            }
            edge.levels.push(hashes.iter().copied().map(Hash).collect());
        }
        // The leaves are hashed again, so that entries and hashes can't be of two trees.
        let leaves = edge.levels.first_mut().map(std::mem::take).unwrap_or_default();
        entries.iter().for_each(|entry| edge.push(entry, &mut Vec::new()));
        let same = edge.levels.first().is_none_or(|again| *again == leaves);
        (same && edge.size == size).then_some(edge)
    }

    /// Leaves of the tree.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next leaf, and gives `full` the files that it fills.
    pub(crate) fn push(&mut self, entry: &EntryBytes, full: &mut Vec<TileFile>) {
        let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
        self.bundle.extend_from_slice(&length.to_be_bytes());
        self.bundle.extend_from_slice(entry);
        self.size += 1;
        if self.size.is_multiple_of(WIDTH) {
            let name = TileName::Entries { number: self.size / WIDTH - 1, width: FULL };
            full.push(TileFile { name, data: std::mem::take(&mut self.bundle) });
        }
        let Digest(mut hash) = leaf(entry);
        for level in 0..u8::MAX {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Vec::new());
            }
            let tile = &mut self.levels[usize::from(level)];
            tile.push(Hash(hash));
            if tile.len() < FULL as usize {
                return;
            }
            let data = concat(tile);
            tile.clear();
            hash = Tile::subtree_hash(&data).0;
            let number = (self.size >> (HEIGHT * (level + 1))) - 1;
            let name = TileName::Hashes(Tile::new(HEIGHT, level, number, FULL, false));
            full.push(TileFile { name, data });
        }
    }

    /// The files that are not full: one a level, and the last bundle.
    pub(crate) fn partial(&self) -> Vec<TileFile> {
        let mut files = Vec::new();
        for (level, tile) in (0..).zip(&self.levels) {
            if let Some(width) = u32::try_from(tile.len()).ok().filter(|&width| width > 0) {
                let number = self.size >> (HEIGHT * (level + 1));
                let name = TileName::Hashes(Tile::new(HEIGHT, level, number, width, false));
                files.push(TileFile { name, data: concat(tile) });
            }
        }
        let width = u32::try_from(self.size % WIDTH).unwrap_or(0);
        if width > 0 {
            let name = TileName::Entries { number: self.size / WIDTH, width };
            files.push(TileFile { name, data: self.bundle.clone() });
        }
        files
    }

    /// The tree hash.
    pub(crate) fn root(&self) -> Hash {
        let mut root: Option<Hash> = None;
        for tile in &self.levels {
            let data = concat(tile);
            // The perfect trees that a tile's hashes make up, the smallest, which is the last, first.
            let (mut width, mut end) = (tile.len(), data.len());
            while width > 0 {
                let perfect = 1 << width.trailing_zeros();
                let begin = end - perfect * tlog::HASH_SIZE;
                let left = Tile::subtree_hash(&data[begin..end]);
                root = Some(root.map_or(left, |right| node_hash(left, right)));
                (width, end) = (width - perfect, begin);
            }
        }
        root.unwrap_or(EMPTY_HASH)
    }
}

impl TileName {
    /// [LOG-6] The path below the log's own.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Hashes(tile) => tile_path(tile),
            Self::Entries { number, width } => {
                tile_path(&Tile::new(HEIGHT, 0, *number, *width, true))
            }
        }
    }

    /// The folder of the narrower forms of a full one.
    pub(crate) fn partial_folder(&self) -> Option<String> {
        let width = match self {
            Self::Hashes(tile) => tile.width(),
            Self::Entries { width, .. } => *width,
        };
        (width == FULL).then(|| self.path() + ".p")
    }
}

fn concat(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// Levels of the tree in one tile.
pub(crate) const HEIGHT: u8 = 8;
/// Hashes of a full tile, entries of a full bundle.
pub(crate) const FULL: u32 = 1 << HEIGHT;
const WIDTH: u64 = FULL as u64;

#[cfg(test)]
mod tests {
    use cmtp_codec::merkle::Tree;

    use super::*;

    fn entry(number: u32) -> EntryBytes {
        let mut entry: EntryBytes = [0; _];
        entry[..4].copy_from_slice(&number.to_be_bytes());
        entry
    }

    #[test]
    fn the_root_is_that_of_rfc_6962_at_every_size() {
        let (mut edge, mut full, mut leaves) = (Edge::default(), Vec::new(), Vec::new());
        assert_eq!(edge.root().0, Tree::new(Vec::new()).root().0);
        for number in 0..66_000 {
            edge.push(&entry(number), &mut full);
            leaves.push(leaf(&entry(number)));
            if number < 600 || number > 65_530 && number % 97 == 0 || number == 65_535 {
                assert_eq!(edge.root().0, Tree::new(leaves.clone()).root().0, "{number}");
            }
        }
        let full: Vec<_> = full.iter().map(|file| file.name.path()).collect();
        // 257 tiles of leaves, one above them, 257 bundles.
        assert_eq!(full.len(), 257 + 1 + 257);
        assert_eq!(full[..2], ["tile/entries/000", "tile/0/000"]);
        assert!(full.contains(&"tile/1/000".to_owned()));
        let partial: Vec<_> = edge.partial().iter().map(|file| file.name.path()).collect();
        let expected = ["tile/0/257.p/208", "tile/1/001.p/1", "tile/2/000.p/1"];
        assert_eq!(partial[..3], expected);
        assert_eq!(partial[3], "tile/entries/257.p/208");
    }

    #[test]
    fn paths_are_those_of_tlog_tiles() {
        let name = TileName::Entries { number: 1_234_067, width: FULL };
        assert_eq!(name.path(), "tile/entries/x001/x234/067");
        assert_eq!(name.partial_folder().as_deref(), Some("tile/entries/x001/x234/067.p"));
        let name = TileName::Hashes(Tile::new(HEIGHT, 3, 1_234, 5, false));
        assert_eq!((name.path().as_str(), name.partial_folder()), ("tile/3/x001/234.p/5", None));
    }
}
