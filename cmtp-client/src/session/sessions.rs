//! The sessions that are open.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cmtp_codec::PublicKey;
use cmtp_codec::session::GrantName;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::home::{Existing, Home, write_whole};
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
    /// Whether the user said that another may be opened when this one is over.
    pub is_allowed: bool,
}

impl Session {
    /// A token that came just now; `None` where it is none.
    pub(crate) fn begin(token: &str, grant: GrantName, ends: u64) -> Option<Self> {
        let token = Token::new(token).ok()?;
        let lifetime = token.unverified_expiry()?.checked_sub(token.unverified_begin()?)?;
        let half = lifetime.saturating_mul(1_000_000) / 2;
        let renew_at = clock::now().saturating_add(half);
        Some(Self { token, grant, ends, renew_at, is_allowed: false })
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

/// Sessions by persona and node: in the folder `sessions` of a home directory, or in memory only.
///
/// A persona has a folder of its own there, so that nothing but the directory says that two are of one person.
#[derive(Debug, Default)]
pub struct Sessions {
    home: Option<Home>,
    open: Mutex<HashMap<(PublicKey, PublicKey), Session>>,
}

/// A session's file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    token: String,
    grant: GrantName,
    ends: u64,
    renew_at: u64,
    #[serde(default)]
    is_allowed: bool,
}

impl Sessions {
    /// Those of a home directory.
    pub fn in_home(home: &Home) -> Self {
        Self { home: Some(home.clone()), open: Mutex::default() }
    }

    /// The session of `persona` at `node`.
    ///
    /// # Errors
    /// [`SessionsError`] names the file.
    pub fn find(
        &self,
        persona: &PublicKey,
        node: &PublicKey,
    ) -> Result<Option<Session>, SessionsError> {
        match &self.home {
            None => Ok(self.open().get(&(*persona, *node)).cloned()),
            Some(home) => read(path(home, persona, node)),
        }
    }

    /// All sessions of `persona`, each with its node.
    ///
    /// # Errors
    /// [`SessionsError`] names the file.
    pub fn of(&self, persona: &PublicKey) -> Result<Vec<(PublicKey, Session)>, SessionsError> {
        let Some(home) = &self.home else {
            let open = self.open();
            let own = open.iter().filter(|((of, _), _)| of == persona);
            return Ok(own.map(|((_, node), session)| (*node, session.clone())).collect());
        };
        let folder = folder(home, persona);
        let files = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(SessionsError::Io { path: folder, source }),
            Ok(files) => files,
        };
        let mut nodes: Vec<_> = files
            .flatten()
            .filter_map(|file| PublicKey::from_multibase(file.file_name().to_str()?).ok())
            .collect();
        nodes.sort_unstable();
        let sessions = nodes.into_iter().filter_map(|node| {
            let session = read(path(home, persona, &node)).transpose()?;
            Some(session.map(|session| (node, session)))
        });
        sessions.collect()
    }

    /// Keeps a session, in place of the one before.
    ///
    /// # Errors
    /// [`SessionsError`] names the file.
    pub fn keep(
        &self,
        persona: &PublicKey,
        node: &PublicKey,
        session: Session,
    ) -> Result<(), SessionsError> {
        let Some(home) = &self.home else {
            self.open().insert((*persona, *node), session);
            return Ok(());
        };
        let path = path(home, persona, node);
        let file = File {
            token: String::from_utf8_lossy(session.token.as_bytes()).into_owned(),
            grant: session.grant,
            ends: session.ends,
            renew_at: session.renew_at,
            is_allowed: session.is_allowed,
        };
        let written = Home::new(folder(home, persona)).create().and_then(|()| {
            let text = serde_json::to_string(&file)? + "\n";
            write_whole(&path, text.as_bytes(), Existing::Replace)
        });
        written.map_err(|source| SessionsError::Io { path, source })
    }

    /// Forgets a session, if there is one.
    ///
    /// # Errors
    /// [`SessionsError`] names the file.
    pub fn forget(&self, persona: &PublicKey, node: &PublicKey) -> Result<(), SessionsError> {
        self.open().remove(&(*persona, *node));
        let Some(home) = &self.home else { return Ok(()) };
        let path = path(home, persona, node);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(SessionsError::Io { path, source: error })
            }
            _ => Ok(()),
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<(PublicKey, PublicKey), Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
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

fn folder(home: &Home, persona: &PublicKey) -> PathBuf {
    home.file(FOLDER).join(persona.multibase())
}

fn path(home: &Home, persona: &PublicKey, node: &PublicKey) -> PathBuf {
    folder(home, persona).join(node.multibase())
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
        let File { grant, ends, renew_at, is_allowed, .. } = file;
        Some(Session { token, grant, ends, renew_at, is_allowed })
    });
    session.map(Some).ok_or(SessionsError::Malformed { path })
}

const FOLDER: &str = "sessions";
/// The longest token, and what stands around it.
const FILE_MAX: u64 = 8192;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::testing::signing_key;

    #[test]
    fn sessions_are_kept_by_persona_and_node() {
        let directory = tempfile::tempdir().unwrap();
        let keys = [1, 2, 3].map(|seed| signing_key(seed).public());
        let session = Session {
            token: Token::new("a.b.c").unwrap(),
            grant: GrantName([7; 16]),
            ends: 9,
            renew_at: 8,
            is_allowed: true,
        };
        for sessions in [Sessions::default(), Sessions::in_home(&Home::new(directory.path()))] {
            assert_eq!(sessions.find(&keys[0], &keys[2]).unwrap(), None);
            sessions.keep(&keys[0], &keys[2], session.clone()).unwrap();
            sessions.keep(&keys[0], &keys[1], session.clone()).unwrap();
            assert_eq!(sessions.find(&keys[0], &keys[2]).unwrap().as_ref(), Some(&session));
            assert_eq!(sessions.find(&keys[1], &keys[2]).unwrap(), None);
            assert_eq!(sessions.of(&keys[0]).unwrap().len(), 2);
            assert!(sessions.of(&keys[1]).unwrap().is_empty());
            sessions.forget(&keys[0], &keys[2]).unwrap();
            sessions.forget(&keys[0], &keys[2]).unwrap();
            assert_eq!(sessions.of(&keys[0]).unwrap().len(), 1);
        }
        let home = Home::new(directory.path());
        let path = path(&home, &keys[0], &keys[1]);
        fs::write(&path, "{}").unwrap();
        let error = Sessions::in_home(&home).find(&keys[0], &keys[1]).unwrap_err();
        assert!(error.to_string().contains("log in again"), "{error}");
    }
}
