//! The QUIC endpoint: `cmtp-spec/spec/09-quic.md`.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hkdf, hmac, rand};
use cmtp_codec::{PublicKey, SignatureError};
use cmtp_spec::{CloseCode, binding, limits};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    BloomTokenLog, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, ServerConfig,
    TokioRuntime, TransportConfig, TransportErrorCode, ValidationTokenConfig, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ProducesTickets;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::time::timeout;

use crate::connection;
use crate::exchange::code;
use crate::gate::Gate;
use crate::limits::Limits;
use crate::node::Node;
use crate::node_keys::NodeKeys;
use crate::proved::window;
use crate::refusals::Reason;

/// A node that listens.
pub struct Listener {
    endpoint: Endpoint,
    node: Arc<Node>,
    gate: Arc<Gate>,
    returning: Returning,
    /// The key of the certificate that it began with.
    certified: PublicKey,
}

/// A UDP socket of a node, bound and not yet served.
///
/// A listener lives on the runtime that it is made on; so what is bound can be taken to the thread that is to serve it.
pub struct Bound {
    socket: UdpSocket,
    node: Arc<Node>,
    gate: Arc<Gate>,
    returning: Returning,
}

impl Bound {
    /// Binds the UDP address so many times over, at least once. The system gives each client, by its address, to one of the
    /// sockets; one whose address changes may come to another, which does not know its connection and tells it so.
    ///
    /// # Errors
    /// [`ListenError::Bind`] names the address.
    pub fn sockets(
        node: &Arc<Node>,
        listen: SocketAddr,
        count: usize,
    ) -> Result<Vec<Self>, ListenError> {
        let gate = Arc::new(Gate::new(node.limits.clone()));
        let returning = Returning::new()?;
        let sockets = sockets(listen, count);
        let sockets = sockets.map_err(|source| ListenError::Bind { listen, source })?;
        let bound = |socket| Self {
            socket,
            node: Arc::clone(node),
            gate: Arc::clone(&gate),
            returning: returning.clone(),
        };
        Ok(sockets.into_iter().map(bound).collect())
    }

    /// Begins to listen, on the current runtime.
    ///
    /// # Errors
    /// [`ListenError`] says what is wrong with the key.
    pub fn listen(self) -> Result<Listener, ListenError> {
        let Self { socket, node, gate, returning } = self;
        let config = server_config(&node.keys(), &node.limits, &returning)?;
        let certified = node.keys().tls_key();
        let listen = socket.local_addr().map_err(ListenError::Socket)?;
        let endpoint = endpoint(endpoint_config(&node.keys()), config, socket);
        let endpoint = endpoint.map_err(|source| ListenError::Bind { listen, source })?;
        Ok(Listener { endpoint, node, gate, returning, certified })
    }
}

impl Listener {
    /// Binds the UDP address, and listens on the current runtime.
    ///
    /// # Errors
    /// [`ListenError`] names the address or what is wrong with the key.
    pub fn bind(node: Arc<Node>, listen: SocketAddr) -> Result<Self, ListenError> {
        let mut sockets = Bound::sockets(&node, listen, 1)?;
        sockets.pop().ok_or(ListenError::Socket(io::ErrorKind::NotFound.into()))?.listen()
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Serves connections until [`Listener::close`].
    pub async fn run(&self) {
        let mut keys = self.node.watch_keys();
        // Those that it was made with may have been replaced since.
        keys.mark_changed();
        let mut certified = self.certified;
        loop {
            let incoming = tokio::select! {
                incoming = self.endpoint.accept() => incoming,
                // The node has the sender, and the listener the node.
                _kept = keys.changed() => {
                    let keys = Arc::clone(&keys.borrow_and_update());
                    if keys.tls_key() != certified {
                        certified = keys.tls_key();
                        self.renew(&keys);
                    }
                    continue;
                }
            };
            let Some(incoming) = incoming else { return };
            if self.node.drain.is_cancelled() {
                incoming.refuse();
                continue;
            }
            let node = Arc::clone(&self.node);
            let Some((mut place, connecting)) = self.gate.let_in(incoming, &node) else {
                continue;
            };
            tokio::spawn(async move {
                match timeout(node.limits.header_timeout, connecting).await {
                    Ok(Ok(connection)) => {
                        place.end_handshake();
                        connection::serve(node, connection).await;
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "handshake failed");
                        node.refusals.count(failed(&error));
                    }
                    Err(_elapsed) => node.refusals.count(Reason::Handshake),
                }
            });
        }
    }

    /// Shows new connections a certificate with the TLS key of now.
    fn renew(&self, keys: &NodeKeys) {
        // A session that is resumed shows the certificate that it began with, which is not the node's any more.
        let config = self
            .returning
            .anew()
            .and_then(|returning| server_config(keys, &self.node.limits, &returning));
        match config {
            Ok(config) => self.endpoint.set_server_config(Some(config)),
            Err(error) => tracing::error!(%error, "new connections are shown the old certificate"),
        }
    }

    /// Takes no more connections and requests, and waits until those that came are answered, `patience` at most; the
    /// number that were not is given back.
    pub async fn drain(&self, patience: Duration) -> usize {
        self.node.drain.cancel();
        self.node.exchanges.close();
        // What is not done by then is cut off, and counted.
        let _elapsed = tokio::time::timeout(patience, self.node.exchanges.wait()).await;
        self.node.exchanges.len()
    }

    /// Ends all connections and waits until the peers were told.
    pub async fn close(&self) {
        self.endpoint.close(VarInt::from(code(CloseCode::NO_ERROR)), b"the node stops");
        self.endpoint.wait_idle().await;
    }
}

/// Why a node can't listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address.
    #[error(
        "can't listen on {listen}: {source}; choose another with --listen, port 0 takes a free one"
    )]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A socket that was bound.
    #[error("UDP socket: {0}")]
    Socket(#[source] io::Error),
    /// The key.
    #[error("TLS key: {0}")]
    Key(#[from] SignatureError),
    /// The certificate.
    #[error("TLS certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// TLS without what QUIC needs.
    #[error("TLS: {0}")]
    Cipher(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// Binds sockets to one address.
fn sockets(listen: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let first = UdpSocket::bind(listen)?;
    if count <= 1 {
        return Ok(vec![first]);
    }
    // It was free. Sockets that share it must all say so, which would let them share it with another node's, too.
    let address = first.local_addr()?;
    drop(first);
    let shared = |_| {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    (0..count).map(shared).collect()
}

/// An endpoint on a socket whose buffers hold a burst until its thread gets to it.
fn endpoint(
    config: EndpointConfig,
    server: ServerConfig,
    socket: UdpSocket,
) -> io::Result<Endpoint> {
    let buffers = SockRef::from(&socket);
    let wanted = usize::try_from(limits::SOCKET_BUFFER).unwrap_or(usize::MAX);
    // The system may grant less (Linux: net.core.rmem_max), which costs speed and nothing else.
    let granted = buffers
        .set_recv_buffer_size(wanted)
        .and_then(|()| buffers.set_send_buffer_size(wanted))
        .and_then(|()| buffers.recv_buffer_size());
    tracing::debug!(?granted, wanted, "UDP buffers");
    Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime))
}

/// How a handshake that failed is counted.
fn failed(error: &ConnectionError) -> Reason {
    match error {
        ConnectionError::TransportError(error)
            if error.code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) =>
        {
            Reason::Alpn
        }
        _ => Reason::Handshake,
    }
}

fn server_config(
    keys: &NodeKeys,
    limits: &Limits,
    returning: &Returning,
) -> Result<ServerConfig, ListenError> {
    let pkcs8 = PrivatePkcs8KeyDer::from(keys.tls_pkcs8()?);
    // [QUI-3] The certificate holds one of the node's TLS keys as an Ed25519 key; clients know it by the key.
    let certificate = CertificateParams::new(vec!["cmtp.invalid".to_owned()])?
        .self_signed(&KeyPair::try_from(&pkcs8)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(pkcs8))?;
    // [QUI-1] Both sides MUST negotiate the ALPN `cmtp/0`.
    tls.alpn_protocols = vec![binding::ALPN.as_bytes().to_vec()];
    // [QUI-2] 0-RTT data MUST NOT be accepted.
    tls.max_early_data_size = 0;
    tls.ticketer = Arc::clone(&returning.ticketer);
    let crypto = Arc::new(QuicServerConfig::try_from(tls)?);
    let mut config = ServerConfig::new(crypto, returning.token_key.clone());
    config.validation_token_config(returning.address_tokens());
    config.transport_config(Arc::new(transport(limits)));
    // Attempts wait here only until the listener's loop takes them, which never waits for a peer.
    config.max_incoming(usize::try_from(limits.handshakes_max).unwrap_or(usize::MAX));
    config.incoming_buffer_size(INCOMING_BUFFER);
    config.incoming_buffer_size_total(limits.handshakes_max.saturating_mul(INCOMING_BUFFER));
    Ok(config)
}

/// By what a client that comes back is spared a part of the handshake, whichever of the node's sockets it comes to.
///
/// [IDY-10] A ticket and an address token hold nothing of a caller: keys of a TLS session, an IP address, a time. Neither is a
/// sign of who calls.
#[derive(Clone)]
struct Returning {
    /// Sessions stand in the tickets that clients keep, so that they take no memory here.
    ticketer: Arc<dyn ProducesTickets>,
    token_key: Arc<hkdf::Prk>,
    used: Arc<BloomTokenLog>,
}

impl Returning {
    fn new() -> Result<Self, ListenError> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).map_err(|_no_entropy| SignatureError::Mismatch)?;
        let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&secret);
        Ok(Self {
            ticketer: Ticketer::new()?,
            token_key: Arc::new(token_key),
            used: Arc::new(BloomTokenLog::new_expected_items(USED_TOKENS_BYTES, USED_TOKENS)),
        })
    }

    /// The same for sessions that begin from now on: none of before is resumed.
    fn anew(&self) -> Result<Self, ListenError> {
        Ok(Self { ticketer: Ticketer::new()?, ..self.clone() })
    }

    fn address_tokens(&self) -> ValidationTokenConfig {
        let mut config = ValidationTokenConfig::default();
        config.sent(ADDRESS_TOKENS).lifetime(ADDRESS_TOKEN_LIFETIME).log(self.used.clone());
        config
    }
}

/// The same at every start: a client that sends to a node which was started again is told at once that its connection is
/// gone (RFC 9000 section 10.3), and need not wait for `idle-timeout`.
fn endpoint_config(keys: &NodeKeys) -> EndpointConfig {
    let reset = keys.derived("stateless reset");
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset)));
    let [a, b, c, d, e, f, g, h, ..] = keys.derived("connection ids");
    let ids = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

fn transport(limits: &Limits) -> TransportConfig {
    let mut transport = TransportConfig::default();
    // [LIM-4] Not more than `request-streams` request streams open at a time.
    let streams = limits.request_streams.min(limits.stranger_streams);
    // Widened once a token is accepted, as the windows are.
    transport.max_concurrent_bidi_streams(window(streams));
    transport.max_concurrent_uni_streams(VarInt::from(CLIENT_UNI_STREAMS));
    transport.max_idle_timeout(IdleTimeout::try_from(limits.idle_timeout).ok());
    transport.stream_receive_window(window(limits.stream_window));
    // Widened once a token is accepted.
    transport.receive_window(window(limits.stranger_window));
    transport.send_window(limits.stranger_window);
    transport.datagram_receive_buffer_size(None);
    transport.datagram_send_buffer_size(0);
    transport
}

/// For the next connection; it brings one for the one behind it.
const ADDRESS_TOKENS: u32 = 1;
/// As long as a TLS ticket is good.
const ADDRESS_TOKEN_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// Used tokens that are remembered, in two filters of half as much: with so many in a lifetime one in about 4,500 is wrongly
/// taken for used, and its client asked to prove its address.
const USED_TOKENS_BYTES: usize = 1 << 20;
const USED_TOKENS: u64 = 200_000;
/// A control stream, and room for types that a later version brings.
const CLIENT_UNI_STREAMS: u32 = 4;
/// Bytes kept of an attempt before it is taken: the rest of a ClientHello of two datagrams, twice.
const INCOMING_BUFFER: u64 = 4 * 1200;
/// TLS alert `no_application_protocol` (RFC 7301).
const NO_APPLICATION_PROTOCOL: u8 = 120;
