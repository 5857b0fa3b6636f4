//! Policy files as they lie in a folder.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use cmtp_codec::{PolicyFiles, PolicyFilesError};
use cmtp_spec::limits;

use crate::policy::error::PolicyError;

/// Reads the policy files of a folder: those whose names end in `.cedar` and do not begin with `.`.
///
/// # Errors
/// [`PolicyError`] names the folder and the file.
pub fn read_policy_folder(folder: &Path) -> Result<PolicyFiles, PolicyError> {
    read(folder).map_err(|error| error.in_folder(folder))
}

/// Whether a file with this name is part of a set.
pub fn is_policy_file(name: &str) -> bool {
    name.ends_with(ENDING) && !name.starts_with('.')
}

fn read(folder: &Path) -> Result<PolicyFiles, PolicyError> {
    let in_folder = |source| PolicyError::Folder { source };
    let mut files = PolicyFiles::default();
    for entry in fs::read_dir(folder).map_err(in_folder)? {
        let path = entry.map_err(in_folder)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        if !is_policy_file(&name) {
            continue;
        }
        let text = read_file(&path)
            .map_err(|source| PolicyError::Io { name: name.clone().into_owned(), source })?
            .ok_or(PolicyFilesError::Bytes)?;
        files.insert(&name, text)?;
    }
    Ok(files)
}

/// The bytes of a file; `None` where they are more than a set may have.
fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file; move it away"));
    }
    let mut bytes = Vec::new();
    file.take(limits::POLICY_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limits::POLICY_BYTES_MAX).then_some(bytes))
}

const ENDING: &str = ".cedar";
