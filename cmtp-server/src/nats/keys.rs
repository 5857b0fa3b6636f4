//! The keys of layered routes, and who gets them. `cmtp-spec/spec/11-nats.md`, section Keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use async_nats::header::HeaderMap;
use async_nats::{Client, Message, Subscriber};
use aws_lc_rs::hmac;
use bytes::Bytes;
use cmtp_client::bus::{OpenedKeys, SealError, seal_keys};
use cmtp_codec::{Ask, Asked, Digest, Envelope, KeyId, MacKey, PublicKey, Verified};
use cmtp_spec::{Status, binding};
use futures::StreamExt;
use prometheus_client::metrics::counter::Counter;

use crate::config::RouteConfig;
use crate::nats::{ERROR_CODE, ERROR_TEXT};
use crate::node;
use crate::node_keys::NodeKeys;

/// Makes the keys of layered routes, and gives them to the actors that a route pins.
///
/// Every key is made of a secret that begins and ends with the process, so that nothing is kept for an instance of a service,
/// and a start changes all of them.
#[derive(Debug)]
pub(super) struct Keys {
    node: PublicKey,
    /// Those of now: the list that services get, and the key that signs it.
    current: RwLock<Arc<NodeKeys>>,
    session: hmac::Key,
    routes: Mutex<HashMap<KeyId, Weak<RouteKeys>>>,
}

/// The keys of one route.
pub(super) struct RouteKeys {
    /// Names them.
    pub(super) id: KeyId,
    /// The MAC key of requests.
    pub(super) request: MacKey,
    /// Who may answer, in order.
    pub(super) actors: Vec<PublicKey>,
    /// Under whose layer key the route's requests go out.
    pub(super) node: Arc<NodeKeys>,
    request_bytes: [u8; 32],
}

impl Keys {
    pub(super) fn new(current: Arc<NodeKeys>) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret)?;
        let session = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let (node, current) = (current.public(), RwLock::new(current));
        Ok(Self { node, current, session, routes: Mutex::default() })
    }

    pub(super) fn renew(&self, keys: Arc<NodeKeys>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Where the node is asked for keys.
    pub(super) fn subject(&self) -> String {
        self.subject_of(binding::BUS_KEYS_SUFFIX)
    }

    /// Where it cancels requests.
    pub(super) fn cancel_subject(&self) -> String {
        self.subject_of(binding::BUS_CANCEL_SUFFIX)
    }

    fn subject_of(&self, suffix: &str) -> String {
        format!("{}{}{suffix}", binding::BUS_SUBJECT_PREFIX, self.node.multibase())
    }

    /// The keys of a route, which are given to who asks for them for as long as somebody holds them.
    ///
    /// [NAT-19] The same for the same pattern, subject, scheme, pinned actors and layer key, and for no other.
    pub(super) fn of_route(&self, route: &RouteConfig, node: &Arc<NodeKeys>) -> Arc<RouteKeys> {
        let mut actors = route.actors.clone();
        actors.sort_unstable();
        actors.dedup();
        let digest = digest(route, &actors);
        let layer = node.layer_key().public();
        let id = KeyId(truncated(self.made("request id", &[&digest.0, &layer.0])));
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|_, keys| keys.strong_count() > 0);
        if let Some(keys) = routes.get(&id).and_then(Weak::upgrade) {
            return keys;
        }
        let request_bytes = self.made("request", &[&digest.0, &layer.0]);
        let request = MacKey::new(request_bytes);
        let keys =
            Arc::new(RouteKeys { id, request, actors, node: Arc::clone(node), request_bytes });
        routes.insert(id, Arc::downgrade(&keys));
        keys
    }

    /// The MAC key of answers by one instance of an actor.
    pub(super) fn answer_key(&self, actor: &PublicKey, instance: KeyId) -> MacKey {
        MacKey::new(self.answer_bytes(actor, instance))
    }

    fn answer_bytes(&self, actor: &PublicKey, instance: KeyId) -> [u8; 32] {
        self.made("answer", &[&actor.0, &instance.0])
    }

    /// A key for one purpose. Each purpose has parts of fixed lengths, so that no two ways to cut the same bytes meet.
    fn made(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.session);
        context.update(purpose.as_bytes());
        context.update(&[0]);
        parts.iter().for_each(|part| context.update(part));
        let mut key = [0; 32];
        key.copy_from_slice(context.sign().as_ref());
        key
    }

    /// Answers an ask.
    ///
    /// [NAT-20] Only one that names this node, whose tag and time are right, and whose sender is pinned by the route with this
    /// key id.
    fn answer(&self, ask: Bytes) -> Result<Bytes, Denied> {
        let malformed = |error| Denied::new(Status::BAD_REQUEST, error);
        let envelope = Envelope::decode(ask, 0).map_err(malformed)?;
        let (key_id, actor) = (envelope.untrusted().key_id, envelope.untrusted().sender);
        // What costs least comes first: nobody needs a signature checked whose answer is no in any case.
        let keys = {
            let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
            routes.get(&key_id).and_then(Weak::upgrade)
        };
        let keys = keys.ok_or_else(|| {
            let text = "no route of this node has keys of this id; it may have started again";
            Denied::new(Status::NOT_FOUND, text)
        })?;
        if !keys.pins(&actor) {
            let text =
                format!("no route with this key id pins {actor}; add it to the route's `actors`");
            return Err(Denied::new(Status::FORBIDDEN, text));
        }
        let asked = Ask::verify(envelope, self.node, node::now())
            .map_err(|error| Denied::new(error.status(), error))?;
        self.seal(&asked, &keys).map_err(|error| Denied::new(Status::BAD_REQUEST, error))
    }

    fn seal(&self, asked: &Verified<Asked>, keys: &RouteKeys) -> Result<Bytes, SealError> {
        let answer_key = self.answer_bytes(&asked.actor, asked.ask.instance);
        let keys = OpenedKeys { request_key: keys.request_bytes, answer_key };
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let sealed = seal_keys(asked, current.key_list(), &keys)?;
        // [NAT-21] By a layer key valid now.
        Ok(sealed.sign(asked, current.layer_key()).to_bytes())
    }
}

impl RouteKeys {
    /// Whether the route lets `actor` answer.
    pub(super) fn pins(&self, actor: &PublicKey) -> bool {
        self.actors.binary_search(actor).is_ok()
    }
}

impl std::fmt::Debug for RouteKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why an ask gets no keys.
#[derive(Debug)]
struct Denied {
    status: Status,
    text: String,
}

impl Denied {
    fn new(status: Status, text: impl ToString) -> Self {
        Self { status, text: text.to_string() }
    }
}

/// Answers asks until the bus is closed, one after the other: a flood of them costs one core at most.
pub(super) async fn give(keys: Arc<Keys>, client: Client, mut asks: Subscriber, refused: Counter) {
    while let Some(Message { payload, reply, .. }) = asks.next().await {
        let Some(reply) = reply else { continue };
        let published = match keys.answer(payload) {
            Ok(answer) => client.publish(reply, answer).await,
            Err(Denied { status, text }) => {
                // Whoever is on the bus can cause it, so it is counted and not told each time.
                tracing::debug!(status = status.0, text, "an ask for bus keys was refused");
                refused.inc();
                let mut headers = HeaderMap::new();
                headers.insert(ERROR_CODE, status.0.to_string());
                headers.insert(ERROR_TEXT, text);
                client.publish_with_headers(reply, headers, Bytes::new()).await
            }
        };
        if let Err(error) = published {
            tracing::warn!(%error, "an ask for bus keys could not be answered");
        }
    }
}

/// What of a route its keys depend on.
fn digest(route: &RouteConfig, actors: &[PublicKey]) -> Digest {
    // Neither a pattern nor a subject holds a control character.
    let mut text = format!("{}\0", route.target).into_bytes();
    text.extend(route.subject().unwrap_or_default().as_bytes());
    text.extend([0, u8::from(route.serves_writes), route.bus_auth.0]);
    actors.iter().for_each(|actor| text.extend(actor.0));
    Digest::of(&text)
}

fn truncated(bytes: [u8; 32]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&bytes[..16]);
    short
}
