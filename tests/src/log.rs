//! What somebody outside saw of a node's log and journal, and whether the node stands by it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cmtp_codec::log::{Checkpoint, SignedCheckpoint, VerifierKey};
use cmtp_codec::merkle::leaf;
use cmtp_codec::{Digest, Entry};
use data_encoding::HEXLOWER;

use crate::http;
use crate::load::Receipt;

/// Fetches the checkpoint over HTTP all the time, whether the node is there or not, and keeps each that it gets.
#[derive(Debug)]
pub struct Watcher {
    seen: Arc<Mutex<Vec<Checkpoint>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Watches the log that is served at this port.
    pub fn start(port: u16, key: VerifierKey) -> Self {
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (mine, until) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut last = None;
            while !until.load(Ordering::Relaxed) {
                let checkpoint = fetch(port, &key);
                if checkpoint.is_some() && checkpoint != last {
                    last.clone_from(&checkpoint);
                    mine.lock().expect("nobody panicked").extend(checkpoint);
                }
                std::thread::sleep(PACE);
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// What it got so far, in order.
    ///
    /// # Panics
    /// If a checkpoint did not verify.
    pub fn seen(&self) -> Vec<Checkpoint> {
        self.seen.lock().expect("every checkpoint verified").clone()
    }

    /// The same, and no more after that.
    ///
    /// # Panics
    /// If a checkpoint did not verify.
    pub fn finish(mut self) -> Vec<Checkpoint> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_some_and(|ended| ended.is_ok()), "every checkpoint verifies");
        self.seen()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The checkpoint that is served now; `None` while there is none.
///
/// # Panics
/// If it does not verify.
pub fn fetch(port: u16, key: &VerifierKey) -> Option<Checkpoint> {
    let (head, note) = http::get(port, "/log/0/checkpoint").ok()?;
    if !head.starts_with("HTTP/1.1 200") {
        return None;
    }
    let note = String::from_utf8(note).expect("a checkpoint is text");
    let signed = SignedCheckpoint::parse(&note).expect("a checkpoint");
    Some(signed.verify(key).expect("the log's signature").into_inner())
}

/// Every way in which a log that is served breaks what was seen or received before; none where it holds.
///
/// `entries` is what the journal holds, so that it is known for how long there is something to wait for.
///
/// # Panics
/// If a file of the log is missing, or the log does not reach `entries`.
pub fn faults(
    port: u16,
    key: &VerifierKey,
    entries: u64,
    seen: &[Checkpoint],
    received: &[Receipt],
) -> Vec<String> {
    let begun = Instant::now();
    let newest = loop {
        match fetch(port, key) {
            Some(newest) if newest.size >= entries => break newest,
            other => assert!(begun.elapsed() < PATIENCE, "of {entries} entries: {other:?}"),
        }
        std::thread::sleep(PACE);
    };
    let mut faults = order(seen);
    let entries = download(port, newest.size);
    // All that were seen are roots of one list of leaves, so that each is consistent with each.
    let mut roots: BTreeMap<u64, Digest> = BTreeMap::new();
    let mut tree = Edge::default();
    let mut sizes = seen.iter().chain([&newest]).map(|it| it.size).collect::<Vec<_>>();
    sizes.sort_unstable();
    let mut sizes = sizes.into_iter().peekable();
    for size in 0..=newest.size {
        while sizes.next_if_eq(&size).is_some() {
            roots.insert(size, tree.root());
        }
        if let Some(entry) = usize::try_from(size).ok().and_then(|index| entries.get(index)) {
            tree.push(leaf(entry));
        }
    }
    for checkpoint in seen.iter().chain([&newest]) {
        match roots.get(&checkpoint.size) {
            Some(root) if *root == checkpoint.root => {}
            Some(_) => faults.push(format!("the tree of {} entries is another", checkpoint.size)),
            None => {
                faults
                    .push(format!("{} entries of a checkpoint's {}", newest.size, checkpoint.size));
            }
        }
    }
    let lost = received.iter().filter(|receipt| !is_at_its_index(receipt, &entries)).count();
    if lost > 0 {
        let all = received.len();
        faults.push(format!("{lost} of {all} answers are not in the log at their index"));
    }
    faults
}

/// Checkpoints as they came: none smaller than one before, none of one size with another root.
fn order(seen: &[Checkpoint]) -> Vec<String> {
    let pairs = seen.iter().zip(seen.iter().skip(1));
    let wrong = pairs.filter(|(before, after)| after.size <= before.size);
    wrong.map(|(before, after)| format!("{after:?} came after {before:?}")).collect()
}

fn is_at_its_index(receipt: &Receipt, entries: &[[u8; Entry::LENGTH]]) -> bool {
    let bytes = usize::try_from(receipt.index).ok().and_then(|index| entries.get(index));
    bytes.and_then(Entry::from_bytes).is_some_and(|entry| {
        (entry.message_id, entry.status.0) == (receipt.message_id, receipt.status)
            && HEXLOWER.encode(&entry.seal.0) == receipt.seal
    })
}

/// All entries of a log of this size.
fn download(port: u16, size: u64) -> Vec<[u8; Entry::LENGTH]> {
    let mut entries = Vec::new();
    for number in 0..size.div_ceil(WIDTH) {
        let width = (size - number * WIDTH).min(WIDTH);
        let name = match number {
            0..1_000 => format!("{number:03}"),
            _ => format!("x{:03}/{:03}", number / 1_000, number % 1_000),
        };
        let full = format!("/log/0/tile/entries/{name}");
        let exact = if width < WIDTH { format!("{full}.p/{width}") } else { full.clone() };
        // [LOG-6] A narrow tile may be gone once the full one is there.
        let bundle = [exact, full].iter().find_map(|path| {
            let (head, bundle) = http::get(port, path).expect("the node answers");
            head.starts_with("HTTP/1.1 200").then_some(bundle)
        });
        let bundle =
            bundle.unwrap_or_else(|| panic!("bundle {number} of {size} entries is missing"));
        let (framed, rest) = bundle.as_chunks::<{ 2 + Entry::LENGTH }>();
        assert!(rest.is_empty(), "bundle {number} has whole entries");
        for entry in framed.iter().take(usize::try_from(width).expect("at most 256")) {
            assert_eq!(entry[..2], [0, 68], "bundle {number}");
            entries.push(entry[2..].try_into().expect("68 bytes"));
        }
    }
    assert_eq!(entries.len() as u64, size);
    entries
}

/// The full subtrees at the right edge of a growing tree (RFC 6962), the largest first, each with its leaves.
#[derive(Debug, Default)]
struct Edge(Vec<(u64, Digest)>);

impl Edge {
    fn push(&mut self, leaf: Digest) {
        let mut last = (1, leaf);
        while let Some((leaves, left)) = self.0.pop_if(|(leaves, _)| *leaves == last.0) {
            last = (leaves * 2, node(&left, &last.1));
        }
        self.0.push(last);
    }

    fn root(&self) -> Digest {
        let roots = self.0.iter().rev().map(|(_, root)| *root);
        roots.reduce(|right, left| node(&left, &right)).unwrap_or_else(|| Digest::of(&[]))
    }
}

fn node(left: &Digest, right: &Digest) -> Digest {
    Digest::of(&[&[1], &left.0[..], &right.0[..]].concat())
}

/// Entries of a full bundle.
const WIDTH: u64 = 256;
/// Between two looks: so that who watches leaves the machine to who works.
const PACE: Duration = Duration::from_millis(5);
/// Longer than any node takes to have its journal under a checkpoint.
const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;
    use cmtp_codec::merkle::Tree;

    #[test]
    fn the_edge_has_the_root_of_all_leaves() {
        let (mut edge, mut leaves) = (Edge::default(), Vec::new());
        for number in 0..70_u8 {
            leaves.push(leaf(&[number]));
            edge.push(leaf(&[number]));
            assert_eq!(edge.root(), Tree::new(leaves.clone()).root(), "{number}");
        }
    }

    #[test]
    fn a_smaller_or_another_checkpoint_is_a_fault() {
        let at = |size, byte| Checkpoint { origin: "x".into(), size, root: Digest([byte; 32]) };
        assert!(order(&[at(1, 0), at(2, 0), at(3, 1)]).is_empty());
        assert_eq!(order(&[at(2, 0), at(1, 0)]).len(), 1);
        assert_eq!(order(&[at(2, 0), at(2, 1)]).len(), 1);
    }
}
