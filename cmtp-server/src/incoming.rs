//! A request as it comes in, up to its end or an early refusal. `cmtp-spec/spec/09-quic.md`.

use cmtp_client::entropy::NoEntropy;
use cmtp_codec::{
    Assembler, Auth, DecodeErrorKind, Frame, FrameReader, Layer, Link, LinkError, Part, Source,
};
use cmtp_spec::{CloseCode, Status};
use quinn::RecvStream;
use tokio::time::{Instant, timeout_at};

use crate::exchange::code;
use crate::journal::JournalError;
use crate::limits::Limits;
use crate::node::Node;
use crate::pace::Pace;
use crate::proved::Proved;
use crate::refusal::Refusal;
use crate::room::{Hold, Share};

/// The request as it comes in.
pub(crate) struct Incoming<'a, 'n> {
    recv: &'a mut RecvStream,
    limits: &'n Limits,
    head_memory: Hold<'a>,
    body_memory: &'a mut Hold<'n>,
    reader: FrameReader,
    assembler: Assembler,
    auth: Option<Auth>,
    origin: Option<Layer>,
    body_max: u64,
    body_length: u64,
    pace: Pace,
}

/// How much of a request was read.
pub(crate) enum Rest {
    /// All of it.
    Whole(Layer),
    /// Not its body: a refusal stands already, or this one came up.
    Unread(Layer, Option<Refusal>),
}

impl<'a, 'n> Incoming<'a, 'n> {
    /// Begins to read `recv`; what the body takes of the node's memory stays in `share` when the request is read.
    pub(crate) fn new(
        recv: &'a mut RecvStream,
        node: &'n Node,
        body_max: u64,
        proved: &'a Proved,
        share: &'a mut Share<'n>,
    ) -> Self {
        Self {
            recv,
            limits: &node.limits,
            head_memory: proved.heads.hold(),
            body_memory: &mut share.body,
            reader: FrameReader::default(),
            assembler: Assembler::new(Source::Request, body_max),
            auth: None,
            origin: None,
            body_max,
            body_length: 0,
            pace: Pace::new(Instant::now(), &node.limits),
        }
    }

    /// Reads up to the origin's LAYER frame.
    pub(crate) async fn read_head(&mut self) -> Result<(), Fault> {
        while self.origin.is_none() && self.assembler.open_layer().is_none() {
            match self.next_frame().await? {
                Some(frame) => self.take(frame)?,
                // [QUI-18] A stream that ends before an origin is malformed.
                None => return Err(Fault::Malformed(DecodeErrorKind::EndsEarly)),
            }
        }
        self.head_memory.clear();
        self.pace.head_ended(Instant::now(), self.limits);
        Ok(())
    }

    /// AUTH, if it came, and the origin, perhaps without its body yet.
    pub(crate) fn head(&self) -> Result<(Option<&Auth>, &Layer), Fault> {
        let origin = self.origin.as_ref().or_else(|| self.assembler.open_layer());
        Ok((self.auth.as_ref(), origin.ok_or(Fault::Internal)?))
    }

    /// Takes a smaller body than the node's limit.
    pub(crate) fn limit_body(&mut self, body_max: u64) {
        self.body_max = self.body_max.min(body_max);
    }

    /// Reads the rest of the request, unless it is refused and its body is still to come.
    pub(crate) async fn read_rest(mut self, is_refused: bool) -> Result<Rest, Fault> {
        loop {
            if let Some(open) = self.assembler.open_layer() {
                let too_large = self.body_length > self.body_max;
                if is_refused || too_large {
                    let mut origin = open.clone();
                    origin.close_unread();
                    // [LIM-2] A body above the node's limit MAY be refused with status 413 instead.
                    let refusal = too_large.then(|| body_too_large(self.body_max));
                    return Ok(Rest::Unread(origin, refusal));
                }
            }
            match self.next_frame().await? {
                Some(Frame::Body(data))
                    if self.assembler.open_layer().is_some()
                        && self.body_length + data.len() as u64 > self.body_max =>
                {
                    self.body_length += data.len() as u64;
                }
                Some(frame) => self.take(frame)?,
                None => break,
            }
        }
        // [QUI-16] A node MUST NOT act on an origin before all of its layer arrived, and FIN.
        self.assembler.finish()?;
        self.origin.map(Rest::Whole).ok_or(Fault::Internal)
    }

    fn take(&mut self, frame: Frame) -> Result<(), Fault> {
        if let Frame::Body(data) = &frame {
            self.body_length += data.len() as u64;
        }
        match self.assembler.take(frame)? {
            Some(Part::Auth(auth)) => self.auth = Some(auth),
            Some(Part::Link(link)) => match *link {
                Link::Layer(origin) => self.origin = Some(origin),
                Link::Core(_) => return Err(Fault::Malformed(DecodeErrorKind::Unexpected)),
            },
            _ => {}
        }
        Ok(())
    }

    /// The next frame, or `None` at the end of the stream.
    async fn next_frame(&mut self) -> Result<Option<Frame>, Fault> {
        loop {
            let frame = self.reader.next_frame().map_err(|error| Fault::Malformed(error.kind))?;
            if frame.is_some() {
                return Ok(frame);
            }
            self.make_room().await?;
            let ends = self.pace.ends(self.assembler.open_layer().is_some());
            let chunk = timeout_at(ends, self.recv.read_chunk(READ_MAX, true))
                .await
                .map_err(|_elapsed| Fault::Timeout)?;
            match chunk {
                Ok(Some(chunk)) => {
                    self.pace.received(chunk.bytes.len(), self.limits);
                    self.reader.push_bytes(chunk.bytes);
                }
                Ok(None) if self.reader.is_within_frame() => {
                    return Err(Fault::Malformed(DecodeErrorKind::EndsEarly));
                }
                Ok(None) => return Ok(None),
                Err(_reset_or_lost) => return Err(Fault::Gone),
            }
        }
    }

    /// [LIM-10] Waits until there is room for what is kept, and for the frame that is not whole yet; meanwhile the
    /// stream is not read on, and QUIC's flow control holds its sender.
    async fn make_room(&mut self) -> Result<(), Fault> {
        let (begun, ends) = (Instant::now(), self.pace.ends(false));
        let frame = self.reader.next_length().unwrap_or_default();
        let room = if self.origin.is_some() || self.assembler.open_layer().is_some() {
            let body = usize::try_from(self.body_length).unwrap_or(usize::MAX);
            timeout_at(ends, self.body_memory.reserve(body.saturating_add(frame))).await
        } else {
            // By the whole frame, so that no two heads wait for each other with a half of their own in hand.
            timeout_at(ends, self.head_memory.reserve(frame)).await
        };
        self.pace.paused(begun.elapsed());
        room.map_err(|_elapsed| Fault::Timeout)
    }
}

/// Why a request stream ends without an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("not a request: {0}")]
    Malformed(DecodeErrorKind),
    #[error("the origin does not verify: {0}")]
    BadChain(LinkError),
    #[error("too slow")]
    Timeout,
    #[error("the caller went away")]
    Gone,
    #[error("{0}")]
    Journal(#[from] JournalError),
    #[error("the node's own fault")]
    Internal,
}

impl Fault {
    pub(crate) const fn code(&self) -> u32 {
        code(match self {
            Self::Malformed(kind) => kind.close_code(),
            Self::BadChain(_) => CloseCode::BAD_CHAIN,
            Self::Timeout => CloseCode::TIMEOUT,
            Self::Gone => CloseCode::CANCELLED,
            Self::Journal(_) | Self::Internal => CloseCode::INTERNAL,
        })
    }
}

impl From<DecodeErrorKind> for Fault {
    fn from(kind: DecodeErrorKind) -> Self {
        Self::Malformed(kind)
    }
}

impl From<NoEntropy> for Fault {
    fn from(_nothing_to_do_about_it: NoEntropy) -> Self {
        Self::Internal
    }
}

impl From<aws_lc_rs::error::Unspecified> for Fault {
    fn from(_no_encryption: aws_lc_rs::error::Unspecified) -> Self {
        Self::Internal
    }
}

fn body_too_large(body_max: u64) -> Refusal {
    let detail = format!("this node takes bodies of up to {body_max} bytes");
    Refusal::new(Status::BODY_TOO_LARGE, detail)
}

/// Bytes taken from a stream at a time: a few datagrams' worth, so that one stream does not hold up the others. Beyond
/// what it has room for a stream holds no more than this.
const READ_MAX: usize = 64 * 1024;
