//! Layered services: their layers stand in the answer as they made them.

use std::future::pending;

use bytes::Bytes;
use cmtp_client::service::{Call, Refusal, Reply, Running, Service};
use cmtp_client::{Answer, Identity};
use cmtp_codec::{BusRequest, Envelope, Field, KeyId, Layer};
use cmtp_spec::{BusAuth, BusKind, EntryFlags, FieldIndex, Status, Step};
use cmtp_tests::wire::{now, salt};
use cmtp_tests::{Home, NatsServer};
use tokio::sync::mpsc;

use crate::scene::{Scene, actor, has, listen, route};

/// The service of most tests: says what it was given, and refuses what is called so.
async fn start(scene: &Scene, subject: &str, identity: Identity) -> Running {
    Service::new("hello", "0.1.0", identity)
        .for_node(scene.node.did.parse().unwrap())
        .endpoint(subject, |call: Call| async move {
            let body = call.body().cloned().unwrap_or_default();
            match body.as_ref() {
                b"refuse" => Err(Refusal::new(Status::FORBIDDEN, "not today").without_effect()),
                b"break" => Err(Refusal::new(Status::INTERNAL_ERROR, "it broke")),
                _ => Ok(Reply::new("text/plain", [b"taken: ", &body[..]].concat())),
            }
        })
        .start(&scene.server.url)
        .await
        .unwrap()
}

fn serve_layer(answer: &Answer) -> (usize, &Layer) {
    let links = &answer.replay().message.links;
    let layers =
        links.iter().enumerate().filter_map(|(number, link)| Some((number, link.layer()?)));
    layers.into_iter().find(|(_, layer)| layer.step == Step::SERVE).expect("a serve layer")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_layer_of_a_service_is_its_own() {
    // [NAT-1] [NAT-12]
    for (scheme, grade) in [("mac", "vouched by node"), ("signature", "signed by service")] {
        let more = format!("bus-auth = \"{scheme}\"");
        let scene = Scene::new("", &route("demo", "demo", &more)).await;
        let service = start(&scene, "demo", actor()).await;
        for target in ["0xS:demo", "0xSW:demo"] {
            let answer = scene.call(target, "x").await;
            assert_eq!(answer.status(), Status::OK, "{scheme}: {:?}", answer.detail());
            assert_eq!(answer.body().unwrap(), "taken: x");
            let (number, layer) = serve_layer(&answer);
            assert_eq!(layer.actor, actor().did());
            assert_eq!(answer.replay().grade(number).as_str(), grade);
            let dispatch = answer.replay().message.links[number - 1].layer().unwrap().clone();
            let said = dispatch.octet(FieldIndex::BUS_AUTH).map(BusAuth);
            assert_eq!(said.and_then(BusAuth::name), Some(scheme));
            // The node commits a write; that layer is the node's.
            assert_eq!(answer.replay().message.links.len() > number + 1, target == "0xSW:demo");
        }
        assert_eq!(service.counts().answered, 2);
        service.drain().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_a_saved_answer_sees_who_signed_it() {
    let scene = Scene::new("", &route("demo", "demo", "bus-auth = \"signature\"")).await;
    let _service = start(&scene, "demo", actor()).await;
    let home = Home::new();
    let token = scene.node.grant(&home.did, &["--scope", "0xS:**"]);
    let (url, file) = (scene.node.url("0xS:demo"), home.file("answer.cmtp"));
    let file = file.to_str().unwrap();
    let output = tokio::task::block_in_place(|| {
        home.cmtp(["call", &url, "--token", &token, "--data", "x", "--save", file])
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = home.cmtp(["inspect", file, "--pin", &scene.node.did]);
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.contains("serve")).unwrap();
    assert!(line.contains("signed by service"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_says_what_came_of_a_write() {
    // [NAT-14] [NAT-16] [PRC-6] [IDM-5]
    let scene = Scene::new("", &route("demo", "demo", "")).await;
    let _service = start(&scene, "demo", actor()).await;
    let refused = scene.call("0xS:demo", "refuse").await;
    assert_eq!((refused.status(), refused.detail()), (Status::FORBIDDEN, Some("not today")));
    assert!(!has(&refused, FieldIndex::NO_EFFECT), "a read has no effect in any case");
    for (body, status, flags, is_recorded) in [
        ("refuse", Status::FORBIDDEN, EntryFlags::NO_EFFECT, false),
        ("break", Status::INTERNAL_ERROR, EntryFlags::OUTCOME_UNKNOWN, true),
    ] {
        let request = scene.caller.write(&scene.connection, "0xSW:demo", body);
        let answer = scene.connection.send(&request).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(serve_layer(&answer).1.actor, actor().did(), "its own refusal");
        assert_eq!(has(&answer, FieldIndex::OUTCOME_UNKNOWN), is_recorded);
        let receipt = answer.replay().message.seal.receipt.clone().unwrap();
        assert_eq!(receipt.entry_flags, flags);
        // The id of a write without effect is free: the service is asked again.
        let again = scene.connection.send(&request).await.unwrap();
        assert_eq!(again.is_recorded(), is_recorded);
    }
    cmtp_tests::load::check(&scene.node, &[], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_is_told_to_the_handler() {
    // [NAT-15]
    let routes = route("held", "held", "") + &route("late", "late", "timeout-ms = 500");
    let scene = Scene::new("", &routes).await;
    let (sender, mut events) = mpsc::unbounded_channel();
    let handler = move |call: Call| {
        let sender = sender.clone();
        async move {
            sender.send("begun").unwrap();
            let (_dropped, cancelled) = (OnDrop(sender.clone()), call.cancelled());
            tokio::spawn(async move {
                cancelled.await;
                sender.send("cancelled").unwrap();
            });
            pending::<Result<Reply, Refusal>>().await
        }
    };
    let service = Service::new("held", "0.1.0", actor())
        .for_node(scene.node.did.parse().unwrap())
        .endpoint("held", handler.clone())
        .endpoint("late", handler)
        .start(&scene.server.url)
        .await
        .unwrap();
    let request = scene.caller.write(&scene.connection, "0xS:held", "x");
    // The caller resets its stream once the service has the request.
    tokio::select! {
        answer = scene.connection.send(&request) => panic!("{answer:?}"),
        event = events.recv() => assert_eq!(event, Some("begun")),
    }
    let mut seen = [events.recv().await.unwrap(), events.recv().await.unwrap()];
    seen.sort_unstable();
    assert_eq!(seen, ["cancelled", "dropped"]);
    // Counted right after it was dropped.
    while service.counts().cancelled == 0 {
        tokio::task::yield_now().await;
    }
    // [NAT-6] Nor does anybody wait after the deadline.
    let answer = scene.call("0xS:late", "x").await;
    assert_eq!(answer.status(), Status::DEADLINE_EXCEEDED);
    assert_eq!(events.recv().await, Some("begun"));
    while events.recv().await != Some("dropped") {}
}

struct OnDrop(mpsc::UnboundedSender<&'static str>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.send("dropped").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_under_a_foreign_key_is_refused_and_journalled() {
    // [NAT-8] [NAT-20]
    let routes = route("mac", "mac", "") + &route("signed", "signed", "bus-auth = \"signature\"");
    let scene = Scene::new("", &routes).await;
    // A whole service that the route does not pin gets no keys, …
    let _other = start(&scene, "mac", Identity::from_seed(&[8; 32]).unwrap()).await;
    let answer = scene.call("0xS:mac", "x").await;
    assert_eq!(answer.status(), Status::BAD_SERVICE_ANSWER);
    // … and one that needs none for its answer is known by its key.
    let foreign = cmtp_codec::SigningKey::from_seed(&[9; 32]).unwrap();
    listen(&scene.client().await, "signed", move |client, request| {
        let answer = signed_answer(&foreign, &request.payload);
        async move { client.publish(request.reply.unwrap(), answer).await.unwrap() }
    })
    .await;
    for target in ["0xS:signed", "0xSW:signed"] {
        let answer = scene.call(target, "x").await;
        assert_eq!((answer.status(), answer.body()), (Status::BAD_SERVICE_ANSWER, None));
        assert!(answer.detail().unwrap().contains("does not pin"), "{:?}", answer.detail());
        assert_eq!(has(&answer, FieldIndex::OUTCOME_UNKNOWN), target == "0xSW:signed");
    }
    assert_eq!(scene.counter("cmtpd_bus_refused_replies_total"), 3);
    let entries = cmtp_tests::load::check(&scene.node, &[], 0);
    let refused: Vec<_> = entries.iter().filter(|entry| entry["status"] == 502).collect();
    let types: Vec<_> = refused.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["refusal", "refusal", "outcome"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_service_that_breaks_a_rule_is_refused() {
    // [NAT-8] [NAT-12] [NAT-16]
    type Make = fn(Layer) -> Layer;
    let refuses: Make = |layer| layer.with_status(Status::FORBIDDEN);
    let table: &[(&str, &str, Make)] = &[
        ("0xSW", "process", refuses),
        ("0xSW", "process", |layer| {
            let layer = layer.with_public(Field::flag(FieldIndex::NO_EFFECT));
            layer
                .with_status(Status::FORBIDDEN)
                .with_public(Field::flag(FieldIndex::OUTCOME_UNKNOWN))
        }),
        ("0xSW", "process", |layer| layer.with_public(Field::flag(FieldIndex::NO_EFFECT))),
        ("0xS", "process", |layer| {
            layer.with_status(Status::FORBIDDEN).with_public(Field::flag(FieldIndex::NO_EFFECT))
        }),
        ("0xS", "clock", |layer| Layer { time: layer.time - 400_000_000, ..layer }),
        ("0xS", "clock", |layer| Layer { time: layer.time + 400_000_000, ..layer }),
        ("0xS", "not those of its kind", |layer| layer.with_status(Status::NONE)),
        ("0xS", "not those of its kind", |layer| Layer { step: Step::ADMIT, ..layer }),
        ("0xS", "not those of its kind", |layer| Layer {
            actor: Identity::from_seed(&[9; 32]).unwrap().did(),
            ..layer
        }),
        ("0xS", "larger", |layer| layer.with_body(salt(), vec![0; 500_001])),
    ];
    let more = "bus-auth = \"signature\"";
    let scene = Scene::new("body-max = 500000", &route("demo", "demo", more)).await;
    let key = cmtp_codec::SigningKey::from_seed(&[7; 32]).unwrap();
    let makes: Vec<Make> = table.iter().map(|(_, _, make)| *make).collect();
    listen(&scene.client().await, "demo", move |client, request| {
        let envelope = Envelope::decode(request.payload, 1 << 20).unwrap();
        let asked = BusRequest::decode(envelope, 1 << 20).unwrap();
        let number: usize = std::str::from_utf8(asked.untrusted().origin().data().unwrap())
            .unwrap()
            .parse()
            .unwrap();
        let answer = answer(&key, asked.untrusted(), makes.get(number).copied().unwrap_or(|it| it));
        async move { client.publish(request.reply.unwrap(), answer).await.unwrap() }
    })
    .await;
    for (number, (opcode, why, _)) in table.iter().enumerate() {
        let answer = scene.call(&format!("{opcode}:demo"), &number.to_string()).await;
        assert_eq!(answer.status(), Status::BAD_SERVICE_ANSWER, "{number}");
        assert!(answer.detail().unwrap().contains(why), "{number}: {:?}", answer.detail());
        assert_eq!(has(&answer, FieldIndex::OUTCOME_UNKNOWN), *opcode == "0xSW", "{number}");
        assert!(!has(&answer, FieldIndex::NO_EFFECT), "{number}");
    }
    let answer = scene.call("0xSW:demo", "99").await;
    assert_eq!((answer.status(), answer.body().unwrap().as_ref()), (Status::OK, &b"by hand"[..]));
    cmtp_tests::load::check(&scene.node, &[], 0);
}

/// An answer as a service under `key` makes it, to the request in `payload`.
fn signed_answer(key: &cmtp_codec::SigningKey, payload: &Bytes) -> Bytes {
    let envelope = Envelope::decode(payload.clone(), 1 << 20).unwrap();
    answer(key, BusRequest::decode(envelope, 1 << 20).unwrap().untrusted(), |layer| layer)
}

/// An answer under `key`, with a layer that `make` changes.
fn answer(
    key: &cmtp_codec::SigningKey,
    request: &BusRequest,
    make: impl FnOnce(Layer) -> Layer,
) -> Bytes {
    let layer = Layer::new(Step::SERVE, key.public(), now(), salt());
    let layer = make(layer.with_status(Status::OK).with_body(salt(), "by hand"));
    let payload = BusRequest::payload([&layer]);
    Envelope::sign(BusKind::ANSWER, KeyId::ZERO, request.head(), payload, key).to_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_without_authentication_is_asked_for_by_name() {
    // [NAT-9]
    let server = NatsServer::start();
    let routes = route("demo", "demo", "bus-auth = \"none\"");
    let config = format!("bus = \"nats={}\"\n{routes}", server.url);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    std::fs::write(&file, &config).unwrap();
    let file = file.to_str().unwrap();
    let data = folder.path().join("data");
    let cmtpd = |arguments: &[&str]| {
        let command = cmtp_tests::binary("cmtpd");
        std::process::Command::new(command)
            .args(arguments)
            .env("CMTPD_DATA", &data)
            .output()
            .unwrap()
    };
    for arguments in [&["check-config", file][..], &["serve", "--config", file]] {
        let output = cmtpd(arguments);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("0xS:demo") && said.contains("--insecure-bus"), "{said}");
    }
    let output = cmtpd(&["check-config", file, "--insecure-bus"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("bus-auth = \"none\""));
    // Asked for, it works where the service's operator asked for it, too, and the layer says so.
    let wrapper = ["sh", "-c", "exec \"$0\" \"$@\" --insecure-bus"];
    let scene = Scene::wrapped(server, &routes, &wrapper).await;
    let service = |insecure: bool| {
        let service = Service::new("open", "0.1.0", actor());
        let service = service.for_node(scene.node.did.parse().unwrap());
        let service = service.endpoint("demo", async |_call| Ok(Reply::text("open")));
        let service = if insecure { service.insecure_bus() } else { service };
        service.start(&scene.server.url)
    };
    let careful = service(false).await.unwrap();
    assert_eq!(scene.call("0xS:demo", "x").await.status(), Status::BAD_SERVICE_ANSWER);
    careful.drain().await.unwrap();
    let _open = service(true).await.unwrap();
    let answer = scene.call("0xS:demo", "x").await;
    assert_eq!(answer.body().unwrap(), "open");
    let (number, _) = serve_layer(&answer);
    let dispatch = answer.replay().message.links[number - 1].layer().unwrap().clone();
    assert_eq!(dispatch.octet(FieldIndex::BUS_AUTH), Some(BusAuth::NONE.0));
}
