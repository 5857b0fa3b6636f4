//! The right edge of a tree that grows: what its root is computed from.

use crate::hash::Digest;
use crate::merkle::node;

/// An RFC 6962 tree of which only the edge is kept: one hash for each bit that is set in its size.
///
/// ```
/// use cmtp_codec::log::Frontier;
/// use cmtp_codec::merkle::{Tree, leaf};
///
/// let leaves = vec![leaf(b"first"), leaf(b"second"), leaf(b"third")];
/// let mut frontier = Frontier::default();
/// leaves.iter().for_each(|leaf| frontier.push(*leaf));
/// assert_eq!(frontier.root(), Tree::new(leaves).root());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the perfect trees that the leaves make up, the largest, which is the first, first.
    edge: Vec<Digest>,
}

impl Frontier {
    /// The frontier of `size` leaves with this edge; `None` where a tree of that size has another number of hashes there.
    pub fn restore(size: u64, edge: Vec<Digest>) -> Option<Self> {
        (edge.len() == size.count_ones() as usize).then_some(Self { size, edge })
    }

    /// Leaves of the tree.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What [`Frontier::restore`] takes.
    pub fn edge(&self) -> &[Digest] {
        &self.edge
    }

    /// Takes the hash of the next leaf.
    pub fn push(&mut self, leaf: Digest) {
        self.push_with(leaf, |_level, _number, _hash| {});
    }

    /// As [`Frontier::push`], and tells `complete` of each node that the leaf completes, the leaf itself first: its level,
    /// its place in the level, and its hash. Those of every eighth level are what tiles hold.
    pub fn push_with(&mut self, leaf: Digest, mut complete: impl FnMut(u32, u64, Digest)) {
        let (mut number, mut hash) = (self.size, leaf);
        complete(0, number, hash);
        for level in 1..=self.size.trailing_ones() {
            let Some(left) = self.edge.pop() else { break };
            hash = node(&left, &hash);
            number >>= 1;
            complete(level, number, hash);
        }
        self.edge.push(hash);
        // Nobody lives to see the last leaf of a tree of 2^64.
        self.size = self.size.saturating_add(1);
    }

    /// The tree hash; of no leaves at all, the hash of nothing.
    pub fn root(&self) -> Digest {
        let mut smallest_first = self.edge.iter().rev().copied();
        let Some(smallest) = smallest_first.next() else { return Digest::of(&[]) };
        smallest_first.fold(smallest, |right, left| node(&left, &right))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::merkle::{Tree, leaf};

    #[test]
    fn the_root_is_that_of_the_tree_at_every_size() {
        let (mut frontier, mut leaves) = (Frontier::default(), Vec::new());
        for number in 0..300_u32 {
            assert_eq!(frontier.root(), Tree::new(leaves.clone()).root(), "{number} leaves");
            let restored = Frontier::restore(frontier.size(), frontier.edge().to_vec());
            assert_eq!(restored.as_ref(), Some(&frontier));
            leaves.push(leaf(&number.to_be_bytes()));
            frontier = restored.unwrap();
            frontier.push(leaves[number as usize]);
        }
        assert_eq!(frontier.edge().len(), 4, "300 is 256 + 32 + 8 + 4");
        assert_eq!(Frontier::restore(300, vec![Digest::ZERO; 3]), None);
    }

    #[test]
    fn each_node_is_told_once_and_when_it_is_complete() {
        let leaves: Vec<_> = (0..300_u32).map(|number| leaf(&number.to_be_bytes())).collect();
        let (mut frontier, mut told) = (Frontier::default(), Vec::new());
        for leaf in &leaves {
            frontier.push_with(*leaf, |level, number, hash| told.push((level, number, hash)));
        }
        let at = |level: u32, number: u64| {
            let mut found = told.iter().filter(|(l, n, _)| (*l, *n) == (level, number));
            (found.next().map(|(_, _, hash)| *hash), found.count())
        };
        assert_eq!(at(0, 299), (Some(leaves[299]), 0));
        assert_eq!(at(8, 0), (Some(Tree::new(leaves[..256].to_vec()).root()), 0));
        assert_eq!(at(2, 74), (Some(Tree::new(leaves[296..].to_vec()).root()), 0));
        assert_eq!(at(8, 1), (None, 0), "44 leaves are no tree of 256");
    }
}
