//! RFC 6962 trees over the leaf hashes of one commit: `cmtp-spec/spec/13-receipts.md`.

use crate::hash::Digest;

/// The leaf hash of an entry.
pub fn leaf(entry: &[u8]) -> Digest {
    let mut image = Vec::with_capacity(1 + entry.len());
    image.push(LEAF);
    image.extend_from_slice(entry);
    Digest::of(&image)
}

/// The tree hash over `leaves`.
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The audit path of the leaf at `offset`, from the leaf upwards; empty where there is no such leaf.
pub fn path(leaves: &[Digest], offset: usize) -> Vec<Digest> {
    if leaves.len() < 2 || offset >= leaves.len() {
        return Vec::new();
    }
    let middle = split(leaves.len());
    let (left, right) = leaves.split_at(middle);
    let (mut path_below, sibling) = if offset < middle {
        (path(left, offset), root(right))
    } else {
        (path(right, offset - middle), root(left))
    };
    path_below.push(sibling);
    path_below
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

/// The largest power of two below `count`, which is at least 2.
const fn split(count: usize) -> usize {
    1 << (count - 1).ilog2()
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

    #[test]
    fn every_path_leads_to_the_root_and_no_other_does() {
        // [RCP-4]
        for count in 1..40_u32 {
            let leaves: Vec<_> = (0..count).map(|n| leaf(&n.to_be_bytes())).collect();
            let root = root(&leaves);
            for offset in 0..count {
                let mut path = path(&leaves, offset as usize);
                let leaf = leaves[offset as usize];
                assert!(verify_path(leaf, offset, count, &path, root));
                assert!(!verify_path(Digest::ZERO, offset, count, &path, root));
                assert!(!verify_path(leaf, count, count, &path, root));
                path.push(Digest::ZERO);
                assert!(!verify_path(leaf, offset, count, &path, root));
            }
        }
    }
}
