//! Messages of the session handshake, their transcript, and what is offered.

use serde_json::{Map, Value, json};

use super::{Case, Outcome, Stop, hex, number, to_bytes, to_signature};
use crate::hash::Digest;
use crate::key::{PublicKey, SigningKey};
use crate::pattern::Pattern;
use crate::session::{
    Answer, Call, Confirm, Consent, GrantName, Granted, Hello, Issued, Message, Parties, Random,
    Renew, ScopeTexts, Transcript,
};

pub(super) fn message(case: &Case) -> Outcome {
    let input = case.bytes("input");
    let decoded = match case.text("message") {
        "hello" => hello(&read(&input)?),
        "call" => call(&read(&input)?),
        "answer" => answer(&read(&input)?)?,
        "confirm" => confirm(&read(&input)?)?,
        "consent" => json!({ "consents": read::<Consent>(&input)?.consents }),
        "token" => {
            let issued: Issued = read(&input)?;
            json!({ "token": issued.token, "grant": issued.grant, "ends": number(issued.ends) })
        }
        "renew" => json!({ "grant": read::<Renew>(&input)?.grant }),
        "granted" => granted(&read(&input)?)?,
        other => panic!("no message {other}"),
    };
    Ok(json!({ "decoded": decoded }))
}

/// What is read is written and read again.
fn read<M: Message>(input: &[u8]) -> Result<M, Stop> {
    let message = M::from_bytes(input)?;
    let written = message.to_bytes();
    let again = M::from_bytes(&written).unwrap();
    assert_eq!(again.to_bytes(), written);
    Ok(message)
}

fn hello(hello: &Hello) -> Value {
    let versions: Vec<_> = hello.versions.iter().copied().map(number).collect();
    json!({ "versions": versions, "persona": hex(hello.persona.0), "nonce": hex(hello.nonce.0) })
}

fn call(call: &Call) -> Value {
    let asks = call.asks.iter().map(|ask| json!({ "what": ask.what, "required": ask.required }));
    let (node, nonce) = (hex(call.node.0), hex(call.nonce.0));
    let asks: Vec<_> = asks.collect();
    json!({ "version": number(call.version), "node": node, "nonce": nonce, "asks": asks })
}

fn answer(answer: &Answer) -> Outcome {
    let scope = answer.scope.as_ref().map(scope).transpose()?;
    let recovery = recovery(answer.recovery);
    Ok(json!({ "scope": scope, "recovery": recovery, "outside": answer.outside }))
}

fn confirm(confirm: &Confirm) -> Outcome {
    Ok(json!({
        "scope": scope(&confirm.scope)?,
        "groups": confirm.groups,
        "attributes": confirm.attributes,
        "grant-seconds": number(confirm.grant_seconds),
        "token-seconds": number(confirm.token_seconds),
    }))
}

fn granted(granted: &Granted) -> Outcome {
    Ok(json!({
        "persona": hex(granted.persona.0),
        "scope": scope(&granted.scope)?,
        "groups": granted.groups,
        "attributes": granted.attributes,
        "recovery": recovery(granted.recovery),
        "begun": number(granted.begun),
        "ends": number(granted.ends),
        "token-seconds": number(granted.token_seconds),
    }))
}

fn recovery(commitment: Option<Random>) -> Option<String> {
    commitment.map(|commitment| hex(commitment.0))
}

/// Patterns are read where a scope is made of them.
fn scope(texts: &ScopeTexts) -> Outcome {
    assert_eq!(&ScopeTexts::from(&texts.parse()?), texts);
    Ok(json!({ "read": texts.read, "write": texts.write }))
}

pub(super) fn sign(case: &Case) -> Outcome {
    let key = |name: &str| SigningKey::from_seed(&case.array(name)).unwrap();
    let (node, persona) = (key("nodeSeed"), key("personaSeed"));
    let parties = parties(case, persona.public());
    let messages = case.value("messages").as_object().unwrap();
    let transcript = transcript(messages);
    let renewal = Transcript::of_renewal(&to_bytes(&messages["renew"]));
    let hashes = transcript.iter().chain([&renewal]).map(|step| hex(step.hash().0));
    let hashes: Vec<_> = hashes.collect();
    let signed = |key: &SigningKey, step: Transcript| hex(parties.sign(step, key).0);
    let grant = GrantName::of(transcript[4]).to_string();
    Ok(json!({
        "persona": hex(persona.public().0),
        "tokenKey": hex(node.public().0),
        "transcript": hashes,
        "signatures": {
            "call": signed(&node, transcript[1]),
            "answer": signed(&persona, transcript[2]),
            "confirm": signed(&node, transcript[3]),
            "consent": signed(&persona, transcript[4]),
            "renew": signed(&persona, renewal),
        },
        "grant": grant,
        "jti": grant,
        "renewedJti": format!("{grant}.{}", case.number::<u64>("iat")),
    }))
}

pub(super) fn handshake(case: &Case) -> Outcome {
    let messages = case.value("messages").as_object().unwrap();
    let signatures = case.value("signatures").as_object().unwrap();
    let (parties, token_key) = (parties(case, case.key("persona")), case.key("tokenKey"));
    let bytes = |step: &str| to_bytes(&messages[step]);
    let hello: Hello = read(&bytes("hello"))?;
    let call: Call = read(&bytes("call"))?;
    let answer: Answer = read(&bytes("answer"))?;
    let confirm: Confirm = read(&bytes("confirm"))?;
    read::<Consent>(&bytes("consent"))?;
    let knows = hello.versions.contains(&call.version) && call.node == parties.node;
    if hello.persona != parties.persona || !knows {
        return Err(Stop::invalid("another persona, version or node"));
    }
    if !answer.scope.is_none_or(|wanted| is_within(&confirm.scope, &wanted)) {
        return Err(Stop::invalid("a wider scope than wanted"));
    }
    let transcript = transcript(messages);
    for (step, name, key) in [
        (1, "call", &token_key),
        (2, "answer", &parties.persona),
        (3, "confirm", &token_key),
        (4, "consent", &parties.persona),
    ] {
        parties.verify(transcript[step], key, &to_signature(&signatures[name]).unwrap())?;
    }
    let hashes: Vec<_> = transcript.iter().map(|step| hex(step.hash().0)).collect();
    Ok(json!({ "transcript": hashes, "grant": GrantName::of(transcript[4]) }))
}

/// th_1 to th_5.
fn transcript(messages: &Map<String, Value>) -> Vec<Transcript> {
    let steps = ["hello", "call", "answer", "confirm", "consent"];
    let mut last = Transcript::START;
    let then = |name: &str| {
        // On its way in a cookie it is its step and its hash.
        last = Transcript::resumed(last.step(), last.hash()).then(&to_bytes(&messages[name]));
        last
    };
    steps.into_iter().map(then).collect()
}

fn parties(case: &Case, persona: PublicKey) -> Parties {
    Parties { exporter: case.array("exporter"), node: case.key("node"), persona }
}

fn is_within(offered: &ScopeTexts, wanted: &ScopeTexts) -> bool {
    let (offered, wanted) = (offered.parse().unwrap(), wanted.parse().unwrap());
    let all = |narrow: &[Pattern], wide: &[Pattern]| {
        narrow.iter().all(|one| wide.iter().any(|wide| wide.includes(one)))
    };
    all(offered.read(), wanted.read()) && all(offered.write(), wanted.write())
}

pub(super) fn renewal(case: &Case) -> Outcome {
    let (input, parties) = (case.bytes("input"), parties(case, case.key("persona")));
    let signature = to_signature(case.value("signature")).unwrap();
    let renew: Renew = read(&input)?;
    let transcript = Transcript::of_renewal(&input);
    parties.verify(transcript, &parties.persona, &signature)?;
    let Digest(hash) = transcript.hash();
    Ok(json!({ "hash": hex(hash), "grant": renew.grant }))
}

pub(super) fn jti(case: &Case) -> Outcome {
    let jti = case.text("jti");
    let grant = GrantName::of_jti(jti).ok_or_else(|| Stop::invalid("no session's"))?;
    let number = jti.split_once('.').map(|(_, number)| number.parse::<u64>().unwrap());
    Ok(json!({ "grant": grant, "iat": number }))
}

pub(super) fn includes(case: &Case) -> Outcome {
    let (wide, narrow) = (pattern(case.value("wide")), pattern(case.value("narrow")));
    Ok(json!({ "included": wide.includes(&narrow) }))
}

/// The node's own code for this runs the same cases in its own crate.
pub(super) fn offer(case: &Case) -> Outcome {
    let patterns = |name: &str| case.list(name).iter().map(pattern).collect::<Vec<_>>();
    let (own, wanted) = (patterns("own"), patterns("wanted"));
    let within = |one: &Pattern, all: &[Pattern]| all.iter().any(|wide| wide.includes(one));
    let of_wanted = wanted.iter().filter(|one| within(one, &own));
    let of_own = own.iter().filter(|one| within(one, &wanted));
    let mut offered: Vec<_> = of_wanted.chain(of_own).map(Pattern::to_string).collect();
    offered.sort();
    offered.dedup();
    Ok(json!({ "offered": offered }))
}

fn pattern(text: &Value) -> Pattern {
    Pattern::parse(text.as_str().unwrap()).unwrap()
}
