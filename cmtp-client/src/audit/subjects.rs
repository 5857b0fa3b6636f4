//! Whose tokens they are: what a journal says of the holder of a token that a message names by its digest.

use std::collections::HashMap;
use std::sync::Arc;

use cmtp_codec::session::{GrantName, Issued, Message, SessionTarget, granted_of};
use cmtp_codec::{Digest, Layer, Link};
use cmtp_spec::{FieldIndex, Step};

use crate::policy::{GrantedBy, Subject};

/// The subjects of tokens.
///
/// A session's tokens stand in the answers of its consent and its renewals, with the groups and attributes of its grant. Any
/// other token is the operator's, who says nothing of its holder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subjects {
    nobody: Arc<Subject>,
    grants: HashMap<GrantName, Arc<Subject>>,
    /// By the digest of a token.
    tokens: HashMap<Digest, Arc<Subject>>,
}

impl Subjects {
    /// Learns from a message which tokens it gave to whom.
    pub(crate) fn learn(&mut self, message: &[Link]) {
        let layers = || message.iter().filter_map(Link::layer);
        let target = layers().next().and_then(|origin| origin.text(FieldIndex::TARGET));
        let gives_tokens = matches!(
            target.and_then(SessionTarget::of),
            Some(SessionTarget::Consent | SessionTarget::Renew)
        );
        let serve = layers().find(|layer| layer.step == Step::SERVE);
        if let Some(serve) = serve.filter(|_| gives_tokens) {
            self.take(serve);
        }
    }

    fn take(&mut self, serve: &Layer) {
        let issued = serve.data().map(|body| Issued::from_bytes(body));
        let Some(Ok(issued)) = issued else { return };
        if let Some(granted) = granted_of(serve) {
            let groups = granted.groups.into_iter().collect();
            let subject = Subject { groups, attributes: granted.attributes };
            self.grants.insert(issued.grant, Arc::new(subject));
        }
        if let Some(subject) = self.grants.get(&issued.grant) {
            self.tokens.insert(Digest::of(issued.token.as_bytes()), Arc::clone(subject));
        }
    }

    /// How a token was granted, and what is known of its holder.
    pub(crate) fn of(&self, token: &Digest) -> (GrantedBy, Arc<Subject>) {
        match self.tokens.get(token) {
            Some(subject) => (GrantedBy::Session, Arc::clone(subject)),
            None => (GrantedBy::Operator, Arc::clone(&self.nobody)),
        }
    }
}
