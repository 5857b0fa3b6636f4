//! Plain services on NATS: body in, body out. `cmtp-spec/spec/11-nats.md`.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
pub(crate) use async_nats::{Client, ConnectError};
use async_nats::{ConnectOptions, Message, Request, RequestErrorKind, ServerAddr};
use bytes::Bytes;
use cmtp_codec::Field;
use cmtp_spec::{BusAuth, Status};
use data_encoding::HEXLOWER;
use futures::FutureExt;
use futures::future::BoxFuture;
use percent_encoding::percent_decode_str;

use crate::config::{Bus, is_passable};
use crate::node::NodeError;
use crate::refusal::Refusal;
use crate::service::{Call, Reply, Service};

/// Connects to the bus, where there is one.
///
/// The connection mends itself afterwards; while it is down, requests are refused with 503.
pub(crate) async fn open(bus: &Bus) -> Result<Option<Client>, NodeError> {
    let Bus::Nats(url) = bus else { return Ok(None) };
    let connected = connect(url).await;
    connected.map(Some).map_err(|source| NodeError::Bus { url: url.clone(), source })
}

async fn connect(url: &str) -> Result<Client, ConnectError> {
    // Replies come to a prefix of this node's own, which can't be guessed and so not be listened on by chance.
    let mut nonce = [0; 16];
    if aws_lc_rs::rand::fill(&mut nonce).is_err() {
        tracing::warn!("no entropy for the inbox prefix");
    }
    let options = ConnectOptions::new()
        .name("cmtpd")
        .custom_inbox_prefix(format!("_INBOX_{}", HEXLOWER.encode(&nonce)))
        .connection_timeout(CONNECT_TIMEOUT);
    match url.parse::<ServerAddr>() {
        Ok(address) => {
            let (options, address) = with_credentials(options, address);
            options.connect(address).await
        }
        // The library says what is wrong with it.
        Err(_no_address) => options.connect(url).await,
    }
}

/// Takes user information out of the URL, which the library logs and does not use: `user:password`, or a token alone.
fn with_credentials(options: ConnectOptions, address: ServerAddr) -> (ConnectOptions, ServerAddr) {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let options = match (address.username().map(decoded), address.password().map(decoded)) {
        (Some(user), Some(password)) => options.user_and_password(user, password),
        (Some(token), None) => options.token(token),
        (None, _) => options,
    };
    let mut url = address.clone().into_inner();
    // A URL that can't lose its user information can't have any.
    let _cleared = url.set_username("").and_then(|()| url.set_password(None));
    (options, ServerAddr::from_url(url).unwrap_or(address))
}

/// A plain service.
pub(crate) struct Plain {
    client: Client,
    headers: Vec<String>,
    body_max: u64,
}

impl Plain {
    pub(crate) const fn new(client: Client, headers: Vec<String>, body_max: u64) -> Self {
        Self { client, headers, body_max }
    }

    async fn request(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let payload = match (call.origin.data(), call.args()) {
            (Some(_), Some(_)) => {
                let detail = "this service takes a body or arguments, not both";
                return Err(Refusal::new(Status::BAD_REQUEST, detail).without_effect());
            }
            (Some(body), None) => body.clone(),
            (None, Some(args)) => Bytes::copy_from_slice(args.as_bytes()),
            (None, None) => Bytes::new(),
        };
        if self.client.connection_state() != State::Connected {
            return Err(unavailable("the bus is not connected").without_effect());
        }
        let request = Request::new()
            .payload(payload)
            .headers(self.outgoing(call)?)
            .timeout(Some(call.time_left));
        let reply = self.client.send_request(call.subject.to_owned(), request).await;
        // [NAT-5] No responder is 503 at once; no reply by the deadline is 504.
        match reply {
            Ok(message) => self.incoming(message),
            Err(error) => Err(match error.kind() {
                RequestErrorKind::NoResponders => {
                    unavailable("no service answers this target").without_effect()
                }
                RequestErrorKind::TimedOut => deadline_exceeded(),
                RequestErrorKind::MaxPayloadExceeded => {
                    let detail = "the body is larger than the bus takes";
                    Refusal::new(Status::BODY_TOO_LARGE, detail).without_effect()
                }
                _ => {
                    tracing::warn!(%error, subject = call.subject, "bus request failed");
                    unavailable("the bus failed")
                }
            }),
        }
    }

    /// [NAT-3] Fields become headers only by the route's list of names.
    fn outgoing(&self, call: &Call<'_>) -> Result<HeaderMap, Refusal> {
        let mut headers = HeaderMap::new();
        for field in call.origin.fields() {
            let name = field.name.as_str();
            if !self.headers.iter().any(|allowed| allowed == name) {
                continue;
            }
            // Nor a value with CR, LF or NUL (400 for the caller's).
            let bad = || {
                let detail = format!("field {name}: a value for this service is one line of text");
                Refusal::new(Status::BAD_REQUEST, detail).without_effect()
            };
            let value = header_text(&field.value).ok_or_else(bad)?;
            headers.append(name, value);
        }
        Ok(headers)
    }

    fn incoming(&self, message: Message) -> Result<Reply, Refusal> {
        let headers = message.headers.unwrap_or_default();
        // [NAT-4] A reply with header `Nats-Service-Error-Code` is a refusal.
        if let Some(code) = headers.get(ERROR_CODE) {
            let status = code.as_str().parse().ok().filter(|status| (400..600).contains(status));
            let status = status.map_or(Status::BAD_SERVICE_ANSWER, Status);
            let detail = headers.get(ERROR_TEXT).map(HeaderValue::as_str).unwrap_or_default();
            return Err(Refusal::new(status, detail));
        }
        // [NAT-5] A reply above the node's body limit is 502.
        if message.payload.len() as u64 > self.body_max {
            let detail = "the service's answer is larger than this node takes";
            return Err(Refusal::new(Status::BAD_SERVICE_ANSWER, detail));
        }
        let fields = headers.iter().flat_map(|(name, values)| {
            values.iter().filter_map(move |value| self.field(name, value))
        });
        Ok(Reply {
            fields: fields.collect(),
            body: Some(message.payload),
            ..Reply::empty(Status::OK)
        })
    }

    /// [NAT-3] Headers of the reply become fields by the same list; what must not pass is dropped.
    fn field(&self, name: &HeaderName, value: &HeaderValue) -> Option<Field> {
        let name = AsRef::<str>::as_ref(name).to_ascii_lowercase();
        let allowed = self.headers.contains(&name) && is_passable(&name);
        let value = header_text(value.as_str().as_bytes())?;
        allowed.then(|| Field::new(&name, value.to_owned()).ok())?
    }
}

impl Service for Plain {
    fn call<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>> {
        self.request(call).boxed()
    }

    fn bus_auth(&self) -> BusAuth {
        BusAuth::PLAIN
    }
}

/// A service that did not answer in time.
pub(crate) fn deadline_exceeded() -> Refusal {
    Refusal::new(Status::DEADLINE_EXCEEDED, "the service did not answer in time")
}

fn unavailable(detail: &str) -> Refusal {
    Refusal::new(Status::UNAVAILABLE, detail).after(RETRY_AFTER)
}

/// A value that may stand in a NATS header: one line of text.
fn header_text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| !text.contains(['\r', '\n', '\0']))
}

const ERROR_CODE: &str = "Nats-Service-Error-Code";
const ERROR_TEXT: &str = "Nats-Service-Error";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds: about what a service takes to restart.
const RETRY_AFTER: u64 = 1;
