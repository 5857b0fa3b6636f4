//! FQMNs, the names that say what a request is for: `cmtp-spec/spec/06-fqmn.md`.

pub(crate) mod parse;

use std::borrow::Cow;
use std::fmt;

use cmtp_spec::{Opcode, Status};

/// A fully qualified mesh name in normal form, perhaps with arguments.
///
/// Two of them are equal exactly if their texts are. [`Display`](fmt::Display) writes the whole text; what goes on the
/// wire, into a log line or an entry is [`target`](Self::target), and `Debug` keeps arguments to itself, too.
///
/// ```
/// # use cmtp_codec::Fqmn;
/// let fqmn = Fqmn::parse(r#"0xS:0x001:hello_world:["Dexter"]"#)?;
/// assert_eq!(fqmn.target(), "0xS:0x001:hello_world");
/// assert_eq!(fqmn.args(), Some(r#"["Dexter"]"#));
/// # Ok::<(), cmtp_codec::FqmnError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fqmn {
    // Checked by `parse::target`, so that `:` stands between elements only and each `%` begins an encoded byte.
    target: String,
    opcode: Opcode,
    args: Option<String>,
}

impl Fqmn {
    /// Reads the full form: a target, and arguments where they stand.
    ///
    /// # Errors
    ///
    /// The first rule of chapter 6 that `text` breaks, with the byte at which it does.
    pub fn parse(text: &str) -> Result<Self, FqmnError> {
        let (target, args) = parse::split_args(text);
        let opcode = parse::target(target)?;
        let fqmn = Self { target: target.to_owned(), opcode, args: None };
        match args {
            Some((at, args)) => fqmn.with_args(args).map_err(|error| error.moved(at)),
            None => Ok(fqmn),
        }
    }

    /// Reads the form that travels: the normal form without arguments.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), and [`FqmnErrorKind::ArgsInTarget`] where arguments follow.
    pub fn parse_target(text: &str) -> Result<Self, FqmnError> {
        // [FQN-8] On the wire `target` MUST be the normal form without arguments.
        if let (_, Some((at, _))) = parse::split_args(text) {
            return Err(FqmnErrorKind::ArgsInTarget.at(at));
        }
        Self::parse(text)
    }

    /// Reads what a person types: resolves the older spelling and bare names, then parses. For clients only.
    ///
    /// ```
    /// # use cmtp_codec::Fqmn;
    /// assert_eq!(Fqmn::from_sugar("helloworld.mcom:hello")?.target(), "0xR:helloworld.mcom:hello");
    /// assert_eq!(Fqmn::from_sugar("0Sx:echo")?.target(), "0xS:echo");
    /// # Ok::<(), cmtp_codec::FqmnError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse); the offset counts in `text` as it was typed.
    pub fn from_sugar(text: &str) -> Result<Self, FqmnError> {
        let first = text.split(':').next().unwrap_or_default();
        if Opcode::from_name(first).is_some() {
            return Self::parse(text);
        }
        if let Some(opcode) = older_spelling(first) {
            let rest = text.strip_prefix(first).unwrap_or_default();
            return Self::parse(&format!("{opcode}{rest}"));
        }
        let prefix = format!("{}:", Opcode::R);
        Self::parse(&format!("{prefix}{text}")).map_err(|error| FqmnError {
            offset: error.offset.saturating_sub(prefix.len()),
            ..error
        })
    }

    /// Takes `args`, a JSON array as text, in place of the arguments so far.
    ///
    /// # Errors
    ///
    /// As [`check_args`](Self::check_args).
    pub fn with_args(self, args: &str) -> Result<Self, FqmnError> {
        Self::check_args(args)?;
        // [FQN-7] They are carried as they are and MUST NOT be serialised anew.
        Ok(Self { args: Some(args.to_owned()), ..self })
    }

    /// Takes plain words as arguments, each as a JSON string, in place of the arguments so far. For clients only.
    ///
    /// # Errors
    ///
    /// [`FqmnErrorKind::ArgsTooLong`] where the words are too long together.
    pub fn with_words<'a>(
        self,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, FqmnError> {
        let words: Vec<_> = words.into_iter().map(serde_json::Value::from).collect();
        self.with_args(&serde_json::Value::Array(words).to_string())
    }

    /// This target followed by the elements of `tail`, each in normal form, without arguments: what resolution makes
    /// of a registered FQMN and the elements that followed the name.
    ///
    /// # Errors
    ///
    /// As [`parse_target`](Self::parse_target); the offset counts in the text put together.
    pub fn extended(&self, tail: &[&str]) -> Result<Self, FqmnError> {
        let mut text = self.target.clone();
        for element in tail {
            text.push(':');
            if let Some(colon) = element.find(':') {
                return Err(FqmnErrorKind::Reserved(b':').at(text.len() + colon));
            }
            text.push_str(element);
        }
        Self::parse_target(&text)
    }

    /// Checks arguments by themselves, as they travel in the field `args`.
    ///
    /// # Errors
    ///
    /// The kinds of FQN-7, with the byte of `args`; that of [`FqmnErrorKind::ArgsNotJson`] is where the reader noticed.
    pub fn check_args(args: &str) -> Result<(), FqmnError> {
        parse::args(args)
    }

    /// The first opcode, whose process the message goes through.
    pub fn opcode(&self) -> Opcode {
        self.opcode
    }

    /// Whether the first opcode is a write form.
    pub fn is_write(&self) -> bool {
        is_write(self.opcode)
    }

    /// The normal form without arguments.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The arguments, byte for byte as they came: a JSON array.
    pub fn args(&self) -> Option<&str> {
        self.args.as_deref()
    }

    /// The elements in order; the first is the opcode.
    pub fn elements(&self) -> impl Iterator<Item = Element<'_>> {
        self.target.split(':').map(|text| match Opcode::from_name(text) {
            Some(opcode) => Element::Opcode(opcode),
            None => Element::Segment(text),
        })
    }
}

impl fmt::Display for Fqmn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)?;
        match &self.args {
            Some(args) => write!(f, ":{args}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Fqmn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // [FQN-8] Arguments MUST NOT stand in a log line.
        let hidden = if self.args.is_some() { ":[…]" } else { "" };
        write!(f, "Fqmn({}{hidden})", self.target)
    }
}

/// What stands between colons. Closed: the grammar has these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element<'a> {
    /// An opcode, which begins an FQMN or a nested one.
    Opcode(Opcode),
    /// A segment in normal form.
    Segment(&'a str),
}

impl<'a> Element<'a> {
    /// The text without percent-encoding.
    pub fn decoded(self) -> Cow<'a, str> {
        match self {
            Self::Opcode(opcode) => Cow::Owned(opcode.to_string()),
            Self::Segment(text) => decode_segment(text),
        }
    }
}

impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opcode(opcode) => opcode.fmt(f),
            Self::Segment(text) => f.write_str(text),
        }
    }
}

/// What is wrong with an FQMN or its arguments, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {kind}")]
pub struct FqmnError {
    /// What is wrong.
    pub kind: FqmnErrorKind,
    /// Bytes from the beginning of the text that was given.
    pub offset: usize,
}

impl FqmnError {
    /// The rule of `cmtp-spec/` that the text breaks.
    pub const fn rule(&self) -> &'static str {
        self.kind.rule()
    }

    /// The status with which a node refuses it: 414 for a target that is too long, else 400.
    pub const fn status(&self) -> Status {
        match self.kind {
            FqmnErrorKind::TargetTooLong => Status::TARGET_TOO_LONG,
            // [PRC-3] A target that does not begin with an opcode of the table MUST be refused with status 400.
            _ => Status::BAD_REQUEST,
        }
    }

    fn moved(self, by: usize) -> Self {
        Self { offset: self.offset + by, ..self }
    }
}

/// What is wrong with an FQMN or its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FqmnErrorKind {
    /// FQN-1: a reserved byte stands as it is.
    #[error("{:?} is reserved and stands unencoded; write %{:02X}", char::from(*.0), .0)]
    Reserved(u8),
    /// FQN-1: `%` without two hexadecimal digits.
    #[error("% is followed by no two hexadecimal digits; write %25 for the sign itself")]
    BrokenEncoding,
    /// FQN-1: an encoded byte that is not reserved.
    #[error("%{0:02X} encodes a byte that is not reserved; write the character itself")]
    NeedlessEncoding(u8),
    /// FQN-1: lower-case digits in an encoding.
    #[error("lower-case hexadecimal digits in an encoding; write %{0:02X}")]
    LowerCaseEncoding(u8),
    /// FQN-2: nothing between two colons or at an end.
    #[error("an empty segment; take the colon away or write something")]
    EmptySegment,
    /// FQN-2: nothing, or arguments alone, after the first opcode.
    #[error("an opcode alone names nothing; write what it is for, such as 0xS:echo")]
    NoResource,
    /// FQN-3: begins with `0x` and is neither opcode nor address.
    #[error(
        "a segment that begins with 0x is an opcode of the table, such as 0xS or 0xRW, or 0x and three or more of 0-9 a-f"
    )]
    NotAnAddress,
    /// FQN-4: an opcode without a segment of its own.
    #[error(
        "an opcode that no segment follows; only 0xE and 0xEW may be followed directly by an opcode"
    )]
    NoSegment,
    /// FQN-5: more bytes than `target-max`.
    #[error("more than {} bytes; shorten the target", cmtp_spec::limits::TARGET_MAX)]
    TargetTooLong,
    /// FQN-5: more elements than `target-segments-max`.
    #[error("more than {} elements, opcodes included", cmtp_spec::limits::TARGET_SEGMENTS_MAX)]
    TooManyElements,
    /// FQN-5: more opcodes than `target-depth-max`.
    #[error("more than {} opcodes", cmtp_spec::limits::TARGET_DEPTH_MAX)]
    TooDeep,
    /// FQN-6: opcodes of one family with the same segment.
    #[error(
        "the same kind of opcode and segment stand twice, which goes round in a circle; take one away"
    )]
    Cycle,
    /// FQN-7: no array, or something around it.
    #[error("arguments are a JSON array with nothing before or after it, such as [\"Dexter\"]")]
    ArgsNotArray,
    /// FQN-7: not the grammar of RFC 8259.
    #[error("arguments are not JSON (RFC 8259) here")]
    ArgsNotJson,
    /// FQN-7: more bytes than `args-max`.
    #[error("arguments of more than {} bytes; send a body instead", cmtp_spec::limits::ARGS_MAX)]
    ArgsTooLong,
    /// FQN-7: more levels than `args-depth-max`.
    #[error("arguments nested more than {} levels deep", cmtp_spec::limits::ARGS_DEPTH_MAX)]
    ArgsTooDeep,
    /// FQN-8: arguments where only a target may stand.
    #[error("arguments stand in the target; they travel in the private field args")]
    ArgsInTarget,
    /// FQN-9: does not begin with an opcode of the table.
    #[error(
        "a target begins with an opcode of the table, such as 0xS; names and the spelling 0Sx are for clients to resolve"
    )]
    NoOpcode,
}

impl FqmnErrorKind {
    const fn rule(self) -> &'static str {
        match self {
            Self::Reserved(_)
            | Self::BrokenEncoding
            | Self::NeedlessEncoding(_)
            | Self::LowerCaseEncoding(_) => "FQN-1",
            Self::EmptySegment | Self::NoResource => "FQN-2",
            Self::NotAnAddress => "FQN-3",
            Self::NoSegment => "FQN-4",
            Self::TargetTooLong | Self::TooManyElements | Self::TooDeep => "FQN-5",
            Self::Cycle => "FQN-6",
            Self::ArgsNotArray | Self::ArgsNotJson | Self::ArgsTooLong | Self::ArgsTooDeep => {
                "FQN-7"
            }
            Self::ArgsInTarget => "FQN-8",
            Self::NoOpcode => "FQN-9",
        }
    }

    pub(crate) const fn at(self, offset: usize) -> FqmnError {
        FqmnError { kind: self, offset }
    }
}

/// Percent-encodes the reserved bytes of a segment.
///
/// What no encoding helps stays as it is and is refused by the parser: an empty text, and one that begins with `0x`.
///
/// ```
/// # use cmtp_codec::encode_segment;
/// assert_eq!(encode_segment("50% off: now"), "50%25%20off%3A%20now");
/// ```
pub fn encode_segment(text: &str) -> Cow<'_, str> {
    if !text.contains(parse::is_reserved) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if parse::is_reserved(character) {
            encoded.push_str(&format!("%{:02X}", u32::from(character)));
        } else {
            encoded.push(character);
        }
    }
    Cow::Owned(encoded)
}

/// The inverse of [`encode_segment`] for a segment that was parsed.
fn decode_segment(text: &str) -> Cow<'_, str> {
    let mut pieces = text.split('%');
    let mut decoded = String::from(pieces.next().unwrap_or_default());
    if decoded.len() == text.len() {
        return Cow::Borrowed(text);
    }
    for piece in pieces {
        if let Some((digits, rest)) = piece.split_at_checked(2) {
            decoded.extend(u8::from_str_radix(digits, 16).map(char::from));
            decoded.push_str(rest);
        }
    }
    Cow::Owned(decoded)
}

/// `0Sx` and the like: the spelling before this version's.
fn older_spelling(element: &str) -> Option<Opcode> {
    let letters = element.strip_prefix('0')?.strip_suffix('x')?;
    Opcode::from_name(&format!("{OPCODE_PREFIX}{letters}"))
}

/// Whether an opcode is a write form.
pub(crate) fn is_write(opcode: Opcode) -> bool {
    opcode.name().is_some_and(|name| name.ends_with(WRITE_SUFFIX))
}

/// The read form of an opcode.
pub(crate) fn read_form(opcode: Opcode) -> Opcode {
    let name = opcode.name().and_then(|name| name.strip_suffix(WRITE_SUFFIX));
    name.and_then(Opcode::from_name).unwrap_or(opcode)
}

/// What opcodes and addresses begin with.
pub(crate) const OPCODE_PREFIX: &str = "0x";

const WRITE_SUFFIX: char = 'W';

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that panics has failed")]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    use FqmnErrorKind as Kind;

    /// FQMNs with all opcodes, nested ones, addresses and segments of any characters; without arguments.
    pub(crate) fn targets() -> impl Strategy<Value = Fqmn> {
        let opcode = prop::sample::select(Opcode::ALL).prop_map(|opcode| opcode.to_string());
        let segment = prop_oneof![
            "[a-z0-9._-]{1,6}",
            "[A-Za-z:=*%]{1,3}".prop_map(|text| encode_segment(&text).into_owned()),
            "\\PC{1,4}".prop_map(|text| encode_segment(&text).into_owned()),
            any::<char>().prop_map(|text| encode_segment(&text.to_string()).into_owned()),
            "0x[0-9a-f]{3,5}",
        ];
        let element = prop_oneof![1 => opcode.clone(), 5 => segment.clone()];
        (opcode, segment, prop::collection::vec(element, 0..8)).prop_filter_map(
            "not an FQMN",
            |(opcode, segment, tail)| {
                let text = [&[opcode, segment][..], &tail].concat().join(":");
                Fqmn::parse_target(&text).ok()
            },
        )
    }

    /// JSON arrays, not all of them shallow or short enough.
    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<f64>()
                .prop_filter("JSON has none", |n| n.is_finite())
                .prop_map(|n| n.to_string()),
            any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        ];
        let value = leaf.prop_recursive(40, 64, 4, |value| {
            prop_oneof![
                prop::collection::vec(value.clone(), 0..4)
                    .prop_map(|values| format!("[{}]", values.join(" ,"))),
                value.prop_map(|value| format!("{{\"[\\\\\" : {value}}}")),
            ]
        });
        value.prop_map(|value| format!("[{value}]"))
    }

    fn fault(text: &str) -> (Kind, usize) {
        let error = Fqmn::parse(text).unwrap_err();
        (error.kind, error.offset)
    }

    #[test]
    fn texts_read_and_write() {
        // Text, target, arguments, whether it is a write, decoded elements.
        type Row<'a> = (&'a str, &'a str, Option<&'a str>, bool, &'a [&'a str]);
        let table: [Row<'_>; 9] = [
            (
                r#"0xS:0x001:hello_world:["Dexter"]"#,
                "0xS:0x001:hello_world",
                Some(r#"["Dexter"]"#),
                false,
                &["0xS", "0x001", "hello_world"],
            ),
            (
                r#"0xR:helloworld.mcom:["Dexter"]"#,
                "0xR:helloworld.mcom",
                Some(r#"["Dexter"]"#),
                false,
                &["0xR", "helloworld.mcom"],
            ),
            (
                "0xRW:register:helloworld.mcom:0xS:0x001",
                "0xRW:register:helloworld.mcom:0xS:0x001",
                None,
                true,
                &["0xRW", "register", "helloworld.mcom", "0xS", "0x001"],
            ),
            // [FQN-4]
            (
                "0xE:0xR:helloworld.mcom:Transferred",
                "0xE:0xR:helloworld.mcom:Transferred",
                None,
                false,
                &["0xE", "0xR", "helloworld.mcom", "Transferred"],
            ),
            ("0xEW:0xR:a", "0xEW:0xR:a", None, true, &["0xEW", "0xR", "a"]),
            (
                "0xP:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK:0xS:echo",
                "0xP:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK:0xS:echo",
                None,
                false,
                &["0xP", "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK", "0xS", "echo"],
            ),
            // [FQN-1]
            ("0xS:a%3Ab:%00%7F%5B", "0xS:a%3Ab:%00%7F%5B", None, false, &["0xS", "a:b", "\0\x7f["]),
            // [FQN-2]
            ("0xS:süß:日本", "0xS:süß:日本", None, false, &["0xS", "süß", "日本"]),
            // [FQN-7] Arguments may hold what is reserved elsewhere.
            ("0xS:a:[ 1e9999 ,\":[\"]", "0xS:a", Some("[ 1e9999 ,\":[\"]"), false, &["0xS", "a"]),
        ];
        for (text, target, args, write, elements) in table {
            let fqmn = Fqmn::parse(text).unwrap();
            assert_eq!(fqmn.to_string(), text);
            assert_eq!((fqmn.target(), fqmn.args(), fqmn.is_write()), (target, args, write));
            let decoded: Vec<_> = fqmn.elements().map(Element::decoded).collect();
            assert_eq!(decoded, elements);
            let encoded: Vec<_> = decoded.iter().map(|text| encode_segment(text)).collect();
            assert_eq!(encoded.join(":"), target);
            assert_eq!(Some(fqmn.opcode()), Opcode::from_name(elements[0]));
        }
    }

    #[test]
    fn faults_have_a_kind_a_place_and_a_rule() {
        let table = [
            // [FQN-1]
            ("0xS:a b", Kind::Reserved(b' '), 5, "FQN-1"),
            ("0xS:a:b[", Kind::Reserved(b'['), 7, "FQN-1"),
            ("0xS:*", Kind::Reserved(b'*'), 4, "FQN-1"),
            ("0xS:a\n", Kind::Reserved(b'\n'), 5, "FQN-1"),
            ("0xS:é\"", Kind::Reserved(b'"'), 6, "FQN-1"),
            ("0xS:a%", Kind::BrokenEncoding, 5, "FQN-1"),
            ("0xS:a%2", Kind::BrokenEncoding, 5, "FQN-1"),
            ("0xS:%日本", Kind::BrokenEncoding, 4, "FQN-1"),
            ("0xS:a%41", Kind::NeedlessEncoding(0x41), 5, "FQN-1"),
            ("0xS:a%3a", Kind::LowerCaseEncoding(b':'), 5, "FQN-1"),
            // [FQN-2] An encoding that is not UTF-8 falls under FQN-1 already: only ASCII may be encoded.
            ("0xS:%C3", Kind::NeedlessEncoding(0xc3), 4, "FQN-1"),
            ("", Kind::EmptySegment, 0, "FQN-2"),
            ("0xS:", Kind::EmptySegment, 4, "FQN-2"),
            ("0xS::a", Kind::EmptySegment, 4, "FQN-2"),
            ("0xS:a:", Kind::EmptySegment, 6, "FQN-2"),
            ("0xS:a::[1]", Kind::EmptySegment, 6, "FQN-2"),
            ("0xS", Kind::NoResource, 0, "FQN-2"),
            ("0xS:[1]", Kind::NoResource, 0, "FQN-2"),
            // [FQN-3]
            ("0xS:0x12", Kind::NotAnAddress, 4, "FQN-3"),
            ("0xS:a:0xABC", Kind::NotAnAddress, 6, "FQN-3"),
            ("0xS:0xQ", Kind::NotAnAddress, 4, "FQN-3"),
            ("0xS:0x", Kind::NotAnAddress, 4, "FQN-3"),
            ("0xS:0x001%20", Kind::NotAnAddress, 4, "FQN-3"),
            // [FQN-4]
            ("0xS:0xR:a", Kind::NoSegment, 0, "FQN-4"),
            ("0xS:a:0xR", Kind::NoSegment, 6, "FQN-4"),
            ("0xE:0xR", Kind::NoSegment, 4, "FQN-4"),
            ("0xE:0xR:[1]", Kind::NoSegment, 4, "FQN-4"),
            // [FQN-5]
            ("0xS:a:0xS:b:0xS:c:0xS:d", Kind::TooDeep, 18, "FQN-5"),
            // [FQN-6]
            ("0xP:n:0xP:n:0xS:a", Kind::Cycle, 6, "FQN-6"),
            ("0xP:n:0xPW:n:0xSW:a", Kind::Cycle, 6, "FQN-6"),
            ("0xE:0xS:a:0xS:a", Kind::Cycle, 10, "FQN-6"),
            // [FQN-7]
            ("0xS:a:[1", Kind::ArgsNotJson, 7, "FQN-7"),
            ("0xS:a:[1] ", Kind::ArgsNotArray, 9, "FQN-7"),
            ("0xS:a:[1]:b", Kind::ArgsNotJson, 9, "FQN-7"),
            ("0xS:a:[1][", Kind::ArgsNotJson, 9, "FQN-7"),
            // [FQN-9] [PRC-3]
            ("0Sx:a", Kind::NoOpcode, 0, "FQN-9"),
            ("helloworld.mcom:hello", Kind::NoOpcode, 0, "FQN-9"),
            ("0x001:a", Kind::NoOpcode, 0, "FQN-9"),
            ("0xQ:a", Kind::NoOpcode, 0, "FQN-9"),
            ("0xs:a", Kind::NoOpcode, 0, "FQN-9"),
        ];
        for (text, kind, offset, rule) in table {
            let error = Fqmn::parse(text).unwrap_err();
            assert_eq!((error.kind, error.offset), (kind, offset), "{text}");
            assert_eq!((error.rule(), error.status()), (rule, Status::BAD_REQUEST), "{text}");
        }
        assert_eq!(
            Fqmn::parse("0xS:a*").unwrap_err().to_string(),
            "byte 5: '*' is reserved and stands unencoded; write %2A"
        );
    }

    #[test]
    fn every_reserved_byte_travels_encoded() {
        // [FQN-1]
        for byte in 0_u8..=0x7f {
            let reserved = byte <= 0x20 || byte == 0x7f || b"\"%*:[]".contains(&byte);
            let segment = format!("a{}", char::from(byte));
            assert_eq!(encode_segment(&segment) != segment, reserved, "{byte:#x}");
            let fqmn = Fqmn::parse_target(&format!("0xS:{}", encode_segment(&segment))).unwrap();
            assert_eq!(fqmn.elements().nth(1).unwrap().decoded(), segment);
            assert_eq!(Fqmn::parse_target(&format!("0xS:a%{byte:02X}")).is_ok(), reserved);
        }
    }

    #[test]
    fn limits_hold_to_the_byte() {
        // [FQN-5] [FQN-7]
        let target = |length: usize| format!("0xS:{}", "a".repeat(length - 4));
        let longest = target(1_024);
        assert!(Fqmn::parse(&longest).is_ok());
        let args = format!("[\"{}\"]", "a".repeat(16_384 - 4));
        assert_eq!(Fqmn::parse(&format!("{longest}:{args}")).unwrap().args(), Some(&*args));
        let error = Fqmn::parse(&target(1_025)).unwrap_err();
        assert_eq!((error.kind, error.status()), (Kind::TargetTooLong, Status::TARGET_TOO_LONG));
        let error = Fqmn::parse(&format!("{longest}:[{args}]")).unwrap_err();
        assert_eq!((error.kind, error.status()), (Kind::ArgsTooLong, Status::BAD_REQUEST));

        assert!(Fqmn::parse(&format!("0xS{}", ":a".repeat(31))).is_ok());
        assert_eq!(fault(&format!("0xS{}", ":a".repeat(32))), (Kind::TooManyElements, 66));
        assert!(Fqmn::parse("0xE:0xE:0xE:a").is_ok());

        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Fqmn::check_args(&nested(32)).is_ok());
        assert_eq!(Fqmn::check_args(&nested(33)).unwrap_err(), Kind::ArgsTooDeep.at(32));
        let mixed = format!("{}[]{}", "[{\"a\":".repeat(15), "}]".repeat(15));
        assert!(Fqmn::check_args(&mixed).is_ok());
        assert!(Fqmn::check_args(&format!("[{{\"a\":{mixed}}}]")).is_err());
        assert!(Fqmn::check_args(&"[".repeat(16_384)).is_err());
    }

    #[test]
    fn arguments_obey_rfc_8259_and_no_more() {
        // [FQN-7]
        let good = [
            "[]",
            "[ ]",
            "[\r\n\t 1 ]",
            "[1e9999,-0,0.5E+3,123456789012345678901234567890]",
            r#"[{"a":1,"a":2}]"#,
            r#"["\ud800","\uDC00x","\u0000"]"#,
            r#"["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[","\"[","\\"]"#,
            r#"[true,false,null,"日本 \/\b\f\n\r\t"]"#,
            "[\"\u{7f}\u{2028}\"]",
        ];
        for args in good {
            assert_eq!(Fqmn::check_args(args), Ok(()), "{args}");
            let fqmn = Fqmn::parse("0xS:a").unwrap().with_args(args).unwrap();
            assert_eq!(fqmn.to_string(), format!("0xS:a:{args}"));
            assert_eq!(Fqmn::parse(&fqmn.to_string()).unwrap(), fqmn);
        }
        let bad = [
            "",
            " []",
            "[] ",
            "[]\n",
            "\u{feff}[]",
            "{}",
            "1",
            "\"[]\"",
            "[",
            "]",
            "[]]",
            "[][]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[01]",
            "[+1]",
            "[.5]",
            "[1.]",
            "[1e]",
            "[-]",
            "[NaN]",
            "[Infinity]",
            "[nul]",
            "[True]",
            "['a']",
            "[\"a]",
            "[\"\t\"]",
            "[\"\n\"]",
            r#"["\x41"]"#,
            r#"["\u12"]"#,
            r#"["\u12G4"]"#,
            "[{a:1}]",
            "[{\"a\"}]",
            "[{\"a\":}]",
            "[{\"a\":1,}]",
            "[{1:2}]",
            "[}",
            "[//\n1]",
            "[/**/]",
            "[\u{a0}1]",
            "[\u{c}1]",
            "[\0]",
            "[]\0",
            "[{]}",
            "[0x10]",
        ];
        for args in bad {
            assert_eq!(Fqmn::check_args(args).unwrap_err().rule(), "FQN-7", "{args}");
        }
        assert_eq!(Fqmn::check_args("[1,\n 2 x]").unwrap_err(), Kind::ArgsNotJson.at(7));
    }

    #[test]
    fn arguments_stay_out_of_targets_and_logs() {
        // [FQN-8]
        let error = Fqmn::parse_target("0xS:a:[\"secret\"]").unwrap_err();
        assert_eq!((error, error.rule()), (Kind::ArgsInTarget.at(6), "FQN-8"));
        let fqmn = Fqmn::parse("0xS:a:[\"secret\"]").unwrap();
        assert_eq!(format!("{fqmn:?}"), "Fqmn(0xS:a:[…])");
        assert_eq!(Fqmn::parse_target(fqmn.target()).unwrap().args(), None);
    }

    #[test]
    fn sugar_is_resolved_for_clients_and_refused_on_the_wire() {
        let table = [
            ("0Sx:0x001:echo", "0xS:0x001:echo"),
            ("0RWx:register:a", "0xRW:register:a"),
            ("0Ex:0xR:a:[1]", "0xE:0xR:a:[1]"),
            ("helloworld.mcom:hello", "0xR:helloworld.mcom:hello"),
            ("helloworld.mcom:[\"Dexter\"]", "0xR:helloworld.mcom:[\"Dexter\"]"),
            ("0x001:a", "0xR:0x001:a"),
            ("0Qx:a", "0xR:0Qx:a"),
        ];
        for (typed, text) in table {
            assert_eq!(Fqmn::from_sugar(typed).unwrap().to_string(), text);
            assert_eq!(Fqmn::from_sugar(text).unwrap().to_string(), text);
            // [FQN-9]
            assert_eq!(Fqmn::parse(typed).unwrap_err().kind, Kind::NoOpcode);
        }
        assert_eq!(Fqmn::from_sugar("a:b c").unwrap_err(), Kind::Reserved(b' ').at(3));
        assert_eq!(Fqmn::from_sugar("0Sx:b c").unwrap_err(), Kind::Reserved(b' ').at(5));
        assert_eq!(Fqmn::from_sugar("").unwrap_err(), Kind::EmptySegment.at(0));
        let words = Fqmn::from_sugar("a").unwrap().with_words(["Dexter", "7", "\"["]).unwrap();
        assert_eq!(words.args(), Some(r#"["Dexter","7","\"["]"#));
    }

    #[test]
    fn resolution_extends_a_target() {
        let target = Fqmn::parse("0xS:0x001").unwrap();
        assert_eq!(target.extended(&[]).unwrap(), target);
        assert_eq!(target.extended(&["a", "0xR", "n"]).unwrap().target(), "0xS:0x001:a:0xR:n");
        let table = [
            (&["a:b"][..], Kind::Reserved(b':').at(11)),
            (&["0xR"], Kind::NoSegment.at(10)),
            (&["a", ""], Kind::EmptySegment.at(12)),
            (&["a", "[1]"], Kind::ArgsInTarget.at(12)),
            (&["0xS", "0x001"], Kind::Cycle.at(10)),
        ];
        for (tail, error) in table {
            assert_eq!(target.extended(tail), Err(error));
        }
        // [FQN-5]
        assert_eq!(target.extended(&["a"; 31]).unwrap_err().kind, Kind::TooManyElements);
    }

    #[test]
    fn opcodes_have_two_forms() {
        for &opcode in Opcode::ALL {
            assert_eq!(is_write(opcode), opcode.to_string().len() == 4);
            assert!(!is_write(read_form(opcode)));
            assert_eq!(older_spelling(&opcode.to_string()), None);
        }
        assert_eq!(read_form(Opcode::SW), Opcode::S);
        assert_eq!(read_form(Opcode::S), Opcode::S);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), tail in "[0xSREW:%3A\\[\\]\"*a日,{}]{0,40}") {
            for text in [&text, &tail, &format!("0xS:{text}"), &format!("0xE:{tail}"), &format!("0xS:a:[{tail}")] {
                let _ = Fqmn::from_sugar(text);
                let _ = crate::pattern::Pattern::parse(text);
                let _ = crate::subject::check_subject(text);
                match Fqmn::parse(text) {
                    Ok(fqmn) => prop_assert_eq!(&fqmn.to_string(), text),
                    Err(error) => prop_assert!(text.is_char_boundary(error.offset) || error.kind == Kind::ArgsNotJson),
                }
            }
        }

        #[test]
        fn targets_read_back(fqmn in targets()) {
            let text = fqmn.to_string();
            prop_assert_eq!(Fqmn::parse(&text), Ok(fqmn.clone()));
            prop_assert_eq!(Fqmn::parse_target(&text), Ok(fqmn.clone()));
            let elements: Vec<_> = fqmn.elements().map(|element| element.to_string()).collect();
            prop_assert_eq!(elements.join(":"), text);
            for element in fqmn.elements() {
                let decoded = element.decoded();
                prop_assert_eq!(encode_segment(&decoded), element.to_string());
            }
        }

        #[test]
        fn arguments_read_back(fqmn in targets(), args in json()) {
            let text = format!("{fqmn}:{args}");
            match Fqmn::parse(&text) {
                Ok(fqmn) => {
                    prop_assert_eq!(fqmn.args(), Some(&*args));
                    prop_assert_eq!(fqmn.to_string(), text);
                }
                Err(error) => prop_assert!(matches!(error.kind, Kind::ArgsTooDeep | Kind::ArgsTooLong), "{error}"),
            }
        }

        #[test]
        fn any_segment_encodes_and_decodes(text in any::<String>()) {
            let encoded = encode_segment(&text);
            prop_assert_eq!(decode_segment(&encoded), &*text);
        }
    }
}
