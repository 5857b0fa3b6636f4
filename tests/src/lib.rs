//! What tests across crates share: real processes of the node, the command line and nats-server.
//!
//! Nothing here waits for a time: a process is ready when it says so.

pub mod archive;
pub mod forged;
pub mod http;
pub mod load;
pub mod log;
pub mod notes;
pub mod session;
mod volume;
pub mod wire;

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

pub use crate::volume::Volume;

/// A `cmtpd serve`, on a free loopback port, with a data directory of its own.
#[derive(Debug)]
pub struct Node {
    child: Option<Child>,
    /// `address:port`; the same after a restart.
    pub address: String,
    /// `did:key:…`.
    pub did: String,
    data: PathBuf,
    /// Removes the data directory, where it is this test's.
    _folder: Option<TempDir>,
    wrapper: Vec<String>,
}

impl Node {
    /// Starts a node with this configuration (TOML) on top of the free port.
    ///
    /// # Panics
    /// If the node does not come up; what it said on stderr stands in the test's output.
    pub fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut node = Self::start_in(folder.path(), config, &[]);
        node._folder = Some(folder);
        node
    }

    /// Starts a node with its data in `data`, by way of `wrapper`: a command that is given the node's.
    ///
    /// # Panics
    /// If the node does not come up.
    pub fn start_in(data: &Path, config: &str, wrapper: &[&str]) -> Self {
        Self::try_start_in(data, config, wrapper).expect("cmtpd says that it listens")
    }

    /// The same; `None` where the node ends before it listens.
    ///
    /// # Panics
    /// If the configuration can't be written.
    pub fn try_start_in(data: &Path, config: &str, wrapper: &[&str]) -> Option<Self> {
        std::fs::write(data.join("cmtpd.toml"), config).expect("the configuration is written");
        let wrapper: Vec<String> = wrapper.iter().map(|&word| word.to_owned()).collect();
        let (child, address, did) = spawn(data, "127.0.0.1:0", &wrapper)?;
        let child = Some(child);
        Some(Self { child, address, did, data: data.to_owned(), _folder: None, wrapper })
    }

    /// Starts a node whose log, down to every detail, is kept for [`Node::into_log`].
    ///
    /// # Panics
    /// If the node does not come up.
    pub fn start_logging(config: &str) -> Self {
        let log = "exec 2>\"$0\"; RUST_LOG=trace exec \"$@\"";
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("stderr");
        let wrapper = ["sh", "-c", log, file.to_str().expect("a path is text")];
        let mut node = Self::start_in(folder.path(), config, &wrapper);
        node._folder = Some(folder);
        node
    }

    /// Waits until the node ends, and gives what it logged.
    ///
    /// # Panics
    /// If its log was not kept.
    pub fn into_log(mut self) -> String {
        self.wait();
        std::fs::read_to_string(self.data.join("stderr")).expect("the log was kept")
    }

    /// Starts it again after it ended, on the same address.
    ///
    /// # Panics
    /// If the node does not come up.
    pub fn restart(&mut self) {
        let spawned = spawn(&self.data, &self.address, &self.wrapper);
        self.child = Some(spawned.expect("cmtpd says that it listens").0);
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.take().iter_mut().for_each(stop);
    }

    /// A node that does not run, with its data in `data`.
    pub fn stopped(data: &Path) -> Self {
        let (address, did) = (String::new(), String::new());
        Self {
            child: None,
            address,
            did,
            data: data.to_owned(),
            _folder: None,
            wrapper: Vec::new(),
        }
    }

    /// Sends a signal, such as `TERM`.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("the node was started").id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().expect("kill starts");
        assert!(status.success(), "the node runs");
    }

    /// How often each of its threads that is called so was woken up.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn wakes(&self, name: &str) -> Vec<u64> {
        let id = self.child.as_ref().expect("the node was started").id();
        let threads = std::fs::read_dir(format!("/proc/{id}/task")).expect("the node runs");
        let wakes = |thread: std::io::Result<std::fs::DirEntry>| {
            let status = std::fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
            let says =
                |key: &str| Some(status.lines().find_map(|line| line.strip_prefix(key))?.trim());
            (says("Name:")? == name).then(|| says("voluntary_ctxt_switches:")?.parse().ok())?
        };
        threads.filter_map(wakes).collect()
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If the system does not say.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.as_mut().expect("the node was started").wait().expect("it ends")
    }

    /// Runs `cmtpd` with this node's data directory.
    ///
    /// # Panics
    /// If it does not start.
    pub fn cmtpd(&self, arguments: &[&str]) -> Output {
        Command::new(binary("cmtpd"))
            .args(arguments)
            .arg("--data")
            .arg(&self.data)
            .output()
            .expect("cmtpd starts")
    }

    /// What a reader in Python that was written from chapter 17 alone finds in the journal.
    ///
    /// # Panics
    /// If it finds it broken.
    pub fn read_by_peer(&self) -> serde_json::Value {
        let output = python()
            .arg(root().join("tests/peer/journal.py"))
            .arg(self.data.join("journal"))
            .arg(&self.did)
            .output()
            .expect("the reader starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&text).expect("the reader writes JSON")
    }

    /// A token for `identity`, such as `grant(did, &["--scope", "0xS:**"])` makes it.
    ///
    /// # Panics
    /// If `cmtpd grant` fails.
    pub fn grant(&self, to: &str, arguments: &[&str]) -> String {
        let output = self.cmtpd(&[&["grant", "--to", to], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a token is text").trim().to_owned()
    }

    /// The URL of a target at this node.
    pub fn url(&self, target: &str) -> String {
        format!("cmtp://{}/{target}", self.address)
    }

    /// The node's data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The process, its address and its DID; `None` where it ends before it listens.
fn spawn(data: &Path, listen: &str, wrapper: &[String]) -> Option<(Child, String, String)> {
    let program = binary("cmtpd");
    let mut command = match wrapper.split_first() {
        None => Command::new(&program),
        Some((wrapper, arguments)) => {
            let mut command = Command::new(wrapper);
            command.args(arguments).arg(&program);
            command
        }
    };
    let mut child = command
        .args(["serve", "--listen", listen, "--config"])
        .arg(data.join("cmtpd.toml"))
        .arg("--data")
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .expect("cmtpd starts");
    let stdout = child.stdout.take().expect("stdout is piped");
    let Some(line) = BufReader::new(stdout).lines().next() else {
        stop(&mut child);
        return None;
    };
    let line = line.expect("its line is text");
    let mut words = line.split_whitespace();
    let address = words.nth(3).expect("an address").to_owned();
    let did = words.nth(1).expect("a DID").to_owned();
    Some((child, address, did))
}

/// A person's home with an identity in it.
#[derive(Debug)]
pub struct Home {
    directory: TempDir,
    /// `did:key:…`.
    pub did: String,
}

impl Home {
    /// Makes one with `cmtp id new`.
    ///
    /// # Panics
    /// If that fails.
    pub fn new() -> Self {
        let home = Self::empty();
        let output = home.cmtp(["id", "new"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let output = home.cmtp(["id", "show"]);
        let did = String::from_utf8(output.stdout).expect("a DID is text").trim().to_owned();
        Self { did, ..home }
    }

    /// One without an identity.
    ///
    /// # Panics
    /// If there is no room for a temporary directory.
    pub fn empty() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self { directory, did: String::new() }
    }

    /// Runs `cmtp` with this home.
    ///
    /// # Panics
    /// If it does not start.
    pub fn cmtp<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.command().args(arguments).output().expect("cmtp starts")
    }

    /// Loads a node with echoes, in the background; `arguments` say for how long, and what is kept.
    ///
    /// # Panics
    /// If `cmtp` does not start.
    pub fn bench<S: AsRef<OsStr>>(
        &self,
        node: &Node,
        arguments: impl IntoIterator<Item = S>,
    ) -> Running {
        let token = node.grant(&self.did, &["--scope", "0xS:echo"]);
        let mut command = self.command();
        command.args(["bench", &node.url("0xS:echo"), "--token", &token, "--pin", &node.did]);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().expect("cmtp starts"))
    }

    /// `cmtp` with this home, and nothing of the tester's own.
    ///
    /// # Panics
    /// If it was not built.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary("cmtp"));
        command.env("CMTP_HOME", self.directory.path()).stdin(Stdio::null());
        for own in ["CMTP_TOKEN", "CMTP_PERSONA", "CMTP_PASSPHRASE"] {
            command.env_remove(own);
        }
        command
    }

    /// A file in this home.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// A process in the background; dropped, it is gone.
#[derive(Debug)]
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        stop(&mut self.0);
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

/// A nats-server on a free loopback port.
#[derive(Debug)]
pub struct NatsServer {
    child: Option<Child>,
    arguments: Vec<String>,
    /// `nats://…`; the same after a restart.
    pub url: String,
}

impl NatsServer {
    /// Starts the server from the tests' virtual environment.
    ///
    /// # Panics
    /// If it is not installed or does not come up.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub fn start_with(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let (child, address) = spawn_nats("-1", &arguments);
        Self { child: Some(child), arguments, url: format!("nats://{address}") }
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.take().iter_mut().for_each(stop);
    }

    /// Starts it again after it was killed, on the same port.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self) {
        let port = self.url.rsplit(':').next().expect("a port");
        self.child = Some(spawn_nats(port, &self.arguments).0);
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn_nats(port: &str, arguments: &[String]) -> (Child, String) {
    let mut child = Command::new(virtual_environment().join("bin/nats-server"))
        .args(["--addr", "127.0.0.1", "--port", port])
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .expect("nats-server starts: run tests/run, which installs it");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    let mut address = None;
    for line in lines.by_ref() {
        let line = line.expect("the log is text");
        if let Some((_, listens_on)) = line.split_once("Listening for client connections on ") {
            address = Some(listens_on.trim().to_owned());
        }
        if line.contains("Server is ready") {
            break;
        }
    }
    // The pipe must be read on, or the server blocks once it is full.
    std::thread::spawn(move || lines.for_each(drop));
    (child, address.expect("nats-server says where it listens"))
}

/// The Python of the tests' virtual environment, with what `tests/requirements.txt` names.
pub fn python() -> Command {
    Command::new(virtual_environment().join("bin/python"))
}

/// Copies a folder of files and folders, to where there may be one already.
///
/// # Panics
/// If it can't.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder to copy to");
    for entry in std::fs::read_dir(from).expect("the folder to copy") {
        let entry = entry.expect("what is in the folder");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy of the file");
        }
    }
}

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A binary of the workspace, as `tests/run` built it.
///
/// # Panics
/// If it is not there.
pub fn binary(name: &str) -> PathBuf {
    let path = PathBuf::from(env::var_os("CMTP_BIN").expect(RUN)).join(name);
    assert!(path.exists(), "{} is missing: {RUN}", path.display());
    path
}

fn virtual_environment() -> PathBuf {
    PathBuf::from(env::var_os("CMTP_VENV").expect(RUN))
}

fn stop(child: &mut Child) {
    // It may have ended by itself, which is as good.
    let _ended = child.kill();
    let _ended = child.wait();
}

const RUN: &str = "run tests/run, which builds and installs what this test needs";
