//! Admission: who may call what. `cmtp-spec/spec/10-admission.md`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use cmtp_client::policy::{Decider, GrantedBy, Subject};
use cmtp_codec::{Auth, Digest, Field, Fqmn, Layer, Pattern, PublicKey, Salt};
use cmtp_spec::{
    CloseCode, ConnectionKind, FieldIndex, JournalMode, LayerFlags, Opcode, Status, Step, binding,
    limits, remedies, uses,
};
use quinn::{Connection, SendStream, VarInt};
use tokio::sync::watch;

use crate::limits::Limits;
use crate::node::Node;
use crate::node_keys::NodeKeys;
use crate::outgoing::{Ended, Outbox};
use crate::policies::{Asker, denied};
use crate::refusal::Refusal;
use crate::refusals::Reason;
use crate::room::{Memory, Share};
use crate::token::{Token, TokenError, TokenKind};
use crate::writes;

/// What one connection has proved.
///
/// [QUI-12] AUTH is state of the connection: it is kept here, and never hashed, stored or passed on.
pub(crate) struct Proved {
    exporter: [u8; 32],
    connection: Connection,
    /// For requests whose head is not whole yet.
    pub(crate) heads: Memory,
    outbox: Outbox,
    /// Whether a token was accepted.
    accepted: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tokens: HashMap<Digest, Arc<Token>>,
    has_token: bool,
    bad: u64,
    fruitless: u64,
}

impl Proved {
    pub(crate) fn new(exporter: [u8; 32], connection: Connection, limits: &Limits) -> Self {
        let heads = Memory::new(limits.head_memory_max);
        let outbox = Outbox::default();
        let accepted = watch::Sender::new(false);
        Self { exporter, connection, heads, outbox, accepted, state: Mutex::default() }
    }

    /// Waits until a token was accepted on the connection.
    pub(crate) async fn accepted(&self) {
        // The sender is kept as long as this.
        let mut accepted = self.accepted.subscribe();
        let _never_closed = accepted.wait_for(|&accepted| accepted).await;
    }

    /// Why the connection is to be closed, if it is.
    pub(crate) fn verdict(&self, limits: &Limits) -> Option<CloseCode> {
        if self.state().fruitless > limits.stream_resets_max {
            // Answers that were taken meanwhile count, too.
            self.look_through(limits);
        }
        let state = self.state();
        // [QUI-14] A node MUST close a connection that showed too many bad tokens or proofs.
        if state.bad > limits.bad_tokens_max {
            return Some(CloseCode::AUTH_FAILED);
        }
        // [LIM-8] Streams without an answer taken outnumber those with one by more than `stream-resets-max`.
        (state.fruitless > limits.stream_resets_max).then_some(CloseCode::LIMIT_EXCEEDED)
    }

    /// A request stream was opened; it comes to [`Proved::sent`] or [`Proved::stream_failed`].
    pub(crate) fn stream_began(&self) {
        self.outbox.begin();
    }

    /// Counts a request stream that is over without an answer.
    ///
    /// A peer that opens streams and resets them makes work without limit, because each reset frees a place for a new
    /// one (HTTP/2's "rapid reset"); one that takes answers pays for what it asks.
    pub(crate) fn stream_failed(&self) {
        self.outbox.end();
        self.count(Ended { taken: 0, lost: 1 });
    }

    /// Keeps a stream whose answer was sent until the client has all of it, and counts those that came to their end.
    pub(crate) fn sent(&self, stream: SendStream, node: &Node) {
        let timeout = node.limits.answer_timeout;
        self.count(self.outbox.put(stream, node.exchanges.token(), timeout));
    }

    /// Looks for answers that came to their end.
    ///
    /// Whether any stream is not over yet is given back.
    pub(crate) fn look_through(&self, limits: &Limits) -> bool {
        let (ended, is_busy) = self.outbox.look_through(limits.answer_timeout);
        self.count(ended);
        is_busy
    }

    fn count(&self, ended: Ended) {
        if ended == Ended::default() {
            return;
        }
        let mut state = self.state();
        let fruitless = state.fruitless.saturating_add(ended.lost);
        state.fruitless = fruitless.saturating_sub(ended.taken);
    }

    /// When the last of the tokens of `holder` that this connection showed expires, microseconds since 1970.
    pub(crate) fn expires(
        &self,
        holder: &PublicKey,
        node: &Node,
        keys: &NodeKeys,
        now: u64,
    ) -> u64 {
        let state = self.state();
        let tokens = state.tokens.values();
        let tokens = tokens.filter(|token| token.holder == *holder && token.is_by(keys, now));
        let tokens = tokens.filter(|token| !node.sessions.refuses(token));
        tokens.map(|token| token.expires_at()).max().unwrap_or(0)
    }

    /// E_s: the exporter value of this connection for sessions.
    pub(crate) fn session_exporter(&self) -> Option<[u8; 32]> {
        let mut exporter = [0; 32];
        let label = binding::EXPORTER_LABEL_SESSION.as_bytes();
        self.connection.export_keying_material(&mut exporter, label, &[]).ok()?;
        Some(exporter)
    }

    /// Where the peer is.
    pub(crate) fn address(&self) -> IpAddr {
        self.connection.remote_address().ip()
    }

    /// The token that AUTH shows or names.
    fn token(&self, node: &Node, auth: Option<&Auth>, now: u64) -> Result<Arc<Token>, Refusal> {
        // [STA-2] A node MUST answer a request without a token with 511 and the remedy `create-identity`.
        let auth = auth.ok_or_else(|| {
            node.refusals.count(Reason::NoToken);
            Refusal::new(Status::IDENTITY_REQUIRED, NO_SESSION)
        })?;
        let token = match auth {
            // [QUI-11] A digest that it does not know on this connection: 401 and `resend-token`.
            Auth::Known(digest) => self.state().tokens.get(digest).cloned().ok_or_else(|| {
                node.refusals.count(Reason::UnknownDigest);
                Refusal::new(Status::TOKEN_INVALID, "this connection has not shown that token")
                    .with_remedy(remedies::RESEND_TOKEN)
            })?,
            Auth::Shown { proof, token } => {
                self.check(node, token, proof, now).map_err(|reason| {
                    self.state().bad += 1;
                    if reason != Reason::Exhausted {
                        node.addresses.note_bad_token(self.address(), now);
                    }
                    refuse_token(node, reason)
                })?
            }
        };
        // [NKY-8] A token of a replaced key MUST be refused on a connection that showed it before, too.
        if !node.with_keys(|keys| token.is_by(keys, now)) {
            return Err(refuse_token(node, Reason::Token(TokenError::Retired)));
        }
        // [QUI-13] [ADM-4] Expiry is checked at each request, and revocation.
        if !token.is_valid_at(now) {
            Err(refuse_token(node, Reason::OutsideTimes))
        } else if node.sessions.refuses(&token) {
            Err(refuse_token(node, Reason::Revoked))
        } else {
            Ok(token)
        }
    }

    /// Gives a connection that has a token the room that only callers get.
    fn widen(&self, limits: &Limits) {
        if std::mem::replace(&mut self.state().has_token, true) {
            return;
        }
        self.accepted.send_replace(true);
        self.connection.set_max_concurrent_bi_streams(window(limits.request_streams));
        if limits.connection_window > limits.stranger_window {
            self.connection.set_receive_window(window(limits.connection_window));
            self.connection.set_send_window(limits.connection_window);
        }
    }

    /// [QUI-13] Verifies a token and its proof once for each connection.
    fn check(
        &self,
        node: &Node,
        shown: &[u8],
        proof: &cmtp_codec::Signature,
        now: u64,
    ) -> Result<Arc<Token>, Reason> {
        let digest = Digest::of(shown);
        {
            let state = self.state();
            if let Some(token) = state.tokens.get(&digest) {
                return Ok(Arc::clone(token));
            }
            // [QUI-14] Nor verify a token after that many: streams that came at once don't buy more.
            if state.bad > node.limits.bad_tokens_max {
                return Err(Reason::Exhausted);
            }
        }
        // [QUI-29] Beyond `bad-tokens-burst` of its address it answers 401 without verifying.
        if !node.addresses.allows_bad_tokens(self.address(), 1, now) {
            return Err(Reason::Exhausted);
        }
        let token = node.with_keys(|keys| Token::verify(shown, keys, now))?;
        let mut payload = [0; 96];
        payload[..32].copy_from_slice(&self.exporter);
        payload[32..64].copy_from_slice(&node.did().0);
        payload[64..].copy_from_slice(&digest.0);
        token
            .holder
            .verify(uses::AUTH, &payload, proof)
            // Which way a signature is wrong is of no use to whoever counts.
            .map_err(|_wrong| Reason::Proof)?;
        let token = Arc::new(token);
        let mut state = self.state();
        if state.tokens.len() as u64 >= limits::KNOWN_TOKENS_MAX {
            // Whoever still uses an older one is told to resend it.
            state.tokens.clear();
        }
        state.tokens.insert(digest, Arc::clone(&token));
        Ok(token)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Every change under the lock is a single step, so a poisoned state is a sound one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The admit step's judgement of a request.
pub(crate) struct Admission {
    /// Target and caller, or the refusal.
    pub(crate) outcome: Result<Admitted, Refusal>,
    /// Whether a token was accepted; until then nothing is logged and no R0 is made.
    pub(crate) token_accepted: bool,
    token_digest: Digest,
    policies: Arc<Decider>,
    /// The pattern and the policies that decided, where they did.
    decided: Option<String>,
}

/// A request that may go on.
pub(crate) struct Admitted {
    pub(crate) caller: PublicKey,
    pub(crate) target: Fqmn,
    pub(crate) token: Arc<Token>,
    /// Who asks, for what resolution gives.
    pub(crate) asker: Asker,
}

impl Admission {
    /// Judges a request by its origin, whose body need not be there yet.
    pub(crate) fn judge(
        node: &Node,
        proved: &Proved,
        auth: Option<&Auth>,
        origin: &Layer,
        now: u64,
    ) -> Self {
        // A request keeps the policies that were in force when it came.
        let policies = node.policies.in_force();
        let token_digest = match auth {
            None => Digest::ZERO,
            Some(Auth::Known(digest)) => *digest,
            Some(Auth::Shown { token, .. }) => Digest::of(token),
        };
        let token = proved.token(node, auth, now).and_then(|token| {
            // [ADM-10] An origin whose actor is not the key of `cnf` is refused, though that key signed it.
            if origin.actor == token.holder {
                Ok(token)
            } else {
                Err(refuse_token(node, Reason::Actor))
            }
        });
        match token {
            Err(refusal) => Self {
                outcome: Err(refusal),
                token_accepted: false,
                token_digest,
                policies,
                decided: None,
            },
            Ok(token) => {
                proved.widen(&node.limits);
                let (outcome, decided) = admit(node, token, &policies, origin, now);
                Self { outcome, token_accepted: true, token_digest, policies, decided }
            }
        }
    }

    /// Judges by the clock again, which went on while the body came.
    pub(crate) fn judge_again(&mut self, node: &Node, origin: &Layer, now: u64) {
        let Ok(admitted) = &self.outcome else { return };
        if !admitted.token.is_valid_at(now) {
            // [QUI-13] Expiry is checked at each request, and this one begins only now.
            // [ADM-11] A 401 is a refusal without a token, whenever it comes.
            self.token_accepted = false;
            self.refuse(refuse_token(node, Reason::OutsideTimes));
        } else if node.sessions.refuses(&admitted.token) {
            self.token_accepted = false;
            self.refuse(refuse_token(node, Reason::Revoked));
        } else if let Err(refusal) = check_times(origin, now) {
            self.refuse(refusal);
        }
    }

    /// Takes a place among the requests in flight for one that may go on, or refuses it.
    pub(crate) fn take_place(&mut self, node: &Node, share: &mut Share<'_>) {
        if self.outcome.is_ok() && !node.serves() {
            let detail = "this node is about to start its services";
            self.refuse(Refusal::new(Status::UNAVAILABLE, detail).after(RETRY_AFTER));
        }
        // [LIM-9] Not more than `in-flight-max` at a time; the next is refused with 503 and `retry-after`.
        if self.outcome.is_ok() && !share.take_place() {
            let detail = "this node has as many requests in flight as it takes";
            self.refuse(Refusal::new(Status::UNAVAILABLE, detail).after(RETRY_AFTER));
        }
    }

    /// Refuses for a reason that showed later, such as a body above the limit.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.outcome = Err(refusal);
        // [POL-8] An admit layer that refuses for another reason than policies does not carry them.
        self.decided = None;
    }

    /// The admit layer.
    pub(crate) fn layer(&self, proved: &Proved, by: (PublicKey, u64), salt: Salt) -> Layer {
        let policy = self.policies.policies().digest();
        let decided = self.decided.as_deref();
        let refusal = self.outcome.as_ref().err();
        admit_layer(proved, by, (self.token_digest, policy), (decided, refusal), salt)
    }
}

/// The layer of the admit step: what was shown, what decided, and the refusal where it is one.
pub(crate) fn admit_layer(
    proved: &Proved,
    (actor, time): (PublicKey, u64),
    (token, policy): (Digest, Digest),
    (decided, refusal): (Option<&str>, Option<&Refusal>),
    salt: Salt,
) -> Layer {
    // [ADM-8] An admit layer MUST carry these; one that passes carries `policies`.
    // [POL-8] `policy-digest` MUST be that of the set that was in force when the request came.
    let layer = Layer::new(Step::ADMIT, actor, time, salt)
        .with_public(Field::octet(FieldIndex::CONNECTION_KIND, ConnectionKind::DIRECT.0))
        .with_public(Field::digest(FieldIndex::EXPORTER_DIGEST, Digest::of(&proved.exporter)))
        .with_public(Field::digest(FieldIndex::TOKEN_DIGEST, token))
        .with_public(Field::digest(FieldIndex::POLICY_DIGEST, policy));
    let layer = match decided {
        Some(decided) => layer.with_public(Field::bytes(FieldIndex::POLICIES, decided.to_owned())),
        None => layer,
    };
    match refusal {
        Some(refusal) => refusal.mark(layer),
        None => layer,
    }
}

/// The checks of chapter 10 that follow the token's, in their order, and what decided: `[ADM-9]`.
fn admit(
    node: &Node,
    token: Arc<Token>,
    policies: &Arc<Decider>,
    origin: &Layer,
    now: u64,
) -> (Result<Admitted, Refusal>, Option<String>) {
    let (target, pattern) = match covered(node, &token, origin, now) {
        Ok(covered) => covered,
        Err(refusal) => return (Err(refusal), None),
    };
    let (granted, subject) = subject(node, &token);
    let policies = Arc::clone(policies);
    let asker = Asker { principal: token.holder, granted, subject, policies };
    // [POL-1] A node MUST judge each target that the scope covers by the policies in force.
    let decision = asker.decide(&target);
    // [POL-8] `policies` is the covering pattern, followed by the ids of the policies that decided.
    let decided = decision.named().iter().fold(pattern, |decided, id| decided + " " + id);
    if !decision.is_allowed {
        return (Err(denied(&target, &decision)), Some(decided));
    }
    match check_parts(&target, origin) {
        Err(refusal) => (Err(refusal), None),
        Ok(()) => (Ok(Admitted { caller: token.holder, target, token, asker }), Some(decided)),
    }
}

/// How a token was granted, and what is known of its holder.
///
/// [SES-13] Groups and attributes are those of the grant that the `jti` names; the operator says nothing of a token's holder.
fn subject(node: &Node, token: &Token) -> (GrantedBy, Arc<Subject>) {
    match (token.kind(), node.sessions.kept(token)) {
        (TokenKind::Session(_), Some(kept)) => (GrantedBy::Session, Arc::clone(&kept.subject)),
        // It ended since the token was looked at.
        (TokenKind::Session(_), None) => (GrantedBy::Session, Arc::clone(&NOBODY)),
        (TokenKind::Operator, _) => (GrantedBy::Operator, Arc::clone(&NOBODY)),
    }
}

/// The target, and the pattern of the scope that covers it.
fn covered(
    node: &Node,
    token: &Token,
    origin: &Layer,
    now: u64,
) -> Result<(Fqmn, String), Refusal> {
    check_audience(node, origin)?;
    check_times(origin, now)?;
    let target = target(origin)?;
    let needs_signature = target.is_write() || target.opcode() == Opcode::P;
    if needs_signature && !origin.has(LayerFlags::SIGNED) {
        let detail = "writes and forwarded requests must be signed by their caller";
        return Err(Refusal::new(Status::BAD_REQUEST, detail));
    }
    // [ADM-7] A target that no pattern covers MUST be refused with status 403.
    let pattern = covering(token, &target).ok_or_else(|| not_covered(&target))?;
    Ok((target, pattern))
}

/// Whether the node has what the request needs.
fn check_parts(target: &Fqmn, origin: &Layer) -> Result<(), Refusal> {
    let wanted = origin.octet(FieldIndex::JOURNAL).unwrap_or(JournalMode::NONE.0);
    if wanted > JournalMode::WAL.0 {
        let detail = format!("this node has no journal mode {wanted}");
        return Err(Refusal::new(Status::NOT_IMPLEMENTED, detail));
    }
    if matches!(target.opcode(), Opcode::P | Opcode::PW) {
        return Err(Refusal::new(Status::NOT_IMPLEMENTED, "this node does not forward requests"));
    }
    Ok(())
}

pub(crate) fn check_audience(node: &Node, origin: &Layer) -> Result<(), Refusal> {
    if origin.key(FieldIndex::AUDIENCE) == Some(node.did()) {
        return Ok(());
    }
    Err(Refusal::new(Status::WRONG_AUDIENCE, format!("this node is {}", node.did())))
}

fn covering(token: &Token, target: &Fqmn) -> Option<String> {
    let scope = token.covering(target).map(ToString::to_string);
    // [LOG-10] [SES-5] What the log proves, and one's own sessions, are for every caller.
    let for_all = [binding::LOG_PATTERN, binding::SESSION_PATTERN];
    let covers = |pattern: &&str| Pattern::parse(pattern).is_ok_and(|it| it.covers(target));
    scope.or_else(|| for_all.into_iter().find(covers).map(str::to_owned))
}

pub(crate) fn check_times(origin: &Layer, now: u64) -> Result<(), Refusal> {
    let id: [u8; 16] = origin.fixed(FieldIndex::MESSAGE_ID).unwrap_or_default();
    let id_time = writes::id_time(&id);
    // [IDM-3] A node MUST refuse an id whose time is further than `id-window` from its clock.
    if id_time.abs_diff(now) > limits::ID_WINDOW * MICROSECONDS {
        let detail = "the time in the message id is too far from this node's clock";
        return Err(Refusal::new(Status::ID_OUTSIDE_WINDOW, detail));
    }
    let not_after = origin.number(FieldIndex::NOT_AFTER).unwrap_or_default();
    if not_after <= now {
        return Err(Refusal::new(Status::TOO_LATE, "the request's not-after has passed"));
    }
    if not_after - now > limits::NOT_AFTER_MAX * MICROSECONDS {
        let detail = format!("not-after is more than {} seconds ahead", limits::NOT_AFTER_MAX);
        return Err(Refusal::new(Status::BAD_REQUEST, detail));
    }
    Ok(())
}

fn target(origin: &Layer) -> Result<Fqmn, Refusal> {
    let text = origin.text(FieldIndex::TARGET).unwrap_or_default();
    // [FQN-8] [FQN-9] On the wire `target` is the normal form without arguments, and no sugar.
    // [PRC-3] An opcode that is not in the table is refused with 400.
    Fqmn::parse_target(text)
        .map_err(|error| Refusal::new(error.status(), format!("target: {error}")))
}

/// The refusal for a target that the token does not cover.
pub(crate) fn not_covered(target: &Fqmn) -> Refusal {
    Refusal::new(Status::FORBIDDEN, format!("the token does not cover {}", target.target()))
}

/// [STA-3] A refusal MUST NOT say on the wire why a token was not accepted; the node counts it.
fn refuse_token(node: &Node, reason: Reason) -> Refusal {
    tracing::debug!(%reason, "token not accepted");
    node.refusals.count(reason);
    Refusal::new(Status::TOKEN_INVALID, "the token is not accepted; get a new one")
}

/// A QUIC window; all of ours are below 2^32.
pub(crate) fn window(bytes: u64) -> VarInt {
    VarInt::from_u64(bytes).unwrap_or(VarInt::MAX)
}

const NO_SESSION: &str =
    "no session: create an identity (cmtp id new), then open a session (cmtp login URL)";
/// Of whom nothing is known.
static NOBODY: LazyLock<Arc<Subject>> = LazyLock::new(Arc::default);
/// Seconds after which a full node is asked again: most services answer within one.
const RETRY_AFTER: u64 = 1;
const MICROSECONDS: u64 = 1_000_000;
