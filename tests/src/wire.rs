//! A client that can break every rule: frames by hand over a real QUIC connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::Ed25519KeyPair;
use bytes::BytesMut;
use cmtp_codec::log::{NoteKind, VerifierKey, log_origin};
use cmtp_codec::{
    Assembler, Auth, Chain, Digest, Field, Frame, FrameReader, KeyList, Layer, Link, Message, Part,
    PublicKey, Replay, Salt, Signature, SigningKey, Source, Unverified, Verified,
};
use cmtp_spec::{
    CloseCode, FieldIndex, KeyUse, LayerFlags, SettingId, Status, Step, binding, limits, uses,
};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use serde_json::{Value, json};

use crate::Node;

/// A connection without any judgement of its own.
#[derive(Debug)]
pub struct Wire {
    endpoint: Endpoint,
    /// The connection.
    pub connection: Connection,
    /// The frames that the node began its control stream with.
    pub settings: Vec<(SettingId, u64)>,
    /// The node's key list.
    pub keys: KeyList,
    exporter: [u8; 32],
    control: RecvStream,
    reader: FrameReader,
}

/// How an exchange ended.
#[derive(Debug)]
pub enum Ending {
    /// With an answer.
    Answer(Box<Answer>),
    /// With an answer of this status, to an origin that nothing can be verified with.
    Unverified(Status),
    /// The node reset the stream.
    Reset(CloseCode),
    /// The connection ended.
    Closed(Option<CloseCode>),
}

/// What the node sent.
#[derive(Debug)]
pub struct Answer {
    /// Origin and answer, verified against the node's root key.
    pub replay: Verified<Replay>,
}

impl Answer {
    /// The message's status.
    pub fn status(&self) -> Status {
        self.replay.message.status()
    }

    /// The last layer.
    ///
    /// # Panics
    /// If the layer is withheld, which no node does.
    pub fn last(&self) -> &Layer {
        self.replay.message.links.last().and_then(Link::layer).expect("a layer")
    }

    /// The field `remedy` of the last layer.
    pub fn remedy(&self) -> &str {
        self.last().text(FieldIndex::REMEDY).unwrap_or_default()
    }
}

impl Wire {
    /// Connects and reads the beginning of the node's control stream.
    ///
    /// # Panics
    /// If the node does not do what chapter 9 says.
    pub async fn connect(node: &Node) -> Self {
        let dialled = dial(node, binding::ALPN).await;
        let (endpoint, connection) = dialled.expect("a connection");
        Self::over(endpoint, connection).await
    }

    /// Connects from a loopback address of the caller's choice.
    ///
    /// # Panics
    /// If the node does not do what chapter 9 says.
    pub async fn connect_from(from: IpAddr, node: &Node) -> Self {
        let endpoint = Endpoint::client(SocketAddr::from((from, 0))).expect("a socket");
        let config = client_config(&[binding::ALPN], TransportConfig::default());
        let address = node.address.parse().expect("an address");
        let dialled = endpoint.connect_with(config, address, "cmtp.invalid").expect("a dial").await;
        Self::over(endpoint, dialled.expect("a connection")).await
    }

    /// Connects to an address with QUIC parameters of its own.
    ///
    /// # Errors
    /// What ended the handshake.
    ///
    /// # Panics
    /// If the node does not do what chapter 9 says.
    pub async fn connect_to(
        address: SocketAddr,
        transport: TransportConfig,
    ) -> Result<Self, quinn::ConnectionError> {
        let (endpoint, connection) = dial_with(address, &[binding::ALPN], transport).await?;
        Ok(Self::over(endpoint, connection).await)
    }

    async fn over(endpoint: Endpoint, connection: Connection) -> Self {
        let mut exporter = [0; 32];
        connection
            .export_keying_material(&mut exporter, binding::EXPORTER_LABEL_AUTH.as_bytes(), &[])
            .expect("an exporter value");
        let mut control = connection.accept_uni().await.expect("the node's control stream");
        let mut stream_type = [0; 1];
        control.read_exact(&mut stream_type).await.expect("its type");
        assert_eq!(stream_type, [0]);
        let mut reader = FrameReader::new(1);
        // [QUI-6] SETTINGS and then KEYS as its first two frames.
        let Frame::Settings(settings) = next_frame(&mut control, &mut reader).await else {
            panic!("SETTINGS is the first frame");
        };
        let Frame::Keys(keys) = next_frame(&mut control, &mut reader).await else {
            panic!("KEYS is the second frame");
        };
        Self { endpoint, connection, settings, keys, exporter, control, reader }
    }

    /// Connects once more, by what TLS and QUIC kept of this connection.
    ///
    /// # Panics
    /// If the node does not do what chapter 9 says.
    pub async fn again(&self) -> Self {
        let address = self.connection.remote_address();
        let connecting = self.endpoint.connect(address, "cmtp.invalid").expect("a dial");
        Self::over(self.endpoint.clone(), connecting.await.expect("a connection")).await
    }

    /// Connects as `config` says.
    ///
    /// # Panics
    /// As [`Wire::connect`].
    pub async fn connect_with(node: &Node, config: ClientConfig) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut endpoint = Endpoint::client(any).expect("a socket");
        endpoint.set_default_client_config(config);
        let address = node.address.parse().expect("an address");
        let connecting = endpoint.connect(address, "cmtp.invalid").expect("a dial");
        let connection = connecting.await.expect("a connection");
        Self::over(endpoint, connection).await
    }

    /// Waits for GOAWAY, and gives the id that it carries.
    ///
    /// # Panics
    /// If the node sends something else.
    pub async fn goaway(&mut self) -> u64 {
        match next_frame(&mut self.control, &mut self.reader).await {
            Frame::Goaway(stream) => stream,
            other => panic!("GOAWAY is expected and not {other:?}"),
        }
    }

    /// The node's root key.
    pub const fn root(&self) -> PublicKey {
        self.keys.root
    }

    /// What checkpoints of the node's log verify with.
    ///
    /// # Panics
    /// If the key list has no such key, or for something else, too.
    pub fn log_key(&self) -> VerifierKey {
        let keys = &self.keys.keys;
        let listed = keys.iter().find(|listed| listed.key_use == KeyUse::LOG).expect("a log key");
        // [LOG-21] [LOG-3] The key list has that key for no other use.
        assert_eq!(keys.iter().filter(|other| other.key == listed.key).count(), 1);
        // [LOG-1]
        let origin = log_origin(&self.root(), 0);
        VerifierKey::new(origin, NoteKind::Ed25519, listed.key).expect("a key for notes")
    }

    /// AUTH with a proof by `key`.
    pub fn auth(&self, token: &(impl AsRef<[u8]> + ?Sized), key: &SigningKey) -> Frame {
        let token = token.as_ref();
        let proof = key.sign(uses::AUTH, &self.proved(self.root(), token));
        Frame::Auth(Auth::Shown { proof, token: token.to_vec().into() })
    }

    /// What a proof for this token on this connection is over, at the node with this root key.
    pub fn proved(&self, node: PublicKey, token: &[u8]) -> Vec<u8> {
        [self.exporter, node.0, Digest::of(token).0].concat()
    }

    /// A good origin for `target`, not signed.
    pub fn origin(&self, key: &SigningKey, target: &str) -> Layer {
        origin(self.root(), key, target)
    }

    /// Sends frames and the end of the stream, and reads how it ends.
    ///
    /// # Panics
    /// If the answer breaks a rule.
    pub async fn exchange(&self, frames: &[Frame], origin: &Layer) -> Ending {
        let mut bytes = BytesMut::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        origin.encode(&mut bytes);
        self.exchange_bytes(&bytes, origin).await
    }

    /// The same with bytes; `origin` is what the answer is verified with.
    ///
    /// # Panics
    /// If the answer breaks a rule.
    pub async fn exchange_bytes(&self, bytes: &[u8], origin: &Layer) -> Ending {
        let (mut send, recv) = self.open().await;
        // The node may stop reading early; what it answers then counts.
        let _stopped = send.write_all(bytes).await;
        let _stopped = send.finish();
        self.read_answer(recv, origin).await
    }

    /// The same with an origin that is none by itself, of whose answer only the status is read.
    ///
    /// # Panics
    /// If the answer is not made of frames.
    pub async fn glance(&self, origin: &Layer) -> Ending {
        let mut bytes = BytesMut::new();
        origin.encode(&mut bytes);
        let (mut send, mut recv) = self.open().await;
        let _stopped = send.write_all(&bytes).await;
        let _stopped = send.finish();
        let bytes = match recv.read_to_end(1_000_000).await {
            Ok(bytes) => bytes,
            Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => {
                return Ending::Reset(CloseCode(code.into_inner()));
            }
            Err(_lost) => return Ending::Closed(self.close_code().await),
        };
        let (mut reader, mut status) = (FrameReader::new(0), Status::NONE);
        let mut assembler = Assembler::new(Source::Answer, limits::BODY_MAX);
        reader.push(&bytes);
        while let Some(frame) = reader.next_frame().expect("well-formed frames") {
            if let Some(Part::Link(link)) = assembler.take(frame).expect("frames in their place") {
                status = link.status();
            }
        }
        Ending::Unverified(status)
    }

    /// Ends the connection, and waits until the node was told.
    pub async fn close(self) {
        self.connection.close(VarInt::from_u32(0), &[]);
        self.endpoint.wait_idle().await;
    }

    /// Opens a request stream.
    ///
    /// # Panics
    /// If the connection is gone.
    pub async fn open(&self) -> (SendStream, RecvStream) {
        self.connection.open_bi().await.expect("a request stream")
    }

    /// Reads an answer to its end and verifies it.
    ///
    /// # Panics
    /// If it breaks a rule.
    pub async fn read_answer(&self, recv: RecvStream, origin: &Layer) -> Ending {
        self.read_answer_from(Default::default(), recv, origin).await
    }

    /// The same, where something of it was read already.
    ///
    /// # Panics
    /// If it breaks a rule.
    pub async fn read_answer_from(
        &self,
        begun: bytes::Bytes,
        mut recv: RecvStream,
        origin: &Layer,
    ) -> Ending {
        let mut reader = FrameReader::new(0);
        reader.push_bytes(begun);
        let mut interims = Vec::new();
        let mut assembler = Assembler::new(Source::Answer, limits::BODY_MAX);
        let (mut links, mut sealed) = (vec![Link::Layer(origin.clone())], None);
        loop {
            match recv.read_chunk(usize::MAX, true).await {
                Ok(Some(chunk)) => reader.push_bytes(chunk.bytes),
                Ok(None) => break,
                Err(quinn::ReadError::Reset(code)) => {
                    return Ending::Reset(CloseCode(code.into_inner()));
                }
                Err(_lost) => return Ending::Closed(self.close_code().await),
            }
            while let Some(frame) = reader.next_frame().expect("well-formed frames") {
                match assembler.take(frame).expect("frames in their place") {
                    Some(Part::Link(link)) => links.push(*link),
                    Some(Part::Interim(seal)) => interims.push((assembler.number(), *seal)),
                    Some(Part::Seal(seal)) => sealed = Some(*seal),
                    _ => {}
                }
            }
        }
        assembler.finish().expect("a whole answer");
        let mut seal = sealed.expect("a seal");
        seal.keys = Some(self.keys.clone());
        if seal.body_unread
            && let Some(Link::Layer(origin)) = links.first_mut()
        {
            origin.close_unread();
        }
        let message = Message { links, interims, seal };
        let replay = Unverified::new(message).verify(Some(&self.root()));
        Ending::Answer(Box::new(Answer { replay: replay.expect("a valid answer") }))
    }

    /// The code with which the node closes the connection.
    pub async fn close_code(&self) -> Option<CloseCode> {
        match self.connection.closed().await {
            quinn::ConnectionError::ApplicationClosed(close) => {
                Some(CloseCode(close.error_code.into_inner()))
            }
            _ => None,
        }
    }

    /// The local endpoint, for a second connection with the same TLS state.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Ending {
    /// The answer.
    ///
    /// # Panics
    /// If there is none.
    pub fn answer(self) -> Answer {
        match self {
            Self::Answer(answer) => *answer,
            other => panic!("expected an answer and got {other:?}"),
        }
    }

    /// The code of a reset.
    ///
    /// # Panics
    /// If the stream was not reset.
    pub fn reset(self) -> CloseCode {
        match self {
            Self::Reset(code) => code,
            other => panic!("expected a reset and got {other:?}"),
        }
    }
}

/// A good origin for `target` at the node whose root key is `audience`, not signed.
///
/// # Panics
/// If there is no randomness.
pub fn origin(audience: PublicKey, key: &SigningKey, target: &str) -> Layer {
    let now = now();
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).expect("randomness");
    id[..6].copy_from_slice(&(now / 1000).to_be_bytes()[2..]);
    id[6] = id[6] & 0x0f | 0x70;
    id[8] = id[8] & 0x3f | 0x80;
    Layer::new(Step::ORIGIN, key.public(), now, salt())
        .with_public(Field::bytes(FieldIndex::MESSAGE_ID, id.to_vec()))
        .with_public(Field::key(FieldIndex::AUDIENCE, audience))
        .with_public(Field::bytes(FieldIndex::TARGET, target.to_owned()))
        .with_public(Field::number(FieldIndex::NOT_AFTER, now + 20_000_000))
}

/// Dials the node with any ALPN and without looking at the certificate.
///
/// # Errors
/// What ended the handshake.
///
/// # Panics
/// If the client can't be set up.
pub async fn dial(
    node: &Node,
    alpn: &str,
) -> Result<(Endpoint, Connection), quinn::ConnectionError> {
    let address = node.address.parse().expect("an address");
    dial_with(address, &[alpn], TransportConfig::default()).await
}

/// The same with an address, any number of ALPNs and QUIC parameters.
///
/// # Errors
/// What ended the handshake.
///
/// # Panics
/// If the client can't be set up.
pub async fn dial_with(
    address: SocketAddr,
    alpns: &[&str],
    transport: TransportConfig,
) -> Result<(Endpoint, Connection), quinn::ConnectionError> {
    let mut endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a socket");
    endpoint.set_default_client_config(client_config(alpns, transport));
    let connection = endpoint.connect(address, "cmtp.invalid").expect("a dial").await?;
    Ok((endpoint, connection))
}

/// QUIC as a client speaks it that takes any certificate.
///
/// # Panics
/// If TLS can't be set up.
pub fn client_config(alpns: &[&str], transport: TransportConfig) -> ClientConfig {
    client_config_with(Arc::default(), alpns, transport)
}

/// The same, with one that counts certificates.
///
/// # Panics
/// If TLS can't be set up.
pub fn client_config_with(
    verifier: Arc<AnyCertificate>,
    alpns: &[&str],
    transport: TransportConfig,
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.alpn_protocols = alpns.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
    tls.enable_early_data = true;
    let tls = QuicClientConfig::try_from(tls).expect("QUIC over TLS 1.3");
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    config
}

/// Seed of the node's own key for a use (`tls`, `token`, `layer`, `log`), from its data directory: with it a test makes what no
/// node would.
///
/// # Panics
/// If the file is not there.
pub fn online_seed(node: &Node, key_use: &str) -> [u8; 32] {
    let text = std::fs::read_to_string(node.data().join("online.keys")).expect("the node's keys");
    let of_use = |line: &'_ str| line.strip_prefix(key_use)?.strip_prefix(' ').map(str::to_owned);
    let hex = text.lines().find_map(of_use).expect("a seed");
    HEXLOWER.decode(hex.as_bytes()).expect("hex").try_into().expect("32 bytes")
}

/// Seed of the node's root key.
///
/// # Panics
/// If the file is not there.
pub fn root_seed(node: &Node) -> [u8; 32] {
    let text = std::fs::read_to_string(node.data().join("node.key")).expect("the node's root key");
    let hex = text.split_whitespace().nth(1).expect("a seed");
    HEXLOWER.decode(hex.as_bytes()).expect("hex").try_into().expect("32 bytes")
}

/// Header and claims of a good token, to be spoilt, and the key that signs it.
#[derive(Clone, Debug)]
pub struct Forge {
    /// The header.
    pub header: Value,
    /// The claims.
    pub claims: Value,
    /// Seed of the signing key.
    pub seed: [u8; 32],
}

impl Forge {
    /// A good token of `node` for `holder`, valid for a minute, for all reads of State and Registrar.
    ///
    /// # Panics
    /// If the node's key can't be read.
    pub fn new(node: &Node, holder: PublicKey) -> Self {
        let seed = online_seed(node, "token");
        let key = SigningKey::from_seed(&seed).expect("a key").public();
        let now = now() / 1_000_000;
        let x = BASE64URL_NOPAD.encode(&holder.0);
        Self {
            header: json!({"alg": "EdDSA", "typ": "cmtp+jwt", "kid": key.multibase()}),
            claims: json!({
                "iss": node.did, "aud": node.did, "sub": holder.to_string(),
                "iat": now, "nbf": now, "exp": now + 60, "jti": "op.test",
                "scope": {"read": ["0xS:**", "0xR:**"], "write": ["0xS:**"]},
                "cnf": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": x}},
            }),
            seed,
        }
    }

    /// The token.
    ///
    /// # Panics
    /// If the key can't sign.
    pub fn token(&self) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&self.header), part(&self.claims));
        let pair = Ed25519KeyPair::from_seed_unchecked(&self.seed).expect("a key");
        let signature = BASE64URL_NOPAD.encode(pair.sign(signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }
}

/// Signs layer 0.
///
/// # Panics
/// If the layer breaks a rule.
pub fn signed(mut origin: Layer, key: &SigningKey) -> Layer {
    Chain::default().append_signed(&mut origin, key).expect("a good origin");
    origin
}

/// The layer with a signature that is not its own.
pub fn badly_signed(mut origin: Layer) -> Layer {
    origin.flags.0 |= LayerFlags::SIGNED.0;
    origin.signature = Some(Signature([7; 64]));
    origin
}

/// A fresh salt.
///
/// # Panics
/// If there is no randomness.
pub fn salt() -> Salt {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).expect("randomness");
    Salt(salt)
}

/// Microseconds since 1970.
///
/// # Panics
/// If the clock is before 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_micros()).expect("before the year 586,000")
}

async fn next_frame(recv: &mut RecvStream, reader: &mut FrameReader) -> Frame {
    loop {
        if let Some(frame) = reader.next_frame().expect("a well-formed frame") {
            return frame;
        }
        let chunk = recv.read_chunk(4096, true).await.expect("a living stream");
        reader.push_bytes(chunk.expect("a stream that goes on").bytes);
    }
}

/// Takes any certificate: these tests are about what comes after.
#[derive(Debug, Default)]
pub struct AnyCertificate(AtomicUsize);

impl AnyCertificate {
    /// How many connections showed one; those that resume a session show none.
    pub fn seen(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &rustls::pki_types::CertificateDer<'_>,
        _intermediates: &[rustls::pki_types::CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &rustls::pki_types::CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &rustls::pki_types::CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ED25519]
    }
}
