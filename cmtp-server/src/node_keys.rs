//! The node's secret key, on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use cmtp_client::{Existing, Identity, write_whole};
use cmtp_codec::log::{NoteKind, NoteSigner, VerifierKey, log_origin};
use cmtp_codec::{Digest, KeyList, ListedKey, PublicKey, SignatureError, SigningKey};
use cmtp_spec::KeyUse;
use data_encoding::HEXLOWER_PERMISSIVE;

/// The node's root key, which stands for every use but one in its key list (`cmtp-spec/spec/13-receipts.md`).
#[derive(Debug)]
pub struct NodeKey {
    root: SigningKey,
    /// Of the key that signs checkpoints, and nothing else.
    log: PublicKey,
    /// Makes keys that are no signing keys, for what must be the same at every start.
    secret: hmac::Key,
}

impl NodeKey {
    /// A key from its seed; nothing is kept on disk.
    ///
    /// # Errors
    /// [`NodeKeyError::Crypto`].
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, NodeKeyError> {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, seed);
        let log = SigningKey::from_seed(&derive(&secret, LOG_KEY))?.public();
        Ok(Self { root: SigningKey::from_seed(seed)?, log, secret })
    }

    /// Whether the data directory `data` has a key.
    pub fn is_in(data: &Path) -> bool {
        data.join(FILE).exists()
    }

    /// Reads the key of the data directory `data`, and makes one where there is none.
    ///
    /// # Errors
    /// [`NodeKeyError`] names the file.
    pub fn load_or_create(data: &Path) -> Result<Self, NodeKeyError> {
        let path = data.join(FILE);
        let io = |source| NodeKeyError::Io { path: path.clone(), source };
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut seed = [0; 32];
                aws_lc_rs::rand::fill(&mut seed).map_err(|_no_entropy| SignatureError::Mismatch)?;
                match save(data, &seed) {
                    // `serve` and `grant` may both be the first: whoever is second takes the other's key.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    saved => saved.map_err(io)?,
                }
                fs::read_to_string(&path).map_err(io)?
            }
            read => read.map_err(io)?,
        };
        Self::from_seed(&parse(&text).ok_or(NodeKeyError::Malformed { path })?)
    }

    /// The node of the data directory `data` as a caller: what only the node's operator may ask is asked so.
    ///
    /// # Errors
    /// [`NodeKeyError`] names the file.
    pub fn identity(data: &Path) -> Result<Identity, NodeKeyError> {
        let path = data.join(FILE);
        let text = fs::read_to_string(&path)
            .map_err(|source| NodeKeyError::Io { path: path.clone(), source })?;
        let seed = parse(&text).ok_or(NodeKeyError::Malformed { path })?;
        // A seed is all that can be wrong with an identity that is not kept.
        Identity::from_seed(&seed).map_err(|_refused| SignatureError::Mismatch.into())
    }

    /// Who the node is.
    pub const fn public(&self) -> PublicKey {
        self.root.public()
    }

    /// The key list that the node serves.
    pub fn key_list(&self) -> KeyList {
        let listed = |&key_use: &KeyUse| ListedKey {
            key_use,
            key: if key_use == KeyUse::LOG { self.log } else { self.root.public() },
            not_before: 0,
            not_after: KeyList::NO_END,
        };
        KeyList::sign(&self.root, KEY_LIST, USES.iter().map(listed).collect())
    }

    /// By which others verify the checkpoints of the log with this number.
    ///
    /// # Errors
    /// [`NodeKeyError::Crypto`].
    pub fn log_key(&self, number: u32) -> Result<VerifierKey, NodeKeyError> {
        Ok(self.log_signer(number)?.public().clone())
    }

    /// [LOG-21] Signs the checkpoints of the log with this number, by a key that signs nothing else.
    pub(crate) fn log_signer(&self, number: u32) -> Result<NoteSigner, NodeKeyError> {
        let key = SigningKey::from_seed(&self.derived(LOG_KEY))?;
        let signer = NoteSigner::new(log_origin(&self.public(), number), NoteKind::Ed25519, key);
        // An origin is a name, and the key has just been made.
        signer.map_err(|_name| NodeKeyError::Crypto(SignatureError::Mismatch))
    }

    /// The key for layers and R0.
    pub(crate) const fn layer_key(&self) -> &SigningKey {
        &self.root
    }

    /// The key for tokens.
    pub(crate) const fn token_key(&self) -> &SigningKey {
        &self.root
    }

    /// A secret of the node's own for one purpose.
    pub(crate) fn derived(&self, purpose: &str) -> [u8; 32] {
        derive(&self.secret, purpose)
    }

    /// The key for TLS, as PKCS #8.
    pub(crate) fn tls_pkcs8(&self) -> Result<Vec<u8>, SignatureError> {
        self.root.to_pkcs8()
    }
}

/// Why there is no node key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeKeyError {
    /// The file can't be read or written.
    #[error("node key {}: {source}; the data directory (--data) has to be one that cmtpd can write", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("node key {}: not a node key; restore it from a backup, or move it away to make a new node", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The crypto library failed.
    #[error("node key: {0}")]
    Crypto(#[from] SignatureError),
}

fn derive(secret: &hmac::Key, purpose: &str) -> [u8; 32] {
    keyed_hash(secret, format!("cmtpd/0 {purpose}").as_bytes()).0
}

/// A hash that only who has the node's key can make.
pub(crate) fn keyed_hash(secret: &hmac::Key, text: &[u8]) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(hmac::sign(secret, text).as_ref());
    Digest(hash)
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let hex = text.trim_end().strip_prefix(HEADER)?;
    HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok()
}

fn save(data: &Path, seed: &[u8; 32]) -> io::Result<()> {
    fs::create_dir_all(data)?;
    let text = format!("{HEADER}{}\n", HEXLOWER_PERMISSIVE.encode(seed));
    write_whole(&data.join(FILE), text.as_bytes(), Existing::Keep)
}

const FILE: &str = "node.key";
const HEADER: &str = "cmtp-node-key-v0 ";
/// A list with a key of its own for the log replaces that of nodes before, which had one key for all.
const KEY_LIST: u64 = 1;
/// What the node itself signs.
const USES: [KeyUse; 4] = [KeyUse::TLS, KeyUse::TOKEN, KeyUse::LAYER, KeyUse::LOG];
const LOG_KEY: &str = "log key";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let data = tempfile::tempdir().unwrap();
        assert!(!NodeKey::is_in(data.path()));
        let made = NodeKey::load_or_create(data.path()).unwrap();
        assert!(NodeKey::is_in(data.path()));
        let read = NodeKey::load_or_create(data.path()).unwrap();
        assert_eq!(made.public(), read.public());
        let mode = fs::metadata(data.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn two_that_are_first_at_once_get_one_key() {
        let data = tempfile::tempdir().unwrap();
        let load = || NodeKey::load_or_create(data.path()).unwrap().public();
        let keys = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn a_file_that_is_no_key_is_not_overwritten() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(FILE), "hello").unwrap();
        let error = NodeKey::load_or_create(data.path()).unwrap_err();
        assert!(matches!(error, NodeKeyError::Malformed { .. }));
        assert_eq!(fs::read_to_string(data.path().join(FILE)).unwrap(), "hello");
    }
}
