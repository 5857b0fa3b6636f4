//! Replies that come too large, too late, twice, or where nobody expects them.

use cmtp_spec::{FieldIndex, Status};

use crate::scene::{Scene, has, listen};

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_too_large_is_refused() {
    // [NAT-5] [NAT-18]
    let routes = "[[route]]\ntarget = \"0xS:big\"\nto = \"nats:big\"\n\
        [[route]]\ntarget = \"0xSW:big\"\nto = \"nats:big\"\n";
    let scene = Scene::new("body-max = 1000", routes).await;
    let client = scene.client().await;
    listen(&client, "big", async |client, request| {
        let size = std::str::from_utf8(&request.payload).unwrap().parse().unwrap();
        client.publish(request.reply.unwrap(), vec![b'x'; size].into()).await.unwrap();
    })
    .await;
    let answer = scene.call("0xS:big", "1000").await;
    assert_eq!((answer.status(), answer.body().unwrap().len()), (Status::OK, 1000));
    let answer = scene.call("0xS:big", "1001").await;
    assert_eq!((answer.status(), answer.body()), (Status::BAD_SERVICE_ANSWER, None));
    // What a write did before its answer was too large, nobody knows.
    let answer = scene.call("0xSW:big", "1001").await;
    assert_eq!(answer.status(), Status::BAD_SERVICE_ANSWER);
    assert!(has(&answer, FieldIndex::OUTCOME_UNKNOWN), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_double_replies_reach_nobody_and_are_counted() {
    // [NAT-17]
    let routes = "[[route]]\ntarget = \"0xS:twice\"\nto = \"nats:twice\"\n\
        [[route]]\ntarget = \"0xS:late\"\nto = \"nats:late\"\ntimeout-ms = 50\n";
    let scene = Scene::new("", routes).await;
    let client = scene.client().await;
    listen(&client, "twice", async |client, request| {
        let inbox = request.reply.unwrap();
        client.publish(inbox.clone(), request.payload.clone()).await.unwrap();
        client.publish(inbox, "second".into()).await.unwrap();
    })
    .await;
    for number in 0..100 {
        let body = number.to_string();
        let answer = scene.call("0xS:twice", &body).await;
        assert_eq!(answer.body().unwrap(), body);
    }
    // The last second reply may be on its way still.
    while scene.counter("cmtpd_bus_double_replies_total") < 100 {}
    assert_eq!(scene.counter("cmtpd_bus_double_replies_total"), 100);
    assert_eq!(scene.counter("cmtpd_bus_late_replies_total"), 0);
    let (sender, mut inboxes) = tokio::sync::mpsc::unbounded_channel();
    listen(&client, "late", move |_client, request| {
        sender.send(request.reply.unwrap()).unwrap();
        std::future::ready(())
    })
    .await;
    let answer = scene.call("0xS:late", "").await;
    assert_eq!(answer.status(), Status::DEADLINE_EXCEEDED);
    let inbox = inboxes.recv().await.unwrap();
    client.publish(inbox.clone(), "late".into()).await.unwrap();
    // To a place that never was.
    let prefix = inbox.rsplit_once('.').unwrap().0.to_owned();
    client.publish(format!("{prefix}.ffffffffffffffff"), "?".into()).await.unwrap();
    client.publish(format!("{prefix}.x"), "?".into()).await.unwrap();
    let answer = scene.call("0xS:twice", "after").await;
    assert_eq!(answer.body().unwrap(), "after");
    while scene.counter("cmtpd_bus_late_replies_total") < 3 {}
    assert_eq!(scene.counter("cmtpd_bus_late_replies_total"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_of_a_callers_field_ends_early() {
    // [NAT-3]
    let routes =
        "[[route]]\ntarget = \"0xS:fields\"\nto = \"nats:fields\"\nheaders = [\"x-trace\"]\n";
    let scene = Scene::new("", routes).await;
    let client = scene.client().await;
    listen(&client, "fields", async |client, request| {
        let headers = request.headers.unwrap_or_default();
        let all: Vec<_> =
            headers.iter().map(|(name, values)| format!("{name}={values:?}")).collect();
        client.publish(request.reply.unwrap(), all.join(",").into()).await.unwrap();
    })
    .await;
    for value in ["a\rb", "a\nb", "a\0b", "a\r\nNats-Msg-Id: 1", "\u{fffd}\n"] {
        let answer = scene.call_with("0xS:fields", "x-trace", value.as_bytes()).await;
        assert_eq!(answer.status(), Status::BAD_REQUEST, "{value:?}");
    }
    let answer = scene.call_with("0xS:fields", "x-trace", b"\xff").await;
    assert_eq!(answer.status(), Status::BAD_REQUEST, "no text");
    for name in ["nats-msg-id", "cmtp-caller", "x-other"] {
        let answer = scene.call_with("0xS:fields", name, b"forged").await;
        assert_eq!(answer.body().unwrap(), "", "{name}");
    }
}
