//! Layered services: answer what nodes send over NATS, with a layer of one's own. `cmtp-spec/spec/11-nats.md`.
//!
//! Start from [`Service`]. A handler gets a [`Call`], which was verified (who asks, for what, through which node), and gives a
//! [`Reply`] or a [`Refusal`]; what it gives becomes a layer of the message, authenticated to the node, and signed where the
//! route wants evidence. This never answers what it could not verify, never runs a request twice in one instance, and holds
//! nothing for longer than its deadline.

mod admission;
mod answering;
mod call;
mod counters;
mod instance;
mod keyring;
mod rejection;
mod replay;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::service::ServiceExt;
use cmtp_codec::{PublicKey, SubjectError, check_subject};
use cmtp_spec::{BusAuth, binding, limits};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

pub use call::{Call, Refusal, Reply};
pub use counters::Counts;
pub use rejection::Rejection;

use crate::bus;
use crate::identity::Identity;
use instance::Instance;

/// A layered service that does not run yet.
///
/// ```no_run
/// use cmtp_client::service::{Call, Reply, Service};
/// use cmtp_client::{Home, Identity};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let identity = Identity::load(&Home::from_env()?)?.ok_or("make one: cmtp id new")?;
/// let node = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK".parse()?;
/// let running = Service::new("hello", "0.1.0", identity)
///     .for_node(node)
///     .endpoint("demo.hello", |call: Call| async move {
///         let names: Vec<String> = serde_json::from_str(call.args().unwrap_or("[]")).unwrap_or_default();
///         Ok(Reply::text(format!("Hello, {}!", names.join(" and "))))
///     })
///     .start("nats://127.0.0.1:4222")
///     .await?;
/// running.run_until(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await?;
/// # Ok(())
/// # }
/// ```
pub struct Service {
    name: String,
    version: String,
    description: Option<String>,
    queue_group: Option<String>,
    identity: Arc<Identity>,
    nodes: Vec<PublicKey>,
    endpoints: Vec<(String, Handler)>,
    in_flight: usize,
    body_max: u64,
    signed: bool,
    insecure: bool,
}

/// What answers the requests of an endpoint.
pub(crate) type Handler =
    Arc<dyn Fn(Call) -> BoxFuture<'static, Result<Reply, Refusal>> + Send + Sync>;

impl Service {
    /// A service of this name (letters, digits, `-` and `_`) and version (such as 1.0.3), whose answers are by `identity`: the
    /// actor that routes pin.
    pub fn new(name: impl Into<String>, version: impl Into<String>, identity: Identity) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            description: None,
            queue_group: None,
            identity: Arc::new(identity),
            nodes: Vec::new(),
            endpoints: Vec::new(),
            in_flight: IN_FLIGHT,
            body_max: limits::BODY_MAX,
            signed: false,
            insecure: false,
        }
    }

    /// Serves the node with this root key, which is its DID. Requests through other nodes are not acted on.
    #[must_use]
    pub fn for_node(mut self, root: PublicKey) -> Self {
        self.nodes.push(root);
        self
    }

    /// Answers what comes on `subject`, as a route names it. The future that `handler` gives is dropped at the request's
    /// deadline, and when nobody waits any more.
    #[must_use]
    pub fn endpoint<H, F>(mut self, subject: impl Into<String>, handler: H) -> Self
    where
        H: Fn(Call) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Reply, Refusal>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |call| handler(call).boxed());
        self.endpoints.push((subject.into(), handler));
        self
    }

    /// A sentence for who looks for services.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// Shares the requests with the instances that have the same group; the service's name, where this is not set.
    #[must_use]
    pub fn queue_group(mut self, group: impl Into<String>) -> Self {
        self.queue_group = Some(group.into());
        self
    }

    /// How many requests may be in progress, at least 1; what comes then is refused with 503, which tells the caller to come
    /// again. 256, where this is not set.
    #[must_use]
    pub const fn in_flight(mut self, requests: usize) -> Self {
        self.in_flight = if requests > 0 { requests } else { 1 };
        self
    }

    /// How long bodies may be, in bytes; 16 MiB, where this is not set.
    #[must_use]
    pub const fn body_max(mut self, bytes: u64) -> Self {
        self.body_max = bytes;
        self
    }

    /// Signs each layer, also where the route is content with a MAC: the answer is then graded *signed by service*.
    #[must_use]
    pub const fn signed(mut self) -> Self {
        self.signed = true;
        self
    }

    /// Acts on requests that nobody authenticated, where a node sends such: anybody on the bus can then be anybody. For
    /// experiments.
    #[must_use]
    pub const fn insecure_bus(mut self) -> Self {
        // [NAT-9] Scheme `none` MUST be refused unless the operator asked for it.
        self.insecure = true;
        self
    }

    /// Connects to the NATS server at `url`, which may hold `user:password@` or `token@`, and begins to answer.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self, url: &str) -> Result<Running, StartError> {
        let connected = bus::connect(url, &self.name).await;
        let client = connected
            .map_err(|source| StartError::Connect { url: bus::without_credentials(url), source })?;
        self.start_on(client).await
    }

    /// Begins to answer on a connection that is there already.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_on(self, client: async_nats::Client) -> Result<Running, StartError> {
        if self.nodes.is_empty() {
            return Err(StartError::NoNode);
        }
        for (subject, _) in &self.endpoints {
            check_subject(subject)
                .map_err(|source| StartError::Subject { subject: subject.clone(), source })?;
        }
        let metadata = self.metadata();
        let group = self.queue_group.clone().unwrap_or_else(|| self.name.clone());
        let builder = client.service_builder().metadata(metadata).queue_group(group);
        let builder = match &self.description {
            Some(text) => builder.description(text),
            None => builder,
        };
        let service =
            builder.start(&self.name, &self.version).await.map_err(StartError::Service)?;
        let instance = Arc::new(Instance::new(client.clone(), &self)?);
        let tasks = TaskTracker::new();
        instance.listen_for_cancels(&tasks).await?;
        for (subject, handler) in self.endpoints {
            let endpoint = service.endpoint(&subject).await.map_err(StartError::Service)?;
            tasks.spawn(instance.clone().serve(endpoint, handler, tasks.clone()));
        }
        // The server knows the subscriptions: what is sent from now on is answered.
        settle(&client).await;
        let stop = instance.stop_on_drop();
        Ok(Running { service, instance, tasks, client, _stop: stop })
    }

    fn metadata(&self) -> HashMap<String, String> {
        let schemes = [BusAuth::MAC, BusAuth::SIGNATURE].into_iter();
        let schemes = schemes.chain(self.insecure.then_some(BusAuth::NONE));
        let schemes: Vec<_> = schemes.map(|scheme| scheme.to_string()).collect();
        HashMap::from([
            (binding::SERVICE_KIND.to_owned(), binding::SERVICE_LAYERED.to_owned()),
            (binding::SERVICE_ACTOR.to_owned(), self.identity.did().to_string()),
            (binding::SERVICE_SCHEMES.to_owned(), schemes.join(" ")),
        ])
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A layered service that runs, until it is drained.
///
/// Dropped without that it takes no more requests, and drops those in progress unanswered.
#[derive(Debug)]
pub struct Running {
    service: async_nats::service::Service,
    instance: Arc<Instance>,
    tasks: TaskTracker,
    client: async_nats::Client,
    _stop: DropGuard,
}

impl Running {
    /// What the instance did so far.
    pub fn counts(&self) -> Counts {
        self.instance.counts()
    }

    /// The same, for a task that reports it; it does not keep the service running.
    pub fn counter(&self) -> impl Fn() -> Counts + Send + Sync + use<> {
        let instance = self.instance.clone();
        move || instance.counts()
    }

    /// Runs until `stop` comes, then drains.
    ///
    /// # Errors
    /// As [`Running::drain`].
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), DrainError> {
        stop.await;
        self.drain().await
    }

    /// Takes no more requests, finishes those in progress for up to 30 seconds, answers them, and ends.
    ///
    /// A request that the server sends in the moment in which it is told to send no more may be lost: its caller gets a 504.
    ///
    /// # Errors
    /// [`DrainError`] where requests were not finished by then, or the server can't be told.
    pub async fn drain(self) -> Result<(), DrainError> {
        self.service.stop().await.map_err(DrainError::Bus)?;
        self.instance.take_no_more();
        self.tasks.close();
        let finished = tokio::time::timeout(DRAIN_TIMEOUT, self.tasks.wait()).await;
        if finished.is_err() {
            let unfinished = self.instance.counts().in_progress;
            self.instance.stop();
            self.tasks.wait().await;
            settle(&self.client).await;
            return Err(DrainError::Unfinished { requests: unfinished });
        }
        // The server has the answers, and sends no more requests.
        settle(&self.client).await;
        Ok(())
    }
}

/// Waits until the server has done what was sent to it: it takes what a connection sends in its order, and says at once that
/// nobody listens on a new inbox.
///
/// Where the server lets this connection publish to its own subjects alone, that answer never comes; then this waits no
/// longer than a slow server would need.
async fn settle(client: &async_nats::Client) {
    let request = async_nats::Request::new().timeout(Some(SETTLE_TIMEOUT));
    let _nobody_listens = client.send_request(client.new_inbox(), request).await;
}

/// Why a service does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No server, or it lets nobody in.
    #[error("no NATS server at {url}: {source}")]
    Connect {
        /// Where it should be, without credentials.
        url: String,
        /// What went wrong.
        source: async_nats::ConnectError,
    },
    /// It is not said whom the service serves.
    #[error("a service needs the DID of the node that it serves: call for_node")]
    NoNode,
    /// An endpoint's subject can't be used.
    #[error("subject {subject:?}: {source}")]
    Subject {
        /// The subject.
        subject: String,
        /// What is wrong with it.
        source: SubjectError,
    },
    /// Name, version or subscription.
    #[error("the service can't be set up: {0}")]
    Service(async_nats::Error),
    /// No randomness for an instance id.
    #[error("the system has no randomness for an instance id")]
    Randomness,
}

impl StartError {
    /// Whether the same may work later: where the server was not reached.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }
}

/// Why a service did not end as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError {
    /// Requests took too long.
    #[error("{requests} requests were not finished within 30 seconds, and were stopped")]
    Unfinished {
        /// How many.
        requests: u64,
    },
    /// The connection.
    #[error("the bus: {0}")]
    Bus(async_nats::Error),
}

const IN_FLIGHT: usize = limits::SERVICE_IN_FLIGHT as usize;
/// As long as a node gives a service, so that what was taken can be answered.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(limits::DRAIN_TIMEOUT);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
