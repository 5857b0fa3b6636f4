//! A service at work: takes requests, runs handlers, answers.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::service::endpoint::Endpoint;
use async_nats::{Client, Message, Subscriber};
use aws_lc_rs::rand;
use bytes::Bytes;
use cmtp_codec::{BusRequest, Digest, Envelope, KeyId, Proof, PublicKey, Verified};
use cmtp_spec::{BusAuth, BusKind, Status, binding, limits};
use futures::{FutureExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::admission::{Admission, Readable};
use super::answering::Answering;
use super::call::{Call, Refusal, Reply};
use super::counters::{Counters, Counts, add};
use super::keyring::{Keyring, RouteKeys, node_subject};
use super::rejection::Rejection;
use super::replay::{Heads, Seen};
use super::{Handler, Service, StartError};
use crate::clock;

/// One instance of a service.
#[derive(Debug)]
pub(crate) struct Instance {
    client: Client,
    admission: Admission,
    keyring: Keyring,
    answering: Answering,
    heads: Mutex<Heads>,
    /// One for each request in progress.
    slots: Arc<Semaphore>,
    slots_max: usize,
    waiting: Waiting,
    running: Mutex<HashMap<Digest, Started>>,
    counters: Counters,
    /// No cancel is listened for any more.
    draining: CancellationToken,
    /// Every handler is dropped.
    stopped: CancellationToken,
}

/// A request in progress, as a cancel names it.
#[derive(Debug)]
struct Started {
    sender: PublicKey,
    key_id: KeyId,
    scheme: BusAuth,
    keys: Option<Arc<RouteKeys>>,
    cancel: CancellationToken,
}

/// A request that was verified, on its way to be answered.
struct Taken {
    request: Arc<Verified<BusRequest>>,
    scheme: BusAuth,
    keys: Option<Arc<RouteKeys>>,
    incoming: async_nats::service::Request,
}

impl Instance {
    pub(crate) fn new(client: Client, service: &Service) -> Result<Self, StartError> {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|aws_lc_rs::error::Unspecified| StartError::Randomness)?;
        let stopped = CancellationToken::new();
        let (instance, identity) = (KeyId(id), service.identity.clone());
        Ok(Self {
            keyring: Keyring::new(client.clone(), identity.clone(), instance, &service.nodes),
            client,
            answering: Answering { identity, instance, signed: service.signed },
            admission: Admission {
                nodes: service.nodes.clone(),
                insecure: service.insecure,
                body_max: service.body_max,
            },
            heads: Mutex::new(Heads::new(HEADS_MAX)),
            slots: Arc::new(Semaphore::new(service.in_flight)),
            slots_max: service.in_flight,
            waiting: Waiting::default(),
            running: Mutex::default(),
            counters: Counters::default(),
            draining: stopped.child_token(),
            stopped,
        })
    }

    pub(crate) fn counts(&self) -> Counts {
        let in_progress = self.slots_max.saturating_sub(self.slots.available_permits());
        self.counters.read(in_progress)
    }

    /// From now on nothing new is taken; what is in progress goes on.
    pub(crate) fn take_no_more(&self) {
        self.draining.cancel();
    }

    /// Drops what is in progress.
    pub(crate) fn stop(&self) {
        self.stopped.cancel();
    }

    /// The same, once the guard is dropped.
    pub(crate) fn stop_on_drop(&self) -> DropGuard {
        self.stopped.clone().drop_guard()
    }

    /// Takes requests until the endpoint is stopped.
    pub(crate) async fn serve(
        self: Arc<Self>,
        mut endpoint: Endpoint,
        handler: Handler,
        tasks: TaskTracker,
    ) {
        while let Some(incoming) = endpoint.next().await {
            let payload = incoming.message.payload.clone();
            let readable = match self.admission.read(payload) {
                Ok(readable) => readable,
                Err(rejection) => {
                    self.reject(&incoming, rejection).await;
                    continue;
                }
            };
            let key_id = readable.request.untrusted().envelope().key_id;
            let keys = self.keyring.find(readable.node, key_id);
            if readable.scheme == BusAuth::NONE || keys.is_some() {
                self.clone().take(readable, keys, incoming, &handler, &tasks).await;
                continue;
            }
            match self.waiting.enter(incoming.message.payload.len()) {
                Some(permit) => {
                    let waits = self.clone().wait(
                        readable,
                        incoming,
                        handler.clone(),
                        tasks.clone(),
                        permit,
                    );
                    tasks.spawn(waits);
                }
                None => self.reject(&incoming, Rejection::NoRoom).await,
            }
        }
    }

    /// Waits for the keys of a request, until its deadline at most.
    async fn wait(
        self: Arc<Self>,
        readable: Readable,
        incoming: async_nats::service::Request,
        handler: Handler,
        tasks: TaskTracker,
        _permit: WaitingPermit,
    ) {
        let untrusted = readable.request.untrusted();
        // Nobody vouches for this deadline yet: no longer than a node waits in any case.
        let left = time_left(untrusted.deadline()).min(WAIT_MAX);
        let obtained = self.keyring.obtain(readable.node, untrusted.envelope().key_id);
        match tokio::time::timeout(left, obtained).await {
            Ok(Some(keys)) => self.take(readable, Some(keys), incoming, &handler, &tasks).await,
            Ok(None) => self.reject(&incoming, Rejection::NoKeys).await,
            Err(_late) => self.reject(&incoming, Rejection::Late).await,
        }
    }

    /// Verifies a request whose keys are there, and has it answered.
    async fn take(
        self: Arc<Self>,
        readable: Readable,
        keys: Option<Arc<RouteKeys>>,
        incoming: async_nats::service::Request,
        handler: &Handler,
        tasks: &TaskTracker,
    ) {
        let (scheme, now) = (readable.scheme, clock::now());
        let verified = readable.verify(keys.as_deref(), &incoming.message.subject, now);
        let verified = verified.and_then(|request| match self.remember(&request, now) {
            Seen::New => Ok(request),
            Seen::Before => Err(Rejection::Seen),
            Seen::NoRoom => Err(Rejection::NoRoom),
        });
        let taken = match verified {
            Ok(request) => Taken { request: Arc::new(request), scheme, keys, incoming },
            Err(rejection) => return self.reject(&incoming, rejection).await,
        };
        match self.slots.clone().try_acquire_owned() {
            Ok(slot) => {
                // Before the next message is looked at, so that its cancel finds it.
                let cancel = self.begin(&taken);
                tasks.spawn(self.run(taken, handler.clone(), cancel, slot));
            }
            // By a layer, so that the node may believe that nothing was done.
            Err(_full) => {
                let detail = "the service has too much to do; come again later";
                let refusal = Refusal::new(Status::UNAVAILABLE, detail).without_effect();
                self.answer(&taken, Err(refusal.after(RETRY_AFTER))).await;
            }
        }
    }

    fn remember(&self, request: &BusRequest, now: u64) -> Seen {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.remember(request.head(), request.deadline(), now)
    }

    async fn run(
        self: Arc<Self>,
        taken: Taken,
        handler: Handler,
        cancel: CancellationToken,
        _slot: OwnedSemaphorePermit,
    ) {
        let head = taken.request.head();
        let Taken { request, .. } = &taken;
        let handled = async {
            let call = Call::new(request.clone(), cancel.clone()).map_err(|error| {
                Refusal::new(Status::BAD_REQUEST, format!("the target: {error}")).without_effect()
            })?;
            handler(call).await
        };
        // A handler that panics fails its own request, and no other.
        let handled = AssertUnwindSafe(handled).catch_unwind();
        let result = tokio::select! {
            biased;
            // [NAT-15] It stops the request with that head and does not answer it.
            () = cancel.cancelled() => Err(&self.counters.cancelled),
            () = self.stopped.cancelled() => Err(&self.counters.cancelled),
            result = handled => Ok(result.unwrap_or_else(|_panic| {
                Err(Refusal::new(Status::INTERNAL_ERROR, "the service failed"))
            })),
            () = tokio::time::sleep(time_left(request.deadline())) => Err(&self.counters.late),
        };
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&head);
        match result {
            Ok(result) => self.answer(&taken, result).await,
            Err(counter) => {
                add(counter);
                // For what the handler started elsewhere.
                cancel.cancel();
            }
        }
    }

    fn begin(&self, taken: &Taken) -> CancellationToken {
        let cancel = CancellationToken::new();
        let envelope = taken.request.envelope();
        let started = Started {
            sender: envelope.sender,
            key_id: envelope.key_id,
            scheme: taken.scheme,
            keys: taken.keys.clone(),
            cancel: cancel.clone(),
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(taken.request.head(), started);
        cancel
    }

    /// Listens to what the nodes cancel.
    pub(crate) async fn listen_for_cancels(
        self: &Arc<Self>,
        tasks: &TaskTracker,
    ) -> Result<(), StartError> {
        for node in &self.admission.nodes {
            let subject = node_subject(*node, binding::BUS_CANCEL_SUFFIX);
            let subscribed = self.client.subscribe(subject).await;
            let cancels = subscribed.map_err(|error| StartError::Service(error.into()))?;
            tasks.spawn(self.clone().take_cancels(cancels));
        }
        Ok(())
    }

    async fn take_cancels(self: Arc<Self>, mut cancels: Subscriber) {
        let draining = self.draining.clone();
        while let Some(Some(message)) = draining.run_until_cancelled(cancels.next()).await {
            // Who sends what is no cancel of ours is told nothing.
            let _known = self.cancel(message);
        }
    }

    /// Stops the request that a cancel names; `None` where it names none, or is not by its node.
    fn cancel(&self, message: Message) -> Option<()> {
        let envelope = Envelope::decode(message.payload, 0).ok()?;
        let untrusted = envelope.untrusted();
        if untrusted.kind != BusKind::CANCEL {
            return None;
        }
        let head = untrusted.cancelled().ok()?;
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let started = running.get(&head)?;
        // [NAT-15] A cancel MUST be authenticated as its request was.
        if (untrusted.sender, untrusted.key_id) != (started.sender, started.key_id) {
            return None;
        }
        envelope.verify(head, proof(started.scheme, started.keys.as_deref())?).ok()?;
        started.cancel.cancel();
        Some(())
    }

    async fn reject(&self, incoming: &async_nats::service::Request, rejection: Rejection) {
        self.counters.reject(rejection);
        let error = async_nats::service::error::Error {
            status: rejection.to_string(),
            code: usize::from(rejection.status().0),
        };
        respond(incoming, Err(error)).await;
    }

    /// Answers with a serve layer.
    async fn answer(&self, taken: &Taken, result: Result<Reply, Refusal>) {
        let max = self.client.server_info().max_payload;
        let keys = taken.keys.as_deref();
        match self.answering.answer(&taken.request, taken.scheme, keys, result, max) {
            Ok((status, bytes)) => {
                let succeeded = status < Status::BAD_REQUEST;
                add(if succeeded { &self.counters.answered } else { &self.counters.refused });
                respond(&taken.incoming, Ok(bytes)).await;
            }
            // Not even a refusal can be made; the deadline ends it at the node.
            Err(error) => tracing::error!(%error, "a request is not answered"),
        }
    }
}

/// Room for requests that wait for keys.
#[derive(Debug)]
struct Waiting {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The room of one request and its bytes, given back when it is dropped.
type WaitingPermit = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Default for Waiting {
    fn default() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(WAITING_MAX)),
            bytes: Arc::new(Semaphore::new(WAITING_BYTES)),
        }
    }
}

impl Waiting {
    /// [NAT-22] It MUST refuse (503) requests that wait for keys beyond `service-waiting-max` and `service-waiting-bytes`.
    fn enter(&self, bytes: usize) -> Option<WaitingPermit> {
        let request = self.requests.clone().try_acquire_owned().ok()?;
        let bytes = u32::try_from(bytes).ok()?;
        Some((request, self.bytes.clone().try_acquire_many_owned(bytes).ok()?))
    }
}

async fn respond(
    incoming: &async_nats::service::Request,
    response: Result<Bytes, async_nats::service::error::Error>,
) {
    // Who wants no reply gets none, and a bus that is down takes none.
    if let Err(error) = incoming.respond(response).await {
        tracing::debug!(%error, "an answer did not go out");
    }
}

fn proof(scheme: BusAuth, keys: Option<&RouteKeys>) -> Option<Proof<'_>> {
    match (scheme, keys) {
        (BusAuth::NONE, _) => Some(Proof::NoneWanted),
        (BusAuth::MAC, Some(keys)) => Some(Proof::Mac(&keys.request_key)),
        (BusAuth::SIGNATURE, _) => Some(Proof::Signature),
        _ => None,
    }
}

fn time_left(deadline: u64) -> Duration {
    Duration::from_micros(deadline.saturating_sub(clock::now()))
}

const HEADS_MAX: usize = limits::SERVICE_HEADS_MAX as usize;
const WAITING_MAX: usize = limits::SERVICE_WAITING_MAX as usize;
const WAITING_BYTES: usize = limits::SERVICE_WAITING_BYTES as usize;
const WAIT_MAX: Duration = Duration::from_secs(limits::SERVICE_DEADLINE);
/// Seconds: about what a service needs to get rid of a full load.
const RETRY_AFTER: u64 = 1;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn requests_that_wait_for_keys_have_bounded_room() {
        // [NAT-22]
        let waiting = Waiting::default();
        let all: Vec<_> = (0..WAITING_MAX).map(|_| waiting.enter(1).unwrap()).collect();
        assert!(waiting.enter(1).is_none());
        drop(all);
        let large = waiting.enter(WAITING_BYTES).unwrap();
        assert!(waiting.enter(1).is_none());
        drop(large);
        assert!(waiting.enter(1).is_some());
    }
}
