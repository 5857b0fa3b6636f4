//! `cmtp audit` on what a real node left behind, and on what a node that errs or lies would leave.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;

use cmtp_codec::log::{NoteKind, SignedCheckpoint, VerifierKey};
use cmtp_codec::{Digest, Entry};
use cmtp_spec::{EntryType, Opcode, Status};
use cmtp_tests::archive::{Archive, Maker, Plan};
use cmtp_tests::{Home, Node};
use serde_json::Value;

/// Small logs, so that they are moved; many checkpoints.
const CONFIG: &str = "[journal]\nsegment-bytes = 65536\n[log]\ninterval-ms = 20\n";

/// A data folder, as the maker leaves it.
const DATA: Plan = Plan { entries: 0, file_entries: 1_000, commit_entries: 20, is_archive: false };

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn arg(path: &Path) -> &str {
    path.to_str().expect("a path is text")
}

/// What `verify --json` says.
fn verify(home: &Home, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = home.cmtp([&["audit", "verify", "--json"], arguments].concat());
    let view = serde_json::from_slice(&output.stdout);
    (code(&output), view.unwrap_or_else(|_| panic!("{}", text(&output.stderr))))
}

/// Index and kind of what was found first.
fn first(view: &Value) -> (Option<u64>, String) {
    let first = &view["first"];
    (first["index"].as_u64(), first["kind"].as_str().unwrap_or_default().to_owned())
}

/// Calls until the log has these answers; the files that were saved.
fn calls(node: &Node, home: &Home, count: usize) -> Vec<PathBuf> {
    let token = node.grant(&home.did, &["--scope", "0xS:**"]);
    let call = |number: usize| {
        let path = home.file(&format!("{number}.cmtp"));
        let (url, data) = (node.url("0xS:echo"), format!("hello {number}"));
        let arguments = ["call", &url, "--data", &data, "--token", &token, "--save", arg(&path)];
        let output = home.cmtp(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        path
    };
    (0..count).map(call).collect()
}

/// Waits until the log's checkpoint is over `size` entries.
fn logged(node: &Node, size: u64) -> SignedCheckpoint {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let note = fs::read_to_string(node.data().join("log/0/checkpoint")).unwrap_or_default();
        match SignedCheckpoint::parse(&note) {
            Ok(checkpoint) if checkpoint.untrusted().size >= size => return checkpoint,
            _ => assert!(std::time::Instant::now() < deadline, "no checkpoint over {size} entries"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_node_that_runs_is_sound_and_so_is_its_archive() {
    // [AUD-1] [AUD-9] [AUD-10] [AUD-12]
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
    let node = Node::start(&format!("{CONFIG}[http]\nlisten = \"127.0.0.1:{port}\"\n"));
    let (home, data) = (Home::new(), node.data().to_owned());
    let saved = calls(&node, &home, 20);
    let size = logged(&node, 24).untrusted().size;
    let (exit, view) = verify(
        &home,
        &[arg(&data), "--pin", &node.did, "--receipt", arg(&saved[3]), arg(&saved[9])],
    );
    assert_eq!((exit, &view["verdict"]), (Some(0), &Value::from("sound")), "{view:#}");
    let counts = &view["counts"];
    assert_eq!((&counts["receipts"], &counts["findings"]), (&Value::from(2), &Value::from(0)));
    assert!(counts["messages"].as_u64() >= Some(20) && counts["logged"].as_u64() >= Some(size));
    // Theirs, and the consent of the node's own session.
    assert_eq!(counts["signed-by-caller"].as_u64(), Some(21), "{view:#}");
    assert_eq!(view["completeness"], "not checked");

    // Whom nobody trusts is not called sound.
    let (exit, view) = verify(&Home::empty(), &[arg(&data)]);
    assert_eq!((exit, &view["verdict"]), (Some(5), &Value::from("consistent")));
    let other = Home::new().did;
    let output = home.cmtp(["audit", "verify", arg(&data), "--pin", &other]);
    assert_eq!(code(&output), Some(4), "{}", text(&output.stderr));

    let (archive, keys, report) = (home.file("archive"), home.file("keys"), home.file("report"));
    let output =
        home.cmtp(["audit", "export", arg(&data), arg(&archive), "--with-keys", arg(&keys)]);
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    let again = home.cmtp(["audit", "export", arg(&data), arg(&archive)]);
    assert_eq!(code(&again), Some(2), "an archive is not written over");
    drop(node);

    let (exit, view) = verify(&home, &[arg(&archive)]);
    assert_eq!(exit, Some(0), "{view:#}");
    assert_eq!(view["counts"]["messages"], 0);
    assert!(view["counts"]["not-checked"].as_u64() >= Some(20), "{view:#}");
    let (exit, view) =
        verify(&home, &[arg(&archive), "--keys", arg(&keys), "--report", arg(&report)]);
    assert_eq!(exit, Some(0), "the node was called before, and so is known: {view:#}");
    assert!(view["counts"]["messages"].as_u64() >= Some(20), "{view:#}");
    let note = fs::read_to_string(&report).expect("a report");
    let (auditor, lines) = cmtp_codec::audit::read_report(&note).expect("its signature holds");
    assert_eq!(auditor.to_string(), home.did);
    assert!(lines.starts_with("node did:key:"), "{note}");
    assert!(lines.contains("\nverdict sound\nentries "), "{note}");
}

#[test]
fn what_a_node_erased_is_counted_and_holds() {
    // [AUD-8]
    let node = Node::start(CONFIG);
    let home = Home::new();
    let saved = calls(&node, &home, 3);
    for (degree, index) in [("--redact", "4"), ("--forget", "5")] {
        let output = node.cmtpd(&["erase", degree, index, "--yes"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    logged(&node, 9);
    // What a caller kept is still the entry's.
    let data = arg(node.data()).to_owned();
    let (exit, view) = verify(&home, &[&data, "--receipt", arg(&saved[0])]);
    let count = |name: &str| view["counts"][name].as_u64();
    assert_eq!((exit, count("receipts")), (Some(0), Some(1)), "{view:#}");
    assert_eq!(
        (count("redacted"), count("forgotten"), count("not-checked")),
        (Some(1), Some(1), Some(1))
    );
}

#[test]
fn a_log_that_is_served_is_enough() {
    // [AUD-3]
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
    let node = Node::start(&format!("{CONFIG}[http]\nlisten = \"127.0.0.1:{port}\"\n"));
    let home = Home::new();
    let saved = calls(&node, &home, 3);
    logged(&node, 7);
    let archive = home.file("archive");
    let output = home.cmtp(["audit", "export", arg(node.data()), arg(&archive)]);
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    let url = format!("http://127.0.0.1:{port}/log/0");
    let list = archive.join("key-list");
    let (exit, view) = verify(
        &home,
        &[&url, "--key-list", arg(&list), "--pin", &node.did, "--receipt", arg(&saved[2])],
    );
    assert_eq!(exit, Some(0), "{view:#}");
    assert_eq!(view["counts"]["receipts"], 1, "{view:#}");
    let output = home.cmtp(["audit", "verify", &url]);
    assert_eq!(code(&output), Some(2), "{}", text(&output.stderr));
    let policy = home.file("policy");
    let key = cmtp_codec::SigningKey::from_seed(&[9; 32]).expect("a seed").public();
    let witness = VerifierKey::new("w", NoteKind::Cosignature, key).expect("a good name");
    fs::write(&policy, format!("witness w {witness}\nquorum w\n")).expect("written");
    let (exit, view) = verify(&home, &[&url, "--key-list", arg(&list), "--policy", arg(&policy)]);
    assert_eq!((exit, first(&view)), (Some(4), (None, "checkpoint".to_owned())), "{view:#}");
    drop(node);
    let output = home.cmtp(["audit", "verify", &url, "--key-list", arg(&list)]);
    assert_eq!(code(&output), Some(3), "{}", text(&output.stderr));
}

#[test]
fn entries_are_found_by_what_they_are() {
    let node = Node::start(CONFIG);
    let home = Home::new();
    calls(&node, &home, 5);
    logged(&node, 9);
    let run = |arguments: &[&str]| {
        let output = home.cmtp([&["audit"], arguments].concat());
        assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let data = arg(node.data()).to_owned();
    assert_eq!(run(&["tail", &data, "-n", "3"]).lines().count(), 3);
    assert!(run(&["tail", &data]).contains("0xS:echo"));
    assert_eq!(run(&["grep", &data, "--type", "opened"]).lines().count(), 1);
    assert_eq!(run(&["grep", &data, "--text", "hello 3"]).lines().count(), 1);
    assert_eq!(run(&["grep", &data, "--opcode", "0xSW"]), "");
    assert_eq!(run(&["grep", &data, "--status", "200-299", "--target", "echo"]).lines().count(), 5);
    assert_eq!(run(&["grep", &data, "--until", "2020-01-01T00:00:00Z"]), "");
    let rows =
        run(&["grep", &data, "--since", "2020-01-01T00:00:00Z", "--opcode", "0xS", "--json"]);
    let row: Value = serde_json::from_str(rows.lines().next().expect("a row")).expect("JSON");
    assert_eq!((&row["type"], &row["target"]), (&"exchange".into(), &"0xS:echo".into()));
}

#[test]
fn an_exchange_is_walked_through() {
    let node = Node::start("");
    let home = Home::new();
    let saved = calls(&node, &home, 1);
    let output = home.cmtp(["audit", "replay", arg(&saved[0])]);
    let shown = text(&output.stdout);
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    for part in
        ["0 origin", "hashed: prev", "1 admit", "2 serve", "seal", "R0 path", "verdict  authentic"]
    {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    let page = home.file("page.html");
    let output = home.cmtp(["audit", "replay", arg(&saved[0]), "--html", arg(&page)]);
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    let page = fs::read_to_string(&page).expect("a page");
    assert!(page.starts_with("<!doctype html>") && page.contains("2 serve"), "{page}");
}

/// What is found in a data folder that `make` fills, as index and kind.
fn found(
    make: impl FnOnce(&mut Maker),
    change: impl FnOnce(&Archive),
) -> Vec<(Option<u64>, Option<u32>, &'static str)> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut maker = Maker::new(folder.path(), DATA);
    make(&mut maker);
    let archive = maker.finish();
    change(&archive);
    let mut options = cmtp_client::audit::AuditOptions::default();
    options.pin = Some(archive.node);
    let mut audit = cmtp_client::audit::Audit::open(&archive.folder, &options).expect("it opens");
    while audit.step().expect("the files can be read") {}
    let (_, findings) = audit.finish(u64::MAX).expect("the files can be read");
    findings.iter().map(|it| (it.index, it.layer, it.what.kind())).collect()
}

#[test]
fn writes_that_nobody_closed_are_found_once_the_log_goes_on() {
    // [AUD-7]
    let open = |maker: &mut Maker| {
        maker.write(false);
        maker.commit();
    };
    assert_eq!(found(open, |_| ()), [], "what is under way is no fault");
    let on = |maker: &mut Maker| {
        open(maker);
        maker.time += 2 * 3_600_000_000;
        maker.read(Status::OK);
    };
    assert_eq!(found(on, |_| ()), [(Some(3), None, "no-outcome")]);
}

#[test]
fn a_message_that_skipped_a_step_is_found_although_every_hash_is_right() {
    // [AUD-6]
    assert_eq!(found(Maker::read_unadmitted, |_| ()), [(Some(3), None, "process")]);
}

#[test]
fn a_log_begins_with_its_own_name() {
    // [AUD-1]
    let node = cmtp_codec::SigningKey::from_seed(&[1; 32]).expect("a seed").public();
    let origin = Digest::of(cmtp_codec::log::log_origin(&node, 0).as_bytes());
    let kinds = |entry: Entry| {
        let mut auditor = cmtp_codec::audit::Auditor::new(node);
        auditor.entries(&[entry.to_bytes()]);
        let (_, findings) = auditor.finish(0);
        findings.iter().map(|it| it.what.kind()).collect::<Vec<_>>()
    };
    let opened = Entry { seal: origin, ..Maker::entry(EntryType::OPENED) };
    assert!(kinds(opened).is_empty());
    assert_eq!(kinds(Entry { entry_type: EntryType::CONFIG, ..opened }), ["not-opened"]);
    assert_eq!(kinds(Entry { seal: Digest::ZERO, ..opened }), ["not-opened"]);
}

#[test]
fn notes_are_what_their_entries_say() {
    // [AUD-4]
    let other = |entry_type| {
        move |maker: &mut Maker| {
            let seal = Digest::of(b"another text");
            maker.entry_of(Entry { seal, ..Maker::entry(entry_type) });
        }
    };
    assert_eq!(found(other(EntryType::CONFIG), |_| ()), [(Some(3), None, "other-note")]);
    let list = |maker: &mut Maker| maker.note(EntryType::KEYS, b"no list");
    assert_eq!(found(list, |_| ()), [(Some(3), None, "bad-key-list")]);
    let another = |maker: &mut Maker| {
        let list = cmtp_codec::KeyList::sign_single(maker.node());
        maker.note(EntryType::KEYS, &list.to_bytes());
    };
    // The log key of the checkpoint is none of that list.
    assert_eq!(found(another, |_| ()), [(None, None, "checkpoint")]);
}

#[test]
fn a_file_without_entries_is_read_once() {
    // A log that was just begun has none.
    let begin = |archive: &Archive, first: u64| {
        let path = |ending| archive.folder.join(format!("journal/{first:020}.{ending}"));
        let header = cmtp_codec::journal::header(&archive.node, first);
        for (ending, bytes) in [("records", &header[..]), ("entries", &[]), ("keys", &[])] {
            fs::write(path(ending), bytes).expect("written");
        }
    };
    let one = |maker: &mut Maker| maker.read(Status::OK);
    assert_eq!(found(one, |archive| begin(archive, archive.entries)), []);
    let missing = found(one, |archive| {
        begin(archive, archive.entries);
        begin(archive, archive.entries + 1);
    });
    assert_eq!(missing, [(Some(4), None, "files")]);
}

#[test]
fn the_clock_of_a_node_is_held_to_its_entries() {
    // [RCP-15]
    let late = |seconds: u64| {
        found(
            |maker| {
                maker.commit();
                maker.time += 1_000;
                maker.read_later(Status::OK, seconds * 1_000_000);
            },
            |_| (),
        )
    };
    assert_eq!(late(299), []);
    assert_eq!(late(400), [(Some(3), Some(1), "skew")]);
}

/// Zeros the keys of an entry: of its content, and of its cores where `cores` says so.
fn erase(archive: &Archive, index: usize, cores: bool) {
    let path = archive.folder.join("journal/00000000000000000000.keys");
    let mut keys = fs::read(&path).expect("keys");
    keys[index * 64..index * 64 + if cores { 64 } else { 32 }].fill(0);
    fs::write(path, keys).expect("written");
}

#[test]
fn what_is_erased_is_said_and_what_is_said_is_erased() {
    // [AUD-8]
    let says = |entry_type: EntryType| {
        move |maker: &mut Maker| {
            maker.read(Status::OK);
            let erased = maker.last_entry();
            maker.commit();
            let Entry { seal, message_id, opcode, .. } = erased;
            let entry = Maker::entry(entry_type);
            maker.entry_of(Entry { seal, message_id, opcode, ..entry });
        }
    };
    let nothing = |maker: &mut Maker| maker.read(Status::OK);
    assert_eq!(found(nothing, |it| erase(it, 3, false)), [(Some(3), None, "erased-silently")]);
    assert_eq!(found(nothing, |it| erase(it, 3, true)), [(Some(3), None, "forgotten-silently")]);
    let (redacted, forgotten) = (EntryType::REDACTED, EntryType::FORGOTTEN);
    assert_eq!(found(says(redacted), |it| erase(it, 3, false)), []);
    assert_eq!(found(says(forgotten), |it| erase(it, 3, true)), []);
    assert_eq!(
        found(says(redacted), |it| erase(it, 3, true)),
        [(Some(3), None, "forgotten-silently")]
    );
    assert_eq!(found(says(redacted), |_| ()), [(Some(4), None, "not-erased")]);
    assert_eq!(
        found(says(forgotten), |it| erase(it, 3, false)),
        [(Some(4), None, "not-erased"), (Some(3), None, "erased-silently")]
    );
    let other = |maker: &mut Maker| {
        maker.read(Status::OK);
        let seal = maker.last_entry().seal;
        maker.commit();
        let entry = Maker::entry(redacted);
        maker.entry_of(Entry { seal, opcode: Opcode::IW, ..entry });
    };
    assert_eq!(found(other, |it| erase(it, 3, false)), [(Some(4), None, "other-erased")]);
}

#[test]
fn a_receipt_proves_an_omission_and_two_prove_two_stories() {
    // [AUD-10] [AUD-11]
    let folder = tempfile::tempdir().expect("a temporary directory");
    let make = |name: &str, status: Status, more: usize| {
        let mut maker = Maker::new(&folder.path().join(name), DATA);
        maker.read(status);
        maker.commit();
        (0..more).for_each(|_| maker.read(Status::OK));
        let archive = maker.finish();
        let seed = format!("cmtp-node-key-v0 {}\n", "01".repeat(32));
        fs::write(archive.folder.join("node.key"), seed).expect("written");
        archive
    };
    let export = |archive: &Archive, index: u64| {
        let node = Node::stopped(&archive.folder);
        let output = node.cmtpd(&["journal", "export", &index.to_string()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let path = archive.folder.join(format!("{index}.cmtp"));
        fs::write(&path, output.stdout).expect("written");
        path
    };
    let (one, two) = (make("one", Status::OK, 8), make("two", Status::NOT_FOUND, 0));
    let node = one.node.to_string();
    let (mine, other, late) = (export(&one, 3), export(&two, 3), export(&one, 4));
    let run = |data: &Archive, receipts: &[&PathBuf]| {
        let receipts = receipts.iter().flat_map(|path| ["--receipt", arg(path)]);
        let arguments = [arg(&data.folder), "--pin", &node];
        // What was seen before is another test's.
        verify(&Home::empty(), &arguments.into_iter().chain(receipts).collect::<Vec<_>>())
    };
    let (exit, view) = run(&one, &[&mine, &late]);
    assert_eq!((exit, &view["counts"]["receipts"]), (Some(0), &Value::from(2)), "{view:#}");
    let (exit, view) = run(&two, &[&mine]);
    assert_eq!((exit, first(&view)), (Some(4), (Some(3), "other-promised".to_owned())), "{view:#}");
    let (exit, view) = run(&two, &[&other, &late]);
    assert_eq!((exit, first(&view)), (Some(4), (Some(4), "omitted".to_owned())), "{view:#}");
    let (exit, view) = run(&one, &[&mine, &other]);
    assert_eq!(exit, Some(4));
    assert!(view.to_string().contains("\"equivocation\""), "{view:#}");
}

#[test]
fn a_log_that_shrank_or_changed_since_the_last_audit_is_found() {
    // [AUD-9]
    let folder = tempfile::tempdir().expect("a temporary directory");
    let home = Home::empty();
    let make = |name: &str, status: Status, count: usize| {
        let mut maker = Maker::new(&folder.path().join(name), DATA);
        (0..count).for_each(|_| maker.read(status));
        maker.finish()
    };
    let (long, short) = (make("long", Status::OK, 300), make("short", Status::OK, 100));
    let fork = make("fork", Status::NOT_FOUND, 400);
    let run = |data: &Archive| verify(&home, &[arg(&data.folder), "--pin", &data.node.to_string()]);
    assert_eq!(run(&short).0, Some(0));
    let (exit, view) = run(&long);
    assert_eq!(exit, Some(0), "it only grew: {view:#}");
    let (exit, view) = run(&short);
    assert_eq!((exit, first(&view)), (Some(4), (Some(103), "shrunk".to_owned())), "{view:#}");
    let (exit, view) = run(&fork);
    assert_eq!((exit, first(&view)), (Some(4), (None, "other-root".to_owned())), "{view:#}");
    assert_eq!(run(&long).0, Some(0), "what did not hold is no measure");
}
