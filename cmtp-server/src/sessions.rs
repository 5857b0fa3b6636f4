//! IAM: from a persona to a token, and the end of both. `cmtp-spec/spec/22-sessions.md`.
//!
//! A handshake leaves nothing behind before consent: its state travels in cookies. What consent makes, and what is
//! revoked, is in the journal; the table of it is rebuilt from there.

mod cookie;
mod fault;
mod grants;
mod handshake;
mod kept;
mod service;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cmtp_codec::PublicKey;
use cmtp_codec::session::GrantName;
use cmtp_spec::EntryType;
use tokio::sync::watch;

use crate::journal::{Draft, Journal, JournalError};
use crate::node;
use crate::node_keys::NodeKeys;
use crate::token::{Token, TokenKind};

pub(crate) use crate::sessions::cookie::Cookies;
pub use crate::sessions::fault::SessionFault;
pub(crate) use crate::sessions::grants::{Grants, Revoked};
pub(crate) use crate::sessions::handshake::{Handshake, Made, Said};
pub(crate) use crate::sessions::kept::Kept;
pub(crate) use crate::sessions::service::SessionService;

/// The grants of a node, and what was revoked.
pub(crate) struct Sessions {
    journal: Arc<Journal>,
    cookies: Cookies,
    grants: Mutex<Grants>,
    /// Counts revocations, for who has to end what it lets go on.
    revocations: watch::Sender<u64>,
}

impl Sessions {
    pub(crate) fn new(keys: &NodeKeys, journal: Arc<Journal>, grants: Grants) -> Self {
        let cookies = Cookies::new(&keys.derived("session cookies"));
        Self { journal, cookies, grants: Mutex::new(grants), revocations: watch::Sender::new(0) }
    }

    /// Whether a token that was verified is refused all the same: its grant ended, or it was revoked.
    pub(crate) fn refuses(&self, token: &Token) -> bool {
        let grants = self.grants();
        match token.kind() {
            // [SES-12] A node MUST refuse a session token whose grant it does not have, or has no more; another's is none either.
            TokenKind::Session(name) => {
                let kept = grants.find(name, node::now());
                kept.is_none_or(|kept| kept.persona != token.holder)
            }
            TokenKind::Operator => grants.is_revoked(token.id(), &token.holder, token.issued_at()),
        }
    }

    /// What the grant of a token says of its persona; `None` where it is the operator's.
    pub(crate) fn kept(&self, token: &Token) -> Option<Arc<Kept>> {
        match token.kind() {
            TokenKind::Session(name) => self.grants().find(name, node::now()),
            TokenKind::Operator => None,
        }
    }

    /// Waits for the next revocation after this was called first.
    pub(crate) fn revocations(&self) -> watch::Receiver<u64> {
        self.revocations.subscribe()
    }

    /// The grant that a consent made is in force; `index` is of the consent's durable entry, `offered` when it was offered.
    pub(crate) async fn begin(
        &self,
        (name, kept): (GrantName, Kept),
        offered: u64,
        index: u64,
    ) -> Result<(), JournalError> {
        let is_over = self.grants().is_withdrawn(&kept.persona, offered);
        if is_over {
            // [SES-15] A hangup came while the consent was on its way to the journal, where it stands before or behind it.
            self.revoke(Revoked::Grant(name)).await?;
        }
        self.grants().begin(name, kept, index);
        Ok(())
    }

    /// Revokes: durable first, then in force.
    pub(crate) async fn revoke(&self, revoked: Revoked) -> Result<(), JournalError> {
        if let Revoked::Persona(persona, to) = &revoked {
            self.grants().withdraw(persona, *to);
        }
        // [SES-17] What is revoked MUST be durable before it is answered.
        let note = Draft::note(EntryType::REVOKED, revoked.to_line().as_bytes());
        let recorded = self.journal.record(note.map_err(|_crypto| JournalError::Failed)?).await?;
        self.grants().revoke(&revoked, recorded.index);
        self.revocations.send_modify(|count| *count += 1);
        Ok(())
    }

    /// The grants of a persona that last.
    pub(crate) fn list(&self, persona: &PublicKey) -> Vec<(GrantName, Arc<Kept>)> {
        self.grants().of(persona, node::now())
    }

    fn grants(&self) -> MutexGuard<'_, Grants> {
        // Every change under the lock is a single step, so a poisoned table is a sound one.
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file of the specification's vectors.
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
fn vectors(name: &str) -> serde_json::Value {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../cmtp-spec/vectors");
    let text = std::fs::read(folder.join(name).with_extension("json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}
