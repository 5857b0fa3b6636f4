//! Replays the fuzz seeds, made from the vectors, and all regressions through the fuzz targets' bodies.
//!
//! The bodies say which properties are held; they panic where one is not, and the input's name is printed before.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, panic};

#[test]
fn message() {
    replay("message", cmtp_fuzz::message, 400);
}

#[test]
fn round_trip() {
    replay("round_trip", cmtp_fuzz::round_trip, 500);
}

#[test]
fn chain() {
    replay("chain", cmtp_fuzz::chain, 400);
}

#[test]
fn answer() {
    replay("answer", cmtp_fuzz::answer, 250);
}

#[test]
fn fqmn() {
    replay("fqmn", cmtp_fuzz::fqmn, 200);
}

#[test]
fn stored() {
    replay("stored", cmtp_fuzz::stored, 120);
}

#[test]
fn audit() {
    replay("audit", cmtp_fuzz::audit, 120);
}

#[test]
fn envelope() {
    replay("envelope", cmtp_fuzz::envelope, 120);
}

/// Runs `body` on every input of `target`; fewer than `least` seeds are an error of their own.
fn replay(target: &str, body: fn(&[u8]), least: usize) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let seeds = tempfile::tempdir().expect("a temporary directory");
    let written = Command::new("python3")
        .arg(fuzz.join("seeds.py"))
        .arg("--out")
        .args([seeds.path(), Path::new(target)])
        .status()
        .expect("python3 runs");
    assert!(written.success(), "seeds.py: {written}");
    let seeds = inputs(&seeds.path().join(target));
    assert!(seeds.len() >= least, "{} seeds for {target}, and {least} are the least", seeds.len());
    let regressions = inputs(&fuzz.join("regressions").join(target));
    let mut failed = Vec::new();
    for input in seeds.iter().chain(&regressions) {
        let data = fs::read(input).expect("an input is a file that can be read");
        if panic::catch_unwind(|| body(&data)).is_err() {
            failed.push(input.file_name());
        }
    }
    assert!(failed.is_empty(), "{target} does not hold for {failed:?}");
}

/// The files of a directory, which need not be there.
fn inputs(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<_> =
        entries.map(|entry| entry.expect("a directory can be listed").path()).collect();
    files.sort();
    files
}
