//! The QUIC endpoint: `cmtp-spec/spec/09-quic.md`.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use cmtp_codec::SignatureError;
use cmtp_spec::{CloseCode, binding, limits};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::connection;
use crate::exchange::code;
use crate::node::Node;
use crate::node_key::NodeKey;

/// A node that listens.
pub struct Listener {
    endpoint: Endpoint,
    node: Arc<Node>,
}

impl Listener {
    /// Binds the UDP address.
    ///
    /// # Errors
    /// [`ListenError`] names the address or what is wrong with the key.
    pub fn bind(node: Arc<Node>, listen: SocketAddr) -> Result<Self, ListenError> {
        let config = server_config(&node.key)?;
        let socket = UdpSocket::bind(listen);
        let endpoint = socket.and_then(|socket| {
            let runtime = Arc::new(quinn::TokioRuntime);
            Endpoint::new(endpoint_config(&node.key), Some(config), socket, runtime)
        });
        let endpoint = endpoint.map_err(|source| ListenError::Bind { listen, source })?;
        Ok(Self { endpoint, node })
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
        while let Some(incoming) = self.endpoint.accept().await {
            if self.node.drain.is_cancelled() {
                incoming.refuse();
                continue;
            }
            let node = Arc::clone(&self.node);
            tokio::spawn(async move {
                match incoming.await {
                    Ok(connection) => connection::serve(node, connection).await,
                    Err(error) => tracing::debug!(%error, "handshake failed"),
                }
            });
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

fn server_config(key: &NodeKey) -> Result<ServerConfig, ListenError> {
    let pkcs8 = PrivatePkcs8KeyDer::from(key.tls_pkcs8()?);
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
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

/// The same at every start: a client that sends to a node which was started again is told at once that its connection is
/// gone (RFC 9000 section 10.3), and need not wait for `idle-timeout`.
fn endpoint_config(key: &NodeKey) -> EndpointConfig {
    let reset = key.derived("stateless reset");
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset)));
    let [a, b, c, d, e, f, g, h, ..] = key.derived("connection ids");
    let ids = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let streams = u32::try_from(limits::REQUEST_STREAMS).unwrap_or(u32::MAX);
    // [LIM-4] Not more than `request-streams` request streams open at a time.
    transport.max_concurrent_bidi_streams(VarInt::from(streams));
    transport.max_concurrent_uni_streams(VarInt::from(CLIENT_UNI_STREAMS));
    let idle = Duration::from_secs(limits::IDLE_TIMEOUT);
    transport.max_idle_timeout(IdleTimeout::try_from(idle).ok());
    transport.datagram_receive_buffer_size(None);
    transport
}

/// A control stream, and room for types that a later version brings.
const CLIENT_UNI_STREAMS: u32 = 4;
