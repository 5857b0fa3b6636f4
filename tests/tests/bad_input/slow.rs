//! Peers that begin and do not go on. The node's times are lowered, so that it loses its patience soon.

use std::time::Duration;

use cmtp_spec::{CloseCode, Status};
use cmtp_tests::wire::{Wire, salt};
use quinn::TransportConfig;

use crate::raw::{self, Raw, end, frame};
use crate::scene::{Cases, End, Scene, encoded};

pub async fn run(cases: &mut Cases) {
    let scene = Scene::new(QUICK);
    let head = head(&scene);
    let piece = frame(raw::BODY, &[7; 1000]);
    let timeout = End::Reset(CloseCode::TIMEOUT);
    let table = [
        // [LIM-3]
        ("a stream that stops within a frame's header", vec![0x02], timeout),
        ("a stream that stops behind AUTH", vec![], timeout),
        ("a stream that stops within LAYER", head[..head.len() - 1].to_vec(), timeout),
        ("a stream that stops within an unknown frame", vec![0x21, 0x7f, 0xff, 0], timeout),
        ("a stream that stops behind LAYER", head.clone(), timeout),
        ("a body that stops", [&head[..], &piece].concat(), timeout),
        ("a body that stops within a frame", [&head[..], &piece[..900]].concat(), timeout),
        ("a request without an end of the stream", Raw::new(&scene).frame(), timeout),
        ("a body without an end of the stream", [&head[..], &piece, &end()].concat(), timeout),
    ];
    for (name, bytes, wanted) in table {
        cases.case(&scene, name, wanted, stalled(&scene, &bytes)).await;
    }
    for (name, first, drop) in [
        ("a LAYER that drips", Vec::new(), vec![0]),
        // [LIM-3] 100 bytes a second where 4,096 are asked for.
        ("a body that drips", head.clone(), frame(raw::BODY, &[7])),
    ] {
        cases.case(&scene, name, timeout, dripping(&scene, &first, &drop)).await;
    }
    let run = async {
        let wire = scene.wire().await;
        let mut stream = wire.connection.open_uni().await.unwrap();
        // Half of a type.
        stream.write_all(&[0x40]).await.unwrap();
        let stopped = stream.stopped().await.ok().flatten();
        stopped.map_or(End::Other, |code| End::Stopped(CloseCode(code.into_inner())))
    };
    let wanted = End::Stopped(CloseCode::STREAM_CREATION);
    cases.case(&scene, "a stream with half a type", wanted, run).await;
    // [LIM-5] Above and below what the node's own buffers take.
    for (name, length) in [
        ("a large answer that nobody takes", 5_000_000),
        ("a small answer that nobody takes", 20_000),
    ] {
        cases.case(&scene, name, timeout, untaken(&scene, length)).await;
    }
    let patient = Scene::new("[limits]\nbody-rate-min = 0\nbody-timeout-ms = 1000");
    let head = self::head(&patient);
    let run = stalled(&patient, &head);
    cases.case(&patient, "a body that never comes, where no rate is asked for", timeout, run).await;
    let run = async { patient.echo(&patient.wire().await, vec![7; 1_000_000]).await.into() };
    cases.case(&patient, "a body in its own time", End::Status(Status::OK), run).await;
}

/// LAYER of an origin whose body is still to come.
fn head(scene: &Scene) -> Vec<u8> {
    Raw { flags: vec![0x02], ..Raw::new(scene) }.frame()
}

/// How a stream ends on which these bytes stand behind AUTH, and nothing more comes.
async fn stalled(scene: &Scene, bytes: &[u8]) -> End {
    let wire = scene.wire().await;
    let (mut send, recv) = wire.open().await;
    send.write_all(&[&encoded(&scene.auth(&wire)), bytes].concat()).await.unwrap();
    wire.read_answer(recv, &wire.origin(&scene.key, "0xS:echo")).await.into()
}

/// The same, where `drop` comes again and again, slowly.
async fn dripping(scene: &Scene, first: &[u8], drop: &[u8]) -> End {
    let wire = scene.wire().await;
    let (mut send, recv) = wire.open().await;
    let large = frame(raw::LAYER, &[0; 60_000]);
    let first = if first.is_empty() { &large[..4] } else { first };
    send.write_all(&[&encoded(&scene.auth(&wire)), first].concat()).await.unwrap();
    let drip = async {
        // How slow the peer is; what is waited for is the node's answer below.
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if send.write_all(drop).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let origin = wire.origin(&scene.key, "0xS:echo");
    tokio::select! {
        () = drip => End::Other,
        ending = wire.read_answer(recv, &origin) => ending.into(),
    }
}

/// How an echo of so many bytes ends for a client that reads none of it.
async fn untaken(scene: &Scene, length: usize) -> End {
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(4096_u32.into());
    let wire = Wire::connect_to(scene.address(), transport).await.unwrap();
    let (mut send, mut recv) = wire.open().await;
    let origin = wire.origin(&scene.key, "0xS:echo").with_body(salt(), vec![7; length]);
    let request = [encoded(&scene.auth(&wire)), crate::scene::layer(&origin)].concat();
    send.write_all(&request).await.unwrap();
    send.finish().unwrap();
    let reset = recv.received_reset().await.ok().flatten();
    reset.map_or(End::Other, |code| End::Reset(CloseCode(code.into_inner())))
}

const QUICK: &str = "[limits]
    header-timeout-ms = 1500
    body-timeout-ms = 3000
    body-rate-grace-ms = 500
    answer-timeout-ms = 1000";
