//! Bus keys sealed by HPKE (RFC 9180), so that only who asked for them can open them.

use std::fmt;

use cmtp_codec::{AnsweredKeys, Asked, KeyList, SealedKeys, Verified};
use cmtp_spec::binding;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as HPKE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};

/// An X25519 key for one ask: it opens the answer and is forgotten.
pub struct SealingKey {
    secret: HpkePrivateKey,
    public: [u8; 32],
}

/// The keys of a route, opened.
pub struct OpenedKeys {
    /// What authenticates requests of the route.
    pub request_key: [u8; 32],
    /// What authenticates the instance's answers.
    pub answer_key: [u8; 32],
}

impl SealingKey {
    /// A new key.
    ///
    /// # Errors
    /// [`SealError::Crypto`] where the system has no randomness.
    pub fn generate() -> Result<Self, SealError> {
        let (public, secret) = HPKE.generate_key_pair()?;
        let public = public.0.try_into().map_err(|_other_length| SealError::Length)?;
        Ok(Self { secret, public })
    }

    /// The public half, which stands in the ask.
    pub const fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Opens keys that were sealed to this key. It is used up: `[NAT-21]` Its X25519 key MUST NOT be used for another ask.
    ///
    /// # Errors
    /// [`SealError`] where they don't open.
    pub fn open(self, keys: &Verified<AnsweredKeys>) -> Result<OpenedKeys, SealError> {
        let enc = EncapsulatedSecret(keys.encapsulated.to_vec());
        // [NAT-21] … and they open.
        let opened = HPKE.open(&enc, INFO, &keys.ask.0, &keys.sealed, &self.secret)?;
        match opened.as_chunks::<32>() {
            (&[request_key, answer_key], []) => Ok(OpenedKeys { request_key, answer_key }),
            _ => Err(SealError::Length),
        }
    }
}

/// Seals the keys of a route for who asked for them.
///
/// # Errors
/// [`SealError`] where the ask names a key that nothing can be sealed to.
pub fn seal_keys(asked: &Asked, list: KeyList, keys: &OpenedKeys) -> Result<SealedKeys, SealError> {
    let to = HpkePublicKey(asked.ask.sealing_key.to_vec());
    let plain = [keys.request_key, keys.answer_key];
    let (enc, sealed) = HPKE.seal(INFO, &asked.hash.0, plain.as_flattened(), &to)?;
    Ok(SealedKeys {
        list,
        encapsulated: enc.0.try_into().map_err(|_other_length| SealError::Length)?,
        sealed: sealed.try_into().map_err(|_other_length| SealError::Length)?,
    })
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(…)")
    }
}

impl fmt::Debug for OpenedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenedKeys(…)")
    }
}

/// Why keys can't be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The crypto library: a key of small order, a changed text, no randomness.
    #[error("the keys can't be sealed or opened: {0}")]
    Crypto(#[from] rustls::Error),
    /// Not the lengths of two keys.
    #[error("sealed keys of another length than two keys have")]
    Length,
}

const INFO: &[u8] = binding::BUS_KEYS_INFO.as_bytes();

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_codec::{Ask, Digest, Envelope, KeyId, SigningKey};

    use super::*;

    const NOW: u64 = 1_790_000_000_000_000;

    fn sealed_for(ask: &Envelope, root: &SigningKey) -> Envelope {
        let came = Envelope::decode(ask.to_bytes(), 0).unwrap();
        let asked = Ask::verify(came, root.public(), NOW).unwrap();
        let keys = OpenedKeys { request_key: [1; 32], answer_key: [2; 32] };
        let sealed = seal_keys(&asked, KeyList::sign_single(root), &keys).unwrap();
        sealed.sign(&asked, root)
    }

    #[test]
    fn keys_open_for_who_asked_and_nobody_else() {
        // [NAT-20] [NAT-21]
        let (root, actor) =
            (SigningKey::from_seed(&[1; 32]).unwrap(), SigningKey::from_seed(&[2; 32]).unwrap());
        let (key, other) = (SealingKey::generate().unwrap(), SealingKey::generate().unwrap());
        let ask = |sealing_key| {
            let instance = KeyId([5; 16]);
            Ask { node: root.public(), instance, sealing_key, time: NOW }
                .sign(KeyId([6; 16]), &actor)
        };
        let asked = ask(key.public());
        let answer = sealed_for(&asked, &root).to_bytes();
        let verify = |ask| {
            let came = Envelope::decode(answer.clone(), 0).unwrap();
            SealedKeys::verify(came, ask, root.public(), NOW)
        };
        let keys = verify(&asked).unwrap();
        assert!(other.open(&keys).is_err());
        let opened = key.open(&keys).unwrap();
        assert_eq!((opened.request_key, opened.answer_key), ([1; 32], [2; 32]));
        assert!(verify(&ask([9; 32])).is_err());
        assert_ne!(asked.hash(), Digest::ZERO);
    }

    #[test]
    fn nothing_is_sealed_to_a_point_of_small_order() {
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let ask =
            Ask { node: key.public(), instance: KeyId::ZERO, sealing_key: [0; 32], time: NOW };
        let came = Envelope::decode(ask.sign(KeyId::ZERO, &key).to_bytes(), 0).unwrap();
        let asked = Ask::verify(came, key.public(), NOW).unwrap();
        let keys = OpenedKeys { request_key: [1; 32], answer_key: [2; 32] };
        assert!(seal_keys(&asked, KeyList::sign_single(&key), &keys).is_err());
    }
}
