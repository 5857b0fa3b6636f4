//! A node, a caller, and the list of what was tried on them.

use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::BytesMut;
use cmtp_codec::{Frame, Layer, PublicKey, SigningKey};
use cmtp_spec::{CloseCode, Status};
use cmtp_tests::Node;
use cmtp_tests::wire::{self, Ending, Forge, Wire, salt};
use futures::FutureExt;
use quinn::{ConnectionError, TransportConfig, TransportErrorCode};
use tokio::time::timeout;

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With an answer of this status.
    Status(Status),
    /// With a reset of the stream.
    Reset(CloseCode),
    /// The node closed the connection.
    Closed(CloseCode),
    /// The node stopped reading the stream.
    Stopped(CloseCode),
    /// QUIC refused the connection.
    Refused,
    /// The handshake ended with this TLS alert.
    Alert(u8),
    /// Nothing was heard of the connection any more.
    Silence,
    /// The node did as the case says.
    AsSaid,
    /// Something else.
    Other,
}

impl From<Ending> for End {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Answer(answer) => Self::Status(answer.status()),
            Ending::Unverified(_) => Self::Other,
            Ending::Reset(code) => Self::Reset(code),
            Ending::Closed(Some(code)) => Self::Closed(code),
            Ending::Closed(None) => Self::Other,
        }
    }
}

/// Whether what a case says is so.
pub fn said(holds: bool) -> End {
    if holds { End::AsSaid } else { End::Other }
}

/// A node with its configuration, and a caller who has a token for it.
pub struct Scene {
    pub node: Node,
    pub key: SigningKey,
    pub token: String,
}

impl Scene {
    pub fn new(config: &str) -> Self {
        let node = Node::start(config);
        let key = SigningKey::from_seed(&[42; 32]).unwrap();
        let token = Forge::new(&node, key.public()).token();
        Self { node, key, token }
    }

    pub fn address(&self) -> SocketAddr {
        self.node.address.parse().unwrap()
    }

    pub async fn wire(&self) -> Wire {
        Wire::connect(&self.node).await
    }

    /// AUTH on this connection.
    pub fn auth(&self, wire: &Wire) -> Frame {
        wire.auth(&self.token, &self.key)
    }

    /// Bytes behind a good AUTH, on a connection of their own.
    pub async fn behind_auth(&self, bytes: &[u8]) -> End {
        let root: PublicKey = self.node.did.parse().unwrap();
        self.answered(bytes, &wire::origin(root, &self.key, "0xS:echo")).await
    }

    /// The same, where an answer is verified with this origin.
    pub async fn answered(&self, bytes: &[u8], origin: &Layer) -> End {
        let wire = self.wire().await;
        let mut all = encoded(&self.auth(&wire));
        all.extend_from_slice(bytes);
        wire.exchange_bytes(&all, origin).await.into()
    }

    /// An origin behind a good AUTH, on a connection of its own.
    pub async fn ask(&self, origin: &Layer) -> Ending {
        let wire = self.wire().await;
        wire.exchange(&[self.auth(&wire)], origin).await
    }

    /// What an echo with this body is answered on `wire`.
    pub async fn echo(&self, wire: &Wire, body: Vec<u8>) -> Ending {
        let origin = wire.origin(&self.key, "0xS:echo").with_body(salt(), body);
        wire.exchange(&[self.auth(wire)], &origin).await
    }

    /// Whether an echo is answered on a new connection. A node that is still full from the case before is asked again.
    async fn lives(&self) -> Result<(), String> {
        loop {
            let wire = match Wire::connect_to(self.address(), TransportConfig::default()).await {
                Ok(wire) => wire,
                Err(error) if refused(&error) == End::Refused => continue,
                Err(error) => return Err(error.to_string()),
            };
            match self.echo(&wire, b"alive".to_vec()).await {
                Ending::Answer(answer) if answer.status() == Status::UNAVAILABLE => {}
                Ending::Answer(answer) if answer.last().data().is_some_and(|it| it == "alive") => {
                    return Ok(());
                }
                other => return Err(format!("{other:?}")),
            }
        }
    }
}

/// How a handshake ended that came to nothing.
pub fn refused(error: &ConnectionError) -> End {
    match error {
        ConnectionError::ConnectionClosed(close) => match u64::from(close.error_code) {
            code if code == u64::from(TransportErrorCode::CONNECTION_REFUSED) => End::Refused,
            // RFC 9001 section 4.8: 0x100 and the alert.
            code => u8::try_from(code - 0x100).map_or(End::Other, End::Alert),
        },
        ConnectionError::TimedOut => End::Silence,
        _ => End::Other,
    }
}

/// The bytes of a frame.
pub fn encoded(frame: &Frame) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes);
    bytes.to_vec()
}

/// The bytes of a layer and its body.
pub fn layer(layer: &Layer) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    layer.encode(&mut bytes);
    bytes.to_vec()
}

/// What ran, and what went wrong.
#[derive(Default)]
pub struct Cases {
    names: Vec<String>,
    failed: Vec<String>,
}

impl Cases {
    /// Runs a case, and then asks the node whether it lives.
    pub async fn case(
        &mut self,
        scene: &Scene,
        name: &str,
        wanted: End,
        run: impl Future<Output = End>,
    ) {
        assert!(!self.names.iter().any(|known| known == name), "two cases are called {name}");
        self.names.push(name.to_owned());
        // A case that panics must not hide those behind it.
        match timeout(HANGS, AssertUnwindSafe(run).catch_unwind()).await {
            Ok(Ok(end)) if end == wanted => {}
            Ok(Err(_panic)) => {
                self.failed.push(format!("{name}: wanted {wanted:?}, and it panics"))
            }
            Ok(Ok(end)) => self.failed.push(format!("{name}: wanted {wanted:?} and got {end:?}")),
            Err(_elapsed) => self.failed.push(format!("{name}: wanted {wanted:?}, and it hangs")),
        }
        match timeout(HANGS, scene.lives()).await {
            Ok(Ok(())) => {}
            lost => panic!("after {name} the node is lost: {lost:?}; before: {:?}", self.failed),
        }
    }

    /// The number of cases, and all that failed.
    pub fn report(self) {
        println!("{} cases of bad input ran", self.names.len());
        assert!(self.names.len() >= LEAST, "only {} cases ran", self.names.len());
        assert!(self.failed.is_empty(), "{}", self.failed.join("\n"));
    }
}

/// Far longer than any case takes: a case that would go on for ever fails by its name.
const HANGS: Duration = Duration::from_secs(30);
/// A table that was emptied by mistake is noticed.
const LEAST: usize = 60;
