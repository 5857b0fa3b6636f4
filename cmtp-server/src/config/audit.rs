//! The table `[audit]`.

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

/// Where the journal's entries go beside the journal: `cmtp-spec/spec/19-audit-stream.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditSettings {
    /// Whether they are published to JetStream, on the node's bus.
    pub stream: bool,
    /// Bytes that a stream keeps which the node makes; without a limit where `None`.
    pub stream_max_bytes: Option<u64>,
    /// Days for which it keeps a message; without a limit where `None`.
    pub stream_max_days: Option<u64>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AuditTable {
    stream: Option<bool>,
    stream_max_bytes: Option<u64>,
    stream_max_days: Option<u64>,
}

impl AuditTable {
    pub(super) const fn of(settings: &AuditSettings) -> Self {
        let AuditSettings { stream, stream_max_bytes, stream_max_days } = *settings;
        Self { stream: Some(stream), stream_max_bytes, stream_max_days }
    }

    pub(super) fn settings(self) -> Result<AuditSettings, ConfigError> {
        for (key, value, least) in [
            ("stream-max-bytes", self.stream_max_bytes, STREAM_BYTES_MIN),
            ("stream-max-days", self.stream_max_days, 1),
        ] {
            if let Some(value) = value.filter(|value| *value < least) {
                return Err(ConfigError::AuditLimit { key, value, least });
            }
        }
        Ok(AuditSettings {
            stream: self.stream.unwrap_or_default(),
            stream_max_bytes: self.stream_max_bytes,
            stream_max_days: self.stream_max_days,
        })
    }
}

/// Room for 30 of the largest messages.
const STREAM_BYTES_MIN: u64 = 1 << 20;
