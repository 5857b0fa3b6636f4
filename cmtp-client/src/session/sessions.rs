//! The sessions that are open.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cmtp_codec::PublicKey;
use cmtp_codec::session::{GrantName, ScopeTexts};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::home::{Existing, Home, write_whole};
use crate::identity::Identity;
use crate::token::Token;

/// A grant that a persona has at a node, and its newest token.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// What is shown.
    pub token: Token,
    /// The grant that it is of.
    pub grant: GrantName,
    /// The first second after the grant, since 1970, by the node's clock.
    pub ends: u64,
    /// When half of the token's time is over, microseconds since 1970, by the clock here.
    pub renew_at: u64,
    /// What another may be opened for without asking when this one is over; `None` where the user did not say so.
    pub again: Option<Again>,
}

/// What the user agreed to beforehand: a session that may be opened without asking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Again {
    /// What is wanted at most; without it all that the node offers.
    pub scope: Option<ScopeTexts>,
}

impl Session {
    /// A token that came just now; `None` where it is none.
    pub(crate) fn begin(token: &str, grant: GrantName, ends: u64) -> Option<Self> {
        let token = Token::new(token).ok()?;
        let lifetime = token.unverified_expiry()?.checked_sub(token.unverified_begin()?)?;
        let half = lifetime.saturating_mul(1_000_000) / 2;
        let renew_at = clock::now().saturating_add(half);
        Some(Self { token, grant, ends, renew_at, again: None })
    }

    /// Whether the grant is over, by the clock here.
    pub fn is_over(&self) -> bool {
        clock::now() / 1_000_000 >= self.ends
    }

    /// Whether a new token is to be had.
    pub fn is_due(&self) -> bool {
        clock::now() >= self.renew_at
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("grant", &self.grant).field("ends", &self.ends).finish()
    }
}

/// The sessions of one persona, by node: in the folder `sessions` of a home directory, or in memory only.
///
/// [IDY-8] Their files have names that tell nobody whose they are, nor of which node.
#[derive(Debug, Default)]
pub struct Sessions {
    kept: Option<Kept>,
    open: Mutex<HashMap<PublicKey, Session>>,
}

/// Where, and whose.
#[derive(Debug)]
struct Kept {
    home: Home,
    persona: Arc<Identity>,
}

/// A session's file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    token: String,
    grant: GrantName,
    ends: u64,
    renew_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    again: Option<Again>,
}

impl Sessions {
    /// Those of a persona, in a home directory.
    pub fn in_home(home: &Home, persona: Arc<Identity>) -> Self {
        Self { kept: Some(Kept { home: home.clone(), persona }), open: Mutex::default() }
    }

    /// The session at `node`.
    ///
    /// # Errors
    /// [`SessionsError`] names the file.
    pub fn find(&self, node: &PublicKey) -> Result<Option<Session>, SessionsError> {
        match &self.kept {
            None => Ok(self.open().get(node).cloned()),
            Some(kept) => read(kept.path(node)),
        }
    }

    /// All sessions, each with its node.
    ///
    /// # Errors
    /// [`SessionsError`] names the file.
    pub fn all(&self) -> Result<Vec<(PublicKey, Session)>, SessionsError> {
        let mut all = match &self.kept {
            None => self.open().iter().map(|(node, it)| (*node, it.clone())).collect(),
            Some(kept) => kept.all()?,
        };
        all.sort_unstable_by_key(|(node, _)| *node);
        Ok(all)
    }

    /// Keeps a session, in place of the one before.
    ///
    /// # Errors
    /// [`SessionsError`] names the file.
    pub fn keep(&self, node: &PublicKey, session: Session) -> Result<(), SessionsError> {
        let _lock = self.lock()?;
        self.write(node, session)
    }

    fn write(&self, node: &PublicKey, session: Session) -> Result<(), SessionsError> {
        let Some(kept) = &self.kept else {
            self.open().insert(*node, session);
            return Ok(());
        };
        let path = kept.path(node);
        let file = File {
            token: String::from_utf8_lossy(session.token.as_bytes()).into_owned(),
            grant: session.grant,
            ends: session.ends,
            renew_at: session.renew_at,
            again: session.again,
        };
        let written = Home::new(kept.folder()).create().and_then(|()| {
            let text = serde_json::to_string(&file)? + "\n";
            write_whole(&path, text.as_bytes(), Existing::Replace)
        });
        written.map_err(|source| SessionsError::Io { path, source })
    }

    /// Keeps what a session became by renewal, where it was not forgotten or replaced meanwhile.
    ///
    /// # Errors
    /// [`SessionsError`] names the file.
    pub fn keep_renewed(&self, node: &PublicKey, renewed: Session) -> Result<(), SessionsError> {
        // Another process may end the session just now.
        let _lock = self.lock()?;
        match self.find(node)? {
            Some(kept) if kept.grant == renewed.grant => {
                self.write(node, Session { again: kept.again, ..renewed })
            }
            _ => Ok(()),
        }
    }

    /// Forgets a session, if there is one.
    ///
    /// # Errors
    /// [`SessionsError`] names the file.
    pub fn forget(&self, node: &PublicKey) -> Result<(), SessionsError> {
        let _lock = self.lock()?;
        self.open().remove(node);
        let Some(kept) = &self.kept else { return Ok(()) };
        let path = kept.path(node);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(SessionsError::Io { path, source: error })
            }
            _ => Ok(()),
        }
    }

    /// Keeps other processes from changing the files meanwhile.
    fn lock(&self) -> Result<Option<fs::File>, SessionsError> {
        let Some(kept) = &self.kept else { return Ok(None) };
        let lock = kept.home.lock();
        lock.map(Some).map_err(|source| SessionsError::Io { path: kept.folder(), source })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<PublicKey, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn folder(&self) -> PathBuf {
        self.home.file(FOLDER)
    }

    fn path(&self, node: &PublicKey) -> PathBuf {
        self.folder().join(self.persona.file_name(&[PURPOSE, &node.0]))
    }

    fn all(&self) -> Result<Vec<(PublicKey, Session)>, SessionsError> {
        let folder = self.folder();
        let files = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(SessionsError::Io { path: folder, source }),
            Ok(files) => files,
        };
        let mut all = Vec::new();
        for path in files.flatten().map(|file| file.path()) {
            // Other personas' are there, too; whose a file is, its name tells who has the key, once the node is known.
            let Ok(Some(session)) = read(path.clone()) else { continue };
            let node = session.token.unverified_issuer().and_then(|node| node.parse().ok());
            if let Some(node) = node.filter(|node| self.path(node) == path) {
                all.push((node, session));
            }
        }
        Ok(all)
    }
}

/// Why sessions can't be read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionsError {
    /// The file can't be read or written.
    #[error("session {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The file is no session.
    #[error("{} is no session; remove it, and log in again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

fn read(path: PathBuf) -> Result<Option<Session>, SessionsError> {
    use io::Read;

    let mut text = String::new();
    let read = fs::File::open(&path).and_then(|it| it.take(FILE_MAX).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SessionsError::Io { path, source }),
        Ok(_) => {}
    }
    let file = serde_json::from_str::<File>(&text).ok();
    let session = file.and_then(|file| {
        let token = Token::new(&file.token).ok()?;
        let File { grant, ends, renew_at, again, .. } = file;
        Some(Session { token, grant, ends, renew_at, again })
    });
    session.map(Some).ok_or(SessionsError::Malformed { path })
}

const FOLDER: &str = "sessions";
const PURPOSE: &[u8] = b"session";
/// The longest token, and what stands around it.
const FILE_MAX: u64 = 8192;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;
    use crate::testing::signing_key;

    #[test]
    fn sessions_are_kept_by_persona_and_node() {
        // [IDY-8]
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        let persona = |seed| Arc::new(Identity::from_seed(&[seed; 32]).unwrap());
        let nodes = [2, 3].map(|seed| signing_key(seed).public());
        let session = |node: &PublicKey| {
            let claims = BASE64URL_NOPAD.encode(format!("{{\"iss\":\"{node}\"}}").as_bytes());
            let token = Token::new(&format!("a.{claims}.c")).unwrap();
            let scope = ScopeTexts { read: vec!["0xS:**".to_owned()], write: Vec::new() };
            let again = Some(Again { scope: Some(scope) });
            Session { token, grant: GrantName([7; 16]), ends: 9, renew_at: 8, again }
        };
        let other = Sessions::in_home(&home, persona(9));
        for sessions in [Sessions::default(), Sessions::in_home(&home, persona(1))] {
            assert_eq!(sessions.find(&nodes[0]).unwrap(), None);
            for node in &nodes {
                sessions.keep(node, session(node)).unwrap();
            }
            assert_eq!(sessions.find(&nodes[0]).unwrap(), Some(session(&nodes[0])));
            assert_eq!(sessions.all().unwrap().len(), 2);
            assert_eq!(other.find(&nodes[0]).unwrap(), None);
            assert!(other.all().unwrap().is_empty());
            sessions.forget(&nodes[0]).unwrap();
            sessions.forget(&nodes[0]).unwrap();
            assert_eq!(sessions.all().unwrap(), [(nodes[1], session(&nodes[1]))]);
        }
        let path = fs::read_dir(home.file(FOLDER)).unwrap().next().unwrap().unwrap().path();
        fs::write(&path, "{}").unwrap();
        let error = Sessions::in_home(&home, persona(1)).find(&nodes[1]).unwrap_err();
        assert!(error.to_string().contains("log in again"), "{error}");
    }
}
