//! The service library on a real nats-server, with the node's side played by hand: `cmtp-spec/spec/11-nats.md`.

#[path = "service/node.rs"]
mod node;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cmtp_client::Identity;
use cmtp_client::service::{Call, DrainError, Refusal, Rejection, Reply, Running, Service};
use cmtp_codec::{Envelope, KeyId, Layer, MacKey, PublicKey};
use cmtp_spec::{BusAuth, BusKind, FieldIndex, LayerFlags, Status};
use cmtp_tests::{Home, NatsServer};
use futures::StreamExt;
use node::{Node, ROUTE, SUBJECT, Wanted, error_of};
use tokio::sync::{Notify, mpsc};

/// A server, a node on it, and the identity of a service.
struct Scene {
    server: NatsServer,
    node: Node,
    actor: PublicKey,
}

impl Scene {
    async fn new() -> Self {
        let server = NatsServer::start();
        let actor = identity().did();
        let node = Node::start(&server.url, actor).await;
        Self { server, node, actor }
    }

    fn service(&self) -> Service {
        Service::new("hello", "0.1.0", identity()).for_node(self.node.root.public())
    }

    async fn start(&self, service: Service) -> Running {
        service.start(&self.server.url).await.unwrap()
    }

    async fn call(&self, wanted: Wanted) -> Layer {
        self.node.call(wanted, self.actor).await
    }

    /// The NATS micro error that answers an envelope.
    async fn error(&self, envelope: &Envelope) -> (String, String) {
        let reply = self.node.send(envelope).await.expect("a service listens");
        error_of(&reply).expect("a NATS micro error")
    }
}

fn identity() -> Identity {
    Identity::from_seed(&[7; 32]).unwrap()
}

async fn hello(call: Call) -> Result<Reply, Refusal> {
    let names: Vec<String> = serde_json::from_str(call.args().unwrap_or("[]"))
        .map_err(|error| Refusal::new(Status::BAD_REQUEST, error.to_string()))?;
    Ok(Reply::text(format!("Hello, {}!", names.join(" and "))))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_answers_a_node_and_asks_for_its_keys_once() {
    // [NAT-12] [NAT-21] [NAT-22]
    let scene = Scene::new().await;
    let running = scene.start(scene.service().endpoint(SUBJECT, hello)).await;
    let wanted = scene.node.wanted();
    let layer = scene.call(wanted).await;
    assert_eq!(
        (layer.status, layer.data().unwrap().as_ref()),
        (Status::OK, &b"Hello, Dexter!"[..])
    );
    assert_eq!(layer.text(FieldIndex::CONTENT_TYPE), Some("text/plain"));
    assert!(!layer.has(LayerFlags::SIGNED));
    for _ in 0..10 {
        scene.call(wanted).await;
    }
    assert_eq!(scene.node.asks.load(Ordering::SeqCst), 1);
    assert_eq!(running.counts().answered, 11);
    running.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_share_what_comes_on_their_subjects() {
    // [NAT-21] Each instance asks for itself: its answer key is its own.
    let scene = Scene::new().await;
    let service = || {
        let other = |call: Call| async move { Ok(Reply::text(call.target().to_string())) };
        scene.service().endpoint("demo.other", other).endpoint(SUBJECT, hello)
    };
    let (one, other) = (scene.start(service()).await, scene.start(service()).await);
    let other_subject =
        Wanted { subject: "demo.other", target: "0xS:0x001:other", ..scene.node.wanted() };
    for _ in 0..32 {
        assert_eq!(scene.call(scene.node.wanted()).await.data().unwrap(), "Hello, Dexter!");
        assert_eq!(scene.call(other_subject).await.data().unwrap(), "0xS:0x001:other");
    }
    let answered = [one.counts().answered, other.counts().answered];
    assert_eq!(answered[0] + answered[1], 64);
    // That all go to one of them happens once in 2^63 runs.
    assert!(!answered.contains(&0), "{answered:?}");
    assert_eq!(scene.node.asks.load(Ordering::SeqCst), 2);
    one.drain().await.unwrap();
    // The one that is left takes all.
    for _ in 0..8 {
        scene.call(scene.node.wanted()).await;
    }
    other.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_route_wants_evidence_the_layer_is_signed() {
    let scene = Scene::new().await;
    let running = scene.start(scene.service().endpoint(SUBJECT, hello)).await;
    let wanted = Wanted { scheme: BusAuth::SIGNATURE, ..scene.node.wanted() };
    let layer = scene.call(wanted).await;
    assert!(layer.has(LayerFlags::SIGNED));
    running.drain().await.unwrap();
    let running = scene.start(scene.service().endpoint(SUBJECT, hello).signed()).await;
    assert!(scene.call(scene.node.wanted()).await.has(LayerFlags::SIGNED));
    running.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_authenticated_is_not_acted_on() {
    // [NAT-7] [NAT-9] [NAT-10] [NAT-11] [NAT-13]
    let scene = Scene::new().await;
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = ran.clone();
    let service = scene.service().endpoint(SUBJECT, move |call| {
        counted.fetch_add(1, Ordering::SeqCst);
        hello(call)
    });
    let running = scene.start(service).await;
    let (node, wanted) = (&scene.node, scene.node.wanted());
    let good = node.request(wanted);
    node.answer(&good, &node.send(&good.envelope).await.unwrap(), scene.actor);

    let mut flipped = good.envelope.to_bytes().to_vec();
    flipped[60] ^= 1;
    let flipped = Envelope::decode(flipped, 1 << 20).unwrap().into_untrusted();
    let other_key = node.caller.public();
    let mut by_another = node.request(wanted).envelope;
    let (chain, payload) = node.layers(wanted, other_key);
    by_another = Envelope::mac(
        BusKind::REQUEST,
        by_another.key_id,
        other_key,
        chain.head(),
        payload,
        &MacKey::new([0xbb; 32]),
    );
    let table = [
        (good.envelope.clone(), "409", Rejection::Seen),
        (flipped, "401", Rejection::BadTag),
        (by_another, "401", Rejection::OtherSender),
        (
            node.request(Wanted { audience: other_key, ..wanted }).envelope,
            "401",
            Rejection::OtherNode,
        ),
        (
            node.request(Wanted { subject: "demo.other", ..wanted }).envelope,
            "401",
            Rejection::OtherSubject,
        ),
        (
            node.request(Wanted { scheme: BusAuth::NONE, ..wanted }).envelope,
            "401",
            Rejection::NotAuthenticated,
        ),
        (
            node.request(Wanted { time_left: Duration::ZERO, ..wanted }).envelope,
            "504",
            Rejection::Late,
        ),
        (
            node.request(Wanted { age: Duration::from_secs(301), ..wanted }).envelope,
            "401",
            Rejection::Clock,
        ),
        (node.cancel(wanted, &good.chain), "400", Rejection::Malformed),
    ];
    for (envelope, code, rejection) in table {
        let found = scene.error(&envelope).await;
        assert_eq!(found, (code.to_owned(), rejection.to_string()));
        assert_eq!(running.counts().rejected_for(rejection), 1, "{rejection}");
    }
    let garbage = node.send_bytes(SUBJECT, Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!(error_of(&garbage).unwrap().0, "400");
    assert_eq!(running.counts().rejected_for(Rejection::Malformed), 2);
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    running.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn scheme_none_is_for_who_asked_for_it() {
    // [NAT-9]
    let scene = Scene::new().await;
    let running = scene.start(scene.service().endpoint(SUBJECT, hello).insecure_bus()).await;
    let wanted = Wanted { scheme: BusAuth::NONE, ..scene.node.wanted() };
    assert_eq!(scene.call(wanted).await.status, Status::OK);
    assert_eq!(scene.node.asks.load(Ordering::SeqCst), 0);
    running.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_id_that_nobody_has_costs_one_ask() {
    // [NAT-22]
    let scene = Scene::new().await;
    let running = scene.start(scene.service().endpoint(SUBJECT, hello)).await;
    let wanted = Wanted { key_id: KeyId([9; 16]), ..scene.node.wanted() };
    let forged: Vec<_> = (0..20).map(|_| scene.node.request(wanted).envelope).collect();
    let replies = futures::future::join_all(forged.iter().map(|forged| scene.error(forged))).await;
    assert!(replies.iter().all(|reply| *reply == ("503".into(), "no-keys".into())));
    let asks = scene.node.asks.load(Ordering::SeqCst);
    // Who came while an ask was on its way shares what it learnt; who came after it asks again.
    assert!(asks < 20, "{asks} asks");
    assert_eq!(scene.call(scene.node.wanted()).await.status, Status::OK);
    running.drain().await.unwrap();
}

/// A handler that says when it begins, never ends by itself, and says when it is dropped.
fn stuck(events: mpsc::UnboundedSender<&'static str>) -> impl Fn(Call) -> Stuck + Send + Sync {
    move |call| {
        let told = Told(events.clone());
        let elsewhere = (call.cancelled(), events.clone());
        Box::pin(async move {
            let _told = told;
            tokio::spawn(async move {
                elsewhere.0.await;
                elsewhere.1.send("cancelled").unwrap();
            });
            _told.0.send("began").unwrap();
            pending().await
        })
    }
}

type Stuck = std::pin::Pin<Box<dyn Future<Output = Result<Reply, Refusal>> + Send>>;

struct Told(mpsc::UnboundedSender<&'static str>);

impl Drop for Told {
    fn drop(&mut self) {
        // Whoever listened may be gone.
        let _gone = self.0.send("dropped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_what_it_names_and_nothing_else() {
    // [NAT-15]
    let scene = Scene::new().await;
    let (events, mut happened) = mpsc::unbounded_channel();
    let (began, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (stuck, waits) = (stuck(events), gated(began.clone(), gate.clone()));
    let service = scene.service().endpoint(SUBJECT, move |call: Call| {
        if call.args() == Some("[]") { stuck(call) } else { waits(call) }
    });
    let running = scene.start(service).await;
    let (node, wanted) = (&scene.node, scene.node.wanted());
    let (kept, stopped) = (node.request(wanted), node.request(Wanted { args: "[]", ..wanted }));
    let mut inbox = node.client.subscribe("answers").await.unwrap();
    for sent in [&kept, &stopped] {
        let bytes = sent.envelope.to_bytes();
        node.client.publish_with_reply(SUBJECT, "answers", bytes).await.unwrap();
    }
    began.notified().await;
    assert_eq!(happened.recv().await, Some("began"));

    let head = kept.chain.head();
    let (payload, sender) = (head.0.to_vec(), node.root.public());
    let forged = |id, key| {
        let (kind, key) = (BusKind::CANCEL, MacKey::new([key; 32]));
        Envelope::mac(kind, id, sender, head, payload.clone(), &key)
    };
    // Cancels are taken in their order: once the last one had its effect, the others had theirs.
    let cancels = [
        Envelope::open(BusKind::CANCEL, sender, payload.clone()),
        forged(ROUTE, 0xcc),
        forged(KeyId([9; 16]), 0xbb),
        node.cancel(wanted, &node.request(wanted).chain),
        node.cancel(wanted, &stopped.chain),
    ];
    let subject = format!("cmtp.bus.{}.cancel", sender.multibase());
    for envelope in &cancels {
        node.client.publish(subject.clone(), envelope.to_bytes()).await.unwrap();
    }
    let mut ended = [happened.recv().await.unwrap(), happened.recv().await.unwrap()];
    ended.sort_unstable();
    assert_eq!(ended, ["cancelled", "dropped"]);
    gate.notify_one();
    // The one that was cancelled is not answered, the other is.
    let reply = inbox.next().await.unwrap();
    assert_eq!(node.answer(&kept, &reply, scene.actor).status, Status::OK);
    let counter = running.counter();
    running.drain().await.unwrap();
    assert_eq!((counter().cancelled, counter().late, counter().answered), (1, 0, 1));
    // The server has all that the service sent: a message of our own comes next.
    node.client.publish("answers", "end".into()).await.unwrap();
    assert_eq!(inbox.next().await.unwrap().payload, "end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_stops_the_handler() {
    // [NAT-7]
    let scene = Scene::new().await;
    let (events, mut happened) = mpsc::unbounded_channel();
    let running = scene.start(scene.service().endpoint(SUBJECT, stuck(events))).await;
    let wanted = Wanted { time_left: Duration::from_millis(300), ..scene.node.wanted() };
    let sent = scene.node.request(wanted).envelope.to_bytes();
    scene.node.client.publish_with_reply(SUBJECT, "answers", sent).await.unwrap();
    assert_eq!(happened.recv().await, Some("began"));
    let mut ended = [happened.recv().await.unwrap(), happened.recv().await.unwrap()];
    ended.sort_unstable();
    assert_eq!(ended, ["cancelled", "dropped"]);
    let counter = running.counter();
    running.drain().await.unwrap();
    assert_eq!((counter().cancelled, counter().late), (0, 1));
}

/// A handler that waits until it is let go.
fn gated(began: Arc<Notify>, gate: Arc<Notify>) -> impl Fn(Call) -> Stuck + Send + Sync {
    move |_call| {
        let (began, gate) = (began.clone(), gate.clone());
        Box::pin(async move {
            began.notify_one();
            gate.notified().await;
            Ok(Reply::empty())
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_service_says_so_in_a_layer() {
    // [NAT-14]
    let scene = Scene::new().await;
    let (began, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let service = scene.service().endpoint(SUBJECT, gated(began.clone(), gate.clone()));
    let running = scene.start(service.in_flight(1)).await;
    let write = Wanted { target: "0xSW:0x001:hello", ..scene.node.wanted() };
    let first = scene.call(write);
    let second = async {
        began.notified().await;
        let refused = scene.call(write).await;
        gate.notify_one();
        refused
    };
    let (first, second) = futures::join!(first, second);
    assert_eq!(first.status, Status::OK);
    assert_eq!(second.status, Status::UNAVAILABLE);
    assert_eq!(second.number(FieldIndex::RETRY_AFTER), Some(1));
    assert!(second.value(FieldIndex::NO_EFFECT).is_some());
    assert!(second.value(FieldIndex::OUTCOME_UNKNOWN).is_none());
    let counts = running.counts();
    assert_eq!((counts.answered, counts.refused), (1, 1));
    running.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_service_finishes_what_it_took() {
    let scene = Scene::new().await;
    let (began, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let waits = gated(began.clone(), gate.clone());
    let service = scene.service().endpoint(SUBJECT, move |call: Call| {
        if call.args() == Some("[]") { Box::pin(async { Ok(Reply::empty()) }) } else { waits(call) }
    });
    let running = scene.start(service).await;
    let call = scene.call(scene.node.wanted());
    let drained = async {
        began.notified().await;
        let drained = running.drain();
        let let_go = async {
            // The endpoint goes while the handler still runs.
            let probe = Wanted { args: "[]", ..scene.node.wanted() };
            while scene.node.is_served(&scene.node.request(probe).envelope).await {}
            gate.notify_one();
        };
        futures::join!(drained, let_go).0
    };
    let (layer, drained) = futures::join!(call, drained);
    assert_eq!(layer.status, Status::OK);
    assert!(matches!(drained, Ok::<(), DrainError>(())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_what_came_of_a_write() {
    // [NAT-14]
    let scene = Scene::new().await;
    let service = scene.service().endpoint(SUBJECT, |call: Call| async move {
        let refusal = Refusal::new(Status::FORBIDDEN, "not yours");
        match call.args() {
            Some(r#"["sure"]"#) => Err(refusal.without_effect()),
            Some(r#"["panic"]"#) => panic!("as a handler may"),
            Some(r#"["status"]"#) => Ok(Reply::empty().with_status(Status::FORBIDDEN)),
            Some(r#"["long"]"#) => Ok(Reply::text("x".repeat(2 << 20))),
            _ => Err(refusal),
        }
    });
    let running = scene.start(service).await;
    let (read, write) = ("0xS:0x001:hello", "0xSW:0x001:hello");
    let table = [
        (read, "[]", 403, (false, false)),
        (read, r#"["sure"]"#, 403, (false, false)),
        (write, "[]", 403, (true, false)),
        (write, r#"["sure"]"#, 403, (false, true)),
        (write, r#"["panic"]"#, 500, (true, false)),
        (write, r#"["status"]"#, 500, (true, false)),
        (write, r#"["long"]"#, 500, (true, false)),
    ];
    for (target, args, status, effect) in table {
        let layer = scene.call(Wanted { target, args, ..scene.node.wanted() }).await;
        let has = |field| layer.value(field).is_some();
        assert_eq!(layer.status.0, status, "{target} {args}");
        let found = (has(FieldIndex::OUTCOME_UNKNOWN), has(FieldIndex::NO_EFFECT));
        assert_eq!(found, effect, "{target} {args}");
    }
    running.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_lost_the_server_finds_it_again() {
    let scene = Scene::new().await;
    let port = scene.server.url.rsplit(':').next().unwrap().to_owned();
    let running = scene.start(scene.service().endpoint(SUBJECT, hello)).await;
    scene.call(scene.node.wanted()).await;
    let Scene { server, node, actor } = scene;
    drop(server);
    let _server = NatsServer::start_with(&["--port", &port]);
    // Both ends reconnect by themselves; until the service has, nobody responds.
    let wanted = node.wanted();
    let reply = loop {
        let sent = node.request(wanted);
        match node.client.request(SUBJECT, sent.envelope.to_bytes()).await {
            Ok(reply) => break node.answer(&sent, &reply, actor),
            Err(_not_yet) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(reply.status, Status::OK);
    running.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_see_what_is_on_the_bus() {
    let scene = Scene::new().await;
    let running = scene.start(scene.service().endpoint(SUBJECT, hello)).await;
    scene.call(scene.node.wanted()).await;
    let home = Home::new();
    let bus = format!("nats={}", scene.server.url);
    let run = |arguments: &[&str]| tokio::task::block_in_place(|| home.cmtp(arguments));
    let out = run(&["services", "--bus", &bus, "--json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let service = &found[0];
    assert_eq!(service["name"], "hello");
    assert_eq!(service["version"], "0.1.0");
    assert_eq!(service["kind"], "layered");
    assert_eq!(service["actor"], scene.actor.to_string());
    assert_eq!(service["schemes"], serde_json::json!(["mac", "signature"]));
    assert_eq!(service["endpoints"][0]["subject"], SUBJECT);
    assert_eq!(service["endpoints"][0]["queue_group"], "hello");
    assert_eq!(service["endpoints"][0]["requests"], 1);
    assert_eq!(service["endpoints"][0]["errors"], 0);
    let text = run(&["services", "--bus", &bus]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("hello") && text.contains(&scene.actor.to_string()), "{text}");
    running.drain().await.unwrap();
    let out = run(&["services", "--bus", &bus, "--json", "--wait", "100"]);
    assert_eq!((out.status.code(), out.stdout.as_slice()), (Some(0), &b"[]\n"[..]));
    let out = run(&["services", "--bus", &scene.server.url]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("nats=nats://127.0.0.1:4222"));
    let out = run(&["services", "--bus", "nats=nats://ann:secret@127.0.0.1:1"]);
    let error = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(3));
    assert!(!error.contains("secret"), "{error}");
}
