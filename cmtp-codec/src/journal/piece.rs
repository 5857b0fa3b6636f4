//! A piece of a message as the journal holds it: an entry, two keys, and what they hide.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use bytes::Bytes;

use crate::hash::Digest;
use crate::receipt::Entry;

/// What one entry stands for: some layers of a message, or a note of the node's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The leaf of the log.
    pub entry: Entry,
    /// Index of the entry that the message began with; the pieces of a message share it.
    pub begin: u64,
    /// What the entry says nothing of.
    pub hidden: Hidden,
}

/// Content and cores, each under a key of its own; where the key is destroyed, nobody can read it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// All that reads it.
    pub keys: PieceKeys,
    /// The layers' cores: all that a redacted message keeps.
    pub cores: Bytes,
    /// The layers' frames.
    pub content: Bytes,
}

/// The two keys of a piece: for its content, and for its cores. All zero: destroyed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PieceKeys(
    /// The content's key, the cores' key.
    pub [u8; PieceKeys::LENGTH],
);

impl PieceKeys {
    /// Bytes of both keys.
    pub const LENGTH: usize = 64;
    /// As a key: it was destroyed.
    pub const DESTROYED: [u8; KEY] = [0; KEY];

    /// Of the content.
    pub fn content(&self) -> &[u8] {
        &self.0[..KEY]
    }

    /// Of the cores.
    pub fn cores(&self) -> &[u8] {
        &self.0[KEY..]
    }

    /// Whether the content's key is there.
    pub fn has_content(&self) -> bool {
        self.content() != Self::DESTROYED
    }

    /// Whether the cores' key is there.
    pub fn has_cores(&self) -> bool {
        self.cores() != Self::DESTROYED
    }
}

impl std::fmt::Debug for PieceKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PieceKeys(…)")
    }
}

impl Hidden {
    /// Hides both under `keys`, bound to the seal hash `seal`. No other text may ever be hidden under them.
    ///
    /// # Errors
    /// What the crypto library says; a text above 64 GiB is all that it refuses.
    pub fn hide(
        keys: PieceKeys,
        cores: &[u8],
        content: &[u8],
        seal: &Digest,
    ) -> Result<Self, Unspecified> {
        let cores = encrypt(keys.cores(), cores, seal)?;
        let content = encrypt(keys.content(), content, seal)?;
        Ok(Self { keys, cores, content })
    }

    /// The layers' frames, where they were not erased: `None` also where the key is another, or the text was changed.
    pub fn content(&self, seal: &Digest) -> Option<Bytes> {
        decrypt(self.keys.content(), &self.content, seal)
    }

    /// The layers' cores, where they were not erased; `None` as for the content.
    pub fn cores(&self, seal: &Digest) -> Option<Bytes> {
        decrypt(self.keys.cores(), &self.cores, seal)
    }
}

fn encrypt(key: &[u8], plain: &[u8], seal: &Digest) -> Result<Bytes, Unspecified> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?);
    let mut data = Vec::with_capacity(plain.len() + TAG);
    data.extend_from_slice(plain);
    key.seal_in_place_append_tag(nonce(), Aad::from(seal.0), &mut data)?;
    Ok(data.into())
}

fn decrypt(key: &[u8], hidden: &[u8], seal: &Digest) -> Option<Bytes> {
    if key == PieceKeys::DESTROYED {
        return None;
    }
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let mut data = hidden.to_vec();
    let length = key.open_in_place(nonce(), Aad::from(seal.0), &mut data).ok()?.len();
    data.truncate(length);
    Some(data.into())
}

/// Every key hides one text, so the nonce needs not differ.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

const KEY: usize = PieceKeys::LENGTH / 2;
const TAG: usize = 16;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_comes_back_with_its_key_and_its_seal_only() {
        let seal = Digest([7; 32]);
        let mut hidden = Hidden::hide(PieceKeys([5; 64]), b"cores", b"content", &seal).unwrap();
        assert_eq!(hidden.content(&seal).unwrap(), "content");
        assert_eq!(hidden.cores(&seal).unwrap(), "cores");
        assert_eq!(hidden.content(&Digest::ZERO), None);
        hidden.keys.0[..KEY].fill(0);
        assert_eq!(hidden.content(&seal), None);
        assert_eq!(hidden.cores(&seal).unwrap(), "cores");
    }
}
