//! One exchange of the session handshake, which needs no token. `cmtp-spec/spec/22-sessions.md`.

use cmtp_client::entropy;
use cmtp_codec::session::{SessionTarget, cookie_of, signature_of};
use cmtp_codec::{Auth, Digest, Layer};
use cmtp_spec::{EntryFlags, EntryType, FieldIndex, JournalMode, LayerFlags, Step, binding};

use crate::admit::{admit_layer, check_audience, check_times};
use crate::exchange::{Exchange, Taken, erased, storage_full};
use crate::incoming::Fault;
use crate::journal::JournalError;
use crate::node::{self, Live, Node};
use crate::proved::Proved;
use crate::refusal::Refusal;
use crate::refusals::Reason;
use crate::sessions::{Handshake, Made, Said, SessionFault};

/// A refusal, and under which reason it is counted.
pub(crate) struct Denied {
    fault: SessionFault,
    refusal: Refusal,
}

impl Denied {
    /// [SES-4] Whether the request came too often: nothing of it is looked at.
    pub(crate) fn is_unseen(&self) -> bool {
        self.fault == SessionFault::Rate
    }
}

impl From<SessionFault> for Denied {
    fn from(fault: SessionFault) -> Self {
        Self { fault, refusal: fault.refusal() }
    }
}

impl From<Refusal> for Denied {
    /// One of the checks that every origin passes, or of the node's own room.
    fn from(refusal: Refusal) -> Self {
        Self { fault: SessionFault::Origin, refusal }
    }
}

/// The target of a request that needs no token.
pub(crate) fn target_of(origin: &Layer) -> Option<SessionTarget> {
    SessionTarget::of(origin.text(FieldIndex::TARGET)?)
}

/// [SES-1] The checks of chapter 10 that are left, by the origin alone.
pub(crate) fn check(
    node: &Node,
    live: &Live,
    proved: &Proved,
    (auth, origin): (Option<&Auth>, &Layer),
    target: SessionTarget,
) -> Result<(), Denied> {
    let now = node::now();
    if !live.session.is_open {
        return Err(SessionFault::Closed.into());
    }
    if auth.is_some() {
        return Err(SessionFault::Auth.into());
    }
    // [SES-4] It MUST look at neither body nor signature of such a request.
    if !node.addresses.take_request(proved.address(), now) {
        return Err(SessionFault::Rate.into());
    }
    check_audience(node, origin)?;
    check_times(origin, now)?;
    if target.has_effect() && !origin.has(LayerFlags::SIGNED) {
        return Err(SessionFault::Malformed.into());
    }
    // [SES-4] And consents and statements beyond `grant-burst`: each is an entry.
    if matches!(target, SessionTarget::Consent | SessionTarget::Revoke)
        && !node.addresses.take_consent(proved.address(), now)
    {
        return Err(SessionFault::Rate.into());
    }
    Ok(())
}

/// Answers a message of the handshake, whose origin was checked.
pub(crate) async fn answer(
    mut exchange: Exchange<'_, '_>,
    target: SessionTarget,
    checked: Result<(), Denied>,
) -> Result<(), Fault> {
    let made = checked.and_then(|()| take(&exchange, target));
    match made {
        Err(denied) => refuse(&mut exchange, &denied).await,
        Ok(made) if target.has_effect() => commit(exchange, target, made).await,
        Ok(made) => {
            admit(&mut exchange, Ok(binding::SESSION_PATTERN))?;
            exchange.answer.append_reply(made.reply)?;
            // [SES-3] And costs the node no entry.
            exchange.answer.finish_refused(false).await
        }
    }
}

fn take(exchange: &Exchange<'_, '_>, target: SessionTarget) -> Result<Made, Denied> {
    let Exchange { node, live, proved, answer, .. } = exchange;
    let now = node::now();
    check_times(&answer.origin, now)?;
    let exporter = proved.session_exporter().ok_or(SessionFault::Cookie)?;
    let said = Said {
        body: answer.origin.data().map_or(&[], |body| body.as_ref()),
        signature: signature_of(&answer.origin),
        cookie: cookie_of(&answer.origin),
        actor: answer.origin.actor,
    };
    let (sessions, settings, issuers) = (&node.sessions, &live.session, &live.issuers);
    let keys = &node.keys();
    let handshake = Handshake { sessions, settings, issuers, keys, exporter, now };
    Ok(handshake.take(target, said)?)
}

/// Journals what has an effect, then answers it, as a write is.
async fn commit(
    mut exchange: Exchange<'_, '_>,
    target: SessionTarget,
    made: Made,
) -> Result<(), Fault> {
    let caller = exchange.answer.origin.actor;
    let claimed = match exchange.claim(caller).await {
        Taken::Claimed(claimed) => claimed,
        Taken::Recorded(pieces) if exchange.answer.send_recorded(&pieces).await? => return Ok(()),
        Taken::Refused(refusal) => return refuse(&mut exchange, &refusal.into()).await,
        Taken::Recorded(_) | Taken::Erased | Taken::NoWrite => {
            return refuse(&mut exchange, &erased().into()).await;
        }
    };
    if let Some(revoked) = made.revoked {
        // [SES-17] Durable before it is answered.
        match exchange.node.sessions.revoke(revoked).await {
            Err(JournalError::Full) => {
                return refuse(&mut exchange, &storage_full().into()).await;
            }
            revoked => revoked?,
        }
    }
    admit(&mut exchange, Ok(binding::SESSION_PATTERN))?;
    exchange.answer.append_reply(made.reply)?;
    exchange.answer.append_step(Step::COMMIT)?;
    // [SES-3] Journalled in mode `wal` before it is answered, whatever mode was asked for.
    exchange.answer.journal_as(JournalMode::WAL);
    let recorded = match exchange.answer.finish(EntryType::OUTCOME, EntryFlags(0)).await {
        Err(Fault::Journal(JournalError::Full)) => {
            exchange.answer.back_to_origin();
            return refuse(&mut exchange, &storage_full().into()).await;
        }
        recorded => recorded?,
    };
    if let Some((grant, offered)) = made.grant {
        let index = recorded.last().copied().unwrap_or_default();
        exchange.node.sessions.begin(grant, offered, index).await?;
    }
    tracing::debug!(?target, persona = %caller, "session");
    claimed.recorded(recorded);
    exchange.answer.flush().await
}

async fn refuse(exchange: &mut Exchange<'_, '_>, denied: &Denied) -> Result<(), Fault> {
    tracing::debug!(reason = %denied.fault, "handshake refused");
    exchange.node.refusals.count(Reason::Session(denied.fault));
    admit(exchange, Err(&denied.refusal))?;
    exchange.answer.finish_refused(false).await
}

fn admit(exchange: &mut Exchange<'_, '_>, outcome: Result<&str, &Refusal>) -> Result<(), Fault> {
    let by = (exchange.answer.actor, exchange.answer.now());
    let Exchange { node, proved, .. } = exchange;
    // [SES-5] Policies judge nothing of this; the set in force is named all the same.
    let policy = node.policies.in_force().policies().digest();
    let shown = (Digest::ZERO, policy);
    let (decided, salt) = ((outcome.ok(), outcome.err()), entropy::salt()?);
    let layer = admit_layer(proved, by, shown, decided, salt);
    exchange.answer.append(layer)
}
