//! What callers were promised, against what the log holds.

use std::collections::BTreeMap;

use crate::audit::finding::{Finding, What};
use crate::hash::Digest;
use crate::key::PublicKey;
use crate::log::parse_log_origin;
use crate::message::Replay;
use crate::trust::Verified;

/// Receipts of callers, by the index that each names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    due: BTreeMap<u64, Vec<Promise>>,
    /// Receipts of modes that promise no index.
    pub(crate) without_index: u64,
    /// Receipts that hold.
    pub(crate) kept: u64,
    /// Receipts whose merge delay is not over.
    pub(crate) pending: u64,
}

#[derive(Clone, Debug)]
struct Promise {
    name: String,
    leaf: Digest,
    log_number: u32,
    /// Microseconds since 1970 at which the entry has to be there.
    until: u64,
}

impl Promises {
    /// Adds what a message's receipts promise; `name` is what findings call it, `node` whose log it is.
    pub(crate) fn add(
        &mut self,
        name: &str,
        message: &Verified<Replay>,
        node: &PublicKey,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let message = &message.message;
        let interims = message.interims.iter().map(|(layers, seal)| (*layers, seal));
        let layers = u32::try_from(message.links.len()).unwrap_or(u32::MAX);
        for (layers, seal) in interims.chain([(layers, &message.seal)]) {
            let Some(receipt) = &seal.receipt else {
                self.without_index += 1;
                continue;
            };
            // [AUD-10] Receipts of mode `wal` alone name an index.
            let Some(index) = receipt.index() else {
                self.without_index += 1;
                continue;
            };
            let statement = &receipt.statement;
            let own = parse_log_origin(&statement.log_origin).filter(|(it, _)| it == node);
            let Some((_, log_number)) = own else {
                let (receipt, origin) = (name.to_owned(), statement.log_origin.clone());
                findings.push(Finding::of_log(What::OtherLog { receipt, origin }));
                continue;
            };
            let links = message.links.get(..layers as usize).unwrap_or_default();
            let steps: Vec<_> = links.iter().map(crate::StepTaken::from).collect();
            let status = crate::message_status(&steps);
            let leaf = receipt.entry(status, layers, seal.hash).leaf();
            let delay = u64::from(statement.merge_delay).saturating_mul(SECOND);
            let until = statement.time.saturating_add(delay);
            let promise = Promise { name: name.to_owned(), leaf, log_number, until };
            let others = self.due.entry(index).or_default();
            let other =
                others.iter().find(|other| other.leaf != leaf && other.log_number == log_number);
            // [AUD-11] Two promises of different entries at one index of one log.
            if let Some(other) = other {
                let (first, second) = (other.name.clone(), name.to_owned());
                findings.push(Finding::at(index, What::Equivocation { first, second }));
            }
            others.push(promise);
        }
        findings
    }

    /// The log's entry at an index.
    pub(crate) fn check(
        &mut self,
        index: u64,
        log_number: u32,
        leaf: impl FnOnce() -> Digest,
    ) -> Vec<Finding> {
        if self.due.first_key_value().is_none_or(|(first, _)| *first > index) {
            return Vec::new();
        }
        let leaf = leaf();
        let mut findings = Vec::new();
        for promise in self.due.remove(&index).unwrap_or_default() {
            let receipt = promise.name;
            // [AUD-10] That leaf has to be there; what a restored backup lost is an omission, and no second story.
            if promise.leaf == leaf {
                self.kept += 1;
            } else if promise.log_number < log_number {
                findings.push(Finding::at(index, What::Omitted { receipt }));
            } else {
                findings.push(Finding::at(index, What::OtherPromised { receipt }));
            }
        }
        findings
    }

    /// What the log does not reach; `now` is the auditor's clock, microseconds since 1970.
    pub(crate) fn finish(&mut self, now: u64) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (index, promises) in std::mem::take(&mut self.due) {
            for promise in promises {
                if promise.until < now {
                    let receipt = promise.name;
                    findings.push(Finding::at(index, What::Omitted { receipt }));
                } else {
                    self.pending += 1;
                }
            }
        }
        findings
    }
}

const SECOND: u64 = 1_000_000;
