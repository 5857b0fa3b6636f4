//! What anybody is known to have of this node's logs, and whether the journal continues it. `cmtp-spec/spec/18-log.md`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use cmtp_codec::log::{Checkpoint, SignedCheckpoint};
use tlog_tiles::TileHashReader;
use tlog_tiles::tlog::{Hash, tree_hash};

use crate::journal::Follower;
use crate::log::cosigners::{Cosigners, Seen};
use crate::log::edge::Edge;
use crate::log::folder::{CHECKPOINT, Folder};
use crate::log::keeper::READ;
use crate::log::{Checkpointed, LogError};
use crate::node_keys::NodeKeys;

/// Checkpoints that the node signed once, whoever has them.
#[derive(Debug, Default)]
pub(crate) struct Past(Vec<Known>);

#[derive(Debug)]
struct Known {
    number: u32,
    checkpoint: Checkpoint,
    /// `None` where it stands on the node's own disk.
    witness: Option<String>,
}

impl Past {
    /// What the data directory holds below `root`, and what witnesses have of the log `number` and those after it.
    pub(crate) fn gather(
        root: &Path,
        keys: &NodeKeys,
        number: u32,
        cosigners: &mut Cosigners,
    ) -> Result<Self, LogError> {
        let mut known = own(root, keys)?;
        // [LOG-23] A witness may know of logs that were begun after the backup was made.
        for later in 0..LOGS_MAX {
            let number = number.saturating_add(later);
            let seen = cosigners.seen(&keys.log_key(number)?);
            if seen.is_empty() && later > 0 {
                break;
            }
            known.extend(seen.into_iter().map(|Seen { witness, checkpoint }| Known {
                number,
                checkpoint: checkpoint.untrusted().clone(),
                witness: Some(witness),
            }));
        }
        Ok(Self(known))
    }

    /// The newest, and the number of its log.
    pub(crate) fn newest(&self) -> Option<(u32, &Checkpoint)> {
        let newest = self.0.iter().max_by_key(|known| (known.number, known.checkpoint.size));
        newest.map(|known| (known.number, &known.checkpoint))
    }

    /// [LOG-23] Whether the journal continues all of it, as the log `number`.
    pub(crate) fn check(
        &self,
        number: u32,
        journal: &Follower,
        folder: &Folder,
        (last, edge): (&Checkpointed, &Edge),
    ) -> Result<(), LogError> {
        let entries = journal.durable();
        let newest = self.0.iter().max_by_key(|known| known.number);
        if let Some(Known { number: newer, witness, .. }) = newest.filter(|it| it.number > number) {
            let who = match witness {
                Some(witness) => format!("witness {witness}"),
                None => "this data directory".to_owned(),
            };
            return Err(LogError::Newer { who, number: *newer, current: number });
        }
        for Known { number: of, checkpoint, witness } in &self.0 {
            let size = checkpoint.size;
            // What stands on the disk was compared when the tree was read.
            let (true, Some(witness)) = (*of == number, witness) else { continue };
            if size > entries {
                return Err(LogError::WitnessAhead { witness: witness.clone(), size, entries });
            }
            if root_at(size, journal, folder, (last, edge))?.0 != checkpoint.root.0 {
                return Err(LogError::WitnessOther { witness: witness.clone(), size });
            }
        }
        Ok(())
    }
}

/// The root over the first `size` entries of the journal.
fn root_at(
    size: u64,
    journal: &Follower,
    folder: &Folder,
    (last, edge): (&Checkpointed, &Edge),
) -> Result<Hash, LogError> {
    if size <= last.size {
        let reader = TileHashReader::new(last.size, last.root, folder);
        if let Ok(root) = tree_hash(size, &reader) {
            return Ok(root);
        }
    }
    let mut edge = if size < edge.size() { Edge::default() } else { edge.clone() };
    while edge.size() < size {
        let left = usize::try_from(size - edge.size()).unwrap_or(READ);
        let entries = journal.entries(edge.size(), left.min(READ))?;
        if entries.is_empty() {
            break;
        }
        // Files are written when the tree is signed.
        let mut full = Vec::new();
        entries.iter().for_each(|entry| edge.push(entry, &mut full));
    }
    Ok(edge.root())
}

/// The checkpoints in the data directory, one of each log.
fn own(root: &Path, keys: &NodeKeys) -> Result<Vec<Known>, LogError> {
    let mut known = Vec::new();
    let folders = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(known),
        folders => folders?,
    };
    for folder in folders {
        let folder = folder?;
        let name = folder.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let note = match fs::read_to_string(folder.path().join(CHECKPOINT)) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            note => note?,
        };
        let checkpoint = SignedCheckpoint::parse(&note)?.verify(&keys.log_key(number)?)?;
        known.push(Known { number, checkpoint: checkpoint.into_inner(), witness: None });
    }
    Ok(known)
}

/// Logs that are asked for: a node that lost more than these has other troubles.
const LOGS_MAX: u32 = 16;
