//! Who calls: one Ed25519 key, of a persona that is kept or made for one process.

use std::fmt;

use aws_lc_rs::{hmac, rand};
use cmtp_codec::log::VerifierKeyError;
use cmtp_codec::{PublicKey, RecoveryCommitment, SignatureError, SigningKey};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use crate::home::Home;
use crate::keyring::{Keyring, KeyringError, Passphrase};

/// Who calls: one persona. Origins are signed with its key, and tokens are for its DID. A [`Keyring`] has all of a person.
///
/// ```
/// use cmtp_client::Identity;
///
/// let identity = Identity::ephemeral()?;
/// assert!(identity.is_ephemeral());
/// assert!(identity.did().to_string().starts_with("did:key:z6Mk"));
/// # Ok::<(), cmtp_client::IdentityError>(())
/// ```
pub struct Identity {
    key: SigningKey,
    /// Names files.
    names: hmac::Key,
    recovery: Option<RecoveryCommitment>,
    ephemeral: bool,
}

impl Identity {
    /// An identity that nobody keeps: it names a caller for as long as the process lives.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] where the system has no randomness.
    pub fn ephemeral() -> Result<Self, IdentityError> {
        let mut seed = Zeroizing::new([0; 32]);
        // The library has one error for everything; without randomness there is no key.
        let filled = rand::fill(&mut *seed);
        filled.map_err(|aws_lc_rs::error::Unspecified| SignatureError::Mismatch)?;
        Ok(Self { ephemeral: true, ..Self::from_seed(&seed)? })
    }

    /// The identity with this 32-byte seed (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] where the crypto library refuses the seed.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, IdentityError> {
        let names = hmac::Key::new(hmac::HMAC_SHA256, seed);
        Ok(Self { key: SigningKey::from_seed(seed)?, names, recovery: None, ephemeral: false })
    }

    /// The default persona that `home` keeps, `None` where there is none; an encrypted file is opened with `CMTP_PASSPHRASE`.
    ///
    /// # Errors
    /// As [`Keyring::load`].
    pub fn load(home: &Home) -> Result<Option<Self>, KeyringError> {
        let kept = Keyring::load(home, Passphrase::from_env)?;
        kept.map(|keyring| keyring.identity(None)).transpose()
    }

    /// Who it is.
    pub const fn did(&self) -> PublicKey {
        self.key.public()
    }

    /// Whether nobody keeps it.
    pub const fn is_ephemeral(&self) -> bool {
        self.ephemeral
    }

    /// A file name for what is kept of `what` for this persona: 32 hexadecimal digits, always the same.
    ///
    /// `what` begins with the purpose, so that two purposes never share a file.
    pub fn file_name(&self, what: &[&[u8]]) -> String {
        // [IDY-8] Files that it keeps for a persona MUST have names that tell nobody whose they are.
        let mut name = hmac::Context::with_key(&self.names);
        name.update(FILE_NAMES);
        for part in what {
            name.update(&(part.len() as u64).to_be_bytes());
            name.update(part);
        }
        HEXLOWER.encode(&name.sign().as_ref()[..16])
    }

    /// Signs a report of an audit: a note of `lines`, under this identity's DID.
    ///
    /// # Errors
    /// [`VerifierKeyError`]; an identity's key is a good one.
    pub fn sign_report(&self, lines: &str) -> Result<String, VerifierKeyError> {
        cmtp_codec::audit::sign_report(lines, &self.key)
    }

    /// Its commitment to a recovery key, where it has one.
    pub const fn recovery(&self) -> Option<RecoveryCommitment> {
        self.recovery
    }

    /// The same with a commitment to its recovery key.
    #[must_use]
    pub fn committed(self, recovery: RecoveryCommitment) -> Self {
        Self { recovery: Some(recovery), ..self }
    }

    pub(crate) const fn key(&self) -> &SigningKey {
        &self.key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, ephemeral, .. } = self;
        f.debug_struct("Identity").field("key", key).field("ephemeral", ephemeral).finish()
    }
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No randomness, or no key.
    #[error("no key can be made: {0}")]
    Crypto(#[from] SignatureError),
}

/// What makes a seed name files and nothing else.
const FILE_NAMES: &[u8] = b"cmtp/0 file names";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_one_persona_s_and_one_purpose_s() {
        // [IDY-8]
        let (one, other) = ([1; 32], [2; 32]);
        let name = |seed, what: &[&[u8]]| Identity::from_seed(seed).unwrap().file_name(what);
        let first = name(&one, &[b"log", b"node"]);
        assert_eq!(first, name(&one, &[b"log", b"node"]));
        assert_eq!((first.len(), first.to_ascii_lowercase()), (32, first.clone()));
        assert_ne!(first, name(&other, &[b"log", b"node"]));
        assert_ne!(first, name(&one, &[b"logn", b"ode"]));
        assert_ne!(first, name(&one, &[b"log"]));
        assert!(!format!("{:?}", Identity::from_seed(&one).unwrap()).contains("names"));
    }
}
