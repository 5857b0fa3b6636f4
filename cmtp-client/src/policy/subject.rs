//! What a grant says of a persona.

use std::collections::{BTreeMap, BTreeSet};

use cmtp_spec::limits;
use serde::{Deserialize, Serialize};

/// Groups and attributes of a persona: what policies know of it beside its DID.
///
/// ```
/// use cmtp_client::policy::Subject;
///
/// let mut subject = Subject::default();
/// subject.groups.insert("editors".to_owned());
/// subject.attributes.insert("country".to_owned(), "ch".to_owned());
/// assert!(subject.check().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Names of groups.
    pub groups: BTreeSet<String>,
    /// Attributes by name.
    pub attributes: BTreeMap<String, String>,
}

impl Subject {
    /// Whether a subject may be as large as this one.
    ///
    /// # Errors
    /// [`SubjectTooLarge`] names what there is too much of.
    pub fn check(&self) -> Result<(), SubjectTooLarge> {
        // [POL-5] A subject MUST NOT have more groups or attributes, nor longer or empty ones, than may be.
        if self.groups.len() as u64 > limits::GROUPS_MAX {
            return Err(SubjectTooLarge::Groups { count: self.groups.len() });
        }
        if self.attributes.len() as u64 > limits::ATTRIBUTES_MAX {
            return Err(SubjectTooLarge::Attributes { count: self.attributes.len() });
        }
        let attributes = self.attributes.iter().flat_map(|(name, value)| [name, value]);
        for text in self.groups.iter().chain(attributes) {
            if text.is_empty() || text.len() as u64 > limits::ATTRIBUTE_MAX {
                return Err(SubjectTooLarge::Length { text: text.clone() });
            }
        }
        Ok(())
    }

    /// Its texts, none of which can be taken for another's, or for two.
    pub(crate) fn spell(&self, out: &mut Vec<u8>) {
        let mut put = |text: &str| {
            out.extend((text.len() as u64).to_be_bytes());
            out.extend(text.as_bytes());
        };
        for group in &self.groups {
            put("group");
            put(group);
        }
        for (name, value) in &self.attributes {
            put("attribute");
            put(name);
            put(value);
        }
    }
}

/// More of a subject than may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectTooLarge {
    /// Groups.
    #[error("{count} groups; a subject has {} at most", limits::GROUPS_MAX)]
    Groups {
        /// How many there are.
        count: usize,
    },
    /// Attributes.
    #[error("{count} attributes; a subject has {} at most", limits::ATTRIBUTES_MAX)]
    Attributes {
        /// How many there are.
        count: usize,
    },
    /// A name or a value.
    #[error(
        "{text:?}: a group, and an attribute's name and value, have 1 to {} bytes",
        limits::ATTRIBUTE_MAX
    )]
    Length {
        /// Which one.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(names: impl IntoIterator<Item = String>) -> Subject {
        Subject { groups: names.into_iter().collect(), ..Subject::default() }
    }

    #[test]
    fn a_subject_is_bounded() {
        // [POL-5]
        let longest = "n".repeat(256);
        assert_eq!(groups((0..64).map(|number| number.to_string())).check(), Ok(()));
        assert_eq!(
            groups((0..65).map(|number| number.to_string())).check(),
            Err(SubjectTooLarge::Groups { count: 65 })
        );
        assert_eq!(groups([longest.clone()]).check(), Ok(()));
        let too_long = longest.clone() + "n";
        for text in [too_long, String::new()] {
            let error = Err(SubjectTooLarge::Length { text: text.clone() });
            assert_eq!(groups([text.clone()]).check(), error);
            let named = |name: &str, value: &str| Subject {
                attributes: BTreeMap::from([(name.to_owned(), value.to_owned())]),
                ..Subject::default()
            };
            assert_eq!(named(&text, "v").check(), error);
            assert_eq!(named("n", &text).check(), error);
            assert_eq!(named("n", &longest).check(), Ok(()));
        }
        let attributes = (0..65).map(|number| (number.to_string(), "v".to_owned())).collect();
        let subject = Subject { attributes, ..Subject::default() };
        assert_eq!(subject.check(), Err(SubjectTooLarge::Attributes { count: 65 }));
    }

    #[test]
    fn no_subject_is_spelled_like_another() {
        let spell = |subject: &Subject| {
            let mut out = Vec::new();
            subject.spell(&mut out);
            out
        };
        let (two, one) =
            (groups(["a".into(), "b".into()]), groups(["a\0\0\0\0\0\0\0\u{1}b".into()]));
        assert_ne!(spell(&two), spell(&one));
        let attributes = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        assert_ne!(spell(&two), spell(&Subject { attributes, ..Subject::default() }));
        assert!(spell(&Subject::default()).is_empty());
    }
}
