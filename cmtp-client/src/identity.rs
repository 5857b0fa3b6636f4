//! Who calls: an Ed25519 key, kept in a file or made for one process.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use aws_lc_rs::rand;
use cmtp_codec::log::VerifierKeyError;
use cmtp_codec::{Digest, PublicKey, SignatureError, SigningKey};
use data_encoding::HEXLOWER;

use crate::home::{Existing, Home, write_whole};

/// Who calls. Origins are signed with its key, and tokens are for its DID.
///
/// ```
/// use cmtp_client::Identity;
///
/// let identity = Identity::ephemeral()?;
/// assert!(identity.is_ephemeral());
/// assert!(identity.did().to_string().starts_with("did:key:z6Mk"));
/// # Ok::<(), cmtp_client::IdentityError>(())
/// ```
#[derive(Debug)]
pub struct Identity {
    key: SigningKey,
    ephemeral: bool,
}

impl Identity {
    /// An identity that nobody keeps: it names a caller for as long as the process lives.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] where the system has no randomness.
    pub fn ephemeral() -> Result<Self, IdentityError> {
        Ok(Self { key: SigningKey::from_seed(&random_seed()?)?, ephemeral: true })
    }

    /// The identity with this 32-byte seed (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] where the crypto library refuses the seed.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, IdentityError> {
        Ok(Self { key: SigningKey::from_seed(seed)?, ephemeral: false })
    }

    /// Makes an identity and keeps it in `home`; with [`Existing::Replace`] the one before is lost for good.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] with [`Existing::Keep`]; [`IdentityError::Io`] names the file.
    pub fn create(home: &Home, existing: Existing) -> Result<Self, IdentityError> {
        let seed = random_seed()?;
        let identity = Self::from_seed(&seed)?;
        let path = home.file(FILE);
        let text = format!("{FORMAT} {}\n", HEXLOWER.encode(&seed));
        // Apart from the file: a home that is a file says that it exists, too.
        if let Err(source) = home.create() {
            return Err(IdentityError::Io { path, source });
        }
        match write_whole(&path, text.as_bytes(), existing) {
            Ok(()) => Ok(identity),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(IdentityError::Exists { path })
            }
            Err(source) => Err(IdentityError::Io { path, source }),
        }
    }

    /// Reads the identity that `home` keeps; `None` where there is none.
    ///
    /// # Errors
    /// [`IdentityError::Exposed`] where others may read the file, [`IdentityError::Malformed`], [`IdentityError::Io`].
    pub fn load(home: &Home) -> Result<Option<Self>, IdentityError> {
        let path = home.file(FILE);
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| {
            let exposed = is_exposed(&file.metadata()?);
            // One more than the longest file, so that a longer one is seen to be no identity.
            file.take(FILE_MAX + 1).read_to_string(&mut text)?;
            Ok(exposed)
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityError::Io { path, source }),
            Ok(true) => return Err(IdentityError::Exposed { path }),
            Ok(false) => {}
        }
        match parse(&text) {
            Some(seed) => Self::from_seed(&seed).map(Some),
            None => Err(IdentityError::Malformed { path }),
        }
    }

    /// Who it is.
    pub const fn did(&self) -> PublicKey {
        self.key.public()
    }

    /// Whether nobody keeps it.
    pub const fn is_ephemeral(&self) -> bool {
        self.ephemeral
    }

    /// Signs a report of an audit: a note of `lines`, under this identity's DID.
    ///
    /// # Errors
    /// [`VerifierKeyError`]; an identity's key is a good one.
    pub fn sign_report(&self, lines: &str) -> Result<String, VerifierKeyError> {
        cmtp_codec::audit::sign_report(lines, &self.key)
    }

    /// Its commitment to a recovery key, where it has one.
    pub const fn recovery(&self) -> Option<Digest> {
        None
    }

    pub(crate) const fn key(&self) -> &SigningKey {
        &self.key
    }
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is one already.
    #[error("{} holds an identity already; --force replaces it, and it is lost for good", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others may read the secret.
    #[error("others may read {0}; run: chmod 600 {0}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The file is no identity.
    #[error("{} is no identity: expected one line, `{FORMAT}` and 64 hexadecimal digits", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read or written.
    #[error("identity {}: {source}; CMTP_HOME may name another directory", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// No randomness, or no key.
    #[error("no key can be made: {0}")]
    Crypto(#[from] SignatureError),
}

impl IdentityError {
    /// Whether the same may work later: only where the file system failed.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

fn random_seed() -> Result<[u8; 32], SignatureError> {
    let mut seed = [0; 32];
    // The library has one error for everything; without randomness there is no key.
    rand::fill(&mut seed).map_err(|aws_lc_rs::error::Unspecified| SignatureError::Mismatch)?;
    Ok(seed)
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let seed = text.strip_suffix('\n').unwrap_or(text).strip_prefix(FORMAT)?.strip_prefix(' ')?;
    HEXLOWER.decode(seed.as_bytes()).ok()?.try_into().ok()
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

const FILE: &str = "identity";
/// First word of the file; another version would have another word.
const FORMAT: &str = "cmtp-identity-v0";
/// The format's word, a space, 64 digits and a line end.
const FILE_MAX: u64 = FORMAT.len() as u64 + 1 + 64 + 1;
/// Permission bits of group and others.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_kept_and_not_lost_by_accident() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().join("deep").join("home"));
        assert!(Identity::load(&home).unwrap().is_none());
        let made = Identity::create(&home, Existing::Keep).unwrap();
        let kept = Identity::load(&home).unwrap().unwrap();
        assert_eq!(made.did(), kept.did());
        assert!(!kept.is_ephemeral());

        let again = Identity::create(&home, Existing::Keep).unwrap_err();
        assert!(matches!(again, IdentityError::Exists { .. }));
        assert_eq!(Identity::load(&home).unwrap().unwrap().did(), made.did());
        let replaced = Identity::create(&home, Existing::Replace).unwrap();
        assert_ne!(replaced.did(), made.did());
        assert_eq!(fs::read_dir(home.file("")).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_no_identity_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        let seed = "11".repeat(32);
        let table = [
            (format!("cmtp-identity-v0 {seed}\n"), true),
            (format!("cmtp-identity-v0 {seed}"), true),
            (format!("cmtp-identity-v1 {seed}\n"), false),
            (format!("cmtp-identity-v0 {seed}11\n"), false),
            (format!("cmtp-identity-v0 {}\n", &seed[2..]), false),
            (String::new(), false),
        ];
        for (text, good) in table {
            write_whole(&home.file(FILE), text.as_bytes(), Existing::Replace).unwrap();
            assert_eq!(Identity::load(&home).is_ok(), good, "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        Identity::create(&home, Existing::Keep).unwrap();
        let path = home.file(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::load(&home).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}
