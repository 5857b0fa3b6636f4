//! Varints, frames, fields and seals.

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use cmtp_spec::{FieldClass, FieldIndex, FrameType, LayerFlags, SealItemType, SettingId, Step};

use super::{
    Case, Outcome, Stop, hex, log, number, proofs, signature_json, to_array, to_bytes, to_number,
    to_salt, to_signature,
};
use crate::assemble::{Assembler, Part, Source};
use crate::cursor::Cursor;
use crate::error::DecodeErrorKind as Kind;
use crate::field::{Field, Name, OwnFields};
use crate::frame::{self, Auth, End, Frame, FrameReader};
use crate::hash::{Digest, Salt};
use crate::key::{PublicKey, Signature};
use crate::keylist::KeyList;
use crate::layer::{Body, Layer};
use crate::receipt::Receipt;
use crate::seal::{self, Seal};
use crate::varint::{self, Read};

pub(super) fn varint(case: &Case) -> Outcome {
    let input = case.bytes("input");
    match varint::read(&input) {
        Read::Value(value, used) => {
            let mut out = Vec::new();
            varint::write(value, &mut out);
            assert_eq!(out, input[..used], "CNV-5");
            Ok(json!({ "value": number(value), "used": used }))
        }
        Read::Incomplete => Err(Stop::Incomplete),
        Read::NotMinimal => Err(Kind::NotMinimal.into()),
    }
}

pub(super) fn frame(case: &Case) -> Outcome {
    let (input, stream) = (case.bytes("input"), case.text("stream"));
    let layer = case.optional("layer").map(to_number);
    let signed = case.optional("signed").is_some_and(|signed| signed == true);

    let mut reader = FrameReader::new(0);
    reader.push(&input);
    let first = reader.next_frame();
    assert_eq!(first, byte_by_byte(&input), "the same bytes, one after the other");
    let first = first?;
    if first.is_none() && reader.skipped() == 0 {
        return Err(Stop::Incomplete);
    }
    let (frame_type, start, used) = header(&input);
    let found = |name: &str, decoded: Value| {
        json!({
            "frame": name, "number": number(frame_type.0), "used": used,
            "payload": hex(&input[start..used]), "decoded": decoded,
        })
    };
    if reader.skipped() > 0 {
        return Ok(found("unknown", json!({})));
    }
    let frame = first.unwrap();
    assert_eq!((frame.frame_type(), reader.offset()), (frame_type, used as u64));
    place(&frame, stream, layer, signed)?;

    let decoded = decoded(&frame);
    let skipped = matches!(&frame, Frame::Seal(seal) | Frame::Interim(seal) if seal.skipped);
    if !skipped {
        assert_eq!(encoded(&frame), input[..used], "CNV-5");
        if let Some(made) = made(&frame, &decoded) {
            assert_eq!(encoded(&made), input[..used], "made from its parts");
        }
    }
    Ok(found(frame_type.name().unwrap(), decoded))
}

pub(super) fn fields(case: &Case) -> Outcome {
    let (input, class) = (Bytes::from(case.bytes("input")), case.text("class"));
    let class = match class {
        "public" => FieldClass::Public,
        "private" => FieldClass::Private,
        other => panic!("no class {other}"),
    };
    let (mut cursor, mut own) = (Cursor::new(&input, 0), OwnFields::default());
    let (mut fields, mut read, mut built) = (Vec::new(), Vec::new(), Vec::new());
    while cursor.remaining() > 0 {
        Field::decode(&mut cursor, &mut own, class, |field| fields.push(field))?;
    }
    for field in &fields {
        field.encode(&mut read);
        Field::new(field.name.as_str(), field.value.clone())?.encode(&mut built);
    }
    assert_eq!(read, input, "CNV-5");
    assert_eq!(built, input, "made from names and values");
    Ok(json!({ "fields": fields.iter().map(field_json).collect::<Vec<_>>() }))
}

pub(super) fn seal(case: &Case) -> Outcome {
    let (frame, stream) = (case.text("frame"), case.text("stream"));
    let (layers, last) = (case.number("layers"), case.digest("last"));
    let (unread, payload) = (case.flag("bodyUnread"), case.bytes("input"));
    let frame = FrameType::from_name(frame).unwrap();
    let mut bytes = BytesMut::new();
    frame::write(frame, &mut bytes, |out| out.extend_from_slice(&payload));

    let stored = source(stream, layers) == Source::Stored;
    let flags = if stored && unread { LayerFlags::BODY_UNREAD } else { LayerFlags(0) };
    let mut assembler = assembler_at(source(stream, layers), layers, flags);
    let parts = Parts::read(&mut assembler, &bytes)?;
    let [Part::Seal(seal) | Part::Interim(seal)] = parts.parts.as_slice() else {
        panic!("one seal expected")
    };
    let computed = match frame {
        FrameType::SEAL => seal::final_hash(&seal.key, layers, last),
        _ => seal::interim_hash(&seal.key, layers, last),
    };
    if computed != seal.hash {
        return Err(Stop::invalid("HSH-5"));
    }
    // [FRM-17] On a request stream it is the client, which knows what it sent, that compares.
    if frame == FrameType::SEAL && !stored && seal.body_unread != unread {
        return Err(Kind::BodyUnread.into());
    }
    Ok(seal_json(seal))
}

/// What frames in a row came to.
pub(super) struct Parts {
    pub(super) parts: Vec<Part>,
    /// Whether bytes are left that are no whole frame.
    pub(super) is_cut: bool,
}

impl Parts {
    /// Reads all frames; each must encode to its bytes again.
    pub(super) fn read(assembler: &mut Assembler, input: &[u8]) -> Result<Self, Stop> {
        let mut reader = FrameReader::new(0);
        reader.push(input);
        let mut parts = Vec::new();
        loop {
            let (start, skipped) = (reader.offset() as usize, reader.skipped());
            let Some(frame) = reader.next_frame()? else { break };
            let bytes = &input[start..reader.offset() as usize];
            let seals = matches!(&frame, Frame::Seal(seal) | Frame::Interim(seal) if seal.skipped);
            if skipped == reader.skipped() && !seals {
                assert_eq!(encoded(&frame), bytes, "CNV-5");
            }
            parts.extend(assembler.take(frame)?);
        }
        Ok(Self { parts, is_cut: reader.is_within_frame() })
    }
}

/// Where the frames of a stream come from; the answer of a request stream begins with layer 1.
pub(super) fn source(stream: &str, layer: u32) -> Source {
    match (stream, layer) {
        ("request", 0) => Source::Request,
        ("request", _) => Source::Answer,
        ("stored", _) => Source::Stored,
        (other, _) => panic!("no stream {other}"),
    }
}

/// An assembler that has read `layers` layers, the origin with `flags` where it has to read one.
pub(super) fn assembler_at(source: Source, layers: u32, flags: LayerFlags) -> Assembler {
    let mut assembler = Assembler::new(source, cmtp_spec::limits::STORED_MAX);
    while assembler.number() < layers {
        let layer = if assembler.number() == 0 {
            origin().with_flag(flags)
        } else {
            Layer::new(Step::SEGMENT, PublicKey([7; 32]), 1, Salt([0; 16]))
        };
        assembler.take(Frame::Layer(Box::new(layer))).unwrap().unwrap();
    }
    assembler
}

/// An assembler in which layer 1 has a body and is open.
pub(super) fn assembler_in_body(stream: &str, signed: bool) -> Assembler {
    let mut assembler = assembler_at(source(stream, 1), 1, LayerFlags(0));
    let signed = if signed { LayerFlags::SIGNED } else { LayerFlags(0) };
    let layer = Layer::new(Step::SERVE, PublicKey([7; 32]), 1, Salt([0; 16]));
    let layer = layer.with_flag(LayerFlags::BODY).with_flag(signed);
    assert_eq!(assembler.take(Frame::Layer(Box::new(layer))), Ok(None));
    assembler
}

/// An origin with the fields that each must have.
pub(super) fn origin() -> Layer {
    let mut id = [0; 16];
    (id[6], id[8]) = (0x70, 0x80);
    Layer::new(Step::ORIGIN, PublicKey([7; 32]), 1, Salt([0; 16]))
        .with_public(Field::bytes(FieldIndex::MESSAGE_ID, id.to_vec()))
        .with_public(Field::key(FieldIndex::AUDIENCE, PublicKey([8; 32])))
        .with_public(Field::bytes(FieldIndex::TARGET, "0xS:echo"))
        .with_public(Field::number(FieldIndex::NOT_AFTER, 2))
}

pub(super) fn encoded(frame: &Frame) -> BytesMut {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    out
}

pub(super) fn field_json(field: &Field) -> Value {
    json!({ "name": field.name.as_str(), "value": hex(&field.value) })
}

pub(super) fn to_field(value: &Value) -> Field {
    let name = Name::new(value["name"].as_str().unwrap()).unwrap();
    Field { name, value: to_bytes(&value["value"]).into() }
}

/// Feeds a fresh reader byte by byte until it says something.
fn byte_by_byte(input: &[u8]) -> Result<Option<Frame>, crate::error::DecodeError> {
    let mut reader = FrameReader::new(0);
    for &byte in input {
        reader.push(&[byte]);
        match reader.next_frame() {
            Ok(None) => {}
            said => return said,
        }
    }
    Ok(None)
}

/// The type of the first frame, and where its payload begins and ends.
fn header(input: &[u8]) -> (FrameType, usize, usize) {
    let Read::Value(frame_type, first) = varint::read(input) else { panic!("no type") };
    let Read::Value(length, second) = varint::read(&input[first..]) else { panic!("no length") };
    let start = first + second;
    (FrameType(frame_type), start, start + usize::try_from(length).unwrap())
}

/// Gives the frame to an assembler that is where the case says.
fn place(frame: &Frame, stream: &str, layer: Option<u32>, signed: bool) -> Result<(), Stop> {
    let mut assembler = match (stream, frame) {
        // Control streams are the transport's to read: it takes these four and nothing else (FRM-5).
        (
            "control",
            Frame::Settings(_) | Frame::Goaway(_) | Frame::Keys(_) | Frame::Checkpoint(_),
        ) => return Ok(()),
        ("control", _) => return Err(Kind::Unexpected.into()),
        (_, Frame::Body(_) | Frame::End(_)) => assembler_in_body(stream, signed),
        (_, Frame::Auth(_)) => assembler_at(source(stream, 0), 0, LayerFlags(0)),
        _ => {
            let layers = layer.unwrap_or(2);
            assembler_at(source(stream, layers), layers, LayerFlags(0))
        }
    };
    assembler.take(frame.clone())?;
    Ok(())
}

fn decoded(frame: &Frame) -> Value {
    match frame {
        Frame::Layer(layer) => json!({
            "step": layer.step.0, "flags": layer.flags.0, "status": layer.status.0,
            "time": number(layer.time), "signature": signature_json(layer.signature.as_ref()),
        }),
        Frame::Body(data) => json!({ "bytes": hex(data) }),
        Frame::End(End { body, signature }) => {
            let signature = signature_json(signature.as_ref());
            match body {
                Body::Present { salt, .. } => {
                    json!({ "form": 0, "salt": hex(salt.0), "signature": signature })
                }
                Body::Withheld(hash) => {
                    json!({ "form": 1, "hash": hex(hash.0), "signature": signature })
                }
                Body::Absent => panic!("END of a layer without a body"),
            }
        }
        Frame::Core(redacted) => json!({
            "core": hex(redacted.core.to_bytes()),
            "signature": signature_json(redacted.signature.as_ref()),
        }),
        Frame::Seal(seal) | Frame::Interim(seal) => seal_json(seal),
        Frame::Auth(Auth::Known(digest)) => json!({ "form": 0, "digest": hex(digest.0) }),
        Frame::Auth(Auth::Shown { proof, token }) => {
            json!({ "form": 1, "signature": hex(proof.0), "token": hex(token) })
        }
        Frame::Settings(pairs) => {
            let pair = |(id, value): &(SettingId, u64)| json!([number(id.0), number(*value)]);
            json!({ "pairs": pairs.iter().map(pair).collect::<Vec<_>>() })
        }
        Frame::Goaway(stream) => json!({ "stream": number(*stream) }),
        Frame::Keys(keys) => proofs::list_json(keys),
        Frame::Checkpoint(growth) => log::growth_json(growth),
    }
}

/// The frame made anew from what the case expects of it; `None` where that is not all of it.
fn made(frame: &Frame, decoded: &Value) -> Option<Frame> {
    Some(match frame {
        // `layer.json` and `core` of `layers.rs` make the first two; signatures are not among what is expected of the third.
        Frame::Layer(_) | Frame::Core(_) | Frame::Checkpoint(_) => return None,
        Frame::Body(_) => Frame::Body(to_bytes(&decoded["bytes"]).into()),
        Frame::End(_) => Frame::End(End {
            body: match decoded.get("salt") {
                Some(salt) => Body::Present { salt: to_salt(salt), data: Bytes::new() },
                None => Body::Withheld(Digest(to_array(&decoded["hash"]))),
            },
            signature: to_signature(&decoded["signature"]),
        }),
        Frame::Seal(_) => Frame::Seal(Box::new(to_seal(decoded))),
        Frame::Interim(_) => Frame::Interim(Box::new(to_seal(decoded))),
        Frame::Auth(_) => Frame::Auth(match decoded.get("digest") {
            Some(digest) => Auth::Known(Digest(to_array(digest))),
            None => Auth::Shown {
                proof: Signature(to_array(&decoded["signature"])),
                token: to_bytes(&decoded["token"]).into(),
            },
        }),
        Frame::Settings(_) => {
            let pairs = decoded["pairs"].as_array().unwrap();
            let pair = |pair: &Value| (SettingId(to_number(&pair[0])), to_number(&pair[1]));
            Frame::Settings(pairs.iter().map(pair).collect())
        }
        Frame::Goaway(_) => Frame::Goaway(to_number(&decoded["stream"])),
        Frame::Keys(_) => Frame::Keys(proofs::to_list(decoded)),
    })
}

fn seal_json(seal: &Seal) -> Value {
    let item =
        |item: SealItemType, payload: &[u8]| json!({ "type": item.0, "payload": hex(payload) });
    let flag = |set: bool, of: SealItemType| set.then(|| item(of, &[]));
    let heads = seal.heads.as_ref().map(|heads| heads.iter().flat_map(|head| head.0).collect());
    let items = [
        seal.receipt.as_ref().map(|receipt| item(SealItemType::R0, &receipt.to_bytes())),
        heads.map(|heads: Vec<u8>| item(SealItemType::HEADS, &heads)),
        flag(seal.unlogged, SealItemType::UNLOGGED),
        seal.proof.as_ref().map(|proof| item(SealItemType::PROOF, proof)),
        flag(seal.recorded, SealItemType::RECORDED),
        seal.keys.as_ref().map(|keys| item(SealItemType::KEYS, &keys.to_bytes())),
        flag(seal.body_unread, SealItemType::BODY_UNREAD),
    ];
    let items: Vec<_> = items.into_iter().flatten().collect();
    json!({ "key": hex(seal.key.0), "seal": hex(seal.hash.0), "items": items })
}

fn to_seal(value: &Value) -> Seal {
    let hash = Digest(to_array(&value["seal"]));
    let mut seal = Seal::new(PublicKey(to_array(&value["key"])), hash);
    for item in value["items"].as_array().unwrap() {
        let payload = to_bytes(&item["payload"]);
        match SealItemType(to_number(&item["type"])) {
            SealItemType::R0 => seal.receipt = Some(Receipt::from_bytes(payload).unwrap()),
            SealItemType::UNLOGGED => seal.unlogged = true,
            SealItemType::RECORDED => seal.recorded = true,
            SealItemType::BODY_UNREAD => seal.body_unread = true,
            SealItemType::KEYS => seal.keys = Some(KeyList::from_bytes(payload).unwrap()),
            SealItemType::HEADS => {
                let (heads, rest) = payload.as_chunks();
                assert!(rest.is_empty());
                seal.heads = Some(heads.iter().copied().map(Digest).collect());
            }
            SealItemType::PROOF => seal.proof = Some(payload.into()),
            other => panic!("no item {other}"),
        }
    }
    seal
}
