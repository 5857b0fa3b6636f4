//! Names and what they stand for: `cmtp-spec/spec/07-processes.md`, "Resolution".

use std::collections::BTreeMap;

use cmtp_codec::{Element, Fqmn};
use cmtp_spec::{Opcode, Status, limits};

use crate::refusal::Refusal;

/// The names that this node knows.
pub(crate) struct Names(BTreeMap<String, Fqmn>);

impl Names {
    pub(crate) const fn new(names: BTreeMap<String, Fqmn>) -> Self {
        Self(names)
    }

    /// What `target` stands for if it is a name, else `None`. `seen` holds the names that the request came through.
    pub(crate) fn resolve(
        &self,
        target: &Fqmn,
        seen: &mut Vec<String>,
    ) -> Result<Option<Fqmn>, Refusal> {
        if target.opcode() != Opcode::R {
            return Ok(None);
        }
        let mut elements = target.elements().skip(1);
        let Some(Element::Segment(name)) = elements.next() else { return Ok(None) };
        let name = name.to_string();
        let tail: Vec<String> = elements.map(|element| element.to_string()).collect();
        let not_found = |detail: String| Refusal::new(Status::NOT_FOUND, detail);
        let stands_for = self
            .0
            .get(&name)
            .ok_or_else(|| not_found(format!("this node knows no name {name}")))?;
        // [PRC-9] A node MUST NOT resolve the same name twice, nor more than `resolve-max` times.
        if seen.contains(&name) || seen.len() as u64 >= limits::RESOLVE_MAX {
            let detail = format!("the name {name} leads back to itself or through too many names");
            return Err(Refusal::new(Status::LOOP_DETECTED, detail));
        }
        let tail: Vec<&str> = tail.iter().map(String::as_str).collect();
        let resolved = stands_for
            .extended(&tail)
            .map_err(|error| not_found(format!("what {name} stands for is no target: {error}")))?;
        // [PRC-8] Where the origin's target is a read, the result MUST be a read, too (405).
        if resolved.is_write() {
            let detail = format!("{name} stands for a write; call {} directly", resolved.target());
            return Err(Refusal::new(Status::WRITE_FORM_REQUIRED, detail));
        }
        seen.push(name);
        Ok(Some(resolved))
    }
}
