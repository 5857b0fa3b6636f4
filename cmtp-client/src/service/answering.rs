//! Makes answers: a serve layer that continues the request, in an envelope.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cmtp_codec::{BusRequest, DecodeErrorKind, Envelope, Field, Fqmn, KeyId, Layer, Verified};
use cmtp_spec::{BusAuth, BusKind, FieldClass, FieldIndex, Status, Step};

use super::call::{Refusal, Reply};
use super::keyring::RouteKeys;
use crate::clock;
use crate::entropy::{self, NoEntropy};
use crate::identity::Identity;

/// What an instance answers as.
#[derive(Debug)]
pub(crate) struct Answering {
    pub(crate) identity: Arc<Identity>,
    pub(crate) instance: KeyId,
    /// Each layer is signed, whatever the route wants.
    pub(crate) signed: bool,
}

/// Why no answer can be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unmakeable {
    #[error("it can't be a layer: {0}")]
    Layer(#[from] DecodeErrorKind),
    #[error(transparent)]
    Randomness(#[from] NoEntropy),
}

impl Answering {
    /// An envelope of at most `max` bytes, and the status in it. What can't be one becomes a refusal that says so.
    pub(crate) fn answer(
        &self,
        request: &Verified<BusRequest>,
        scheme: BusAuth,
        keys: Option<&RouteKeys>,
        result: Result<Reply, Refusal>,
        max: usize,
    ) -> Result<(Status, Bytes), Unmakeable> {
        let enclose = |(status, layer)| (status, self.enclose(request, scheme, keys, layer));
        let failed = |detail: String| Err(Refusal::new(Status::INTERNAL_ERROR, detail));
        let detail = match self.layer(request, scheme, result).map(enclose) {
            Ok((status, bytes)) if bytes.len() <= max => return Ok((status, bytes)),
            Ok(_) => "the service's answer is larger than the bus takes".to_owned(),
            Err(error) => format!("the service's answer: {error}"),
        };
        self.layer(request, scheme, failed(detail)).map(enclose)
    }

    /// The frames of the layer, and its status.
    fn layer(
        &self,
        request: &Verified<BusRequest>,
        scheme: BusAuth,
        result: Result<Reply, Refusal>,
    ) -> Result<(Status, Bytes), Unmakeable> {
        let result = match result {
            Ok(reply) if !SUCCESSES.contains(&reply.status.0) => {
                let detail = "the service answered with a status that is no success";
                Err(Refusal::new(Status::INTERNAL_ERROR, detail))
            }
            result => result,
        };
        let (status, fields, body) = match result {
            Ok(reply) => (reply.status, reply.fields, reply.body),
            Err(refusal) => (refusal.status, refusal.into_fields(is_write(request)), None),
        };
        let mut layer =
            Layer::new(Step::SERVE, self.identity.did(), clock::now(), entropy::salt()?);
        layer.status = status;
        for field in fields {
            layer = with_field(layer, field)?;
        }
        if let Some(body) = body {
            layer = layer.with_body(entropy::salt()?, body);
        }
        // [NAT-12] Its hash has the dispatch layer's as `prev`; if it is signed, that is over this hash.
        let mut chain = request.chain();
        if self.signed || scheme == BusAuth::SIGNATURE {
            chain.append_signed(&mut layer, self.identity.key())?;
        } else {
            chain.append(&layer)?;
        }
        let mut frames = BytesMut::new();
        layer.encode(&mut frames);
        Ok((status, frames.freeze()))
    }

    fn enclose(
        &self,
        request: &Verified<BusRequest>,
        scheme: BusAuth,
        keys: Option<&RouteKeys>,
        payload: Bytes,
    ) -> Bytes {
        let (kind, head, actor) = (BusKind::ANSWER, request.head(), self.identity.did());
        let envelope = match (scheme, keys) {
            (BusAuth::MAC, Some(keys)) => {
                Envelope::mac(kind, self.instance, actor, head, payload, &keys.answer_key)
            }
            (BusAuth::NONE, _) => Envelope::open(kind, actor, payload),
            _ => Envelope::sign(kind, KeyId::ZERO, head, payload, self.identity.key()),
        };
        envelope.to_bytes()
    }
}

/// Whether the request may have an effect, by the opcode that the caller named.
pub(crate) fn is_write(request: &BusRequest) -> bool {
    let target = request.origin().text(FieldIndex::TARGET).unwrap_or_default();
    Fqmn::parse_target(target).is_ok_and(|target| target.is_write())
}

fn with_field(layer: Layer, field: Field) -> Result<Layer, Unmakeable> {
    Ok(match field.name.default_class() {
        FieldClass::Public => layer.with_public(field),
        FieldClass::Private => layer.with_private(entropy::salt()?, field),
    })
}

const SUCCESSES: std::ops::Range<u16> = Status::OK.0..Status::BAD_REQUEST.0;
