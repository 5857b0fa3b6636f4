//! Key sets by URL: rotation, failure, and servers that mean harm.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::forge::{Forge, Secret, jwk_of};
use super::verify;
use crate::config::{Config, KeySource};
use crate::issuers::source::{Known, Pace, Source, look};
use crate::issuers::{Issuer, IssuerError, Issuers, KeySetError};

/// What a server answers.
#[derive(Clone)]
enum Answer {
    /// 200 with this body.
    Keys(String),
    Status(u16, &'static str),
    /// A body that never ends.
    Endless,
    /// A byte now and then.
    Drip,
    /// Nothing, and the connection closed.
    Nothing,
}

/// An HTTP server whose answer is changed while it runs.
struct Server {
    url: String,
    answer: Arc<Mutex<Answer>>,
    /// One for each request.
    asked: Receiver<String>,
}

impl Server {
    fn new(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (answer, (asks, asked)) = (Arc::new(Mutex::new(answer)), mpsc::channel());
        let answers = Arc::clone(&answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, answers, asks) =
                    (stream.unwrap(), Arc::clone(&answers), asks.clone());
                thread::spawn(move || {
                    while let Some(head) = read_head(&mut stream) {
                        let answer = answers.lock().unwrap().clone();
                        let _test_is_over = asks.send(head);
                        if give(&mut stream, answer).is_none() {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, answer, asked }
    }

    fn source(&self) -> KeySource {
        self.url.parse().unwrap()
    }

    /// Waits until it was asked: then what it answered before is taken.
    fn asked(&self) {
        self.asked.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nobody asks"));
    }

    /// Changes the answer, and waits until it was taken.
    fn change(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
        while self.asked.try_recv().is_ok() {}
        // One may be under way with the old answer; the next has the new one; the third begins when that was taken.
        (0..3).for_each(|_| self.asked());
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn give(stream: &mut TcpStream, answer: Answer) -> Option<()> {
    match answer {
        Answer::Keys(body) => {
            let length = body.len();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").ok()
        }
        Answer::Status(status, more) => {
            write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\n{more}\r\n").ok()
        }
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").ok()?;
            loop {
                stream.write_all(&[b' '; 65_536]).ok()?;
            }
        }
        Answer::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n").ok()?;
            loop {
                stream.write_all(b" ").ok()?;
                thread::sleep(Duration::from_millis(20));
            }
        }
        Answer::Nothing => None,
    }
}

fn set(seed: u8, kid: &str) -> Answer {
    Answer::Keys(json!({ "keys": [jwk_of(&Secret::ed25519(seed), kid)] }).to_string())
}

fn issuers(server: &Server, pace: Pace) -> Issuers {
    let text = format!(
        "[[issuer]]\nname = \"corp\"\niss = \"https://login.example\"\naudience = \"cmtp-node-1\"\nalgorithms = [\"EdDSA\"]\n\
         jwks = {:?}\n",
        server.url
    );
    let settings = Config::from_toml(&text).unwrap().issuers.remove(0);
    let source = Arc::new(Source::open("corp", &settings.jwks, pace).unwrap());
    Issuers(vec![Issuer { settings, source }])
}

fn check(issuers: &Issuers, seed: u8, kid: &str) -> Result<(), IssuerError> {
    let forge = Forge::new(Secret::ed25519(seed)).header("alg", "EdDSA").header("kid", kid);
    verify(issuers, &forge.token()).map(|_subject| ())
}

fn known(issuers: &Issuers) -> &Arc<Known> {
    let Source::Url { known, .. } = &*issuers.0[0].source else { panic!("a URL") };
    known
}

#[test]
fn keys_that_change_are_taken_and_kept_where_the_server_fails() {
    // [ISS-8] [ISS-9]
    let server = Server::new(Answer::Status(503, ""));
    let issuers = issuers(&server, QUICK);
    (0..2).for_each(|_| server.asked());
    assert_eq!(check(&issuers, 1, "a"), Err(IssuerError::NoKeys));
    server.change(set(1, "a"));
    assert_eq!(
        (check(&issuers, 1, "a"), check(&issuers, 2, "b")),
        (Ok(()), Err(IssuerError::UnknownKey))
    );
    server.change(set(2, "b"));
    assert_eq!(
        (check(&issuers, 1, "a"), check(&issuers, 2, "b")),
        (Err(IssuerError::UnknownKey), Ok(()))
    );
    let elsewhere = Server::new(set(1, "a"));
    let location: &'static str = format!("location: {}\r\n", elsewhere.url).leak();
    let many = vec![jwk_of(&Secret::ed25519(1), "a"); 65];
    for (what, answer) in [
        ("an error", Answer::Status(500, "")),
        ("nothing there", Answer::Status(404, "")),
        ("elsewhere", Answer::Status(302, location)),
        ("for good elsewhere", Answer::Status(308, location)),
        ("nothing", Answer::Nothing),
        ("a page", Answer::Keys("<html>".to_owned())),
        ("too many", Answer::Keys(json!({ "keys": many }).to_string())),
        ("too long", Answer::Keys(" ".repeat(262_145))),
        ("endless", Answer::Endless),
        ("slow", Answer::Drip),
    ] {
        server.change(answer);
        assert_eq!(
            (check(&issuers, 1, "a"), check(&issuers, 2, "b")),
            (Err(IssuerError::UnknownKey), Ok(())),
            "{what}"
        );
    }
    assert!(elsewhere.asked.try_recv().is_err(), "redirects are not followed");
    server.change(set(1, "a"));
    assert_eq!(
        (check(&issuers, 1, "a"), check(&issuers, 2, "b")),
        (Ok(()), Err(IssuerError::UnknownKey))
    );
    // All keys withdrawn.
    server.change(Answer::Keys(r#"{"keys":[]}"#.to_owned()));
    assert_eq!(check(&issuers, 1, "a"), Err(IssuerError::UnknownKey));
}

#[test]
fn an_unknown_key_has_the_url_asked_and_no_flood_of_them() {
    let server = Server::new(set(1, "a"));
    let now_and_then = Pace { every: LONG, least: Duration::ZERO, timeout: PATIENCE };
    let woken = issuers(&server, now_and_then);
    server.asked();
    // The first answer is on its way: a key is unknown, or all of them are, until it came.
    while check(&woken, 1, "a").is_err() {
        thread::yield_now();
    }
    *server.answer.lock().unwrap() = set(2, "b");
    assert_eq!(check(&woken, 2, "b"), Err(IssuerError::UnknownKey));
    server.asked();
    while check(&woken, 2, "b").is_err() {
        thread::yield_now();
    }
    // Other refusals are no reason to ask: neither a bad signature nor another issuer.
    while server.asked.recv_timeout(A_WHILE).is_ok() {}
    assert_eq!(check(&woken, 1, "b"), Err(IssuerError::Signature));
    assert!(server.asked.recv_timeout(A_WHILE).is_err());

    let server = Server::new(set(1, "a"));
    let seldom = issuers(&server, Pace { every: LONG, least: LONG, timeout: PATIENCE });
    server.asked();
    while check(&seldom, 1, "a").is_err() {
        thread::yield_now();
    }
    for number in 0..100 {
        assert_eq!(check(&seldom, 2, &number.to_string()), Err(IssuerError::UnknownKey));
    }
    assert!(server.asked.recv_timeout(A_WHILE).is_err(), "asked before its time");
}

#[test]
fn a_thread_ends_with_its_issuers() {
    let server = Server::new(set(1, "a"));
    for least in [LONG, Duration::ZERO] {
        let issuers = issuers(&server, Pace { every: LONG, least, timeout: PATIENCE });
        server.asked();
        let known = Arc::downgrade(known(&issuers));
        let _woken = check(&issuers, 2, "b");
        drop(issuers);
        while known.upgrade().is_some() {
            thread::yield_now();
        }
    }
}

#[test]
fn one_look_says_what_is_wrong() {
    let says = |answer| look(&Server::new(answer).source()).unwrap_err().to_string();
    assert!(says(Answer::Status(404, "")).contains("openid-configuration"));
    assert!(says(Answer::Status(301, "")).contains("redirects are not followed"));
    assert!(says(Answer::Endless).contains("longer than 262144 bytes"));
    assert!(says(Answer::Keys("[]".to_owned())).contains("expected a JWK Set"));
    let gone = look(&"http://127.0.0.1:1/".parse().unwrap()).unwrap_err();
    assert!(matches!(gone, KeySetError::Http(_)), "{gone}");
    let plain = Server::new(set(1, "a"));
    assert_eq!(look(&plain.source()).unwrap().len(), 1);
}

/// A look follows the other.
const QUICK: Pace = Pace {
    every: Duration::from_millis(5),
    least: Duration::from_millis(5),
    timeout: Duration::from_millis(300),
};
const LONG: Duration = Duration::from_secs(3600);
/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// In which what should not happen would have happened.
const A_WHILE: Duration = Duration::from_millis(100);
