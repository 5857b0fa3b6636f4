//! The checkpoint of each node's log that an audit saw last, so that the next one demands consistency with it.

use std::fs;
use std::io;
use std::path::PathBuf;

use cmtp_codec::PublicKey;
use cmtp_codec::log::SignedCheckpoint;

use crate::audit::error::AuditError;
use crate::home::{Existing, Home, write_whole};

/// The checkpoint that was kept of a node's log; `None` before the first audit.
pub(crate) fn load(home: &Home, node: &PublicKey) -> Result<Option<SignedCheckpoint>, AuditError> {
    let path = path(home, node);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuditError::Io { path, source }),
        Ok(note) => match SignedCheckpoint::parse(&note) {
            Ok(checkpoint) => Ok(Some(checkpoint)),
            Err(source) => Err(AuditError::Kept { path, source }),
        },
    }
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
