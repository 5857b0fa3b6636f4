//! Whose tokens they are: what a journal says of the holder of a token that a message names by its digest.

use std::sync::Arc;

use cmtp_codec::{Digest, Link};

use crate::policy::{GrantedBy, Subject};

/// The subjects of tokens.
///
/// A session's tokens stand in the answers of its consent and its renewals, with the groups and attributes of its grant. Any
/// other token is the operator's, who says nothing of its holder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subjects {
    nobody: Arc<Subject>,
}

impl Subjects {
    /// Learns from a message which tokens it gave to whom. There are none yet: tokens are the operator's only.
    pub(crate) fn learn(&mut self, _message: &[Link]) {}

    /// How a token was granted, and what is known of its holder.
    pub(crate) fn of(&self, _token: &Digest) -> (GrantedBy, Arc<Subject>) {
        (GrantedBy::Operator, Arc::clone(&self.nobody))
    }
}
