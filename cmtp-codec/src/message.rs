//! Whole messages, and what is to be said of them: `cmtp-spec/spec/13-receipts.md`.

use std::sync::Arc;

use cmtp_spec::{FieldIndex, Opcode, Status};

use crate::chain::{Link, LinkError};
use crate::hash::Digest;
use crate::key::{PublicKey, SignatureError};
use crate::keylist::KeyList;
use crate::layer::Layer;
use crate::log::{LogProofError, Policy};
use crate::process::{self, ProcessError, StepTaken};
use crate::receipt::ReceiptError;
use crate::seal::Seal;
use crate::trust::{Unverified, Verified};
use crate::verify::Verifier;

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
        self.verify_under(root, None)
    }

    /// As [`Unverified::verify`], and asks whether the witnesses of `policy` saw the entry, too.
    ///
    /// # Errors
    /// [`Invalid`], with the first place that is wrong.
    pub fn verify_under(
        self,
        root: Option<&PublicKey>,
        policy: Option<Arc<Policy>>,
    ) -> Result<Verified<Replay>, Invalid> {
        let message = self.into_untrusted();
        // [RCP-11] A key list whose signature does not verify makes the message invalid.
        let keys = message.seal.keys.clone().map(KeyList::verify).transpose();
        let (keys, forged) = match keys {
            Ok(keys) => (keys, None),
            Err(error) => (None, Some(error)),
        };
        // Whose list is forged is told after all that its layers say.
        let root = root.copied().filter(|_| forged.is_none());
        let mut verifier = Verifier::new(root, keys.map(Arc::new)).sealed_by(message.seal.key);
        if let Some(policy) = policy {
            verifier = verifier.under(policy);
        }
        let heads = replay(&message, &mut verifier)?;
        let verdict = verifier.check_seal(&message.seal)?;
        if let Some(error) = forged {
            return Err(Invalid { place: Place::Seal, fault: Fault::KeyList(error) });
        }
        let standing = verifier.check_standing(&message.seal)?;
        let process = verifier.process(&message.seal);
        Ok(Verified::new(Replay { message, heads, verdict, standing, process }))
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
    /// What is known of its entry in the log.
    pub standing: Standing,
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

/// What a message's receipts say of its entry in the node's log: chapter 18.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It has none: no R0, or one in mode `none`.
    Unlogged,
    /// R0: the node promised it.
    Promised,
    /// There is a proof, and no key by which to judge it: neither a key list nor a policy that names the log. No more is
    /// known than with R0 alone.
    NotChecked,
    /// R1: it is there, under a checkpoint that the log signed.
    Logged {
        /// Its place.
        index: u64,
        /// Leaves under the checkpoint.
        size: u64,
    },
    /// R2: as many witnesses as the verifier's policy asks for saw that checkpoint.
    Witnessed {
        /// Its place.
        index: u64,
        /// Leaves under the checkpoint.
        size: u64,
        /// Names of the policy's witnesses that signed, and when, seconds since 1970.
        witnesses: Vec<(String, u64)>,
    },
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
    /// R1.
    #[error("the proof of its entry: {0}")]
    Proof(LogProofError),
    /// R1 is of another log or another index than R0's, or stands without R0.
    #[error("the proof is not of the entry that R0 promises")]
    OtherProof,
}

/// Takes layers and interim seals in their order; the layer hashes.
fn replay(message: &Message, verifier: &mut Verifier) -> Result<Vec<Digest>, Invalid> {
    let mut heads = Vec::with_capacity(message.links.len());
    let mut interims = message.interims.iter().peekable();
    let mut broken = None;
    for (number, link) in (0..).zip(&message.links) {
        let hash = verifier.check_link(link)?;
        let recorded = message.seal.heads.as_ref().and_then(|recorded| recorded.get(heads.len()));
        // [STO-7] `heads` that differ are a broken chain, named by the first layer that differs.
        if recorded.is_some_and(|recorded| *recorded != hash) {
            return Err(Invalid { place: Place::Layer(number), fault: Fault::OtherHead });
        }
        heads.push(hash);
        while let Some((_, seal)) = interims.next_if(|(covered, _)| *covered == number + 1) {
            // [STO-7] The first layer whose signature or core does not fit, else the interim seal.
            broken = broken.or(verifier.check_interim(seal).err());
        }
    }
    if let Some(invalid) = broken {
        return Err(invalid);
    }
    match interims.next() {
        Some((covered, _)) => {
            Err(Invalid { place: Place::Interim(*covered), fault: Fault::InterimPlace })
        }
        None => Ok(heads),
    }
}

/// The number that an entry has for the origin's target; 0 where it begins with no opcode of the table: `[PRC-3]`.
pub(crate) fn target_opcode(origin: &Layer) -> Opcode {
    Opcode::of_target(origin.text(FieldIndex::TARGET).unwrap_or_default())
}

fn steps(links: &[Link]) -> Vec<StepTaken> {
    links.iter().map(StepTaken::from).collect()
}
