//! Messages made by the public API, and what becomes of them once something is changed.

use arbitrary::{Arbitrary, Unstructured};

use cmtp_codec::{
    Chain, Field, Grade, Layer, Link, Message, Salt, Unverified, VARINT_MAX, Verdict, Withheld,
};
use cmtp_spec::{FieldIndex, LayerFlags, Status, Step};

use crate::node::{Commit, NODE};

/// Makes a message as the input plans it, stores it, and reads and judges it again.
///
/// - What a maker's check lets pass a reader accepts, and the other way round.
/// - `[RCP-7]` The message is consistent, and authentic for the node's root key and for no other.
/// - `[STO-8]` Whatever is withheld, the heads stay, and so does the verdict.
/// - `[HSH-5]` Once a byte is changed, nothing that is authentic says anything else than before.
pub fn chain(data: &[u8]) {
    let Ok(plan) = Plan::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let (message, heads) = plan.build();
    let file = message.to_stored();
    let read = || Unverified::from_stored(file.clone()).expect("a codec reads what it wrote");
    assert_eq!(*read().untrusted(), message);

    let plain = read().verify(None).expect("a chain that was made holds");
    assert_eq!((&plain.heads, plain.verdict), (&heads, Verdict::Consistent));
    let replay = read().verify(Some(&NODE.root)).expect("a chain that was made holds");
    let verdict = if message.seal.unlogged { Verdict::Consistent } else { Verdict::Authentic };
    assert_eq!((&replay.heads, replay.verdict), (&heads, verdict));
    assert!(read().verify(Some(&NODE.signer.public())).is_err());
    for (number, link) in message.links.iter().enumerate() {
        let is_signed =
            matches!(replay.grade(number), Grade::SignedByCaller | Grade::SignedByService);
        assert_eq!(is_signed, link.is_signed());
    }

    let saved = if plan.heads { replay.to_saved() } else { message };
    check_changed(&plan.change, &saved);

    let parts: Vec<_> = plan.withheld.iter().map(Part::withheld).collect();
    let redacted = replay.withhold(&parts).into_untrusted();
    for part in &parts {
        assert!(is_withheld(&redacted, *part));
    }
    let read = Unverified::from_stored(redacted.to_stored()).expect("a codec reads what it wrote");
    assert_eq!(*read.untrusted(), redacted);
    let less = read.verify(Some(&NODE.root)).expect("redaction breaks nothing");
    assert_eq!((&less.heads, less.verdict), (&heads, verdict));
    check_changed(&plan.change, &redacted);
}

/// A message to be made.
#[derive(Arbitrary, Debug)]
struct Plan {
    target: u8,
    origin: LayerPlan,
    layers: Vec<LayerPlan>,
    commit: Commit,
    unlogged: bool,
    heads: bool,
    withheld: Vec<Part>,
    change: Change,
}

#[derive(Arbitrary, Debug)]
struct LayerPlan {
    step: u8,
    flags: u8,
    status: u16,
    time: Time,
    salt: u8,
    public: Vec<FieldPlan>,
    private: Vec<FieldPlan>,
    body: BodyPlan,
    is_signed: bool,
    interim: Option<Commit>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Time {
    Likely(u32),
    Any(u64),
}

#[derive(Arbitrary, Debug)]
enum FieldPlan {
    Numbered(u8, Vec<u8>),
    Named(String, Vec<u8>),
    Long { name: u8, value: u16, byte: u8 },
}

#[derive(Arbitrary, Debug)]
enum BodyPlan {
    Absent,
    Bytes(Vec<u8>),
    /// Whole BODY frames, and some bytes more or less.
    Frames(u8, i8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Part {
    Field(u8, u8),
    Body(u8),
    Layer(u8),
}

/// What is done to a file or a stream.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Change {
    Flip { at: u32, bits: u8 },
    Insert { at: u32, byte: u8 },
    Remove { at: u32 },
    Swap { at: u32, with: u32 },
    Cut { at: u32 },
}

impl Plan {
    /// The message, with a verdict of at least *consistent*, and its heads.
    fn build(&self) -> (Message, Vec<cmtp_codec::Digest>) {
        let mut chain = Chain::default();
        let (mut links, mut heads, mut interims) = (Vec::new(), Vec::new(), Vec::new());
        let bare = self.bare_origin();
        let full = self.origin.fill(bare.clone());
        let origin = [full, bare].into_iter().find_map(|layer| self.origin.link(&mut chain, layer));
        heads.push(chain.head());
        links.push(origin.expect("a bare origin breaks no rule"));
        for plan in self.layers.iter().take(LAYERS) {
            let actor = if plan.is_signed { NODE.signer.public() } else { NODE.layer.public() };
            let layer = Layer::new(plan.step(), actor, plan.time.value(), Salt([plan.salt; 16]));
            let before = chain;
            let Some(link) = plan.link(&mut chain, plan.fill(layer)) else {
                assert_eq!(chain, before);
                continue;
            };
            links.push(link);
            heads.push(chain.head());
            if let Some(commit) = plan.interim {
                interims.push((chain.length(), NODE.interim(&chain, &links, commit)));
            }
        }
        let mut seal = NODE.seal(&chain, &links, self.commit);
        seal.body_unread = links[0].flags().0 & LayerFlags::BODY_UNREAD.0 != 0;
        // [RCP-10]
        let may_be_unlogged = links.last().is_some_and(|last| {
            last.step() == Step::ADMIT
                && [Status::TOKEN_INVALID, Status::IDENTITY_REQUIRED].contains(&last.status())
        });
        if self.unlogged && may_be_unlogged {
            seal.unlogged = true;
            seal.receipt = None;
        }
        (Message { links, interims, seal }, heads)
    }

    fn bare_origin(&self) -> Layer {
        let target = TARGETS[usize::from(self.target) % TARGETS.len()];
        let mut id = [self.target; 16];
        (id[6], id[8]) = (0x7f, 0xbf);
        let salt = Salt([self.origin.salt; 16]);
        Layer::new(Step::ORIGIN, NODE.signer.public(), 1_790_000_000_000_000, salt)
            .with_public(Field::bytes(FieldIndex::MESSAGE_ID, id.to_vec()))
            .with_public(Field::key(FieldIndex::AUDIENCE, NODE.root))
            .with_public(Field::bytes(FieldIndex::TARGET, target))
            .with_public(Field::number(FieldIndex::NOT_AFTER, 1_790_000_010_000_000))
    }
}

impl LayerPlan {
    fn step(&self) -> Step {
        // Mostly a step of the registry; the others have to live, too.
        Step::ALL.get(usize::from(self.step)).copied().unwrap_or(Step(u16::from(self.step) << 4))
    }

    /// The layer with what is planned for it, which need not be allowed.
    fn fill(&self, mut layer: Layer) -> Layer {
        layer.flags = LayerFlags(u16::from(self.flags));
        layer.time = self.time.value();
        if layer.step != Step::ORIGIN || self.step.is_multiple_of(8) {
            layer.status = Status(self.status % 1_024);
        }
        for field in self.public.iter().filter_map(FieldPlan::field) {
            layer = layer.with_public(field);
        }
        for (salt, field) in (0..).zip(self.private.iter().filter_map(FieldPlan::field)) {
            layer = layer.with_private(Salt([salt; 16]), field);
        }
        match &self.body {
            BodyPlan::Absent => layer,
            BodyPlan::Bytes(bytes) => layer.with_body(Salt([self.salt; 16]), bytes.clone()),
            BodyPlan::Frames(frames, more) => {
                let length = usize::from(frames % 3) * cmtp_spec::limits::BODY_FRAME_MAX as usize;
                let length = length.saturating_add_signed(isize::from(*more));
                layer.with_body(Salt([self.salt; 16]), vec![self.salt; length])
            }
        }
    }

    /// Appends the layer, if the chain takes it.
    fn link(&self, chain: &mut Chain, mut layer: Layer) -> Option<Link> {
        let appended = if self.is_signed {
            chain.append_signed(&mut layer, &NODE.signer)
        } else {
            chain.append(&layer)
        };
        appended.ok().map(|_head| layer.into())
    }
}

impl Time {
    fn value(self) -> u64 {
        match self {
            Self::Likely(offset) => 1_790_000_000_000_000 + u64::from(offset),
            // Half of them are too large.
            Self::Any(time) => time & (VARINT_MAX * 2 + 1),
        }
    }
}

impl FieldPlan {
    fn field(&self) -> Option<Field> {
        match self {
            Self::Numbered(number, value) => {
                let index = FieldIndex::ALL[usize::from(*number) % FieldIndex::ALL.len()];
                Some(Field::bytes(index, value.clone()))
            }
            Self::Named(name, value) => Field::new(name, value.clone()).ok(),
            Self::Long { name, value, byte } => {
                let name = "x".repeat(usize::from(*name));
                Field::new(&name, vec![*byte; usize::from(*value)]).ok()
            }
        }
    }
}

impl Part {
    fn withheld(&self) -> Withheld {
        match *self {
            Self::Field(layer, field) => {
                Withheld::Field { layer: usize::from(layer), field: usize::from(field) }
            }
            Self::Body(layer) => Withheld::Body(usize::from(layer)),
            Self::Layer(layer) => Withheld::Layer(usize::from(layer)),
        }
    }
}

impl Change {
    /// The bytes, of which there is at least one, with the change.
    pub(crate) fn apply(self, file: &[u8]) -> Vec<u8> {
        let place = |at: u32| at as usize % file.len();
        let mut changed = file.to_vec();
        match self {
            Self::Flip { at, bits } => changed[place(at)] ^= bits,
            Self::Insert { at, byte } => changed.insert(place(at), byte),
            Self::Remove { at } => drop(changed.remove(place(at))),
            Self::Swap { at, with } => changed.swap(place(at), place(with)),
            Self::Cut { at } => changed.truncate(place(at)),
        }
        changed
    }
}

/// Whether a part is gone, or never was there.
pub(crate) fn is_withheld(message: &Message, part: Withheld) -> bool {
    let layer = |number: usize| message.links.get(number).and_then(Link::layer);
    match part {
        Withheld::Field { layer: number, field } => layer(number)
            .and_then(|layer| layer.private.get(field))
            .is_none_or(|private| private.field().is_none()),
        Withheld::Body(number) => layer(number).is_none_or(|layer| layer.data().is_none()),
        Withheld::Layer(number) => layer(number).is_none(),
        other => panic!("an unknown part: {other:?}"),
    }
}

fn check_changed(change: &Change, message: &Message) {
    let file = message.to_stored();
    let changed = change.apply(&file);
    if changed == file {
        return;
    }
    let Ok(read) = Unverified::from_stored(changed) else { return };
    let Ok(replay) = read.verify(Some(&NODE.root)) else { return };
    if replay.verdict != Verdict::Authentic {
        assert!(message.seal.unlogged);
        return;
    }
    // F is over the layers; of SEAL's items `proof`, `recorded` and `heads` stand outside of it, and of R0.
    assert_eq!(replay.message.links, message.links);
    assert_eq!(replay.message.interims, message.interims);
    let seal = &replay.message.seal;
    assert_eq!((seal.key, seal.hash), (message.seal.key, message.seal.hash));
    assert_eq!((&seal.receipt, &seal.keys), (&message.seal.receipt, &message.seal.keys));
    assert_ne!(*seal, message.seal);
}

/// One that is no target is among them: what a layer says is not what a chain checks.
const TARGETS: [&str; 6] = [
    "0xS:0x001:hello_world",
    "0xEW:0xR:helloworld.mcom:Transferred",
    "0xRW:a",
    "0xP:b:0xS:c",
    "0xC:d",
    "hello",
];

/// So many fit into a message whatever their steps are.
const LAYERS: usize = 20;
