//! Streams without end.

use cmtp_spec::{CloseCode, Status, limits};
use cmtp_tests::wire::{Wire, salt};
use futures::FutureExt;
use quinn::TransportConfig;

use crate::raw::Raw;
use crate::scene::{Cases, End, Scene, encoded, layer, said};

pub async fn run(cases: &mut Cases) {
    let scene = Scene::new("");
    let origin = Raw::new(&scene).frame();
    // [LIM-8]
    let closed = End::Closed(CloseCode::LIMIT_EXCEEDED);
    for (name, show, rest) in [
        ("streams that are reset at once", false, Vec::new()),
        ("requests that are reset", true, origin.clone()),
        ("requests of strangers that are reset", false, origin.clone()),
    ] {
        let run = async {
            let wire = scene.wire().await;
            let auth = if show { encoded(&scene.auth(&wire)) } else { vec![0x02] };
            flood(&wire, &[auth, rest].concat()).await
        };
        cases.case(&scene, name, closed, run).await;
    }
    let run = async {
        let wire = scene.wire().await;
        while let Ok((mut send, _recv)) = wire.connection.open_bi().await {
            // The stream may be stopped, and the connection over, before all is written.
            let _over = send.write_all(&[0x20, 0x00]).await;
            let _over = send.finish();
        }
        wire.close_code().await.map_or(End::Other, End::Closed)
    };
    cases.case(&scene, "malformed requests without end", closed, run).await;
    let run = async {
        let mut transport = TransportConfig::default();
        transport.stream_receive_window(1024_u32.into());
        let wire = Wire::connect_to(scene.address(), transport).await.unwrap();
        let origin = wire.origin(&scene.key, "0xS:echo").with_body(salt(), vec![7; 20_000]);
        let request = [encoded(&scene.auth(&wire)), layer(&origin)].concat();
        while let Ok((mut send, mut recv)) = wire.connection.open_bi().await {
            let _over = send.write_all(&request).await;
            let _over = send.finish();
            // The answer has begun, and is not wanted.
            let _over = recv.read_chunk(1, true).await;
            let _over = recv.stop(7_u32.into());
        }
        wire.close_code().await.map_or(End::Other, End::Closed)
    };
    cases.case(&scene, "answers that are not wanted", closed, run).await;
    // Whoever also takes answers may cancel as often.
    let run = async {
        let wire = scene.wire().await;
        for _ in 0..2 * limits::STREAM_RESETS_MAX {
            let (mut send, _recv) = wire.open().await;
            send.write_all(&[0x02]).await.unwrap();
            send.reset(7_u32.into()).unwrap();
            assert_eq!(scene.echo(&wire, vec![1]).await.answer().status(), Status::OK);
        }
        scene.echo(&wire, vec![1]).await.into()
    };
    cases.case(&scene, "as many resets as answers", End::Status(Status::OK), run).await;
    // [LIM-4]
    let run = async {
        let wire = scene.wire().await;
        said(fills(&wire, limits::STRANGER_STREAMS).await)
    };
    cases.case(&scene, "more streams than a stranger may have open", End::AsSaid, run).await;
    let run = async {
        let wire = scene.wire().await;
        assert_eq!(scene.echo(&wire, vec![1]).await.answer().status(), Status::OK);
        // The echo's own place is given back with others only: QUIC announces an eighth of them at a time.
        said(fills(&wire, limits::REQUEST_STREAMS - 1).await)
    };
    cases.case(&scene, "more streams than may be open", End::AsSaid, run).await;
    let few = Scene::new("[limits]\nrequest-streams = 2\nstream-resets-max = 3");
    let run = async {
        let wire = few.wire().await;
        let held = (wire.open().await, wire.open().await);
        let none = wire.connection.open_bi().now_or_never().is_none();
        drop(held);
        said(none)
    };
    cases.case(&few, "more streams than a lower limit allows", End::AsSaid, run).await;
    let run = async { flood(&few.wire().await, &[0x02]).await };
    cases.case(&few, "resets above a lower limit", closed, run).await;
}

/// Whether so many streams can be open at a time, and no more.
async fn fills(wire: &Wire, streams: u64) -> bool {
    let mut open = Vec::new();
    for _ in 0..streams {
        open.push(wire.open().await);
    }
    wire.connection.open_bi().now_or_never().is_none()
}

/// Opens and resets streams until the node closes the connection.
async fn flood(wire: &Wire, bytes: &[u8]) -> End {
    while let Ok((mut send, _recv)) = wire.connection.open_bi().await {
        let _over = send.write_all(bytes).await;
        let _over = send.reset(7_u32.into());
    }
    wire.close_code().await.map_or(End::Other, End::Closed)
}
