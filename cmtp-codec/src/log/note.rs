//! Keys that sign notes: C2SP signed-note and tlog-cosignature.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use signed_note::{is_key_name_valid, key_id};

use crate::key::{PublicKey, Signature, SignatureError, SigningKey};
use crate::log::checkpoint::Checkpoint;

/// What a signature is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum NoteKind {
    /// The note's text: a log's own signature (type 0x01).
    Ed25519,
    /// The text and a time: a witness's, cosignature/v1 (type 0x04).
    Cosignature,
}

impl NoteKind {
    const fn octet(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Cosignature => 4,
        }
    }
}

/// A key under a name, as it is handed around: `name+id+key`.
///
/// ```
/// use cmtp_codec::log::{NoteKind, VerifierKey};
/// use cmtp_codec::SigningKey;
///
/// let key = SigningKey::from_seed(&[7; 32])?.public();
/// let witness = VerifierKey::new("witness.example", NoteKind::Cosignature, key)?;
/// assert_eq!(witness.to_string().parse(), Ok(witness));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerifierKey {
    name: String,
    kind: NoteKind,
    key: PublicKey,
}

impl VerifierKey {
    /// A key under a name.
    ///
    /// # Errors
    /// [`VerifierKeyError::Name`] where the name is empty or has a blank or a plus, [`VerifierKeyError::Key`] where nobody
    /// may use the key.
    pub fn new(
        name: impl Into<String>,
        kind: NoteKind,
        key: PublicKey,
    ) -> Result<Self, VerifierKeyError> {
        let name = name.into();
        if name.len() > NAME_MAX || !is_key_name_valid(&name) {
            return Err(VerifierKeyError::Name);
        }
        key.check()?;
        Ok(Self { name, kind, key })
    }

    /// The name; that of a log is its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its signatures are over.
    pub const fn kind(&self) -> NoteKind {
        self.kind
    }

    /// The key.
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// The number by which a note names the key, beside the name.
    pub fn id(&self) -> u32 {
        key_id(&self.name, &self.encoded())
    }

    fn encoded(&self) -> [u8; 33] {
        let mut encoded = [self.kind.octet(); 33];
        encoded[1..].copy_from_slice(&self.key.0);
        encoded
    }

    /// The time that the signature states, seconds since 1970, where it is good: 0 for a log's own.
    pub(super) fn check(&self, text: &str, signature: &[u8]) -> Result<u64, SignatureError> {
        let (time, signature) = match self.kind {
            NoteKind::Ed25519 => (None, signature),
            NoteKind::Cosignature => {
                let (time, rest) = signature.split_first_chunk().ok_or(SignatureError::Mismatch)?;
                (Some(u64::from_be_bytes(*time)), rest)
            }
        };
        let signature = signature.try_into().map_err(|_length| SignatureError::Mismatch)?;
        self.key.verify_bytes(signed_text(text, time).as_bytes(), &Signature(signature))?;
        Ok(time.unwrap_or(0))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:08x}+{}", self.name, self.id(), BASE64.encode(&self.encoded()))
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        let parts = || {
            let (name, rest) = text.split_once('+')?;
            let (id, key) = rest.split_once('+')?;
            let key = BASE64.decode(key.as_bytes()).ok()?;
            Some((name, id, key))
        };
        let (name, id, key) = parts().ok_or(VerifierKeyError::Form)?;
        let (kind, key) = key.split_first().ok_or(VerifierKeyError::Form)?;
        let kind = match kind {
            1 => NoteKind::Ed25519,
            4 => NoteKind::Cosignature,
            &other => return Err(VerifierKeyError::Kind(other)),
        };
        let key = PublicKey(key.try_into().map_err(|_length| VerifierKeyError::Form)?);
        let key = Self::new(name, kind, key)?;
        if format!("{:08x}", key.id()) == id { Ok(key) } else { Err(VerifierKeyError::Id) }
    }
}

/// Signs checkpoints under a name.
///
/// Nothing that it signs can be taken for a signature of chapter 5, nor the other way, even where one key makes both. What
/// chapter 5 signs begins with `cmtp/0` and a blank. What is signed here begins with `cosignature/v1`, or with a whole line
/// that is the signer's name, and a name has no blanks: the byte behind its sixth is none.
#[derive(Debug)]
pub struct NoteSigner {
    public: VerifierKey,
    key: SigningKey,
}

impl NoteSigner {
    /// A signer. It owns the key, so that the key signs nothing else by accident.
    ///
    /// # Errors
    /// As [`VerifierKey::new`].
    pub fn new(
        name: impl Into<String>,
        kind: NoteKind,
        key: SigningKey,
    ) -> Result<Self, VerifierKeyError> {
        Ok(Self { public: VerifierKey::new(name, kind, key.public())?, key })
    }

    /// By which others verify.
    pub const fn public(&self) -> &VerifierKey {
        &self.public
    }

    /// The signature line for a checkpoint; `time`, in seconds since 1970, is what a cosignature states.
    ///
    /// A log signs its own checkpoints only: the line of a signer of [`NoteKind::Ed25519`] is always over its name as origin.
    pub fn sign(&self, checkpoint: &Checkpoint, time: u64) -> String {
        let signed = match self.public.kind {
            NoteKind::Ed25519 => {
                let origin = self.public.name.clone();
                Checkpoint { origin, ..checkpoint.clone() }.text()
            }
            NoteKind::Cosignature => signed_text(&checkpoint.text(), Some(time)),
        };
        let time = (self.public.kind == NoteKind::Cosignature).then_some(time);
        let mut bytes = self.public.id().to_be_bytes().to_vec();
        bytes.extend(time.into_iter().flat_map(u64::to_be_bytes));
        bytes.extend(self.key.sign_bytes(signed.as_bytes()).0);
        format!("\u{2014} {} {}\n", self.public.name, BASE64.encode(&bytes))
    }
}

fn signed_text(text: &str, time: Option<u64>) -> String {
    match time {
        None => text.to_owned(),
        Some(time) => format!("cosignature/v1\ntime {time}\n{text}"),
    }
}

/// Why a text is no verifier key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifierKeyError {
    /// Other than `name+id+key`.
    #[error("not a verifier key (expected NAME+8 hexadecimal digits+base64)")]
    Form,
    /// A name that no note can have.
    #[error("a key's name is 1 to {NAME_MAX} bytes without blanks and plus signs")]
    Name,
    /// Another algorithm.
    #[error("a key of type {0:#04x}; known are 0x01 (Ed25519) and 0x04 (cosignature/v1)")]
    Kind(u8),
    /// The id is not that of name and key.
    #[error("the id is not that of this name and key; a digit may be missing")]
    Id,
    /// A key that nobody may use.
    #[error(transparent)]
    Key(#[from] SignatureError),
}

/// Bytes of a name: as long as an origin may be.
const NAME_MAX: usize = cmtp_spec::limits::LOG_ORIGIN_MAX as usize;
