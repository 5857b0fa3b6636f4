//! The root key: in the data directory, or in a file that is kept elsewhere.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use age::secrecy::SecretString;
use aws_lc_rs::hmac;
use cmtp_client::{Existing, Identity, write_whole};
use cmtp_codec::{PublicKey, SignatureError, SigningKey};
use data_encoding::HEXLOWER_PERMISSIVE;

use crate::node_keys::Seed;
use crate::node_keys::error::RootKeyError;

/// The key that a node is. It signs key lists, and what the node's operator asks of the node.
#[derive(Debug)]
pub struct RootKey {
    seed: Seed,
    key: SigningKey,
}

/// A passphrase as it was typed.
pub type Passphrase = SecretString;

impl RootKey {
    pub(super) fn from_seed(seed: [u8; 32]) -> Result<Self, SignatureError> {
        Ok(Self { key: SigningKey::from_seed(&seed)?, seed: Seed(seed) })
    }

    /// The root key that the data directory `data` has.
    ///
    /// # Errors
    /// [`RootKeyError::Offline`] where it was taken out, and where to.
    pub fn in_data(data: &Path) -> Result<Self, RootKeyError> {
        let path = data.join(FILE);
        match read(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(RootKeyError::Missing { path }) => {
                let note = fs::read_to_string(data.join(NOTE)).unwrap_or_default();
                let said = note.trim_end().strip_prefix(NOTE_HEADER);
                Err(match said.and_then(|said| said.split_once(' ')) {
                    Some((node, file)) => {
                        RootKeyError::Offline { node: node.to_owned(), file: file.to_owned() }
                    }
                    None => RootKeyError::Missing { path },
                })
            }
            Err(error) => Err(error),
        }
    }

    /// The root key that a file has; `ask` is asked for its passphrase, where it has one.
    ///
    /// # Errors
    /// [`RootKeyError`] names the file.
    pub fn in_file(
        path: &Path,
        ask: impl FnOnce() -> io::Result<Passphrase>,
    ) -> Result<Self, RootKeyError> {
        let text = read(path)?;
        if !text.starts_with(ARMOR) {
            return Self::parse(&text, path);
        }
        let passphrase = ask().map_err(RootKeyError::NoPassphrase)?;
        let mut identity = age::scrypt::Identity::new(passphrase);
        // A file that was made to be slow is no reason to wait for hours.
        identity.set_max_work_factor(WORK_MAX);
        let opened = age::decrypt(&identity, text.as_bytes()).map_err(|error| {
            RootKeyError::Locked { path: path.to_owned(), reason: error.to_string() }
        })?;
        Self::parse(&String::from_utf8_lossy(&opened), path)
    }

    /// Makes the root key of a data directory; where another process was faster its key is read.
    pub(super) fn create(data: &Path) -> Result<Self, RootKeyError> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_no_entropy| RootKeyError::NoEntropy)?;
        let (path, made) = (data.join(FILE), Self::from_seed(seed)?);
        let saved = fs::create_dir_all(data)
            .and_then(|()| write_whole(&path, made.to_text().as_bytes(), Existing::Keep));
        match saved {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            saved => saved.map_err(|source| RootKeyError::Io { path, source })?,
        }
        Self::in_data(data)
    }

    /// Takes the root key out of the data directory `data`: writes it to the new file `to`, under a passphrase where there is
    /// one, reads it back, and only then removes it. The node runs without it.
    ///
    /// # Errors
    /// [`RootKeyError`]; unless it is of the removal, the key is where it was.
    pub fn export(
        data: &Path,
        to: &Path,
        passphrase: Option<&Passphrase>,
    ) -> Result<Self, RootKeyError> {
        let root = Self::in_data(data)?;
        let plain = root.to_text();
        let text = match passphrase {
            None => plain,
            Some(passphrase) => {
                let recipient = age::scrypt::Recipient::new(passphrase.clone());
                let sealed = age::encrypt_and_armor(&recipient, plain.as_bytes());
                sealed.map_err(|error| RootKeyError::Locked {
                    path: to.to_owned(),
                    reason: error.to_string(),
                })?
            }
        };
        let io = |path: &Path, source| RootKeyError::Io { path: path.to_owned(), source };
        write_whole(to, text.as_bytes(), Existing::Keep).map_err(|source| io(to, source))?;
        let again = Self::in_file(to, || passphrase.cloned().ok_or(io::ErrorKind::NotFound.into()));
        if again.is_ok_and(|again| again.seed.0 == root.seed.0) {
            let (path, note) = (data.join(FILE), data.join(NOTE));
            let file = std::path::absolute(to).unwrap_or_else(|_nowhere| to.to_owned());
            let said = format!("{NOTE_HEADER}{} {}\n", root.public(), file.display());
            // The note first: a crash between both leaves the key where it was.
            write_whole(&note, said.as_bytes(), Existing::Replace)
                .map_err(|source| io(&note, source))?;
            let removed =
                fs::remove_file(&path).and_then(|()| File::open(data)).and_then(|it| it.sync_all());
            removed.map_err(|source| io(&path, source))?;
            return Ok(root);
        }
        Err(RootKeyError::NotReadBack { path: to.to_owned() })
    }

    /// Who the node is.
    pub const fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// The node as a caller: what only the node's operator may ask is asked so.
    ///
    /// # Errors
    /// [`RootKeyError::Crypto`].
    pub fn identity(&self) -> Result<Identity, RootKeyError> {
        // A seed is all that can be wrong with an identity that is not kept.
        Identity::from_seed(&self.seed.0).map_err(|_refused| SignatureError::Mismatch.into())
    }

    #[cfg(test)]
    pub(super) const fn seed(&self) -> [u8; 32] {
        self.seed.0
    }

    pub(super) const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// What nodes derived from their root key before they had online keys.
    pub(super) fn derived(&self, purpose: &str) -> [u8; 32] {
        super::derive(&hmac::Key::new(hmac::HMAC_SHA256, &self.seed.0), purpose)
    }

    fn to_text(&self) -> String {
        format!("{HEADER}{}\n", HEXLOWER_PERMISSIVE.encode(&self.seed.0))
    }

    fn parse(text: &str, path: &Path) -> Result<Self, RootKeyError> {
        let seed = || {
            let hex = text.trim_end().strip_prefix(HEADER)?;
            HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok()
        };
        let seed = seed().ok_or_else(|| RootKeyError::Malformed { path: path.to_owned() })?;
        Ok(Self::from_seed(seed)?)
    }
}

fn read(path: &Path) -> Result<String, RootKeyError> {
    fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => RootKeyError::Missing { path: path.to_owned() },
        io::ErrorKind::InvalidData => RootKeyError::Malformed { path: path.to_owned() },
        _ => RootKeyError::Io { path: path.to_owned(), source },
    })
}

pub(super) const FILE: &str = "node.key";
/// Says where the root key went.
const NOTE: &str = "node.key.offline";
const HEADER: &str = "cmtp-node-key-v0 ";
const NOTE_HEADER: &str = "cmtp-node-key-offline-v0 ";
const ARMOR: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
/// log2 of scrypt's N: 4 GiB and about a minute.
const WORK_MAX: u8 = 22;
