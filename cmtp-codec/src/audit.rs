//! An auditor of a node's log and journal: `cmtp-spec/spec/20-audit.md`.
//!
//! It takes what a node left behind, in order and once, and says what does not hold, with the first index that is wrong. It
//! needs neither the node nor its good will. It opens no file, and what it keeps does not grow with the log: the log's right
//! edge, the messages that have begun and not ended, and one small record for each erased message.
//!
//! Start from [`Auditor`].

mod erased;
mod finding;
mod messages;
mod promises;
mod report;
mod summary;
mod tree;

use std::sync::Arc;

use cmtp_spec::{EntryFlags, EntryType, JournalMode, KeyUse};

use crate::audit::erased::Erased;
pub use crate::audit::finding::{Finding, RootOf, TileName, What};
use crate::audit::messages::{Messages, Placed, Sealer};
use crate::audit::promises::Promises;
pub use crate::audit::report::{read_report, sign_report};
pub use crate::audit::summary::{Grades, Summary};
use crate::audit::tree::TreeCheck;
pub use crate::audit::tree::TreeHead;
use crate::hash::Digest;
use crate::journal::{Commit, Piece, PieceKeys, noted_list, receipt};
use crate::key::PublicKey;
use crate::keylist::KeyList;
use crate::log::{Tile, log_origin};
use crate::merkle::{self, Tree};
use crate::message::Replay;
use crate::receipt::{Entry, KnownStatements, Statement};
use crate::trust::Verified;

/// Checks a log and a journal as they are read.
///
/// ```
/// use cmtp_codec::audit::Auditor;
/// use cmtp_codec::journal::Commit;
/// use cmtp_codec::PublicKey;
///
/// /// What was promised, without a log and without anybody's receipts.
/// fn audit(node: PublicKey, commits: &[Commit], now: u64) -> bool {
///     let mut auditor = Auditor::new(node);
///     for commit in commits {
///         auditor.commit(commit);
///     }
///     let (summary, _findings) = auditor.finish(now);
///     summary.findings == 0
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Auditor {
    node: PublicKey,
    is_trusted: bool,
    keys: Option<Arc<Verified<KeyList>>>,
    /// What the key list that was given has for a digest.
    given_keys: Option<Digest>,
    noted_keys: Option<(u64, Digest)>,
    reads_records: bool,
    log_number: u32,
    sealer: PublicKey,
    next: u64,
    last_time: u64,
    tree: TreeCheck,
    messages: Messages,
    erased: Erased,
    promises: Promises,
    known: Arc<KnownStatements>,
    summary: Summary,
    findings: Vec<Finding>,
    /// Whether the journal's files could not be read to their end.
    is_broken: bool,
}

impl Auditor {
    /// Begins with the log of the node with this root key.
    pub fn new(node: PublicKey) -> Self {
        Self {
            node,
            is_trusted: false,
            keys: None,
            given_keys: None,
            noted_keys: None,
            reads_records: true,
            log_number: 0,
            sealer: node,
            next: 0,
            last_time: 0,
            tree: TreeCheck::default(),
            messages: Messages::default(),
            erased: Erased::default(),
            promises: Promises::default(),
            known: Arc::default(),
            summary: Summary::default(),
            findings: Vec::new(),
            is_broken: false,
        }
    }

    /// The auditor knows by other means that the root key is the node's.
    #[must_use]
    pub const fn trusted(mut self) -> Self {
        self.is_trusted = true;
        self
    }

    /// The keys of the records are not there: only what needs none is checked.
    #[must_use]
    pub const fn without_record_keys(mut self) -> Self {
        self.reads_records = false;
        self
    }

    /// The node's key list, as it is served: the latest that the log notes has to be this one.
    pub fn key_list(&mut self, keys: Verified<KeyList>) {
        self.given_keys = Some(Digest::of(&keys.to_bytes()));
        self.begin_with_keys(keys);
    }

    /// A key list to begin with, until the log notes one.
    pub fn begin_with_keys(&mut self, keys: Verified<KeyList>) {
        if keys.root == self.node {
            self.keys = Some(Arc::new(keys));
        } else {
            self.find(Finding::of_log(What::BadKeyList));
        }
    }

    /// The key list that is in force now.
    pub fn keys(&self) -> Option<&Verified<KeyList>> {
        self.keys.as_deref()
    }

    /// What the log's checkpoint says, once its signature was verified.
    pub fn log(&mut self, head: TreeHead) {
        self.summary.logged = head.size;
        let finding = self.tree.log(head);
        self.findings.extend(finding);
    }

    /// What a checkpoint of this log said that was seen before; before [`Auditor::log`].
    pub fn kept(&mut self, head: TreeHead) {
        self.tree.kept(head);
    }

    /// What a caller was promised; `name` is how findings call it.
    pub fn promise(&mut self, name: &str, message: &Verified<Replay>) {
        let findings = self.promises.add(name, message, &self.node);
        self.findings.extend(findings);
    }

    /// Something that who reads the files found.
    pub fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Who judges by policies, which the codec does not know, judged so many decisions again, and so many not.
    pub const fn decided(&mut self, judged: u64, not_judged: u64) {
        self.summary.decisions += judged;
        self.summary.decisions_not_checked += not_judged;
    }

    /// Whether something is found at the entry `index` that was not asked for yet: what follows from it is not told again.
    pub fn blames(&self, index: u64) -> bool {
        self.findings.iter().any(|finding| finding.index == Some(index))
    }

    /// The journal's files can't be read beyond the entry `index`; nothing more of them is to come.
    pub fn broken(&mut self, index: u64, what: What) {
        self.is_broken = true;
        self.findings.push(Finding::at(index, what));
    }

    /// The index of the next entry.
    pub const fn next_index(&self) -> u64 {
        self.next
    }

    /// The tile that has to be handed in before the entries below `through`; ask until there is none.
    ///
    /// Who asks for some more than come next lets a commit that was cut be told from one that was forged.
    pub fn wanted(&self, through: u64) -> Option<Tile> {
        self.tree.wanted(through)
    }

    /// The tile that was wanted; `None` where it can't be read.
    pub fn tile(&mut self, tile: Tile, hashes: Option<&[Digest]>) {
        let finding = self.tree.tile(tile, hashes);
        self.findings.extend(finding);
    }

    /// Takes entries without their commits, as a log alone has them.
    pub fn entries(&mut self, entries: &[[u8; Entry::LENGTH]]) {
        for bytes in entries {
            let leaf = merkle::leaf(bytes);
            let Some(entry) = Entry::from_bytes(bytes) else {
                self.tree.leaf(leaf, &mut self.findings);
                self.findings.push(Finding::at(self.next, What::NoEntry));
                self.next += 1;
                continue;
            };
            self.begin_entry(&entry);
            self.entry(&entry, leaf);
        }
    }

    /// Takes the next commit: its entries, its signature, its records.
    pub fn commit(&mut self, commit: &Commit) {
        if commit.first != self.next {
            self.findings.push(Finding::at(
                self.next,
                What::Files("a commit does not continue the one before"),
            ));
        }
        let first = self.next;
        for piece in &commit.pieces {
            self.begin_entry(&piece.entry);
        }
        let (statement, tree) = commit.statement(&self.origin());
        let mut foreign = Vec::with_capacity(commit.pieces.len());
        let found = self.findings.len();
        for (piece, &leaf) in commit.pieces.iter().zip(tree.leaves()) {
            let entry = &piece.entry;
            // [AUD-2] An entry MUST have the time and the mode of its commit.
            if entry.time != commit.time {
                self.findings.push(Finding::at(self.next, What::OtherTime));
            }
            let is_async = entry.flags.0 & EntryFlags::ASYNC.0 != 0;
            if is_async != (commit.mode == JournalMode::ASYNC) {
                self.findings.push(Finding::at(self.next, What::OtherMode));
            }
            foreign.push(!self.entry(entry, leaf));
        }
        self.summary.commits += 1;
        // [NKY-5] The list in force is the one that the last `keys` entry up to the commit's end notes.
        let own = commit.pieces.iter().zip(&foreign).filter(|(_, is_foreign)| !**is_foreign);
        let noted = own.rev().find_map(|(piece, _)| noted_list(piece, &self.node));
        if let Some(keys) = noted.filter(|_| self.reads_records) {
            self.keys = Some(Arc::new(keys));
        }
        // What changes an entry changes its commit: that is said once, and where it is exact.
        if self.findings.len() == found {
            let finding = self.check_statement(first, commit, &statement, tree.leaves());
            self.findings.extend(finding);
        }
        // It was judged here: its messages need not say again what was found.
        self.known.add(self.sealer, commit.signature, &statement);
        for (offset, (piece, is_foreign)) in commit.pieces.iter().zip(foreign).enumerate() {
            let index = first + offset as u64;
            if piece.entry.is_of_message() {
                let receipt = receipt(&statement, commit.signature, &tree, offset, &piece.entry);
                self.message(&Placed { index, piece, receipt, is_foreign });
            } else if !is_foreign {
                self.note(index, piece);
            }
        }
    }

    /// What was found since this was last asked.
    pub fn findings(&mut self) -> Vec<Finding> {
        self.summary.findings += self.findings.len() as u64;
        std::mem::take(&mut self.findings)
    }

    /// Ends the audit; `now` is the auditor's clock, microseconds since 1970. What was not asked for yet comes with the counts.
    pub fn finish(mut self, now: u64) -> (Summary, Vec<Finding>) {
        let size = self.tree.size();
        // [AUD-3] Entries under the checkpoint that are not there.
        if self.next < size && !self.is_broken {
            self.findings.push(Finding::at(self.next, What::Missing { size }));
        }
        self.findings.extend(self.messages.overdue(self.last_time));
        self.findings.extend(std::mem::take(&mut self.erased).finish());
        self.findings.extend(self.promises.finish(now));
        // [AUD-4] The key list that was given MUST be the latest that the log notes.
        if let (Some(given), Some((index, noted))) = (self.given_keys, self.noted_keys)
            && given != noted
        {
            self.findings.push(Finding::at(index, What::OtherKeyList));
        }
        self.summary.entries = self.next;
        self.summary.root = Some(self.tree.root());
        self.summary.open = self.messages.open();
        self.summary.receipts = self.promises.kept;
        self.summary.receipts_pending = self.promises.pending;
        self.summary.receipts_without_index = self.promises.without_index;
        let findings = self.findings();
        (self.summary, findings)
    }

    /// [AUD-1] A log that follows a restored backup begins with an entry `opened` of its own, which has its number.
    fn begin_entry(&mut self, entry: &Entry) {
        if entry.entry_type != EntryType::OPENED || self.next == 0 {
            return;
        }
        let number = entry.layers;
        if number <= self.log_number {
            self.findings.push(Finding::at(self.next, What::NotOpened));
        }
        self.log_number = self.log_number.max(number);
    }

    /// Takes the next entry into the tree; whether it is the log's.
    fn entry(&mut self, entry: &Entry, leaf: Digest) -> bool {
        let index = self.next;
        self.next += 1;
        // [AUD-2] [JRN-8] Entry times MUST NOT decrease.
        if entry.time < self.last_time {
            self.findings.push(Finding::at(index, What::TimeWentBack));
        }
        self.last_time = self.last_time.max(entry.time);
        // [AUD-1] The log MUST begin with `opened`, with the digest of its origin.
        if index == 0 && !self.opens(entry) {
            self.findings.push(Finding::at(0, What::NotOpened));
        }
        if entry.entry_type == EntryType::KEYS {
            self.noted_keys = Some((index, entry.seal));
        }
        let promised = self.promises.check(index, self.log_number, || leaf);
        self.findings.extend(promised);
        // [AUD-3] Each entry under the checkpoint MUST be the leaf that the tiles have there.
        let is_same = self.tree.leaf(leaf, &mut self.findings);
        if !is_same {
            self.findings.push(Finding::at(index, What::OtherLeaf));
        }
        is_same
    }

    fn opens(&self, entry: &Entry) -> bool {
        entry.entry_type == EntryType::OPENED && entry.seal == Digest::of(self.origin().as_bytes())
    }

    fn origin(&self) -> String {
        log_origin(&self.node, self.log_number)
    }

    /// [AUD-2] Each commit MUST be signed by a layer key of the node that was valid then.
    fn check_statement(
        &mut self,
        first: u64,
        commit: &Commit,
        statement: &Statement,
        leaves: &[Digest],
    ) -> Option<Finding> {
        let mut candidates = vec![self.sealer];
        if let Some(keys) = &self.keys {
            let layer = keys.keys.iter().filter(|listed| listed.key_use == KeyUse::LAYER);
            candidates.extend(layer.map(|listed| listed.key));
            candidates.retain(|key| keys.allows(KeyUse::LAYER, key, commit.time));
            candidates.dedup();
        }
        let mut failed = What::ForeignKey;
        for &key in &candidates {
            match statement.verify(&key, &commit.signature) {
                Ok(()) => {
                    self.sealer = key;
                    return None;
                }
                Err(error) => failed = What::Statement(error),
            }
        }
        if self.is_cut(&candidates, commit, statement, leaves) {
            return Some(Finding::at(self.next, What::CutCommit));
        }
        Some(Finding::at(first, failed))
    }

    /// Whether the commit was signed over these entries and some that the log has behind them.
    fn is_cut(
        &self,
        keys: &[PublicKey],
        commit: &Commit,
        statement: &Statement,
        leaves: &[Digest],
    ) -> bool {
        let mut leaves = leaves.to_vec();
        self.tree.ahead().any(|leaf| {
            leaves.push(leaf);
            let statement = Statement {
                count: u32::try_from(leaves.len()).unwrap_or(u32::MAX),
                root: Tree::new(leaves.clone()).root(),
                ..statement.clone()
            };
            keys.iter().any(|key| statement.verify(key, &commit.signature).is_ok())
        })
    }

    fn message(&mut self, placed: &Placed<'_>) {
        let sealer = Sealer {
            key: self.sealer,
            root: self.node,
            keys: self.keys.as_ref(),
            known: &self.known,
            is_trusted: self.is_trusted && self.keys.is_some(),
            reads_records: self.reads_records,
        };
        let findings = self.messages.take(placed, sealer, &mut self.erased, &mut self.summary);
        self.findings.extend(findings);
    }

    /// Takes an entry that stands for no message of its own.
    fn note(&mut self, index: u64, piece: &Piece) {
        let entry = &piece.entry;
        if matches!(entry.entry_type, EntryType::REDACTED | EntryType::FORGOTTEN) {
            if self.reads_records {
                let finding = self.erased.say(index, entry);
                self.findings.extend(finding);
            }
            return;
        }
        let is_gone = piece.hidden.keys.content() == PieceKeys::DESTROYED;
        if !self.reads_records || is_gone {
            return;
        }
        let Some(content) = piece.hidden.content(&entry.seal) else {
            self.findings.push(Finding::at(index, What::OtherRecord));
            return;
        };
        // [AUD-4] F of a note MUST be the digest of its content.
        if Digest::of(&content) != entry.seal {
            self.findings.push(Finding::at(index, What::OtherNote));
        } else if entry.entry_type == EntryType::KEYS && noted_list(piece, &self.node).is_none() {
            self.findings.push(Finding::at(index, What::BadKeyList));
        }
    }
}
