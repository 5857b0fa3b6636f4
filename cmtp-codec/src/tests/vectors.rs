//! Runs the test vectors `cmtp-spec/vectors/*.json`, whose shapes `cmtp-spec/vectors/README.md` gives.
//!
//! Every key of a case is either an input, which its check takes, or an expectation, which the check must find: a key
//! that is neither fails the case, and so does one that is missing. Nothing is skipped.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, and a panic within a case is that case's failure"
)]

mod envelopes;
mod frames;
mod identity;
mod layers;
mod log;
mod messages;
mod names;
mod policies;
mod proofs;
mod properties;
mod samples;
mod session;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use cmtp_spec::CloseCode;

use crate::chain::LinkError;
use crate::envelope::{AskError, EnvelopeError, KeysError};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::fqmn::{FqmnError, FqmnErrorKind};
use crate::hash::{Digest, Salt};
use crate::key::{DidError, PublicKey, Signature, SignatureError};
use crate::log::{CheckpointError, GrowthError, LogProofError, PolicyError, VerifierKeyError};
use crate::pattern::PatternError;
use crate::persona::WordsError;
use crate::process::ProcessError;
use crate::receipt::ReceiptError;
use crate::revocation::RevocationError;
use crate::session::{MessageError, ScopeError};
use crate::subject::SubjectTooLong;

macro_rules! files {
    ($($test:ident: $file:literal;)*) => {
        const FILES: &[&str] = &[$($file),*];
        $(
            #[test]
            fn $test() {
                run($file);
            }
        )*
    };
}

files! {
    varint: "varint";
    frame: "frame";
    field: "field";
    leaf: "leaf";
    body: "body";
    layer: "layer";
    signature: "signature";
    chain: "chain";
    seal: "seal";
    key_list: "key-list";
    receipt: "receipt";
    did: "did";
    stored: "stored";
    fqmn: "fqmn";
    subject: "subject";
    pattern: "pattern";
    process: "process";
    message: "message";
    envelope: "envelope";
    checkpoint: "checkpoint";
    log_proof: "log-proof";
    consistency: "consistency";
    policy: "policy";
    identity: "identity";
    policies: "policies";
    session_message: "session-message";
    session: "session";
    scope: "scope";
}

#[test]
fn every_file_is_run() {
    let mut found: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    let mut run = [FILES, ELSEWHERE].concat();
    run.sort_unstable();
    assert_eq!(found, run);
}

/// What a case came to: the values that README.md expects of its type, or a stop.
type Outcome = Result<Value, Stop>;

/// Why a case gives no value.
#[derive(Debug)]
enum Stop {
    Incomplete,
    Invalid {
        why: String,
        /// The close code, where the error has one.
        close: Option<CloseCode>,
        /// What is expected of the case all the same.
        found: Value,
    },
}

impl Stop {
    fn invalid(why: &str) -> Self {
        Self::Invalid { why: why.to_owned(), close: None, found: json!({}) }
    }

    /// The same, with values that are expected though the case is invalid.
    fn with(self, values: Value) -> Self {
        match self {
            Self::Invalid { why, close, .. } => Self::Invalid { why, close, found: values },
            Self::Incomplete => self,
        }
    }

    const fn result(&self) -> &str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Invalid { .. } => "invalid",
        }
    }
}

impl From<DecodeErrorKind> for Stop {
    fn from(kind: DecodeErrorKind) -> Self {
        Self::Invalid { why: kind.to_string(), close: Some(kind.close_code()), found: json!({}) }
    }
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        error.kind.into()
    }
}

impl From<FqmnError> for Stop {
    fn from(error: FqmnError) -> Self {
        use FqmnErrorKind as Kind;
        let above_limit = matches!(
            error.kind,
            Kind::TargetTooLong
                | Kind::TooManyElements
                | Kind::TooDeep
                | Kind::ArgsTooLong
                | Kind::ArgsTooDeep
        );
        let close = above_limit.then_some(CloseCode::LIMIT_EXCEEDED);
        Self::Invalid { why: error.to_string(), close, found: json!({}) }
    }
}

macro_rules! stops {
    ($($error:ty),*) => {
        $(impl From<$error> for Stop {
            fn from(error: $error) -> Self {
                Self::invalid(&error.to_string())
            }
        })*
    };
}

stops!(
    CheckpointError,
    DidError,
    EnvelopeError,
    GrowthError,
    LinkError,
    LogProofError,
    PatternError,
    PolicyError,
    ProcessError,
    MessageError,
    ReceiptError,
    RevocationError,
    ScopeError,
    SignatureError,
    SubjectTooLong,
    VerifierKeyError,
    WordsError,
    std::str::Utf8Error
);

impl From<AskError> for Stop {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Malformed(error) => error.into(),
            other => Self::invalid(&other.to_string()),
        }
    }
}

impl From<KeysError> for Stop {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Malformed(error) => error.into(),
            other => Self::invalid(&other.to_string()),
        }
    }
}

/// The keys of a case and of its group, and which of them were taken as inputs.
struct Case {
    keys: Map<String, Value>,
    taken: RefCell<BTreeSet<String>>,
}

impl Case {
    fn new(group: &Map<String, Value>, test: &Map<String, Value>) -> Self {
        let mut keys = group.clone();
        keys.extend(test.clone());
        let mut taken: BTreeSet<String> = COMMON.iter().map(|&key| key.into()).collect();
        taken.extend(["type", "tests"].map(String::from));
        Self { keys, taken: RefCell::new(taken) }
    }

    fn optional(&self, key: &str) -> Option<&Value> {
        self.taken.borrow_mut().insert(key.to_owned());
        self.keys.get(key)
    }

    fn value(&self, key: &str) -> &Value {
        self.optional(key).unwrap_or_else(|| panic!("the case has no key {key}"))
    }

    fn text(&self, key: &str) -> &str {
        self.value(key).as_str().unwrap()
    }

    fn flag(&self, key: &str) -> bool {
        self.value(key).as_bool().unwrap()
    }

    fn list(&self, key: &str) -> &[Value] {
        self.value(key).as_array().unwrap()
    }

    fn number<T: TryFrom<u64, Error: std::fmt::Debug>>(&self, key: &str) -> T {
        to_number(self.value(key))
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        to_bytes(self.value(key))
    }

    fn array<const N: usize>(&self, key: &str) -> [u8; N] {
        to_array(self.value(key))
    }

    fn digest(&self, key: &str) -> Digest {
        Digest(self.array(key))
    }

    fn key(&self, key: &str) -> PublicKey {
        PublicKey(self.array(key))
    }

    /// What is expected: all that was not taken.
    fn expected(&self) -> Map<String, Value> {
        let taken = self.taken.borrow();
        let left = self.keys.iter().filter(|(key, _)| !taken.contains(*key));
        left.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// Runs one file and fails with all of its cases that failed.
fn run(name: &str) {
    let text = std::fs::read_to_string(folder().join(name).with_extension("json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(file["algorithm"], format!("cmtp/{name}"));
    assert_eq!(file["schema"], "v1");
    let (mut ids, mut assumed, mut failures) = (BTreeSet::new(), 0, Vec::new());
    for group in file["testGroups"].as_array().unwrap() {
        let group = group.as_object().unwrap();
        let check = check_of(group["type"].as_str().unwrap());
        for test in group["tests"].as_array().unwrap() {
            let test = test.as_object().unwrap();
            assert!(ids.insert(test["tcId"].as_u64().unwrap()), "tcId {} twice", test["tcId"]);
            assumed += usize::from(test.contains_key("assumes"));
            for flag in test["flags"].as_array().unwrap() {
                assert!(file["notes"].get(flag.as_str().unwrap()).is_some(), "no note {flag}");
            }
            let wrong = differences(&Case::new(group, test), check);
            if !wrong.is_empty() {
                let (id, comment) = (&test["tcId"], &test["comment"]);
                failures.push(format!("{name} {id} ({comment}):\n    {}", wrong.join("\n    ")));
            }
        }
    }
    println!("{name}: {} cases, {assumed} of them with an assumption", ids.len());
    assert_eq!(file["numberOfTests"], ids.len(), "numberOfTests");
    let count = failures.len();
    assert!(failures.is_empty(), "{count} of {}:\n{}", ids.len(), failures.join("\n"));
}

fn check_of(group: &str) -> fn(&Case) -> Outcome {
    match group {
        "varint" => frames::varint,
        "frame" => frames::frame,
        "fields" => frames::fields,
        "seal" => frames::seal,
        "public-leaf" => layers::public_leaf,
        "private-leaf" => layers::private_leaf,
        "fields-root" => layers::fields_root,
        "body" => layers::body,
        "body-frames" => layers::body_frames,
        "layer" => layers::layer,
        "chain" => layers::chain,
        "verify" => proofs::verify,
        "sign" => proofs::sign,
        "key-list" => proofs::key_list,
        "receipt" => proofs::receipt,
        "entry" => proofs::entry,
        "commit" => proofs::commit,
        "did" => proofs::did,
        "stored" => messages::stored,
        "request" => messages::request,
        "answer" => messages::answer,
        "envelope" => envelopes::envelope,
        "bus-request" => envelopes::request,
        "bus-answer" => envelopes::answer,
        "bus-cancel" => envelopes::cancel,
        "bus-ask" => envelopes::ask,
        "bus-keys" => envelopes::keys,
        "verifier-key" => log::verifier_key,
        "checkpoint" => log::checkpoint,
        "cosignature" => log::cosignature,
        "sign-note" => log::sign_note,
        "log-proof" => log::log_proof,
        "consistency" => log::consistency,
        "policy" => log::policy,
        "persona" => identity::persona,
        "words" => identity::words,
        "revoke" => identity::revoke,
        "revocation" => identity::revocation,
        "policy-name" => policies::name,
        "policy-set" => policies::set,
        "policy-listing" => policies::listing,
        "fqmn" => names::fqmn,
        "target" => names::target,
        "args" => names::args,
        "sugar" => names::sugar,
        "subject" => names::subject,
        "pattern" => names::pattern,
        "process" => names::process,
        "session-message" => session::message,
        "session-sign" => session::sign,
        "session" => session::handshake,
        "renewal" => session::renewal,
        "session-jti" => session::jti,
        "includes" => session::includes,
        "offer" => session::offer,
        other => panic!("no check for the group type {other}"),
    }
}

/// What a case expects and the codec does not do.
fn differences(case: &Case, check: fn(&Case) -> Outcome) -> Vec<String> {
    let outcome = match panic::catch_unwind(AssertUnwindSafe(|| check(case))) {
        Ok(outcome) => outcome,
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or(payload.downcast_ref::<&str>().copied());
            return vec![format!("panic: {}", shortened(text.unwrap_or("without a text")))];
        }
    };
    let wanted = case.keys["result"].as_str().unwrap();
    let mut wrong = Vec::new();
    let (result, why, found) = match &outcome {
        Ok(found) => ("valid", "", found),
        Err(stop @ Stop::Incomplete) => (stop.result(), "", &Value::Null),
        Err(stop @ Stop::Invalid { why, found, .. }) => (stop.result(), why.as_str(), found),
    };
    if result != wanted {
        let rule = case.keys.get("rule").unwrap_or(&Value::Null);
        wrong.push(format!("{wanted} ({rule}) expected, {result} found {why}"));
        return wrong;
    }
    if let (Some(kind), Err(Stop::Invalid { close, .. })) = (case.keys.get("kind"), &outcome) {
        let code = close_code(kind.as_str().unwrap());
        if *close != Some(code) {
            wrong.push(format!("kind: {code} expected, {close:?} found: {why}"));
        }
    }
    wrong.extend(differing(&case.expected(), found.as_object().unwrap_or(&Map::new())));
    wrong
}

fn differing(expected: &Map<String, Value>, found: &Map<String, Value>) -> Vec<String> {
    let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    keys.into_iter()
        .filter(|&key| expected.get(key) != found.get(key))
        .map(|key| {
            let text = |values: &Map<String, Value>| {
                shortened(&values.get(key).map_or("nothing".into(), Value::to_string))
            };
            format!("{key}: {} expected, {} found", text(expected), text(found))
        })
        .collect()
}

fn close_code(kind: &str) -> CloseCode {
    match kind {
        "limit" => CloseCode::LIMIT_EXCEEDED,
        "unknown-critical" => CloseCode::UNKNOWN_CRITICAL,
        "unexpected" => CloseCode::UNEXPECTED,
        other => panic!("no close code for the kind {other}"),
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../cmtp-spec/vectors")
}

fn shortened(text: &str) -> String {
    if text.len() > SHOWN {
        format!("{}…", text.get(..SHOWN).unwrap_or(text))
    } else {
        text.into()
    }
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn to_bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    assert!(text.len().is_multiple_of(2) && text == text.to_lowercase(), "lower-case hexadecimal");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn to_array<const N: usize>(value: &Value) -> [u8; N] {
    to_bytes(value).try_into().unwrap()
}

fn to_number<T: TryFrom<u64, Error: std::fmt::Debug>>(value: &Value) -> T {
    let number = value.as_u64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap());
    number.try_into().unwrap()
}

/// A number as the files have it: a string from 2^53 on.
fn number(value: u64) -> Value {
    if value < 1 << 53 { value.into() } else { value.to_string().into() }
}

fn or_null<T>(part: Option<T>, shown: impl Fn(T) -> String) -> Value {
    part.map_or(Value::Null, |part| shown(part).into())
}

fn signature_json(signature: Option<&Signature>) -> Value {
    or_null(signature, |signature| hex(signature.0))
}

fn to_signature(value: &Value) -> Option<Signature> {
    (!value.is_null()).then(|| Signature(to_array(value)))
}

fn to_salt(value: &Value) -> Salt {
    Salt(to_array(value))
}

/// Files that are no matter of the codec's: the crate that has what they are for reads them.
const ELSEWHERE: &[&str] = &["revoked", "token"];

/// Keys that every case has, or may have.
const COMMON: [&str; 7] = ["tcId", "comment", "flags", "result", "rule", "kind", "assumes"];

/// Characters of a value that a failure shows.
const SHOWN: usize = 400;
