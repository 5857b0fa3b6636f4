//! What bad tokens cost a node, and who is with it meanwhile: `flood CMTPD CMTP`.
//!
//! The node has one core, everybody else the other: an attacker that shows a stolen token without its key as fast as it can,
//! and a caller with a session, in turns with a caller beside a busy loop. Not a test: nothing is asserted of a time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use cmtp_codec::{Auth, Digest, Frame, PublicKey, SigningKey};
use cmtp_spec::{binding, uses};
use cmtp_tests::wire::{self, client_config};
use quinn::{Endpoint, TransportConfig, VarInt};
use serde_json::Value;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["busy", seconds] => busy(seconds.parse().expect("seconds")),
        ["attack", address, node, token, most, seconds] => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(attack(
                address.parse().expect("an address"),
                node.parse().expect("a DID"),
                token,
                most.parse().expect("a number"),
                Duration::from_secs(seconds.parse().expect("seconds")),
            ));
        }
        [cmtpd, cmtp] => Scene::new(cmtpd, cmtp).run(),
        _ => panic!("flood CMTPD CMTP"),
    }
}

/// A node on its core, and a caller that has a session.
struct Scene {
    node: Child,
    address: String,
    did: String,
    cmtp: PathBuf,
    /// Of the caller, and of the one whose token is stolen.
    homes: [tempfile::TempDir; 2],
    stolen: String,
    _data: tempfile::TempDir,
}

impl Scene {
    fn new(cmtpd: &str, cmtp: &str) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut node = Command::new("taskset")
            .args(["-c", NODE_CORE, cmtpd, "serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.path())
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .expect("taskset and cmtpd start");
        let line = BufReader::new(node.stdout.take().expect("stdout is piped")).lines().next();
        let line = line.expect("cmtpd says that it listens").expect("its line is text");
        let mut words = line.split_whitespace().skip(3);
        let address = words.next().expect("an address").to_owned();
        let did = words.nth(1).expect("a DID").to_owned();
        let homes = [(); 2].map(|()| tempfile::tempdir().expect("a temporary directory"));
        let mut scene = Self {
            node,
            address,
            did,
            cmtp: cmtp.into(),
            homes,
            stolen: String::new(),
            _data: data,
        };
        for home in &scene.homes {
            scene.cmtp(home.path(), &["id", "new", "--no-passphrase"]);
            scene.cmtp(home.path(), &["login", &format!("cmtp://{}", scene.address), "--yes"]);
        }
        scene.stolen = session_token(scene.homes[1].path());
        scene
    }

    fn run(mut self) {
        println!("one core for the node, the other for its peers; {SECONDS} s a run");
        let before = cpu(self.node.id());
        let inside = self.attack(INSIDE, 5).wait_json();
        let tokens = count(&inside, "tokens");
        let each = (cpu(self.node.id()) - before) / tokens;
        println!(
            "inside the budget: {tokens:.0} bad tokens, {:.0} us of the node each",
            each / 1e3
        );
        // Uses up the rest.
        self.attack(u64::MAX, 2).wait_json();
        let before = cpu(self.node.id());
        let past = self.attack(u64::MAX, 5).wait_json();
        let (tokens, refused) = (count(&past, "tokens"), count(&past, "refused"));
        let each = (cpu(self.node.id()) - before) / (tokens + refused).max(1.0);
        println!(
            "past the budget: {:.0} attempts a second ({tokens:.0} tokens, {refused:.0} connections refused), {:.0} us of the node each",
            (tokens + refused) / 5.0,
            each / 1e3,
        );
        let mut rows = Vec::new();
        for round in 1..=ROUNDS {
            let caller = self.caller();
            let loops = self.beside(Command::new(own()).args(["busy", &SECONDS.to_string()]));
            let calm = caller.wait_json();
            drop(loops);
            let caller = self.caller();
            let attack = self.attack(u64::MAX, SECONDS);
            let flooded = caller.wait_json();
            let attack = attack.wait_json();
            let rate = |run: &Value| run["requests_per_second"].as_f64().unwrap_or_default();
            let p99 = |run: &Value| run["p99_us"].as_f64().unwrap_or_default();
            let attempts = (count(&attack, "tokens") + count(&attack, "refused")) / SECONDS as f64;
            println!(
                "round {round}: rate {:.0}/s beside a busy loop, {:.0}/s beside {attempts:.0} attempts/s: {:.2}; p99 {:.0} and {:.0} us: {:.2}",
                rate(&calm),
                rate(&flooded),
                rate(&flooded) / rate(&calm),
                p99(&calm),
                p99(&flooded),
                p99(&flooded) / p99(&calm),
            );
            rows.push((rate(&flooded) / rate(&calm), p99(&flooded) / p99(&calm)));
        }
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        println!(
            "medians: {:.2} of the rate, {:.2} of the p99",
            median(rows.iter().map(|row| row.0).collect()),
            median(rows.iter().map(|row| row.1).collect()),
        );
        let _ended = self.node.kill();
        let _ended = self.node.wait();
    }

    /// Begins to load the node with a session, and waits until it is connected.
    fn caller(&self) -> Running {
        let url = format!("cmtp://{}/0xS:echo", self.address);
        let seconds = SECONDS.to_string();
        let mut command = Command::new(&self.cmtp);
        command.args(["bench", &url, "--in-flight", "16", "--seconds", &seconds, "--json"]);
        command.env("CMTP_HOME", self.homes[0].path()).env_remove("CMTP_TOKEN");
        let running = self.beside(&mut command);
        std::thread::sleep(Duration::from_millis(500));
        running
    }

    fn attack(&self, most: u64, seconds: u64) -> Running {
        let (most, seconds) = (most.to_string(), seconds.to_string());
        let arguments = ["attack", &self.address, &self.did, &self.stolen, &most, &seconds];
        self.beside(Command::new(own()).args(arguments))
    }

    /// Starts a command on the core that is not the node's.
    fn beside(&self, command: &mut Command) -> Running {
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", PEER_CORE]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => pinned.env(name, value),
                None => pinned.env_remove(name),
            };
        }
        let child = pinned.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        Running(Some(child.expect("taskset starts")))
    }

    fn cmtp(&self, home: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.cmtp);
        let output =
            command.args(arguments).env("CMTP_HOME", home).env_remove("CMTP_TOKEN").output();
        let output = output.expect("cmtp starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

/// A process beside the node; ended when it is dropped.
struct Running(Option<Child>);

impl Running {
    fn wait_json(mut self) -> Value {
        let output = self.0.take().expect("once").wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ended = child.kill();
            let _ended = child.wait();
        }
    }
}

/// Shows a stolen token with a proof by another key, over and over, on new connections as the node closes them.
async fn attack(address: SocketAddr, node: PublicKey, token: &str, most: u64, time: Duration) {
    let key = SigningKey::from_seed(&[9; 32]).expect("a key");
    let config = client_config(&[binding::ALPN], TransportConfig::default());
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a socket");
    let origin = wire::origin(node, &key, "0xS:echo");
    let mut frames = BytesMut::new();
    let digest = Digest::of(token.as_bytes());
    let proof = key.sign(uses::AUTH, &[[7; 32], node.0, digest.0].concat());
    Frame::Auth(Auth::Shown { proof, token: token.to_owned().into() }).encode(&mut frames);
    origin.encode(&mut frames);
    let frames = frames.freeze();
    let until = Instant::now() + time;
    let counts = Arc::new([const { AtomicU64::new(0) }; 2]);
    let tasks = (0..AT_ONCE).map(|_| {
        let (endpoint, config) = (endpoint.clone(), config.clone());
        let (frames, counts) = (frames.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            let [tokens, refused] = &*counts;
            while Instant::now() < until && tokens.load(Ordering::Relaxed) < most {
                let connecting = endpoint.connect_with(config.clone(), address, "localhost");
                let connected = tokio::time::timeout(PATIENCE, connecting.expect("an address"));
                let Ok(Ok(connection)) = connected.await else {
                    refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                while let Ok((mut send, _recv)) = connection.open_bi().await {
                    if send.write_all(&frames).await.is_err() || send.finish().is_err() {
                        break;
                    }
                    if tokens.fetch_add(1, Ordering::Relaxed) >= most {
                        break;
                    }
                }
                connection.close(VarInt::from_u32(0), b"");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("an attacker does not panic");
    }
    let [tokens, refused] = &*counts;
    println!(
        "{}",
        serde_json::json!({ "tokens": tokens.load(Ordering::Relaxed), "refused": refused.load(Ordering::Relaxed) })
    );
}

fn busy(seconds: u64) {
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

fn own() -> PathBuf {
    std::env::current_exe().expect("the path of this program")
}

fn count(run: &Value, name: &str) -> f64 {
    run[name].as_f64().unwrap_or_default()
}

/// Nanoseconds that all threads of a process ran.
fn cpu(process: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the node runs");
    let ran = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    ran.sum()
}

/// The token of the only session in a home directory.
fn session_token(home: &Path) -> String {
    let session = fs::read_dir(home.join("sessions")).expect("sessions").flatten().next();
    let text = fs::read_to_string(session.expect("a session").path()).expect("a file");
    let session: Value = serde_json::from_str(&text).expect("JSON");
    session["token"].as_str().expect("a token").to_owned()
}

const NODE_CORE: &str = "1";
const PEER_CORE: &str = "0";
const SECONDS: u64 = 10;
const ROUNDS: u32 = 3;
/// Bad tokens within what an address has at once.
const INSIDE: u64 = 200;
/// Connections of an attacker at a time.
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(2);
