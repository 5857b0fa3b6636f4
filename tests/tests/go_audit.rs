//! A node's log, verified while it grows by what Go's checksum database is verified with: `tests/go-audit`.

use std::collections::HashMap;
use std::process::{Command, Output};

use cmtp_codec::SigningKey;
use cmtp_codec::log::{NoteKind, VerifierKey};
use cmtp_tests::wire::Wire;
use cmtp_tests::{Home, Node, http};

#[tokio::test]
async fn go_verifies_a_log_under_load_and_refuses_a_changed_one() {
    // [LOG-1] [LOG-3] [LOG-4] [LOG-6] Go knows the formats of C2SP, and nothing of this project's code.
    let until: u64 = std::env::var("CMTP_LOG_ENTRIES").map_or(6_000, |it| it.parse().unwrap());
    let port = http::free_port();
    let node = Node::start(&format!(
        "[http]
listen = \"127.0.0.1:{port}\"
[log]
interval-ms = 50"
    ));
    let key = Wire::connect(&node).await.log_key();
    let audit = Audit { url: format!("http://127.0.0.1:{port}/log/0"), key };
    let home = Home::new();
    // Longer than it is judged: it ends where it is dropped.
    let load = home.bench(&node, ["--seconds", "600", "--in-flight", "256", "--verify", "64"]);
    let until = until.to_string();
    let output = audit.run(&["--until", &until, "--inclusions", "1000", "--sizes", "20"]);
    drop(load);
    let said = String::from_utf8(output.stdout).unwrap();
    let fault = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{fault}");
    print!("{said}");
    let counts: HashMap<&str, u64> = said
        .split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, count)| (name, count.parse().unwrap()))
        .collect();
    let size = counts["size"];
    assert!(size >= until.parse().unwrap());
    assert_eq!((counts["inclusions"], counts["sizes"], counts["pairs"]), (1_000, 20, 190));
    assert!(counts["compared"] >= 1_000, "{said}");
    // A tree of more than 256 tiles has a level above that of their roots.
    let levels = u64::from((size - 1).ilog(256)) + 1;
    assert_eq!(counts["levels"], levels, "{said}");

    // The same judge, one byte of one file changed on its way.
    for (file, says) in [
        ("checkpoint", "go-audit: checkpoint: "),
        ("tile/0/", "inconsistent tile"),
        ("tile/1/", "inconsistent tile"),
        ("tile/entries/", "go-audit: entry "),
    ] {
        audit.refuses(&["--flip", file], says);
    }
    audit.refuses(&["--flip", "tile/63/"], "nothing was changed");
    let other = SigningKey::from_seed(&[9; 32]).unwrap().public();
    let key = VerifierKey::new(audit.key.name(), NoteKind::Ed25519, other).unwrap();
    Audit { key, ..audit }.refuses(&[], "go-audit: checkpoint: ");
}

/// The program in Go, and what it is to judge.
struct Audit {
    url: String,
    key: VerifierKey,
}

impl Audit {
    fn run(&self, arguments: &[&str]) -> Output {
        let program =
            std::env::var_os("CMTP_GO_AUDIT").expect("run tests/run go-audit, which builds it");
        let key = self.key.to_string();
        let standing = ["--url", &self.url, "--key", &key];
        Command::new(program).args(standing).args(arguments).output().unwrap()
    }

    fn refuses(&self, arguments: &[&str], says: &str) {
        let output = self.run(&[&["--sizes", "1"], arguments].concat());
        let fault = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?} was taken");
        assert!(fault.contains(says), "{arguments:?}: {fault}");
    }
}
