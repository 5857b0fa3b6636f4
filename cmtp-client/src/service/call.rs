//! What a handler gets, and what it gives back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cmtp_codec::{BusRequest, Field, Fqmn, FqmnError, Layer, Name, PublicKey, Verified};
use cmtp_spec::{FieldIndex, LayerFlags, Remedy, Status};
use tokio_util::sync::CancellationToken;

use super::answering::is_write;
use crate::clock;

/// An admitted request: who asks for what. It was verified before the handler saw it.
#[derive(Debug)]
pub struct Call {
    request: Arc<Verified<BusRequest>>,
    target: Fqmn,
    is_write: bool,
    cancelled: CancellationToken,
}

impl Call {
    pub(crate) fn new(
        request: Arc<Verified<BusRequest>>,
        cancelled: CancellationToken,
    ) -> Result<Self, FqmnError> {
        let target = Fqmn::parse_target(request.target())?;
        let is_write = is_write(&request);
        Ok(Self { request, target, is_write, cancelled })
    }

    /// Who asks, by the key that the node admitted.
    pub fn caller(&self) -> PublicKey {
        self.origin().actor
    }

    /// Whether the caller signed the request; else only the node says who asks. Writes are always signed.
    pub fn is_signed(&self) -> bool {
        self.origin().has(LayerFlags::SIGNED)
    }

    /// The request's id. With [`Call::caller`] it is the key under which an effect that must not happen twice is kept.
    pub fn message_id(&self) -> [u8; 16] {
        self.origin().fixed(FieldIndex::MESSAGE_ID).unwrap_or_default()
    }

    /// Whether the request may have an effect, by its opcode.
    pub const fn is_write(&self) -> bool {
        self.is_write
    }

    /// What is asked for, without arguments; where a name was asked for, what it stands for.
    pub const fn target(&self) -> &Fqmn {
        &self.target
    }

    /// The arguments: JSON text of an array.
    pub fn args(&self) -> Option<&str> {
        self.origin().text(FieldIndex::ARGS)
    }

    /// The body. Absent and empty are different.
    pub fn body(&self) -> Option<&Bytes> {
        self.origin().data()
    }

    /// The value of the first field of this name.
    pub fn field(&self, name: &str) -> Option<&Bytes> {
        let mut fields = self.origin().fields();
        fields.find(|field| field.name.as_str() == name).map(|field| &field.value)
    }

    /// The caller's layer: all fields, the time, the signature.
    pub fn origin(&self) -> &Layer {
        self.request.origin()
    }

    /// All that the node sent, to keep as evidence or to look at what it added.
    pub fn request(&self) -> &Verified<BusRequest> {
        &self.request
    }

    /// Time left to answer; the handler is dropped when none is.
    pub fn time_left(&self) -> Duration {
        Duration::from_micros(self.request.deadline().saturating_sub(clock::now()))
    }

    /// Comes once nobody waits for the answer any more. The handler's own future is dropped then: this is for what it started
    /// elsewhere.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + use<> {
        self.cancelled.clone().cancelled_owned()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// 200 to 399.
    pub status: Status,
    /// Fields, each for the list that its class names.
    pub fields: Vec<Field>,
    /// The body.
    pub body: Option<Bytes>,
}

impl Reply {
    /// Status 200, without fields and body.
    pub const fn empty() -> Self {
        Self { status: Status::OK, fields: Vec::new(), body: None }
    }

    /// Status 200 with a body of this type.
    pub fn new(content_type: impl Into<Bytes>, body: impl Into<Bytes>) -> Self {
        let content_type = Field::bytes(FieldIndex::CONTENT_TYPE, content_type);
        Self { fields: vec![content_type], body: Some(body.into()), ..Self::empty() }
    }

    /// Status 200 with plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new("text/plain", text.into())
    }

    /// Status 200 with JSON.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::new("application/json", value.to_string())
    }

    /// Another status, below 400.
    #[must_use]
    pub const fn with_status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn with_field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }
}

/// What a handler refuses, and why.
///
/// ```
/// use cmtp_client::service::Refusal;
/// use cmtp_spec::Status;
///
/// let refusal = Refusal::new(Status::FORBIDDEN, "this order is another customer's").without_effect();
/// ```
#[derive(Clone, Debug)]
pub struct Refusal {
    /// 400 to 599.
    pub status: Status,
    /// What a program does next.
    pub remedy: Option<Remedy>,
    /// A sentence for a person.
    pub detail: String,
    /// Seconds to wait before the same request may be sent again.
    pub retry_after: Option<u64>,
    /// A write certainly did nothing; else the caller is told that its outcome is not known.
    pub no_effect: bool,
    /// More fields.
    pub fields: Vec<Field>,
}

impl Refusal {
    /// A refusal with the status's own remedy. `detail` is a sentence for a person: it tells the caller what to do, and nothing
    /// of the service's inside.
    pub fn new(status: Status, detail: impl Into<String>) -> Self {
        Self {
            status,
            remedy: status.remedy(),
            detail: detail.into(),
            retry_after: None,
            no_effect: false,
            fields: Vec::new(),
        }
    }

    /// Says that a write certainly did nothing, so that it may be sent again.
    #[must_use]
    pub const fn without_effect(mut self) -> Self {
        self.no_effect = true;
        self
    }

    /// Says how long to wait, in seconds.
    #[must_use]
    pub const fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The fields that its layer has, for a read or a write.
    pub(crate) fn into_fields(self, is_write: bool) -> Vec<Field> {
        let mut fields = self.fields;
        // What this says of the effect counts, and nothing else.
        let effect = [FieldIndex::OUTCOME_UNKNOWN, FieldIndex::NO_EFFECT];
        fields.retain(|field| !effect.map(Name::from).contains(&field.name));
        if let Some(Remedy(word)) = self.remedy {
            fields.push(Field::bytes(FieldIndex::REMEDY, word));
        }
        if !self.detail.is_empty() {
            fields.push(Field::bytes(FieldIndex::DETAIL, self.detail));
        }
        if let Some(seconds) = self.retry_after {
            fields.push(Field::number(FieldIndex::RETRY_AFTER, seconds));
        }
        // [NAT-14] `no-effect` where it certainly did nothing, else `outcome-unknown`.
        match (is_write, self.no_effect) {
            (false, _) => {}
            (true, true) => fields.push(Field::flag(FieldIndex::NO_EFFECT)),
            (true, false) => fields.push(Field::flag(FieldIndex::OUTCOME_UNKNOWN)),
        }
        fields
    }
}
