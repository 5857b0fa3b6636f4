//! How much memory a node takes for connections that do nothing: `idle CMTPD CONNECTIONS STREAMS`.
//!
//! Starts the node, opens the connections from many loopback addresses (a node takes a bounded number from one), and the
//! streams on each, and prints what the node's resident memory grew by. Not a test: nothing is asserted of a size.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use cmtp_client::{Identity, Request};
use cmtp_codec::{Auth, Digest, Fqmn, Frame, PublicKey, SigningKey};
use cmtp_spec::{binding, limits, uses};
use cmtp_tests::wire::{client_config, now};
use quinn::{Connection, Endpoint, RecvStream, SendStream, TransportConfig};

/// Who opens streams: a node allows strangers a few only.
struct Caller {
    key: SigningKey,
    token: String,
    node: PublicKey,
}

/// What is kept open.
struct Idle {
    _connection: Connection,
    _control: RecvStream,
    _streams: Vec<(SendStream, RecvStream)>,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, connections, streams] = arguments.as_slice() else {
        panic!("idle CMTPD CONNECTIONS STREAMS");
    };
    let count: usize = connections.parse().expect("a number of connections");
    let streams: usize = streams.parse().expect("a number of streams");
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut node = Command::new(program)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()
        .expect("cmtpd starts");
    let line = BufReader::new(node.stdout.take().expect("stdout is piped")).lines().next();
    let line = line.expect("cmtpd says that it listens").expect("its line is text");
    let address = line.split_whitespace().nth(3).expect("an address").parse().expect("an address");
    let caller = Caller::new(program, data.path(), &line);
    // The first one pays for what all share.
    let mut idle = open(address, 0, 1, streams, &caller).await;
    let before = resident(node.id());
    let per_address = usize::try_from(limits::CONNECTIONS_PER_ADDRESS_MAX).unwrap_or(1);
    let mut opened = 0;
    while opened < count {
        let here = (count - opened).min(per_address);
        idle.extend(open(address, 1 + opened / per_address, here, streams, &caller).await);
        opened += here;
    }
    let after = resident(node.id());
    let each = (after - before) / count as f64;
    println!(
        "{count} connections with {streams} streams each: {before:.0} KiB before, {after:.0} after, {each:.1} KiB each"
    );
    drop(idle);
    let _ended = node.kill();
    let _ended = node.wait();
}

/// Opens connections from the loopback address with this number, one after the other.
async fn open(
    node: SocketAddr,
    from: usize,
    count: usize,
    streams: usize,
    caller: &Caller,
) -> Vec<Idle> {
    let source = Ipv4Addr::from(Ipv4Addr::LOCALHOST.to_bits() + u32::try_from(from).expect("few"));
    let mut endpoint = Endpoint::client((source, 0).into()).expect("a socket");
    let mut transport = TransportConfig::default();
    // Often enough that no connection ends before the last is open.
    transport.keep_alive_interval(Some(Duration::from_secs(limits::IDLE_TIMEOUT / 3)));
    endpoint.set_default_client_config(client_config(&[binding::ALPN], transport));
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        let connection = endpoint.connect(node, "cmtp.invalid").expect("a dial").await;
        let connection = connection.expect("a connection");
        let mut control = connection.accept_uni().await.expect("the node's control stream");
        let _first = control.read_chunk(4096, true).await.expect("SETTINGS");
        if streams > 0 {
            caller.call(&connection).await;
        }
        let mut held = Vec::with_capacity(streams);
        for _ in 0..streams {
            let (mut send, recv) = connection.open_bi().await.expect("a stream");
            // The first byte of a frame, so that the node knows of the stream.
            send.write_all(&[2]).await.expect("a byte");
            held.push((send, recv));
        }
        idle.push(Idle { _connection: connection, _control: control, _streams: held });
    }
    idle
}

impl Caller {
    /// One that the node, whose first line this is, has a token for.
    fn new(program: &str, data: &Path, line: &str) -> Self {
        let key = SigningKey::from_seed(&[1; 32]).expect("a key");
        let granted = Command::new(program)
            .args(["grant", "--scope", "0xS:**", "--to", &key.public().to_string(), "--data"])
            .arg(data)
            .output()
            .expect("cmtpd starts");
        let token = String::from_utf8(granted.stdout).expect("a token is text").trim().to_owned();
        let node = line.split_whitespace().nth(5).expect("a DID").parse().expect("a DID");
        Self { key, token, node }
    }

    /// Shows the token, by a request that is answered.
    async fn call(&self, connection: &Connection) {
        let mut exporter = [0; 32];
        let label = binding::EXPORTER_LABEL_AUTH.as_bytes();
        connection.export_keying_material(&mut exporter, label, &[]).expect("an exporter value");
        let digest = Digest::of(self.token.as_bytes());
        let proof = self.key.sign(uses::AUTH, &[exporter, self.node.0, digest.0].concat());
        let mut bytes = BytesMut::new();
        let token = self.token.clone().into();
        Frame::Auth(Auth::Shown { proof, token }).encode(&mut bytes);
        let target = Fqmn::parse("0xS:echo").expect("a target");
        let identity = Identity::from_seed(&[1; 32]).expect("an identity");
        let request = Request::new(target).prepare(&identity, self.node, now());
        request.expect("a request").origin().encode(&mut bytes);
        let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
        send.write_all(&bytes).await.expect("a request is sent");
        send.finish().expect("a stream that is open");
        recv.read_to_end(1 << 16).await.expect("an answer");
    }
}

/// Resident memory of a process, KiB.
fn resident(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).expect("KiB")
}
