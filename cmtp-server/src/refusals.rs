//! Counts of what was refused before a token was accepted: `cmtp-spec/spec/10-admission.md`.
//!
//! Such a refusal costs no entry of its own, so that whoever floods a node with them writes nothing to its disk; what
//! is kept is how many there were of each kind. The wire never shows the kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sessions::SessionFault;
use crate::token::TokenError;

/// Refusals by reason, since they were last taken.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<Reason, u64>>);

impl Refusals {
    /// Counts one.
    pub(crate) fn count(&self, reason: Reason) {
        let mut counts = self.counts();
        let count = counts.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    /// The counts, each above 0; counting begins anew.
    pub fn take(&self) -> Vec<(Reason, u64)> {
        std::mem::take(&mut *self.counts()).into_iter().collect()
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Reason, u64>> {
        // Every change under the lock is a single step, so a poisoned map is a sound one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why somebody without an accepted token was refused. Shown as one word; new ones come with new checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// No AUTH: 511.
    NoToken,
    /// A token digest that the connection does not know: 401, resend-token.
    UnknownDigest,
    /// A token that was verified, outside of its times: 401.
    OutsideTimes,
    /// The proof of the token's key: 401.
    Proof,
    /// The origin's actor is not the token's holder: 401.
    Actor,
    /// Not verified, because the connection showed too many bad tokens already: 401.
    Exhausted,
    /// The token itself, by the check that failed: 401.
    Token(TokenError),
    /// A token that was revoked, or whose grant has ended: 401.
    Revoked,
    /// A message of the session handshake, by the check that failed.
    Session(SessionFault),
    /// A handshake without our ALPN.
    Alpn,
    /// A handshake that failed or took longer than `header-timeout`.
    Handshake,
    /// A handshake that was asked to come again with a validated address (Retry).
    AddressNotValidated,
    /// A connection for which there was no place.
    NoPlace,
    /// A connection from an address that showed too many bad tokens.
    BadAddress,
}

impl From<TokenError> for Reason {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<SessionFault> for Reason {
    fn from(fault: SessionFault) -> Self {
        Self::Session(fault)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoToken => "no-token",
            Self::UnknownDigest => "unknown-digest",
            Self::OutsideTimes => "token-outside-times",
            Self::Proof => "proof",
            Self::Actor => "actor",
            Self::Exhausted => "exhausted",
            Self::Token(error) => error.word(),
            Self::Revoked => "revoked",
            Self::Session(fault) => fault.word(),
            Self::Alpn => "alpn",
            Self::Handshake => "handshake",
            Self::AddressNotValidated => "address-not-validated",
            Self::NoPlace => "no-place",
            Self::BadAddress => "bad-address",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_taken_once() {
        let refusals = Refusals::default();
        refusals.count(Reason::NoToken);
        refusals.count(Reason::Token(TokenError::Signature));
        refusals.count(Reason::NoToken);
        let taken = refusals.take();
        let words = taken.iter().map(|(reason, count)| format!("{reason} {count}"));
        assert_eq!(words.collect::<Vec<_>>(), ["no-token 2", "token-signature 1"]);
        assert!(refusals.take().is_empty());
    }
}
