//! Puts frames together into layers and seals, and refuses frames that have no place:
//! `cmtp-spec/spec/02-frames.md`, `cmtp-spec/spec/09-quic.md`, `cmtp-spec/spec/12-stored.md`.

use bytes::{Bytes, BytesMut};

use cmtp_spec::{FieldIndex, LayerFlags, Step, limits};

use crate::chain::Link;
use crate::core::RedactedLayer;
use crate::error::DecodeErrorKind as Kind;
use crate::field::Private;
use crate::frame::{Auth, BODY_CHUNK, End, Frame};
use crate::layer::{self, Body, Layer};
use crate::seal::Seal;

/// Where frames come from, which decides what may stand among them. Closed: the wire has these three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A request stream, from the client: perhaps AUTH, then the origin.
    Request,
    /// A request stream, from the node: what it appends to the origin, then SEAL.
    Answer,
    /// A stored file: the whole exchange.
    Stored,
}

/// What a frame completed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// AUTH.
    Auth(Auth),
    /// A layer, with its body.
    Link(Box<Link>),
    /// An interim seal over the layers so far.
    Interim(Box<Seal>),
    /// The final seal.
    Seal(Box<Seal>),
}

/// Assembles one message, frame by frame.
#[derive(Debug)]
pub struct Assembler {
    source: Source,
    body_max: u64,
    open: Option<OpenLayer>,
    authenticated: bool,
    unread: bool,
    sealed: bool,
    number: u32,
    layers: u64,
    segments: u64,
}

#[derive(Debug)]
struct OpenLayer {
    layer: Box<Layer>,
    data: Chunks,
}

/// Body bytes as they came: one chunk is kept as it is, several are joined.
#[derive(Debug, Default)]
struct Chunks {
    first: Bytes,
    joined: BytesMut,
    last_is_full: bool,
}

impl Assembler {
    /// Begins a message whose bodies may be up to `body_max` bytes each.
    pub const fn new(source: Source, body_max: u64) -> Self {
        Self {
            source,
            body_max,
            open: None,
            authenticated: false,
            unread: false,
            sealed: false,
            // The answer goes on where the request ended; the origin is not repeated.
            number: match source {
                Source::Request | Source::Stored => 0,
                Source::Answer => 1,
            },
            layers: 0,
            segments: 0,
        }
    }

    /// Goes on with a message of which `number` layers were read before.
    #[must_use]
    pub const fn after(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Takes the next frame; `None` where it completes nothing yet.
    ///
    /// # Errors
    /// The rule that the frame breaks, here or by itself.
    pub fn take(&mut self, frame: Frame) -> Result<Option<Part>, Kind> {
        // [QUI-19] [STO-1] A frame after SEAL, or after the origin's end, MUST be treated as an error.
        if self.sealed {
            return Err(Kind::AfterSeal);
        }
        match frame {
            Frame::Auth(auth) => self.take_auth(auth).map(Some),
            Frame::Layer(layer) => self.take_layer(layer),
            Frame::Body(data) => self.take_body(data).map(|()| None),
            Frame::End(end) => self.take_end(end).map(Some),
            Frame::Core(core) => self.take_core(*core).map(Some),
            Frame::Interim(seal) => self.take_interim(seal).map(Some),
            Frame::Seal(seal) => self.take_seal(seal).map(Some),
            // [FRM-5] A known frame on a stream where its row does not list it is an error.
            Frame::Settings(_) | Frame::Goaway(_) | Frame::Keys(_) | Frame::Checkpoint(_) => {
                Err(Kind::Unexpected)
            }
        }
    }

    /// The layer whose body is still coming.
    pub fn open_layer(&self) -> Option<&Layer> {
        self.open.as_ref().map(|open| open.layer.as_ref())
    }

    /// The number of the layer that is being read, or that would come next.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// To be called where the bytes end.
    ///
    /// # Errors
    /// [`Kind::EndsEarly`] where the message is not complete.
    pub const fn finish(&self) -> Result<(), Kind> {
        let complete = match self.source {
            Source::Request => self.number > 0 && self.open.is_none(),
            Source::Answer | Source::Stored => self.sealed,
        };
        // [QUI-18] [STO-1] A stream or file that ends before MUST be treated as malformed.
        if complete { Ok(()) } else { Err(Kind::EndsEarly) }
    }

    fn take_auth(&mut self, auth: Auth) -> Result<Part, Kind> {
        let begun = self.authenticated || self.number > 0 || self.open.is_some();
        // [QUI-9] AUTH MUST be the first frame of a request stream and stand there once.
        if self.source != Source::Request || begun {
            return Err(Kind::Unexpected);
        }
        self.authenticated = true;
        Ok(Part::Auth(auth))
    }

    fn take_layer(&mut self, layer: Box<Layer>) -> Result<Option<Part>, Kind> {
        self.admit_link(layer.step)?;
        layer::check_flags(layer.flags, layer.step, self.number)?;
        layer::check_place(layer.step, layer.status, self.number)?;
        if self.source != Source::Stored {
            // [FRM-6] Form 1 MUST NOT stand on a request stream.
            if layer.private.iter().any(|field| matches!(field, Private::Withheld(_))) {
                return Err(Kind::WithheldOnStream);
            }
            // [LAY-2] `body-unread` MUST NOT be sent in a LAYER on a request stream.
            if layer.has(LayerFlags::BODY_UNREAD) {
                return Err(Kind::FlagsDisagree);
            }
        }
        if layer.step == Step::ORIGIN {
            check_origin(&layer)?;
            self.unread = layer.has(LayerFlags::BODY_UNREAD);
        }
        if layer.has(LayerFlags::BODY) {
            self.open = Some(OpenLayer { layer, data: Chunks::default() });
            return Ok(None);
        }
        Ok(Some(self.complete(Link::Layer(*layer))))
    }

    fn take_body(&mut self, data: Bytes) -> Result<(), Kind> {
        // [FRM-8] BODY and END MUST NOT come when no layer with a body is open.
        let open = self.open.as_mut().ok_or(Kind::Unexpected)?;
        let length = open.data.len() as u64 + data.len() as u64;
        // [LIM-1] Each limit is checked before room is made.
        if length > self.body_max {
            return Err(Kind::LimitExceeded);
        }
        // [STO-3] BODY frames of `body-frame-max` bytes each, but for the last.
        if self.source == Source::Stored && !open.data.is_empty() && !open.data.last_is_full {
            return Err(Kind::BodyCuts);
        }
        open.data.push(data);
        Ok(())
    }

    fn take_end(&mut self, end: End) -> Result<Part, Kind> {
        let OpenLayer { mut layer, data } = self.open.take().ok_or(Kind::Unexpected)?;
        layer.body = match end.body {
            Body::Present { salt, .. } => Body::Present { salt, data: data.into_bytes() },
            // [FRM-9] Form 1 MUST NOT stand on a request stream and MUST NOT follow a BODY frame.
            Body::Withheld(_) if self.source != Source::Stored => {
                return Err(Kind::WithheldOnStream);
            }
            Body::Withheld(_) if !data.is_empty() => return Err(Kind::Unexpected),
            withheld => withheld,
        };
        layer.signature = end.signature;
        match (layer.has(LayerFlags::SIGNED), layer.signature.is_some()) {
            (true, false) => Err(Kind::PayloadTooShort),
            (false, true) => Err(Kind::PayloadTooLong),
            _ => Ok(self.complete(Link::Layer(*layer))),
        }
    }

    fn take_core(&mut self, redacted: RedactedLayer) -> Result<Part, Kind> {
        if self.source != Source::Stored {
            return Err(Kind::Unexpected);
        }
        let core = &redacted.core;
        // [FRM-11] What its core must have is the chain's to check: else the chain is broken at this layer.
        self.admit_link(core.step)?;
        if self.number == 0 {
            self.unread = core.flags.0 & LayerFlags::BODY_UNREAD.0 != 0;
        }
        Ok(self.complete(Link::Core(redacted)))
    }

    fn take_interim(&mut self, seal: Box<Seal>) -> Result<Part, Kind> {
        self.check_seal_place(&seal)?;
        Ok(Part::Interim(seal))
    }

    fn take_seal(&mut self, seal: Box<Seal>) -> Result<Part, Kind> {
        self.check_seal_place(&seal)?;
        // [FRM-16] `heads` and `keys` MUST NOT stand in a SEAL on a request stream.
        if self.source == Source::Answer && (seal.heads.is_some() || seal.keys.is_some()) {
            return Err(Kind::ItemPlace);
        }
        // [FRM-15] `heads` MUST hold as many hashes as there are layers.
        if seal.heads.as_ref().is_some_and(|heads| heads.len() as u64 != u64::from(self.number)) {
            return Err(Kind::ItemPayload);
        }
        // [FRM-17] A SEAL MUST carry `body-unread` if, and only if, layer 0 has the flag of that name.
        if self.source == Source::Stored && seal.body_unread != self.unread {
            return Err(Kind::BodyUnread);
        }
        self.sealed = true;
        Ok(Part::Seal(seal))
    }

    fn check_seal_place(&self, seal: &Seal) -> Result<(), Kind> {
        // [FRM-7] A SEAL or INTERIM frame MUST NOT come while a layer with a body is open.
        if self.source == Source::Request || self.open.is_some() || self.number == 0 {
            return Err(Kind::Unexpected);
        }
        // [STO-2] A stored message MUST NOT hold unknown SEAL items.
        if self.source == Source::Stored && seal.skipped {
            return Err(Kind::ItemPlace);
        }
        Ok(())
    }

    /// What holds for a layer and for a core alike.
    fn admit_link(&mut self, step: Step) -> Result<(), Kind> {
        // [FRM-7] A LAYER or CORE frame MUST NOT come while a layer with a body is open.
        // [QUI-15] A client MUST NOT send a layer other than the origin.
        if self.open.is_some() || self.source == Source::Request && self.number > 0 {
            return Err(Kind::Unexpected);
        }
        let (count, limit) = match step {
            Step::SEGMENT => (&mut self.segments, limits::SEGMENTS_MAX),
            _ => (&mut self.layers, limits::LAYERS_MAX),
        };
        // [LAY-7] Not more than `layers-max` layers that are not segments, nor `segments-max` segments.
        if *count >= limit {
            return Err(Kind::LimitExceeded);
        }
        *count += 1;
        Ok(())
    }

    fn complete(&mut self, link: Link) -> Part {
        // Bounded by `layers-max` and `segments-max`.
        self.number = self.number.saturating_add(1);
        Part::Link(Box::new(link))
    }
}

impl Chunks {
    fn len(&self) -> usize {
        if self.joined.is_empty() { self.first.len() } else { self.joined.len() }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, data: Bytes) {
        self.last_is_full = data.len() == BODY_CHUNK;
        if self.is_empty() {
            self.first = data;
            return;
        }
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&self.first);
        }
        self.joined.extend_from_slice(&data);
    }

    fn into_bytes(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}

fn check_origin(layer: &Layer) -> Result<(), Kind> {
    let needed =
        [FieldIndex::MESSAGE_ID, FieldIndex::AUDIENCE, FieldIndex::TARGET, FieldIndex::NOT_AFTER];
    // [LAY-8] The origin MUST carry each of these.
    if needed.iter().all(|&index| layer.value(index).is_some()) {
        Ok(())
    } else {
        Err(Kind::OriginFields)
    }
}
