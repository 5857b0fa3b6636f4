//! Receipt R1: that an entry stands in a log. C2SP tlog-proof.

use std::fmt;

use cmtp_spec::binding;
use tlog_tiles::tlog::check_record;

use crate::hash::Digest;
use crate::log::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::log::note::VerifierKey;
use crate::log::{read_number, read_path, tlog_hash, write_hash};
use crate::trust::Verified;

/// An index, the path from the entry there to the root, and the checkpoint that names the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    /// The entry's place in the log, from 0.
    pub index: u64,
    /// The audit path, from the leaf upwards.
    pub path: Vec<Digest>,
    /// The checkpoint.
    pub checkpoint: SignedCheckpoint,
}

impl LogProof {
    /// Reads a proof; nothing of it was checked then.
    ///
    /// # Errors
    /// [`LogProofError::Malformed`] where it is none in its one spelling; it has no `extra` line.
    pub fn parse(text: &str) -> Result<Self, LogProofError> {
        // [LOG-9] No `extra` line, and no number or hash in a second spelling.
        let parse = || {
            let rest = text.strip_prefix(binding::TLOG_PROOF_HEADER)?.strip_prefix("\nindex ")?;
            let (head, checkpoint) = rest.split_once("\n\n")?;
            let mut lines = head.split('\n');
            let index = read_number(lines.next()?)?;
            Some((index, read_path(lines)?, checkpoint))
        };
        let (index, path, checkpoint) = parse().ok_or(LogProofError::Malformed)?;
        Ok(Self { index, path, checkpoint: SignedCheckpoint::parse(checkpoint)? })
    }

    /// Checks that the entry with this leaf hash stands there, under a checkpoint that the log signed.
    ///
    /// # Errors
    /// [`LogProofError`].
    pub fn verify(
        &self,
        leaf: Digest,
        log: &VerifierKey,
    ) -> Result<Verified<Checkpoint>, LogProofError> {
        self.leads_from(leaf)?;
        Ok(self.checkpoint.verify(log)?)
    }

    /// Checks that the path leads from the leaf to the root of the checkpoint, whoever signed that.
    pub(crate) fn leads_from(&self, leaf: Digest) -> Result<(), LogProofError> {
        let checkpoint = self.checkpoint.untrusted();
        let path = self.path.iter().map(tlog_hash).collect();
        let (size, root) = (checkpoint.size, tlog_hash(&checkpoint.root));
        // [LOG-16] The path MUST lead from the leaf hash at the index to the checkpoint's root.
        let leads = self.index < size
            && check_record(&path, size, root, self.index, tlog_hash(&leaf)).is_ok();
        if leads { Ok(()) } else { Err(LogProofError::OtherEntry { index: self.index }) }
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nindex {}", binding::TLOG_PROOF_HEADER, self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{}", write_hash(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogProofError {
    /// No tlog-proof.
    #[error("not a tlog-proof of index, path and checkpoint")]
    Malformed,
    /// Its checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The path leads elsewhere: another entry, another index, another tree.
    #[error("the path does not lead from this entry at index {index} to the checkpoint's root")]
    OtherEntry {
        /// The index that the proof names.
        index: u64,
    },
}
