//! Gathers what exchanges hand in while a turn of the runtime lasts, and hands it to the writer as one batch.
//!
//! A thread that is woken for each entry, and that wakes an exchange for each, costs more than the entries: so both ways
//! what belongs together goes together.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cmtp_codec::Entry;
use cmtp_codec::journal::Hidden;
use cmtp_spec::JournalMode;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, oneshot};

use crate::journal::writer::Submission;
use crate::journal::{JournalError, Recorded};
use crate::node_keys::NodeKeys;

/// What goes to the writer together.
pub(crate) struct Batch {
    pub(crate) submissions: Vec<Submission>,
    /// Where it says what came of them.
    pub(crate) settled: UnboundedSender<Vec<Settled>>,
    pub(crate) errand: Option<Errand>,
}

/// What else the writer is to do, after what was handed in before.
pub(crate) enum Errand {
    Move(Moving),
    Begin(Begin),
}

/// Other keys sign from here on, and the journal notes so first.
pub(crate) struct Begin {
    /// `None`: those that sign already.
    pub(crate) keys: Option<Arc<NodeKeys>>,
    pub(crate) notes: Vec<Note>,
    /// Where it is to be noted at once, and not with what comes next: who waits for that.
    pub(crate) noted: Option<oneshot::Sender<Result<(), JournalError>>>,
}

/// An entry of the node's own.
pub(crate) type Note = (Entry, Option<u64>, Hidden);

/// Somebody waits until the log that holds an entry was moved, and is no log any more.
pub(crate) struct Moving {
    pub(crate) entry: u64,
    pub(crate) moved: oneshot::Sender<()>,
}

/// What became of a submission, and who waits for it.
pub(crate) struct Settled {
    pub(crate) reply: oneshot::Sender<Result<Recorded, JournalError>>,
    pub(crate) result: Result<Recorded, JournalError>,
}

/// The desk where exchanges hand in.
pub(crate) struct Clerk {
    desk: Mutex<Desk>,
    handed_in: Notify,
}

struct Desk {
    waiting: Vec<Submission>,
    /// `None` once the journal is closed.
    writer: Option<Sender<Batch>>,
    settled: UnboundedSender<Vec<Settled>>,
}

impl Clerk {
    pub(crate) fn new(writer: Sender<Batch>, settled: UnboundedSender<Vec<Settled>>) -> Self {
        let desk = Desk { waiting: Vec::new(), writer: Some(writer), settled };
        Self { desk: Mutex::new(desk), handed_in: Notify::new() }
    }

    /// Takes a submission; `Err` once the journal is closed.
    pub(crate) fn hand_in(&self, submission: Submission) -> Result<(), JournalError> {
        let mut desk = self.desk();
        if desk.writer.is_none() {
            return Err(JournalError::Failed);
        }
        let many = if submission.mode == JournalMode::WAL { MANY_SYNCED } else { MANY };
        desk.waiting.push(submission);
        match desk.waiting.len() {
            1 => self.handed_in.notify_one(),
            // The writer begins with these while the others come.
            waiting if waiting >= many => drop(desk.pass_on(None)),
            _ => {}
        }
        Ok(())
    }

    /// Passes on what is handed in, until the journal is closed.
    pub(crate) async fn run(&self) {
        loop {
            self.handed_in.notified().await;
            // All that is ready in this turn of the runtime hands in before this goes on.
            tokio::task::yield_now().await;
            if !self.desk().pass_on(None) {
                return;
            }
        }
    }

    /// Has the log moved that holds an entry; where nobody does it any more the sender is dropped.
    pub(crate) fn have_moved(&self, moving: Moving) {
        self.desk().pass_on(Some(Errand::Move(moving)));
    }

    /// Has other keys sign; where nobody writes any more the sender is dropped.
    pub(crate) fn begin(&self, begin: Begin) {
        self.desk().pass_on(Some(Errand::Begin(begin)));
    }

    /// Passes on what was handed in, and takes no more.
    pub(crate) fn close(&self) {
        let mut desk = self.desk();
        desk.pass_on(None);
        desk.writer = None;
        self.handed_in.notify_one();
    }

    /// Whether the journal is still open.
    pub(crate) fn is_open(&self) -> bool {
        self.desk().writer.is_some()
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// Passes on what waits; `false` where there is no writer any more, and who waits is told so by the drop.
    fn pass_on(&mut self, errand: Option<Errand>) -> bool {
        let submissions = std::mem::take(&mut self.waiting);
        let Some(writer) = &self.writer else { return false };
        let is_empty = submissions.is_empty() && errand.is_none();
        let batch = Batch { submissions, settled: self.settled.clone(), errand };
        if !is_empty && writer.send(batch).is_err() {
            self.writer = None;
        }
        self.writer.is_some()
    }
}

/// Tells those who wait what became of what they handed in; ends when clerk and writer are gone.
pub(crate) async fn tell(mut settled: UnboundedReceiver<Vec<Settled>>) {
    while let Some(batch) = settled.recv().await {
        for (number, Settled { reply, result }) in (1..).zip(batch) {
            // Who does not wait any more finds it in the journal.
            let _gone = reply.send(result);
            if number % FEW == 0 {
                // Their answers leave while the others are told, so that the caller, too, has something to do.
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Submissions that are a batch though the turn goes on: half of what a busy caller has under way, so that signing the
/// first half and serving the second overlap. Less would cost the caller more signatures to verify.
const MANY: usize = 32;
/// The same where a sync follows, which costs more than a signature: of 16, 32, 64, 128 and no bound the fastest at 256 in
/// flight.
const MANY_SYNCED: usize = 64;
/// Answers that leave together: a few datagrams.
const FEW: usize = 16;
