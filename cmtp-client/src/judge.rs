//! What makes an answer acceptable, decided while it comes: `cmtp-spec/spec/09-quic.md`, `cmtp-spec/spec/10-admission.md`.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use cmtp_codec::{
    Chain, Digest, KeyList, KnownStatements, Layer, Link, ProcessVerdict, PublicKey, Seal,
    Verified, Verifier,
};
use cmtp_spec::{ConnectionKind, FieldIndex, Status, Step};

use crate::answer::{BadAnswer, is_success};
use crate::ending::Ending;
use crate::request::PreparedRequest;

/// What an answer must agree with.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// The node that was called.
    pub(crate) root: PublicKey,
    /// SHA-256 of the connection's exporter value.
    pub(crate) exporter: Digest,
    /// SHA-256 of the token shown; zero where none was.
    pub(crate) token: Digest,
    /// Statements of the node that were verified already, for whatever answer.
    pub(crate) known: Arc<KnownStatements>,
}

/// A run of an answer's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The number of the layer that it is the body of.
    pub layer: u32,
    /// The bytes.
    pub data: Bytes,
    /// What stands for them.
    pub standing: Standing,
}

/// What stands for a run of bytes. Closed: there is a seal over it or there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet: they came over a connection to the node, which has not signed them. The same bytes come once more as
    /// [`Standing::Sealed`], or the answer fails.
    Provisional,
    /// An interim seal or the final one, verified: its hash, R0 with signature and path, and a key of the node's list.
    Sealed,
}

impl Piece {
    /// Whether the node has signed for these bytes.
    pub fn is_sealed(&self) -> bool {
        self.standing == Standing::Sealed
    }
}

/// Verifies one answer part by part.
#[derive(Debug)]
pub(crate) struct Judge {
    expected: Arc<Expected>,
    /// The node's key list, as it was shown last.
    keys: Arc<Verified<KeyList>>,
    origin: Arc<Layer>,
    /// Of the origin alone.
    chain: Chain,
    keep: bool,
    /// Layers that came before it was known whether the node closed layer 0 unread, which changes every hash.
    held: Vec<Link>,
    verifier: Option<Verifier>,
    admit: Result<(), BadAnswer>,
    layers: u32,
    deciding: Option<Layer>,
    provisional: Vec<Piece>,
    ready: VecDeque<Piece>,
}

impl Judge {
    /// Judges an answer to `request`; with `keep` all of it stays in memory.
    pub(crate) fn new(
        expected: Arc<Expected>,
        keys: Arc<Verified<KeyList>>,
        request: &PreparedRequest,
        keep: bool,
    ) -> Self {
        Self {
            expected,
            keys,
            origin: Arc::clone(&request.origin),
            chain: request.chain,
            keep,
            held: Vec::new(),
            verifier: None,
            admit: Err(BadAnswer::NoAdmit),
            // The origin is layer 0 of the answer, too.
            layers: 1,
            deciding: None,
            provisional: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// [NKY-7] Judges by the newest list from here on.
    pub(crate) fn renew(&mut self, keys: &Arc<Verified<KeyList>>) {
        if Arc::ptr_eq(&self.keys, keys) {
            return;
        }
        self.keys = Arc::clone(keys);
        if let Some(verifier) = &mut self.verifier {
            verifier.renew(Arc::clone(keys));
        }
    }

    /// Bytes to hand out.
    pub(crate) fn piece(&mut self) -> Option<Piece> {
        self.ready.pop_front()
    }

    /// Hands out no more: the answer is bad.
    pub(crate) fn silence(&mut self) {
        self.ready.clear();
    }

    pub(crate) const fn keeps(&self) -> bool {
        self.keep
    }

    pub(crate) fn link(&mut self, link: Link) -> Result<(), BadAnswer> {
        if link.step() == Step::SEGMENT {
            // [QUI-17] Only a refusal comes before the body was read.
            self.begin(false)?;
        }
        if let Some(layer) = link.layer() {
            self.look_at(layer);
        }
        match &mut self.verifier {
            Some(verifier) => drop(verifier.link(link)?),
            None => self.held.push(link),
        }
        self.layers = self.layers.saturating_add(1);
        Ok(())
    }

    /// Takes an interim seal; whether the bytes before it are sealed by that.
    pub(crate) fn interim(&mut self, seal: Seal) -> Result<bool, BadAnswer> {
        self.begin(false)?;
        if let Some(verifier) = &mut self.verifier {
            verifier.interim(seal)?;
        }
        match &self.admit {
            Ok(()) => {
                self.release();
                Ok(true)
            }
            // [QUI-21] It skips this for an answer with the item `recorded`, which only the final seal has.
            Err(BadAnswer::OtherConnection | BadAnswer::OtherToken) => Ok(false),
            Err(error) => Err(error.clone()),
        }
    }

    /// Takes the final seal.
    ///
    /// [QUI-20] A client MUST verify the whole answer before it hands anything of it to the application as verified.
    pub(crate) fn seal(&mut self, mut seal: Seal) -> Result<Ending, BadAnswer> {
        let unread = seal.body_unread;
        // [FRM-17] The item MUST NOT come where the origin had no body.
        if unread && (self.verifier.is_some() || self.origin.data().is_none()) {
            return Err(BadAnswer::NothingUnread);
        }
        let recorded = seal.recorded;
        // [STO-5] The node's key list as it was shown; R0 is judged by it, now and later.
        seal.keys = Some((**self.keys).clone());
        self.begin(unread)?;
        let verifier = self.verifier.take().ok_or(BadAnswer::NoAdmit)?;
        let judgement = verifier.seal(seal)?;
        match &judgement.process {
            ProcessVerdict::Follows => {}
            ProcessVerdict::Breaks(error) => return Err(BadAnswer::Process(error.clone())),
            ProcessVerdict::NotChecked => return Err(BadAnswer::NoAdmit),
        }
        // [QUI-17] A node MAY *refuse* an origin with a body before END came.
        if unread && is_success(judgement.status) {
            return Err(BadAnswer::NothingUnread);
        }
        match &self.admit {
            // [QUI-21] It skips this for an answer with the item `recorded`: it was admitted on an earlier connection.
            Err(BadAnswer::OtherConnection | BadAnswer::OtherToken) if recorded => {}
            admit => admit.clone()?,
        }
        self.release();
        Ok(Ending::new(judgement, self.deciding.take()))
    }

    /// Begins the chain, once it is known whether the origin's body was read.
    fn begin(&mut self, unread: bool) -> Result<(), BadAnswer> {
        if self.verifier.is_some() {
            return Ok(());
        }
        let mut origin = (*self.origin).clone();
        let (Expected { root, known, .. }, keys) = (&*self.expected, self.keys.clone());
        let verifier = Verifier::new(Some(*root), Some(keys)).knowing(known.clone());
        let mut verifier = if self.keep { verifier.keeping() } else { verifier };
        if unread {
            // [QUI-17] Both sides then close layer 0 with B = 32 zero bytes.
            origin.close_unread();
            verifier.link(Link::Layer(origin))?;
        } else {
            verifier = verifier.after_own(origin, &self.chain);
        }
        self.admit = self.expected.check_admit(self.held.first());
        for link in self.held.drain(..) {
            verifier.link(link)?;
        }
        self.verifier = Some(verifier);
        Ok(())
    }

    fn look_at(&mut self, layer: &Layer) {
        // Chapter 7: the body of an answer is that of its serve or assemble layer, followed by those of its segments.
        let answers = matches!(layer.step, Step::SERVE | Step::ASSEMBLE | Step::SEGMENT);
        if let Some(data) = layer.data().filter(|data| answers && !data.is_empty()) {
            let standing = Standing::Provisional;
            let piece = Piece { layer: self.layers, data: data.clone(), standing };
            self.provisional.push(piece.clone());
            self.ready.push_back(piece);
        }
        if layer.status != Status::NONE {
            self.deciding = Some(layer.clone());
        }
    }

    /// What came so far is under a seal that holds.
    fn release(&mut self) {
        let sealed = self.provisional.drain(..);
        self.ready.extend(sealed.map(|piece| Piece { standing: Standing::Sealed, ..piece }));
    }
}

impl Expected {
    fn check_admit(&self, admit: Option<&Link>) -> Result<(), BadAnswer> {
        let admit = match admit {
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_codec::{Fault, Invalid, Place, Unverified, Verdict};

    use super::*;
    use crate::answer::Answer;
    use crate::request::PreparedRequest;
    use crate::testing::{EXPORTER, NODE, Received, Sample, TOKEN, signing_key};

    fn judge(sample: &Sample) -> Result<Answer, BadAnswer> {
        let request = Sample::request();
        judge_received(sample.received(request.origin()), &request)
    }

    fn expected() -> Arc<Expected> {
        Arc::new(Expected {
            root: signing_key(NODE).public(),
            exporter: EXPORTER,
            token: TOKEN,
            known: Arc::default(),
        })
    }

    fn judge_received(received: Received, request: &PreparedRequest) -> Result<Answer, BadAnswer> {
        let keys = KeyList::sign_single(&signing_key(NODE)).verify().unwrap();
        let mut judge = Judge::new(expected(), Arc::new(keys), request, true);
        for link in received.links {
            judge.link(link)?;
        }
        Ok(judge.seal(received.seal)?.into_answer().unwrap())
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
        let Some(Link::Layer(admit)) = received.links.first_mut() else { unreachable!() };
        admit.public.retain(|field| field.name.index() != Some(FieldIndex::POLICIES));
        assert_eq!(
            expected().check_admit(received.links.first()),
            Err(BadAnswer::AdmitLacks(FieldIndex::POLICIES))
        );
    }
}
