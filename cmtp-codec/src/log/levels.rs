//! The right edge of a log's tree, tile by tile: RFC 6962's hashes, cut as C2SP tlog-tiles cuts them.

use crate::hash::Digest;
use crate::log::tile::tile_path;
use crate::merkle::Tree;

/// A tile of hashes: its level, its number, and how many hashes it has, 256 where it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// 0 for the tiles of leaf hashes.
    pub level: u8,
    /// Its number in the level.
    pub number: u64,
    /// Hashes in it: 1 to [`Tile::FULL`].
    pub width: usize,
}

impl Tile {
    /// Hashes of a full tile.
    pub const FULL: usize = 256;

    /// Where it stands below its log: C2SP tlog-tiles.
    pub fn path(self) -> String {
        tile_path(&self.named(false))
    }

    /// Where the entries of a tile of leaves stand, beside it.
    pub fn bundle_path(self) -> String {
        tile_path(&self.named(true))
    }

    /// The full tile, of which a narrower one is the beginning.
    #[must_use]
    pub const fn full(self) -> Self {
        Self { width: Self::FULL, ..self }
    }

    /// The tile of leaves that holds the leaf `index` of a log of `size`.
    pub fn of_leaf(index: u64, size: u64) -> Self {
        let number = index / Self::FULL as u64;
        let left = size.saturating_sub(number.saturating_mul(Self::FULL as u64));
        let width = usize::try_from(left).unwrap_or(usize::MAX).min(Self::FULL);
        Self { level: 0, number, width }
    }

    fn named(self, is_data: bool) -> tlog_tiles::Tile {
        let width = u32::try_from(self.width.clamp(1, Self::FULL)).unwrap_or(1);
        let level = if is_data { 0 } else { self.level };
        tlog_tiles::Tile::new(HEIGHT, level, self.number, width, is_data)
    }

    /// Index of the first leaf under it.
    pub fn first_leaf(self) -> u64 {
        self.leaf(0)
    }

    /// Index of the first leaf under the hash at `place`.
    pub fn leaf(self, place: usize) -> u64 {
        let hashes = self.number.saturating_mul(Self::FULL as u64).saturating_add(place as u64);
        hashes.saturating_mul(1 << (u32::from(self.level).min(MAX_LEVEL) * BITS))
    }
}

/// The hashes of the tile that is not full yet, for each level: all that is needed of a tree to go on with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    size: u64,
    levels: Vec<Vec<Digest>>,
}

impl Levels {
    /// The number of leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The edge of a tree of `size` leaves, by the hashes of each level's last tile; `None` where such a tree has others.
    pub fn restore(size: u64, levels: Vec<Vec<Digest>>) -> Option<Self> {
        let width = |level: u32| size.checked_shr(level * BITS).unwrap_or(0) % Tile::FULL as u64;
        let is_its = (0..).zip(&levels).all(|(level, it)| it.len() as u64 == width(level));
        let above = u32::try_from(levels.len()).unwrap_or(u32::MAX).saturating_mul(BITS);
        (is_its && size.checked_shr(above).unwrap_or(0) == 0).then_some(Self { size, levels })
    }

    /// Adds a leaf hash; `full` sees each tile that it fills, the lowest level first.
    pub fn push(&mut self, leaf: Digest, mut full: impl FnMut(Tile, &[Digest])) {
        let (mut hash, mut level) = (leaf, 0);
        self.size += 1;
        let mut above = self.size;
        loop {
            if self.levels.len() <= level {
                self.levels.push(Vec::with_capacity(Tile::FULL));
            }
            let hashes = &mut self.levels[level];
            hashes.push(hash);
            above /= Tile::FULL as u64;
            if hashes.len() < Tile::FULL {
                return;
            }
            // A tree of 2^64 leaves has eight levels of tiles.
            let number = above - 1;
            let tile =
                Tile { level: u8::try_from(level).unwrap_or(u8::MAX), number, width: Tile::FULL };
            full(tile, hashes);
            hash = Tree::new(std::mem::take(hashes)).root();
            self.levels[level].reserve_exact(Tile::FULL);
            level += 1;
        }
    }

    /// The tree hash of all leaves so far.
    pub fn root(&self) -> Digest {
        let mut below: Option<Digest> = None;
        for hashes in &self.levels {
            // What is not a full tile yet is the odd last node of the level above it.
            let hashes: Vec<_> = hashes.iter().copied().chain(below).collect();
            if !hashes.is_empty() {
                below = Some(Tree::new(hashes).root());
            }
        }
        below.unwrap_or_else(|| Tree::new(Vec::new()).root())
    }

    /// The tiles that are not full, the lowest level first, with their hashes.
    pub fn partial(&self) -> impl Iterator<Item = (Tile, &[Digest])> {
        let tile = |(level, hashes): (u8, &'_ Vec<Digest>)| {
            let below = (u32::from(level) + 1) * BITS;
            let number = self.size.checked_shr(below).unwrap_or(0);
            Tile { level, number, width: hashes.len() }
        };
        let levels = (0..).zip(&self.levels).filter(|(_, hashes)| !hashes.is_empty());
        levels.map(move |(level, hashes)| (tile((level, hashes)), hashes.as_slice()))
    }
}

/// Leaves under a hash grow by this many bits with each level.
const BITS: u32 = Tile::FULL.ilog2();
/// The same, as the library wants it.
const HEIGHT: u8 = 8;
/// Hashes above it would stand for more leaves than an index can name.
const MAX_LEVEL: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::leaf;

    #[test]
    fn the_edge_has_the_root_of_the_tree() {
        let leaves: Vec<_> = (0..1_000_u32).map(|n| leaf(&n.to_be_bytes())).collect();
        let (mut levels, mut tiles) = (Levels::default(), 0);
        assert_eq!(levels.root(), Tree::new(Vec::new()).root());
        for (count, leaf) in (1..).zip(&leaves) {
            levels.push(*leaf, |tile, hashes| {
                tiles += 1;
                assert_eq!((tile.level, tile.width, hashes.len()), (0, 256, 256));
                assert_eq!(hashes[0], leaves[usize::try_from(tile.first_leaf()).unwrap_or(0)]);
            });
            if count % 37 == 0 || count % 256 < 2 {
                assert_eq!(levels.root(), Tree::new(leaves[..count].to_vec()).root(), "{count}");
            }
        }
        assert_eq!(tiles, 3);
        let edge: Vec<_> = levels.partial().map(|(_, hashes)| hashes.to_vec()).collect();
        assert_eq!(Levels::restore(1_000, edge.clone()), Some(levels.clone()));
        assert_eq!(Levels::restore(1_001, edge.clone()), None);
        assert_eq!(Levels::restore(1_000, edge[..1].to_vec()), None);
        let partial: Vec<_> = levels.partial().map(|(tile, _)| tile).collect();
        let expected =
            [Tile { level: 0, number: 3, width: 232 }, Tile { level: 1, number: 0, width: 3 }];
        assert_eq!(partial, expected);
        let paths: Vec<_> = expected.iter().map(|tile| tile.path()).collect();
        assert_eq!(paths, ["tile/0/003.p/232", "tile/1/000.p/3"]);
        assert_eq!(expected[0].full().bundle_path(), "tile/entries/003");
        assert_eq!(Tile::of_leaf(999, 1_000), expected[0]);
        assert_eq!(Tile::of_leaf(1_234_067 * 256, u64::MAX).path(), "tile/0/x001/x234/067");
    }
}
