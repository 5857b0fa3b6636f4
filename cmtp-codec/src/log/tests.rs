//! Notes and proofs of trees that are made here.

use cmtp_spec::binding;

use super::*;
use crate::key::{SignatureError, SigningKey};
use crate::merkle::{Tree, leaf};

fn signer(name: &str, kind: NoteKind, seed: u8) -> NoteSigner {
    NoteSigner::new(name, kind, SigningKey::from_seed(&[seed; 32]).unwrap()).unwrap()
}

fn leaves(count: usize) -> Vec<Digest> {
    (0..count).map(|number| leaf(&number.to_be_bytes())).collect()
}

fn checkpoint(origin: &str, count: usize) -> Checkpoint {
    let root = Tree::new(leaves(count)).root();
    Checkpoint { origin: origin.to_owned(), size: count as u64, root }
}

/// The example of Go's `golang.org/x/mod/sumdb/note`.
#[test]
fn a_note_of_others_verifies() {
    let key: VerifierKey =
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n";
    let line = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
    let signature = signed_note::Signature::from_bytes(line.as_bytes()).unwrap();
    assert_eq!(signature.id(), key.id());
    assert_eq!(key.check(text, signature.signature()), Ok(0));
    let other = text.replace("you", "we");
    assert_eq!(key.check(&other, signature.signature()), Err(SignatureError::Mismatch));
}

#[test]
fn a_checkpoint_is_of_its_log_and_has_one_spelling() {
    // [LOG-3] [LOG-4]
    let log = signer("cmtp/x/0", NoteKind::Ed25519, 1);
    let signed = checkpoint("cmtp/x/0", 5).sign(&log);
    let read = SignedCheckpoint::parse(signed.note()).unwrap();
    assert_eq!(read.verify(log.public()).unwrap().size, 5);
    let foreign = signer("cmtp/x/0", NoteKind::Ed25519, 2);
    assert_eq!(read.verify(foreign.public()), Err(CheckpointError::NotSigned));
    let other = signer("cmtp/y/0", NoteKind::Ed25519, 1);
    assert_eq!(read.verify(other.public()), Err(CheckpointError::OtherOrigin));
    let forged = signed.note().replacen("\n5\n", "\n6\n", 1);
    let forged = SignedCheckpoint::parse(&forged).unwrap();
    let bad = CheckpointError::Signature(SignatureError::Mismatch);
    assert_eq!(forged.verify(log.public()), Err(bad));
    for (from, to) in
        [("\n5\n", "\n05\n"), ("\n5\n", "\n+5\n"), ("=\n", "\n"), ("\n5\n", "\n5\nx\n")]
    {
        let text = signed.note().replacen(from, to, 1);
        assert_eq!(SignedCheckpoint::parse(&text), Err(CheckpointError::Malformed), "{to:?}");
    }
    assert!(SignedCheckpoint::parse(&(signed.note().to_owned() + "\n")).is_err());
}

#[test]
fn a_proof_holds_for_its_entry_and_no_other() {
    // [LOG-9] [LOG-11]
    let log = signer("cmtp/x/0", NoteKind::Ed25519, 1);
    for count in 1..20 {
        let tree = Tree::new(leaves(count));
        for index in 0..count {
            let proof = LogProof {
                index: index as u64,
                path: tree.path(index),
                checkpoint: checkpoint("cmtp/x/0", count).sign(&log),
            };
            let read = LogProof::parse(&proof.to_string()).unwrap();
            assert_eq!(read, proof);
            let leaf = leaves(count)[index];
            assert_eq!(read.verify(leaf, log.public()).unwrap().size, count as u64);
            let wrong = LogProofError::OtherEntry { index: index as u64 };
            assert_eq!(read.verify(Digest::ZERO, log.public()), Err(wrong));
            let moved = LogProof { index: proof.index + 1, ..proof.clone() };
            assert!(moved.verify(leaf, log.public()).is_err(), "{index} of {count}");
        }
    }
    let text = format!("{}\nextra AA==\nindex 0\n\n", binding::TLOG_PROOF_HEADER);
    assert_eq!(LogProof::parse(&text), Err(LogProofError::Malformed));
}

#[test]
fn a_log_that_grew_is_told_from_one_that_was_cut_or_rewritten() {
    // [LOG-7]
    let log = signer("cmtp/x/0", NoteKind::Ed25519, 1);
    let known = checkpoint("cmtp/x/0", 4);
    // The tree of 4 is the left half of the tree of 8: what it lacks is the right half.
    let right = Tree::new(leaves(8)[4..].to_vec()).root();
    let growth =
        Growth { old: 4, path: vec![right], checkpoint: checkpoint("cmtp/x/0", 8).sign(&log) };
    let growth = Growth::parse(&growth.to_string()).unwrap();
    assert_eq!(growth.verify(Some(&known), log.public()).unwrap().size, 8);
    assert_eq!(growth.verify(None, log.public()).unwrap().size, 8);
    let rewritten = Checkpoint { root: Digest([9; 32]), ..known.clone() };
    let forked = Err(GrowthError::Forked { known: 4, size: 8 });
    assert_eq!(growth.verify(Some(&rewritten), log.public()), forked);
    let more = checkpoint("cmtp/x/0", 9);
    let smaller = Err(GrowthError::Smaller { known: 9, size: 8 });
    assert_eq!(growth.verify(Some(&more), log.public()), smaller);
    let same = Growth { old: 8, path: Vec::new(), ..growth.clone() };
    assert!(same.verify(Some(&checkpoint("cmtp/x/0", 8)), log.public()).is_ok());
    let fork = Checkpoint { root: Digest([9; 32]), ..checkpoint("cmtp/x/0", 8) };
    let forked = Err(GrowthError::Forked { known: 8, size: 8 });
    assert_eq!(same.verify(Some(&fork), log.public()), forked);
    let from = Err(GrowthError::OtherSize { known: 4, old: 8 });
    assert_eq!(same.verify(Some(&known), log.public()), from);
}

#[test]
fn a_tree_without_leaves_has_one_root() {
    // [LOG-24]
    let log = signer("cmtp/x/0", NoteKind::Ed25519, 1);
    let nothing = Checkpoint { origin: "cmtp/x/0".into(), size: 0, root: Digest::of(&[]) };
    let empty = |root| {
        let checkpoint = Checkpoint { root, ..nothing.clone() }.sign(&log);
        let growth = Growth { old: 0, path: Vec::new(), checkpoint };
        growth.verify(Some(&nothing), log.public()).map(|it| it.into_inner())
    };
    assert_eq!(empty(nothing.root), Ok(nothing.clone()));
    assert_eq!(empty(Digest([1; 32])), Err(GrowthError::Forked { known: 0, size: 0 }));
}

#[test]
fn a_policy_counts_witnesses_once_each() {
    // [LOG-12] [LOG-13]
    let log = signer("cmtp/x/0", NoteKind::Ed25519, 1);
    let witnesses: Vec<_> =
        (2..5).map(|seed| signer(&format!("w{seed}"), NoteKind::Cosignature, seed)).collect();
    let lines: Vec<_> = witnesses
        .iter()
        .map(|it| format!("witness {} {}\n", it.public().name(), it.public()))
        .collect();
    let text = format!("# who counts\n{}group g 2 w2 w3 w4\nquorum g\n", lines.concat());
    let policy: Policy = text.parse().unwrap();
    let mut signed = checkpoint("cmtp/x/0", 5).sign(&log);
    let checkpoint = signed.untrusted().clone();
    assert!(!policy.judge(&signed).unwrap().is_quorum);
    let line = witnesses[0].sign(&checkpoint, 1_700_000_000);
    signed = signed.with_signatures(&line).unwrap().with_signatures(&line).unwrap();
    assert!(!policy.judge(&signed).unwrap().is_quorum, "the same one twice is one");
    signed = signed.with_signatures(&witnesses[2].sign(&checkpoint, 1_700_000_001)).unwrap();
    let cosigned = policy.judge(&signed).unwrap();
    let expected = vec![("w2".to_owned(), 1_700_000_000), ("w4".to_owned(), 1_700_000_001)];
    assert_eq!((cosigned.witnesses, cosigned.is_quorum), (expected, true));
    let bad = format!("{}group g 2 w2 w3\nquorum g\nquorum none\n", lines.concat());
    for text in ["", "quorum x", "witness", "group g 1 x\nquorum g", &bad] {
        assert!(text.parse::<Policy>().is_err(), "{text:?}");
    }
    assert!(!"quorum none".parse::<Policy>().unwrap().asks_for_witnesses());
}

#[test]
fn origins_are_spelled_one_way() {
    // [LOG-1]
    let node = SigningKey::from_seed(&[7; 32]).unwrap().public();
    assert_eq!(parse_log_origin(&log_origin(&node, 3)), Some((node, 3)));
    let origin = log_origin(&node, 3);
    for bad in [origin.replace("/3", "/03"), origin.replace("/3", ""), origin.replace("cmtp", "x")]
    {
        assert_eq!(parse_log_origin(&bad), None, "{bad}");
    }
}
