//! The transparency log as a verifier sees it: checkpoints, proofs, policies. `cmtp-spec/spec/18-log.md`.
//!
//! All of it is C2SP's (signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof, tlog-policy), so that any client of
//! such logs can audit a node. Nothing here opens a file.

mod checkpoint;
mod growth;
mod levels;
mod note;
mod policy;
mod proof;
mod tile;

use cmtp_spec::limits;

use crate::hash::Digest;
use crate::key::PublicKey;
pub use crate::log::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
pub use crate::log::growth::{Growth, GrowthError};
pub use crate::log::levels::{Levels, Tile};
pub use crate::log::note::{NoteKind, NoteSigner, VerifierKey, VerifierKeyError};
pub use crate::log::policy::{Cosigned, Policy, PolicyError, PolicyErrorKind};
pub use crate::log::proof::{LogProof, LogProofError};
pub use crate::log::tile::{bundle, read_bundle, tile_at, tile_path};

/// The origin line of a node's log: `[LOG-1]`. `number` is 0 for the first, and one more for each that followed another.
// [LOG-1] A log's origin MUST be spelled so.
pub fn log_origin(node: &PublicKey, number: u32) -> String {
    format!("cmtp/{}/{number}", node.multibase())
}

/// The node and the number in an origin line; `None` where it is not spelled as [`log_origin`] does.
pub fn parse_log_origin(origin: &str) -> Option<(PublicKey, u32)> {
    let (node, number) = origin.strip_prefix("cmtp/")?.split_once('/')?;
    let (node, number) = (PublicKey::from_multibase(node).ok()?, number.parse().ok()?);
    (log_origin(&node, number) == origin).then_some((node, number))
}

/// The hashes of lines of base64, at most `log-path-max`.
fn read_path<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Vec<Digest>> {
    let mut path = Vec::new();
    for line in lines {
        // [LOG-17] A proof of more than `log-path-max` hashes MUST be treated as malformed.
        if path.len() as u64 == limits::LOG_PATH_MAX {
            return None;
        }
        path.push(read_hash(line)?);
    }
    Some(path)
}

fn read_hash(line: &str) -> Option<Digest> {
    let hash = data_encoding::BASE64.decode(line.as_bytes()).ok()?;
    Some(Digest(hash.try_into().ok()?))
}

fn write_hash(hash: &Digest) -> String {
    data_encoding::BASE64.encode(&hash.0)
}

/// A number without sign, leading zero or blank: one number has one spelling.
fn read_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

const fn tlog_hash(digest: &Digest) -> tlog_tiles::tlog::Hash {
    tlog_tiles::tlog::Hash(digest.0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
