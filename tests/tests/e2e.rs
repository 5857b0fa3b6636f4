//! The command line against a real node, and a client in Python that was written from the specification alone.

use std::fs;
use std::process::Output;

use cmtp_codec::{Chain, Entry, Link, SigningKey, Unverified};
use cmtp_spec::Status;
use cmtp_tests::{Home, Node, python, root};

const CONFIG: &str = r#"
    [names]
    "helloworld.mcom" = "0xS:0x001:hello_world"
    [[route]]
    target = "0xS:0x001:hello_world"
    to = "local:hello"
"#;

/// Long enough that no hash or salt has it by chance.
const BODY: &str = "hi, auditor";

struct Scene {
    node: Node,
    home: Home,
    token: String,
}

impl Scene {
    fn new() -> Self {
        let node = Node::start(CONFIG);
        let home = Home::new();
        let token = node.grant(&home.did, &["--scope", "0xS:**", "--scope", "0xR:**"]);
        Self { node, home, token }
    }

    fn call(&self, target: &str, arguments: &[&str]) -> Output {
        let url = self.node.url(target);
        let fixed = ["call", &url, "--token", &self.token];
        self.home.cmtp(fixed.iter().chain(arguments))
    }

    /// A saved answer of an echo.
    fn saved(&self) -> (String, Vec<u8>) {
        let path = self.home.file("saved.cmtp");
        let name = path.to_str().unwrap().to_owned();
        let output = self.call("0xS:echo", &["--data", BODY, "--save", &name]);
        assert_exit(&output, 0);
        (name, fs::read(path).unwrap())
    }
}

fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}{}", out(output), err(output));
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn calls_are_answered_and_verified() {
    let scene = Scene::new();
    let output = scene.call("0xS:echo", &["--data", "hello"]);
    assert_exit(&output, 0);
    assert_eq!(out(&output), "hello");
    // Loopback: the node was pinned with a line on stderr, and is known from then on.
    assert!(err(&output).contains(&scene.node.did), "{}", err(&output));
    let output = scene.call("helloworld.mcom", &["Dexter"]);
    assert_exit(&output, 0);
    assert_eq!((out(&output).as_str(), err(&output).as_str()), ("Hello, Dexter!", ""));
    let output = scene.call("0xS:time", &[]);
    assert!(out(&output).ends_with('Z'), "{}", out(&output));
    // The DID in the URL.
    let url = format!("cmtp://{}@{}/0xS:echo", scene.node.did, scene.node.address);
    let output = scene.home.cmtp(["call", &url, "--token", &scene.token, "--data", "x"]);
    assert_exit(&output, 0);
    // The older spelling, and arguments in the URL.
    let output = scene.call(r#"0Sx:0x001:hello_world:["Ada"]"#, &[]);
    assert_eq!(out(&output), "Hello, Ada!");
}

#[test]
fn json_has_the_shape_of_a_cmesh_message() {
    let scene = Scene::new();
    let output = scene.call("0xS:echo", &["--data", "hi", "-H", "accept: text/plain", "--json"]);
    assert_exit(&output, 0);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["headers"]["version"], "CMTP/0");
    assert_eq!(json["headers"]["status"], 200);
    assert_eq!(json["headers"]["request"]["accept"], "text/plain");
    assert!(json["headers"]["response"].is_object());
    assert!(!json["headers"]["transferred"].is_null());
    assert_eq!(json["body"], "hi");
}

#[test]
fn refusals_say_what_to_do() {
    let scene = Scene::new();
    let url = scene.node.url("0xS:echo");
    // [STA-2]
    for home in [&scene.home, &Home::empty()] {
        let output = home.cmtp(["call", &url]);
        assert_exit(&output, 1);
        assert!(err(&output).contains("identity-required"), "{}", err(&output));
        assert!(err(&output).contains("cmtp id new"), "{}", err(&output));
    }
    let output = scene.call("0xS:nowhere", &[]);
    assert_exit(&output, 1);
    assert!(err(&output).contains("not-found"), "{}", err(&output));
    let output = scene.call("0xE:orders", &[]);
    assert_exit(&output, 1);
    assert!(err(&output).contains("forbidden"), "{}", err(&output));
    // A token of somebody else.
    let other = Home::new();
    let output = other.cmtp(["call", &url, "--token", &scene.token]);
    assert_ne!(output.status.code(), Some(0));
    assert!(err(&output).contains(&scene.home.did), "{}", err(&output));
}

#[test]
fn trust_is_decided_before_anything_is_sent() {
    let scene = Scene::new();
    let other = Home::new().did;
    let output = scene.call("0xS:echo", &["--pin", &other]);
    assert_exit(&output, 3);
    assert!(err(&output).contains(&scene.node.did), "{}", err(&output));
    // A node that was known under another DID is refused.
    assert_exit(&scene.call("0xS:echo", &[]), 0);
    let known = scene.home.file("known_nodes");
    let text = fs::read_to_string(&known).unwrap();
    fs::write(&known, text.replace(&scene.node.did, &other)).unwrap();
    let output = scene.call("0xS:echo", &[]);
    assert_exit(&output, 3);
    assert!(err(&output).contains(&other), "{}", err(&output));
    // Nobody there.
    let output = scene.home.cmtp(["call", "cmtp://127.0.0.1:9/0xS:echo", "--token", &scene.token]);
    assert_exit(&output, 3);
}

#[test]
fn usage_errors_exit_with_2() {
    let home = Home::empty();
    for arguments in [&["call"][..], &["call", "http://x/y"], &["call", "cmtp://127.0.0.1/0xS:a b"]]
    {
        assert_exit(&home.cmtp(arguments), 2);
    }
}

#[test]
fn a_saved_answer_is_judged_offline() {
    let scene = Scene::new();
    let (name, file) = scene.saved();
    let pin = ["--pin", &scene.node.did];
    let verify =
        |home: &Home, arguments: &[&str]| home.cmtp(["verify", &name].iter().chain(arguments));
    assert_exit(&verify(&scene.home, &pin), 0);
    // Known from the call.
    assert_exit(&verify(&scene.home, &[]), 0);
    // Nothing to trust.
    let output = verify(&Home::empty(), &[]);
    assert_exit(&output, 5);
    // Another node's DID.
    assert_exit(&verify(&scene.home, &["--pin", &Home::new().did]), 4);
    // An unlogged refusal proves nothing, whoever is trusted.
    let refused = scene.home.file("refused.cmtp");
    let refused = refused.to_str().unwrap();
    let url = scene.node.url("0xS:echo");
    assert_exit(&scene.home.cmtp(["call", &url, "--save", refused]), 1);
    assert_exit(&scene.home.cmtp(["verify", refused, "--pin", &scene.node.did]), 5);

    // One byte of the answer's body.
    let place = file.windows(BODY.len()).rposition(|bytes| bytes == BODY.as_bytes()).unwrap();
    let mut changed = file.clone();
    changed[place] ^= 1;
    fs::write(&name, &changed).unwrap();
    let output = verify(&scene.home, &pin);
    assert_exit(&output, 4);
    assert!(err(&output).contains("layer 2"), "{}", err(&output));

    fs::write(&name, rehashed(&file)).unwrap();
    assert_exit(&verify(&scene.home, &pin), 4);
    assert_exit(&verify(&Home::empty(), &[]), 5);
}

/// The answer changed and hashed again from end to end, as anybody can do who has any key.
fn rehashed(file: &[u8]) -> Vec<u8> {
    let mut message = Unverified::from_stored(file.to_vec()).unwrap().into_untrusted();
    let forger = SigningKey::from_seed(&[66; 32]).unwrap();
    if let Some(Link::Layer(last)) = message.links.last_mut() {
        *last = last.clone().with_body(last.public_salt, "forged");
    }
    let mut chain = Chain::default();
    let heads = message.links.iter().map(|link| chain.push(link).unwrap()).collect();
    message.seal.heads = Some(heads);
    message.seal.key = forger.public();
    message.seal.hash = chain.seal(&forger.public());
    let receipt = message.seal.receipt.as_mut().unwrap();
    let entry: Entry = receipt.entry(Status::OK, chain.length(), message.seal.hash);
    receipt.statement.root = entry.leaf();
    receipt.signature = receipt.statement.sign(&forger);
    // Nothing ties it to the real node: the forger leaves the key list out where it would give him away.
    message.seal.keys = None;
    message.to_stored().to_vec()
}

#[test]
fn every_changed_byte_of_a_saved_answer_is_noticed() {
    let scene = Scene::new();
    let (_, file) = scene.saved();
    let pin = scene.node.did.parse().unwrap();
    let verify = |file: Vec<u8>| {
        let message = Unverified::from_stored(file).map_err(|error| format!("{error}"))?;
        message.verify(Some(&pin)).map_err(|error| format!("{error}"))
    };
    assert!(verify(file.clone()).is_ok());
    for place in 0..file.len() {
        let mut changed = file.clone();
        changed[place] ^= 1 << (place % 8);
        let error = verify(changed).expect_err("a change goes unnoticed");
        let named = ["layer ", "seal", "header"].iter().any(|part| error.contains(part));
        assert!(named, "byte {place}: {error}");
    }
}

#[test]
fn inspect_shows_what_is_there_and_where_it_breaks() {
    let scene = Scene::new();
    let (name, file) = scene.saved();
    let output = scene.home.cmtp(["inspect", &name]);
    assert_exit(&output, 0);
    for shown in ["origin", "admit", "serve", "signed by caller", "vouched by node", "authentic"] {
        assert!(out(&output).contains(shown), "{shown}: {}", out(&output));
    }
    let hex: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_exit(&scene.home.cmtp(["inspect", &hex]), 0);
    fs::write(&name, &file[..file.len() / 2]).unwrap();
    let output = scene.home.cmtp(["inspect", &name]);
    assert_exit(&output, 4);
    let said = out(&output) + &err(&output);
    assert!(said.contains("origin") && said.contains("byte "), "{said}");
}

#[test]
fn a_peer_written_from_the_specification_alone() {
    let scene = Scene::new();
    let (host, port) = scene.node.address.split_once(':').unwrap();
    let seed = "2a".repeat(32);
    let did = SigningKey::from_seed(&[42; 32]).unwrap().public().to_string();
    let token = scene.node.grant(&did, &["--scope", "0xS:**"]);
    let saved = scene.home.file("peer.cmtp");
    let saved = saved.to_str().unwrap();
    let call = |arguments: &[&str]| {
        let fixed = ["call", host, port, "--pin", &scene.node.did, "--seed", &seed];
        let script = root().join("tests/peer/client.py");
        python().arg(script).args(fixed).args(arguments).output().unwrap()
    };
    let output = call(&["--token", &token, "0xS:echo", "--data", "ahoy", "--save", saved]);
    assert_exit(&output, 0);
    assert_eq!(out(&output).trim_end(), "ahoy");
    assert!(err(&output).contains("authentic"), "{}", err(&output));
    // What it saved is what our own tools verify.
    assert_exit(&scene.home.cmtp(["verify", saved, "--pin", &scene.node.did]), 0);
    // [QUI-10] A second request on the same connection names the token by its digest.
    assert_exit(&call(&["--token", &token, "0xS:time", "--twice"]), 0);
    let large = "x".repeat(100_000);
    assert_exit(&call(&["--token", &token, "0xS:echo", "--data", &large]), 0);
    assert_exit(&call(&["0xS:echo"]), 1);
}
