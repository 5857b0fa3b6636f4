//! A node that is none: it has the keys of one, and says in the handshake whatever a test has it say.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;
use cmtp_codec::log::log_origin;
use cmtp_codec::session::Parties;
use cmtp_codec::{
    Assembler, Auth, Chain, Digest, Entry, Field, Fqmn, Frame, FrameReader, KeyList, Layer, Link,
    Part, PublicKey, Receipt, Seal, SigningKey, Source, Statement,
};
use cmtp_spec::{
    ConnectionKind, EntryFlags, EntryType, FieldIndex, JournalMode, Status, Step, binding, limits,
    remedies,
};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, SendStream, ServerConfig};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::wire::{now, salt};

/// A node's end that a test plays.
#[derive(Debug)]
pub struct ForgedNode {
    endpoint: Endpoint,
    root: SigningKey,
    keys: KeyList,
}

/// A client's connection to it.
#[derive(Debug)]
pub struct ForgedConnection<'a> {
    node: &'a ForgedNode,
    quic: quinn::Connection,
    _control: SendStream,
}

/// A request as it came, and the stream for its answer.
#[derive(Debug)]
pub struct ForgedRequest {
    /// The origin.
    pub origin: Layer,
    /// Of the token that it shows.
    token: Digest,
    send: SendStream,
}

impl ForgedNode {
    /// Listens with the root key for TLS, under this key list.
    ///
    /// # Panics
    /// If there is no socket, or no certificate.
    pub fn listen(root: SigningKey, keys: KeyList) -> Self {
        let pkcs8 = PrivatePkcs8KeyDer::from(root.to_pkcs8().expect("a key"));
        let pair = KeyPair::try_from(&pkcs8).expect("a key pair");
        let certificate = CertificateParams::new(vec!["cmtp.invalid".to_owned()]).expect("a name");
        let certificate = certificate.self_signed(&pair).expect("a certificate").der().clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(pkcs8))
            .expect("a certificate and its key");
        tls.alpn_protocols = vec![binding::ALPN.as_bytes().to_vec()];
        let tls = QuicServerConfig::try_from(tls).expect("QUIC over TLS 1.3");
        let config = ServerConfig::with_crypto(Arc::new(tls));
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into());
        Self { endpoint: endpoint.expect("a socket"), root, keys }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// If the socket has no address.
    pub fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().expect("an address")
    }

    /// Its root key.
    pub const fn root(&self) -> &SigningKey {
        &self.root
    }

    /// The next connection, begun as a node begins it.
    ///
    /// # Panics
    /// If none comes.
    pub async fn accept(&self) -> ForgedConnection<'_> {
        let incoming = self.endpoint.accept().await.expect("a client");
        let quic = incoming.await.expect("a connection");
        let mut control = quic.open_uni().await.expect("a control stream");
        let mut bytes = BytesMut::from(&[0][..]);
        Frame::Settings(Vec::new()).encode(&mut bytes);
        Frame::Keys(self.keys.clone()).encode(&mut bytes);
        control.write_all(&bytes).await.expect("a client that reads");
        ForgedConnection { node: self, quic, _control: control }
    }
}

impl ForgedConnection<'_> {
    /// The next request; `None` where the client has gone.
    ///
    /// # Panics
    /// If it breaks a rule.
    pub async fn request(&self) -> Option<ForgedRequest> {
        let (send, mut recv) = self.quic.accept_bi().await.ok()?;
        let (mut reader, mut token, mut origin) = (FrameReader::new(0), Digest::ZERO, None);
        let mut assembler = Assembler::new(Source::Request, limits::BODY_MAX);
        reader.push(&recv.read_to_end(1_000_000).await.ok()?);
        while let Some(frame) = reader.next_frame().expect("well-formed frames") {
            match assembler.take(frame).expect("frames in their place") {
                Some(Part::Auth(Auth::Known(digest))) => token = digest,
                Some(Part::Auth(Auth::Shown { token: shown, .. })) => token = Digest::of(&shown),
                Some(Part::Link(link)) => origin = link.layer().cloned(),
                _ => {}
            }
        }
        Some(ForgedRequest { origin: origin.expect("an origin"), token, send })
    }

    /// Between whom a handshake is here, and where.
    pub fn parties(&self, persona: PublicKey) -> Parties {
        let exporter = self.exporter(binding::EXPORTER_LABEL_SESSION);
        Parties { exporter, node: self.node.root.public(), persona }
    }

    /// Refuses a request as a node does that was shown no token.
    ///
    /// # Panics
    /// If the client has gone.
    pub async fn refuse(&self, request: ForgedRequest) {
        let remedy = Field::bytes(FieldIndex::REMEDY, remedies::CREATE_IDENTITY.0);
        let admit = self.admit(&request).with_status(Status::IDENTITY_REQUIRED).with_public(remedy);
        self.seal(request, vec![admit], false).await;
    }

    /// Answers a request with a message, and what stands beside it; a write also with its commit and a receipt.
    ///
    /// # Panics
    /// If the client has gone.
    pub async fn answer(&self, request: ForgedRequest, body: &[u8], fields: Vec<Field>) {
        let policies = Field::bytes(FieldIndex::POLICIES, binding::SESSION_PATTERN);
        let content = Field::bytes(FieldIndex::CONTENT_TYPE, "application/json");
        let admit = self.admit(&request).with_public(policies);
        let mut serve = self.layer(Step::SERVE).with_status(Status::OK).with_public(content);
        for field in fields {
            serve = serve.with_private(salt(), field);
        }
        let mut layers = vec![admit, serve.with_body(salt(), body.to_vec())];
        let is_write = target(&request.origin).is_write();
        if is_write {
            layers.push(self.layer(Step::COMMIT));
        }
        self.seal(request, layers, is_write).await;
    }

    async fn seal(&self, request: ForgedRequest, layers: Vec<Layer>, has_receipt: bool) {
        let ForgedRequest { origin, mut send, .. } = request;
        let root = self.node.root.public();
        let mut chain = Chain::default();
        chain.push(&Link::Layer(origin.clone())).expect("a good origin");
        let mut bytes = BytesMut::new();
        for layer in &layers {
            chain.append(layer).expect("a good layer");
            layer.encode(&mut bytes);
        }
        let mut seal = Seal::new(root, chain.seal(&root));
        seal.unlogged = !has_receipt;
        if has_receipt {
            seal.receipt = Some(self.receipt(&origin, chain.length(), seal.hash));
        }
        Frame::Seal(Box::new(seal)).encode(&mut bytes);
        // A client that has heard enough may have gone.
        let _gone = send.write_all(&bytes).await;
        let _gone = send.finish();
    }

    fn admit(&self, request: &ForgedRequest) -> Layer {
        let exporter = Digest::of(&self.exporter(binding::EXPORTER_LABEL_AUTH));
        self.layer(Step::ADMIT)
            .with_public(Field::octet(FieldIndex::CONNECTION_KIND, ConnectionKind::DIRECT.0))
            .with_public(Field::digest(FieldIndex::EXPORTER_DIGEST, exporter))
            .with_public(Field::digest(FieldIndex::TOKEN_DIGEST, request.token))
            .with_public(Field::digest(FieldIndex::POLICY_DIGEST, Digest::of(b"")))
    }

    fn layer(&self, step: Step) -> Layer {
        Layer::new(step, self.node.root.public(), now(), salt())
    }

    /// R0 of a commit of one.
    fn receipt(&self, origin: &Layer, layers: u32, seal: Digest) -> Receipt {
        let (time, message_id) = (now(), origin.fixed(FieldIndex::MESSAGE_ID).expect("an id"));
        let opcode = target(origin).opcode();
        let (entry_type, status) = (EntryType::OUTCOME, Status::OK);
        let flags = EntryFlags(0);
        let entry = Entry { entry_type, opcode, flags, status, layers, time, message_id, seal };
        let statement = Statement {
            log_origin: log_origin(&self.node.root.public(), 0),
            first_index: Some(7),
            count: 1,
            root: entry.leaf(),
            mode: JournalMode::WAL,
            time,
            merge_delay: 0,
        };
        Receipt {
            signature: statement.sign(&self.node.root),
            statement,
            entry_type,
            opcode,
            entry_flags: flags,
            message_id,
            offset: 0,
            path: Vec::new(),
        }
    }

    fn exporter(&self, label: &str) -> [u8; 32] {
        let mut exporter = [0; 32];
        let exported = self.quic.export_keying_material(&mut exporter, label.as_bytes(), &[]);
        exported.expect("an exporter value");
        exporter
    }
}

fn target(origin: &Layer) -> Fqmn {
    let text = origin.text(FieldIndex::TARGET).expect("a target");
    Fqmn::parse_target(text).expect("a normal target")
}
