//! Where an issuer's keys come from: a file that is looked at when it changed, or a URL that a thread of its own asks.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cmtp_client::system_tls;
use cmtp_spec::limits;
use ureq::Agent;

use super::keys::KeySet;
use crate::config::KeySource;

/// The keys of one issuer, as far as they are known.
#[derive(Debug)]
pub(super) enum Source {
    /// Looked at when a token comes.
    File { issuer: String, path: PathBuf, read: Mutex<FileKeys> },
    /// Asked by a thread, which ends when this is dropped.
    Url { known: Arc<Known>, wake: SyncSender<()> },
}

impl Source {
    /// Reads a file, or begins to ask a URL.
    pub(super) fn open(issuer: &str, source: &KeySource, pace: Pace) -> Result<Self, KeySetError> {
        match source {
            KeySource::File(path) => {
                let read = Mutex::new(FileKeys { stamp: stamp(path), keys: Arc::new(read(path)?) });
                Ok(Self::File { issuer: issuer.to_owned(), path: path.clone(), read })
            }
            KeySource::Url(url) => {
                let known = Arc::new(Known::default());
                let (wake, woken) = mpsc::sync_channel(1);
                let asking = Asking {
                    issuer: issuer.to_owned(),
                    url: url.clone(),
                    agent: agent(url, pace.timeout),
                    known: Arc::clone(&known),
                    pace,
                    trouble: None,
                };
                let thread = thread::Builder::new().name("cmtpd-issuer".to_owned());
                thread.spawn(move || asking.run(&woken)).map_err(KeySetError::Thread)?;
                Ok(Self::Url { known, wake })
            }
        }
    }

    /// The keys that are in force; none where none were got so far. Nothing is fetched meanwhile.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        match self {
            Self::File { issuer, path, read } => {
                let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
                read.look(issuer, path);
                Some(Arc::clone(&read.keys))
            }
            Self::Url { known, .. } => known.keys(),
        }
    }

    /// Has a URL asked soon, for a key that is not known.
    pub(super) fn look_again(&self) {
        if let Self::Url { wake, .. } = self {
            // Where it is woken already, or its thread is gone, there is nothing to add.
            let _woken = wake.try_send(());
        }
    }
}

/// What was read of a file.
#[derive(Debug)]
pub(super) struct FileKeys {
    stamp: Option<Stamp>,
    keys: Arc<KeySet>,
}

impl FileKeys {
    /// Reads the file again where its stamp changed.
    fn look(&mut self, issuer: &str, path: &Path) {
        let now = stamp(path);
        if now == self.stamp {
            return;
        }
        // Taken before it was read: what is written meanwhile changes it again.
        self.stamp = now;
        match read(path) {
            Ok(keys) => {
                tracing::info!(issuer, keys = keys.len(), "the keys of an issuer were read again");
                self.keys = Arc::new(keys);
            }
            Err(error) => {
                tracing::warn!(issuer, path = %path.display(), %error, "{STAY}");
            }
        }
    }
}

/// Which version of a file it is.
type Stamp = (u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let stamp = |it: Metadata| (it.ino(), it.len(), it.mtime(), it.mtime_nsec());
    fs::metadata(path).ok().map(stamp)
}

/// What a thread got of a URL.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Option<Arc<KeySet>>>);

impl Known {
    fn keys(&self) -> Option<Arc<KeySet>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self, keys: KeySet) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
    }
}

/// How often a URL is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two looks.
    pub(super) every: Duration,
    /// At least between two of them.
    pub(super) least: Duration,
    /// For one of them.
    pub(super) timeout: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(limits::JWKS_INTERVAL),
            least: Duration::from_secs(limits::JWKS_INTERVAL_MIN),
            timeout: Duration::from_secs(limits::JWKS_TIMEOUT),
        }
    }
}

/// The thread that asks a URL.
struct Asking {
    issuer: String,
    url: String,
    agent: Agent,
    known: Arc<Known>,
    pace: Pace,
    trouble: Option<String>,
}

impl Asking {
    /// Asks at the start, regularly, and when it is woken; ends with who wakes it.
    fn run(mut self, woken: &Receiver<()>) {
        loop {
            let asked = Instant::now();
            let wait = if self.ask() { self.pace.every } else { self.pace.least };
            let next = match woken.recv_timeout(wait) {
                Ok(()) => asked + self.pace.least,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // Not before its time, however often it is woken.
            loop {
                let wait = next.saturating_duration_since(Instant::now());
                match woken.recv_timeout(wait) {
                    Ok(()) if !wait.is_zero() => {}
                    Ok(()) | Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    fn ask(&mut self) -> bool {
        let got = fetch(&self.agent, &self.url);
        let (issuer, url) = (&self.issuer, &self.url);
        match got {
            Ok(keys) => {
                if self.known.keys().is_none() || self.trouble.is_some() {
                    tracing::info!(issuer, keys = keys.len(), "the keys of an issuer were got");
                }
                self.known.take(keys);
                self.trouble = None;
                true
            }
            Err(error) => {
                let trouble = error.to_string();
                // Said once.
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(issuer, url, %error, "{STAY}");
                }
                self.trouble = Some(trouble);
                false
            }
        }
    }
}

/// The keys as they are now; blocks meanwhile.
pub(super) fn look(source: &KeySource) -> Result<KeySet, KeySetError> {
    match source {
        KeySource::File(path) => read(path),
        KeySource::Url(url) => fetch(&agent(url, Pace::default().timeout), url),
    }
}

fn read(path: &Path) -> Result<KeySet, KeySetError> {
    let io = |source| KeySetError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    // What is no file may block for ever, or never end.
    if !file.metadata().map_err(io)?.is_file() {
        return Err(io(io::Error::other("it is no file")));
    }
    let mut bytes = Vec::new();
    // [ISS-8] A node MUST refuse a key set of more than `jwks-max` bytes.
    file.take(limits::JWKS_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
    KeySet::parse(&bytes)
}

/// What asks: nothing of the environment tells it where to go, and [ISS-9] redirects MUST NOT be followed.
fn agent(url: &str, timeout: Duration) -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .user_agent(concat!("cmtpd/", env!("CARGO_PKG_VERSION")));
    // [ISS-9] Over TLS from a server whose certificate holds.
    let config = if url.starts_with("https:") { config.tls_config(system_tls()) } else { config };
    config.build().into()
}

fn fetch(agent: &Agent, url: &str) -> Result<KeySet, KeySetError> {
    let mut response = agent.get(url).call()?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(KeySetError::Status { status });
    }
    let body = response.body_mut().with_config().limit(limits::JWKS_MAX);
    match body.read_to_vec() {
        Ok(bytes) => KeySet::parse(&bytes),
        Err(ureq::Error::BodyExceedsLimit(_)) => Err(KeySetError::TooLong),
        Err(error) => Err(error.into()),
    }
}

/// Why a key set can't be had, or not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// The file can't be read.
    #[error("key set {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The URL can't be had in time.
    #[error("key set: {0}")]
    Http(#[from] ureq::Error),
    /// The server has no key set there.
    #[error("key set: the server answers with HTTP status {status}{}", hint(*status))]
    Status {
        /// The status.
        status: u16,
    },
    /// Above `jwks-max`.
    #[error("key set: longer than {} bytes", limits::JWKS_MAX)]
    TooLong,
    /// Above `jwks-keys-max`.
    #[error("key set: {count} keys, and {} are taken at most", limits::JWKS_KEYS_MAX)]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// Something else stands there.
    #[error("key set: {0}; expected a JWK Set, {{\"keys\": […]}}")]
    Json(serde_json::Error),
    /// An object without keys.
    #[error(
        "key set: no list `keys`; expected a JWK Set, {{\"keys\": […]}}, which OpenID Connect providers have at jwks_uri"
    )]
    NoList,
    /// The system gives no thread.
    #[error("no thread to ask for keys: {0}")]
    Thread(io::Error),
}

const fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => "; redirects are not followed: name the URL that it leads to",
        404 => "; the URL is `jwks_uri` in the issuer's /.well-known/openid-configuration",
        _ => "",
    }
}

const STAY: &str = "the keys of an issuer can't be had; those of before stay in force";
