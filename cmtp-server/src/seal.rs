//! Sealing: the last thing that happens to a message. `cmtp-spec/spec/13-receipts.md`.

use cmtp_codec::{Chain, Entry, Receipt, Seal, Signature, Statement};
use cmtp_spec::{EntryFlags, EntryType, JournalMode, Opcode, Status};

use crate::node_key::NodeKey;

/// Makes seals and their receipts.
pub(crate) struct Sealer {
    log_origin: String,
}

/// What a seal's entry says beside the chain.
pub(crate) struct Sealed {
    pub(crate) opcode: Opcode,
    pub(crate) message_id: [u8; 16],
    pub(crate) status: Status,
}

impl Sealer {
    pub(crate) fn new(key: &NodeKey) -> Self {
        Self { log_origin: format!("cmtp/{}/0", key.public().multibase()) }
    }

    /// Seals with R0 in mode `none`: the node keeps no journal, so the receipt is a signature and no more.
    pub(crate) fn seal(&self, key: &NodeKey, chain: &Chain, sealed: &Sealed, now: u64) -> Seal {
        let mut seal = Seal::new(key.layer_key().public(), chain.seal(&key.layer_key().public()));
        let refused = sealed.status.0 >= Status::BAD_REQUEST.0;
        let mut receipt = Receipt {
            statement: Statement {
                log_origin: self.log_origin.clone(),
                // [RCP-3] In mode `none` the first index MUST be 2^64 − 1, which is none.
                first_index: None,
                count: 1,
                root: cmtp_codec::Digest::ZERO,
                mode: JournalMode::NONE,
                time: now,
                merge_delay: 0,
            },
            signature: Signature([0; 64]),
            entry_type: if refused { EntryType::REFUSAL } else { EntryType::EXCHANGE },
            opcode: sealed.opcode,
            entry_flags: EntryFlags(0),
            message_id: sealed.message_id,
            offset: 0,
            path: Vec::new(),
        };
        let entry: Entry = receipt.entry(sealed.status, chain.length(), seal.hash);
        receipt.statement.root = entry.leaf();
        receipt.signature = receipt.statement.sign(key.layer_key());
        seal.receipt = Some(receipt);
        seal
    }

    /// [ADM-11] Refusals before a token was accepted carry the SEAL item `unlogged` and no R0.
    pub(crate) fn seal_unlogged(&self, key: &NodeKey, chain: &Chain) -> Seal {
        let key = key.layer_key().public();
        let mut seal = Seal::new(key, chain.seal(&key));
        seal.unlogged = true;
        seal
    }
}
