//! CMTP messages: bytes to types and back, hash chains, and what they prove.
//!
//! This crate never touches a socket, a disk, a task or a clock: bytes and times come in as arguments, values go out.
//! It holds no policy: whether a caller may do something is the node's business.
//!
//! - Reading from a stream: a [`FrameReader`] cuts bytes into [`Frame`]s, an [`Assembler`] puts them together.
//! - Over a bus: an [`Envelope`] carries a [`BusRequest`] to a service, and a [`BusAnswer`] back.
//! - Making: a [`Layer`] is built, then a [`Chain`] takes it (and signs it), and seals.
//! - Judging: an [`Unverified`] [`Message`] becomes a [`Verified`] [`Replay`] with a [`Verdict`]; a [`Verifier`] does the same
//!   while the parts of a message still come.
//!
//! Rules are cited by their ids in `cmtp-spec/spec/`, such as `[FRM-3]`.

mod assemble;
pub mod audit;
mod chain;
mod core;
mod cursor;
mod envelope;
mod error;
mod field;
mod fqmn;
mod frame;
pub mod hash;
pub mod journal;
mod key;
mod keylist;
mod layer;
pub mod log;
pub mod merkle;
mod message;
pub mod object;
mod pattern;
mod persona;
mod policies;
mod process;
mod receipt;
mod redact;
mod revocation;
mod seal;
pub mod session;
mod stored;
mod subject;
#[cfg(test)]
mod tests;
mod trust;
pub mod varint;
mod verify;

pub use crate::assemble::{Assembler, Part, Source};
pub use crate::chain::{Chain, Link, LinkError};
pub use crate::core::{Core, RedactedLayer};
pub use crate::envelope::{
    AnsweredKeys, Ask, AskError, Asked, BusAnswer, BusRequest, Envelope, EnvelopeError, KeyId,
    KeysError, MacKey, Proof, SealedKeys, Tag,
};
pub use crate::error::{DecodeError, DecodeErrorKind};
pub use crate::field::{Field, Name, Private};
pub use crate::fqmn::{Element, Fqmn, FqmnError, FqmnErrorKind, encode_segment};
pub use crate::frame::{Auth, End, Frame, FrameReader};
pub use crate::hash::{Digest, Salt};
pub use crate::key::{DidError, PublicKey, Signature, SignatureError, SigningKey};
pub use crate::keylist::{KeyList, ListedKey};
pub use crate::layer::{Body, Layer};
pub use crate::message::{
    Deviation, Fault, Grade, Invalid, Message, Place, ProcessVerdict, Replay, Standing, Verdict,
};
pub use crate::pattern::{NotCovered, Pattern, PatternError, Scope, TooManyPatterns};
pub use crate::persona::{RecoveryCommitment, Root, WordsError};
pub use crate::policies::{PolicyFiles, PolicyFilesError, PolicyName};
pub use crate::process::{
    BecameWrite, EffectFields, Expected, ProcessError, StepTaken, check_process, check_resolved,
    message_status,
};
pub use crate::receipt::{Entry, KnownStatements, Receipt, ReceiptError, Statement};
pub use crate::redact::Withheld;
pub use crate::revocation::{Revocation, RevocationError};
pub use crate::seal::Seal;
pub use crate::stored::StoredError;
pub use crate::subject::{SubjectError, SubjectTooLong, check_subject, subject};
pub use crate::trust::{Unverified, Verified};
pub use crate::varint::MAX as VARINT_MAX;
pub use crate::verify::{Judgement, Verifier};
