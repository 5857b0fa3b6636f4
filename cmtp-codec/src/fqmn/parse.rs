//! The grammar of FQMNs, on nom: the one place that knows it.

use cmtp_spec::{Opcode, limits};
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while_m_n, take_while1};
use nom::character::complete::char;
use nom::combinator::{cut, eof, peek, recognize};
use nom::error::{ErrorKind, ParseError};
use nom::multi::{many1_count, separated_list1};
use nom::sequence::terminated;
use nom::{Err, IResult, Parser};
use serde_json::value::RawValue;

use super::{FqmnError, FqmnErrorKind as Kind, OPCODE_PREFIX, read_form};

/// Parts a text before its arguments, which begin at the first element whose first byte is `[`, and says where.
pub(super) fn split_args(text: &str) -> (&str, Option<(usize, &str)>) {
    match text.split_once(ARGS_BEGIN) {
        Some((target, _)) => {
            let at = target.len() + 1;
            (target, text.get(at..).map(|args| (at, args)))
        }
        None => (text, None),
    }
}

/// Checks a target, whose first opcode it returns.
pub(super) fn target(text: &str) -> Result<Opcode, FqmnError> {
    check_length(text)?;
    check_structure(&separate(text, segment)?)
}

/// As [`target`], where elements may be wildcards.
pub(crate) fn pattern(text: &str) -> Result<Opcode, FqmnError> {
    check_length(text)?;
    check_structure(&separate(text, alt((wildcard, segment)))?)
}

/// Checks arguments.
pub(super) fn args(text: &str) -> Result<(), FqmnError> {
    // [FQN-7] Arguments MUST be at most `args-max` bytes and `args-depth-max` levels deep …
    if text.len() as u64 > limits::ARGS_MAX {
        return Err(Kind::ArgsTooLong.at(text.len()));
    }
    // [FQN-7] … a JSON array by the grammar of RFC 8259, with nothing before or after it.
    if !text.starts_with('[') {
        return Err(Kind::ArgsNotArray.at(0));
    }
    check_depth(text)?;
    // A raw value is kept as text, so nothing but the grammar is checked; serde_json reads it without recursion.
    if let Err(error) = serde_json::from_str::<&RawValue>(text) {
        let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
        let offset = lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
        return Err(Kind::ArgsNotJson.at(offset.min(text.len())));
    }
    if !text.ends_with(']') {
        return Err(Kind::ArgsNotArray.at(text.trim_end().len()));
    }
    Ok(())
}

/// Whether a character is one of the reserved bytes, which a segment carries percent-encoded.
pub(super) const fn is_reserved(character: char) -> bool {
    matches!(character, '\0'..=' ' | '\x7f' | '"' | '%' | '*' | ':' | '[' | ']')
}

fn check_length(text: &str) -> Result<(), FqmnError> {
    // [FQN-5] An FQMN MUST NOT hold, arguments apart, more than `target-max` bytes. Checked first: what follows is
    // bounded by it.
    if text.len() as u64 > limits::TARGET_MAX {
        return Err(Kind::TargetTooLong.at(text.len()));
    }
    Ok(())
}

/// A fault at the beginning of `rest`.
struct Fault<'a> {
    kind: Kind,
    rest: &'a str,
}

impl<'a> ParseError<&'a str> for Fault<'a> {
    fn from_error_kind(rest: &'a str, _: ErrorKind) -> Self {
        // Every parser here takes what is not reserved, so a reserved byte or the end is what stopped it.
        let kind = match rest.bytes().next() {
            None | Some(b':') => Kind::EmptySegment,
            Some(byte) => Kind::Reserved(byte),
        };
        Self { kind, rest }
    }

    fn append(_: &'a str, _: ErrorKind, other: Self) -> Self {
        other
    }
}

type Parsed<'a> = IResult<&'a str, &'a str, Fault<'a>>;

/// All elements of `text`, each as its text.
fn separate<'a>(
    text: &'a str,
    element: impl Parser<&'a str, Output = &'a str, Error = Fault<'a>>,
) -> Result<Vec<&'a str>, FqmnError> {
    // [FQN-2] A parser MUST refuse an empty segment: after a colon there is no way back.
    let parsed = terminated(separated_list1(char(':'), cut(element)), eof).parse(text);
    match parsed {
        Ok((_, elements)) => Ok(elements),
        Err(Err::Error(fault) | Err::Failure(fault)) => {
            Err(fault.kind.at(text.len() - fault.rest.len()))
        }
        Err(Err::Incomplete(_)) => Err(Kind::EmptySegment.at(text.len())),
    }
}

// [FQN-1] A parser MUST refuse a reserved byte that stands unencoded in a segment. [FQN-2] One that is not UTF-8 once
// decoded can't come about: the text is UTF-8, and only ASCII is ever encoded.
fn segment(input: &str) -> Parsed<'_> {
    recognize(many1_count(alt((take_while1(|c| !is_reserved(c)), encoded)))).parse(input)
}

fn encoded(input: &str) -> Parsed<'_> {
    let (digits, _) = char('%').parse(input)?;
    let fail = |kind| Err(Err::Failure(Fault { kind, rest: input }));
    let parsed: Parsed<'_> = take_while_m_n(2, 2, |c: char| c.is_ascii_hexdigit()).parse(digits);
    let Ok((rest, digits)) = parsed else { return fail(Kind::BrokenEncoding) };
    let Ok(byte) = u8::from_str_radix(digits, 16) else { return fail(Kind::BrokenEncoding) };
    // [FQN-1] A parser MUST refuse an encoded byte that is not reserved …
    if !is_reserved(char::from(byte)) {
        return fail(Kind::NeedlessEncoding(byte));
    }
    // [FQN-1] … and lower-case hexadecimal digits in an encoding.
    if digits.contains(|c: char| c.is_ascii_lowercase()) {
        return fail(Kind::LowerCaseEncoding(byte));
    }
    Ok((rest, digits))
}

fn wildcard(input: &str) -> Parsed<'_> {
    terminated(alt((tag(ANY_TAIL), tag(ANY_ELEMENT))), peek(alt((tag(":"), eof)))).parse(input)
}

/// Checks the rules that look at whole elements; returns the first opcode.
fn check_structure(elements: &[&str]) -> Result<Opcode, FqmnError> {
    let mut opcodes = Vec::new();
    let mut offset = 0;
    for (number, &element) in elements.iter().enumerate() {
        // [FQN-5] An FQMN MUST NOT hold more than `target-segments-max` elements (opcodes included) …
        if number as u64 >= limits::TARGET_SEGMENTS_MAX {
            return Err(Kind::TooManyElements.at(offset));
        }
        // [FQN-3] A segment that is spelled like an opcode is an opcode.
        if let Some(opcode) = Opcode::from_name(element) {
            // [FQN-5] … more than `target-depth-max` opcodes …
            if opcodes.len() as u64 >= limits::TARGET_DEPTH_MAX {
                return Err(Kind::TooDeep.at(offset));
            }
            let own = own_segment(opcode, number, elements).map_err(|kind| kind.at(offset))?;
            // [FQN-6] An FQMN MUST NOT hold two opcodes of one family with the same directly following segment.
            let family = read_form(opcode);
            if own.is_some() && opcodes.contains(&(family, own)) {
                return Err(Kind::Cycle.at(offset));
            }
            opcodes.push((family, own));
        } else if number == 0 {
            // [FQN-9] A node MUST NOT accept sugar on the wire: neither names nor the older spelling begin so.
            return Err(Kind::NoOpcode.at(0));
        } else if element.strip_prefix(OPCODE_PREFIX).is_some_and(|digits| !is_address(digits)) {
            // [FQN-3] A segment that begins with `0x` and is neither an opcode nor an address MUST be refused.
            return Err(Kind::NotAnAddress.at(offset));
        }
        offset += element.len() + 1;
    }
    elements.first().and_then(|first| Opcode::from_name(first)).ok_or(Kind::NoOpcode.at(0))
}

/// The segment that directly follows the opcode at `number`; none where an opcode may stand there and does, or where
/// a wildcard does.
fn own_segment<'a>(
    opcode: Opcode,
    number: usize,
    elements: &[&'a str],
) -> Result<Option<&'a str>, Kind> {
    match elements.get(number + 1).copied() {
        // [FQN-2] A parser MUST refuse an FQMN without a resource (arguments alone are no resource).
        None if number == 0 => Err(Kind::NoResource),
        // [FQN-4] An opcode MUST be followed by at least one segment that is not an opcode …
        None => Err(Kind::NoSegment),
        Some(next) if Opcode::from_name(next).is_some() => match opcode {
            // [FQN-4] … there is one exception: `0xE` and `0xEW` MAY be followed directly by an opcode.
            Opcode::E | Opcode::EW => Ok(None),
            _ => Err(Kind::NoSegment),
        },
        Some(ANY_ELEMENT | ANY_TAIL) => Ok(None),
        Some(next) => Ok(Some(next)),
    }
}

/// Whether what follows `0x` makes an address.
fn is_address(digits: &str) -> bool {
    digits.len() >= ADDRESS_DIGITS_MIN
        && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Brackets outside of strings are counted, whether or not they fit each other: that is the grammar's business.
fn check_depth(args: &str) -> Result<(), FqmnError> {
    let mut depth = 0_u64;
    let mut in_string = false;
    let mut escaped = false;
    for (offset, byte) in args.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limits::ARGS_DEPTH_MAX {
            return Err(Kind::ArgsTooDeep.at(offset));
        }
    }
    Ok(())
}

/// Begins the arguments: no element begins with `[`.
const ARGS_BEGIN: &str = ":[";

/// Stands for one element of a pattern.
pub(crate) const ANY_ELEMENT: &str = "*";

/// Stands for one element or more at the end of a pattern.
pub(crate) const ANY_TAIL: &str = "**";

const ADDRESS_DIGITS_MIN: usize = 3;
