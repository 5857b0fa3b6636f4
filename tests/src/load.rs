//! Callers that write, lose their node, and go on with the same bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cmtp_client::{
    Answer, CallError, Client, ClientConfig, Connection, Identity, PreparedRequest, Request, Trust,
};
use cmtp_codec::{Fqmn, PublicKey};

use crate::Node;

/// Who calls, and where.
#[derive(Debug)]
pub struct Caller {
    client: Client,
    address: SocketAddr,
    node: PublicKey,
}

/// An answer that was received, by what the journal must hold of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The request.
    pub message_id: [u8; 16],
    /// The entry's index.
    pub index: u64,
    /// F, in hexadecimal.
    pub seal: String,
    /// The status.
    pub status: u16,
    /// Whether it came from the record.
    pub recorded: bool,
}

impl Caller {
    /// A caller with an identity of its own, which the node allows everything in State.
    ///
    /// # Panics
    /// If there is none to be had.
    pub fn new(node: &Node) -> Self {
        let identity = Arc::new(Identity::ephemeral().expect("an identity"));
        let did = identity.did().to_string();
        let token = node.grant(&did, &["--scope", "0xS:**", "--write", "0xS:**"]);
        let config = ClientConfig { token: Some(token), ..ClientConfig::new(identity) };
        Self {
            client: Client::new(config).expect("a client"),
            address: node.address.parse().expect("an address"),
            node: node.did.parse().expect("a DID"),
        }
    }

    /// Connects, again and again until the node is there.
    ///
    /// # Panics
    /// If somebody else answers.
    pub async fn connect(&self) -> Connection {
        loop {
            match self.client.connect(self.address, "localhost", Trust::Pinned(self.node)).await {
                Ok(connection) => return connection,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    }

    /// A write of `body` whose bytes stand.
    ///
    /// # Panics
    /// If it can't be made.
    pub fn write(&self, connection: &Connection, target: &str, body: &str) -> PreparedRequest {
        let target = Fqmn::parse(target).expect("a target");
        let request = Request::new(target).body(body.to_owned()).valid_for(PATIENCE);
        connection.prepare(request).expect("a request")
    }

    /// Sends the same bytes until they are answered, on whatever connection.
    ///
    /// # Panics
    /// If an answer does not verify.
    pub async fn insist(&self, connection: &mut Connection, request: &PreparedRequest) -> Answer {
        loop {
            match connection.send(request).await {
                Ok(answer) => return answer,
                Err(error @ (CallError::Bad(_) | CallError::Malformed { .. })) => panic!("{error}"),
                Err(_node_lost) => *connection = self.connect().await,
            }
        }
    }
}

impl Receipt {
    /// What the journal must hold of `answer`.
    ///
    /// # Panics
    /// If the answer names no entry.
    pub fn of(answer: &Answer) -> Self {
        let seal = &answer.replay().message.seal;
        let receipt = seal.receipt.as_ref().expect("R0");
        Self {
            message_id: receipt.message_id,
            index: receipt.index().expect("an index: the mode is wal"),
            seal: data_encoding::HEXLOWER.encode(&seal.hash.0),
            status: answer.status().0,
            recorded: seal.recorded,
        }
    }
}

/// What `cmtpd journal list --json` says of the entries.
///
/// # Panics
/// If it fails.
pub fn entries(node: &Node) -> Vec<serde_json::Value> {
    let output = node.cmtpd(&["journal", "list", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Longer than any of these tests takes to bring a node back.
const PATIENCE: Duration = Duration::from_secs(120);
