//! State: values by address and key, rebuilt from the journal. `0xS:ADDRESS:KEY` reads, `0xSW:ADDRESS:KEY` writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use bytes::Bytes;
use cmtp_codec::{Digest, Field, Fqmn, Layer};
use cmtp_spec::{BusAuth, FieldIndex, Status, limits};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::OwnedMutexGuard;

use crate::node_keys::keyed_hash;
use crate::refusal::Refusal;
use crate::service::{Call, Effect, Reply, Service};

/// The values. A write is seen once it is durable; until then whoever else writes the same key waits.
#[derive(Clone, Debug)]
pub(crate) struct State(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Makes the hashes by which erased writes are known.
    secret: hmac::Key,
    values: Mutex<Values>,
    /// Keys that are being written, each with who waits for it.
    writing: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug, Default)]
struct Values {
    by_key: HashMap<String, Versioned>,
    bytes: u64,
    /// By the hash of a key the newest version whose write was erased: of the write nothing else is left.
    erased: HashMap<Digest, u64>,
}

/// What a key holds.
enum Held {
    /// Nothing was ever written.
    Nothing,
    Versioned(Versioned),
    /// What was written last was erased; its version.
    Erased(u64),
}

/// What a key holds; it keeps its version when its value is removed.
#[derive(Clone, Debug)]
struct Versioned {
    version: u64,
    value: Option<Value>,
}

#[derive(Clone, Debug)]
struct Value {
    data: Bytes,
    content_type: Option<Bytes>,
}

/// A key that is being written, by one write at a time.
struct Writing {
    state: State,
    key: String,
    guard: Option<OwnedMutexGuard<()>>,
}

impl State {
    /// Nothing; erased writes will be known by hashes under `secret`.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self(Arc::new(Shared {
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret),
            values: Mutex::default(),
            writing: Mutex::default(),
        }))
    }

    /// What is noted of an erased write to `target`.
    pub(crate) fn hash(&self, target: &Fqmn) -> Digest {
        self.hash_key(&key(target))
    }

    /// Removes what a write made that is erased, unless another followed it; waits for whoever writes there just now.
    pub(crate) async fn erase(&self, target: &Fqmn, version: u64) {
        let writing = self.begin(key(target)).await;
        let hash = self.hash_key(&writing.key);
        let mut values = self.values();
        values.erase(&writing.key, hash, version);
    }

    /// Remembers an erased write that the journal holds.
    pub(crate) fn restore_erased(&self, hash: Digest, version: u64) {
        let mut values = self.values();
        let erased = values.erased.entry(hash).or_default();
        *erased = version.max(*erased);
    }

    /// Removes what erased writes made whose content was still there when they were restored.
    pub(crate) fn drop_erased(&self) {
        let mut values = self.values();
        if values.erased.is_empty() {
            return;
        }
        let keys: Vec<String> = values.by_key.keys().cloned().collect();
        for key in keys {
            let hash = self.hash_key(&key);
            if let Some(version) = values.erased.get(&hash).copied() {
                values.erase(&key, hash, version);
            }
        }
    }

    fn hash_key(&self, key: &str) -> Digest {
        keyed_hash(&self.0.secret, key.as_bytes())
    }

    fn held(&self, key: &str) -> Held {
        let values = self.values();
        let held = values.by_key.get(key).cloned();
        let version = held.as_ref().map_or(0, |held| held.version);
        let erased = match values.erased.is_empty() {
            true => None,
            false => values.erased.get(&self.hash_key(key)).copied(),
        };
        match (erased, held) {
            (Some(erased), _) if erased >= version => Held::Erased(erased),
            (_, Some(held)) => Held::Versioned(held),
            (_, None) => Held::Nothing,
        }
    }

    /// Applies a write that the journal holds: its origin, and the version that it got.
    pub(crate) fn restore(&self, target: &Fqmn, origin: &Layer, version: u64) {
        self.values().put(key(target), Versioned { version, value: value(origin) });
    }

    fn read(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let (version, value) = match self.held(&key(call.target)) {
            Held::Versioned(Versioned { version, value: Some(value) }) => (version, value),
            // [ERA-6] A read of what an erased write made MUST be refused with 410.
            Held::Erased(_) => {
                let detail = format!("what was kept at {} was erased", call.target.target());
                return Err(Refusal::new(Status::ERASED, detail));
            }
            _ => {
                let detail = format!("nothing is kept at {}", call.target.target());
                return Err(Refusal::new(Status::NOT_FOUND, detail));
            }
        };
        let mut fields = vec![Field::number(FieldIndex::STATE_VERSION, version)];
        if let Some(content_type) = value.content_type {
            fields.push(Field::bytes(FieldIndex::CONTENT_TYPE, content_type));
        }
        Ok(Reply { fields, body: Some(value.data), ..Reply::empty(Status::OK) })
    }

    async fn write(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let writing = self.begin(key(call.target)).await;
        let (version, is_new) = match self.held(&writing.key) {
            Held::Nothing => (0, true),
            Held::Versioned(before) => (before.version, before.value.is_none()),
            // [ERA-6] Versions go on: who read the erased one does not take the next for it.
            Held::Erased(version) => (version, true),
        };
        if let Some(expected) = call.origin.number(FieldIndex::IF_STATE_VERSION)
            && expected != version
        {
            let detail = format!("the version is {version}, not {expected}");
            return Err(Refusal::new(Status::VERSION_CONFLICT, detail));
        }
        let value = value(call.origin);
        if is_new && value.is_none() {
            let detail = format!("nothing is kept at {}", call.target.target());
            return Err(Refusal::new(Status::NOT_FOUND, detail));
        }
        let after = Versioned { version: version + 1, value };
        if !self.values().has_room_for(&writing.key, &after) {
            let detail = "the node's State is full";
            return Err(Refusal::new(Status::STORAGE_FULL, detail).after(RETRY_AFTER));
        }
        let status = if is_new { Status::CREATED } else { Status::OK };
        Ok(Reply {
            fields: vec![Field::number(FieldIndex::STATE_VERSION, after.version)],
            effect: Some(Effect::new(move || writing.finish(after))),
            ..Reply::empty(status)
        })
    }

    /// Waits until nobody else writes `key`.
    async fn begin(&self, key: String) -> Writing {
        let turn = Arc::clone(self.writing().entry(key.clone()).or_default());
        let guard = turn.lock_owned().await;
        Writing { state: self.clone(), key, guard: Some(guard) }
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.0.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<()>>>> {
        self.0.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writing {
    fn finish(self, after: Versioned) {
        self.state.values().put(self.key.clone(), after);
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut writing = self.state.writing();
        // Nobody waits where only the table holds the turn.
        if writing.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            writing.remove(&self.key);
        }
    }
}

impl Values {
    fn put(&mut self, key: String, after: Versioned) {
        let bytes = size(&key, &after);
        let before = self.by_key.get(&key).map_or(0, |before| size(&key, before));
        self.bytes = self.bytes + bytes - before;
        self.by_key.insert(key, after);
    }

    fn erase(&mut self, key: &str, hash: Digest, version: u64) {
        if self.by_key.get(key).is_some_and(|held| held.version > version) {
            return;
        }
        if let Some(held) = self.by_key.remove(key) {
            self.bytes -= size(key, &held);
        }
        let erased = self.erased.entry(hash).or_default();
        *erased = version.max(*erased);
    }

    fn has_room_for(&self, key: &str, after: &Versioned) -> bool {
        let before = self.by_key.get(key).map_or(0, |before| size(key, before));
        self.bytes + size(key, after) - before <= limits::STATE_BYTES_MAX
    }
}

impl Service for State {
    fn call<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>> {
        if call.target.is_write() {
            self.write(call).boxed()
        } else {
            let reply = self.read(call);
            async { reply }.boxed()
        }
    }

    fn bus_auth(&self) -> BusAuth {
        BusAuth::LOCAL
    }
}

/// Everything behind the opcode.
fn key(target: &Fqmn) -> String {
    let text = target.target();
    text.split_once(':').map_or(text, |(_, resource)| resource).to_owned()
}

/// What an origin writes: its body, or nothing, which removes.
fn value(origin: &Layer) -> Option<Value> {
    let content_type = origin.value(FieldIndex::CONTENT_TYPE).cloned();
    // A copy: the body may be a slice of something much larger.
    origin.data().map(|data| Value { data: Bytes::copy_from_slice(data), content_type })
}

fn size(key: &str, versioned: &Versioned) -> u64 {
    let value = versioned
        .value
        .as_ref()
        .map_or(0, |value| value.data.len() + value.content_type.as_ref().map_or(0, Bytes::len));
    (OVERHEAD + key.len() + value) as u64
}

/// About what the table keeps beside key and value.
const OVERHEAD: usize = 128;
/// Seconds; room comes only when somebody removes something.
const RETRY_AFTER: u64 = 60;
