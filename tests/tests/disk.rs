//! Disks that lose power, fill up, and fail: a real filesystem on a loop device. Needs root, `mkfs.ext4` and `strace`.

use std::path::Path;
use std::sync::Arc;

use cmtp_spec::Status;
use cmtp_tests::load::{Caller, Load, Receipt, check};
use cmtp_tests::{Node, Volume};

/// Small logs, so that they are moved many times.
const CONFIG: &str = "[journal]\nsegment-bytes = 1048576\n";

fn write_on(load: &Arc<Load>, caller: &Arc<Caller>) -> Vec<tokio::task::JoinHandle<()>> {
    let write = |slot| {
        let target = format!("0xSW:disk:{slot}");
        tokio::spawn(Arc::clone(load).write(Arc::clone(caller), target, slot))
    };
    (0..8).map(write).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_power_cut() {
    let cuts: usize = std::env::var("CMTP_POWER_CUTS").map_or(3, |it| it.parse().unwrap());
    let volume = Volume::new(64);
    let node = Node::start_in(volume.path(), CONFIG, &[]);
    let load = Arc::new(Load::default());
    let caller = Arc::new(Caller::new(&node));
    let slots = write_on(&load, &caller);
    let mut left = Vec::new();
    for cut in 0..cuts {
        load.reached(load.received().len() + 30 + cut * 41 % 200).await;
        // What the disk holds at this moment is what a power cut leaves. The node stands still while it is copied, as
        // nothing changes at the moment of the cut either; what its files hold in memory only is not in the copy.
        node.signal("STOP");
        let received = load.received();
        left.push((received, volume.copy()));
        node.signal("CONT");
    }
    load.stop();
    for slot in slots {
        slot.await.unwrap();
    }
    let mut torn = 0;
    for (cut, (received, volume)) in left.iter().enumerate() {
        volume.mount();
        let left = Node::stopped(volume.path());
        check(&left, received, cut);
        let output = left.cmtpd(&["journal", "check", "--json"]);
        torn += usize::from(String::from_utf8_lossy(&output.stdout).contains("\"torn\":true"));
    }
    println!("{cuts} power cuts, {torn} torn ends, {} answers: all there", load.received().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_refused_and_resumes_by_itself() {
    // [JRN-4]
    let volume = Volume::new(24);
    let mut node = Node::start_in(volume.path(), CONFIG, &[]);
    let caller = Caller::new(&node);
    let mut connection = caller.connect().await;
    // For its next start: a configuration that is larger than the room that will be left in its log.
    let names = (0..60).map(|name| format!("\"{name}{}\" = \"0xS:echo\"\n", "n".repeat(900)));
    let config = format!("{CONFIG}[names]\n{}", names.collect::<String>());
    std::fs::write(volume.path().join("cmtpd.toml"), config).unwrap();
    let ballast = volume.path().join("ballast");
    fill(&ballast);
    let mut answers = Vec::new();
    let refused = loop {
        let body = format!("{} {}", answers.len(), "x".repeat(20_000));
        let request = caller.write(&connection, "0xSW:disk:full", &body);
        let answer = caller.insist(&mut connection, &request).await;
        if !answer.is_success() {
            break (request, answer);
        }
        answers.push(Receipt::of(&answer));
        assert!(answers.len() < 1_000, "the disk is never full");
    };
    let (request, answer) = refused;
    assert_eq!((answer.status(), answer.remedy()), (Status::STORAGE_FULL, Some("wait")));
    assert!(answer.retry_after().is_some());
    // Reads are refused, too: nothing is answered that can't be recorded.
    let target = cmtp_codec::Fqmn::parse("0xS:disk:full").unwrap();
    let read = connection.call(cmtp_client::Request::new(target)).await.unwrap();
    assert_eq!(read.status(), Status::STORAGE_FULL);
    // A node that is started on a full disk refuses, too, even where it has something to note.
    node.kill();
    node.restart();
    let again = caller.insist(&mut connection, &request).await;
    assert_eq!(again.status(), Status::STORAGE_FULL);
    std::fs::remove_file(&ballast).unwrap();
    // The same bytes, by the same process: there is room again, and the refusal had claimed nothing.
    let resumed = caller.insist(&mut connection, &request).await;
    assert_eq!(resumed.status(), Status::OK);
    answers.push(Receipt::of(&resumed));
    node.signal("TERM");
    assert_eq!(node.wait().code(), Some(0));
    check(&node, &answers, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_ends_the_node_and_nothing_is_acknowledged() {
    // [JRN-5]
    let folder = tempfile::tempdir().unwrap();
    // The 40th fdatasync of the node fails, and with it everything that waits for it.
    let strace = ["strace", "-f", "-qq", "-e", "trace=fdatasync", "-e"];
    let inject = "inject=fdatasync:error=EIO:when=40+";
    let output = folder.path().join("strace.out");
    let wrapper = [&strace[..], &[inject, "-o", output.to_str().unwrap()]].concat();
    let mut node = Node::start_in(folder.path(), CONFIG, &wrapper);
    let caller = Caller::new(&node);
    let connection = caller.connect().await;
    let mut answers = Vec::new();
    let lost = loop {
        let request = caller.write(&connection, "0xSW:disk:failing", &answers.len().to_string());
        match connection.send(&request).await {
            Ok(answer) => answers.push(Receipt::of(&answer)),
            Err(error) => break error,
        }
        assert!(answers.len() < 100, "fdatasync never failed");
    };
    assert!(lost.is_outcome_unknown(), "{lost}");
    assert!(answers.len() >= 30, "{} answers before", answers.len());
    // It says so and ends, with an exit code that tells a supervisor.
    assert_eq!(node.wait().code(), Some(1));
    check(&Node::stopped(folder.path()), &answers, 0);
}

/// Takes all room that is left.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1 << 20, 1 << 12] {
        let block = vec![1; size];
        while file.write_all(&block).and_then(|()| file.sync_data()).is_ok() {}
    }
}
