//! Key lists: a node's online keys, signed by its root key. `cmtp-spec/spec/13-receipts.md`.

use bytes::{BufMut, Bytes};

use cmtp_spec::{KeyUse, limits, uses};

use crate::cursor::Cursor;
use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::key::{PublicKey, Signature, SignatureError, SigningKey};
use crate::log::{NoteKind, VerifierKey, parse_log_origin};
use crate::trust::Verified;
use crate::varint;

/// A node's online keys. What it says counts only once [`KeyList::verify`] accepted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyList {
    /// The node's root key: who the node is.
    pub root: PublicKey,
    /// A higher number replaces a lower.
    pub number: u64,
    /// The keys, in ascending order.
    pub keys: Vec<ListedKey>,
    /// By the root key.
    pub signature: Signature,
}

impl Verified<KeyList> {
    /// Whether `key` is listed for `key_use` and valid at `time`.
    pub fn allows(&self, key_use: KeyUse, key: &PublicKey, time: u64) -> bool {
        self.listed(key_use, key)
            .any(|listed| (listed.not_before..listed.not_after).contains(&time))
    }

    /// Whether `key` is listed for `key_use`, at whatever time.
    pub fn lists(&self, key_use: KeyUse, key: &PublicKey) -> bool {
        self.listed(key_use, key).next().is_some()
    }

    /// [LOG-3] By which checkpoints of this origin are signed: its keys for `log`, where it is one of the node's logs.
    pub fn log_keys(&self, origin: &str) -> Vec<VerifierKey> {
        let is_its = parse_log_origin(origin).is_some_and(|(node, _)| node == self.root);
        let listed = self.keys.iter().filter(|listed| is_its && listed.key_use == KeyUse::LOG);
        // A key that nobody may use signs nothing.
        listed.filter_map(|it| VerifierKey::new(origin, NoteKind::Ed25519, it.key).ok()).collect()
    }

    fn listed(&self, key_use: KeyUse, key: &PublicKey) -> impl Iterator<Item = &ListedKey> {
        self.keys.iter().filter(move |listed| listed.key_use == key_use && listed.key == *key)
    }
}

/// One key of a list. The order of parts is the order of keys in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedKey {
    /// What it is for.
    pub key_use: KeyUse,
    /// The key.
    pub key: PublicKey,
    /// First time at which it is valid, microseconds since 1970.
    pub not_before: u64,
    /// First time at which it is not valid any more; [`KeyList::NO_END`] where there is none.
    pub not_after: u64,
}

impl KeyList {
    /// As `not_after`: the key has no end.
    pub const NO_END: u64 = varint::MAX;

    /// Signs a list.
    pub fn sign(root: &SigningKey, number: u64, mut keys: Vec<ListedKey>) -> Self {
        keys.sort_unstable();
        keys.dedup();
        let mut list = Self { root: root.public(), number, keys, signature: Signature([0; 64]) };
        list.signature = root.sign(uses::KEYS, &list.signed_part());
        list
    }

    /// A list in which the root key stands for every use, without end.
    pub fn sign_single(root: &SigningKey) -> Self {
        let listed = |&key_use| ListedKey {
            key_use,
            key: root.public(),
            not_before: 0,
            not_after: Self::NO_END,
        };
        Self::sign(root, 0, KeyUse::ALL.iter().map(listed).collect())
    }

    /// Checks the root key's signature over the list.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(self) -> Result<Verified<Self>, SignatureError> {
        // [RCP-2] [RCP-11] A receiver MUST refuse a list whose signature does not verify under its root key.
        self.root.verify(uses::KEYS, &self.signed_part(), &self.signature)?;
        Ok(Verified::new(self))
    }

    /// Reads a list; its signature is not checked yet.
    pub(crate) fn decode(payload: &Bytes, base: u64) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(payload, base);
        let root = PublicKey(cursor.array()?);
        let number = cursor.u64()?;
        let at = cursor.error(Kind::LimitExceeded);
        let count = cursor.u8()?;
        // [RCP-12] `count` MUST be 1 to `keys-max`.
        if u64::from(count) > limits::KEYS_MAX {
            return Err(at);
        }
        let mut keys: Vec<ListedKey> = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let key = ListedKey {
                key_use: KeyUse(cursor.u8()?),
                key: PublicKey(cursor.array()?),
                not_before: cursor.time()?,
                not_after: cursor.time()?,
            };
            // [RCP-1] Keys MUST stand in strictly ascending order of (use, key, not-before).
            let order = |key: &ListedKey| (key.key_use, key.key, key.not_before);
            if keys.last().is_some_and(|last| order(last) >= order(&key)) {
                return Err(cursor.error(Kind::KeyOrder));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(Kind::KeyOrder.at(at.offset));
        }
        let signature = Signature(cursor.array()?);
        cursor.finish()?;
        Ok(Self { root, number, keys, signature })
    }

    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.signed_part());
        out.put_slice(&self.signature.0);
    }

    /// The list's bytes, as in KEYS and in the SEAL item.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }

    /// Reads what [`KeyList::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes break a rule; the signature is not checked.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, DecodeError> {
        Self::decode(&bytes.into(), 0)
    }

    fn signed_part(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + 49 * self.keys.len());
        bytes.put_slice(&self.root.0);
        bytes.put_u64(self.number);
        bytes.put_u8(u8::try_from(self.keys.len()).unwrap_or(u8::MAX));
        for listed in &self.keys {
            bytes.put_u8(listed.key_use.0);
            bytes.put_slice(&listed.key.0);
            bytes.put_u64(listed.not_before);
            bytes.put_u64(listed.not_after);
        }
        bytes
    }
}
