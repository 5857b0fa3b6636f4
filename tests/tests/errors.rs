//! What a new user does wrong: each time the message names what is at fault and what to do, and the exit code says which kind
//! it is.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use cmtp_client::{Existing, write_whole};
use cmtp_tests::wire::{Forge, now};
use cmtp_tests::{Home, Node, binary};
use serde_json::json;

/// What was done, its arguments, the exit code, and what standard error has to name: culprit first, then cure.
type Row<'a> = (&'a str, Vec<&'a str>, i32, Vec<&'a str>);

fn check(rows: Vec<Row<'_>>, run: impl Fn(&[&str]) -> Output) {
    for (what, arguments, exit, named) in rows {
        let output = run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(exit), "{what}: {said}");
        for part in named {
            assert!(said.contains(part), "{what}: {part:?} is not named\n{said}");
        }
        // A cause is said once.
        let causes = said.matches("(os error").count();
        assert!(causes <= 1, "{what}: {said}");
    }
}

fn cmtpd(arguments: &[&str], data: &Path) -> Output {
    Command::new(binary("cmtpd"))
        .args(arguments)
        .env("CMTPD_DATA", data)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_caller_without_what_it_takes() {
    let (node, home, other) = (Node::start(""), Home::new(), Home::new());
    let url = node.url("0xS:echo");
    // Without an identity, with and without a token.
    let rows: Vec<Row<'_>> = vec![
        ("no identity", vec!["call", &url], 1, vec!["511 identity-required", "cmtp id new"]),
        (
            "a token and no identity",
            vec!["call", &url, "--token", "x"],
            1,
            vec!["no identity, so the token can't be used", "cmtp id new"],
        ),
        ("no identity to show", vec!["id", "show"], 2, vec!["no identity yet", "cmtp id new"]),
        ("no identity to back up", vec!["id", "backup"], 2, vec!["no identity yet", "cmtp id new"]),
        (
            "a persona and no identity",
            vec!["call", &url, "--as", "work"],
            2,
            vec!["no identity yet", "cmtp id new"],
        ),
    ];
    check(rows, |arguments| Home::empty().cmtp(arguments));

    let mut expired = Forge::new(&node, home.did.parse().unwrap());
    let now = now() / 1_000_000;
    for (claim, time) in [("iat", now - 60), ("nbf", now - 60), ("exp", now - 30)] {
        expired.claims[claim] = json!(time);
    }
    let expired = expired.token();
    let elsewhere = Node::start("").grant(&home.did, &["--scope", "0xS:**"]);
    let theirs = node.grant(&other.did, &["--scope", "0xS:**"]);
    let narrow = node.grant(&home.did, &["--scope", "0xS:time"]);
    let wide = node.grant(&home.did, &["--scope", "0xS:**", "--scope", "0xR:**"]);
    let write = node.url("0xSW:0x001:color");
    let read = format!("the operator runs: cmtpd grant --to {} --scope '0xS:echo'", home.did);
    let wider = format!("cmtpd grant --to {} --write '0xSW:0x001:color'", home.did);
    let you = format!("you are {}", home.did);
    let (unrouted, unknown) = (node.url("0xS:nowhere"), node.url("nowhere.mcom"));
    let ticks = node.url("0xS:time:ticks");
    let rows: Vec<Row<'_>> = vec![
        ("no token", vec!["call", &url], 1, vec!["511 identity-required", &you, &read]),
        (
            "a token that is none",
            vec!["call", &url, "--token", "abc"],
            1,
            vec!["401", "is no token", &read],
        ),
        (
            "a token file that is not there",
            vec!["call", &url, "--token", "@/nowhere/token"],
            2,
            vec!["the token: can't read /nowhere/token", "No such file"],
        ),
        (
            "an expired token",
            vec!["call", &url, "--token", &expired],
            1,
            vec!["401 token-invalid", "the token expired", "get a new token", &read],
        ),
        (
            "another node's token",
            vec!["call", &url, "--token", &elsewhere],
            1,
            vec!["401 token-invalid", "the token is from the node", &node.did, "--data"],
        ),
        (
            "somebody else's token",
            vec!["call", &url, "--token", &theirs],
            1,
            vec!["401 token-invalid", &other.did, &you],
        ),
        (
            "a token that does not cover the target",
            vec!["call", &url, "--token", &narrow],
            1,
            vec!["403 forbidden: the token does not cover 0xS:echo", "wider grant", &read],
        ),
        (
            "a write with a token for reads",
            vec!["call", &write, "--token", &wide],
            1,
            vec!["403 forbidden: the token does not cover 0xSW:0x001:color", &wider],
        ),
        (
            "a target that is not there",
            vec!["call", &unrouted, "--token", &wide],
            1,
            vec!["404 not-found: this node has no route for 0xS:nowhere", "check how the target"],
        ),
        (
            "a name that is not there",
            vec!["call", &unknown, "--token", &wide],
            1,
            vec!["404 not-found: this node knows no name nowhere.mcom", "check how the target"],
        ),
        (
            "arguments that the service does not take",
            vec!["call", &ticks, "many", "--token", &wide],
            1,
            vec!["400 bad-request: argument 1: expected a number"],
        ),
        ("a second identity", vec!["id", "new"], 2, vec!["holds an identity already", "--force"]),
        (
            "a persona that there is not",
            vec!["call", &url, "--as", "nobody"],
            2,
            vec!["no persona is called nobody", "cmtp id list"],
        ),
    ];
    check(rows, |arguments| home.cmtp(arguments));

    let row: Row<'_> = (
        "an expired token that is exported",
        vec!["call", &url],
        1,
        vec!["401 token-invalid", "get a new token", "or unset CMTP_TOKEN"],
    );
    check(vec![row], |arguments| {
        home.command().args(arguments).env("CMTP_TOKEN", &expired).output().unwrap()
    });

    let identity = home.file("identity");
    let mut permissions = fs::metadata(&identity).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(&identity, permissions).unwrap();
    let chmod = format!("chmod 600 {}", identity.display());
    let row: Row<'_> =
        ("a readable secret", vec!["id", "show"], 2, vec!["others may read", &chmod]);
    check(vec![row], |arguments| home.cmtp(arguments));
}

#[test]
fn a_person_with_personas() {
    let (home, old, locked) = (Home::new(), Home::empty(), Home::empty());
    let path = |home: &Home, name: &str| home.file(name).to_str().unwrap().to_owned();
    let letter = path(&home, "letter.txt");
    write_whole(Path::new(&letter), b"dear reader", Existing::Keep).unwrap();
    let rows: Vec<Row<'_>> = vec![
        (
            "a name that is none",
            vec!["id", "persona", "add", "My Work"],
            2,
            vec!["'My Work'", "1 to 64 characters of a-z"],
        ),
        (
            "a name that is taken",
            vec!["id", "persona", "add", "main"],
            2,
            vec!["called main already", "another name"],
        ),
        (
            "no such persona",
            vec!["id", "show", "nobody"],
            2,
            vec!["no persona is called nobody", "cmtp id list"],
        ),
        (
            "an identity in the way",
            vec!["id", "restore"],
            2,
            vec!["holds an identity already", "--force"],
        ),
        ("no words", vec!["id", "restore", "--force"], 2, vec!["0 words; a root has 24"]),
        (
            "too many personas",
            vec!["id", "restore", "--force", "--personas", "1001"],
            2,
            vec!["--personas", "1..=1000"],
        ),
        (
            "a file in the way",
            vec!["id", "export", "main", "-o", &letter],
            2,
            vec![&letter, "there already", "another name"],
        ),
        (
            "nowhere to export to",
            vec!["id", "export", "main", "-o", "/nowhere/main"],
            2,
            vec!["--output /nowhere/main", "no directory /nowhere; make it first"],
        ),
        (
            "no file to import",
            vec!["id", "import", "/nowhere"],
            2,
            vec!["/nowhere: there is no such file"],
        ),
        (
            "a file of another kind",
            vec!["id", "import", &letter],
            2,
            vec![&letter, "cmtp-persona-v1"],
        ),
        (
            "nowhere for a statement",
            vec!["id", "revoke", "main", "--file", "/nowhere/main"],
            2,
            vec!["--file /nowhere/main", "no directory /nowhere; make it first"],
        ),
        (
            "a secret for everybody's eyes",
            vec!["id", "export", "main", "-o", "-"],
            2,
            vec!["--output -", "name a file"],
        ),
        (
            "no new passphrase",
            vec!["id", "passphrase"],
            2,
            vec!["CMTP_NEW_PASSPHRASE", "--no-passphrase"],
        ),
    ];
    check(rows, |arguments| home.cmtp(arguments));

    let text = format!("cmtp-identity-v0 {}\n", "11".repeat(32));
    write_whole(&old.file("identity"), text.as_bytes(), Existing::Keep).unwrap();
    let file = path(&old, "default.revocation");
    let rows: Vec<Row<'_>> = vec![
        ("no root to back up", vec!["id", "backup"], 2, vec!["no root", "cmtp id new"]),
        ("no root for more", vec!["id", "persona", "add", "x"], 2, vec!["no root", "cmtp id new"]),
        (
            "no recovery key",
            vec!["id", "revoke", "default", "--file", &file],
            2,
            vec!["default was imported", "do it there"],
        ),
    ];
    check(rows, |arguments| old.cmtp(arguments));

    let as_locked = |passphrase: &str, arguments: &[&str]| {
        locked.command().args(arguments).env("CMTP_PASSPHRASE", passphrase).output().unwrap()
    };
    assert!(as_locked("sesame", &["id", "new"]).status.success());
    let identity = path(&locked, "identity");
    let call = vec!["call", "cmtp://127.0.0.1:1/0xS:echo"];
    let unopened = vec![&*identity, "is encrypted", "set CMTP_PASSPHRASE"];
    let rows: Vec<Row<'_>> = vec![
        ("nobody to ask for a passphrase", vec!["id", "show"], 2, unopened.clone()),
        ("nobody to ask on a call", call, 2, unopened),
    ];
    check(rows, |arguments| locked.cmtp(arguments));
    let wrong = vec![&*identity, "does not open", "CMTP_PASSPHRASE"];
    let row: Row<'_> = ("another passphrase", vec!["id", "show"], 2, wrong);
    check(vec![row], |arguments| as_locked("barley", arguments));
    fs::write(&identity, "cmtp-identity-v9\n").unwrap();
    let row: Row<'_> = (
        "a file of another version",
        vec!["id", "show"],
        2,
        vec![&identity, "cmtp-identity-v1", "cmtp id restore"],
    );
    check(vec![row], |arguments| locked.cmtp(arguments));
}

#[test]
fn a_node_that_is_not_the_one_meant() {
    let (node, home) = (Node::start(""), Home::new());
    let other = Home::new().did;
    let url = node.url("0xS:echo");
    let pinned = format!("cmtp://{other}@{}/0xS:echo", node.address);
    // A port that somebody holds who does not answer.
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = held.local_addr().unwrap().to_string();
    let silent_url = format!("cmtp://{silent}/0xS:echo");
    let remedy = format!("--pin {}", node.did);
    let (here, nobody) = (format!("cmtp://{}", node.address), format!("cmtp://{silent}"));
    let rows: Vec<Row<'_>> = vec![
        (
            "a foreign --pin",
            vec!["call", &url, "--pin", &other],
            3,
            vec![&node.address, &other, "as --pin says", &remedy],
        ),
        (
            "a foreign DID in the URL",
            vec!["call", &pinned],
            3,
            vec![&node.address, &other, "as the URL says", &remedy],
        ),
        (
            "nobody at that port",
            vec!["call", &silent_url],
            3,
            vec![&silent, "is the node running there?", "`cmtpd serve` starts one", "4433"],
        ),
        (
            "a host that there is not",
            vec!["call", "cmtp://nowhere.invalid/0xS:echo"],
            3,
            vec!["nowhere.invalid", "check the host"],
        ),
        (
            "a statement for nobody, and for a node that refuses it",
            vec!["id", "revoke", "main", "--at", &nobody, "--at", &here],
            3,
            vec![&silent, &node.address, "the node refuses: 401"],
        ),
    ];
    check(rows, |arguments| home.cmtp(arguments));

    assert!(home.cmtp(["login", &here, "--yes"]).status.success());
    drop(node);
    let row: Row<'_> =
        ("a session at nobody's", vec!["logout", &here], 3, vec!["forgotten here", &here[7..]]);
    check(vec![row], |arguments| home.cmtp(arguments));
    assert!(home.cmtp(["sessions"]).stdout.is_empty());
}

#[test]
fn a_home_that_is_not_one() {
    let home = Home::new();
    let known = home.file("known_nodes");
    fs::write(&known, "127.0.0.1:4433 is mine\n").unwrap();
    let known = known.to_str().unwrap();
    let call = vec!["call", "cmtp://127.0.0.1:1/0xS:echo"];
    let row: Row<'_> = ("a line that is none", call, 3, vec![known, "line 1", "remove it"]);
    check(vec![row], |arguments| home.cmtp(arguments));
    let row: Row<'_> = ("a file for a home", vec!["id", "new"], 2, vec![known, "CMTP_HOME"]);
    check(vec![row], |arguments| {
        let mut command = Command::new(binary("cmtp"));
        command.args(arguments).env("CMTP_HOME", known).stdin(Stdio::null()).output().unwrap()
    });
    let row: Row<'_> =
        ("a filter that is none", vec!["serve"], 1, vec!["RUST_LOG=a=b=c", "such as"]);
    check(vec![row], |arguments| {
        let mut command = Command::new(binary("cmtpd"));
        command.args(arguments).env("RUST_LOG", "a=b=c").stdin(Stdio::null()).output().unwrap()
    });
}

#[test]
fn a_command_line_that_says_nothing_sensible() {
    let home = Home::new();
    let host = "cmtp://127.0.0.1:1";
    let url = |target: &str| format!("{host}/{target}");
    let (echo, opcode, args) = (url("0xS:echo"), url("0xZ:echo"), url("0xS:echo:["));
    let foreign = home.file("letter.txt");
    fs::write(&foreign, "dear reader").unwrap();
    let foreign = foreign.to_str().unwrap();
    let rows: Vec<Row<'_>> = vec![
        ("no URL", vec!["call"], 2, vec!["<URL>", "--help"]),
        (
            "no scheme",
            vec!["call", "127.0.0.1/0xS:echo"],
            2,
            vec!["127.0.0.1/0xS:echo", "begins with cmtp://"],
        ),
        ("no target", vec!["call", host], 2, vec!["names no target", "such as /0xS:echo"]),
        ("no such port", vec!["call", "cmtp://a:99999/0xS:x"], 2, vec!["port", "1 to 65535"]),
        ("no such opcode", vec!["call", &opcode], 2, vec!["0xZ:echo: byte 0", "such as 0xS"]),
        ("broken arguments", vec!["call", &args], 2, vec!["byte 9", "JSON"]),
        ("a pin that is none", vec!["call", &echo, "--pin", "me"], 2, vec!["--pin", "did:key:z"]),
        (
            "a body that is not there",
            vec!["call", &echo, "--data", "@/nowhere"],
            2,
            vec!["/nowhere"],
        ),
        ("a header that is none", vec!["call", &echo, "-H", "x"], 2, vec!["accept: text/plain"]),
        ("no time", vec!["call", &echo, "--timeout", "0"], 2, vec!["--timeout", "1..=3600"]),
        (
            "nowhere to save",
            vec!["call", &echo, "--save", "/nowhere/a.cmtp"],
            2,
            vec!["--save /nowhere/a.cmtp", "no directory /nowhere; make it first"],
        ),
        ("a misspelt command", vec!["cal"], 2, vec!["'cal'", "'call'"]),
        ("a misspelt option", vec!["call", "--dat"], 2, vec!["'--dat'", "'--data'"]),
        ("a file that is not there", vec!["verify", "/nowhere"], 2, vec!["can't read /nowhere"]),
        (
            "a file of another kind",
            vec!["verify", foreign],
            4,
            vec![foreign, "nothing that `cmtp call --save`"],
        ),
        ("the same, shown", vec!["inspect", foreign], 4, vec!["nothing that `cmtp call --save`"]),
        ("neither file nor digits", vec!["inspect", "nofile"], 2, vec!["nofile: no such file"]),
    ];
    check(rows, |arguments| home.cmtp(arguments));
}

#[test]
fn an_operator_who_grants() {
    let did = Home::new().did;
    let data = tempfile::tempdir().unwrap();
    let grant = |more: &[&'static str]| [&["grant", "--to", &did], more].concat();
    let rows: Vec<Row<'_>> = vec![
        ("nothing granted", grant(&[]), 2, vec!["--scope <PATTERN>"]),
        ("nobody", vec!["grant", "--to", "me", "--scope", "0xS:**"], 2, vec!["--to", "did:key:z"]),
        (
            "no pattern",
            grant(&["--scope", "echo"]),
            1,
            vec!["--scope echo is no pattern", "such as 0xS:echo"],
        ),
        (
            "half an element",
            grant(&["--write", "0xS:a**"]),
            1,
            vec!["--write 0xS:a** is no pattern", "'0xS:**'"],
        ),
        ("too long", grant(&["--scope", "0xS:**", "--ttl", "16m"]), 2, vec!["--ttl", "1s to 15m"]),
        ("no time", grant(&["--scope", "0xS:**", "--ttl", "0"]), 2, vec!["--ttl", "1s to 15m"]),
        ("an hour", grant(&["--scope", "0xS:**", "--ttl", "1h"]), 2, vec!["1h", "15m"]),
        (
            "no name of a session",
            vec!["hangup", "my-session"],
            2,
            vec!["my-session", "`cmtp sessions`", "did:key:z6Mk…"],
        ),
        ("keys of no node", vec!["keys", "list"], 1, vec!["there is no node in", "--data"]),
        (
            "no node whose keys are replaced",
            vec!["keys", "rotate"],
            1,
            vec!["there is no node in", "--data"],
        ),
        (
            "no node whose root key is exported",
            vec!["keys", "export-root", "/nowhere/root.key"],
            1,
            vec!["there is no node in", "--data"],
        ),
        (
            "a node that was not there",
            grant(&["--write", "0xSW:x:*"]),
            0,
            vec!["there was no node in", "--data"],
        ),
    ];
    check(rows, |arguments| cmtpd(arguments, data.path()));
    // From then on nothing is to be said.
    let output = cmtpd(&grant(&["--scope", "0xS:**"]), data.path());
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_node_that_can_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start("");
    let data = folder.path().join("data");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let config = |name: &str, text: &str| {
        fs::write(path(name), text).unwrap();
        path(name)
    };
    let (udp, tcp) =
        (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let udp_taken = udp.local_addr().unwrap().to_string();
    let tcp_taken = tcp.local_addr().unwrap().to_string();
    let file = config("file", "");
    let in_a_file = path("file/data");
    let no_key = path("no-key");
    fs::create_dir(&no_key).unwrap();
    fs::write(Path::new(&no_key).join("node.key"), "garbage").unwrap();
    let route = "[[route]]\ntarget = \"0xS:x\"\n";
    let misspelt = config("misspelt", "\nlisden = \"127.0.0.1:1\"\n");
    let lonely = config("lonely", &format!("{route}to = \"nats:a\"\n"));
    let unknown = config("unknown", &format!("{route}to = \"local:nosuch\"\n"));
    let streaming = config("streaming", "[audit]\nstream = true\n");
    let issuer = "[[issuer]]\nname = \"corp\"\niss = \"x\"\naudience = \"x\"\nalgorithms = [\"ES256\"]\njwks = ";
    let keyless = config("keyless", &format!("{issuer}{:?}\n", path("no-keys")));
    let page = config("page", &format!("{issuer}{:?}\n", config("html", "<html>")));
    let nobody = config("nobody", &format!("{issuer}\"http://127.0.0.1:1/keys\"\n"));
    let empty = config("empty", &format!("{issuer}{:?}\n", config("none", "{\"keys\":[]}")));
    let missing = path("missing");
    let misspelt_at = format!("{misspelt}: line 2, lisden = ");
    let used = node.data().to_str().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let with = |option, value| [&serve[..], &[option, value]].concat();
    let rows: Vec<Row<'_>> = vec![
        ("no such file", with("--config", &missing), 1, vec![&missing, "No such file"]),
        (
            "a misspelt key",
            with("--config", &misspelt),
            1,
            vec![&misspelt_at, "expected one of `listen`"],
        ),
        (
            "a misspelt key, checked",
            vec!["check-config", &misspelt],
            1,
            vec![&misspelt_at, "expected one of `listen`"],
        ),
        (
            "no bus",
            with("--config", &lonely),
            1,
            vec!["route 0xS:x leads to NATS", "--bus nats=URL"],
        ),
        (
            "no bus, checked",
            vec!["check-config", &lonely],
            0,
            vec!["route 0xS:x", "--bus nats=URL"],
        ),
        (
            "no bus for the audit stream",
            with("--config", &streaming),
            1,
            vec!["audit.stream = true", "--bus nats=URL"],
        ),
        (
            "no bus for the audit stream, checked",
            vec!["check-config", &streaming],
            0,
            vec!["audit.stream = true", "--bus nats=URL"],
        ),
        ("no such service", with("--config", &unknown), 1, vec!["local:nosuch", "echo, time"]),
        (
            "no such service, checked",
            vec!["check-config", &unknown],
            1,
            vec![&unknown, "local:nosuch", "echo, time"],
        ),
        (
            "no keys of an issuer",
            with("--config", &keyless),
            1,
            vec!["issuer \"corp\"", "no-keys", "No such file"],
        ),
        (
            "no keys of an issuer, checked",
            vec!["check-config", &keyless],
            1,
            vec![&keyless, "issuer \"corp\"", "no-keys", "No such file"],
        ),
        (
            "a page in place of keys",
            vec!["issuer", "check", "corp", "--config", &page],
            1,
            vec!["issuer \"corp\"", "expected a JWK Set"],
        ),
        (
            "nobody has the keys",
            vec!["issuer", "check", "corp", "--config", &nobody],
            1,
            vec!["issuer \"corp\"", "http://127.0.0.1:1/keys", "refused"],
        ),
        (
            "keys that are none",
            vec!["issuer", "check", "corp", "--config", &empty],
            1,
            vec!["issuer \"corp\"", "no key that can be used"],
        ),
        (
            "no such issuer",
            vec!["issuer", "check", "crop", "--config", &page],
            1,
            vec![&page, "no issuer \"crop\"", "it has corp"],
        ),
        (
            "no issuer at all",
            vec!["issuer", "check", "corp", "--config", &file],
            1,
            vec![&file, "no issuer \"corp\"", "no [[issuer]]"],
        ),
        (
            "no such token",
            vec!["issuer", "check", "corp", "--config", &empty, "--token", &missing],
            1,
            vec!["--token", &missing, "No such file"],
        ),
        ("no such bus", with("--bus", "kafka"), 1, vec!["--bus", "kafka", "nats=nats://"]),
        (
            "nobody on the bus",
            with("--bus", "nats=nats://127.0.0.1:1"),
            1,
            vec!["nats://127.0.0.1:1", "Connection refused", "is a nats-server running there?"],
        ),
        ("a port that there is not", vec!["serve", "--listen", "[::1]:99999"], 2, vec!["99999"]),
        ("no address", vec!["serve", "--listen", "here"], 2, vec!["'here'", "--listen"]),
        (
            "a port in use",
            vec!["serve", "--listen", &udp_taken],
            1,
            vec![&udp_taken, "in use", "choose another with --listen"],
        ),
        (
            "an HTTP port in use",
            with("--http", &tcp_taken),
            1,
            vec![&tcp_taken, "in use", "choose another with --http"],
        ),
        (
            "a data directory that is a file",
            vec!["serve", "--data", &file],
            1,
            vec![&file, "the data directory (--data)"],
        ),
        (
            "a data directory in a file",
            vec!["did", "--data", &in_a_file],
            1,
            vec![&in_a_file, "the data directory (--data)"],
        ),
        ("no key", vec!["did", "--data", &no_key], 1, vec![&no_key, "restore it from a backup"]),
        (
            "another node's data",
            with("--data", used),
            1,
            vec![used, "another cmtpd uses it", "choose another --data"],
        ),
        (
            "no journal",
            vec!["journal", "check", "--data", &missing],
            1,
            vec!["there is no journal in", &missing, "--data or --config"],
        ),
        (
            "no such entry",
            vec!["journal", "export", "99", "--data", used],
            1,
            vec!["entry 99", "cmtpd journal list"],
        ),
        (
            "a demonstration without its bus",
            vec!["demo", "--nats", "nats://127.0.0.1:1"],
            1,
            vec!["nats://127.0.0.1:1", "is a nats-server running there?"],
        ),
    ];
    check(rows, |arguments| {
        let output = cmtpd(arguments, &data);
        // A node that can't start has not said that it listens.
        assert!(!String::from_utf8_lossy(&output.stdout).contains("listens"), "{arguments:?}");
        output
    });
    assert!(!Path::new(&missing).exists(), "looking into a journal made a directory");
}

#[test]
fn policies_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (data, missing) = (path("data"), path("missing"));
    let bad = path("data/policies");
    fs::create_dir_all(&bad).unwrap();
    let text = "\npermit (principal, action == Action::\"raed\", resource);";
    fs::write(folder.path().join("data/policies/x.cedar"), text).unwrap();
    let config = path("cmtpd.toml");
    fs::write(&config, format!("data = {data:?}\n[policy]\nfolder = {missing:?}\n")).unwrap();
    let did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    let explain = |more: &[&'static str]| {
        [&["policy", "explain", &bad, "--as", did, "--target", "0xS:a"][..], more].concat()
    };
    let named = vec![bad.as_str(), "x.cedar, line 2", "policy x#0", "raed", "did you mean"];
    let rows: Vec<Row<'_>> = vec![
        ("no policies", vec!["policy", "check", &missing], 1, vec![&missing, "at its first start"]),
        ("bad policies", vec!["policy", "check", &bad], 1, named.clone()),
        ("bad policies to ask", explain(&[]), 1, named.clone()),
        (
            "a node with bad policies",
            vec!["serve", "--data", &data, "--listen", "127.0.0.1:0"],
            1,
            named,
        ),
        (
            "a policy folder that is not there",
            vec!["serve", "--config", &config, "--data", &data, "--listen", "127.0.0.1:0"],
            1,
            vec![&missing, "No such file"],
        ),
        ("no grant", explain(&["--granted", "me"]), 2, vec!["me", "operator or session"]),
        ("no attribute", explain(&["--attribute", "a"]), 2, vec!["NAME=VALUE, such as country=ch"]),
        ("an empty group", explain(&["--group", ""]), 1, vec!["\"\"", "1 to 256 bytes"]),
        (
            "no target",
            vec!["policy", "explain", &bad, "--as", did, "--target", "echo"],
            2,
            vec!["echo", "such as 0xS:echo"],
        ),
    ];
    check(rows, |arguments| cmtpd(arguments, folder.path()));

    let home = Home::new();
    let node = Node::start("");
    let token = node.grant(&home.did, &["--scope", "0xS:**"]);
    fs::write(node.data().join("policies/default.cedar"), "").unwrap();
    let url = node.url("0xS:echo");
    let here = format!("cmtp://{}", node.address);
    assert!(home.cmtp(["login", &here, "--yes"]).status.success());
    let call = ["call", &url, "--token", &token];
    while home.cmtp(call).status.success() {}
    let explain = format!("cmtpd policy explain --as {} --target '0xS:echo'", home.did);
    let in_a_session = format!("{explain} --granted session");
    let grant = format!("the operator runs: cmtpd grant --to {} --scope '0xS:echo'", home.did);
    let denied = "403 forbidden: no policy of this node permits 0xS:echo";
    let rows: Vec<Row<'_>> = vec![
        (
            "what policies deny",
            call.to_vec(),
            1,
            vec![denied, "a policy that permits it", &explain],
        ),
        (
            "what policies deny in a session",
            vec!["call", &url],
            1,
            vec![denied, "grant it to you", "a policy that permits it", &grant, &in_a_session],
        ),
    ];
    check(rows, |arguments| home.cmtp(arguments));
}

#[test]
fn an_auditor_of_what_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}/log/0", listener.local_addr().unwrap());
    drop(listener);
    let vkey = "w+00000000+x";
    let rows: Vec<Row<'_>> = vec![
        (
            "no folder",
            vec!["audit", "verify", "nowhere"],
            2,
            vec!["nowhere", "no journal", "audit export"],
        ),
        (
            "no journal",
            vec!["audit", "verify", empty],
            2,
            vec![empty, "no journal", "audit export"],
        ),
        ("nobody serves", vec!["audit", "verify", &nobody], 3, vec![&nobody, "refused"]),
        ("no key", vec!["audit", "verify", empty, "--vkey", vkey], 2, vec![vkey, "NAME"]),
        ("no identity", vec!["audit", "verify", empty, "--report", "r"], 2, vec!["cmtp id new"]),
        ("no opcode", vec!["audit", "grep", empty, "--opcode", "x"], 2, vec!["x", "0xSW"]),
        ("no type", vec!["audit", "tail", empty, "--type", "x"], 2, vec!["x", "outcome"]),
        ("no range", vec!["audit", "tail", empty, "--status", "x"], 2, vec!["x", "400-599"]),
        (
            "no policies",
            vec!["audit", "verify", empty, "--policies", "nowhere"],
            2,
            vec!["nowhere", "No such file"],
        ),
        ("no data", vec!["audit", "export", empty, "archive"], 2, vec![empty, "no journal"]),
    ];
    check(rows, |arguments| Home::empty().cmtp(arguments));
}

#[test]
fn keys_that_can_not_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (data, other, file) = (path("data"), path("other"), path("root.key"));
    let (locked, strange, missing) = (path("locked"), path("strange"), path("missing"));
    fs::write(&strange, "garbage").unwrap();
    let did = |data: &str| {
        let output = cmtpd(&["did"], Path::new(data));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (node, stranger) = (did(&data), did(&other));
    let sealed = Command::new(binary("cmtpd"))
        .args(["keys", "export-root", &locked, "--data", &other])
        .env("CMTP_PASSPHRASE", "a passphrase")
        .output()
        .unwrap();
    assert!(sealed.status.success(), "{sealed:?}");
    let export = ["keys", "export-root", &file];
    let rows: Vec<Row<'_>> = vec![
        (
            "the log's key",
            vec!["keys", "rotate", "--use", "log"],
            1,
            vec!["the log's key is not replaced", "leave out --use log"],
        ),
        (
            "nobody to ask for a passphrase",
            export.to_vec(),
            1,
            vec!["no passphrase", "CMTP_PASSPHRASE", "--no-passphrase"],
        ),
        (
            "a file that is there",
            vec!["keys", "export-root", &strange, "--no-passphrase"],
            1,
            vec![&strange, "there already", "another name"],
        ),
        (
            "no such file",
            vec!["keys", "rotate", "--root", &missing],
            1,
            vec![&missing, "there is none", "--root FILE"],
        ),
        (
            "a file of something else",
            vec!["keys", "rotate", "--root", &strange],
            1,
            vec![&strange, "not a node key", "restore it from a backup"],
        ),
        (
            "nobody to ask for the passphrase",
            vec!["keys", "rotate", "--root", &locked],
            1,
            vec!["no passphrase for the root key", "set CMTP_PASSPHRASE"],
        ),
    ];
    check(rows, |arguments| cmtpd(arguments, Path::new(&data)));

    let rows: Vec<Row<'_>> = vec![
        (
            "another node's root key",
            vec!["keys", "rotate", "--root", &locked],
            1,
            vec![&node, &stranger, "--root FILE"],
        ),
        (
            "a root key without a passphrase",
            [&export[..], &["--no-passphrase"]].concat(),
            0,
            vec![],
        ),
        ("no root key", vec!["keys", "rotate"], 1, vec![&node, &file, "--root FILE"]),
    ];
    check(rows, |arguments| {
        Command::new(binary("cmtpd"))
            .args(arguments)
            .env("CMTPD_DATA", &data)
            .env("CMTP_PASSPHRASE", "a passphrase")
            .output()
            .unwrap()
    });
    let wrong = |arguments: &[&str]| {
        let mut command = Command::new(binary("cmtpd"));
        command.args(arguments).env("CMTPD_DATA", &other).env("CMTP_PASSPHRASE", "another");
        command.output().unwrap()
    };
    let rows: Vec<Row<'_>> = vec![(
        "a wrong passphrase",
        vec!["keys", "rotate", "--root", &locked],
        1,
        vec![&locked, "does not open", "is the passphrase right?"],
    )];
    check(rows, wrong);
    // The root key is elsewhere, and the file without which no node is there is gone.
    fs::remove_file(Path::new(&data).join("online.keys")).unwrap();
    let rows: Vec<Row<'_>> =
        vec![("no keys", vec!["did"], 1, vec!["online.keys", "restore it from a backup"])];
    check(rows, |arguments| cmtpd(arguments, Path::new(&data)));
}
