//! The journal on a disk that loses what was not made durable.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cmtp_codec::journal::{Broken, Commit, HEADER, Hidden, PREFIX, header, scan};
use cmtp_codec::log::log_origin;
use cmtp_codec::{Digest, Entry};
use cmtp_spec::{EntryFlags, EntryType, JournalMode, Opcode, Status};

use super::wal::{self, LogFile, Wal};
use super::writer::{CommitError, Committer};
use super::{
    Draft, EntryBytes, Journal, JournalConfig, JournalOpenError, JournalReport, check_journal, hide,
};
use crate::metrics::Metrics;
use crate::node_keys::NodeKeys;

/// A disk that keeps writes in memory until they are synced; a power cut loses the rest, but for what it likes.
#[derive(Clone)]
struct Disk(Arc<Mutex<Contents>>);

struct Contents {
    durable: Vec<u8>,
    pending: Vec<(u64, Vec<u8>)>,
    /// A disk, or a node, that says that it synced and did not.
    syncs: bool,
    fails: bool,
}

impl Disk {
    fn new(node: &NodeKeys) -> Self {
        let mut durable = vec![0; 1 << 20];
        durable[..HEADER].copy_from_slice(&header(&node.public(), 0));
        let contents = Contents { durable, pending: Vec::new(), syncs: true, fails: false };
        Self(Arc::new(Mutex::new(contents)))
    }

    /// What is left after the power was cut, if the disk had written `kept` of the pending bytes by itself.
    fn after_power_cut(&self, mut kept: usize) -> Bytes {
        let contents = self.0.lock().unwrap();
        let mut left = contents.durable.clone();
        for (offset, bytes) in &contents.pending {
            let (at, part) = (*offset as usize, kept.min(bytes.len()));
            left[at..at + part].copy_from_slice(&bytes[..part]);
            kept -= part;
        }
        left.into()
    }
}

impl LogFile for Disk {
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.lock().unwrap().pending.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let contents = &mut *self.0.lock().unwrap();
        if contents.fails {
            return Err(io::Error::other("the disk is gone"));
        }
        if contents.syncs {
            for (offset, bytes) in contents.pending.drain(..) {
                let at = offset as usize;
                contents.durable[at..at + bytes.len()].copy_from_slice(&bytes);
            }
        }
        Ok(())
    }
}

fn key() -> Arc<NodeKeys> {
    Arc::new(NodeKeys::from_seed(&[7; 32]).unwrap())
}

fn committer(disk: &Disk, key: &Arc<NodeKeys>) -> Committer<Disk> {
    Committer {
        wal: Wal::new(disk.clone(), HEADER as u64, 1 << 20),
        next: 0,
        last_time: 0,
        keys: Arc::clone(key),
        log_origin: log_origin(&key.public(), 0),
        merge_delay: 60,
    }
}

fn draft(number: u64) -> (Entry, Option<u64>, Hidden) {
    let seal = Digest::of(&number.to_be_bytes());
    let entry = Entry {
        entry_type: EntryType::EXCHANGE,
        opcode: Opcode::S,
        flags: EntryFlags(0),
        status: Status::OK,
        layers: 3,
        time: 0,
        message_id: [0; 16],
        seal,
    };
    (entry, None, hide(b"cores", &[number as u8; 100], &seal).unwrap())
}

/// Commits 20 times, so many entries each, and gives the seals that were acknowledged.
fn acknowledge(committer: &mut Committer<Disk>, mode: JournalMode) -> Vec<Digest> {
    let mut acknowledged = Vec::new();
    for round in 0..20_u64 {
        let drafts: Vec<_> = (0..=round % 4).map(|it| draft(round * 10 + it)).collect();
        let seals: Vec<_> = drafts.iter().map(|(entry, ..)| entry.seal).collect();
        let (mut commit, receipts) = committer.prepare(mode, drafts, 1_000 - round);
        committer.commit(&mut commit).unwrap();
        for (receipt, seal) in receipts.iter().zip(&seals) {
            // [RCP-3] [RCP-14]
            let entry = receipt.entry(Status::OK, 3, *seal);
            receipt.verify(&committer.keys.public(), &entry).unwrap();
        }
        acknowledged.extend(seals);
    }
    acknowledged
}

fn seals(commits: &[(Commit, u64)]) -> Vec<Digest> {
    let pieces = commits.iter().flat_map(|(commit, _)| &commit.pieces);
    pieces.map(|piece| piece.entry.seal).collect()
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    // [JRN-1] [JRN-7] [JRN-8]
    let key = key();
    let disk = Disk::new(&key);
    let mut committer = committer(&disk, &key);
    let acknowledged = acknowledge(&mut committer, JournalMode::WAL);
    // One more that was written and never synced: all of it, part of it or nothing may be there.
    let (mut commit, _) = committer.prepare(JournalMode::ASYNC, vec![draft(255)], 2_000);
    committer.commit(&mut commit).unwrap();
    for kept in [0, 1, PREFIX, 100, commit.size() - 20] {
        let scanned = scan(&disk.after_power_cut(kept), &key.public(), 0).unwrap();
        assert_eq!(seals(&scanned.commits), acknowledged, "kept {kept}");
        assert_eq!(scanned.torn, kept > 0);
    }
    let scanned = scan(&disk.after_power_cut(usize::MAX), &key.public(), 0).unwrap();
    assert_eq!(scanned.commits.len(), 21);
    let times: Vec<_> = scanned.commits.iter().map(|(commit, _)| commit.time).collect();
    assert!(times.is_sorted(), "entry times never decrease: {times:?}");
}

#[test]
fn without_the_sync_the_test_above_would_fail() {
    let key = key();
    let disk = Disk::new(&key);
    disk.0.lock().unwrap().syncs = false;
    let acknowledged = acknowledge(&mut committer(&disk, &key), JournalMode::WAL);
    let scanned = scan(&disk.after_power_cut(0), &key.public(), 0).unwrap();
    assert!(!acknowledged.is_empty() && scanned.commits.is_empty());
}

#[test]
fn a_failed_sync_acknowledges_nothing() {
    let key = key();
    let disk = Disk::new(&key);
    disk.0.lock().unwrap().fails = true;
    let mut committer = committer(&disk, &key);
    let (mut commit, _) = committer.prepare(JournalMode::WAL, vec![draft(1)], 1);
    assert!(matches!(committer.commit(&mut commit), Err(CommitError::Sync(_))));
}

#[test]
fn damage_to_what_was_durable_is_no_torn_tail() {
    let key = key();
    let disk = Disk::new(&key);
    acknowledge(&mut committer(&disk, &key), JournalMode::WAL);
    let good = disk.after_power_cut(0);
    let scanned = scan(&good, &key.public(), 0).unwrap();
    let (_, last) = scanned.commits[19];
    for (number, (_, at)) in scanned.commits.iter().enumerate() {
        let mut bad = good.to_vec();
        bad[*at as usize + PREFIX + 40] ^= 1;
        let found = scan(&bad.into(), &key.public(), 0);
        if *at == last {
            // Nothing behind it says that it was durable: it can't be told from a torn one.
            assert_eq!(found.unwrap().commits.len(), 19);
        } else {
            let damage = found.unwrap_err();
            assert_eq!((damage.offset, damage.what), (*at, Broken::Commit), "commit {number}");
        }
    }
}

#[test]
fn every_cut_of_a_log_is_read_up_to_its_last_whole_commit() {
    let key = key();
    let disk = Disk::new(&key);
    acknowledge(&mut committer(&disk, &key), JournalMode::WAL);
    let good = disk.after_power_cut(0);
    let scanned = scan(&good, &key.public(), 0).unwrap();
    for cut in HEADER..scanned.end as usize {
        let whole = scanned.commits.iter().filter(|(_, at)| *at < cut as u64).count();
        let found = scan(&good.slice(..cut), &key.public(), 0).unwrap().commits.len();
        // The last commit is whole up to the padding that follows it.
        assert!(found == whole || found + 1 == whole, "cut at {cut}: {found} of {whole}");
    }
}

fn config(folder: &Path) -> JournalConfig {
    JournalConfig {
        folder: folder.to_owned(),
        segment_bytes: 64 << 10,
        merge_delay: 60,
        metrics: Metrics::default().journal,
    }
}

fn open(folder: &Path) -> (Journal, JournalReport, Vec<Digest>) {
    let mut seals = Vec::new();
    let (journal, report, _) = Journal::open(&config(folder), key(), |commit| {
        seals.extend(commit.pieces.iter().map(|piece| piece.entry.seal));
    })
    .unwrap();
    (journal, report, seals)
}

async fn fill(journal: &Journal, count: u64) -> Vec<Digest> {
    let mut recorded = Vec::new();
    for number in 0..count {
        let text = vec![number as u8; 3_000];
        let note = Draft::note(EntryType::CONFIG, &text).unwrap();
        recorded.push(note.seal);
        let index = journal.record(note).await.unwrap().index;
        assert!(index >= number);
    }
    recorded
}

#[tokio::test]
async fn logs_are_moved_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, report, before) = open(folder.path());
    assert_eq!((report, before.len()), (JournalReport::default(), 0));
    // 100 notes of 3 KB in logs of 64 KiB: most are moved while more come.
    let recorded = fill(&journal, 100).await;
    drop(journal);
    let ending = |ending: &str| {
        let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|it| it == ending)).count()
    };
    assert!(ending("entries") >= 4 && ending("wal") == 1, "{} moved", ending("entries"));
    assert_eq!((ending("records"), ending("keys")), (ending("entries"), ending("entries")));
    let (again, report, seals) = open(folder.path());
    assert_eq!((seals, report.entries, report.torn), (recorded, 100, false));
    for index in [0, 50, 99] {
        let commit = again.store.read(index).unwrap();
        let piece = &commit.pieces[(index - commit.first) as usize];
        let content = piece.hidden.content(&piece.entry.seal).unwrap();
        assert_eq!(content, vec![index as u8; 3_000]);
    }
    assert!(again.store.read(100).is_err());
}

#[tokio::test]
async fn a_move_that_was_interrupted_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, ..) = open(folder.path());
    let recorded = fill(&journal, 60).await;
    drop(journal);
    // Take the first segment's entries away, as if the crash had come before they got their name.
    let (first, at) = (0, wal::path(folder.path(), 0, "entries"));
    let (segment, commits) =
        super::writer::open_segment(folder.path(), &key().public(), first, |_| {}).unwrap();
    let size = commits.len();
    let (mut log, mut commit) = (header(&key().public(), first).to_vec(), Vec::new());
    for (_, at) in commits {
        segment.read(at).unwrap().0.encode(&mut commit);
        log.extend_from_slice(&commit);
    }
    std::fs::remove_file(at).unwrap();
    std::fs::write(wal::path(folder.path(), first, "wal"), log).unwrap();
    std::fs::write(folder.path().join("00000000000000000000.records-unfinished"), "x").unwrap();
    let (again, report, seals) = open(folder.path());
    assert_eq!((seals, report.torn), (recorded, false), "{size} commits were moved back");
    again.close();
    assert!(wal::path(folder.path(), 0, "entries").exists());
}

#[tokio::test]
async fn one_node_at_a_time_and_no_gap() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, ..) = open(folder.path());
    let second = Journal::open(&config(folder.path()), key(), |_| {});
    assert!(matches!(second, Err(JournalOpenError::InUse { .. })));
    fill(&journal, 60).await;
    journal.close();
    drop(journal);
    let other = Arc::new(NodeKeys::from_seed(&[8; 32]).unwrap());
    let foreign = Journal::open(&config(folder.path()), other, |_| {}).err().unwrap();
    assert!(matches!(foreign, JournalOpenError::Io { .. } | JournalOpenError::Damaged { .. }));
    std::fs::remove_file(wal::path(folder.path(), 0, "entries")).unwrap();
    let missing = Journal::open(&config(folder.path()), key(), |_| {}).err().unwrap();
    assert!(matches!(missing, JournalOpenError::Missing { next: 0, .. }), "{missing}");
}

#[tokio::test]
async fn many_at_once_share_commits() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, ..) = open(folder.path());
    let journal = Arc::new(journal);
    let commits = AtomicUsize::new(0);
    let record = |number: u64| {
        let journal = Arc::clone(&journal);
        let commits = &commits;
        async move {
            let note = Draft::note(EntryType::CONFIG, &number.to_be_bytes()).unwrap();
            let recorded = journal.record(note).await.unwrap();
            commits.fetch_max(recorded.receipt.statement.count as usize, Ordering::Relaxed);
            assert_eq!(recorded.receipt.index(), Some(recorded.index));
            recorded.index
        }
    };
    let mut indexes = futures::future::join_all((0..200).map(record)).await;
    indexes.sort_unstable();
    assert_eq!(indexes, (0..200).collect::<Vec<_>>());
    assert!(commits.into_inner() > 1, "200 that wait at once take fewer than 200 commits");
}

#[tokio::test]
async fn who_follows_sees_every_durable_entry_once() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, ..) = open(folder.path());
    let mut follower = journal.follow();
    let recorded = fill(&journal, 60).await;
    let count = recorded.len() as u64;
    assert!(follower.beyond(count - 1).await.is_some());
    let live = follower.entries(0, usize::MAX).unwrap();
    assert_eq!(live.len() as u64, count);
    assert_eq!(follower.entries(7, 3).unwrap(), live[7..10]);
    assert_eq!(follower.entries(count, 3).unwrap(), Vec::<EntryBytes>::new());
    journal.close();
    assert_eq!(follower.beyond(count).await, None);
    drop(journal);
    // From the files, where some are moved.
    let (journal, ..) = open(folder.path());
    let follower = journal.follow();
    assert_eq!(follower.durable(), count);
    assert_eq!(follower.entries(0, usize::MAX).unwrap(), live);
    assert_eq!(follower.entries(7, 3).unwrap(), live[7..10]);
}

#[tokio::test]
async fn each_commit_is_of_the_log_that_was_opened_last() {
    // [LOG-19]
    let folder = tempfile::tempdir().unwrap();
    let (journal, ..) = open(folder.path());
    let record = async |journal: &Journal, draft: Draft| {
        let recorded = journal.record(draft).await.unwrap();
        recorded.receipt.statement.log_origin
    };
    let note = || Draft::note(EntryType::CONFIG, b"a = 1").unwrap();
    let origin = |number| log_origin(&key().public(), number);
    assert_eq!(record(&journal, Draft::opened(0, b"first").unwrap()).await, origin(0));
    assert_eq!(record(&journal, note()).await, origin(0));
    assert_eq!(record(&journal, Draft::opened(3, b"third").unwrap()).await, origin(3));
    assert_eq!(record(&journal, note()).await, origin(3));
    assert_eq!(journal.log_number(), 3);
    journal.close();
    drop(journal);
    let (journal, ..) = open(folder.path());
    assert_eq!(journal.log_number(), 3);
    assert_eq!(record(&journal, note()).await, origin(3));
    journal.close();
    let check = check_journal(folder.path(), &key().public(), |_| {}).unwrap();
    assert!(check.faults.is_empty(), "{:?}", check.faults);
    assert_eq!(check.report.entries, 5);
}
