//! Whose word is asked for: C2SP tlog-policy.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::log::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::log::note::{NoteKind, VerifierKey, VerifierKeyError};
use crate::log::read_number;

/// Logs that are trusted to be what they say, and witnesses of which enough have to have seen the same.
///
/// ```text
/// log example.com/log+12345678+AQ…
/// witness w1 w1.example+23456789+BA… https://w1.example/
/// witness w2 w2.example+3456789a+BA…
/// group both all w1 w2
/// quorum both
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The logs' keys.
    pub logs: Vec<VerifierKey>,
    witnesses: BTreeMap<String, Witness>,
    groups: BTreeMap<String, Group>,
    /// A witness or a group; `None` where the policy asks for no witness.
    quorum: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Witness {
    key: VerifierKey,
    url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    least: usize,
    members: Vec<String>,
}

/// Who cosigned a checkpoint, of those that a policy names.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Cosigned {
    /// Names of the witnesses, each with the time of its cosignature, seconds since 1970.
    pub witnesses: Vec<(String, u64)>,
    /// Whether they are as many as the policy asks for.
    pub is_quorum: bool,
    /// Whether one of the policy's logs signed, too; true where it names none, as the log may be known otherwise.
    pub is_log: bool,
}

impl Policy {
    /// Who of the policy's witnesses signed, and whether that is enough; and whether one of its logs did.
    ///
    /// # Errors
    /// [`CheckpointError::Signature`] where a signature in a witness's or a log's name is not by it.
    pub fn judge(&self, checkpoint: &SignedCheckpoint) -> Result<Cosigned, CheckpointError> {
        let mut witnesses = Vec::new();
        // [LOG-13] Each witness counts once, however many of its lines there are.
        for (name, witness) in &self.witnesses {
            if let Some(time) = checkpoint.signed_by(&witness.key)? {
                witnesses.push((name.clone(), time));
            }
        }
        let signed = |name: &str| witnesses.iter().any(|(witness, _)| witness == name);
        let is_quorum = self.quorum.as_ref().is_none_or(|quorum| self.holds(quorum, &signed));
        // [LOG-14] A policy that names logs asks that one of them signed.
        let is_log = checkpoint.is_signed_by_any(&self.logs)? || self.logs.is_empty();
        Ok(Cosigned { witnesses, is_quorum, is_log })
    }

    /// Name, key and URL of each witness.
    pub fn witnesses(&self) -> impl Iterator<Item = (&str, &VerifierKey, Option<&str>)> {
        self.witnesses.iter().map(|(name, it)| (name.as_str(), &it.key, it.url.as_deref()))
    }

    /// Whether it asks for any witness.
    pub const fn asks_for_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Members stand above their group, so that this ends.
    fn holds(&self, name: &str, signed: &impl Fn(&str) -> bool) -> bool {
        match self.groups.get(name) {
            None => signed(name),
            Some(Group { least, members }) => {
                members.iter().filter(|member| self.holds(member, signed)).count() >= *least
            }
        }
    }

    fn take(&mut self, words: &[&str]) -> Result<(), PolicyErrorKind> {
        match *words {
            ["log", key] | ["log", key, _] => {
                let key: VerifierKey = key.parse()?;
                if key.kind() != NoteKind::Ed25519 {
                    return Err(PolicyErrorKind::OtherKind);
                }
                // A log that follows another has its key under another name.
                if self.logs.contains(&key) {
                    return Err(PolicyErrorKind::Twice);
                }
                self.logs.push(key);
            }
            ["witness", name, key] | ["witness", name, key, _] => {
                let key: VerifierKey = key.parse()?;
                if key.kind() != NoteKind::Cosignature {
                    return Err(PolicyErrorKind::OtherKind);
                }
                self.check_new(name)?;
                // [LOG-13] A key MUST count as one witness, whatever names it has.
                if self.witnesses.values().any(|witness| witness.key.key() == key.key()) {
                    return Err(PolicyErrorKind::Twice);
                }
                let url = words.get(3).map(|&url| url.to_owned());
                self.witnesses.insert(name.to_owned(), Witness { key, url });
            }
            ["group", name, least, ref members @ ..] if !members.is_empty() => {
                // [LOG-12] A name MUST be given above where it is used, and once; a member is one of one group.
                self.check_new(name)?;
                if members.len() > MEMBERS_MAX {
                    return Err(PolicyErrorKind::TooMany);
                }
                for (number, member) in members.iter().enumerate() {
                    if !self.knows(member) {
                        return Err(PolicyErrorKind::Unknown);
                    }
                    let elsewhere = |group: &Group| group.members.iter().any(|it| it == member);
                    if members[..number].contains(member) || self.groups.values().any(elsewhere) {
                        return Err(PolicyErrorKind::Twice);
                    }
                }
                let least = match least {
                    "any" => 1,
                    "all" => members.len(),
                    number => read_number(number)
                        .and_then(|number| usize::try_from(number).ok())
                        .ok_or(PolicyErrorKind::Threshold)?,
                };
                if !(1..=members.len()).contains(&least) {
                    return Err(PolicyErrorKind::Threshold);
                }
                let members = members.iter().map(|&member| member.to_owned()).collect();
                self.groups.insert(name.to_owned(), Group { least, members });
            }
            _ => return Err(PolicyErrorKind::Line),
        }
        Ok(())
    }

    fn check_new(&self, name: &str) -> Result<(), PolicyErrorKind> {
        if name == NONE || self.knows(name) { Err(PolicyErrorKind::Twice) } else { Ok(()) }
    }

    fn knows(&self, name: &str) -> bool {
        self.witnesses.contains_key(name) || self.groups.contains_key(name)
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let (logs, witnesses, groups) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let mut policy = Self { logs, witnesses, groups, quorum: None };
        let mut quorum = None;
        for (line, text) in (1..).zip(text.split('\n')) {
            let words = text.split([' ', '\t']).filter(|word| !word.is_empty());
            // A line longer than any that is needed is none of the four kinds.
            let words: Vec<&str> = words.take(MEMBERS_MAX + 4).collect();
            let taken = match words[..] {
                // A tab is all that may stand there of such characters, in comments, too.
                _ if text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') => {
                    Err(PolicyErrorKind::Control)
                }
                [] => Ok(()),
                [first, ..] if first.starts_with('#') => Ok(()),
                _ if line > LINES_MAX => Err(PolicyErrorKind::TooMany),
                ["quorum", _] if quorum.is_some() => Err(PolicyErrorKind::Twice),
                ["quorum", name] if name == NONE || policy.knows(name) => {
                    quorum = Some(name.to_owned());
                    Ok(())
                }
                ["quorum", _] => Err(PolicyErrorKind::Unknown),
                _ => policy.take(&words),
            };
            taken.map_err(|kind| PolicyError { line, kind })?;
        }
        // [LOG-12] A policy that says nothing of a quorum is no policy: silence would be "none".
        let quorum = quorum.ok_or(PolicyError { line: 0, kind: PolicyErrorKind::NoQuorum })?;
        policy.quorum = (quorum != NONE).then_some(quorum);
        Ok(policy)
    }
}

/// Why a text is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy, line {line}: {kind}")]
pub struct PolicyError {
    /// Counted from 1; 0 for the whole.
    pub line: usize,
    /// What is wrong there.
    pub kind: PolicyErrorKind,
}

/// What is wrong with a line of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyErrorKind {
    /// Not one of the four kinds of lines.
    #[error(
        "expected `log KEY`, `witness NAME KEY [URL]`, `group NAME K|any|all MEMBER…` or `quorum NAME|none`"
    )]
    Line,
    /// A verifier key.
    #[error(transparent)]
    Key(#[from] VerifierKeyError),
    /// A log with a witness's key, or the other way.
    #[error("a log has a key of type 0x01, a witness one of type 0x04")]
    OtherKind,
    /// A name, member, key or quorum that was there before.
    #[error("a name, a key, a member or the quorum stands twice, or is called `none`")]
    Twice,
    /// A name that no line above has.
    #[error("a name that no line above gives")]
    Unknown,
    /// Not 1 to the number of members.
    #[error("expected `any`, `all` or a number from 1 to that of the members")]
    Threshold,
    /// More than anybody needs.
    #[error("more than {LINES_MAX} lines, or more than {MEMBERS_MAX} members")]
    TooMany,
    /// A control character.
    #[error("a control character other than a tab")]
    Control,
    /// No `quorum` line.
    #[error("there is no `quorum` line; `quorum none` asks for no witness")]
    NoQuorum,
}

const NONE: &str = "none";
const LINES_MAX: usize = 1024;
const MEMBERS_MAX: usize = 64;
