//! Well-formed origins that the node refuses, each with the status of the check that fails first.

use bytes::Bytes;
use cmtp_codec::{Field, Layer, SigningKey};
use cmtp_spec::{EntryType, FieldIndex, Status, limits};
use cmtp_tests::wire::{Ending, now, salt};

use crate::scene::{Cases, End, Scene};

pub async fn run(cases: &mut Cases) {
    let scene = Scene::new(CONFIG);
    let wire = scene.wire().await;
    let other = SigningKey::from_seed(&[9; 32]).unwrap();
    let origin = |target: &str| wire.origin(&scene.key, target);
    let with = |index: FieldIndex, value: Bytes| {
        let mut origin = origin("0xS:echo");
        let place = origin.public.iter_mut().find(|field| field.name.index() == Some(index));
        place.expect("the field").value = value;
        origin
    };
    let id_at = |time: u64| {
        let mut id = [7; 16];
        id[..6].copy_from_slice(&(time / 1000).to_be_bytes()[2..]);
        (id[6], id[8]) = (0x70, 0x80);
        with(FieldIndex::MESSAGE_ID, id.to_vec().into())
    };
    let until = |time: u64| with(FieldIndex::NOT_AFTER, time.to_be_bytes().to_vec().into());
    let audience = |key: [u8; 32]| with(FieldIndex::AUDIENCE, key.to_vec().into());
    let (time, hour) = (now(), limits::ID_WINDOW * 1_000_000);
    let minute = 60_000_000;
    let long = format!("0xS:{}", "a".repeat(limits::TARGET_MAX as usize));
    let segments = format!("0xS{}", ":a".repeat(limits::TARGET_SEGMENTS_MAX as usize));
    let bad_request = Status::BAD_REQUEST;
    let table = [
        // [ADM-9] The order of the checks: an origin that fails several is refused for the first.
        ("wrong audience", audience(other.public().0), Status::WRONG_AUDIENCE),
        ("an audience of zeros", audience([0; 32]), Status::WRONG_AUDIENCE),
        (
            "wrong audience, and a target that is none",
            Layer {
                public: retarget(audience(other.public().0), "nonsense"),
                ..origin("0xS:echo")
            },
            Status::WRONG_AUDIENCE,
        ),
        // [IDM-3] A node MUST refuse an id whose time is further than `id-window` from its clock.
        ("an id too old", id_at(time - hour - minute), Status::ID_OUTSIDE_WINDOW),
        ("an id of 1970", id_at(0), Status::ID_OUTSIDE_WINDOW),
        ("an id in the future", id_at(time + hour + minute), Status::ID_OUTSIDE_WINDOW),
        ("an id of the year 10889", id_at(((1 << 48) - 1) * 1000), Status::ID_OUTSIDE_WINDOW),
        ("an id within the window", id_at(time - hour + minute), Status::OK),
        ("not-after has passed", until(time - 1), Status::TOO_LATE),
        ("not-after of 0", until(0), Status::TOO_LATE),
        ("not-after too far ahead", until(time + hour + minute), bad_request),
        ("not-after of 2^62 − 1", until((1 << 62) - 1), bad_request),
        // [PRC-3]
        ("an unknown opcode", origin("0xZ:echo"), bad_request),
        // [FQN-9]
        ("sugar", origin("0Sx:echo"), bad_request),
        ("a bare name", origin("hello"), bad_request),
        ("an empty target", origin(""), bad_request),
        ("an opcode alone", origin("0xS"), bad_request),
        ("an empty segment", origin("0xS::echo"), bad_request),
        ("a reserved byte in the clear", origin("0xS:e cho"), bad_request),
        ("a byte encoded that need not be", origin("0xS:%65cho"), bad_request),
        ("lower-case hex in an escape", origin("0xS:%2f"), bad_request),
        ("four opcodes", origin("0xP:a:0xP:b:0xP:c:0xS:echo"), bad_request),
        // [FQN-8]
        ("arguments in the target", origin("0xS:echo:[1]"), bad_request),
        ("a target too long", origin(&long), Status::TARGET_TOO_LONG),
        ("too many segments", origin(&segments), bad_request),
        ("a write that is not signed", origin("0xSW:0x001:x"), bad_request),
        ("a forward that is not signed", origin("0xP:node:0xS:echo"), bad_request),
        // [ADM-7]
        ("a target that the token does not cover", origin("0xE:orders"), Status::FORBIDDEN),
        ("a name that leads out of the token's scope", origin("0xR:secret"), Status::FORBIDDEN),
        ("a name that leads back to itself", origin("0xR:loop"), Status::LOOP_DETECTED),
        ("a name that nobody knows", origin("0xR:nobody"), Status::NOT_FOUND),
        // [STA-1]
        ("a route that there is not", origin("0xS:0x001:nowhere"), Status::NOT_FOUND),
    ];
    for (name, origin, status) in table {
        let run = async { refused(&scene, &origin, status).await };
        cases.case(&scene, name, End::Status(status), run).await;
    }
    // [STA-2] [ADM-11] Without a token nothing else is looked at.
    for (name, origin) in [
        ("no token", origin("0xS:echo")),
        ("no token, and a target that is none", origin("nonsense")),
        ("no token, and a body", origin("0xS:echo").with_body(salt(), vec![0; 100_000])),
    ] {
        let run = async {
            let answer = scene.wire().await.exchange(&[], &origin).await.answer();
            assert!(answer.replay.message.seal.unlogged && answer.remedy() == "create-identity");
            End::Status(answer.status())
        };
        cases.case(&scene, name, End::Status(Status::IDENTITY_REQUIRED), run).await;
    }
}

/// The status of an answer that is, where it refuses, all that [STA-1] and [ADM-11] ask of a refusal.
async fn refused(scene: &Scene, origin: &Layer, status: Status) -> End {
    match scene.ask(origin).await {
        Ending::Answer(answer) if status == Status::OK => End::Status(answer.status()),
        Ending::Answer(answer) => {
            assert!(!answer.remedy().is_empty());
            let receipt = answer.replay.message.seal.receipt.as_ref();
            assert_eq!(receipt.map(|receipt| receipt.entry_type), Some(EntryType::REFUSAL));
            End::Status(answer.status())
        }
        other => other.into(),
    }
}

fn retarget(mut origin: Layer, target: &str) -> Vec<Field> {
    origin.public.retain(|field| field.name.index() != Some(FieldIndex::TARGET));
    origin.public.push(Field::bytes(FieldIndex::TARGET, target.to_owned()));
    origin.public
}

const CONFIG: &str = r#"
    [names]
    "loop" = "0xR:pool"
    "pool" = "0xR:loop"
    "secret" = "0xE:secret"
"#;
