//! A service that another NATS client serves, which knows nothing of CMTP: reached through a real node and a real nats-server.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use cmtp_tests::{Home, NatsServer, Node, python, root};

/// `tests/peer/plain_service.py`, which answers by the time this is made.
struct PlainService {
    child: Child,
    id: String,
}

impl PlainService {
    fn start(server: &NatsServer, name: &str) -> Self {
        let mut child = python()
            .arg(root().join("tests/peer/plain_service.py"))
            .args([&server.url, name])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        let id = line.split(' ').nth(1).unwrap().to_owned();
        Self { child, id }
    }

    /// Tells it to end, and waits until it did.
    fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for PlainService {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Name and id of all services, as `$SRV.PING` finds them.
fn ping(server: &NatsServer) -> BTreeSet<(String, String)> {
    let script = root().join("tests/peer/ping.py");
    let output = python().arg(script).arg(&server.url).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    let pairs = out(&output);
    let pairs = pairs.lines().map(|line| line.split_once(' ').unwrap());
    pairs.map(|(name, id)| (name.to_owned(), id.to_owned())).collect()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_service_of_another_nats_client_is_reached() {
    let server = NatsServer::start();
    let service = PlainService::start(&server, "greeter");
    let config = format!(
        r#"
        bus = "nats={}"
        [names]
        "greeter.mcom" = "0xS:0x001:greet"
        [[route]]
        target = "0xS:0x001:greet"
        to = "nats:greeter.hello"
        headers = ["content-type", "x-trace"]
        [[route]]
        target = "0xS:0x001:nobody"
        to = "nats:nobody.here"
        "#,
        server.url
    );
    let (node, home) = (Node::start(&config), Home::new());
    let token = node.grant(&home.did, &["--scope", "0xS:**", "--scope", "0xR:**"]);
    let call = |target: &str, more: &[&str]| {
        let url = node.url(target);
        home.cmtp([&["call", &url, "--token", &token], more].concat())
    };
    // By its name and by its target.
    for target in ["greeter.mcom", "0xS:0x001:greet"] {
        let output = call(target, &["Dexter", "Ada"]);
        assert_eq!(out(&output), "Hello, Dexter, Ada!", "{}", err(&output));
    }
    // [NAT-3] A header that the route lists goes there and comes back; others stay where they are.
    let fields = ["-H", "x-trace: 17", "-H", "x-other: 18", "--json", "Ada"];
    let json = out(&call("0xS:0x001:greet", &fields));
    let answer: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(answer["body"], "Hello, Ada!");
    assert_eq!(answer["headers"]["response"]["x-trace"], "seen 17");
    assert_eq!(answer["headers"]["response"]["content-type"], "text/plain");
    assert!(!json.contains("stays on the bus"), "{json}");
    // It is graded as what it is: bus credentials are all that stands behind it.
    let file = home.file("greeting.cmtp");
    let file = file.to_str().unwrap();
    let tree = err(&call("0xS:0x001:greet", &["Ada", "-v", "--save", file]));
    assert!(tree.contains("plain") && tree.contains("greeter.hello"), "{tree}");
    assert!(!tree.contains("signed by service"), "{tree}");
    assert!(home.cmtp(["verify", file, "--pin", &node.did]).status.success());
    // [NAT-4] An error of the service's own becomes the status, with its words.
    let output = call("0xS:0x001:greet", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("400 bad-request: nobody to greet"), "{}", err(&output));
    let output = call("0xS:0x001:greet", &["--data", "no json"]);
    assert!(err(&output).contains("400 bad-request: expected a JSON array"), "{}", err(&output));
    // [NAT-5] Nobody there: 503 at once, and when to come again.
    let output = call("0xS:0x001:nobody", &["x"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("503 unavailable"), "{}", err(&output));
    assert!(err(&output).contains("try again after"), "{}", err(&output));
    service.stop();
    let output = call("0xS:0x001:greet", &["Ada"]);
    assert!(err(&output).contains("503 unavailable"), "{}", err(&output));
}

#[test]
fn nats_discovery_finds_what_is_there() {
    let server = NatsServer::start();
    assert!(ping(&server).is_empty());
    let services = ["greeter", "greeter", "other"].map(|name| PlainService::start(&server, name));
    let names = ["greeter", "greeter", "other"].into_iter().zip(&services);
    let expected: BTreeSet<_> =
        names.map(|(name, service)| (name.to_owned(), service.id.clone())).collect();
    assert_eq!(ping(&server), expected);
    let [first, _, _] = services;
    let gone = ("greeter".to_owned(), first.id.clone());
    first.stop();
    assert_eq!(ping(&server), expected.into_iter().filter(|found| *found != gone).collect());
}

#[test]
fn cmtp_services_lists_what_nats_discovery_finds() {
    let server = NatsServer::start();
    let _services = ["greeter", "greeter", "other"].map(|name| PlainService::start(&server, name));
    let bus = format!("nats={}", server.url);
    let output = Home::empty().cmtp(["services", "--bus", &bus, "--json"]);
    assert!(output.status.success(), "{}", err(&output));
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |service: &serde_json::Value, key: &str| service[key].as_str().unwrap().to_owned();
    let listed = listed.as_array().unwrap().iter();
    let listed: BTreeSet<_> =
        listed.map(|service| (text(service, "name"), text(service, "id"))).collect();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed, ping(&server));
}
