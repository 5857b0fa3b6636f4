//! Unidirectional streams: control streams that are none, and types that nobody knows.

use cmtp_codec::Frame;
use cmtp_spec::{CloseCode, Status};
use cmtp_tests::wire::Wire;
use futures::FutureExt;

use crate::raw::{self, GREATEST, Raw, frame, long, varint};
use crate::scene::{Cases, End, Scene, encoded, said};

pub async fn run(cases: &mut Cases) {
    let scene = Scene::new("");
    let keys = encoded(&Frame::Keys(scene.wire().await.keys));
    let begun = |bytes: &[u8]| [&[0x00, 0x10, 0x00][..], bytes].concat();
    let typed = |bytes: &[u8]| [&[0x00][..], bytes].concat();
    let table = [
        // [CNV-1] [QUI-5]
        ("a stream type that is not minimal", vec![0x40, 0x00], CloseCode::MALFORMED),
        ("a stream type in eight bytes", long(0), CloseCode::MALFORMED),
        ("a stream type in four bytes", vec![0x80, 0, 0, 1], CloseCode::MALFORMED),
        (
            "a frame type that is not minimal, on control",
            typed(&[0x40, 0x10, 0x00]),
            CloseCode::MALFORMED,
        ),
        // [QUI-7] [QUI-8]
        ("control that begins with GOAWAY", typed(&[0x12, 0x01, 0x08]), CloseCode::SETTINGS),
        ("control that begins with KEYS", typed(&keys), CloseCode::SETTINGS),
        (
            "control that begins with an origin",
            typed(&Raw::new(&scene).frame()),
            CloseCode::SETTINGS,
        ),
        ("SETTINGS twice", begun(&[0x10, 0x00]), CloseCode::SETTINGS),
        // [QUI-6] [FRM-5]
        ("GOAWAY from a client", begun(&[0x12, 0x01, 0x08]), CloseCode::UNEXPECTED),
        ("KEYS from a client", begun(&keys), CloseCode::UNEXPECTED),
        ("an origin on control", begun(&Raw::new(&scene).frame()), CloseCode::UNEXPECTED),
        ("BODY on control", begun(&frame(raw::BODY, b"x")), CloseCode::UNEXPECTED),
        // [FRM-19]
        (
            "SETTINGS out of order",
            typed(&[0x10, 0x04, 0x02, 0x01, 0x01, 0x01]),
            CloseCode::SETTINGS,
        ),
        ("a setting twice", typed(&[0x10, 0x04, 0x01, 0x01, 0x01, 0x01]), CloseCode::SETTINGS),
        ("half a setting", typed(&[0x10, 0x01, 0x01]), CloseCode::MALFORMED),
        (
            "a setting that is not minimal",
            typed(&[0x10, 0x03, 0x40, 0x01, 0x01]),
            CloseCode::MALFORMED,
        ),
        (
            "SETTINGS above their limit",
            typed(&[varint(raw::SETTINGS), varint(1025)].concat()),
            CloseCode::LIMIT_EXCEEDED,
        ),
        (
            "SETTINGS of 2^62 − 1 bytes, on control",
            typed(&[&[0x10][..], &GREATEST].concat()),
            CloseCode::LIMIT_EXCEEDED,
        ),
        // [FRM-3] [FRM-4]
        ("an unknown even frame on control", begun(&[0x20, 0x00]), CloseCode::UNKNOWN_CRITICAL),
        (
            "17 unknown odd frames on control",
            begun(&[0x21, 0x00].repeat(17)),
            CloseCode::LIMIT_EXCEEDED,
        ),
        ("garbage on control", typed(&[0xff; 64]), CloseCode::LIMIT_EXCEEDED),
        ("a TLS record on control", typed(&[0x16, 0x03, 0x01, 0x02]), CloseCode::UNKNOWN_CRITICAL),
    ];
    for (name, bytes, code) in table {
        let run = async {
            let wire = scene.wire().await;
            let mut control = wire.connection.open_uni().await.unwrap();
            control.write_all(&bytes).await.unwrap();
            closed(&wire).await
        };
        cases.case(&scene, name, End::Closed(code), run).await;
    }
    // [QUI-7]
    for (name, then, code) in [
        ("a second control stream", Then::Second, CloseCode::STREAM_CREATION),
        ("a control stream that ends", Then::Finish, CloseCode::CLOSED_CRITICAL_STREAM),
        ("a control stream that is reset", Then::Reset, CloseCode::CLOSED_CRITICAL_STREAM),
    ] {
        let run = async {
            let wire = scene.wire().await;
            let mut control = wire.connection.open_uni().await.unwrap();
            control.write_all(&begun(&[])).await.unwrap();
            let second = match then {
                Then::Second => {
                    let mut second = wire.connection.open_uni().await.unwrap();
                    second.write_all(&[0x00]).await.unwrap();
                    Some(second)
                }
                Then::Finish => control.finish().map(|()| None).unwrap(),
                Then::Reset => {
                    // Types are read in the order of the streams: once the second is stopped the first has its type.
                    let mut second = wire.connection.open_uni().await.unwrap();
                    second.write_all(&[0x01]).await.unwrap();
                    second.stopped().await.unwrap();
                    control.reset(7_u32.into()).map(|()| None).unwrap()
                }
            };
            let end = closed(&wire).await;
            drop((control, second));
            end
        };
        cases.case(&scene, name, End::Closed(code), run).await;
    }
    unknown_types(cases, &scene).await;
}

#[derive(Clone, Copy)]
enum Then {
    Second,
    Finish,
    Reset,
}

/// [QUI-5] Types that this version does not have are no error.
async fn unknown_types(cases: &mut Cases, scene: &Scene) {
    for (name, bytes) in [
        ("an unknown stream type", vec![0x01, 1, 2, 3]),
        ("an unknown stream type of two bytes", vec![0x40, 0x55, 1, 2, 3]),
        ("a stream type of 2^62 − 1", [&GREATEST[..], b"rest"].concat()),
    ] {
        let run = async {
            let wire = scene.wire().await;
            let mut stream = wire.connection.open_uni().await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let stopped = stream.stopped().await.ok().flatten();
            assert_eq!(scene.echo(&wire, vec![1]).await.answer().status(), Status::OK);
            stopped.map_or(End::Other, |code| End::Stopped(CloseCode(code.into_inner())))
        };
        cases.case(scene, name, End::Stopped(CloseCode::STREAM_CREATION), run).await;
    }
    let run = async {
        let wire = scene.wire().await;
        let mut stream = wire.connection.open_uni().await.unwrap();
        stream.finish().unwrap();
        scene.echo(&wire, vec![1]).await.into()
    };
    cases.case(scene, "a stream without a type", End::Status(Status::OK), run).await;
    let run = async {
        let wire = scene.wire().await;
        let mut open = Vec::new();
        while let Some(Ok(stream)) = wire.connection.open_uni().now_or_never() {
            open.push(stream);
            assert!(open.len() <= 4, "the node lets a client open more than it needs");
        }
        // [QUI-4] And opens none in both directions itself.
        said(wire.connection.accept_bi().now_or_never().is_none())
    };
    cases.case(scene, "unidirectional streams without end", End::AsSaid, run).await;
    // Beside the stream that was given back because its type is not known there is always room for a control stream.
    let run = async {
        let wire = scene.wire().await;
        for n in 0..100_u8 {
            let mut stream = wire.connection.open_uni().await.unwrap();
            stream.write_all(&[0x01, n]).await.unwrap();
            stream.stopped().await.unwrap();
        }
        scene.echo(&wire, vec![1]).await.into()
    };
    cases.case(scene, "a hundred streams of unknown type", End::Status(Status::OK), run).await;
}

async fn closed(wire: &Wire) -> End {
    wire.close_code().await.map_or(End::Other, End::Closed)
}
