//! Streamed answers: segments, each run of them under an interim seal. `cmtp-spec/spec/09-quic.md`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cmtp_client::entropy;
use cmtp_codec::Fqmn;
use cmtp_spec::{EntryFlags, EntryType, LayerFlags, Step, limits};
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::admit::Admitted;
use crate::answer::Answering;
use crate::incoming::Fault;
use crate::node::{self, Node};
use crate::proved::Proved;
use crate::refusal::Refusal;
use crate::service::Segments;

/// No bytes.
pub(crate) fn empty() -> Segments {
    futures::stream::empty().boxed()
}

/// Who asked for a stream, and for what: each target that was judged.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) proved: &'a Proved,
    pub(crate) admitted: &'a Admitted,
    pub(crate) targets: &'a [Fqmn],
}

/// Why no more bytes come.
enum End {
    /// The service has said all.
    Complete,
    /// It broke off, with this.
    Refused(Refusal),
    /// The caller, its token, the policies or the node do not go on.
    Cut,
}

/// Sends what the service streams: what is there at a time becomes one segment, journalled and sealed before the next.
pub(crate) async fn serve(
    answer: &mut Answering<'_>,
    node: &Arc<Node>,
    Asked { proved, admitted, targets }: Asked<'_>,
    mut segments: Segments,
) -> Result<(), Fault> {
    let mut denied = pin!(admitted.asker.denied(node, targets));
    let mut count = 0;
    // The first bytes wait for nothing.
    let mut sealed = Instant::now().checked_sub(GATHER).unwrap_or_else(Instant::now);
    let end = loop {
        // The last of `segments-max` says how the stream ended.
        if count + 1 >= limits::SEGMENTS_MAX {
            break End::Cut;
        }
        let next = tokio::select! {
            // A service that always has something to say must not outtalk the end.
            biased;
            _stopped = answer.stopped() => break End::Cut,
            // [QUI-26] When no token of the caller is valid any more, and when the node stops.
            () = session_over(node, proved, admitted) => break End::Cut,
            () = node.draining() => break End::Cut,
            // [POL-12] Where a new set denies a target of the stream, it MUST end with `cut` within a second.
            () = &mut denied => break End::Cut,
            next = segments.next() => next,
        };
        let bytes = match next {
            Some(Ok(bytes)) if bytes.is_empty() => continue,
            Some(Ok(bytes)) => bytes,
            Some(Err(refusal)) => break End::Refused(refusal),
            None => break End::Complete,
        };
        let (bytes, end) = gather(bytes, &mut segments, sealed + GATHER).await;
        sealed = Instant::now();
        let mut gone = false;
        for part in cut(bytes) {
            let layer = answer.layer(Step::SEGMENT)?.with_body(entropy::salt()?, part);
            answer.append(layer)?;
            count += 1;
            // [QUI-25] Not more than `segment-bytes-max` bytes of segments without an INTERIM.
            match answer.finish_segment().await {
                // What was sealed stands in the journal; that the stream ended there must, too.
                Err(Fault::Gone | Fault::Timeout) => gone = true,
                sealed => sealed?,
            }
            if gone {
                break;
            }
        }
        match end {
            _ if gone => break End::Cut,
            Some(end) => break end,
            None => {}
        }
    };
    let layer = answer.layer(Step::SEGMENT)?;
    let (layer, flags) = match end {
        End::Complete => (layer.with_flag(LayerFlags::COMPLETE), EntryFlags(0)),
        End::Cut => (layer.with_flag(LayerFlags::CUT), EntryFlags::CUT),
        End::Refused(refusal) => (refusal.mark(layer.with_flag(LayerFlags::CUT)), EntryFlags::CUT),
    };
    answer.append(layer)?;
    answer.finish(EntryType::EXCHANGE, flags).await?;
    answer.flush().await
}

/// Takes what comes until then, and what is there already, up to a segment's size.
async fn gather(first: Bytes, segments: &mut Segments, until: Instant) -> (Bytes, Option<End>) {
    let mut gathered = BytesMut::new();
    let mut end = None;
    while first.len() + gathered.len() < SEGMENT {
        match timeout_at(until, segments.next()).await {
            Err(_elapsed) => break,
            Ok(Some(Ok(bytes))) => gathered.extend_from_slice(&bytes),
            Ok(Some(Err(refusal))) => end = Some(End::Refused(refusal)),
            Ok(None) => end = Some(End::Complete),
        }
        if end.is_some() {
            break;
        }
    }
    if gathered.is_empty() {
        return (first, end);
    }
    let mut all = BytesMut::from(first);
    all.unsplit(gathered);
    (all.freeze(), end)
}

/// Cuts bytes into bodies that segments may have.
fn cut(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        (!bytes.is_empty()).then(|| bytes.split_to(bytes.len().min(SEGMENT)))
    })
}

/// Waits until no token of the caller that this connection showed is valid any more, or the one that the stream was admitted by
/// is revoked.
async fn session_over(node: &Node, proved: &Proved, admitted: &Admitted) {
    let (mut revocations, mut keys) = (node.sessions.revocations(), node.watch_keys());
    loop {
        // [SES-17] And MUST end streams that were admitted by them.
        if node.sessions.refuses(&admitted.token) {
            return;
        }
        let now = node::now();
        let expires = {
            let keys = keys.borrow_and_update();
            let other = proved.expires(&admitted.caller, node, &keys, now);
            let is_good = admitted.token.is_by(&keys, now);
            if is_good { other.max(admitted.token.expires_at()) } else { other }
        };
        let left = expires.saturating_sub(now);
        if left == 0 {
            return;
        }
        let expiry = pin!(tokio::time::sleep(Duration::from_micros(left)));
        tokio::select! {
            () = expiry => {}
            // The senders live as long as the node.
            _revoked = revocations.changed() => {}
            // [NKY-8] The key that signed the token may be among those that were replaced.
            _replaced = keys.changed() => {}
        }
    }
}

/// Between two seals of a stream: people notice no delay, and a stream costs twenty syncs a second at most.
const GATHER: Duration = Duration::from_millis(50);
/// Bytes of a segment's body at most, so that what is not sealed yet stays small.
const SEGMENT: usize = limits::SEGMENT_BYTES_MAX as usize;
