//! `/healthz` and `/metrics`, over HTTP, for who runs the node.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::node::Node;

/// Serves the two pages until it is dropped.
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
    let text = node.metrics.text(node.exchanges.len());
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
