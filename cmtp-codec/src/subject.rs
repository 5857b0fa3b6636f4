//! NATS subjects: `cmtp-spec/spec/06-fqmn.md`, section Subjects, and `cmtp-spec/spec/11-nats.md`.

use cmtp_spec::{Status, binding, limits};

use crate::fqmn::{Fqmn, OPCODE_PREFIX};

/// The NATS subject that a target maps to.
///
/// ```
/// # use cmtp_codec::{Fqmn, subject};
/// let target = Fqmn::parse("0xE:0xR:helloworld.mcom:Transferred")?;
/// assert_eq!(subject(&target).as_deref(), Ok("cmtp.e.0x=52.helloworld=2emcom.=54ransferred"));
/// # Ok::<(), cmtp_codec::FqmnError>(())
/// ```
///
/// # Errors
///
/// The subject would be longer than `subject-max`.
pub fn subject(fqmn: &Fqmn) -> Result<String, SubjectTooLong> {
    let mut subject = String::from(binding::SUBJECT_PREFIX);
    // [FQN-10] The mapping MUST NOT depend on anything but opcode and resource: elements are these and no arguments.
    let mut elements = fqmn.elements();
    if let Some(opcode) = elements.next() {
        let name = opcode.to_string().to_ascii_lowercase();
        subject.push_str(name.strip_prefix(OPCODE_PREFIX).unwrap_or(&name));
    }
    for element in elements {
        subject.push('.');
        // [FQN-10] Two targets have the same subject only if they are equal: `.` and `=` stand in no token unescaped.
        for byte in element.decoded().bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => subject.push(char::from(byte)),
                _ => subject.push_str(&format!("={byte:02x}")),
            }
        }
    }
    // [FQN-11] A subject longer than `subject-max` bytes MUST be refused with status 414.
    if is_too_long(&subject) { Err(SubjectTooLong { length: subject.len() }) } else { Ok(subject) }
}

/// Checks a subject that a configuration names.
///
/// # Errors
///
/// The first thing that makes it unusable.
pub fn check_subject(subject: &str) -> Result<(), SubjectError> {
    if is_too_long(subject) {
        return Err(SubjectTooLong { length: subject.len() }.into());
    }
    // [NAT-2] A subject MUST NOT begin with `$` or `_INBOX`, and MUST NOT hold …
    if subject.starts_with('$') || subject.starts_with(INBOX) {
        return Err(SubjectError::Internal);
    }
    // [NAT-2] … an empty token …
    if subject.split('.').any(str::is_empty) {
        return Err(SubjectError::EmptyToken);
    }
    // [NAT-2] … a wildcard, white space or a control character.
    let unusable = |c: char| matches!(c, '*' | '>') || c.is_whitespace() || c.is_control();
    match subject.char_indices().find(|&(_, character)| unusable(character)) {
        Some((offset, character)) => Err(SubjectError::Character { character, offset }),
        None => Ok(()),
    }
}

/// A subject longer than `subject-max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the subject has {length} bytes and may have {}; shorten the target", limits::SUBJECT_MAX)]
pub struct SubjectTooLong {
    /// Bytes that the subject has, prefix included.
    pub length: usize,
}

impl SubjectTooLong {
    /// The status with which a node refuses the request.
    pub const fn status(&self) -> Status {
        Status::TARGET_TOO_LONG
    }
}

/// Why a configured subject can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// FQN-11.
    #[error(transparent)]
    TooLong(#[from] SubjectTooLong),
    /// NAT-2: belongs to NATS itself.
    #[error("subjects that begin with $ or _INBOX belong to NATS itself; choose another")]
    Internal,
    /// NAT-2: nothing between two dots or at an end.
    #[error("an empty token; take the dot away or write something")]
    EmptyToken,
    /// NAT-2: a character that no subject may have.
    #[error("byte {offset}: {character:?} can't stand in a subject that is published to")]
    Character {
        /// The culprit.
        character: char,
        /// Bytes before it.
        offset: usize,
    },
}

fn is_too_long(subject: &str) -> bool {
    subject.len() as u64 > limits::SUBJECT_MAX
}

const INBOX: &str = "_INBOX";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fqmn::tests::targets;

    /// The inverse of the mapping, which a mapping that is injective has.
    fn target_of(subject: &str) -> String {
        let mut tokens = subject.strip_prefix(binding::SUBJECT_PREFIX).unwrap().split('.');
        let letters = tokens.next().unwrap().to_ascii_uppercase();
        let mut target = format!("{OPCODE_PREFIX}{letters}");
        for token in tokens {
            let mut pieces = token.split('=');
            let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
            for piece in pieces {
                let (digits, rest) = piece.split_at(2);
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                bytes.extend(rest.as_bytes());
            }
            let element = String::from_utf8(bytes).unwrap();
            target = format!("{target}:{}", crate::fqmn::encode_segment(&element));
        }
        target
    }

    #[test]
    fn targets_map_to_subjects_and_back() {
        // [FQN-10]
        let table = [
            ("0xS:0x001:hello_world", "cmtp.s.0x001.hello_world"),
            ("0xE:0xR:helloworld.mcom:Transferred", "cmtp.e.0x=52.helloworld=2emcom.=54ransferred"),
            ("0xSW:a-b:A", "cmtp.sw.a-b.=41"),
            ("0xS:a%3Ab:c", "cmtp.s.a=3ab.c"),
            ("0xS:a=3ab:ü", "cmtp.s.a=3d3ab.=c3=bc"),
            ("0xPW:$JS:_INBOX", "cmtp.pw.=24=4a=53._=49=4e=42=4f=58"),
        ];
        for (target, expected) in table {
            let fqmn = Fqmn::parse(target).unwrap();
            assert_eq!(subject(&fqmn).unwrap(), expected);
            assert_eq!(subject(&fqmn.with_args("[1]").unwrap()).unwrap(), expected);
            assert_eq!(target_of(expected), target);
        }
    }

    #[test]
    fn a_long_subject_is_refused() {
        // [FQN-11] `cmtp.s.` and 505 bytes are 512.
        let longest = Fqmn::parse(&format!("0xS:{}", "a".repeat(505))).unwrap();
        assert_eq!(subject(&longest).unwrap().len(), 512);
        let error =
            subject(&Fqmn::parse(&format!("0xS:{}", "a".repeat(506))).unwrap()).unwrap_err();
        assert_eq!((error.length, error.status()), (513, Status::TARGET_TOO_LONG));
        assert!(subject(&Fqmn::parse(&format!("0xS:{}", "A".repeat(169))).unwrap()).is_err());
    }

    #[test]
    fn configured_subjects_are_checked() {
        for subject in ["orders", "orders.created.v1", "a._INBOX.$x", "bücher.neu", "cmtp.s.echo"]
        {
            assert_eq!(check_subject(subject), Ok(()));
        }
        // [NAT-2]
        let character = |character, offset| SubjectError::Character { character, offset };
        let table = [
            ("$JS.API.INFO", SubjectError::Internal),
            ("$", SubjectError::Internal),
            ("_INBOX.abc", SubjectError::Internal),
            ("", SubjectError::EmptyToken),
            (".a", SubjectError::EmptyToken),
            ("a.", SubjectError::EmptyToken),
            ("a..b", SubjectError::EmptyToken),
            ("a.*", character('*', 2)),
            ("ü.>", character('>', 3)),
            ("a b", character(' ', 1)),
            ("a\r\nPUB b", character('\r', 1)),
            ("a\u{a0}", character('\u{a0}', 1)),
            ("a\u{85}", character('\u{85}', 1)),
            ("a\0", character('\0', 1)),
        ];
        for (subject, error) in table {
            assert_eq!(check_subject(subject), Err(error), "{subject:?}");
        }
        // [FQN-11]
        assert_eq!(check_subject(&"a".repeat(512)), Ok(()));
        let error = SubjectTooLong { length: 513 }.into();
        assert_eq!(check_subject(&"a".repeat(513)), Err(error));
    }

    proptest! {
        #[test]
        fn subjects_are_valid_and_lead_back(fqmn in targets()) {
            if let Ok(subject) = subject(&fqmn) {
                prop_assert_eq!(check_subject(&subject), Ok(()));
                prop_assert_eq!(target_of(&subject), fqmn.target());
            }
        }

        #[test]
        fn different_targets_have_different_subjects(one in targets(), other in targets()) {
            // [FQN-10]
            if let (Ok(a), Ok(b)) = (subject(&one), subject(&other)) {
                prop_assert_eq!(a == b, one == other);
            }
        }
    }
}
