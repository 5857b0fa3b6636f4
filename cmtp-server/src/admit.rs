//! Admission: who may call what. `cmtp-spec/spec/10-admission.md`.

use std::sync::{Arc, LazyLock};

use cmtp_client::policy::{Decider, GrantedBy, Subject};
use cmtp_codec::{Auth, Digest, Field, Fqmn, Layer, Pattern, PublicKey, Salt};
use cmtp_spec::{
    ConnectionKind, FieldIndex, JournalMode, LayerFlags, Opcode, Status, Step, binding, limits,
    remedies,
};

use crate::node::Node;
use crate::policies::{Asker, denied};
use crate::proved::{Proved, check_standing};
use crate::refusal::Refusal;
use crate::refusals::Reason;
use crate::room::Share;
use crate::token::{Token, TokenKind};
use crate::writes;

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
            if origin.actor == token.holder { Ok(token) } else { Err(Reason::Actor) }
        });
        match token {
            Err(reason) => Self {
                outcome: Err(refuse_token(node, reason)),
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
        if let Err(reason) = check_standing(node, &admitted.token, now) {
            // [ADM-11] A 401 is a refusal without a token, whenever it comes.
            self.token_accepted = false;
            self.refuse(refuse_token(node, reason));
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
    match reason {
        // [STA-2] A node MUST answer a request without a token with 511 and the remedy `create-identity`.
        Reason::NoToken => Refusal::new(Status::IDENTITY_REQUIRED, NO_SESSION),
        // [QUI-11] 401 and `resend-token`.
        Reason::UnknownDigest => {
            Refusal::new(Status::TOKEN_INVALID, "this connection has not shown that token")
                .with_remedy(remedies::RESEND_TOKEN)
        }
        _ => Refusal::new(Status::TOKEN_INVALID, "the token is not accepted; get a new one"),
    }
}

const NO_SESSION: &str =
    "no session: create an identity (cmtp id new), then open a session (cmtp login URL)";
/// Of whom nothing is known.
static NOBODY: LazyLock<Arc<Subject>> = LazyLock::new(Arc::default);
/// Seconds after which a full node is asked again: most services answer within one.
const RETRY_AFTER: u64 = 1;
const MICROSECONDS: u64 = 1_000_000;
