//! Valid messages, made from their parts.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use cmtp_spec::{
    EntryFlags, EntryType, FieldIndex, JournalMode, KeyUse, LayerFlags, Opcode, Status, Step,
};

use crate::chain::{Chain, Link};
use crate::field::{Field, Name};
use crate::hash::{Digest, Salt};
use crate::key::{PublicKey, SigningKey};
use crate::keylist::{KeyList, ListedKey};
use crate::layer::Layer;
use crate::merkle;
use crate::message::Message;
use crate::process::{StepTaken, message_status};
use crate::receipt::{Receipt, Statement};
use crate::redact::Withheld;
use crate::seal::Seal;

/// A valid message, the root key of its node, and its layer hashes.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) message: Message,
    pub(super) root: PublicKey,
    pub(super) heads: Vec<Digest>,
}

/// Parts to withhold, some of which are not there.
pub(super) fn parts() -> impl Strategy<Value = Withheld> {
    prop_oneof![
        (0..12_usize, 0..4_usize).prop_map(|(layer, field)| Withheld::Field { layer, field }),
        (0..12_usize).prop_map(Withheld::Body),
        (0..12_usize).prop_map(Withheld::Layer),
    ]
}

/// What a generator adds to a layer.
#[derive(Clone, Debug, Default)]
struct More {
    public: Vec<(Name, Vec<u8>)>,
    private: Vec<(Name, Vec<u8>)>,
    body: Option<Vec<u8>>,
    signed: bool,
    interim: bool,
}

fn more() -> impl Strategy<Value = More> {
    let header = (1..=26_u64).prop_map(|index| Name::from(FieldIndex(index)));
    let literal = "[a-z0-9!#$%&'*+.^_`|~-]{1,12}".prop_filter_map("in the table", |name| {
        Name::new(&name).ok().filter(|name| name.index().is_none())
    });
    let name = prop_oneof![header, literal];
    let fields = vec((name, vec(any::<u8>(), 0..20)), 0..4);
    let size = prop_oneof![60 => 0..40_usize, 1 => Just(16_384), 1 => Just(16_385)];
    let body = (size, any::<u8>()).prop_map(|(size, byte)| vec![byte; size]);
    (fields.clone(), fields, prop::option::of(body), any::<bool>(), any::<bool>()).prop_map(
        |(public, private, body, signed, interim)| More { public, private, body, signed, interim },
    )
}

pub(super) fn samples() -> impl Strategy<Value = Sample> {
    let way = select(&[Step::SERVE, Step::DISPATCH, Step::ASSEMBLE][..]);
    let layers = vec(more(), 5 + 2 + 3);
    let counts = (0..3_usize, 0..4_usize);
    let commit = (1..9_u32).prop_flat_map(|count| (Just(count), 0..count));
    (any::<bool>(), way, counts, layers, commit, any::<bool>()).prop_map(
        |(write, way, (resolves, segments), more, (count, offset), heads)| {
            let mut more = more.into_iter();
            let mut next = || more.next().unwrap();
            let mut work = Work::new(write);
            work.begin(next());
            work.append_with(work.admit(), next());
            for _ in 0..resolves {
                let name = Field::bytes(FieldIndex::RESOLVED, "0xS:0x001:hello");
                work.append_with(work.node_layer(Step::RESOLVE).with_public(name), next());
            }
            if way == Step::DISPATCH {
                work.append(work.node_layer(Step::DISPATCH));
            }
            let answer = if way == Step::ASSEMBLE { way } else { Step::SERVE };
            work.append_with(work.node_layer(answer).with_status(Status::OK), next());
            let segments = if way == Step::ASSEMBLE { 0 } else { segments };
            for number in 1..=segments {
                let last = if number == segments { LayerFlags::COMPLETE } else { LayerFlags(0) };
                let more = next();
                let interim = more.interim;
                work.append_with(work.node_layer(Step::SEGMENT).with_flag(last), more);
                if interim {
                    work.interim();
                }
            }
            if write {
                work.append(work.node_layer(Step::COMMIT));
            }
            let mut sample = work.seal(count, offset);
            if heads {
                sample.message.seal.heads = Some(sample.heads.clone());
            }
            sample
        },
    )
}

/// A read that was answered, as it is saved.
pub(super) fn small() -> Sample {
    let mut work = Work::new(false);
    work.begin(More::default());
    work.append(work.admit());
    work.append(
        work.node_layer(Step::SERVE).with_status(Status::OK).with_body(Salt([3; 16]), "hi"),
    );
    let mut sample = work.seal(1, 0);
    sample.message.seal.heads = Some(sample.heads.clone());
    sample
}

/// A message while it is made.
struct Work {
    keys: Keys,
    write: bool,
    chain: Chain,
    links: Vec<Link>,
    heads: Vec<Digest>,
    interims: Vec<(u32, Seal)>,
    salts: u8,
}

struct Keys {
    root: SigningKey,
    node: SigningKey,
    caller: SigningKey,
    service: SigningKey,
}

impl Work {
    fn new(write: bool) -> Self {
        let [root, node, caller, service] =
            [1, 2, 3, 4].map(|seed| SigningKey::from_seed(&[seed; 32]).unwrap());
        Self {
            keys: Keys { root, node, caller, service },
            write,
            chain: Chain::default(),
            links: Vec::new(),
            heads: Vec::new(),
            interims: Vec::new(),
            salts: 0,
        }
    }

    fn begin(&mut self, more: More) {
        let target = if self.write { "0xSW:0x001:echo" } else { "0xS:0x001:echo" };
        let caller = self.keys.caller.public();
        let origin = Layer::new(Step::ORIGIN, caller, TIME, self.salt())
            .with_public(Field::bytes(FieldIndex::MESSAGE_ID, MESSAGE_ID.to_vec()))
            .with_public(Field::key(FieldIndex::AUDIENCE, self.keys.root.public()))
            .with_public(Field::bytes(FieldIndex::TARGET, target))
            .with_public(Field::number(FieldIndex::NOT_AFTER, TIME + 1))
            .with_private(self.salt(), Field::bytes(FieldIndex::ARGS, r#"["Dexter"]"#));
        // [PRC-1] The process of a write demands a signature.
        let signed = more.signed || self.write;
        self.append_with(origin, More { signed, ..more });
    }

    fn admit(&self) -> Layer {
        self.node_layer(Step::ADMIT)
            .with_public(Field::octet(FieldIndex::CONNECTION_KIND, 0))
            .with_public(Field::digest(FieldIndex::EXPORTER_DIGEST, Digest::of(b"exporter")))
            .with_public(Field::digest(FieldIndex::TOKEN_DIGEST, Digest::of(b"token")))
            .with_public(Field::digest(FieldIndex::POLICY_DIGEST, Digest::of(b"")))
            .with_public(Field::bytes(FieldIndex::POLICIES, "0xS:**"))
    }

    fn node_layer(&self, step: Step) -> Layer {
        let time = TIME + u64::from(self.chain.length());
        Layer::new(step, self.keys.node.public(), time, Salt([step.0 as u8; 16]))
    }

    fn append(&mut self, layer: Layer) {
        let head = self.chain.append(&layer).unwrap();
        self.heads.push(head);
        self.links.push(layer.into());
    }

    fn append_with(&mut self, mut layer: Layer, more: More) {
        let field = |(name, value): (Name, Vec<u8>)| Field { name, value: value.into() };
        for public in more.public {
            layer = layer.with_public(field(public));
        }
        for private in more.private {
            layer = layer.with_private(self.salt(), field(private));
        }
        if let Some(body) = more.body {
            layer = layer.with_body(self.salt(), Bytes::from(body));
        }
        if !more.signed {
            return self.append(layer);
        }
        let key = match layer.step {
            Step::ORIGIN => &self.keys.caller,
            Step::SERVE => &self.keys.service,
            _ => &self.keys.node,
        };
        layer.actor = key.public();
        let head = self.chain.append_signed(&mut layer, key).unwrap();
        self.heads.push(head);
        self.links.push(layer.into());
    }

    fn interim(&mut self) {
        let node = self.keys.node.public();
        let mut seal = Seal::new(node, self.chain.interim_seal(&node));
        seal.receipt = Some(self.receipt(EntryType::SEGMENT, seal.hash, 1, 0));
        self.interims.push((self.chain.length(), seal));
    }

    /// Seals; R0 is in a commit of `count` entries, at `offset`.
    ///
    /// Without `recorded` and `proof`, which nothing covers: neither F nor R0.
    fn seal(self, count: u32, offset: u32) -> Sample {
        let (root, node) = (self.keys.root.public(), self.keys.node.public());
        let mut seal = Seal::new(node, self.chain.seal(&node));
        let entry_type = if self.write { EntryType::OUTCOME } else { EntryType::EXCHANGE };
        seal.receipt = Some(self.receipt(entry_type, seal.hash, count, offset));
        let listed =
            ListedKey { key_use: KeyUse::LAYER, key: node, not_before: TIME, not_after: TIME + 99 };
        seal.keys = Some(KeyList::sign(&self.keys.root, 1, vec![listed]));
        let message = Message { links: self.links, interims: self.interims, seal };
        Sample { message, root, heads: self.heads }
    }

    fn receipt(&self, entry_type: EntryType, seal: Digest, count: u32, offset: u32) -> Receipt {
        let opcode = if self.write { Opcode::SW } else { Opcode::S };
        let mut receipt = Receipt {
            statement: Statement {
                log_origin: "example.org/cmtp".into(),
                first_index: Some(1000),
                count,
                root: Digest::ZERO,
                mode: JournalMode::WAL,
                time: TIME + 50,
                merge_delay: 60,
            },
            signature: self.keys.node.sign("", b""),
            entry_type,
            opcode,
            entry_flags: EntryFlags(0),
            message_id: MESSAGE_ID,
            offset,
            path: Vec::new(),
        };
        let message_of =
            |links: &[Link]| message_status(&links.iter().map(StepTaken::from).collect::<Vec<_>>());
        let entry = receipt.entry(message_of(&self.links), self.chain.length(), seal);
        let leaf = |at: u32| if at == offset { entry.leaf() } else { merkle::leaf(&[at as u8]) };
        let tree = merkle::Tree::new((0..count).map(leaf).collect());
        receipt.statement.root = tree.root();
        receipt.path = tree.path(offset as usize);
        receipt.signature = receipt.statement.sign(&self.keys.node);
        receipt
    }

    fn salt(&mut self) -> Salt {
        self.salts = self.salts.wrapping_add(1);
        Salt([self.salts; 16])
    }
}

const TIME: u64 = 1_760_000_000_000_000;

/// A UUIDv7.
const MESSAGE_ID: [u8; 16] = [1, 2, 3, 4, 5, 6, 0x7a, 8, 0x8b, 10, 11, 12, 13, 14, 15, 16];
