//! How the transparency log is kept, as the configuration file has it.

use std::time::Duration;

use cmtp_codec::log::{NoteKind, VerifierKey};
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// How the transparency log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Time between two checkpoints, at least; where nothing comes, there is none.
    pub interval: Duration,
    /// Seconds within which the node promises, in each R0, to have the entry under a checkpoint.
    pub merge_delay: u16,
    /// Who is asked to cosign each checkpoint.
    pub witnesses: Vec<WitnessSettings>,
}

/// A witness that is asked to cosign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessSettings {
    /// Its key, of type 0x04.
    pub key: VerifierKey,
    /// What its `/add-checkpoint` stands behind, without a slash at the end.
    pub url: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { interval: INTERVAL, merge_delay: MERGE_DELAY, witnesses: Vec::new() }
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LogTable {
    interval_ms: Option<u64>,
    merge_delay: Option<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    witness: Vec<WitnessTable>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WitnessTable {
    key: String,
    url: String,
}

impl WitnessTable {
    fn settings(self) -> Result<WitnessSettings, ConfigError> {
        let key = self.key.parse::<VerifierKey>();
        let key = key.map_err(|error| ConfigError::WitnessKey { error })?;
        let host = self.url.strip_prefix("http://").or_else(|| self.url.strip_prefix("https://"));
        if key.kind() != NoteKind::Cosignature {
            return Err(ConfigError::WitnessKind { name: key.name().to_owned() });
        }
        // What the configuration says is journalled, and nobody's password with it.
        let is_bad = |host: &str| host.is_empty() || host.starts_with('/') || host.contains('@');
        if host.is_none_or(is_bad) {
            return Err(ConfigError::WitnessUrl { url: self.url });
        }
        Ok(WitnessSettings { key, url: self.url.trim_end_matches('/').to_owned() })
    }
}

impl LogTable {
    pub(super) fn settings(self) -> Result<LogSettings, ConfigError> {
        let mut settings = LogSettings::default();
        if let Some(interval) = self.interval_ms {
            settings.interval = Duration::from_millis(interval);
        }
        settings.merge_delay = self.merge_delay.unwrap_or(settings.merge_delay);
        let LogSettings { interval, merge_delay, .. } = &settings;
        // A promise that the interval alone breaks is none.
        let least = interval.as_secs().saturating_mul(2).max(1);
        if interval.is_zero() || u64::from(*merge_delay) < least {
            return Err(ConfigError::MergeDelay { merge_delay: *merge_delay, least });
        }
        let witnesses = self.witness.into_iter().map(WitnessTable::settings);
        settings.witnesses = witnesses.collect::<Result<_, _>>()?;
        if settings.witnesses.len() > WITNESSES_MAX {
            return Err(ConfigError::Witnesses { max: WITNESSES_MAX });
        }
        Ok(settings)
    }
}

impl From<&LogSettings> for LogTable {
    fn from(settings: &LogSettings) -> Self {
        Self {
            interval_ms: u64::try_from(settings.interval.as_millis()).ok(),
            merge_delay: Some(settings.merge_delay),
            witness: settings.witnesses.iter().map(WitnessTable::from).collect(),
        }
    }
}

impl From<&WitnessSettings> for WitnessTable {
    fn from(settings: &WitnessSettings) -> Self {
        Self { key: settings.key.to_string(), url: settings.url.clone() }
    }
}

/// A thread each while a checkpoint is cosigned, and a line of up to 375 bytes in it: far below `checkpoint-max`.
const WITNESSES_MAX: usize = 16;
/// A caller that waits for a proof waits half of it on average; a checkpoint costs a dozen syncs.
const INTERVAL: Duration = Duration::from_secs(1);
/// A minute: a disk or a witness may be slow for so long without making the node a liar.
const MERGE_DELAY: u16 = 60;
