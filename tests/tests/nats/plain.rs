//! Plain services, as people call them.

use std::process::Output;

use async_nats::{Client, HeaderMap, Message};
use cmtp_tests::{Home, NatsServer, Node};
use futures::StreamExt;

const CONFIG: &str = r#"
    [[route]]
    target = "0xS:0x001:*"
    to = "nats"
    headers = ["content-type", "x-trace"]
    [[route]]
    target = "0xS:slow"
    to = "nats:slow"
    timeout-ms = 200
    [[route]]
    target = "0xS:absent"
    to = "nats:absent"
"#;

struct Scene {
    server: NatsServer,
    node: Node,
    home: Home,
    token: String,
}

impl Scene {
    fn new() -> Self {
        let server = NatsServer::start();
        let node = Node::start(&format!("bus = \"nats={}\"\n{CONFIG}", server.url));
        let home = Home::new();
        let token = node.grant(&home.did, &["--scope", "0xS:**"]);
        Self { server, node, home, token }
    }

    async fn client(&self) -> Client {
        async_nats::connect(&self.server.url).await.unwrap()
    }

    /// Runs the command line beside the services of this test.
    async fn call(&self, target: &str, arguments: &[&str]) -> Output {
        let url = self.node.url(target);
        let mut all = vec!["call", &url, "--token", &self.token];
        all.extend(arguments);
        tokio::task::block_in_place(|| self.home.cmtp(all))
    }
}

/// Answers what comes on `subject` as `answer` says; other headers come back as they are.
async fn serve(
    client: &Client,
    subject: &'static str,
    answer: impl Fn(&Message) -> (HeaderMap, Vec<u8>) + Send + 'static,
) {
    let mut requests = client.subscribe(subject).await.unwrap();
    client.flush().await.unwrap();
    let client = client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let (headers, payload) = answer(&request);
            let Some(inbox) = request.reply else { continue };
            client.publish_with_headers(inbox, headers, payload.into()).await.unwrap();
        }
    });
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_service_answers() {
    let scene = Scene::new();
    let client = scene.client().await;
    // [NAT-1] The subject is the one that the target maps to; [NAT-3] listed headers pass, others don't.
    serve(&client, "cmtp.s.0x001.upper", |request| {
        let mut headers = HeaderMap::new();
        let passed = request.headers.clone().unwrap_or_default();
        let count = passed.iter().count();
        headers.insert("X-Trace", format!("{count} header"));
        headers.insert("X-Secret", "stays on the bus");
        headers.insert("Cmtp-Status", "999");
        (headers, text(&request.payload).to_uppercase().into_bytes())
    })
    .await;
    let fields = ["-H", "content-type: text/plain", "-H", "x-other: 1"];
    let mut arguments = vec!["--data", "hello", "--json"];
    arguments.extend(fields);
    let output = scene.call("0xS:0x001:upper", &arguments).await;
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["body"], "HELLO");
    assert_eq!(json["headers"]["response"]["x-trace"], "1 header");
    let all = text(&output.stdout);
    assert!(!all.contains("stays on the bus") && !all.contains("cmtp-status"), "{all}");
    // The tree names the bus.
    let output = scene.call("0xS:0x001:upper", &["-v", "--data", "x"]).await;
    for shown in ["dispatch", "cmtp.s.0x001.upper", "plain", "deadline"] {
        assert!(text(&output.stderr).contains(shown), "{shown}: {}", text(&output.stderr));
    }
    // Arguments are the payload where there is no body; [FQN-8] they stand in no subject.
    let output = scene.call("0xS:0x001:upper", &["a", "b"]).await;
    assert_eq!(text(&output.stdout), r#"["A","B"]"#);
    let output = scene.call("0xS:0x001:upper", &["a", "--data", "b"]).await;
    assert!(text(&output.stderr).contains("bad-request"), "{}", text(&output.stderr));
    // [NAT-3] Nor a value with CR, LF or NUL.
    let output = scene.call("0xS:0x001:upper", &["--data", "b", "-H", "x-trace: a\nb"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("bad-request"), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_service_is_named() {
    let scene = Scene::new();
    let client = scene.client().await;
    // [NAT-5] [NAT-6]
    let output = scene.call("0xS:absent", &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("unavailable"), "{}", text(&output.stderr));
    let mut silent = client.subscribe("slow").await.unwrap();
    client.flush().await.unwrap();
    let output = scene.call("0xS:slow", &[]).await;
    assert!(text(&output.stderr).contains("deadline-exceeded"), "{}", text(&output.stderr));
    assert!(silent.next().await.is_some(), "the service was asked");
    // [NAT-4]
    for (code, status) in [("418", "418"), ("404", "not-found"), ("200", "bad-service-answer")] {
        let subject: &'static str = format!("cmtp.s.0x001.fails{code}").leak();
        serve(&client, subject, move |_| {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Service-Error-Code", code);
            headers.insert("Nats-Service-Error", "out of tea");
            (headers, Vec::new())
        })
        .await;
        let output = scene.call(&format!("0xS:0x001:fails{code}"), &[]).await;
        let said = text(&output.stderr);
        assert!(said.contains(status) && said.contains("out of tea"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_runs_over_nats() {
    let server = NatsServer::start();
    let demo = |arguments: &[&str]| {
        let command = cmtp_tests::binary("cmtpd");
        std::process::Command::new(command).arg("demo").args(arguments).output().unwrap()
    };
    for arguments in [&[][..], &["--nats", &server.url]] {
        let output = demo(arguments);
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        assert!(text(&output.stdout).contains("Hello, Dexter!"));
    }
}
