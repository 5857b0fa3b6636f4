//! A node and its peers that are always the same, so that an input decides everything else.

use std::sync::LazyLock;

use arbitrary::Arbitrary;

use cmtp_codec::{
    Chain, Digest, KeyList, Link, ListedKey, PublicKey, Receipt, Seal, Signature, SigningKey,
    Statement, StepTaken, merkle, message_status,
};
use cmtp_spec::{EntryFlags, EntryType, FieldIndex, JournalMode, KeyUse, Opcode};

/// The keys of everybody in a message.
pub(crate) struct Node {
    /// Who the node is.
    pub(crate) root: PublicKey,
    /// Its layer key.
    pub(crate) layer: SigningKey,
    /// Who signs a layer, from the caller on.
    pub(crate) signer: SigningKey,
    /// The list of the layer key.
    pub(crate) keys: KeyList,
}

pub(crate) static NODE: LazyLock<Node> = LazyLock::new(|| {
    let key = |seed| SigningKey::from_seed(&[seed; 32]).expect("any 32 bytes are a seed");
    let (root, layer) = (key(1), key(2));
    let listed = ListedKey {
        key_use: KeyUse::LAYER,
        key: layer.public(),
        not_before: 0,
        not_after: KeyList::NO_END,
    };
    let keys = KeyList::sign(&root, 1, vec![listed]);
    Node { root: root.public(), layer, signer: key(3), keys }
});

/// The commit that an entry stands in.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
pub(crate) struct Commit {
    count: u8,
    offset: u8,
    mode: u8,
    time: u32,
    entry_type: u8,
    entry_flags: u16,
}

impl Node {
    /// The final seal over `links`, with R0.
    pub(crate) fn seal(&self, chain: &Chain, links: &[Link], commit: Commit) -> Seal {
        let key = self.layer.public();
        let mut seal = Seal::new(key, chain.seal(&key));
        // [RCP-14] The entry type of an INTERIM MUST be `segment`, that of a SEAL another.
        let entry_type = match EntryType(commit.entry_type) {
            EntryType::SEGMENT => EntryType(u8::MAX),
            other => other,
        };
        seal.receipt = Some(self.receipt(links, seal.hash, entry_type, commit));
        seal.keys = Some(self.keys.clone());
        seal
    }

    /// The interim seal over `links`.
    pub(crate) fn interim(&self, chain: &Chain, links: &[Link], commit: Commit) -> Seal {
        let key = self.layer.public();
        let mut seal = Seal::new(key, chain.interim_seal(&key));
        seal.receipt = Some(self.receipt(links, seal.hash, EntryType::SEGMENT, commit));
        seal
    }

    fn receipt(
        &self,
        links: &[Link],
        seal: Digest,
        entry_type: EntryType,
        commit: Commit,
    ) -> Receipt {
        let origin = links.first().and_then(Link::layer);
        let target = origin.and_then(|origin| origin.text(FieldIndex::TARGET));
        let first = target.and_then(|target| target.split(':').next());
        let count = u32::from(commit.count % 16) + 1;
        let offset = u32::from(commit.offset) % count;
        let mode = JournalMode(commit.mode % 8);
        // [RCP-3] [RCP-14] What goes with the mode.
        let is_logged = mode == JournalMode::WAL;
        let is_async = if mode == JournalMode::ASYNC { EntryFlags::ASYNC.0 } else { 0 };
        let mut receipt = Receipt {
            statement: Statement {
                log_origin: "fuzz.example/log".to_owned(),
                first_index: is_logged.then_some(u64::from(commit.time)),
                count,
                root: Digest::ZERO,
                mode,
                time: u64::from(commit.time),
                merge_delay: 60,
            },
            signature: Signature([0; 64]),
            entry_type,
            opcode: first.and_then(Opcode::from_name).unwrap_or(Opcode(0)),
            entry_flags: EntryFlags(commit.entry_flags & !EntryFlags::ASYNC.0 | is_async),
            message_id: origin
                .and_then(|origin| origin.fixed(FieldIndex::MESSAGE_ID))
                .unwrap_or_default(),
            offset,
            path: Vec::new(),
        };
        let steps: Vec<_> = links.iter().map(StepTaken::from).collect();
        let layers = u32::try_from(links.len()).expect("layers are bounded");
        let entry = receipt.entry(message_status(&steps), layers, seal);
        let leaves: Vec<_> = (0..count)
            .map(|place| if place == offset { entry.leaf() } else { merkle::leaf(&[0]) })
            .collect();
        let tree = merkle::Tree::new(leaves);
        receipt.path = tree.path(offset as usize);
        receipt.statement.root = tree.root();
        receipt.signature = receipt.statement.sign(&self.layer);
        receipt
    }
}
