//! What a connection has proved, and what it may do for it. `cmtp-spec/spec/09-quic.md`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cmtp_codec::{Auth, Digest, PublicKey, Signature};
use cmtp_spec::{CloseCode, binding, limits, uses};
use quinn::{Connection, SendStream, VarInt};
use tokio::sync::watch;

use crate::limits::Limits;
use crate::node::Node;
use crate::node_keys::NodeKeys;
use crate::outgoing::{Ended, Outbox};
use crate::refusals::Reason;
use crate::room::Memory;
use crate::token::{Token, TokenError};

/// What one connection has proved.
///
/// [QUI-12] AUTH is state of the connection: it is kept here, and never hashed, stored or passed on.
pub(crate) struct Proved {
    /// The value that AUTH's proofs are bound to.
    pub(crate) exporter: [u8; 32],
    connection: Connection,
    /// Where the peer was when the handshake proved it; a packet from elsewhere may be forged.
    address: IpAddr,
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
        let address = connection.remote_address().ip();
        Self { exporter, connection, address, heads, outbox, accepted, state: Mutex::default() }
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

    /// To whom what it asks is charged.
    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }

    /// The token that AUTH shows or names, where it holds now.
    pub(crate) fn token(
        &self,
        node: &Node,
        auth: Option<&Auth>,
        now: u64,
    ) -> Result<Arc<Token>, Reason> {
        let token = match auth.ok_or(Reason::NoToken)? {
            // [QUI-11] A digest that it does not know on this connection.
            Auth::Known(digest) => {
                self.state().tokens.get(digest).cloned().ok_or(Reason::UnknownDigest)?
            }
            Auth::Shown { proof, token } => {
                self.check(node, token, proof, now).inspect_err(|&reason| {
                    self.state().bad += 1;
                    if reason != Reason::Exhausted {
                        node.addresses.note_bad_token(self.address(), now);
                    }
                })?
            }
        };
        check_standing(node, &token, now)?;
        Ok(token)
    }

    /// Gives a connection that has a token the room that only callers get.
    pub(crate) fn widen(&self, limits: &Limits) {
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
        proof: &Signature,
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

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is a single step, so a poisoned state is a sound one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a token that was verified holds still: its key, its times, its grant.
pub(crate) fn check_standing(node: &Node, token: &Token, now: u64) -> Result<(), Reason> {
    // [NKY-8] A token of a replaced key MUST be refused on a connection that showed it before, too.
    if !node.with_keys(|keys| token.is_by(keys, now)) {
        return Err(Reason::Token(TokenError::Retired));
    }
    // [QUI-13] [ADM-4] Expiry is checked at each request, and revocation.
    if !token.is_valid_at(now) {
        return Err(Reason::OutsideTimes);
    }
    if node.sessions.refuses(token) {
        return Err(Reason::Revoked);
    }
    Ok(())
}

/// A QUIC window; all of ours are below 2^32.
pub(crate) fn window(bytes: u64) -> VarInt {
    VarInt::from_u64(bytes).unwrap_or(VarInt::MAX)
}
