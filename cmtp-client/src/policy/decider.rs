//! Decisions that are kept: the same question is asked for every request of a caller.

use std::sync::Arc;

use cmtp_codec::Digest;
use cmtp_spec::limits;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::policy::question::is_judged;
use crate::policy::{Decision, Policies, Question};

/// Judges by one set of policies, and keeps what it said.
///
/// Another set has a decider of its own, so that nothing of an older one is ever said again.
#[derive(Debug)]
pub struct Decider {
    policies: Policies,
    kept: Cache<Digest, Arc<Decision>, ByPolicies>,
}

impl Decider {
    /// A decider that was not asked yet.
    pub fn new(policies: Policies) -> Self {
        Self::keeping(policies, limits::POLICY_DECISIONS_MAX)
    }

    /// One that keeps so many decisions at most.
    pub(crate) fn keeping(policies: Policies, most: u64) -> Self {
        // Whoever has a token chooses among targets without end, so that there must be an end to what is kept.
        let kept = Cache::with_weighter(most as usize, most, ByPolicies);
        Self { policies, kept }
    }

    /// The policies.
    pub const fn policies(&self) -> &Policies {
        &self.policies
    }

    /// What the policies say.
    pub fn decide(&self, question: &Question<'_>) -> Arc<Decision> {
        if !self.policies.are_asked() || !is_judged(question.target) {
            return Arc::new(self.policies.decide(question));
        }
        let key = key(question);
        if let Some(decision) = self.kept.get(&key) {
            return decision;
        }
        let decision = Arc::new(self.policies.decide(question));
        self.kept.insert(key, Arc::clone(&decision));
        decision
    }

    /// How many decisions are kept.
    #[cfg(all(test, feature = "cedar"))]
    pub(crate) fn kept(&self) -> usize {
        self.kept.len()
    }
}

/// A decision takes the place of one for each 16 policies that it names, so that 65,536 are 100 MiB at the very most.
#[derive(Clone, Debug)]
struct ByPolicies;

impl Weighter<Digest, Arc<Decision>> for ByPolicies {
    fn weight(&self, _key: &Digest, decision: &Arc<Decision>) -> u64 {
        1 + decision.policies.len() as u64 / 16
    }
}

/// All that a decision depends on beside the policies: as many bytes for a long target as for a short one.
fn key(question: &Question<'_>) -> Digest {
    let Question { principal, subject, granted, target } = question;
    let target = target.target();
    let mut text = Vec::with_capacity(64 + target.len());
    text.extend(principal.0);
    text.push(*granted as u8);
    text.extend((target.len() as u64).to_be_bytes());
    text.extend(target.as_bytes());
    subject.spell(&mut text);
    Digest::of(&text)
}
