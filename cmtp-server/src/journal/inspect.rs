//! Reading a journal from outside of the node: every commit, every record, whether they hold.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use cmtp_codec::journal::{Commit, Degree, MessageReader, Piece, PieceError, PieceKeys, Sealers};
use cmtp_codec::log::log_origin;
use cmtp_codec::{Digest, Entry, Message, PublicKey, ReceiptError};
use cmtp_spec::{EntryFlags, EntryType};

use crate::journal::open::Walk;
use crate::journal::{JournalOpenError, JournalReport};
use crate::rebuild::read_erasure;

/// What is shown of one entry.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JournalEntry {
    /// Its index.
    pub index: u64,
    /// The entry.
    pub entry: Entry,
    /// Index of the entry with which its message began.
    pub begin: u64,
    /// The message, where this entry ends it; what was erased of it is withheld.
    pub message: Option<Message>,
    /// What was erased of the message.
    pub erased: Option<Degree>,
}

/// Something in a journal that does not hold.
#[derive(Debug, thiserror::Error)]
#[error("entry {index}: {what}")]
#[non_exhaustive]
pub struct JournalFault {
    /// The entry.
    pub index: u64,
    /// What is wrong with it.
    pub what: JournalFaultKind,
}

/// What is wrong with an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalFaultKind {
    /// R0.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// The node's list has no layer key for its time.
    #[error("no layer key of the node was valid at its time")]
    NoKey,
    /// The record.
    #[error("{0}")]
    Record(#[from] PieceError),
    /// A key that nothing says was destroyed.
    #[error("its keys are destroyed, and no entry says that it was erased")]
    Destroyed,
    /// An erasure.
    #[error("it tells of the erasure of a message that is not there")]
    NoMessage,
    /// A note of the node's own.
    #[error("what the node noted can't be read")]
    Note,
    /// Its message has no beginning.
    #[error("its message does not begin where it says")]
    NoBeginning,
}

/// What a journal holds, and whether it holds together.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct JournalCheck {
    /// Entries, commits, and whether the end is torn.
    pub report: JournalReport,
    /// How many messages were read back from their records and have the seal that their entry names.
    pub messages: u64,
    /// Messages that were begun and have no end; the node closes them when it starts.
    pub open: u64,
    /// Messages that were erased.
    pub erased: u64,
    /// Messages that are noted as erased and whose keys stand; the node destroys them when it starts.
    pub pending: u64,
    /// What does not hold, the first first.
    pub faults: Vec<JournalFault>,
}

/// Reads the journal of the node `node` in `folder`, checks all of it, and shows each entry. Nothing is changed.
///
/// # Errors
/// [`JournalOpenError`] where a file can't be read, or lost what was durable.
pub fn check_journal(
    folder: &Path,
    node: &PublicKey,
    mut show: impl FnMut(&JournalEntry),
) -> Result<JournalCheck, JournalOpenError> {
    let mut check = JournalCheck::default();
    let (mut seen, mut sealers) = (Seen::default(), Sealers::new(*node));
    let mut walk = Walk::new(folder, node);
    let mut log = 0;
    check.report = walk.all(|commit| {
        log = commit.opened_log().unwrap_or(log);
        sealers.take(commit);
        let keys = sealers.at(commit.time);
        check.commit(commit, &keys, &log_origin(node, log), &mut seen, &mut show);
    })?;
    check.open = seen.unfinished.len() as u64;
    let left = check.erasures(seen);
    if !left.is_empty() {
        check.pending(left, Walk::new(folder, node))?;
    }
    Ok(check)
}

/// What the next entries are joined to, and compared with.
#[derive(Default)]
struct Seen {
    unfinished: BTreeMap<u64, Unfinished>,
    /// By F the messages whose keys are destroyed, each with its last entry.
    erased: HashMap<Digest, (u64, Degree)>,
    /// By F what is noted of it.
    noted: HashMap<Digest, (u64, Degree)>,
}

struct Unfinished {
    reader: MessageReader,
    /// The newest of its entries whose keys are destroyed, and which.
    erased: Option<(u64, Degree)>,
}

impl JournalCheck {
    fn commit(
        &mut self,
        commit: &Commit,
        sealers: &[PublicKey],
        log_origin: &str,
        seen: &mut Seen,
        show: &mut impl FnMut(&JournalEntry),
    ) {
        for (offset, piece) in commit.pieces.iter().enumerate() {
            let (index, entry, begin) = (commit.first + offset as u64, piece.entry, piece.begin);
            let mut fault = |what| self.faults.push(JournalFault { index, what });
            let mut shown = JournalEntry { index, entry, begin, message: None, erased: None };
            let Some(receipt) = commit.receipt(log_origin, offset) else { continue };
            let verified = sealers.iter().map(|key| receipt.verify(key, &entry));
            match verified.reduce(Result::or) {
                Some(Ok(())) => {}
                Some(Err(error)) => fault(error.into()),
                None => fault(JournalFaultKind::NoKey),
            }
            if entry.is_of_message() {
                shown.erased = destroyed(&piece.hidden.keys);
                let message = match seen.unfinished.remove(&begin) {
                    Some(message) => Some(message),
                    None if begin == index => {
                        Some(Unfinished { reader: MessageReader::new(Vec::new()), erased: None })
                    }
                    None => None,
                };
                match message {
                    None => fault(JournalFaultKind::NoBeginning),
                    Some(mut message) => {
                        let newest = shown.erased.map(|degree| (index, degree));
                        message.erased = greater(message.erased, newest);
                        message.reader.sealed_by(sealers.to_vec());
                        match message.reader.push_left(piece, receipt) {
                            Err(error) => fault(error.into()),
                            Ok(()) if entry.ends_message() => {
                                if let Some((_, degree)) = message.erased {
                                    seen.erased.insert(entry.seal, (index, degree));
                                }
                                shown.message = message.reader.into_message();
                                self.messages += u64::from(shown.message.is_some());
                            }
                            Ok(()) => {
                                seen.unfinished.insert(begin, message);
                            }
                        }
                    }
                }
            } else if !is_readable(piece) {
                fault(JournalFaultKind::Note);
            } else if let Some(degree) = Degree::of(entry.entry_type) {
                let noted = seen.noted.entry(entry.seal).or_insert((index, degree));
                *noted = (index, degree.max(noted.1));
            }
            show(&shown);
        }
    }

    /// [ERA-8] Reports keys that are destroyed without an entry that says so; what is noted and stands is given back.
    fn erasures(&mut self, mut seen: Seen) -> HashMap<Digest, (u64, Degree)> {
        let mut destroyed: Vec<u64> = Vec::new();
        for (seal, (index, degree)) in &seen.erased {
            match seen.noted.get(seal) {
                Some((_, noted)) if noted >= degree => {}
                _ => destroyed.push(*index),
            }
        }
        // Of what has not ended nothing may be erased.
        let open = seen.unfinished.into_values().filter_map(|message| message.erased);
        destroyed.extend(open.map(|(index, _)| index));
        destroyed.sort_unstable();
        let fault = |index| JournalFault { index, what: JournalFaultKind::Destroyed };
        self.faults.extend(destroyed.into_iter().map(fault));
        self.erased = seen.erased.len() as u64;
        seen.noted.retain(|seal, (_, noted)| {
            seen.erased.get(seal).is_none_or(|(_, done)| *done < *noted)
        });
        seen.noted
    }

    /// Looks for the messages whose erasure is noted and was not done yet.
    fn pending(
        &mut self,
        mut left: HashMap<Digest, (u64, Degree)>,
        mut walk: Walk<'_>,
    ) -> Result<(), JournalOpenError> {
        walk.all(|commit| {
            for piece in &commit.pieces {
                let ends = piece.entry.is_of_message() && piece.entry.ends_message();
                if ends && left.remove(&piece.entry.seal).is_some() {
                    self.pending += 1;
                }
            }
        })?;
        let mut indexes: Vec<u64> = left.into_values().map(|(index, _)| index).collect();
        indexes.sort_unstable();
        let fault = |index| JournalFault { index, what: JournalFaultKind::NoMessage };
        self.faults.extend(indexes.into_iter().map(fault));
        Ok(())
    }
}

/// The one of the greater degree.
fn greater(before: Option<(u64, Degree)>, after: Option<(u64, Degree)>) -> Option<(u64, Degree)> {
    match (before, after) {
        (Some(before), Some(after)) if after.1 < before.1 => Some(before),
        (before, after) => after.or(before),
    }
}

fn destroyed(keys: &PieceKeys) -> Option<Degree> {
    match (keys.has_content(), keys.has_cores()) {
        (true, true) => None,
        (false, true) => Some(Degree::Redact),
        (_, false) => Some(Degree::Forget),
    }
}

/// Whether a note of the node's own is there.
fn is_readable(piece: &Piece) -> bool {
    let content = piece.hidden.content(&piece.entry.seal);
    match (Degree::of(piece.entry.entry_type), content) {
        (_, None) => false,
        (Some(_), Some(_)) => read_erasure(piece).is_some(),
        (None, Some(_)) => true,
    }
}

impl JournalEntry {
    /// Whether the entry ends a write that was executed.
    pub fn is_executed_write(&self) -> bool {
        let has = |flag: EntryFlags| self.entry.flags.0 & flag.0 != 0;
        self.entry.entry_type == EntryType::OUTCOME
            && !has(EntryFlags::NO_EFFECT)
            && !has(EntryFlags::OUTCOME_UNKNOWN)
    }
}
