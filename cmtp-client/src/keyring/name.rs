//! What a persona is called, by its person alone.

use std::fmt;
use std::str::FromStr;

/// A persona's name: 1 to 64 characters of `a-z`, `0-9`, `.`, `_` and `-`. No node sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonaName(String);

impl PersonaName {
    /// What the first persona of a root is called.
    pub(crate) fn main() -> Self {
        Self("main".to_owned())
    }

    /// What the one identity of an old file is called.
    pub(crate) fn of_old_file() -> Self {
        Self("default".to_owned())
    }

    /// What persona `number` is called that came back from words, which hold no names.
    pub(crate) fn restored(number: u32) -> Self {
        if number == 0 { Self::main() } else { Self(format!("persona-{number}")) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PersonaName {
    type Err = PersonaNameError;

    fn from_str(text: &str) -> Result<Self, PersonaNameError> {
        let is_good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        match text.len() {
            1..=NAME_MAX if text.bytes().all(is_good) => Ok(Self(text.to_owned())),
            _ => Err(PersonaNameError),
        }
    }
}

impl fmt::Display for PersonaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no persona's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a persona's name is 1 to {NAME_MAX} characters of a-z, 0-9, '.', '_' and '-', such as work"
)]
pub struct PersonaNameError;

const NAME_MAX: usize = 64;
