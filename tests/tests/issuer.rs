//! Outside issuers, as who runs a node meets them: the command that looks into one, and a reload.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;

use ::aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use cmtp_client::outside_nonce;
use cmtp_codec::PublicKey;
use cmtp_tests::wire::now;
use cmtp_tests::{Node, binary};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

const PERSONA: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap()
}

fn keys() -> String {
    let x = BASE64URL_NOPAD.encode(key().public_key().as_ref());
    let good = json!({ "kid": "k1", "kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig" });
    json!({ "keys": [good, { "kid": "k2", "kty": "oct", "k": "c2VjcmV0" }] }).to_string()
}

fn token(claim: &str, value: Value) -> String {
    let now = now() / 1_000_000;
    let persona: PublicKey = PERSONA.parse().unwrap();
    let mut claims = json!({
        "iss": "https://login.example", "aud": ["cmtp-node-1"], "iat": now, "exp": now + 300,
        "nonce": outside_nonce(&persona), "realm_access": { "roles": ["admins"] }, "dept": "R&D",
    });
    claims[claim] = value;
    let part = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
    let signed = format!("{}.{}", part(&json!({ "alg": "EdDSA", "kid": "k1" })), part(&claims));
    let signature = key().sign(signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
}

fn issuer(jwks: &str) -> String {
    format!(
        "[[issuer]]\nname = \"corp\"\niss = \"https://login.example\"\naudience = \"cmtp-node-1\"\nalgorithms = [\"EdDSA\"]\n\
         jwks = {jwks:?}\ngroups = \"realm_access.roles\"\nattributes = {{ department = \"dept\" }}\n"
    )
}

/// An HTTPS server for `localhost` that gives the keys to whoever trusts it; and its certificate, as PEM.
fn secure_server() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let (listener, config) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(config));
    let url = format!("https://localhost:{}/jwks", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(session, stream.unwrap()));
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                // One that does not trust the certificate goes.
                match stream.read_line(&mut head) {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            let (keys, stream) = (keys(), stream.get_mut());
            let length = keys.len();
            let _gone = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{keys}");
            let _gone = stream.flush();
        }
    });
    let body = BASE64.encode(made.cert.der());
    (url, format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"))
}

#[test]
fn keys_come_over_tls_from_a_server_whose_certificate_holds() {
    // [ISS-9]
    let folder = tempfile::tempdir().unwrap();
    let (url, certificate) = secure_server();
    let (authority, config) = (folder.path().join("ca.pem"), folder.path().join("cmtpd.toml"));
    fs::write(&authority, certificate).unwrap();
    let run = |url: &str, authority: Option<&Path>| {
        fs::write(&config, issuer(url)).unwrap();
        let mut command = Command::new(binary("cmtpd"));
        command.args(["issuer", "check", "corp", "--config"]).arg(&config);
        if let Some(authority) = authority {
            command.env("SSL_CERT_FILE", authority);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), said)
    };
    let (code, said) = run(&url, Some(&authority));
    assert!(code == Some(0) && said.contains("2 keys from https://localhost"), "{said}");
    let (code, said) = run(&url, None);
    assert!(code == Some(1) && said.contains("UnknownIssuer"), "{said}");
    // A certificate for another name.
    let (code, said) = run(&url.replace("localhost", "127.0.0.1"), Some(&authority));
    assert!(code == Some(1) && said.contains("certificate"), "{said}");
}

/// Runs `cmtpd issuer check corp`, with a token on standard input.
fn check(folder: &Path, token: &str, arguments: &[&str]) -> Output {
    let mut child = Command::new(binary("cmtpd"))
        .args(["issuer", "check", "corp", "--config"])
        .arg(folder.join("cmtpd.toml"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that does not read it is gone already.
    let _unread = child.stdin.take().unwrap().write_all(token.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn an_operator_sees_keys_and_what_becomes_of_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let jwks = folder.path().join("jwks.json");
    fs::write(&jwks, keys()).unwrap();
    let config = issuer(jwks.to_str().unwrap());
    fs::write(folder.path().join("cmtpd.toml"), config).unwrap();
    let text = |token: &str, arguments: &[&str], code| {
        let output = check(folder.path(), token, arguments);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    };
    let good = token("x", json!(1));
    let said = text("", &["--persona", PERSONA], 0);
    for part in
        ["2 keys", "key \"k1\" OKP Ed25519", "\"k2\" oct is passed over: it holds its secret"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        said.contains(&format!("nonce to ask for: {}", outside_nonce(&PERSONA.parse().unwrap())))
    );
    let said = text(&format!("\n{good}\n"), &["--token", "-"], 0);
    for part in [
        "the token is good",
        "nonce was not looked at",
        "group corp/admins",
        "department = \"R&D\"",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = text(&good, &["--token", "-", "--persona", PERSONA], 0);
    assert!(!said.contains("not looked at"), "{said}");
    for (token, says) in [
        (
            token("aud", json!("other")),
            "made for another audience: aud is \"other\", not \"cmtp-node-1\"",
        ),
        (token("exp", json!(5)), "expired: "),
        (token("nonce", json!("x")), "its nonce is not that of the persona: \"x\""),
        (format!("{good}="), "not three parts of canonical base64url"),
        ("x".repeat(100_000), "too long: 32768 bytes, 16384 at most"),
    ] {
        let said = text(&token, &["--token", "-", "--persona", PERSONA], 1);
        assert!(said.contains("the token is refused") && said.contains(says), "{says}: {said}");
    }

    let json = |token: &str| -> Value {
        let output = check(folder.path(), token, &["--token", "-", "--persona", PERSONA, "--json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let found = json(&good);
    assert_eq!(found["good"], true);
    assert_eq!(
        found["subject"],
        json!({ "groups": ["corp/admins"], "attributes": { "department": "R&D" } })
    );
    assert_eq!(
        (&found["keys"][0]["trouble"], &found["keys"][1]["kid"]),
        (&Value::Null, &json!("k2"))
    );
    let refused = json(&token("aud", json!(1)));
    assert_eq!(
        (&refused["good"], &refused["refusal"]["word"]),
        (&json!(false), &json!("outside-audience"))
    );
    assert_eq!(refused["refusal"]["detail"], "aud is 1, not \"cmtp-node-1\"");

    // What would be in force has the issuer.
    let output = Command::new(binary("cmtpd"))
        .arg("check-config")
        .arg(folder.path().join("cmtpd.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("[[issuer]]") && said.contains("max-age = 3600"), "{said}");
}

#[test]
fn a_reload_takes_an_issuer_over_and_its_keys_are_got_in_the_background() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let mut node = Node::start_logging("");
    let file = node.data().join("cmtpd.toml");
    fs::write(&file, issuer("/nonexistent")).unwrap();
    node.signal("HUP");
    fs::write(&file, issuer(&url)).unwrap();
    node.signal("HUP");
    let (mut stream, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "GET /jwks HTTP/1.1");
    lines.find(|line| line.as_ref().unwrap().is_empty());
    let keys = keys();
    let length = keys.len();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{keys}").unwrap();
    // The connection is given back when its answer was read; what comes on it next is its end.
    drop(listener);
    let stderr = node.data().join("stderr");
    while !fs::read_to_string(&stderr).unwrap().contains("the keys of an issuer were got") {}
    node.signal("TERM");
    assert_eq!(node.wait().code(), Some(0));
}
