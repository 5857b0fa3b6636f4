//! One exchange on one stream: the origin goes out, the answer comes in. `cmtp-spec/spec/09-quic.md`.

use bytes::Bytes;
use cmtp_codec::{Assembler, DecodeError, DecodeErrorKind, FrameReader, Layer, Part, Seal, Source};
use cmtp_spec::CloseCode;
use quinn::{ReadError, RecvStream, SendStream};

use crate::call::CallError;
use crate::close;
use crate::outgoing::Outgoing;

/// What may be taken into memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerLimits {
    /// Bytes of one body.
    pub(crate) body_max: u64,
    /// Bytes of a whole answer, or of a stream's part that is not sealed yet.
    pub(crate) answer_max: u64,
}

/// A request stream; one that is dropped before its exchange is over tells the node so.
#[derive(Debug)]
pub(crate) struct Exchange {
    outgoing: Outgoing,
    incoming: Incoming,
    over: bool,
}

impl Exchange {
    pub(crate) fn new(
        (send, recv): (SendStream, RecvStream),
        auth: Option<Bytes>,
        origin: &Layer,
        limits: AnswerLimits,
    ) -> Self {
        let outgoing = Outgoing::new(send, auth, origin);
        Self { outgoing, incoming: Incoming::new(recv, limits), over: false }
    }

    /// The stream's number, as GOAWAY counts.
    pub(crate) fn id(&self) -> u64 {
        self.outgoing.id()
    }

    /// Sends on, and waits for the next part of the answer meanwhile; the seal comes once the stream ended well.
    ///
    /// May be dropped and called again at any time.
    pub(crate) async fn next(&mut self) -> Result<Part, CallError> {
        let part = loop {
            tokio::select! {
                biased;
                // [QUI-17] The client MUST accept an answer that comes so, whether or not it had sent everything.
                part = self.incoming.next() => break part,
                sent = self.outgoing.advance(), if !self.outgoing.is_done() => {
                    if let Err(error) = sent {
                        break Err(error);
                    }
                }
            }
        };
        match &part {
            Ok(Part::Seal(_)) => self.over = self.outgoing.is_done(),
            Ok(_) => {}
            Err(error) => self.reset(error.close_code()),
        }
        part
    }

    /// Forgets what was taken so far: it is sealed, and not kept.
    pub(crate) const fn make_room(&mut self) {
        self.incoming.room = self.incoming.answer_max;
    }

    /// Ends the stream in both directions.
    pub(crate) fn reset(&mut self, code: CloseCode) {
        self.over = true;
        // [QUI-8] An error on a request stream ends that stream, in both directions, with the code that names it.
        self.outgoing.reset(code);
        // What is over already needs no end.
        let _over = self.incoming.stream.stop(close::varint(code));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.over {
            self.reset(CloseCode::CANCELLED);
        }
    }
}

/// The answer as it comes.
#[derive(Debug)]
struct Incoming {
    stream: RecvStream,
    reader: FrameReader,
    assembler: Assembler,
    answer_max: u64,
    room: u64,
    sealed: Option<Box<Seal>>,
}

impl Incoming {
    fn new(stream: RecvStream, limits: AnswerLimits) -> Self {
        Self {
            stream,
            reader: FrameReader::new(0),
            assembler: Assembler::new(Source::Answer, limits.body_max),
            answer_max: limits.answer_max,
            room: limits.answer_max,
            sealed: None,
        }
    }

    async fn next(&mut self) -> Result<Part, CallError> {
        loop {
            let layer = self.assembler.number();
            let malformed = |error| CallError::Malformed { layer, error };
            let start = self.reader.offset();
            let here = |kind: DecodeErrorKind| malformed(DecodeError { kind, offset: start });
            if let Some(frame) = self.reader.next_frame().map_err(malformed)? {
                match self.assembler.take(frame).map_err(here)? {
                    Some(Part::Seal(seal)) => self.sealed = Some(seal),
                    Some(part) => return Ok(part),
                    None => {}
                }
                continue;
            }
            let Some(chunk) = read(&mut self.stream).await? else { return self.end() };
            // [LIM-1] A receiver MUST check each limit before it allocates what a length promises.
            self.room = self
                .room
                .checked_sub(chunk.len() as u64)
                .ok_or(CallError::TooLarge { max: self.answer_max })?;
            self.reader.push_bytes(chunk);
        }
    }

    fn end(&mut self) -> Result<Part, CallError> {
        match self.sealed.take() {
            // [QUI-19] A frame after SEAL MUST be treated as an error.
            Some(_) if self.reader.is_within_frame() => Err(CallError::Malformed {
                layer: self.assembler.number(),
                error: DecodeError {
                    kind: DecodeErrorKind::AfterSeal,
                    offset: self.reader.offset(),
                },
            }),
            Some(seal) => Ok(Part::Seal(seal)),
            // [QUI-18] An answer that ends before SEAL MUST be treated as lost.
            None => Err(CallError::Lost),
        }
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

/// Bytes taken from QUIC at once, so that what waits in the reader stays below this and one frame.
const READ_AT_ONCE: usize = 65_536;
