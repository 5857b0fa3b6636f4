//! The vectors of chapter 10: `cmtp-spec/vectors/token.json`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::{fs, path::Path};

use cmtp_codec::Pattern;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::{Claims, Token, TokenError, TokenHeader};
use crate::node_keys::NodeKeys;

#[test]
fn each_vector_comes_out_as_the_text_demands() {
    // [ADM-1] [ADM-2] [ADM-3] [ADM-4] [ADM-5] [ADM-6]
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cmtp-spec/vectors/token.json");
    let file: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(file["algorithm"], "cmtp/token");
    let (mut count, mut by_rule, mut wrong) = (0, BTreeMap::<String, u32>::new(), Vec::new());
    for group in file["testGroups"].as_array().unwrap() {
        assert_eq!(group["type"], "token");
        let key = NodeKeys::from_seed(&hex(&group["seed"]).try_into().unwrap()).unwrap();
        assert_eq!(key.public().0[..], hex(&group["root"]));
        assert_eq!(group["keys"], json!([group["root"]]));
        for test in group["tests"].as_array().unwrap() {
            count += 1;
            let rule = test.get("rule").or(test.get("result")).and_then(Value::as_str).unwrap();
            *by_rule.entry(rule.to_owned()).or_default() += 1;
            let found = outcome(test, &key);
            if let Err(difference) = compared(test, found) {
                wrong.push(format!("{} ({}): {difference}", test["tcId"], test["comment"]));
            }
        }
    }
    println!("token: {count} cases: {by_rule:?}");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(file["numberOfTests"], count);
}

/// What the node makes of a token: one that is outside of its times is none.
fn outcome(test: &Value, key: &NodeKeys) -> Result<Value, Option<TokenError>> {
    let now = test["now"].as_u64().unwrap() * 1_000_000;
    let token = test["token"].as_str().unwrap().as_bytes();
    let token = Token::verify(token, key, now).map_err(Some)?;
    if !token.is_valid_at(now) {
        return Err(None);
    }
    let spell = |patterns: &[Pattern]| patterns.iter().map(Pattern::to_string).collect::<Vec<_>>();
    Ok(json!({
        "holder": HEXLOWER.encode(&token.holder.0),
        "read": spell(token.scope.read()),
        "write": spell(token.scope.write()),
        "notBefore": token.not_before,
        "expires": token.expires,
    }))
}

fn compared(test: &Value, found: Result<Value, Option<TokenError>>) -> Result<(), String> {
    use TokenError as E;
    let reason = match (test["result"].as_str().unwrap(), found) {
        ("valid", Ok(found)) => {
            let expected =
                found.as_object().unwrap().iter().all(|(key, value)| test[key] == *value);
            return if expected { Ok(()) } else { Err(format!("{found} found")) };
        }
        ("invalid", Err(reason)) => reason,
        (expected, found) => return Err(format!("{expected} expected, {found:?} found")),
    };
    // The node's own reason is one of those that the rule is about.
    let is_about = match test.get("rule").and_then(Value::as_str) {
        Some("ADM-1") => matches!(reason, Some(E::Header | E::Claims)),
        Some("ADM-2") => reason == Some(E::OtherNode),
        Some("ADM-3" | "CNV-3") => reason == Some(E::Confirmation),
        Some("ADM-4") => matches!(reason, None | Some(E::Times)),
        Some("ADM-5") => matches!(reason, Some(E::Encoding | E::TooLong)),
        Some("ADM-6") => reason == Some(E::Scope),
        Some(other) => return Err(format!("no reason is known for {other}")),
        None => true,
    };
    if is_about { Ok(()) } else { Err(format!("{reason:?} found, {} expected", test["rule"])) }
}

#[test]
fn a_member_that_stands_twice_is_an_error_and_not_the_last_of_them() {
    // [ADM-1] What is derived says so by itself, at each depth; the last one would count for a map.
    let twice = r#"{"alg":"none","typ":"cmtp+jwt","kid":"k","alg":"EdDSA"}"#;
    let says = |error: serde_json::Error| error.to_string();
    let error = serde_json::from_str::<TokenHeader>(twice).map(|_header| ()).map_err(says);
    assert!(error.unwrap_err().starts_with("duplicate field `alg`"));
    let last: Value = serde_json::from_str(twice).unwrap();
    assert_eq!(last["alg"], "EdDSA");
    let claims = r#"{"cnf":{"jwk":{"kty":"OKP","crv":"Ed25519","x":"a","x":"b"}}}"#;
    let error = serde_json::from_str::<Claims>(claims).map(|_claims| ()).map_err(says);
    assert!(error.unwrap_err().starts_with("duplicate field `x`"));
}

fn hex(text: &Value) -> Vec<u8> {
    HEXLOWER.decode(text.as_str().unwrap().as_bytes()).unwrap()
}
