//! Every example of the crates runs, and does what it says.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use cmtp_tests::{Home, NatsServer, Node, binary};

fn example(name: &str) -> Command {
    Command::new(binary(&format!("examples/{name}")))
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// Standard output of what succeeded.
fn out(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn there_is_a_test_for_each_example() {
    let tests = fs::read_to_string(cmtp_tests::root().join("tests/tests/examples.rs")).unwrap();
    let mut count = 0;
    for member in ["cmtp-codec", "cmtp-client", "cmtp-server"] {
        for entry in fs::read_dir(cmtp_tests::root().join(member).join("examples")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(tests.contains(&format!("example(\"{name}\")")), "{name} is run by no test");
            count += 1;
        }
    }
    assert!(count >= 7, "only {count} examples were found");
}

#[test]
fn a_message_made_by_hand_is_verified_by_the_codec_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made.cmtp");
    let said = out(&run(example("make").arg(&file)));
    let (_, node) = said.trim().rsplit_once(' ').unwrap();
    let said = out(&run(example("verify").arg(&file).arg(node)));
    assert!(said.ends_with("authentic\n") && said.contains("signed by caller"), "{said}");
    // Our own tool, with the client library in it, agrees.
    let home = Home::empty();
    assert!(home.cmtp(["verify", file.to_str().unwrap(), "--pin", node]).status.success());
    // Another node did not make it, and a changed byte does not pass.
    let stranger = Home::new().did;
    let output = run(example("verify").arg(&file).arg(&stranger));
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let mut bytes = fs::read(&file).unwrap();
    let place = bytes.windows(5).rposition(|window| window == b"hello").unwrap();
    bytes[place] ^= 1;
    fs::write(&file, bytes).unwrap();
    let output = run(example("verify").arg(&file).arg(node));
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("layer 2"), "{}", err(&output));
}

#[test]
fn the_clients_examples_run() {
    let node = Node::start("");
    let home = Home::new();
    let scope = ["--scope", "0xS:**", "--write", "0xS:**"];
    let token = node.grant(&home.did, &scope);
    let at = |command: &mut Command| {
        run(command.env("CMTP_HOME", home.file("")).env("CMTP_TOKEN", &token))
    };
    let file = home.file("answer.cmtp");
    let said = out(&at(example("call").arg(node.url("0xS:echo")).arg("hello").arg(&file)));
    assert!(said.starts_with("200 ok"), "{said}");
    let said = out(&at(example("verify_file").arg(&file).arg(&node.did)));
    assert!(said.contains("verdict  authentic"), "{said}");
    let output = at(example("verify_file").arg(&file).arg(&home.did));
    assert!(!output.status.success());

    let url = node.url("0xSW:0x001:order");
    let pending = home.file("order.pending");
    let said = out(&at(example("safe_retry").arg(&url).arg("one pizza").arg(&pending)));
    assert!(said.starts_with("201 created") && !pending.exists(), "{said}");

    let output = at(example("subscribe").arg(node.url("0xS:time:ticks:[2,10]")));
    assert_eq!(out(&output).lines().count(), 2, "{output:?}");
    assert!(err(&output).contains("200 ok"), "{}", err(&output));
}

/// Ends with what it stands for.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Starts a service, and waits for the line that says that it is there.
fn serve(command: &mut Command) -> Running {
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let ready = lines.map(Result::unwrap).find(|line| line.ends_with("is ready"));
    assert!(ready.is_some(), "the service ended before it was ready");
    running
}

#[test]
fn services_on_nats_answer_through_a_node() {
    let (server, home, service) = (NatsServer::start(), Home::new(), Home::new());
    let node = Node::start(&format!(
        r#"
        bus = "nats={}"
        [[route]]
        target = "0xS:layered"
        to = "nats:demo.hello"
        actors = ["{}"]
        [[route]]
        target = "0xS:plain"
        to = "nats:demo.hello"
        "#,
        server.url, service.did
    ));
    let token = node.grant(&home.did, &["--scope", "0xS:**"]);
    let mut layered = example("layered_service");
    layered.args([&node.did, &server.url]).env("CMTP_HOME", service.file(""));
    let mut layered = serve(&mut layered);
    let call = |target| home.cmtp(["call", &node.url(target), "Dexter", "--token", &token]);
    let said = out(&call("0xS:layered"));
    assert_eq!(said, format!("Hello, Dexter! You are {}.", home.did));
    // Ctrl-C drains it.
    let id = layered.0.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &id]).status().unwrap().success());
    assert!(layered.0.wait().unwrap().success());
    assert!(err(&call("0xS:layered")).contains("503 unavailable"));
    let _plain = serve(example("plain_service").arg(&server.url));
    assert_eq!(out(&call("0xS:plain")), "Hello, Dexter!");
    // It is no answer where the route pins who may give one.
    assert!(err(&call("0xS:layered")).contains("502 bad-service-answer"));
}

#[test]
fn a_node_in_a_program_serves_that_programs_service() {
    let (home, data) = (Home::new(), tempfile::tempdir().unwrap());
    let child =
        example("embedded").arg(data.path()).arg(&home.did).stdout(Stdio::piped()).spawn().unwrap();
    let mut running = Running(child);
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let (place, token) = (lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap());
    let (address, did) = place.split_once(" as ").unwrap();
    let url = format!("cmtp://{did}@{address}/0xS:words");
    let said = out(&home.cmtp(["call", &url, "--token", &token, "--data", "how many words"]));
    assert_eq!(said, format!("3 words from {}", home.did));
    let output = home.cmtp(["call", &url, "--token", &token]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("send the text as the body"), "{}", err(&output));
    // Ctrl-C ends it in order.
    let id = running.0.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &id]).status().unwrap().success());
    assert!(running.0.wait().unwrap().success());
}
