//! A grant as the node keeps it.

use std::sync::Arc;

use cmtp_client::policy::Subject;
use cmtp_codec::session::{Granted, Random, ScopeTexts};
use cmtp_codec::{PublicKey, Scope};
use cmtp_spec::limits;

use crate::sessions::SessionFault;

/// A grant: whose, for what, how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) persona: PublicKey,
    pub(crate) scope: Scope,
    pub(crate) subject: Arc<Subject>,
    pub(crate) recovery: Option<Random>,
    /// Seconds since 1970.
    pub(crate) begun: u64,
    pub(crate) ends: u64,
    pub(crate) token_seconds: u64,
}

impl Kept {
    /// What the journal and the answer to a consent hold.
    pub(crate) fn to_granted(&self) -> Granted {
        Granted {
            persona: self.persona,
            scope: ScopeTexts::from(&self.scope),
            groups: self.subject.groups.iter().cloned().collect(),
            attributes: self.subject.attributes.clone(),
            recovery: self.recovery,
            begun: self.begun,
            ends: self.ends,
            token_seconds: self.token_seconds,
        }
    }

    /// The same read back.
    pub(crate) fn from_granted(granted: Granted) -> Result<Self, SessionFault> {
        Ok(Self {
            persona: granted.persona,
            scope: granted.scope.parse().map_err(|_not_ours| SessionFault::Malformed)?,
            subject: Arc::new(Subject {
                groups: granted.groups.into_iter().collect(),
                attributes: granted.attributes,
            }),
            recovery: granted.recovery,
            begun: granted.begun,
            ends: granted.ends,
            token_seconds: granted.token_seconds,
        })
    }

    /// The same from another second on, for as long.
    pub(crate) fn begun_at(self, begun: u64) -> Self {
        let ends = begun.saturating_add(self.ends.saturating_sub(self.begun));
        Self { begun, ends, ..self }
    }

    /// Whether it is over at `now`, microseconds since 1970.
    pub(crate) const fn is_over(&self, now: u64) -> bool {
        now / 1_000_000 >= self.ends
    }

    /// [SES-11] The second from which no consent to it can be sent again, and it needs not be remembered.
    pub(crate) fn sent_again_until(&self) -> u64 {
        self.begun.saturating_add(limits::SESSION_COOKIE_LIFETIME).max(self.ends)
    }

    /// When a token made at `now` (seconds) is over.
    pub(crate) fn token_end(&self, now: u64) -> u64 {
        // [SES-12] `exp` MUST NOT be after `ends`.
        now.saturating_add(self.token_seconds).min(self.ends)
    }
}
