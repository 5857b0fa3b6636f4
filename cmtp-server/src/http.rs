//! `/healthz` and `/metrics`, over HTTP, for who runs the node; and `/log`, for who audits it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::services::ServeDir;

use crate::log::CHECKPOINT;
use crate::node::Node;

/// Serves the pages until it is dropped.
pub struct Http {
    listener: TcpListener,
    node: Arc<Node>,
}

impl Http {
    /// Binds the TCP address.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(node: Arc<Node>, listen: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(listen).await?, node })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// What the system says.
    pub async fn run(self) -> io::Result<()> {
        let pages = Router::new()
            .route("/healthz", get(health))
            .route("/metrics", get(metrics))
            .nest("/log", log(&self.node.log_root()))
            .with_state(self.node);
        axum::serve(self.listener, pages).await
    }
}

async fn health(State(node): State<Arc<Node>>) -> Response {
    match node.trouble() {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
    }
}

async fn metrics(State(node): State<Arc<Node>>) -> Response {
    let text = node.metrics_text();
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

/// [LOG-6] A checkpoint is text, and always the newest; what else is in the log never changes.
async fn describe(request: Request, next: Next) -> Response {
    let is_checkpoint = request.uri().path().ends_with(CHECKPOINT);
    let mut response = next.run(request).await;
    if is_checkpoint && response.status().is_success() {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}

/// [LOG-6] The log's files, as they are on the disk. They have no endings, so that they are `application/octet-stream`.
fn log(root: &Path) -> Router<Arc<Node>> {
    let compression = CompressionLayer::new().gzip(true).compress_when(SizeAbove::new(COMPRESS));
    let files = ServeDir::new(root).append_index_html_on_directories(false);
    Router::new().fallback_service(files).layer(from_fn(describe)).layer(compression)
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
/// Bytes below which compressing saves nothing.
const COMPRESS: u16 = 256;
