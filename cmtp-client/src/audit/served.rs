//! A log that a node, or anybody, serves over HTTP.

use std::time::Duration;

use ureq::Agent;

use crate::audit::error::AuditError;
use crate::system_tls;

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
            config = config.tls_config(system_tls());
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

/// For one file of at most 18 kB.
const TIMEOUT: Duration = Duration::from_secs(30);
