//! Makes a journal with its log to audit: `make_archive FOLDER ENTRIES [ENTRIES_PER_COMMIT]`.
//!
//!     cargo build --release -p cmtp-tests --bin make_archive -p cmtp-client --bin cmtp
//!     target/release/make_archive /tmp/archive 1000000
//!     /usr/bin/time -v target/release/cmtp audit verify /tmp/archive --log-only

use std::env;
use std::path::Path;

use cmtp_tests::archive::{Archive, Plan};

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let number = |place: usize| arguments.get(place).map(|text| text.parse().expect("a number"));
    let folder = arguments.get(1).expect("make_archive FOLDER ENTRIES [ENTRIES_PER_COMMIT]");
    let plan = Plan {
        entries: number(2).expect("how many entries"),
        file_entries: 100_000,
        commit_entries: number(3).unwrap_or(400),
        is_archive: false,
    };
    let archive = Archive::make(Path::new(folder), plan);
    println!("{} entries of {}", archive.entries, archive.node);
}
