//! What an auditor looked at.

use std::fmt;

use crate::hash::Digest;
use crate::message::Grade;

/// Counts of an audit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Entries that were read.
    pub entries: u64,
    /// Entries under the log's checkpoint; 0 where there is none.
    pub logged: u64,
    /// The tree hash of the entries.
    pub root: Option<Digest>,
    /// Commits whose signature was checked.
    pub commits: u64,
    /// Messages that were read from their records, all that is left of them, and verified.
    pub messages: u64,
    /// Messages that have not ended.
    pub open: u64,
    /// Layers, by who stands for them.
    pub grades: Grades,
    /// Messages whose content is erased; their cores were verified.
    pub redacted: u64,
    /// Messages whose content and cores are erased.
    pub forgotten: u64,
    /// Messages whose records were not checked: forgotten, or without their keys.
    pub not_checked: u64,
    /// Decisions of policies that were judged again.
    pub decisions: u64,
    /// Messages whose decision could not be judged again: they can't be read, or nobody has their policies.
    pub decisions_not_checked: u64,
    /// Callers' receipts whose entry is where they say.
    pub receipts: u64,
    /// Callers' receipts that can't be checked yet, their merge delay not being over.
    pub receipts_pending: u64,
    /// Callers' receipts that name no index.
    pub receipts_without_index: u64,
    /// What was found.
    pub findings: u64,
}

/// Layers, by who stands for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grades {
    /// Signed by the caller.
    pub caller: u64,
    /// Signed by a service.
    pub service: u64,
    /// Vouched by the node.
    pub node: u64,
    /// Unproved.
    pub unproved: u64,
}

impl Grades {
    pub(crate) fn count(&mut self, grade: Grade) {
        *match grade {
            Grade::SignedByCaller => &mut self.caller,
            Grade::SignedByService => &mut self.service,
            Grade::VouchedByNode => &mut self.node,
            Grade::Unproved => &mut self.unproved,
        } += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.caller += other.caller;
        self.service += other.service;
        self.node += other.node;
        self.unproved += other.unproved;
    }
}

/// Names and counts, a line each: what a report holds.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.counts() {
            writeln!(f, "{name} {count}")?;
        }
        if let Some(root) = &self.root {
            writeln!(f, "root {root}")?;
        }
        Ok(())
    }
}

impl Summary {
    /// All counts by name.
    pub fn counts(&self) -> [(&'static str, u64); 18] {
        [
            ("entries", self.entries),
            ("logged", self.logged),
            ("commits", self.commits),
            ("messages", self.messages),
            ("open", self.open),
            ("signed-by-caller", self.grades.caller),
            ("signed-by-service", self.grades.service),
            ("vouched-by-node", self.grades.node),
            ("unproved", self.grades.unproved),
            ("redacted", self.redacted),
            ("forgotten", self.forgotten),
            ("not-checked", self.not_checked),
            ("decisions", self.decisions),
            ("decisions-not-checked", self.decisions_not_checked),
            ("receipts", self.receipts),
            ("receipts-pending", self.receipts_pending),
            ("receipts-without-index", self.receipts_without_index),
            ("findings", self.findings),
        ]
    }
}
