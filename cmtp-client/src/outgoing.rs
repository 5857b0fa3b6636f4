//! What a client sends on a request stream: AUTH, the origin, the end. `cmtp-spec/spec/09-quic.md`.

use std::mem;

use bytes::{Bytes, BytesMut};
use cmtp_codec::{Body, End, Frame, Layer};
use cmtp_spec::{CloseCode, limits};
use quinn::{SendStream, WriteError};

use crate::call::CallError;
use crate::close;

/// A request on its way, encoded piece by piece.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stream: SendStream,
    /// Encoded and not yet taken by QUIC.
    ready: Bytes,
    /// Of the body, not yet encoded.
    rest: Bytes,
    /// What follows the body.
    end: Option<End>,
    done: bool,
}

impl Outgoing {
    pub(crate) fn new(stream: SendStream, auth: Option<Bytes>, origin: &Layer) -> Self {
        // [QUI-9] AUTH, if it is sent, MUST be the first frame. A client without a token sends none.
        let mut ready = BytesMut::from(auth.unwrap_or_default());
        origin.encode_head(&mut ready);
        let (rest, end) = match &origin.body {
            Body::Present { salt, data } => {
                let body = Body::Present { salt: *salt, data: Bytes::new() };
                (data.clone(), Some(End { body, signature: origin.signature }))
            }
            _ => (Bytes::new(), None),
        };
        let mut outgoing = Self { stream, ready: Bytes::new(), rest, end, done: false };
        outgoing.encode(ready);
        outgoing
    }

    /// The stream's number, as GOAWAY counts.
    pub(crate) fn id(&self) -> u64 {
        quinn::VarInt::from(self.stream.id()).into_inner()
    }

    /// Whether all was sent, or the node wants no more.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    /// Sends what QUIC takes now. May be dropped at any time: what was sent is accounted for.
    pub(crate) async fn advance(&mut self) -> Result<(), CallError> {
        match self.stream.write_chunks(std::slice::from_mut(&mut self.ready)).await {
            Ok(_) => {}
            // [QUI-17] The node asks the client to stop; what that means its answer says.
            Err(WriteError::Stopped(_)) => {
                self.done = true;
                return Ok(());
            }
            Err(WriteError::ConnectionLost(error)) => return Err(CallError::Connection(error)),
            Err(WriteError::ClosedStream | WriteError::ZeroRttRejected) => {
                return Err(CallError::Lost);
            }
        }
        if !self.ready.is_empty() {
            return Ok(());
        }
        if self.end.is_some() {
            self.encode(BytesMut::new());
        } else {
            // A stream that the node stopped meanwhile has no end to send.
            let _stopped = self.stream.finish();
            self.done = true;
        }
        Ok(())
    }

    pub(crate) fn reset(&mut self, code: CloseCode) {
        self.done = true;
        // What is over already needs no end.
        let _over = self.stream.reset(close::varint(code));
    }

    /// Makes the next bytes ready, after those in `out`.
    fn encode(&mut self, mut out: BytesMut) {
        while !self.rest.is_empty() && out.len() < WRITE_AT {
            let frame = self.rest.split_to(self.rest.len().min(BODY_FRAME));
            Frame::Body(frame).encode(&mut out);
        }
        if self.rest.is_empty()
            && let Some(end) = mem::take(&mut self.end)
        {
            Frame::End(end).encode(&mut out);
        }
        self.ready = out.freeze();
    }
}

/// Bytes of a full BODY frame.
const BODY_FRAME: usize = limits::BODY_FRAME_MAX as usize;
/// Four BODY frames are handed to QUIC at once: enough to fill packets, little to hold.
const WRITE_AT: usize = 4 * BODY_FRAME;
