//! The answer as it grows: layers, what of them is journalled, and the seal.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cmtp_client::entropy;
use cmtp_codec::journal::PieceError;
use cmtp_codec::{
    Chain, Digest, Field, Fqmn, Frame, Layer, Link, Name, PublicKey, Receipt, RedactedLayer, Seal,
};
use cmtp_spec::{
    BusAuth, EntryFlags, EntryType, FieldClass, FieldIndex, JournalMode, LayerFlags, Opcode,
    Status, Step, remedies,
};
use quinn::SendStream;

use crate::incoming::Fault;
use crate::journal::{Draft, JournalError, ReadError, Recorded, hide};
use crate::node::{self, Live, Node};
use crate::node_keys::NodeKeys;
use crate::outgoing;
use crate::refusal::Refusal;
use crate::seal::unrecorded_receipt;
use crate::service::{Dispatched, Reply, Served};

/// The answer to one request.
///
/// Frames are written once, and read by two: the journal, which wants the origin, too, and the caller, who has it.
pub(crate) struct Answering<'a> {
    node: &'a Node,
    send: &'a mut SendStream,
    pub(crate) origin: Layer,
    state: Growing,
    origin_hash: Digest,
    /// Frames that were not sent yet. The origin's are not among them.
    unsent: BytesMut,
    has_sent: bool,
    mode: JournalMode,
    /// Of the node's own layers: the layer key under which the exchange, or what came after the last seal, began.
    pub(crate) actor: PublicKey,
    pieces: Vec<u64>,
    after_origin: Mark,
    after_dispatch: Option<Mark>,
    time: u64,
}

/// The chain, and what the journal does not have of it yet.
struct Growing {
    chain: Chain,
    status: Status,
    /// Frames and cores that no entry covers yet.
    unrecorded: BytesMut,
    cores: BytesMut,
}

/// A place that can be gone back to, as long as nothing that came after it was journalled.
#[derive(Clone, Copy)]
struct Mark {
    chain: Chain,
    status: Status,
    unrecorded: usize,
    cores: usize,
    unsent: usize,
}

impl<'a> Answering<'a> {
    pub(crate) fn begin(
        node: &'a Node,
        live: &Live,
        send: &'a mut SendStream,
        origin: Layer,
        is_verified: bool,
    ) -> Result<Self, Fault> {
        let mut chain = Chain::EMPTY;
        let link = Link::Layer(origin);
        let origin_hash = match &link {
            // [LAY-9] A broken signature is no refusal: the layer is invalid and the stream ends with `bad-chain`.
            _ if is_verified => chain.push(&link).map_err(Fault::BadChain)?,
            // What is refused for its rate is not worth a look: [SES-4].
            Link::Layer(origin) => chain.append(origin)?,
            Link::Core(_) => return Err(Fault::Internal),
        };
        let Link::Layer(origin) = link else { return Err(Fault::Internal) };
        let asked = origin.octet(FieldIndex::JOURNAL).map_or(JournalMode::NONE, JournalMode);
        let mut state = Growing {
            chain,
            status: Status::NONE,
            unrecorded: BytesMut::with_capacity(FRAMES + origin.data().map_or(0, Bytes::len)),
            cores: BytesMut::with_capacity(CORES),
        };
        state.take(&origin);
        Ok(Self {
            node,
            send,
            origin,
            after_origin: state.mark(0),
            state,
            origin_hash,
            unsent: BytesMut::with_capacity(FRAMES),
            has_sent: false,
            mode: live.journal_mode.max(asked),
            actor: live.keys.layer_key().public(),
            pieces: Vec::new(),
            after_dispatch: None,
            time: 0,
        })
    }

    /// L_0.
    pub(crate) const fn origin_hash(&self) -> Digest {
        self.origin_hash
    }

    pub(crate) fn message_id(&self) -> [u8; 16] {
        self.origin.fixed(FieldIndex::MESSAGE_ID).unwrap_or_default()
    }

    /// Time until the origin's not-after.
    pub(crate) fn time_left(&self) -> Duration {
        let not_after = self.origin.number(FieldIndex::NOT_AFTER).unwrap_or_default();
        Duration::from_micros(not_after.saturating_sub(node::now()))
    }

    /// [JRN-3] Journals in a route's mode; the caller may have asked for more, never for less.
    pub(crate) fn journal_as(&mut self, route: JournalMode) {
        let asked = self.origin.octet(FieldIndex::JOURNAL).map_or(JournalMode::NONE, JournalMode);
        self.mode = route.max(asked);
    }

    /// Waits until the caller wants no more of the answer.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + use<'_, 'a> {
        let stopped = self.send.stopped();
        async {
            // That the connection is gone says the same.
            let _why = stopped.await;
        }
    }

    /// [PRC-7] The node's clock, which does not go back within a message.
    pub(crate) fn now(&mut self) -> u64 {
        self.time = self.time.max(node::now());
        self.time
    }

    pub(crate) fn layer(&mut self, step: Step) -> Result<Layer, Fault> {
        let time = self.now();
        Ok(Layer::new(step, self.actor, time, entropy::salt()?))
    }

    pub(crate) fn append(&mut self, layer: Layer) -> Result<(), Fault> {
        self.state.chain.append(&layer)?;
        self.keep(&layer);
        Ok(())
    }

    /// Appends the layer of a layered service, as it is.
    fn append_served(&mut self, Served { answer, chain }: Served) -> Result<(), Fault> {
        let continues = chain.core().map(|core| core.prev) == Some(self.state.chain.head());
        // It was verified to continue the dispatch layer, after which nothing was appended.
        if !continues {
            return Err(Fault::Internal);
        }
        self.state.chain = chain;
        self.keep(answer.layer());
        Ok(())
    }

    /// Keeps the layer that the chain took last, to be journalled and sent.
    fn keep(&mut self, layer: &Layer) {
        let before = self.state.unrecorded.len();
        self.state.take(layer);
        self.unsent.extend_from_slice(&self.state.unrecorded[before..]);
    }

    pub(crate) fn append_step(&mut self, step: Step) -> Result<(), Fault> {
        let layer = self.layer(step)?;
        self.append(layer)
    }

    pub(crate) fn append_resolved(&mut self, resolved: &Fqmn) -> Result<(), Fault> {
        let field = Field::bytes(FieldIndex::RESOLVED, resolved.target().to_owned());
        let layer = self.layer(Step::RESOLVE)?.with_public(field);
        self.append(layer)
    }

    /// [NAT-1] A dispatch layer with `subject`, `deadline`, `head` and `bus-auth`.
    pub(crate) fn append_dispatch(
        &mut self,
        subject: &str,
        time_left: Duration,
        bus_auth: BusAuth,
    ) -> Result<(), Fault> {
        let time_left = u64::try_from(time_left.as_micros()).unwrap_or(u64::MAX);
        let deadline = node::now().saturating_add(time_left);
        let layer = self
            .layer(Step::DISPATCH)?
            .with_public(Field::bytes(FieldIndex::SUBJECT, subject.to_owned()))
            .with_public(Field::number(FieldIndex::DEADLINE, deadline))
            .with_public(Field::digest(FieldIndex::HEAD, self.state.chain.head()))
            .with_public(Field::octet(FieldIndex::BUS_AUTH, bus_auth.0));
        self.append(layer)
    }

    /// What a layered service gets; to be taken after the dispatch layer was appended, and before it is journalled.
    pub(crate) fn dispatched(&self) -> Dispatched {
        let frames = Bytes::copy_from_slice(&self.state.unrecorded);
        Dispatched { frames, chain: self.state.chain }
    }

    /// The service's answer; one that can't be a layer leaves the chain as it was.
    pub(crate) fn append_reply(&mut self, reply: Reply) -> Result<(), Fault> {
        if let Some(served) = reply.served {
            return self.append_served(served);
        }
        let mut layer = self.layer(Step::SERVE)?.with_status(reply.status);
        for field in reply.fields {
            layer = match Name::default_class(&field.name) {
                FieldClass::Public => layer.with_public(field),
                FieldClass::Private => layer.with_private(entropy::salt()?, field),
            };
        }
        if let Some(body) = reply.body {
            layer = layer.with_body(entropy::salt()?, body);
        }
        self.append(layer)
    }

    pub(crate) fn refuse(&mut self, step: Step, refusal: &Refusal) -> Result<(), Fault> {
        let layer = self.layer(step)?;
        self.append(refusal.mark(layer))
    }

    /// [PRC-6] A write that stopped at or after its dispatch says whether it may have had its effect.
    pub(crate) fn refuse_dispatched(&mut self, refusal: &Refusal) -> Result<(), Fault> {
        let layer = self.layer(Step::SERVE)?;
        self.append(mark_dispatched(layer, refusal))
    }

    /// Whether the caller may have something of the answer already, which can't be taken back.
    pub(crate) const fn has_sent(&self) -> bool {
        self.has_sent
    }

    /// Forgets what came after the dispatch layer of a journalled intent; `false` where there is none.
    pub(crate) fn back_to_dispatch(&mut self) -> bool {
        let Some(mark) = self.after_dispatch.take() else { return false };
        self.back_to(mark);
        true
    }

    /// Forgets all that the node appended.
    pub(crate) fn back_to_origin(&mut self) {
        self.back_to(self.after_origin);
    }

    /// Nothing after the mark was sent, or the mode of the journal would not matter any more.
    fn back_to(&mut self, mark: Mark) {
        (self.state.chain, self.state.status) = (mark.chain, mark.status);
        self.state.unrecorded.truncate(mark.unrecorded);
        self.state.cores.truncate(mark.cores);
        self.unsent.truncate(mark.unsent);
    }

    /// Journals that the request is about to be dispatched; the entry's index is given back.
    pub(crate) async fn record_intent(&mut self) -> Result<u64, Fault> {
        let head = self.state.chain.head();
        let recorded = self.record(EntryType::INTENT, EntryFlags(0), head, None).await?;
        self.after_dispatch = Some(self.state.mark(self.unsent.len()));
        Ok(recorded.index)
    }

    /// Journals the layers since the last seal, and sends them with an interim seal.
    pub(crate) async fn finish_segment(&mut self) -> Result<(), Fault> {
        let seal = |chain: &Chain, key| Seal::new(key, chain.interim_seal(&key));
        let (seal, _) = self.sealed(EntryType::SEGMENT, EntryFlags(0), seal).await?;
        // [NKY-6] The layers keep the actor that they began with until a seal is over them.
        self.actor = seal.key;
        Frame::Interim(Box::new(seal)).encode(&mut self.unsent);
        self.flush().await
    }

    /// Seals a refusal that came before any effect, and sends it.
    pub(crate) async fn finish_refused(&mut self, token_accepted: bool) -> Result<(), Fault> {
        if token_accepted {
            self.finish(EntryType::REFUSAL, EntryFlags(0)).await?;
        } else {
            // [ADM-11] Refusals before a token was accepted carry the SEAL item `unlogged` and no R0.
            let key = self.node.journal.signing().layer_key().public();
            let seal = bare_seal(&self.state.chain, key, self.is_unread());
            self.append_seal(Seal { unlogged: true, ..seal });
        }
        self.flush().await
    }

    /// Seals what a read came to, and sends it.
    pub(crate) async fn finish_read(&mut self) -> Result<(), Fault> {
        let refused = self.state.status >= Status::BAD_REQUEST;
        let entry_type = if refused { EntryType::REFUSAL } else { EntryType::EXCHANGE };
        self.finish(entry_type, EntryFlags(0)).await?;
        self.flush().await
    }

    /// Seals and journals; the entries of the message are given back, and the seal is sent with the next flush.
    pub(crate) async fn finish(
        &mut self,
        entry_type: EntryType,
        flags: EntryFlags,
    ) -> Result<Vec<u64>, Fault> {
        let is_unread = self.is_unread();
        let seal = |chain: &Chain, key| bare_seal(chain, key, is_unread);
        let (seal, _) = self.sealed(entry_type, flags, seal).await?;
        self.append_seal(seal);
        Ok(std::mem::take(&mut self.pieces))
    }

    /// [NKY-6] Journals the layers since the last seal under a seal by the key that signs now; the entry's index comes with it.
    async fn sealed(
        &mut self,
        entry_type: EntryType,
        flags: EntryFlags,
        seal: impl Fn(&Chain, PublicKey) -> Seal,
    ) -> Result<(Seal, u64), Fault> {
        loop {
            let key = self.node.journal.signing().layer_key().public();
            let seal = seal(&self.state.chain, key);
            match self.record(entry_type, flags, seal.hash, Some(key)).await {
                // The node's keys were replaced just now.
                Err(Fault::Journal(JournalError::OtherKey)) => {}
                recorded => {
                    let Recorded { receipt, index } = recorded?;
                    return Ok((Seal { receipt: Some(receipt), ..seal }, index));
                }
            }
        }
    }

    /// Seals without the journal, and sends: the receipt is a signature and no more.
    pub(crate) async fn finish_unrecorded(&mut self) -> Result<(), Fault> {
        let keys = self.node.journal.signing();
        let seal = bare_seal(&self.state.chain, keys.layer_key().public(), self.is_unread());
        let receipt = self.unrecorded_receipt(&keys, seal.hash);
        self.append_seal(Seal { receipt: Some(receipt), ..seal });
        self.flush().await
    }

    /// Sends the recorded answer that these entries hold; `false` where it was erased.
    pub(crate) async fn send_recorded(&mut self, pieces: &[u64]) -> Result<bool, Fault> {
        let read = self.node.journal.read(pieces);
        let frames = match read {
            Ok(message) => message.answer_frames(),
            Err(ReadError::Piece(PieceError::Erased)) => return Ok(false),
            Err(error) => {
                tracing::error!(%error, ?pieces, "a recorded answer can't be read");
                return Err(Fault::Internal);
            }
        };
        let frames = frames.ok_or(Fault::Internal)?;
        self.unsent.clear();
        self.unsent.extend_from_slice(&frames);
        self.flush().await?;
        Ok(true)
    }

    /// Counts the answer, and logs it by what is no secret: neither arguments nor fields nor bodies.
    pub(crate) fn report(&self, took: Duration) {
        let (opcode, status) = (self.opcode(), self.state.status);
        self.node.metrics.answered(opcode, status, took);
        let id = uuid::Uuid::from_bytes(self.message_id());
        let target = self.origin.text(FieldIndex::TARGET).unwrap_or_default();
        tracing::debug!(%id, target, status = status.0, micros = took.as_micros(), "answered");
    }

    /// Sends what is ready.
    pub(crate) async fn flush(&mut self) -> Result<(), Fault> {
        self.has_sent = true;
        let ready = self.unsent.split().freeze();
        // Where the caller stopped taking the answer, what was promised stands in the journal.
        outgoing::write(self.send, ready, self.node.limits.answer_timeout).await
    }

    async fn record(
        &mut self,
        entry_type: EntryType,
        flags: EntryFlags,
        seal: Digest,
        sealed_by: Option<PublicKey>,
    ) -> Result<Recorded, Fault> {
        let (cores, content) = (&self.state.cores, &self.state.unrecorded);
        // [JRN-2] An intent that was lost could not keep a write from being executed again.
        let mode = if entry_type == EntryType::INTENT { JournalMode::WAL } else { self.mode };
        let draft = Draft {
            mode,
            entry_type,
            opcode: self.opcode(),
            flags,
            status: self.state.status,
            layers: self.state.chain.length(),
            message_id: self.message_id(),
            seal,
            sealed_by,
            begin: self.pieces.first().copied(),
            hidden: hide(cores, content, &seal)?,
        };
        let recorded = self.node.journal.record(draft).await?;
        self.pieces.push(recorded.index);
        // Not cleared, which would keep the room of the largest body.
        self.state.unrecorded = BytesMut::new();
        self.state.cores = BytesMut::new();
        Ok(recorded)
    }

    const fn is_unread(&self) -> bool {
        self.origin.has(LayerFlags::BODY_UNREAD)
    }

    fn append_seal(&mut self, seal: Seal) {
        Frame::Seal(Box::new(seal)).encode(&mut self.unsent);
    }

    fn opcode(&self) -> Opcode {
        Opcode::of_target(self.origin.text(FieldIndex::TARGET).unwrap_or_default())
    }

    fn unrecorded_receipt(&mut self, keys: &NodeKeys, seal: Digest) -> Receipt {
        let (status, layers) = (self.state.status, self.state.chain.length());
        let (opcode, message_id) = (self.opcode(), self.message_id());
        let time = self.now();
        let about = (status, layers, seal);
        let log = self.node.journal.log_number();
        unrecorded_receipt(keys, log, (opcode, message_id), about, time)
    }
}

impl Growing {
    /// Keeps the frames and the core of the layer that the chain took last.
    fn take(&mut self, layer: &Layer) {
        layer.encode(&mut self.unrecorded);
        if let Some(core) = self.chain.core() {
            let redacted = RedactedLayer { core: *core, signature: layer.signature };
            Link::Core(redacted).encode(&mut self.cores);
        }
        if layer.status != Status::NONE {
            self.status = layer.status;
        }
    }

    fn mark(&self, unsent: usize) -> Mark {
        Mark {
            chain: self.chain,
            status: self.status,
            unrecorded: self.unrecorded.len(),
            cores: self.cores.len(),
            unsent,
        }
    }
}

fn bare_seal(chain: &Chain, key: PublicKey, body_unread: bool) -> Seal {
    // [FRM-17] A SEAL MUST carry `body-unread` if layer 0 gets the flag by it.
    Seal { body_unread, ..Seal::new(key, chain.seal(&key)) }
}

/// Bytes of the frames of an answer that is short: what most need is set aside once.
const FRAMES: usize = 1536;
/// Bytes of the cores of five layers, two of them signed.
const CORES: usize = 1024;

/// Makes `layer` the end of a write that stopped at its dispatch or later, and was not committed.
pub(crate) fn mark_dispatched(layer: Layer, refusal: &Refusal) -> Layer {
    if refusal.no_effect {
        return refusal.mark(layer).with_public(Field::flag(FieldIndex::NO_EFFECT));
    }
    let refusal = refusal.clone().with_remedy(remedies::LOOK_BEFORE_RETRY);
    refusal.mark(layer).with_public(Field::flag(FieldIndex::OUTCOME_UNKNOWN))
}
