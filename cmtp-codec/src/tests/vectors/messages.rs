//! Stored messages, and the two directions of a request stream.

use std::sync::Arc;

use serde_json::{Value, json};

use cmtp_spec::{FieldIndex, Step};

use super::frames::Parts;
use super::{Case, Outcome, Stop, hex, to_array};
use crate::assemble::{Assembler, Part, Source};
use crate::chain::{Chain, Link};
use crate::error::DecodeErrorKind as Kind;
use crate::fqmn::Fqmn;
use crate::hash::Digest;
use crate::key::PublicKey;
use crate::layer::Layer;
use crate::log::Policy;
use crate::message::{Invalid, Message, Place, ProcessVerdict, Replay, Standing, Verdict};
use crate::process::{check_process, check_resolved};
use crate::seal;
use crate::trust::{Unverified, Verified};
use crate::verify::Verifier;

pub(super) fn stored(case: &Case) -> Outcome {
    let (input, pin) = (case.bytes("input"), case.value("pin"));
    let pin = (!pin.is_null()).then(|| PublicKey(to_array(pin)));
    // A rule, which a runner need not compare.
    case.optional("pinnedRule");
    let policy = case.optional("policy").map(|text| text.as_str().unwrap().parse::<Policy>());
    let policy = policy.transpose()?.map(Arc::new);

    let message = match Unverified::from_stored(input.clone()) {
        Ok(message) => message,
        Err(error) => {
            let mut found = json!({ "verdict": "invalid" });
            if pin.is_some() {
                found["pinnedVerdict"] = "invalid".into();
            }
            return Err(Stop::from(error.error).with(found));
        }
    };
    assert_eq!(message.untrusted().to_stored(), input, "CNV-5");

    let heads = heads(message.untrusted());
    let untrusted = message.untrusted();
    let sealed = seal::final_hash(&untrusted.seal.key, length(untrusted), *heads.last().unwrap());
    let free = message.clone().verify_under(None, policy.clone());
    let mut found = json!({
        "verdict": verdict(&free),
        "hashes": heads.iter().map(|hash| hex(hash.0)).collect::<Vec<_>>(),
        "seal": hex(sealed.0),
        "status": untrusted.status().0,
        "process": process(&free, untrusted),
        "badLayer": bad_layer(&free),
    });
    if let Some(pin) = pin {
        let pinned = message.clone().verify_under(Some(&pin), policy.clone());
        found["pinnedVerdict"] = verdict(&pinned).into();
    }
    match free {
        Ok(replay) => {
            assert_eq!(replay.heads, heads);
            let whole = message.clone().verify_under(pin.as_ref(), policy.clone());
            assert_eq!(in_parts(untrusted, pin, policy).ok(), whole.ok());
            found["standing"] = standing(&replay.standing).into();
            Ok(found)
        }
        Err(invalid) => Err(Stop::invalid(&invalid.to_string()).with(found)),
    }
}

pub(super) fn request(case: &Case) -> Outcome {
    let input = case.bytes("input");
    let (origin, auth) = read_request(&input)?;
    let hash = Chain::default().push(&Link::Layer(origin))?;
    Ok(json!({ "auth": auth, "hash": hex(hash.0) }))
}

pub(super) fn answer(case: &Case) -> Outcome {
    let (origin, input) = (case.bytes("origin"), case.bytes("input"));
    let (mut origin, _) = read_request(&origin)?;
    let mut assembler = Assembler::new(Source::Answer, cmtp_spec::limits::BODY_MAX);
    let parts = read_to_end(&mut assembler, &input)?;
    let (mut answered, mut interims, mut sealed) = (Vec::new(), Vec::new(), None);
    for part in parts {
        match part {
            Part::Link(link) => answered.push(*link),
            Part::Interim(seal) => interims.push((1 + answered.len() as u32, *seal)),
            Part::Seal(seal) => sealed = Some(*seal),
            Part::Auth(_) => panic!("AUTH in an answer"),
        }
    }
    let seal = sealed.unwrap();
    let unread = seal.body_unread;
    if unread {
        // [FRM-17] [QUI-17] What was refused without reading the body has one.
        if origin.data().is_none() {
            return Err(Kind::BodyUnread.into());
        }
        origin.close_unread();
    }
    let links = [vec![Link::Layer(origin)], answered].concat();
    let replay = match Unverified::new(Message { links, interims, seal }).verify(None) {
        Ok(replay) => replay,
        Err(invalid) => return Err(Stop::invalid(&invalid.to_string())),
    };
    // [STO-5] What is saved reads back and says the same.
    if !replay.message.seal.skipped {
        let saved = Unverified::from_stored(replay.to_saved().to_stored()).unwrap();
        assert_eq!(saved.verify(None).unwrap().heads, replay.heads);
    }
    Ok(json!({
        "hashes": replay.heads.iter().map(|hash| hex(hash.0)).collect::<Vec<_>>(),
        "seal": hex(replay.message.seal.hash.0),
        "status": replay.message.status().0, "bodyUnread": unread,
    }))
}

/// All that a client sent: the origin, and whether AUTH came.
fn read_request(input: &[u8]) -> Result<(Layer, bool), Stop> {
    let mut assembler = Assembler::new(Source::Request, cmtp_spec::limits::BODY_MAX);
    let parts = read_to_end(&mut assembler, input)?;
    let auth = matches!(parts.first(), Some(Part::Auth(_)));
    match &parts[usize::from(auth)..] {
        [Part::Link(link)] => Ok((link.layer().unwrap().clone(), auth)),
        other => panic!("one origin expected, {other:?} found"),
    }
}

fn read_to_end(assembler: &mut Assembler, input: &[u8]) -> Result<Vec<Part>, Stop> {
    let Parts { parts, is_cut } = Parts::read(assembler, input)?;
    // [QUI-18] A stream that ends before a frame is complete MUST be treated as malformed.
    if is_cut {
        return Err(Kind::EndsEarly.into());
    }
    assembler.finish()?;
    Ok(parts)
}

/// Verifies a message part by part, as a client does with a stream.
fn in_parts(
    message: &Message,
    root: Option<PublicKey>,
    policy: Option<Arc<Policy>>,
) -> Result<Verified<Replay>, Invalid> {
    let keys = message.seal.keys.clone().map(|keys| Arc::new(keys.verify().unwrap()));
    let mut verifier = Verifier::new(root, keys).sealed_by(message.seal.key).keeping();
    if let Some(policy) = policy {
        verifier = verifier.under(policy);
    }
    let mut interims = message.interims.iter().peekable();
    for link in &message.links {
        verifier.link(link.clone())?;
        while let Some((_, seal)) = interims.next_if(|(covered, _)| *covered == verifier.layers()) {
            verifier.interim(seal.clone())?;
        }
    }
    let judgement = verifier.seal(message.seal.clone())?;
    assert_eq!((judgement.layers, judgement.status), (length(message), message.status()));
    Ok(judgement.into_replay().unwrap())
}

fn length(message: &Message) -> u32 {
    u32::try_from(message.links.len()).unwrap()
}

/// The layer hashes of a message that need not be valid.
fn heads(message: &Message) -> Vec<Digest> {
    let mut heads: Vec<Digest> = Vec::new();
    for (number, link) in (0..).zip(&message.links) {
        let prev = heads.last().copied().unwrap_or(Digest::ZERO);
        heads.push(match link {
            Link::Layer(layer) => layer.core(number, prev).hash(),
            Link::Core(redacted) => redacted.core.hash(),
        });
    }
    heads
}

fn verdict(verified: &Result<Verified<Replay>, Invalid>) -> &'static str {
    match verified.as_ref().map(|replay| replay.verdict) {
        Ok(Verdict::Authentic) => "authentic",
        Ok(Verdict::Consistent) => "consistent",
        Err(_) => "invalid",
    }
}

fn standing(standing: &Standing) -> &'static str {
    match standing {
        Standing::Unlogged => "none",
        Standing::Promised | Standing::NotChecked => "promised",
        Standing::Logged { .. } => "logged",
        Standing::Witnessed { .. } => "witnessed",
    }
}

fn bad_layer(verified: &Result<Verified<Replay>, Invalid>) -> Value {
    match verified.as_ref().map_err(|invalid| invalid.place) {
        Ok(_) => Value::Null,
        Err(Place::Layer(number)) => number.into(),
        Err(Place::Interim(_)) => "interim".into(),
        Err(Place::Seal) => "seal".into(),
    }
}

/// The process verdict. Of a message that does not verify the codec gives none; its public parts can all the same.
fn process(verified: &Result<Verified<Replay>, Invalid>, message: &Message) -> &'static str {
    if let Ok(replay) = verified {
        return match replay.process {
            ProcessVerdict::Follows => "ok",
            ProcessVerdict::Breaks(_) => "not",
            ProcessVerdict::NotChecked => "unknown",
        };
    }
    let Some(opcode) = message.opcode() else { return "unknown" };
    let node = message.links.iter().skip(1).filter(|link| link.actor() == message.seal.key);
    let mut passed = message.links.iter().filter_map(Link::layer).filter(|layer| !layer.refuses());
    let is_allowed = |layer: &Layer| {
        let resolved = layer.text(FieldIndex::RESOLVED).map(Fqmn::parse_target);
        matches!(resolved, Some(Ok(target)) if check_resolved(opcode, &target).is_ok())
    };
    let resolves = passed.all(|layer| layer.step != Step::RESOLVE || is_allowed(layer));
    let follows = check_process(opcode, &message.steps()).is_ok()
        && node.map(Link::time).is_sorted()
        && resolves;
    if follows { "ok" } else { "not" }
}
