//! One exchange: a request stream from its first frame to the seal. `cmtp-spec/spec/09-quic.md`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cmtp_client::entropy;
use cmtp_codec::{Fqmn, Layer, PublicKey};
use cmtp_spec::{BusAuth, CloseCode, EntryFlags, EntryType, Status, Step, limits};
use quinn::{RecvStream, SendStream, VarInt};

use crate::admit::{Admission, Admitted, not_covered};
use crate::answer::{Answering, mark_dispatched};
use crate::handshake::{self, Denied};
use crate::incoming::{Fault, Incoming, Rest};
use crate::journal::JournalError;
use crate::nats;
use crate::node::{self, Live, Node};
use crate::policies::denied;
use crate::proved::Proved;
use crate::refusal::Refusal;
use crate::room::Share;
use crate::routes::Route;
use crate::service::{Call, Effect, Reply};
use crate::sessions::SessionFault;
use crate::stream::{self, Asked};
use crate::writes::{Claim, Claimed};

/// Serves one request stream. Whatever is wrong with it ends here, with an answer or with a code on the stream.
pub(crate) async fn serve(
    node: &Arc<Node>,
    proved: &Proved,
    mut send: SendStream,
    mut recv: RecvStream,
) {
    let mut share = node.room.share();
    if let Err(fault) = answer(node, proved, &mut share, &mut send, &mut recv).await {
        tracing::debug!(%fault, "request stream ended without an answer");
        proved.stream_failed();
        // [QUI-8] An error on a request stream ends that stream, in both directions, with the code that names it.
        let code = VarInt::from(fault.code());
        // What is closed already needs no closing.
        let _closed = send.reset(code);
        let _closed = recv.stop(code);
        return;
    }
    // The stream was open a moment ago; if the caller closed it since, there is nobody to tell.
    let _closed = send.finish();
    // After an early refusal the rest of the request is not wanted: [QUI-17].
    let _closed = recv.stop(VarInt::from(code(CloseCode::REFUSED)));
    proved.sent(send, node);
}

async fn answer<'n>(
    node: &'n Arc<Node>,
    proved: &Proved,
    share: &mut Share<'n>,
    send: &mut SendStream,
    recv: &mut RecvStream,
) -> Result<(), Fault> {
    // A request keeps the configuration that was in force when it came.
    let live = node.live();
    let mut request = Incoming::new(recv, node, live.body_max, proved, share);
    request.read_head().await?;
    let (auth, head) = request.head()?;
    if let Some(target) = handshake::target_of(head) {
        let checked = handshake::check(node, &live, proved, (auth, head), target);
        request.limit_body(limits::SESSION_MESSAGE_MAX);
        let rest = request.read_rest(checked.is_err()).await?;
        let (origin, checked) = match rest {
            Rest::Whole(origin) => (origin, checked),
            // [SES-6] A message that is longer is refused with 400.
            Rest::Unread(origin, too_large) => {
                let too_long = too_large.map(|_too_large| SessionFault::Malformed.into());
                (origin, checked.and(too_long.map_or(Ok(()), Err)))
            }
        };
        let is_unseen = checked.as_ref().is_err_and(Denied::is_unseen);
        let answer = Answering::begin(node, &live, send, origin, !is_unseen)?;
        let exchange = Exchange { node, live: &live, proved, share, answer };
        return handshake::answer(exchange, target, checked).await;
    }
    let mut admission = Admission::judge(node, proved, auth, head, node::now());
    let origin = match request.read_rest(admission.outcome.is_err()).await? {
        Rest::Whole(origin) => origin,
        // [QUI-17] A node MAY refuse an origin with a body before END came.
        Rest::Unread(origin, refusal) => {
            if let Some(refusal) = refusal {
                admission.refuse(refusal);
            }
            origin
        }
    };
    // The body took its time: what held when the head came has to hold now.
    admission.judge_again(node, &origin, node::now());
    admission.take_place(node, share);
    let begun = Instant::now();
    let mut exchange = Exchange {
        node,
        live: &live,
        proved,
        share,
        answer: Answering::begin(node, &live, send, origin, true)?,
    };
    let taken = match &admission.outcome {
        Ok(admitted) if admitted.target.is_write() => match exchange.check_lost() {
            Ok(()) => exchange.claim(admitted.caller).await,
            Err(refusal) => Taken::Refused(refusal),
        },
        _ => Taken::NoWrite,
    };
    let claimed = match taken {
        Taken::Claimed(claimed) => Some(claimed),
        Taken::NoWrite => None,
        Taken::Recorded(pieces) if exchange.answer.send_recorded(&pieces).await? => return Ok(()),
        Taken::Recorded(_) | Taken::Erased => {
            let answered = exchange.refuse_erased(&mut admission).await;
            exchange.answer.report(begun.elapsed());
            return answered;
        }
        Taken::Refused(refusal) => {
            admission.refuse(refusal);
            None
        }
    };
    let answered = match exchange.run(&admission, claimed).await {
        Err(Fault::Journal(JournalError::Full)) => exchange.refuse_unrecorded(&mut admission).await,
        other => other,
    };
    exchange.answer.report(begun.elapsed());
    answered
}

/// A request that is being answered.
pub(crate) struct Exchange<'a, 'n> {
    pub(crate) node: &'a Arc<Node>,
    pub(crate) live: &'a Live,
    pub(crate) proved: &'a Proved,
    share: &'a mut Share<'n>,
    pub(crate) answer: Answering<'a>,
}

/// What became of a write's id.
pub(crate) enum Taken {
    NoWrite,
    Claimed(Claimed),
    Recorded(Vec<u64>),
    Erased,
    Refused(Refusal),
}

impl Exchange<'_, '_> {
    /// Refuses a write that may have been executed in what was lost of the journal.
    fn check_lost(&self) -> Result<(), Refusal> {
        match self.node.writes_after(&self.answer.message_id(), node::now()) {
            None => Ok(()),
            Some(seconds) => {
                let detail = "the node lost a part of its journal, and serves no writes that it may have executed there";
                Err(Refusal::new(Status::UNAVAILABLE, detail).after(seconds))
            }
        }
    }

    /// Takes the id of an admitted write.
    pub(crate) async fn claim(&self, caller: PublicKey) -> Taken {
        let id = self.answer.message_id();
        let patience = tokio::time::Instant::now() + RUNNING_WAIT.min(self.answer.time_left());
        loop {
            let origin = self.answer.origin_hash();
            // [IDM-2] A write with a known id and the same L_0 MUST NOT be executed again.
            match self.node.writes.claim(caller, id, origin, node::now()) {
                Claim::Fresh(claimed) => return Taken::Claimed(claimed),
                Claim::Recorded(pieces) => return Taken::Recorded(pieces),
                Claim::Erased => return Taken::Erased,
                Claim::Other => {
                    let detail = "this message id belongs to another request of yours";
                    return Taken::Refused(Refusal::new(Status::ID_REUSED, detail));
                }
                // [IDM-2] If it is running, the node waits or answers 409.
                Claim::Running(mut running) => {
                    // An error says that it is not running any more, which is what is waited for.
                    if tokio::time::timeout_at(patience, running.changed()).await.is_err() {
                        let detail = "the same request is still being executed";
                        let refusal = Refusal::new(Status::RUNNING, detail).after(RETRY_AFTER);
                        return Taken::Refused(refusal);
                    }
                }
                // [IDM-2] What was dispatched and has no outcome is closed as `outcome-unknown`.
                Claim::Unknown(claimed, pieces) => match self.node.close_message(&pieces).await {
                    Ok(closed) => {
                        claimed.recorded(closed.clone());
                        return Taken::Recorded(closed);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a write of unknown outcome can't be closed");
                        return Taken::Refused(storage_full());
                    }
                },
                // [IDM-4] When they are full, writes are refused with 503.
                Claim::Full => {
                    let detail = "no more writes can be remembered at the moment";
                    let refusal = Refusal::new(Status::UNAVAILABLE, detail).after(FULL_AFTER);
                    return Taken::Refused(refusal);
                }
            }
        }
    }

    /// Takes the steps of the request's process, up to the first refusal, and seals.
    async fn run(&mut self, admission: &Admission, claimed: Option<Claimed>) -> Result<(), Fault> {
        let layer = self.admit_layer(admission)?;
        self.answer.append(layer)?;
        let Ok(admitted) = &admission.outcome else {
            return self.answer.finish_refused(admission.token_accepted).await;
        };
        let Some(targets) = self.resolve(admitted)? else {
            return self.answer.finish_refused(true).await;
        };
        let target = targets.last().unwrap_or(&admitted.target);
        let Some(route) = self.live.routes.find(target) else {
            let detail = format!("this node has no route for {}", target.target());
            return self.refuse_dispatch(admitted, Refusal::new(Status::NOT_FOUND, detail)).await;
        };
        self.answer.journal_as(route.journal);
        self.serve(admitted, &targets, route, claimed).await
    }

    /// Resolves names until there is none: the target that was asked for, and what each name stood for. `None` where the
    /// request was refused.
    fn resolve(&mut self, admitted: &Admitted) -> Result<Option<Vec<Fqmn>>, Fault> {
        let mut targets = vec![admitted.target.clone()];
        let mut seen = Vec::new();
        loop {
            let target = targets.last().unwrap_or(&admitted.target);
            let resolved = match self.live.names.resolve(target, &mut seen) {
                // A name gives no authority: what it stands for is admitted again.
                Ok(Some(resolved)) => admit_resolved(admitted, resolved).map(Some),
                other => other,
            };
            match resolved {
                Ok(Some(resolved)) => {
                    self.answer.append_resolved(&resolved)?;
                    targets.push(resolved);
                }
                Ok(None) => return Ok(Some(targets)),
                Err(refusal) => {
                    self.answer.refuse(Step::RESOLVE, &refusal)?;
                    return Ok(None);
                }
            }
        }
    }

    async fn serve(
        &mut self,
        admitted: &Admitted,
        targets: &[Fqmn],
        route: &Route,
        mut claimed: Option<Claimed>,
    ) -> Result<(), Fault> {
        let target = targets.last().unwrap_or(&admitted.target);
        let subject = match route.subject(target) {
            Ok(subject) => subject.unwrap_or_default(),
            Err(refusal) => return self.refuse_dispatch(admitted, refusal).await,
        };
        let service = route.service.service();
        // [NAT-6] A deadline is the earlier of the route's time and the origin's `not-after`.
        let time_left = route.timeout.min(self.answer.time_left());
        let is_dispatched = service.bus_auth() != BusAuth::LOCAL;
        if is_dispatched {
            self.answer.append_dispatch(&subject, time_left, service.bus_auth())?;
        }
        let dispatched = route.service.is_layered().then(|| self.answer.dispatched());
        if let (true, Some(claimed)) = (is_dispatched, &mut claimed) {
            // [JRN-2] A node MUST NOT give a write to a bus before its intent is journalled.
            let begin = self.answer.record_intent().await?;
            claimed.dispatched(vec![begin]);
        }
        let call = Call {
            caller: admitted.caller,
            token_id: admitted.token.id(),
            target,
            origin: &self.answer.origin,
            subject: &subject,
            time_left,
            dispatched: dispatched.as_ref(),
        };
        let calling = tokio::time::timeout(time_left, service.call(&call));
        let reply = if claimed.is_some() {
            // [JRN-2] A reset afterwards does not remove the outcome.
            calling.await
        } else {
            tokio::select! {
                // A service in the process answers at once, most of the time.
                biased;
                reply = calling => reply,
                // Nobody waits for the answer: dropping the call tells the service.
                _stopped = self.answer.stopped() => return Err(Fault::Gone),
            }
        };
        // [NAT-5] No reply by the deadline is 504.
        let mut reply = reply.unwrap_or_else(|_elapsed| Err(nats::deadline_exceeded()));
        let streams = matches!(&reply, Ok(Reply { segments: Some(_), .. }));
        if streams && claimed.is_some() {
            // A write ends with its commit, which no segment may follow.
            let detail = "the service's answer to a write can't be a stream";
            reply = Err(Refusal::new(Status::BAD_SERVICE_ANSWER, detail));
        }
        if let Ok(Reply { segments: Some(segments), .. }) = &mut reply {
            let segments = std::mem::replace(segments, stream::empty());
            if let Ok(reply) = reply {
                self.answer.append_reply(reply)?;
            }
            let asked = Asked { proved: self.proved, admitted, targets };
            return stream::serve(&mut self.answer, self.node, asked, segments).await;
        }
        if let Some(body) = reply.as_ref().ok().and_then(Reply::data) {
            // [LIM-10] Not more than `answer-memory-max` bytes of answers.
            self.share.answer.reserve(body.len()).await;
        }
        match claimed {
            None => {
                self.append_read(reply)?;
                self.answer.finish_read().await
            }
            Some(claimed) => self.finish_write(claimed, reply, is_dispatched).await,
        }
    }

    /// Refuses what is given to nobody.
    async fn refuse_dispatch(
        &mut self,
        admitted: &Admitted,
        refusal: Refusal,
    ) -> Result<(), Fault> {
        if admitted.target.is_write() {
            // [PRC-6] `no-effect` is for what certainly had none: it was not dispatched.
            let layer = self.answer.layer(Step::DISPATCH)?;
            self.answer.append(mark_dispatched(layer, &refusal.without_effect()))?;
            self.answer.finish(EntryType::REFUSAL, EntryFlags::NO_EFFECT).await?;
            return self.answer.flush().await;
        }
        self.answer.refuse(Step::DISPATCH, &refusal)?;
        self.answer.finish_refused(true).await
    }

    fn append_read(&mut self, reply: Result<Reply, Refusal>) -> Result<(), Fault> {
        match reply.map(|reply| self.answer.append_reply(reply)) {
            // [NAT-5] An answer that can't be used is 502.
            Ok(Err(Fault::Malformed(kind))) => self.answer.refuse(Step::SERVE, &unusable(kind)),
            Ok(appended) => appended,
            Err(refusal) => self.answer.refuse(Step::SERVE, &refusal),
        }
    }

    /// Appends what came of a write, journals it, and lets the effect be seen.
    async fn finish_write(
        &mut self,
        claimed: Claimed,
        reply: Result<Reply, Refusal>,
        is_dispatched: bool,
    ) -> Result<(), Fault> {
        let reply = match reply {
            Ok(mut reply) => {
                let (effect, refused) = (reply.effect.take(), reply.refused());
                match self.answer.append_reply(reply) {
                    Err(Fault::Malformed(kind)) => Err(unusable(kind)),
                    appended => Ok((appended?, effect, refused)),
                }
            }
            Err(refusal) => Err(refusal),
        };
        match reply {
            // [NAT-16] Nothing follows the service's own refusal, which says what came of the write.
            Ok(((), _, Some(no_effect))) => self.record_refused(claimed, no_effect).await,
            Ok(((), effect, None)) => {
                self.answer.append_step(Step::COMMIT)?;
                self.record_outcome(claimed, effect).await
            }
            Err(refusal) if is_dispatched => {
                self.answer.refuse_dispatched(&refusal)?;
                self.record_refused(claimed, refusal.no_effect).await
            }
            Err(refusal) => {
                self.answer.refuse(Step::SERVE, &refusal)?;
                // [IDM-5] A refusal MUST NOT claim an id.
                drop(claimed);
                self.answer.finish_refused(true).await
            }
        }
    }

    /// Journals that a write ended with a refusal after it was dispatched.
    async fn record_refused(&mut self, claimed: Claimed, no_effect: bool) -> Result<(), Fault> {
        let flags = if no_effect { EntryFlags::NO_EFFECT } else { EntryFlags::OUTCOME_UNKNOWN };
        let recorded = self.answer.finish(EntryType::OUTCOME, flags).await?;
        if no_effect {
            claimed.had_no_effect();
        } else {
            claimed.recorded(recorded);
        }
        self.answer.flush().await
    }

    async fn record_outcome(
        &mut self,
        claimed: Claimed,
        effect: Option<Effect>,
    ) -> Result<(), Fault> {
        let recorded = self.answer.finish(EntryType::OUTCOME, EntryFlags(0)).await?;
        if let Some(effect) = effect {
            effect.apply();
        }
        claimed.recorded(recorded);
        self.answer.flush().await
    }

    /// [JRN-4] The journal can't take the exchange: says so with 507, under a receipt that promises no more than a signature.
    async fn refuse_unrecorded(&mut self, admission: &mut Admission) -> Result<(), Fault> {
        // A stream that has begun can't be refused any more; it is closed in the journal at the next start.
        if self.answer.has_sent() {
            return Err(Fault::Journal(JournalError::Full));
        }
        if self.answer.back_to_dispatch() {
            self.answer.refuse_dispatched(&storage_full())?;
        } else {
            self.answer.back_to_origin();
            self.refuse_admitted(admission, storage_full())?;
        }
        self.answer.finish_unrecorded().await
    }

    /// [ERA-5] Refused with 410 and R0 in mode `none`: the journal must not get again what was erased from it.
    async fn refuse_erased(&mut self, admission: &mut Admission) -> Result<(), Fault> {
        self.refuse_admitted(admission, erased())?;
        self.answer.finish_unrecorded().await
    }

    fn refuse_admitted(
        &mut self,
        admission: &mut Admission,
        refusal: Refusal,
    ) -> Result<(), Fault> {
        admission.refuse(refusal);
        let layer = self.admit_layer(admission)?;
        self.answer.append(layer)
    }

    fn admit_layer(&mut self, admission: &Admission) -> Result<Layer, Fault> {
        let by = (self.answer.actor, self.answer.now());
        Ok(admission.layer(self.proved, by, entropy::salt()?))
    }
}

/// Admits what a name stands for as if it had been asked for.
fn admit_resolved(admitted: &Admitted, resolved: Fqmn) -> Result<Fqmn, Refusal> {
    if admitted.token.covering(&resolved).is_none() {
        return Err(not_covered(&resolved));
    }
    // [POL-1] Each target that resolution gave is judged, too.
    let decision = admitted.asker.decide(&resolved);
    if decision.is_allowed { Ok(resolved) } else { Err(denied(&resolved, &decision)) }
}

fn unusable(kind: cmtp_codec::DecodeErrorKind) -> Refusal {
    let detail = format!("the service's answer can't be a layer: {kind}");
    Refusal::new(Status::BAD_SERVICE_ANSWER, detail)
}

pub(crate) fn storage_full() -> Refusal {
    let detail = "the node's journal has no room, and without it nothing is done";
    Refusal::new(Status::STORAGE_FULL, detail).after(RETRY_AFTER)
}

pub(crate) fn erased() -> Refusal {
    Refusal::new(Status::ERASED, "the recorded answer was erased")
}

/// QUIC carries 62-bit codes; ours are registered far below 2^32.
pub(crate) const fn code(code: CloseCode) -> u32 {
    if code.0 > u32::MAX as u64 { u32::MAX } else { code.0 as u32 }
}

/// Seconds after which to ask again for what is running, or full of what passes.
const RETRY_AFTER: u64 = 1;
/// Seconds: ids leave the table as their window passes.
const FULL_AFTER: u64 = 60;
/// How long a repeated write waits for the first, so that most callers need not ask again.
const RUNNING_WAIT: Duration = Duration::from_secs(limits::SERVICE_DEADLINE / 3);
