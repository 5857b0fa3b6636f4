//! What a user builds today: HTTP/2 over TLS, a JWT check, and a request over NATS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::ensure;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::keys::{HOST, Keys, Verifier};
use crate::load::Call;
use crate::nats::SUBJECT;
use crate::peer::announce;

/// Serves `POST /echo` by the echo service on NATS; with a check of each request's token, or none.
pub(crate) async fn serve(keys: &Keys, nats: &str, checks: bool) -> anyhow::Result<()> {
    let nats = async_nats::connect(nats).await?;
    let verifier = checks.then(|| keys.verifier()).transpose()?;
    let gateway = Arc::new(Gateway { nats, verifier });
    let router = Router::new().route("/echo", post(echo)).with_state(gateway);
    let acceptor = TlsAcceptor::from(Arc::new(keys.server(ALPN)?));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    announce(listener.local_addr()?);
    loop {
        let (stream, _peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            let stream = TokioIo::new(acceptor.accept(stream).await?);
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(STREAMS);
            server.serve_connection(stream, TowerToHyperService::new(router)).await?;
            anyhow::Ok(())
        });
    }
}

struct Gateway {
    nats: async_nats::Client,
    verifier: Option<Verifier>,
}

async fn echo(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Bytes, StatusCode> {
    if let Some(verifier) = &gateway.verifier {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer "));
        if !token.is_some_and(|token| verifier.grants(token)) {
            return Err(StatusCode::UNAUTHORIZED);
        }
    }
    let answer = gateway.nats.request(SUBJECT, body).await;
    answer.map(|answer| answer.payload).map_err(|_no_answer| StatusCode::BAD_GATEWAY)
}

/// A POST for each call.
#[derive(Clone)]
pub(crate) struct Post {
    sender: SendRequest<Full<Bytes>>,
    request: Request<()>,
}

impl Post {
    pub(crate) async fn connect(address: SocketAddr, keys: &Keys) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::new(keys.client(ALPN)?));
        let stream = connector.connect(ServerName::try_from(HOST)?, stream).await?;
        let client = http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = client.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let bearer = HeaderValue::try_from(format!("Bearer {}", keys.token()?))?;
        let request = Request::post(format!("https://{HOST}/echo"));
        let request = request.header(AUTHORIZATION, bearer).body(())?;
        Ok(Self { sender, request })
    }
}

impl Call for Post {
    async fn call(&mut self, body: Bytes) -> anyhow::Result<usize> {
        self.sender.ready().await?;
        let request = self.request.clone().map(|()| Full::new(body));
        let response = self.sender.send_request(request).await?;
        ensure!(response.status() == StatusCode::OK, "{}", response.status());
        Ok(response.into_body().collect().await?.to_bytes().len())
    }
}

const ALPN: &[u8] = b"h2";
const STREAMS: u32 = 256;
