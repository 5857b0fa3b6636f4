//! Policies: what of a token's scope is allowed, and to whom. `cmtp-spec/spec/23-policies.md`.
//!
//! A node judges each request by them, and an auditor judges it again by the same code: the same policies and the same
//! question always come to the same decision. Nothing here knows of tokens, connections or time.
//!
//! Start from [`Policies`], [`Question`] and, where the same is asked often, [`Decider`].

#[cfg(feature = "cedar")]
mod cedar;
#[cfg(not(feature = "cedar"))]
#[path = "policy/scope_alone.rs"]
mod cedar;
mod decider;
mod error;
mod folder;
mod question;
mod subject;
#[cfg(all(test, feature = "cedar"))]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;

use std::path::Path;

use cmtp_codec::{Digest, PolicyFiles};

use crate::policy::cedar::Judge;
pub use crate::policy::decider::Decider;
pub use crate::policy::error::PolicyError;
pub use crate::policy::folder::{is_policy_file, read_policy_folder};
pub use crate::policy::question::{Action, Decision, GrantedBy, Question, UnknownGrant, is_judged};
pub use crate::policy::subject::{Subject, SubjectTooLarge};

/// A set of policies that was read and found to be good, or none: then the scope of tokens alone decides.
///
/// ```
/// use cmtp_client::policy::{GrantedBy, Policies, Question, Subject};
/// use cmtp_codec::{Fqmn, PolicyFiles, SigningKey};
///
/// let mut files = PolicyFiles::default();
/// files.insert("a.cedar", r#"permit (principal, action, resource in Fqmn::"0xS:0x001");"#)?;
/// # if cfg!(feature = "cedar") {
/// let policies = Policies::of(&files)?;
/// let (subject, target) = (Subject::default(), Fqmn::parse("0xSW:0x001:color")?);
/// let principal = SigningKey::from_seed(&[7; 32])?.public();
/// let granted = GrantedBy::Session;
/// let decision = policies.decide(&Question { principal, subject: &subject, granted, target: &target });
/// assert!(decision.is_allowed && decision.policies == ["a#0"]);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policies {
    judge: Option<Judge>,
    listing: Vec<u8>,
    digest: Digest,
}

impl Policies {
    /// No policies: the scope alone decides.
    pub fn none() -> Self {
        Self { judge: None, listing: Vec::new(), digest: Digest::of(&[]) }
    }

    /// Reads a set.
    ///
    /// # Errors
    /// [`PolicyError`] names file, line, culprit and cure.
    pub fn of(files: &PolicyFiles) -> Result<Self, PolicyError> {
        let Some(judge) = Judge::of(files)? else { return Ok(Self::none()) };
        let listing = files.listing();
        // [POL-7] The digest of a set MUST be SHA-256 of its listing.
        let digest = Digest::of(&listing);
        Ok(Self { judge: Some(judge), listing, digest })
    }

    /// Reads the set in a folder.
    ///
    /// # Errors
    /// [`PolicyError`] names folder, file, line, culprit and cure.
    pub fn load(folder: &Path) -> Result<Self, PolicyError> {
        Self::of(&read_policy_folder(folder)?).map_err(|error| error.in_folder(folder))
    }

    /// Reads what an entry `policy` of a journal notes.
    ///
    /// # Errors
    /// [`PolicyError`]: it is no listing, or no set that passes here.
    pub fn from_note(content: &[u8]) -> Result<Self, PolicyError> {
        if content.is_empty() {
            return Ok(Self::none());
        }
        Self::of(&PolicyFiles::from_listing(content)?)
    }

    /// What an entry `policy` notes: the listing, or nothing where there are no policies.
    pub fn note(&self) -> &[u8] {
        &self.listing
    }

    /// The digest that admit layers name.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Ids of all policies, in ascending order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.judge.iter().flat_map(Judge::ids)
    }

    /// Whether there are policies to ask, were it an empty set, which denies everything.
    pub const fn are_asked(&self) -> bool {
        self.judge.is_some()
    }

    /// What they say.
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        // [POL-1] Each target that the scope covers is judged; [POL-2] but for log and sessions.
        match &self.judge {
            Some(judge) if is_judged(question.target) => judge.decide(question),
            _ => Decision { is_allowed: true, policies: Vec::new() },
        }
    }
}

/// Whether this program can judge by policies.
pub const IS_BUILT_IN: bool = cfg!(feature = "cedar");
/// What a node writes into its policy folder at its first start.
pub const DEFAULT_POLICIES: &str = include_str!("policy/default.cedar");
