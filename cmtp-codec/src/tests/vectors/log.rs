//! Checkpoints, proofs and policies of the transparency log.

use serde_json::{Value, json};

use super::{Case, Outcome, hex, number, to_array, to_number};
use crate::hash::Digest;
use crate::key::SigningKey;
use crate::log::{
    Checkpoint, Growth, LogProof, NoteKind, NoteSigner, Policy, SignedCheckpoint, VerifierKey,
};

pub(super) fn verifier_key(case: &Case) -> Outcome {
    let input = case.text("input");
    let key: VerifierKey = input.parse()?;
    assert_eq!(key.to_string(), input, "CNV-5");
    Ok(json!({
        "name": key.name(), "noteType": note_type(key.kind()), "key": hex(key.key().0),
        "id": format!("{:08x}", key.id()),
    }))
}

pub(super) fn checkpoint(case: &Case) -> Outcome {
    let (input, key) = (case.text("input"), case.text("key").parse()?);
    let signed = SignedCheckpoint::parse(input)?;
    assert_eq!(signed.to_string(), input, "CNV-5");
    let checkpoint = signed.verify(&key)?;
    assert_eq!(*checkpoint, *signed.untrusted());
    Ok(json!(checkpoint_json(&checkpoint)))
}

pub(super) fn cosignature(case: &Case) -> Outcome {
    let (input, key) = (case.text("input"), case.text("key").parse()?);
    let time = SignedCheckpoint::parse(input)?.signed_by(&key)?;
    Ok(json!({ "time": time.map_or(Value::Null, number) }))
}

pub(super) fn sign_note(case: &Case) -> Outcome {
    let kind = match case.number("noteType") {
        1_u8 => NoteKind::Ed25519,
        _ => NoteKind::Cosignature,
    };
    let key = SigningKey::from_seed(&case.array("seed"))?;
    let signer = NoteSigner::new(case.text("name"), kind, key)?;
    let checkpoint = Checkpoint {
        origin: case.text("origin").into(),
        size: case.number("size"),
        root: case.digest("root"),
    };
    let line = signer.sign(&checkpoint, case.number("time"));
    Ok(json!({ "verifierKey": signer.public().to_string(), "line": line }))
}

pub(super) fn log_proof(case: &Case) -> Outcome {
    let (input, leaf) = (case.text("input"), case.digest("leaf"));
    let key: VerifierKey = case.text("key").parse()?;
    let proof = LogProof::parse(input)?;
    assert_eq!(proof.to_string(), input, "CNV-5");
    let checkpoint = proof.verify(leaf, &key)?;
    let mut found = checkpoint_json(&checkpoint);
    found["index"] = number(proof.index);
    found["path"] = path_json(&proof.path);
    Ok(found)
}

pub(super) fn consistency(case: &Case) -> Outcome {
    let (input, known) = (case.text("input"), case.value("known"));
    let key: VerifierKey = case.text("key").parse()?;
    let known = (!known.is_null()).then(|| Checkpoint {
        origin: known["origin"].as_str().unwrap().into(),
        size: to_number(&known["size"]),
        root: Digest(to_array(&known["root"])),
    });
    let growth = Growth::parse(input)?;
    assert_eq!(growth.to_string(), input, "CNV-5");
    growth.verify(known.as_ref(), &key)?;
    Ok(growth_json(&growth))
}

pub(super) fn policy(case: &Case) -> Outcome {
    let (policy, checkpoint) = (case.text("policy"), case.text("input"));
    let policy: Policy = policy.parse()?;
    let cosigned = policy.judge(&SignedCheckpoint::parse(checkpoint)?)?;
    let witnesses = cosigned.witnesses.iter().map(|(name, time)| json!([name, number(*time)]));
    Ok(json!({
        "witnesses": witnesses.collect::<Vec<_>>(), "quorum": cosigned.is_quorum,
        "log": cosigned.is_log,
    }))
}

pub(super) fn growth_json(growth: &Growth) -> Value {
    let mut found = checkpoint_json(growth.checkpoint.untrusted());
    found["old"] = number(growth.old);
    found["path"] = path_json(&growth.path);
    found
}

fn checkpoint_json(checkpoint: &Checkpoint) -> Value {
    json!({
        "origin": checkpoint.origin, "size": number(checkpoint.size),
        "root": hex(checkpoint.root.0),
    })
}

fn path_json(path: &[Digest]) -> Value {
    path.iter().map(|hash| hex(hash.0)).collect()
}

fn note_type(kind: NoteKind) -> u8 {
    match kind {
        NoteKind::Ed25519 => 1,
        NoteKind::Cosignature => 4,
    }
}
