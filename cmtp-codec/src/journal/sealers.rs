//! Which keys may have sealed, as a journal itself tells: `cmtp-spec/spec/25-node-keys.md`.

use cmtp_spec::{EntryType, KeyUse};

use crate::hash::Digest;
use crate::journal::commit::Commit;
use crate::journal::piece::Piece;
use crate::key::PublicKey;
use crate::keylist::KeyList;
use crate::trust::Verified;

/// The layer keys of a node while its journal is read, from its first commit on.
#[derive(Clone, Debug)]
pub struct Sealers {
    node: PublicKey,
    list: Option<Verified<KeyList>>,
}

impl Sealers {
    /// Begins with the root key of the node, which seals where no list says otherwise.
    pub const fn new(node: PublicKey) -> Self {
        Self { node, list: None }
    }

    /// [NKY-5] The list in force for a commit is the one that the last `keys` entry up to its end notes.
    pub fn take(&mut self, commit: &Commit) {
        let noted = commit.pieces.iter().rev().find_map(|piece| noted_list(piece, &self.node));
        self.list = noted.or_else(|| self.list.take());
    }

    /// The layer keys that are valid at a commit's time.
    pub fn at(&self, time: u64) -> Vec<PublicKey> {
        let Some(list) = &self.list else { return vec![self.node] };
        let valid = list.keys.iter().filter(|listed| {
            listed.key_use == KeyUse::LAYER && list.allows(KeyUse::LAYER, &listed.key, time)
        });
        valid.map(|listed| listed.key).collect()
    }
}

/// The key list that an entry notes, where it can be read and is the node's.
pub(crate) fn noted_list(piece: &Piece, node: &PublicKey) -> Option<Verified<KeyList>> {
    if piece.entry.entry_type != EntryType::KEYS {
        return None;
    }
    let content = piece.hidden.content(&piece.entry.seal)?;
    if Digest::of(&content) != piece.entry.seal {
        return None;
    }
    let list = KeyList::from_bytes(content).ok()?.verify().ok()?;
    (list.root == *node).then_some(list)
}
