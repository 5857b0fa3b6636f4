//! Origins that break a rule of layers and fields.

use cmtp_spec::{CloseCode, FieldIndex, Status};
use cmtp_tests::wire::{badly_signed, signed};

use crate::raw::{self, Raw, end, field, frame, literal, long, numbered};
use crate::scene::{Cases, End, Scene, layer};

pub async fn run(cases: &mut Cases) {
    let scene = Scene::new("");
    let good = || Raw::new(&scene);
    let malformed = CloseCode::MALFORMED;
    let spoilt = |spoil: fn(&mut Raw)| {
        let mut raw = good();
        spoil(&mut raw);
        raw.frame()
    };
    let without = |place: usize| {
        let mut raw = good();
        raw.public.remove(place);
        raw.frame()
    };
    let twice = |place: usize| {
        let mut raw = good();
        raw.public.push(raw.public[place].clone());
        raw.frame()
    };
    let args = |json: &[u8]| good().with_private(&field(FieldIndex::ARGS, json)).frame();
    let target = |text: &[u8]| good().with_field(2, field(FieldIndex::TARGET, text)).frame();
    let table = [
        // [CNV-1]
        ("a step that is not minimal", spoilt(|raw| raw.step = long(0)), malformed),
        ("flags that are not minimal", spoilt(|raw| raw.flags = vec![0x40, 0]), malformed),
        ("a status that is not minimal", spoilt(|raw| raw.status = vec![0x40, 0]), malformed),
        ("a time that is not minimal", spoilt(|raw| raw.time = long(5)), malformed),
        (
            "a public count that is not minimal",
            spoilt(|raw| raw.public_count = Some(vec![0x40, 4])),
            malformed,
        ),
        (
            "a private count that is not minimal",
            spoilt(|raw| raw.private_count = Some(vec![0x40, 0])),
            malformed,
        ),
        (
            "a field number that is not minimal",
            good().with([&[0x40, 0x01][..], &[0]].concat()).frame(),
            malformed,
        ),
        (
            "a value length that is not minimal",
            good().with(vec![0x01, 0x40, 0x00]).frame(),
            malformed,
        ),
        (
            "a name length that is not minimal",
            good().with(vec![0x00, 0x40, 0x01, b'x', 0x00]).frame(),
            malformed,
        ),
        // [LAY-1] [LAY-2] [LAY-3]
        ("an unknown flag", spoilt(|raw| raw.flags = vec![0x20]), malformed),
        ("the flag body-unread", spoilt(|raw| raw.flags = vec![0x04]), malformed),
        ("the flag complete", spoilt(|raw| raw.flags = vec![0x08]), malformed),
        ("the flag cut", spoilt(|raw| raw.flags = vec![0x10]), malformed),
        // [LAY-4] [LAY-5] [LAY-10]
        ("layer 0 of another step", spoilt(|raw| raw.step = vec![0x01]), malformed),
        ("an origin with a status", spoilt(|raw| raw.status = vec![0x40, 0xc8]), malformed),
        ("a status above 999", spoilt(|raw| raw.status = vec![0x43, 0xe8]), malformed),
        ("a step above 65535", spoilt(|raw| raw.step = vec![0x80, 1, 0, 0]), malformed),
        // [LAY-8]
        ("no message-id", without(0), malformed),
        ("no audience", without(1), malformed),
        ("no target", without(2), malformed),
        ("no not-after", without(3), malformed),
        ("no field at all", spoilt(|raw| raw.public.clear()), malformed),
        // [FLD-4]
        ("two message-ids", twice(0), malformed),
        ("two audiences", twice(1), malformed),
        ("two targets", twice(2), malformed),
        ("two not-afters", twice(3), malformed),
        (
            "two args",
            good()
                .with_private(&field(FieldIndex::ARGS, b"[]"))
                .with_private(&field(FieldIndex::ARGS, b"[]"))
                .frame(),
            malformed,
        ),
        // [FLD-1] [FLD-2]
        (
            "a literal name that has a number",
            good().with(literal(b"target", b"0xS:echo")).frame(),
            malformed,
        ),
        (
            "a header's literal name that has a number",
            good().with(literal(b"content-type", b"a/b")).frame(),
            malformed,
        ),
        (
            "a field number that the table does not have",
            good().with(numbered(27, b"")).frame(),
            malformed,
        ),
        (
            "a field number far above the table",
            good().with(numbered(0x3fff_ffff, b"")).frame(),
            malformed,
        ),
        ("a name that is empty", good().with(literal(b"", b"x")).frame(), malformed),
        ("a name in upper case", good().with(literal(b"X-Name", b"x")).frame(), malformed),
        ("a name with a line feed", good().with(literal(b"x\nname", b"x")).frame(), malformed),
        ("a name with NUL", good().with(literal(b"x\0", b"x")).frame(), malformed),
        ("a name that is no ASCII", good().with(literal("ü".as_bytes(), b"x")).frame(), malformed),
        // [FLD-5]
        (
            "a target among the private fields",
            good().with_private(&field(FieldIndex::TARGET, b"0xS:echo")).frame(),
            malformed,
        ),
        (
            "args among the public fields",
            good().with(field(FieldIndex::ARGS, b"[]")).frame(),
            malformed,
        ),
        // [FLD-6]
        (
            "an id of 15 bytes",
            good().with_field(0, field(FieldIndex::MESSAGE_ID, &[0x77; 15])).frame(),
            malformed,
        ),
        (
            "an id that is a UUIDv4",
            good().with_field(0, field(FieldIndex::MESSAGE_ID, &[0x44; 16])).frame(),
            malformed,
        ),
        (
            "an audience of 31 bytes",
            good().with_field(1, field(FieldIndex::AUDIENCE, &[7; 31])).frame(),
            malformed,
        ),
        (
            "not-after of 7 bytes",
            good().with_field(3, field(FieldIndex::NOT_AFTER, &[0; 7])).frame(),
            malformed,
        ),
        // [CNV-2]
        (
            "not-after of 2^62",
            good()
                .with_field(3, field(FieldIndex::NOT_AFTER, &(1_u64 << 62).to_be_bytes()))
                .frame(),
            malformed,
        ),
        ("a target that is no UTF-8", target(b"0xS:\xff\xfe"), malformed),
        ("a target with half a surrogate", target(b"0xS:\xed\xa0\x80"), malformed),
        ("args that are no JSON", args(b"[1,"), malformed),
        ("args that are no array", args(b"{}"), malformed),
        ("args that are no UTF-8", args(b"[\"\xff\"]"), malformed),
        ("args with something behind", args(b"[] []"), malformed),
        ("args 33 deep", args(&[b"[".repeat(33), b"]".repeat(33)].concat()), malformed),
        // [FRM-6]
        ("a withheld field", withheld(good(), 1), malformed),
        ("a private field of a third form", withheld(good(), 2), malformed),
        // [LAY-9] and what stands where a signature must, or must not.
        ("signed without a signature", spoilt(|raw| raw.flags = vec![0x01]), malformed),
        ("a signature without the flag", spoilt(|raw| raw.tail = vec![7; 64]), malformed),
        (
            "half a signature",
            spoilt(|raw| (raw.flags, raw.tail) = (vec![0x01], vec![7; 32])),
            malformed,
        ),
        (
            "a signature of zeros",
            spoilt(|raw| (raw.flags, raw.tail) = (vec![0x01], vec![0; 64])),
            CloseCode::BAD_CHAIN,
        ),
        ("signed, and END without a signature", with_body(good(), 0x03, &end()), malformed),
        (
            "END with a signature without the flag",
            with_body(good(), 0x02, &frame(raw::END, &[0; 81])),
            malformed,
        ),
    ];
    for (name, bytes, code) in table {
        cases.case(&scene, name, End::Reset(code), scene.behind_auth(&bytes)).await;
    }
    signatures(cases, &scene).await;
    // [LAY-6] What is odd and allowed: an unknown literal name, an empty value, a name of 128 bytes.
    let odd = good().with(literal(b"x-odd", b"")).with(literal(&[b'n'; 128], &[0xff; 16_384]));
    let run = async {
        let wire = scene.wire().await;
        let (mut send, mut recv) = wire.open().await;
        let bytes = [crate::scene::encoded(&scene.auth(&wire)), odd.frame()].concat();
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        crate::scene::said(recv.read_to_end(100_000).await.is_ok())
    };
    cases.case(&scene, "fields as long as they may be", End::AsSaid, run).await;
}

/// [LAY-9] A layer that is signed and whose signature is not its own.
async fn signatures(cases: &mut Cases, scene: &Scene) {
    let wire = scene.wire().await;
    let origin = wire.origin(&scene.key, "0xS:echo");
    let good = signed(origin.clone(), &scene.key);
    let mut altered = good.clone();
    altered.time += 1;
    let mut of_another = signed(wire.origin(&scene.key, "0xS:echo"), &scene.key);
    of_another.signature = good.signature;
    let mut bits = good.clone();
    if let Some(signature) = &mut bits.signature {
        // S + L is no canonical S: the same equation, and refused.
        signature.0[63] |= 0xe0;
    }
    let bad_chain = End::Reset(CloseCode::BAD_CHAIN);
    let table = [
        ("a good signature", good, End::Status(Status::OK)),
        ("a made-up signature", badly_signed(origin), bad_chain),
        ("a signed layer that was altered", altered, bad_chain),
        ("the signature of another layer", of_another, bad_chain),
        ("a signature whose S is too large", bits, bad_chain),
    ];
    for (name, origin, wanted) in table {
        cases.case(scene, name, wanted, scene.answered(&layer(&origin), &origin)).await;
    }
}

/// A private field whose form byte is `form`, and its leaf hash.
fn withheld(mut raw: Raw, form: u8) -> Vec<u8> {
    raw.private.push([&[form][..], &[7; 32]].concat());
    raw.frame()
}

fn with_body(mut raw: Raw, flags: u8, rest: &[u8]) -> Vec<u8> {
    raw.flags = vec![flags];
    [&raw.frame()[..], &frame(raw::BODY, b"x"), rest].concat()
}
