//! How sessions are opened, as the configuration file has it.

use cmtp_codec::Scope;
use cmtp_codec::session::ScopeTexts;
use cmtp_spec::limits;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// How sessions are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// Whether there is a handshake at all.
    pub is_open: bool,
    /// What a grant covers at most; policies decide within it.
    pub scope: ScopeTexts,
    /// How long a grant lasts, in seconds.
    pub grant_seconds: u64,
    /// How long each of its tokens lives, in seconds.
    pub token_seconds: u64,
    /// Whether a persona has to commit to a recovery key.
    pub require_recovery: bool,
}

impl SessionSettings {
    /// What a grant covers at most.
    pub(crate) fn scope(&self) -> Scope {
        // It was parsed when the file was read.
        self.scope.parse().unwrap_or_default()
    }
}

impl Default for SessionSettings {
    fn default() -> Self {
        let every = || EVERY.map(str::to_owned).to_vec();
        Self {
            is_open: true,
            scope: ScopeTexts { read: every(), write: every() },
            grant_seconds: GRANT_SECONDS,
            token_seconds: limits::TOKEN_LIFETIME_MAX,
            require_recovery: false,
        }
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SessionTable {
    open: Option<bool>,
    read: Option<Vec<String>>,
    write: Option<Vec<String>>,
    grant_seconds: Option<u64>,
    token_seconds: Option<u64>,
    require_recovery: Option<bool>,
}

impl SessionTable {
    pub(super) fn settings(self) -> Result<SessionSettings, ConfigError> {
        let default = SessionSettings::default();
        let settings = SessionSettings {
            is_open: self.open.unwrap_or(default.is_open),
            scope: ScopeTexts {
                read: self.read.unwrap_or(default.scope.read),
                write: self.write.unwrap_or(default.scope.write),
            },
            grant_seconds: self.grant_seconds.unwrap_or(default.grant_seconds),
            token_seconds: self.token_seconds.unwrap_or(default.token_seconds),
            require_recovery: self.require_recovery.unwrap_or(default.require_recovery),
        };
        settings.scope.parse().map_err(|error| ConfigError::SessionScope { error })?;
        let bounded = [
            ("grant-seconds", settings.grant_seconds, limits::GRANT_LIFETIME_MAX),
            ("token-seconds", settings.token_seconds, limits::TOKEN_LIFETIME_MAX),
        ];
        match bounded.into_iter().find(|(_, value, most)| !(1..=*most).contains(value)) {
            Some((key, value, most)) => Err(ConfigError::SessionTime { key, value, most }),
            None => Ok(settings),
        }
    }
}

impl From<&SessionSettings> for SessionTable {
    fn from(settings: &SessionSettings) -> Self {
        Self {
            open: Some(settings.is_open),
            read: Some(settings.scope.read.clone()),
            write: Some(settings.scope.write.clone()),
            grant_seconds: Some(settings.grant_seconds),
            token_seconds: Some(settings.token_seconds),
            require_recovery: Some(settings.require_recovery),
        }
    }
}

/// All that a node has but other nodes: policies say what of it.
const EVERY: [&str; 6] = ["0xI:**", "0xS:**", "0xE:**", "0xA:**", "0xC:**", "0xR:**"];
/// A month: a person consents a dozen times a year.
const GRANT_SECONDS: u64 = 30 * 24 * 3600;
