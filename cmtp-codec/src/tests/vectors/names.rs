//! FQMNs, subjects, patterns and processes.

use serde_json::{Value, json};

use cmtp_spec::{LayerFlags, Opcode, Status, Step};

use super::{Case, Outcome, to_number};
use crate::fqmn::{Element, Fqmn};
use crate::pattern::{Pattern, Scope};
use crate::process::{EffectFields, StepTaken, check_process, message_status};
use crate::subject::check_subject;

pub(super) fn fqmn(case: &Case) -> Outcome {
    let input = input(case);
    let text = std::str::from_utf8(&input)?;
    found(&Fqmn::parse(text)?, text)
}

pub(super) fn target(case: &Case) -> Outcome {
    let input = input(case);
    let text = std::str::from_utf8(&input)?;
    found(&Fqmn::parse_target(text)?, text)
}

pub(super) fn args(case: &Case) -> Outcome {
    let input = input(case);
    Fqmn::check_args(std::str::from_utf8(&input)?)?;
    Ok(json!({}))
}

pub(super) fn sugar(case: &Case) -> Outcome {
    let (text, words) = (case.text("text"), case.list("words"));
    let mut fqmn = Fqmn::from_sugar(text)?;
    if !words.is_empty() {
        fqmn = fqmn.with_words(words.iter().map(|word| word.as_str().unwrap()))?;
    }
    let normal = fqmn.to_string();
    assert_eq!(Fqmn::parse(&normal).as_ref(), Ok(&fqmn));
    Ok(json!({ "normal": normal }))
}

pub(super) fn subject(case: &Case) -> Outcome {
    let target = Fqmn::parse_target(case.text("target"))?;
    let subject = crate::subject(&target)?;
    assert_eq!(check_subject(&subject), Ok(()));
    Ok(json!({ "subject": subject }))
}

pub(super) fn pattern(case: &Case) -> Outcome {
    let (pattern, target, list) = (case.text("pattern"), case.text("target"), case.text("list"));
    let text = pattern;
    let pattern = Pattern::parse(text)?;
    assert_eq!(pattern.to_string(), text);
    let scope = match list {
        "read" => Scope::new(vec![pattern], Vec::new()),
        "write" => Scope::new(Vec::new(), vec![pattern]),
        other => panic!("no list {other}"),
    };
    let covered = scope.unwrap().admit(&Fqmn::parse_target(target).unwrap()).is_ok();
    Ok(json!({ "covered": covered }))
}

pub(super) fn process(case: &Case) -> Outcome {
    let opcode = Opcode(case.number("opcode"));
    let step = |layer: &Value| StepTaken {
        step: Step(to_number(&layer["step"])),
        status: Status(to_number(&layer["status"])),
        flags: LayerFlags(to_number(&layer["flags"])),
        effect: layer["effect"].as_array().map(|names| EffectFields {
            outcome_unknown: names.contains(&"outcome-unknown".into()),
            no_effect: names.contains(&"no-effect".into()),
        }),
    };
    let steps: Vec<_> = case.list("layers").iter().map(step).collect();
    check_process(opcode, &steps)?;
    Ok(json!({ "status": message_status(&steps).0 }))
}

/// The bytes of a text, which the case gives for people, too.
fn input(case: &Case) -> Vec<u8> {
    let input = case.bytes("input");
    let text = case.optional("text").and_then(Value::as_str);
    assert_eq!(std::str::from_utf8(&input).ok(), text, "the text for people");
    input
}

fn found(fqmn: &Fqmn, input: &str) -> Outcome {
    let normal = fqmn.to_string();
    assert_eq!(normal, input, "CNV-5");
    let element = |element: Element<'_>| match element {
        Element::Opcode(opcode) => json!({ "opcode": opcode.to_string() }),
        Element::Segment(_) => json!({ "segment": element.decoded() }),
    };
    let elements: Vec<_> = fqmn.elements().map(element).collect();
    Ok(json!({
        "elements": elements, "args": fqmn.args(), "normal": normal, "write": fqmn.is_write(),
    }))
}
