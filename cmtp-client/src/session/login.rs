//! The handshake, as the persona's side has it.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use cmtp_codec::session::{
    self as wire, Call, Confirm, Consent, GrantName, Hello, Issued, Message, Parties, Random,
    Renew, ScopeTexts, Transcript,
};
use cmtp_codec::{
    DecodeErrorKind, Field, Fqmn, Layer, Pattern, PublicKey, RecoveryCommitment, Revocation,
    Signature,
};
use cmtp_spec::{FieldIndex, KeyUse, binding};

use crate::answer::Answer;
use crate::call::CallError;
use crate::clock;
use crate::connection::Connection;
use crate::entropy;
use crate::request::{PrepareError, Request};
use crate::session::{LoginError, Session};

/// What a persona gives, and wants, when it opens a session.
#[derive(Clone, Default)]
pub struct Login {
    /// What it wants at most; without it all that the node offers.
    pub scope: Option<ScopeTexts>,
    /// The commitment to its recovery key: chapter 21.
    pub recovery: Option<RecoveryCommitment>,
    /// Tokens of outside issuers: chapter 24.
    pub outside: Vec<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("scope", &self.scope)
            .field("recovery", &self.recovery)
            .field("outside", &self.outside.len())
            .finish()
    }
}

/// What a node offers: what is to be shown to a person before it consents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The node.
    pub node: PublicKey,
    /// Who the session would be for.
    pub persona: PublicKey,
    /// What the node asked for, and whether it insisted.
    pub asked: Vec<(String, bool)>,
    /// What tokens will cover.
    pub scope: ScopeTexts,
    /// The groups that the node's policies will see.
    pub groups: Vec<String>,
    /// The attributes that they will see.
    pub attributes: BTreeMap<String, String>,
    /// How long the grant will last, in seconds.
    pub grant_seconds: u64,
    /// How long each token of it lives, in seconds.
    pub token_seconds: u64,
}

/// A handshake that waits for consent. Dropped without it, it leaves nothing behind.
#[derive(Debug)]
pub struct Offered {
    connection: Connection,
    offer: Offer,
    parties: Parties,
    transcript: Transcript,
    cookie: Vec<u8>,
}

impl Connection {
    /// Asks the node for a session, and gives what `login` has.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn begin_login(&self, login: &Login) -> Result<Offered, LoginError> {
        let persona = self.identity().did();
        let parties = Parties { exporter: self.session_exporter()?, node: self.node(), persona };
        let mut nonce = [0; 32];
        entropy::fill(&mut nonce)?;
        let nonce = Random(nonce);
        let hello = Hello { versions: vec![VERSION], persona, nonce }.to_bytes();
        let transcript = Transcript::START.then(&hello);
        let said = self.say(binding::SESSION_HELLO, hello, None, None).await?;
        let transcript = transcript.then(&said.body);
        let cookie = self.check(&said, &parties, transcript)?;
        let call = Call::from_bytes(&said.body)?;
        // [SES-7] A client MUST end the handshake where `version` is none of its own, or `node` is not the one it trusts …
        if call.version != VERSION || call.node != parties.node {
            return Err(LoginError::Foreign);
        }
        // [SES-7] … or something is required that it does not give.
        if let Some(ask) = call.asks.iter().find(|ask| ask.required && !login.gives(&ask.what)) {
            return Err(LoginError::Required { what: ask.what.clone() });
        }
        let recovery = login.recovery.map(|it| Random(it.0));
        let (scope, outside) = (login.scope.clone(), login.outside.clone());
        let answer = wire::Answer { scope, recovery, outside }.to_bytes();
        let transcript = transcript.then(&answer);
        let signature = parties.sign(transcript, self.identity().key());
        let target = binding::SESSION_ANSWER;
        let said = self.say(target, answer, Some(signature), Some(cookie)).await?;
        let transcript = transcript.then(&said.body);
        let cookie = self.check(&said, &parties, transcript)?;
        let confirm = Confirm::from_bytes(&said.body)?;
        // [SES-8] What a node offers is not wider than what was wanted.
        if login.scope.as_ref().is_some_and(|wanted| !is_within(&confirm.scope, wanted)) {
            return Err(LoginError::Wider);
        }
        let offer = Offer {
            node: parties.node,
            persona,
            asked: call.asks.into_iter().map(|ask| (ask.what, ask.required)).collect(),
            scope: confirm.scope,
            groups: confirm.groups,
            attributes: confirm.attributes,
            grant_seconds: confirm.grant_seconds,
            token_seconds: confirm.token_seconds,
        };
        Ok(Offered { connection: self.clone(), offer, parties, transcript, cookie })
    }

    /// Gets another token of a grant that lasts, on whatever connection to its node.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn renew(&self, session: &Session) -> Result<Session, LoginError> {
        let persona = self.identity().did();
        let parties = Parties { exporter: self.session_exporter()?, node: self.node(), persona };
        let renew = Renew { grant: session.grant }.to_bytes();
        let signature = parties.sign(Transcript::of_renewal(&renew), self.identity().key());
        let said = self.say(binding::SESSION_RENEW, renew, Some(signature), None).await?;
        let renewed = said.session(session.grant, &parties)?;
        Ok(Session { again: session.again.clone(), ..renewed })
    }

    /// Ends a session of this identity, or all: `what` is the `jti` of a token, or the identity's DID; without it the session
    /// whose token is shown. The answer says whether it was done.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn hang_up(&self, what: Option<&str>) -> Result<Answer, CallError> {
        let mut target = target(binding::SESSION_HANGUP)?;
        if let Some(what) = what {
            // Of a word only its length can be wrong.
            let too_long = |_error| PrepareError::Layer(DecodeErrorKind::PayloadTooLong);
            target = target.with_words([what]).map_err(too_long)?;
        }
        self.call(Request::new(target)).await
    }

    /// Shows a statement of a recovery key: the node refuses its persona from then on. Whoever shows it matters not.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn revoke(&self, statement: &Revocation) -> Result<(), LoginError> {
        let body = statement.to_json().into_bytes();
        self.say(binding::SESSION_REVOKE, body, None, None).await.map(drop)
    }

    /// Asks the node which sessions this identity has there; the answer's body is JSON.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn sessions(&self) -> Result<Answer, CallError> {
        self.call(Request::new(target(binding::SESSION_LIST)?)).await
    }

    /// Sends one message of the handshake.
    async fn say(
        &self,
        name: &'static str,
        body: Vec<u8>,
        signature: Option<Signature>,
        cookie: Option<Vec<u8>>,
    ) -> Result<Said, LoginError> {
        let content = Field::bytes(FieldIndex::CONTENT_TYPE, "application/json");
        let mut request = Request::new(target(name)?).field(content).body(body);
        if let Some(signature) = signature {
            request = request.field(wire::signature_field(&signature));
        }
        if let Some(cookie) = cookie {
            request = request.field(wire::cookie_field(cookie));
        }
        // [SES-1] A request to one of these MUST be sent without AUTH.
        let request = self.prepare(request).map_err(CallError::from)?;
        let answer = self.send_bare(&request).await?;
        if !answer.is_success() {
            let (status, detail) = (answer.status(), answer.detail().map(str::to_owned));
            return Err(LoginError::Refused { status, detail });
        }
        let body = answer.body().unwrap_or_default();
        let layer = answer.said().layer.cloned().ok_or(LoginError::Foreign)?;
        Ok(Said { body, layer })
    }

    /// [SES-9] Verifies the node's signature before the message is used; the cookie is given back.
    fn check(
        &self,
        said: &Said,
        parties: &Parties,
        transcript: Transcript,
    ) -> Result<Vec<u8>, LoginError> {
        let signature = wire::signature_of(&said.layer).ok_or(LoginError::Signature)?;
        let (keys, now) = (self.keys(), clock::now());
        let is_good = keys.keys.iter().any(|listed| {
            let is_valid = keys.allows(KeyUse::TOKEN, &listed.key, now);
            is_valid && parties.verify(transcript, &listed.key, &signature).is_ok()
        });
        if !is_good {
            return Err(LoginError::Signature);
        }
        wire::cookie_of(&said.layer).map(<[u8]>::to_vec).ok_or(LoginError::Foreign)
    }
}

impl Login {
    fn gives(&self, what: &str) -> bool {
        match what {
            RECOVERY => self.recovery.is_some(),
            // Which issuer a token is from the node finds out.
            _ => what.starts_with(ISSUER) && !self.outside.is_empty(),
        }
    }
}

impl Offered {
    /// What the node offers.
    pub const fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Agrees to it: the grant begins.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn consent(self) -> Result<Session, LoginError> {
        let Self { connection, parties, transcript, cookie, .. } = self;
        let consent = Consent::GIVEN.to_bytes();
        let transcript = transcript.then(&consent);
        let signature = parties.sign(transcript, connection.identity().key());
        let target = binding::SESSION_CONSENT;
        let said = connection.say(target, consent, Some(signature), Some(cookie)).await?;
        said.session(GrantName::of(transcript), &parties)
    }
}

/// A message of the node's.
struct Said {
    body: Bytes,
    layer: Layer,
}

impl Said {
    /// The token of this grant that it is to be.
    fn session(&self, grant: GrantName, parties: &Parties) -> Result<Session, LoginError> {
        let issued = Issued::from_bytes(&self.body)?;
        if issued.grant != grant {
            return Err(LoginError::Foreign);
        }
        let session = Session::begin(&issued.token, grant, issued.ends).ok_or(LoginError::Token)?;
        // Only the node can verify it; that it is for somebody else can be seen.
        let (subject, issuer) =
            (session.token.unverified_subject(), session.token.unverified_issuer());
        let is_ours = subject == Some(parties.persona.to_string())
            && issuer == Some(parties.node.to_string());
        if is_ours { Ok(session) } else { Err(LoginError::Token) }
    }
}

/// Whether each pattern of `offered` is one that `wanted` includes.
fn is_within(offered: &ScopeTexts, wanted: &ScopeTexts) -> bool {
    let (Ok(offered), Ok(wanted)) = (offered.parse(), wanted.parse()) else { return false };
    let within = |offered: &[Pattern], wanted: &[Pattern]| {
        offered.iter().all(|narrow| wanted.iter().any(|wide| wide.includes(narrow)))
    };
    within(offered.read(), wanted.read()) && within(offered.write(), wanted.write())
}

fn target(name: &'static str) -> Result<Fqmn, CallError> {
    // It stands in the registry in its normal form.
    Fqmn::parse(name).map_err(|_never| CallError::Lost)
}

const VERSION: u64 = 0;
const RECOVERY: &str = "recovery";
const ISSUER: &str = "issuer:";
