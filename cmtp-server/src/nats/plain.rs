//! Plain services: body in, body out.

use async_nats::Message;
use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use cmtp_codec::Field;
use cmtp_spec::{BusAuth, Status};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::config::is_passable;
use crate::nats::{Bus, ERROR_CODE, ERROR_TEXT};
use crate::refusal::Refusal;
use crate::service::{Call, Reply, Service};

/// A plain service.
pub(crate) struct Plain {
    bus: Bus,
    headers: Vec<String>,
    body_max: u64,
}

impl Plain {
    pub(crate) const fn new(bus: Bus, headers: Vec<String>, body_max: u64) -> Self {
        Self { bus, headers, body_max }
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
        let headers = self.outgoing(call)?;
        match self.bus.request(call.subject, headers, payload).await {
            Ok(message) => self.incoming(message),
            Err(unanswered) => Err(unanswered.refusal(call.target.is_write())),
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

/// A value that may stand in a NATS header: one line of text.
fn header_text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| !text.contains(['\r', '\n', '\0']))
}
