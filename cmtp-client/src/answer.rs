//! Answers, and what makes one acceptable: `cmtp-spec/spec/09-quic.md`, `cmtp-spec/spec/10-admission.md`.

use bytes::{Bytes, BytesMut};
use cmtp_codec::{
    Deviation, Digest, Field, Invalid, KeyList, Layer, Link, Message, ProcessVerdict, PublicKey,
    Replay, Unverified, Verdict, Verified,
};
use cmtp_spec::{ConnectionKind, FieldIndex, Status, Step};

use crate::exchange::Received;
use crate::request::PreparedRequest;

/// A node's answer, verified: the chain holds, the node that was called sealed it, and it is the answer to this request
/// on this connection.
///
/// A refusal is an answer, too; ask [`Answer::is_success`].
#[derive(Clone, Debug)]
pub struct Answer {
    replay: Verified<Replay>,
}

impl Answer {
    /// The status of the message.
    pub fn status(&self) -> Status {
        self.replay.message.status()
    }

    /// Whether the status is below 400.
    pub fn is_success(&self) -> bool {
        // [STA-4] A client MUST treat a status that it does not know as the x00 status of its class.
        self.status() < Status::BAD_REQUEST
    }

    /// What was answered: the body of the last layer that has one, with the segments that follow it.
    pub fn body(&self) -> Option<Bytes> {
        answer_body(&self.replay.message)
    }

    /// The fields of the layer that decided the status.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.deciding().into_iter().flat_map(Layer::fields)
    }

    /// The word that tells a program what to do next: that of the refusal, or the status's own.
    pub fn remedy(&self) -> Option<&str> {
        let own = || self.status().remedy().map(|remedy| remedy.0);
        self.deciding().and_then(|layer| layer.text(FieldIndex::REMEDY)).or_else(own)
    }

    /// A refusal's sentence for a person.
    pub fn detail(&self) -> Option<&str> {
        self.deciding()?.text(FieldIndex::DETAIL)
    }

    /// Seconds after which to try again, where the node said so.
    pub fn retry_after(&self) -> Option<u64> {
        self.deciding()?.number(FieldIndex::RETRY_AFTER)
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

    fn deciding(&self) -> Option<&Layer> {
        deciding_layer(&self.replay.message)
    }
}

/// The layer that decided the status: the answer, or the refusal.
pub(crate) fn deciding_layer(message: &Message) -> Option<&Layer> {
    message.answer().and_then(Link::layer)
}

/// What was answered: the body of the last layer that has one, with the segments that follow it.
pub(crate) fn answer_body(message: &Message) -> Option<Bytes> {
    let layers = || message.links.iter().skip(1).filter_map(Link::layer);
    let mut segments =
        layers().filter(|layer| layer.step == Step::SEGMENT).filter_map(Layer::data).peekable();
    let first = layers().filter(|layer| layer.step != Step::SEGMENT).filter_map(Layer::data).last();
    if segments.peek().is_none() {
        return first.cloned();
    }
    let mut body = BytesMut::from(first.map(Bytes::as_ref).unwrap_or_default());
    segments.for_each(|segment| body.extend_from_slice(segment));
    Some(body.freeze())
}

/// What an answer must agree with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    /// The node that was called.
    pub(crate) root: PublicKey,
    /// Its key list, as it was shown.
    pub(crate) keys: &'a KeyList,
    /// SHA-256 of the connection's exporter value.
    pub(crate) exporter: Digest,
    /// SHA-256 of the token shown; zero where none was.
    pub(crate) token: Digest,
}

impl Expected<'_> {
    /// Verifies the whole answer.
    pub(crate) fn judge(
        &self,
        received: Received,
        request: &PreparedRequest,
    ) -> Result<Answer, BadAnswer> {
        let Received { links, interims, mut seal } = received;
        let mut origin = request.origin().clone();
        let unread = seal.body_unread;
        if unread {
            // [FRM-17] The item MUST NOT come where the origin had no body.
            if origin.data().is_none() {
                return Err(BadAnswer::NothingUnread);
            }
            // [QUI-17] Both sides then close layer 0 with B = 32 zero bytes.
            origin.close_unread();
        }
        // [STO-5] The node's key list as it was shown; R0 is judged by it, now and later.
        seal.keys = Some(self.keys.clone());
        let links = [Link::Layer(origin)].into_iter().chain(links).collect();
        let message = Unverified::new(Message { links, interims, seal });
        // [QUI-20] A client MUST verify the whole answer before it hands anything of it to the application as verified.
        let replay = message.verify(Some(&self.root))?;
        match &replay.process {
            ProcessVerdict::Follows => {}
            ProcessVerdict::Breaks(error) => return Err(BadAnswer::Process(error.clone())),
            ProcessVerdict::NotChecked => return Err(BadAnswer::NoAdmit),
        }
        let answer = Answer { replay };
        // [QUI-17] A node MAY *refuse* an origin with a body before END came.
        if unread && answer.is_success() {
            return Err(BadAnswer::NothingUnread);
        }
        self.check_admit(&answer.replay.message)?;
        Ok(answer)
    }

    fn check_admit(&self, message: &Message) -> Result<(), BadAnswer> {
        let admit = match message.links.get(1) {
            Some(Link::Layer(layer)) if layer.step == Step::ADMIT => layer,
            _ => return Err(BadAnswer::NoAdmit),
        };
        // [ADM-8] An admit layer MUST carry `connection-kind`, `exporter-digest`, `token-digest` and `policy-digest`; one
        // that passes carries `policies`.
        let needed = [
            Some(FieldIndex::CONNECTION_KIND),
            Some(FieldIndex::EXPORTER_DIGEST),
            Some(FieldIndex::TOKEN_DIGEST),
            Some(FieldIndex::POLICY_DIGEST),
            (!admit.refuses()).then_some(FieldIndex::POLICIES),
        ];
        if let Some(field) =
            needed.into_iter().flatten().find(|&field| admit.value(field).is_none())
        {
            return Err(BadAnswer::AdmitLacks(field));
        }
        // [QUI-21] It skips this for an answer with the item `recorded`.
        if message.seal.recorded {
            return Ok(());
        }
        // [QUI-21] `exporter-digest` is SHA-256 of E and `token-digest` is the digest shown here.
        let direct = admit.octet(FieldIndex::CONNECTION_KIND) == Some(ConnectionKind::DIRECT.0);
        if !direct || admit.digest(FieldIndex::EXPORTER_DIGEST) != Some(self.exporter) {
            return Err(BadAnswer::OtherConnection);
        }
        if admit.digest(FieldIndex::TOKEN_DIGEST) != Some(self.token) {
            return Err(BadAnswer::OtherToken);
        }
        Ok(())
    }
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_codec::{Fault, Place};

    use super::*;
    use crate::testing::{EXPORTER, NODE, Sample, TOKEN, signing_key};

    fn judge(sample: &Sample) -> Result<Answer, BadAnswer> {
        let request = Sample::request();
        judge_received(sample.received(request.origin()), &request)
    }

    fn judge_received(received: Received, request: &PreparedRequest) -> Result<Answer, BadAnswer> {
        let root = signing_key(NODE);
        let keys = KeyList::sign_single(&root);
        let expected =
            Expected { root: root.public(), keys: &keys, exporter: EXPORTER, token: TOKEN };
        expected.judge(received, request)
    }

    #[test]
    fn a_good_answer_is_authentic_and_can_be_kept() {
        // [QUI-20]
        let answer = judge(&Sample::answer()).unwrap();
        assert_eq!((answer.status(), answer.is_success()), (Status::OK, true));
        assert_eq!(answer.body().as_deref(), Some(&b"hello"[..]));
        assert_eq!(answer.fields().next().unwrap().name.as_str(), "content-type");
        assert_eq!((answer.remedy(), answer.detail()), (None, None));
        let file = answer.to_saved().to_stored();
        let root = signing_key(NODE).public();
        let read = Unverified::from_stored(file).unwrap().verify(Some(&root)).unwrap();
        assert_eq!(read.verdict, Verdict::Authentic);
    }

    #[test]
    fn a_refusal_is_an_answer() {
        let answer = judge(&Sample::refusal(Status::FORBIDDEN)).unwrap();
        assert!(!answer.is_success());
        assert_eq!((answer.remedy(), answer.detail()), (Some("ask-access"), Some("no")));
        assert_eq!(answer.body(), None);
        let unlogged = Sample { unlogged: true, ..Sample::refusal(Status::IDENTITY_REQUIRED) };
        // [RCP-7]
        assert_eq!(judge(&unlogged).unwrap().verdict(), Verdict::Consistent);
    }

    #[test]
    fn an_answer_for_another_connection_or_token_is_refused() {
        // [QUI-21]
        let other = Digest([1; 32]);
        let elsewhere = Sample { exporter: other, ..Sample::answer() };
        assert_eq!(judge(&elsewhere).unwrap_err(), BadAnswer::OtherConnection);
        let token = Sample { token: other, ..Sample::answer() };
        assert_eq!(judge(&token).unwrap_err(), BadAnswer::OtherToken);
        let recorded = Sample { recorded: true, ..elsewhere };
        assert!(judge(&recorded).is_ok());
    }

    #[test]
    fn an_answer_to_another_request_is_refused() {
        let received = Sample::answer().received(Sample::request().origin());
        let error = judge_received(received, &Sample::request()).unwrap_err();
        assert_eq!(
            error,
            BadAnswer::Invalid(Invalid { place: Place::Seal, fault: Fault::OtherSeal })
        );
    }

    #[test]
    fn a_refusal_without_reading_the_body_closes_the_origin() {
        // [QUI-17]
        let refusal = Sample { unread: true, ..Sample::refusal(Status::BODY_TOO_LARGE) };
        let answer = judge(&refusal).unwrap();
        assert_eq!(answer.replay().message.origin().unwrap().data(), None);
        let success = Sample { unread: true, ..Sample::answer() };
        assert_eq!(judge(&success).unwrap_err(), BadAnswer::NothingUnread);
    }

    #[test]
    fn the_admit_layer_must_say_what_it_bound() {
        // [ADM-8]
        let request = Sample::request();
        let mut received = Sample::answer().received(request.origin());
        if let Some(Link::Layer(admit)) = received.links.first_mut() {
            admit.public.retain(|field| field.name.index() != Some(FieldIndex::POLICIES));
        }
        // The seal does not hold any more either, so look at the admit layer alone.
        let keys = KeyList::sign_single(&signing_key(NODE));
        let root = signing_key(NODE).public();
        let expected = Expected { root, keys: &keys, exporter: EXPORTER, token: TOKEN };
        let links = [Link::Layer(request.origin().clone())].into_iter().chain(received.links);
        let message = Message { links: links.collect(), interims: Vec::new(), seal: received.seal };
        assert_eq!(
            expected.check_admit(&message),
            Err(BadAnswer::AdmitLacks(FieldIndex::POLICIES))
        );
    }
}
