//! Leaves, bodies, layers and chains.

use bytes::BytesMut;
use serde_json::{Value, json};

use cmtp_spec::{LayerFlags, Status, Step, uses};

use super::frames::{self, Parts, assembler_at, assembler_in_body, field_json, to_field};
use super::{
    Case, Outcome, Stop, hex, number, or_null, signature_json, to_array, to_bytes, to_number,
    to_salt, to_signature,
};
use crate::assemble::{Assembler, Part, Source};
use crate::chain::{Chain, Link, LinkError};
use crate::core::{Core, RedactedLayer};
use crate::field::Private;
use crate::hash::{self, Digest, Salt};
use crate::key::PublicKey;
use crate::layer::{Body, Layer};

pub(super) fn public_leaf(case: &Case) -> Outcome {
    let salt = to_salt(case.value("salt"));
    let fields: Vec<_> = case.list("fields").iter().map(to_field).collect();
    Ok(json!({ "hash": hex(hash::public_leaf(&salt, &fields).0) }))
}

pub(super) fn private_leaf(case: &Case) -> Outcome {
    let salt = to_salt(case.value("salt"));
    let field = to_field(&json!({ "name": case.text("name"), "value": case.text("value") }));
    Ok(json!({ "hash": hex(Private::Disclosed { salt, field }.leaf().0) }))
}

pub(super) fn fields_root(case: &Case) -> Outcome {
    let public = case.digest("publicLeaf");
    let private: Vec<_> = case.list("privateLeaves").iter().map(to_array).map(Digest).collect();
    Ok(json!({ "hash": hex(hash::fields_root(public, private.into_iter()).0) }))
}

pub(super) fn body(case: &Case) -> Outcome {
    let (salt, body) = (case.value("salt"), case.value("body"));
    let mut layer = Layer::new(Step::SERVE, PublicKey([7; 32]), 1, Salt([0; 16]));
    if !body.is_null() {
        layer = layer.with_body(to_salt(salt), to_bytes(body));
    }
    Ok(json!({ "hash": hex(body_hash(&layer).0) }))
}

pub(super) fn body_frames(case: &Case) -> Outcome {
    let (stream, input) = (case.text("stream"), case.bytes("input"));
    let mut assembler = assembler_in_body(stream, case.flag("signed"));
    let parts = Parts::read(&mut assembler, &input)?;
    let layer = match parts.parts.as_slice() {
        [] => return Err(Stop::Incomplete),
        [Part::Link(link)] if !parts.is_cut => link.layer().unwrap(),
        other => panic!("one layer expected, {other:?} found"),
    };
    if stream == "stored" {
        // In a file there is one way to cut a body (STO-3).
        assert!(frames_of(layer).ends_with(&input), "CNV-5");
    }
    let salt = match &layer.body {
        Body::Present { salt, .. } => Some(salt),
        Body::Absent | Body::Withheld(_) => None,
    };
    Ok(json!({
        "body": or_null(layer.data(), hex), "salt": or_null(salt, |salt| hex(salt.0)),
        "signature": signature_json(layer.signature.as_ref()), "hash": hex(body_hash(layer).0),
    }))
}

pub(super) fn layer(case: &Case) -> Outcome {
    let (place, prev) = (case.number("number"), case.digest("prev"));
    let (stream, input) = (case.text("stream"), case.bytes("input"));
    let mut assembler = assembler_at(frames::source(stream, place), place, LayerFlags(0));
    let link = one_link(&mut assembler, &input)?;
    let core = core_at(&link, place, prev)?;
    let mut found = core_json(&core);
    let (form, signature) = match &link {
        Link::Layer(layer) => ("full", &layer.signature),
        Link::Core(redacted) => ("core", &redacted.signature),
    };
    found["form"] = form.into();
    found["signature"] = signature_json(signature.as_ref());
    if let Some(layer) = link.layer() {
        add_parts(layer, &mut found);
    }
    let expected: Value = case.expected().into();
    if expected == found {
        let made = made(&expected, place, prev);
        assert_eq!(made, link, "made from its parts");
        assert_eq!(encoded(&made), input, "made from its parts");
    }
    Ok(found)
}

pub(super) fn chain(case: &Case) -> Outcome {
    let mut assembler = Assembler::new(Source::Stored, cmtp_spec::limits::STORED_MAX);
    let (mut read, mut made, mut hashes) = (Chain::default(), Chain::default(), Vec::new());
    for (place, input) in case.list("layers").iter().enumerate() {
        let at = |stop: Stop| stop.with(json!({ "badLayer": place }));
        let link = one_link(&mut assembler, &to_bytes(input)).map_err(at)?;
        let hash = read.push(&link).map_err(|error| at(error.into()))?;
        match &link {
            Link::Layer(layer) if !link.is_signed() => assert_eq!(made.append(layer), Ok(hash)),
            signed_or_core => assert_eq!(made.push(signed_or_core), Ok(hash)),
        }
        hashes.push(hex(hash.0));
    }
    Ok(json!({ "hashes": hashes }))
}

/// The one layer whose frames are `input`; it must encode to them again.
pub(super) fn one_link(assembler: &mut Assembler, input: &[u8]) -> Result<Link, Stop> {
    let Parts { mut parts, is_cut } = Parts::read(assembler, input)?;
    match parts.pop() {
        None => Err(Stop::Incomplete),
        Some(Part::Link(link)) if parts.is_empty() && !is_cut => {
            assert_eq!(encoded(&link), input, "CNV-5");
            Ok(*link)
        }
        other => panic!("one layer expected, {other:?} found"),
    }
}

/// The core of a link, whose place in a chain and whose signature are checked.
///
/// As [`Chain::push`], which can't begin in the middle of a chain; `chain.json` and `stored.json` go through it.
fn core_at(link: &Link, place: u32, prev: Digest) -> Result<Core, Stop> {
    let (core, signature) = match link {
        Link::Layer(layer) => (layer.core(place, prev), layer.signature),
        Link::Core(redacted) if (redacted.core.number, redacted.core.prev) != (place, prev) => {
            return Err(LinkError::ForeignCore.into());
        }
        Link::Core(redacted) => {
            redacted.core.check()?;
            (redacted.core, redacted.signature)
        }
    };
    if link.is_signed() {
        core.actor.verify(uses::LAYER, &core.hash().0, &signature.unwrap())?;
    }
    if place == 0 {
        assert_eq!(Chain::default().push(link), Ok(core.hash()));
    }
    Ok(core)
}

fn core_json(core: &Core) -> Value {
    json!({
        "step": core.step.0, "layerFlags": core.flags.0, "status": core.status.0,
        "actor": hex(core.actor.0), "time": number(core.time),
        "publicCount": core.public_count, "privateCount": core.private_count,
        "root": hex(core.fields_root.0), "bodyHash": hex(core.body.0),
        "core": hex(core.to_bytes()), "hash": hex(core.hash().0),
    })
}

fn add_parts(layer: &Layer, found: &mut Value) {
    let private = |private: &Private| match private {
        Private::Disclosed { salt, field } => {
            let mut value = field_json(field);
            value["salt"] = hex(salt.0).into();
            value
        }
        Private::Withheld(leaf) => json!({ "leaf": hex(leaf.0) }),
    };
    found["publicSalt"] = hex(layer.public_salt.0).into();
    found["public"] = layer.public.iter().map(field_json).collect();
    found["private"] = layer.private.iter().map(private).collect();
    found["publicLeaf"] = hex(hash::public_leaf(&layer.public_salt, &layer.public).0).into();
    found["body"] = match &layer.body {
        Body::Absent => Value::Null,
        Body::Present { salt, data } => json!({ "salt": hex(salt.0), "bytes": hex(data) }),
        Body::Withheld(hash) => json!({ "hash": hex(hash.0) }),
    };
}

/// The link made from the values that a case expects.
fn made(parts: &Value, place: u32, prev: Digest) -> Link {
    let (step, actor) = (Step(to_number(&parts["step"])), PublicKey(to_array(&parts["actor"])));
    let flags = LayerFlags(to_number(&parts["layerFlags"]));
    let status = Status(to_number(&parts["status"]));
    let time = to_number(&parts["time"]);
    let signature = to_signature(&parts["signature"]);
    if parts["form"] == "core" {
        let core = Core {
            step,
            flags,
            status,
            number: place,
            public_count: to_number(&parts["publicCount"]),
            private_count: to_number(&parts["privateCount"]),
            time,
            actor,
            fields_root: Digest(to_array(&parts["root"])),
            body: Digest(to_array(&parts["bodyHash"])),
            prev,
        };
        return Link::Core(RedactedLayer { core, signature });
    }
    let mut layer = Layer::new(step, actor, time, to_salt(&parts["publicSalt"]))
        .with_status(status)
        .with_flag(flags);
    for field in parts["public"].as_array().unwrap() {
        layer = layer.with_public(to_field(field));
    }
    for private in parts["private"].as_array().unwrap() {
        match private.get("leaf") {
            Some(leaf) => layer.private.push(Private::Withheld(Digest(to_array(leaf)))),
            None => layer = layer.with_private(to_salt(&private["salt"]), to_field(private)),
        }
    }
    let body = &parts["body"];
    match (body.get("bytes"), body.get("hash")) {
        (Some(data), _) => layer = layer.with_body(to_salt(&body["salt"]), to_bytes(data)),
        (None, Some(hash)) => layer.body = Body::Withheld(Digest(to_array(hash))),
        (None, None) => {}
    }
    layer.signature = signature;
    assert_eq!(layer.check(place), Ok(()));
    layer.into()
}

fn body_hash(layer: &Layer) -> Digest {
    layer.core(1, Digest::ZERO).body
}

fn frames_of(layer: &Layer) -> BytesMut {
    let mut out = BytesMut::new();
    layer.encode(&mut out);
    out
}

fn encoded(link: &Link) -> BytesMut {
    let mut out = BytesMut::new();
    link.encode(&mut out);
    out
}
