//! Answers that are read while they come.

use std::sync::Arc;
use std::time::Duration;

use cmtp_codec::{Link, Part, PublicKey};
use cmtp_spec::{Status, Step, binding, limits, remedies};
use tokio::time::Instant;

use crate::answer::Answer;
use crate::call::CallError;
use crate::connection::{Connection, Shown};
use crate::ending::Ending;
use crate::exchange::Exchange;
use crate::judge::{Judge, Piece};
use crate::request::PreparedRequest;

/// An answer while it comes, such as a subscription's. Dropping it cancels the request.
///
/// Each run of bytes comes twice: at once, as [provisional](crate::Standing::Provisional), and once more when the node has
/// signed for it, as [sealed](crate::Standing::Sealed). Who acts on nothing that is not proved looks at the sealed ones only.
///
/// In memory are the bytes that are not sealed yet, up to `answer_max` of [`crate::ClientConfig`]; layers are kept, all
/// together up to `answer_max`, only after [`Streaming::keeping`].
///
/// ```no_run
/// # async fn example(connection: cmtp_client::Connection) -> Result<(), Box<dyn std::error::Error>> {
/// use cmtp_client::Request;
/// use cmtp_codec::Fqmn;
///
/// let target = Fqmn::parse("0xE:orders.created")?;
/// let mut orders = connection.open(Request::new(target)).await?;
/// while let Some(piece) = orders.next().await? {
///     if piece.is_sealed() {
///         println!("{} bytes that the node stands for", piece.data.len());
///     }
/// }
/// println!("{}", orders.finish().await?.status());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Streaming {
    connection: Connection,
    request: PreparedRequest,
    /// Boxed, as the judge is, because a streaming answer is moved a few times.
    exchange: Box<Exchange>,
    judge: Box<Judge>,
    shown: Arc<Shown>,
    token: TokenShown,
    /// Until when the first layer has to be there.
    patience: Option<Instant>,
    /// What the node answered, as long as another session may make it another.
    refused: Option<Ending>,
    /// What came, and names a key that is waited for; until when.
    held: Option<(Part, Instant)>,
    ending: Option<Ending>,
}

/// How the token was shown. Closed: AUTH has these forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenShown {
    /// By its digest alone; the node may ask for the whole.
    ByDigest,
    /// The node asked for the whole, which is not sent yet.
    Asked,
    /// Whole, or there is none.
    Whole,
    /// Not at all, in a handshake, or for the second time: what the node answers is the answer.
    Settled,
}

impl Streaming {
    pub(crate) fn new(
        connection: Connection,
        request: PreparedRequest,
        exchange: Exchange,
        (shown, token): (Arc<Shown>, TokenShown),
        patience: Option<Duration>,
        keep: bool,
    ) -> Self {
        let (expected, keys) = (Arc::clone(&shown.expected), connection.keys());
        let judge = Box::new(Judge::new(expected, keys, &request, keep));
        let patience = patience.and_then(|patience| Instant::now().checked_add(patience));
        let exchange = Box::new(exchange);
        let (held, refused, ending) = (None, None, None);
        Self { connection, request, exchange, judge, shown, token, patience, held, refused, ending }
    }

    /// Keeps all layers, so that the end holds a whole [`Answer`]; to be called before anything is read.
    #[must_use]
    pub fn keeping(mut self) -> Self {
        *self.judge = self.new_judge(true);
        self
    }

    /// The request that is answered.
    pub const fn request(&self) -> &PreparedRequest {
        &self.request
    }

    /// Waits for the next piece; `None` once the answer ended and all of it was verified. May be dropped and called again.
    ///
    /// # Errors
    /// [`CallError`]; nothing comes after one.
    pub async fn next(&mut self) -> Result<Option<Piece>, CallError> {
        loop {
            if let Some(piece) = self.judge.piece() {
                return Ok(Some(piece));
            }
            if let Some(refused) = self.refused.take() {
                self.show_another(refused).await?;
            }
            if self.ending.is_some() {
                return Ok(None);
            }
            if self.token == TokenShown::Asked {
                self.show_token().await?;
            }
            if self.held.is_none() {
                self.held = Some((self.part().await?, Instant::now() + KEYS_WAIT));
            }
            self.await_keys().await;
            let Some((part, _)) = self.held.take() else { continue };
            self.take(part).inspect_err(|error| {
                self.exchange.reset(error.close_code());
                self.judge.silence();
            })?;
        }
    }

    /// Waits for the end, verified. Pieces that were not taken before are lost.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn finish(mut self) -> Result<Ending, CallError> {
        while self.next().await?.is_some() {}
        self.ending.take().ok_or(CallError::Lost)
    }

    /// Waits for the whole answer.
    pub(crate) async fn answer(self) -> Result<Answer, CallError> {
        let ending = self.finish().await?;
        // It was opened to be kept, so it is there.
        ending.into_answer().ok_or(CallError::Lost)
    }

    async fn part(&mut self) -> Result<Part, CallError> {
        let id = self.exchange.id();
        let in_time = async |patience: Option<Instant>| match patience {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        };
        let error = tokio::select! {
            biased;
            part = self.exchange.next() => match part {
                Ok(part) => return Ok(part),
                // [QUI-22] Requests on streams from that id on were not processed, however they ended.
                Err(_) if self.connection.refuses(id) => CallError::GoingAway,
                Err(error) => error,
            },
            () = self.connection.not_processed(id) => CallError::GoingAway,
            () = in_time(self.patience) => CallError::TimedOut,
        };
        self.exchange.reset(error.close_code());
        self.judge.silence();
        Err(error)
    }

    /// [NKY-9] Waits for a key list that has the key which the part that came names.
    async fn await_keys(&mut self) {
        let Some((part, until)) = &self.held else { return };
        if let Some(key) = node_key(part) {
            let listed = self.connection.keys_with(key);
            // Where none comes the part is judged by the list that is there.
            let _elapsed = tokio::time::timeout_at(*until, listed).await;
        }
        self.judge.renew(&self.connection.keys());
    }

    fn take(&mut self, part: Part) -> Result<(), CallError> {
        self.patience = None;
        match part {
            Part::Link(link) => {
                if !refuses_token(&link) {
                    self.shown.answered();
                }
                self.judge.link(*link)?;
            }
            Part::Interim(seal) => {
                let released = self.judge.interim(*seal)?;
                if released && !self.judge.keeps() {
                    self.exchange.make_room();
                }
            }
            Part::Seal(seal) => {
                let ending = self.judge.seal(*seal)?;
                // [QUI-11] A client sends form 1 and the same origin bytes once more then, and only once.
                let asked = ending.status() == Status::TOKEN_INVALID
                    && ending.remedy() == Some(remedies::RESEND_TOKEN.0);
                match self.token {
                    TokenShown::ByDigest if asked => self.token = TokenShown::Asked,
                    TokenShown::ByDigest | TokenShown::Whole
                        if wants_session(&ending) && !self.ends_session() =>
                    {
                        self.refused = Some(ending);
                    }
                    _ => self.ending = Some(ending),
                }
            }
            // The assembler takes AUTH from no node.
            _ => {}
        }
        Ok(())
    }

    async fn show_token(&mut self) -> Result<(), CallError> {
        // [IDM-6] The same origin bytes.
        *self.exchange = self.connection.exchange(&self.request, &self.shown, true).await?;
        *self.judge = self.new_judge(self.judge.keeps());
        self.token = TokenShown::Whole;
        Ok(())
    }

    /// [SES-19] Where the user allowed it, opens a session that the node asks for, and sends the request again.
    async fn show_another(&mut self, refused: Ending) -> Result<(), CallError> {
        self.token = TokenShown::Settled;
        if !self.connection.opens_for(&refused, self.shown.token()).await {
            self.ending = Some(refused);
            return Ok(());
        }
        // [IDM-6] The same origin bytes.
        self.shown = self.connection.shown();
        *self.exchange = self.connection.exchange(&self.request, &self.shown, true).await?;
        *self.judge = self.new_judge(self.judge.keeps());
        Ok(())
    }

    /// A hangup is nothing that a session is opened for.
    fn ends_session(&self) -> bool {
        self.request.target() == binding::SESSION_HANGUP
    }

    fn new_judge(&self, keep: bool) -> Judge {
        let (expected, keys) = (Arc::clone(&self.shown.expected), self.connection.keys());
        Judge::new(expected, keys, &self.request, keep)
    }
}

/// The node's own key that a part names, if it names one.
fn node_key(part: &Part) -> Option<PublicKey> {
    match part {
        Part::Link(link) => {
            matches!(link.step(), Step::ADMIT | Step::SEGMENT).then(|| link.actor())
        }
        Part::Interim(seal) | Part::Seal(seal) => Some(seal.key),
        _ => None,
    }
}

/// [QUI-10] The node's first answer other than 401 is what a token is shown whole for.
fn refuses_token(link: &Link) -> bool {
    link.step() == Step::ADMIT && link.status() == Status::TOKEN_INVALID
}

/// Whether another session would make the answer another.
fn wants_session(ending: &Ending) -> bool {
    [Status::IDENTITY_REQUIRED, Status::TOKEN_INVALID].contains(&ending.status())
}

/// KEYS comes on another stream than the answer.
const KEYS_WAIT: Duration = Duration::from_secs(limits::KEYS_WAIT);

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;

    use cmtp_codec::{Digest, Fault, Fqmn, Place, Seal, Unverified, Verdict};
    use cmtp_spec::{CloseCode, binding};
    use quinn::SendStream;

    use super::*;
    use crate::answer::BadAnswer;
    use crate::client::{Client, ClientConfig};
    use crate::close;
    use crate::identity::Identity;
    use crate::judge::Standing::{self, Provisional, Sealed};
    use crate::request::Request;
    use crate::testing::{FakeConnection, FakeNode, NODE, Streamed, signing_key};
    use crate::trust::Trust;

    async fn connect() -> (Client, Connection, FakeConnection, SendStream) {
        connect_with(|config| config).await
    }

    async fn connect_with(
        change: impl FnOnce(ClientConfig) -> ClientConfig,
    ) -> (Client, Connection, FakeConnection, SendStream) {
        let node = FakeNode::listen(NODE, binding::ALPN);
        let identity = Arc::new(Identity::from_seed(&[2; 32]).unwrap());
        let client = Client::new(change(ClientConfig::new(identity))).unwrap();
        let connecting = client.connect(node.address(), "localhost", Trust::FirstUse);
        let (connection, (peer, control)) = tokio::join!(connecting, node.greet());
        (client, connection.unwrap(), peer, control)
    }

    fn ticks() -> Request {
        Request::new(Fqmn::parse("0xS:time:ticks").unwrap())
    }

    fn text(piece: Option<Piece>) -> Option<(String, Standing)> {
        let piece = piece?;
        Some((String::from_utf8(piece.data.to_vec()).unwrap(), piece.standing))
    }

    /// Opens a stream whose first segment is there, and lets the node go on with it.
    async fn opened(connection: &Connection, peer: &FakeConnection) -> (Streaming, Streamed) {
        let mut streaming = connection.open(ticks()).await.unwrap();
        let script = async {
            let mut streamed = Streamed::begin(peer.request().await, peer).await;
            streamed.segment("one ", false).await;
            streamed
        };
        let (piece, streamed) = tokio::join!(streaming.next(), script);
        assert_eq!(text(piece.unwrap()), Some(("one ".to_owned(), Provisional)));
        (streaming, streamed)
    }

    #[tokio::test]
    async fn bytes_are_provisional_until_the_node_signed_for_them() {
        // [HSH-5] [RCP-14] [QUI-20]
        let (_client, connection, peer, _control) = connect().await;
        let (mut streaming, mut streamed) = opened(&connection, &peer).await;
        streamed.interim(|_| {}).await;
        let (sealed, ()) = tokio::join!(streaming.next(), streamed.segment("two", true));
        assert_eq!(text(sealed.unwrap()), Some(("one ".to_owned(), Sealed)));
        let piece = streaming.next().await.unwrap();
        assert_eq!(text(piece), Some(("two".to_owned(), Provisional)));
        let (sealed, ()) = tokio::join!(streaming.next(), streamed.seal(|_| {}));
        assert_eq!(text(sealed.unwrap()), Some(("two".to_owned(), Sealed)));
        assert_eq!(streaming.next().await.unwrap(), None);
        let ending = streaming.finish().await.unwrap();
        assert_eq!((ending.status(), ending.verdict()), (Status::OK, Verdict::Authentic));
        assert_eq!(ending.layers(), 5);
        // Nothing was kept.
        assert!(ending.into_answer().is_none());
    }

    #[tokio::test]
    async fn a_stream_that_is_kept_ends_as_a_call_does() {
        let (_client, connection, peer, _control) = connect().await;
        let script = async {
            let mut streamed = Streamed::begin(peer.request().await, &peer).await;
            streamed.segment("one ", false).await;
            streamed.interim(|_| {}).await;
            streamed.segment("two", true).await;
            streamed.seal(|_| {}).await;
        };
        let (answer, ()) = tokio::join!(connection.call(ticks()), script);
        let answer = answer.unwrap();
        assert_eq!(answer.body().as_deref(), Some(&b"one two"[..]));
        assert_eq!(answer.replay().message.interims.len(), 1);
        let file = answer.to_saved().to_stored();
        let root = connection.node();
        let read = Unverified::from_stored(file).unwrap().verify(Some(&root)).unwrap();
        assert_eq!(read.verdict, Verdict::Authentic);
    }

    #[tokio::test]
    async fn a_forged_interim_seals_nothing() {
        // [HSH-5] [RCP-5] [RCP-8]
        let (node, stranger) = (signing_key(NODE), signing_key(9));
        type Forge = fn(&mut Seal);
        let table: [(_, Forge, _); 3] = [
            (&node, |seal| seal.hash = Digest([1; 32]), Some(Fault::OtherSeal)),
            // A signature that is not the node's.
            (&node, |seal| seal.receipt.as_mut().unwrap().signature.0[0] ^= 1, None),
            // A key that is not in the node's list, and all else as it must be.
            (&stranger, |_| {}, Some(Fault::ForeignKey)),
        ];
        for (key, forge, fault) in table {
            let (_client, connection, peer, _control) = connect().await;
            let (mut streaming, mut streamed) = opened(&connection, &peer).await;
            streamed.interim_by(key, forge).await;
            let error = streaming.next().await.unwrap_err();
            let CallError::Bad(BadAnswer::Invalid(invalid)) = error else {
                unreachable!("{error}")
            };
            assert_eq!(invalid.place, Place::Interim(4), "{invalid}");
            match fault {
                Some(fault) => assert_eq!(invalid.fault, fault),
                None => assert!(matches!(invalid.fault, Fault::Receipt(_)), "{invalid}"),
            }
            // The node is told, and nothing comes after.
            let stopped = streamed.send.stopped().await.unwrap();
            assert_eq!(stopped, Some(close::varint(CloseCode::BAD_CHAIN)));
            streaming.next().await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn an_interim_of_another_connection_seals_nothing_unless_the_answer_is_recorded() {
        // [QUI-21]
        for recorded in [true, false] {
            let (_client, connection, peer, _control) = connect().await;
            let (_other_client, _other, elsewhere, _other_control) = connect().await;
            let mut streaming = connection.open(ticks()).await.unwrap();
            let script = async {
                let mut streamed = Streamed::begin(peer.request().await, &elsewhere).await;
                streamed.segment("one ", false).await;
                streamed.interim(|_| {}).await;
                streamed.segment("two", true).await;
                streamed.seal(|seal| seal.recorded = recorded).await;
            };
            let read = async {
                let first = streaming.next().await.unwrap();
                let second = streaming.next().await.unwrap();
                (first, second, streaming.next().await)
            };
            let ((first, second, third), ()) = tokio::join!(read, script);
            assert!(!first.unwrap().is_sealed() && !second.unwrap().is_sealed());
            match third {
                Ok(third) => assert!(recorded && third.unwrap().is_sealed()),
                Err(error) => {
                    assert!(!recorded, "{error}");
                    assert!(matches!(error, CallError::Bad(BadAnswer::OtherConnection)));
                }
            }
        }
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_is_cancelled() {
        // [QUI-8]
        let (_client, connection, peer, _control) = connect().await;
        let (streaming, streamed) = opened(&connection, &peer).await;
        drop(streaming);
        let code = streamed.send.stopped().await.unwrap();
        assert_eq!(code, Some(close::varint(CloseCode::CANCELLED)));
    }

    #[tokio::test]
    async fn a_stream_outlives_the_connection_that_was_dropped() {
        let (_client, connection, peer, _control) = connect().await;
        let (mut streaming, mut streamed) = opened(&connection, &peer).await;
        drop(connection);
        let (piece, ()) = tokio::join!(streaming.next(), streamed.segment("two", true));
        assert_eq!(text(piece.unwrap()), Some(("two".to_owned(), Provisional)));
        drop(streaming);
        assert_eq!(peer.close_code().await, CloseCode::NO_ERROR);
    }

    #[tokio::test]
    async fn only_what_is_not_sealed_counts_against_the_limit() {
        // [LIM-1]
        let small = |config| ClientConfig { answer_max: 2_000, ..config };
        let (_client, connection, peer, _control) = connect_with(small).await;
        let (mut streaming, mut streamed) = opened(&connection, &peer).await;
        let script = async {
            for _ in 0..20 {
                streamed.interim(|_| {}).await;
                streamed.segment("more", false).await;
            }
            // Twice the limit was sealed; now it is too much.
            for _ in 0..60 {
                streamed.segment("more", false).await;
            }
        };
        let read = async {
            let mut sealed = 0;
            loop {
                match streaming.next().await {
                    Ok(piece) => sealed += usize::from(piece.unwrap().is_sealed()),
                    Err(error) => return (sealed, error),
                }
            }
        };
        let ((sealed, error), ()) = tokio::join!(read, script);
        assert!(matches!(error, CallError::TooLarge { max: 2_000 }), "{error}");
        assert_eq!(sealed, 20);
    }
}
