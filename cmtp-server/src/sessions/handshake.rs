//! One message of the handshake: what it must be, and what is answered.

use std::sync::Arc;

use bytes::Bytes;
use cmtp_codec::session::{
    Answer, Ask, Call, Confirm, Consent, GrantName, Granted, Hello, Issued, Message, Parties,
    Random, Renew, SessionTarget, Transcript, cookie_field, granted_field, signature_field,
};
use cmtp_codec::{Field, Pattern, PublicKey, RecoveryCommitment, Revocation, Scope, Signature};
use cmtp_spec::{FieldIndex, Status, limits};

use crate::config::SessionSettings;
use crate::issuers::Issuers;
use crate::node_keys::NodeKeys;
use crate::service::Reply;
use crate::sessions::cookie::Cookie;
use crate::sessions::{Kept, Revoked, SessionFault, Sessions};
use crate::token::mint;

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) signature: Option<Signature>,
    pub(crate) cookie: Option<&'a [u8]>,
    /// The origin's actor.
    pub(crate) actor: PublicKey,
}

/// Answers the messages that come over one connection.
pub(crate) struct Handshake<'a> {
    pub(crate) sessions: &'a Sessions,
    pub(crate) settings: &'a SessionSettings,
    pub(crate) issuers: &'a Issuers,
    /// Those that the node shows now.
    pub(crate) keys: &'a NodeKeys,
    /// E_s.
    pub(crate) exporter: [u8; 32],
    /// Microseconds since 1970.
    pub(crate) now: u64,
}

/// What a message came to.
pub(crate) struct Made {
    pub(crate) reply: Reply,
    /// What is in force once the answer is durable, and when it was offered, microseconds since 1970.
    pub(crate) grant: Option<((GrantName, Kept), u64)>,
    /// What is to be durable before the answer is.
    pub(crate) revoked: Option<Revoked>,
}

impl Handshake<'_> {
    /// Takes a message to one of the targets that need no token.
    pub(crate) fn take(&self, target: SessionTarget, said: Said<'_>) -> Result<Made, SessionFault> {
        // [SES-10] A node keeps nothing of a handshake before consent: these take `self` as it is.
        match target {
            SessionTarget::Hello => self.hello(said).map(Made::reply),
            SessionTarget::Answer => self.answer(said).map(Made::reply),
            SessionTarget::Consent => self.consent(said),
            SessionTarget::Renew => self.renew(said).map(Made::reply),
            SessionTarget::Revoke => self.revoke(said),
        }
    }

    fn hello(&self, said: Said<'_>) -> Result<Reply, SessionFault> {
        let hello = read::<Hello>(said.body)?;
        // [SES-2] The actor of the origin MUST be the persona.
        if hello.persona != said.actor {
            return Err(SessionFault::Persona);
        }
        // [SES-7] A node MUST refuse a hello without a version that it has.
        if !hello.versions.contains(&VERSION) {
            return Err(SessionFault::Version);
        }
        // [SES-16] From then on the persona is refused for good: its hellos, too.
        if self.sessions.grants().is_stolen(&hello.persona) {
            return Err(SessionFault::Stolen);
        }
        let mut nonce = [0; 32];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_no_entropy| SessionFault::Full)?;
        let node = self.keys.public();
        let call = Call { version: VERSION, node, nonce: Random(nonce), asks: self.asks() };
        let transcript = Transcript::START.then(said.body);
        self.ask_on(said.actor, transcript, &call, Vec::new())
    }

    /// What the node asks for.
    fn asks(&self) -> Vec<Ask> {
        let required = self.settings.require_recovery;
        let recovery = Ask { what: RECOVERY.to_owned(), required };
        let issuer = |name: &str| Ask { what: format!("{ISSUER}{name}"), required: false };
        [recovery].into_iter().chain(self.issuers.names().map(issuer)).collect()
    }

    fn answer(&self, said: Said<'_>) -> Result<Reply, SessionFault> {
        let (_, transcript) = self.signed(said, 2)?;
        let answer = read::<Answer>(said.body)?;
        if self.settings.require_recovery && answer.recovery.is_none() {
            return Err(SessionFault::Missing);
        }
        let outside = answer.outside.iter().map(String::as_str);
        let subject = self.issuers.verify_all(outside, &said.actor, self.now)?;
        let scope = match &answer.scope {
            None => self.settings.scope(),
            Some(wanted) => {
                let wanted = wanted.parse().map_err(|_not_a_scope| SessionFault::Scope)?;
                // [SES-8] What a node offers MUST NOT be wider than the wanted scope.
                common(&self.settings.scope(), &wanted).ok_or(SessionFault::Scope)?
            }
        };
        let begun = self.now / 1_000_000;
        let kept = Kept {
            persona: said.actor,
            scope,
            subject: Arc::new(subject),
            recovery: answer.recovery,
            begun,
            ends: begun.saturating_add(self.settings.grant_seconds),
            token_seconds: self.settings.token_seconds,
        };
        // Too wide a scope for a token is told before anybody consents to it.
        self.mint(GrantName([0; 16]), &kept, begun, None)?;
        let granted = kept.to_granted();
        let confirm = Confirm {
            scope: granted.scope.clone(),
            groups: granted.groups.clone(),
            attributes: granted.attributes.clone(),
            grant_seconds: self.settings.grant_seconds,
            token_seconds: self.settings.token_seconds,
        };
        self.ask_on(said.actor, transcript, &confirm, granted.to_bytes())
    }

    fn consent(&self, said: Said<'_>) -> Result<Made, SessionFault> {
        let (cookie, transcript) = self.signed(said, 4)?;
        read::<Consent>(said.body)?;
        let name = GrantName::of(transcript);
        let granted = read::<Granted>(&cookie.rest).and_then(Kept::from_granted);
        let mut grants = self.sessions.grants();
        if grants.is_stolen(&said.actor) {
            return Err(SessionFault::Stolen);
        }
        // [SES-11] A consent that is sent again MUST make no second grant: the same token is answered.
        let kept = match grants.admits(name, &said.actor, (cookie.made, self.now))? {
            Some(kept) => (*kept).clone(),
            // A person took some time to decide.
            None => granted?.begun_at(self.now / 1_000_000),
        };
        drop(grants);
        let reply = self.issue(name, &kept, kept.begun, None)?;
        let granted = granted_field(&kept.to_granted());
        let reply = Reply { fields: [reply.fields, vec![granted]].concat(), ..reply };
        Ok(Made { reply, grant: Some(((name, kept), cookie.made)), revoked: None })
    }

    fn renew(&self, said: Said<'_>) -> Result<Reply, SessionFault> {
        let transcript = Transcript::of_renewal(said.body);
        self.verify(said, transcript)?;
        let renew = read::<Renew>(said.body)?;
        let kept = self.sessions.grants().find(renew.grant, self.now);
        // [SES-12] A node MUST refuse a renewal of a grant that it does not have.
        let kept = kept.filter(|kept| kept.persona == said.actor).ok_or(SessionFault::Grant)?;
        let now = self.now / 1_000_000;
        self.issue(renew.grant, &kept, now, Some(now))
    }

    fn revoke(&self, said: Said<'_>) -> Result<Made, SessionFault> {
        let text = std::str::from_utf8(said.body).map_err(|_not_text| SessionFault::Malformed)?;
        let statement = Revocation::from_json(text).map_err(|error| {
            tracing::debug!(%error, "a revocation statement");
            SessionFault::Malformed
        })?;
        let persona = statement.persona;
        let (committed, is_revoked) = {
            let grants = self.sessions.grants();
            (grants.recovery(&persona), grants.is_stolen(&persona))
        };
        // [SES-16] Only where the persona committed to that key in its first grant at this node.
        let committed = committed.ok_or(SessionFault::Recovery)?;
        let believed = statement.verify(&RecoveryCommitment(committed.0));
        believed.map_err(|_other_key| SessionFault::Recovery)?;
        let body = serde_json::json!({ "persona": persona.to_string() }).to_string();
        let revoked = (!is_revoked).then_some(Revoked::Stolen(persona));
        Ok(Made { reply: json(Vec::new(), body.into_bytes()), grant: None, revoked })
    }

    /// Sends a message that the next one has to follow.
    fn ask_on<M: Message>(
        &self,
        persona: PublicKey,
        transcript: Transcript,
        message: &M,
        rest: Vec<u8>,
    ) -> Result<Reply, SessionFault> {
        let body = message.to_bytes();
        let transcript = transcript.then(&body);
        let signature = self.parties(persona).sign(transcript, self.keys.token_key());
        let (step, hash) = (transcript.step(), transcript.hash());
        let cookie = Cookie { step, transcript: hash, persona, made: self.now, rest };
        let cookie = self.sessions.cookies.seal(&cookie, &self.exporter);
        let cookie = cookie.ok_or(SessionFault::Full)?;
        // The largest scope of a token fits; a node with more groups than that has to name fewer.
        if cookie.len() as u64 > limits::SESSION_COOKIE_MAX {
            return Err(SessionFault::Scope);
        }
        let fields = vec![signature_field(&signature), cookie_field(cookie)];
        Ok(json(fields, body))
    }

    /// The cookie of the message before, and the transcript up to this one, whose signature holds.
    fn signed(&self, said: Said<'_>, step: u8) -> Result<(Cookie, Transcript), SessionFault> {
        let of = (&self.exporter, &said.actor, step);
        let cookie = self.sessions.cookies.open(said.cookie, of, self.now)?;
        let transcript = cookie.transcript().then(said.body);
        self.verify(said, transcript)?;
        Ok((cookie, transcript))
    }

    /// [SES-9] The persona's signature.
    fn verify(&self, said: Said<'_>, transcript: Transcript) -> Result<(), SessionFault> {
        let signature = said.signature.ok_or(SessionFault::Signature)?;
        self.parties(said.actor)
            .verify(transcript, &said.actor, &signature)
            // Which way a signature is wrong is of no use to whoever counts.
            .map_err(|_wrong| SessionFault::Signature)
    }

    fn parties(&self, persona: PublicKey) -> Parties {
        Parties { exporter: self.exporter, node: self.keys.public(), persona }
    }

    fn issue(
        &self,
        name: GrantName,
        kept: &Kept,
        from: u64,
        number: Option<u64>,
    ) -> Result<Reply, SessionFault> {
        let token = self.mint(name, kept, from, number)?;
        let issued = Issued { token, grant: name, ends: kept.ends };
        Ok(json(Vec::new(), issued.to_bytes()))
    }

    fn mint(
        &self,
        name: GrantName,
        kept: &Kept,
        from: u64,
        number: Option<u64>,
    ) -> Result<String, SessionFault> {
        // [SES-11] The `jti` of its first token is G, that of later ones `G.N`.
        let id = match number {
            None => name.to_string(),
            Some(number) => format!("{name}.{number}"),
        };
        let times = (from, kept.token_end(from));
        let minted = mint(self.keys, (&kept.persona, &kept.scope), times, id);
        // With a good key only the length can be wrong.
        minted.map_err(|_too_long| SessionFault::Scope)
    }
}

impl Made {
    fn reply(reply: Reply) -> Self {
        Self { reply, grant: None, revoked: None }
    }
}

/// [SES-8] The patterns of each side that the other's cover; `None` where they are too many for a token.
fn common(own: &Scope, wanted: &Scope) -> Option<Scope> {
    let read = covered(own.read(), wanted.read());
    Scope::new(read, covered(own.write(), wanted.write())).ok()
}

fn covered(own: &[Pattern], wanted: &[Pattern]) -> Vec<Pattern> {
    let within = |one: &Pattern, all: &[Pattern]| all.iter().any(|wide| wide.includes(one));
    let mut common: Vec<_> = wanted.iter().filter(|it| within(it, own)).cloned().collect();
    for pattern in own.iter().filter(|it| within(it, wanted)) {
        if !common.contains(pattern) {
            common.push(pattern.clone());
        }
    }
    common
}

fn read<M: Message>(body: &[u8]) -> Result<M, SessionFault> {
    M::from_bytes(body).map_err(|error| {
        tracing::debug!(%error, "a message of the handshake");
        SessionFault::Malformed
    })
}

fn json(mut fields: Vec<Field>, body: Vec<u8>) -> Reply {
    fields.push(Field::bytes(FieldIndex::CONTENT_TYPE, "application/json"));
    Reply { fields, body: Some(Bytes::from(body)), ..Reply::empty(Status::OK) }
}

const VERSION: u64 = 0;
/// The commitment to a recovery key, as a call asks for it.
const RECOVERY: &str = "recovery";
/// What a call asks for an outside issuer's token by.
const ISSUER: &str = "issuer:";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_vectors_of_what_is_offered() {
        // [SES-8] cmtp-spec/vectors/scope.json
        let file = crate::sessions::vectors("scope");
        let groups = file["testGroups"].as_array().unwrap().iter();
        let tests = groups.filter(|group| group["type"] == "offer");
        for test in tests.flat_map(|group| group["tests"].as_array().unwrap()) {
            let (own, wanted) = (patterns(&test["own"]), patterns(&test["wanted"]));
            let sides = [own, wanted].map(|side| Scope::new(side.clone(), side).unwrap());
            let offered = common(&sides[0], &sides[1]).unwrap();
            for form in [offered.read(), offered.write()] {
                let mut form: Vec<_> = form.iter().map(Pattern::to_string).collect();
                form.sort();
                assert_eq!(Value::from(form), test["offered"], "{}", test["comment"]);
            }
        }
    }

    #[test]
    fn what_both_have_may_be_too_much_for_a_token() {
        let texts = |wide: &str, name: &str| -> Vec<_> {
            let narrow = (0..40).map(|number| format!("0xS:{name}:{number}"));
            narrow.chain([format!("0xS:{wide}:**")]).collect()
        };
        let scope = |texts: Vec<String>| {
            let patterns = texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
            Scope::new(patterns, Vec::new()).unwrap()
        };
        // Forty of each side are covered by the other's last.
        assert_eq!(common(&scope(texts("a", "b")), &scope(texts("b", "a"))), None);
    }

    fn patterns(texts: &Value) -> Vec<Pattern> {
        let texts = texts.as_array().unwrap().iter();
        texts.map(|text| Pattern::parse(text.as_str().unwrap()).unwrap()).collect()
    }
}
