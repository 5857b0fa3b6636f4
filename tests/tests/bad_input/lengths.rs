//! Lengths and counts above their limits, up to 2^62 − 1: an error as soon as the length is read.

use cmtp_spec::{CloseCode, FieldIndex, Status, limits};

use crate::raw::{self, GREATEST, Raw, field, frame, literal, varint};
use crate::scene::{Cases, End, Scene, encoded};

/// Frames, and the most that each may hold.
const FRAMES: [(&str, u64, u64); 11] = [
    ("LAYER", raw::LAYER, limits::LAYER_FRAME_MAX),
    ("BODY", raw::BODY, limits::BODY_FRAME_MAX),
    ("END", raw::END, limits::END_FRAME_MAX),
    ("SEAL", raw::SEAL, limits::SEAL_FRAME_MAX),
    ("INTERIM", raw::INTERIM, limits::SEAL_FRAME_MAX),
    ("CORE", raw::CORE, limits::CORE_FRAME_MAX),
    ("AUTH", raw::AUTH, limits::AUTH_FRAME_MAX),
    ("SETTINGS", raw::SETTINGS, limits::SETTINGS_FRAME_MAX),
    ("GOAWAY", raw::GOAWAY, limits::GOAWAY_FRAME_MAX),
    ("KEYS", raw::KEYS, limits::KEYS_FRAME_MAX),
    ("an unknown frame", 0x21, limits::UNKNOWN_FRAME_MAX),
];

pub async fn run(cases: &mut Cases) {
    let scene = Scene::new("");
    for (name, frame_type, most) in FRAMES {
        // [CNV-4] [LIM-1] [LIM-2] Only the header is sent, and no end of the stream: nothing is waited for.
        for (words, length) in
            [("of 2^62 − 1", GREATEST.to_vec()), ("above its limit", varint(most + 1))]
        {
            let bytes = [varint(frame_type), length].concat();
            let name = format!("{name} {words} bytes");
            let wanted = End::Reset(CloseCode::LIMIT_EXCEEDED);
            cases.case(&scene, &name, wanted, promised(&scene, &bytes)).await;
        }
    }
    let good = || Raw::new(&scene);
    let greatest = || Some(GREATEST.to_vec());
    let counted = |public: bool, count: Vec<u8>| match public {
        true => Raw { public_count: Some(count), ..good() }.frame(),
        false => Raw { private_count: Some(count), ..good() }.frame(),
    };
    let fields = |count: usize| {
        (0..count)
            .fold(good(), |raw, n| raw.with(literal(format!("x-{n}").as_bytes(), b"")))
            .frame()
    };
    let limit = CloseCode::LIMIT_EXCEEDED;
    let long_value = vec![b'v'; limits::FIELD_VALUE_MAX as usize + 1];
    let table = [
        ("2^62 − 1 public fields", counted(true, GREATEST.to_vec()), limit),
        ("2^62 − 1 private fields", Raw { private_count: greatest(), ..good() }.frame(), limit),
        ("129 public fields", fields(limits::FIELDS_MAX as usize - 3), limit),
        ("129 fields promised", counted(true, varint(limits::FIELDS_MAX + 1)), limit),
        (
            "public and private fields of 129 together",
            counted(false, varint(limits::FIELDS_MAX - 3)),
            limit,
        ),
        (
            "a value of 2^62 − 1 bytes",
            good().with([&[0x01][..], &GREATEST].concat()).frame(),
            limit,
        ),
        (
            "a value above its limit",
            good().with(field(FieldIndex::USER_AGENT, &long_value)).frame(),
            limit,
        ),
        ("a name of 2^62 − 1 bytes", good().with([&[0x00][..], &GREATEST].concat()).frame(), limit),
        ("a name of 129 bytes", good().with(literal(&[b'n'; 129], b"")).frame(), limit),
        (
            "args above their limit",
            good().with_private(&field(FieldIndex::ARGS, &long_value)).frame(),
            limit,
        ),
        (
            "a step of 2^62 − 1",
            Raw { step: GREATEST.to_vec(), ..good() }.frame(),
            CloseCode::MALFORMED,
        ),
        (
            "flags of 2^62 − 1",
            Raw { flags: GREATEST.to_vec(), ..good() }.frame(),
            CloseCode::MALFORMED,
        ),
        (
            "a status of 2^62 − 1",
            Raw { status: GREATEST.to_vec(), ..good() }.frame(),
            CloseCode::MALFORMED,
        ),
        (
            "a field number of 2^62 − 1",
            good().with([&GREATEST[..], &[0]].concat()).frame(),
            CloseCode::MALFORMED,
        ),
        (
            "a frame type of 2^62 − 2",
            [&[0xff; 7][..], &[0xfe, 0x00]].concat(),
            CloseCode::UNKNOWN_CRITICAL,
        ),
    ];
    for (name, bytes, code) in table {
        cases.case(&scene, name, End::Reset(code), scene.behind_auth(&bytes)).await;
    }
    // A header bomb: as many and as large unknown frames as are allowed, and the most fields. It is a request.
    let bomb = [
        frame(0x21, &vec![0; limits::UNKNOWN_FRAME_MAX as usize]).repeat(15),
        (4..limits::FIELDS_MAX).fold(good(), |raw, _| raw.with(literal(b"x", &[0; 500]))).frame(),
    ];
    let run = async {
        let wire = scene.wire().await;
        let bytes = [encoded(&scene.auth(&wire)), bomb.concat()].concat();
        let (mut send, mut recv) = wire.open().await;
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        crate::scene::said(recv.read_to_end(100_000).await.is_ok_and(|answer| !answer.is_empty()))
    };
    cases.case(&scene, "a header bomb within the limits", End::AsSaid, run).await;
    let bomb = fields(10_000_usize.min(limits::LAYER_FRAME_MAX as usize / 12));
    cases.case(&scene, "a header bomb", End::Reset(limit), scene.behind_auth(&bomb)).await;
    // [LIM-2] A body above the node's limit is refused with 413, whatever is still to come.
    let small = Scene::new("body-max = 1000");
    for (name, length, status) in [
        ("a body at the limit", 1000, Status::OK),
        ("a body above the limit", 1001, Status::BODY_TOO_LARGE),
        ("a body far above the limit", 10_000_000, Status::BODY_TOO_LARGE),
    ] {
        let run = async { small.echo(&small.wire().await, vec![7; length]).await.into() };
        cases.case(&small, name, End::Status(status), run).await;
    }
}

/// How a stream ends on which these bytes stand behind AUTH, and which goes on.
async fn promised(scene: &Scene, bytes: &[u8]) -> End {
    let wire = scene.wire().await;
    let (mut send, recv) = wire.open().await;
    // An AUTH frame would be the second one.
    let is_auth = bytes.first() == Some(&(raw::AUTH as u8));
    let auth = if is_auth { Vec::new() } else { encoded(&scene.auth(&wire)) };
    send.write_all(&[&auth[..], bytes].concat()).await.unwrap();
    wire.read_answer(recv, &wire.origin(&scene.key, "0xS:echo")).await.into()
}
