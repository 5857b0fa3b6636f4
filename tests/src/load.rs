//! Callers that write, lose their node, and go on with the same bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cmtp_client::{
    Answer, CallError, Client, ClientConfig, Connection, Identity, PreparedRequest, Request, Trust,
};
use cmtp_codec::{Fqmn, PublicKey};
use serde_json::Value;
use tokio::sync::Notify;

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
        Self::allowed(node, &["--scope", "0xS:**", "--write", "0xS:**"])
    }

    /// The same with a token that `cmtpd grant` makes with these arguments.
    ///
    /// # Panics
    /// As [`Caller::new`].
    pub fn allowed(node: &Node, grant: &[&str]) -> Self {
        let identity = Arc::new(Identity::ephemeral().expect("an identity"));
        let token = node.grant(&identity.did().to_string(), grant);
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

    /// Connects to a node that says that it is the same, elsewhere.
    ///
    /// # Panics
    /// If it is not there, or another.
    pub async fn connect_to(&self, node: &Node) -> Connection {
        let address = node.address.parse().expect("an address");
        let trust = Trust::Pinned(self.node);
        self.client.connect(address, "localhost", trust).await.expect("a connection")
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

    /// From a line of the file that `cmtp bench --receipts` writes.
    fn of_line(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| value[name].as_str().expect("text");
        let id = data_encoding::HEXLOWER.decode(text("message_id").as_bytes());
        Self {
            message_id: id.expect("hexadecimal").try_into().expect("16 bytes"),
            index: value["index"].as_u64().expect("an index: the mode is wal"),
            seal: text("seal").to_owned(),
            status: value["status"].as_u64().and_then(|it| it.try_into().ok()).expect("a status"),
            recorded: value["recorded"].as_bool().expect("a boolean"),
        }
    }
}

/// A file of receipts that `cmtp bench` writes, read on as it grows.
#[derive(Debug)]
pub struct Receipts {
    path: PathBuf,
    read: u64,
    received: Vec<Receipt>,
}

impl Receipts {
    /// Of a file that may not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), read: 0, received: Vec::new() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All that were written so far.
    ///
    /// # Panics
    /// If a line is none of a receipt.
    pub fn received(&mut self) -> &[Receipt] {
        let mut text = String::new();
        if let Ok(mut file) = File::open(&self.path) {
            file.seek(SeekFrom::Start(self.read)).expect("a place in the file");
            file.read_to_string(&mut text).expect("JSON is text");
        }
        // The last line may not be whole yet.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        self.received.extend(text[..whole].lines().map(Receipt::of_line));
        &self.received
    }

    /// Waits for so many in all.
    ///
    /// # Panics
    /// If they do not come.
    pub fn reached(&mut self, count: usize) {
        let begun = Instant::now();
        while self.received().len() < count {
            assert!(begun.elapsed() < PATIENCE, "{} answers of {count}", self.received.len());
            std::thread::sleep(PACE);
        }
    }
}

/// What the callers received, and how they are told to end.
#[derive(Debug, Default)]
pub struct Load {
    receipts: Mutex<Vec<Receipt>>,
    /// Bodies that a service was given, each with how often.
    pub served: Mutex<HashMap<String, u32>>,
    /// Bodies whose write was answered with success.
    pub confirmed: Mutex<Vec<String>>,
    progress: Notify,
    stop: AtomicBool,
}

impl Load {
    /// Everything that was received so far.
    ///
    /// # Panics
    /// If a slot panicked.
    pub fn received(&self) -> Vec<Receipt> {
        self.receipts.lock().expect("no slot panicked").clone()
    }

    /// Lets every slot end after the request that it is at.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for so many receipts in all.
    ///
    /// # Panics
    /// If a slot panicked.
    pub async fn reached(&self, count: usize) {
        loop {
            let mut progress = pin!(self.progress.notified());
            // From here on progress is noticed, so none is missed between the look and the wait.
            progress.as_mut().enable();
            if self.received().len() >= count {
                return;
            }
            progress.await;
        }
    }

    /// Writes, one after the other, until told to stop; each goes on with its bytes until it is answered.
    ///
    /// # Panics
    /// If an answer does not verify.
    pub async fn write(self: Arc<Self>, caller: Arc<Caller>, target: String, slot: usize) {
        let mut connection = caller.connect().await;
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let body = format!("{slot} {number} {}", "x".repeat(number % 700));
            let request = caller.write(&connection, &target, &body);
            let answer = caller.insist(&mut connection, &request).await;
            self.receipts.lock().expect("no slot panicked").push(Receipt::of(&answer));
            if answer.is_success() {
                self.confirmed.lock().expect("no slot panicked").push(body);
            }
            self.progress.notify_waiters();
            number += 1;
        }
    }
}

/// Every answer that was received is in the journal, the journal holds together, and no write has two outcomes.
///
/// # Panics
/// If that does not hold.
pub fn check(node: &Node, received: &[Receipt], round: usize) -> Vec<Value> {
    let output = node.cmtpd(&["journal", "check", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "round {round}: {text}");
    let entries = entries(node);
    for receipt in received {
        let entry = &entries[usize::try_from(receipt.index).expect("an index")];
        assert_eq!(entry["index"], receipt.index, "round {round}");
        assert_eq!(entry["seal"], receipt.seal, "round {round}: {receipt:?}");
    }
    let mut executed = HashMap::new();
    for entry in entries.iter().filter(|entry| entry["executed_write"] == true) {
        let id = entry["message_id"].as_str().expect("an index");
        let before = executed.insert(id, &entry["index"]);
        assert_eq!(before, None, "round {round}: {id} was executed twice");
    }
    entries
}

/// What `cmtpd journal list --json` says of the entries.
///
/// # Panics
/// If it fails.
pub fn entries(node: &Node) -> Vec<Value> {
    let output = node.cmtpd(&["journal", "list", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Longer than any of these tests takes to bring a node back.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a file: so that who waits leaves the machine to who works.
const PACE: Duration = Duration::from_millis(5);
