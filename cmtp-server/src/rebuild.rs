//! What a node knows again from its journal when it opens, and how it closes what a crash left open.

use bytes::BytesMut;
use cmtp_client::entropy;
use cmtp_codec::journal::{Commit, Degree, Erasure, MessageReader, Piece, PieceError, read_links};
use cmtp_codec::log::log_origin;
use cmtp_codec::session::{GrantName, Issued, Message, granted_of};
use cmtp_codec::{Chain, Digest, Entry, Fqmn, Layer, Link, PublicKey, RedactedLayer};
use cmtp_spec::{EntryFlags, EntryType, FieldIndex, JournalMode, LayerFlags, Opcode, Status, Step};

use crate::answer::mark_dispatched;
use crate::config::Config;
use crate::journal::{Draft, JournalError, ReadError, hide};
use crate::node::{self, Node};
use crate::node_keys::NodeKeys;
use crate::refusal::Refusal;
use crate::sessions::{Grants, Kept, Revoked};
use crate::state::State;
use crate::writes::{self, Writes};

/// Indexes that are rebuilt, commit by commit.
pub(crate) struct Rebuilt {
    pub(crate) state: State,
    pub(crate) writes: Writes,
    pub(crate) notes: Notes,
    /// What was noted as erased, each with its entries: a crash may have come before their keys were destroyed.
    pub(crate) erased: Vec<(Vec<u64>, Degree)>,
    pub(crate) grants: Grants,
    /// F of a revocation that can't be read: with it nobody knows what is to be refused.
    pub(crate) unreadable: Option<Digest>,
    now: u64,
}

/// The newest of the node's own notes.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) opened: bool,
    /// When a log was opened that follows another, microseconds since 1970.
    pub(crate) followed: Option<u64>,
    pub(crate) keys: Option<Digest>,
    pub(crate) config: Option<Digest>,
    pub(crate) policy: Option<Digest>,
}

impl Notes {
    /// [NKY-5] What the journal lacks before these keys may sign: that it was opened, and the list that has them.
    pub(crate) fn missing(&self, keys: &NodeKeys) -> Result<Vec<Draft>, RebuildError> {
        let mut missing = Vec::new();
        if !self.opened {
            let origin = log_origin(&keys.public(), 0);
            missing.push(Draft::opened(0, origin.as_bytes())?);
        }
        let list = keys.key_list().to_bytes();
        if self.keys != Some(Digest::of(&list)) {
            missing.push(Draft::note(EntryType::KEYS, &list)?);
        }
        Ok(missing)
    }
}

impl Rebuilt {
    pub(crate) fn new(keys: &NodeKeys, now: u64) -> Self {
        let state = State::new(&keys.derived("erased State"));
        let writes = Writes::new(&keys.derived("erased writes"));
        let (notes, grants) = (Notes::default(), Grants::default());
        let (erased, unreadable) = (Vec::new(), None);
        Self { state, writes, notes, erased, grants, unreadable, now }
    }

    /// Takes the next commit of the journal.
    pub(crate) fn take(&mut self, commit: &Commit) {
        for (index, piece) in (commit.first..).zip(&commit.pieces) {
            match piece.entry.entry_type {
                EntryType::OPENED => {
                    self.notes.opened = true;
                    self.notes.followed = (piece.entry.layers > 0).then_some(piece.entry.time);
                }
                EntryType::KEYS => self.notes.keys = Some(piece.entry.seal),
                EntryType::CONFIG => self.notes.config = Some(piece.entry.seal),
                EntryType::REVOKED => self.take_revocation(index, piece),
                EntryType::POLICY => self.notes.policy = Some(piece.entry.seal),
                EntryType::INTENT => self.take_intent(index, piece),
                EntryType::OUTCOME => self.take_outcome(index, piece),
                other => {
                    if let Some(degree) = Degree::of(other) {
                        self.take_erasure(piece, degree);
                    }
                }
            }
        }
    }

    fn take_erasure(&mut self, piece: &Piece, degree: Degree) {
        let Some(erasure) = read_erasure(piece) else { return };
        if let Some(hashes) = erasure.write
            && writes::expiry(&piece.entry.message_id) >= self.now
        {
            self.writes.erase(piece.entry.message_id, hashes);
        }
        if let Some((hash, version)) = erasure.state {
            self.state.restore_erased(hash, version);
        }
        self.erased.push((erasure.pieces, degree));
    }

    fn take_intent(&self, index: u64, piece: &Piece) {
        if let Some((caller, origin)) = self.known(piece) {
            self.writes.restore_intent(caller, piece.entry.message_id, origin, index);
        }
    }

    /// [SES-17] After each start.
    fn take_revocation(&mut self, index: u64, piece: &Piece) {
        let content = piece.hidden.content(&piece.entry.seal);
        let line = content.as_ref().and_then(|line| std::str::from_utf8(line).ok());
        match line.and_then(Revoked::from_line) {
            Some(revoked) => self.grants.revoke(&revoked, index),
            None => self.unreadable = Some(piece.entry.seal),
        }
    }

    fn take_grant(&mut self, index: u64, piece: &Piece) {
        // [SES-18] Also of one that is over: the persona's first commitment stays.
        if let Some((name, kept)) = consented(piece) {
            self.grants.begin(name, kept, index);
        }
    }

    fn take_outcome(&mut self, index: u64, piece: &Piece) {
        if piece.begin == index {
            if let Some((caller, origin)) = self.known(piece) {
                self.writes.restore(caller, piece.entry.message_id, origin, vec![index]);
            }
            self.take_effect(piece);
            self.take_grant(index, piece);
            return;
        }
        let no_effect = piece.entry.flags.0 & EntryFlags::NO_EFFECT.0 != 0;
        self.writes.restore_outcome(piece.begin, (!no_effect).then_some(index));
    }

    /// Caller and L_0 of a write whose id may still be sent.
    fn known(&self, piece: &Piece) -> Option<(PublicKey, Digest)> {
        let may_be_sent = writes::expiry(&piece.entry.message_id) >= self.now;
        may_be_sent.then(|| caller_and_origin(piece))?
    }

    /// A write whose effect is the node's own State says which version it made.
    fn take_effect(&self, piece: &Piece) {
        if let Some((target, origin, version)) = state_write(piece) {
            self.state.restore(&target, &origin, version);
        }
    }
}

/// The grant that a consent made which is this piece.
fn consented(piece: &Piece) -> Option<(GrantName, Kept)> {
    let Entry { entry_type, opcode, status, .. } = piece.entry;
    if entry_type != EntryType::OUTCOME || opcode != Opcode::IW || status >= Status::BAD_REQUEST {
        return None;
    }
    let links = read_links(piece.hidden.content(&piece.entry.seal)?, 0).ok()?;
    let serve = links.iter().filter_map(Link::layer).find(|layer| layer.step == Step::SERVE)?;
    let granted = granted_of(serve)?;
    let issued = Issued::from_bytes(serve.data()?).ok()?;
    Some((issued.grant, Kept::from_granted(granted).ok()?))
}

/// Caller and L_0 of a message that begins with this piece.
pub(crate) fn caller_and_origin(piece: &Piece) -> Option<(PublicKey, Digest)> {
    let cores = piece.hidden.cores(&piece.entry.seal)?;
    match read_links(cores, 0).ok()?.first()? {
        Link::Core(RedactedLayer { core, .. }) => Some((core.actor, core.hash())),
        Link::Layer(_) => None,
    }
}

/// Target, origin and version of a write to State that is this piece.
pub(crate) fn state_write(piece: &Piece) -> Option<(Fqmn, Layer, u64)> {
    let Entry { entry_type, opcode, status, .. } = piece.entry;
    if entry_type != EntryType::OUTCOME || opcode != Opcode::SW || status >= Status::BAD_REQUEST {
        return None;
    }
    let links = read_links(piece.hidden.content(&piece.entry.seal)?, 0).ok()?;
    let layers = || links.iter().filter_map(Link::layer);
    let serve = layers().find(|layer| layer.step == Step::SERVE)?;
    let version = serve.number(FieldIndex::STATE_VERSION)?;
    let origin = layers().next()?;
    let target = Fqmn::parse_target(origin.text(FieldIndex::TARGET)?).ok()?;
    Some((target, origin.clone(), version))
}

/// What a note of an erasure says.
pub(crate) fn read_erasure(piece: &Piece) -> Option<Erasure> {
    let content = piece.hidden.content(&piece.entry.seal)?;
    Erasure::from_text(std::str::from_utf8(&content).ok()?)
}

impl Node {
    /// Ends a message that has no final seal, because a crash came or the disk was full; its entries are given back.
    pub(crate) async fn close_message(&self, pieces: &[u64]) -> Result<Vec<u64>, RebuildError> {
        let recorded = loop {
            match self.try_close(pieces).await {
                // The node's keys were replaced meanwhile.
                Err(RebuildError::Journal(JournalError::OtherKey)) => {}
                closed => break closed?,
            }
        };
        let mut closed = pieces.to_vec();
        closed.push(recorded);
        Ok(closed)
    }

    async fn try_close(&self, pieces: &[u64]) -> Result<u64, RebuildError> {
        let message = self.journal.read(pieces)?;
        let key = self.journal.signing().layer_key().public();
        let time = message.links().last().map_or(0, Link::time).max(node::now());
        let layer = |step| Ok::<_, RebuildError>(Layer::new(step, key, time, entropy::salt()?));
        let is_stream = message.links().iter().any(|link| link.step() == Step::SEGMENT);
        let (layer, entry_type, flags) = if is_stream {
            let layer = layer(Step::SEGMENT)?.with_flag(LayerFlags::CUT);
            (layer, EntryType::EXCHANGE, EntryFlags::CUT)
        } else {
            // [IDM-2] A crash between intent and outcome: `outcome-unknown`.
            let detail = "the node was interrupted before it knew what came of this request";
            let refusal = Refusal::new(Status::INTERNAL_ERROR, detail);
            let layer = mark_dispatched(layer(Step::SERVE)?, &refusal);
            (layer, EntryType::OUTCOME, EntryFlags::OUTCOME_UNKNOWN)
        };
        let draft = closing(key, &message, pieces, layer, (entry_type, flags))?;
        let recorded = self.journal.record(draft).await?;
        if entry_type == EntryType::OUTCOME {
            self.writes.restore_outcome(pieces.first().copied().unwrap_or(0), Some(recorded.index));
        }
        Ok(recorded.index)
    }

    /// Notes what the journal lacks, and configuration and policies where they are new.
    pub(crate) async fn note_beginning(
        &self,
        notes: &Notes,
        config: &Config,
    ) -> Result<(), RebuildError> {
        self.journal.noted().await?;
        if notes.config != Some(Digest::of(config.to_toml().as_bytes())) {
            self.note_config(config).await?;
        }
        self.note_policies(notes.policy).await
    }

    /// Notes counted refusals, in mode `async`: nothing waits for them.
    pub(crate) async fn note_refusals(&self, text: &str) -> Result<(), RebuildError> {
        let note = Draft::note(EntryType::SUMMARY, text.as_bytes())?;
        self.journal.record(Draft { mode: JournalMode::ASYNC, ..note }).await?;
        Ok(())
    }

    /// Notes the configuration that is in force from now on.
    pub(crate) async fn note_config(&self, config: &Config) -> Result<(), RebuildError> {
        let note = Draft::note(EntryType::CONFIG, config.to_toml().as_bytes())?;
        self.journal.record(note).await?;
        Ok(())
    }
}

/// The end of a message, sealed by `key`.
fn closing(
    key: PublicKey,
    message: &MessageReader,
    pieces: &[u64],
    layer: Layer,
    (entry_type, flags): (EntryType, EntryFlags),
) -> Result<Draft, RebuildError> {
    let mut chain: Chain = message.chain();
    chain.append(&layer).map_err(PieceError::from).map_err(ReadError::from)?;
    let seal = chain.seal(&key);
    let (mut content, mut cores) = (BytesMut::new(), BytesMut::new());
    layer.encode(&mut content);
    let status = layer.status;
    if let Some(core) = chain.core() {
        Link::Core(RedactedLayer { core: *core, signature: None }).encode(&mut cores);
    }
    let origin = message.links().first().and_then(Link::layer);
    let target = origin.and_then(|origin| origin.text(FieldIndex::TARGET)).unwrap_or_default();
    let before = message.links().iter().rev().map(Link::status).find(|it| *it != Status::NONE);
    Ok(Draft {
        mode: JournalMode::WAL,
        entry_type,
        opcode: Opcode::of_target(target),
        flags,
        // [PRC-4] The status of the last layer whose status is not 0.
        status: if status == Status::NONE { before.unwrap_or(status) } else { status },
        layers: chain.length(),
        message_id: origin
            .and_then(|origin| origin.fixed(FieldIndex::MESSAGE_ID))
            .unwrap_or_default(),
        seal,
        sealed_by: Some(key),
        begin: pieces.first().copied(),
        hidden: hide(&cores, &content, &seal)?,
    })
}

/// Why what the journal holds can't be taken up again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// A message can't be read.
    #[error("a message in the journal: {0}")]
    #[expect(private_interfaces, reason = "it is shown, not taken apart")]
    Read(#[from] ReadError),
    /// An entry can't be written.
    #[error("{0}; make room in the data directory")]
    #[expect(private_interfaces, reason = "it is shown, not taken apart")]
    Journal(#[from] JournalError),
    /// A revocation that can't be read.
    #[error(
        "the journal's revocation {0} can't be read, and what it revoked would be accepted; restore its keys from a backup"
    )]
    Revocation(Digest),
    /// No randomness.
    #[error(transparent)]
    Randomness(#[from] entropy::NoEntropy),
    /// Nothing can be hidden.
    #[error("the crypto library can't encrypt")]
    Encryption(#[from] aws_lc_rs::error::Unspecified),
}
