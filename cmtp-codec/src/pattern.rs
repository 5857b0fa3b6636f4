//! Patterns, which a token's scope is made of: `cmtp-spec/spec/10-admission.md`, section Patterns.

use std::fmt;

use cmtp_spec::{Opcode, Status, limits};

use crate::fqmn::parse::{self, ANY_ELEMENT, ANY_TAIL};
use crate::fqmn::{Fqmn, FqmnError, is_write, read_form};

/// A pattern: an FQMN in which a whole element may be `*`, and the last one `**`.
///
/// ```
/// # use cmtp_codec::{Fqmn, Pattern};
/// # let target = |text| Fqmn::parse(text).unwrap();
/// let pattern = Pattern::parse("0xS:0x001:*").unwrap();
/// assert!(pattern.covers(&target("0xS:0x001:hello_world")));
/// assert!(!pattern.covers(&target("0xS:0x001:hello_world:more")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: String,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// What is wrong with it as an FQMN, a write form, or a `**` that is not its end.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        parse::pattern(text)?;
        let mut offset = 0;
        for element in text.split(':') {
            let end = offset + element.len();
            if Opcode::from_name(element).is_some_and(is_write) {
                return Err(PatternError::WriteForm { offset });
            }
            if element == ANY_TAIL && end != text.len() {
                return Err(PatternError::TailNotLast { offset });
            }
            offset = end + 1;
        }
        Ok(Self { text: text.to_owned() })
    }

    /// Whether it covers `target`, as a read or as a write: which of these the scope allows is [`Scope`]'s to know.
    pub fn covers(&self, target: &Fqmn) -> bool {
        let mut wanted = self.text.split(':');
        let mut given = target.target().split(':');
        // For the comparison a write form of the target's first opcode counts as its read form.
        let first = (wanted.next(), given.next().and_then(Opcode::from_name).map(read_form));
        if !matches!(first, (Some(name), Some(opcode)) if opcode.name() == Some(name)) {
            return false;
        }
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some(ANY_TAIL), Some(_)) => return true,
                (Some(ANY_ELEMENT), Some(_)) => {}
                (Some(wanted), Some(given)) if wanted == given => {}
                _ => return false,
            }
        }
    }
}

impl Pattern {
    /// Whether it covers whatever `other` covers.
    pub fn includes(&self, other: &Self) -> bool {
        let (mut wide, mut narrow) = (self.text.split(':'), other.text.split(':'));
        loop {
            match (wide.next(), narrow.next()) {
                (None, None) => return true,
                (Some(ANY_TAIL), Some(_)) => return true,
                // `**` may stand for more than one element.
                (Some(ANY_ELEMENT), Some(narrow)) if narrow != ANY_TAIL => {}
                (Some(wide), Some(narrow)) if wide == narrow => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a token allows: patterns for reads and patterns for writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    read: Vec<Pattern>,
    write: Vec<Pattern>,
}

impl Scope {
    /// Puts patterns together.
    ///
    /// # Errors
    ///
    /// There are more than `scope-patterns-max`, both lists together.
    pub fn new(read: Vec<Pattern>, write: Vec<Pattern>) -> Result<Self, TooManyPatterns> {
        // [ADM-6] A token MUST NOT hold more than `scope-patterns-max` patterns.
        let count = read.len() + write.len();
        if count as u64 > limits::SCOPE_PATTERNS_MAX {
            return Err(TooManyPatterns { count });
        }
        Ok(Self { read, write })
    }

    /// The patterns for reads.
    pub fn read(&self) -> &[Pattern] {
        &self.read
    }

    /// The patterns for writes.
    pub fn write(&self) -> &[Pattern] {
        &self.write
    }

    /// The patterns that cover `target`, in the token's order. Where there is none, the target is refused with
    /// 403: see [`admit`](Self::admit).
    pub fn covering<'a>(&'a self, target: &'a Fqmn) -> impl Iterator<Item = &'a Pattern> {
        // A pattern under `read` covers read targets, one under `write` covers write targets.
        let patterns = if target.is_write() { &self.write } else { &self.read };
        patterns.iter().filter(|pattern| pattern.covers(target))
    }

    /// Lets a target pass that some pattern covers.
    ///
    /// # Errors
    ///
    /// No pattern covers it.
    pub fn admit(&self, target: &Fqmn) -> Result<(), NotCovered> {
        // [ADM-7] A target that no pattern covers MUST be refused with status 403.
        if self.covering(target).next().is_some() { Ok(()) } else { Err(NotCovered) }
    }
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// A rule of FQMNs.
    #[error(transparent)]
    Fqmn(#[from] FqmnError),
    /// A write form.
    #[error("byte {offset}: patterns have read forms only; put the pattern under write instead")]
    WriteForm {
        /// Bytes before the opcode.
        offset: usize,
    },
    /// `**` before the end.
    #[error(
        "byte {offset}: ** stands for the rest and is the last element; write * for one element"
    )]
    TailNotLast {
        /// Bytes before it.
        offset: usize,
    },
}

/// More patterns than a token may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} patterns, and a token may hold {}", limits::SCOPE_PATTERNS_MAX)]
pub struct TooManyPatterns {
    /// Patterns under `read` and `write` together.
    pub count: usize,
}

/// A target that a scope does not cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no pattern of the scope covers the target; ask for a token that does")]
pub struct NotCovered;

impl NotCovered {
    /// The status with which a node refuses the request.
    pub const fn status(&self) -> Status {
        Status::FORBIDDEN
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fqmn::FqmnErrorKind as Kind;
    use crate::fqmn::tests::targets;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    #[test]
    fn patterns_cover_targets() {
        // Pattern, targets that it covers, targets that it does not.
        type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);
        let table: [Row<'_>; 9] = [
            (
                "0xS:echo",
                &["0xS:echo", "0xSW:echo", "0xS:echo:[1]"],
                &["0xS:Echo", "0xS:echo:a", "0xE:echo", "0xS:ech", "0xS:echo2"],
            ),
            (
                "0xS:0x001:*",
                &["0xS:0x001:a", "0xSW:0x001:0x002", "0xS:0x001:%2A"],
                &["0xS:0x001", "0xS:0x001:a:b", "0xS:0x002:a"],
            ),
            ("0xS:**", &["0xS:a", "0xS:a:b:0xR:c:d"], &["0xR:a", "0xE:0xS:a"]),
            ("0xS:a:**", &["0xS:a:b", "0xS:a:b:c"], &["0xS:a", "0xS:b:a"]),
            ("0xS:*:*", &["0xS:a:b"], &["0xS:a", "0xS:a:b:c"]),
            ("0xS:*:b", &["0xS:a:b", "0xS:b:b"], &["0xS:b", "0xS:a:c"]),
            // A wildcard stands for an opcode, too.
            ("0xE:*:a", &["0xE:0xR:a", "0xEW:0xRW:a", "0xE:b:a"], &["0xE:0xR:b"]),
            // Only the target's first opcode counts as its read form.
            ("0xP:n:0xS:a", &["0xP:n:0xS:a", "0xPW:n:0xS:a"], &["0xPW:n:0xSW:a"]),
            ("0xP:*:0xP:*:**", &["0xP:n:0xP:m:0xSW:a"], &["0xP:n:0xP:m"]),
        ];
        for (text, covered, others) in table {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!(pattern.to_string(), text);
            for target in covered {
                assert!(pattern.covers(&Fqmn::parse(target).unwrap()), "{text} {target}");
            }
            for target in others {
                assert!(!pattern.covers(&Fqmn::parse(target).unwrap()), "{text} {target}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let fqmn = |kind: Kind, offset| PatternError::Fqmn(kind.at(offset));
        let table = [
            ("0xSW:a", PatternError::WriteForm { offset: 0 }),
            ("0xS:a:0xRW:b", PatternError::WriteForm { offset: 6 }),
            ("0xS:**:a", PatternError::TailNotLast { offset: 4 }),
            ("0xS:**:**", PatternError::TailNotLast { offset: 4 }),
            ("*", fqmn(Kind::NoOpcode, 0)),
            ("**", fqmn(Kind::NoOpcode, 0)),
            ("*:a", fqmn(Kind::NoOpcode, 0)),
            ("0xS", fqmn(Kind::NoResource, 0)),
            ("0xS:0xR:*", fqmn(Kind::NoSegment, 0)),
            ("0xS:a*", fqmn(Kind::Reserved(b'*'), 5)),
            ("0xS:*a", fqmn(Kind::Reserved(b'*'), 4)),
            ("0xS:***", fqmn(Kind::Reserved(b'*'), 4)),
            ("0xS:a:[1]", fqmn(Kind::Reserved(b'['), 6)),
            ("0xS:a b", fqmn(Kind::Reserved(b' '), 5)),
            ("", fqmn(Kind::EmptySegment, 0)),
            ("0xP:n:0xP:n", fqmn(Kind::Cycle, 6)),
        ];
        for (text, error) in table {
            assert_eq!(Pattern::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_pattern_includes_what_is_narrower() {
        // [SES-8]
        let all = ["0xS:a", "0xS:*", "0xS:**", "0xS:a:*", "0xS:a:**", "0xS:*:b", "0xR:**"];
        let includes = |wide: &str| {
            let wide = Pattern::parse(wide).unwrap();
            let narrow = all.iter().filter(|it| wide.includes(&Pattern::parse(it).unwrap()));
            narrow.copied().collect::<Vec<_>>()
        };
        assert_eq!(includes("0xS:a"), ["0xS:a"]);
        assert_eq!(includes("0xS:*"), ["0xS:a", "0xS:*"]);
        assert_eq!(includes("0xS:**"), &all[..6]);
        assert_eq!(includes("0xS:a:**"), ["0xS:a:*", "0xS:a:**"]);
        assert_eq!(includes("0xS:*:*"), ["0xS:a:*", "0xS:*:b"]);
    }

    #[test]
    fn a_scope_parts_reads_from_writes() {
        // [ADM-7]
        let scope =
            Scope::new(patterns(&["0xS:**", "0xS:a", "0xR:*"]), patterns(&["0xS:w"])).unwrap();
        let read = Fqmn::parse("0xS:a").unwrap();
        let covering: Vec<_> = scope.covering(&read).map(Pattern::to_string).collect();
        assert_eq!(covering, ["0xS:**", "0xS:a"]);
        assert_eq!(scope.admit(&read), Ok(()));
        assert_eq!(scope.admit(&Fqmn::parse("0xSW:w").unwrap()), Ok(()));
        let error = scope.admit(&Fqmn::parse("0xSW:a").unwrap()).unwrap_err();
        assert_eq!(error.status(), Status::FORBIDDEN);
        assert_eq!(Scope::default().admit(&read), Err(NotCovered));
    }

    #[test]
    fn a_scope_is_bounded() {
        // [ADM-6]
        let list = |count| patterns(&vec!["0xS:a"; count]);
        assert!(Scope::new(list(32), list(32)).is_ok());
        assert_eq!(Scope::new(list(32), list(33)), Err(TooManyPatterns { count: 65 }));
    }

    proptest! {
        #[test]
        fn a_target_covers_itself(fqmn in targets(), wild in any::<u32>(), cut in 2_usize..8) {
            let mut elements: Vec<_> = fqmn.elements().map(|element| element.to_string()).collect();
            elements[0] = read_form(fqmn.opcode()).to_string();
            let nested_write = |element: &String| Opcode::from_name(element).is_some_and(is_write);
            if !elements.iter().any(nested_write) {
                prop_assert!(Pattern::parse(&elements.join(":")).unwrap().covers(&fqmn));
            }
            // Wildcards in the places of nested opcodes and of segments that no opcode needs.
            for (place, element) in elements.iter_mut().enumerate().skip(1) {
                if nested_write(element) || wild >> (place % 32) & 1 == 1 {
                    *element = ANY_ELEMENT.to_owned();
                }
            }
            if let Ok(pattern) = Pattern::parse(&elements.join(":")) {
                prop_assert!(pattern.covers(&fqmn));
            }
            let head = &elements[..cut.min(elements.len())];
            if let Ok(pattern) = Pattern::parse(&format!("{}:{ANY_TAIL}", head.join(":"))) {
                prop_assert_eq!(pattern.covers(&fqmn), cut < elements.len());
            }
        }
    }
}
