//! What a node notes when it erases a message. `cmtp-spec/spec/17-journal.md`, section Erasure.

use std::fmt::Write;

use cmtp_spec::EntryType;

use crate::hash::Digest;

/// How much of a message is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Degree {
    /// The content: fields, bodies, salts.
    Redact,
    /// Content and cores: all but the entries.
    Forget,
}

impl Degree {
    /// What a note of this type tells of; `None` for every other type.
    pub const fn of(entry_type: EntryType) -> Option<Self> {
        match entry_type {
            EntryType::REDACTED => Some(Self::Redact),
            EntryType::FORGOTTEN => Some(Self::Forget),
            _ => None,
        }
    }

    /// The type of the note.
    pub const fn entry_type(self) -> EntryType {
        match self {
            Self::Redact => EntryType::REDACTED,
            Self::Forget => EntryType::FORGOTTEN,
        }
    }
}

/// The content of an entry `redacted` or `forgotten`: what of the message the node still has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erasure {
    /// The message's entries, ascending.
    pub pieces: Vec<u64>,
    /// Of a write that may be sent again: keyed hashes of its caller and id, and of these and L_0.
    pub write: Option<(Digest, Digest)>,
    /// Of a write to State: a keyed hash of where, and the version that it made.
    pub state: Option<(Digest, u64)>,
}

impl Erasure {
    /// The lines.
    pub fn to_text(&self) -> String {
        // Writing to a string does not fail.
        let mut text = "pieces".to_owned();
        for index in &self.pieces {
            let _always = write!(text, " {index}");
        }
        text.push('\n');
        if let Some((id, bytes)) = &self.write {
            let _always = writeln!(text, "write {id} {bytes}");
        }
        if let Some((key, version)) = &self.state {
            let _always = writeln!(text, "state {key} {version}");
        }
        text
    }

    /// Reads the lines; `None` where one is malformed or `pieces` is not the first.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let pieces = lines.next()?.strip_prefix("pieces ")?.split(' ');
        let pieces = pieces.map(|index| index.parse().ok()).collect::<Option<_>>()?;
        let mut erasure = Self { pieces, ..Self::default() };
        for line in lines {
            let mut words = line.split(' ');
            match (words.next()?, words.next()?, words.next()?, words.next()) {
                ("write", id, bytes, None) => erasure.write = Some((digest(id)?, digest(bytes)?)),
                ("state", key, version, None) => {
                    erasure.state = Some((digest(key)?, version.parse().ok()?));
                }
                _ => return None,
            }
        }
        Some(erasure)
    }
}

fn digest(hex: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if hex.len() != 2 * digest.len() || !hex.bytes().all(is_digit) {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    Some(Digest(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_erasure_is_read_as_it_was_written() {
        let write = Some((Digest([1; 32]), Digest([2; 32])));
        let state = Some((Digest([3; 32]), 9));
        for (write, state) in [(None, None), (write, None), (None, state), (write, state)] {
            let erasure = Erasure { pieces: vec![3, 17], write, state };
            assert_eq!(Erasure::from_text(&erasure.to_text()), Some(erasure));
        }
        for text in [
            "",
            "pieces",
            "pieces 1",
            "pieces x\n",
            "pieces 1\nstate 00 1\n",
            "pieces 1\nother a b\n",
        ] {
            assert_eq!(Erasure::from_text(text), None, "{text:?}");
        }
    }
}
