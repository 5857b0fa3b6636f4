//! What opens an encrypted file of identities.

use std::env;
use std::fmt;
use std::path::Path;

use age::secrecy::SecretString;

use crate::keyring::error::KeyringError;

/// A passphrase, wiped from memory once it is not needed any more.
#[derive(Clone)]
pub struct Passphrase(SecretString);

impl Passphrase {
    /// A passphrase; `None` where the text is empty, which protects nothing.
    pub fn new(text: String) -> Option<Self> {
        (!text.is_empty()).then(|| Self(SecretString::from(text)))
    }

    /// The one in the environment variable `CMTP_PASSPHRASE`; an empty one is none.
    pub fn in_env() -> Option<Self> {
        env::var(VARIABLE).ok().and_then(Self::new)
    }

    /// The same for the file at `path`, where nobody can be asked.
    ///
    /// # Errors
    /// [`KeyringError::NoPassphrase`] names the file and the variable.
    pub fn from_env(path: &Path) -> Result<Self, KeyringError> {
        Self::in_env().ok_or_else(|| KeyringError::NoPassphrase { path: path.to_owned() })
    }

    pub(crate) fn secret(&self) -> SecretString {
        self.0.clone()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

const VARIABLE: &str = "CMTP_PASSPHRASE";
