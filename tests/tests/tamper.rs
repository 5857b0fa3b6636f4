//! An archive is changed in a thousand ways, its checksums made good each time, and every change is found where it is.
//!
//! `CMTP_ROUNDS` says how many changes there are (50), `CMTP_SEED` which.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use cmtp_client::audit::{Audit, AuditOptions};
use cmtp_codec::audit::{Finding, What};
use cmtp_codec::journal::{ALIGN, Commit, HEADER, Hidden, Piece, PieceKeys, framed, read_links};
use cmtp_codec::{Body, Chain, Entry, Link, RedactedLayer};
use cmtp_spec::{EntryType, JournalMode};
use cmtp_tests::archive::{Archive, KEYS_HEADER, Plan};

/// Numbers that are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).expect("small")
    }
}

/// One file of the journal, taken apart.
struct Taken {
    first: u64,
    commits: Vec<Commit>,
}

/// What a change should be found as.
#[derive(Debug)]
struct Expected {
    #[expect(dead_code, reason = "a failing test prints it")]
    what: &'static str,
    index: u64,
    layer: Option<u32>,
    /// All files behind are removed.
    cuts: bool,
}

#[test]
fn every_change_is_found_where_it_is() {
    // [AUD-2] [AUD-3] [AUD-5] [AUD-9]
    let number = |name: &str, default| {
        env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (rounds, seed) = (number("CMTP_ROUNDS", 50), number("CMTP_SEED", 0x5eed_c0de));
    let plan = Plan { entries: 100_000, file_entries: 500, commit_entries: 97, is_archive: true };
    let folder = tempfile::tempdir_in(memory()).expect("a temporary directory");
    let archive = Archive::make(folder.path(), plan);
    let mut states = Vec::new();
    let mut audit = open(&archive);
    loop {
        states.push((audit.entries(), audit.clone()));
        if !audit.step().expect("the files can be read") {
            break;
        }
        assert_eq!(audit.findings(), [], "nothing was changed yet");
    }
    let (summary, findings) = audit.finish(u64::MAX).expect("the files can be read");
    assert_eq!(findings, []);
    assert_eq!((summary.entries, summary.logged), (archive.entries, archive.entries));
    assert!(summary.messages > 70_000 && summary.grades.service > 10_000, "{summary}");

    println!("seed {seed}");
    let mut random = Random(seed | 1);
    for round in 0..rounds {
        let place = random.below(archive.files.len());
        let first = archive.files[place];
        let before = read(&archive, first);
        let mut taken = Taken::read(&archive, first);
        let expected = change(&mut taken, &mut random, usize::try_from(round).expect("few"));
        taken.write(&archive);
        let away = if expected.cuts { hide_files(&archive, first) } else { Vec::new() };
        let (_, state) = states.iter().find(|(entries, _)| *entries == first).expect("a state");
        let found = first_of(state.clone());
        let at = (found.index, found.layer.filter(|_| expected.layer.is_some()));
        assert_eq!(
            at,
            (Some(expected.index), expected.layer),
            "{round}: {expected:?}, and {found}"
        );
        if (round + 1) % 100 == 0 {
            println!("{} changes found", round + 1);
        }
        away.iter().for_each(|path| fs::rename(path.with_extension("away"), path).expect("moved"));
        before.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("written"));
    }
}

#[test]
fn without_a_log_the_signature_of_a_commit_names_the_commit() {
    // [AUD-2]
    let folder = tempfile::tempdir_in(memory()).expect("a temporary directory");
    let plan = Plan { entries: 400, file_entries: 1_000, commit_entries: 20, is_archive: true };
    let archive = Archive::make(folder.path(), plan);
    fs::remove_dir_all(folder.path().join("log")).expect("it is removed");
    let mut taken = Taken::read(&archive, 0);
    let commit = taken.commits.iter_mut().find(|commit| commit.pieces.len() > 5).expect("one");
    commit.pieces[3].entry.message_id[0] ^= 1;
    let first = commit.first;
    taken.write(&archive);
    let found = first_of(open(&archive));
    assert_eq!((found.index, found.what.kind()), (Some(first), "statement"), "{found}");
}

#[test]
fn a_log_that_was_changed_is_told_from_a_journal_that_was() {
    // [AUD-3]
    let folder = tempfile::tempdir_in(memory()).expect("a temporary directory");
    let plan =
        Plan { entries: 70_000, file_entries: 100_000, commit_entries: 97, is_archive: true };
    let archive = Archive::make(folder.path(), plan);
    let flip = |name: &str, byte: usize| {
        let path = folder.path().join("log/0").join(name);
        let before = fs::read(&path).expect("a tile");
        let mut bytes = before.clone();
        bytes[byte] ^= 1;
        fs::write(&path, bytes).expect("a file is written");
        let mut audit = Audit::open(&archive.folder, &log_only(&archive)).expect("it opens");
        while audit.step().expect("the files can be read") {}
        let (_, found) = audit.finish(u64::MAX).expect("the files can be read");
        fs::write(&path, before).expect("a file is written");
        found.iter().map(|it| (it.index, it.what.kind())).collect::<Vec<_>>()
    };
    let leaf = 3 * 256 + 5;
    assert_eq!(flip("tile/0/003", 5 * 32), [(Some(leaf), "other-leaf"), (None, "tile-at-fault")]);
    assert_eq!(flip("tile/1/000", 9 * 32 + 1), [(Some(9 * 256), "other-tile")]);
    let partial = format!("tile/1/001.p/{}", archive.entries / 256 - 256);
    assert_eq!(flip(&partial, 2 * 32), [(Some((256 + 2) * 256), "other-tile")]);
    assert_eq!(flip("checkpoint", 80).first().map(|(_, kind)| *kind), Some("other-root"));
}

fn log_only(archive: &Archive) -> AuditOptions {
    let mut options = AuditOptions::default();
    options.pin = Some(archive.node);
    options.log_only = true;
    options
}

fn open(archive: &Archive) -> Audit {
    let mut options = AuditOptions::default();
    options.pin = Some(archive.node);
    options.keys = Some(archive.keys.clone());
    Audit::open(&archive.folder, &options).expect("it opens")
}

/// The finding with the lowest index, of the first file that has any.
fn first_of(mut audit: Audit) -> Finding {
    let mut found = Vec::new();
    while found.is_empty() && audit.step().expect("the files can be read") {
        found = audit.findings();
    }
    found.extend(audit.finish(u64::MAX).expect("the files can be read").1);
    // What follows from where the test stopped is none of its business.
    let is_end = |it: &Finding| matches!(it.what, What::Missing { .. });
    if found.len() > 1 {
        found.retain(|it| !is_end(it));
    }
    found
        .into_iter()
        .filter(|it| it.index.is_some())
        .min_by_key(|it| it.index)
        .expect("it is found")
}

/// Changes something, and says where it has to be found.
fn change(taken: &mut Taken, random: &mut Random, round: usize) -> Expected {
    // The first commits are the node's own notes.
    let commit = loop {
        let commit = random.below(taken.commits.len());
        if taken.commits[commit].first >= 3 {
            break commit;
        }
    };
    let piece = random.below(taken.commits[commit].pieces.len());
    let first = taken.commits[commit].first;
    let here = first + piece as u64;
    let expected = |what, index| Expected { what, index, layer: None, cuts: false };
    match round % 12 {
        0 => {
            taken.commits[commit].pieces.remove(piece);
            expected("an entry is dropped", here)
        }
        1 => {
            let (other, from) = taken.any(random);
            let copy = taken.commits[other].pieces[from].clone();
            let here = here + u64::from((other, from) == (commit, piece));
            taken.commits[commit].pieces.insert(piece, copy);
            expected("an entry is put in", here)
        }
        2 => loop {
            let (other, to) = taken.any(random);
            let there = taken.commits[other].first + to as u64;
            if there != here && there >= 3 {
                let copy = taken.commits[other].pieces[to].clone();
                let moved = std::mem::replace(&mut taken.commits[commit].pieces[piece], copy);
                taken.commits[other].pieces[to] = moved;
                break expected("two entries are swapped", here.min(there));
            }
        },
        3 => {
            let piece = &mut taken.commits[commit].pieces[piece];
            let mut bytes = piece.entry.to_bytes();
            loop {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
                if let Some(entry) = Entry::from_bytes(&bytes) {
                    piece.entry = entry;
                    break;
                }
                bytes[at] = piece.entry.to_bytes()[at];
            }
            expected("a bit of an entry is turned", here)
        }
        4 => {
            let hidden = &mut taken.commits[commit].pieces[piece].hidden;
            let side = if random.below(2) == 0 { &mut hidden.cores } else { &mut hidden.content };
            let mut bytes = side.to_vec();
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
            *side = bytes.into();
            expected("a bit of a record is turned", here)
        }
        5 => {
            taken.commits[commit].pieces.truncate(piece);
            taken.commits.truncate(commit + usize::from(piece > 0));
            Expected { cuts: true, ..expected("the end is cut off", here) }
        }
        6 => {
            let commit = &mut taken.commits[commit];
            commit.time -= 3_600_000_000;
            let time = commit.time;
            commit.pieces.iter_mut().for_each(|piece| piece.entry.time = time);
            expected("a commit is dated back", first)
        }
        7 => {
            let commit = &mut taken.commits[commit];
            match random.below(4) {
                0 => commit.time += 1,
                1 => commit.merge_delay ^= 1,
                2 => commit.signature.0[random.below(64)] ^= 1,
                _ => {
                    let is_wal = commit.mode == JournalMode::WAL;
                    commit.mode = if is_wal { JournalMode::ASYNC } else { JournalMode::WAL };
                }
            }
            expected("the head of a commit is changed", first)
        }
        8 => {
            taken.commits[commit].pieces[piece].begin -= 1;
            expected("a piece says that its message began elsewhere", here)
        }
        9 | 10 => {
            let piece = &mut taken.commits[commit].pieces[piece];
            let layer = rehash(piece, random);
            Expected { layer, ..expected("layers are changed and hashed anew", here) }
        }
        _ => {
            let node = cmtp_codec::SigningKey::from_seed(&[1; 32]).expect("a seed").public();
            let piece = &mut taken.commits[commit].pieces[piece];
            let before = piece.entry.seal;
            let mut links = links(piece);
            let mut chain = Chain::default();
            for link in &mut links {
                // Whoever forges signs nothing: what was signed is vouched for by the node alone.
                if let Link::Layer(layer) = link {
                    layer.flags.0 &= !cmtp_spec::LayerFlags::SIGNED.0;
                    layer.signature = None;
                    layer.time += 1;
                    chain.append(layer).ok();
                }
            }
            piece.entry.seal = match piece.entry.entry_type {
                EntryType::INTENT => chain.head(),
                EntryType::SEGMENT => chain.interim_seal(&node),
                _ => chain.seal(&node),
            };
            assert_ne!(piece.entry.seal, before);
            hide(piece, &links);
            expected("a record and its entry are made anew", here)
        }
    }
}

/// Changes a layer of a piece, and whatever is hashed over it but F; the layer, where its own signature tells.
fn rehash(piece: &mut Piece, random: &mut Random) -> Option<u32> {
    let mut links = links(piece);
    let place = random.below(links.len());
    let Link::Layer(layer) = &mut links[place] else { panic!("nothing is withheld") };
    match &mut layer.body {
        Body::Present { data, .. } => *data = Bytes::from_static(b"another answer"),
        _ => layer.time += 1,
    }
    let is_signed = layer.signature.is_some();
    // A layer that was signed tells of itself; else the seal tells, or the cores, which are made as if no piece came before.
    let is_first = place == 0 && is_signed;
    let first = piece.entry.layers - u32::try_from(links.len()).expect("few");
    hide(piece, &links);
    is_first.then_some(first)
}

fn links(piece: &Piece) -> Vec<Link> {
    let content = piece.hidden.content(&piece.entry.seal).expect("its keys are there");
    // An outcome or a later segment begins with a later layer.
    read_links(content.clone(), 0).or_else(|_| read_links(content, 3)).expect("its own layers")
}

/// Hides layers under the keys of a piece, each with the core that it would have as the first of its chain.
fn hide(piece: &mut Piece, links: &[Link]) {
    let (mut content, mut cores) = (BytesMut::new(), BytesMut::new());
    let mut chain = Chain::default();
    for link in links {
        link.encode(&mut content);
        let Link::Layer(layer) = link else { continue };
        let core = layer.core(chain.length(), chain.head());
        Link::Core(RedactedLayer { core, signature: layer.signature }).encode(&mut cores);
        let mut unsigned = layer.clone();
        unsigned.flags.0 &= !cmtp_spec::LayerFlags::SIGNED.0;
        unsigned.signature = None;
        chain.append(&unsigned).ok();
    }
    let keys = piece.hidden.keys;
    piece.hidden = Hidden::hide(keys, &cores, &content, &piece.entry.seal).expect("short");
}

impl Taken {
    fn read(archive: &Archive, first: u64) -> Self {
        let [(_, records), (_, entries), (_, keys)] = read(archive, first);
        let (records, mut commits, mut at) = (Bytes::from(records), Vec::new(), HEADER);
        while let Some(body) = framed(&records, at) {
            at = body.end.next_multiple_of(ALIGN);
            let body = records.slice(body);
            let next = commits
                .last()
                .map_or(first, |commit: &Commit| commit.first + commit.pieces.len() as u64);
            let place = usize::try_from(next - first).expect("small");
            let place_keys =
                KEYS_HEADER + usize::try_from(next).expect("small") * PieceKeys::LENGTH;
            let commit = Commit::decode_record(body, &entries[place * 68..], &keys[place_keys..]);
            commits.push(commit.expect("a good commit"));
        }
        Self { first, commits }
    }

    /// Writes the file with good checksums and indexes.
    fn write(mut self, archive: &Archive) {
        let mut next = self.first;
        let [(records_path, records), (entries_path, _), (keys_path, mut keys)] =
            read(archive, self.first);
        let mut records = records[..HEADER].to_vec();
        let (mut entries, mut record) = (Vec::new(), Vec::new());
        for commit in &mut self.commits {
            commit.first = next;
            next += commit.pieces.len() as u64;
            commit.encode_record(&mut record);
            records.extend_from_slice(&record);
            for (index, piece) in (commit.first..).zip(&commit.pieces) {
                entries.extend(piece.entry.to_bytes());
                let at = KEYS_HEADER + usize::try_from(index).expect("small") * PieceKeys::LENGTH;
                if let Some(room) = keys.get_mut(at..at + PieceKeys::LENGTH) {
                    room.copy_from_slice(&piece.hidden.keys.0);
                }
            }
        }
        fs::write(records_path, records).expect("written");
        fs::write(entries_path, entries).expect("written");
        fs::write(keys_path, keys).expect("written");
    }

    fn any(&self, random: &mut Random) -> (usize, usize) {
        let commit = random.below(self.commits.len());
        (commit, random.below(self.commits[commit].pieces.len()))
    }
}

/// The three files of a segment: records, entries, all keys.
fn read(archive: &Archive, first: u64) -> [(PathBuf, Vec<u8>); 3] {
    let path = |ending: &str| archive.folder.join(format!("journal/{first:020}.{ending}"));
    [path("records"), path("entries"), archive.keys.clone()]
        .map(|path| (path.clone(), fs::read(path).expect("a file is there")))
}

/// Takes the files away that begin behind `first`.
fn hide_files(archive: &Archive, first: u64) -> Vec<PathBuf> {
    let later = archive.files.iter().filter(|later| **later > first);
    let path = |later| archive.folder.join(format!("journal/{later:020}.entries"));
    let paths: Vec<_> = later.map(path).collect();
    paths.iter().for_each(|path| fs::rename(path, path.with_extension("away")).expect("moved"));
    paths
}

/// Where files are kept in memory, if anywhere.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { env::temp_dir() }
}
