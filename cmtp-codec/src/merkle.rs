//! RFC 6962 trees over the leaf hashes of one commit: `cmtp-spec/spec/13-receipts.md`.

use crate::hash::Digest;

/// The leaf hash of an entry.
pub fn leaf(entry: &[u8]) -> Digest {
    let mut image = Vec::with_capacity(1 + entry.len());
    image.push(LEAF);
    image.extend_from_slice(entry);
    Digest::of(&image)
}

/// The tree over the leaf hashes of one commit, hashed once and then asked for its root and for each entry's path.
///
/// ```
/// use cmtp_codec::merkle::{Tree, leaf, verify_path};
///
/// let leaves = vec![leaf(b"first"), leaf(b"second"), leaf(b"third")];
/// let tree = Tree::new(leaves.clone());
/// assert!(verify_path(leaves[2], 2, 3, &tree.path(2), tree.root()));
/// ```
#[derive(Clone, Debug)]
pub struct Tree {
    /// The leaves first, then each level half as long as the one below it, up to the root alone. The odd last node of a
    /// level stands in the next one as it is: this gives the same tree as RFC 6962's split at the largest power of two.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// Hashes the tree over `leaves`: one hash less than there are leaves.
    pub fn new(leaves: Vec<Digest>) -> Self {
        let mut levels =
            Vec::with_capacity(leaves.len().checked_ilog2().map_or(1, |log| log as usize + 2));
        let mut level = leaves;
        while level.len() > 1 {
            let above = level.chunks(2).map(parent).collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        levels.push(level);
        Self { levels }
    }

    /// The tree hash; of no leaves at all, the hash of nothing.
    pub fn root(&self) -> Digest {
        match self.levels.last().map(Vec::as_slice) {
            Some([root]) => *root,
            _ => Digest::of(&[]),
        }
    }

    /// The leaf hashes.
    pub fn leaves(&self) -> &[Digest] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// The audit path of the leaf at `offset`, from the leaf upwards; empty where there is no such leaf.
    pub fn path(&self, offset: usize) -> Vec<Digest> {
        if self.levels.first().is_none_or(|leaves| offset >= leaves.len()) {
            return Vec::new();
        }
        self.levels
            .iter()
            .zip(0..)
            .filter_map(|(level, height)| level.get((offset >> height) ^ 1).copied())
            .collect()
    }
}

/// Whether `path` leads from `leaf` at `offset` of `count` leaves to `root`: RFC 9162 section 2.1.3.2.
pub fn verify_path(leaf: Digest, offset: u32, count: u32, path: &[Digest], root: Digest) -> bool {
    if offset >= count {
        return false;
    }
    let (mut place, mut last, mut hash) = (offset, count - 1, leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if place % 2 == 1 || place == last {
            hash = node(sibling, &hash);
            while place.is_multiple_of(2) && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// The node above one or two of a level.
fn parent(children: &[Digest]) -> Digest {
    match children {
        [left, right] => node(left, right),
        [odd] => *odd,
        _ => Digest::of(&[]),
    }
}

fn node(left: &Digest, right: &Digest) -> Digest {
    let mut image = [NODE; 65];
    image[1..33].copy_from_slice(&left.0);
    image[33..].copy_from_slice(&right.0);
    Digest::of(&image)
}

const LEAF: u8 = 0;
const NODE: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962 section 2.1, word for word.
    fn tree_hash(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(&[]),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                node(&tree_hash(left), &tree_hash(right))
            }
        }
    }

    /// RFC 6962 section 2.1.1, word for word.
    fn audit_path(leaves: &[Digest], offset: usize) -> Vec<Digest> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let middle = split(leaves.len());
        let (left, right) = leaves.split_at(middle);
        let (mut path, sibling) = if offset < middle {
            (audit_path(left, offset), tree_hash(right))
        } else {
            (audit_path(right, offset - middle), tree_hash(left))
        };
        path.push(sibling);
        path
    }

    /// The largest power of two below `count`, which is at least 2.
    fn split(count: usize) -> usize {
        (0..).map(|log| 1 << log).take_while(|power| *power < count).last().unwrap_or(1)
    }

    fn leaves(count: u32) -> Vec<Digest> {
        (0..count).map(|n| leaf(&n.to_be_bytes())).collect()
    }

    #[test]
    fn the_tree_is_the_one_that_rfc_6962_defines() {
        // [RCP-4]
        for count in 0..=70 {
            let leaves = leaves(count);
            let tree = Tree::new(leaves.clone());
            assert_eq!(tree.root(), tree_hash(&leaves), "{count} leaves");
            for offset in 0..leaves.len() {
                assert_eq!(
                    tree.path(offset),
                    audit_path(&leaves, offset),
                    "leaf {offset} of {count}"
                );
            }
            assert!(tree.path(leaves.len()).is_empty(), "{count} leaves");
        }
    }

    #[test]
    fn every_path_leads_to_the_root_and_no_other_does() {
        // [RCP-4]
        for count in 1..=70 {
            let leaves = leaves(count);
            let tree = Tree::new(leaves.clone());
            let root = tree.root();
            for (offset, leaf) in (0..count).zip(leaves) {
                let mut path = tree.path(offset as usize);
                assert!(verify_path(leaf, offset, count, &path, root));
                assert!(!verify_path(Digest::ZERO, offset, count, &path, root));
                assert!(!verify_path(leaf, count, count, &path, root));
                assert_eq!(path.is_empty(), count == 1);
                path.push(Digest::ZERO);
                assert!(!verify_path(leaf, offset, count, &path, root));
            }
        }
    }
}
