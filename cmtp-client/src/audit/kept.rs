//! The checkpoint of each node's log that an audit saw last, so that the next one demands consistency with it.

use std::fs;
use std::io;
use std::path::PathBuf;

use cmtp_codec::PublicKey;
use cmtp_codec::log::SignedCheckpoint;

use crate::audit::error::AuditError;
use crate::home::{Existing, Home, write_whole};
use crate::known_logs::KnownLogs;

/// The checkpoints that were kept of a node's log: that of the last audit, and those of each persona's last call.
pub(crate) fn load(home: &Home, node: &PublicKey) -> Result<Vec<SignedCheckpoint>, AuditError> {
    let path = path(home, node);
    let audited = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(AuditError::Io { path, source }),
        Ok(note) => match SignedCheckpoint::parse(&note) {
            Ok(checkpoint) => Some(checkpoint),
            Err(source) => return Err(AuditError::Kept { path, source }),
        },
    };
    let called = KnownLogs::all_in_home(home, node).map_err(AuditError::Known)?;
    Ok(audited.into_iter().chain(called).collect())
}

/// Keeps a checkpoint for the next audit.
///
/// # Errors
/// [`AuditError`] names the file.
pub fn keep(
    home: &Home,
    node: &PublicKey,
    checkpoint: &SignedCheckpoint,
) -> Result<(), AuditError> {
    let path = path(home, node);
    let kept = home
        .create()
        .and_then(|()| fs::create_dir_all(home.file(FOLDER)))
        .and_then(|()| write_whole(&path, checkpoint.note().as_bytes(), Existing::Replace));
    kept.map_err(|source| AuditError::Io { path, source })
}

fn path(home: &Home, node: &PublicKey) -> PathBuf {
    home.file(FOLDER).join(node.multibase())
}

const FOLDER: &str = "audited";
