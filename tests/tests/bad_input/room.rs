//! More requests and bytes than a node has room for: it refuses or waits, and never holds more.

use cmtp_codec::Layer;
use cmtp_spec::{CloseCode, FieldIndex, Status};
use cmtp_tests::wire::{Ending, Wire, salt};
use futures::FutureExt;
use quinn::{RecvStream, SendStream, TransportConfig};

use crate::raw::{self, Raw, frame};
use crate::scene::{Cases, End, Scene, encoded, layer, said};

pub async fn run(cases: &mut Cases) {
    in_flight(cases).await;
    bodies(cases).await;
    heads(cases).await;
}

/// [LIM-9] One request is in flight as long as its answer is not taken.
async fn in_flight(cases: &mut Cases) {
    let scene = Scene::new("[limits]\nin-flight-max = 1");
    let run = async {
        let mut transport = TransportConfig::default();
        transport.stream_receive_window(4096_u32.into());
        let wire = Wire::connect_to(scene.address(), transport).await.unwrap();
        let origin = wire.origin(&scene.key, "0xS:echo").with_body(salt(), vec![7; 5_000_000]);
        let (_send, mut recv) = begin(&scene, &wire, &layer(&origin)).await;
        // Its answer has begun, so it has the place.
        recv.read_chunk(1, true).await.unwrap();
        let refused = scene.echo(&scene.wire().await, b"x".to_vec()).await.answer();
        assert_eq!(refused.last().number(FieldIndex::RETRY_AFTER), Some(1));
        assert_eq!(refused.remedy(), "wait");
        // A refusal like any other: sealed, and with R0.
        assert!(refused.replay.message.seal.receipt.is_some());
        End::Status(refused.status())
    };
    cases
        .case(&scene, "more requests than may be in flight", End::Status(Status::UNAVAILABLE), run)
        .await;
}

/// [LIM-10] A body that finds no room waits until another gives some back.
async fn bodies(cases: &mut Cases) {
    let scene =
        Scene::new("[limits]\nbody-memory-max = 100000\nbody-rate-min = 0\nbody-timeout-ms = 3000");
    let run = async {
        let first = scene.wire().await;
        let mut open = Raw::new(&scene);
        open.flags = vec![0x02];
        let held = [open.frame(), frame(raw::BODY, &[7; 16_000]).repeat(6)].concat();
        let (mut send, mut recv) = first.open().await;
        send.write_all(&[encoded(&scene.auth(&first)), held].concat()).await.unwrap();
        let second = scene.wire().await;
        let mut ended = Vec::new();
        let stalls = recv.received_reset().map(|reset| {
            let code = reset.ok().flatten().map(|code| CloseCode(code.into_inner()));
            assert_eq!(code, Some(CloseCode::TIMEOUT));
            "the one that stalls"
        });
        let waits = scene.echo(&second, vec![7; 60_000]).map(|ending| {
            assert_eq!(ending.answer().status(), Status::OK);
            "the one that waits"
        });
        let (mut stalls, mut waits) = (Box::pin(stalls).fuse(), Box::pin(waits).fuse());
        while ended.len() < 2 {
            futures::select_biased! {
                name = waits => ended.push(name),
                name = stalls => ended.push(name),
            }
        }
        said(ended == ["the one that stalls", "the one that waits"])
    };
    cases.case(&scene, "more bytes of bodies than there is room for", End::AsSaid, run).await;
    // A body above all of the room is never waited for.
    let run = async { scene.echo(&scene.wire().await, vec![7; 100_001]).await.into() };
    let wanted = End::Status(Status::BODY_TOO_LARGE);
    cases.case(&scene, "a body above all of the room", wanted, run).await;
}

/// [LIM-10] Heads that are not whole have room of their own on each connection.
async fn heads(cases: &mut Cases) {
    let scene = Scene::new("[limits]\nhead-memory-max = 131072");
    let run = async {
        let wire = scene.wire().await;
        // What a header promises counts, whether or not it comes.
        let begun = frame(raw::LAYER, &[0; 65_000])[..100].to_vec();
        let mut held = Vec::new();
        for _ in 0..2 {
            let (mut send, recv) = wire.open().await;
            send.write_all(&begun).await.unwrap();
            held.push((send, recv));
        }
        // A small request finds room beside them; it came later, so their headers are read.
        assert_eq!(scene.echo(&wire, vec![1]).await.answer().status(), Status::OK);
        let origin = wire.origin(&scene.key, "0xS:echo");
        let origin = (0..3).fold(origin, |origin, _| large(origin));
        let (_send, recv) = begin(&scene, &wire, &layer(&origin)).await;
        let mut answer = Box::pin(wire.read_answer(recv, &origin));
        // Another connection is served meanwhile, and this one's third request waits.
        let other = scene.wire().await;
        assert_eq!(scene.echo(&other, vec![1]).await.answer().status(), Status::OK);
        assert!((&mut answer).now_or_never().is_none());
        // A head that is taken back gives its room to the next.
        for (mut send, _recv) in held {
            send.reset(7_u32.into()).unwrap();
        }
        Ending::into(answer.await)
    };
    cases.case(&scene, "more heads than there is room for", End::Status(Status::OK), run).await;
}

/// A request whose end is sent.
async fn begin(scene: &Scene, wire: &Wire, request: &[u8]) -> (SendStream, RecvStream) {
    let (mut send, recv) = wire.open().await;
    send.write_all(&[&encoded(&scene.auth(wire)), request].concat()).await.unwrap();
    send.finish().unwrap();
    (send, recv)
}

fn large(origin: Layer) -> Layer {
    origin.with_public(cmtp_codec::Field::bytes(FieldIndex::USER_AGENT, vec![b'v'; 16_000]))
}
