//! Audits what a node left behind: its data folder, an archive of it, or the log that it serves.
//! `cmtp-spec/spec/20-audit.md`.
//!
//! What is checked is [`cmtp_codec::audit`]'s; here files are found and read. Nothing is ever changed in what is audited, and
//! the node may run meanwhile.

mod decisions;
mod error;
mod export;
mod journal;
mod kept;
mod log;
mod rows;
mod served;
mod subjects;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cmtp_codec::audit::{Auditor, Finding, Summary, TreeHead, What};
use cmtp_codec::journal::Commit;
use cmtp_codec::log::{
    Checkpoint, Policy, SignedCheckpoint, Tile, VerifierKey, parse_log_origin, read_bundle,
};
use cmtp_codec::{Entry, KeyList, PublicKey, Replay, Verified};
use cmtp_spec::EntryType;

pub use crate::audit::decisions::Decisions;
pub use crate::audit::error::AuditError;
pub use crate::audit::export::{Exported, export};
pub use crate::audit::journal::{Journal, Next, RecordKeys};
pub use crate::audit::kept::keep;
use crate::audit::log::Log;
pub use crate::audit::rows::{Filter, Row, rows};
use crate::home::Home;

/// What an audit is to look at.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AuditOptions {
    /// The root key that the node has to have.
    pub pin: Option<PublicKey>,
    /// The file with the keys of an archive's records.
    pub keys: Option<PathBuf>,
    /// Whether records are left alone.
    pub log_only: bool,
    /// Which witnesses have to have cosigned the checkpoint.
    pub policy: Option<Policy>,
    /// Where checkpoints are kept that were seen before, if anywhere.
    pub home: Option<Home>,
    /// The node's key list.
    pub key_list: Option<Arc<Verified<KeyList>>>,
    /// The key of the log's checkpoints, where no key list is to be looked at.
    pub log_key: Option<VerifierKey>,
    /// What judges again what policies decided, if it is to be judged.
    pub decisions: Option<Decisions>,
    /// What callers saved, by the name that findings call it.
    pub receipts: Vec<(String, Arc<Verified<Replay>>)>,
}

impl AuditOptions {
    /// Whether the log of this checkpoint is trusted by its key, whoever the node is.
    pub fn trusts_log(&self, checkpoint: &SignedCheckpoint) -> bool {
        let named = self.policy.iter().flat_map(|policy| &policy.logs);
        let mut keys = self.log_key.iter().chain(named);
        keys.any(|key| key.name() == checkpoint.untrusted().origin)
    }
}

/// An audit that is under way.
///
/// A clone goes on by itself, if it is made between two steps.
#[derive(Clone, Debug)]
pub struct Audit {
    node: PublicKey,
    auditor: Auditor,
    /// `None`: the entries come from the log.
    journal: Option<Journal>,
    log: Option<Log>,
    checkpoint: Option<SignedCheckpoint>,
    log_key: Option<VerifierKey>,
    policy: Option<Policy>,
    decisions: Option<Decisions>,
    log_only: bool,
    is_ended: bool,
}

impl Audit {
    /// Begins with a node's data folder, or an archive.
    ///
    /// # Errors
    /// [`AuditError`] where it holds no journal, or that of another node than the one that is pinned.
    pub fn open(folder: &Path, options: &AuditOptions) -> Result<Self, AuditError> {
        let is_archive = folder.join(KEY_LIST).exists();
        let journal = open_journal(folder, options.keys.clone())?;
        let node = journal.node();
        if let Some(expected) = options.pin.filter(|pin| *pin != node) {
            return Err(AuditError::OtherNode { expected, found: node });
        }
        let mut auditor = Auditor::new(node);
        if options.pin.is_some() {
            auditor = auditor.trusted();
        }
        if !journal.has_keys() {
            auditor = auditor.without_record_keys();
        }
        match &options.key_list {
            Some(keys) => auditor.key_list(Verified::clone(keys)),
            None if is_archive => auditor.key_list(read_key_list(&folder.join(KEY_LIST))?),
            None => {
                if let Some(keys) = first_key_list(journal.clone())? {
                    auditor.begin_with_keys(keys);
                }
            }
        }
        let journal = if options.log_only { journal.entries_only() } else { journal };
        Self::begin(auditor, node, Some(journal), Log::in_folder(folder), options)
    }

    /// Begins with a log that is served at `url`, such as `http://127.0.0.1:8080/log/0`: entries, tiles and checkpoint.
    ///
    /// # Errors
    /// [`AuditError`] where there is none, that of another node than the one that is pinned, or no key to verify it by.
    pub fn open_url(url: &str, options: &AuditOptions) -> Result<Self, AuditError> {
        let log = Log::served(url)?;
        let none = || AuditError::NoLog { url: url.to_owned() };
        let checkpoint = log.checkpoint()?.ok_or_else(none)?;
        let (node, _) = parse_log_origin(&checkpoint.untrusted().origin).ok_or_else(none)?;
        if let Some(expected) = options.pin.filter(|pin| *pin != node) {
            return Err(AuditError::OtherNode { expected, found: node });
        }
        let mut auditor = Auditor::new(node);
        match (&options.key_list, &options.log_key) {
            (Some(keys), _) => auditor.key_list(Verified::clone(keys)),
            (None, Some(_)) => {}
            (None, None) if options.trusts_log(&checkpoint) => {}
            (None, None) => return Err(AuditError::NoLogKey),
        }
        let options = AuditOptions { log_only: true, ..options.clone() };
        Self::begin(auditor, node, None, Some(log), &options)
    }

    fn begin(
        mut auditor: Auditor,
        node: PublicKey,
        journal: Option<Journal>,
        log: Option<Log>,
        options: &AuditOptions,
    ) -> Result<Self, AuditError> {
        for (name, replay) in &options.receipts {
            auditor.promise(name, replay);
        }
        let kept = match &options.home {
            Some(home) => kept::load(home, &node)?,
            None => Vec::new(),
        };
        let checkpoint = match &log {
            Some(log) => begin_log(&mut auditor, log, &kept)?,
            None if !kept.is_empty() => {
                auditor.find(Finding::of_log(What::Checkpoint(GONE.to_owned())));
                None
            }
            None => None,
        };
        let (log_key, policy) = (options.log_key.clone(), options.policy.clone());
        let log_only = options.log_only;
        let decisions = options.decisions.clone();
        Ok(Self {
            node,
            auditor,
            journal,
            log,
            checkpoint,
            log_key,
            policy,
            decisions,
            log_only,
            is_ended: false,
        })
    }

    /// The checkpoint that the entries are compared with; its signature is checked at the end.
    pub const fn checkpoint(&self) -> Option<&SignedCheckpoint> {
        self.checkpoint.as_ref()
    }

    /// The node whose journal it says it is.
    pub const fn node(&self) -> PublicKey {
        self.node
    }

    /// The number of entries so far.
    pub const fn entries(&self) -> u64 {
        self.auditor.next_index()
    }

    /// Reads on, to the end of a file at most; `false` where nothing follows.
    ///
    /// # Errors
    /// [`AuditError`] where a file can't be read.
    pub fn step(&mut self) -> Result<bool, AuditError> {
        while !self.is_ended {
            let next = match &mut self.journal {
                Some(journal) => journal.read()?,
                None => self.next_bundle()?,
            };
            match next {
                Next::Commit(commit) if self.log_only => {
                    let entries: Vec<_> =
                        commit.pieces.iter().map(|piece| piece.entry.to_bytes()).collect();
                    self.take_entries(&entries)?;
                }
                Next::Commit(commit) => self.commit(&commit)?,
                Next::Entries(entries) => {
                    self.take_entries(&entries)?;
                    if self.journal.is_none() {
                        return Ok(true);
                    }
                }
                Next::Broken { index, what, entries } => {
                    self.take_entries(&entries)?;
                    self.auditor.broken(index, what);
                    self.is_ended = true;
                }
                Next::FileEnd => return Ok(true),
                Next::End => self.is_ended = true,
            }
        }
        Ok(false)
    }

    /// What was found since this was last asked.
    pub fn findings(&mut self) -> Vec<Finding> {
        self.auditor.findings()
    }

    /// Ends the audit; `now` is in microseconds since 1970.
    ///
    /// # Errors
    /// [`AuditError`] where a file can't be read.
    pub fn finish(mut self, now: u64) -> Result<(Summary, Vec<Finding>), AuditError> {
        self.hand_in_tiles(self.auditor.next_index())?;
        if let Some(checkpoint) = &self.checkpoint {
            // By the keys that the log noted last: those at its beginning may have been others.
            let origin = &checkpoint.untrusted().origin;
            let named = self.policy.iter().flat_map(|policy| &policy.logs);
            let mut keys: Vec<_> = self
                .log_key
                .iter()
                .chain(named.filter(|key| key.name() == origin))
                .cloned()
                .collect();
            if keys.is_empty() {
                keys = self.auditor.keys().map_or(Vec::new(), |keys| keys.log_keys(origin));
            }
            check_checkpoint(&mut self.auditor, checkpoint, &keys, self.policy.as_ref());
        } else if self.policy.as_ref().is_some_and(Policy::asks_for_witnesses) {
            self.auditor.find(Finding::of_log(What::Checkpoint("there is none".to_owned())));
        }
        Ok(self.auditor.finish(now))
    }

    /// The next entries of a log without a journal.
    fn next_bundle(&self) -> Result<Next, AuditError> {
        let size = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.untrusted().size);
        let next = self.auditor.next_index();
        let Some(log) = self.log.as_ref().filter(|_| next < size) else { return Ok(Next::End) };
        let tile = Tile::of_leaf(next, size);
        let bundle = log.bundle(tile)?.and_then(|bundle| read_bundle(&bundle));
        Ok(match bundle.filter(|entries| entries.len() == tile.width) {
            Some(entries) => Next::Entries(entries),
            None => {
                let what = What::Files("a bundle of entries is missing or not whole");
                Next::Broken { index: next, what, entries: Vec::new() }
            }
        })
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), AuditError> {
        let end = commit.first.saturating_add(commit.pieces.len() as u64);
        self.hand_in_tiles(end.saturating_add(Tile::FULL as u64))?;
        self.auditor.commit(commit);
        if let Some(decisions) = &mut self.decisions {
            decisions.take(commit, &mut self.auditor);
        }
        Ok(())
    }

    fn take_entries(&mut self, entries: &[[u8; Entry::LENGTH]]) -> Result<(), AuditError> {
        self.hand_in_tiles(self.auditor.next_index().saturating_add(entries.len() as u64))?;
        self.auditor.entries(entries);
        Ok(())
    }

    /// Reads the tiles that the auditor needs for the entries below `through`.
    fn hand_in_tiles(&mut self, through: u64) -> Result<(), AuditError> {
        let Some(log) = &self.log else { return Ok(()) };
        while let Some(tile) = self.auditor.wanted(through) {
            let hashes = log.tile(tile)?;
            self.auditor.tile(tile, hashes.as_deref());
        }
        Ok(())
    }
}

/// Tells the auditor what the log's checkpoint says, and what the one that was kept said.
fn begin_log(
    auditor: &mut Auditor,
    log: &Log,
    kept: &[SignedCheckpoint],
) -> Result<Option<SignedCheckpoint>, AuditError> {
    let head = |checkpoint: &Checkpoint| TreeHead { size: checkpoint.size, root: checkpoint.root };
    for kept in kept {
        auditor.kept(head(kept.untrusted()));
    }
    let checkpoint = log.checkpoint()?;
    match &checkpoint {
        Some(checkpoint) => auditor.log(head(checkpoint.untrusted())),
        None => auditor.find(Finding::of_log(What::Checkpoint("its bytes are none".to_owned()))),
    }
    Ok(checkpoint)
}

/// [AUD-3] The checkpoint MUST be signed by the log, and by as many witnesses as the policy asks for.
fn check_checkpoint(
    auditor: &mut Auditor,
    checkpoint: &SignedCheckpoint,
    keys: &[VerifierKey],
    policy: Option<&Policy>,
) {
    let mut results = keys.iter().map(|key| checkpoint.verify(key).map(drop));
    let fault = match results.next() {
        None => Some("no log key of the node is known to check it by".to_owned()),
        Some(first) => results.fold(first, Result::or).err().map(|error| error.to_string()),
    };
    let unsigned = match policy.map(|policy| policy.judge(checkpoint)) {
        None => None,
        Some(Err(error)) => Some(error.to_string()),
        Some(Ok(cosigned)) if cosigned.is_quorum => None,
        Some(Ok(cosigned)) => Some(format!(
            "{} of the policy's witnesses cosigned it, which are too few",
            cosigned.witnesses.len()
        )),
    };
    for fault in fault.into_iter().chain(unsigned) {
        auditor.find(Finding::of_log(What::Checkpoint(fault)));
    }
}

/// Opens the journal of a data folder or archive; `keys` is the file of an archive's record keys.
///
/// # Errors
/// [`AuditError`] where there is none.
pub fn open_journal(folder: &Path, keys: Option<PathBuf>) -> Result<Journal, AuditError> {
    let keys = match keys {
        Some(keys) => RecordKeys::In(keys),
        None if folder.join(KEY_LIST).exists() => RecordKeys::Nowhere,
        None => RecordKeys::Beside,
    };
    Journal::open(&folder.join(JOURNAL), keys)
}

/// The key list that the log notes first: what its beginning was signed under.
fn first_key_list(mut journal: Journal) -> Result<Option<Verified<KeyList>>, AuditError> {
    for _ in 0..FIRST_NOTES {
        let commit = match journal.read()? {
            Next::Commit(commit) => commit,
            Next::Entries(_) | Next::FileEnd => continue,
            Next::Broken { .. } | Next::End => break,
        };
        let noted = commit.pieces.iter().find(|piece| piece.entry.entry_type == EntryType::KEYS);
        if let Some(noted) = noted {
            let list = noted.hidden.content(&noted.entry.seal);
            let list = list.and_then(|list| KeyList::from_bytes(list).ok()?.verify().ok());
            // One that is no list is found again, and reported, in its turn.
            return Ok(list.filter(|list| list.root == journal.node()));
        }
    }
    Ok(None)
}

/// Reads a key list as a node serves it.
///
/// # Errors
/// [`AuditError`] where the file is none.
pub fn read_key_list(path: &Path) -> Result<Verified<KeyList>, AuditError> {
    let bytes =
        fs::read(path).map_err(|source| AuditError::Io { path: path.to_owned(), source })?;
    let list = KeyList::from_bytes(bytes).ok().and_then(|list| list.verify().ok());
    list.ok_or_else(|| AuditError::NoKeyList { path: path.to_owned() })
}

/// There was a log, and there is none.
const GONE: &str = "there is none, and there was one when this auditor looked last";
/// The folder of the journal, in a node's data and in an archive.
const JOURNAL: &str = "journal";
/// An archive's key list.
const KEY_LIST: &str = "key-list";
/// Commits among which the first key list stands: a node notes it before anything else.
const FIRST_NOTES: usize = 64;
