//! Checkpoints: what a log says of itself, and who says so with it. C2SP tlog-checkpoint.

use std::fmt;

use cmtp_spec::limits;
use signed_note::Note;

use crate::hash::Digest;
use crate::key::SignatureError;
use crate::log::note::{NoteSigner, VerifierKey};
use crate::log::{read_hash, read_number, write_hash};
use crate::trust::Verified;

/// How large a log is, and the hash of its tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's origin.
    pub origin: String,
    /// Leaves of the tree.
    pub size: u64,
    /// The tree hash.
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed: three lines.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, write_hash(&self.root))
    }

    /// SHA-256 of the text: what an `opened` entry says of the log that it follows.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text().as_bytes())
    }

    /// Signs it as the log `log`, whose name becomes the origin.
    pub fn sign(self, log: &NoteSigner) -> SignedCheckpoint {
        // [LOG-3] The name of a log's key is its origin.
        let checkpoint = Self { origin: log.public().name().to_owned(), ..self };
        let note = format!("{}\n{}", checkpoint.text(), log.sign(&checkpoint, 0));
        SignedCheckpoint { checkpoint, note }
    }

    fn parse(text: &str) -> Option<Self> {
        // [LOG-4] Three lines and no other.
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        // [RCP-13] 1 to `log-origin-max` bytes, none of them a blank or a plus sign: so it is a name of a key, too.
        let is_printable = |byte: u8| byte.is_ascii_graphic() && byte != b'+';
        let is_origin = (1..=limits::LOG_ORIGIN_MAX).contains(&(origin.len() as u64))
            && origin.bytes().all(is_printable);
        let is_all = lines.next().is_none();
        let (size, root) = (read_number(size)?, read_hash(root)?);
        (is_origin && is_all).then(|| Self { origin: origin.to_owned(), size, root })
    }
}

/// A checkpoint with signatures, none of which was checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: String,
}

impl SignedCheckpoint {
    /// Reads a note.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] where it is no checkpoint in one spelling, or longer than `checkpoint-max` bytes.
    pub fn parse(note: &str) -> Result<Self, CheckpointError> {
        if note.len() as u64 > limits::CHECKPOINT_MAX {
            return Err(CheckpointError::Malformed);
        }
        let parsed =
            Note::from_bytes(note.as_bytes()).map_err(|_note| CheckpointError::Malformed)?;
        let text =
            std::str::from_utf8(parsed.text()).map_err(|_note| CheckpointError::Malformed)?;
        let checkpoint = Checkpoint::parse(text).ok_or(CheckpointError::Malformed)?;
        if parsed.to_bytes() != note.as_bytes() {
            return Err(CheckpointError::Malformed);
        }
        Ok(Self { checkpoint, note: note.to_owned() })
    }

    /// What it says; nobody checked it.
    pub const fn untrusted(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Checks the log's own signature.
    ///
    /// # Errors
    /// [`CheckpointError`]: another origin than the key's name, no signature by the key, or a bad one.
    pub fn verify(&self, log: &VerifierKey) -> Result<Verified<Checkpoint>, CheckpointError> {
        // [LOG-3] The name of a log's key is its origin.
        if log.name() != self.checkpoint.origin {
            return Err(CheckpointError::OtherOrigin);
        }
        match self.signed_by(log)? {
            Some(_) => Ok(Verified::new(self.checkpoint.clone())),
            None => Err(CheckpointError::NotSigned),
        }
    }

    /// Whether a log of this origin with one of these keys signed it.
    ///
    /// # Errors
    /// [`CheckpointError::Signature`] where there is a signature in the name of one of them that is not by it.
    pub(crate) fn is_signed_by_any(&self, logs: &[VerifierKey]) -> Result<bool, CheckpointError> {
        let mut is_signed = false;
        for log in logs.iter().filter(|log| log.name() == self.checkpoint.origin) {
            is_signed |= self.signed_by(log)?.is_some();
        }
        Ok(is_signed)
    }

    /// When `key` signed it, seconds since 1970 (0 for a log's own signature); `None` where it did not.
    ///
    /// # Errors
    /// [`CheckpointError::Signature`] where there is a signature in its name that does not verify.
    pub fn signed_by(&self, key: &VerifierKey) -> Result<Option<u64>, CheckpointError> {
        let id = key.id();
        let (text, lines) = self.note.rsplit_once("\n\n").ok_or(CheckpointError::Malformed)?;
        let text = format!("{text}\n");
        for line in lines.lines() {
            let signature = signed_note::Signature::from_bytes(line.as_bytes())
                .map_err(|_line| CheckpointError::Malformed)?;
            // [LOG-15] Lines of other keys are passed over; a bad one of this key is an error.
            if (signature.name(), signature.id()) == (key.name(), id) {
                return key.check(&text, signature.signature()).map(Some).map_err(Into::into);
            }
        }
        Ok(None)
    }

    /// Adds signature lines of others, as a witness sends them.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] where they are none, or the note gets too long.
    pub fn with_signatures(&self, lines: &str) -> Result<Self, CheckpointError> {
        Self::parse(&format!("{}{lines}", self.note))
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.note)
    }
}

/// Why a checkpoint does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// No checkpoint, or one in another spelling than its own.
    #[error("not a checkpoint (a signed note of origin, size and root)")]
    Malformed,
    /// The checkpoint of another log.
    #[error("the checkpoint is of another log")]
    OtherOrigin,
    /// Not signed by the log.
    #[error("the checkpoint is not signed by the log's key")]
    NotSigned,
    /// A signature in the key's name that is not by it.
    #[error("the checkpoint's signature: {0}")]
    Signature(#[from] SignatureError),
}
