//! One route of the configuration file.

use std::time::Duration;

use cmtp_codec::{Pattern, PublicKey, check_subject};
use cmtp_spec::{BusAuth, JournalMode, limits};
use serde::{Deserialize, Serialize};

use super::{ConfigError, journal_mode};

/// Where targets lead that a pattern covers.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// The targets, spelled with read opcodes.
    pub target: Pattern,
    /// Whether it serves writes: its target was spelled with a write opcode.
    pub serves_writes: bool,
    /// How its exchanges are journalled, if not as the node's others.
    pub journal: Option<JournalMode>,
    /// Where they lead.
    pub to: Destination,
    /// How long the service has to answer.
    pub timeout: Duration,
    /// Names of fields that pass to a plain service as headers, and back.
    pub headers: Vec<String>,
    /// The actors that may answer, where the service is layered; empty where it is plain, or local.
    pub actors: Vec<PublicKey>,
    /// How requests and answers are authenticated.
    pub bus_auth: BusAuth,
}

/// What answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// A service in the node's process, by its name.
    Local(String),
    /// A NATS service: on this subject, or on the one that the target maps to.
    Nats(Option<String>),
}

impl RouteConfig {
    pub(super) fn from_entry(entry: RouteEntry) -> Result<Self, ConfigError> {
        let (spelled, serves_writes) = read_spelling(&entry.target);
        let target = Pattern::parse(&spelled)
            .map_err(|error| ConfigError::Target { target: entry.target.clone(), error })?;
        if entry.to == "local:state" && !spelled.starts_with("0xS:") {
            return Err(ConfigError::State { target: entry.target });
        }
        let to = match entry.to.split_once(':') {
            Some(("local", service)) => Destination::Local(service.to_owned()),
            Some(("nats", subject)) => {
                // [NAT-2] A subject MUST NOT begin with `$` or `_INBOX`, nor hold a wildcard.
                check_subject(subject)
                    .map_err(|error| ConfigError::Subject { subject: subject.into(), error })?;
                Destination::Nats(Some(subject.to_owned()))
            }
            None if entry.to == "nats" => Destination::Nats(None),
            _ => return Err(ConfigError::Destination { to: entry.to }),
        };
        for header in &entry.headers {
            if !is_passable(header) {
                return Err(ConfigError::Header { header: header.clone() });
            }
        }
        let timeout = entry.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS);
        if timeout == 0 {
            return Err(ConfigError::Timeout { target: entry.target });
        }
        let timeout = Duration::from_millis(timeout);
        let journal = entry.journal.as_deref().map(journal_mode).transpose()?;
        let (actors, bus_auth) = entry.auth(&to)?;
        let headers = entry.headers;
        Ok(Self { target, serves_writes, journal, to, timeout, headers, actors, bus_auth })
    }

    /// The subject that all its requests go to; none where it is made from the target.
    pub(crate) fn subject(&self) -> Option<&str> {
        match &self.to {
            Destination::Nats(subject) => subject.as_deref(),
            Destination::Local(_) => None,
        }
    }

    pub(super) fn to_entry(&self) -> RouteEntry {
        let target = self.target.to_string();
        let target = match target.split_once(':') {
            Some((opcode, rest)) if self.serves_writes => format!("{opcode}W:{rest}"),
            _ => target,
        };
        let is_layered = !self.actors.is_empty();
        RouteEntry {
            target,
            to: match &self.to {
                Destination::Local(service) => format!("local:{service}"),
                Destination::Nats(Some(subject)) => format!("nats:{subject}"),
                Destination::Nats(None) => "nats".to_owned(),
            },
            timeout_ms: u64::try_from(self.timeout.as_millis()).ok(),
            journal: self.journal.and_then(JournalMode::name).map(str::to_owned),
            headers: self.headers.clone(),
            actors: is_layered.then(|| self.actors.iter().map(PublicKey::to_string).collect()),
            bus_auth: self.bus_auth.name().filter(|_| is_layered).map(str::to_owned),
        }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RouteEntry {
    pub(super) target: String,
    to: String,
    timeout_ms: Option<u64>,
    journal: Option<String>,
    #[serde(default)]
    headers: Vec<String>,
    actors: Option<Vec<String>>,
    bus_auth: Option<String>,
}

impl RouteEntry {
    /// Who may answer, and how that is known.
    fn auth(&self, to: &Destination) -> Result<(Vec<PublicKey>, BusAuth), ConfigError> {
        let misplaced = |key| Err(ConfigError::NotLayered { target: self.target.clone(), key });
        let Some(actors) = &self.actors else {
            return match (to, &self.bus_auth) {
                (_, Some(_)) => misplaced("bus-auth"),
                (Destination::Local(_), None) => Ok((Vec::new(), BusAuth::LOCAL)),
                (Destination::Nats(_), None) => Ok((Vec::new(), BusAuth::PLAIN)),
            };
        };
        if matches!(to, Destination::Local(_)) || !self.headers.is_empty() {
            return misplaced("actors");
        }
        if actors.is_empty() {
            return Err(ConfigError::NoActors { target: self.target.clone() });
        }
        let auth = match self.bus_auth.as_deref() {
            None | Some("mac") => BusAuth::MAC,
            Some("signature") => BusAuth::SIGNATURE,
            Some("none") => BusAuth::NONE,
            Some(auth) => return Err(ConfigError::BusAuth { auth: auth.to_owned() }),
        };
        let actor = |text: &String| {
            text.parse().map_err(|error| ConfigError::Actor { actor: text.clone(), error })
        };
        Ok((actors.iter().map(actor).collect::<Result<_, _>>()?, auth))
    }
}

/// `0xSW:x` is the write form of `0xS:x`: patterns are spelled with read opcodes.
fn read_spelling(target: &str) -> (String, bool) {
    match target.split_once(':') {
        Some((opcode, rest)) if opcode.starts_with("0x") && opcode.ends_with('W') => {
            (format!("{}:{rest}", opcode.trim_end_matches('W')), true)
        }
        _ => (target.to_owned(), false),
    }
}

/// Whether a field of this name may pass between caller and plain service at all.
pub(crate) fn is_passable(name: &str) -> bool {
    // [NAT-3] A name that begins with `nats-` or `cmtp-` MUST NOT be passed in either direction.
    let reserved = name.starts_with("nats-") || name.starts_with("cmtp-");
    let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    !reserved && is_lower && cmtp_codec::Name::new(name).is_ok()
}

const DEFAULT_TIMEOUT_MS: u64 = limits::SERVICE_DEADLINE * 1000;
