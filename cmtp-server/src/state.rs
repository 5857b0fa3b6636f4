//! State: values by address and key, rebuilt from the journal. `0xS:ADDRESS:KEY` reads, `0xSW:ADDRESS:KEY` writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cmtp_codec::{Field, Fqmn, Layer};
use cmtp_spec::{BusAuth, FieldIndex, Status, limits};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::OwnedMutexGuard;

use crate::refusal::Refusal;
use crate::service::{Call, Effect, Reply, Service};

/// The values. A write is seen once it is durable; until then whoever else writes the same key waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct State(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    values: Mutex<Values>,
    /// Keys that are being written, each with who waits for it.
    writing: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug, Default)]
struct Values {
    by_key: HashMap<String, Versioned>,
    bytes: u64,
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
    /// Applies a write that the journal holds: its origin, and the version that it got.
    pub(crate) fn restore(&self, target: &Fqmn, origin: &Layer, version: u64) {
        self.values().put(key(target), Versioned { version, value: value(origin) });
    }

    fn read(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let found = self.values().by_key.get(&key(call.target)).cloned();
        let Some(Versioned { version, value: Some(value) }) = found else {
            let detail = format!("nothing is kept at {}", call.target.target());
            return Err(Refusal::new(Status::NOT_FOUND, detail));
        };
        let mut fields = vec![Field::number(FieldIndex::STATE_VERSION, version)];
        if let Some(content_type) = value.content_type {
            fields.push(Field::bytes(FieldIndex::CONTENT_TYPE, content_type));
        }
        Ok(Reply { fields, body: Some(value.data), ..Reply::empty(Status::OK) })
    }

    async fn write(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let writing = self.begin(key(call.target)).await;
        let before = self.values().by_key.get(&writing.key).cloned();
        let version = before.as_ref().map_or(0, |before| before.version);
        if let Some(expected) = call.origin.number(FieldIndex::IF_STATE_VERSION)
            && expected != version
        {
            let detail = format!("the version is {version}, not {expected}");
            return Err(Refusal::new(Status::VERSION_CONFLICT, detail));
        }
        let value = value(call.origin);
        let is_new = before.is_none_or(|before| before.value.is_none());
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
