//! Bus envelopes.

use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as HPKE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey};
use serde_json::{Value, json};

use cmtp_spec::{BusAuth, BusKind, binding, limits};

use super::proofs::list_json;
use super::{Case, Outcome, Stop, hex, number, or_null, to_array};
use crate::chain::Chain;
use crate::envelope::{
    Ask, BusAnswer, BusRequest, Envelope, KeyId, MacKey, Proof, SealedKeys, Tag,
};
use crate::key::PublicKey;
use crate::layer::Layer;
use crate::trust::Unverified;

pub(super) fn envelope(case: &Case) -> Outcome {
    let envelope = decode(case, "input")?.into_untrusted();
    let tag = match envelope.tag {
        Tag::None => String::new(),
        Tag::Mac(tag) => hex(tag),
        Tag::Signature(signature) => hex(signature.0),
    };
    Ok(json!({
        "envelopeKind": envelope.kind.0, "scheme": envelope.scheme().0, "keyId": hex(envelope.key_id.0),
        "sender": hex(envelope.sender.0), "tag": tag, "payload": hex(&envelope.payload),
    }))
}

pub(super) fn request(case: &Case) -> Outcome {
    let demand = Demand::of(case);
    let request = BusRequest::decode(decode(case, "input")?, BODY_MAX)?;
    let request = request.verify(demand.proof())?;
    let audience = request.audience().unwrap();
    let payload = BusRequest::payload(request.layers());
    assert_eq!(payload, request.envelope().payload, "CNV-5");
    let made = demand.make(BusKind::REQUEST, request.envelope(), &request.chain());
    assert!(made.is_none_or(|made| made == *request.envelope()), "made from its parts");
    Ok(json!({
        "head": hex(request.head().0), "layers": request.layers().len(),
        "audience": hex(audience.0), "target": request.target(), "subject": request.subject(),
        "deadline": number(request.deadline()),
    }))
}

pub(super) fn answer(case: &Case) -> Outcome {
    let (demand, chain) = (Demand::of(case), requested(case));
    let answer = BusAnswer::decode(decode(case, "input")?, BODY_MAX)?;
    let (answer, appended) = answer.verify(chain, demand.proof())?;
    let made = demand.make(BusKind::ANSWER, answer.envelope(), &chain);
    assert!(made.is_none_or(|made| made == *answer.envelope()), "made from its parts");
    let layer = answer.layer();
    Ok(json!({
        "hash": hex(appended.head().0), "status": layer.status.0,
        "body": or_null(layer.data(), hex), "signed": layer.signature.is_some(),
    }))
}

pub(super) fn cancel(case: &Case) -> Outcome {
    let demand = Demand::of(case);
    let envelope = decode(case, "input")?;
    let head = envelope.untrusted().cancelled()?;
    let verified = envelope.verify(head, demand.proof())?;
    if verified.kind != BusKind::CANCEL {
        return Err(Stop::invalid("NAT-10"));
    }
    Ok(json!({ "head": hex(head.0) }))
}

pub(super) fn ask(case: &Case) -> Outcome {
    let (node, at) = (case.key("node"), case.number("at"));
    let asked = Ask::verify(decode(case, "input")?, node, at)?;
    let ask = asked.ask;
    Ok(json!({
        "keyId": hex(asked.key_id.0), "actor": hex(asked.actor.0), "instance": hex(ask.instance.0),
        "sealingKey": hex(ask.sealing_key), "time": number(ask.time), "hash": hex(asked.hash.0),
    }))
}

pub(super) fn keys(case: &Case) -> Outcome {
    let ask = decode(case, "ask")?.into_untrusted();
    let (secret, at) = (HpkePrivateKey::from(case.bytes("secret")), case.number("at"));
    let node = PublicKey(to_array(&Value::from(hex(&ask.payload[..32]))));
    let keys = SealedKeys::verify(decode(case, "input")?, &ask, node, at)?;
    let enc = EncapsulatedSecret(keys.encapsulated.to_vec());
    let info = binding::BUS_KEYS_INFO.as_bytes();
    let opened = HPKE
        .open(&enc, info, &keys.ask.0, &keys.sealed, &secret)
        .map_err(|error| Stop::invalid(&error.to_string()))?;
    let (request_key, answer_key) = opened.split_at(32);
    Ok(json!({
        "list": list_json(&keys.list), "requestKey": hex(request_key), "answerKey": hex(answer_key),
    }))
}

/// What the receiver of a case demands.
struct Demand {
    scheme: BusAuth,
    key: MacKey,
}

impl Demand {
    fn of(case: &Case) -> Self {
        let key = case.value("macKey");
        let bytes = if key.is_null() { [0; 32] } else { to_array(key) };
        Self { scheme: BusAuth(case.number("scheme")), key: MacKey::new(bytes) }
    }

    fn proof(&self) -> Proof<'_> {
        match self.scheme {
            BusAuth::MAC => Proof::Mac(&self.key),
            BusAuth::SIGNATURE => Proof::Signature,
            _ => Proof::NoneWanted,
        }
    }

    /// The same envelope made here, where that takes no secret key.
    fn make(&self, kind: BusKind, came: &Envelope, chain: &Chain) -> Option<Envelope> {
        let payload = came.payload.clone();
        match self.scheme {
            BusAuth::NONE => Some(Envelope::open(kind, came.sender, payload)),
            BusAuth::MAC => {
                let (id, head) = (came.key_id, chain.head());
                Some(Envelope::mac(kind, id, came.sender, head, payload, &self.key))
            }
            _ => None,
        }
    }
}

/// The chain of the request that an answer of the group is for.
fn requested(case: &Case) -> Chain {
    let payload = case.bytes("request");
    let envelope = Envelope::open(BusKind::REQUEST, PublicKey([0; 32]), payload);
    let layers: Vec<Layer> = envelope.layers(0, BODY_MAX).unwrap();
    let mut chain = Chain::default();
    for layer in &layers {
        chain.append(layer).unwrap();
    }
    chain
}

fn decode(case: &Case, key: &str) -> Result<Unverified<Envelope>, Stop> {
    let bytes = case.bytes(key);
    let envelope = Envelope::decode(bytes.clone(), BODY_MAX)?;
    assert_eq!(envelope.untrusted().to_bytes(), bytes, "CNV-5");
    Ok(envelope)
}

const BODY_MAX: u64 = limits::BODY_MAX;

#[test]
fn what_is_too_long_is_refused_before_it_is_read() {
    // [NAT-10] More bytes than the tag's, 51, its `body-max` and `envelope-overhead-max`.
    let longest = usize::try_from(limits::ENVELOPE_OVERHEAD_MAX + 10).unwrap();
    let envelope = |length| {
        let made = Envelope::open(BusKind::REQUEST, PublicKey([0; 32]), vec![0; length]);
        Envelope::decode(made.to_bytes(), 10)
    };
    assert_eq!(envelope(longest).unwrap().untrusted().key_id, KeyId::ZERO);
    let error = envelope(longest + 1).unwrap_err();
    assert_eq!(error.kind, crate::error::DecodeErrorKind::LimitExceeded);
}
