//! Whole messages, and what is to be said of them: `cmtp-spec/spec/13-receipts.md`.

use cmtp_spec::{FieldIndex, KeyUse, Opcode, Status, Step};

use crate::chain::{Chain, Link, LinkError};
use crate::fqmn::Fqmn;
use crate::hash::Digest;
use crate::key::{PublicKey, SignatureError};
use crate::keylist::KeyList;
use crate::layer::Layer;
use crate::process::{self, ProcessError, StepTaken};
use crate::receipt::ReceiptError;
use crate::seal::{self, Seal};
use crate::trust::{Unverified, Verified};

/// A whole exchange: origin, answer, seals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The layers, origin first.
    pub links: Vec<Link>,
    /// Interim seals, each with the number of layers that it covers, in order.
    pub interims: Vec<(u32, Seal)>,
    /// The final seal.
    pub seal: Seal,
}

impl Message {
    /// The origin, where it is not withheld.
    pub fn origin(&self) -> Option<&Layer> {
        self.links.first().and_then(Link::layer)
    }

    /// The opcode that decides the process: the target's, or R0's where the origin is withheld.
    pub fn opcode(&self) -> Option<Opcode> {
        match self.origin() {
            Some(origin) => Some(target_opcode(origin)),
            None => self.seal.receipt.as_ref().map(|receipt| receipt.opcode),
        }
    }

    /// The status of the message: `[PRC-4]`.
    pub fn status(&self) -> Status {
        process::message_status(&self.steps())
    }

    /// The last layer that says something: the answer, or the refusal.
    pub fn answer(&self) -> Option<&Link> {
        self.links.iter().rev().find(|link| link.status() != Status::NONE)
    }

    /// The steps that were taken, as a process check wants them.
    pub fn steps(&self) -> Vec<StepTaken> {
        steps(&self.links)
    }
}

impl Unverified<Message> {
    /// Checks everything that the bytes can say: hashes, signatures, seals, receipts, key list.
    ///
    /// `root` is the node's root key that the caller trusts; without it the best verdict is
    /// [`Verdict::Consistent`].
    ///
    /// # Errors
    /// [`Invalid`], with the first place that is wrong.
    pub fn verify(self, root: Option<&PublicKey>) -> Result<Verified<Replay>, Invalid> {
        let message = self.into_untrusted();
        let heads = replay(&message)?;
        let at_seal = |fault| Invalid { place: Place::Seal, fault };

        let last = message.links.last().ok_or(at_seal(Fault::Empty))?;
        // [RCP-10] `unlogged` is for a refusal by admit with status 401 or 511.
        let before_token =
            matches!(last.status(), Status::TOKEN_INVALID | Status::IDENTITY_REQUIRED);
        if message.seal.unlogged && !(last.step() == Step::ADMIT && before_token) {
            return Err(at_seal(Fault::Unlogged));
        }
        // [RCP-11] A key list whose signature does not verify makes the message invalid.
        let keys = message.seal.keys.clone().map(KeyList::verify).transpose();
        let keys = keys.map_err(|error| at_seal(Fault::KeyList(error)))?;
        let verdict = match root {
            // [RCP-7] A verifier MUST NOT call a message authentic without a trusted root key.
            None => Verdict::Consistent,
            Some(root) => judge(&message, root, keys.as_ref())?,
        };
        let process = match message.opcode() {
            Some(opcode) => ProcessVerdict::of(opcode, &message),
            None => ProcessVerdict::NotChecked,
        };
        Ok(Verified::new(Replay { message, heads, verdict, process }))
    }
}

/// A message whose chain was computed and compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The message.
    pub message: Message,
    /// The layer hashes L_0 … L_last.
    pub heads: Vec<Digest>,
    /// What the message proves.
    pub verdict: Verdict,
    /// Whether the steps are those that the opcode demands.
    pub process: ProcessVerdict,
}

impl Replay {
    /// Who stands for the layer with this number.
    pub fn grade(&self, number: usize) -> Grade {
        let signed = self.message.links.get(number).is_some_and(Link::is_signed);
        match (signed, number, self.verdict) {
            (true, 0, _) => Grade::SignedByCaller,
            (true, _, _) => Grade::SignedByService,
            (false, _, Verdict::Authentic) => Grade::VouchedByNode,
            (false, _, Verdict::Consistent) => Grade::Unproved,
        }
    }
}

/// What a message proves. Closed: chapter 13 has these two beside *invalid*, which is [`Invalid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All hashes agree; nothing ties the seal to a node that the verifier trusts.
    Consistent,
    /// The seal is promised by a node that the verifier trusts.
    Authentic,
}

/// Whether a message went through the steps that its opcode demands. Closed: there is no fourth case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessVerdict {
    /// It did.
    Follows,
    /// It did not.
    Breaks(Deviation),
    /// The opcode is not known: origin withheld, and no R0.
    NotChecked,
}

impl ProcessVerdict {
    fn of(opcode: Opcode, message: &Message) -> Self {
        let steps = process::check_process(opcode, &message.steps()).map_err(Deviation::Steps);
        let checked = steps.and_then(|()| check_order(message)).and_then(|()| check_names(message));
        match checked {
            Ok(()) => Self::Follows,
            Err(deviation) => Self::Breaks(deviation),
        }
    }
}

/// How a message strays from the process of its opcode: `cmtp-spec/spec/07-processes.md`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Deviation {
    /// Steps that the grammar does not have.
    #[error(transparent)]
    Steps(ProcessError),
    /// PRC-7.
    #[error("layer {layer}: the node's clock went back")]
    Time {
        /// The layer's number.
        layer: usize,
    },
    /// PRC-8: no target in `resolved`.
    #[error("layer {layer}: it does not say what the name stands for")]
    Unresolved {
        /// The layer's number.
        layer: usize,
    },
    /// PRC-8: a read became a write.
    #[error("layer {layer}: a read was resolved to a write")]
    BecameWrite {
        /// The layer's number.
        layer: usize,
    },
}

/// Who stands for a layer. Closed: chapter 13 has these four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// Layer 0, signed by its actor.
    SignedByCaller,
    /// Another layer, signed by its actor.
    SignedByService,
    /// Not signed, under an authentic seal.
    VouchedByNode,
    /// Not signed, under a seal that is not authentic.
    Unproved,
}

impl Grade {
    /// The words for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignedByCaller => "signed by caller",
            Self::SignedByService => "signed by service",
            Self::VouchedByNode => "vouched by node",
            Self::Unproved => "unproved",
        }
    }
}

/// A message that does not hold, and the first place where it doesn't.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct Invalid {
    /// Where.
    pub place: Place,
    /// What.
    pub fault: Fault,
}

/// A place in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Place {
    /// The layer with this number.
    #[error("layer {0}")]
    Layer(u32),
    /// The interim seal over this number of layers.
    #[error("interim seal over {0} layers")]
    Interim(u32),
    /// The final seal and its items.
    #[error("seal")]
    Seal,
}

/// What is wrong with a message whose bytes can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// There is no layer.
    #[error("there is no layer under it")]
    Empty,
    /// A signature, or a core.
    #[error(transparent)]
    Link(LinkError),
    /// The layer's hash is not the one in `heads`.
    #[error("the layer was changed: its hash is not the one that was recorded")]
    OtherHead,
    /// F differs.
    #[error("the seal hash does not match the layers")]
    OtherSeal,
    /// An interim seal covers layers that are not there.
    #[error("the interim seal covers layers that are not there")]
    InterimPlace,
    /// R0 names another opcode or id than the origin.
    #[error("R0 is for another request than the origin's")]
    OtherRequest,
    /// R0 of an interim seal that is not for a segment, or the reverse.
    #[error("R0 is for another kind of entry than this seal's")]
    EntryType,
    /// R0.
    #[error(transparent)]
    Receipt(ReceiptError),
    /// The key list.
    #[error("the key list: {0}")]
    KeyList(SignatureError),
    /// The key list is of another node.
    #[error("the key list is of another node than the one trusted")]
    OtherNode,
    /// There is no key list to tie R0 to the trusted node.
    #[error("there is no key list that ties the seal to the trusted node")]
    NoKeyList,
    /// The sealing key is not one of the trusted node's.
    #[error("the sealing key is not a layer key of the trusted node at that time")]
    ForeignKey,
    /// The origin was made for another node.
    #[error("the origin was made for another node than the one trusted")]
    OtherAudience,
    /// `unlogged` on something else than a refusal before a token was accepted.
    #[error("without R0, and no refusal that may come without")]
    Unlogged,
}

/// Computes the chain and compares it with all that the seals say.
fn replay(message: &Message) -> Result<Vec<Digest>, Invalid> {
    let mut chain = Chain::default();
    let mut heads = Vec::with_capacity(message.links.len());
    let mut interims = message.interims.iter().peekable();
    for link in &message.links {
        let number = chain.length();
        let at = |fault| Invalid { place: Place::Layer(number), fault };
        let hash = chain.push(link).map_err(|error| at(Fault::Link(error)))?;
        let recorded = message.seal.heads.as_ref().and_then(|heads| heads.get(number as usize));
        // [STO-7] `heads` that differ are a broken chain, named by the first layer that differs.
        if recorded.is_some_and(|recorded| *recorded != hash) {
            return Err(at(Fault::OtherHead));
        }
        heads.push(hash);
    }
    // [STO-7] The place of a fault is the first layer whose signature or core does not fit, else the interim seal.
    // [PRC-4] Carried along: to look for it under each seal would take time by the square of a stream's length.
    let mut status = Status::NONE;
    for ((number, head), link) in (1..).zip(&heads).zip(&message.links) {
        if link.status() != Status::NONE {
            status = link.status();
        }
        while let Some((covered, seal)) = interims.next_if(|(covered, _)| *covered == number) {
            let at = |fault| Invalid { place: Place::Interim(*covered), fault };
            // [HSH-5] A receiver MUST compute the hash of every interim seal.
            if seal::interim_hash(&seal.key, number, *head) != seal.hash {
                return Err(at(Fault::OtherSeal));
            }
            check_receipt(message, seal, (*covered, status), true).map_err(at)?;
        }
    }
    let at_seal = |fault| Invalid { place: Place::Seal, fault };
    if let Some((covered, _)) = interims.next() {
        return Err(Invalid { place: Place::Interim(*covered), fault: Fault::InterimPlace });
    }
    // [HSH-5] A receiver MUST compute F and MUST treat a difference as a broken chain.
    if chain.seal(&message.seal.key) != message.seal.hash {
        return Err(at_seal(Fault::OtherSeal));
    }
    check_receipt(message, &message.seal, (chain.length(), status), false).map_err(at_seal)?;
    Ok(heads)
}

/// Checks R0 of a seal over so many layers with that status.
fn check_receipt(
    message: &Message,
    seal: &Seal,
    (layers, status): (u32, Status),
    interim: bool,
) -> Result<(), Fault> {
    let Some(receipt) = &seal.receipt else { return Ok(()) };
    // [RCP-14] The entry type of an INTERIM MUST be `segment`, that of a SEAL another.
    if receipt.is_for_interim() != interim {
        return Err(Fault::EntryType);
    }
    // [RCP-4] Where the origin is not withheld, opcode and message id MUST be those of its fields.
    if let Some(origin) = message.origin()
        && (target_opcode(origin) != receipt.opcode
            || origin.fixed(FieldIndex::MESSAGE_ID) != Some(receipt.message_id))
    {
        return Err(Fault::OtherRequest);
    }
    let entry = receipt.entry(status, layers, seal.hash);
    receipt.verify(&seal.key, &entry).map_err(Fault::Receipt)
}

fn judge(
    message: &Message,
    root: &PublicKey,
    keys: Option<&Verified<KeyList>>,
) -> Result<Verdict, Invalid> {
    let at_seal = |fault| Invalid { place: Place::Seal, fault };
    let seal = &message.seal;
    // [RCP-8] A list with another root, a SEAL key that the list does not have, R0 without a list: invalid.
    let Some(keys) = keys else {
        return if seal.unlogged {
            Ok(Verdict::Consistent)
        } else {
            Err(at_seal(Fault::NoKeyList))
        };
    };
    if keys.root != *root {
        return Err(at_seal(Fault::OtherNode));
    }
    let sealed_by = message.interims.iter().map(|(_, interim)| interim).chain([seal]);
    for seal in sealed_by {
        let allowed = match &seal.receipt {
            Some(receipt) => keys.allows(KeyUse::LAYER, &seal.key, receipt.statement.time),
            None => keys.lists(KeyUse::LAYER, &seal.key),
        };
        if !allowed {
            return Err(at_seal(Fault::ForeignKey));
        }
    }
    // [RCP-9] An origin that names another audience, unless it was forwarded, or refused for just that.
    let forwarded = message.links.iter().any(|link| link.step() == Step::FORWARD);
    let refused = message
        .links
        .last()
        .is_some_and(|last| last.step() == Step::ADMIT && last.status() == Status::WRONG_AUDIENCE);
    if let Some(origin) = message.origin()
        && origin.key(FieldIndex::AUDIENCE) != Some(*root)
        && !(forwarded || refused)
    {
        return Err(Invalid { place: Place::Layer(0), fault: Fault::OtherAudience });
    }
    // [RCP-7] Nor one with `unlogged`.
    Ok(if seal.unlogged { Verdict::Consistent } else { Verdict::Authentic })
}

fn check_order(message: &Message) -> Result<(), Deviation> {
    let mut latest = 0;
    for (layer, link) in message.links.iter().enumerate() {
        if link.actor() != message.seal.key || layer == 0 {
            continue;
        }
        // [PRC-7] Not before the time of an earlier layer that the sealing node added.
        if link.time() < latest {
            return Err(Deviation::Time { layer });
        }
        latest = link.time();
    }
    Ok(())
}

fn check_names(message: &Message) -> Result<(), Deviation> {
    let Some(opcode) = message.opcode() else { return Ok(()) };
    for (layer, link) in message.links.iter().enumerate() {
        let Link::Layer(resolve) = link else { continue };
        if resolve.step != Step::RESOLVE || resolve.refuses() {
            continue;
        }
        // [PRC-8] A resolve layer with a status below 400 MUST carry `resolved`, a target …
        let resolved = resolve.text(FieldIndex::RESOLVED);
        let target = resolved.and_then(|text| Fqmn::parse_target(text).ok());
        let target = target.ok_or(Deviation::Unresolved { layer })?;
        // [PRC-8] … where the origin's target is a read, that MUST be a read, too.
        if process::check_resolved(opcode, &target).is_err() {
            return Err(Deviation::BecameWrite { layer });
        }
    }
    Ok(())
}

/// The number that an entry has for the origin's target; 0 where it begins with no opcode of the table: `[PRC-3]`.
fn target_opcode(origin: &Layer) -> Opcode {
    Opcode::of_target(origin.text(FieldIndex::TARGET).unwrap_or_default())
}

fn steps(links: &[Link]) -> Vec<StepTaken> {
    links.iter().map(StepTaken::from).collect()
}
