//! The log over a real journal.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cmtp_codec::log::{Checkpoint, Growth};
use cmtp_codec::{Digest, Entry};
use cmtp_spec::{EntryType, JournalMode};

use super::*;
use crate::journal::{Draft, Journal, JournalConfig};
use crate::metrics::Metrics;
use crate::node_keys::NodeKeys;

fn key() -> Arc<NodeKeys> {
    Arc::new(NodeKeys::from_seed(&[7; 32]).unwrap())
}

fn journal(folder: &Path) -> Journal {
    let config = JournalConfig {
        folder: folder.join("journal"),
        segment_bytes: 64 << 10,
        merge_delay: 60,
        metrics: Metrics::default().journal,
    };
    Journal::open(&config, key(), |_| {}).unwrap().0
}

fn open(folder: &Path, journal: &Journal) -> Result<Log, LogError> {
    let interval = Duration::from_millis(10);
    let past = Past::default();
    let config = LogConfig { number: 0, folder: &folder.join("log"), interval, past: &past };
    Log::open(&config, key().log_signer(0).unwrap(), journal.follow(), Cosigners::default())
}

async fn record(journal: &Journal, count: u32, mode: JournalMode) {
    let record = |number: u32| async move {
        let note = Draft::note(EntryType::SUMMARY, &number.to_be_bytes()).unwrap();
        journal.record(Draft { mode, ..note }).await.unwrap();
    };
    futures::future::join_all((0..count).map(record)).await;
}

fn growth(log: &Log, before: u64) -> Growth {
    log.growth(&log.checkpoint(), before).unwrap()
}

#[tokio::test]
async fn every_checkpoint_continues_the_one_before_over_restarts() {
    // [LOG-5] [LOG-7]
    let folder = tempfile::tempdir().unwrap();
    let public = key().log_signer(0).unwrap().public().clone();
    let mut known: Vec<Checkpoint> = Vec::new();
    for round in 0..4 {
        let journal = journal(folder.path());
        let log = open(folder.path(), &journal).unwrap();
        for count in [1, 7, 250, 300] {
            let before = log.checkpoint().size;
            record(&journal, count, JournalMode::WAL).await;
            log.beyond(before + u64::from(count) - 1).await.unwrap();
            let checkpoint = growth(&log, 0).verify(None, &public).unwrap().into_inner();
            for earlier in &known {
                growth(&log, earlier.size).verify(Some(earlier), &public).unwrap();
            }
            known.push(checkpoint);
        }
        if round == 1 {
            // The tiles are made anew of the journal where they are lost.
            std::fs::remove_dir_all(folder.path().join("log/tile")).unwrap();
        }
    }
}

#[tokio::test]
async fn every_entry_is_proved() {
    // [LOG-9]
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let log = open(folder.path(), &journal).unwrap();
    let signer = key().log_signer(0).unwrap();
    record(&journal, 600, JournalMode::WAL).await;
    let tree = log.beyond(599).await.unwrap();
    let entries = journal.follow().entries(0, 600).unwrap();
    for (index, bytes) in (0..).zip(&entries) {
        let entry = Entry::from_bytes(bytes).unwrap();
        assert_eq!(log.find(&entry.seal), Some(index), "the newest are found by F");
        let proof = log.proof(&tree, index).unwrap();
        assert_eq!(proof.index, index);
        proof.verify(entry.leaf(), signer.public()).unwrap();
    }
    assert_eq!(log.find(&Digest::ZERO), None);
}

#[tokio::test]
async fn what_is_not_durable_is_under_no_checkpoint() {
    // [LOG-2]
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let log = open(folder.path(), &journal).unwrap();
    record(&journal, 1, JournalMode::ASYNC).await;
    // The checkpoint is looked at first, so that what is durable can only have grown since.
    for _ in 0..100 {
        let size = log.checkpoint().size;
        assert!(size <= journal.follow().durable());
        tokio::task::yield_now().await;
    }
    assert!(log.beyond(0).await.is_some(), "and once it is, it is");
}

#[tokio::test]
async fn a_log_that_knows_more_than_the_journal_is_not_opened() {
    // [LOG-5]
    let folder = tempfile::tempdir().unwrap();
    let journal_of_before = journal(folder.path());
    record(&journal_of_before, 3, JournalMode::WAL).await;
    drop(journal_of_before);
    let backup = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    };
    copy(&folder.path().join("journal"), &backup.path().join("journal"));
    {
        let journal = journal(folder.path());
        let log = open(folder.path(), &journal).unwrap();
        record(&journal, 5, JournalMode::WAL).await;
        log.beyond(7).await.unwrap();
    }
    std::fs::remove_dir_all(folder.path().join("journal")).unwrap();
    copy(&backup.path().join("journal"), &folder.path().join("journal"));
    let restored = journal(folder.path());
    let refused = open(folder.path(), &restored).err().unwrap();
    assert!(matches!(refused, LogError::Smaller { size: 8, entries: 3 }), "{refused}");
    record(&restored, 9, JournalMode::WAL).await;
    let refused = open(folder.path(), &restored).err().unwrap();
    assert!(matches!(refused, LogError::Other { size: 8 }), "{refused}");
}
