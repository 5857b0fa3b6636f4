//! The right edge of the tree, as files: what is not in full tiles yet. `cmtp-spec/spec/18-log.md`.

use cmtp_codec::Digest;
use cmtp_codec::log::{Levels, Tile, bundle};
use cmtp_codec::merkle::leaf;
use tlog_tiles::tlog::Hash;

use crate::journal::EntryBytes;

/// A tree that grows leaf by leaf; full tiles and bundles are handed out as they come about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edge {
    levels: Levels,
    /// The entries behind the last full bundle.
    entries: Vec<EntryBytes>,
}

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TileFile {
    pub(crate) name: TileName,
    pub(crate) data: Vec<u8>,
}

/// Which file: hashes of a level, or the entries of a tile of leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TileName {
    Hashes(Tile),
    Entries(Tile),
}

impl Edge {
    /// The edge of a tree of `size` leaves: the hashes of each level's last tile, and the entries behind the last full
    /// bundle. `None` where that is not what such a tree has there.
    pub(crate) fn restore(
        size: u64,
        levels: Vec<Vec<Digest>>,
        entries: Vec<EntryBytes>,
    ) -> Option<Self> {
        // The leaves are hashed again, so that entries and hashes can't be of two trees.
        let leaves = entries.iter().map(|entry| leaf(entry));
        let is_same = leaves.eq(levels.first().into_iter().flatten().copied());
        let levels = Levels::restore(size, levels).filter(|_| is_same)?;
        Some(Self { levels, entries })
    }

    /// Leaves of the tree.
    pub(crate) const fn size(&self) -> u64 {
        self.levels.size()
    }

    /// Takes the next leaf, and gives `full` the files that it fills.
    pub(crate) fn push(&mut self, entry: &EntryBytes, full: &mut Vec<TileFile>) {
        let entries = &mut self.entries;
        entries.push(*entry);
        self.levels.push(leaf(entry), |tile, hashes| {
            if tile.level == 0 {
                full.push(TileFile { name: TileName::Entries(tile), data: bundle(&*entries) });
                entries.clear();
            }
            full.push(TileFile { name: TileName::Hashes(tile), data: concat(hashes) });
        });
    }

    /// The files that are not full: one a level, and the last bundle.
    pub(crate) fn partial(&self) -> Vec<TileFile> {
        let hashes = self
            .levels
            .partial()
            .map(|(tile, hashes)| TileFile { name: TileName::Hashes(tile), data: concat(hashes) });
        let leaves = self.levels.partial().map(|(tile, _)| tile).find(|tile| tile.level == 0);
        let entries = leaves
            .map(|tile| TileFile { name: TileName::Entries(tile), data: bundle(&self.entries) });
        hashes.chain(entries).collect()
    }

    /// The tree hash.
    pub(crate) fn root(&self) -> Hash {
        Hash(self.levels.root().0)
    }
}

impl TileName {
    /// [LOG-6] The path below the log's own.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Hashes(tile) => tile.path(),
            Self::Entries(tile) => tile.bundle_path(),
        }
    }

    /// The folder of the narrower forms of a full one.
    pub(crate) fn partial_folder(&self) -> Option<String> {
        let (Self::Hashes(tile) | Self::Entries(tile)) = self;
        (tile.width == Tile::FULL).then(|| self.path() + ".p")
    }
}

fn concat(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

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
        let full = Tile { level: 0, number: 1_234_067, width: Tile::FULL };
        let name = TileName::Entries(full);
        assert_eq!(name.path(), "tile/entries/x001/x234/067");
        assert_eq!(name.partial_folder().as_deref(), Some("tile/entries/x001/x234/067.p"));
        let name = TileName::Hashes(Tile { level: 3, number: 1_234, width: 5 });
        assert_eq!((name.path().as_str(), name.partial_folder()), ("tile/3/x001/234.p/5", None));
    }
}
