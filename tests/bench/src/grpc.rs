//! gRPC: tonic over TLS, a unary call whose message is one field of bytes.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tonic::codegen::{Body, BoxFuture, Service, StdError};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{
    Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::headers::HEADERS;
use crate::keys::{HOST, Keys};
use crate::load::Call;
use crate::peer::announce;

/// What is sent, both ways.
#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(bytes = "bytes", tag = "1")]
    body: Bytes,
}

/// Echoes the messages of all calls.
pub(crate) async fn serve(keys: &Keys) -> anyhow::Result<()> {
    let (certificate, key) = keys.pem()?;
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    announce(listener.local_addr()?);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder().tls_config(tls)?.max_concurrent_streams(STREAMS);
    Ok({ server }.add_service(Echo).serve_with_incoming(incoming).await?)
}

/// What `tonic-build` would write for a service with one method.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

impl<B> Service<http::Request<B>> for Echo
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Payload, Payload>::default());
            Ok(grpc.unary(Method, request).await)
        })
    }
}

struct Method;

impl UnaryService<Payload> for Method {
    type Response = Payload;
    type Future = Ready<Result<Response<Payload>, Status>>;

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}

/// A unary call for each call.
#[derive(Clone)]
pub(crate) struct Unary {
    client: tonic::client::Grpc<Channel>,
    metadata: tonic::metadata::MetadataMap,
}

impl Unary {
    pub(crate) async fn connect(address: SocketAddr, keys: &Keys) -> anyhow::Result<Self> {
        let (certificate, _key) = keys.pem()?;
        let authority = Certificate::from_pem(certificate);
        let tls = ClientTlsConfig::new().ca_certificate(authority).domain_name(HOST);
        let channel = Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?;
        let client = tonic::client::Grpc::new(channel.connect().await?);
        let mut metadata = tonic::metadata::MetadataMap::new();
        for (name, value) in HEADERS {
            metadata.insert(name, value.parse()?);
        }
        Ok(Self { client, metadata })
    }
}

impl Call for Unary {
    async fn call(&mut self, body: Bytes) -> anyhow::Result<usize> {
        self.client.ready().await?;
        let request =
            Request::from_parts(self.metadata.clone(), http::Extensions::new(), Payload { body });
        let path = PathAndQuery::from_static("/bench.Echo/Echo");
        // An answer that is not OK is an error.
        let response: Response<Payload> =
            self.client.unary(request, path, ProstCodec::default()).await?;
        Ok(response.into_inner().body.len())
    }
}

const STREAMS: u32 = 256;
