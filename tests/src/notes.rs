//! What a node noted of its own in its journal.

use bytes::Bytes;
use cmtp_codec::journal::scan;
use cmtp_spec::EntryType;
use std::collections::BTreeMap;

use crate::Node;

/// The contents of all entries of this type, in their order.
///
/// # Panics
/// If the journal, of one log file, can't be read.
pub fn notes(node: &Node, entry_type: EntryType) -> Vec<String> {
    let log = node.data().join("journal").join(format!("{:020}.wal", 0));
    let file = Bytes::from(std::fs::read(log).expect("the journal's log"));
    let root = node.did.parse().expect("a DID");
    let scanned = scan(&file, &root, 0).expect("a log that holds");
    let pieces = scanned.commits.iter().flat_map(|(commit, _)| &commit.pieces);
    let own = pieces.filter(|piece| piece.entry.entry_type == entry_type);
    let text = own.map(|piece| {
        let content = piece.hidden.content(&piece.entry.seal).expect("a content");
        String::from_utf8(content.to_vec()).expect("text")
    });
    text.collect()
}

/// How often each reason was counted, in all summaries.
///
/// # Panics
/// If a summary is none.
pub fn refusals(node: &Node) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for line in notes(node, EntryType::SUMMARY).iter().flat_map(|text| text.lines()) {
        let (reason, count) = line.split_once(' ').expect("a reason and a count");
        *counted.entry(reason.to_owned()).or_default() += count.parse::<u64>().expect("a number");
    }
    counted
}
