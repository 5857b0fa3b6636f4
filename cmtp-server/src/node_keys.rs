//! The node's keys, on disk: a root key, and the online keys in the list that it signed.
//! `cmtp-spec/spec/25-node-keys.md`.

mod error;
mod online;
mod root;
mod rotate;

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use aws_lc_rs::hmac;
use cmtp_codec::log::{NoteKind, NoteSigner, VerifierKey, log_origin};
use cmtp_codec::{Digest, KeyList, ListedKey, PublicKey, SignatureError, SigningKey, Verified};
use cmtp_spec::KeyUse;

use crate::node;
pub use crate::node_keys::error::{NodeKeysError, RootKeyError, RotateError};
use crate::node_keys::online::Online;
pub use crate::node_keys::root::{Passphrase, RootKey};
pub use crate::node_keys::rotate::{Rotation, rotate};

/// What a node signs and hides with while it runs: an online key for each use, and the list that its root key signed.
///
/// A snapshot: where keys are replaced there is another one, and who holds this one goes on with it.
#[derive(Debug)]
pub struct NodeKeys {
    list: Verified<KeyList>,
    tls: SigningKey,
    token: SigningKey,
    layer: SigningKey,
    log: (PublicKey, Seed),
    secrets: Secrets,
}

/// A seed, which nothing shows.
struct Seed([u8; 32]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Secrets that are no signing keys, for what must be the same at every start.
struct Secrets {
    secret: hmac::Key,
    /// Those that a node had when they were derived from its root key.
    kept: Vec<(String, [u8; 32])>,
}

impl NodeKeys {
    /// Whether the data directory `data` has a node's keys.
    pub fn is_in(data: &Path) -> bool {
        data.join(online::FILE).exists() || data.join(root::FILE).exists()
    }

    /// Reads the keys of the data directory `data`, and makes them where there are none. The root key need not be there.
    ///
    /// # Errors
    /// [`NodeKeysError`] names the file.
    pub fn load_or_create(data: &Path) -> Result<Self, NodeKeysError> {
        let is_new = !Self::is_in(data);
        let root = match RootKey::in_data(data) {
            Ok(root) => Some(root),
            Err(RootKeyError::Missing { .. }) if is_new => Some(RootKey::create(data)?),
            Err(RootKeyError::Missing { .. } | RootKeyError::Offline { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let online = match (Online::load(data)?, &root) {
            (Some(online), _) => online,
            // Another process may be the first: whoever is second takes the other's keys.
            (None, Some(root)) => Online::create(data, root, is_new, node::now())?,
            (None, None) => return Err(NodeKeysError::Lost { path: data.join(online::FILE) }),
        };
        let path = || data.join(online::FILE);
        if root.is_some_and(|root| root.public() != online.list.root) {
            return Err(NodeKeysError::OtherRoot { path: path() });
        }
        Self::new(online)?.ok_or_else(|| NodeKeysError::Malformed { path: path() })
    }

    /// Reads the keys again that the data directory holds by now.
    pub(crate) fn load(data: &Path) -> Result<Self, NodeKeysError> {
        let path = || data.join(online::FILE);
        let online = Online::load(data)?.ok_or_else(|| NodeKeysError::Lost { path: path() })?;
        Self::new(online)?.ok_or_else(|| NodeKeysError::Malformed { path: path() })
    }

    /// What changes when the keys on the disk do; `None` where they can't be looked at.
    pub(crate) async fn stamp(data: &Path) -> Option<Stamp> {
        let found = tokio::fs::metadata(data.join(online::FILE)).await.ok()?;
        Some(Stamp {
            file: std::os::unix::fs::MetadataExt::ino(&found),
            size: found.len(),
            changed: found.modified().ok(),
        })
    }

    /// `None` where the list is not signed, or does not have the keys.
    fn new(online: Online) -> Result<Option<Self>, NodeKeysError> {
        let Online { seeds, secret, kept, list } = online;
        let Ok(list) = list.verify() else { return Ok(None) };
        let keys = Self {
            tls: SigningKey::from_seed(&seeds.tls)?,
            token: SigningKey::from_seed(&seeds.token)?,
            layer: SigningKey::from_seed(&seeds.layer)?,
            log: (SigningKey::from_seed(&seeds.log)?.public(), Seed(seeds.log)),
            secrets: Secrets { secret: hmac::Key::new(hmac::HMAC_SHA256, &secret), kept },
            list,
        };
        let is_listed = |key_use| keys.list.lists(key_use, &keys.current(key_use));
        let is_whole = USES.into_iter().all(is_listed);
        Ok(is_whole.then_some(keys))
    }

    /// One key for all uses but the log's, as nodes had it before they had lists of online keys; nothing is kept on disk.
    #[cfg(test)]
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Result<Self, NodeKeysError> {
        let root = RootKey::from_seed(*seed)?;
        let seeds =
            online::Seeds { tls: *seed, token: *seed, layer: *seed, log: root.derived(LOG_KEY) };
        let list = KeyList::sign(root.key(), 1, online::before(&root)?);
        let online = Online { seeds, secret: *seed, kept: Vec::new(), list };
        Self::new(online)?.ok_or(NodeKeysError::Crypto(SignatureError::Mismatch))
    }

    /// Who the node is: its root key.
    pub fn public(&self) -> PublicKey {
        self.list.root
    }

    /// The key list that the node serves.
    pub fn key_list(&self) -> KeyList {
        (*self.list).clone()
    }

    /// The same, as what was checked.
    pub const fn list(&self) -> &Verified<KeyList> {
        &self.list
    }

    /// Whether the node uses this key now.
    pub fn is_current(&self, listed: &ListedKey) -> bool {
        USES.contains(&listed.key_use) && self.current(listed.key_use) == listed.key
    }

    /// By which others verify the checkpoints of the log with this number.
    ///
    /// # Errors
    /// [`NodeKeysError::Crypto`].
    pub fn log_key(&self, number: u32) -> Result<VerifierKey, NodeKeysError> {
        let origin = log_origin(&self.public(), number);
        // An origin is a name, and the key has been made.
        VerifierKey::new(&origin, NoteKind::Ed25519, self.log.0)
            .map_err(|_name| NodeKeysError::Crypto(SignatureError::Mismatch))
    }

    /// [LOG-21] Signs the checkpoints of the log with this number, by a key that signs nothing else.
    pub(crate) fn log_signer(&self, number: u32) -> Result<NoteSigner, NodeKeysError> {
        let origin = log_origin(&self.public(), number);
        let signer =
            NoteSigner::new(origin, NoteKind::Ed25519, SigningKey::from_seed(&self.log.1.0)?);
        signer.map_err(|_name| NodeKeysError::Crypto(SignatureError::Mismatch))
    }

    /// The key for layers and R0.
    pub(crate) const fn layer_key(&self) -> &SigningKey {
        &self.layer
    }

    /// The key for tokens.
    pub(crate) const fn token_key(&self) -> &SigningKey {
        &self.token
    }

    /// The layer keys that sealed at any time.
    pub(crate) fn sealers(&self) -> Vec<PublicKey> {
        let listed = self.list.keys.iter().filter(|listed| listed.key_use == KeyUse::LAYER);
        listed.map(|listed| listed.key).collect()
    }

    /// A secret of the node's own for one purpose, the same whatever keys are replaced.
    pub(crate) fn derived(&self, purpose: &str) -> [u8; 32] {
        let Secrets { secret, kept } = &self.secrets;
        let kept = kept.iter().find(|(of, _)| of == purpose);
        kept.map_or_else(|| derive(secret, purpose), |(_, secret)| *secret)
    }

    /// The key of the certificate.
    pub(crate) const fn tls_key(&self) -> PublicKey {
        self.tls.public()
    }

    /// The key for TLS, as PKCS #8.
    pub(crate) fn tls_pkcs8(&self) -> Result<Vec<u8>, SignatureError> {
        self.tls.to_pkcs8()
    }

    fn current(&self, key_use: KeyUse) -> PublicKey {
        match key_use {
            KeyUse::TLS => self.tls.public(),
            KeyUse::TOKEN => self.token.public(),
            KeyUse::LAYER => self.layer.public(),
            _ => self.log.0,
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// When a file was made, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    file: u64,
    size: u64,
    changed: Option<SystemTime>,
}

fn derive(secret: &hmac::Key, purpose: &str) -> [u8; 32] {
    keyed_hash(secret, format!("cmtpd/0 {purpose}").as_bytes()).0
}

/// A hash that only who has the secret can make.
pub(crate) fn keyed_hash(secret: &hmac::Key, text: &[u8]) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(hmac::sign(secret, text).as_ref());
    Digest(hash)
}

fn random() -> Result<[u8; 32], NodeKeysError> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_no_entropy| NodeKeysError::NoEntropy)?;
    Ok(seed)
}

/// What the node itself signs.
const USES: [KeyUse; 4] = [KeyUse::TLS, KeyUse::TOKEN, KeyUse::LAYER, KeyUse::LOG];
/// What the log's key was derived for, when all keys were.
const LOG_KEY: &str = "log key";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
