//! Erased messages against the entries that say that they were.

use std::collections::BTreeMap;

use cmtp_spec::{EntryType, Opcode};

use crate::audit::finding::{Finding, What};
use crate::hash::Digest;
use crate::receipt::Entry;

/// The messages of which something is erased, by F.
#[derive(Clone, Debug, Default)]
pub(crate) struct Erased(BTreeMap<Digest, Message>);

/// An erased message.
#[derive(Clone, Copy, Debug)]
struct Message {
    /// Index of the entry that ends it.
    index: u64,
    opcode: Opcode,
    message_id: [u8; 16],
    cores_too: bool,
    said: bool,
    forgotten_said: bool,
}

impl Erased {
    /// A message of which the content is erased, and the cores with `cores_too`; `end` is its last entry.
    pub(crate) fn add(&mut self, index: u64, end: &Entry, cores_too: bool) {
        let (opcode, message_id) = (end.opcode, end.message_id);
        let message =
            Message { index, opcode, message_id, cores_too, said: false, forgotten_said: false };
        self.0.insert(end.seal, message);
    }

    /// An entry that says that a message was erased.
    pub(crate) fn say(&mut self, index: u64, entry: &Entry) -> Option<Finding> {
        let forgotten = entry.entry_type == EntryType::FORGOTTEN;
        let message = self.0.get_mut(&entry.seal);
        // [AUD-8] Such an entry MUST be for a message whose keys are gone …
        let Some(message) = message.filter(|message| message.cores_too || !forgotten) else {
            return Some(Finding::at(index, What::NotErased));
        };
        message.said = true;
        message.forgotten_said |= forgotten;
        let is_other = (message.opcode, message.message_id) != (entry.opcode, entry.message_id);
        is_other.then(|| Finding::at(index, What::OtherErased))
    }

    /// What was erased without a word.
    pub(crate) fn finish(self) -> impl Iterator<Item = Finding> {
        // [AUD-8] … and keys that are gone MUST have such an entry.
        self.0.into_values().filter_map(|message| {
            let what = match message {
                Message { cores_too: true, forgotten_said: false, .. } => What::ForgottenSilently,
                Message { said: false, .. } => What::ErasedSilently,
                _ => return None,
            };
            Some(Finding::at(message.index, what))
        })
    }
}
