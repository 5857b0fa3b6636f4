//! Roots, words and revocation statements.

use serde_json::json;

use super::{Case, Outcome, hex, number};
use crate::persona::{RecoveryCommitment, Root};
use crate::revocation::Revocation;

pub(super) fn persona(case: &Case) -> Outcome {
    let (root, n) = (Root::new(case.array("root")), case.number("number"));
    let (persona, recovery) = (root.persona(n)?, root.recovery(n)?);
    Ok(json!({
        "seed": hex(*root.persona_seed(n)?),
        "key": hex(persona.public().0),
        "did": persona.public().to_string(),
        "recoverySeed": hex(*root.recovery_seed(n)?),
        "recoveryKey": hex(recovery.public().0),
        "commitment": hex(RecoveryCommitment::to(&recovery.public()).0),
    }))
}

pub(super) fn words(case: &Case) -> Outcome {
    let root = Root::from_words(case.text("words"))?;
    Ok(json!({ "root": hex(root.bytes()), "written": *root.to_words() }))
}

pub(super) fn revoke(case: &Case) -> Outcome {
    let (root, n) = (Root::new(case.array("root")), case.number("number"));
    let (persona, recovery) = (root.persona(n)?.public(), root.recovery(n)?);
    let made = Revocation::sign(persona, case.number("notBefore"), &recovery)?;
    assert_eq!(Revocation::from_json(&made.to_json()), Ok(made));
    Ok(json!({
        "persona": hex(persona.0),
        "recoveryKey": hex(made.recovery.0),
        "payload": hex(made.payload()),
        "signature": hex(made.signature.0),
    }))
}

pub(super) fn revocation(case: &Case) -> Outcome {
    let committed = RecoveryCommitment(case.array("commitment"));
    let read = Revocation::from_json(case.text("input"))?.verify(&committed)?;
    Ok(json!({
        "persona": hex(read.persona.0),
        "notBefore": number(read.not_before),
        "recoveryKey": hex(read.recovery.0),
    }))
}
