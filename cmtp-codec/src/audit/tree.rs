//! Entries against the log: tiles, checkpoint, and the checkpoint that was kept.

use std::collections::VecDeque;

use crate::audit::finding::{Finding, RootOf, TileName, What};
use crate::hash::Digest;
use crate::log::{Levels, Tile};

/// A tree hash and how many entries it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// Entries.
    pub size: u64,
    /// RFC 6962's tree hash.
    pub root: Digest,
}

/// The tree of the entries as they come, beside what the log says of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct TreeCheck {
    log: Option<TreeHead>,
    kept: Vec<TreeHead>,
    entries: Levels,
    /// The tree of the tiles' leaves, once an entry was another.
    tiles: Option<Levels>,
    /// Leaf hashes of the log ahead of the entries; `None` where the tile is missing.
    ahead: VecDeque<Option<Digest>>,
    /// Leaves that the tiles so far stand for.
    told: u64,
    /// Tiles above the leaves, to be compared.
    made: VecDeque<Made>,
}

/// A tile above the leaves, as the entries make it, and as the tiles below make it where they differ from those.
#[derive(Clone, Debug)]
struct Made {
    tile: Tile,
    by_entries: Vec<Digest>,
    by_tiles: Option<Vec<Digest>>,
}

impl TreeCheck {
    pub(crate) fn log(&mut self, head: TreeHead) -> Option<Finding> {
        self.log = Some(head);
        let kept =
            self.kept.iter().filter(|kept| kept.size > head.size).max_by_key(|it| it.size)?;
        Some(Finding::at(head.size, What::Shrunk { size: head.size, kept: kept.size }))
    }

    pub(crate) fn kept(&mut self, head: TreeHead) {
        self.kept.push(head);
    }

    pub(crate) fn size(&self) -> u64 {
        self.log.map_or(0, |log| log.size)
    }

    /// The log's leaf hashes behind the entries so far, as far as their tiles were handed in.
    pub(crate) fn ahead(&self) -> impl Iterator<Item = Digest> {
        self.ahead.iter().map_while(|leaf| *leaf)
    }

    pub(crate) fn root(&self) -> Digest {
        self.entries.root()
    }

    /// The tile that is to be handed in before the entries below `through`.
    pub(crate) fn wanted(&self, through: u64) -> Option<Tile> {
        if let Some(made) = self.made.front() {
            return Some(made.tile);
        }
        if self.told >= through.min(self.size()) {
            return None;
        }
        let left = usize::try_from(self.size() - self.told).unwrap_or(usize::MAX);
        let number = self.told / Tile::FULL as u64;
        Some(Tile { level: 0, number, width: left.min(Tile::FULL) })
    }

    /// Takes a tile that was wanted; `None`: it can't be read.
    pub(crate) fn tile(&mut self, tile: Tile, hashes: Option<&[Digest]>) -> Option<Finding> {
        let hashes = hashes.filter(|hashes| hashes.len() == tile.width);
        let missing = Finding::at(tile.first_leaf(), What::NoTile(TileName(tile)));
        if tile.level == 0 {
            self.told += tile.width as u64;
            match hashes {
                Some(hashes) => self.ahead.extend(hashes.iter().copied().map(Some)),
                None => self.ahead.extend(std::iter::repeat_n(None, tile.width)),
            }
            return hashes.is_none().then_some(missing);
        }
        let made = self.made.pop_front()?;
        let Some(hashes) = hashes else { return Some(missing) };
        let other = |made: &[Digest]| made.iter().zip(hashes).position(|(made, told)| made != told);
        // Where the tiles below were changed, and this one was not, that was said of the leaf.
        let place = other(&made.by_entries)?.max(made.by_tiles.map_or(Some(0), |it| other(&it))?);
        Some(Finding::at(tile.leaf(place), What::OtherTile(TileName(tile))))
    }

    /// Takes the next entry's leaf hash; whether it is the log's, where the log has one there.
    pub(crate) fn leaf(&mut self, leaf: Digest, findings: &mut Vec<Finding>) -> bool {
        let is_logged = self.entries.size() < self.size();
        let told = if is_logged { self.ahead.pop_front().flatten() } else { None };
        let is_same = told.is_none_or(|told| told == leaf);
        if !is_same && self.tiles.is_none() {
            self.tiles = Some(self.entries.clone());
        }
        let (mut by_entries, mut by_tiles) = (Vec::new(), Vec::new());
        let keep = |made: &mut Vec<_>, tile: Tile, hashes: &[Digest]| {
            if is_logged && tile.level > 0 {
                made.push((tile, hashes.to_vec()));
            }
        };
        self.entries.push(leaf, |tile, hashes| keep(&mut by_entries, tile, hashes));
        if let Some(tiles) = &mut self.tiles {
            tiles.push(told.unwrap_or(leaf), |tile, hashes| keep(&mut by_tiles, tile, hashes));
        }
        self.keep(by_entries, by_tiles);
        self.check_heads(findings);
        is_same
    }

    /// Compares with the heads that are over as many entries as there are now.
    fn check_heads(&mut self, findings: &mut Vec<Finding>) {
        let size = self.entries.size();
        // [AUD-9] The first entries MUST be those that the kept checkpoint was over.
        for kept in self.kept.iter().filter(|kept| kept.size == size) {
            let by_tiles = self.tiles.as_ref().is_some_and(|tiles| tiles.root() == kept.root);
            if self.entries.root() != kept.root && !by_tiles {
                findings.push(Finding::of_log(What::OtherRoot { size, by: RootOf::Kept }));
            }
        }
        let Some(log) = self.log.filter(|log| log.size == size) else { return };
        let by_entries = self.entries.root() == log.root;
        let by_tiles = self.tiles.as_ref().map(|tiles| tiles.root() == log.root);
        match (by_entries, by_tiles) {
            (true, Some(false)) => findings.push(Finding::of_log(What::TileAtFault)),
            (true, _) | (false, Some(true)) => {}
            (false, _) => {
                findings.push(Finding::of_log(What::OtherRoot { size, by: RootOf::Checkpoint }));
            }
        }
        let above = |levels: &Levels| {
            let above = levels.partial().filter(|(tile, _)| tile.level > 0);
            above.map(|(tile, hashes)| (tile, hashes.to_vec())).collect()
        };
        let by_tiles = self.tiles.as_ref().map_or(Vec::new(), above);
        self.keep(above(&self.entries), by_tiles);
    }

    /// Both have the same tiles, or `by_tiles` has none.
    fn keep(&mut self, by_entries: Vec<(Tile, Vec<Digest>)>, by_tiles: Vec<(Tile, Vec<Digest>)>) {
        let mut by_tiles = by_tiles.into_iter().map(|(_, hashes)| hashes);
        let made = by_entries.into_iter().map(|(tile, by_entries)| Made {
            tile,
            by_entries,
            by_tiles: by_tiles.next(),
        });
        self.made.extend(made);
    }
}
