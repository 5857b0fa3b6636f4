//! A connection that comes back: `cmtp-spec/spec/09-quic.md`, `cmtp-spec/spec/14-idempotency.md`.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cmtp_codec::PublicKey;
use tokio::sync::Mutex;

use crate::answer::{Answer, is_success};
use crate::call::CallError;
use crate::client::{Client, ConnectError};
use crate::clock;
use crate::connection::{Connection, Glance};
use crate::known_logs::LogSeen;
use crate::pause::Pause;
use crate::request::{PrepareError, PreparedRequest, Request};
use crate::streaming::Streaming;
use crate::trust::{Trust, TrustedBy, Untrusted};

/// A virtual connection to one node: one [`Connection`] that all calls share, and a new one when it was lost or the node
/// takes no more requests on it. Clones are the same channel.
///
/// A call is repeated where that is safe, always with the same origin bytes, so that a write is not executed twice, and
/// never after the request's not-after. The first connection settles who the node is; another node is refused from then on.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use cmtp_client::{Channel, Client, ClientConfig, Identity, Request, Trust};
/// use cmtp_codec::Fqmn;
///
/// let client = Client::new(ClientConfig::new(Arc::new(Identity::ephemeral()?)))?;
/// let channel = Channel::new(client, "localhost", 4433, Trust::FirstUse);
/// let answer = channel.call(Request::new(Fqmn::parse("0xS:echo")?).body("hi")).await?;
/// println!("{}", answer.status());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Channel {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Arc<Client>,
    host: String,
    port: u16,
    /// Locked while a connection is made, so that all who wait for one share it.
    line: Mutex<Line>,
    connections: AtomicU64,
    resent: AtomicU64,
}

#[derive(Debug)]
struct Line {
    trust: Trust,
    /// Who answered first, or is pinned.
    node: Option<PublicKey>,
    connection: Option<Connection>,
}

impl Channel {
    /// A channel to `host`; it connects when first needed. The name is looked up each time.
    pub fn new(client: Client, host: impl Into<String>, port: u16, trust: Trust) -> Self {
        let node = trust.root();
        Self {
            shared: Arc::new(Shared {
                client: Arc::new(client),
                host: host.into(),
                port,
                line: Mutex::new(Line { trust, node, connection: None }),
                connections: AtomicU64::new(0),
                resent: AtomicU64::new(0),
            }),
        }
    }

    /// The connection that requests go out on now, made where there is none; no second attempt.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let Shared { client, host, port, line, connections, .. } = &*self.shared;
        let mut line = line.lock().await;
        if let Some(connection) = line.connection.as_ref().filter(|open| open.is_open()) {
            return Ok(connection.clone());
        }
        // [QUI-22] Those below go on to their end, and the client MUST keep the connection for them: they hold it.
        line.connection = None;
        let connection = client.connect_to(host, *port, line.trust).await?;
        line.settle(&connection)?;
        line.connection = Some(connection.clone());
        connections.fetch_add(1, Ordering::Relaxed);
        Ok(connection)
    }

    /// Who the node is: the one that is pinned, or that answered first; `None` before.
    pub async fn node(&self) -> Option<PublicKey> {
        self.shared.line.lock().await.node
    }

    /// What the node showed of its log on the connection that requests go out on now: as [`Connection::log_seen`]. `None`
    /// where there is no connection.
    pub async fn log_seen(&self) -> Option<LogSeen> {
        let connection = self.shared.line.lock().await.connection.clone();
        connection?.log_seen().await
    }

    /// As [`Channel::connect`], again and again for up to `patience`.
    ///
    /// # Errors
    /// [`ChannelError`] of the last attempt.
    pub async fn connect_within(&self, patience: Duration) -> Result<Connection, ChannelError> {
        self.connect_by(clock::now().saturating_add(clock::micros(patience))).await
    }

    /// Calls the node, again where that is safe, until it has an answer that sending the request again would not change.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub async fn call(&self, request: Request) -> Result<Answer, ChannelError> {
        self.send(&self.prepare(request).await?).await
    }

    /// Makes the origin of a request to this node: from here on its bytes stand. Connects where it is not known yet who the
    /// node is.
    ///
    /// # Errors
    /// [`ChannelError`]; nothing was sent.
    pub async fn prepare(&self, request: Request) -> Result<PreparedRequest, ChannelError> {
        let known = self.shared.line.lock().await.node;
        let node = match known {
            Some(node) => node,
            None => self.connect_by(deadline(&request)).await?.node(),
        };
        Ok(request.prepare(self.shared.client.identity(), node, clock::now())?)
    }

    /// Sends a request whose bytes stand, again where that is safe: where the answer's status says so, and where no answer
    /// came. Until the request's not-after, which ends it with what came last.
    ///
    /// # Errors
    /// [`ChannelError`], which says whether a write may have had its effect.
    pub async fn send(&self, request: &PreparedRequest) -> Result<Answer, ChannelError> {
        let mut pause = Pause::new();
        let mut unknown = request.may_have_been_sent();
        loop {
            let tried = match self.connect_by(request.not_after()).await {
                Ok(connection) => connection.send(request).await,
                Err(error) => return Err(error.after(unknown)),
            };
            let wait = match &tried {
                Ok(answer) => pause.after_answer(answer),
                Err(error) => {
                    unknown |= error.is_outcome_unknown();
                    pause.after_error(error)
                }
            };
            let last = || match tried {
                Ok(answer) => Ok(answer.after_unknown(unknown)),
                Err(error) => Err(ChannelError::from(error).after(unknown)),
            };
            // A request isn't sent again after its not-after: no node would dispatch it.
            let Some(wait) = wait.filter(|&wait| fits(wait, request.not_after())) else {
                return last();
            };
            tokio::time::sleep(wait).await;
            // [IDM-6] The same origin bytes, on whatever connection.
            self.shared.resent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As [`Channel::call`], but where all goes well its answer is read and not judged; `Err` is an answer or an error of
    /// [`Channel::call`].
    pub(crate) async fn glance(
        &self,
        request: Request,
    ) -> Result<Glance, Result<Answer, ChannelError>> {
        let request = self.prepare(request).await.map_err(Err)?;
        let seen = match self.connect().await {
            Ok(connection) => connection.glance(&request).await,
            Err(_) => Ok(None),
        };
        match seen {
            Ok(Some(seen)) if is_success(seen.status) => Ok(seen),
            // [IDM-6] The same origin bytes.
            _ => Err(self.send(&request).await),
        }
    }

    /// Sends a request whose bytes stand, once.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub async fn send_once(&self, request: &PreparedRequest) -> Result<Answer, ChannelError> {
        let sent_before = request.may_have_been_sent();
        let connection = self.connect().await.map_err(ChannelError::from);
        let connection = connection.map_err(|error| error.after(sent_before))?;
        let sent = connection.send(request).await.map_err(ChannelError::from);
        sent.map_err(|error| error.after(sent_before))
    }

    /// Sends a request and reads its answer while it comes. It is sent once: a stream that broke is not resumed.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn open(&self, request: Request) -> Result<Streaming, ChannelError> {
        let connection = self.connect_by(deadline(&request)).await?;
        Ok(connection.open(request).await?)
    }

    /// How often a connection was made after the first one.
    pub fn reconnects(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// How often a request was sent again.
    pub fn resent(&self) -> u64 {
        self.shared.resent.load(Ordering::Relaxed)
    }

    /// Ends the channel's connections, and waits until the node was told; calls that still run end with an error.
    pub async fn close(&self) {
        drop(self.shared.line.lock().await.connection.take());
        self.shared.client.close().await;
    }

    /// Connects, again and again until `deadline`, microseconds since 1970.
    async fn connect_by(&self, deadline: u64) -> Result<Connection, ChannelError> {
        let mut pause = Pause::new();
        let mut last = None;
        loop {
            let left = Duration::from_micros(deadline.saturating_sub(clock::now()));
            if left.is_zero() {
                return Err(CallError::TooLate.into());
            }
            let connected = tokio::time::timeout(left, self.connect()).await;
            let error = match connected {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => error,
                Err(_elapsed) => {
                    let Shared { host, port, .. } = &*self.shared;
                    let unanswered = ConnectError::Unanswered { host: host.clone(), port: *port };
                    return Err(last.unwrap_or(unanswered).into());
                }
            };
            let wait = pause.next().filter(|&wait| error.is_retryable() && fits(wait, deadline));
            let Some(wait) = wait else { return Err(error.into()) };
            last = Some(error);
            tokio::time::sleep(wait).await;
        }
    }
}

impl Line {
    /// From now on it is this node or none.
    fn settle(&mut self, connection: &Connection) -> Result<(), ConnectError> {
        let shown = connection.node();
        match self.node {
            Some(expected) if expected != shown => {
                return Err(Untrusted::OtherNode { expected, shown }.into());
            }
            _ => self.node = Some(shown),
        }
        // Where authorities decide they decide each time: the certificate's key need not be in the node's list.
        if connection.trusted_by() != TrustedBy::Authorities {
            self.trust = Trust::Known { root: shown, number: connection.keys().number };
        }
        Ok(())
    }
}

/// Why a channel has no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChannelError {
    /// The request can't be made.
    Prepare(PrepareError),
    /// There is no connection.
    Connect {
        /// Why the last attempt failed.
        source: ConnectError,
        /// Whether a write may have had its effect: the request was sent before.
        outcome_unknown: bool,
    },
    /// There is no answer.
    Call {
        /// Why the last attempt failed.
        source: CallError,
        /// Whether a write may have had its effect, by this attempt or one before.
        outcome_unknown: bool,
    },
}

impl ChannelError {
    /// Whether the same prepared request may be sent again: the channel gave up only because of its not-after.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Prepare(error) => error.is_retryable(),
            Self::Connect { source, .. } => source.is_retryable(),
            Self::Call { source, .. } => source.is_retryable(),
        }
    }

    /// Whether a write may have had its effect although there is no answer.
    pub const fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::Prepare(_) => false,
            Self::Connect { outcome_unknown, .. } | Self::Call { outcome_unknown, .. } => {
                *outcome_unknown
            }
        }
    }

    fn after(mut self, unknown: bool) -> Self {
        match &mut self {
            Self::Prepare(_) => {}
            Self::Connect { outcome_unknown, .. } | Self::Call { outcome_unknown, .. } => {
                *outcome_unknown |= unknown;
            }
        }
        self
    }
}

/// Says what the error within says, and stands in its place.
impl Error for ChannelError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Prepare(error) => error.source(),
            Self::Connect { source, .. } => source.source(),
            Self::Call { source, .. } => source.source(),
        }
    }
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare(error) => error.fmt(f),
            Self::Connect { source, .. } => source.fmt(f),
            Self::Call { source, .. } => source.fmt(f),
        }
    }
}

impl From<PrepareError> for ChannelError {
    fn from(error: PrepareError) -> Self {
        Self::Prepare(error)
    }
}

impl From<ConnectError> for ChannelError {
    fn from(source: ConnectError) -> Self {
        Self::Connect { source, outcome_unknown: false }
    }
}

impl From<CallError> for ChannelError {
    fn from(source: CallError) -> Self {
        let outcome_unknown = source.is_outcome_unknown();
        Self::Call { source, outcome_unknown }
    }
}

fn deadline(request: &Request) -> u64 {
    clock::now().saturating_add(clock::micros(request.span()))
}

fn fits(wait: Duration, deadline: u64) -> bool {
    clock::now().saturating_add(clock::micros(wait)) < deadline
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_codec::{Fqmn, Frame, KeyList, Layer};
    use cmtp_spec::{CloseCode, Status, binding};

    use super::*;
    use crate::client::ClientConfig;
    use crate::close;
    use crate::identity::Identity;
    use crate::testing::{FakeNode, FakeRequest, NODE, Sample, send, settings, signing_key};

    fn channel(node: &FakeNode) -> Channel {
        let identity = Arc::new(Identity::from_seed(&[2; 32]).unwrap());
        let client = Client::new(ClientConfig::new(identity)).unwrap();
        Channel::new(client, "127.0.0.1", node.address().port(), Trust::FirstUse)
    }

    fn listen() -> FakeNode {
        FakeNode::listen(NODE, binding::ALPN)
    }

    fn write() -> Request {
        Request::new(Fqmn::parse("0xS:echo").unwrap()).body("hello")
    }

    /// Ends the request's stream without an answer.
    fn lose(mut request: FakeRequest) -> Layer {
        request.send.reset(close::varint(CloseCode::INTERNAL)).unwrap();
        request.origin
    }

    #[tokio::test]
    async fn calls_share_one_connection() {
        let node = listen();
        let channel = channel(&node);
        let script = async {
            let (peer, control) = node.greet().await;
            let sample = peer.answer();
            for _ in 0..3 {
                peer.request().await.answer(&sample).await;
            }
            // A connection that is dropped is closed, whatever was still to be sent.
            (peer, control)
        };
        let calls = async {
            let (one, other) = tokio::join!(channel.call(write()), channel.call(write()));
            (one.unwrap(), other.unwrap(), channel.call(write()).await.unwrap())
        };
        let (answers, _open) = tokio::join!(calls, script);
        assert!(answers.0.is_success() && answers.1.is_success() && answers.2.is_success());
        assert_eq!((channel.reconnects(), channel.resent()), (0, 0));
    }

    #[tokio::test]
    async fn after_goaway_those_below_end_where_they_are_and_those_above_move() {
        // [QUI-22]
        let node = listen();
        let channel = channel(&node);
        let script = async {
            let (old, mut control) = node.greet().await;
            let below = old.request().await;
            let above = old.request().await;
            // Streams of requests are 0, 4, …
            assert_eq!((below.id(), above.id()), (0, 4));
            send(&mut control, &[Frame::Goaway(above.id())]).await;
            // The one above comes again elsewhere, byte for byte, while the one below still runs.
            let (new, new_control) = node.greet().await;
            let moved = new.request().await;
            assert_eq!(moved.origin, above.origin);
            moved.answer(&new.answer()).await;
            assert!(old.quic.close_reason().is_none());
            below.answer(&old.answer()).await;
            // The last call has ended, so the client lets go of the old connection, and only of that.
            assert_eq!(old.close_code().await, CloseCode::NO_ERROR);
            assert!(new.quic.close_reason().is_none());
            new.request().await.answer(&new.answer()).await;
            (new, new_control)
        };
        let calls = async {
            let (below, above) = tokio::join!(channel.call(write()), channel.call(write()));
            assert!(below.unwrap().is_success() && above.unwrap().is_success());
            channel.call(write()).await.unwrap()
        };
        let (third, _open) = tokio::join!(calls, script);
        assert!(third.is_success());
        assert_eq!((channel.reconnects(), channel.resent()), (1, 1));
    }

    #[tokio::test]
    async fn a_lost_answer_is_asked_for_with_the_same_bytes_on_a_new_connection() {
        // [IDM-6] [QUI-21] [QUI-23]
        let node = listen();
        let channel = channel(&node);
        let script = async {
            let (old, _control) = node.greet().await;
            let first = old.request().await.origin;
            old.quic.close(close::varint(CloseCode::NO_ERROR), b"");
            let (new, control) = node.greet().await;
            let again = new.request().await;
            assert_eq!(again.origin, first);
            // Recorded on the old connection, which its admit layer names.
            let recorded = Sample { recorded: true, ..old.answer() };
            again.answer(&recorded).await;
            (new, control)
        };
        let (answer, _open) = tokio::join!(channel.call(write()), script);
        let answer = answer.unwrap();
        assert!(answer.is_success() && answer.is_recorded() && !answer.is_outcome_unknown());
    }

    #[tokio::test]
    async fn the_statuses_table_says_what_is_sent_again() {
        // [IDM-6]
        let again = [Status::INTERNAL_ERROR, Status::UNAVAILABLE, Status(599)];
        let stands = [Status::FORBIDDEN, Status::TOO_LATE, Status(499)];
        let node = listen();
        let channel = channel(&node);
        let script = async {
            let (peer, control) = node.greet().await;
            let good = peer.answer();
            for status in again {
                let first = peer.request().await;
                let origin = first.origin.clone();
                first.answer(&Sample { status, refused: true, ..good.clone() }).await;
                let second = peer.request().await;
                assert_eq!(second.origin, origin, "{status}");
                second.answer(&good).await;
            }
            for status in stands {
                let refusal = Sample { status, refused: true, ..good.clone() };
                peer.request().await.answer(&refusal).await;
            }
            // What is recorded comes the same each time.
            let status = Status::INTERNAL_ERROR;
            let recorded = Sample { status, refused: true, recorded: true, ..good };
            peer.request().await.answer(&recorded).await;
            (peer, control)
        };
        let calls = async {
            for _ in again {
                assert!(channel.call(write()).await.unwrap().is_success());
            }
            for status in stands {
                assert_eq!(channel.call(write()).await.unwrap().status(), status);
            }
            let recorded = channel.call(write()).await.unwrap();
            assert_eq!(recorded.status(), Status::INTERNAL_ERROR);
        };
        let ((), _open) = tokio::join!(calls, script);
        assert_eq!(channel.resent(), 3);
    }

    #[tokio::test]
    async fn nothing_is_sent_again_after_its_not_after() {
        let node = listen();
        let channel = channel(&node);
        let script = async {
            let (peer, control) = node.greet().await;
            // `retry-after` is beyond the not-after: the refusal is what the caller gets.
            let wait = Sample { retry_after: Some(60), ..Sample::refusal(Status::UNAVAILABLE) };
            let Sample { exporter, token, .. } = peer.answer();
            peer.request().await.answer(&Sample { exporter, token, ..wait.clone() }).await;
            // The first attempt is lost, and the second one refused for good: whether the first had its effect is open.
            let first = lose(peer.request().await);
            let second = peer.request().await;
            assert_eq!(second.origin, first);
            let status = Status::FORBIDDEN;
            second.answer(&Sample { exporter, token, status, ..wait }).await;
            (peer, control)
        };
        let calls = async {
            let refused = channel.call(write()).await.unwrap();
            assert_eq!((refused.status(), refused.retry_after()), (Status::UNAVAILABLE, Some(60)));
            assert!(!refused.is_outcome_unknown());
            let refused = channel.call(write()).await.unwrap();
            assert!(refused.is_outcome_unknown());
        };
        let ((), _open) = tokio::join!(calls, script);
        let late = channel.call(write().valid_for(Duration::ZERO)).await.unwrap_err();
        let too_late = matches!(late, ChannelError::Call { source: CallError::TooLate, .. });
        assert!(too_late && !late.is_outcome_unknown(), "{late:?}");
    }

    #[tokio::test]
    async fn a_lost_request_is_of_unknown_outcome_once_its_time_is_over() {
        // [QUI-23]
        let node = listen();
        let channel = channel(&node);
        let script = async {
            let (peer, _control) = node.greet().await;
            let mut origins = Vec::new();
            // Until the client gives up, which ends its connection.
            loop {
                tokio::select! {
                    biased;
                    _ = peer.quic.closed() => return origins,
                    request = peer.request() => origins.push(lose(request)),
                }
            }
        };
        let call = async {
            let request = write().valid_for(Duration::from_millis(300));
            let error = channel.call(request).await.unwrap_err();
            channel.close().await;
            error
        };
        let (error, origins) = tokio::join!(call, script);
        assert!(error.is_outcome_unknown(), "{error:?}");
        assert!(origins.len() > 1 && origins.iter().all(|origin| *origin == origins[0]));
    }

    #[tokio::test]
    async fn the_node_that_answered_first_is_the_only_one() {
        let node = listen();
        let mut channel = channel(&node);
        let (first, (peer, _control)) = tokio::join!(channel.connect(), node.greet());
        drop(first.unwrap());
        peer.quic.close(close::varint(CloseCode::NO_ERROR), b"");
        peer.quic.closed().await;
        // Another node has taken its place.
        let other = FakeNode::listen(9, binding::ALPN);
        Arc::get_mut(&mut channel.shared).unwrap().port = other.address().port();
        let script = async {
            let peer = other.accept().await;
            let keys = Frame::Keys(KeyList::sign_single(&signing_key(9)));
            let _control = peer.control(&[settings(), keys]).await;
            peer.close_code().await
        };
        let connected = async {
            // The channel may not have heard yet that the connection is over.
            loop {
                match channel.connect().await {
                    Ok(connection) => connection.going_away().await,
                    Err(error) => return error,
                }
            }
        };
        let (error, told) = tokio::join!(connected, script);
        assert_eq!(told, CloseCode::UNTRUSTED);
        assert!(matches!(error, ConnectError::Untrusted(Untrusted::OtherNode { .. })), "{error}");
    }
}
