//! Who gets the keys of a layered route: `cmtp-spec/spec/11-nats.md`, section Keys.

use async_nats::Client;
use bytes::Bytes;
use cmtp_client::bus::{OpenedKeys, SealingKey};
use cmtp_client::service::{Reply, Service};
use cmtp_codec::{Ask, Envelope, KeyId, PublicKey, SealedKeys, SigningKey};
use cmtp_tests::wire::now;
use futures::StreamExt;

use crate::scene::{Scene, actor, route, settled};

/// Somebody on the bus who asks.
struct Asker {
    client: Client,
    node: PublicKey,
    /// Whom the routes pin.
    actor: SigningKey,
}

impl Asker {
    async fn new(scene: &Scene) -> Self {
        let actor = SigningKey::from_seed(&[7; 32]).unwrap();
        Self { client: scene.client().await, node: scene.node.did.parse().unwrap(), actor }
    }

    /// The key id of the requests on `subject`.
    async fn key_id(&self, scene: &Scene, target: &str, subject: &'static str) -> KeyId {
        let mut requests = self.client.subscribe(subject).await.unwrap();
        settled(&self.client).await;
        let request = scene.caller.write(&scene.connection, target, "x");
        tokio::select! {
            answer = scene.connection.send(&request) => panic!("{answer:?}"),
            request = requests.next() => {
                let payload = request.unwrap().payload;
                Envelope::decode(payload, 1 << 20).unwrap().untrusted().key_id
            }
        }
    }

    fn ask(&self, instance: u8, sealing_key: &SealingKey) -> Ask {
        let (instance, sealing_key) = (KeyId([instance; 16]), sealing_key.public());
        Ask { node: self.node, instance, sealing_key, time: now() }
    }

    /// What the node says: the keys, or the number of its refusal.
    async fn send(&self, ask: Bytes) -> Result<Bytes, String> {
        let subject = format!("cmtp.bus.{}.keys", self.node.multibase());
        let reply = self.client.request(subject, ask).await.unwrap();
        let headers = reply.headers.unwrap_or_default();
        match headers.get("Nats-Service-Error-Code") {
            Some(code) => Err(code.to_string()),
            None => Ok(reply.payload),
        }
    }

    async fn keys(&self, id: KeyId, instance: u8) -> OpenedKeys {
        let sealing_key = SealingKey::generate().unwrap();
        let ask = self.ask(instance, &sealing_key).sign(id, &self.actor);
        let reply = self.send(ask.to_bytes()).await.unwrap();
        let reply = Envelope::decode(reply, 0).unwrap();
        let keys = SealedKeys::verify(reply, &ask, self.node, now()).unwrap();
        sealing_key.open(&keys).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_for_who_is_pinned_and_asks_as_it_must() {
    // [NAT-10] [NAT-20]
    let scene = Scene::new("", &route("demo", "demo", "")).await;
    let asker = Asker::new(&scene).await;
    let id = asker.key_id(&scene, "0xS:demo", "demo").await;
    let sealing_key = SealingKey::generate().unwrap();
    let (good, stranger) = (asker.ask(1, &sealing_key), SigningKey::from_seed(&[8; 32]).unwrap());
    let signed = |ask: Ask| ask.sign(id, &asker.actor);
    let mut forged = good.sign(id, &stranger);
    forged.sender = asker.actor.public();
    let mut short = signed(good);
    short.payload = short.payload.slice(1..);
    let hour = 3_600_000_000;
    let table = [
        ("no envelope", Bytes::from_static(b"keys, please"), "400"),
        ("bytes missing", short.to_bytes(), "400"),
        ("not pinned", good.sign(id, &stranger).to_bytes(), "403"),
        ("in the name of who is", forged.to_bytes(), "403"),
        ("of an hour ago", signed(Ask { time: good.time - hour, ..good }).to_bytes(), "403"),
        ("of an hour to come", signed(Ask { time: good.time + hour, ..good }).to_bytes(), "403"),
        ("another node", signed(Ask { node: stranger.public(), ..good }).to_bytes(), "404"),
        ("an unknown id", good.sign(KeyId([3; 16]), &asker.actor).to_bytes(), "404"),
        ("a key of small order", signed(Ask { sealing_key: [0; 32], ..good }).to_bytes(), "400"),
    ];
    let count = table.len() as u64;
    for (what, ask, code) in table {
        assert_eq!(asker.send(ask).await, Err(code.to_owned()), "{what}");
    }
    assert_eq!(scene.counter("cmtpd_bus_refused_asks_total"), count);
    assert!(asker.send(signed(good).to_bytes()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_of_one_route_one_instance_and_one_start() {
    // [NAT-19]
    // What was dispatched before a reload keeps its keys until it is answered, or late.
    let more = "timeout-ms = 500";
    let routes = route("demo", "demo", more) + &route("other", "other", more);
    let mut scene = Scene::new("", &routes).await;
    let asker = Asker::new(&scene).await;
    let id = asker.key_id(&scene, "0xS:demo", "demo").await;
    let (first, second) = (asker.keys(id, 1).await, asker.keys(id, 2).await);
    assert_eq!(first.request_key, second.request_key, "whoever takes a request can check it");
    assert_ne!(first.answer_key, second.answer_key);
    assert_eq!(first.answer_key, asker.keys(id, 1).await.answer_key);
    let write = asker.key_id(&scene, "0xSW:demo", "demo").await;
    let other = asker.key_id(&scene, "0xS:other", "other").await;
    for another in [write, other] {
        assert_ne!(another, id);
        assert_ne!(asker.keys(another, 1).await.request_key, first.request_key);
    }
    // A reload that changes nothing of the route keeps its keys; one that unpins the actor takes them away.
    let file = scene.node.data().join("cmtpd.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let stranger = SigningKey::from_seed(&[8; 32]).unwrap().public();
    let config = config.replace(&asker.actor.public().to_string(), &stranger.to_string());
    std::fs::write(&file, config).unwrap();
    scene.node.signal("HUP");
    let sealing_key = SealingKey::generate().unwrap();
    let ask = || asker.ask(1, &sealing_key).sign(id, &asker.actor).to_bytes();
    // The signal is seen at some time after it was sent.
    while asker.send(ask()).await.is_ok() {}
    assert_eq!(asker.send(ask()).await, Err("404".to_owned()));
    assert_ne!(asker.key_id(&scene, "0xS:demo", "demo").await, id);
    scene.node.kill();
    scene.node.restart();
    scene.connection = scene.caller.connect().await;
    let after = asker.key_id(&scene, "0xS:demo", "demo").await;
    assert_ne!(after, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_go_on_while_the_keys_of_the_node_are_replaced() {
    // [NAT-19] [NKY-10]
    for scheme in ["", "bus-auth = \"signature\""] {
        let scene = Scene::new("", &route("demo", "demo", scheme)).await;
        let service = Service::new("demo", "0.1.0", actor());
        let service = service.for_node(scene.node.did.parse().unwrap());
        let service = service.endpoint("demo", async |_call| Ok(Reply::text("served")));
        let running = service.start(&scene.server.url).await.unwrap();
        for number in 1..=3 {
            let began = std::time::Instant::now();
            // Before, while and after the node takes the list over.
            while began.elapsed().as_millis() < 300 || scene.connection.keys().number < number {
                for target in ["0xS:demo", "0xSW:demo"] {
                    let answer = scene.call(target, "x").await;
                    assert!(answer.is_success(), "{scheme} {number}: {answer:?}");
                }
            }
            let rotated = scene.node.cmtpd(&["keys", "rotate"]);
            assert!(rotated.status.success(), "{rotated:?}");
        }
        running.drain().await.unwrap();
    }
}
