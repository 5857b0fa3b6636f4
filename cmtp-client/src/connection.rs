//! A connection to one node: `cmtp-spec/spec/09-quic.md`.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use cmtp_codec::session::SessionTarget;
use cmtp_codec::{Digest, KeyList, Layer, Part, PublicKey, Verified};
use cmtp_spec::{CloseCode, KeyUse, Status, binding, limits};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::answer::Answer;
use crate::call::CallError;
use crate::client::ConnectError;
use crate::clock;
use crate::close;
use crate::control::{Control, Heard, LogKeeper, Settings, Told};
use crate::exchange::{AnswerLimits, Exchange};
use crate::identity::Identity;
use crate::judge::Expected;
use crate::known_logs::{KnownLogs, LogSeen};
use crate::request::{PrepareError, PreparedRequest, Request};
use crate::session::Opener;
use crate::streaming::{Streaming, TokenShown};
use crate::token::{Credentials, Token};
use crate::trust::{Numbers, TrustedBy};

/// A connection to a node that is trusted. Calls on it run side by side; it is closed when its last clone is dropped and no
/// [`Streaming`] of it is left.
///
/// ```no_run
/// # async fn example(connection: cmtp_client::Connection) -> Result<(), Box<dyn std::error::Error>> {
/// use cmtp_client::Request;
/// use cmtp_codec::Fqmn;
///
/// let answer = connection.call(Request::new(Fqmn::parse("0xS:echo")?).body("hi")).await?;
/// println!("{}: {:?}", answer.status(), answer.body());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    quic: quinn::Connection,
    identity: Arc<Identity>,
    settings: Settings,
    trusted_by: TrustedBy,
    /// The node's key list, as it was shown last.
    keys: watch::Receiver<Arc<Verified<KeyList>>>,
    /// What is shown where no token is: of the handshake, too.
    bare: Arc<Shown>,
    /// What is shown from now on.
    shown: RwLock<Arc<Shown>>,
    exporter: [u8; 32],
    limits: AnswerLimits,
    pub(crate) opener: Opener,
    goaway: watch::Receiver<Option<u64>>,
    log: watch::Receiver<Option<LogSeen>>,
    watcher: JoinHandle<()>,
}

/// What a request shows, and what its answer must agree with.
#[derive(Debug)]
pub(crate) struct Shown {
    credentials: Option<Credentials>,
    pub(crate) expected: Arc<Expected>,
    /// Whether the node answered on this connection, so that it knows the token by its digest.
    answered: AtomicBool,
}

impl Shown {
    /// The node knows the token by its digest from now on.
    pub(crate) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    fn was_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Of the token; zero where there is none.
    pub(crate) fn token(&self) -> Digest {
        self.expected.token
    }
}

/// What an answer says, whether or not it is true.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance {
    pub(crate) status: Status,
    /// Bytes of bodies.
    pub(crate) received: usize,
}

/// What a handshake led to.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) quic: quinn::Connection,
    pub(crate) control: Control,
    pub(crate) settings: Settings,
    pub(crate) keys: Verified<KeyList>,
    pub(crate) trusted_by: TrustedBy,
}

impl Connection {
    pub(crate) fn new(
        established: Established,
        identity: Arc<Identity>,
        token: Option<&Token>,
        limits: AnswerLimits,
        (logs, numbers, opener): (Arc<KnownLogs>, Arc<Numbers>, Opener),
    ) -> Result<Self, ConnectError> {
        let Established { quic, control, settings, keys, trusted_by } = established;
        let exporter = exporter_value(&quic, binding::EXPORTER_LABEL_AUTH)?;
        let expected = Expected {
            root: keys.root,
            exporter: Digest::of(&exporter),
            token: Digest::ZERO,
            known: Arc::default(),
        };
        let bare = Arc::new(Shown {
            credentials: None,
            expected: Arc::new(expected),
            answered: AtomicBool::new(false),
        });
        let (told, heard) = Told::channels(Arc::new(keys), numbers);
        let Heard { keys, goaway, log } = heard;
        let log_keeper = LogKeeper { logs, keys: keys.clone() };
        let watcher = tokio::spawn(control.watch(quic.clone(), log_keeper, told));
        let shared = Shared {
            quic,
            identity,
            settings,
            trusted_by,
            keys,
            shown: RwLock::new(Arc::clone(&bare)),
            bare,
            exporter,
            limits,
            opener,
            goaway,
            log,
            watcher,
        };
        let connection = Self { shared: Arc::new(shared) };
        if let Some(token) = token {
            connection.show(token);
        }
        Ok(connection)
    }

    /// Shows `token` from now on, in place of what was shown before. Requests that are under way keep theirs.
    pub fn show(&self, token: &Token) {
        let Shared { identity, bare, exporter, shown, .. } = &*self.shared;
        let expected = &bare.expected;
        let credentials = Credentials::new(token, identity, exporter, &expected.root);
        let expected = Expected { token: credentials.digest(), ..(**expected).clone() };
        let now = Shown {
            credentials: Some(credentials),
            expected: Arc::new(expected),
            answered: AtomicBool::new(false),
        };
        *shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(now);
    }

    pub(crate) fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shared.shown.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// E_s of chapter 22.
    pub(crate) fn session_exporter(&self) -> Result<[u8; 32], ConnectError> {
        exporter_value(&self.shared.quic, binding::EXPORTER_LABEL_SESSION)
    }

    pub(crate) fn opener(&self) -> &Opener {
        &self.shared.opener
    }

    /// Who calls.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.shared.identity
    }

    /// Who the node is: its root key.
    pub fn node(&self) -> PublicKey {
        self.shared.bare.expected.root
    }

    /// The node's key list, as it was shown last: it may change while the connection lives.
    pub fn keys(&self) -> Arc<Verified<KeyList>> {
        Arc::clone(&self.shared.keys.borrow())
    }

    /// Waits until the list has `key` as a layer key; forever where it never does.
    pub(crate) async fn keys_with(&self, key: PublicKey) {
        let mut keys = self.shared.keys.clone();
        if keys.wait_for(|keys| keys.lists(KeyUse::LAYER, &key)).await.is_err() {
            // The control stream is gone, and the connection with it: no other list comes.
            std::future::pending().await
        }
    }

    /// What made the node trusted.
    pub fn trusted_by(&self) -> TrustedBy {
        self.shared.trusted_by
    }

    /// Where it is.
    pub fn remote_address(&self) -> SocketAddr {
        self.shared.quic.remote_address()
    }

    /// What the node said of itself.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Sends a request and waits for its verified answer.
    ///
    /// A refusal by the node is an answer. To send the same bytes again after an error, use [`Connection::prepare`] and
    /// [`Connection::send`].
    ///
    /// # Errors
    /// [`CallError`]; where [`CallError::is_outcome_unknown`], a write may have had its effect.
    pub async fn call(&self, request: Request) -> Result<Answer, CallError> {
        self.send(&self.prepare(request)?).await
    }

    /// Makes the origin of a request to this node: from here on its bytes stand.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(&self, request: Request) -> Result<PreparedRequest, PrepareError> {
        request.prepare(&self.shared.identity, self.node(), clock::now())
    }

    /// Sends a request whose bytes stand, perhaps not for the first time, and waits for its verified answer.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn send(&self, request: &PreparedRequest) -> Result<Answer, CallError> {
        self.renew_in_time().await;
        let answer = self.send_shown(request, &self.shown()).await?;
        Ok(answer.after_unknown(request.may_have_been_sent()))
    }

    /// As [`Connection::send`] without a token, whatever is shown otherwise.
    pub(crate) async fn send_bare(&self, request: &PreparedRequest) -> Result<Answer, CallError> {
        self.send_shown(request, &self.shared.bare).await
    }

    async fn send_shown(
        &self,
        request: &PreparedRequest,
        shown: &Arc<Shown>,
    ) -> Result<Answer, CallError> {
        // Pinned first: it is large, and would be copied into the timeout.
        let answer = pin!(async { self.open_keeping(request, shown, true).await?.answer().await });
        // Dropping the exchange tells the node.
        let answered = tokio::time::timeout(patience(request), answer).await;
        answered.unwrap_or(Err(CallError::TimedOut))
    }

    /// Sends a request and reads its answer while it comes: for what has no end, or a long one.
    ///
    /// # Errors
    /// [`CallError`]; a refusal by the node is none.
    pub async fn open(&self, request: Request) -> Result<Streaming, CallError> {
        self.open_prepared(&self.prepare(request)?).await
    }

    /// As [`Connection::open`], for a request whose bytes stand.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub async fn open_prepared(&self, request: &PreparedRequest) -> Result<Streaming, CallError> {
        self.renew_in_time().await;
        self.open_keeping(request, &self.shown(), false).await
    }

    /// Sends a request and reads its answer to the end without judging it; `None` where the node has not answered on this
    /// connection yet.
    ///
    /// For load alone, which has other answers judged in this one's stead.
    pub(crate) async fn glance(
        &self,
        request: &PreparedRequest,
    ) -> Result<Option<Glance>, CallError> {
        let shown = self.shown();
        if !shown.was_answered() {
            return Ok(None);
        }
        let reading = pin!(async {
            let mut exchange = self.exchange(request, &shown, false).await?;
            let mut seen = Glance { status: Status::NONE, received: 0 };
            loop {
                match exchange.next().await? {
                    Part::Link(link) => {
                        // [PRC-4] The status of a message is that of its last layer whose status is not 0.
                        if link.status() != Status::NONE {
                            seen.status = link.status();
                        }
                        seen.received += link.layer().and_then(Layer::data).map_or(0, Bytes::len);
                    }
                    Part::Seal(_) => return Ok(Some(seen)),
                    _ => {}
                }
            }
        });
        let read = tokio::time::timeout(patience(request), reading).await;
        read.unwrap_or(Err(CallError::TimedOut))
    }

    async fn open_keeping(
        &self,
        request: &PreparedRequest,
        shown: &Arc<Shown>,
        keep: bool,
    ) -> Result<Streaming, CallError> {
        if request.audience() != self.node() {
            return Err(CallError::OtherNode(request.audience()));
        }
        // [QUI-10] AUTH with token and proof on every request stream until the node's first answer; from then on it SHOULD
        // send the digest alone.
        let by_digest = shown.credentials.is_some() && shown.was_answered();
        let exchange = self.exchange(request, shown, !by_digest).await?;
        let token = match by_digest {
            _ if Arc::ptr_eq(shown, &self.shared.bare)
                && SessionTarget::of(request.target()).is_some() =>
            {
                TokenShown::Settled
            }
            true => TokenShown::ByDigest,
            false => TokenShown::Whole,
        };
        // What is kept as a whole is waited for as a whole.
        let patience = (!keep).then(|| patience(request));
        let (connection, shown) = (self.clone(), (Arc::clone(shown), token));
        Ok(Streaming::new(connection, request.clone(), exchange, shown, patience, keep))
    }

    /// Opens a request stream; nothing is sent before the exchange is asked for what comes.
    pub(crate) async fn exchange(
        &self,
        request: &PreparedRequest,
        shown: &Shown,
        whole_token: bool,
    ) -> Result<Exchange, CallError> {
        let Shared { quic, limits, .. } = &*self.shared;
        if request.is_over() {
            return Err(CallError::TooLate);
        }
        let streams = tokio::select! {
            biased;
            // [QUI-22] After GOAWAY a client MUST NOT open request streams on this connection.
            () = self.going_away() => {
                return Err(quic.close_reason().map_or(CallError::GoingAway, CallError::NotSent));
            }
            // [QUI-4] Each exchange is one bidirectional stream that the client opens.
            streams = quic.open_bi() => streams.map_err(CallError::NotSent)?,
        };
        let auth = shown
            .credentials
            .as_ref()
            .map(|token| if whole_token { token.shown() } else { token.known() });
        // [IDM-6] The same origin bytes, whether sent before or not.
        Ok(Exchange::new(streams, auth, request.origin(), *limits))
    }

    /// Whether the node said that it does not process the request stream with this number.
    pub(crate) fn refuses(&self, stream: u64) -> bool {
        self.shared.goaway.borrow().is_some_and(|first| stream >= first)
    }

    /// Waits until the node says so; forever where it never does.
    pub(crate) async fn not_processed(&self, stream: u64) {
        let mut goaway = self.shared.goaway.clone();
        // [QUI-22] Requests on streams from that id on were not processed.
        let refused = |first: &Option<u64>| first.is_some_and(|first| stream >= first);
        if goaway.wait_for(refused).await.is_err() {
            // The control stream is gone, and the connection with it: whoever reads the stream is told.
            std::future::pending().await
        }
    }

    /// What the node showed of its log on this connection, as soon as it did; `None` where the connection ended before.
    ///
    /// A node shows it once it accepted a token, and has to: `[QUI-27]`. How long one waits for it is for the caller to say.
    pub async fn log_seen(&self) -> Option<LogSeen> {
        let mut log = self.shared.log.clone();
        // Where the sender is gone the control stream is, and the connection with it; what it said stays.
        let _over = log.wait_for(Option::is_some).await;
        self.shared.log.borrow().clone()
    }

    /// Whether requests can be sent, as far as is known here.
    pub fn is_open(&self) -> bool {
        self.shared.goaway.borrow().is_none() && self.shared.quic.close_reason().is_none()
    }

    /// Waits until the node takes no more requests on this connection, by its own word or because the connection is over.
    pub async fn going_away(&self) {
        let mut goaway = self.shared.goaway.clone();
        // Where the sender is gone the control stream is, and the connection with it.
        let _over = goaway.wait_for(Option::is_some).await;
    }

    /// Ends the connection. Calls that still run end with an error.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl Shared {
    fn close(&self) {
        self.watcher.abort();
        self.quic.close(close::varint(CloseCode::NO_ERROR), b"");
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The watcher holds the connection, too, which would keep it open.
        self.close();
    }
}

/// How long an answer is waited for.
fn patience(request: &PreparedRequest) -> Duration {
    let left = request.not_after().saturating_sub(clock::now());
    Duration::from_micros(left).saturating_add(GRACE)
}

/// E of chapter 9, or E_s of chapter 22.
fn exporter_value(connection: &quinn::Connection, label: &str) -> Result<[u8; 32], ConnectError> {
    let mut value = [0; 32];
    // The library's error says nothing more than that there is no value.
    connection
        .export_keying_material(&mut value, label.as_bytes(), b"")
        .map_err(|_no_value| ConnectError::NoExporter)?;
    Ok(value)
}

/// How long after a request's not-after its answer may still come: what a node gives a client for its origin, too.
const GRACE: Duration = Duration::from_secs(limits::HEADER_TIMEOUT);

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_codec::{Auth, DecodeErrorKind, Field, Fqmn, Frame, KeyList};
    use cmtp_spec::{FieldIndex, LayerFlags, remedies};

    use super::*;
    use crate::answer::BadAnswer;
    use crate::client::{Client, ClientConfig};
    use crate::testing::{
        FakeConnection, FakeNode, NODE, Sample, keys, send, settings, signing_key,
    };
    use crate::trust::{Trust, Untrusted};

    fn client(token: Option<&str>) -> Client {
        let identity = Arc::new(Identity::from_seed(&[2; 32]).unwrap());
        let token = token.map(str::to_owned);
        Client::new(ClientConfig { token, ..ClientConfig::new(identity) }).unwrap()
    }

    async fn connect(client: &Client, node: &FakeNode) -> Result<Connection, ConnectError> {
        client.connect(node.address(), "localhost", Trust::FirstUse).await
    }

    fn listen() -> FakeNode {
        FakeNode::listen(NODE, binding::ALPN)
    }

    fn request() -> Request {
        Request::new(Fqmn::parse("0xS:echo").unwrap()).body("hello")
    }

    /// Answers the next request with what `bytes` makes of a good answer.
    async fn answer(
        node: &FakeConnection,
        sample: &Sample,
        bytes: impl FnOnce(Bytes) -> Bytes,
    ) -> Option<Auth> {
        let mut request = node.request().await;
        request.send.write_all(&bytes(sample.frames(&request.origin))).await.unwrap();
        request.send.finish().unwrap();
        request.auth
    }

    #[tokio::test]
    async fn a_call_is_one_stream_and_needs_no_token() {
        // [QUI-4] [QUI-6] [QUI-9]
        let (client, node) = (client(None), listen());
        let (connection, greeted) = tokio::join!(connect(&client, &node), node.greet());
        let (connection, (peer, _control)) = (connection.unwrap(), greeted);
        assert_eq!(connection.node(), signing_key(NODE).public());
        assert_eq!(connection.trusted_by(), TrustedBy::FirstUse);
        let sample = peer.answer();
        let (called, auth) =
            tokio::join!(connection.call(request()), answer(&peer, &sample, |bytes| bytes));
        assert_eq!(auth, None);
        assert_eq!(called.unwrap().body().as_deref(), Some(&b"hello"[..]));
        drop(connection);
        assert_eq!(peer.close_code().await, CloseCode::NO_ERROR);
    }

    #[tokio::test]
    async fn a_token_is_shown_until_the_first_answer_and_once_more_on_demand() {
        // [QUI-10] [QUI-11] [IDM-6]
        let (client, node) = (client(Some("t")), listen());
        let (connection, greeted) = tokio::join!(connect(&client, &node), node.greet());
        let (connection, (peer, _control)) = (connection.unwrap(), greeted);
        let token = Digest::of(b"t");
        let good = Sample { token, ..peer.answer() };
        let resend = Sample {
            refused: true,
            status: Status::TOKEN_INVALID,
            remedy: remedies::RESEND_TOKEN.0,
            unlogged: true,
            ..good.clone()
        };
        let (first, auth) =
            tokio::join!(connection.call(request()), answer(&peer, &good, |bytes| bytes));
        assert!(first.unwrap().is_success());
        assert!(matches!(auth, Some(Auth::Shown { .. })));

        let script = async {
            let mut seen = Vec::new();
            for sample in [&resend, &good] {
                let mut request = peer.request().await;
                request.send.write_all(&sample.frames(&request.origin)).await.unwrap();
                request.send.finish().unwrap();
                seen.push((request.auth, request.origin));
            }
            seen
        };
        let (second, seen) = tokio::join!(connection.call(request()), script);
        assert!(second.unwrap().is_success());
        assert_eq!(seen[0].0, Some(Auth::Known(token)));
        assert!(matches!(seen[1].0, Some(Auth::Shown { .. })));
        assert_eq!(seen[0].1, seen[1].1);

        let script = async {
            answer(&peer, &resend, |bytes| bytes).await;
            answer(&peer, &resend, |bytes| bytes).await;
        };
        let (third, ()) = tokio::join!(connection.call(request()), script);
        assert_eq!(third.unwrap().status(), Status::TOKEN_INVALID);
    }

    #[tokio::test]
    async fn a_control_stream_that_breaks_a_rule_ends_the_connection() {
        // [QUI-6] [QUI-7] [QUI-8]
        let table = [
            (vec![keys()], CloseCode::SETTINGS),
            (vec![settings(), settings()], CloseCode::SETTINGS),
            (vec![settings(), Frame::Goaway(0)], CloseCode::UNEXPECTED),
            (vec![settings(), keys(), settings()], CloseCode::SETTINGS),
        ];
        let (client, node) = (client(None), listen());
        for (frames, code) in table {
            let script = async {
                let peer = node.accept().await;
                let _control = peer.control(&frames).await;
                peer.close_code().await
            };
            let connect = async {
                // Kept open until the node was told, so that dropping it is not what tells it.
                let connection = connect(&client, &node).await;
                if let Ok(connection) = &connection {
                    connection.shared.quic.closed().await;
                }
            };
            let ((), told) = tokio::join!(connect, script);
            assert_eq!(told, code, "{frames:?}");
        }
    }

    #[tokio::test]
    async fn control_streams_end_with_the_connection_and_are_one() {
        // [QUI-5] [QUI-7]
        let (client, node) = (client(None), listen());
        let (connection, greeted) = tokio::join!(connect(&client, &node), node.greet());
        let (_connection, (peer, mut control)) = (connection.unwrap(), greeted);
        control.finish().unwrap();
        assert_eq!(peer.close_code().await, CloseCode::CLOSED_CRITICAL_STREAM);

        let (connection, greeted) = tokio::join!(connect(&client, &node), node.greet());
        let (_connection, (peer, _control)) = (connection.unwrap(), greeted);
        let mut unknown = peer.quic.open_uni().await.unwrap();
        unknown.write_all(&[0x21]).await.unwrap();
        assert!(unknown.stopped().await.unwrap().is_some());
        assert!(peer.quic.close_reason().is_none());
        let _second = peer.control(&[settings()]).await;
        assert_eq!(peer.close_code().await, CloseCode::STREAM_CREATION);
    }

    #[tokio::test]
    async fn a_stranger_is_told_that_it_is_not_trusted() {
        // [QUI-3]
        let (client, node) = (client(None), FakeNode::listen(9, binding::ALPN));
        let script = async {
            let (peer, _control) = node.greet().await;
            peer.close_code().await
        };
        let (connection, told) = tokio::join!(connect(&client, &node), script);
        let foreign = Untrusted::ForeignCertificate { node: signing_key(NODE).public() };
        assert!(matches!(connection, Err(ConnectError::Untrusted(error)) if error == foreign));
        assert_eq!(told, CloseCode::UNTRUSTED);
    }

    #[tokio::test]
    async fn another_protocol_is_no_connection() {
        // [QUI-1]
        let (client, node) = (client(None), FakeNode::listen(NODE, "h3"));
        let (connection, ()) = tokio::join!(connect(&client, &node), node.fail());
        let error = connection.unwrap_err();
        assert!(matches!(error, ConnectError::Connection(_)), "{error}");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_hold_is_not_handed_out() {
        // [QUI-18] [QUI-19] [QUI-20]
        let (client, node) = (client(None), listen());
        let (connection, greeted) = tokio::join!(connect(&client, &node), node.greet());
        let (connection, (peer, _control)) = (connection.unwrap(), greeted);
        let good = peer.answer();
        let cut = |bytes: Bytes| bytes.slice(..bytes.len() - 1);
        let (lost, _) = tokio::join!(connection.call(request()), answer(&peer, &good, cut));
        let lost = lost.unwrap_err();
        assert!(matches!(lost, CallError::Lost) && lost.is_retryable(), "{lost}");
        // [QUI-23]
        assert!(lost.is_outcome_unknown());

        let twice = |bytes: Bytes| [&bytes[..], &bytes[..]].concat().into();
        let (more, _) = tokio::join!(connection.call(request()), answer(&peer, &good, twice));
        let Err(CallError::Malformed { error, .. }) = more else { unreachable!("{more:?}") };
        assert_eq!(error.kind, DecodeErrorKind::AfterSeal);

        let flip = |bytes: Bytes| {
            let mut bytes = bytes.to_vec();
            let at = bytes.windows(5).position(|window| window == b"hello").unwrap();
            bytes[at] = b'j';
            bytes.into()
        };
        let (changed, _) = tokio::join!(connection.call(request()), answer(&peer, &good, flip));
        assert!(matches!(changed, Err(CallError::Bad(BadAnswer::Invalid(_)))), "{changed:?}");
    }

    #[tokio::test]
    async fn an_answer_may_come_before_the_body_was_sent() {
        // [QUI-17]
        let (client, node) = (client(None), listen());
        let (connection, greeted) = tokio::join!(connect(&client, &node), node.greet());
        let (connection, (peer, _control)) = (connection.unwrap(), greeted);
        let target = Fqmn::parse("0xS:echo").unwrap();
        let prepared = connection.prepare(Request::new(target).body(vec![7; 8_000_000])).unwrap();
        let script = async {
            let (mut send, mut recv) = peer.streams().await;
            recv.stop(close::varint(CloseCode::REFUSED)).unwrap();
            let refusal = Sample {
                refused: true,
                status: Status::BODY_TOO_LARGE,
                unread: true,
                ..peer.answer()
            };
            send.write_all(&refusal.frames(prepared.origin())).await.unwrap();
            send.finish().unwrap();
        };
        let (refused, ()) = tokio::join!(connection.send(&prepared), script);
        let refused = refused.unwrap();
        assert_eq!(refused.status(), Status::BODY_TOO_LARGE);
        assert!(refused.replay().message.origin().unwrap().has(LayerFlags::BODY_UNREAD));
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_is_cancelled() {
        // [QUI-8]
        let (client, node) = (client(None), listen());
        let (connection, greeted) = tokio::join!(connect(&client, &node), node.greet());
        let (connection, (peer, _control)) = (connection.unwrap(), greeted);
        let arrived = async {
            let (send, mut recv) = peer.streams().await;
            recv.read_to_end(1_000_000).await.unwrap();
            send
        };
        let send = tokio::select! {
            called = connection.call(request()) => unreachable!("{called:?}"),
            send = arrived => send,
        };
        assert_eq!(send.stopped().await.unwrap(), Some(close::varint(CloseCode::CANCELLED)));
    }

    #[tokio::test]
    async fn after_goaway_no_request_is_sent() {
        // [QUI-22]
        let (client, node) = (client(None), listen());
        let (connection, greeted) = tokio::join!(connect(&client, &node), node.greet());
        let (connection, (_peer, mut control)) = (connection.unwrap(), greeted);
        send(&mut control, &[Frame::Goaway(0)]).await;
        connection.going_away().await;
        let error = connection.call(request()).await.unwrap_err();
        assert!(matches!(error, CallError::GoingAway) && !error.is_outcome_unknown());
    }

    #[tokio::test]
    async fn a_node_can_take_back_no_goaway() {
        // [QUI-24]
        let (client, node) = (client(None), listen());
        let (connection, greeted) = tokio::join!(connect(&client, &node), node.greet());
        let (connection, (peer, mut control)) = (connection.unwrap(), greeted);
        send(&mut control, &[Frame::Goaway(8), Frame::Goaway(8), Frame::Goaway(4)]).await;
        connection.going_away().await;
        assert!(peer.quic.close_reason().is_none());
        send(&mut control, &[Frame::Goaway(8)]).await;
        assert_eq!(peer.close_code().await, CloseCode::UNEXPECTED);
    }

    #[tokio::test]
    async fn a_key_list_number_never_falls_for_one_client() {
        // [RCP-2]
        let (client, node) = (client(None), listen());
        let root = signing_key(NODE);
        let newer = KeyList::sign(&root, 1, KeyList::sign_single(&root).keys);
        let script = async {
            let peer = node.accept().await;
            (peer.control(&[settings(), Frame::Keys(newer)]).await, peer)
        };
        let (connection, _first) = tokio::join!(connect(&client, &node), script);
        assert_eq!(connection.unwrap().keys().number, 1);
        let (older, _second) = tokio::join!(connect(&client, &node), node.greet());
        let error = older.unwrap_err();
        assert!(
            matches!(error, ConnectError::Untrusted(Untrusted::OldKeys { seen: 1, shown: 0 })),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_answer_waits_for_the_list_that_has_its_key() {
        // [NKY-7] [NKY-9]
        let (client, node) = (client(None), listen());
        let (root, layer) = (signing_key(NODE), signing_key(5));
        let list = |number, key| {
            let mut keys = KeyList::sign_single(&root).keys;
            for listed in keys.iter_mut().filter(|listed| listed.key_use == KeyUse::LAYER) {
                listed.key = key;
            }
            KeyList::sign(&root, number, keys)
        };
        let old = Frame::Keys(list(1, layer.public()));
        let script = async {
            let peer = node.accept().await;
            (peer.control(&[settings(), old.clone()]).await, peer)
        };
        let (connection, (mut control, peer)) = tokio::join!(connect(&client, &node), script);
        let connection = connection.unwrap();
        let script = async {
            // Sealed by a key that the client has no list of; then comes the list.
            answer(&peer, &peer.answer(), |bytes| bytes).await;
            tokio::task::yield_now().await;
            send(&mut control, &[Frame::Keys(list(2, root.public()))]).await;
        };
        let (called, ()) = tokio::join!(connection.call(request()), script);
        let saved = called.unwrap().to_saved();
        assert_eq!(saved.seal.keys.unwrap().number, 2);
        assert_eq!(connection.keys().number, 2);
        // An older one is no newer one.
        send(&mut control, &[old]).await;
        assert_eq!(peer.close_code().await, CloseCode::UNTRUSTED);
    }

    #[tokio::test]
    async fn a_list_that_does_not_hold_ends_the_connection() {
        // [NKY-7]
        let (client, node) = (client(None), listen());
        let stranger = signing_key(9);
        let mut forged = KeyList::sign_single(&stranger);
        forged.root = signing_key(NODE).public();
        for list in [KeyList::sign_single(&stranger), forged] {
            let (connection, greeted) = tokio::join!(connect(&client, &node), node.greet());
            let (connection, (peer, mut control)) = (connection.unwrap(), greeted);
            send(&mut control, &[Frame::Keys(list)]).await;
            assert_eq!(peer.close_code().await, CloseCode::UNTRUSTED);
            assert_eq!(connection.keys().root, signing_key(NODE).public());
        }
    }

    #[tokio::test]
    async fn an_unknown_status_counts_by_its_class() {
        // [STA-4]
        let (client, node) = (client(None), listen());
        let (connection, greeted) = tokio::join!(connect(&client, &node), node.greet());
        let (connection, (peer, _control)) = (connection.unwrap(), greeted);
        for (status, success) in [(Status(299), true), (Status(499), false), (Status(599), false)] {
            let refused = !success;
            let sample = Sample { status, refused, ..peer.answer() };
            let request = request().field(Field::bytes(FieldIndex::ACCEPT, "*/*"));
            let (called, _) =
                tokio::join!(connection.call(request), answer(&peer, &sample, |bytes| bytes));
            assert_eq!(called.unwrap().is_success(), success, "{status}");
        }
    }
}
