//! C2SP tlog-witness over HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use cmtp_spec::limits;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::witness::{Refused, Witness};

/// Answers logs, and who asks what was seen of them.
#[derive(Debug)]
pub struct WitnessHttp {
    listener: TcpListener,
    witness: Arc<Witness>,
}

impl WitnessHttp {
    /// Binds the TCP address.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(witness: Arc<Witness>, listen: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(listen).await?, witness })
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
            .route("/add-checkpoint", post(add_checkpoint))
            .route("/{log}/checkpoint", get(checkpoint))
            .with_state(self.witness);
        axum::serve(self.listener, pages).await
    }
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Body) -> Response {
    // The bound holds while it is read, and so does the time.
    let body = match timeout(READ, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_too_long)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_elapsed) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let Ok(body) = String::from_utf8(body.into()) else {
        return (StatusCode::BAD_REQUEST, "not text\n").into_response();
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // It waits for the disk, and ends also where nobody waits for its answer any more.
    let judged = spawn_blocking(move || witness.add_checkpoint(&body, since.as_secs())).await;
    match judged {
        Ok(Ok(line)) => (StatusCode::OK, line).into_response(),
        Ok(Err(refused)) => refused.into_response(),
        Err(error) => {
            tracing::error!(%error, "the witness failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn checkpoint(State(witness): State<Arc<Witness>>, Path(log): Path<String>) -> Response {
    match witness.checkpoint(&log) {
        Some(note) => {
            let headers = [(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, "no-cache")];
            (headers, note).into_response()
        }
        None => {
            (StatusCode::NOT_FOUND, "no checkpoint of this log was cosigned here\n").into_response()
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match &self {
            // Only a size, so that the log can send the proof from there.
            Self::OtherSize { known } => {
                let size = [(header::CONTENT_TYPE, SIZE)];
                return (StatusCode::CONFLICT, size, format!("{known}\n")).into_response();
            }
            Self::Malformed(_) | Self::TooLong(_) | Self::OldBeyond { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::UnknownLog => StatusCode::NOT_FOUND,
            Self::NotTrusted(_) => StatusCode::FORBIDDEN,
            Self::Inconsistent(error) => {
                tracing::warn!(%error, "a log asked for a cosignature that would contradict the last one");
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Io(error) => {
                tracing::error!(%error, "the witness can't remember, so it signs nothing");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        (status, format!("{self}\n")).into_response()
    }
}

/// `old`, 63 hashes and the checkpoint.
const BODY_MAX: usize = 64 * 45 + 32 + limits::CHECKPOINT_MAX as usize;
/// For a body of a few kilobytes.
const READ: Duration = Duration::from_secs(10);
const TEXT: &str = "text/plain; charset=utf-8";
const SIZE: &str = "text/x.tlog.size";
