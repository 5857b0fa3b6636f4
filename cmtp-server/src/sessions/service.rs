//! What a caller with a session asks of its sessions: `0xI:session:list` and `0xIW:session:hangup`.

use std::sync::Arc;

use cmtp_codec::PublicKey;
use cmtp_codec::session::GrantName;
use cmtp_spec::{BusAuth, Status, binding, limits};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;

use crate::node;
use crate::refusal::Refusal;
use crate::service::{Call, Reply, Service, arguments};
use crate::sessions::{Revoked, Sessions};
use crate::token::JTI_MAX;

/// The service of a node's sessions.
pub(crate) struct SessionService {
    pub(crate) sessions: Arc<Sessions>,
    /// The node's root key.
    pub(crate) node: PublicKey,
}

impl Service for SessionService {
    fn call<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>> {
        async move {
            match call.target.target() {
                binding::SESSION_LIST => Ok(self.list(call)),
                binding::SESSION_HANGUP => self.hang_up(call).await,
                other => Err(Refusal::new(Status::NOT_FOUND, format!("IAM has no {other}"))),
            }
        }
        .boxed()
    }

    fn bus_auth(&self) -> BusAuth {
        BusAuth::LOCAL
    }
}

impl SessionService {
    fn list(&self, call: &Call<'_>) -> Reply {
        let grants = self.sessions.list(&call.caller);
        let grants = grants.into_iter().map(|(name, kept)| {
            let granted = kept.to_granted();
            json!({
                "grant": name, "begun": kept.begun, "ends": kept.ends, "scope": granted.scope,
                "groups": granted.groups, "attributes": granted.attributes,
            })
        });
        let grants: Vec<_> = grants.collect();
        Reply::ok("application/json", json!({ "grants": grants }).to_string())
    }

    async fn hang_up(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let args = arguments(call.args())?;
        let named = match args.as_slice() {
            [] => call.token_id.to_owned(),
            [serde_json::Value::String(named)] => named.clone(),
            _ => return Err(Refusal::new(Status::BAD_REQUEST, EXPECTED)),
        };
        let revoked =
            self.named(&named).ok_or_else(|| Refusal::new(Status::BAD_REQUEST, EXPECTED))?;
        // [SES-15] A caller may end what is its own; the node's root key anything; others get 403.
        if call.caller != self.node && !self.owns(call, &revoked) {
            let detail = "that is not yours to end";
            return Err(Refusal::new(Status::FORBIDDEN, detail));
        }
        // In a task of its own: what was noted is to be in force, whoever still waits.
        let sessions = Arc::clone(&self.sessions);
        let revoking = tokio::spawn(async move { sessions.revoke(revoked).await });
        match revoking.await {
            Ok(Ok(())) => Ok(Reply::ok("application/json", json!({ "ended": named }).to_string())),
            _ => Err(Refusal::new(Status::STORAGE_FULL, "the journal can't take it")),
        }
    }

    /// What a text names: a DID, a grant by any of its tokens, or a token of the operator's.
    fn named(&self, text: &str) -> Option<Revoked> {
        let now = node::now();
        if let Ok(persona) = text.parse() {
            return Some(Revoked::Persona(persona, now));
        }
        if let Some(name) = GrantName::of_jti(text) {
            return Some(Revoked::Grant(name));
        }
        let is_word = |byte: u8| byte.is_ascii_graphic();
        let is_token = (1..=JTI_MAX).contains(&text.len()) && text.bytes().all(is_word);
        // None that was made up to now lives longer.
        let until = now.saturating_add(limits::TOKEN_LIFETIME_MAX * 1_000_000);
        is_token.then(|| Revoked::Token(text.to_owned(), until))
    }

    fn owns(&self, call: &Call<'_>, revoked: &Revoked) -> bool {
        match revoked {
            Revoked::Grant(name) => {
                self.sessions.list(&call.caller).iter().any(|(own, _)| own == name)
            }
            Revoked::Token(id, _) => id == call.token_id,
            Revoked::Persona(persona, _) => *persona == call.caller,
            Revoked::Stolen(_) => false,
        }
    }
}

const EXPECTED: &str =
    "expected no argument (this session ends), or one: the `jti` of a token, or a DID";
