//! What answers a request: services in the process, and the interface that all services share.

use std::time::Duration;

use bytes::Bytes;
use cmtp_codec::{Field, Fqmn, Layer, PublicKey};
use cmtp_spec::{BusAuth, FieldIndex, Status};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::refusal::Refusal;

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
    /// The target that the request's own became, without arguments.
    pub target: &'a Fqmn,
    /// The caller's layer: fields, arguments and body.
    pub origin: &'a Layer,
    /// Where a bus takes the request; empty for a service in the process.
    pub subject: &'a str,
    /// Time left to answer.
    pub time_left: Duration,
}

impl Call<'_> {
    /// The arguments as JSON text.
    pub fn args(&self) -> Option<&str> {
        self.origin.text(FieldIndex::ARGS)
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 399.
    pub status: Status,
    /// Fields, each for the list that its class names.
    pub fields: Vec<Field>,
    /// The body.
    pub body: Option<Bytes>,
}

impl Reply {
    /// Status 200 with a body of this type.
    pub fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status: Status::OK,
            fields: vec![Field::bytes(FieldIndex::CONTENT_TYPE, content_type)],
            body: Some(body.into()),
        }
    }
}

/// The service in the process that is called so.
pub(crate) fn local(name: &str) -> Option<&'static dyn Service> {
    match name {
        "echo" => Some(&Echo),
        "time" => Some(&Time),
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
                status: Status::OK,
                fields: content_type
                    .map(|value| Field::bytes(FieldIndex::CONTENT_TYPE, value))
                    .into_iter()
                    .collect(),
                body: Some(body.clone()),
            },
            (None, Some(args)) => Reply::ok("application/json", args.to_owned()),
            (None, None) => Reply { status: Status::OK, fields: Vec::new(), body: None },
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
        let text = i64::try_from(crate::node::now())
            .ok()
            .and_then(|now| jiff::Timestamp::from_microsecond(now).ok())
            .map(|now| format!("{now:.6}"))
            .ok_or_else(|| Refusal::new(Status::INTERNAL_ERROR, "the node's clock is unusable"));
        async { Ok(Reply::ok("text/plain", text?)) }.boxed()
    }

    fn bus_auth(&self) -> BusAuth {
        BusAuth::LOCAL
    }
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
