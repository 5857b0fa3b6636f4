//! Reading a journal from outside of the node: every commit, every record, whether they hold.

use std::collections::BTreeMap;
use std::path::Path;

use cmtp_codec::journal::{Commit, MessageReader, PieceError};
use cmtp_codec::log::log_origin;
use cmtp_codec::{Entry, Message, PublicKey, ReceiptError};
use cmtp_spec::{EntryFlags, EntryType};

use crate::journal::open::Walk;
use crate::journal::{JournalOpenError, JournalReport};

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
    /// The message, where this entry ends it and it was not erased.
    pub message: Option<Message>,
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
    /// The record.
    #[error("{0}")]
    Record(#[from] PieceError),
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
    let mut unfinished = BTreeMap::new();
    let mut walk = Walk::new(folder, node);
    let log_origin = log_origin(node, 0);
    check.report = walk.all(|commit| {
        check.commit(commit, node, &log_origin, &mut unfinished, &mut show);
    })?;
    check.open = unfinished.len() as u64;
    Ok(check)
}

impl JournalCheck {
    fn commit(
        &mut self,
        commit: &Commit,
        node: &PublicKey,
        log_origin: &str,
        unfinished: &mut BTreeMap<u64, MessageReader>,
        show: &mut impl FnMut(&JournalEntry),
    ) {
        for (offset, piece) in commit.pieces.iter().enumerate() {
            let (index, entry, begin) = (commit.first + offset as u64, piece.entry, piece.begin);
            let mut fault = |what| self.faults.push(JournalFault { index, what });
            let mut shown = JournalEntry { index, entry, begin, message: None };
            let Some(receipt) = commit.receipt(log_origin, offset) else { continue };
            if let Err(error) = receipt.verify(node, &entry) {
                fault(error.into());
            }
            if is_message(entry.entry_type) {
                let reader = match unfinished.remove(&begin) {
                    Some(reader) => Some(reader),
                    None if begin == index => Some(MessageReader::new(*node)),
                    None => None,
                };
                match reader {
                    None => fault(JournalFaultKind::NoBeginning),
                    Some(mut reader) => match reader.push(piece, receipt) {
                        Err(error) => fault(error.into()),
                        Ok(()) if is_end(entry.entry_type) => {
                            shown.message = reader.into_message();
                            self.messages += 1;
                        }
                        Ok(()) => {
                            unfinished.insert(begin, reader);
                        }
                    },
                }
            }
            show(&shown);
        }
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

/// Whether entries of this type stand for messages, and not for a note of the node's own.
const fn is_message(entry_type: EntryType) -> bool {
    matches!(
        entry_type,
        EntryType::INTENT
            | EntryType::OUTCOME
            | EntryType::EXCHANGE
            | EntryType::REFUSAL
            | EntryType::SEGMENT
    )
}

const fn is_end(entry_type: EntryType) -> bool {
    !matches!(entry_type, EntryType::INTENT | EntryType::SEGMENT)
}
