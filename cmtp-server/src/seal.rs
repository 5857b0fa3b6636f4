//! Receipts where there is no journal to make them. `cmtp-spec/spec/13-receipts.md`.

use cmtp_codec::log::log_origin;
use cmtp_codec::{Digest, Entry, Receipt, Signature, Statement};
use cmtp_spec::{EntryFlags, EntryType, JournalMode, Opcode, Status};

use crate::node_keys::NodeKeys;

/// R0 in mode `none` for a refusal that the journal could not take: a signature and no more.
pub(crate) fn unrecorded_receipt(
    keys: &NodeKeys,
    log: u32,
    (opcode, message_id): (Opcode, [u8; 16]),
    (status, layers, seal): (Status, u32, Digest),
    now: u64,
) -> Receipt {
    let mut receipt = Receipt {
        statement: Statement {
            log_origin: log_origin(&keys.public(), log),
            // [RCP-3] In mode `none` the first index MUST be 2^64 − 1, which is none.
            first_index: None,
            count: 1,
            root: Digest::ZERO,
            mode: JournalMode::NONE,
            time: now,
            merge_delay: 0,
        },
        signature: Signature([0; 64]),
        entry_type: EntryType::REFUSAL,
        opcode,
        entry_flags: EntryFlags(0),
        message_id,
        offset: 0,
        path: Vec::new(),
    };
    let entry: Entry = receipt.entry(status, layers, seal);
    receipt.statement.root = entry.leaf();
    receipt.signature = receipt.statement.sign(keys.layer_key());
    receipt
}
