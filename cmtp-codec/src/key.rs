//! Ed25519 keys and signatures, verified strictly: `cmtp-spec/spec/05-signatures.md`.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair};
use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;

use cmtp_spec::binding;

/// An Ed25519 public key: who somebody is. Shown as `did:key:z…`.
///
/// Any 32 bytes can stand here, as on the wire; [`PublicKey::verify`] and the DID reader refuse bad ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Checks `signature` over `payload` for `usage`, one of [`cmtp_spec::uses`].
    ///
    /// # Errors
    /// [`SignatureError`] where chapter 5 refuses the key or the signature.
    pub fn verify(
        &self,
        usage: &str,
        payload: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        self.verify_bytes(&signed_bytes(usage, payload), signature)
    }

    /// Checks `signature` over `bytes` as they are: those of a note, which say themselves what they are for.
    pub(crate) fn verify_bytes(
        &self,
        bytes: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        if self.may_be_refused() {
            self.check()?;
        }
        // [SIG-1] [SIG-4] The library refuses S ≥ L and an A that is no point, recomputes R without the cofactor and
        // compares encodings; the vectors hold it to that.
        signature::UnparsedPublicKey::new(&signature::ED25519, &self.0)
            .verify(bytes, &signature.0)
            // The library does not say whether the key was at fault.
            .map_err(|aws_lc_rs::error::Unspecified| {
                self.check().err().unwrap_or(SignatureError::Mismatch)
            })
    }

    /// Whether the bytes could be a key of small order or one in another than its canonical encoding, told without
    /// arithmetic on the curve: a signature costs enough without a second decompression of its key.
    fn may_be_refused(&self) -> bool {
        let mut y = self.0;
        y[31] &= !SIGN_OF_X;
        // Not canonical: y ≥ p = 2^255 − 19, or a sign for x = 0, which the points of order 1 and 2 have.
        let above = y[31] == 0x7f && y[1..31] == [0xff; 30] && y[0] >= 0xed;
        above || SMALL_ORDER.contains(&y)
    }

    /// Whether a verifier may use this key at all.
    ///
    /// # Errors
    /// [`SignatureError::SmallOrder`], [`SignatureError::NonCanonicalKey`] or [`SignatureError::NoPoint`].
    pub fn check(&self) -> Result<(), SignatureError> {
        // [SIG-2] A verifier MUST refuse an A that is no point of the curve …
        let point = CompressedEdwardsY(self.0).decompress().ok_or(SignatureError::NoPoint)?;
        // [SIG-3] A verifier MUST refuse an A of small order.
        if point.is_small_order() {
            return Err(SignatureError::SmallOrder);
        }
        // [SIG-2] … or whose encoding is not canonical.
        if point.compress().0 == self.0 { Ok(()) } else { Err(SignatureError::NonCanonicalKey) }
    }

    /// The multibase name: `z` and base58btc of multicodec and key.
    pub fn multibase(&self) -> String {
        let mut bytes = [0; 34];
        bytes[..2].copy_from_slice(&MULTICODEC_ED25519);
        bytes[2..].copy_from_slice(&self.0);
        format!("z{}", bs58::encode(bytes).into_string())
    }

    /// Reads the multibase name.
    ///
    /// # Errors
    /// [`DidError`] where it is another kind of key, or one that chapter 5 refuses.
    pub fn from_multibase(text: &str) -> Result<Self, DidError> {
        // [CNV-3] A reader of a DID MUST refuse any other method, multibase prefix, multicodec or length.
        let base58 = text.strip_prefix('z').ok_or(DidError::NotBase58)?;
        if base58.len() > MULTIBASE_MAX {
            return Err(DidError::Length);
        }
        let bytes = bs58::decode(base58).into_vec().map_err(|_base58| DidError::NotBase58)?;
        let key = bytes.strip_prefix(&MULTICODEC_ED25519).ok_or(DidError::NotEd25519)?;
        let key = Self(key.try_into().map_err(|_length| DidError::Length)?);
        key.check().map_err(DidError::Key)?;
        Ok(key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DID_KEY}{}", self.multibase())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.multibase())
    }
}

impl FromStr for PublicKey {
    type Err = DidError;

    fn from_str(text: &str) -> Result<Self, DidError> {
        Self::from_multibase(text.strip_prefix(DID_KEY).ok_or(DidError::NotDidKey)?)
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(…)")
    }
}

/// A secret Ed25519 key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// The key with this 32-byte seed (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`] where the crypto library refuses the seed; no seed is known that it refuses.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, SignatureError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed)
            .map_err(|_rejected| SignatureError::Mismatch)?;
        let public =
            pair.public_key().as_ref().try_into().map_err(|_length| SignatureError::Mismatch)?;
        Ok(Self { pair, public: PublicKey(public) })
    }

    /// The public half.
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// The key as unencrypted PKCS #8 (RFC 8410), as TLS and JWT libraries take it.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`] where the crypto library fails to write it.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, SignatureError> {
        let document = self
            .pair
            .to_pkcs8()
            .map_err(|aws_lc_rs::error::Unspecified| SignatureError::Mismatch)?;
        Ok(document.as_ref().to_vec())
    }

    /// Signs `payload` for `usage`, one of [`cmtp_spec::uses`].
    pub fn sign(&self, usage: &str, payload: &[u8]) -> Signature {
        self.sign_bytes(&signed_bytes(usage, payload))
    }

    /// Signs `bytes` as they are: those of a note, by a key that signs nothing else.
    pub(crate) fn sign_bytes(&self, bytes: &[u8]) -> Signature {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(bytes).as_ref());
        Signature(signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.public)
    }
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Everybody can sign for such a key.
    #[error("the key is a point of small order, for which anybody can sign")]
    SmallOrder,
    /// A second spelling of a key.
    #[error("the key is not in its canonical encoding")]
    NonCanonicalKey,
    /// Bytes that stand for no key.
    #[error("the key is no point of the curve, so that nobody can sign for it")]
    NoPoint,
    /// The signature is not by this key over these bytes.
    #[error("the signature is not by this key over these bytes")]
    Mismatch,
}

/// Why a text is not a DID of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DidError {
    /// Another method, or no DID.
    #[error("not a did:key (it begins with did:key:z…)")]
    NotDidKey,
    /// Not multibase base58btc.
    #[error("not base58btc after did:key: (expected z and letters and digits without 0, O, I, l)")]
    NotBase58,
    /// Another kind of key.
    #[error("not an Ed25519 key (expected did:key:z6Mk…)")]
    NotEd25519,
    /// Too short or too long.
    #[error("the key is not 32 bytes long")]
    Length,
    /// A key that nobody may use.
    #[error(transparent)]
    Key(SignatureError),
}

/// The y of each point of small order; their x may have either sign.
static SMALL_ORDER: LazyLock<[[u8; 32]; 8]> = LazyLock::new(|| {
    EIGHT_TORSION.map(|point| {
        let mut y = point.compress().0;
        y[31] &= !SIGN_OF_X;
        y
    })
});

fn signed_bytes(usage: &str, payload: &[u8]) -> Vec<u8> {
    let prefix = binding::SIGNATURE_PREFIX;
    let mut bytes = Vec::with_capacity(prefix.len() + usage.len() + 1 + payload.len());
    bytes.extend_from_slice(prefix.as_bytes());
    bytes.extend_from_slice(usage.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(payload);
    bytes
}

/// The bit beside y in an encoded point (RFC 8032 section 5.1.2).
const SIGN_OF_X: u8 = 0x80;
const DID_KEY: &str = "did:key:";
const MULTICODEC_ED25519: [u8; 2] = [0xed, 0x01];
/// 34 bytes take at most 47 base58 digits; more is refused before decoding, which is quadratic.
const MULTIBASE_MAX: usize = 48;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_use_only() {
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        let signature = key.sign("layer", b"x");
        assert_eq!(key.public().verify("layer", b"x", &signature), Ok(()));
        assert_eq!(key.public().verify("auth", b"x", &signature), Err(SignatureError::Mismatch));
    }

    #[test]
    fn what_a_quick_look_lets_pass_is_no_key_of_small_order_nor_a_second_spelling() {
        // [SIG-2] [SIG-3] The quick look is exact for all of small order and for all spellings of them, and for y ≥ p.
        for point in EIGHT_TORSION {
            for sign in [0, SIGN_OF_X] {
                let mut key = PublicKey(point.compress().0);
                key.0[31] ^= sign;
                assert!(key.may_be_refused(), "{key:?}");
            }
        }
        for low in 0xed..=0xff_u8 {
            for high in [0x7f, 0xff] {
                let mut key = PublicKey([0xff; 32]);
                (key.0[0], key.0[31]) = (low, high);
                assert!(key.may_be_refused() && key.check().is_err(), "{key:?}");
            }
        }
        for seed in 0..100 {
            let key = SigningKey::from_seed(&[seed; 32]).unwrap().public();
            assert!(!key.may_be_refused() && key.check().is_ok());
        }
    }

    #[test]
    fn a_did_reads_back() {
        // [CNV-3]
        let key = SigningKey::from_seed(&[9; 32]).unwrap().public();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!("did:web:x".parse::<PublicKey>(), Err(DidError::NotDidKey));
        assert_eq!(
            PublicKey([0; 32]).to_string().parse::<PublicKey>(),
            Err(DidError::Key(SignatureError::SmallOrder))
        );
        assert_eq!("did:key:z6Mk".parse::<PublicKey>(), Err(DidError::NotEd25519));
    }
}
