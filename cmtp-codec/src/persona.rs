//! A person's root, and the personas that it brings: `cmtp-spec/spec/21-identities.md`.

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use bip39::{Language, Mnemonic};
use zeroize::{Zeroize, Zeroizing};

use cmtp_spec::{binding, tags};

use crate::hash::Image;
use crate::key::{PublicKey, SignatureError, SigningKey};

/// What a person keeps: 32 secret bytes, from which every persona and its recovery key come.
///
/// ```
/// use cmtp_codec::Root;
///
/// let root = Root::new([7; 32]);
/// let again = Root::from_words(&root.to_words())?;
/// assert_eq!(again.persona(0)?.public(), root.persona(0)?.public());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Root(Zeroizing<[u8; 32]>);

impl Root {
    /// The root of these bytes, which nobody may be able to guess.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, as they are kept.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the 24 words that [`Root::to_words`] wrote.
    ///
    /// # Errors
    /// [`WordsError`]; it names places and no words, which are secret.
    pub fn from_words(text: &str) -> Result<Self, WordsError> {
        // [IDY-3] A reader of words MUST take the letters A to Z for a to z, and any number of white space characters.
        let words = || text.split(WHITE_SPACE).filter(|word| !word.is_empty());
        let count = words().count();
        if count != WORDS {
            return Err(WordsError::Count { count });
        }
        let mut joined = Zeroizing::new(String::with_capacity(text.len()));
        for (at, word) in words().enumerate() {
            // The crate may take more for white space.
            if !word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                return Err(WordsError::Unknown { number: at + 1 });
            }
            joined.push_str(if at == 0 { "" } else { " " });
            joined.extend(word.chars().map(|letter| letter.to_ascii_lowercase()));
        }
        // [IDY-3] … and MUST refuse a word that is not in the list, and a wrong checksum.
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &joined);
        let mut mnemonic = mnemonic.map_err(|error| match error {
            bip39::Error::UnknownWord(at) => WordsError::Unknown { number: at + 1 },
            _ => WordsError::Checksum,
        })?;
        let (mut entropy, _length) = mnemonic.to_entropy_array();
        let mut root = Self::new([0; 32]);
        root.0.copy_from_slice(&entropy[..32]);
        entropy.zeroize();
        mnemonic.zeroize();
        Ok(root)
    }

    /// The root as 24 words of BIP-39, in lower case, with a space between two: its backup.
    pub fn to_words(&self) -> Zeroizing<String> {
        let mut text = String::new();
        // 32 bytes are a length that the standard knows.
        if let Ok(mut mnemonic) = Mnemonic::from_entropy_in(Language::English, &*self.0) {
            text = mnemonic.words().collect::<Vec<_>>().join(" ");
            mnemonic.zeroize();
        }
        Zeroizing::new(text)
    }

    /// The seed of persona `number`, such as leaves the root for another device.
    ///
    /// # Errors
    /// As [`Root::persona`].
    pub fn persona_seed(&self, number: u32) -> Result<Zeroizing<[u8; 32]>, SignatureError> {
        self.derive(binding::PERSONA_INFO, number)
    }

    /// Persona `number`.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`] where the crypto library fails; no seed is known for which it does.
    pub fn persona(&self, number: u32) -> Result<SigningKey, SignatureError> {
        SigningKey::from_seed(&*self.persona_seed(number)?)
    }

    /// The recovery key of persona `number`.
    ///
    /// # Errors
    /// As [`Root::persona`].
    pub fn recovery(&self, number: u32) -> Result<SigningKey, SignatureError> {
        SigningKey::from_seed(&*self.recovery_seed(number)?)
    }

    pub(crate) fn recovery_seed(&self, number: u32) -> Result<Zeroizing<[u8; 32]>, SignatureError> {
        self.derive(binding::RECOVERY_INFO, number)
    }

    fn derive(&self, info: &str, number: u32) -> Result<Zeroizing<[u8; 32]>, SignatureError> {
        // [IDY-2] The seed MUST be 32 bytes of HKDF-SHA-256 with salt "cmtp/0 identity", the root, and info ‖ u32 n.
        let key = Salt::new(HKDF_SHA256, binding::IDENTITY_SALT.as_bytes()).extract(&*self.0);
        let mut seed = Zeroizing::new([0; 32]);
        key.expand(&[info.as_bytes(), &number.to_be_bytes()], HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut *seed))
            // The library has one error for everything, and 32 bytes are fewer than HKDF can give.
            .map_err(|aws_lc_rs::error::Unspecified| SignatureError::Mismatch)?;
        Ok(seed)
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Root(…)")
    }
}

/// What a persona shows of its recovery key before that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecoveryCommitment(pub [u8; 32]);

impl RecoveryCommitment {
    /// The commitment to a recovery key.
    pub fn to(recovery: &PublicKey) -> Self {
        // [IDY-4] A persona's recovery commitment MUST be H("cmtp0/rk" ‖ recovery public key).
        let mut image = Image::new(tags::RECOVERY_KEY);
        image.bytes(&recovery.0);
        Self(image.digest().0)
    }
}

/// Why words are no root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WordsError {
    /// Too few or too many.
    #[error("{count} words; a root has {WORDS}")]
    Count {
        /// How many there are.
        count: usize,
    },
    /// A word that is not in the list.
    #[error("word {number} is not in the list of BIP-39 (English); look for a slip of the pen")]
    Unknown {
        /// Its place, counted from 1.
        number: usize,
    },
    /// The words do not go together.
    #[error("the words do not go together: one is another than it was, or two changed places")]
    Checksum,
}

const WORDS: usize = 24;
const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_told_by_what_is_printed() {
        let root = Root::new([7; 32]);
        assert_eq!(format!("{root:?}"), "Root(…)");
        let words = root.to_words();
        let slip = words.replacen(words.split(' ').next().unwrap(), "sesame", 1);
        let error = Root::from_words(&slip).unwrap_err();
        assert_eq!(error, WordsError::Unknown { number: 1 });
        assert!(!error.to_string().contains("sesame"));
    }
}
