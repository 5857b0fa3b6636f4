//! Frames that are cut, too long, in the wrong place or of no known type.

use cmtp_codec::{Digest, Frame, Receipt, Seal};
use cmtp_spec::{CloseCode, EntryType, Status};
use cmtp_tests::wire::salt;

use crate::raw::{self, Raw, end, frame, long};
use crate::scene::{Cases, End, Scene, encoded, layer};

pub async fn run(cases: &mut Cases) {
    let scene = Scene::new("");
    let wire = scene.wire().await;
    let origin = wire.origin(&scene.key, "0xS:echo");
    let good = layer(&origin);
    let with_body = layer(&origin.clone().with_body(salt(), "x"));
    let mut open = Raw::new(&scene);
    open.flags = vec![0x02];
    let head = open.frame();
    let after = |bytes: &[u8]| [&good[..], bytes].concat();
    let in_body = |bytes: &[u8]| [&head[..], bytes].concat();
    let before = |bytes: &[u8]| [bytes, &good[..]].concat();
    let auth = encoded(&scene.auth(&wire));
    let known = encoded(&Frame::Auth(cmtp_codec::Auth::Known(Digest::of(b"a token"))));
    let keys = encoded(&Frame::Keys(wire.keys.clone()));
    let answer = wire.exchange(&[scene.auth(&wire)], &origin).await.answer();
    let sealed = answer.replay.message.seal.clone();
    let seal = Seal { unlogged: true, ..Seal::new(wire.root(), Digest::ZERO) };
    let receipt: Receipt = sealed.receipt.clone().unwrap();
    let receipt = Receipt { entry_type: EntryType::SEGMENT, ..receipt };
    let interim = Seal { receipt: Some(receipt), ..Seal::new(wire.root(), Digest::ZERO) };
    let seal_item = |item: &[u8]| frame(raw::SEAL, &[&[7; 64], item].concat());
    let core = |version: u16| frame(raw::CORE, &[&version.to_be_bytes()[..], &[0; 150]].concat());
    let reset = End::Reset;
    let table = [
        // [QUI-18] A stream that ends before a frame is complete, before an origin, or within a layer.
        ("nothing but AUTH", vec![], reset(CloseCode::MALFORMED)),
        ("cut behind a frame's type", vec![0x02], reset(CloseCode::MALFORMED)),
        ("cut within a frame's length", vec![0x02, 0x40], reset(CloseCode::MALFORMED)),
        ("cut within LAYER", good[..good.len() - 1].to_vec(), reset(CloseCode::MALFORMED)),
        ("cut before BODY", head.clone(), reset(CloseCode::MALFORMED)),
        ("cut before END", with_body[..with_body.len() - 19].to_vec(), reset(CloseCode::MALFORMED)),
        // [FRM-1] Bytes left over, or missing, are malformed.
        (
            "LAYER with a byte too many",
            Raw { tail: vec![0], ..Raw::new(&scene) }.frame(),
            reset(CloseCode::MALFORMED),
        ),
        ("LAYER with a byte too few", short(&Raw::new(&scene)), reset(CloseCode::MALFORMED)),
        (
            "END with a byte too many",
            in_body(&frame(raw::END, &[0; 18])),
            reset(CloseCode::MALFORMED),
        ),
        (
            "END with a byte too few",
            in_body(&frame(raw::END, &[0; 16])),
            reset(CloseCode::MALFORMED),
        ),
        ("END that is empty", in_body(&frame(raw::END, &[])), reset(CloseCode::MALFORMED)),
        ("LAYER that is empty", frame(raw::LAYER, &[]), reset(CloseCode::MALFORMED)),
        // [CNV-1]
        ("a frame type that is not minimal", vec![0x40, 0x02, 0x00], reset(CloseCode::MALFORMED)),
        ("a frame type in eight bytes", [long(2), vec![0]].concat(), reset(CloseCode::MALFORMED)),
        (
            "a frame length that is not minimal",
            [&[0x02, 0x40, 0x05][..], &[0; 5]].concat(),
            reset(CloseCode::MALFORMED),
        ),
        (
            "a frame length in eight bytes",
            [vec![0x02], long(5)].concat(),
            reset(CloseCode::MALFORMED),
        ),
        // [FRM-7] [FRM-8] [QUI-15] [QUI-16] [QUI-19] Each in its place.
        ("BODY before LAYER", before(&frame(raw::BODY, b"x")), reset(CloseCode::UNEXPECTED)),
        ("END before LAYER", before(&end()), reset(CloseCode::UNEXPECTED)),
        ("END twice", in_body(&[end(), end()].concat()), reset(CloseCode::UNEXPECTED)),
        (
            "BODY behind END",
            in_body(&[end(), frame(raw::BODY, b"x")].concat()),
            reset(CloseCode::UNEXPECTED),
        ),
        (
            "BODY behind an origin without one",
            after(&frame(raw::BODY, b"x")),
            reset(CloseCode::UNEXPECTED),
        ),
        ("END behind an origin without a body", after(&end()), reset(CloseCode::UNEXPECTED)),
        (
            "an empty BODY",
            in_body(&[frame(raw::BODY, b""), end()].concat()),
            reset(CloseCode::MALFORMED),
        ),
        ("LAYER while a body is open", in_body(&good), reset(CloseCode::UNEXPECTED)),
        (
            "LAYER behind the origin's end",
            after(&Raw { step: vec![2], ..Raw::new(&scene) }.frame()),
            reset(CloseCode::UNEXPECTED),
        ),
        ("the origin twice", after(&good), reset(CloseCode::UNEXPECTED)),
        // [QUI-9]
        ("AUTH twice", before(&auth), reset(CloseCode::UNEXPECTED)),
        ("AUTH and then its digest", before(&known), reset(CloseCode::UNEXPECTED)),
        ("AUTH behind the origin", after(&known), reset(CloseCode::UNEXPECTED)),
        ("AUTH while a body is open", in_body(&known), reset(CloseCode::UNEXPECTED)),
        // [FRM-3] [FRM-4]
        ("an unknown even frame", after(&[0x20, 0x00]), reset(CloseCode::UNKNOWN_CRITICAL)),
        (
            "an unknown even frame before the origin",
            before(&[0x16, 0x00]),
            reset(CloseCode::UNKNOWN_CRITICAL),
        ),
        (
            "an unknown even frame in a body",
            in_body(&[0x7f, 0xfe, 0x00]),
            reset(CloseCode::UNKNOWN_CRITICAL),
        ),
        ("16 unknown odd frames", before(&[0x21, 0x00].repeat(16)), End::Status(Status::OK)),
        (
            "17 unknown odd frames",
            before(&[0x21, 0x00].repeat(17)),
            reset(CloseCode::LIMIT_EXCEEDED),
        ),
        (
            "17 unknown odd frames behind the origin",
            after(&[0x21, 0x00].repeat(17)),
            reset(CloseCode::LIMIT_EXCEEDED),
        ),
        // [FRM-5] What has no place on a request stream.
        (
            "SEAL from a client",
            after(&encoded(&Frame::Seal(Box::new(seal.clone())))),
            reset(CloseCode::UNEXPECTED),
        ),
        (
            "SEAL before the origin",
            before(&encoded(&Frame::Seal(Box::new(seal)))),
            reset(CloseCode::UNEXPECTED),
        ),
        (
            "the node's own SEAL sent back",
            after(&encoded(&Frame::Seal(Box::new(sealed)))),
            reset(CloseCode::UNEXPECTED),
        ),
        (
            "INTERIM from a client",
            after(&encoded(&Frame::Interim(Box::new(interim)))),
            reset(CloseCode::UNEXPECTED),
        ),
        // [FRM-13] [FRM-12] [FRM-14]
        (
            "SEAL with an unknown even item",
            after(&seal_item(&[0x0a, 0x00])),
            reset(CloseCode::UNKNOWN_CRITICAL),
        ),
        (
            "SEAL with items out of order",
            after(&seal_item(&[0x04, 0x00, 0x02, 0x00])),
            reset(CloseCode::MALFORMED),
        ),
        ("SEAL without items", after(&seal_item(&[])), reset(CloseCode::MALFORMED)),
        ("CORE from a client", core(0), reset(CloseCode::UNEXPECTED)),
        // [FRM-11] The version stands on the wire in CORE only.
        ("CORE of another version", core(1), reset(CloseCode::MALFORMED)),
        ("SETTINGS on a request stream", after(&[0x10, 0x00]), reset(CloseCode::UNEXPECTED)),
        ("GOAWAY on a request stream", before(&[0x12, 0x01, 0x08]), reset(CloseCode::UNEXPECTED)),
        ("KEYS on a request stream", before(&keys), reset(CloseCode::UNEXPECTED)),
        // [FRM-9]
        (
            "a withheld body",
            in_body(&frame(raw::END, &[&[1][..], &[7; 32]].concat())),
            reset(CloseCode::MALFORMED),
        ),
        (
            "END of a third form",
            in_body(&frame(raw::END, &[&[2][..], &[7; 16]].concat())),
            reset(CloseCode::MALFORMED),
        ),
    ];
    for (name, bytes, wanted) in table {
        // [QUI-8] An error on a request stream ends that stream, with the code that names it.
        cases.case(&scene, name, wanted, scene.answered(&bytes, &origin)).await;
    }
    auth_frames(cases, &scene).await;
}

/// AUTH itself, as the first frame.
async fn auth_frames(cases: &mut Cases, scene: &Scene) {
    let good = Raw::new(scene).frame();
    let auth = |payload: &[u8]| [frame(raw::AUTH, payload), good.clone()].concat();
    let table = [
        // [FRM-18]
        ("AUTH of a third form", auth(&[2; 33]), CloseCode::MALFORMED),
        (
            "AUTH with a form that is not minimal",
            auth(&[&[0x40][..], &[0; 33]].concat()),
            CloseCode::MALFORMED,
        ),
        ("AUTH without a token", auth(&[&[1][..], &[0; 64]].concat()), CloseCode::MALFORMED),
        ("AUTH without a whole proof", auth(&[&[1][..], &[0; 63]].concat()), CloseCode::MALFORMED),
        ("AUTH with a digest too long", auth(&[0; 34]), CloseCode::MALFORMED),
        ("AUTH with a digest too short", auth(&[0; 32]), CloseCode::MALFORMED),
        ("AUTH that is empty", auth(&[]), CloseCode::MALFORMED),
        (
            "AUTH with a token too long",
            auth(&[&[1][..], &[b'a'; 64 + 4097]].concat()),
            CloseCode::LIMIT_EXCEEDED,
        ),
    ];
    for (name, bytes, code) in table {
        let run = async {
            let wire = scene.wire().await;
            wire.exchange_bytes(&bytes, &wire.origin(&scene.key, "0xS:echo")).await.into()
        };
        cases.case(scene, name, End::Reset(code), run).await;
    }
}

/// A LAYER frame whose payload lacks its last byte.
fn short(raw: &Raw) -> Vec<u8> {
    let payload = raw.payload();
    frame(raw::LAYER, &payload[..payload.len() - 1])
}
