//! What each node's log was when it was last seen: what keeps a node from telling two stories to one client.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cmtp_codec::log::{
    Checkpoint, CheckpointError, Growth, GrowthError, SignedCheckpoint, parse_log_origin,
};
use cmtp_codec::{KeyList, PublicKey, Verified};
use cmtp_spec::limits;

use crate::home::{Existing, Home, write_whole};
use crate::identity::Identity;

/// The last checkpoint of each node that one persona saw: in the folder `logs` of a home directory, or in memory only.
///
/// A node is told how much is known of its log, by which it would tell two personas to be one: each has its own.
///
/// Its file is the checkpoint as the node signed it, so that it stays evidence against a node that says otherwise later.
#[derive(Debug, Default)]
pub struct KnownLogs {
    kept: Option<Kept>,
    seen: Mutex<HashMap<PublicKey, SignedCheckpoint>>,
}

/// Where they are kept, and for whom.
#[derive(Debug)]
struct Kept {
    home: Home,
    persona: Arc<Identity>,
}

impl Kept {
    /// [IDY-8] What a client remembers of a node and lets it see again a client MUST keep for each persona by itself.
    fn path(&self, node: &PublicKey) -> PathBuf {
        self.home.file(FOLDER).join(self.persona.file_name(&[b"log", &node.0]))
    }
}

/// What became of a checkpoint that a node showed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LogSeen {
    /// The log is the one that was known, or grew from it; or no other was known.
    Grew(Checkpoint),
    /// The node keeps a new log, which follows the known one: it was restored from a backup, says its operator.
    Followed {
        /// The last that is known of the log before.
        before: Checkpoint,
        /// The new log.
        now: Checkpoint,
    },
    /// The node told two stories, or what it showed is no checkpoint of its log. The connection is over.
    Broken(Arc<LogBroken>),
    /// What is known can't be read or kept, so that nothing was compared.
    Unknown(Arc<KnownLogsError>),
}

/// A log that is not what it was.
#[derive(Debug, thiserror::Error)]
#[error("{fault}{}", kept(evidence.as_ref()))]
pub struct LogBroken {
    /// What does not fit.
    pub fault: GrowthError,
    /// Where both checkpoints are kept, if there is a home directory.
    pub evidence: Option<PathBuf>,
}

fn kept(evidence: Option<&PathBuf>) -> String {
    evidence
        .map_or(String::new(), |path| format!("; both checkpoints are kept in {}", path.display()))
}

impl KnownLogs {
    /// Those of a persona, in a home directory.
    pub fn in_home(home: &Home, persona: Arc<Identity>) -> Self {
        Self { kept: Some(Kept { home: home.clone(), persona }), seen: Mutex::default() }
    }

    /// The last checkpoints of `node` that any persona saw, for who judges the node and shows it nothing.
    ///
    /// # Errors
    /// As [`KnownLogs::last`].
    pub fn all_in_home(
        home: &Home,
        node: &PublicKey,
    ) -> Result<Vec<SignedCheckpoint>, KnownLogsError> {
        let folder = home.file(FOLDER);
        let io = |source| KnownLogsError::Io { path: folder.clone(), source };
        let files = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files.map_err(io)?,
        };
        let mut found = Vec::new();
        for file in files {
            let file = file.map_err(io)?;
            // Another process is about to write this one.
            if file.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // Names tell neither node nor persona; what stands within tells the node.
            let Some(note) = read(&file.path())? else { continue };
            let origin = parse_log_origin(&note.untrusted().origin);
            if origin.is_some_and(|(it, _)| it == *node) {
                found.push(note);
            }
        }
        Ok(found)
    }

    /// The last checkpoint of `node` that was verified.
    ///
    /// # Errors
    /// The file can't be read, or is no checkpoint.
    pub fn last(&self, node: &PublicKey) -> Result<Option<SignedCheckpoint>, KnownLogsError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match (seen.get(node), &self.kept) {
            (Some(last), _) => Ok(Some(last.clone())),
            (None, None) => Ok(None),
            (None, Some(kept)) => read(&kept.path(node)),
        }
    }

    /// Judges what a node shows of its log, by its key list, and keeps it where it only grew. `asked` is what was known when
    /// the node was asked: another connection may have learned more meanwhile.
    pub fn take(
        &self,
        keys: &Verified<KeyList>,
        asked: Option<&SignedCheckpoint>,
        shown: &Growth,
    ) -> LogSeen {
        let taken = self.try_take(keys, asked, shown);
        taken.unwrap_or_else(|error| LogSeen::Unknown(Arc::new(error)))
    }

    fn try_take(
        &self,
        keys: &Verified<KeyList>,
        asked: Option<&SignedCheckpoint>,
        shown: &Growth,
    ) -> Result<LogSeen, KnownLogsError> {
        let node = keys.root;
        let checkpoint = shown.checkpoint.untrusted();
        let Some((_, number)) = parse_log_origin(&checkpoint.origin).filter(|(it, _)| *it == node)
        else {
            return self.broken(&node, shown, CheckpointError::OtherOrigin.into());
        };
        // Held until the file is written: another process may call the same node.
        let home = self.kept.as_ref().map(|kept| &kept.home);
        let _lock = home.map(Home::lock).transpose().map_err(|source| {
            let path = home.map(|home| home.file("lock")).unwrap_or_default();
            KnownLogsError::Io { path, source }
        })?;
        let last = match &self.kept {
            Some(kept) => read(&kept.path(&node))?,
            None => self.last(&node)?,
        };
        let last = last.map(|note| note.untrusted().clone());
        let before = asked.map(|note| note.untrusted().clone());
        let followed = before.as_ref().filter(|before| {
            parse_log_origin(&before.origin).is_some_and(|(_, known)| known < number)
        });
        // [QUI-28] The proof from the one that was kept is checked before the new one is.
        let known = before.as_ref().filter(|_| followed.is_none());
        let logs = keys.log_keys(&checkpoint.origin);
        let verified = logs
            .iter()
            .map(|log| shown.verify(known, log))
            .reduce(|first, next| if first.is_ok() { first } else { next })
            .unwrap_or(Err(CheckpointError::NotSigned.into()));
        let now = match verified {
            Ok(now) => now.into_inner(),
            Err(fault) => return self.broken(&node, shown, fault),
        };
        match last.filter(|last| last.origin == now.origin) {
            Some(last) if last.size == now.size && last.root != now.root => {
                let fault = GrowthError::Forked { known: last.size, size: now.size };
                return self.broken(&node, shown, fault);
            }
            // Another connection was shown as much, or more; the next one has to prove itself from that.
            Some(last) if last.size >= now.size => return Ok(LogSeen::Grew(now)),
            _ => {}
        }
        if let Some(kept) = &self.kept {
            write(kept, &node, &shown.checkpoint)?;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(node, shown.checkpoint.clone());
        Ok(match followed.cloned() {
            Some(before) => LogSeen::Followed { before, now },
            None => LogSeen::Grew(now),
        })
    }

    /// Keeps both sides of a contradiction.
    fn broken(
        &self,
        node: &PublicKey,
        shown: &Growth,
        fault: GrowthError,
    ) -> Result<LogSeen, KnownLogsError> {
        let mut evidence = None;
        if let Some(kept) = &self.kept {
            let home = &kept.home;
            let known = read(&kept.path(node))?.map(|note| note.to_string()).unwrap_or_default();
            let name = format!("{}-{}", node.multibase(), shown.checkpoint.untrusted().size);
            let path = home.file(EVIDENCE).join(name);
            let text = format!("{known}\n{shown}");
            create(home, EVIDENCE)?;
            write_whole(&path, text.as_bytes(), Existing::Replace)
                .map_err(|source| KnownLogsError::Io { path: path.clone(), source })?;
            evidence = Some(path);
        }
        Ok(LogSeen::Broken(Arc::new(LogBroken { fault, evidence })))
    }
}

fn read(path: &Path) -> Result<Option<SignedCheckpoint>, KnownLogsError> {
    let size = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map(|metadata| metadata.len()),
    };
    let text = size.and_then(|size| match size {
        size if size > limits::CHECKPOINT_MAX => Err(io::ErrorKind::FileTooLarge.into()),
        _ => fs::read_to_string(path),
    });
    let path = path.to_owned();
    let text = text.map_err(|source| KnownLogsError::Io { path: path.clone(), source })?;
    SignedCheckpoint::parse(&text)
        .map(Some)
        .map_err(|error| KnownLogsError::Malformed { path, error })
}

fn write(kept: &Kept, node: &PublicKey, note: &SignedCheckpoint) -> Result<(), KnownLogsError> {
    create(&kept.home, FOLDER)?;
    let path = kept.path(node);
    write_whole(&path, note.note().as_bytes(), Existing::Replace)
        .map_err(|source| KnownLogsError::Io { path, source })
}

fn create(home: &Home, folder: &str) -> Result<(), KnownLogsError> {
    let path = home.file(folder);
    fs::create_dir_all(&path).map_err(|source| KnownLogsError::Io { path, source })
}

/// Why known logs can't be read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KnownLogsError {
    /// A file can't be read or written.
    #[error("known logs {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that is no checkpoint.
    #[error("{}: {error}; restore it, or remove it to begin with what the node shows next", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: CheckpointError,
    },
}

const FOLDER: &str = "logs";
const EVIDENCE: &str = "evidence";
