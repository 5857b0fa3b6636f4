//! Audits what a node left behind: its data folder, an archive of it, or the log that it serves.
//! `cmtp-spec/spec/20-audit.md`.
//!
//! What is checked is [`cmtp_codec::audit`]'s; here files are found and read. Nothing is ever changed in what is audited, and
//! the node may run meanwhile.

mod error;
mod journal;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cmtp_codec::audit::{Auditor, Finding, Summary};
use cmtp_codec::journal::Commit;
use cmtp_codec::{KeyList, PublicKey, Replay, Verified};
use cmtp_spec::EntryType;

pub use crate::audit::error::AuditError;
pub use crate::audit::journal::{Journal, Next, RecordKeys};

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
    /// What callers saved, by the name that findings call it.
    pub receipts: Vec<(String, Arc<Verified<Replay>>)>,
}

/// An audit of a folder that is under way.
///
/// A clone goes on where the file began that is being read.
#[derive(Clone, Debug)]
pub struct Audit {
    auditor: Auditor,
    journal: Journal,
    is_ended: bool,
}

impl Audit {
    /// Begins with a node's data folder, or an archive.
    ///
    /// # Errors
    /// [`AuditError`] where it holds no journal, or that of another node than the one that is pinned.
    pub fn open(folder: &Path, options: &AuditOptions) -> Result<Self, AuditError> {
        let journal = folder.join(JOURNAL);
        let is_archive = folder.join(KEY_LIST).exists();
        let keys = match (&options.keys, is_archive) {
            (Some(keys), _) => RecordKeys::In(keys.clone()),
            (None, true) => RecordKeys::Nowhere,
            (None, false) => RecordKeys::Beside,
        };
        let journal = Journal::open(&journal, keys)?;
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
        if is_archive {
            auditor.key_list(read_key_list(&folder.join(KEY_LIST))?);
        } else if let Some(keys) = first_key_list(journal.clone())? {
            auditor.begin_with_keys(keys);
        }
        for (name, replay) in &options.receipts {
            auditor.promise(name, replay);
        }
        Ok(Self { auditor, journal, is_ended: false })
    }

    /// The node whose journal it says it is.
    pub const fn node(&self) -> PublicKey {
        self.journal.node()
    }

    /// The number of entries so far.
    pub const fn entries(&self) -> u64 {
        self.journal.next_index()
    }

    /// Reads on, to the end of a file at most; `false` where nothing follows.
    ///
    /// # Errors
    /// [`AuditError`] where a file can't be read.
    pub fn step(&mut self) -> Result<bool, AuditError> {
        while !self.is_ended {
            match self.journal.next()? {
                Next::Commit(commit) => self.commit(&commit),
                Next::Broken(index, what) => {
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
    pub fn finish(self, now: u64) -> (Summary, Vec<Finding>) {
        self.auditor.finish(now)
    }

    fn commit(&mut self, commit: &Commit) {
        self.auditor.commit(commit);
    }
}

/// The key list that the log notes first: what its beginning was signed under.
fn first_key_list(mut journal: Journal) -> Result<Option<Verified<KeyList>>, AuditError> {
    for _ in 0..FIRST_NOTES {
        let commit = match journal.next()? {
            Next::Commit(commit) => commit,
            Next::FileEnd => continue,
            Next::Broken(..) | Next::End => break,
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

/// The folder of the journal, in a node's data and in an archive.
const JOURNAL: &str = "journal";
/// An archive's key list.
const KEY_LIST: &str = "key-list";
/// Commits among which the first key list stands: a node notes it before anything else.
const FIRST_NOTES: usize = 64;
