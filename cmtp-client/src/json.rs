//! Messages as JSON, for programs: one shape for an answer, a file and an inspection.

use bytes::Bytes;
use cmtp_codec::{
    Body, Field, KeyList, Layer, Link, Private, ProcessVerdict, Receipt, Replay, Seal, Standing,
    Verdict,
};
use cmtp_spec::{FieldIndex, LayerFlags, binding};
use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use crate::answer::{answer_body, deciding_layer};
use crate::value;

/// A message as JSON.
///
/// `headers` and `body` are those of a CMesh message; `verdict`, `process`, `layers` and `seal` say what the message
/// proves. A body that is not UTF-8 stands as `body_base64`.
///
/// ```no_run
/// # fn example(answer: &cmtp_client::Answer) {
/// let view = cmtp_client::json(answer.replay());
/// println!("{} {}", view["headers"]["status"], view["verdict"]);
/// # }
/// ```
pub fn json(replay: &Replay) -> Value {
    let message = &replay.message;
    let body = answer_body(message);
    let origin = message.origin();
    let mut view = Map::new();
    view.insert(
        "headers".to_owned(),
        json!({
            "status": message.status().0,
            "version": format!("CMTP/{}", binding::VERSION),
            "transferred": body.as_ref().map_or(0, Bytes::len),
            "request": origin.map_or(Value::Null, by_name),
            "response": deciding_layer(message).map_or(Value::Null, by_name),
        }),
    );
    put_body(&mut view, "body", body.as_deref());
    view.insert("status_name".to_owned(), json!(message.status().to_string()));
    view.insert(
        "target".to_owned(),
        json!(origin.and_then(|layer| layer.text(FieldIndex::TARGET))),
    );
    view.insert("verdict".to_owned(), json!(verdict(replay.verdict)));
    view.insert("standing".to_owned(), standing(&replay.standing));
    view.insert("process".to_owned(), process(&replay.process));
    let layers = message.links.iter().enumerate().map(|(number, link)| layer(replay, number, link));
    view.insert("layers".to_owned(), layers.collect());
    view.insert("seal".to_owned(), seal(&message.seal));
    Value::Object(view)
}

/// The word for a verdict.
pub(crate) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Consistent => "consistent",
        Verdict::Authentic => "authentic",
    }
}

fn standing(standing: &Standing) -> Value {
    let logged =
        |name: &str, index: &u64, size: &u64| json!({ "is": name, "index": index, "size": size });
    match standing {
        Standing::Unlogged => json!({ "is": "unlogged" }),
        Standing::Promised => json!({ "is": "promised" }),
        Standing::NotChecked => json!({ "is": "not checked" }),
        Standing::Logged { index, size } => logged("logged", index, size),
        Standing::Witnessed { index, size, witnesses } => {
            let mut view = logged("witnessed", index, size);
            let time = |seconds: u64| value::time(seconds.saturating_mul(1_000_000));
            let witness =
                |(name, seconds): &(String, u64)| json!({ "name": name, "time": time(*seconds) });
            view["witnesses"] = witnesses.iter().map(witness).collect();
            view
        }
        other => json!({ "is": format!("{other:?}") }),
    }
}

fn process(process: &ProcessVerdict) -> Value {
    match process {
        ProcessVerdict::Follows => json!("follows"),
        ProcessVerdict::NotChecked => json!("not checked"),
        ProcessVerdict::Breaks(deviation) => json!({ "breaks": deviation.to_string() }),
    }
}

fn layer(replay: &Replay, number: usize, link: &Link) -> Value {
    let mut view = Map::new();
    let flags = LayerFlags::ALL.iter().filter(|flag| link.flags().0 & flag.0 != 0);
    for (name, value) in [
        ("number", json!(number)),
        ("step", json!(link.step().to_string())),
        ("status", json!(link.status().0)),
        ("flags", flags.map(ToString::to_string).collect()),
        ("actor", json!(link.actor().to_string())),
        ("time", json!(value::time(link.time()))),
        ("hash", json!(replay.heads.get(number).map(ToString::to_string))),
        ("grade", json!(replay.grade(number).as_str())),
        ("withheld", json!(link.layer().is_none())),
    ] {
        view.insert(name.to_owned(), value);
    }
    if let Some(layer) = link.layer() {
        view.insert("public".to_owned(), layer.public.iter().map(field).collect());
        view.insert("private".to_owned(), layer.private.iter().map(private).collect());
        match &layer.body {
            Body::Absent => {}
            Body::Present { data, .. } => put_body(&mut view, "body", Some(data)),
            Body::Withheld(hash) => {
                view.insert("body_withheld".to_owned(), json!(hash.to_string()));
            }
        }
    }
    Value::Object(view)
}

fn seal(seal: &Seal) -> Value {
    json!({
        "key": seal.key.to_string(),
        "hash": seal.hash.to_string(),
        "unlogged": seal.unlogged,
        "recorded": seal.recorded,
        "body_unread": seal.body_unread,
        "r0": seal.receipt.as_ref().map(receipt),
        "keys": seal.keys.as_ref().map(key_list),
    })
}

fn receipt(receipt: &Receipt) -> Value {
    let statement = &receipt.statement;
    json!({
        "log_origin": statement.log_origin,
        "index": receipt.index(),
        "count": statement.count,
        "offset": receipt.offset,
        "root": statement.root.to_string(),
        "mode": statement.mode.to_string(),
        "time": value::time(statement.time),
        "merge_delay": statement.merge_delay,
        "entry_type": receipt.entry_type.to_string(),
        "opcode": receipt.opcode.to_string(),
        "message_id": value::message_id(receipt.message_id),
    })
}

fn key_list(keys: &KeyList) -> Value {
    let listed = keys.keys.iter().map(|listed| {
        json!({
            "use": listed.key_use.to_string(),
            "key": listed.key.to_string(),
            "not_before": value::time(listed.not_before),
            "not_after": (listed.not_after != KeyList::NO_END).then(|| value::time(listed.not_after)),
        })
    });
    json!({ "root": keys.root.to_string(), "number": keys.number, "keys": listed.collect::<Value>() })
}

/// All fields of a layer by name; one that stands several times has a list.
fn by_name(layer: &Layer) -> Value {
    let mut fields = Map::new();
    for field in layer.fields() {
        let value = value::json(field);
        match fields.get_mut(field.name.as_str()) {
            None => {
                fields.insert(field.name.to_string(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = json!([first.take(), value]),
        }
    }
    Value::Object(fields)
}

fn field(field: &Field) -> Value {
    json!({ "name": field.name.as_str(), "value": value::json(field) })
}

fn private(private: &Private) -> Value {
    match private {
        Private::Disclosed { field: disclosed, .. } => field(disclosed),
        Private::Withheld(leaf) => json!({ "withheld": leaf.to_string() }),
    }
}

fn put_body(view: &mut Map<String, Value>, name: &str, body: Option<&[u8]>) {
    match body.map(std::str::from_utf8) {
        Some(Err(_not_text)) => {
            let encoded = BASE64.encode(body.unwrap_or_default());
            view.insert(format!("{name}_base64"), json!(encoded));
        }
        Some(Ok(text)) => {
            view.insert(name.to_owned(), json!(text));
        }
        None => {
            view.insert(name.to_owned(), Value::Null);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_codec::{Unverified, Withheld};

    use super::*;
    use crate::testing::{NODE, Sample, signing_key};

    #[test]
    fn an_answer_has_the_shape_of_a_mesh_message() {
        let view = json(&Sample::answer().replay());
        assert_eq!(view["headers"]["status"], 200);
        assert_eq!(view["headers"]["version"], "CMTP/0");
        assert_eq!(view["headers"]["transferred"], 5);
        assert_eq!(view["headers"]["request"]["target"], "0xS:echo");
        assert_eq!(view["headers"]["request"]["args"], r#"["Dexter"]"#);
        assert_eq!(view["headers"]["request"]["x-tag"], json!(["a", "b"]));
        assert_eq!(view["headers"]["response"]["content-type"], "text/plain");
        assert_eq!(view["body"], "hello");
        assert_eq!(view["verdict"], "authentic");
        assert_eq!(view["process"], "follows");
        let grades: Vec<_> =
            view["layers"].as_array().unwrap().iter().map(|l| &l["grade"]).collect();
        assert_eq!(grades, ["signed by caller", "vouched by node", "vouched by node"]);
        assert_eq!(view["seal"]["r0"]["mode"], "none");
        assert_eq!(view["seal"]["keys"]["root"], signing_key(NODE).public().to_string());
    }

    #[test]
    fn what_is_withheld_is_marked() {
        let withheld = Sample::answer().replay().withhold(&[
            Withheld::Field { layer: 0, field: 0 },
            Withheld::Body(2),
            Withheld::Layer(1),
        ]);
        let root = signing_key(NODE).public();
        let replay = Unverified::new(withheld.into_untrusted()).verify(Some(&root)).unwrap();
        let view = json(&replay);
        assert!(view["layers"][0]["private"][0]["withheld"].is_string());
        assert_eq!(view["layers"][1]["withheld"], true);
        assert!(view["layers"][2]["body_withheld"].is_string());
        assert_eq!(view["body"], Value::Null);
        assert_eq!(view["verdict"], "authentic");
    }

    #[test]
    fn a_body_that_is_no_text_is_base64() {
        let view = json(&Sample { body: vec![0xff, 0], ..Sample::answer() }.replay());
        assert_eq!(view["body_base64"], "/wA=");
        assert_eq!(view.get("body"), None);
        assert_eq!(view["layers"][2]["body_base64"], "/wA=");
    }
}
