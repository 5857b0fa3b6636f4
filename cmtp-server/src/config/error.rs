//! What can be wrong with a configuration, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cmtp_codec::log::VerifierKeyError;
use cmtp_codec::session::ScopeError;
use cmtp_codec::{DidError, FqmnError, PatternError, SubjectError};

use super::{IssuerSettingsError, SEGMENT_BYTES, SEGMENT_BYTES_MIN, THREADS_MAX};

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no TOML, or has a key that there is not, or a value of another type or out of range.
    #[error("{message}")]
    Toml {
        /// What the parser says.
        message: String,
    },
    /// What is wrong, and the line of the text on which it is, or on which its table begins.
    #[error("line {line}, {shown}: {source}")]
    OnLine {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        shown: String,
        /// What is wrong.
        source: Box<ConfigError>,
    },
    /// What is wrong, and the file in which it is.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<ConfigError>,
    },
    /// No time to answer.
    #[error(
        "route target {target:?}: with timeout-ms = 0 no service could answer; give at least 1"
    )]
    Timeout {
        /// The pattern.
        target: String,
    },
    /// Unknown bus.
    #[error("bus {bus:?}: expected \"local\" or \"nats=URL\", such as nats=nats://127.0.0.1:4222")]
    Bus {
        /// What was given.
        bus: String,
    },
    /// A name leads to something that is no target.
    #[error("names.{name:?}: {error}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with its target.
        error: FqmnError,
    },
    /// A route's pattern.
    #[error("route target {target:?}: {error}")]
    Target {
        /// The pattern.
        target: String,
        /// What is wrong with it.
        error: PatternError,
    },
    /// State under another opcode than its own, from which it could not be rebuilt.
    #[error(
        "route target {target:?}: local:state keeps what is written by 0xSW and read by 0xS only"
    )]
    State {
        /// The pattern.
        target: String,
    },
    /// A route's subject.
    #[error("route subject {subject:?}: {error}")]
    Subject {
        /// The subject.
        subject: String,
        /// What is wrong with it.
        error: SubjectError,
    },
    /// A route's destination.
    #[error("route to {to:?}: expected \"local:SERVICE\", \"nats\" or \"nats:SUBJECT\"")]
    Destination {
        /// What was given.
        to: String,
    },
    /// Health and metrics for the whole network.
    #[error(
        "http.listen {listen}: anybody could read it; use a loopback address, or set http.allow-remote = true"
    )]
    Remote {
        /// What was given.
        listen: SocketAddr,
    },
    /// A journal mode that there is not.
    #[error("journal mode {mode:?}: expected \"wal\" (durable before the answer) or \"async\"")]
    JournalMode {
        /// What was given.
        mode: String,
    },
    /// No thread, or more than any machine has use for.
    #[error(
        "threads = {threads}: choose 1 to {THREADS_MAX}; one serves some ten thousand requests a second"
    )]
    Threads {
        /// What was given.
        threads: usize,
    },
    /// Too small a log file.
    #[error(
        "journal.segment-bytes {bytes}: a log file has at least {SEGMENT_BYTES_MIN} bytes; leave it out for {SEGMENT_BYTES}"
    )]
    SegmentBytes {
        /// What was given.
        bytes: u64,
    },
    /// A promise that can't be kept.
    #[error(
        "log.merge-delay {merge_delay}: it is a promise, in seconds, and has to be at least {least}, twice log.interval-ms, which is not 0"
    )]
    MergeDelay {
        /// What was given, seconds.
        merge_delay: u16,
        /// The least that goes with the interval, seconds.
        least: u64,
    },
    /// A scope of sessions that is none.
    #[error("session.read or session.write: {error}")]
    SessionScope {
        /// What is wrong with a pattern, or with their number.
        error: ScopeError,
    },
    /// A time that sessions can't have.
    #[error("session.{key} {value}: choose 1 to {most} seconds")]
    SessionTime {
        /// The key.
        key: &'static str,
        /// What was given.
        value: u64,
        /// The most.
        most: u64,
    },
    /// A limit of the audit stream with which it would keep nothing.
    #[error("audit.{key} {value}: choose {least} at least, or leave it out for no limit")]
    AuditLimit {
        /// The key.
        key: &'static str,
        /// What was given.
        value: u64,
        /// The least.
        least: u64,
    },
    /// A witness's key that is none.
    #[error("log.witness, key: {error}; it is the line of: cmtpd witness --vkey")]
    WitnessKey {
        /// What is wrong with it.
        error: VerifierKeyError,
    },
    /// A witness's key that is a log's.
    #[error(
        "log.witness, key: that of {name} is of a log, not of a witness (type 0x04); a witness's is the line of: cmtpd witness --vkey"
    )]
    WitnessKind {
        /// The key's name.
        name: String,
    },
    /// Where no witness can be.
    #[error(
        "log.witness, url {url:?}: expected http://ADDRESS:PORT or https://HOST, without a password, and what stands before /add-checkpoint"
    )]
    WitnessUrl {
        /// What stands there.
        url: String,
    },
    /// More than a checkpoint has room for.
    #[error("log.witness: {max} at most")]
    Witnesses {
        /// How many there may be.
        max: usize,
    },
    /// An outside issuer.
    #[error("issuer {name:?}: {error}")]
    Issuer {
        /// Its name.
        name: String,
        /// What is wrong with it.
        error: IssuerSettingsError,
    },
    /// A route's actor.
    #[error(
        "route actor {actor:?}: {error}; an actor is the DID of a service, such as did:key:z6Mk…"
    )]
    Actor {
        /// What was given.
        actor: String,
        /// What is wrong with it.
        error: DidError,
    },
    /// A route that nobody may answer.
    #[error(
        "route target {target:?}: `actors` names nobody; name who may answer, or leave it away for a plain service"
    )]
    NoActors {
        /// The pattern.
        target: String,
    },
    /// Keys that only routes to layered services have.
    #[error(
        "route target {target:?}: {key} is for a layered service, whose route has `to = \"nats…\"`, `actors`, and no `headers`"
    )]
    NotLayered {
        /// The pattern.
        target: String,
        /// The key that has no place.
        key: &'static str,
    },
    /// A bus scheme that there is not.
    #[error(
        "route bus-auth {auth:?}: expected \"mac\", \"signature\" (evidence by the service's own key) or \"none\""
    )]
    BusAuth {
        /// What was given.
        auth: String,
    },
    /// A layered service without authentication that nobody asked for.
    #[error(
        "route target {target:?}: bus-auth = \"none\" lets whoever is on the bus forge callers and answers; use \"mac\", or start cmtpd serve with --insecure-bus"
    )]
    InsecureBus {
        /// The pattern.
        target: String,
    },
    /// A header that must not pass.
    #[error("route header {header:?}: names are lower case, and nats-* and cmtp-* never pass")]
    Header {
        /// The name.
        header: String,
    },
}

impl ConfigError {
    /// The parser's error shows a piece of the text over several lines; this has one, as all others.
    pub(super) fn from_parser(error: toml::de::Error, text: &str) -> Self {
        let message = Self::Toml { message: error.message().replace('\n', ", ") };
        match error.span() {
            Some(span) => message.on_line_of(text, span.start),
            None => message,
        }
    }

    pub(super) fn on_line_of(self, text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let number = before.matches('\n').count();
        let shown = text.lines().nth(number).unwrap_or_default().trim().to_owned();
        Self::OnLine { line: number + 1, shown, source: Box::new(self) }
    }

    pub(super) fn in_file(self, path: &Path) -> Self {
        Self::InFile { path: path.to_owned(), source: Box::new(self) }
    }
}
