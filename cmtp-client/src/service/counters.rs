//! What an instance did, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::rejection::Rejection;

/// What an instance did since it started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Requests answered with a status below 400.
    pub answered: u64,
    /// Requests refused by the handler, or because too many were in progress.
    pub refused: u64,
    /// Requests stopped because nobody waited any more.
    pub cancelled: u64,
    /// Requests stopped because their deadline passed.
    pub late: u64,
    /// Requests in progress now.
    pub in_progress: u64,
    /// What was not acted on, by reason.
    pub rejected: [(Rejection, u64); Rejection::ALL.len()],
}

impl Counts {
    /// How many were not acted on for this reason.
    pub fn rejected_for(&self, reason: Rejection) -> u64 {
        let found = self.rejected.iter().find(|(rejection, _)| *rejection == reason);
        found.map_or(0, |(_, count)| *count)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) answered: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) late: AtomicU64,
    rejected: [AtomicU64; Rejection::ALL.len()],
}

impl Counters {
    pub(crate) fn reject(&self, reason: Rejection) {
        let place = Rejection::ALL.iter().position(|rejection| *rejection == reason);
        if let Some(count) = place.and_then(|place| self.rejected.get(place)) {
            add(count);
        }
    }

    pub(crate) fn read(&self, in_progress: usize) -> Counts {
        let mut rejected = Rejection::ALL.map(|rejection| (rejection, 0));
        for ((_, count), counter) in rejected.iter_mut().zip(&self.rejected) {
            *count = counter.load(Ordering::Relaxed);
        }
        Counts {
            answered: self.answered.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            cancelled: self.cancelled.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            in_progress: in_progress as u64,
            rejected,
        }
    }
}

pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
