//! Outside issuers, whose word is taken for a persona's groups and attributes: `cmtp-spec/spec/24-issuers.md`.
//!
//! Their tokens admit nobody; they are judged inside the handshake, once, and are not kept. [`Issuers`] is what the node has;
//! [`IssuerCheck`] is the same judgement, with all that it saw, for who runs the node.

mod claims;
mod error;
mod json;
mod keys;
mod source;
mod token;

use std::sync::Arc;

use cmtp_client::policy::Subject;
use cmtp_codec::PublicKey;
use cmtp_spec::limits;

use crate::config::{Config, IssuerSettings};
pub use crate::issuers::error::{IssuerError, IssuerRefusal};
use crate::issuers::keys::KeySet;
pub use crate::issuers::keys::{KeyTrouble, ListedJwk};
pub use crate::issuers::source::KeySetError;
use crate::issuers::source::{Pace, Source};
use crate::issuers::token::OutsideToken;

/// The issuers that a node trusts, and their keys.
#[derive(Debug, Default)]
pub struct Issuers(Vec<Issuer>);

#[derive(Debug)]
struct Issuer {
    settings: IssuerSettings,
    source: Arc<Source>,
}

impl Issuers {
    /// Takes the issuers of a configuration. Key files are read now; URLs are asked in the background.
    ///
    /// # Errors
    /// [`IssuerOpenError`] names the issuer, and the file that can't be used.
    pub fn open(config: &Config) -> Result<Self, IssuerOpenError> {
        Self::default().reopen(config)
    }

    /// Takes the issuers of another configuration; those whose keys are where they were keep what was got of them.
    ///
    /// # Errors
    /// As [`Issuers::open`].
    pub(crate) fn reopen(&self, config: &Config) -> Result<Self, IssuerOpenError> {
        let open = |settings: &IssuerSettings| {
            let is_same = |before: &&Issuer| {
                before.settings.jwks == settings.jwks && before.settings.name == settings.name
            };
            let source = match self.0.iter().find(is_same) {
                Some(before) => Arc::clone(&before.source),
                None => Arc::new(
                    Source::open(&settings.name, &settings.jwks, Pace::default()).map_err(
                        |source| IssuerOpenError { name: settings.name.clone(), source },
                    )?,
                ),
            };
            Ok(Issuer { settings: settings.clone(), source })
        };
        Ok(Self(config.issuers.iter().map(open).collect::<Result<_, _>>()?))
    }

    /// Their names, in the order of the configuration: what a node asks for in its call.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|issuer| issuer.settings.name.as_str())
    }

    /// What a token says of a persona at `now`, microseconds since 1970.
    ///
    /// Nothing is fetched meanwhile: a token whose key is not known yet is refused, and the key looked for.
    ///
    /// # Errors
    /// [`IssuerError`], which the peer is not told.
    pub fn verify(
        &self,
        token: &str,
        persona: &PublicKey,
        now: u64,
    ) -> Result<Subject, IssuerError> {
        // [ISS-1] An outside token MUST NOT admit anybody: it gives groups and attributes only.
        self.verify_one(token, persona, now).map(|(_issuer, subject)| subject)
    }

    /// What several tokens say of a persona, joined.
    ///
    /// # Errors
    /// [`IssuerError`] of the first that is refused, or of all together.
    pub fn verify_all<'a>(
        &self,
        tokens: impl IntoIterator<Item = &'a str>,
        persona: &PublicKey,
        now: u64,
    ) -> Result<Subject, IssuerError> {
        let (mut issuers, mut joined) = (Vec::new(), Subject::default());
        for token in tokens {
            let (issuer, subject) = self.verify_one(token, persona, now)?;
            // [ISS-14] Of one issuer at most one token is shown.
            if issuers.contains(&issuer) {
                return Err(IssuerError::Repeated);
            }
            issuers.push(issuer);
            join(&mut joined, subject)?;
        }
        Ok(joined)
    }

    fn verify_one(
        &self,
        token: &str,
        persona: &PublicKey,
        now: u64,
    ) -> Result<(&str, Subject), IssuerError> {
        self.examine(token, persona, now).map_err(|refusal| {
            // [ISS-15] A peer MUST NOT be told which check failed; a node's operator may.
            tracing::debug!(%refusal, "an outside token is refused");
            refusal.error
        })
    }

    fn examine(
        &self,
        token: &str,
        persona: &PublicKey,
        now: u64,
    ) -> Result<(&str, Subject), IssuerRefusal> {
        let token = OutsideToken::read(token)?;
        // [ISS-4] A node MUST refuse the token of any other issuer.
        let issuer = self.0.iter().find(|issuer| token.is_of(&issuer.settings.iss));
        let issuer = issuer.ok_or_else(|| token.refuse_issuer("one that the node trusts"))?;
        let judged = issuer.source.keys().ok_or(IssuerError::NoKeys.into()).and_then(|keys| {
            claims::judge(&token, &issuer.settings, &keys, Some(persona), now / 1_000_000)
        });
        if let Err(IssuerRefusal { error: IssuerError::UnknownKey, .. }) = judged {
            issuer.source.look_again();
        }
        Ok((&issuer.settings.name, judged?))
    }
}

/// [ISS-14] A node MUST refuse tokens where they differ in an attribute, or are more together than one may be.
fn join(joined: &mut Subject, subject: Subject) -> Result<(), IssuerError> {
    joined.groups.extend(subject.groups);
    for (attribute, value) in subject.attributes {
        match joined.attributes.insert(attribute, value.clone()) {
            Some(before) if before != value => return Err(IssuerError::Conflict),
            _ => {}
        }
    }
    let is_within = joined.groups.len() as u64 <= limits::GROUPS_MAX
        && joined.attributes.len() as u64 <= limits::ATTRIBUTES_MAX;
    if is_within { Ok(()) } else { Err(IssuerError::Excess) }
}

/// One issuer, as who runs the node looks at it: its keys as they are now, and what a token comes to.
#[derive(Debug)]
pub struct IssuerCheck {
    settings: IssuerSettings,
    keys: KeySet,
}

impl IssuerCheck {
    /// Gets the keys, and blocks meanwhile.
    ///
    /// # Errors
    /// [`KeySetError`] names what is wrong with them.
    pub fn new(settings: &IssuerSettings) -> Result<Self, KeySetError> {
        let keys = source::look(&settings.jwks)?.for_algorithms(&settings.algorithms);
        Ok(Self { settings: settings.clone(), keys })
    }

    /// The keys of the set, in its order, those that are passed over included.
    pub fn keys(&self) -> &[ListedJwk] {
        self.keys.listed()
    }

    /// What the node would make of a token at `now`, microseconds since 1970. Without a persona its nonce is not looked at.
    ///
    /// # Errors
    /// [`IssuerRefusal`] says what failed, and on which values.
    pub fn judge(
        &self,
        token: &str,
        persona: Option<&PublicKey>,
        now: u64,
    ) -> Result<Subject, IssuerRefusal> {
        let token = OutsideToken::read(token)?;
        if !token.is_of(&self.settings.iss) {
            return Err(token.refuse_issuer(&self.settings.iss));
        }
        claims::judge(&token, &self.settings, &self.keys, persona, now / 1_000_000)
    }
}

/// Why the keys of an issuer can't be taken.
#[derive(Debug, thiserror::Error)]
#[error("issuer {name:?}: {source}")]
pub struct IssuerOpenError {
    /// The issuer's name.
    pub name: String,
    /// What is wrong.
    pub source: KeySetError,
}

#[cfg(test)]
mod tests;
