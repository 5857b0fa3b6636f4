//! Answers: `cmtp-spec/spec/08-statuses.md`, `cmtp-spec/spec/09-quic.md`.

use bytes::{Bytes, BytesMut};
use cmtp_codec::{Deviation, Field, Invalid, Layer, Link, Message, Replay, Verdict, Verified};
use cmtp_spec::{FieldIndex, Retry, Status, Step};

/// A node's answer, verified: the chain holds, the node that was called sealed it, and it is the answer to this request
/// on this connection.
///
/// A refusal is an answer, too; ask [`Answer::is_success`].
#[derive(Clone, Debug)]
pub struct Answer {
    replay: Verified<Replay>,
    /// An earlier attempt of the same request may have had its effect.
    unsettled: bool,
}

impl Answer {
    pub(crate) const fn new(replay: Verified<Replay>) -> Self {
        Self { replay, unsettled: false }
    }

    /// Notes that the same request was sent before, and that nobody knows what came of it.
    pub(crate) const fn after_unknown(mut self, unknown: bool) -> Self {
        self.unsettled |= unknown;
        self
    }

    /// The status of the message.
    pub fn status(&self) -> Status {
        self.replay.message.status()
    }

    /// Whether the status is below 400.
    pub fn is_success(&self) -> bool {
        is_success(self.status())
    }

    /// What was answered: the body of the layer that served it, with the segments that follow it.
    pub fn body(&self) -> Option<Bytes> {
        answer_body(&self.replay.message)
    }

    /// The fields of the layer that decided the status.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.said().fields()
    }

    /// The word that tells a program what to do next: that of the refusal, or the status's own.
    pub fn remedy(&self) -> Option<&str> {
        self.said().remedy()
    }

    /// A refusal's sentence for a person.
    pub fn detail(&self) -> Option<&str> {
        self.said().detail()
    }

    /// Seconds after which to try again, where the node said so.
    pub fn retry_after(&self) -> Option<u64> {
        self.said().retry_after()
    }

    /// Whether and how the request may be sent again.
    pub fn retry(&self) -> Retry {
        // [IDM-2] Sent again, the same bytes get the recorded answer: nothing new can come of it.
        if self.is_recorded() { Retry::Never } else { self.said().retry() }
    }

    /// Whether the same bytes, sent again, could bring nothing else: the request is settled. A refusal after an attempt of
    /// which nobody knows what came is not.
    pub fn is_final(&self) -> bool {
        matches!(self.retry(), Retry::Never | Retry::New) && !self.follows_unknown()
    }

    /// Whether this is the answer recorded for an earlier attempt with the same bytes.
    pub fn is_recorded(&self) -> bool {
        self.replay.message.seal.recorded
    }

    /// Whether a write may have had its effect although this is a refusal: the node can't know, or an earlier attempt of
    /// the same request ended without an answer.
    pub fn is_outcome_unknown(&self) -> bool {
        self.follows_unknown() || self.said().is_outcome_unknown()
    }

    /// What the message proves: only a refusal before a token was accepted is not authentic.
    pub fn verdict(&self) -> Verdict {
        self.replay.verdict
    }

    /// Everything: layers, hashes, seal.
    pub const fn replay(&self) -> &Verified<Replay> {
        &self.replay
    }

    /// The message as it is to be kept, key list and layer hashes in it; [`Message::to_stored`] makes a file of it.
    pub fn to_saved(&self) -> Message {
        self.replay.to_saved()
    }

    fn follows_unknown(&self) -> bool {
        self.unsettled && !self.is_success() && !self.is_recorded()
    }

    pub(crate) fn said(&self) -> Said<'_> {
        Said { status: self.status(), layer: deciding_layer(&self.replay.message) }
    }
}

/// What the layer that decided the status says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    pub(crate) status: Status,
    pub(crate) layer: Option<&'a Layer>,
}

impl<'a> Said<'a> {
    pub(crate) fn fields(self) -> impl Iterator<Item = &'a Field> {
        self.layer.into_iter().flat_map(Layer::fields)
    }

    pub(crate) fn remedy(self) -> Option<&'a str> {
        let own = || self.status.remedy().map(|remedy| remedy.0);
        self.layer.and_then(|layer| layer.text(FieldIndex::REMEDY)).or_else(own)
    }

    pub(crate) fn detail(self) -> Option<&'a str> {
        self.layer?.text(FieldIndex::DETAIL)
    }

    pub(crate) fn retry_after(self) -> Option<u64> {
        self.layer?.number(FieldIndex::RETRY_AFTER)
    }

    pub(crate) fn is_outcome_unknown(self) -> bool {
        self.layer.is_some_and(|layer| layer.value(FieldIndex::OUTCOME_UNKNOWN).is_some())
    }

    pub(crate) fn retry(self) -> Retry {
        // [IDM-2] Where the node can't know, it says the same again.
        if self.is_outcome_unknown() {
            return Retry::Never;
        }
        known(self.status).retry()
    }
}

/// Whether a status is below 400.
pub(crate) fn is_success(status: Status) -> bool {
    // [STA-4] A client MUST treat a status that it does not know as the x00 status of its class.
    known(status) < Status::BAD_REQUEST
}

/// A status of the table in place of one that is not known.
fn known(status: Status) -> Status {
    match status.name() {
        Some(_) => status,
        // [STA-4] A client MUST treat a status that it does not know as the x00 status of its class.
        None => Status(status.0 / 100 * 100),
    }
}

/// The layer that decided the status: the answer, or the refusal.
pub(crate) fn deciding_layer(message: &Message) -> Option<&Layer> {
    message.answer().and_then(Link::layer)
}

/// What was answered.
pub(crate) fn answer_body(message: &Message) -> Option<Bytes> {
    // Chapter 7: the body of an answer is that of its serve or assemble layer, followed by those of its segments.
    let answers =
        |layer: &&Layer| matches!(layer.step, Step::SERVE | Step::ASSEMBLE | Step::SEGMENT);
    let layers = message.links.iter().skip(1).filter_map(Link::layer).filter(answers);
    let mut bodies = layers.filter_map(Layer::data);
    let first = bodies.next()?;
    let Some(second) = bodies.next() else { return Some(first.clone()) };
    let mut body = BytesMut::from(&first[..]);
    [second].into_iter().chain(bodies).for_each(|part| body.extend_from_slice(part));
    Some(body.freeze())
}

/// Why an answer whose bytes can be read is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadAnswer {
    /// A hash, a signature, the seal or its receipt does not hold.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The layers are not those that the target's opcode demands.
    #[error("the process: {0}")]
    Process(Deviation),
    /// The layer after the origin is no admit layer.
    #[error("layer 1 is no admit layer")]
    NoAdmit,
    /// The admit layer does not say what it must.
    #[error("layer 1: the admit layer lacks the field {0}")]
    AdmitLacks(FieldIndex),
    /// The request was admitted on another connection.
    #[error("layer 1: the request was admitted on another connection than this one")]
    OtherConnection,
    /// The request was admitted by another token.
    #[error("layer 1: the request was admitted by another token than the one shown")]
    OtherToken,
    /// The node says that it did not read a body, where it had to or there was none.
    #[error("seal: the node says that it did not read a body, and there was none or it had to")]
    NothingUnread,
}
