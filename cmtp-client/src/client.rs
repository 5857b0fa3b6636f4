//! Where connections begin.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cmtp_spec::{CloseCode, limits};
use quinn::{Endpoint, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::task::JoinSet;

use crate::clock;
use crate::close;
use crate::connection::{Connection, Established};
use crate::control::{Control, ControlError};
use crate::exchange::AnswerLimits;
use crate::identity::Identity;
use crate::known_logs::KnownLogs;
use crate::session::{Login, Opener, Sessions};
use crate::tls::TlsError;
use crate::tls_sessions::{Judges, TlsSessions, Way};
use crate::token::{Token, TokenError};
use crate::trust::{Numbers, Trust, Untrusted};

/// How a [`Client`] calls.
#[derive(Clone)]
pub struct ClientConfig {
    /// Who calls.
    pub identity: Arc<Identity>,
    /// What the caller shows, granted to that identity; without one a node answers 511.
    pub token: Option<String>,
    /// Bytes that one body of an answer may have.
    pub body_max: u64,
    /// Bytes that a whole answer may have, or a stream's part that is not sealed yet; all of it is held in memory.
    pub answer_max: u64,
    /// After how long without a packet a connection counts as lost; up to 30 seconds, which is the default. A node that
    /// ended without a word is noticed no sooner.
    pub idle_timeout: Duration,
    /// What the logs of nodes were when this identity last saw them; by default only for as long as this process runs.
    /// Not to be shared by two identities, which a node could then tell to be one person's.
    pub logs: Arc<KnownLogs>,
    /// The sessions that this identity has open, used where there is no `token`; by default only for as long as this process
    /// runs. Not to be shared by two identities.
    pub sessions: Arc<Sessions>,
    /// What to open a session with where a node asks for one, and then to repeat the call; without this none is opened by
    /// itself.
    pub login: Option<Login>,
}

impl ClientConfig {
    /// Calls as `identity`, without a token, with room for the protocol's largest body and some layers more.
    pub fn new(identity: Arc<Identity>) -> Self {
        Self {
            identity,
            token: None,
            body_max: limits::BODY_MAX,
            answer_max: ANSWER_MAX,
            idle_timeout: IDLE_TIMEOUT,
            logs: Arc::default(),
            sessions: Arc::default(),
            login: None,
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("identity", &self.identity)
            .field("token", &self.token.as_ref().map(|_secret| "…"))
            .field("body_max", &self.body_max)
            .field("answer_max", &self.answer_max)
            .field("idle_timeout", &self.idle_timeout)
            .field("logs", &self.logs)
            .field("sessions", &self.sessions)
            .field("login", &self.login)
            .finish()
    }
}

/// A caller: opens connections to nodes. Two callers share nothing by which a node could tell that they are one person's.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use cmtp_client::{Client, ClientConfig, Identity, Request, Trust};
/// use cmtp_codec::Fqmn;
///
/// let identity = Arc::new(Identity::ephemeral()?);
/// let client = Client::new(ClientConfig { token: None, ..ClientConfig::new(identity) })?;
/// let connection =
///     client.connect("127.0.0.1:4433".parse()?, "localhost", Trust::FirstUse).await?;
/// let answer = connection.call(Request::new(Fqmn::parse("0xS:echo")?)).await?;
/// println!("{}", answer.status());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Client {
    identity: Arc<Identity>,
    token: Option<Token>,
    limits: AnswerLimits,
    idle_timeout: Duration,
    logs: Arc<KnownLogs>,
    sessions: Arc<Sessions>,
    login: Option<Login>,
    /// [IDY-7] One client is one persona: its connections, sockets, tickets and address tokens are its own.
    tls: TlsSessions,
    endpoints: Mutex<Endpoints>,
    /// The highest key list number seen of each node: `[RCP-2]`.
    numbers: Arc<Numbers>,
}

/// Sockets, one for each address family, opened when first needed.
#[derive(Debug, Default)]
struct Endpoints {
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

impl Client {
    /// A client that has no connection yet.
    ///
    /// # Errors
    /// [`TokenError`] where the token is none.
    pub fn new(config: ClientConfig) -> Result<Self, TokenError> {
        let ClientConfig {
            identity,
            token,
            body_max,
            answer_max,
            idle_timeout,
            logs,
            sessions,
            login,
        } = config;
        Ok(Self {
            identity,
            token: token.as_deref().map(Token::new).transpose()?,
            limits: AnswerLimits { body_max, answer_max },
            idle_timeout: idle_timeout.min(IDLE_TIMEOUT),
            logs,
            sessions,
            login,
            tls: TlsSessions::new(),
            endpoints: Mutex::default(),
            numbers: Arc::default(),
        })
    }

    /// Connects to the node at `address`, whose certificate is for `host` where authorities are asked.
    ///
    /// # Errors
    /// [`ConnectError`]: nobody answers, the peer does not speak CMTP, or it is not the node that `trust` means.
    pub async fn connect(
        &self,
        address: SocketAddr,
        host: &str,
        trust: Trust,
    ) -> Result<Connection, ConnectError> {
        let established = self.reach(address, host, trust);
        let established = tokio::time::timeout(CONNECT_TIMEOUT, established).await;
        let established = established.map_err(|_elapsed| ConnectError::TimedOut { address })??;
        let (identity, logs) = (self.identity.clone(), Arc::clone(&self.logs));
        let opener = Opener::new(&self.sessions, self.login.clone(), self.token.is_some());
        let (token, numbers) = (self.token.as_ref(), Arc::clone(&self.numbers));
        let kept = (logs, numbers, opener);
        let connection = Connection::new(established, identity, token, self.limits, kept)?;
        connection.take_up_session().await;
        Ok(connection)
    }

    /// Connects to whichever address of `host` answers first, each called a little after the one before.
    ///
    /// # Errors
    /// As [`Client::connect`]; that a node is not the one meant goes before that nobody answers.
    pub async fn connect_to(
        self: &Arc<Self>,
        host: &str,
        port: u16,
        trust: Trust,
    ) -> Result<Connection, ConnectError> {
        let name = || host.to_owned();
        let addresses = tokio::net::lookup_host((host, port)).await;
        let addresses =
            addresses.map_err(|source| ConnectError::Lookup { host: name(), source })?;
        let mut attempts = JoinSet::new();
        for (turn, address) in (0..).zip(addresses) {
            let (client, host) = (Arc::clone(self), name());
            attempts.spawn(async move {
                tokio::time::sleep(HEAD_START * turn).await;
                client.connect(address, &host, trust).await
            });
        }
        let mut failed: Option<ConnectError> = None;
        while let Some(attempt) = attempts.join_next().await {
            match attempt {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) if failed.is_none() || !error.is_retryable() => failed = Some(error),
                // One that ended early is one that failed.
                Ok(Err(_)) | Err(_) => {}
            }
        }
        Err(failed.unwrap_or_else(|| ConnectError::NoAddress { host: name() }))
    }

    /// Who calls.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Waits until the ends of all connections are sent: call it before the process ends.
    pub async fn close(&self) {
        let endpoints = {
            let endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            [endpoints.v4.clone(), endpoints.v6.clone()]
        };
        for endpoint in endpoints.into_iter().flatten() {
            endpoint.close(close::varint(CloseCode::NO_ERROR), b"");
            endpoint.wait_idle().await;
        }
    }

    /// Connects, and once more without a TLS session where that may be what made the node a stranger.
    async fn reach(
        &self,
        address: SocketAddr,
        host: &str,
        trust: Trust,
    ) -> Result<Established, ConnectError> {
        let judges = judges(address, trust);
        let way = self.tls.way(judges)?;
        let established = self.establish(address, host, trust, &way).await;
        // [IDY-9] Where the key list does not list that certificate's key, the client MUST forget the session and connect
        // once without it: the node may have a new key.
        match established {
            Err(ConnectError::Untrusted(
                Untrusted::ForeignCertificate { .. } | Untrusted::NotVouched,
            )) if self.tls.forget(&way) => {
                let way = self.tls.way(judges)?;
                self.establish(address, host, trust, &way).await
            }
            established => established,
        }
    }

    async fn establish(
        &self,
        address: SocketAddr,
        host: &str,
        trust: Trust,
        way: &Way,
    ) -> Result<Established, ConnectError> {
        let config = way.config(transport(self.idle_timeout));
        let quic = self.endpoint(address)?.connect_with(config, address, host)?.await?;
        let opened = Control::open(&quic).await;
        let (mut control, settings, mut keys) = opened.inspect_err(|error| error.close(&quic))?;
        let chain = quic.peer_identity();
        let chain = chain.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let chain = chain.as_ref().map(|chain| chain.as_slice()).unwrap_or_default();
        let certificate = way.verifier.certificate(chain, host);
        let mut seen = self.numbers.of(&keys.root);
        // The node replaced its keys while this connection was made, and other connections know: this one is told next.
        if seen.is_some_and(|seen| keys.number < seen)
            && let Ok(Ok(newer)) = tokio::time::timeout(NEWER_KEYS, control.keys()).await
        {
            keys = newer;
            seen = self.numbers.of(&keys.root);
        }
        let root = keys.root;
        let decided = trust.decide(keys, certificate, seen, clock::now());
        // Another connection may have been shown a newer list meanwhile.
        let decided = decided.and_then(|(keys, by)| {
            self.numbers.raise(&root, keys.number)?;
            Ok((keys, by))
        });
        match decided {
            Ok((keys, trusted_by)) => Ok(Established { quic, control, settings, keys, trusted_by }),
            Err(error) => {
                quic.close(close::varint(CloseCode::UNTRUSTED), b"");
                Err(error.into())
            }
        }
    }

    fn endpoint(&self, address: SocketAddr) -> Result<Endpoint, ConnectError> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let (slot, any): (_, SocketAddr) = match address {
            SocketAddr::V4(_) => (&mut endpoints.v4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            SocketAddr::V6(_) => (&mut endpoints.v6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let endpoint = Endpoint::client(any).map_err(ConnectError::Socket)?;
        *slot = Some(endpoint.clone());
        Ok(endpoint)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No socket could be opened here.
    #[error("no UDP socket can be opened here: {0}")]
    Socket(#[source] io::Error),
    /// TLS can't be configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The name could not be looked up.
    #[error("{host}: {source}")]
    Lookup {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The name has no address.
    #[error("{host} has no address")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// The address or the name is none that can be called.
    #[error("the address can't be called: {0}")]
    Address(#[from] quinn::ConnectError),
    /// Nobody answers, or who answers speaks something else.
    #[error("no connection: {0}")]
    Connection(#[from] quinn::ConnectionError),
    /// Nobody answers in time.
    #[error("nobody answers at {address}; is the node running there?")]
    TimedOut {
        /// The address that was called.
        address: SocketAddr,
    },
    /// Nobody answered for as long as the caller waited.
    #[error("nobody answered in time on port {port} of {host}; is the node running there?")]
    Unanswered {
        /// The name or address that was called.
        host: String,
        /// The UDP port.
        port: u16,
    },
    /// The peer does not begin as a node does.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The peer is not the node that was meant.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// TLS gave no exporter value.
    #[error("the connection has no TLS exporter value")]
    NoExporter,
}

impl ConnectError {
    /// Whether the same may work later: nobody answered, or the connection was lost.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Socket(_)
            | Self::Lookup { .. }
            | Self::NoAddress { .. }
            | Self::Connection(_)
            | Self::TimedOut { .. }
            | Self::Unanswered { .. } => true,
            Self::Control(error) => error.is_retryable(),
            Self::Tls(_) | Self::Address(_) | Self::Untrusted(_) | Self::NoExporter => false,
        }
    }
}

/// Who is asked about a certificate on the way to `address`.
const fn judges(address: SocketAddr, trust: Trust) -> Judges {
    match trust {
        Trust::Authorities => Judges::AuthoritiesAlone,
        // No authority vouches for a loopback address.
        Trust::FirstUse if !address.ip().is_loopback() => Judges::Authorities,
        Trust::FirstUse | Trust::Pinned(_) | Trust::Known { .. } => Judges::Nobody,
    }
}

fn transport(idle_timeout: Duration) -> TransportConfig {
    let mut transport = TransportConfig::default();
    // [QUI-4] A node MUST NOT open bidirectional streams.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    transport.max_concurrent_uni_streams(VarInt::from_u32(NODE_STREAMS));
    let millis = u32::try_from(idle_timeout.as_millis()).unwrap_or(u32::MAX);
    transport.max_idle_timeout(Some(VarInt::from_u32(millis).into()));
    // A node answers a slow service for up to `service-deadline` seconds, in which nothing else may be said. Two lost PINGs
    // leave time for a third.
    transport.keep_alive_interval(Some(idle_timeout / 4));
    transport
}

/// Four of the largest bodies: layers and several bodies of an answer fit, and a client's memory stays bounded.
const ANSWER_MAX: u64 = 4 * limits::BODY_MAX;
/// A node tells its connections of new keys at once.
const NEWER_KEYS: Duration = Duration::from_secs(1);
/// With quinn's first guess of 333 ms for a round trip, lost first packets are sent again after about 1 and 3 seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The control stream, and some of types that are not known yet.
const NODE_STREAMS: u32 = 8;
/// `idle-timeout` of chapter 15.
const IDLE_TIMEOUT: Duration = Duration::from_secs(limits::IDLE_TIMEOUT);
/// RFC 8305 section 5 suggests 250 ms between attempts.
const HEAD_START: Duration = Duration::from_millis(250);
