//! Makes a journal and its log as a node would have left them, much faster than a node that answers calls.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use cmtp_codec::journal::{Commit, HEADER, Hidden, Piece, PieceKeys, header};
use cmtp_codec::log::{Checkpoint, Levels, NoteKind, NoteSigner, Tile, log_origin};
use cmtp_codec::{
    Chain, Digest, Entry, Field, KeyList, Layer, Link, ListedKey, PublicKey, RedactedLayer, Salt,
    Signature, SigningKey,
};
use cmtp_spec::{
    EntryFlags, EntryType, FieldIndex, JournalMode, KeyUse, LayerFlags, Opcode, Status, Step,
};

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Entries, about.
    pub entries: u64,
    /// Entries of a file, at least; its last commit is whole.
    pub file_entries: u64,
    /// Entries of a commit at most.
    pub commit_entries: u64,
    /// As an archive with its keys apart, else as a node's data folder.
    pub is_archive: bool,
}

/// A journal and a log in a folder.
#[derive(Debug)]
pub struct Archive {
    /// Where it is.
    pub folder: PathBuf,
    /// The keys of its records, where it is an archive.
    pub keys: PathBuf,
    /// The node's root key.
    pub node: PublicKey,
    /// The first index of each file.
    pub files: Vec<u64>,
    /// Entries of all.
    pub entries: u64,
}

/// A node that writes without anybody asking.
pub struct Maker {
    folder: PathBuf,
    plan: Plan,
    node: SigningKey,
    log: NoteSigner,
    list: KeyList,
    caller: SigningKey,
    service: SigningKey,
    origin: String,
    /// Microseconds since 1970.
    pub time: u64,
    next: u64,
    serial: u64,
    last: Entry,
    pieces: Vec<Piece>,
    files: BTreeMap<u64, Option<Files>>,
    keys: Option<BufWriter<File>>,
    levels: Levels,
    bundle: Vec<u8>,
}

/// What an admit layer says, and whether policies said so.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// What is asked for.
    pub target: &'static str,
    /// 200, or what the admit layer refuses with.
    pub status: Status,
    /// The digest of the policies.
    pub digest: Digest,
    /// The field `policies`.
    pub named: Option<&'a str>,
    /// What the target stands for, where it is a name.
    pub name: Option<&'a str>,
}

struct Files {
    records: BufWriter<File>,
    entries: BufWriter<File>,
    keys: Option<BufWriter<File>>,
}

impl Archive {
    /// Makes one in `folder`.
    ///
    /// # Panics
    /// If a file can't be written.
    pub fn make(folder: &Path, plan: Plan) -> Self {
        let mut maker = Maker::new(folder, plan);
        while maker.next_index() < plan.entries {
            maker.message();
        }
        maker.finish()
    }
}

impl Maker {
    /// Begins with what a node notes first.
    ///
    /// # Panics
    /// If a file can't be written.
    pub fn new(folder: &Path, plan: Plan) -> Self {
        let key = |seed| SigningKey::from_seed(&[seed; 32]).expect("any 32 bytes are a seed");
        let (node, log) = (key(1), key(2));
        let origin = log_origin(&node.public(), 0);
        let listed =
            |(key_use, key)| ListedKey { key_use, key, not_before: 0, not_after: KeyList::NO_END };
        let listed = [(KeyUse::LAYER, node.public()), (KeyUse::LOG, log.public())].map(listed);
        let list = KeyList::sign(&node, 1, listed.to_vec());
        let log = NoteSigner::new(&origin, NoteKind::Ed25519, log).expect("a good name");
        fs::create_dir_all(folder.join("journal")).expect("a folder is made");
        fs::create_dir_all(folder.join("log/0")).expect("a folder is made");
        let keys = plan.is_archive.then(|| {
            fs::write(folder.join("key-list"), list.to_bytes()).expect("a file is written");
            let mut keys = create(&keys_path(folder));
            keys.write_all(&header(&node.public(), 0)).expect("a file is written");
            keys
        });
        let mut maker = Self {
            folder: folder.to_owned(),
            plan,
            node,
            log,
            list,
            caller: key(3),
            service: key(4),
            origin,
            time: 1_790_000_000_000_000,
            next: 0,
            serial: 0,
            last: Self::entry(EntryType::OPENED),
            pieces: Vec::new(),
            files: BTreeMap::new(),
            keys,
            levels: Levels::default(),
            bundle: Vec::new(),
        };
        maker.note(EntryType::OPENED, maker.origin.clone().as_bytes());
        maker.note(EntryType::KEYS, &maker.list.to_bytes());
        maker.note(EntryType::CONFIG, b"bus = \"embedded\"\n");
        maker
    }

    /// The index of the next entry.
    pub fn next_index(&self) -> u64 {
        self.next + self.pieces.len() as u64
    }

    /// The node's key.
    pub const fn node(&self) -> &SigningKey {
        &self.node
    }

    /// Adds the next message: a read, a refusal, a write with its intent, a stream.
    ///
    /// # Panics
    /// If a file can't be written.
    pub fn message(&mut self) {
        self.serial += 1;
        match self.serial % 16 {
            0 | 8 => self.write(true),
            1 => self.read(Status::NOT_FOUND),
            2 => self.stream(),
            _ => self.read(Status::OK),
        }
    }

    /// Adds a read.
    pub fn read(&mut self, status: Status) {
        let mut message = Begun::new(self, "0xS:echo");
        message.layer(self, Step::ADMIT, Status::NONE);
        message.layer(self, Step::SERVE, status);
        let entry_type =
            if status >= Status::BAD_REQUEST { EntryType::REFUSAL } else { EntryType::EXCHANGE };
        message.piece(self, entry_type);
    }

    /// Adds a message that was judged so.
    pub fn judged(&mut self, judged: &Judged<'_>) {
        self.serial += 1;
        let mut message = Begun::new(self, judged.target);
        let refuses = judged.status >= Status::BAD_REQUEST;
        let mut fields = vec![Field::digest(FieldIndex::POLICY_DIGEST, judged.digest)];
        fields
            .extend(judged.named.map(|named| Field::bytes(FieldIndex::POLICIES, named.to_owned())));
        let status = if refuses { judged.status } else { Status::NONE };
        message.layer_with(self, Step::ADMIT, status, fields);
        if let Some(name) = judged.name {
            let resolved = Field::bytes(FieldIndex::RESOLVED, name.to_owned());
            message.layer_with(self, Step::RESOLVE, Status::NONE, vec![resolved]);
        }
        if refuses {
            return message.piece(self, EntryType::REFUSAL);
        }
        message.layer(self, Step::SERVE, judged.status);
        message.piece(self, EntryType::EXCHANGE);
    }

    /// Adds a read that is journalled so many microseconds after the node answered it.
    pub fn read_later(&mut self, status: Status, later: u64) {
        let mut message = Begun::new(self, "0xS:echo");
        message.layer(self, Step::ADMIT, Status::NONE);
        message.layer(self, Step::SERVE, status);
        self.time += later;
        message.piece(self, EntryType::EXCHANGE);
    }

    /// Adds a read that was served without a word of who is admitted.
    pub fn read_unadmitted(&mut self) {
        let mut message = Begun::new(self, "0xS:echo");
        message.layer(self, Step::SERVE, Status::OK);
        message.piece(self, EntryType::EXCHANGE);
    }

    /// The entry that was added last; its time is that of its commit.
    pub const fn last_entry(&self) -> Entry {
        self.last
    }

    /// Adds a write; with `ends`, its outcome, too.
    pub fn write(&mut self, ends: bool) {
        let mut message = Begun::new(self, "0xSW:orders");
        message.layer(self, Step::ADMIT, Status::NONE);
        message.layer(self, Step::DISPATCH, Status::NONE);
        message.piece(self, EntryType::INTENT);
        if ends {
            message.layer(self, Step::SERVE, Status::OK);
            message.layer(self, Step::COMMIT, Status::NONE);
            message.piece(self, EntryType::OUTCOME);
        }
    }

    /// Adds a streamed answer.
    pub fn stream(&mut self) {
        let mut message = Begun::new(self, "0xS:clock");
        message.layer(self, Step::ADMIT, Status::NONE);
        message.layer(self, Step::SERVE, Status::OK);
        message.layer(self, Step::SEGMENT, Status::NONE);
        message.piece(self, EntryType::SEGMENT);
        message.flagged(self, Step::SEGMENT, Status::NONE, LayerFlags::COMPLETE);
        message.piece(self, EntryType::EXCHANGE);
    }

    /// Adds a note of the node's own.
    pub fn note(&mut self, entry_type: EntryType, content: &[u8]) {
        let seal = Digest::of(content);
        let entry = Entry { seal, ..Self::entry(entry_type) };
        self.add(entry, None, &[], content);
        self.commit();
    }

    /// Adds any entry, such as one that says that a message was erased.
    pub fn entry_of(&mut self, entry: Entry) {
        self.add(entry, None, &[], &[]);
    }

    /// What all entries begin as.
    pub const fn entry(entry_type: EntryType) -> Entry {
        Entry {
            entry_type,
            opcode: Opcode(0),
            flags: EntryFlags(0),
            status: Status::NONE,
            layers: 0,
            time: 0,
            message_id: [0; 16],
            seal: Digest::ZERO,
        }
    }

    /// Ends the last file, and signs the checkpoint.
    ///
    /// # Panics
    /// If a file can't be written.
    pub fn finish(mut self) -> Archive {
        self.commit();
        let log = self.folder.join("log/0");
        for (tile, hashes) in self.levels.partial() {
            write_tile(&log, &tile.path(), hashes.iter().flat_map(|hash| hash.0).collect());
        }
        if !self.bundle.is_empty() {
            let tile = Tile::of_leaf(self.next.saturating_sub(1), self.next);
            write_tile(&log, &tile.bundle_path(), std::mem::take(&mut self.bundle));
        }
        let (origin, size, root) = (self.origin.clone(), self.next, self.levels.root());
        let checkpoint = Checkpoint { origin, size, root }.sign(&self.log);
        fs::write(log.join("checkpoint"), checkpoint.note()).expect("a file is written");
        let files = self.files.keys().copied().collect();
        std::mem::take(&mut self.files).into_values().flatten().for_each(Files::finish);
        if let Some(mut keys) = self.keys.take() {
            keys.flush().expect("a file is written");
        }
        let keys = keys_path(&self.folder);
        Archive { folder: self.folder, keys, node: self.node.public(), files, entries: size }
    }

    /// Commits what was added.
    ///
    /// # Panics
    /// If a file can't be written.
    pub fn commit(&mut self) {
        if self.pieces.is_empty() {
            return;
        }
        self.time += 1_000;
        let is_note = self.pieces.iter().any(|piece| piece.entry.layers == 0);
        let is_async = self.serial % 5 == 4 && !is_note;
        let mut commit = Commit {
            first: self.next,
            durable: 0,
            mode: if is_async { JournalMode::ASYNC } else { JournalMode::WAL },
            merge_delay: 10,
            time: self.time,
            signature: Signature([0; 64]),
            pieces: std::mem::take(&mut self.pieces),
        };
        for piece in &mut commit.pieces {
            piece.entry.time = self.time;
            piece.entry.flags = EntryFlags(if is_async { EntryFlags::ASYNC.0 } else { 0 });
        }
        commit.sign(&self.origin, &self.node);
        let begins = self
            .files
            .last_key_value()
            .is_none_or(|(first, _)| self.next - first >= self.plan.file_entries);
        if begins {
            let files = Files::create(&self.folder, &self.node.public(), self.next, self.plan);
            // Not more files are open than need be.
            if let Some(files) = self.files.last_entry().and_then(|mut last| last.get_mut().take())
            {
                files.finish();
            }
            self.files.insert(self.next, Some(files));
        }
        let mut record = Vec::new();
        commit.encode_record(&mut record);
        let (_, files) = self.files.iter_mut().next_back().expect("a file was begun");
        let files = files.as_mut().expect("the last one is open");
        files.records.write_all(&record).expect("a file is written");
        for piece in &commit.pieces {
            let keys = files.keys.as_mut().or(self.keys.as_mut()).expect("keys go somewhere");
            keys.write_all(&piece.hidden.keys.0).expect("a file is written");
            let entry = piece.entry.to_bytes();
            files.entries.write_all(&entry).expect("a file is written");
            self.bundle.extend_from_slice(&68_u16.to_be_bytes());
            self.bundle.extend_from_slice(&entry);
            let (log, bundle) = (self.folder.join("log/0"), &mut self.bundle);
            self.levels.push(piece.entry.leaf(), |tile, hashes| {
                write_tile(&log, &tile.path(), hashes.iter().flat_map(|hash| hash.0).collect());
                if tile.level == 0 {
                    write_tile(&log, &tile.bundle_path(), std::mem::take(bundle));
                }
            });
        }
        self.next += commit.pieces.len() as u64;
    }

    /// Hides a piece, and commits once there are enough; the index that it has.
    fn add(&mut self, entry: Entry, begin: Option<u64>, cores: &[u8], content: &[u8]) -> u64 {
        let index = self.next_index();
        self.last = entry;
        let mut keys = [0; PieceKeys::LENGTH];
        keys[..8].copy_from_slice(&(index + 1).to_be_bytes());
        keys[32..40].copy_from_slice(&(index + 1).to_be_bytes());
        let hidden = Hidden::hide(PieceKeys(keys), cores, content, &entry.seal);
        let hidden = hidden.expect("a short text");
        self.pieces.push(Piece { entry, begin: begin.unwrap_or(index), hidden });
        // Commits of many sizes.
        if self.pieces.len() as u64 > self.serial * 7 % self.plan.commit_entries {
            self.commit();
        }
        index
    }
}

/// A message that is being made.
struct Begun {
    chain: Chain,
    target: &'static str,
    id: [u8; 16],
    begin: Option<u64>,
    status: Status,
    content: BytesMut,
    cores: BytesMut,
}

impl Begun {
    fn new(maker: &Maker, target: &'static str) -> Self {
        let mut id = [7; 16];
        // A UUID of version 7.
        id[6] = 0x70;
        id[8..].copy_from_slice(&(maker.serial | 1 << 63).to_be_bytes());
        let mut message = Self {
            chain: Chain::default(),
            target,
            id,
            begin: None,
            status: Status::NONE,
            content: BytesMut::new(),
            cores: BytesMut::new(),
        };
        let mut origin = Layer::new(Step::ORIGIN, maker.caller.public(), maker.time, Salt(id))
            .with_public(Field::bytes(FieldIndex::MESSAGE_ID, id.to_vec()))
            .with_public(Field::key(FieldIndex::AUDIENCE, maker.node.public()))
            .with_public(Field::bytes(FieldIndex::TARGET, target))
            .with_public(Field::number(FieldIndex::NOT_AFTER, maker.time + 20_000_000));
        message.chain.append_signed(&mut origin, &maker.caller).expect("a good origin");
        message.encode(origin);
        message
    }

    fn layer(&mut self, maker: &Maker, step: Step, status: Status) {
        self.flagged(maker, step, status, LayerFlags(0));
    }

    fn layer_with(&mut self, maker: &Maker, step: Step, status: Status, fields: Vec<Field>) {
        let layer = Layer::new(step, maker.node.public(), maker.time, Salt(self.id));
        let layer = fields.into_iter().fold(layer.with_status(status), Layer::with_public);
        self.chain.append(&layer).expect("a good layer");
        if status != Status::NONE {
            self.status = status;
        }
        self.encode(layer);
    }

    fn flagged(&mut self, maker: &Maker, step: Step, status: Status, flag: LayerFlags) {
        let is_service = step == Step::SERVE && maker.serial.is_multiple_of(3);
        let actor = if is_service { &maker.service } else { &maker.node };
        let mut layer = Layer::new(step, actor.public(), maker.time, Salt(self.id))
            .with_status(status)
            .with_flag(flag);
        if matches!(step, Step::SERVE | Step::SEGMENT) {
            layer = layer.with_body(Salt([9; 16]), maker.serial.to_be_bytes().to_vec());
        }
        if is_service {
            self.chain.append_signed(&mut layer, actor).expect("a good layer");
        } else {
            self.chain.append(&layer).expect("a good layer");
        }
        if status != Status::NONE {
            self.status = status;
        }
        self.encode(layer);
    }

    fn encode(&mut self, layer: Layer) {
        layer.encode(&mut self.content);
        let core = *self.chain.core().expect("a layer was added");
        let redacted = RedactedLayer { core, signature: layer.signature };
        Link::Core(redacted).encode(&mut self.cores);
    }

    fn piece(&mut self, maker: &mut Maker, entry_type: EntryType) {
        let node = maker.node.public();
        let seal = match entry_type {
            EntryType::INTENT => self.chain.head(),
            EntryType::SEGMENT => self.chain.interim_seal(&node),
            _ => self.chain.seal(&node),
        };
        let entry = Entry {
            opcode: Opcode::of_target(self.target),
            status: self.status,
            layers: self.chain.length(),
            message_id: self.id,
            seal,
            ..Maker::entry(entry_type)
        };
        let (content, cores) = (self.content.split(), self.cores.split());
        let index = maker.add(entry, self.begin, &cores, &content);
        self.begin = self.begin.or(Some(index));
    }
}

impl Files {
    fn create(folder: &Path, node: &PublicKey, first: u64, plan: Plan) -> Self {
        let path = |ending: &str| folder.join(format!("journal/{first:020}.{ending}"));
        let mut records = create(&path("records"));
        records.write_all(&header(node, first)).expect("a file is written");
        let keys = (!plan.is_archive).then(|| create(&path("keys")));
        Self { records, entries: create(&path("entries")), keys }
    }

    fn finish(mut self) {
        for file in [Some(&mut self.records), Some(&mut self.entries), self.keys.as_mut()] {
            file.map_or(Ok(()), Write::flush).expect("a file is written");
        }
    }
}

fn create(path: &Path) -> BufWriter<File> {
    BufWriter::with_capacity(1 << 16, File::create(path).expect("a file is made"))
}

fn write_tile(log: &Path, name: &str, data: Vec<u8>) {
    let path = log.join(name);
    fs::create_dir_all(path.parent().expect("a tile is in a folder")).expect("a folder is made");
    fs::write(path, data).expect("a file is written");
}

fn keys_path(folder: &Path) -> PathBuf {
    folder.join("record-keys")
}

/// Bytes before the first key of a file of keys.
pub const KEYS_HEADER: usize = HEADER;
