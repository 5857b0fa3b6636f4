//! Which node a client takes for the one it means: `cmtp-spec/spec/09-quic.md`, `cmtp-spec/spec/13-receipts.md`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cmtp_codec::{KeyList, PublicKey, SignatureError, Verified};
use cmtp_spec::KeyUse;

/// Whom to trust on a new connection.
///
/// Except where certificate authorities decide, the certificate's key must stand in the node's own key list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// The node with this root key and no other: from a URL, a command line or a configuration.
    Pinned(PublicKey),
    /// The node that answered here before.
    Known {
        /// Its root key.
        root: PublicKey,
        /// The number of the last key list that it showed; a lower one is refused.
        number: u64,
    },
    /// Whichever node has a certificate for the name called that the system's authorities vouch for.
    Authorities,
    /// Whichever node answers. Where authorities vouch for it they are asked first, but on loopback.
    FirstUse,
}

/// What made a node trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustedBy {
    /// Its root key is the one pinned.
    Pin,
    /// It answered here before.
    Known,
    /// Certificate authorities vouch for it.
    Authorities,
    /// It answered, and nothing else speaks for it.
    FirstUse,
}

/// The highest key list number seen of each node.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Mutex<HashMap<PublicKey, u64>>);

impl Numbers {
    pub(crate) fn of(&self, root: &PublicKey) -> Option<u64> {
        self.seen().get(root).copied()
    }

    /// Notes that a node showed its list with this number.
    ///
    /// # Errors
    /// [`Untrusted::OldKeys`] where it has shown a higher one.
    pub(crate) fn raise(&self, root: &PublicKey, shown: u64) -> Result<(), Untrusted> {
        let mut numbers = self.seen();
        let seen = numbers.entry(*root).or_insert(shown);
        if shown < *seen {
            return Err(Untrusted::OldKeys { seen: *seen, shown });
        }
        *seen = shown;
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<PublicKey, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What TLS showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Its key, where it is an Ed25519 key.
    pub(crate) key: Option<PublicKey>,
    /// Whether authorities vouch for it and the name called.
    pub(crate) vouched: bool,
}

impl Trust {
    /// Decides whether the node that shows `keys` and `certificate` is the one meant.
    ///
    /// `seen` is the highest key list number known of `keys.root`, beside the one in the trust itself.
    pub(crate) fn decide(
        &self,
        keys: KeyList,
        certificate: Certificate,
        seen: Option<u64>,
        now: u64,
    ) -> Result<(Verified<KeyList>, TrustedBy), Untrusted> {
        // [RCP-2] A receiver MUST refuse a list whose signature does not verify under its root key.
        let keys = keys.verify()?;
        let by = match *self {
            Self::Pinned(_) => TrustedBy::Pin,
            Self::Known { .. } => TrustedBy::Known,
            Self::Authorities if !certificate.vouched => return Err(Untrusted::NotVouched),
            Self::Authorities => TrustedBy::Authorities,
            Self::FirstUse if certificate.vouched => TrustedBy::Authorities,
            Self::FirstUse => TrustedBy::FirstUse,
        };
        // [RCP-2] Whose root key is not the one that it trusts.
        if let Some(expected) = self.root()
            && keys.root != expected
        {
            return Err(Untrusted::OtherNode { expected, shown: keys.root });
        }
        // [RCP-2] Or whose number is lower than one that it saw from that root key.
        let seen = seen.max(self.number());
        if let Some(seen) = seen.filter(|&seen| keys.number < seen) {
            return Err(Untrusted::OldKeys { seen, shown: keys.number });
        }
        // [QUI-3] The KEYS list of the node lists the certificate's key with use `tls`, valid now; or the authorities.
        let listed = certificate.key.is_some_and(|key| keys.allows(KeyUse::TLS, &key, now));
        if !listed && by != TrustedBy::Authorities {
            return Err(Untrusted::ForeignCertificate { node: keys.root });
        }
        Ok((keys, by))
    }

    /// The root key that is trusted, where the trust names one.
    pub(crate) const fn root(&self) -> Option<PublicKey> {
        match *self {
            Self::Pinned(root) | Self::Known { root, .. } => Some(root),
            Self::Authorities | Self::FirstUse => None,
        }
    }

    const fn number(&self) -> Option<u64> {
        match *self {
            Self::Known { number, .. } => Some(number),
            _ => None,
        }
    }
}

/// Why a node is not the one meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// The key list is not signed by its root key.
    #[error("the node's key list is not signed by its root key: {0}")]
    KeyList(#[from] SignatureError),
    /// Another node answers.
    #[error("expected the node {expected}, and {shown} answers")]
    OtherNode {
        /// The root key that was trusted.
        expected: PublicKey,
        /// The root key that was shown.
        shown: PublicKey,
    },
    /// An outdated key list, perhaps with a key that was taken back.
    #[error("the node shows key list {shown} and has shown {seen} before")]
    OldKeys {
        /// The highest number seen.
        seen: u64,
        /// The number shown now.
        shown: u64,
    },
    /// Somebody shows a certificate that is not the node's.
    #[error("the certificate's key is not a valid TLS key of {node}: somebody may stand between")]
    ForeignCertificate {
        /// The node whose key list was shown.
        node: PublicKey,
    },
    /// No authority vouches for the certificate.
    #[error("no certificate authority vouches for the node")]
    NotVouched,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_codec::{ListedKey, SigningKey};

    use super::*;
    use crate::testing::signing_key;

    const NOW: u64 = 1_000;

    fn list(root: &SigningKey, number: u64, tls: PublicKey, not_after: u64) -> KeyList {
        let tls = ListedKey { key_use: KeyUse::TLS, key: tls, not_before: 0, not_after };
        KeyList::sign(root, number, vec![tls])
    }

    fn shows(key: PublicKey, vouched: bool) -> Certificate {
        Certificate { key: Some(key), vouched }
    }

    #[test]
    fn trust_decides_by_key_list_root_and_certificate() {
        // [QUI-3] [RCP-2]
        let (root, other, tls) = (signing_key(1), signing_key(2), signing_key(3).public());
        let (id, stranger) = (root.public(), other.public());
        let keys = || list(&root, 5, tls, 2_000);
        let foreign = Err(Untrusted::ForeignCertificate { node: id });
        let other_node = Err(Untrusted::OtherNode { expected: stranger, shown: id });
        let table = [
            (Trust::Pinned(id), shows(tls, false), None, Ok(TrustedBy::Pin)),
            (Trust::Pinned(stranger), shows(tls, true), None, other_node),
            (Trust::Pinned(id), shows(stranger, false), None, foreign),
            // A pin is stricter than an authority.
            (Trust::Pinned(id), shows(stranger, true), None, foreign),
            (Trust::Known { root: id, number: 5 }, shows(tls, false), None, Ok(TrustedBy::Known)),
            (
                Trust::Known { root: id, number: 6 },
                shows(tls, false),
                None,
                Err(Untrusted::OldKeys { seen: 6, shown: 5 }),
            ),
            (Trust::Known { root: stranger, number: 0 }, shows(tls, false), None, other_node),
            (
                Trust::FirstUse,
                shows(tls, false),
                Some(9),
                Err(Untrusted::OldKeys { seen: 9, shown: 5 }),
            ),
            (Trust::FirstUse, shows(tls, false), Some(5), Ok(TrustedBy::FirstUse)),
            (Trust::FirstUse, shows(stranger, false), None, foreign),
            (Trust::FirstUse, shows(stranger, true), None, Ok(TrustedBy::Authorities)),
            (Trust::Authorities, shows(stranger, true), None, Ok(TrustedBy::Authorities)),
            (
                Trust::Authorities,
                Certificate { key: None, vouched: true },
                None,
                Ok(TrustedBy::Authorities),
            ),
            (Trust::Authorities, shows(tls, false), None, Err(Untrusted::NotVouched)),
        ];
        for (trust, certificate, seen, expected) in table {
            let decided = trust.decide(keys(), certificate, seen, NOW).map(|(_, by)| by);
            assert_eq!(decided, expected, "{trust:?} {certificate:?}");
        }
    }

    #[test]
    fn a_tls_key_counts_only_while_it_is_valid() {
        // [QUI-3]
        let (root, tls) = (signing_key(1), signing_key(3).public());
        for (not_after, good) in [(NOW, false), (NOW + 1, true)] {
            let keys = list(&root, 0, tls, not_after);
            let decided = Trust::FirstUse.decide(keys, shows(tls, false), None, NOW);
            assert_eq!(decided.is_ok(), good, "{not_after}");
        }
    }

    #[test]
    fn a_list_that_is_not_signed_is_refused() {
        // [RCP-2]
        let (root, tls) = (signing_key(1), signing_key(3).public());
        let mut keys = list(&root, 0, tls, 2_000);
        keys.number = 1;
        let error = Trust::FirstUse.decide(keys, shows(tls, false), None, NOW).err().unwrap();
        assert_eq!(error, Untrusted::KeyList(SignatureError::Mismatch));
    }
}
