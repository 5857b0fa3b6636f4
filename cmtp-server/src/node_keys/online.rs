//! The file of the online keys: seeds, secrets, and the signed list. One file, because they have to agree, and two can't be
//! replaced at once.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use cmtp_client::{Existing, write_whole};
use cmtp_codec::{KeyList, ListedKey, PublicKey, SigningKey};
use cmtp_spec::{KeyUse, limits};
use data_encoding::HEXLOWER_PERMISSIVE;

use crate::node_keys::error::NodeKeysError;
use crate::node_keys::root::RootKey;
use crate::node_keys::{LOG_KEY, random};

/// What the file holds; the list's signature is not checked yet.
pub(super) struct Online {
    pub(super) seeds: Seeds,
    /// For secrets of new purposes.
    pub(super) secret: [u8; 32],
    /// Secrets of purposes that a node had before it had this file.
    pub(super) kept: Vec<(String, [u8; 32])>,
    pub(super) list: KeyList,
}

/// Of the keys that are used now.
pub(super) struct Seeds {
    pub(super) tls: [u8; 32],
    pub(super) token: [u8; 32],
    pub(super) layer: [u8; 32],
    pub(super) log: [u8; 32],
}

impl Seeds {
    fn random() -> Result<Self, NodeKeysError> {
        Ok(Self { tls: random()?, token: random()?, layer: random()?, log: random()? })
    }

    /// The seed for a use; `None` for a use that the node itself has not.
    pub(super) const fn of(&mut self, key_use: KeyUse) -> Option<&mut [u8; 32]> {
        match key_use {
            KeyUse::TLS => Some(&mut self.tls),
            KeyUse::TOKEN => Some(&mut self.token),
            KeyUse::LAYER => Some(&mut self.layer),
            KeyUse::LOG => Some(&mut self.log),
            _ => None,
        }
    }
}

impl Online {
    /// Reads the file of the data directory, if there is one.
    pub(super) fn load(data: &Path) -> Result<Option<Self>, NodeKeysError> {
        let path = data.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
            read => read.map_err(|source| NodeKeysError::Io { path: path.clone(), source })?,
        };
        Self::parse(&text).map(Some).ok_or(NodeKeysError::Malformed { path })
    }

    /// Makes the first online keys of a node, and keeps them unless another process was faster. A node whose root key was
    /// there before goes on with what it had: `[NKY-2]`.
    pub(super) fn create(
        data: &Path,
        root: &RootKey,
        is_new: bool,
        now: u64,
    ) -> Result<Self, NodeKeysError> {
        let made = if is_new { Self::first(root, now)? } else { Self::upgraded(root, now)? };
        match made.save(data, Existing::Keep) {
            Err(NodeKeysError::Io { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists => {}
            saved => saved?,
        }
        Self::load(data)?.ok_or_else(|| NodeKeysError::Lost { path: data.join(FILE) })
    }

    /// [NKY-1] A key of its own for each use.
    fn first(root: &RootKey, now: u64) -> Result<Self, NodeKeysError> {
        let mut seeds = Seeds::random()?;
        let keys = current(&mut seeds, now)?;
        let list = KeyList::sign(root.key(), FIRST, keys);
        Ok(Self { seeds, secret: random()?, kept: Vec::new(), list })
    }

    /// The keys of a node whose root key stood for all uses but the log's, and whose secrets were derived from it.
    fn upgraded(root: &RootKey, now: u64) -> Result<Self, NodeKeysError> {
        let mut seeds = Seeds { log: root.derived(LOG_KEY), ..Seeds::random()? };
        let mut keys = current(&mut seeds, now)?;
        // The log's key has been the same from its first checkpoint on.
        keys.retain(|listed| listed.key_use != KeyUse::LOG);
        keys.extend(before(root)?.into_iter().filter_map(|listed| match listed.key_use {
            KeyUse::LOG => Some(listed),
            // No handshake is under way: the node has not begun to listen.
            KeyUse::TLS => None,
            other => Some(ListedKey { not_after: end(other, now), ..listed }),
        }));
        let list = KeyList::sign(root.key(), FIRST + 1, keys);
        let kept = DERIVED.iter().map(|&purpose| (purpose.to_owned(), root.derived(purpose)));
        Ok(Self { seeds, secret: random()?, kept: kept.collect(), list })
    }

    /// Writes the file, whole or not at all.
    pub(super) fn save(&self, data: &Path, existing: Existing) -> Result<(), NodeKeysError> {
        let path = data.join(FILE);
        write_whole(&path, self.to_text().as_bytes(), existing)
            .map_err(|source| NodeKeysError::Io { path, source })
    }

    fn to_text(&self) -> String {
        let hex = |bytes: &[u8]| HEXLOWER_PERMISSIVE.encode(bytes);
        let Seeds { tls, token, layer, log } = &self.seeds;
        let mut text = format!("{HEADER}\n");
        for (name, seed) in [(TLS, tls), (TOKEN, token), (LAYER, layer), (LOG, log)] {
            text += &format!("{name} {}\n", hex(seed));
        }
        text += &format!("{SECRET} {}\n", hex(&self.secret));
        for (purpose, secret) in &self.kept {
            text += &format!("{KEPT} {} {purpose}\n", hex(secret));
        }
        text + &format!("{LIST} {}\n", hex(&self.list.to_bytes()))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return None;
        }
        let mut seed = |name: &str| decode(lines.next()?.strip_prefix(name)?.strip_prefix(' ')?);
        let seeds =
            Seeds { tls: seed(TLS)?, token: seed(TOKEN)?, layer: seed(LAYER)?, log: seed(LOG)? };
        let secret = seed(SECRET)?;
        let mut kept = Vec::new();
        loop {
            let (name, rest) = lines.next()?.split_once(' ')?;
            match name {
                KEPT => {
                    let (secret, purpose) = rest.split_once(' ')?;
                    kept.push((purpose.to_owned(), decode(secret)?));
                }
                LIST => {
                    let bytes = HEXLOWER_PERMISSIVE.decode(rest.as_bytes()).ok()?;
                    let list = KeyList::from_bytes(bytes).ok()?;
                    return lines.next().is_none().then_some(Self { seeds, secret, kept, list });
                }
                _ => return None,
            }
        }
    }
}

/// Held by who reads the keys to replace them, so that no two lists have one number.
pub(super) fn lock(data: &Path) -> Result<File, NodeKeysError> {
    let path = data.join(LOCK);
    let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|source| NodeKeysError::Io { path, source })
}

/// [NKY-3] When a key that is replaced now ends.
pub(super) const fn end(key_use: KeyUse, now: u64) -> u64 {
    now + SECOND
        * match key_use {
            KeyUse::TOKEN => limits::TOKEN_LIFETIME_MAX,
            _ => limits::KEYS_OVERLAP,
        }
}

/// A new key, from now on and a little before: a client's clock may be behind.
pub(super) fn listed(key_use: KeyUse, key: PublicKey, now: u64) -> ListedKey {
    let not_before = now.saturating_sub(limits::CLOCK_SKEW_MAX * SECOND);
    ListedKey { key_use, key, not_before, not_after: KeyList::NO_END }
}

/// What a node's list was before it had online keys, as list 1.
pub(super) fn before(root: &RootKey) -> Result<Vec<ListedKey>, NodeKeysError> {
    let log = SigningKey::from_seed(&root.derived(LOG_KEY))?.public();
    let listed = |key_use| ListedKey {
        key_use,
        key: if key_use == KeyUse::LOG { log } else { root.public() },
        not_before: 0,
        not_after: KeyList::NO_END,
    };
    Ok(super::USES.map(listed).into())
}

fn current(seeds: &mut Seeds, now: u64) -> Result<Vec<ListedKey>, NodeKeysError> {
    let mut keys = Vec::new();
    for key_use in super::USES {
        if let Some(seed) = seeds.of(key_use) {
            keys.push(listed(key_use, SigningKey::from_seed(seed)?.public(), now));
        }
    }
    Ok(keys)
}

fn decode(hex: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok()
}

pub(super) const FILE: &str = "online.keys";
const LOCK: &str = "online.keys.lock";
const HEADER: &str = "cmtp-online-keys-v0";
const TLS: &str = "tls";
const TOKEN: &str = "token";
const LAYER: &str = "layer";
const LOG: &str = "log";
const SECRET: &str = "secret";
const KEPT: &str = "derived";
const LIST: &str = "list";
/// Of the first list.
const FIRST: u64 = 1;
/// What secrets were derived for from the root key.
const DERIVED: [&str; 4] = ["stateless reset", "connection ids", "erased State", "erased writes"];
/// Microseconds.
pub(super) const SECOND: u64 = 1_000_000;
