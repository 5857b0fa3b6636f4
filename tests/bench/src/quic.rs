//! Raw quinn: a bidirectional stream for each request. And the endpoints that HTTP/3 uses, too.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TransportConfig};
use socket2::SockRef;

use crate::keys::{HOST, Keys};
use crate::load::Call;
use crate::peer::announce;

/// Echoes the streams of all connections.
pub(crate) async fn serve(keys: &Keys) -> anyhow::Result<()> {
    let endpoint = server(keys, ALPN)?;
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let connection = incoming.await?;
            loop {
                let (mut send, mut receive) = connection.accept_bi().await?;
                tokio::spawn(async move {
                    let body = receive.read_to_end(BODY_MAX).await?;
                    send.write_all(&body).await?;
                    send.finish()?;
                    anyhow::Ok(())
                });
            }
            #[expect(unreachable_code, reason = "names the type of the task's errors")]
            anyhow::Ok(())
        });
    }
    Ok(())
}

/// A stream for each call.
#[derive(Clone)]
pub(crate) struct Stream {
    connection: Connection,
    /// Keeps the socket.
    _endpoint: Endpoint,
}

impl Stream {
    pub(crate) async fn connect(address: SocketAddr, keys: &Keys) -> anyhow::Result<Self> {
        let (_endpoint, connection) = connect(address, keys, ALPN).await?;
        Ok(Self { connection, _endpoint })
    }
}

impl Call for Stream {
    async fn call(&mut self, body: Bytes) -> anyhow::Result<usize> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_chunk(body).await?;
        send.finish()?;
        Ok(receive.read_to_end(BODY_MAX).await?.len())
    }
}

/// An endpoint that listens, and has said where.
pub(crate) fn server(keys: &Keys, alpn: &[u8]) -> anyhow::Result<Endpoint> {
    let crypto = QuicServerConfig::try_from(keys.server(alpn)?)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport());
    let endpoint = endpoint(Some(config))?;
    announce(endpoint.local_addr()?);
    Ok(endpoint)
}

/// A connection, and the endpoint that it is of.
pub(crate) async fn connect(
    address: SocketAddr,
    keys: &Keys,
    alpn: &[u8],
) -> anyhow::Result<(Endpoint, Connection)> {
    let crypto = QuicClientConfig::try_from(keys.client(alpn)?)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport());
    let mut endpoint = endpoint(None)?;
    endpoint.set_default_client_config(config);
    let connection = endpoint.connect(address, HOST)?.await.context("no connection")?;
    Ok((endpoint, connection))
}

fn endpoint(server: Option<ServerConfig>) -> anyhow::Result<Endpoint> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let buffers = SockRef::from(&socket);
    buffers.set_recv_buffer_size(SOCKET_BUFFER)?;
    buffers.set_send_buffer_size(SOCKET_BUFFER)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    Ok(Endpoint::new(EndpointConfig::default(), server, socket, runtime)?)
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(STREAMS.into());
    Arc::new(transport)
}

pub(crate) const ALPN: &[u8] = b"echo";
const BODY_MAX: usize = 1 << 20;
/// The default of the system loses packets under load.
const SOCKET_BUFFER: usize = 4 << 20;
/// More than are ever in flight here; many more cost memory and time for each connection.
const STREAMS: u32 = 256;
