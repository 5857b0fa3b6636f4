//! One connection: control stream, request streams. `cmtp-spec/spec/09-quic.md`.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use cmtp_client::{StreamTypeError, read_stream_type};
use cmtp_codec::log::Growth;
use cmtp_codec::{Frame, FrameReader, KeyList};
use cmtp_spec::{CloseCode, SettingId, StreamType, binding, limits};
use quinn::{Connection, RecvStream, VarInt};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, timeout};

use crate::exchange::{self, code};
use crate::node::Node;
use crate::node_keys::NodeKeys;
use crate::proved::Proved;

/// Serves a connection until it ends.
pub(crate) async fn serve(node: Arc<Node>, connection: Connection) {
    let mut exporter = [0; 32];
    let label = binding::EXPORTER_LABEL_AUTH.as_bytes();
    if connection.export_keying_material(&mut exporter, label, &[]).is_err() {
        close(&connection, CloseCode::INTERNAL);
        return;
    }
    let proved = Arc::new(Proved::new(exporter, connection.clone(), &node.limits));
    // The control stream stays open as long as the connection: a client that sees it end must close.
    let mut keys = node.watch_keys();
    let shown = Arc::clone(&keys.borrow_and_update());
    let mut control = match open_control(&node, &connection, &shown).await {
        Ok(control) => control,
        Err(error) => {
            tracing::debug!(%error, "connection ended before its control stream was written");
            return;
        }
    };
    node.metrics.connections.inc();
    let (sizes, log_size) = oneshot::channel();
    let unidirectional =
        tokio::spawn(accept_unidirectional(node.clone(), connection.clone(), sizes));
    // Boxed: most connections wait for it and for nothing else.
    let mut checkpoint = Box::pin(checkpoint(&node, &proved, log_size));
    let mut is_shown = false;
    let mut first_refused = None;
    let mut next = 0;
    // A connection that is idle has no timer of its own.
    let mut is_busy = false;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (send, recv) = tokio::select! {
            biased;
            () = node.draining(), if first_refused.is_none() => {
                first_refused = Some(next);
                looks.reset_immediately();
                // [QUI-22] GOAWAY carries the id of the first request stream that the node will not process.
                if send_goaway(&mut control, next).await.is_err() {
                    break;
                }
                continue;
            }
            // The node has the sender.
            _kept = keys.changed() => {
                // [QUI-6] A later KEYS announces a newer list.
                let list = keys.borrow_and_update().key_list();
                if send_keys(&mut control, list).await.is_err() {
                    break;
                }
                continue;
            }
            growth = &mut checkpoint, if !is_shown => {
                is_shown = true;
                let Some(growth) = growth else { continue };
                if send_checkpoint(&mut control, growth).await.is_err() {
                    break;
                }
                continue;
            }
            accepted = connection.accept_bi() => match accepted {
                Ok(streams) => streams,
                Err(_over) => break,
            },
            _ = looks.tick(), if is_busy => {
                is_busy = proved.look_through(&node.limits);
                if let Some(code) = proved.verdict(&node.limits) {
                    close(&connection, code);
                }
                if first_refused.is_some() {
                    // A node that drains waits for these.
                    looks.reset_after(LOOK_DRAINING);
                }
                continue;
            }
        };
        let id = u64::from(VarInt::from(send.id()));
        if first_refused.is_some_and(|first| id >= first) {
            refuse_stream(send, recv);
            continue;
        }
        // Request streams are opened by the client, both ways: their ids are four apart.
        next = id + REQUEST_ID_STEP;
        is_busy = true;
        proved.stream_began();
        let (node, proved, connection) = (node.clone(), proved.clone(), connection.clone());
        // Boxed, because the runtime moves a task several times before it is in its place.
        node.exchanges.clone().spawn(Box::pin(async move {
            exchange::serve(&node, &proved, send, recv).await;
            if let Some(code) = proved.verdict(&node.limits) {
                close(&connection, code);
            }
        }));
    }
    drop(checkpoint);
    unidirectional.abort();
    node.metrics.connections.dec();
    drop(control);
}

/// [QUI-27] What the node's log is to be shown as, once the client said what it knows and a token was accepted; `None` where
/// the client says nothing.
async fn checkpoint(
    node: &Node,
    proved: &Proved,
    log_size: oneshot::Receiver<u64>,
) -> Option<Growth> {
    let known = log_size.await.ok()?;
    proved.accepted().await;
    let log = node.log.clone();
    let tree = log.beyond(0).await?;
    let before = known.min(tree.size);
    let growth = tokio::task::spawn_blocking(move || log.growth(&tree, before)).await.ok()?;
    growth.inspect_err(|error| tracing::warn!(%error, "the transparency log can't be shown")).ok()
}

async fn send_keys(
    control: &mut quinn::SendStream,
    list: KeyList,
) -> Result<(), quinn::WriteError> {
    let mut out = BytesMut::new();
    Frame::Keys(list).encode(&mut out);
    control.write_all(&out).await
}

async fn send_checkpoint(
    control: &mut quinn::SendStream,
    growth: Growth,
) -> Result<(), quinn::WriteError> {
    let mut out = BytesMut::new();
    Frame::Checkpoint(Box::new(growth)).encode(&mut out);
    control.write_all(&out).await
}

/// [QUI-24] Sent once, so no later one carries a larger id.
async fn send_goaway(
    control: &mut quinn::SendStream,
    first_refused: u64,
) -> Result<(), quinn::WriteError> {
    let mut out = BytesMut::new();
    Frame::Goaway(first_refused).encode(&mut out);
    control.write_all(&out).await
}

/// [QUI-22] Requests on streams from GOAWAY's id on were not processed and may be sent again freely.
fn refuse_stream(mut send: quinn::SendStream, mut recv: RecvStream) {
    let code = VarInt::from(code(CloseCode::NOT_PROCESSED));
    // What is closed already needs no closing.
    let _closed = send.reset(code);
    let _closed = recv.stop(code);
}

/// [QUI-6] The node MUST open one control stream at once, and send SETTINGS and then KEYS on it.
async fn open_control(
    node: &Node,
    connection: &Connection,
    keys: &NodeKeys,
) -> Result<quinn::SendStream, quinn::WriteError> {
    let mut send = connection.open_uni().await?;
    let mut out = BytesMut::new();
    // A stream type below 64 is a varint of one byte.
    out.put_uint(StreamType::CONTROL.0, 1);
    let live = node.live();
    let settings = vec![
        (SettingId::LAYER_FRAME_MAX, limits::LAYER_FRAME_MAX),
        (SettingId::BODY_MAX, live.body_max),
        (SettingId::ID_WINDOW, limits::ID_WINDOW),
        (SettingId::JOURNAL_MODE, u64::from(live.journal_mode.0)),
    ];
    Frame::Settings(settings).encode(&mut out);
    Frame::Keys(keys.key_list()).encode(&mut out);
    send.write_all(&out).await?;
    Ok(send)
}

async fn accept_unidirectional(
    node: Arc<Node>,
    connection: Connection,
    log_size: oneshot::Sender<u64>,
) {
    // Taken by the one control stream.
    let mut log_size = Some(log_size);
    while let Ok(mut recv) = connection.accept_uni().await {
        match timeout(node.limits.header_timeout, read_stream_type(&mut recv)).await {
            Ok(Ok(StreamType::CONTROL)) => {
                let Some(log_size) = log_size.take() else {
                    // [QUI-7] A second control stream ends the connection.
                    close(&connection, CloseCode::STREAM_CREATION);
                    return;
                };
                let connection = connection.clone();
                tokio::spawn(async move {
                    if let Err(code) = read_control(recv, log_size).await {
                        close(&connection, code);
                    }
                });
            }
            // [QUI-5] A type that is malformed MUST end the connection.
            Ok(Err(StreamTypeError::Malformed(kind))) => {
                close(&connection, kind.close_code());
                return;
            }
            // [QUI-5] A receiver of an unknown type stops reading it; so it does with one that never said its type.
            _ => {
                let _closed = recv.stop(VarInt::from(code(CloseCode::STREAM_CREATION)));
            }
        }
    }
}

/// Reads a client's control stream; what ends it ends the connection with the code that is given back.
async fn read_control(
    mut recv: RecvStream,
    log_size: oneshot::Sender<u64>,
) -> Result<(), CloseCode> {
    let mut reader = FrameReader::default();
    let (mut begun, mut log_size) = (false, Some(log_size));
    loop {
        let frame = reader.next_frame().map_err(|error| error.kind.close_code())?;
        match (frame, begun) {
            (Some(Frame::Settings(settings)), false) => {
                begun = true;
                let known = settings.into_iter().find(|(id, _)| *id == SettingId::LOG_SIZE);
                if let (Some((_, known)), Some(log_size)) = (known, log_size.take()) {
                    // Nobody waits where the connection is over.
                    let _over = log_size.send(known);
                }
            }
            // [QUI-7] One that does not begin with SETTINGS, or a second SETTINGS.
            (Some(Frame::Settings(_)), true) | (Some(_), false) => {
                return Err(CloseCode::SETTINGS);
            }
            // [QUI-6] A client sends no KEYS, no GOAWAY and no CHECKPOINT.
            (Some(_), true) => return Err(CloseCode::UNEXPECTED),
            (None, _) => match recv.read_chunk(CONTROL_READ_MAX, true).await {
                Ok(Some(chunk)) => reader.push_bytes(chunk.bytes),
                // [QUI-7] A control stream that ends.
                Ok(None) | Err(quinn::ReadError::Reset(_)) => {
                    return Err(CloseCode::CLOSED_CRITICAL_STREAM);
                }
                Err(_connection_lost) => return Ok(()),
            },
        }
    }
}

fn close(connection: &Connection, reason: CloseCode) {
    let words = reason.name().unwrap_or_default();
    connection.close(VarInt::from(code(reason)), words.as_bytes());
}

const CONTROL_READ_MAX: usize = 4096;
/// How often a connection that is in use is looked through for answers that its client does not take.
const LOOK: Duration = Duration::from_secs(1);
/// The same while the node waits for them.
const LOOK_DRAINING: Duration = Duration::from_millis(5);
/// RFC 9000 section 2.1: the two low bits of a stream's id are its kind, and these are 0.
const REQUEST_ID_STEP: u64 = 4;
