//! A log that a node, or anybody, serves over HTTP.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::audit::error::AuditError;

/// Where a log is served; connections are kept open between files.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    url: String,
    agent: Agent,
}

impl Served {
    pub(crate) fn new(url: String) -> Result<Self, AuditError> {
        let mut config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .user_agent(concat!("cmtp-audit/", env!("CARGO_PKG_VERSION")));
        if url.starts_with("https:") {
            config = config.tls_config(tls());
        }
        Ok(Self { url, agent: config.build().into() })
    }

    /// A file; `None` where there is none, or a longer one.
    pub(crate) fn get(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, AuditError> {
        let url = format!("{}/{name}", self.url);
        let failed =
            |source: ureq::Error| AuditError::Http { url: url.clone(), source: Box::new(source) };
        let mut response = self.agent.get(&url).call().map_err(failed)?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            other => return Err(failed(ureq::Error::StatusCode(other))),
        }
        match response.body_mut().with_config().limit(max).read_to_vec() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ureq::Error::BodyExceedsLimit(_)) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

fn tls() -> TlsConfig {
    let roots = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build()
}

/// For one file of at most 18 kB.
const TIMEOUT: Duration = Duration::from_secs(30);
