//! Layered services: all layers so far out, the service's own layer back.

use std::sync::Arc;

use async_nats::Subject;
use async_nats::header::HeaderMap;
use bytes::Bytes;
use cmtp_codec::{
    BusAnswer, Chain, DecodeError, DecodeErrorKind, Digest, Envelope, EnvelopeError, Layer, MacKey,
    Proof,
};
use cmtp_spec::{BusAuth, BusKind, FieldIndex, Status, limits};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::config::RouteConfig;
use crate::nats::keys::RouteKeys;
use crate::nats::{Bus, ERROR_CODE, Unanswered};
use crate::node;
use crate::node_keys::NodeKeys;
use crate::refusal::Refusal;
use crate::service::{Call, Dispatched, Reply, Service};

/// A layered service, as one route leads to it.
pub(crate) struct Layered {
    bus: Bus,
    keys: Arc<RouteKeys>,
    scheme: BusAuth,
    cancel_subject: Subject,
    body_max: u64,
}

impl Layered {
    pub(crate) fn new(bus: Bus, route: &RouteConfig, body_max: u64, node: &Arc<NodeKeys>) -> Self {
        let keys = bus.keys.of_route(route, node);
        let cancel_subject = bus.keys.cancel_subject().into();
        Self { bus, keys, scheme: route.bus_auth, cancel_subject, body_max }
    }

    async fn request(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let Some(Dispatched { frames, chain }) = call.dispatched else {
            // The node dispatches what is not local: its own mistake.
            return Err(Refusal::new(Status::INTERNAL_ERROR, "").without_effect());
        };
        let is_write = call.target.is_write();
        let envelope = self.envelope(BusKind::REQUEST, chain.head(), frames.clone());
        let waiting = Waiting { layered: self, head: chain.head(), over: false };
        let answer = self.bus.request(call.subject, HeaderMap::new(), envelope.to_bytes()).await;
        waiting.over();
        let message = answer.map_err(|unanswered| self.unanswered(unanswered, is_write))?;
        if let Some(code) = message.headers.as_ref().and_then(|headers| headers.get(ERROR_CODE)) {
            return Err(self.bad(&Bad::Error(code.as_str().parse().unwrap_or_default())));
        }
        self.judge(message.payload, *chain, is_write).map_err(|bad| self.bad(&bad))
    }

    /// [NAT-18] That nobody responded is the word of the bus, which whoever reads the bus can forge while a service does the
    /// write.
    fn unanswered(&self, unanswered: Unanswered, is_write: bool) -> Refusal {
        // Where the operator asked for no authentication the bus's word is as good as the service's.
        let is_proof = self.scheme == BusAuth::NONE;
        match unanswered {
            Unanswered::NoResponders if is_write && !is_proof => {
                let detail =
                    "the bus says that no service answers this target, which it can't prove";
                Refusal::new(Status::UNAVAILABLE, detail)
            }
            other => other.refusal(is_write),
        }
    }

    fn envelope(&self, kind: BusKind, head: Digest, payload: Bytes) -> Envelope {
        let (id, key) = (self.keys.id, self.keys.node.layer_key());
        match self.scheme {
            BusAuth::MAC => {
                Envelope::mac(kind, id, key.public(), head, payload, &self.keys.request)
            }
            BusAuth::SIGNATURE => Envelope::sign(kind, id, head, payload, key),
            _ => Envelope::open(kind, key.public(), payload),
        }
    }

    /// [NAT-8] What the service answers, if it is the answer of a service that the route pins.
    fn judge(&self, payload: Bytes, chain: Chain, is_write: bool) -> Result<Reply, Bad> {
        let envelope = Envelope::decode(payload, self.body_max)?;
        let (sender, instance) = (envelope.untrusted().sender, envelope.untrusted().key_id);
        if !self.keys.pins(&sender) {
            return Err(Bad::Sender);
        }
        let answer = BusAnswer::decode(envelope, self.body_max)?;
        let key: MacKey;
        let proof = match self.scheme {
            BusAuth::MAC => {
                key = self.bus.keys.answer_key(&sender, instance);
                Proof::Mac(&key)
            }
            BusAuth::SIGNATURE => Proof::Signature,
            _ => Proof::NoneWanted,
        };
        let (answer, chain) = answer.verify(chain, proof)?;
        let layer = answer.layer();
        if layer.time.abs_diff(node::now()) > limits::CLOCK_SKEW_MAX * 1_000_000 {
            return Err(Bad::Time);
        }
        check_outcome(layer, is_write)?;
        Ok(Reply::served(answer, chain))
    }

    fn bad(&self, bad: &Bad) -> Refusal {
        self.bus.metrics.refused.inc();
        // Whoever is on the bus can cause it, so it is counted and not told each time.
        tracing::debug!(%bad, key_id = %self.keys.id, "an answer on the bus was refused");
        Refusal::new(Status::BAD_SERVICE_ANSWER, bad.to_string())
    }
}

impl Service for Layered {
    fn call<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>> {
        self.request(call).boxed()
    }

    fn bus_auth(&self) -> BusAuth {
        self.scheme
    }
}

/// [NAT-16] A refused write says what came of it, and nothing else does.
fn check_outcome(layer: &Layer, is_write: bool) -> Result<(), Bad> {
    let has = |field| layer.value(field).is_some();
    let said = (has(FieldIndex::NO_EFFECT), has(FieldIndex::OUTCOME_UNKNOWN));
    match (is_write && layer.refuses(), said) {
        (true, (true, false) | (false, true)) | (false, (false, false)) => Ok(()),
        _ => Err(Bad::Outcome),
    }
}

/// Why an answer is none. Its text is for the caller, too.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error("the service's answer is no envelope, but a bare NATS micro error: {0}")]
    Error(u16),
    #[error("the service's answer is larger than this node takes")]
    TooLarge,
    #[error("the service's answer can't be read: {0}")]
    Malformed(DecodeError),
    #[error("the service's answer is by a key that the route does not pin")]
    Sender,
    #[error("the service's answer is not authentic: {0}")]
    Forged(#[from] EnvelopeError),
    #[error("the service's answer is more than 5 minutes from this node's clock")]
    Time,
    #[error("the service's answer says of a write's outcome what can't stand in its process")]
    Outcome,
}

impl From<DecodeError> for Bad {
    fn from(error: DecodeError) -> Self {
        match error.kind {
            DecodeErrorKind::LimitExceeded => Self::TooLarge,
            _ => Self::Malformed(error),
        }
    }
}

/// A request that a service may have. Dropped before it is over, because the caller went away or the deadline passed, it
/// tells the service so.
struct Waiting<'a> {
    layered: &'a Layered,
    head: Digest,
    over: bool,
}

impl Waiting<'_> {
    fn over(mut self) {
        self.over = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let Layered { bus, cancel_subject, .. } = self.layered;
        let payload = Bytes::copy_from_slice(&self.head.0);
        let cancel = self.layered.envelope(BusKind::CANCEL, self.head, payload);
        let publishing = bus.client.publish(cancel_subject.clone(), cancel.to_bytes());
        // A bus that takes nothing at the moment gets no cancel: the service has the deadline.
        let _published = tokio::task::unconstrained(publishing).now_or_never();
    }
}
