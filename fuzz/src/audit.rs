//! What an auditor makes of a journal.

use bytes::BytesMut;

use cmtp_codec::audit::{Auditor, read_report};
use cmtp_codec::journal::{Commit, Hidden, Piece, PieceKeys, redacted};
use cmtp_codec::log::{bundle, log_origin, read_bundle};
use cmtp_codec::{Chain, Digest, Entry, Message, Signature, StepTaken, Unverified, message_status};
use cmtp_spec::{EntryFlags, EntryType, JournalMode, Opcode, Status};

use crate::node::NODE;
use crate::stored::reseal;

/// Takes bytes as a report, as a bundle of a log, as a commit's body, and as a stored message whose place and bit of a change come first.
///
/// - What is read as a bundle is written as it was read.
/// - Any commit ends in findings, each at an entry of it.
/// - `[AUD-2]` `[AUD-5]` A message that the node sealed and journalled is found sound, but for its process and its clock;
///   with a bit of its record or its entry turned it is found at its own index.
pub fn audit(data: &[u8]) {
    if let Ok(note) = std::str::from_utf8(data)
        && let Some((_, lines)) = read_report(note)
    {
        assert!(note.contains(lines));
    }
    if let Some(entries) = read_bundle(data) {
        assert_eq!(bundle(&entries), data);
    }
    if let Some(commit) = Commit::decode(data.to_vec().into()) {
        let mut auditor = auditor();
        auditor.commit(&commit);
        let (summary, findings) = auditor.finish(0);
        assert_eq!(summary.entries, commit.pieces.len() as u64);
        assert!(findings.iter().all(|it| it.index.is_none_or(|index| index <= summary.entries)));
    }
    let Some((change, file)) = data.split_first_chunk::<4>() else { return };
    let Ok(message) = Unverified::from_stored(file.to_vec()) else { return };
    let Some(message) = reseal(message.into_untrusted()) else { return };
    let Some(mut commit) = journalled(&message) else { return };
    let (all, _) = found(&commit);
    let last = commit.pieces.len() as u64;
    let is_known = |kind: &str| matches!(kind, "process" | "skew");
    assert!(all.iter().all(|(_, kind)| is_known(kind)), "{all:?}");
    let [place, side, at, bit] = *change;
    // The first entry is the node's own note.
    let place = 1 + usize::from(place) % (commit.pieces.len() - 1);
    let piece = &mut commit.pieces[place];
    let turned = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let length = bytes.len();
        bytes[usize::from(at) % length] ^= 1 << (bit % 8);
        bytes
    };
    match side % 3 {
        0 => piece.hidden.content = turned(&piece.hidden.content).into(),
        1 => piece.hidden.cores = turned(&piece.hidden.cores).into(),
        _ => piece.entry.message_id = turned(&piece.entry.message_id).try_into().expect("16 bytes"),
    }
    let (changed, entries) = found(&commit);
    assert_eq!(entries, last);
    let first =
        changed.iter().filter(|(_, kind)| !is_known(kind)).filter_map(|(index, _)| *index).min();
    // An entry that was changed is found where its commit begins.
    let expected = if side % 3 == 2 { 0 } else { place as u64 };
    assert!(first == Some(expected) || all.iter().any(|(index, _)| *index <= first), "{changed:?}");
}

fn auditor() -> Auditor {
    let mut auditor = Auditor::new(NODE.root).trusted();
    auditor.begin_with_keys(NODE.keys.clone().verify().expect("the node signed it"));
    auditor
}

/// Index and kind of each finding, and the number of entries.
fn found(commit: &Commit) -> (Vec<(Option<u64>, &'static str)>, u64) {
    let mut auditor = auditor();
    auditor.commit(commit);
    let (summary, findings) = auditor.finish(0);
    (findings.iter().map(|it| (it.index, it.what.kind())).collect(), summary.entries)
}

/// A message as the node journals it; `None` where it has a seal that covers nothing new.
fn journalled(message: &Message) -> Option<Commit> {
    let origin = log_origin(&NODE.root, 0);
    let note = piece(
        Entry { seal: Digest::of(origin.as_bytes()), ..entry(message, 0) },
        0,
        &[],
        origin.as_bytes(),
    );
    let note = Piece {
        entry: Entry {
            entry_type: EntryType::OPENED,
            layers: 0,
            status: Status::NONE,
            ..note.entry
        },
        ..note
    };
    let (mut pieces, mut chain, mut from) = (vec![note], Chain::default(), 0);
    let ends = message.interims.iter().map(|(layers, _)| *layers as usize);
    for end in ends.chain([message.links.len()]) {
        let (mut content, mut cores) = (BytesMut::new(), BytesMut::new());
        for link in message.links.get(from..end).filter(|links| !links.is_empty())? {
            chain.push(link).expect("it was sealed");
            link.encode(&mut content);
            redacted(&chain, link).encode(&mut cores);
        }
        from = end;
        let key = NODE.layer.public();
        let is_end = pieces.len() > message.interims.len();
        let (entry_type, seal) = match is_end {
            true => (EntryType::EXCHANGE, chain.seal(&key)),
            false => (EntryType::SEGMENT, chain.interim_seal(&key)),
        };
        pieces.push(piece(Entry { entry_type, seal, ..entry(message, end) }, 1, &cores, &content));
    }
    let mut commit = Commit {
        first: 0,
        durable: 0,
        mode: JournalMode::WAL,
        merge_delay: 0,
        time: 0,
        signature: Signature([0; 64]),
        pieces,
    };
    commit.sign(&origin, &NODE.layer);
    Some(commit)
}

fn entry(message: &Message, layers: usize) -> Entry {
    let links = &message.links[..layers];
    let steps: Vec<_> = links.iter().map(StepTaken::from).collect();
    let receipt = message.seal.receipt.as_ref();
    Entry {
        entry_type: EntryType::EXCHANGE,
        opcode: receipt.map_or(Opcode(0), |receipt| receipt.opcode),
        flags: EntryFlags(0),
        status: message_status(&steps),
        layers: u32::try_from(layers).expect("layers are bounded"),
        time: 0,
        message_id: receipt.map_or([0; 16], |receipt| receipt.message_id),
        seal: Digest::ZERO,
    }
}

fn piece(entry: Entry, begin: u64, cores: &[u8], content: &[u8]) -> Piece {
    let hidden = Hidden::hide(PieceKeys([7; 64]), cores, content, &entry.seal);
    Piece { entry, begin, hidden: hidden.expect("it is short") }
}
