//! What answers a request: services in the process, and the interface that all services share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cmtp_codec::{BusAnswer, Chain, Field, Fqmn, Layer, PublicKey, Verified};
pub use cmtp_spec::BusAuth;
use cmtp_spec::{FieldIndex, Status};
pub use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

pub use crate::refusal::Refusal;

/// Answers requests that were admitted.
///
/// A service is asked only after the caller was authenticated and the target authorised. It may be asked for several
/// requests at a time. It has to answer by the call's deadline, and is dropped (its future, at an await point) when the
/// deadline passes or the caller goes away; what it began outside by then is its own to finish.
///
/// What it returns becomes the serve layer as it is, so it must not promise what did not happen.
pub trait Service: Send + Sync {
    /// Answers one request, or refuses it.
    fn call<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>>;

    /// How it is reached where that is outside of the node's process; the node then appends a dispatch layer.
    fn bus_auth(&self) -> BusAuth;
}

/// An admitted request.
#[derive(Debug)]
pub struct Call<'a> {
    /// Who asks, by the key that the token names.
    pub caller: PublicKey,
    /// The `jti` of that token.
    pub token_id: &'a str,
    /// The target that the request's own became, without arguments.
    pub target: &'a Fqmn,
    /// The caller's layer: fields, arguments and body.
    pub origin: &'a Layer,
    /// Where a bus takes the request; empty for a service in the process.
    pub subject: &'a str,
    /// Time left to answer.
    pub time_left: Duration,
    /// What a layered service gets; nothing for others.
    pub dispatched: Option<&'a Dispatched>,
}

/// A request up to its dispatch layer.
#[derive(Debug)]
pub struct Dispatched {
    /// The frames of all layers.
    pub frames: Bytes,
    /// Their chain, which the service's layer continues.
    pub chain: Chain,
}

impl Call<'_> {
    /// The arguments as JSON text.
    pub fn args(&self) -> Option<&str> {
        self.origin.text(FieldIndex::ARGS)
    }
}

/// An answer.
pub struct Reply {
    /// 200 to 399.
    pub status: Status,
    /// Fields, each for the list that its class names.
    pub fields: Vec<Field>,
    /// The body.
    pub body: Option<Bytes>,
    /// What is to be done once the journal holds the answer to a write.
    pub effect: Option<Effect>,
    /// What follows the body, as it comes: the answer is streamed then.
    pub segments: Option<Segments>,
    /// The service's own layer, in place of all of these.
    pub served: Option<Served>,
}

/// The layer of a layered service: it continues its request, and comes from an actor that the route pins.
#[derive(Debug)]
pub struct Served {
    pub(crate) answer: Verified<BusAnswer>,
    /// With the layer.
    pub(crate) chain: Chain,
}

/// Bytes of a streamed answer as they come; an error breaks the stream off. Dropping it tells the service.
pub type Segments = BoxStream<'static, Result<Bytes, Refusal>>;

/// The effect of a write on the node itself, held back until the write is durable.
///
/// Dropped without being applied, it never happened.
pub struct Effect(Box<dyn FnOnce() + Send>);

impl Effect {
    /// An effect that `apply` brings about; it must not fail.
    pub fn new(apply: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(apply))
    }

    pub(crate) fn apply(self) {
        (self.0)();
    }
}

impl Reply {
    /// No field and no body.
    pub const fn empty(status: Status) -> Self {
        Self { status, fields: Vec::new(), body: None, effect: None, segments: None, served: None }
    }

    /// A stream of text.
    pub(crate) fn lines(segments: Segments) -> Self {
        Self {
            fields: vec![Field::bytes(FieldIndex::CONTENT_TYPE, "text/plain")],
            segments: Some(segments),
            ..Self::empty(Status::OK)
        }
    }

    /// The layer of a layered service; its status, fields and body are in it.
    pub(crate) fn served(answer: Verified<BusAnswer>, chain: Chain) -> Self {
        let served = Served { answer, chain };
        Self { served: Some(served), ..Self::empty(Status::NONE) }
    }

    /// Where a service refuses by its own layer: whether that says that a write had no effect.
    pub(crate) fn refused(&self) -> Option<bool> {
        let layer = self.served.as_ref()?.answer.layer();
        layer.refuses().then(|| layer.value(FieldIndex::NO_EFFECT).is_some())
    }

    /// The body, whoever made the layer.
    pub(crate) fn data(&self) -> Option<&Bytes> {
        let served = self.served.as_ref().and_then(|served| served.answer.layer().data());
        served.or(self.body.as_ref())
    }

    /// Status 200 with a body of this type.
    pub fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            fields: vec![Field::bytes(FieldIndex::CONTENT_TYPE, content_type)],
            body: Some(body.into()),
            ..Self::empty(Status::OK)
        }
    }
}

/// Services of a program that has a node in it, by the names that routes have for them: `to = "local:NAME"`.
///
/// ```
/// use cmtp_server::Services;
/// use cmtp_server::service::{BoxFuture, BusAuth, Call, Refusal, Reply, Service};
///
/// struct Length;
///
/// impl Service for Length {
///     fn call<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>> {
///         let length = call.origin.data().map_or(0, |body| body.len());
///         Box::pin(async move { Ok(Reply::ok("text/plain", length.to_string())) })
///     }
///
///     fn bus_auth(&self) -> BusAuth {
///         BusAuth::LOCAL
///     }
/// }
///
/// let services = Services::default().with("length", Length);
/// assert!(services.has("length") && services.has("echo") && !services.has("width"));
/// ```
#[derive(Clone, Default)]
pub struct Services(BTreeMap<String, Arc<dyn Service>>);

impl Services {
    /// Adds a service. One that is called as a service of every node is (`echo`, say) stands in its place for the routes of
    /// the configuration.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, service: impl Service + 'static) -> Self {
        self.0.insert(name.into(), Arc::new(service));
        self
    }

    /// Whether a route may lead to `local:NAME`: a service that was added, or one that every node has.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name) || BUILT_IN.contains(&name)
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<dyn Service>> {
        self.0.get(name).cloned()
    }

    /// All names, for a person.
    pub(crate) fn names(&self) -> String {
        let own = self.0.keys().map(String::as_str);
        let names: Vec<_> = BUILT_IN.iter().copied().chain(own).collect();
        names.join(", ")
    }
}

/// The services that every node has.
const BUILT_IN: [&str; 7] = ["echo", "time", "ticks", "hello", "state", "log", "audit"];

/// The service in the process that is called so.
pub(crate) fn local(name: &str) -> Option<&'static dyn Service> {
    match name {
        "echo" => Some(&Echo),
        "time" => Some(&Time),
        "ticks" => Some(&Ticks),
        "hello" => Some(&Hello),
        _ => None,
    }
}

/// `0xS:echo`: gives back the body, or the arguments where there is no body.
struct Echo;

impl Service for Echo {
    fn call<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>> {
        let content_type = call.origin.value(FieldIndex::CONTENT_TYPE).cloned();
        let reply = match (call.origin.data(), call.args()) {
            (Some(body), _) => Reply {
                fields: content_type
                    .map(|value| Field::bytes(FieldIndex::CONTENT_TYPE, value))
                    .into_iter()
                    .collect(),
                body: Some(body.clone()),
                ..Reply::empty(Status::OK)
            },
            (None, Some(args)) => Reply::ok("application/json", args.to_owned()),
            (None, None) => Reply::empty(Status::OK),
        };
        async { Ok(reply) }.boxed()
    }

    fn bus_auth(&self) -> BusAuth {
        BusAuth::LOCAL
    }
}

/// `0xS:time`: the node's clock, RFC 3339 with microseconds.
struct Time;

impl Service for Time {
    fn call<'a>(&'a self, _call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>> {
        let text = clock_text();
        async { Ok(Reply::ok("text/plain", text?)) }.boxed()
    }

    fn bus_auth(&self) -> BusAuth {
        BusAuth::LOCAL
    }
}

fn clock_text() -> Result<String, Refusal> {
    i64::try_from(crate::node::now())
        .ok()
        .and_then(|now| jiff::Timestamp::from_microsecond(now).ok())
        .map(|now| format!("{now:.6}"))
        .ok_or_else(|| Refusal::new(Status::INTERNAL_ERROR, "the node's clock is unusable"))
}

/// `0xS:time:ticks`: the node's clock, again and again, a line each. Arguments: how many lines (else without end), and
/// milliseconds between two (else 1,000; at least 1).
struct Ticks;

impl Service for Ticks {
    fn call<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>> {
        let reply = ticks(call.args()).map(Reply::lines);
        async { reply }.boxed()
    }

    fn bus_auth(&self) -> BusAuth {
        BusAuth::LOCAL
    }
}

fn ticks(args: Option<&str>) -> Result<Segments, Refusal> {
    let args = arguments(args)?;
    let (count, every) = (number(&args, 0)?, number(&args, 1)?.unwrap_or(TICK_MS).max(1));
    let every = tokio::time::interval(Duration::from_millis(every));
    let ticks = futures::stream::unfold((count, every), |(left, mut every)| async move {
        let left = match left {
            Some(0) => return None,
            left => left.map(|left| left - 1),
        };
        every.tick().await;
        Some((clock_text().map(|text| Bytes::from(text + "\n")), (left, every)))
    });
    Ok(ticks.boxed())
}

/// The arguments, none where there is no text.
pub(crate) fn arguments(text: Option<&str>) -> Result<Vec<serde_json::Value>, Refusal> {
    let bad = |error| Refusal::new(Status::BAD_REQUEST, format!("arguments: {error}"));
    text.map(serde_json::from_str).transpose().map(Option::unwrap_or_default).map_err(bad)
}

/// The argument at a place, a number or the text of one; `None` where there are fewer.
pub(crate) fn number(args: &[serde_json::Value], at: usize) -> Result<Option<u64>, Refusal> {
    let Some(value) = args.get(at) else { return Ok(None) };
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let bad = || format!("argument {}: expected a number", at + 1);
    number.map(Some).ok_or_else(|| Refusal::new(Status::BAD_REQUEST, bad()))
}

/// Greets the first argument: what the demonstration calls by name.
struct Hello;

impl Service for Hello {
    fn call<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>> {
        let names = call.args().map(serde_json::from_str::<Vec<serde_json::Value>>);
        let reply = match names.transpose() {
            Ok(names) => {
                let first = names.and_then(|names| names.into_iter().next());
                let name = first.as_ref().and_then(|name| name.as_str()).unwrap_or("world");
                Ok(Reply::ok("text/plain", format!("Hello, {name}!")))
            }
            Err(error) => Err(Refusal::new(Status::BAD_REQUEST, format!("arguments: {error}"))),
        };
        async { reply }.boxed()
    }

    fn bus_auth(&self) -> BusAuth {
        BusAuth::LOCAL
    }
}

/// Milliseconds between two lines of `0xS:time:ticks`.
const TICK_MS: u64 = 1_000;
