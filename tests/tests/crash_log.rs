//! The log over kills and power cuts, under load: nothing that was seen or answered is gone afterwards or another.
//! Needs root, `mkfs.ext4` and `strace`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cmtp_client::Request;
use cmtp_codec::Fqmn;
use cmtp_codec::log::{Checkpoint, Growth, VerifierKey};
use cmtp_spec::Status;
use cmtp_tests::load::{Caller, Receipt, Receipts, entries};
use cmtp_tests::log::{Watcher, faults};
use cmtp_tests::wire::Wire;
use cmtp_tests::{Home, NatsServer, Node, Volume, http};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_stands_by_what_it_said_over_kill_9() {
    // [LOG-2] [LOG-5] [LOG-6] [LOG-7]
    let rounds = count("CMTP_ROUNDS");
    let port = http::free_port();
    let mut node = Node::start(&config(port));
    let key = Wire::connect(&node).await.log_key();
    let watcher = Watcher::start(port, key.clone());
    let mut load = Load::new();
    let caller = Caller::new(&node);
    for round in 0..rounds {
        load.round(&mut node, 500 + round * 137 % 1_000);
        let before = watcher.seen().last().cloned();
        node.restart();
        // Asked of the node itself, too: the proof from what was seen before the kill.
        grew(&caller, before.as_ref(), &key).await;
    }
    let mut seen = watcher.finish();
    assert!(seen.len() > rounds, "{} checkpoints in {rounds} rounds", seen.len());
    let held = entries(&node).len() as u64;
    assert_eq!(faults(port, &key, held, &seen, load.received()), [""; 0]);
    println!("{rounds} kills, {}, {} checkpoints seen: all stand", load.summary(), seen.len());
    // The same judge, had the node said something else once.
    let middle = seen.len() / 2;
    seen[middle].root.0[0] ^= 1;
    let found = faults(port, &key, held, &seen, load.received());
    assert_eq!(found, [format!("the tree of {} entries is another", seen[middle].size)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_stands_by_what_it_said_over_power_cuts() {
    // [LOG-2] [LOG-5]
    let cuts = count("CMTP_POWER_CUTS");
    let port = http::free_port();
    let mut volume = Volume::new(VOLUME);
    let mut node = Node::start_in(volume.path(), &config(port), &[]);
    let key = Wire::connect(&node).await.log_key();
    let watcher = Watcher::start(port, key.clone());
    let mut load = Load::new();
    for cut in 0..cuts {
        load.round(&mut node, 200 + cut * 137 % 500);
        let seen = watcher.seen();
        let left = Left::after_cut(&volume, port, &key, &seen, load.received());
        assert_eq!(left.faults, [""; 0], "cut {cut}");
        // It goes on from what the cut left.
        (volume, node) = (left.volume, left.node.expect("no fault"));
    }
    let seen = watcher.finish();
    println!("{cuts} power cuts, {}, {} checkpoints seen: all stand", load.summary(), seen.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_sync_is_found_out() {
    let port = http::free_port();
    let volume = Volume::new(VOLUME);
    // What makes a node is on the disk, so that it's what it answers that is lost, and not its name.
    let mut node = Node::start_in(volume.path(), &config(port), &[]);
    let key = Wire::connect(&node).await.log_key();
    let mut load = Load::new();
    load.round(&mut node, 100);
    let left = Left::after_cut(&volume, port, &key, &[], load.received());
    assert_eq!(left.faults, [""; 0], "as long as it syncs");
    drop(left);
    // The kernel is never asked; the node is told that all is well. As a grandchild strace leaves the node to be killed.
    let out = volume.path().with_extension("strace");
    let strace = ["strace", "-D", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-e"];
    let left_out = ["inject=fsync,fdatasync:retval=0", "-o", out.to_str().unwrap()];
    let wrapper = [&strace[..], &left_out].concat();
    let mut node = Node::start_in(volume.path(), &config(port), &wrapper);
    let watcher = Watcher::start(port, key.clone());
    load.round(&mut node, 200);
    let seen = watcher.finish();
    assert!(!seen.is_empty());
    let left = Left::after_cut(&volume, port, &key, &seen, load.received());
    let traced = std::fs::read_to_string(out).unwrap();
    assert!(traced.contains("(INJECTED)"), "syncs were left out: {traced}");
    println!("without fsync: {:?}", left.faults);
    let lost = left.faults.iter().any(|fault| fault.contains("answers are not in the journal"));
    assert!(lost, "{:?}", left.faults);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_file_store_loses_is_counted() {
    // The same cut, for comparison. Other people's software is not judged here: what is lost is said, and no more.
    for (sync, says) in [("2m", "as it is by default"), ("always", "with sync_interval: always")] {
        let (acknowledged, kept) = cut_jetstream(sync).await;
        let lost = kept.map(|kept| acknowledged - kept);
        println!("JetStream, {says}: {acknowledged} messages acknowledged, lost: {lost:?}");
    }
}

/// Messages that JetStream acknowledged, and that it has after a power cut; `None` where the stream itself is gone.
async fn cut_jetstream(sync: &str) -> (u64, Option<u64>) {
    let volume = Volume::new(VOLUME);
    let (nats, client) = jetstream(&volume, sync).await;
    let stream =
        json!({"name": "S", "subjects": ["log"], "storage": "file", "retention": "limits"});
    let made = ask(&client, "$JS.API.STREAM.CREATE.S", &stream).await;
    assert!(made.get("error").is_none(), "{made}");
    // So that it's messages that are lost, and not the stream.
    let synced = Command::new("sync").arg("--file-system").arg(volume.path()).status().unwrap();
    assert!(synced.success());
    for number in 0..MESSAGES {
        let answer = ask(&client, "log", &json!(number)).await;
        assert_eq!(answer["seq"], number + 1, "an acknowledgement: {answer}");
    }
    drop(nats);
    let left = volume.copy();
    left.mount();
    let (_nats, client) = jetstream(&left, sync).await;
    let info = ask(&client, "$JS.API.STREAM.INFO.S", &Value::Null).await;
    (MESSAGES, info["state"]["messages"].as_u64())
}

/// A server that has its files on a volume.
async fn jetstream(volume: &Volume, sync: &str) -> (NatsServer, async_nats::Client) {
    let file = volume.path().with_extension("conf");
    let store = volume.path().join("store");
    let config = format!("jetstream {{ store_dir: {store:?}, sync_interval: {sync:?} }}\n");
    std::fs::write(&file, config).unwrap();
    let nats = NatsServer::start_with(&["--config", file.to_str().unwrap()]);
    let client = async_nats::connect(&nats.url).await.unwrap();
    (nats, client)
}

async fn ask(client: &async_nats::Client, subject: &'static str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = client.request(subject, body.into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

/// Echoes over `cmtp bench`, and every answer to them.
struct Load {
    home: Home,
    receipts: Receipts,
    /// While there was load.
    time: Duration,
}

impl Load {
    fn new() -> Self {
        let home = Home::new();
        let receipts = Receipts::new(home.file("receipts.jsonl"));
        Self { home, receipts, time: Duration::ZERO }
    }

    /// Loads the node, and kills it after so many answers.
    fn round(&mut self, node: &mut Node, answers: usize) {
        let wanted = self.receipts.received().len() + answers;
        let begun = Instant::now();
        let file = self.receipts.path().to_str().unwrap();
        // Longer than it's loaded: it ends where it is dropped.
        let bench = ["--seconds", "600", "--in-flight", "256", "--size", "16", "--receipts", file];
        let running = self.home.bench(node, bench);
        self.receipts.reached(wanted);
        node.kill();
        self.time += begun.elapsed();
        drop(running);
    }

    fn received(&mut self) -> &[Receipt] {
        self.receipts.received()
    }

    fn summary(&mut self) -> String {
        let (answers, seconds) = (self.received().len(), self.time.as_secs_f64());
        let program = cmtp_tests::binary("cmtpd");
        let profile = program.parent().and_then(Path::file_name).unwrap_or_default();
        let rate = answers as f64 / seconds;
        format!("{answers} answers at {rate:.0}/s ({})", profile.display())
    }
}

/// What a power cut leaves, with its node started on it, and what is wrong with that.
struct Left {
    /// Before its volume, so that it is gone first.
    node: Option<Node>,
    volume: Volume,
    faults: Vec<String>,
}

impl Left {
    fn after_cut(
        cut: &Volume,
        port: u16,
        key: &VerifierKey,
        seen: &[Checkpoint],
        received: &[Receipt],
    ) -> Self {
        let volume = cut.copy();
        volume.mount();
        let held = entries(&Node::stopped(volume.path()));
        let is_held = |receipt: &&Receipt| {
            let entry = usize::try_from(receipt.index).ok().and_then(|index| held.get(index));
            entry.is_some_and(|entry| entry["seal"] == receipt.seal)
        };
        let lost = received.len() - received.iter().filter(is_held).count();
        let mut found = Vec::new();
        if lost > 0 {
            found.push(format!("{lost} of {} answers are not in the journal", received.len()));
        }
        let node = Node::try_start_in(volume.path(), &config(port), &[]);
        match node {
            None => found.push("the node does not start".to_owned()),
            Some(_) => found.extend(faults(port, key, held.len() as u64, seen, received)),
        }
        Self { node, volume, faults: found }
    }
}

/// The node proves that its log begins with `before`.
async fn grew(caller: &Caller, before: Option<&Checkpoint>, key: &VerifierKey) {
    let size = before.map_or(0, |before| before.size);
    let target = Fqmn::parse(&format!("0xI:log:checkpoint:[{size}]")).unwrap();
    let answer = caller.connect().await.call(Request::new(target)).await.unwrap();
    assert_eq!(answer.status(), Status::OK, "of {size} entries");
    let text = String::from_utf8(answer.body().unwrap().to_vec()).unwrap();
    Growth::parse(&text).unwrap().verify(before, key).unwrap();
}

/// Small logs, so that they are moved many times, and a checkpoint as often as there can be one.
fn config(port: u16) -> String {
    format!(
        "[http]\nlisten = \"127.0.0.1:{port}\"\n[journal]\nsegment-bytes = 1048576\n[log]\ninterval-ms = 20\n"
    )
}

fn count(variable: &str) -> usize {
    std::env::var(variable).map_or(3, |it| it.parse().unwrap())
}

/// MiB: room for 50 cuts.
const VOLUME: u64 = 128;
const MESSAGES: u64 = 500;
