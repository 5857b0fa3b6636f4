//! A node's side of the bus, by hand: what a service meets when it meets a node, or somebody who says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind};
use cmtp_client::bus::{OpenedKeys, seal_keys};
use cmtp_codec::{
    Ask, BusAnswer, BusRequest, Chain, Envelope, Field, KeyId, KeyList, Layer, MacKey, Proof,
    PublicKey, Salt, SigningKey,
};
use cmtp_spec::{BusAuth, BusKind, FieldIndex, Step};
use futures::StreamExt;

pub(crate) const ROUTE: KeyId = KeyId([0xaa; 16]);
pub(crate) const SUBJECT: &str = "demo.hello";
const REQUEST_KEY: [u8; 32] = [0xbb; 32];
const ANSWER_KEY: [u8; 32] = [0xcc; 32];

pub(crate) struct Node {
    pub(crate) root: SigningKey,
    pub(crate) layer_key: SigningKey,
    pub(crate) caller: SigningKey,
    pub(crate) client: Client,
    /// How often it was asked for keys.
    pub(crate) asks: Arc<AtomicUsize>,
}

/// A request as the node would send it, to be changed at will.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) envelope: Envelope,
    pub(crate) chain: Chain,
}

/// What a request is to be.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) scheme: BusAuth,
    pub(crate) key_id: KeyId,
    pub(crate) subject: &'static str,
    pub(crate) target: &'static str,
    pub(crate) args: &'static str,
    pub(crate) audience: PublicKey,
    pub(crate) time_left: Duration,
    /// How long ago the node dispatched it, by the node's clock.
    pub(crate) age: Duration,
}

impl Node {
    /// A node on the bus that gives the keys of one route to `actor`.
    pub(crate) async fn start(url: &str, actor: PublicKey) -> Self {
        let key = |seed| SigningKey::from_seed(&[seed; 32]).unwrap();
        let client = async_nats::connect(url).await.unwrap();
        let asks = Arc::new(AtomicUsize::new(0));
        let node = Self {
            root: key(1),
            layer_key: key(1),
            caller: key(3),
            client: client.clone(),
            asks: asks.clone(),
        };
        let subject = format!("cmtp.bus.{}.keys", node.root.public().multibase());
        let mut incoming = client.subscribe(subject).await.unwrap();
        client.flush().await.unwrap();
        tokio::spawn(async move {
            let root = key(1);
            while let Some(message) = incoming.next().await {
                asks.fetch_add(1, Ordering::SeqCst);
                give_keys(&client, &root, actor, message).await;
            }
        });
        node
    }

    pub(crate) fn wanted(&self) -> Wanted {
        Wanted {
            scheme: BusAuth::MAC,
            key_id: ROUTE,
            subject: SUBJECT,
            target: "0xS:0x001:hello",
            args: r#"["Dexter"]"#,
            audience: self.root.public(),
            time_left: Duration::from_secs(20),
            age: Duration::ZERO,
        }
    }

    pub(crate) fn request(&self, wanted: Wanted) -> Sent {
        let (chain, payload) = self.layers(wanted, self.layer_key.public());
        let envelope = self.enclose(wanted, BusKind::REQUEST, &chain, payload);
        Sent { envelope, chain }
    }

    pub(crate) fn cancel(&self, wanted: Wanted, chain: &Chain) -> Envelope {
        let payload = chain.head().0.to_vec();
        self.enclose(wanted, BusKind::CANCEL, chain, payload.into())
    }

    fn enclose(
        &self,
        wanted: Wanted,
        kind: BusKind,
        chain: &Chain,
        payload: bytes::Bytes,
    ) -> Envelope {
        let (sender, head) = (self.layer_key.public(), chain.head());
        match wanted.scheme {
            BusAuth::MAC => {
                let key = MacKey::new(REQUEST_KEY);
                Envelope::mac(kind, wanted.key_id, sender, head, payload, &key)
            }
            BusAuth::SIGNATURE => {
                Envelope::sign(kind, wanted.key_id, head, payload, &self.layer_key)
            }
            _ => Envelope::open(kind, sender, payload),
        }
    }

    /// The layers up to dispatch, by `actor`.
    pub(crate) fn layers(&self, wanted: Wanted, actor: PublicKey) -> (Chain, bytes::Bytes) {
        let now = now();
        let id: [u8; 16] = random();
        let mut id = id;
        id[..6].copy_from_slice(&(now / 1_000).to_be_bytes()[2..]);
        id[6] = 0x70 | id[6] & 0x0f;
        id[8] = 0x80 | id[8] & 0x3f;
        let mut chain = Chain::default();
        let mut origin = Layer::new(Step::ORIGIN, self.caller.public(), now, Salt(random()))
            .with_public(Field::bytes(FieldIndex::MESSAGE_ID, id.to_vec()))
            .with_public(Field::key(FieldIndex::AUDIENCE, wanted.audience))
            .with_public(Field::bytes(FieldIndex::TARGET, wanted.target))
            .with_public(Field::number(FieldIndex::NOT_AFTER, now + 60_000_000))
            .with_private(Salt(random()), Field::bytes(FieldIndex::ARGS, wanted.args));
        chain.append_signed(&mut origin, &self.caller).unwrap();
        let admit = Layer::new(Step::ADMIT, actor, now, Salt(random()));
        let before = chain.append(&admit).unwrap();
        let deadline = now + u64::try_from(wanted.time_left.as_micros()).unwrap();
        let dispatched = now - u64::try_from(wanted.age.as_micros()).unwrap();
        let dispatch = Layer::new(Step::DISPATCH, actor, dispatched, Salt(random()))
            .with_public(Field::bytes(FieldIndex::SUBJECT, wanted.subject))
            .with_public(Field::number(FieldIndex::DEADLINE, deadline))
            .with_public(Field::digest(FieldIndex::HEAD, before))
            .with_public(Field::octet(FieldIndex::BUS_AUTH, wanted.scheme.0));
        chain.append(&dispatch).unwrap();
        (chain, BusRequest::payload([&origin, &admit, &dispatch]))
    }

    /// Sends a request, and gives what comes back; `None` where nothing listens.
    pub(crate) async fn send(&self, envelope: &Envelope) -> Option<Message> {
        self.send_bytes(SUBJECT, envelope.to_bytes()).await
    }

    pub(crate) async fn send_bytes(&self, subject: &str, bytes: bytes::Bytes) -> Option<Message> {
        match self.client.request(subject.to_owned(), bytes).await {
            Ok(message) => Some(message),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether somebody listens; a request that is on its way while a service leaves may be lost.
    pub(crate) async fn is_served(&self, envelope: &Envelope) -> bool {
        let request = Request::new().payload(envelope.to_bytes());
        let request = request.timeout(Some(Duration::from_millis(200)));
        match self.client.send_request(SUBJECT, request).await {
            Err(error) => error.kind() != RequestErrorKind::NoResponders,
            Ok(_) => true,
        }
    }

    /// The verified serve layer of a reply.
    pub(crate) fn answer(&self, sent: &Sent, reply: &Message, actor: PublicKey) -> Layer {
        assert_eq!(error_of(reply), None);
        let envelope = Envelope::decode(reply.payload.clone(), 1 << 20).unwrap();
        assert_eq!(envelope.untrusted().sender, actor);
        let key = MacKey::new(ANSWER_KEY);
        let proof = match sent.envelope.scheme() {
            BusAuth::MAC => Proof::Mac(&key),
            BusAuth::SIGNATURE => Proof::Signature,
            _ => Proof::NoneWanted,
        };
        let answer = BusAnswer::decode(envelope, 1 << 20).unwrap();
        let (answer, chain) = answer.verify(sent.chain, proof).unwrap();
        assert_eq!(chain.length(), sent.chain.length() + 1);
        answer.into_inner().into_layer()
    }

    /// Sends a request that is to be answered by a layer.
    pub(crate) async fn call(&self, wanted: Wanted, actor: PublicKey) -> Layer {
        let sent = self.request(wanted);
        let bytes = sent.envelope.to_bytes();
        let reply = self.send_bytes(wanted.subject, bytes).await.expect("a service listens");
        self.answer(&sent, &reply, actor)
    }
}

async fn give_keys(client: &Client, root: &SigningKey, actor: PublicKey, message: Message) {
    let reply = message.reply.expect("an ask is a request");
    let envelope = Envelope::decode(message.payload, 0).unwrap();
    let asked = Ask::verify(envelope, root.public(), now()).unwrap();
    if asked.actor != actor || asked.key_id != ROUTE {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Service-Error-Code", "403");
        headers.insert("Nats-Service-Error", "not pinned");
        client.publish_with_headers(reply, headers, "".into()).await.unwrap();
        return;
    }
    let keys = OpenedKeys { request_key: REQUEST_KEY, answer_key: ANSWER_KEY };
    let sealed = seal_keys(&asked, KeyList::sign_single(root), &keys).unwrap();
    client.publish(reply, sealed.sign(&asked, root).to_bytes()).await.unwrap();
}

/// Number and text of the NATS micro error that a reply is.
pub(crate) fn error_of(reply: &Message) -> Option<(String, String)> {
    let headers = reply.headers.as_ref()?;
    let header = |name: &str| headers.get(name).map(ToString::to_string);
    Some((header("Nats-Service-Error-Code")?, header("Nats-Service-Error")?))
}

pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}
