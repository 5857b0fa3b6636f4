//! The keys of routes, and how they are asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{Client, Request};
use cmtp_codec::{
    Ask, Envelope, KeyId, KeyList, KeysError, MacKey, PublicKey, SealedKeys, Verified,
};
use cmtp_spec::{binding, limits};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::bus::{SealError, SealingKey};
use crate::clock;
use crate::identity::Identity;

/// The keys of one route of a node, for one session of it.
#[derive(Clone, Debug)]
pub(crate) struct RouteKeys {
    pub(crate) list: Arc<Verified<KeyList>>,
    pub(crate) request_key: MacKey,
    pub(crate) answer_key: MacKey,
}

/// All keys that an instance has.
#[derive(Debug)]
pub(crate) struct Keyring {
    client: Client,
    identity: Arc<Identity>,
    instance: KeyId,
    /// One ask to a node at a time: who holds the lock asks.
    asking: HashMap<PublicKey, Mutex<Asking>>,
    known: RwLock<Known>,
}

#[derive(Debug)]
struct Asking {
    /// When the next ask may go out.
    next: Instant,
    /// The highest number of a key list that was seen of the node.
    seen: u64,
    /// When the node last refused an id.
    refused: HashMap<KeyId, Instant>,
}

#[derive(Debug, Default)]
struct Known {
    keys: HashMap<(PublicKey, KeyId), Arc<RouteKeys>>,
    /// In the order in which they came.
    order: VecDeque<(PublicKey, KeyId)>,
}

impl Keyring {
    pub(crate) fn new(
        client: Client,
        identity: Arc<Identity>,
        instance: KeyId,
        nodes: &[PublicKey],
    ) -> Self {
        let asking =
            || Mutex::new(Asking { next: Instant::now(), seen: 0, refused: HashMap::new() });
        let asking = nodes.iter().map(|node| (*node, asking())).collect();
        Self { client, identity, instance, asking, known: RwLock::default() }
    }

    /// The keys with this id, where the instance has them.
    pub(crate) fn find(&self, node: PublicKey, id: KeyId) -> Option<Arc<RouteKeys>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.keys.get(&(node, id)).cloned()
    }

    /// The keys with this id, asked for where the instance doesn't have them; `None` where the node gives none.
    ///
    /// It may be dropped at any time.
    pub(crate) async fn obtain(&self, node: PublicKey, id: KeyId) -> Option<Arc<RouteKeys>> {
        let began = Instant::now();
        // [NAT-22] At most one ask to a node on its way.
        let mut asking = self.asking.get(&node)?.lock().await;
        if let Some(keys) = self.find(node, id) {
            return Some(keys);
        }
        // Who waited while another request learnt that there are none need not ask again.
        if asking.refused.get(&id).is_some_and(|at| *at >= began) {
            return None;
        }
        // [NAT-22] It MUST NOT ask more often than `service-asks-max`.
        tokio::time::sleep_until(asking.next).await;
        asking.next = Instant::now() + BETWEEN_ASKS;
        match self.ask(node, id, asking.seen).await {
            Ok(keys) => {
                asking.seen = keys.list.number;
                let keys = Arc::new(keys);
                self.keep(node, id, keys.clone());
                Some(keys)
            }
            Err(error) => {
                tracing::warn!(node = %node, key_id = %id, %error, "no bus keys");
                if asking.refused.len() >= KEYS_MAX {
                    asking.refused.clear();
                }
                asking.refused.insert(id, Instant::now());
                None
            }
        }
    }

    async fn ask(&self, node: PublicKey, id: KeyId, seen: u64) -> Result<RouteKeys, NoKeys> {
        let sealing_key = SealingKey::generate()?;
        let ask = Ask {
            node,
            instance: self.instance,
            sealing_key: sealing_key.public(),
            time: clock::now(),
        };
        let ask = ask.sign(id, self.identity.key());
        let subject = node_subject(node, binding::BUS_KEYS_SUFFIX);
        let request = Request::new().payload(ask.to_bytes()).timeout(Some(ASK_TIMEOUT));
        let reply = self.client.send_request(subject, request).await?;
        let headers = reply.headers.unwrap_or_default();
        if let Some(code) = headers.get(NATS_SERVICE_ERROR_CODE) {
            let text = headers.get(NATS_SERVICE_ERROR).map(ToString::to_string);
            return Err(NoKeys::Refused { code: code.to_string(), text: text.unwrap_or_default() });
        }
        let envelope = Envelope::decode(reply.payload, 0).map_err(KeysError::Malformed)?;
        let keys = SealedKeys::verify(envelope, &ask, node, clock::now())?;
        // [RCP-2] A receiver MUST refuse a list whose number is lower than one that it has seen.
        if keys.list.number < seen {
            return Err(NoKeys::OlderList);
        }
        let opened = sealing_key.open(&keys)?;
        Ok(RouteKeys {
            list: Arc::new(keys.into_inner().list),
            request_key: MacKey::new(opened.request_key),
            answer_key: MacKey::new(opened.answer_key),
        })
    }

    fn keep(&self, node: PublicKey, id: KeyId, keys: Arc<RouteKeys>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.keep(node, id, keys);
    }
}

impl Known {
    fn keep(&mut self, node: PublicKey, id: KeyId, keys: Arc<RouteKeys>) {
        // [NKY-10] A service that gets a newer list MUST judge by it, under whatever key id requests come.
        for ((of, _), older) in &mut self.keys {
            if *of == node && older.list.number < keys.list.number {
                let list = Arc::clone(&keys.list);
                *older = Arc::new(RouteKeys { list, ..RouteKeys::clone(older) });
            }
        }
        if self.keys.insert((node, id), keys).is_none() {
            self.order.push_back((node, id));
        }
        if self.order.len() > KEYS_MAX
            && let Some(first) = self.order.pop_front()
        {
            self.keys.remove(&first);
        }
    }
}

/// A subject of the node itself.
pub(crate) fn node_subject(node: PublicKey, suffix: &str) -> String {
    format!("{}{}{suffix}", binding::BUS_SUBJECT_PREFIX, node.multibase())
}

/// Why there are no keys, for the log.
#[derive(Debug, thiserror::Error)]
enum NoKeys {
    #[error("the node refused: {code} {text}; does the route pin this service's DID?")]
    Refused { code: String, text: String },
    #[error(
        "the node was not reached: {0}; is it on this bus, and does it serve routes with actors?"
    )]
    Bus(#[from] async_nats::RequestError),
    #[error("the answer does not hold: {0}")]
    Keys(#[from] KeysError),
    #[error("the answer holds an older key list than one seen before")]
    OlderList,
    #[error(transparent)]
    Seal(#[from] SealError),
}

const BETWEEN_ASKS: Duration = Duration::from_millis(1_000 / limits::SERVICE_ASKS_MAX);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
const KEYS_MAX: usize = limits::SERVICE_KEYS_MAX as usize;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_codec::ListedKey;
    use cmtp_spec::KeyUse;

    use super::*;
    use crate::testing::signing_key;

    const NOW: u64 = 1_000;

    #[test]
    fn a_newer_list_counts_for_all_keys_of_its_node() {
        // [NKY-10]
        let (root, other) = (signing_key(1), signing_key(2));
        let sender = signing_key(3).public();
        let keys = |root: &cmtp_codec::SigningKey, number, not_after| {
            let listed =
                ListedKey { key_use: KeyUse::LAYER, key: sender, not_before: 0, not_after };
            let list = KeyList::sign(root, number, vec![listed]).verify().unwrap();
            let key = || MacKey::new([1; 32]);
            Arc::new(RouteKeys { list: Arc::new(list), request_key: key(), answer_key: key() })
        };
        let (first, second) = (KeyId([1; 16]), KeyId([2; 16]));
        let mut known = Known::default();
        known.keep(root.public(), first, keys(&root, 1, KeyList::NO_END));
        known.keep(other.public(), first, keys(&other, 1, KeyList::NO_END));
        let allows = |known: &Known, node: &cmtp_codec::SigningKey| {
            let keys = &known.keys[&(node.public(), first)];
            keys.list.allows(KeyUse::LAYER, &sender, NOW)
        };
        assert!(allows(&known, &root) && allows(&known, &other));
        known.keep(root.public(), second, keys(&root, 2, NOW));
        assert!(!allows(&known, &root) && allows(&known, &other));
    }
}
