//! Who may publish on the bus, and read it, and holds no key: it forges neither a caller nor an answer.

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpStream;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use cmtp_client::service::{Call, Refusal, Reply, Running, Service};
use cmtp_codec::{
    BusRequest, Chain, Digest, Envelope, Field, KeyId, Layer, MacKey, PublicKey, SigningKey,
};
use cmtp_spec::{BusAuth, BusKind, FieldIndex, Status, Step};
use cmtp_tests::wire::{now, salt};
use futures::{StreamExt, stream};
use tokio::sync::Notify;

use crate::scene::{Scene, actor, has, listen, route, settled};

#[tokio::test(flavor = "multi_thread")]
async fn no_forged_request_reaches_a_handler() {
    // [NAT-7] [NAT-9] [NAT-10] [NAT-11] [NAT-13]
    let routes = route("demo", "demo", "")
        + &route("other", "other", "")
        + &route("late", "late", "timeout-ms = 50");
    let scene = Scene::new("", &routes).await;
    let forger = Forger::new(&scene).await;
    // What nobody but the forger got is replayed when its deadline has passed.
    let late = forger.tap("late", async || {
        let answer = scene.call("0xS:late", "x").await;
        assert_eq!(answer.status(), Status::DEADLINE_EXCEEDED);
    });
    let late = late.await;
    let ran = Arc::new(AtomicU64::new(0));
    let service = start(&scene, &["demo", "other", "late"], {
        let ran = Arc::clone(&ran);
        move |_call| {
            ran.fetch_add(1, Ordering::SeqCst);
            async { Ok(Reply::text("done")) }
        }
    });
    let service = service.await;
    let call = async |target: &str| assert_eq!(scene.call(target, "x").await.status(), Status::OK);
    let demo = forger.tap("demo", async || call("0xSW:demo").await).await;
    let other = forger.tap("other", async || call("0xSW:other").await).await;
    assert_eq!(ran.load(Ordering::SeqCst), 2);
    let forgeries = (0..TRIES).map(|number| forger.request(number, &demo, &other, &late));
    let sent = stream::iter(forgeries).map(|(subject, payload)| {
        let client = forger.client.clone();
        async move { (payload.clone(), client.request(subject, payload).await.unwrap()) }
    });
    let mut sent = sent.buffer_unordered(64);
    while let Some((payload, reply)) = sent.next().await {
        let headers = reply.headers.unwrap_or_default();
        assert!(headers.get("Nats-Service-Error-Code").is_some(), "{payload:?}");
        assert!(reply.payload.is_empty());
    }
    assert_eq!(ran.load(Ordering::SeqCst), 2, "a handler ran for what no node sent");
    let rejected: u64 = service.counts().rejected.iter().map(|(_, count)| count).sum();
    assert_eq!(rejected, TRIES as u64, "{:?}", service.counts());
    println!("{:?}", service.counts().rejected);
    call("0xSW:demo").await;
    assert_eq!(ran.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_forged_answer_reaches_a_caller() {
    // [NAT-8] [NAT-12] [NAT-17]
    let config = route("demo", "demo", "") + "[journal]\nmode = \"async\"\n";
    let scene = Scene::new("", &config).await;
    let forger = Arc::new(Forger::new(&scene).await);
    let gate = Arc::new(Gate::default());
    let service = start(&scene, &["demo"], {
        let gate = Arc::clone(&gate);
        move |call: Call| {
            let (gate, body) = (Arc::clone(&gate), call.body().cloned().unwrap_or_default());
            async move {
                // The forger is the first to answer, but for every fourth.
                gate.passed(&body).await;
                Ok(Reply::new("text/plain", body))
            }
        }
    });
    let service = service.await;
    // A true answer, which the forger reads on its way, to replay it.
    let truth = {
        let mut all = forger.client.subscribe(">").await.unwrap();
        settled(&forger.client).await;
        gate.open(b"0");
        assert_eq!(scene.call("0xS:demo", "0").await.body().unwrap(), "0");
        let is_answer = |message: &Message| message.payload.starts_with(&[0, BusKind::ANSWER.0]);
        loop {
            let message = all.next().await.unwrap();
            if is_answer(&message) {
                break message.payload;
            }
        }
    };
    listen(&forger.client, "demo", {
        let (forger, gate) = (Arc::clone(&forger), Arc::clone(&gate));
        move |client, request| {
            let (forger, gate, truth) = (Arc::clone(&forger), Arc::clone(&gate), truth.clone());
            async move {
                let body = body_of(&request.payload);
                let number: usize = std::str::from_utf8(&body).unwrap().parse().unwrap();
                let (headers, payload) = forger.answer(number, &request.payload, &truth);
                if number.is_multiple_of(4) {
                    gate.open(&body);
                }
                let inbox = request.reply.unwrap();
                client.publish_with_headers(inbox, headers, payload).await.unwrap();
                client.flush().await.unwrap();
                gate.open(&body);
            }
        }
    })
    .await;
    let calls = stream::iter(1..=TRIES).map(|number| {
        let scene = &scene;
        async move {
            // Some are writes, which cost more.
            let is_write = number.is_multiple_of(16);
            let target = if is_write { "0xSW:demo" } else { "0xS:demo" };
            let (body, answer) =
                (number.to_string(), scene.call(target, &number.to_string()).await);
            if answer.status() == Status::OK {
                assert_eq!(answer.body().unwrap(), body);
                return true;
            }
            assert_eq!(
                (answer.status(), answer.body()),
                (Status::BAD_SERVICE_ANSWER, None),
                "{number}"
            );
            assert_eq!(has(&answer, FieldIndex::OUTCOME_UNKNOWN), is_write);
            assert!(!has(&answer, FieldIndex::NO_EFFECT));
            false
        }
    });
    let told: Vec<bool> = calls.buffer_unordered(32).collect().await;
    let served = told.iter().filter(|served| **served).count();
    println!("{served} true answers, {} refused", TRIES - served);
    assert!(served > 0 && served < TRIES, "both were first at times");
    assert_eq!(service.counts().answered, 1 + TRIES as u64);
    cmtp_tests::load::check(&scene.node, &[], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_forges_that_a_write_had_no_effect() {
    // [NAT-18] [PRC-6]
    let scene = Scene::new("", &route("demo", "demo", "")).await;
    // Where nobody is there, a node can't know it either.
    let refused = scene.call("0xSW:demo", "x").await;
    assert_eq!(refused.status(), Status::UNAVAILABLE);
    assert!(has(&refused, FieldIndex::OUTCOME_UNKNOWN));
    assert_eq!(
        scene.call("0xS:demo", "x").await.retry_after(),
        Some(1),
        "a read is simply sent again"
    );
    let forger = Forger::new(&scene).await;
    let (gate, done) = (Arc::new(Gate::default()), Arc::new(AtomicU64::new(0)));
    let service = start(&scene, &["demo"], {
        let (gate, done) = (Arc::clone(&gate), Arc::clone(&done));
        move |_call| {
            let (gate, done) = (Arc::clone(&gate), Arc::clone(&done));
            async move {
                done.fetch_add(1, Ordering::SeqCst);
                gate.passed(b"answer").await;
                Ok(Reply::empty())
            }
        }
    });
    let _service = service.await;
    let mut raw = TcpStream::connect(scene.server.url.trim_start_matches("nats://")).unwrap();
    raw.write_all(b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n")
        .unwrap();
    listen(&forger.client, "demo", move |_client, request| {
        // As the server says it where nobody listens.
        let (inbox, said) = (request.reply.unwrap(), "NATS/1.0 503\r\nNats-Subject: demo\r\n\r\n");
        let size = said.len();
        raw.write_all(format!("HPUB {inbox} {size} {size}\r\n{said}\r\n").as_bytes()).unwrap();
        std::future::ready(())
    })
    .await;
    let request = scene.caller.write(&scene.connection, "0xSW:demo", "x");
    let forged = scene.connection.send(&request).await.unwrap();
    assert_eq!(forged.status(), Status::UNAVAILABLE);
    assert!(!has(&forged, FieldIndex::NO_EFFECT));
    assert!(has(&forged, FieldIndex::OUTCOME_UNKNOWN));
    // The same bytes are not executed again.
    assert!(scene.connection.send(&request).await.unwrap().is_recorded());
    while done.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    gate.open(b"answer");
    assert_eq!(done.load(Ordering::SeqCst), 1);
    cmtp_tests::load::check(&scene.node, &[], 0);
}

/// Answers by what `handler` says.
async fn start<F>(
    scene: &Scene,
    subjects: &[&str],
    handler: impl Fn(Call) -> F + Clone + Send + Sync + 'static,
) -> Running
where
    F: Future<Output = Result<Reply, Refusal>> + Send + 'static,
{
    let service = Service::new("hello", "0.1.0", actor()).for_node(scene.node.did.parse().unwrap());
    let service = subjects
        .iter()
        .fold(service, |service, subject| service.endpoint(*subject, handler.clone()));
    service.start(&scene.server.url).await.unwrap()
}

/// Lets those through who were named.
#[derive(Default)]
struct Gate {
    open: Mutex<HashSet<Vec<u8>>>,
    changed: Notify,
}

impl Gate {
    fn open(&self, name: &[u8]) {
        self.open.lock().unwrap().insert(name.to_vec());
        self.changed.notify_waiters();
    }

    async fn passed(&self, name: &[u8]) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.open.lock().unwrap().contains(name) {
                return;
            }
            changed.await;
        }
    }
}

/// Has the bus, and a key of its own.
struct Forger {
    client: Client,
    key: SigningKey,
    node: PublicKey,
}

impl Forger {
    async fn new(scene: &Scene) -> Self {
        let key = SigningKey::from_seed(&[66; 32]).unwrap();
        Self { client: scene.client().await, key, node: scene.node.did.parse().unwrap() }
    }

    /// What is sent on `subject` while `call` runs.
    async fn tap(&self, subject: &'static str, call: impl AsyncFnOnce()) -> Bytes {
        let mut requests = self.client.subscribe(subject).await.unwrap();
        settled(&self.client).await;
        call().await;
        requests.next().await.unwrap().payload
    }

    /// A request that no node sent to where it goes, made of three that were.
    fn request(
        &self,
        number: usize,
        demo: &Bytes,
        other: &Bytes,
        late: &Bytes,
    ) -> (&'static str, Bytes) {
        let envelope = opened(demo);
        let (tag, payload) = (&demo[HEADER..HEADER + TAG], &demo[HEADER + TAG..]);
        let spliced = |parts: &[&[u8]]| Bytes::from(parts.concat());
        let payload_of = match number % 12 {
            0 => Bytes::from(vec![number as u8; number % 200]),
            // No authentication, as the layers say, too.
            1 => {
                let (_, payload) = self.layers(demo, self.node, BusAuth::NONE);
                Envelope::open(BusKind::REQUEST, self.node, payload).to_bytes()
            }
            2 => flipped(demo, HEADER * 8 + number % (TAG * 8)),
            3 => spliced(&[&demo[..HEADER], &other[HEADER..HEADER + TAG], payload]),
            4 => spliced(&[&demo[..HEADER], tag, &other[HEADER + TAG..]]),
            // As it is: it was seen.
            5 => demo.clone(),
            // As it is, on another subject.
            6 => other.clone(),
            // As it is, after its deadline.
            7 => return ("late", late.clone()),
            // By the forger's own key, with the origin of a caller that signed.
            8 => {
                let (head, payload) = self.layers(demo, self.key.public(), BusAuth::SIGNATURE);
                Envelope::sign(BusKind::REQUEST, envelope.key_id, head, payload, &self.key)
                    .to_bytes()
            }
            9 => demo.slice(..number % demo.len()),
            // Not in the key id, which would be asked for.
            10 => flipped(demo, 19 * 8 + number % ((demo.len() - 19) * 8)),
            // In the node's name, under a key that is not its route's.
            _ => {
                let (head, payload) = self.layers(demo, self.node, BusAuth::MAC);
                let key = MacKey::new([number as u8; 32]);
                Envelope::mac(BusKind::REQUEST, envelope.key_id, self.node, head, payload, &key)
                    .to_bytes()
            }
        };
        ("demo", payload_of)
    }

    /// The origin of a true request, admitted and dispatched by `sender`, as the forger says.
    fn layers(&self, request: &Bytes, sender: PublicKey, scheme: BusAuth) -> (Digest, Bytes) {
        let request = decoded(request);
        let (origin, mut admit) = (request.layers()[0].clone(), request.layers()[1].clone());
        admit.actor = sender;
        let mut chain = Chain::EMPTY;
        chain.append(&origin).unwrap();
        let head = chain.append(&admit).unwrap();
        let dispatch = Layer::new(Step::DISPATCH, sender, now(), salt())
            .with_public(Field::bytes(FieldIndex::SUBJECT, "demo"))
            .with_public(Field::number(FieldIndex::DEADLINE, now() + 10_000_000))
            .with_public(Field::digest(FieldIndex::HEAD, head))
            .with_public(Field::octet(FieldIndex::BUS_AUTH, scheme.0));
        let head = chain.append(&dispatch).unwrap();
        (head, BusRequest::payload([&origin, &admit, &dispatch]))
    }

    /// An answer that no service made to this request; `truth` is one that was made to another.
    fn answer(&self, number: usize, request: &Bytes, truth: &Bytes) -> (HeaderMap, Bytes) {
        let head = decoded(request).head();
        let service = actor().did();
        let instance = opened(truth).key_id;
        let layer = |actor| {
            let layer = Layer::new(Step::SERVE, actor, now(), salt()).with_status(Status::OK);
            layer.with_body(salt(), "forged")
        };
        let payload = |actor| BusRequest::payload([&layer(actor)]);
        let mut headers = HeaderMap::new();
        let answer = match number % 12 {
            0 => Bytes::from_static(b"forged"),
            1 => Bytes::new(),
            2 => {
                headers.insert("Nats-Service-Error-Code", "200");
                Bytes::from_static(b"forged")
            }
            3 => Envelope::open(BusKind::ANSWER, service, payload(service)).to_bytes(),
            4 => {
                let key = MacKey::new([number as u8; 32]);
                Envelope::mac(BusKind::ANSWER, instance, service, head, payload(service), &key)
                    .to_bytes()
            }
            5 => truth.clone(),
            6 => [&truth[..HEADER + TAG], &payload(service)].concat().into(),
            7 => {
                let payload = payload(self.key.public());
                Envelope::sign(BusKind::ANSWER, KeyId::ZERO, head, payload, &self.key).to_bytes()
            }
            8 => {
                let mut envelope =
                    Envelope::sign(BusKind::ANSWER, KeyId::ZERO, head, payload(service), &self.key);
                envelope.sender = service;
                envelope.to_bytes()
            }
            9 => flipped(truth, number % (truth.len() * 8)),
            10 => request.clone(),
            _ => truth.slice(..number % truth.len()),
        };
        (headers, answer)
    }
}

fn opened(bytes: &Bytes) -> Envelope {
    Envelope::decode(bytes.clone(), 1 << 20).unwrap().into_untrusted()
}

fn decoded(request: &Bytes) -> BusRequest {
    let envelope = Envelope::decode(request.clone(), 1 << 20).unwrap();
    BusRequest::decode(envelope, 1 << 20).unwrap().into_untrusted()
}

fn body_of(request: &Bytes) -> Bytes {
    decoded(request).origin().data().unwrap().clone()
}

fn flipped(bytes: &Bytes, bit: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes.into()
}

/// Of each, against one service and one node.
const TRIES: usize = 10_000;
/// Bytes before the tag, and of the tag in scheme `mac`.
const HEADER: usize = 51;
const TAG: usize = 32;
