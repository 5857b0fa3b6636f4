//! Erasure: what was erased is nowhere any more, and everything else holds. `cmtp-spec/spec/17-journal.md`, section Erasure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use cmtp_client::{Answer, Connection, PreparedRequest, Request};
use cmtp_codec::journal::{PieceKeys, scan};
use cmtp_codec::{Field, Fqmn, Layer, PublicKey, SigningKey};
use cmtp_spec::{FieldIndex, JournalMode, Status};
use cmtp_tests::load::{Caller, entries};
use cmtp_tests::wire::{Forge, Wire, salt, signed};
use cmtp_tests::{NatsServer, Node, python, root};
use futures::StreamExt;
use serde_json::Value;

/// Long enough that no hash or key has it by chance.
const CANARY: &str = "a canary that nobody may hear again";
const CONFIG: &str = "[journal]\nsegment-bytes = 262144\n";

/// A request that holds the canary in a private field and, where it has one, in its body.
fn request(connection: &Connection, target: &str) -> PreparedRequest {
    let field = Field::new("x-secret", CANARY).unwrap();
    let request = Request::new(Fqmn::parse(target).unwrap()).field(field).body(CANARY);
    connection.prepare(request).unwrap()
}

fn seal(answer: &Answer) -> String {
    answer.replay().message.seal.hash.to_string()
}

/// Runs `cmtpd erase`, and gives what it says.
fn erase(node: &Node, degree: &str, message: &str) -> Value {
    let output = node.cmtpd(&["erase", degree, message, "--yes", "--json"]);
    assert!(output.status.success(), "{degree} {message}: {}", err(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(node: &Node, message: &str) -> String {
    let output = node.cmtpd(&["erase", "--redact", message, "--yes"]);
    assert_eq!(output.status.code(), Some(1), "{message}: {}", err(&output));
    err(&output)
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the journal still has of the message with this seal, as a file that anyone may read.
fn export(node: &Node, seal: &str) -> Option<Vec<u8>> {
    let entry = entries(node).into_iter().find(|entry| entry["seal"] == seal)?;
    let output = node.cmtpd(&["journal", "export", &entry["index"].to_string()]);
    output.status.success().then_some(output.stdout)
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The files in which these bytes stand.
fn grep(folder: &Path, wanted: &[u8]) -> Vec<PathBuf> {
    // A file that the node recycles just now has another name when it is looked for again.
    let is_in = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| has(&bytes, wanted));
    files(folder).into_iter().filter(is_in).collect()
}

/// The keys of every entry, from the files of the journal.
fn keys(node: &Node) -> BTreeMap<u64, [u8; PieceKeys::LENGTH]> {
    let root: PublicKey = node.did.parse().unwrap();
    let mut found = BTreeMap::new();
    for path in files(&node.data().join("journal")) {
        let Some(first) = path.file_stem().and_then(|it| it.to_str()?.parse::<u64>().ok()) else {
            continue;
        };
        let bytes = fs::read(&path).unwrap();
        match path.extension().and_then(|it| it.to_str()) {
            Some("keys") => found.extend((first..).zip(bytes.as_chunks().0.iter().copied())),
            Some("wal") => {
                for (commit, _) in scan(&bytes.into(), &root, first).unwrap().commits {
                    let keys = commit.pieces.iter().map(|piece| piece.hidden.keys.0);
                    found.extend((commit.first..).zip(keys));
                }
            }
            _ => {}
        }
    }
    found
}

/// A message, its keys, and the proof that whoever has these can read it.
struct Known {
    seal: String,
    keys: Vec<(u64, [u8; PieceKeys::LENGTH])>,
}

fn known(node: &Node, seal: &str) -> Known {
    let all = entries(node);
    let last = all.iter().find(|entry| entry["seal"] == seal).expect("it is journalled");
    let pieces = all.iter().filter(|entry| entry["begin"] == last["begin"]);
    let keys = keys(node);
    let keys: Vec<_> = pieces
        .map(|entry| entry["index"].as_u64().unwrap())
        .map(|index| (index, keys[&index]))
        .collect();
    let exported = export(node, seal).expect("it can be read");
    assert!(has(&exported, CANARY.as_bytes()), "the journal has the canary");
    for (index, keys) in &keys {
        assert!(!grep(node.data(), &keys[..32]).is_empty(), "the content's key of {index}");
        assert!(!grep(node.data(), &keys[32..]).is_empty(), "the cores' key of {index}");
    }
    Known { seal: seal.to_owned(), keys }
}

/// Neither the canary nor a key that reads it stands anywhere under the data directory.
fn is_gone(node: &Node, known: &Known, degree: &str) {
    assert_eq!(grep(node.data(), CANARY.as_bytes()), Vec::<PathBuf>::new());
    for (index, keys) in &known.keys {
        let found = grep(node.data(), &keys[..32]);
        assert_eq!(found, Vec::<PathBuf>::new(), "the content's key of entry {index}");
        let found = grep(node.data(), &keys[32..]);
        assert_eq!(found.is_empty(), degree == "forgotten", "the cores' key of {index}: {found:?}");
    }
    let exported = export(node, &known.seal);
    assert_eq!(exported.is_none(), degree == "forgotten");
    assert!(!exported.is_some_and(|bytes| has(&bytes, CANARY.as_bytes())));
    let listed = entries(node);
    let of = |entry: &&Value| entry["seal"] == *known.seal;
    assert!(listed.iter().filter(of).any(|entry| entry["erased"] == degree), "{degree}");
    assert!(listed.iter().filter(of).any(|entry| entry["type"] == degree), "it is noted");
}

/// The journal holds together, as the node and as a reader see it that was written from the chapter alone.
fn holds(node: &Node) -> Value {
    let output = node.cmtpd(&["journal", "check", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", err(&output));
    let own: Value = serde_json::from_str(&text).unwrap();
    let read = reader(node);
    let text = String::from_utf8_lossy(&read.stdout).into_owned();
    assert!(read.status.success(), "{text}{}", err(&read));
    let read: Value = serde_json::from_str(&text).unwrap();
    for name in ["entries", "messages", "open", "erased", "pending"] {
        assert_eq!(read[name], own[name], "{name}: {read} {own}");
    }
    own
}

fn reader(node: &Node) -> Output {
    let script = root().join("tests/peer/journal.py");
    python().arg(script).arg(node.data().join("journal")).arg(&node.did).output().unwrap()
}

async fn read(caller: &Caller, connection: &mut Connection, target: &str) -> Answer {
    let request = Request::new(Fqmn::parse(target).unwrap());
    let request = connection.prepare(request).unwrap();
    caller.insist(connection, &request).await
}

fn is_erased(answer: &Answer) {
    assert_eq!(answer.status(), Status::ERASED, "{:?}", answer.detail());
    assert_eq!(answer.remedy(), Some("fix-request"));
}

async fn erased_while_it_runs_and_while_it_does_not(mode: &str) {
    let mut node = Node::start(&format!("{CONFIG}mode = \"{mode}\"\n"));
    let caller = Caller::new(&node);
    let mut connection = caller.connect().await;
    let write = request(&connection, "0xSW:0x001:secret");
    let written = caller.insist(&mut connection, &write).await;
    assert_eq!(written.status(), Status::CREATED);
    let other = request(&connection, "0xSW:0x001:other");
    let other_written = caller.insist(&mut connection, &other).await;
    let echo = request(&connection, "0xS:echo");
    let echoed = caller.insist(&mut connection, &echo).await;
    let value = read(&caller, &mut connection, "0xS:0x001:secret").await;
    assert_eq!(value.body().unwrap(), CANARY);
    let ticks = request(&connection, "0xS:time:ticks:[5, 1]");
    let ticked = caller.insist(&mut connection, &ticks).await;
    assert!(ticked.is_success());
    let answers = [&written, &other_written, &echoed, &value, &ticked];
    let [written, other_written, echoed, value, ticked] =
        answers.map(|answer| known(&node, &seal(answer)));
    assert!(ticked.keys.len() > 1, "a stream has several pieces");

    // While it runs.
    let result = erase(&node, "--redact", &written.seal);
    assert_eq!((&result["erased"], &result["again"]), (&"redacted".into(), &false.into()));
    is_gone(&node, &written, "redacted");
    // [ERA-6] What it made is gone, too, …
    is_erased(&read(&caller, &mut connection, "0xS:0x001:secret").await);
    // [ERA-5] … and it is not executed again, nor journalled.
    let before = entries(&node).len();
    is_erased(&caller.insist(&mut connection, &write).await);
    assert_eq!(entries(&node).len(), before);
    erase(&node, "--forget", &other_written.seal);
    is_gone(&node, &other_written, "forgotten");
    is_erased(&caller.insist(&mut connection, &other).await);
    let index = ticked.keys[0].0.to_string();
    erase(&node, "--redact", &index);
    is_gone(&node, &ticked, "redacted");
    // Said again, it is done already; and what was redacted can be forgotten.
    let again = erase(&node, "--redact", &ticked.seal);
    assert_eq!(again["again"], true);
    erase(&node, "--forget", &ticked.seal);
    is_gone(&node, &ticked, "forgotten");

    // While it does not.
    node.signal("TERM");
    assert_eq!(node.wait().code(), Some(0));
    assert!(!node.data().join("address").exists(), "nobody listens");
    erase(&node, "--redact", &echoed.seal);
    is_gone(&node, &echoed, "redacted");
    erase(&node, "--forget", &value.seal);
    is_gone(&node, &value, "forgotten");
    let check = holds(&node);
    assert_eq!((&check["erased"], &check["pending"]), (&5.into(), &0.into()));

    // A start knows it all again.
    node.restart();
    is_erased(&caller.insist(&mut connection, &write).await);
    is_erased(&caller.insist(&mut connection, &other).await);
    is_erased(&read(&caller, &mut connection, "0xS:0x001:secret").await);
    is_erased(&read(&caller, &mut connection, "0xS:0x001:other").await);
    for erased in [&written, &other_written, &echoed, &value, &ticked] {
        assert_eq!(grep(node.data(), &erased.keys[0].1[..32]), Vec::<PathBuf>::new());
    }
    // [ERA-6] What is written next goes on with the versions.
    let next = caller.write(&connection, "0xSW:0x001:secret", "no canary");
    let next = caller.insist(&mut connection, &next).await;
    assert_eq!(next.status(), Status::CREATED);
    let version = next.fields().find(|it| it.name.index() == Some(FieldIndex::STATE_VERSION));
    assert_eq!(version.unwrap().value, 2_u64.to_be_bytes().to_vec());
    let now = read(&caller, &mut connection, "0xS:0x001:secret").await;
    assert_eq!(now.body().unwrap(), "no canary");
    node.kill();
    holds(&node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_erased_is_nowhere_any_more_in_mode_wal() {
    // [ERA-1] [ERA-3]
    erased_while_it_runs_and_while_it_does_not("wal").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_erased_is_nowhere_any_more_in_mode_async() {
    erased_while_it_runs_and_while_it_does_not("async").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_the_keys_were_destroyed_is_made_good_at_the_next_start() {
    // [ERA-2]
    let mut node = Node::start(CONFIG);
    let caller = Caller::new(&node);
    let mut connection = caller.connect().await;
    let write = request(&connection, "0xSW:0x001:secret");
    let written = seal(&caller.insist(&mut connection, &write).await);
    let echo = request(&connection, "0xS:echo");
    let echoed = seal(&caller.insist(&mut connection, &echo).await);
    let written = known(&node, &written);
    // The first erasure has the log moved, so that the keys have a file of their own.
    erase(&node, "--redact", &echoed);
    let path = node.data().join("journal/00000000000000000000.keys");
    let stood = fs::read(&path).unwrap();
    erase(&node, "--forget", &written.seal);
    node.kill();
    // The entry is durable, and the node died before it destroyed a key.
    fs::write(&path, stood).unwrap();
    assert!(!grep(node.data(), &written.keys[0].1[..32]).is_empty());
    let check = holds(&node);
    assert_eq!((&check["erased"], &check["pending"]), (&1.into(), &1.into()));
    node.restart();
    is_gone(&node, &written, "forgotten");
    is_erased(&caller.insist(&mut connection, &write).await);
    is_erased(&read(&caller, &mut connection, "0xS:0x001:secret").await);
    node.kill();
    let check = holds(&node);
    assert_eq!((&check["erased"], &check["pending"]), (&2.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destroyed_key_that_no_entry_tells_of_is_found() {
    // [ERA-8]
    let mut node = Node::start(CONFIG);
    let caller = Caller::new(&node);
    let mut connection = caller.connect().await;
    let echo = request(&connection, "0xS:echo");
    let first = seal(&caller.insist(&mut connection, &echo).await);
    let echo = request(&connection, "0xS:echo");
    let second = known(&node, &seal(&caller.insist(&mut connection, &echo).await));
    erase(&node, "--redact", &first);
    node.kill();
    holds(&node);
    let path = node.data().join("journal/00000000000000000000.keys");
    let whole = fs::read(&path).unwrap();
    // The message's own, those of a note, and more than the entry tells of.
    let redacted = known_index(&node, &first);
    for (index, bytes) in [(second.keys[0].0, 0..32), (0, 0..32), (redacted, 32..64)] {
        let mut keys = whole.clone();
        let at = usize::try_from(index).unwrap() * PieceKeys::LENGTH;
        keys[at + bytes.start..at + bytes.end].fill(0);
        fs::write(&path, keys).unwrap();
        let output = node.cmtpd(&["journal", "check"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("entry {index}: ")), "{said}");
        let output = reader(&node);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
    }
}

fn known_index(node: &Node, seal: &str) -> u64 {
    let all = entries(node);
    all.iter().find(|entry| entry["seal"] == seal).unwrap()["index"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_one_message_that_has_ended_is_refused() {
    // [ERA-4] [ERA-7]
    let nats = NatsServer::start();
    let node = Node::start(&format!(
        "bus = \"nats={}\"\n{CONFIG}[[route]]\ntarget = \"0xSW:orders:*\"\nto = \"nats:orders\"\n",
        nats.url
    ));
    let wire = Wire::connect(&node).await;
    let key = |seed| SigningKey::from_seed(&[seed; 32]).unwrap();
    let write = |seed, id: Option<&Layer>| {
        let mut origin = wire.origin(&key(seed), "0xSW:0x001:color").with_body(salt(), CANARY);
        if let Some(id) = id.and_then(|origin| origin.value(FieldIndex::MESSAGE_ID)) {
            let is_id = |field: &&mut Field| field.name.index() == Some(FieldIndex::MESSAGE_ID);
            origin.public.iter_mut().find(is_id).unwrap().value = id.clone();
        }
        signed(origin, &key(seed))
    };
    let send = async |seed, origin: &Layer| {
        let token = Forge::new(&node, key(seed).public()).token();
        wire.exchange(&[wire.auth(&token, &key(seed))], origin).await.answer()
    };
    let mine = write(1, None);
    let theirs = write(2, Some(&mine));
    let seals = [send(1, &mine).await, send(2, &theirs).await]
        .map(|answer| answer.replay.message.seal.hash.to_string());
    let id = data_encoding::HEXLOWER.encode(mine.value(FieldIndex::MESSAGE_ID).unwrap());
    let said = refused(&node, &id);
    assert!(seals.iter().all(|seal| said.contains(seal)), "{said}");
    assert!(seals.iter().all(|seal| export(&node, seal).is_some()));
    assert!(refused(&node, "0").contains("a note of the node's own"));
    assert!(refused(&node, "99999").contains("no message with entry 99999"));
    assert!(refused(&node, &"0".repeat(64)).contains("no message with seal"));
    assert!(refused(&node, "hello").contains("hello: expected a seal"));
    // Its own seal names one, and the other stays.
    erase(&node, "--redact", &seals[0]);
    assert!(has(&export(&node, &seals[1]).unwrap(), CANARY.as_bytes()));

    // A write that the service has and did not answer.
    let service = async_nats::connect(&nats.url).await.unwrap();
    let mut orders = service.subscribe("orders").await.unwrap();
    service.flush().await.unwrap();
    let caller = Caller::new(&node);
    let mut connection = caller.connect().await;
    let order = request(&connection, "0xSW:orders:new");
    let order = caller.insist(&mut connection, &order);
    let answered = async {
        let taken = orders.next().await.unwrap();
        let intent = entries(&node).into_iter().find(|entry| entry["type"] == "intent").unwrap();
        assert!(refused(&node, &intent["index"].to_string()).contains("has not ended"));
        service.publish(taken.reply.unwrap(), CANARY.into()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(order, answered);
    let known = known(&node, &seal(&answer));
    assert_eq!(known.keys.len(), 2, "intent and outcome");
    erase(&node, "--redact", &known.seal);
    is_gone(&node, &known, "redacted");

    // Nobody but the node's operator.
    let token = node.grant(&key(3).public().to_string(), &["--write", "0xI:**"]);
    let args = Field::bytes(FieldIndex::ARGS, format!("[\"redact\",\"{}\"]", seals[1]));
    let origin = wire.origin(&key(3), "0xIW:erase").with_private(salt(), args);
    let origin = signed(origin, &key(3));
    let answer = wire.exchange(&[wire.auth(&token, &key(3))], &origin).await.answer();
    assert_eq!(answer.status(), Status::FORBIDDEN);
    assert!(has(&export(&node, &seals[1]).unwrap(), CANARY.as_bytes()));
    holds(&node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_refusal_of_an_erased_write_is_not_journalled_whatever_was_asked_for() {
    // [ERA-5]
    let node = Node::start(CONFIG);
    let wire = Wire::connect(&node).await;
    let key = SigningKey::from_seed(&[1; 32]).unwrap();
    let wal = Field::octet(FieldIndex::JOURNAL, JournalMode::WAL.0);
    let origin = wire.origin(&key, "0xSW:0x001:color").with_public(wal).with_body(salt(), CANARY);
    let origin = signed(origin, &key);
    let token = Forge::new(&node, key.public()).token();
    let send = async || wire.exchange(&[wire.auth(&token, &key)], &origin).await.answer();
    let written = send().await.replay.message.seal.hash.to_string();
    erase(&node, "--redact", &written);
    let refused = send().await;
    let receipt = refused.replay.message.seal.receipt.clone().unwrap();
    assert_eq!((refused.status(), receipt.statement.mode), (Status::ERASED, JournalMode::NONE));
    let listed = entries(&node);
    let others = listed.iter().filter(|entry| entry["type"] == "refusal").count();
    assert_eq!(others, 0, "{listed:?}");
}

#[test]
fn nobody_is_asked_where_nobody_is() {
    let node = Node::start(CONFIG);
    let output = node.cmtpd(&["erase", "--redact", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("--yes"), "{}", err(&output));
    let empty = tempfile::tempdir().unwrap();
    let output = Node::stopped(empty.path()).cmtpd(&["erase", "--redact", "1", "--yes"]);
    assert!(err(&output).contains("there is no journal in"), "{}", err(&output));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "and none was made");
    let output = node.cmtpd(&["erase", "1"]);
    assert_eq!(output.status.code(), Some(2));
}

/// Runs a command on a terminal, answers the question that it asks there, and ends as it does.
const ON_A_TERMINAL: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
said = b''
while b'[y/N]' not in said:
    said += os.read(terminal, 4096)
os.write(terminal, sys.argv[1].encode() + b'\\n')
try:
    while part := os.read(terminal, 4096):
        said += part
except OSError:
    pass
print(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_asked_and_may_say_no() {
    let node = Node::start(CONFIG);
    let caller = Caller::new(&node);
    let mut connection = caller.connect().await;
    let echo = request(&connection, "0xS:echo");
    let echoed = known(&node, &seal(&caller.insist(&mut connection, &echo).await));
    let answer = |word: &str| {
        let mut asked = python();
        asked.args(["-c", ON_A_TERMINAL, word]).arg(cmtp_tests::binary("cmtpd"));
        asked.args(["erase", "--redact", &echoed.seal, "--data"]).arg(node.data());
        let output = asked.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = answer("n");
    assert!(code == Some(1) && said.contains("nothing was erased"), "{said}");
    assert!(has(&export(&node, &echoed.seal).unwrap(), CANARY.as_bytes()));
    let (code, said) = answer("y");
    assert!(code == Some(0) && said.contains("redacted: "), "{said}");
    is_gone(&node, &echoed, "redacted");
}
