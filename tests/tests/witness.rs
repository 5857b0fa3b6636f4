//! Witnesses: real processes, and the logs of real nodes and of liars.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use cmtp_codec::log::{
    Checkpoint, Growth, NoteKind, NoteSigner, Policy, SignedCheckpoint, VerifierKey,
};
use cmtp_codec::merkle::{Tree, leaf};
use cmtp_codec::{Digest, Entry, Receipt, SigningKey};
use cmtp_spec::{EntryType, FieldIndex, Status, limits};
use cmtp_tests::wire::{Answer, Forge, Wire, salt, signed};
use cmtp_tests::{Node, binary, copy};
use data_encoding::HEXLOWER;
use tempfile::TempDir;

/// A `cmtpd witness`.
struct Witness {
    child: Option<Child>,
    folder: TempDir,
    listen: String,
    key: VerifierKey,
}

impl Witness {
    /// Starts one for logs, each a line of a policy.
    fn start(logs: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("policy"), format!("{logs}\nquorum none\n")).unwrap();
        let (child, listen, key) = spawn(folder.path(), "127.0.0.1:0");
        Self { child: Some(child), folder, listen, key }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn restart(&mut self) {
        let (child, listen, key) = spawn(self.folder.path(), &self.listen);
        assert_eq!((&listen, &key), (&self.listen, &self.key), "it is the same witness");
        self.child = Some(child);
    }

    fn add(&self, growth: &Growth) -> (u16, String) {
        self.post(growth.to_string().as_bytes()).unwrap()
    }

    /// `None` where it ended before it answered.
    fn post(&self, body: &[u8]) -> Option<(u16, String)> {
        let length = body.len();
        let head = format!(
            "POST /add-checkpoint HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        let (head, body) = http(&self.listen, &[head.as_bytes(), body].concat())?;
        if head.starts_with("HTTP/1.1 409") {
            assert!(head.contains("content-type: text/x.tlog.size"), "{head}");
        }
        Some((head[9..12].parse().ok()?, String::from_utf8(body).ok()?))
    }

    /// What it says that it saw of a log.
    fn seen(&self, origin: &str) -> Option<SignedCheckpoint> {
        let name = HEXLOWER.encode(&Digest::of(origin.as_bytes()).0);
        let (head, note) = get(&self.listen, &format!("/{name}/checkpoint"))?;
        if !head.starts_with("HTTP/1.1 200") {
            return None;
        }
        let note = SignedCheckpoint::parse(std::str::from_utf8(&note).unwrap()).unwrap();
        assert!(matches!(note.signed_by(&self.key), Ok(Some(_))), "{note}");
        Some(note)
    }

    fn table(&self) -> String {
        format!("[[log.witness]]\nkey = \"{}\"\nurl = \"http://{}\"\n", self.key, self.listen)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(folder: &Path, listen: &str) -> (Child, String, VerifierKey) {
    let mut child = Command::new(binary("cmtpd"))
        .args(["witness", "--listen", listen, "--data"])
        .arg(folder.join("data"))
        .arg("--policy")
        .arg(folder.join("policy"))
        .stdout(Stdio::piped())
        // It tells of each fork, of which there are many.
        .stderr(std::fs::File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let line = BufReader::new(stdout).lines().next().expect("it says that it listens").unwrap();
    let words: Vec<_> = line.split(' ').collect();
    let listen = words[4].strip_prefix("http://").unwrap().to_owned();
    (child, listen, words[6].parse().unwrap())
}

/// Head and body of an answer; `None` where there is none.
fn http(address: &str, request: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    Some((String::from_utf8(answer[..end].to_vec()).ok()?, answer[end + 4..].to_vec()))
}

fn get(address: &str, path: &str) -> Option<(String, Vec<u8>)> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    http(address, request.as_bytes())
}

/// Waits until something is there.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A log that does as it pleases.
struct Liar {
    signer: NoteSigner,
    leaves: Vec<Digest>,
}

impl Liar {
    fn new(origin: &str) -> Self {
        let key = SigningKey::from_seed(&Digest::of(origin.as_bytes()).0).unwrap();
        let signer = NoteSigner::new(origin, NoteKind::Ed25519, key).unwrap();
        Self { signer, leaves: Vec::new() }
    }

    /// Another story from here on.
    fn fork(&self) -> Self {
        Self { leaves: self.leaves.clone(), ..Self::new(self.origin()) }
    }

    fn origin(&self) -> &str {
        self.signer.public().name()
    }

    fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    fn grow(&mut self, story: &str, count: usize) {
        for _ in 0..count {
            let text = format!("{story} {}", self.leaves.len());
            self.leaves.push(leaf(text.as_bytes()));
        }
    }

    fn growth(&self, old: u64) -> Growth {
        let root = Tree::new(self.leaves.clone()).root();
        let origin = self.origin().to_owned();
        let checkpoint = Checkpoint { origin, size: self.size(), root }.sign(&self.signer);
        let old = usize::try_from(old).unwrap();
        let path = if (1..self.leaves.len()).contains(&old) {
            consistency(old, &self.leaves, true)
        } else {
            Vec::new()
        };
        Growth { old: old as u64, path, checkpoint }
    }
}

/// SUBPROOF of RFC 6962, section 2.1.2.
fn consistency(old: usize, leaves: &[Digest], is_known: bool) -> Vec<Digest> {
    let root = |leaves: &[Digest]| Tree::new(leaves.to_vec()).root();
    if old == leaves.len() {
        return if is_known { Vec::new() } else { vec![root(leaves)] };
    }
    let split = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(split);
    let (mut path, beside) = if old <= split {
        (consistency(old, left, is_known), root(right))
    } else {
        (consistency(old - split, right, false), root(left))
    };
    path.push(beside);
    path
}

#[test]
fn a_witness_answers_as_tlog_witness_says() {
    // [LOG-24]
    let mut log = Liar::new("log.example/a");
    let witness = Witness::start(&format!("log {}", log.signer.public()));
    assert_eq!(witness.seen(log.origin()), None);
    log.grow("a", 5);
    let (status, line) = witness.add(&log.growth(0));
    assert_eq!(status, 200, "{line}");
    let note = log.growth(0).checkpoint.with_signatures(&line).unwrap();
    assert!(matches!(note.signed_by(&witness.key), Ok(Some(time)) if time > 1_600_000_000));
    let mut fork = log.fork();
    log.grow("a", 4);
    let add = |growth: &Growth| witness.add(growth);
    assert_eq!(add(&log.growth(3)), (409, "5\n".to_owned()), "from a size that it does not know");
    assert_eq!(add(&log.growth(0)), (409, "5\n".to_owned()), "as if it knew nothing");
    assert_eq!(add(&log.growth(12)).0, 400, "from more than there is");
    let mut bad = log.growth(5);
    bad.path.pop();
    assert_eq!(add(&bad).0, 422, "a proof that proves nothing");
    assert_eq!(add(&log.growth(5)).0, 200);
    assert_eq!(add(&log.growth(9)).0, 200, "the same again is as good");
    fork.grow("b", 4);
    assert_eq!(add(&fork.growth(9)), (409, "9\n".to_owned()), "as large, and another root");
    fork.grow("b", 4);
    assert_eq!(add(&fork.growth(9)).0, 422, "a fork");
    let other = Liar::new("log.example/b");
    assert_eq!(add(&other.growth(0)).0, 404, "a log that it does not know");
    let mut forged = Liar::new("log.example/a");
    let key = SigningKey::from_seed(&[9; 32]).unwrap();
    forged.signer = NoteSigner::new("log.example/a", NoteKind::Ed25519, key).unwrap();
    forged.grow("c", 20);
    assert_eq!(add(&forged.growth(9)).0, 403, "not by the log");
    for malformed in ["", "old 1\n", "old x\n\n", "old 01\n\nx\n1\ny\n"] {
        assert_eq!(witness.post(malformed.as_bytes()).unwrap().0, 400, "{malformed:?}");
    }
    assert_eq!(witness.post(&[0xff; 10]).unwrap().0, 400);
    let long = vec![b'a'; 64 << 10];
    // It may close the connection while more comes.
    assert!(witness.post(&long).is_none_or(|(status, _)| status == 413));
    let seen = witness.seen(log.origin()).unwrap();
    assert_eq!((seen.untrusted().size, &seen.untrusted().root), (9, &tree_root(&log)));
    let output = Command::new(binary("cmtpd"))
        .args(["witness", "--vkey", "--data"])
        .arg(witness.folder.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\n", witness.key));
    let name = format!("cmtp-witness/{}", witness.key.key().multibase());
    assert_eq!(witness.key.name(), name);
}

fn tree_root(log: &Liar) -> Digest {
    Tree::new(log.leaves.clone()).root()
}

#[test]
fn a_killed_witness_never_cosigns_a_fork() {
    // [LOG-22]
    let mut log = Liar::new("log.example/killed");
    let mut witness = Witness::start(&format!("log {}", log.signer.public()));
    let mut known = 0;
    for round in 0..20 {
        let fork = log.fork();
        log.grow("true", 3);
        let growth = log.growth(known);
        // The kill comes at another moment of the exchange each time.
        let (listen, body) = (witness.listen.clone(), growth.to_string());
        let asking = thread::spawn(move || {
            let request = format!(
                "POST /add-checkpoint HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            http(&listen, request.as_bytes())
        });
        thread::sleep(Duration::from_micros(300 * round));
        witness.kill();
        let answered = asking.join().unwrap().is_some_and(|(head, _)| head.contains(" 200 "));
        witness.restart();
        let seen = witness.seen(log.origin()).map_or(0, |seen| seen.untrusted().size);
        assert!(seen == log.size() || (seen == known && !answered), "{seen} {known} {answered}");
        if seen == known {
            log = fork;
            continue;
        }
        known = seen;
        let mut fork = fork;
        fork.grow("false", 3);
        assert_eq!(witness.add(&fork.growth(known)), (409, format!("{known}\n")));
        for more in 1..4 {
            fork.grow("false", more);
            for old in 0..=fork.size() {
                let (status, _) = witness.add(&fork.growth(old));
                assert!([409, 422].contains(&status), "{status} from {old}");
            }
        }
    }
    // One that is not killed in time is cosigned, or the test has shown nothing.
    log.grow("true", 1);
    assert_eq!(witness.add(&log.growth(known)).0, 200);
}

#[test]
fn of_two_stories_a_witness_cosigns_one() {
    // [LOG-24] [LOG-22] A hundred logs that show two people two things at the same time.
    let mut logs: Vec<_> = (0..100).map(|it| Liar::new(&format!("fork.example/{it}"))).collect();
    let lines: Vec<_> = logs.iter().map(|log| format!("log {}", log.signer.public())).collect();
    let witness = Witness::start(&lines.join("\n"));
    for (number, log) in logs.iter_mut().enumerate() {
        let base = number % 7;
        log.grow("common", base);
        if base > 0 {
            assert_eq!(witness.add(&log.growth(0)).0, 200);
        }
        let mut other = log.fork();
        log.grow("one", 1 + number % 3);
        other.grow("other", 1 + number % 5);
        let both = Barrier::new(2);
        let ask = |log: &Liar| {
            both.wait();
            witness.add(&log.growth(base as u64))
        };
        let (one, two) = thread::scope(|scope| {
            let one = scope.spawn(|| ask(log));
            let two = scope.spawn(|| ask(&other));
            (one.join().unwrap(), two.join().unwrap())
        });
        let cosigned = [&one, &two].iter().filter(|(status, _)| *status == 200).count();
        assert_eq!(cosigned, 1, "{one:?} {two:?}");
        let (mut lost, won) = if one.0 == 200 { (other, &*log) } else { (log.fork(), &other) };
        lost.grow("more", 5);
        assert_eq!(witness.add(&lost.growth(won.size())).0, 422);
        let seen = witness.seen(won.origin()).unwrap();
        assert_eq!(seen.untrusted().root, tree_root(won));
    }
}

#[test]
fn a_witness_that_lost_its_memory_does_not_begin_anew() {
    // [LOG-22]
    let mut log = Liar::new("log.example/lost");
    let mut witness = Witness::start(&format!("log {}", log.signer.public()));
    log.grow("true", 3);
    assert_eq!(witness.add(&log.growth(0)).0, 200);
    let folder = witness.folder.path().join("data");
    let refused = |says: &str| {
        let output = Command::new(binary("cmtpd"))
            .args(["witness", "--listen", "127.0.0.1:0", "--data"])
            .arg(&folder)
            .arg("--policy")
            .arg(witness.folder.path().join("policy"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(says), "{text}");
    };
    refused("another cmtpd witness uses it");
    let name = HEXLOWER.encode(&Digest::of(log.origin().as_bytes()).0);
    let file = folder.join(name).join("checkpoint");
    let note = std::fs::read_to_string(&file).unwrap();
    if let Some(mut child) = witness.child.take() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for spoilt in [String::new(), note.replacen('3', "2", 1), note[..note.len() - 9].to_owned()] {
        std::fs::write(&file, spoilt).unwrap();
        refused("restore the file from a backup");
    }
    std::fs::write(
        witness.folder.path().join("policy"),
        "quorum none
",
    )
    .unwrap();
    std::fs::write(&file, &note).unwrap();
    refused("no `log KEY` line");
}

/// A node's data directory before its first start, and the lines by which its logs are named in a policy.
struct Site {
    folder: TempDir,
    http: u16,
}

impl Site {
    fn new() -> Self {
        let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder: tempfile::tempdir().unwrap(), http }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_key(&self, number: u32) -> VerifierKey {
        std::fs::create_dir_all(self.data()).unwrap();
        let node = Node::stopped(&self.data());
        let output = node.cmtpd(&["did", "--log", &number.to_string()]);
        let line = String::from_utf8(output.stdout).unwrap();
        line.trim_end().strip_prefix("log ").unwrap().parse().unwrap()
    }

    fn logs(&self) -> String {
        (0..3).map(|number| format!("log {}\n", self.log_key(number))).collect()
    }

    fn config(&self, witnesses: &[&Witness]) -> String {
        let tables: String = witnesses.iter().map(|witness| witness.table()).collect();
        let listen = self.http;
        format!(
            "[http]\nlisten = \"127.0.0.1:{listen}\"\n[journal]\nsegment-bytes = 1048576\n[log]\ninterval-ms = 50\n{tables}"
        )
    }

    fn start(&self, witnesses: &[&Witness], wrapper: &[&str]) -> Node {
        std::fs::create_dir_all(self.data()).unwrap();
        Node::start_in(&self.data(), &self.config(witnesses), wrapper)
    }

    /// The node is to end by itself, and says why.
    fn refused(&self) -> Output {
        let node = Node::stopped(&self.data());
        let config = self.data().join("cmtpd.toml");
        let config = config.to_str().unwrap();
        let output = node.cmtpd(&["serve", "--listen", "127.0.0.1:0", "--config", config]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        output
    }

    /// The checkpoint that the node publishes of a log.
    fn published(&self, number: u32) -> Option<SignedCheckpoint> {
        let path = format!("/log/{number}/checkpoint");
        let (head, note) = get(&format!("127.0.0.1:{}", self.http), &path)?;
        let note = String::from_utf8(note).unwrap();
        head.starts_with("HTTP/1.1 200").then(|| SignedCheckpoint::parse(&note).unwrap())
    }

    fn entries(&self, number: u32, size: u64) -> Vec<Entry> {
        assert!(size < 256);
        let path = format!("/log/{number}/tile/entries/000.p/{size}");
        let (_, bundle) = get(&format!("127.0.0.1:{}", self.http), &path).unwrap();
        let entries = bundle.as_chunks::<{ 2 + Entry::LENGTH }>().0.iter();
        entries.map(|it| Entry::from_bytes(it[2..].try_into().unwrap()).unwrap()).collect()
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[5; 32]).unwrap()
}

async fn ask(node: &Node, target: &str) -> Answer {
    let forge = Forge::new(node, key().public());
    let wire = Wire::connect(node).await;
    let origin = signed(wire.origin(&key(), target).with_body(salt(), "red"), &key());
    let answer = wire.exchange(&[wire.auth(&forge.token(), &key())], &origin).await.answer();
    // A node that is told to stop waits for who does not say goodbye.
    wire.close().await;
    answer
}

/// An echo's R0, and what its leaf is.
async fn echo(node: &Node) -> (Receipt, Digest) {
    let answer = ask(node, "0xS:echo").await;
    assert_eq!(answer.status(), Status::OK);
    let message = &answer.replay.message;
    let receipt = message.seal.receipt.clone().unwrap();
    let layers = u32::try_from(message.links.len()).unwrap();
    let entry = receipt.entry(answer.status(), layers, message.seal.hash);
    (receipt, entry.leaf())
}

#[tokio::test]
async fn a_checkpoint_has_its_quorum_also_where_a_witness_is_down() {
    // [LOG-25]
    let site = Site::new();
    let logs = site.logs();
    let mut witnesses: Vec<_> = (0..3).map(|_| Witness::start(&logs)).collect();
    let names: String = (0..3).map(|it| format!("witness w{it} {}\n", witnesses[it].key)).collect();
    let policy = format!("{logs}{names}group g 2 w0 w1 w2\nquorum g\n");
    let policy: Policy = policy.parse().unwrap();
    let cosigned = || {
        let note = site.published(0)?;
        note.verify(&site.log_key(0)).unwrap();
        Some((note.untrusted().size, policy.judge(&note).unwrap()))
    };
    witnesses[2].kill();
    let node = site.start(&witnesses.iter().collect::<Vec<_>>(), &[]);
    let mut size = 0;
    for _ in 0..3 {
        let (receipt, _) = echo(&node).await;
        let index = receipt.index().unwrap();
        let quorum = || cosigned().filter(|(size, it)| *size > index && it.is_quorum);
        let (grown, who) = until("two of three", quorum);
        assert_eq!(who.witnesses.iter().map(|it| &it.0[..]).collect::<Vec<_>>(), ["w0", "w1"]);
        size = grown;
    }
    // Who comes back is asked again, though nothing happens.
    witnesses[2].restart();
    let all = || cosigned().filter(|(_, it)| it.witnesses.len() == 3);
    let (same, _) = until("all three", all);
    assert_eq!(same, size);
    for witness in &witnesses {
        let seen = witness.seen(site.log_key(0).name()).unwrap();
        assert_eq!(seen.untrusted(), site.published(0).unwrap().untrusted());
    }
    witnesses[0].kill();
    witnesses[1].kill();
    let (receipt, _) = echo(&node).await;
    let index = receipt.index().unwrap();
    let one = || cosigned().filter(|(size, it)| *size > index && it.witnesses.len() == 1);
    let (_, who) = until("one", one);
    assert!(!who.is_quorum, "one is not enough");
}

#[tokio::test]
async fn what_a_witness_is_shown_is_on_the_disk_and_stays() {
    // [LOG-25] [LOG-5]
    let site = Site::new();
    let key = site.log_key(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let signer = SigningKey::from_seed(&[3; 32]).unwrap();
    let signer = NoteSigner::new("w", NoteKind::Cosignature, signer).unwrap();
    let address = listener.local_addr().unwrap();
    let table =
        format!("[[log.witness]]\nkey = \"{}\"\nurl = \"http://{address}/\"", signer.public());
    let config = site.config(&[]) + &table;
    let (shown, sizes) = mpsc::channel();
    let file = site.data().join("log/0/checkpoint");
    thread::spawn(move || {
        let mut known =
            Checkpoint { origin: key.name().to_owned(), size: 0, root: Digest::of(&[]) };
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = read_request(&mut stream);
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            if head.starts_with("GET") {
                stream.write_all(b"HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n").unwrap();
                continue;
            }
            let growth = Growth::parse(body).unwrap();
            let shown_now = growth.checkpoint.untrusted().clone();
            if growth.old != known.size {
                let size = known.size.to_string();
                let length = size.len();
                write!(stream, "HTTP/1.1 409 x\r\ncontent-length: {length}\r\n\r\n{size}").unwrap();
                continue;
            }
            let judged = growth.verify(Some(&known), &key).map_err(|error| error.to_string());
            let note = SignedCheckpoint::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
            let judged = judged.and_then(|_| match note.untrusted() == &shown_now {
                true => Ok(shown_now.size),
                false => Err(format!("{note} is on the disk, and not {shown_now:?}")),
            });
            known = shown_now;
            // A signature that is not its own must not get into the checkpoint: no answer comes in time, or this one.
            let line = signer.sign(&Checkpoint { size: 7, ..known.clone() }, 1);
            let length = line.len();
            shown.send(judged).unwrap();
            // The node may have been killed by now.
            let _gone = write!(stream, "HTTP/1.1 200 x\r\ncontent-length: {length}\r\n\r\n{line}");
        }
    });
    let mut node = Node::start_in(&site.data(), &config, &[]);
    for round in 0..6 {
        let (receipt, _) = echo(&node).await;
        let index = receipt.index().unwrap();
        loop {
            let size = sizes.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
            if size > index {
                break;
            }
        }
        if round % 2 == 0 {
            node.kill();
            node.restart();
        }
    }
    let published = until("it is published", || site.published(0));
    assert!(!published.note().contains("\u{2014} w "), "{published}");
}

/// A request with its body.
fn read_request(stream: &mut TcpStream) -> String {
    let (mut request, mut bytes) = (String::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut bytes).unwrap();
        request.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
        });
        if read == 0 || body.len() >= length.unwrap_or(0) {
            return request;
        }
    }
}

#[tokio::test]
async fn of_two_copies_of_a_node_one_is_cosigned() {
    // [LOG-24] [LOG-23]
    let one = Site::new();
    let mut witness = Witness::start(&one.logs());
    let key = one.log_key(0);
    let mut node = one.start(&[&witness], &[]);
    let (receipt, _) = echo(&node).await;
    let index = receipt.index().unwrap();
    let beyond = |index: u64| witness.seen(key.name()).filter(|it| it.untrusted().size > index);
    until("the common part is cosigned", || beyond(index));
    node.signal("TERM");
    node.wait();
    let two = Site::new();
    copy(&one.data(), &two.data());
    let common = witness.seen(key.name()).unwrap().untrusted().size;
    // Nobody can tell while the witness is down.
    witness.kill();
    let log = "exec 2>\"$0\"; exec \"$@\"";
    let file = |site: &Site| site.folder.path().join("log");
    let start = |site: &Site, witness: &Witness| {
        site.start(&[witness], &["sh", "-c", log, file(site).to_str().unwrap()])
    };
    let nodes = [start(&one, &witness), start(&two, &witness)];
    for (count, node) in (1..).zip(&nodes) {
        for _ in 0..count * 3 {
            echo(node).await;
        }
    }
    witness.restart();
    let says = |site: &Site| {
        let log = std::fs::read_to_string(file(site)).unwrap();
        log.contains("the copy of one that went on").then_some(())
    };
    let (lost, won) = until("one of them is refused", || {
        says(&one).map(|()| (&one, &two)).or_else(|| says(&two).map(|()| (&two, &one)))
    });
    let is_cosigned = |site: &Site| {
        let note = site.published(0)?;
        let cosigned = note.signed_by(&witness.key).unwrap().is_some();
        (cosigned && note.untrusted().size > common).then_some(())
    };
    until("the other is cosigned", || is_cosigned(won));
    assert_eq!(is_cosigned(lost), None);
    drop(nodes);
    // And the next start says what is wrong.
    let refused = String::from_utf8(lost.refused().stderr).unwrap();
    for part in [witness.key.name(), "--follow-log"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
}

#[tokio::test]
async fn a_restored_backup_is_refused_and_followed_by_a_log_that_says_so() {
    // [LOG-23] [LOG-19] [LOG-1]
    let site = Site::new();
    let witness = Witness::start(&site.logs());
    let backup = tempfile::tempdir().unwrap();
    let keys: Vec<_> = (0..3).map(|number| site.log_key(number)).collect();
    let mut leaves: Vec<(Receipt, Digest)> = Vec::new();
    let seen = |number: u32, index: u64| {
        let key = &keys[number as usize];
        let seen = || witness.seen(key.name()).filter(|it| it.untrusted().size > index);
        until("it is cosigned", seen)
    };
    let mut node = site.start(&[&witness], &[]);
    for _ in 0..3 {
        leaves.push(echo(&node).await);
    }
    seen(0, leaves[2].0.index().unwrap());
    stop(&mut node);
    copy(&site.data(), backup.path());
    node.restart();
    assert_eq!(ask(&node, "0xSW:0x001:lost").await.status(), Status::CREATED);
    for _ in 0..3 {
        leaves.push(echo(&node).await);
    }
    let mut newest = seen(0, leaves[5].0.index().unwrap()).untrusted().clone();
    stop(&mut node);
    for (number, key) in (0..).zip(&keys).skip(1) {
        // The first time the old log itself is cut, the second time its successor is lost as a whole.
        std::fs::remove_dir_all(site.data()).unwrap();
        copy(backup.path(), &site.data());
        let refused = String::from_utf8(site.refused().stderr).unwrap();
        let size = newest.size.to_string();
        let sizes = if number == 1 { &size } else { "log 1" };
        for part in [witness.key.name(), sizes, "start once with --follow-log"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        let held = entries(&site);
        let follow = ["sh", "-c", "exec \"$@\" --follow-log", "sh"];
        let mut node = site.start(&[&witness], &follow);
        let write = ask(&node, "0xSW:0x001:color").await;
        assert_eq!(write.status(), Status::UNAVAILABLE);
        let wait = write.last().number(FieldIndex::RETRY_AFTER).unwrap();
        assert!((limits::ID_WINDOW - 600..=limits::ID_WINDOW).contains(&wait), "{wait}");
        let (receipt, leaf) = echo(&node).await;
        assert_eq!(receipt.statement.log_origin, key.name());
        leaves.push((receipt.clone(), leaf));
        let index = receipt.index().unwrap();
        let following = seen(number, index);
        let size = following.untrusted().size;
        let published = until("it is published", || {
            site.published(number).filter(|it| it.untrusted().size == size)
        });
        published.verify(key).unwrap();
        // Indices go on, and the entry behind the old ones cites the newest checkpoint that anybody has.
        let now = site.entries(number, size);
        let opened = &now[usize::try_from(held).unwrap()];
        assert_eq!(opened.entry_type, EntryType::OPENED);
        assert_eq!(opened.layers, number);
        assert_eq!(opened.seal, newest.digest());
        assert_eq!(now[usize::try_from(index).unwrap()].leaf(), leaf);
        assert_eq!(
            Tree::new(now.iter().map(Entry::leaf).collect()).root(),
            published.untrusted().root
        );
        // It is what it is now: nothing has to be said again.
        stop(&mut node);
        let node = site.start(&[&witness], &[]);
        assert_eq!(ask(&node, "0xSW:0x001:color").await.status(), Status::UNAVAILABLE);
        leaves.push(echo(&node).await);
        seen(number, leaves.last().unwrap().0.index().unwrap());
        newest = witness.seen(key.name()).unwrap().untrusted().clone();
        let check = node.cmtpd(&["journal", "check"]);
        assert!(check.status.success(), "{check:?}");
        node.read_by_peer();
    }
    // No two R0s of one log have different leaves at one index, whatever was lost.
    let mut places = BTreeSet::new();
    for (receipt, _) in &leaves {
        let statement = &receipt.statement;
        let place = (statement.log_origin.clone(), receipt.index().unwrap());
        assert!(places.insert(place), "{statement:?}");
    }
    let indices: BTreeSet<_> = leaves.iter().map(|(receipt, _)| receipt.index()).collect();
    assert!(indices.len() < leaves.len(), "indices were used again, by other logs");
}

#[tokio::test]
async fn a_node_without_witnesses_knows_its_own_checkpoint() {
    // [LOG-5] [LOG-19]
    let site = Site::new();
    let backup = tempfile::tempdir().unwrap();
    let mut node = site.start(&[], &[]);
    echo(&node).await;
    stop(&mut node);
    copy(&site.data().join("journal"), backup.path());
    node.restart();
    echo(&node).await;
    stop(&mut node);
    std::fs::remove_dir_all(site.data().join("journal")).unwrap();
    copy(backup.path(), &site.data().join("journal"));
    let refused = String::from_utf8(site.refused().stderr).unwrap();
    assert!(refused.contains("restored from a backup"), "{refused}");
    let node = site.start(&[], &["sh", "-c", "exec \"$@\" --follow-log", "sh"]);
    let (receipt, _) = echo(&node).await;
    assert_eq!(receipt.statement.log_origin, site.log_key(1).name());
    // A log that lost nothing is not followed by another.
    drop(node);
    let node = site.start(&[], &["sh", "-c", "exec \"$@\" --follow-log", "sh"]);
    let (receipt, _) = echo(&node).await;
    assert_eq!(receipt.statement.log_origin, site.log_key(1).name());
}

fn stop(node: &mut Node) {
    node.signal("TERM");
    assert!(node.wait().success());
}

/// Entries of the journal of a node that does not run.
fn entries(site: &Site) -> u64 {
    let output = Node::stopped(&site.data()).cmtpd(&["journal", "check", "--json"]);
    let check: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    check["entries"].as_u64().unwrap()
}
