//! Names: targets, arguments, subjects, patterns and what people type.

use cmtp_codec::{
    Element, Fqmn, FqmnError, Pattern, PatternError, check_subject, encode_segment, subject,
};
use cmtp_spec::{Opcode, binding, limits};

/// Reads lines of text as names of every kind, each by itself and each two together.
///
/// - `[FQN-1]` There is one text for each FQMN: what parses is written as it was read, and its parts make it up.
/// - `[FQN-10]` The subject depends on the target alone, and two targets have two.
/// - `[ADM-7]` The pattern that a target is covers it, and so do those that are wider; no other does.
/// - Sugar ends in something that parses by itself. An error names a place in the text.
pub fn fqmn(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let lines: Vec<_> = text.split('\n').take(LINES).collect();
    check_one(text);
    for line in &lines {
        check_one(line);
    }
    for pair in lines.windows(2) {
        check_two(pair[0], pair[1]);
        check_two(pair[1], pair[0]);
    }
    if let [first, words @ ..] = lines.as_slice()
        && let Ok(fqmn) = Fqmn::from_sugar(first)
    {
        check_words(&fqmn, words);
    }
}

fn check_one(text: &str) {
    match Fqmn::parse(text) {
        Ok(fqmn) => check_fqmn(&fqmn, text),
        Err(error) => check_error(error, text),
    }
    match Fqmn::parse_target(text) {
        Ok(fqmn) => assert_eq!((fqmn.target(), fqmn.args()), (text, None)),
        Err(error) => check_error(error, text),
    }
    match Fqmn::from_sugar(text) {
        Ok(fqmn) => assert_eq!(Fqmn::parse(&fqmn.to_string()), Ok(fqmn)),
        Err(error) => check_error(error, text),
    }
    match Fqmn::check_args(text) {
        Ok(()) => assert!(text.starts_with('[') && text.ends_with(']')),
        Err(error) => check_error(error, text),
    }
    match Pattern::parse(text) {
        Ok(pattern) => assert_eq!(pattern.to_string(), text),
        Err(PatternError::Fqmn(error)) => check_error(error, text),
        Err(PatternError::WriteForm { offset } | PatternError::TailNotLast { offset }) => {
            assert!(text.is_char_boundary(offset));
        }
        Err(other) => panic!("an unknown error: {other}"),
    }
    if check_subject(text).is_ok() {
        assert!(text.len() as u64 <= limits::SUBJECT_MAX);
        assert!(!text.contains(['*', '>', ' ', '\r', '\n', '\t']));
    }
}

fn check_error(error: FqmnError, text: &str) {
    assert!(error.offset <= text.len(), "{error} in {text:?}");
    assert!(!error.to_string().is_empty() && !error.rule().is_empty());
}

fn check_fqmn(fqmn: &Fqmn, text: &str) {
    assert_eq!(fqmn.to_string(), text);
    assert_eq!(Fqmn::from_sugar(text).as_ref(), Ok(fqmn));
    let elements: Vec<_> = fqmn.elements().collect();
    let texts: Vec<_> = elements.iter().map(Element::to_string).collect();
    assert_eq!(texts.join(":"), fqmn.target());
    assert_eq!(elements[0], Element::Opcode(fqmn.opcode()));
    assert_eq!(fqmn.is_write(), texts[0].ends_with('W'));
    for element in &elements {
        assert_eq!(encode_segment(&element.decoded()), element.to_string());
    }
    // [FQN-5]
    assert!(fqmn.target().len() as u64 <= limits::TARGET_MAX);
    assert!(elements.len() as u64 <= limits::TARGET_SEGMENTS_MAX);

    let bare = Fqmn::parse_target(fqmn.target()).expect("a target without its arguments is one");
    assert_eq!(subject(fqmn), subject(&bare));
    if let Ok(subject) = subject(fqmn) {
        assert_eq!(check_subject(&subject), Ok(()));
        assert_eq!(target_of(&subject), fqmn.target());
    }
    let given = fqmn.args().map(|args| bare.clone().with_args(args));
    assert_eq!(given.unwrap_or(Ok(bare)).as_ref(), Ok(fqmn));

    let mut wide = texts;
    wide[0] = wide[0].trim_end_matches('W').to_owned();
    if !wide.iter().any(|element| is_write_form(element)) {
        let pattern = Pattern::parse(&wide.join(":")).expect("a read target is a pattern");
        assert!(pattern.covers(fqmn));
    }
    let tail = Pattern::parse(&format!("{}:**", wide[0])).expect("an opcode and a tail");
    assert!(tail.covers(fqmn));
    let last = wide.len() - 1;
    wide[last] = "*".to_owned();
    if let Ok(pattern) = Pattern::parse(&wide.join(":")) {
        assert!(pattern.covers(fqmn));
    }
}

/// The inverse of the mapping: where there is one, no two targets have the same subject.
fn target_of(subject: &str) -> String {
    let mut tokens = subject.strip_prefix(binding::SUBJECT_PREFIX).expect("the prefix").split('.');
    let letters = tokens.next().expect("the first opcode").to_ascii_uppercase();
    let mut target = format!("0x{letters}");
    for token in tokens {
        let mut pieces = token.split('=');
        let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
        for piece in pieces {
            let (digits, rest) = piece.split_at(2);
            bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
            bytes.extend(rest.as_bytes());
        }
        let element = String::from_utf8(bytes).expect("bytes of a target");
        target = format!("{target}:{}", encode_segment(&element));
    }
    target
}

fn check_two(one: &str, other: &str) {
    if let (Ok(one), Ok(other)) = (Fqmn::parse(one), Fqmn::parse(other)) {
        if let (Ok(a), Ok(b)) = (subject(&one), subject(&other)) {
            assert_eq!(a == b, one.target() == other.target());
        }
        let tail: Vec<_> = other.target().split(':').collect();
        match one.extended(&tail) {
            Ok(longer) => {
                assert_eq!(longer.target(), format!("{}:{}", one.target(), other.target()));
            }
            Err(error) => assert!(error.offset <= one.target().len() + 1 + other.target().len()),
        }
    }
    if let (Ok(pattern), Ok(target)) = (Pattern::parse(one), Fqmn::parse(other)) {
        let wanted: Vec<_> = one.split(':').collect();
        let mut given: Vec<_> = target.target().split(':').collect();
        given[0] = given[0].trim_end_matches('W');
        assert_eq!(pattern.covers(&target), covers(&wanted, &given), "{one} {other}");
    }
}

/// Chapter 10 as it is written.
fn covers(wanted: &[&str], given: &[&str]) -> bool {
    match (wanted, given) {
        ([], []) => true,
        (["**"], given) => !given.is_empty(),
        (["*", wanted @ ..], [_, given @ ..]) => covers(wanted, given),
        ([one, wanted @ ..], [other, given @ ..]) => one == other && covers(wanted, given),
        _ => false,
    }
}

fn check_words(fqmn: &Fqmn, words: &[&str]) {
    if let Ok(fqmn) = fqmn.clone().with_words(words.iter().copied()) {
        assert_eq!(Fqmn::parse(&fqmn.to_string()).as_ref(), Ok(&fqmn));
        let args = fqmn.args().expect("words are arguments");
        assert_eq!(
            serde_json::from_str::<Vec<String>>(args).expect("a JSON array of texts"),
            words
        );
    }
}

fn is_write_form(element: &str) -> bool {
    Opcode::from_name(element).is_some() && element.ends_with('W')
}

/// Each is checked with the next.
const LINES: usize = 8;
