//! What policies are asked, and what they say.

use std::fmt;

use cmtp_codec::{Fqmn, Pattern, PolicyName, PublicKey};
use cmtp_spec::{Opcode, binding, limits};

use crate::policy::subject::Subject;

/// May this persona do this?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who asks.
    pub principal: PublicKey,
    /// What is known of who asks.
    pub subject: &'a Subject,
    /// How the token was granted.
    pub granted: GrantedBy,
    /// What for.
    pub target: &'a Fqmn,
}

impl Question<'_> {
    /// What it is to do.
    pub fn action(&self) -> Action {
        Action::of(self.target)
    }

    /// What policies call the target.
    pub fn resource(&self) -> PolicyName {
        PolicyName::of(self.target)
    }
}

/// Who granted a token. Closed: a token is granted in one of these ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrantedBy {
    /// The operator, by hand.
    Operator,
    /// A session: its persona consented.
    Session,
}

impl GrantedBy {
    /// The word that policies know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Session => "session",
        }
    }
}

impl fmt::Display for GrantedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for GrantedBy {
    type Err = UnknownGrant;

    fn from_str(text: &str) -> Result<Self, UnknownGrant> {
        [Self::Operator, Self::Session]
            .into_iter()
            .find(|granted| granted.name() == text)
            .ok_or_else(|| UnknownGrant { text: text.to_owned() })
    }
}

/// A word that says of no grant how it was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: expected operator or session")]
pub struct UnknownGrant {
    text: String,
}

/// What a request does, by the opcode of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action(&'static str);

impl Action {
    /// What a request for `target` does.
    pub fn of(target: &Fqmn) -> Self {
        // A target begins with an opcode of the registry, where each has an action; what policies don't know, they deny.
        Self(target.opcode().action().unwrap_or("none"))
    }

    /// The word that policies know it by.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on.
    pub is_allowed: bool,
    /// Ids of the policies that decided, in ascending order: what permits, or what forbids. Where nothing permits it, none.
    pub policies: Vec<String>,
}

impl Decision {
    /// The ids that an admit layer names.
    pub fn named(&self) -> &[String] {
        // [POL-8] `policies-named-max` at most.
        let count = self.policies.len().min(limits::POLICIES_NAMED_MAX as usize);
        &self.policies[..count]
    }
}

/// `allowed: ID …` or `denied: ID …`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_allowed { "allowed" } else { "denied" })?;
        if self.policies.is_empty() { Ok(()) } else { write!(f, ": {}", self.named().join(" ")) }
    }
}

/// Whether policies are asked about a target.
pub fn is_judged(target: &Fqmn) -> bool {
    // [POL-2] Policies MUST NOT be asked about the log, and about sessions.
    let is_session = matches!(target.opcode(), Opcode::I | Opcode::IW)
        && target.target().split(':').nth(1) == Some(SESSION);
    !is_session && !Pattern::parse(binding::LOG_PATTERN).is_ok_and(|log| log.covers(target))
}

const SESSION: &str = "session";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn policies_are_not_asked_about_log_and_sessions() {
        // [POL-2]
        let table = [
            ("0xI:log:proof", false),
            ("0xI:session:hello", false),
            ("0xIW:session:consent", false),
            ("0xI:log", true),
            ("0xI:log:a:b", true),
            ("0xIW:erase", true),
            ("0xS:session:hello", true),
            ("0xI:sessions:hello", true),
        ];
        for (target, expected) in table {
            assert_eq!(is_judged(&Fqmn::parse(target).unwrap()), expected, "{target}");
        }
    }

    #[test]
    fn a_decision_names_no_more_than_a_field_has_room_for() {
        // [POL-8]
        let policies = (0..300).map(|number| format!("{number:064}")).collect();
        let decision = Decision { is_allowed: true, policies };
        assert_eq!(decision.named().len(), 200);
        assert!(decision.to_string().len() < 14_000);
    }
}
