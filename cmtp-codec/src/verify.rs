//! Verifies a message as its parts come: `cmtp-spec/spec/12-stored.md`, `cmtp-spec/spec/13-receipts.md`.

use std::sync::Arc;

use cmtp_spec::{FieldIndex, JournalMode, KeyUse, Opcode, Status, Step};

use crate::chain::{Chain, Link};
use crate::fqmn::{Fqmn, is_write};
use crate::hash::Digest;
use crate::key::PublicKey;
use crate::keylist::KeyList;
use crate::layer::Layer;
use crate::log::{CheckpointError, Cosigned, LogProof, LogProofError, Policy, VerifierKey};
use crate::message::{
    Deviation, Fault, Invalid, Message, Place, ProcessVerdict, Replay, Standing, Verdict,
    target_opcode,
};
use crate::process::{self, StepTaken};
use crate::receipt::{Entry, KnownStatements};
use crate::seal::Seal;
use crate::session::SessionTarget;
use crate::trust::Verified;

/// A message under verification: it takes layers and seals in their order, and each once.
///
/// What came before an interim seal that it took is the sealing node's word from then on, though the message goes on.
/// Layers are not kept unless [`Verifier::keeping`] asks for it; without that six bytes stay of each.
///
/// ```
/// use std::sync::Arc;
///
/// use cmtp_codec::{KeyList, Message, PublicKey, Unverified, Verified, Verifier};
///
/// /// What `Unverified<Message>::verify` does, but for `heads` and the place of a fault.
/// fn verify(
///     message: Message,
///     root: PublicKey,
///     keys: Arc<Verified<KeyList>>,
/// ) -> Result<bool, cmtp_codec::Invalid> {
///     let mut verifier = Verifier::new(Some(root), Some(keys));
///     for link in message.links {
///         verifier.link(link)?;
///     }
///     let judgement = verifier.seal(message.seal)?;
///     Ok(judgement.verdict == cmtp_codec::Verdict::Authentic)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Verifier {
    root: Option<PublicKey>,
    keys: Option<Arc<Verified<KeyList>>>,
    chain: Chain,
    /// [PRC-4] Carried along: to look for it under each seal would take time by the square of a stream's length.
    status: Status,
    asked: Option<Asked>,
    steps: Vec<StepTaken>,
    forwarded: bool,
    clocks: Vec<Clock>,
    names: Names,
    known: Arc<KnownStatements>,
    policy: Option<Arc<Policy>>,
    kept: Option<Kept>,
}

/// What the origin says, where it is not withheld.
#[derive(Clone, Copy, Debug)]
struct Asked {
    opcode: Opcode,
    message_id: Option<[u8; 16]>,
    audience: Option<PublicKey>,
    session: Option<SessionTarget>,
}

/// The time of the last layer of a key that may turn out to be the sealing node's.
#[derive(Clone, Copy, Debug)]
struct Clock {
    key: PublicKey,
    latest: u64,
    /// The first layer with an earlier time than one before it.
    went_back: Option<usize>,
}

/// The first layers that resolved a name badly, or to a write.
#[derive(Clone, Copy, Debug, Default)]
struct Names {
    unresolved: Option<usize>,
    to_write: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    links: Vec<Link>,
    heads: Vec<Digest>,
    interims: Vec<(u32, Seal)>,
}

/// What a whole message turned out to be.
#[derive(Debug)]
pub struct Judgement {
    /// The number of layers.
    pub layers: u32,
    /// The status of the message.
    pub status: Status,
    /// What the message proves.
    pub verdict: Verdict,
    /// What is known of its entry in the log.
    pub standing: Standing,
    /// Whether the steps are those that the opcode demands.
    pub process: ProcessVerdict,
    /// The final seal.
    pub seal: Seal,
    kept: Option<Kept>,
}

impl Verifier {
    /// Begins a message. `root` is the node's root key that the caller trusts and `keys` its key list; without `root`
    /// the best verdict is [`Verdict::Consistent`].
    pub fn new(root: Option<PublicKey>, keys: Option<Arc<Verified<KeyList>>>) -> Self {
        let verifier = Self {
            root,
            keys: None,
            chain: Chain::default(),
            status: Status::NONE,
            asked: None,
            steps: Vec::new(),
            forwarded: false,
            clocks: Vec::new(),
            names: Names::default(),
            known: Arc::default(),
            policy: None,
            kept: None,
        };
        match keys {
            Some(keys) => verifier.with_keys(keys),
            None => verifier,
        }
    }

    fn with_keys(mut self, keys: Arc<Verified<KeyList>>) -> Self {
        self.renew(keys);
        self
    }

    /// Judges by this key list from here on: the node replaced the one before.
    pub fn renew(&mut self, keys: Arc<Verified<KeyList>>) {
        // [RCP-8] Only these can seal, so only their clocks need watching.
        for listed in keys.keys.iter().filter(|listed| listed.key_use == KeyUse::LAYER) {
            self.watch(listed.key);
        }
        self.keys = Some(keys);
    }

    /// Judges a proof by the logs and witnesses of `policy`, too; for a new verifier.
    #[must_use]
    pub fn under(mut self, policy: Arc<Policy>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Keeps all that is taken from here on, so that the judgement can become a [`Replay`]; for a new verifier.
    #[must_use]
    pub fn keeping(mut self) -> Self {
        self.kept = Some(Kept::default());
        self
    }

    /// Does not verify a statement's signature again that is among `known`; for a new verifier.
    #[must_use]
    pub fn knowing(mut self, known: Arc<KnownStatements>) -> Self {
        self.known = known;
        self
    }

    /// Watches the clock of a key that seals, where no key list names it.
    pub(crate) fn sealed_by(mut self, key: PublicKey) -> Self {
        self.watch(key);
        self
    }

    /// The key list that the message is judged by.
    pub(crate) const fn keys(&self) -> Option<&Arc<Verified<KeyList>>> {
        self.keys.as_ref()
    }

    fn watch(&mut self, key: PublicKey) {
        if !self.clocks.iter().any(|clock| clock.key == key) {
            self.clocks.push(Clock::new(key));
        }
    }

    /// The number of layers so far.
    pub const fn layers(&self) -> u32 {
        self.chain.length()
    }

    /// The chain so far.
    pub(crate) const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Checks the entry of an intent, which has no seal: its F is the head at dispatch.
    pub(crate) fn check_intent(&self, entry: &Entry) -> Result<(), Fault> {
        self.check_asked(entry.opcode, entry.message_id)?;
        let here = (self.chain.head(), self.chain.length(), self.status);
        if (entry.seal, entry.layers, entry.status) == here {
            Ok(())
        } else {
            Err(Fault::OtherSeal)
        }
    }

    /// Takes the next layer, and checks its signature or its core.
    ///
    /// # Errors
    /// [`Invalid`]: the message is invalid, whatever follows.
    pub fn link(&mut self, link: Link) -> Result<Digest, Invalid> {
        let hash = self.check_link(&link)?;
        if let Some(kept) = &mut self.kept {
            kept.links.push(link);
            kept.heads.push(hash);
        }
        Ok(hash)
    }

    /// Takes layer 0 from whoever made it, and so has hashed it: `chain` holds it and nothing else. For a new verifier.
    ///
    /// With another chain than that of `origin` no seal would hold.
    #[must_use]
    pub fn after_own(mut self, origin: Layer, chain: &Chain) -> Self {
        let link = Link::Layer(origin);
        self.chain = *chain;
        self.note(0, &link);
        if let Some(kept) = &mut self.kept {
            kept.links.push(link);
            kept.heads.push(chain.head());
        }
        self
    }

    /// Takes an interim seal over the layers so far.
    ///
    /// # Errors
    /// [`Invalid`]: the message is invalid, whatever follows.
    pub fn interim(&mut self, seal: Seal) -> Result<(), Invalid> {
        self.check_interim(&seal)?;
        if let Some(kept) = &mut self.kept {
            kept.interims.push((self.chain.length(), seal));
        }
        Ok(())
    }

    /// Takes the final seal.
    ///
    /// # Errors
    /// [`Invalid`]: the message is invalid.
    pub fn seal(self, seal: Seal) -> Result<Verified<Judgement>, Invalid> {
        let verdict = self.check_seal(&seal)?;
        let standing = self.check_standing(&seal)?;
        Ok(Verified::new(Judgement {
            layers: self.chain.length(),
            status: self.status,
            verdict,
            standing,
            process: self.process(&seal),
            seal,
            kept: self.kept,
        }))
    }

    pub(crate) fn check_link(&mut self, link: &Link) -> Result<Digest, Invalid> {
        let number = self.chain.length();
        let hash = self
            .chain
            .push(link)
            .map_err(|error| Invalid { place: Place::Layer(number), fault: Fault::Link(error) })?;
        self.note(number, link);
        Ok(hash)
    }

    /// Keeps of a layer what the seal is judged by.
    fn note(&mut self, number: u32, link: &Link) {
        let (step, status, place) = (link.step(), link.status(), self.steps.len());
        if status != Status::NONE {
            self.status = status;
        }
        self.steps.push(StepTaken::from(link));
        self.forwarded |= step == Step::FORWARD;
        if number == 0 {
            self.asked = link.layer().map(Asked::read);
        } else if let Some(clock) = self.clocks.iter_mut().find(|clock| clock.key == link.actor()) {
            clock.tick(place, link.time());
        }
        if let (Step::RESOLVE, Some(layer)) = (step, link.layer()) {
            self.names.take(place, layer);
        }
    }

    pub(crate) fn check_interim(&self, seal: &Seal) -> Result<(), Invalid> {
        let layers = self.chain.length();
        let at = |fault| Invalid { place: Place::Interim(layers), fault };
        // [HSH-5] A receiver MUST compute the hash of every interim seal.
        if self.chain.interim_seal(&seal.key) != seal.hash {
            return Err(at(Fault::OtherSeal));
        }
        self.check_receipt(seal, true).map_err(at)?;
        match (&self.root, &self.keys) {
            (Some(root), Some(keys)) => check_key(root, keys, seal).map_err(at),
            // Without a list the final seal decides.
            _ => Ok(()),
        }
    }

    /// Checks all that the final seal says, and what it proves.
    pub(crate) fn check_seal(&self, seal: &Seal) -> Result<Verdict, Invalid> {
        let at = |fault| Invalid { place: Place::Seal, fault };
        // [HSH-5] A receiver MUST compute F and MUST treat a difference as a broken chain.
        if self.chain.seal(&seal.key) != seal.hash {
            return Err(at(Fault::OtherSeal));
        }
        self.check_receipt(seal, false).map_err(at)?;
        let last = self.steps.last().ok_or(at(Fault::Empty))?;
        let refused_with =
            |statuses: &[Status]| last.step == Step::ADMIT && statuses.contains(&last.status);
        // [RCP-10] `unlogged` is for a refusal by admit with status 401 or 511, and for the handshake, unless it had an effect;
        // where the origin is withheld nobody can tell.
        let is_refused = last.step == Step::ADMIT && last.status >= Status::BAD_REQUEST;
        let of_session = self.asked.and_then(|asked| asked.session);
        let may_be_unlogged = refused_with(&[Status::TOKEN_INVALID, Status::IDENTITY_REQUIRED])
            || of_session.is_some_and(|target| is_refused || !target.has_effect())
            || self.asked.is_none();
        if seal.unlogged && !may_be_unlogged {
            return Err(at(Fault::Unlogged));
        }
        // [RCP-7] A verifier MUST NOT call a message authentic without a trusted root key.
        let Some(root) = &self.root else { return Ok(Verdict::Consistent) };
        // [RCP-8] A list with another root, a SEAL key that the list does not have, R0 without a list: invalid.
        match &self.keys {
            Some(keys) => check_key(root, keys, seal).map_err(at)?,
            None if seal.unlogged => return Ok(Verdict::Consistent),
            None => return Err(at(Fault::NoKeyList)),
        }
        // [RCP-9] An origin that names another audience, unless it was forwarded, or refused for just that.
        let excused = self.forwarded || refused_with(&[Status::WRONG_AUDIENCE]);
        if self.asked.is_some_and(|asked| asked.audience != Some(*root)) && !excused {
            return Err(Invalid { place: Place::Layer(0), fault: Fault::OtherAudience });
        }
        // [RCP-7] Nor one with `unlogged`.
        Ok(if seal.unlogged { Verdict::Consistent } else { Verdict::Authentic })
    }

    /// [LOG-18] Says what is known of the entry in the log, and checks the proof that the seal carries, where it does.
    pub(crate) fn check_standing(&self, seal: &Seal) -> Result<Standing, Invalid> {
        let at = |fault| Invalid { place: Place::Seal, fault };
        let proof_fault = |error: LogProofError| at(Fault::Proof(error));
        let (receipt, proof) = match (&seal.receipt, &seal.proof) {
            (None, None) => return Ok(Standing::Unlogged),
            // [LOG-11] Without R0 nothing says which entry the proof is of.
            (None, Some(_)) => return Err(at(Fault::OtherProof)),
            (Some(receipt), None) if receipt.statement.mode == JournalMode::NONE => {
                return Ok(Standing::Unlogged);
            }
            (Some(_), None) => return Ok(Standing::Promised),
            (Some(receipt), Some(proof)) => (receipt, proof),
        };
        let text = std::str::from_utf8(proof)
            .map_err(|_text| at(Fault::Proof(LogProofError::Malformed)))?;
        let proof = LogProof::parse(text).map_err(proof_fault)?;
        let origin = proof.checkpoint.untrusted().origin.clone();
        // [LOG-11] Where R0 names an index, the proof MUST be of that index in the log that R0 names.
        let names_index = receipt.statement.first_index.is_some();
        let is_other =
            receipt.index() != Some(proof.index) || receipt.statement.log_origin != origin;
        if names_index && is_other {
            return Err(at(Fault::OtherProof));
        }
        let leaf = receipt.entry(self.status, self.chain.length(), seal.hash).leaf();
        proof.leads_from(leaf).map_err(proof_fault)?;
        let Some(logs) = self.log_keys(&origin) else { return Ok(Standing::NotChecked) };
        if !proof.checkpoint.is_signed_by_any(&logs).map_err(|error| proof_fault(error.into()))? {
            return Err(proof_fault(CheckpointError::NotSigned.into()));
        }
        let (index, size) = (proof.index, proof.checkpoint.untrusted().size);
        let Some(policy) = self.policy.as_ref().filter(|policy| policy.asks_for_witnesses()) else {
            return Ok(Standing::Logged { index, size });
        };
        let cosigned =
            policy.judge(&proof.checkpoint).map_err(|error| proof_fault(error.into()))?;
        Ok(match cosigned {
            Cosigned { witnesses, is_quorum: true, is_log: true } => {
                Standing::Witnessed { index, size, witnesses }
            }
            _ => Standing::Logged { index, size },
        })
    }

    /// By which a checkpoint of this origin may be signed: the node's key list says it, and where none is known, the policy.
    /// `None` where nobody does.
    fn log_keys(&self, origin: &str) -> Option<Vec<VerifierKey>> {
        // [LOG-11] The checkpoint MUST be of a log of the node, and signed by a key of its list with use `log`.
        if let Some(keys) = &self.keys {
            return Some(keys.log_keys(origin));
        }
        let logs = self.policy.iter().flat_map(|policy| &policy.logs);
        let logs: Vec<_> = logs.filter(|log| log.name() == origin).cloned().collect();
        (!logs.is_empty()).then_some(logs)
    }

    /// Whether the layers are those that the opcode demands: the target's, or R0's where the origin is withheld.
    pub(crate) fn process(&self, seal: &Seal) -> ProcessVerdict {
        let told = || seal.receipt.as_ref().map(|receipt| receipt.opcode);
        let opcode = self.asked.map(|asked| asked.opcode).or_else(told);
        let Some(opcode) = opcode else { return ProcessVerdict::NotChecked };
        let checked = process::check_process(opcode, &self.steps).map_err(Deviation::Steps);
        let checked = checked
            .and_then(|()| self.check_order(&seal.key))
            .and_then(|()| self.names.check(opcode));
        match checked {
            Ok(()) => ProcessVerdict::Follows,
            Err(deviation) => ProcessVerdict::Breaks(deviation),
        }
    }

    /// Checks R0 of a seal over the layers so far.
    fn check_receipt(&self, seal: &Seal, interim: bool) -> Result<(), Fault> {
        let Some(receipt) = &seal.receipt else { return Ok(()) };
        // [RCP-14] The entry type of an INTERIM MUST be `segment`, that of a SEAL another.
        if receipt.is_for_interim() != interim {
            return Err(Fault::EntryType);
        }
        self.check_asked(receipt.opcode, receipt.message_id)?;
        let entry = receipt.entry(self.status, self.chain.length(), seal.hash);
        receipt.verify_knowing(&seal.key, &entry, &self.known).map_err(Fault::Receipt)
    }

    /// [RCP-4] Where the origin is not withheld, opcode and message id MUST be those of its fields.
    fn check_asked(&self, opcode: Opcode, message_id: [u8; 16]) -> Result<(), Fault> {
        let is_other =
            |asked: Asked| asked.opcode != opcode || asked.message_id != Some(message_id);
        if self.asked.is_some_and(is_other) { Err(Fault::OtherRequest) } else { Ok(()) }
    }

    fn check_order(&self, sealer: &PublicKey) -> Result<(), Deviation> {
        let clock = self.clocks.iter().find(|clock| clock.key == *sealer);
        // [PRC-7] Not before the time of an earlier layer that the sealing node added.
        match clock.and_then(|clock| clock.went_back) {
            Some(layer) => Err(Deviation::Time { layer }),
            None => Ok(()),
        }
    }
}

impl Verified<Judgement> {
    /// The whole message, where the verifier was told to keep it.
    pub fn into_replay(self) -> Option<Verified<Replay>> {
        let Judgement { verdict, standing, process, seal, kept, .. } = self.into_inner();
        let Kept { links, heads, interims } = kept?;
        let message = Message { links, interims, seal };
        Some(Verified::new(Replay { message, heads, verdict, standing, process }))
    }
}

impl Asked {
    fn read(origin: &Layer) -> Self {
        Self {
            opcode: target_opcode(origin),
            message_id: origin.fixed(FieldIndex::MESSAGE_ID),
            audience: origin.key(FieldIndex::AUDIENCE),
            session: origin.text(FieldIndex::TARGET).and_then(SessionTarget::of),
        }
    }
}

impl Clock {
    const fn new(key: PublicKey) -> Self {
        Self { key, latest: 0, went_back: None }
    }

    fn tick(&mut self, layer: usize, time: u64) {
        if time < self.latest && self.went_back.is_none() {
            self.went_back = Some(layer);
        }
        self.latest = time;
    }
}

impl Names {
    fn take(&mut self, layer: usize, resolve: &Layer) {
        if resolve.refuses() {
            return;
        }
        let resolved = resolve.text(FieldIndex::RESOLVED);
        match resolved.and_then(|text| Fqmn::parse_target(text).ok()) {
            None => self.unresolved = self.unresolved.or(Some(layer)),
            Some(target) if target.is_write() => self.to_write = self.to_write.or(Some(layer)),
            Some(_) => {}
        }
    }

    fn check(&self, opcode: Opcode) -> Result<(), Deviation> {
        // [PRC-8] Where the origin's target is a read, `resolved` MUST be a read, too.
        let to_write = self.to_write.filter(|_| !is_write(opcode));
        match (self.unresolved, to_write) {
            // [PRC-8] A resolve layer with a status below 400 MUST carry `resolved`, a target.
            (Some(layer), to_write) if to_write.is_none_or(|write| layer < write) => {
                Err(Deviation::Unresolved { layer })
            }
            (_, Some(layer)) => Err(Deviation::BecameWrite { layer }),
            _ => Ok(()),
        }
    }
}

/// Whether the trusted node may seal with that key.
fn check_key(root: &PublicKey, keys: &Verified<KeyList>, seal: &Seal) -> Result<(), Fault> {
    if keys.root != *root {
        return Err(Fault::OtherNode);
    }
    let allowed = match &seal.receipt {
        // [RCP-8] Valid at its R0's time, where there is one.
        Some(receipt) => keys.allows(KeyUse::LAYER, &seal.key, receipt.statement.time),
        None => keys.lists(KeyUse::LAYER, &seal.key),
    };
    if allowed { Ok(()) } else { Err(Fault::ForeignKey) }
}
