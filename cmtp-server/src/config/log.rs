//! How the transparency log is kept, as the configuration file has it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// How the transparency log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Time between two checkpoints, at least; where nothing comes, there is none.
    pub interval: Duration,
    /// Seconds within which the node promises, in each R0, to have the entry under a checkpoint.
    pub merge_delay: u16,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { interval: INTERVAL, merge_delay: MERGE_DELAY }
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LogTable {
    interval_ms: Option<u64>,
    merge_delay: Option<u16>,
}

impl LogTable {
    pub(super) fn settings(self) -> Result<LogSettings, ConfigError> {
        let mut settings = LogSettings::default();
        if let Some(interval) = self.interval_ms {
            settings.interval = Duration::from_millis(interval);
        }
        settings.merge_delay = self.merge_delay.unwrap_or(settings.merge_delay);
        let LogSettings { interval, merge_delay } = &settings;
        // A promise that the interval alone breaks is none.
        let least = interval.as_secs().saturating_mul(2).max(1);
        if interval.is_zero() || u64::from(*merge_delay) < least {
            return Err(ConfigError::MergeDelay { merge_delay: *merge_delay, least });
        }
        Ok(settings)
    }
}

impl From<&LogSettings> for LogTable {
    fn from(settings: &LogSettings) -> Self {
        Self {
            interval_ms: u64::try_from(settings.interval.as_millis()).ok(),
            merge_delay: Some(settings.merge_delay),
        }
    }
}

/// A caller that waits for a proof waits half of it on average; a checkpoint costs a dozen syncs.
const INTERVAL: Duration = Duration::from_secs(1);
/// A minute: a disk or a witness may be slow for so long without making the node a liar.
const MERGE_DELAY: u16 = 60;
