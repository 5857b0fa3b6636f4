//! A node's entries as they come: over JetStream, whatever is killed, and over CMTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{self, Context};
use cmtp_client::{Connection, Request, Streaming};
use cmtp_codec::{Entry, Fqmn};
use cmtp_spec::{Status, binding, limits};
use cmtp_tests::load::{self, Caller, Load, Receipt};
use cmtp_tests::{NatsServer, Node, copy};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

/// A nats-server with JetStream whose files stay when it is killed.
struct Server {
    nats: NatsServer,
    _store: TempDir,
}

impl Server {
    fn start() -> Self {
        let store = tempfile::tempdir().unwrap();
        let folder = store.path().to_str().unwrap();
        Self { nats: NatsServer::start_with(&["-js", "-sd", folder]), _store: store }
    }

    async fn context(&self) -> Context {
        jetstream::new(async_nats::connect(&self.nats.url).await.unwrap())
    }

    fn config(&self) -> String {
        format!("bus = \"nats={}\"\n[audit]\nstream = true\n", self.nats.url)
    }
}

fn multibase(node: &Node) -> &str {
    node.did.strip_prefix("did:key:").unwrap()
}

fn stream_name(node: &Node) -> String {
    format!("{}{}", binding::AUDIT_STREAM_PREFIX, multibase(node))
}

fn subject(node: &Node) -> String {
    format!("{}{}", binding::AUDIT_SUBJECT_PREFIX, multibase(node))
}

/// A node whose stream was there before it: as `config` says, but for name and subject.
async fn with_stream(server: &Server, data: &Path, config: Config) -> Node {
    // A node's name is known once it ran.
    let mut node = Node::start_in(data, "", &[]);
    node.signal("TERM");
    node.wait();
    let (name, subjects) = (stream_name(&node), vec![subject(&node)]);
    server.context().await.create_stream(Config { name, subjects, ..config }).await.unwrap();
    Node::start_in(data, &server.config(), &[])
}

/// Waits until the node made its stream.
async fn stream_of(node: &Node, context: &Context) -> Stream {
    loop {
        match context.get_stream(stream_name(node)).await {
            Ok(stream) => return stream,
            Err(_not_yet) => tokio::task::yield_now().await,
        }
    }
}

/// Reads the messages of a stream one after the other, by chapter 19 alone, and goes on for ever.
async fn read(stream: Stream, log_origin: String, so_far: watch::Sender<Vec<[u8; 68]>>) {
    for sequence in 1.. {
        // The server may be down, or the message not there yet.
        let message = loop {
            match timeout(PATIENCE, stream.get_raw_message(sequence)).await {
                Ok(Ok(message)) => break message,
                _ => tokio::task::yield_now().await,
            }
        };
        let header = |name: &str| message.headers.get(name).map(|it| it.as_str().to_owned());
        let next = so_far.borrow().len().to_string();
        assert_eq!(header(binding::AUDIT_INDEX_HEADER), Some(next.clone()), "each index once");
        // [AUS-2]
        assert_eq!(header("Nats-Msg-Id"), Some(format!("{log_origin}@{next}")));
        assert_eq!(header("Nats-Expected-Last-Subject-Sequence"), Some((sequence - 1).to_string()));
        let (entries, rest) = message.payload.as_chunks::<68>();
        assert!(rest.is_empty() && !entries.is_empty());
        assert!(entries.len() as u64 <= limits::AUDIT_MESSAGE_ENTRIES);
        so_far.send_modify(|so_far| so_far.extend(entries));
    }
}

/// What `cmtpd journal list --json` says of entries like these, the first of which has this index.
fn listed(first: usize, entries: &[[u8; 68]]) -> Vec<Value> {
    let listed = |(index, bytes): (usize, &[u8; 68])| {
        let entry = Entry::from_bytes(bytes).unwrap();
        json!({
            "index": first + index, "type": entry.entry_type.name(), "flags": entry.flags.0,
            "status": entry.status.0, "opcode": entry.opcode.name().unwrap_or("-"),
            "layers": entry.layers, "message_id": HEXLOWER.encode(&entry.message_id),
            "time": entry.time, "seal": HEXLOWER.encode(&entry.seal.0),
        })
    };
    entries.iter().enumerate().map(listed).collect()
}

/// The journal's entries, without what is not in an entry.
fn journal(node: &Node) -> Vec<Value> {
    let mut entries = load::entries(node);
    for entry in &mut entries {
        let entry = entry.as_object_mut().unwrap();
        entry.remove("begin");
        entry.remove("erased");
        entry.remove("executed_write");
    }
    entries
}

fn assert_same(entries: &[[u8; 68]], node: &Node) {
    let (streamed, journal) = (listed(0, entries), journal(node));
    for (index, (streamed, journal)) in streamed.iter().zip(&journal).enumerate() {
        assert_eq!(streamed, journal, "entry {index}");
    }
    assert_eq!(streamed.len(), journal.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_every_index_once_whatever_is_killed() {
    // [AUS-1] [AUS-2] [AUS-3]
    let mut server = Server::start();
    let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!("{}[http]\nlisten = \"{metrics}\"\n", server.config());
    // Small logs, so that the stream reads what was moved, too.
    let mut node = Node::start(&format!("{config}[journal]\nsegment-bytes = 1048576\n"));
    let (so_far, mut reached) = watch::channel(Vec::new());
    let stream = stream_of(&node, &server.context().await).await;
    let reader = tokio::spawn(read(stream, format!("cmtp/{}/0", multibase(&node)), so_far));
    let load = Arc::new(Load::default());
    let caller = Arc::new(Caller::new(&node));
    let write = |slot| {
        let target = format!("0xSW:box:{slot}");
        tokio::spawn(Arc::clone(&load).write(Arc::clone(&caller), target, slot))
    };
    let slots: Vec<_> = (0..SLOTS).map(write).collect();
    for round in 0..KILLS {
        // Not before the stream goes on: else this would be one long outage.
        let before = load.received();
        let index = before.iter().map(|it| it.index).max().unwrap_or_default();
        reached.wait_for(|read| read.len() as u64 > index).await.unwrap();
        load.reached(load.received().len() + 20 + round * 7 % 50).await;
        server.nats.kill();
        if round % 4 == 3 {
            node.kill();
            // A node does not start without its bus.
            tokio::task::block_in_place(|| server.nats.restart());
            tokio::task::block_in_place(|| node.restart());
        } else {
            // The node lives on without the server.
            load.reached(load.received().len() + 20).await;
            tokio::task::block_in_place(|| server.nats.restart());
        }
    }
    for _ in 0..3 {
        load.reached(load.received().len() + 50).await;
        node.kill();
        tokio::task::block_in_place(|| node.restart());
    }
    load.stop();
    for slot in slots {
        slot.await.unwrap();
    }
    let entries = load::check(&node, &load.received(), 0).len();
    assert!(!reader.is_finished(), "it reads for ever, unless it found something wrong");
    reached.wait_for(|read| read.len() >= entries).await.unwrap();
    // It is in the stream before the node knows that it is.
    while counter(metrics, "cmtpd_audit_stream_lag") != 0 {}
    assert!(counter(metrics, "cmtpd_audit_stream_entries_total") > 0);
    // What JetStream answers goes to who asked it, and not to those who wait for services.
    assert_eq!(counter(metrics, "cmtpd_bus_late_replies_total"), 0);
    assert_same(&reached.borrow(), &node);
    println!("{KILLS} kills of nats-server, {} of the node, {entries} entries", KILLS / 4 + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_there_keeps_its_configuration_and_takes_no_message_twice() {
    // [AUS-2] [AUS-3] [AUS-5]
    let server = Server::start();
    let context = server.context().await;
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        description: Some("the operator's own".to_owned()),
        max_messages: 2,
        ..Config::default()
    };
    let node = with_stream(&server, folder.path(), config).await;
    let caller = Caller::new(&node);
    let connection = caller.connect().await;
    let mut stream = context.get_stream(stream_name(&node)).await.unwrap();
    for number in 0..5_u8 {
        write(&caller, &connection, &number.to_string()).await;
        published(&stream, &node).await;
    }
    let info = stream.info().await.unwrap().clone();
    assert_eq!(info.config.description.as_deref(), Some("the operator's own"));
    assert_eq!((info.config.max_messages, info.state.messages), (2, 2));
    // A second publisher that goes by what it saw once, and one that sends again what was taken.
    let last = stream.get_raw_message(info.state.last_sequence).await.unwrap();
    let mut stale: HeaderMap = last.headers.clone();
    stale.insert("Nats-Msg-Id", "another");
    for headers in [stale, last.headers.clone()] {
        let sent = context.publish_with_headers(subject(&node), headers, last.payload.clone());
        let ack = sent.await.unwrap().await;
        assert!(ack.as_ref().is_err() || ack.is_ok_and(|ack| ack.duplicate));
    }
    assert_eq!(stream.info().await.unwrap().state.last_sequence, info.state.last_sequence);
    // A stream that was emptied goes on where it was.
    stream.purge().await.unwrap();
    let next = load::entries(&node).len();
    write(&caller, &connection, "after").await;
    published(&stream, &node).await;
    let first = stream.get_raw_message(info.state.last_sequence + 1).await.unwrap();
    let index = first.headers.get(binding::AUDIT_INDEX_HEADER).unwrap().as_str();
    assert_eq!(index, next.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_acknowledgement_comes_the_stream_is_read() {
    // [AUS-3]
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let config = Config { no_ack: true, ..Config::default() };
    let node = with_stream(&server, folder.path(), config).await;
    let caller = Caller::new(&node);
    let connection = caller.connect().await;
    let (so_far, mut reached) = watch::channel(Vec::new());
    let stream = stream_of(&node, &server.context().await).await;
    let reader = tokio::spawn(read(stream, format!("cmtp/{}/0", multibase(&node)), so_far));
    for body in ["one", "two"] {
        let index = write(&caller, &connection, body).await;
        reached.wait_for(|read| read.len() as u64 > index).await.unwrap();
    }
    assert!(!reader.is_finished());
    assert_same(&reached.borrow(), &node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_a_restored_backup_publishes_nothing() {
    // [AUS-4]
    let server = Server::start();
    let context = server.context().await;
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    let log = folder.path().join("log");
    std::fs::create_dir(&data).unwrap();
    let keep_log = ["sh", "-c", "exec 2>\"$0\"; exec \"$@\"", log.to_str().unwrap()];
    let mut node = Node::start_in(&data, &server.config(), &keep_log);
    let caller = Caller::new(&node);
    node.signal("TERM");
    node.wait();
    copy(&data, &backup);
    node.restart();
    let connection = caller.connect().await;
    for number in 0..10 {
        write(&caller, &connection, &number.to_string()).await;
    }
    let mut stream = stream_of(&node, &context).await;
    published(&stream, &node).await;
    let before = stream.info().await.unwrap().state.last_sequence;
    node.kill();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    node.restart();
    let says = |what: &str| std::fs::read_to_string(&log).unwrap().contains(what);
    until(|| says("restored backup") && says(&stream_name(&node))).await;
    // Nor once the journal has as many entries, which are others.
    let connection = caller.connect().await;
    for number in 0..20 {
        write(&caller, &connection, &number.to_string()).await;
    }
    until(|| says("is not of this journal")).await;
    assert_eq!(stream.info().await.unwrap().state.last_sequence, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_named_by_the_log_that_is_written() {
    // [AUS-2]
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    std::fs::create_dir(&data).unwrap();
    let mut node = Node::start_in(&data, "", &[]);
    node.signal("TERM");
    node.wait();
    copy(&data.join("journal"), &backup);
    node.restart();
    let caller = Caller::new(&node);
    write(&caller, &caller.connect().await, "lost").await;
    // The log knows more than the journal that is restored.
    node.signal("TERM");
    node.wait();
    std::fs::remove_dir_all(data.join("journal")).unwrap();
    copy(&backup, &data.join("journal"));
    let server = Server::start();
    let follow = ["sh", "-c", "exec \"$@\" --follow-log", "sh"];
    let node = Node::start_in(&data, &server.config(), &follow);
    let context = server.context().await;
    let mut stream = stream_of(&node, &context).await;
    published(&stream, &node).await;
    let origin = cmtp_codec::log::log_origin(&node.did.parse().unwrap(), 1);
    let message = stream.get_raw_message(1).await.unwrap();
    let id = message.headers.get("Nats-Msg-Id").unwrap().as_str();
    assert_eq!(id, format!("{origin}@0"));
    let description = stream.info().await.unwrap().config.description.clone();
    assert_eq!(description, Some(format!("entries of {origin}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_over_cmtp_are_the_journal_and_do_not_keep_themselves_going() {
    // [AUS-6] [AUS-7] [AUS-8]
    let node = Node::start("");
    let writer = Caller::new(&node);
    let writing = writer.connect().await;
    let mut last = 0;
    // More than a segment holds.
    for number in 0..700 {
        last = write(&writer, &writing, &number.to_string()).await;
    }
    let caller = Caller::allowed(&node, &["--scope", "0xE:audit"]);
    let connection = caller.connect().await;
    let mut from_0 = Lines::open(&connection, "0xE:audit:[0]").await;
    from_0.until(last).await;
    // Where a stream without arguments begins shows only by what it tells.
    let mut from_now = Lines::open(&connection, "0xE:audit").await;
    while from_now.entries.is_empty() {
        last = write(&writer, &writing, "live").await;
        let _nothing_yet = timeout(Duration::from_millis(300), from_now.read()).await;
    }
    from_0.until(last).await;
    from_now.until(last).await;
    // The only wait that is the test itself: two open streams and nobody who calls make no entry. Ten looks would fit in.
    let before = journal(&node).len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(journal(&node).len(), before, "a stream tells of itself again and again");
    // What was held back comes with the next entry of another kind.
    last = write(&writer, &writing, "more").await;
    from_0.until(last).await;
    from_now.until(last).await;
    let journal = journal(&node);
    let streamed = listed(0, &from_0.entries);
    assert_eq!(from_0.first, 0);
    assert_eq!(streamed, journal[..streamed.len()]);
    assert!(streamed.iter().any(|it| it["type"] == "segment" && it["opcode"] == "0xE"));
    let streamed = listed(from_now.first, &from_now.entries);
    assert_eq!(streamed, journal[from_now.first..][..streamed.len()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_over_cmtp_need_scope_and_an_index_that_is_there() {
    let node = Node::start("");
    let allowed = Caller::allowed(&node, &["--scope", "0xE:audit"]);
    let connection = allowed.connect().await;
    let status = async |connection: &Connection, target: &str| {
        connection.call(Request::new(Fqmn::parse(target).unwrap())).await.unwrap().status()
    };
    assert_eq!(status(&connection, "0xE:audit:[1000000]").await, Status::NOT_FOUND);
    assert_eq!(status(&connection, "0xE:audit:[\"first\"]").await, Status::BAD_REQUEST);
    let other = Caller::new(&node).connect().await;
    assert_eq!(status(&other, "0xE:audit:[0]").await, Status::FORBIDDEN);
}

/// What is read of `0xE:audit`: sealed bytes only.
struct Lines {
    streaming: Streaming,
    first: usize,
    entries: Vec<[u8; 68]>,
    rest: Vec<u8>,
}

impl Lines {
    async fn open(connection: &Connection, target: &str) -> Self {
        let streaming = connection.open(Request::new(Fqmn::parse(target).unwrap())).await.unwrap();
        Self { streaming, first: 0, entries: Vec::new(), rest: Vec::new() }
    }

    /// Reads until this index is there.
    async fn until(&mut self, index: u64) {
        while ((self.first + self.entries.len()) as u64) <= index {
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let piece = self.streaming.next().await.unwrap().expect("the stream goes on");
        if !piece.is_sealed() {
            return;
        }
        self.rest.extend_from_slice(&piece.data);
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = std::str::from_utf8(&line).unwrap().strip_suffix('\n').unwrap();
            let (index, entry) = line.split_once(' ').unwrap();
            let index: usize = index.parse().unwrap();
            if self.entries.is_empty() {
                self.first = index;
            }
            assert_eq!(index, self.first + self.entries.len(), "none is skipped, none comes twice");
            let entry = BASE64.decode(entry.as_bytes()).unwrap();
            self.entries.push(entry.try_into().unwrap());
        }
    }
}

/// Writes, and says at which index.
async fn write(caller: &Caller, connection: &Connection, body: &str) -> u64 {
    let request = caller.write(connection, "0xSW:box:one", body);
    let answer = connection.send(&request).await.unwrap();
    assert!(answer.is_success());
    Receipt::of(&answer).index
}

/// Waits until the stream holds all that the journal does now.
async fn published(stream: &Stream, node: &Node) {
    let count = load::entries(node).len();
    loop {
        if let Ok(last) = stream.get_last_raw_message_by_subject(&subject(node)).await {
            let first = last.headers.get(binding::AUDIT_INDEX_HEADER).unwrap().as_str();
            if first.parse::<usize>().unwrap() + last.payload.len() / 68 >= count {
                return;
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn until(holds: impl Fn() -> bool) {
    let mut holding = pin!(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    timeout(Duration::from_secs(60), &mut holding).await.expect("it holds within a minute");
}

/// A number of the node's.
fn counter(metrics: SocketAddr, name: &str) -> u64 {
    let mut stream = TcpStream::connect(metrics).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
}

const KILLS: usize = 20;
const SLOTS: usize = 8;
/// For one attempt to read, which a kill may leave without an answer.
const PATIENCE: Duration = Duration::from_secs(1);
