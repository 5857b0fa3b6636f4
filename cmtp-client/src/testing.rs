//! What this crate's tests share: keys, and whole messages as a node seals them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod streamed;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cmtp_codec::{
    Assembler, Auth, Chain, Digest, Entry, Field, Fqmn, Frame, FrameReader, KeyList, Layer, Link,
    Message, Part, Receipt, Replay, Salt, Seal, SigningKey, Source, Statement, Unverified,
    Verified,
};
use cmtp_spec::{
    CloseCode, ConnectionKind, EntryFlags, EntryType, FieldIndex, JournalMode, Status, Step,
    StreamType, binding, limits,
};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, RecvStream, SendStream, ServerConfig};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::close;
use crate::identity::Identity;
use crate::request::{PreparedRequest, Request};

pub(crate) use streamed::Streamed;

pub(crate) fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

/// Seed of the node's key, which stands for every use.
pub(crate) const NODE: u8 = 1;
/// Seed of the caller's key.
pub(crate) const CALLER: u8 = 2;
pub(crate) const NOW: u64 = 1_790_000_000_000_000;
/// The exporter's and the token's digests that admit layers name.
pub(crate) const EXPORTER: Digest = Digest([0xe0; 32]);
pub(crate) const TOKEN: Digest = Digest([0x70; 32]);

/// What a node sends back: layers, interim seals with the number of layers that each covers, the final seal.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) links: Vec<Link>,
    pub(crate) interims: Vec<(u32, Seal)>,
    pub(crate) seal: Seal,
}

/// An exchange: a read of `0xS:echo`, and what the node makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The status of the last layer: admit's where it refuses, else serve's.
    pub(crate) status: Status,
    /// Admit refuses.
    pub(crate) refused: bool,
    pub(crate) remedy: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) exporter: Digest,
    pub(crate) token: Digest,
    pub(crate) recorded: bool,
    pub(crate) unread: bool,
    pub(crate) retry_after: Option<u64>,
    /// Without an R0.
    pub(crate) unlogged: bool,
}

impl Sample {
    /// A node's good answer.
    pub(crate) fn answer() -> Self {
        Self {
            status: Status::OK,
            refused: false,
            remedy: "ask-access",
            body: b"hello".to_vec(),
            exporter: EXPORTER,
            token: TOKEN,
            recorded: false,
            unread: false,
            retry_after: None,
            unlogged: false,
        }
    }

    pub(crate) fn refusal(status: Status) -> Self {
        Self { status, refused: true, ..Self::answer() }
    }

    pub(crate) fn request() -> PreparedRequest {
        let target = Fqmn::parse(r#"0xS:echo:["Dexter"]"#).unwrap();
        Request::new(target)
            .field(Field::new("x-tag", "a").unwrap())
            .field(Field::new("x-tag", "b").unwrap())
            .body("hello")
            .prepare(&Identity::from_seed(&[CALLER; 32]).unwrap(), signing_key(NODE).public(), NOW)
            .unwrap()
    }

    /// What the node sends for the origin `request`.
    pub(crate) fn received(&self, request: &Layer) -> Received {
        let node = signing_key(NODE);
        let mut origin = request.clone();
        if self.unread {
            origin.close_unread();
        }
        let mut chain = Chain::default();
        chain.push(&Link::Layer(origin)).unwrap();
        let layers = self.layers(&node);
        for layer in &layers {
            chain.append(layer).unwrap();
        }
        let mut seal = Seal::new(node.public(), chain.seal(&node.public()));
        seal.recorded = self.recorded;
        seal.body_unread = self.unread;
        seal.unlogged = self.unlogged;
        if !self.unlogged {
            let status = self.status;
            seal.receipt = Some(receipt(
                &node,
                request,
                (EntryType::EXCHANGE, status),
                chain.length(),
                seal.hash,
            ));
        }
        let links = layers.into_iter().map(Link::Layer).collect();
        Received { links, interims: Vec::new(), seal }
    }

    /// The whole message as it is saved.
    pub(crate) fn message(&self) -> Message {
        let request = Self::request();
        let Received { links, interims, mut seal } = self.received(request.origin());
        seal.keys = Some(KeyList::sign_single(&signing_key(NODE)));
        let origin = Link::Layer(request.origin().clone());
        Message { links: [origin].into_iter().chain(links).collect(), interims, seal }
    }

    pub(crate) fn replay(&self) -> Verified<Replay> {
        let root = signing_key(NODE).public();
        Unverified::new(self.message()).verify(Some(&root)).unwrap()
    }

    fn layers(&self, node: &SigningKey) -> Vec<Layer> {
        let admit = admit(node, self.exporter, self.token);
        if self.refused {
            let refusal = admit
                .with_status(self.status)
                .with_public(Field::bytes(FieldIndex::REMEDY, self.remedy))
                .with_public(Field::bytes(FieldIndex::DETAIL, "no"));
            let after = |after| Field::number(FieldIndex::RETRY_AFTER, after);
            return vec![match self.retry_after.map(after) {
                Some(field) => refusal.with_public(field),
                None => refusal,
            }];
        }
        let serve = Layer::new(Step::SERVE, node.public(), NOW + 2, Salt([4; 16]))
            .with_status(self.status)
            .with_public(Field::bytes(FieldIndex::CONTENT_TYPE, "text/plain"))
            .with_body(Salt([5; 16]), self.body.clone());
        vec![admit.with_public(Field::bytes(FieldIndex::POLICIES, "0xS:**")), serve]
    }
}

fn admit(node: &SigningKey, exporter: Digest, token: Digest) -> Layer {
    Layer::new(Step::ADMIT, node.public(), NOW + 1, Salt([3; 16]))
        .with_public(Field::octet(FieldIndex::CONNECTION_KIND, ConnectionKind::DIRECT.0))
        .with_public(Field::digest(FieldIndex::EXPORTER_DIGEST, exporter))
        .with_public(Field::digest(FieldIndex::TOKEN_DIGEST, token))
        .with_public(Field::digest(FieldIndex::POLICY_DIGEST, Digest::of(b"")))
}

/// R0 of a commit of one, in mode `none`.
fn receipt(
    node: &SigningKey,
    request: &Layer,
    (entry_type, status): (EntryType, Status),
    layers: u32,
    seal: Digest,
) -> Receipt {
    let time = NOW + 3;
    let message_id = request.fixed(FieldIndex::MESSAGE_ID).unwrap();
    let target = Fqmn::parse_target(request.text(FieldIndex::TARGET).unwrap()).unwrap();
    let opcode = target.opcode();
    let flags = EntryFlags(0);
    let entry = Entry { entry_type, opcode, flags, status, layers, time, message_id, seal };
    let statement = Statement {
        log_origin: "test/log".to_owned(),
        first_index: None,
        count: 1,
        root: entry.leaf(),
        mode: JournalMode::NONE,
        time,
        merge_delay: 0,
    };
    Receipt {
        signature: statement.sign(node),
        statement,
        entry_type,
        opcode,
        entry_flags: flags,
        message_id,
        offset: 0,
        path: Vec::new(),
    }
}

/// A node that does what a test says, on a real connection.
pub(crate) struct FakeNode {
    endpoint: Endpoint,
}

impl FakeNode {
    /// Listens with the TLS key of `seed`, speaking `alpn`.
    pub(crate) fn listen(seed: u8, alpn: &str) -> Self {
        let pkcs8 = PrivatePkcs8KeyDer::from(signing_key(seed).to_pkcs8().unwrap());
        let certificate = CertificateParams::new(vec!["cmtp.invalid".to_owned()]).unwrap();
        let certificate =
            certificate.self_signed(&KeyPair::try_from(&pkcs8).unwrap()).unwrap().der().clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(pkcs8))
            .unwrap();
        tls.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        Self { endpoint: Endpoint::server(config, any).unwrap() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> FakeConnection {
        let quic = self.endpoint.accept().await.unwrap().await.unwrap();
        let mut exporter = [0; 32];
        let label = binding::EXPORTER_LABEL_AUTH.as_bytes();
        quic.export_keying_material(&mut exporter, label, b"").unwrap();
        FakeConnection { quic, exporter }
    }

    /// The next connection, whose handshake fails.
    pub(crate) async fn fail(&self) {
        self.endpoint.accept().await.unwrap().await.unwrap_err();
    }

    /// The next connection, on which a control stream begins as it must.
    pub(crate) async fn greet(&self) -> (FakeConnection, SendStream) {
        let connection = self.accept().await;
        let control = connection.control(&[settings(), keys()]).await;
        (connection, control)
    }
}

pub(crate) fn settings() -> Frame {
    Frame::Settings(Vec::new())
}

pub(crate) fn keys() -> Frame {
    Frame::Keys(KeyList::sign_single(&signing_key(NODE)))
}

pub(crate) struct FakeConnection {
    pub(crate) quic: quinn::Connection,
    pub(crate) exporter: [u8; 32],
}

/// A request as the node read it, and the stream for its answer.
pub(crate) struct FakeRequest {
    pub(crate) auth: Option<Auth>,
    pub(crate) origin: Layer,
    pub(crate) send: SendStream,
}

impl FakeRequest {
    /// The stream's number, as GOAWAY counts.
    pub(crate) fn id(&self) -> u64 {
        quinn::VarInt::from(self.send.id()).into_inner()
    }

    /// Answers, and ends the stream.
    pub(crate) async fn answer(mut self, sample: &Sample) {
        self.send.write_all(&sample.frames(&self.origin)).await.unwrap();
        self.send.finish().unwrap();
    }
}

/// Sends frames.
pub(crate) async fn send(stream: &mut SendStream, frames: &[Frame]) {
    let mut bytes = BytesMut::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    stream.write_all(&bytes).await.unwrap();
}

impl FakeConnection {
    /// Opens a unidirectional stream of the control type with these frames.
    pub(crate) async fn control(&self, frames: &[Frame]) -> SendStream {
        let mut stream = self.quic.open_uni().await.unwrap();
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&[u8::try_from(StreamType::CONTROL.0).unwrap()]);
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        stream.write_all(&bytes).await.unwrap();
        stream
    }

    /// The next request stream.
    pub(crate) async fn streams(&self) -> (SendStream, RecvStream) {
        self.quic.accept_bi().await.unwrap()
    }

    /// The next request, whole.
    pub(crate) async fn request(&self) -> FakeRequest {
        let (send, mut recv) = self.streams().await;
        let mut reader = FrameReader::new(0);
        let mut assembler = Assembler::new(Source::Request, limits::BODY_MAX);
        let (mut auth, mut origin) = (None, None);
        reader.push(&recv.read_to_end(1_000_000).await.unwrap());
        while let Some(frame) = reader.next_frame().unwrap() {
            match assembler.take(frame).unwrap() {
                Some(Part::Auth(shown)) => auth = Some(shown),
                Some(Part::Link(link)) => origin = link.layer().cloned(),
                _ => {}
            }
        }
        assembler.finish().unwrap();
        FakeRequest { auth, origin: origin.unwrap(), send }
    }

    /// The code with which the client ended the connection.
    pub(crate) async fn close_code(&self) -> CloseCode {
        match self.quic.closed().await {
            quinn::ConnectionError::ApplicationClosed(close) => close::received(close.error_code),
            other => unreachable!("{other}"),
        }
    }

    /// A good answer on this connection to a request without a token.
    pub(crate) fn answer(&self) -> Sample {
        let exporter = Digest::of(&self.exporter);
        Sample { exporter, token: Digest::ZERO, ..Sample::answer() }
    }
}

impl Sample {
    /// The answer's frames.
    pub(crate) fn frames(&self, origin: &Layer) -> Bytes {
        let Received { links, seal, .. } = self.received(origin);
        let mut bytes = BytesMut::new();
        links.iter().for_each(|link| link.encode(&mut bytes));
        Frame::Seal(Box::new(seal)).encode(&mut bytes);
        bytes.freeze()
    }
}
