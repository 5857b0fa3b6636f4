//! Sessions, as a person and a program have them: from an identity to an answer, and to the end.

use std::fs;
use std::process::Output;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use cmtp_client::session::{Login, Sessions};
use cmtp_client::{Client, ClientConfig, Connection, Identity, Request, Trust, outside_nonce};
use cmtp_codec::{Fqmn, PublicKey, SigningKey};
use cmtp_spec::Status;
use cmtp_tests::load::entries;
use cmtp_tests::wire::now;
use cmtp_tests::{Home, Node};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs `cmtp`, and gives its exit code with what it said.
fn run(home: &Home, arguments: &[&str]) -> (i32, String) {
    let output = home.cmtp(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), out(&output) + &said)
}

fn good(home: &Home, arguments: &[&str]) -> String {
    let (code, said) = run(home, arguments);
    assert_eq!(code, 0, "{arguments:?}: {said}");
    said
}

async fn connect(node: &Node, config: ClientConfig) -> (Client, Connection) {
    let client = Client::new(config).unwrap();
    let trust = Trust::Pinned(node.did.parse().unwrap());
    let connection = client.connect(node.address.parse().unwrap(), "localhost", trust).await;
    (client, connection.unwrap())
}

fn persona(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed(&[seed; 32]).unwrap())
}

fn call(target: &str) -> Request {
    Request::new(Fqmn::parse(target).unwrap()).body("hi")
}

#[test]
fn from_nothing_to_an_answer_it_is_three_commands() {
    // [SES-5] [SES-15] [SES-19]
    let (node, home) = (Node::start(""), Home::empty());
    let (url, echo) = (format!("cmtp://{}", node.address), node.url("0xS:echo"));
    good(&home, &["id", "new", "--no-passphrase"]);
    // Nobody is there to agree.
    let (code, said) = run(&home, &["login", &url]);
    assert!(code == 2 && said.contains("--yes"), "{said}");
    assert_eq!(run(&home, &["call", &echo]).0, 1);
    let said = good(&home, &["login", &url, "--yes"]);
    assert!(said.contains(&format!("a session at {}", node.did)), "{said}");
    assert_eq!(out(&home.cmtp(["call", &echo, "--data", "hi"])), "hi");
    // What nobody permits is denied, though the scope covers it.
    let (code, said) = run(&home, &["call", &node.url("0xSW:a:b"), "--data", "x"]);
    assert!(code == 1 && said.contains("403 forbidden: no policy of this node permits"), "{said}");

    // Another session takes the place of the one before, and leaves none behind.
    good(&home, &["login", &url, "--yes"]);
    let there = good(&home, &["sessions", &url, "--json"]);
    assert_eq!(there.lines().count(), 1, "{there}");

    let here = good(&home, &["sessions", "--json"]);
    let here: Value = serde_json::from_str(&here).unwrap();
    let there = good(&home, &["sessions", &url, "--json"]);
    let there: Value = serde_json::from_str(&there).unwrap();
    assert_eq!((&here["grant"], &here["ends"]), (&there["grant"], &there["ends"]));
    let token = fs::read_dir(home.file("sessions")).unwrap().next().unwrap().unwrap().path();
    let token: Value = serde_json::from_str(&fs::read_to_string(token).unwrap()).unwrap();
    let token = token["token"].as_str().unwrap();
    good(&home, &["call", &echo, "--token", token]);
    good(&home, &["logout", &url]);
    let (code, said) = run(&home, &["call", &echo, "--token", token]);
    assert!(code == 1 && said.contains("401 token-invalid"), "{said}");
    assert_eq!(good(&home, &["sessions"]), "");
    // By itself only where that was said.
    assert_eq!(run(&home, &["call", &echo]).0, 1);
    assert_eq!(out(&home.cmtp(["call", &echo, "--data", "again", "--login"])), "again");
}

#[test]
fn a_session_that_is_opened_again_is_no_wider_and_not_opened_to_end_one() {
    // [SES-19] [SES-8] [SES-18]
    let node = Node::start("[session]\nrequire-recovery = true\n");
    let home = Home::empty();
    let (url, echo) = (format!("cmtp://{}", node.address), node.url("0xS:echo"));
    good(&home, &["id", "new", "--no-passphrase"]);
    let did = good(&home, &["id", "show"]);
    good(&home, &["login", &url, "--yes", "--always", "--read", "0xS:echo"]);
    assert!(node.cmtpd(&["hangup", &did]).status.success());
    // With its recovery key, which this node insists on.
    good(&home, &["call", &echo]);
    let listed: Value = serde_json::from_str(&good(&home, &["sessions", &url, "--json"])).unwrap();
    assert_eq!(listed["scope"], json!({ "read": ["0xS:echo"], "write": [] }));
    assert!(node.cmtpd(&["hangup", &did]).status.success());
    let grants = || entries(&node).iter().filter(|entry| entry["opcode"] == "0xIW").count();
    let before = grants();
    assert!(before >= 3, "the node's own, and two of the persona's");
    assert_eq!(run(&home, &["logout", &url]).0, 1);
    assert_eq!(grants(), before, "no consent was given for a logout");
    assert_eq!(good(&home, &["sessions"]), "");
}

#[test]
fn the_operator_and_the_recovery_key_end_sessions() {
    // [SES-16] [SES-18]
    let (node, home) = (Node::start(""), Home::empty());
    let (url, echo) = (format!("cmtp://{}", node.address), node.url("0xS:echo"));
    good(&home, &["id", "new", "--no-passphrase"]);
    let did = good(&home, &["id", "show"]);
    good(&home, &["login", &url, "--yes", "--always"]);
    let hung_up = node.cmtpd(&["hangup", &did]);
    assert!(hung_up.status.success(), "{hung_up:?}");
    // Another one is opened, as the person said.
    good(&home, &["call", &echo]);
    let grant: Value = serde_json::from_str(&good(&home, &["sessions", "--json"])).unwrap();
    let hung_up = node.cmtpd(&["hangup", grant["grant"].as_str().unwrap()]);
    assert!(hung_up.status.success(), "{hung_up:?}");
    good(&home, &["call", &echo]);
    let unknown = node.cmtpd(&["hangup", "not a name"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");

    let file = home.file("main.revocation");
    let file = file.to_str().unwrap();
    good(&home, &["id", "revoke", "main", "--file", file, "--at", &url]);
    let (code, said) = run(&home, &["call", &echo]);
    assert!(code == 1 && said.contains("401"), "{said}");
    let (code, said) = run(&home, &["login", &url, "--yes"]);
    assert!(code == 1 && said.contains("401"), "{said}");
    // Said again it changes nothing; of somebody who committed to no such key it is not taken.
    good(&home, &["id", "revoke", "main", "--at", &url]);
    good(&home, &["id", "persona", "add", "other"]);
    assert_eq!(run(&home, &["id", "revoke", "other", "--at", &url]).0, 1);
    let mut node = node;
    node.kill();
    node.restart();
    assert_eq!(run(&home, &["login", &url, "--yes"]).0, 1);
    good(&home, &["login", &url, "--yes", "--as", "other"]);
    let revoked = entries(&node).iter().filter(|entry| entry["type"] == "revoked").count();
    assert_eq!(revoked, 3, "two hangups, one statement");
}

#[tokio::test]
async fn a_program_gets_its_session_where_it_is_allowed_to() {
    // [SES-19] [SES-12]
    let node = Node::start("[session]\ntoken-seconds = 2\n");
    let (_client, connection) = connect(&node, ClientConfig::new(persona(1))).await;
    let refused = connection.call(call("0xS:echo")).await.unwrap();
    assert_eq!(refused.status(), Status::IDENTITY_REQUIRED);

    let (sessions, login) = (Arc::new(Sessions::default()), Some(Login::default()));
    let config =
        ClientConfig { sessions: Arc::clone(&sessions), login, ..ClientConfig::new(persona(1)) };
    let (client, connection) = connect(&node, config).await;
    // Sixteen at once share one session.
    let calls = (0..16).map(|_| connection.call(call("0xS:echo")));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.unwrap().status(), Status::OK);
    }
    let did: PublicKey = node.did.parse().unwrap();
    let first = sessions.find(&did).unwrap().unwrap();
    let listed = connection.sessions().await.unwrap();
    let listed: Value = serde_json::from_slice(&listed.body().unwrap()).unwrap();
    assert_eq!(listed["grants"].as_array().unwrap().len(), 1);
    // A stream, too, begins where nothing was shown yet.
    drop((client, connection));
    let config = ClientConfig { login: Some(Login::default()), ..ClientConfig::new(persona(2)) };
    let (_client, connection) = connect(&node, config).await;
    let request = Request::new(Fqmn::parse("0xS:time:ticks:[1]").unwrap());
    let streaming = connection.open(request).await.unwrap();
    assert_eq!(streaming.finish().await.unwrap().status(), Status::OK);

    // Half of the token's time is a second: calls go on, under another token of the same grant.
    let config = ClientConfig { sessions: Arc::clone(&sessions), ..ClientConfig::new(persona(1)) };
    let (_client, connection) = connect(&node, config).await;
    let renewed = loop {
        let answer = connection.call(call("0xS:echo")).await.unwrap();
        assert_eq!(answer.status(), Status::OK);
        let session = sessions.find(&did).unwrap().unwrap();
        if session.token != first.token {
            break session;
        }
    };
    assert_eq!(renewed.grant, first.grant);
}

#[tokio::test]
async fn an_outside_token_puts_a_persona_into_groups_that_policies_know() {
    // [SES-13] [ISS-1] [POL-13]
    let folder = tempfile::tempdir().unwrap();
    let key = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let x = BASE64URL_NOPAD.encode(key.public_key().as_ref());
    let keys = json!({ "keys": [{ "kid": "k", "kty": "OKP", "crv": "Ed25519", "x": x }] });
    let jwks = folder.path().join("jwks.json");
    fs::write(&jwks, keys.to_string()).unwrap();
    let policies = folder.path().join("policies");
    fs::create_dir(&policies).unwrap();
    let rule = "@id(\"editors\") permit (principal in Group::\"corp/editors\", action, resource in Fqmn::\"0xS:0x001\");";
    fs::write(policies.join("editors.cedar"), rule).unwrap();
    let config = format!(
        "[policy]\nfolder = {policies:?}\n[[issuer]]\nname = \"corp\"\niss = \"https://login.example\"\naudience = \"node\"\n\
         algorithms = [\"EdDSA\"]\njwks = {jwks:?}\ngroups = \"roles\"\n"
    );
    let node = Node::start(&config);
    let token = |persona: &PublicKey| {
        let now = now() / 1_000_000;
        let claims = json!({
            "iss": "https://login.example", "aud": "node", "iat": now, "exp": now + 300,
            "nonce": outside_nonce(persona), "roles": ["editors"],
        });
        let part = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let signed = format!("{}.{}", part(&json!({ "alg": "EdDSA", "kid": "k" })), part(&claims));
        let signature = BASE64URL_NOPAD.encode(key.sign(signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    };
    let write = || call("0xSW:0x001:color");
    // Who shows nothing is in no group, and another's token is not one's own.
    let (_client, connection) = connect(&node, ClientConfig::new(persona(1))).await;
    let offered = connection.begin_login(&Login::default()).await.unwrap();
    assert!(offered.offer().asked.contains(&("issuer:corp".to_owned(), false)));
    assert!(offered.offer().groups.is_empty());
    connection.show(&offered.consent().await.unwrap().token);
    let denied = connection.call(write()).await.unwrap();
    assert_eq!(denied.status(), Status::FORBIDDEN);
    let stolen = token(&SigningKey::from_seed(&[9; 32]).unwrap().public());
    let login = Login { outside: vec![stolen], ..Login::default() };
    assert!(connection.begin_login(&login).await.is_err());
    let login = Login { outside: vec![token(&persona(1).did())], ..Login::default() };
    let offered = connection.begin_login(&login).await.unwrap();
    assert_eq!(offered.offer().groups, ["corp/editors"]);
    let session = offered.consent().await.unwrap();
    connection.show(&session.token);
    assert_eq!(connection.call(write()).await.unwrap().status(), Status::CREATED);
    // The group is of the grant: a renewed token has it, and so it is after a restart.
    let renewed = connection.renew(&session).await.unwrap();
    let mut node = node;
    node.kill();
    node.restart();
    let (_client, connection) = connect(&node, ClientConfig::new(persona(1))).await;
    connection.show(&renewed.token);
    assert_eq!(connection.call(write()).await.unwrap().status(), Status::OK);

    node.kill();
    let verified = Home::empty().cmtp([
        "audit",
        "verify",
        node.data().to_str().unwrap(),
        "--pin",
        &node.did,
        "--policies",
        "journal",
        "--json",
    ]);
    let view: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(view["verdict"], "sound", "{view:#}");
    assert!(view["counts"]["decisions"].as_u64() >= Some(3), "{view:#}");
}
