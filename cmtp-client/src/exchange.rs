//! One exchange on one stream: the origin goes out, the answer comes in. `cmtp-spec/spec/09-quic.md`.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use cmtp_codec::{
    Assembler, Body, DecodeError, DecodeErrorKind, End, Frame, FrameReader, Layer, Link, Part,
    Seal, Source,
};
use cmtp_spec::{CloseCode, limits};
use quinn::{ReadError, RecvStream, SendStream, WriteError};

use crate::call::CallError;
use crate::close;

/// What may be taken into memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerLimits {
    /// Bytes of one body.
    pub(crate) body_max: u64,
    /// Bytes of a whole answer.
    pub(crate) answer_max: u64,
}

/// What the node sent back, complete and not verified.
#[derive(Debug)]
pub(crate) struct Received {
    /// The layers after the origin.
    pub(crate) links: Vec<Link>,
    /// Interim seals, each with the number of layers that it covers, the origin counted.
    pub(crate) interims: Vec<(u32, Seal)>,
    /// The final seal.
    pub(crate) seal: Seal,
}

/// A request stream; one that is dropped before its exchange is over tells the node so.
#[derive(Debug)]
pub(crate) struct Exchange {
    send: SendStream,
    recv: RecvStream,
    over: bool,
}

impl Exchange {
    pub(crate) fn new((send, recv): (SendStream, RecvStream)) -> Self {
        Self { send, recv, over: false }
    }

    /// Sends AUTH and the origin, and reads the answer meanwhile: it may come before all was sent.
    pub(crate) async fn run(
        &mut self,
        auth: Option<Bytes>,
        origin: &Layer,
        limits: AnswerLimits,
    ) -> Result<Received, CallError> {
        let mut all_sent = false;
        let received = {
            let mut receiving = pin!(receive(&mut self.recv, limits));
            tokio::select! {
                biased;
                // [QUI-17] The client MUST accept an answer that comes so, whether or not it had sent everything.
                received = &mut receiving => received,
                sent = send(&mut self.send, auth, origin) => match sent {
                    Ok(()) => {
                        all_sent = true;
                        receiving.await
                    }
                    Err(error) => Err(error),
                },
            }
        };
        match received {
            Ok(received) => {
                self.over = all_sent;
                Ok(received)
            }
            Err(error) => {
                self.reset(error.close_code());
                Err(error)
            }
        }
    }

    /// Ends the stream in both directions.
    pub(crate) fn reset(&mut self, code: CloseCode) {
        self.over = true;
        // [QUI-8] An error on a request stream ends that stream, in both directions, with the code that names it.
        // What is over already needs no end.
        let _over = self.send.reset(close::varint(code));
        let _over = self.recv.stop(close::varint(code));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.over {
            self.reset(CloseCode::CANCELLED);
        }
    }
}

/// Sends AUTH, LAYER and, where there is a body, BODY frames and END; then ends the stream.
async fn send(
    stream: &mut SendStream,
    auth: Option<Bytes>,
    origin: &Layer,
) -> Result<(), CallError> {
    // [QUI-9] AUTH, if it is sent, MUST be the first frame. A client without a token sends none.
    let mut out = BytesMut::from(auth.unwrap_or_default());
    origin.encode_head(&mut out);
    if let Body::Present { salt, data } = &origin.body {
        let mut rest = data.clone();
        while !rest.is_empty() {
            Frame::Body(rest.split_to(rest.len().min(BODY_FRAME))).encode(&mut out);
            if out.len() >= WRITE_AT && !write(stream, out.split().freeze()).await? {
                return Ok(());
            }
        }
        let body = Body::Present { salt: *salt, data: Bytes::new() };
        Frame::End(End { body, signature: origin.signature }).encode(&mut out);
    }
    if write(stream, out.freeze()).await? {
        // A stream that the node stopped meanwhile has no end to send.
        let _stopped = stream.finish();
    }
    Ok(())
}

/// Sends `bytes`; `false` where the node wants no more.
async fn write(stream: &mut SendStream, bytes: Bytes) -> Result<bool, CallError> {
    match stream.write_chunk(bytes).await {
        Ok(()) => Ok(true),
        // [QUI-17] The node asks the client to stop; what that means its answer says.
        Err(WriteError::Stopped(_)) => Ok(false),
        Err(WriteError::ConnectionLost(error)) => Err(CallError::Connection(error)),
        Err(WriteError::ClosedStream | WriteError::ZeroRttRejected) => Err(CallError::Lost),
    }
}

async fn receive(stream: &mut RecvStream, limits: AnswerLimits) -> Result<Received, CallError> {
    let mut reader = FrameReader::new(0);
    let mut assembler = Assembler::new(Source::Answer, limits.body_max);
    let (mut links, mut interims, mut sealed) = (Vec::new(), Vec::new(), None);
    let mut room = limits.answer_max;
    loop {
        let layer = assembler.number();
        let malformed = |error| CallError::Malformed { layer, error };
        let start = reader.offset();
        let here = |kind: DecodeErrorKind| malformed(DecodeError { kind, offset: start });
        if let Some(frame) = reader.next_frame().map_err(malformed)? {
            match assembler.take(frame).map_err(here)? {
                Some(Part::Link(link)) => links.push(*link),
                Some(Part::Interim(seal)) => interims.push((assembler.number(), *seal)),
                Some(Part::Seal(seal)) => sealed = Some(*seal),
                // The assembler takes AUTH from no node.
                Some(_) | None => {}
            }
            continue;
        }
        let Some(chunk) = read(stream).await? else { break };
        // [LIM-1] A receiver MUST check each limit before it allocates what a length promises.
        room = room
            .checked_sub(chunk.len() as u64)
            .ok_or(CallError::TooLarge { max: limits.answer_max })?;
        reader.push_bytes(chunk);
    }
    match sealed {
        // [QUI-19] A frame after SEAL MUST be treated as an error.
        Some(_) if reader.is_within_frame() => Err(CallError::Malformed {
            layer: assembler.number(),
            error: DecodeError { kind: DecodeErrorKind::AfterSeal, offset: reader.offset() },
        }),
        Some(seal) => Ok(Received { links, interims, seal }),
        // [QUI-18] An answer that ends before SEAL MUST be treated as lost.
        None => Err(CallError::Lost),
    }
}

async fn read(stream: &mut RecvStream) -> Result<Option<Bytes>, CallError> {
    match stream.read_chunk(READ_AT_ONCE, true).await {
        Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
        Err(ReadError::Reset(code)) => Err(CallError::Reset(close::received(code))),
        Err(ReadError::ConnectionLost(error)) => Err(CallError::Connection(error)),
        Err(_) => Err(CallError::Lost),
    }
}

/// Bytes of a full BODY frame.
const BODY_FRAME: usize = limits::BODY_FRAME_MAX as usize;
/// Four BODY frames are handed to QUIC at once: enough to fill packets, little to hold.
const WRITE_AT: usize = 4 * BODY_FRAME;
/// Bytes taken from QUIC at once, so that what waits in the reader stays below this and one frame.
const READ_AT_ONCE: usize = 65_536;
