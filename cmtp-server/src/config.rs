//! The node's configuration: one TOML file, checked before anything starts.

mod audit;
mod error;
mod issuers;
mod log;
mod route;
mod session;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fmt, fs};

use cmtp_codec::Fqmn;
use cmtp_spec::{BusAuth, JournalMode, binding, limits};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use toml::Spanned;

pub use crate::config::audit::AuditSettings;
use crate::config::audit::AuditTable;
pub use crate::config::error::ConfigError;
use crate::config::issuers::IssuerTable;
pub use crate::config::issuers::{
    Binding, IssuerAlgorithm, IssuerSettings, IssuerSettingsError, KeySource,
};
use crate::config::log::LogTable;
pub use crate::config::log::{LogSettings, WitnessSettings};
use crate::config::route::RouteEntry;
pub(crate) use crate::config::route::is_passable;
pub use crate::config::route::{Destination, RouteConfig};
pub use crate::config::session::SessionSettings;
use crate::config::session::SessionTable;
use crate::limits::Limits;
use crate::policies;

/// What a node is told.
///
/// ```
/// let config = cmtp_server::Config::from_toml(r#"
///     listen = "127.0.0.1:0"
///     [names]
///     "helloworld.mcom" = "0xS:0x001:hello_world"
///     [[route]]
///     target = "0xS:0x001:*"
///     to = "local:hello"
/// "#)?;
/// assert_eq!(config.routes.len(), 1);
/// # Ok::<(), cmtp_server::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// UDP address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that serve connections, each connection on one of them; at least 1.
    pub threads: usize,
    /// Where the node's key is kept.
    pub data: PathBuf,
    /// How services outside of the process are reached.
    pub bus: Bus,
    /// Whether routes may have layered services without authentication. Never said by a file, which may be copied: the
    /// operator asks for it at each start, by a flag.
    pub insecure_bus: bool,
    /// Largest body that is taken from a caller or a service, bytes.
    pub body_max: u64,
    /// TCP address of `/healthz` and `/metrics`; none where they are not served.
    pub http: Option<SocketAddr>,
    /// How exchanges are journalled.
    pub journal: JournalSettings,
    /// How the transparency log is kept.
    pub log: LogSettings,
    /// Where the journal's entries go, too.
    pub audit: AuditSettings,
    /// How sessions are opened.
    pub session: SessionSettings,
    /// Whose word is taken for groups and attributes of personas.
    pub issuers: Vec<IssuerSettings>,
    /// Whether a log that the journal does not continue is followed by a new one. Never said by a file: the operator asks
    /// for it once, by a flag, when a backup was restored.
    pub follow_log: bool,
    /// The folder of policies, where it is not the folder `policies` in the data directory.
    pub policy: Option<PathBuf>,
    /// What peers may use.
    pub limits: Limits,
    /// What names stand for.
    pub names: BTreeMap<String, Fqmn>,
    /// Where targets lead; the first that covers a target counts.
    pub routes: Vec<RouteConfig>,
}

impl Config {
    /// The defaults, with a data directory.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, binding::DEFAULT_PORT).into(),
            threads: 1,
            data: data.into(),
            bus: Bus::Local,
            insecure_bus: false,
            body_max: limits::BODY_MAX,
            http: None,
            journal: JournalSettings::default(),
            log: LogSettings::default(),
            audit: AuditSettings::default(),
            session: SessionSettings::default(),
            issuers: Vec::new(),
            follow_log: false,
            policy: None,
            limits: Limits::default(),
            names: BTreeMap::new(),
            routes: Vec::new(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the key and the cure.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
        Self::from_toml(&text).map_err(|error| error.in_file(path))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`ConfigError`] names the line, the key and the cure.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let file: File =
            toml::from_str(text).map_err(|error| ConfigError::from_parser(error, text))?;
        let at = |span: Range<usize>| move |error: ConfigError| error.on_line_of(text, span.start);
        let mut config = Self::new(file.data.unwrap_or_else(default_data));
        config.listen = file.listen.unwrap_or(config.listen);
        config.body_max = file.body_max.unwrap_or(config.body_max);
        config.threads = file.threads.unwrap_or(config.threads);
        if let Some(http) = file.http {
            config.http = http.get_ref().address().map_err(at(http.span()))?;
        }
        if let Some(journal) = file.journal {
            let span = journal.span();
            config.journal = journal.into_inner().settings().map_err(at(span))?;
        }
        if let Some(log) = file.log {
            let span = log.span();
            config.log = log.into_inner().settings().map_err(at(span))?;
        }
        if let Some(audit) = file.audit {
            let span = audit.span();
            config.audit = audit.into_inner().settings().map_err(at(span))?;
        }
        if let Some(session) = file.session {
            let span = session.span();
            config.session = session.into_inner().settings().map_err(at(span))?;
        }
        for issuer in file.issuer {
            let span = issuer.span();
            let settings = issuer.into_inner().settings(&config.issuers).map_err(at(span))?;
            config.issuers.push(settings);
        }
        config.policy = file.policy.folder;
        config.limits = file.limits;
        if let Some(bus) = file.bus {
            config.bus = bus.get_ref().parse().map_err(at(bus.span()))?;
        }
        for (name, target) in file.names {
            let parsed = Fqmn::parse_target(target.get_ref())
                .map_err(|error| ConfigError::Name { name: name.clone(), error });
            config.names.insert(name, parsed.map_err(at(target.span()))?);
        }
        for route in file.route {
            let span = route.span();
            config.routes.push(RouteConfig::from_entry(route.into_inner()).map_err(at(span))?);
        }
        Ok(config)
    }
}

impl Config {
    /// Checks what flags may have changed, and what the operator has to have asked for.
    ///
    /// # Errors
    /// [`ConfigError`] names the culprit and the cure.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=THREADS_MAX).contains(&self.threads) {
            return Err(ConfigError::Threads { threads: self.threads });
        }
        // [NAT-9] Scheme `none` MUST be refused unless the operator asked for it.
        let insecure = |route: &&RouteConfig| route.bus_auth == BusAuth::NONE;
        match self.routes.iter().find(insecure) {
            Some(route) if !self.insecure_bus => {
                Err(ConfigError::InsecureBus { target: route.to_entry().target })
            }
            _ => Ok(()),
        }
    }

    /// The folder of policies.
    pub fn policy_folder(&self) -> PathBuf {
        self.policy.clone().unwrap_or_else(|| self.data.join(policies::FOLDER))
    }

    /// The configuration as a file would say it, defaults included.
    pub fn to_toml(&self) -> String {
        let names =
            self.names.iter().map(|(name, target)| (name.clone(), spanned(target.to_string())));
        let file = File {
            listen: Some(self.listen),
            threads: Some(self.threads),
            data: Some(self.data.clone()),
            bus: Some(spanned(self.bus.to_string())),
            body_max: Some(self.body_max),
            http: Some(spanned(HttpTable {
                listen: self.http,
                allow_remote: self.http.map(|address| !address.ip().is_loopback()),
            })),
            journal: Some(spanned(JournalTable {
                mode: self.journal.mode.name().map(str::to_owned),
                segment_bytes: Some(self.journal.segment_bytes),
            })),
            log: Some(spanned(LogTable::from(&self.log))),
            audit: Some(spanned(AuditTable::of(&self.audit))),
            session: Some(spanned(SessionTable::from(&self.session))),
            issuer: self.issuers.iter().map(IssuerTable::from).map(spanned).collect(),
            policy: PolicyTable { folder: Some(self.policy_folder()) },
            limits: self.limits.clone(),
            names: names.collect(),
            route: self.routes.iter().map(RouteConfig::to_entry).map(spanned).collect(),
        };
        // Text, numbers and tables of them, in this order, are always TOML.
        toml::to_string_pretty(&file).unwrap_or_default()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(default_data())
    }
}

/// How services outside of the process are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bus {
    /// Not at all: only services in the process.
    Local,
    /// Over the NATS server at this URL.
    Nats(String),
}

impl FromStr for Bus {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text.split_once('=') {
            None if text == "local" => Ok(Self::Local),
            Some(("nats", url)) if !url.is_empty() => Ok(Self::Nats(url.to_owned())),
            _ => Err(ConfigError::Bus { bus: text.to_owned() }),
        }
    }
}

/// How exchanges are journalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// The mode where neither a route nor the caller asks for another.
    pub mode: JournalMode,
    /// Bytes of a log file: what is set aside on the disk, and moved to segments at a time.
    pub segment_bytes: u64,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { mode: JournalMode::WAL, segment_bytes: SEGMENT_BYTES }
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Nats(url) => match (url.split_once("://"), url.rsplit_once('@')) {
                // Credentials are shown to nobody.
                (Some((scheme, _)), Some((_, server))) => write!(f, "nats={scheme}://…@{server}"),
                _ => write!(f, "nats={url}"),
            },
        }
    }
}

fn journal_mode(name: &str) -> Result<JournalMode, ConfigError> {
    JournalMode::from_name(name)
        .filter(|mode| *mode != JournalMode::NONE)
        .ok_or_else(|| ConfigError::JournalMode { mode: name.to_owned() })
}

fn default_data() -> PathBuf {
    let home = |variable| std::env::var_os(variable).map(PathBuf::from);
    home("CMTPD_DATA")
        .or_else(|| Some(home("XDG_DATA_HOME")?.join("cmtpd")))
        .or_else(|| Some(home("HOME")?.join(".local/share/cmtpd")))
        .unwrap_or_else(|| PathBuf::from("cmtpd-data"))
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default, deserialize_with = "address")]
    listen: Option<SocketAddr>,
    threads: Option<usize>,
    data: Option<PathBuf>,
    bus: Option<Spanned<String>>,
    body_max: Option<u64>,
    http: Option<Spanned<HttpTable>>,
    journal: Option<Spanned<JournalTable>>,
    log: Option<Spanned<LogTable>>,
    audit: Option<Spanned<AuditTable>>,
    session: Option<Spanned<SessionTable>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    issuer: Vec<Spanned<IssuerTable>>,
    #[serde(default)]
    policy: PolicyTable,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    names: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    route: Vec<Spanned<RouteEntry>>,
}

/// A value that stands in no text yet.
fn spanned<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn address<'de, D: Deserializer<'de>>(value: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(value)?;
    let address = text.parse().map_err(|_syntax| {
        D::Error::custom("expected an IP address and a port, such as \"127.0.0.1:4433\"")
    });
    address.map(Some)
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HttpTable {
    #[serde(default, deserialize_with = "address")]
    listen: Option<SocketAddr>,
    allow_remote: Option<bool>,
}

impl HttpTable {
    fn address(&self) -> Result<Option<SocketAddr>, ConfigError> {
        match self.listen {
            Some(listen) if !listen.ip().is_loopback() && self.allow_remote != Some(true) => {
                Err(ConfigError::Remote { listen })
            }
            listen => Ok(listen),
        }
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PolicyTable {
    folder: Option<PathBuf>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct JournalTable {
    mode: Option<String>,
    segment_bytes: Option<u64>,
}

impl JournalTable {
    fn settings(self) -> Result<JournalSettings, ConfigError> {
        let mut settings = JournalSettings::default();
        if let Some(mode) = self.mode {
            settings.mode = journal_mode(&mode)?;
        }
        if let Some(bytes) = self.segment_bytes {
            if bytes < SEGMENT_BYTES_MIN {
                return Err(ConfigError::SegmentBytes { bytes });
            }
            settings.segment_bytes = bytes;
        }
        Ok(settings)
    }
}

/// 64 MiB: some ten thousand exchanges, a tenth of a second to move.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Sockets that share one address, each with a thread of its own.
const THREADS_MAX: usize = 256;
/// Room for a few commits.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_codec::log::{NoteKind, VerifierKey};

    use super::*;

    #[test]
    fn a_witness_has_a_key_of_its_kind_and_a_url() {
        let key = cmtp_codec::SigningKey::from_seed(&[7; 32]).unwrap().public();
        let table = |kind, url: &str| {
            let key = VerifierKey::new("w", kind, key).unwrap();
            format!("[log]\nmerge-delay = 9\n[[log.witness]]\nkey = \"{key}\"\nurl = \"{url}\"\n")
        };
        let good = table(NoteKind::Cosignature, "http://127.0.0.1:7380/w/");
        let config = Config::from_toml(&good).unwrap();
        assert_eq!(config.log.witnesses[0].url, "http://127.0.0.1:7380/w");
        let again = Config::from_toml(&config.to_toml()).unwrap();
        assert_eq!(again.log, config.log);
        for (bad, says) in [
            (table(NoteKind::Ed25519, "http://x"), "that of w is of a log"),
            (table(NoteKind::Cosignature, "x:1"), "expected http://ADDRESS:PORT"),
            (table(NoteKind::Cosignature, "http:///x"), "expected http://ADDRESS:PORT"),
            (table(NoteKind::Cosignature, "http://a:b@x"), "without a password"),
            ("[[log.witness]]\nkey = \"w\"".to_owned(), "missing field `url`"),
            (good.clone() + &good["[log]\nmerge-delay = 9\n".len()..].repeat(16), "16 at most"),
        ] {
            let error = Config::from_toml(&bad).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn an_issuer_is_named_and_its_keys_come_safely() {
        let good = [
            ("name", "\"corp\""),
            ("iss", "\"https://login.example\""),
            ("audience", "\"cmtp-node-1\""),
            ("algorithms", "[\"RS256\", \"EdDSA\"]"),
            ("jwks", "\"https://login.example/keys\""),
            ("groups", "\"realm_access.roles\""),
            ("attributes", "{ department = \"dept\" }"),
            ("bind", "\"none\""),
            ("max-age", "60"),
        ];
        let table = |change: &[(&str, &str)]| {
            let value = |key, value| change.iter().find(|it| it.0 == key).map_or(value, |it| it.1);
            let lines = good.iter().map(|(key, it)| format!("{key} = {}\n", value(*key, *it)));
            format!("[[issuer]]\n{}", lines.collect::<String>())
        };
        let config = Config::from_toml(&table(&[])).unwrap();
        let issuer = &config.issuers[0];
        assert_eq!((issuer.max_age, issuer.bind), (60, Binding::None));
        let again = Config::from_toml(&config.to_toml()).unwrap();
        assert_eq!(again.issuers, config.issuers);
        for jwks in ["corp.json", "http://127.0.0.1:80/x", "http://[::1]/x", "http://localhost/x"] {
            let text = table(&[("jwks", &format!("{jwks:?}"))]);
            assert_eq!(Config::from_toml(&text).unwrap().issuers[0].jwks.to_string(), jwks);
        }
        let two = |key, value| table(&[]) + &table(&[(key, value)]);
        let many =
            |count| (0..count).map(|i| format!("a{i} = \"x\"")).collect::<Vec<_>>().join(",");
        // [ISS-5] [ISS-9] and what else there is to get wrong.
        let rows = [
            (table(&[("name", "\"Corp\"")]), 1, "issuer \"Corp\": a name is 1 to 32"),
            (table(&[("name", "\"\"")]), 1, "a name is 1 to 32"),
            (table(&[("name", &format!("{:?}", "x".repeat(33)))]), 1, "a name is 1 to 32"),
            (two("iss", "\"x\""), 11, "another issuer with this name"),
            (two("name", "\"x\""), 11, "another issuer with this iss"),
            (table(&[("iss", "\"\"")]), 1, "iss is a text of 1 to 1024"),
            (table(&[("audience", "\"\"")]), 1, "audience is a text of 1 to 1024"),
            (table(&[("algorithms", "[]")]), 1, "such as [\"RS256\"]"),
            (table(&[("algorithms", "[\"none\"]")]), 1, "\"none\": expected RS256"),
            (table(&[("algorithms", "[\"HS256\"]")]), 1, "\"HS256\": expected RS256"),
            (table(&[("algorithms", "[\"ES512\"]")]), 1, "\"ES512\": expected RS256"),
            (table(&[("algorithms", "[\"rs256\"]")]), 1, "\"rs256\": expected RS256"),
            (table(&[("jwks", "\"\"")]), 1, "expected a file, or https://"),
            (table(&[("jwks", "\"http://login.example/k\"")]), 1, "http:// to a loopback"),
            (table(&[("jwks", "\"http://127.0.0.1.example/k\"")]), 1, "http:// to a loopback"),
            (table(&[("jwks", "\"https://a:b@login.example/k\"")]), 1, "without a password"),
            (table(&[("jwks", "\"ftp://127.0.0.1/k\"")]), 1, "ftp://127.0.0.1/k"),
            (table(&[("groups", "\"\"")]), 1, "such as \"groups\""),
            (table(&[("attributes", "{ \"De pt\" = \"d\" }")]), 1, "attribute \"De pt\""),
            (table(&[("attributes", "{ dept = \"\" }")]), 1, "a claim's name has 1 to 1024"),
            (table(&[("attributes", &format!("{{ {} }}", many(65)))]), 1, "64 attributes at most"),
            (table(&[("bind", "\"cookie\"")]), 1, "bind \"cookie\": expected \"nonce\""),
            (table(&[("max-age", "0")]), 1, "max-age 0: choose 1 to 86400"),
            (table(&[("max-age", "86401")]), 1, "max-age 86401: choose"),
            (table(&[("iss", "\"x\"\nlog = 1")]), 4, "unknown field `log`"),
            ("[[issuer]]\nname = \"x\"".to_owned(), 1, "missing field"),
            (
                (0..17)
                    .map(|i| table(&[("name", &format!("\"{i}\"")), ("iss", &format!("\"{i}\""))]))
                    .collect(),
                161,
                "16 issuers at most",
            ),
        ];
        for (text, line, says) in rows {
            let error = Config::from_toml(&text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {line}, ")), "line {line}: {error}");
            assert!(error.contains(says), "{says}: {error}");
        }
    }

    #[test]
    fn a_bad_configuration_names_line_culprit_and_cure() {
        let table = [
            ("\nlisden = \"127.0.0.1:1\"", 2, "lisden", "expected one of `listen`"),
            ("listen = \"localhost:1\"", 1, "localhost:1", "such as \"127.0.0.1:4433\""),
            ("listen = 4433", 1, "listen = 4433", "expected a string"),
            ("a =\n", 1, "a =", "string values must be quoted"),
            ("body-max = -1", 1, "body-max = -1", "expected u64"),
            ("\n\nbus = \"kafka\"", 3, "kafka", "nats=nats://127.0.0.1:4222"),
            ("[names]\na = \"0xS:b\"\nb = \"0xZ:b\"", 3, "names.\"b\"", "such as 0xS"),
            ("[http]\nlisten = \"0.0.0.0:1\"", 1, "0.0.0.0:1", "http.allow-remote = true"),
            ("[http]\nlisten = \":1\"", 2, "\":1\"", "such as \"127.0.0.1:4433\""),
            ("\n[journal]\nmode = \"fast\"", 2, "fast", "\"wal\""),
            ("[journal]\nsegment-bytes = 5", 1, "segment-bytes 5", "at least 65536"),
            ("\n[log]\nmerge-delay = 1", 2, "log.merge-delay 1", "at least 2"),
            ("[log]\ninterval-ms = 0", 1, "log.interval-ms", "not 0"),
            ("[policy]\nfolders = \"x\"", 2, "folders", "`folder`"),
            ("\n[audit]\nstrem = true", 3, "strem", "`stream`"),
            ("[audit]\nstream-max-bytes = 1", 1, "audit.stream-max-bytes 1", "1048576 at least"),
            ("[audit]\nstream-max-days = 0", 1, "audit.stream-max-days 0", "1 at least"),
            (
                "[[log.witness]]\nkey = \"x\"\nurl = \"http://x\"",
                1,
                "log.witness, key",
                "cmtpd witness --vkey",
            ),
            ("\n[limits]\nin-flight-max = 0", 2, "limits.in-flight-max is 0", "choose 1 to"),
            ("[limits]\nin-flight-mux = 1", 2, "in-flight-mux", "`in-flight-max`"),
            ("[[route]]\nto = \"nats\"", 1, "[[route]]", "missing field `target`"),
            (
                "[[route]]\ntarget = \"0xS:a\"\nto = \"nats\"\n[[route]]\ntarget = \"0xS:**\"\nto = \"http:x\"",
                4,
                "http:x",
                "\"local:SERVICE\"",
            ),
            ("[[route]]\ntarget = \"0xS:a**\"\nto = \"nats\"", 1, "0xS:a**", "%2A"),
            ("[[route]]\ntarget = \"0xS:**\"\nto = \"nats:$SYS.x\"", 1, "$SYS.x", "choose another"),
            (
                "[[route]]\ntarget = \"0xS:**\"\nto = \"nats:_INBOX_x.y\"",
                1,
                "_INBOX_x.y",
                "choose another",
            ),
            ("[[route]]\ntarget = \"0xS:**\"\nto = \"nats:a.*\"", 1, "a.*", ""),
            ("[[route]]\ntarget = \"0xS:**\"\nto = \"nats:a b\"", 1, "a b", ""),
            (
                "[[route]]\ntarget = \"0xS:**\"\nto = \"nats:a\"\nactors = [\"bob\"]",
                1,
                "bob",
                "did:key",
            ),
            ("[[route]]\ntarget = \"0xS:**\"\nto = \"nats:a\"\nactors = []", 1, "actors", ""),
            (
                "[[route]]\ntarget = \"0xS:**\"\nto = \"nats:a\"\nbus-auth = \"mac\"",
                1,
                "bus-auth",
                "",
            ),
            ("[[route]]\ntarget = \"0xAW:box:*\"\nto = \"local:state\"", 1, "0xAW:box:*", "0xSW"),
            (
                "[[route]]\ntarget = \"0xS:x\"\nto = \"nats\"\ntimeout-ms = 0",
                1,
                "timeout-ms = 0",
                "at least 1",
            ),
            (
                "[[route]]\ntarget = \"0xS:x\"\nto = \"nats\"\njournal = \"none\"",
                1,
                "journal mode \"none\"",
                "\"async\"",
            ),
            // [NAT-3]
            (
                "[[route]]\ntarget = \"0xS:**\"\nto = \"nats:x\"\nheaders = [\"nats-msg-id\"]",
                1,
                "nats-msg-id",
                "never pass",
            ),
        ];
        for (text, line, culprit, cure) in table {
            let error = Config::from_toml(text).map(|_| ()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {line}, ")), "{text}: {error}");
            assert!(error.contains(culprit) && error.contains(cure), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn what_is_in_force_can_be_read_again() {
        let text = "[audit]\nstream = true\nstream-max-days = 30\n[names]\na = \"0xS:b\"\n[[route]]\ntarget = \"0xSW:x:*\"\nto = \"nats:x\"";
        let config = Config::from_toml(text).unwrap();
        let again = Config::from_toml(&config.to_toml()).unwrap();
        assert_eq!(again.to_toml(), config.to_toml());
        assert!(again.routes[0].serves_writes && again.names.contains_key("a"));
    }
}
