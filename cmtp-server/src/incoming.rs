//! A request as it comes in, up to its end or an early refusal. `cmtp-spec/spec/09-quic.md`.

use std::time::Duration;

use cmtp_codec::{
    Assembler, Auth, DecodeErrorKind, Frame, FrameReader, Layer, Link, LinkError, Part, Source,
};
use cmtp_spec::{CloseCode, Status, limits};
use quinn::RecvStream;
use tokio::time::{Instant, timeout_at};

use crate::admit::Admission;
use crate::exchange::code;
use crate::journal::JournalError;
use crate::refusal::Refusal;

/// The request as it comes in.
pub(crate) struct Incoming<'a> {
    recv: &'a mut RecvStream,
    reader: FrameReader,
    assembler: Assembler,
    auth: Option<Auth>,
    origin: Option<Layer>,
    body_max: u64,
    body_length: u64,
    begun: Instant,
}

/// How much of a request was read.
pub(crate) enum Rest {
    /// All of it.
    Whole(Layer),
    /// Not its body: a refusal stands already, or this one came up.
    Unread(Layer, Option<Refusal>),
}

impl<'a> Incoming<'a> {
    pub(crate) fn new(recv: &'a mut RecvStream, body_max: u64) -> Self {
        Self {
            recv,
            reader: FrameReader::default(),
            assembler: Assembler::new(Source::Request, body_max),
            auth: None,
            origin: None,
            body_max,
            body_length: 0,
            begun: Instant::now(),
        }
    }

    /// Reads up to the origin's LAYER frame.
    pub(crate) async fn read_head(&mut self) -> Result<(), Fault> {
        // [LIM-3] A node MUST end a request stream that is slower than `header-timeout`.
        let deadline = self.begun + Duration::from_secs(limits::HEADER_TIMEOUT);
        while self.origin.is_none() && self.assembler.open_layer().is_none() {
            match self.next_frame(deadline).await? {
                Some(frame) => self.take(frame)?,
                // [QUI-18] A stream that ends before an origin is malformed.
                None => return Err(Fault::Malformed(DecodeErrorKind::EndsEarly)),
            }
        }
        Ok(())
    }

    /// AUTH, if it came, and the origin, perhaps without its body yet.
    pub(crate) fn head(&self) -> Result<(Option<&Auth>, &Layer), Fault> {
        let origin = self.origin.as_ref().or_else(|| self.assembler.open_layer());
        Ok((self.auth.as_ref(), origin.ok_or(Fault::Internal)?))
    }

    /// Reads the rest of the request, unless it is refused and its body is still to come.
    pub(crate) async fn read_rest(mut self, admission: &Admission) -> Result<Rest, Fault> {
        // [LIM-3] Nor slower than `body-timeout`.
        let deadline = self.begun + Duration::from_secs(limits::BODY_TIMEOUT);
        loop {
            if let Some(open) = self.assembler.open_layer() {
                let too_large = self.body_length > self.body_max;
                if admission.outcome.is_err() || too_large {
                    let mut origin = open.clone();
                    origin.close_unread();
                    // [LIM-2] A body above the node's limit MAY be refused with status 413 instead.
                    let refusal = too_large.then(|| body_too_large(self.body_max));
                    return Ok(Rest::Unread(origin, refusal));
                }
            }
            match self.next_frame(deadline).await? {
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
    async fn next_frame(&mut self, deadline: Instant) -> Result<Option<Frame>, Fault> {
        loop {
            let frame = self.reader.next_frame().map_err(|error| Fault::Malformed(error.kind))?;
            if frame.is_some() {
                return Ok(frame);
            }
            let chunk = timeout_at(deadline, self.recv.read_chunk(READ_MAX, true))
                .await
                .map_err(|_elapsed| Fault::Timeout)?;
            match chunk {
                Ok(Some(chunk)) => self.reader.push_bytes(chunk.bytes),
                Ok(None) if self.reader.is_within_frame() => {
                    return Err(Fault::Malformed(DecodeErrorKind::EndsEarly));
                }
                Ok(None) => return Ok(None),
                Err(_reset_or_lost) => return Err(Fault::Gone),
            }
        }
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

impl From<aws_lc_rs::error::Unspecified> for Fault {
    fn from(_no_entropy: aws_lc_rs::error::Unspecified) -> Self {
        Self::Internal
    }
}

fn body_too_large(body_max: u64) -> Refusal {
    let detail = format!("this node takes bodies of up to {body_max} bytes");
    Refusal::new(Status::BODY_TOO_LARGE, detail)
}

/// Bytes taken from a stream at a time: a few datagrams' worth, so that one stream does not hold up the others.
const READ_MAX: usize = 64 * 1024;
