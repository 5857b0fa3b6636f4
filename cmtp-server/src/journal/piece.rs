//! A piece of a message as the journal holds it: an entry, two keys, and what they hide.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use bytes::Bytes;
use cmtp_client::entropy::{self, NoEntropy};
use cmtp_codec::{Digest, Entry};

/// What one entry stands for: some layers of a message, or a note of the node's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) entry: Entry,
    /// Index of the entry that the message began with; the pieces of a message share it.
    pub(crate) begin: u64,
    pub(crate) hidden: Hidden,
}

/// Content and cores, each under a key of its own; where the key is destroyed, nobody can read it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hidden {
    pub(crate) keys: PieceKeys,
    /// The layers' cores: all that a redacted message keeps.
    pub(crate) cores: Bytes,
    /// The layers' frames.
    pub(crate) content: Bytes,
}

/// The two keys of a piece: for its content, and for its cores. All zero: destroyed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PieceKeys(pub(crate) [u8; PieceKeys::LENGTH]);

impl PieceKeys {
    /// Bytes of both keys.
    pub(crate) const LENGTH: usize = 64;

    fn fresh() -> Result<Self, Unspecified> {
        let mut keys = [0; Self::LENGTH];
        entropy::fill(&mut keys).map_err(|NoEntropy| Unspecified)?;
        Ok(Self(keys))
    }
}

impl std::fmt::Debug for PieceKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PieceKeys(…)")
    }
}

impl Hidden {
    /// Hides both under fresh keys, bound to the seal hash `seal`.
    pub(crate) fn hide(cores: &[u8], content: &[u8], seal: &Digest) -> Result<Self, Unspecified> {
        let keys = PieceKeys::fresh()?;
        let (content_key, cores_key) = keys.0.split_at(KEY);
        Ok(Self {
            keys,
            cores: encrypt(cores_key, cores, seal)?,
            content: encrypt(content_key, content, seal)?,
        })
    }

    /// The layers' frames, where they were not erased.
    pub(crate) fn content(&self, seal: &Digest) -> Option<Bytes> {
        decrypt(&self.keys.0[..KEY], &self.content, seal)
    }

    /// The layers' cores, where they were not erased.
    pub(crate) fn cores(&self, seal: &Digest) -> Option<Bytes> {
        decrypt(&self.keys.0[KEY..], &self.cores, seal)
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
        let mut hidden = Hidden::hide(b"cores", b"content", &seal).unwrap();
        assert_eq!(hidden.content(&seal).unwrap(), "content");
        assert_eq!(hidden.cores(&seal).unwrap(), "cores");
        assert_eq!(hidden.content(&Digest::ZERO), None);
        hidden.keys.0[..KEY].fill(0);
        assert_eq!(hidden.content(&seal), None);
        assert_eq!(hidden.cores(&seal).unwrap(), "cores");
    }
}
