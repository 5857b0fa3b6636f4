//! Erasure of messages: noted first, then the keys are destroyed. `cmtp-spec/spec/17-journal.md`, section Erasure.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cmtp_codec::PublicKey;
use cmtp_codec::journal::{Degree, Erasure, Piece};
use cmtp_spec::{BusAuth, EntryFlags, EntryType, Status};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::config::LogSettings;
use crate::journal::{
    DestroyError, Draft, FindError, Found, Journal, JournalConfig, JournalError, JournalOpenError,
    Named,
};
use crate::metrics::Metrics;
use crate::node::{self, JOURNAL};
use crate::node_keys::{NodeKeys, NodeKeysError};
use crate::rebuild::{RebuildError, Rebuilt, caller_and_origin, state_write};
use crate::refusal::Refusal;
use crate::service::{Call, Reply, Service};
use crate::state::State;
use crate::writes::{self, Writes};

/// Erases messages of a journal, and what of them the node keeps in memory.
///
/// It is the service `0xIW:erase:[DEGREE,WHAT]` of a node that runs.
pub(crate) struct Eraser {
    parts: Arc<Parts>,
}

struct Parts {
    node: PublicKey,
    journal: Arc<Journal>,
    writes: Arc<Writes>,
    state: State,
    /// Held by whoever erases, so that nothing is noted twice.
    turn: Mutex<()>,
}

/// What was erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Erased {
    /// F of the message, in hexadecimal.
    pub seal: String,
    /// `redacted` or `forgotten`.
    pub erased: String,
    /// The message's entries.
    pub entries: Vec<u64>,
    /// The entry that tells of it.
    pub noted: u64,
    /// Whether it was erased before, and nothing was left to do.
    pub again: bool,
}

impl Eraser {
    pub(crate) fn new(
        node: PublicKey,
        journal: Arc<Journal>,
        writes: Arc<Writes>,
        state: State,
    ) -> Self {
        Self { parts: Arc::new(Parts { node, journal, writes, state, turn: Mutex::default() }) }
    }

    pub(crate) fn state(&self) -> &State {
        &self.parts.state
    }

    /// [ERA-2] Destroys what is noted as erased: a crash may have come before it was.
    pub(crate) async fn erase_again(&self, erased: &[(Vec<u64>, Degree)]) {
        self.parts.state.drop_erased();
        for (pieces, degree) in erased {
            match self.parts.journal.destroy(pieces, *degree).await {
                Ok(false) => {}
                Ok(true) => tracing::warn!(?pieces, "an erasure was finished that a crash cut"),
                Err(error) => {
                    tracing::error!(%error, ?pieces, "what was erased is still there");
                    // What is left would wait for the same log.
                    return;
                }
            }
        }
    }
}

impl Parts {
    async fn erase(self: Arc<Self>, named: Named, degree: Degree) -> Result<Erased, EraseError> {
        let _turn = self.turn.lock().await;
        let finding = tokio::task::spawn_blocking({
            let parts = Arc::clone(&self);
            move || parts.journal.find_message(named)
        });
        // A search that panicked found nothing.
        let found =
            finding.await.map_err(|_panicked| EraseError::Journal(JournalError::Failed))??;
        let noted = found.noted.iter().find(|(_, noted)| *noted >= degree);
        let (noted, is_new) = match noted {
            Some((index, _)) => (*index, false),
            None => (self.note(&found, degree).await?, true),
        };
        // [ERA-1] The entry is durable before a key is destroyed.
        let destroyed = self.journal.destroy(&found.pieces, degree).await?;
        let degree =
            found.noted.iter().map(|(_, degree)| *degree).max().unwrap_or(degree).max(degree);
        Ok(Erased {
            seal: found.last.seal.to_string(),
            erased: degree.entry_type().name().unwrap_or_default().to_owned(),
            entries: found.pieces,
            noted,
            again: !is_new && !destroyed,
        })
    }

    /// Notes that the message is erased, and forgets what is kept of it in memory; the entry's index is given back.
    async fn note(&self, found: &Found, degree: Degree) -> Result<u64, EraseError> {
        let first = found.pieces.first().copied().unwrap_or_default();
        let piece = self.journal.piece(first).map_err(FindError::Io)?;
        let mut erasure = Erasure { pieces: found.pieces.clone(), ..Erasure::default() };
        let id = found.last.message_id;
        if let Some((caller, origin)) = known_write(found, &piece) {
            erasure.write = Some(self.writes.hashes(&caller, &id, &origin));
        }
        let state = state_write(&piece);
        if let Some((target, _, version)) = &state {
            erasure.state = Some((self.state.hash(target), *version));
        }
        let draft = Draft::erasure(degree, &found.last, erasure.to_text().as_bytes());
        let draft = draft.map_err(|_crypto| EraseError::Journal(JournalError::Failed))?;
        let recorded = self.journal.record(draft).await.map_err(EraseError::Journal)?;
        if let Some(hashes) = erasure.write {
            self.writes.erase(id, hashes);
        }
        if let Some((target, _, version)) = state {
            self.state.erase(&target, version).await;
        }
        Ok(recorded.index)
    }
}

/// Caller and L_0 of a write that claims its id, while that may be sent again.
fn known_write(found: &Found, first: &Piece) -> Option<(PublicKey, cmtp_codec::Digest)> {
    let is_free = found.last.flags.0 & EntryFlags::NO_EFFECT.0 != 0;
    let claims = found.last.entry_type == EntryType::OUTCOME && !is_free;
    let may_be_sent = writes::expiry(&found.last.message_id) >= node::now();
    (claims && may_be_sent).then(|| caller_and_origin(first))?
}

impl Service for Eraser {
    fn call<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>> {
        async {
            // [ERA-7] Only the node's own root key may ask for it.
            if call.caller != self.parts.node {
                let detail = "only the operator of this node erases: cmtpd erase";
                return Err(Refusal::new(Status::FORBIDDEN, detail));
            }
            let (degree, named) = arguments(call.args())?;
            // In a task of its own: what was noted is to be done, whoever still waits.
            let erasing = tokio::spawn(Arc::clone(&self.parts).erase(named, degree));
            let erased = erasing.await.unwrap_or(Err(EraseError::Journal(JournalError::Failed)));
            let erased = erased.map_err(|error| error.refusal())?;
            let body = serde_json::to_string(&erased).unwrap_or_default();
            Ok(Reply::ok("application/json", body))
        }
        .boxed()
    }

    fn bus_auth(&self) -> BusAuth {
        BusAuth::LOCAL
    }
}

fn arguments(args: Option<&str>) -> Result<(Degree, Named), Refusal> {
    let words: Vec<String> = serde_json::from_str(args.unwrap_or("[]")).unwrap_or_default();
    let wanted = match words.as_slice() {
        [degree, named] => degree_of(degree).zip(Named::parse(named)),
        _ => None,
    };
    let detail = "expected two arguments: redact or forget; and a seal, an entry or a message id";
    wanted.ok_or_else(|| Refusal::new(Status::BAD_REQUEST, detail))
}

fn degree_of(word: &str) -> Option<Degree> {
    match word {
        "redact" => Some(Degree::Redact),
        "forget" => Some(Degree::Forget),
        _ => None,
    }
}

/// Erases a message in the journal of a node that does not run: as a node that runs does when it is asked.
///
/// `degree` is `redact` or `forget`; `named` is F in hexadecimal, the index of an entry, or a message id.
///
/// # Errors
/// [`EraseError`]; [`EraseError::is_in_use`] where the node runs.
pub async fn erase_closed(data: &Path, degree: &str, named: &str) -> Result<Erased, EraseError> {
    let (Some(degree), Some(wanted)) = (degree_of(degree), Named::parse(named)) else {
        return Err(EraseError::Named(named.to_owned()));
    };
    let keys = Arc::new(NodeKeys::load_or_create(data)?);
    let folder = data.join(JOURNAL);
    let metrics = Metrics::default();
    let segment_bytes = log_size(&folder);
    // Nobody is given these receipts.
    let merge_delay = LogSettings::default().merge_delay;
    let config = JournalConfig { folder, segment_bytes, merge_delay, metrics: metrics.journal };
    let mut rebuilt = Rebuilt::new(&keys, node::now());
    let (journal, ..) = Journal::open(&config, Arc::clone(&keys), |commit| rebuilt.take(commit))?;
    // They may have been replaced while no node ran.
    journal.begin(Arc::clone(&keys), rebuilt.notes.missing(&keys)?);
    let (journal, writes) = (Arc::new(journal), Arc::new(rebuilt.writes));
    let eraser = Eraser::new(keys.public(), Arc::clone(&journal), writes, rebuilt.state);
    eraser.erase_again(&rebuilt.erased).await;
    let erased = Arc::clone(&eraser.parts).erase(wanted, degree).await;
    journal.close();
    erased
}

/// Bytes that the node sets aside for a log: what its newest has.
fn log_size(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let logs = files.filter(|file| file.path().extension().is_some_and(|it| it == "wal"));
    let newest = logs.max_by_key(fs::DirEntry::file_name);
    newest.and_then(|file| Some(file.metadata().ok()?.len())).unwrap_or(LOG_SIZE)
}

/// Why a message was not erased.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EraseError {
    /// What is named is no message.
    #[error(
        "{0}: expected a seal (64 hexadecimal digits), a message id (32), or the index of an entry"
    )]
    Named(String),
    /// There is no such message, or more than one, or it can't be erased.
    #[error(transparent)]
    #[expect(private_interfaces, reason = "it is shown, not taken apart")]
    Find(#[from] FindError),
    /// It was noted, and some of its keys stand.
    #[error(
        "it is noted as erased, and its keys are not destroyed yet: {0}; say it again, or start the node again"
    )]
    #[expect(private_interfaces, reason = "it is shown, not taken apart")]
    Destroy(#[from] DestroyError),
    /// It can't be noted.
    #[error("{0}")]
    #[expect(private_interfaces, reason = "it is shown, not taken apart")]
    Journal(JournalError),
    /// The journal can't be opened.
    #[error(transparent)]
    Open(#[from] JournalOpenError),
    /// Nothing can be noted.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// There is no key.
    #[error(transparent)]
    Key(#[from] NodeKeysError),
}

impl EraseError {
    /// Whether a node runs on the journal, which is to be asked instead.
    pub const fn is_in_use(&self) -> bool {
        matches!(self, Self::Open(JournalOpenError::InUse { .. }))
    }

    fn refusal(&self) -> Refusal {
        let status = match self {
            Self::Find(FindError::Missing(_)) => Status::NOT_FOUND,
            Self::Find(FindError::Open(_) | FindError::Ambiguous { .. } | FindError::Note(_))
            | Self::Named(_) => Status::BAD_REQUEST,
            Self::Destroy(_) | Self::Journal(JournalError::Full) => Status::STORAGE_FULL,
            _ => Status::INTERNAL_ERROR,
        };
        Refusal::new(status, self.to_string())
    }
}

/// As a configuration without `journal.segment-bytes` has it.
const LOG_SIZE: u64 = 64 << 20;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_codec::Digest;
    use cmtp_spec::Opcode;

    use super::*;
    use crate::journal::hide;

    struct Opened {
        eraser: Eraser,
        erased: Vec<(Vec<u64>, Degree)>,
    }

    fn open(data: &Path) -> Opened {
        let key = Arc::new(NodeKeys::from_seed(&[7; 32]).unwrap());
        let config = JournalConfig {
            folder: data.to_owned(),
            segment_bytes: 64 << 10,
            merge_delay: 60,
            metrics: Metrics::default().journal,
        };
        let mut rebuilt = Rebuilt::new(&key, 0);
        let opened = Journal::open(&config, Arc::clone(&key), |commit| rebuilt.take(commit));
        let (journal, ..) = opened.unwrap();
        let Rebuilt { writes, state, erased, .. } = rebuilt;
        let eraser = Eraser::new(key.public(), Arc::new(journal), Arc::new(writes), state);
        Opened { eraser, erased }
    }

    #[tokio::test]
    async fn what_was_noted_is_destroyed_at_the_next_start_though_its_keys_stand_in_a_log() {
        // [ERA-1] [ERA-2] [ERA-3]
        let folder = tempfile::tempdir().unwrap();
        let Opened { eraser, .. } = open(folder.path());
        let parts = &eraser.parts;
        let seal = Digest([9; 32]);
        let note = Draft::note(EntryType::EXCHANGE, &[]).unwrap();
        let hidden = hide(b"cores", b"content", &seal).unwrap();
        let keys = hidden.keys.0;
        let draft = Draft { seal, hidden, opcode: Opcode::S, message_id: [3; 16], ..note };
        parts.journal.record(draft).await.unwrap();
        let found = parts.journal.find_message(Named::Id([3; 16])).unwrap();
        // Here the node dies: it is noted, and no key is destroyed.
        assert_eq!(parts.note(&found, Degree::Redact).await.unwrap(), 1);
        parts.journal.close();
        let is_there = |part: &[u8]| {
            let files = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
            let has = |bytes: Vec<u8>| bytes.windows(part.len()).any(|window| window == part);
            files.map(|path| fs::read(path).unwrap()).any(has)
        };
        assert!(is_there(&keys[..32]));
        let Opened { eraser, erased } = open(folder.path());
        assert_eq!(erased, [(vec![0], Degree::Redact)]);
        eraser.erase_again(&erased).await;
        assert!(!is_there(&keys[..32]) && is_there(&keys[32..]));
        let piece = eraser.parts.journal.piece(0).unwrap();
        assert_eq!(piece.hidden.content(&seal), None);
        assert_eq!(piece.hidden.cores(&seal).unwrap(), "cores");
        // Nothing is left to do, and no log is ended for it.
        assert!(!eraser.parts.journal.destroy(&[0], Degree::Redact).await.unwrap());
        let found = eraser.parts.journal.find_message(Named::Seal(seal)).unwrap();
        assert_eq!(found.noted, [(1, Degree::Redact)]);
    }
}
