//! That a log only grew: a checkpoint with the proof from an earlier one. As in the body of C2SP add-checkpoint.

use std::fmt;

use tlog_tiles::tlog::{EMPTY_HASH, check_tree};

use crate::hash::Digest;
use crate::log::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::log::note::VerifierKey;
use crate::log::{read_number, read_path, tlog_hash, write_hash};
use crate::trust::Verified;

/// A checkpoint, and the proof that its tree begins with an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Leaves of the earlier tree.
    pub old: u64,
    /// The consistency proof; empty where the earlier tree had no leaf, or as many.
    pub path: Vec<Digest>,
    /// The checkpoint.
    pub checkpoint: SignedCheckpoint,
}

impl Growth {
    /// Reads one; nothing of it was checked then.
    ///
    /// # Errors
    /// [`GrowthError::Malformed`] where it is none in its one spelling.
    pub fn parse(text: &str) -> Result<Self, GrowthError> {
        let parse = || {
            let (head, checkpoint) = text.strip_prefix("old ")?.split_once("\n\n")?;
            let mut lines = head.split('\n');
            let old = read_number(lines.next()?)?;
            Some((old, read_path(lines)?, checkpoint))
        };
        let (old, path, checkpoint) = parse().ok_or(GrowthError::Malformed)?;
        Ok(Self { old, path, checkpoint: SignedCheckpoint::parse(checkpoint)? })
    }

    /// Checks the log's signature, and that nothing of what it had at `known` was changed; without `known`, the signature.
    ///
    /// # Errors
    /// [`GrowthError`]; [`GrowthError::Smaller`] and [`GrowthError::Forked`] are what no honest log does.
    pub fn verify(
        &self,
        known: Option<&Checkpoint>,
        log: &VerifierKey,
    ) -> Result<Verified<Checkpoint>, GrowthError> {
        let checkpoint = self.checkpoint.verify(log)?;
        let Some(known) = known else { return Ok(checkpoint) };
        if known.origin != checkpoint.origin {
            return Err(CheckpointError::OtherOrigin.into());
        }
        if checkpoint.size < known.size {
            return Err(GrowthError::Smaller { known: known.size, size: checkpoint.size });
        }
        // [LOG-7] From the tree that the receiver knows, and no other.
        if self.old != known.size {
            return Err(GrowthError::OtherSize { known: known.size, old: self.old });
        }
        let same = known.size == checkpoint.size && known.root == checkpoint.root;
        let is_from_nothing = known.size == 0 && tlog_hash(&known.root) == EMPTY_HASH;
        // A tree without leaves has one root.
        let from_nothing = is_from_nothing && checkpoint.size > 0;
        let is_consistent = if same || from_nothing {
            self.path.is_empty()
        } else if known.size == 0 || known.size == checkpoint.size {
            false
        } else {
            let path = self.path.iter().map(tlog_hash).collect();
            let (old, new) = (tlog_hash(&known.root), tlog_hash(&checkpoint.root));
            check_tree(&path, checkpoint.size, new, known.size, old).is_ok()
        };
        if is_consistent {
            Ok(checkpoint)
        } else {
            Err(GrowthError::Forked { known: known.size, size: checkpoint.size })
        }
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{}", write_hash(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Why a log can't be said to have only grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrowthError {
    /// Not `old`, hashes and a checkpoint.
    #[error("not a consistency proof and a checkpoint")]
    Malformed,
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A proof from another size than the one that is known.
    #[error("the proof is from {old} entries, and {known} are known")]
    OtherSize {
        /// What is known.
        known: u64,
        /// What the proof begins with.
        old: u64,
    },
    /// The log lost entries.
    #[error(
        "the log has {size} entries and once had {known}: it was cut, or restored from a backup"
    )]
    Smaller {
        /// What is known.
        known: u64,
        /// What the checkpoint says.
        size: u64,
    },
    /// The log tells two stories.
    #[error(
        "the log's first {known} of {size} entries are not those that it had: it was rewritten, or it shows others another log"
    )]
    Forked {
        /// What is known.
        known: u64,
        /// What the checkpoint says.
        size: u64,
    },
}
