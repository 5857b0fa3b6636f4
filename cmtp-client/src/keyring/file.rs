//! The file `identity` of a home directory, and other files of secrets.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::keyring::error::KeyringError;
use crate::keyring::passphrase::Passphrase;
use crate::keyring::sealed::{self, Sealed};

/// A file as it stands on the disk; `None` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        let room = usize::try_from(metadata.len().min(FILE_MAX)).unwrap_or_default();
        // One more than the longest file, so that a longer one is seen to be none; and so long that it never grows.
        bytes.reserve_exact(room + 1);
        file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
        Ok(is_exposed(&metadata))
    });
    let path = path.to_owned();
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeyringError::Io { path, source }),
        Ok(true) => Err(KeyringError::Exposed { path }),
        Ok(false) if bytes.len() as u64 > FILE_MAX => Err(KeyringError::Malformed {
            path,
            what: format!("it has more than {FILE_MAX} bytes"),
        }),
        Ok(false) => Ok(Some(bytes)),
    }
}

/// The text of a file, and the passphrase that opened it, which is asked for only where there is one.
pub(crate) fn open(
    path: &Path,
    bytes: Zeroizing<Vec<u8>>,
    passphrase: impl FnOnce(&Path) -> Result<Passphrase, KeyringError>,
) -> Result<(Zeroizing<String>, Option<Passphrase>), KeyringError> {
    let malformed = |what| KeyringError::Malformed { path: path.to_owned(), what };
    if !sealed::is_sealed(&bytes) {
        let text = std::str::from_utf8(&bytes).map_err(|error| malformed(error.to_string()))?;
        return Ok((Zeroizing::new(text.to_owned()), None));
    }
    let passphrase = passphrase(path)?;
    let text = sealed::open(&bytes, &passphrase).map_err(|fault| match fault {
        Sealed::WrongPassphrase => KeyringError::WrongPassphrase { path: path.to_owned() },
        Sealed::TooMuchWork(factor) => KeyringError::TooMuchWork { path: path.to_owned(), factor },
        Sealed::Malformed(what) => malformed(what),
    })?;
    Ok((text, Some(passphrase)))
}

/// What a text becomes on the disk.
pub(crate) fn seal(
    path: &Path,
    text: &str,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let bytes = match passphrase {
        Some(passphrase) => sealed::seal(text, passphrase)
            .map_err(|source| KeyringError::Io { path: path.to_owned(), source })?,
        None => text.as_bytes().to_vec(),
    };
    Ok(Zeroizing::new(bytes))
}

#[cfg(unix)]
fn is_exposed(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;

    metadata.permissions().mode() & OTHERS != 0
}

#[cfg(not(unix))]
const fn is_exposed(_metadata: &fs::Metadata) -> bool {
    false
}

/// A thousand personas by their seeds, in armor.
pub(crate) const FILE_MAX: u64 = 300_000;
/// Permission bits of group and others.
#[cfg(unix)]
const OTHERS: u32 = 0o077;
