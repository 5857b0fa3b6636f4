//! HTTP/3: h3 over quinn.

use std::net::SocketAddr;

use anyhow::ensure;
use bytes::{Buf, Bytes, BytesMut};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use http::{Request, Response, StatusCode};
use quinn::Endpoint;

use crate::headers::HEADERS;
use crate::keys::{HOST, Keys};
use crate::load::Call;
use crate::quic;

/// Echoes the bodies of all requests.
pub(crate) async fn serve(keys: &Keys) -> anyhow::Result<()> {
    let endpoint = quic::server(keys, ALPN)?;
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let quic = h3_quinn::Connection::new(incoming.await?);
            let mut connection = h3::server::Connection::<_, Bytes>::new(quic).await?;
            while let Some(resolver) = connection.accept().await? {
                tokio::spawn(async move {
                    let (_request, mut stream) = resolver.resolve_request().await?;
                    let mut body = BytesMut::new();
                    while let Some(part) = stream.recv_data().await? {
                        body.extend_from_slice(part.chunk());
                    }
                    stream.send_response(Response::new(())).await?;
                    stream.send_data(body.freeze()).await?;
                    stream.finish().await?;
                    anyhow::Ok(())
                });
            }
            anyhow::Ok(())
        });
    }
    Ok(())
}

/// A POST for each call.
#[derive(Clone)]
pub(crate) struct Post {
    sender: SendRequest<OpenStreams, Bytes>,
    request: Request<()>,
    /// Keeps the socket.
    _endpoint: Endpoint,
}

impl Post {
    pub(crate) async fn connect(address: SocketAddr, keys: &Keys) -> anyhow::Result<Self> {
        let (_endpoint, connection) = quic::connect(address, keys, ALPN).await?;
        let quic = h3_quinn::Connection::new(connection);
        let (mut driver, sender) = h3::client::new(quic).await?;
        tokio::spawn(async move { driver.wait_idle().await });
        let mut request = Request::post(format!("https://{HOST}/echo"));
        for (name, value) in HEADERS {
            request = request.header(name, value);
        }
        Ok(Self { sender, request: request.body(())?, _endpoint })
    }
}

impl Call for Post {
    async fn call(&mut self, body: Bytes) -> anyhow::Result<usize> {
        let mut stream = self.sender.send_request(self.request.clone()).await?;
        stream.send_data(body).await?;
        stream.finish().await?;
        let response = stream.recv_response().await?;
        ensure!(response.status() == StatusCode::OK, "{}", response.status());
        let mut received = 0;
        while let Some(part) = stream.recv_data().await? {
            received += part.remaining();
        }
        Ok(received)
    }
}

const ALPN: &[u8] = b"h3";
