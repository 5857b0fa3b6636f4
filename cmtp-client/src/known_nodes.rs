//! Which node answered where: what keeps a stranger from taking a known node's place.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use cmtp_codec::PublicKey;

use crate::home::{Existing, Home, write_whole};
use crate::url;

/// The nodes that were pinned, by `host:port`.
///
/// A file `known_nodes` in the home directory, one line for each: `host:port did number`, where the number is that of the
/// last key list seen.
#[derive(Clone, Debug)]
pub struct KnownNodes {
    home: Home,
    nodes: BTreeMap<String, KnownNode>,
}

/// A node that was pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownNode {
    /// Its root key.
    pub root: PublicKey,
    /// The number of the last key list that it showed.
    pub number: u64,
}

impl KnownNodes {
    /// Reads the file of `home`; there are no known nodes where there is no file.
    ///
    /// # Errors
    /// [`KnownNodesError::Malformed`] names the line, [`KnownNodesError::Io`] the file.
    pub fn load(home: &Home) -> Result<Self, KnownNodesError> {
        let path = home.file(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(KnownNodesError::Io { path, source }),
        };
        let mut nodes = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let malformed = || KnownNodesError::Malformed { path: path.clone(), line: number };
            let (place, node) = parse(line).ok_or_else(malformed)?;
            nodes.insert(place, node);
        }
        Ok(Self { home: home.clone(), nodes })
    }

    /// The node that is known at `host` and `port`.
    pub fn lookup(&self, host: &str, port: u16) -> Option<KnownNode> {
        self.nodes.get(&url::authority(host, port)).copied()
    }

    /// Whether the node with this root key is known, wherever it is.
    pub fn holds(&self, root: &PublicKey) -> bool {
        self.nodes.values().any(|node| node.root == *root)
    }

    /// Remembers `node` at `host` and `port`, or a higher key list number of it.
    ///
    /// # Errors
    /// [`KnownNodesError::Changed`] where another node is known there; [`KnownNodesError::Io`].
    pub fn pin(&mut self, host: &str, port: u16, node: KnownNode) -> Result<(), KnownNodesError> {
        self.change(host, port, node, Existing::Keep)
    }

    /// Remembers `node` at `host` and `port` in place of whichever was known there: only at a person's word.
    ///
    /// # Errors
    /// [`KnownNodesError::Io`].
    pub fn replace(
        &mut self,
        host: &str,
        port: u16,
        node: KnownNode,
    ) -> Result<(), KnownNodesError> {
        self.change(host, port, node, Existing::Replace)
    }

    fn change(
        &mut self,
        host: &str,
        port: u16,
        node: KnownNode,
        existing: Existing,
    ) -> Result<(), KnownNodesError> {
        let path = self.home.file(FILE);
        let failed = |source| KnownNodesError::Io { path: path.clone(), source };
        // Another process may have pinned a node since the file was read.
        let _lock = self.home.lock().map_err(failed)?;
        let mut now = Self::load(&self.home)?;
        let place = url::authority(host, port);
        let number = match now.nodes.get(&place) {
            Some(known) if known.root == node.root => known.number.max(node.number),
            Some(known) if existing == Existing::Keep => {
                return Err(KnownNodesError::Changed {
                    place,
                    known: known.root,
                    shown: node.root,
                });
            }
            _ => node.number,
        };
        now.nodes.insert(place, KnownNode { number, ..node });
        write_whole(&path, now.to_text().as_bytes(), Existing::Replace).map_err(failed)?;
        *self = now;
        Ok(())
    }

    fn to_text(&self) -> String {
        let line = |(place, node): (&String, &KnownNode)| {
            format!("{place} {} {}\n", node.root, node.number)
        };
        self.nodes.iter().map(line).collect()
    }
}

/// Why known nodes can't be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KnownNodesError {
    /// Another node is known there.
    #[error("{place} was {known} and now says it is {shown}")]
    Changed {
        /// `host:port`.
        place: String,
        /// The node that is known.
        known: PublicKey,
        /// The node that answered.
        shown: PublicKey,
    },
    /// A line is none of ours.
    #[error("{}, line {line}: expected `host:port did number`; correct the line, or remove it", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The file can't be read or written.
    #[error("known nodes {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl KnownNodesError {
    /// Whether the same may work later: only where the file system failed.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

fn parse(line: &str) -> Option<(String, KnownNode)> {
    let mut words = line.split(' ');
    let (place, did, number) = (words.next()?, words.next()?, words.next()?);
    let node = KnownNode { root: did.parse().ok()?, number: number.parse().ok()? };
    (words.next().is_none() && place.contains(':')).then(|| (place.to_owned(), node))
}

const FILE: &str = "known_nodes";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::testing::signing_key;

    fn node(seed: u8, number: u64) -> KnownNode {
        KnownNode { root: signing_key(seed).public(), number }
    }

    #[test]
    fn pins_are_kept_and_numbers_only_rise() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        let mut known = KnownNodes::load(&home).unwrap();
        assert_eq!(known.lookup("::1", 7), None);
        known.pin("::1", 7, node(1, 3)).unwrap();
        known.pin("h", 4433, node(2, 0)).unwrap();
        known.pin("::1", 7, node(1, 2)).unwrap();
        let read = KnownNodes::load(&home).unwrap();
        assert_eq!(read.lookup("::1", 7), Some(node(1, 3)));
        assert_eq!(read.lookup("h", 4433), Some(node(2, 0)));
        assert!(read.holds(&node(2, 0).root) && !read.holds(&node(3, 0).root));
        let text = fs::read_to_string(home.file(FILE)).unwrap();
        assert!(text.starts_with("[::1]:7 did:key:z6Mk"), "{text}");
    }

    #[test]
    fn a_changed_did_is_refused_and_both_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        let mut known = KnownNodes::load(&home).unwrap();
        known.pin("h", 1, node(1, 0)).unwrap();
        let error = known.pin("h", 1, node(2, 0)).unwrap_err().to_string();
        assert!(error.contains(&node(1, 0).root.to_string()), "{error}");
        assert!(error.contains(&node(2, 0).root.to_string()), "{error}");
        known.replace("h", 1, node(2, 0)).unwrap();
        assert_eq!(KnownNodes::load(&home).unwrap().lookup("h", 1), Some(node(2, 0)));
    }

    #[test]
    fn pins_of_two_processes_are_both_kept() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        let mut one = KnownNodes::load(&home).unwrap();
        let mut other = KnownNodes::load(&home).unwrap();
        one.pin("a", 1, node(1, 0)).unwrap();
        other.pin("b", 1, node(2, 0)).unwrap();
        let read = KnownNodes::load(&home).unwrap();
        assert!(read.lookup("a", 1).is_some() && read.lookup("b", 1).is_some());
    }

    #[test]
    fn a_broken_line_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        fs::write(home.file(FILE), "# mine\n\nh:1 did:key:nonsense 0\n").unwrap();
        let error = KnownNodes::load(&home).unwrap_err();
        assert!(matches!(error, KnownNodesError::Malformed { line: 3, .. }), "{error}");
    }
}
