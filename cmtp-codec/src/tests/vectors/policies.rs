//! What policies call a target, and the listings of policy sets.

use serde_json::{Value, json};

use super::{Case, Outcome, Stop, hex, to_bytes};
use crate::fqmn::Fqmn;
use crate::policies::{PolicyFiles, PolicyFilesError, PolicyName};

pub(super) fn name(case: &Case) -> Outcome {
    let target = Fqmn::parse_target(case.text("target"))?;
    let name = PolicyName::of(&target);
    let names: Vec<_> = std::iter::once(name.as_str()).chain(name.beginnings()).collect();
    assert_eq!(names.last().copied(), Some(name.opcode()));
    Ok(json!({ "action": target.opcode().action(), "names": names }))
}

pub(super) fn set(case: &Case) -> Outcome {
    let mut files = PolicyFiles::default();
    for file in case.list("files") {
        files.insert(file[0].as_str().unwrap(), to_bytes(&file[1]))?;
    }
    assert_eq!(PolicyFiles::from_listing(&files.listing()), Ok(files.clone()));
    Ok(json!({ "listing": hex(files.listing()), "digest": hex(files.digest().0) }))
}

pub(super) fn listing(case: &Case) -> Outcome {
    let input = case.bytes("input");
    let files = PolicyFiles::from_listing(&input)?;
    assert_eq!(files.listing(), input, "CNV-5");
    let listed: Vec<Value> = files.iter().map(|(name, bytes)| json!([name, hex(bytes)])).collect();
    Ok(json!({ "files": listed, "digest": hex(files.digest().0) }))
}

impl From<PolicyFilesError> for Stop {
    fn from(error: PolicyFilesError) -> Self {
        Self::invalid(&error.to_string())
    }
}
