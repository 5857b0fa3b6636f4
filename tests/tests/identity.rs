//! `cmtp id` as a person and as a script use it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use cmtp_codec::{RecoveryCommitment, Revocation};
use cmtp_tests::{Home, Node, binary, python};
use serde_json::Value;

/// Runs a command on a terminal of its own, types one line after the other where something asks, prints what stood there.
const ANSWERING: &str = r#"
import os, pty, sys, termios
answers, arguments = sys.argv[1].split("|"), sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execv(arguments[0], arguments)
shown = b""
while True:
    try:
        read = os.read(terminal, 4096)
    except OSError:
        read = b""
    if not read:
        break
    shown += read
    prompt = shown.rstrip(b"\r\n")
    if answers and prompt.endswith((b":", b": ")):
        # A person takes longer to type than a program to turn the echo off.
        while prompt.endswith(b": ") and termios.tcgetattr(terminal)[3] & termios.ECHO:
            os.sched_yield()
        os.write(terminal, answers.pop(0).encode() + b"\n")
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

/// What a command prints that has to succeed.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn run(home: &Home, arguments: &[&str]) -> String {
    said(&home.cmtp(arguments))
}

fn with_passphrase(home: &Home, passphrase: &str, arguments: &[&str]) -> Output {
    home.command().args(arguments).env("CMTP_PASSPHRASE", passphrase).output().unwrap()
}

/// Runs a command with this on standard input.
fn typed(home: &Home, input: &str, arguments: &[&str]) -> Output {
    let mut command = home.command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn on_a_terminal(home: &Home, answers: &[&str], arguments: &[&str]) -> Output {
    python()
        .args(["-c", ANSWERING, &answers.join("|")])
        .arg(binary("cmtp"))
        .args(arguments)
        .env("CMTP_HOME", home.file(""))
        .env_remove("CMTP_PASSPHRASE")
        .env_remove("CMTP_PERSONA")
        .output()
        .unwrap()
}

fn is_encrypted(file: &Path) -> bool {
    fs::read(file).unwrap().starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----\n")
}

#[test]
fn a_lost_device_costs_nothing_but_names() {
    let (old, new) = (Home::new(), Home::empty());
    let work = run(&old, &["id", "persona", "add", "work"]);
    let play = run(&old, &["id", "persona", "add", "play"]);
    let all = [&format!("{}\n", old.did), &work, &play].map(String::as_str).concat();
    // As they are printed, with numbers or without.
    for arguments in [&["id", "backup"][..], &["id", "backup", "--plain"]] {
        let words = run(&old, arguments);
        let restore = ["id", "restore", "--personas", "3", "--force"];
        assert_eq!(said(&typed(&new, &words, &restore)), all);
    }
    assert_eq!(run(&new, &["id", "show", "persona-2"]), play);
    assert_eq!(run(&new, &["id", "show"]).trim(), old.did);
    let listed: Value = serde_json::from_str(&run(&new, &["id", "list", "--json"])).unwrap();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["main", "persona-1", "persona-2"]);
    assert_eq!(listed[0]["default"], true);
    assert_eq!((&listed[2]["origin"], &listed[2]["number"]), (&"derived".into(), &2.into()));
    assert_eq!(run(&new, &["id", "list"]).lines().count(), 3);
}

#[test]
fn a_persona_is_chosen_for_each_call() {
    let (node, home) = (Node::start(""), Home::new());
    let work = run(&home, &["id", "persona", "add", "work"]);
    let token = node.grant(work.trim(), &["--scope", "0xS:**"]);
    let url = node.url("0xS:echo");
    let call = ["call", &url, "--token", &token, "--data", "hi"];
    let refused = home.cmtp(call);
    assert_eq!(refused.status.code(), Some(1));
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.contains(work.trim()) && refused.contains("--as"), "{refused}");
    assert_eq!(run(&home, &[&call[..], &["--as", "work"]].concat()), "hi");
    let chosen = home.command().args(call).env("CMTP_PERSONA", "work").output().unwrap();
    assert_eq!(said(&chosen), "hi");
    let shown = home.command().args(["id", "show"]).env("CMTP_PERSONA", "work").output().unwrap();
    assert_eq!(said(&shown), work);
    run(&home, &["id", "persona", "default", "work"]);
    assert_eq!(run(&home, &call), "hi");
    assert_eq!(run(&home, &["id", "show"]), work);
    let bench = ["bench", &url, "--token", &token, "--seconds", "1", "--in-flight", "1"];
    run(&home, &[&bench[..], &["--as", "work"]].concat());
}

#[test]
fn an_old_identity_goes_on_until_something_changes() {
    let home = Home::empty();
    let (file, old) = (home.file("identity"), format!("cmtp-identity-v0 {}\n", "11".repeat(32)));
    cmtp_client::write_whole(&file, old.as_bytes(), cmtp_client::Existing::Keep).unwrap();
    let did = run(&home, &["id", "show"]);
    assert_eq!(run(&home, &["id", "show", "default"]), did);
    assert!(run(&home, &["id", "list"]).contains("imported, default"));
    assert_eq!(fs::read_to_string(&file).unwrap(), old);
    // It has no root; a new one takes it in.
    let new = Home::new();
    let arguments = ["id", "import", file.to_str().unwrap(), "--as", "old"];
    assert_eq!(run(&new, &arguments), did);
    assert_eq!(run(&new, &["id", "show", "old"]), did);
    assert_eq!(run(&new, &["id", "show"]).trim(), new.did);
    assert_eq!(fs::read_to_string(&file).unwrap(), old);
}

#[test]
fn a_passphrase_comes_goes_and_changes() {
    let (home, other) = (Home::empty(), Home::empty());
    let file = home.file("identity");
    let did = said(&with_passphrase(&home, "one", &["id", "new"]));
    assert!(is_encrypted(&file));
    assert_eq!(said(&with_passphrase(&home, "one", &["id", "show"])), did);
    let change = home
        .command()
        .args(["id", "passphrase"])
        .env("CMTP_PASSPHRASE", "one")
        .env("CMTP_NEW_PASSPHRASE", "two")
        .output()
        .unwrap();
    said(&change);
    assert!(!with_passphrase(&home, "one", &["id", "show"]).status.success());
    let work = said(&with_passphrase(&home, "two", &["id", "persona", "add", "work"]));
    assert!(is_encrypted(&file), "it stays encrypted");

    let exported = home.file("work.persona");
    let export = ["id", "export", "work", "-o", exported.to_str().unwrap()];
    said(&with_passphrase(&home, "two", &export));
    assert!(is_encrypted(&exported));
    let import = ["id", "import", exported.to_str().unwrap()];
    assert_eq!(said(&with_passphrase(&other, "two", &import)), work);
    assert!(is_encrypted(&other.file("identity")));
    let plain = Home::new();
    let imported = with_passphrase(&plain, "two", &import);
    assert_eq!(said(&imported), work);
    assert!(!is_encrypted(&plain.file("identity")));
    assert!(String::from_utf8_lossy(&imported.stderr).contains(", not encrypted"));

    said(&with_passphrase(&home, "two", &["id", "passphrase", "--no-passphrase"]));
    assert!(!is_encrypted(&file));
    assert_eq!(run(&home, &["id", "show"]), did);
    fs::remove_file(&exported).unwrap();
    said(&with_passphrase(&home, "two", &[&export[..], &["--no-passphrase"]].concat()));
    assert!(fs::read_to_string(&exported).unwrap().starts_with("cmtp-persona-v1\nimported "));
}

#[test]
fn a_statement_of_revocation_is_by_the_key_that_the_persona_committed_to() {
    let home = Home::new();
    let file = home.file("main.revocation");
    run(&home, &["id", "revoke", "main", "--file", file.to_str().unwrap()]);
    let shown: Value = serde_json::from_str(&run(&home, &["id", "show", "--json"])).unwrap();
    let commitment = shown["recovery_commitment"].as_str().unwrap();
    let commitment = data_encoding::HEXLOWER.decode(commitment.as_bytes()).unwrap();
    // [IDY-5] [IDY-6]
    let text = fs::read_to_string(&file).unwrap();
    let statement = Revocation::from_json(&text).unwrap();
    let believed = statement.verify(&RecoveryCommitment(commitment.try_into().unwrap())).unwrap();
    assert_eq!(believed.persona.to_string(), home.did);
    assert!(believed.not_before <= cmtp_tests::wire::now());
}

#[test]
fn a_passphrase_is_asked_for_on_a_terminal_and_never_shown() {
    let home = Home::empty();
    let file = home.file("identity");
    // A slip of the finger writes nothing.
    let slip = on_a_terminal(&home, &["sesame", "sesane"], &["id", "new"]);
    assert_eq!(slip.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&slip.stdout).contains("not the same twice"));
    assert!(!file.exists());

    let shown = said(&on_a_terminal(&home, &["sesame", "sesame"], &["id", "new"]));
    assert!(shown.contains("encrypted under the passphrase") && shown.contains("did:key:z6Mk"));
    assert!(!shown.contains("sesame"), "{shown}");
    assert!(is_encrypted(&file));
    let shown = said(&on_a_terminal(&home, &["sesame"], &["id", "show"]));
    assert!(shown.contains("Passphrase of") && !shown.contains("sesame"), "{shown}");
    let wrong = on_a_terminal(&home, &["barley"], &["id", "show"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stdout).contains("does not open"));

    said(&on_a_terminal(&home, &["sesame", "", ""], &["id", "passphrase"]));
    assert!(!is_encrypted(&file), "Enter means none");
    let words = run(&home, &["id", "backup", "--plain"]);
    let new = Home::empty();
    let shown = said(&on_a_terminal(&new, &[words.trim(), "", ""], &["id", "restore"]));
    assert!(shown.contains(run(&home, &["id", "show"]).trim()), "{shown}");
}
