//! Frames: `cmtp-spec/spec/02-frames.md`.

use bytes::{BufMut, Bytes, BytesMut};

use cmtp_spec::{FrameType, SettingId, limits};

use crate::core::RedactedLayer;
use crate::cursor::Cursor;
use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::field::WITHHELD;
use crate::hash::{Digest, Salt};
use crate::key::Signature;
use crate::keylist::KeyList;
use crate::layer::{Body, Layer};
use crate::log::Growth;
use crate::seal::Seal;
use crate::varint;

/// What stands in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// A layer, up to its body.
    Layer(Box<Layer>),
    /// A piece of the body of the layer that is open; never empty.
    Body(Bytes),
    /// Closes a layer that has a body.
    End(End),
    /// The final seal.
    Seal(Box<Seal>),
    /// An interim seal.
    Interim(Box<Seal>),
    /// A layer that is withheld as a whole.
    Core(Box<RedactedLayer>),
    /// A token, or the name of one.
    Auth(Auth),
    /// Settings in ascending order, unknown ones kept.
    Settings(Vec<(SettingId, u64)>),
    /// The first request stream that is not processed.
    Goaway(u64),
    /// The node's key list, not yet verified.
    Keys(KeyList),
    /// The newest checkpoint of the node's log, not yet verified.
    Checkpoint(Box<Growth>),
}

/// Closes a layer that has a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The salt (with empty data: the data came in BODY frames) or the hash of a withheld body.
    pub body: Body,
    /// The signature over the layer hash, where the layer has `signed`.
    pub signature: Option<Signature>,
}

impl End {
    fn decode(payload: &Bytes, base: u64) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(payload, base);
        let body = match cursor.u8()? {
            0 => Body::Present { salt: Salt(cursor.array()?), data: Bytes::new() },
            WITHHELD => Body::Withheld(Digest(cursor.array()?)),
            // [FRM-9] END's `form` MUST be 0 or 1.
            _ => return Err(Kind::UnknownForm.at(base)),
        };
        let signature =
            if cursor.remaining() > 0 { Some(Signature(cursor.array()?)) } else { None };
        cursor.finish()?;
        Ok(Self { body, signature })
    }

    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        match &self.body {
            Body::Present { salt, .. } => {
                out.put_u8(0);
                out.put_slice(&salt.0);
            }
            Body::Withheld(hash) => {
                out.put_u8(WITHHELD);
                out.put_slice(&hash.0);
            }
            Body::Absent => debug_assert!(false, "a layer with the flag `body` has one"),
        }
        if let Some(signature) = &self.signature {
            out.put_slice(&signature.0);
        }
    }
}

/// Shows a token, and proves its key: `cmtp-spec/spec/09-quic.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// SHA-256 of a token that this connection has seen.
    Known(Digest),
    /// A token and the proof of its key.
    Shown {
        /// By the token's key, use `auth`.
        proof: Signature,
        /// The token's bytes; not empty.
        token: Bytes,
    },
}

impl Auth {
    fn decode(payload: &Bytes, base: u64) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(payload, base);
        let auth = match cursor.varint()? {
            0 => Self::Known(Digest(cursor.array()?)),
            1 => Self::Shown { proof: Signature(cursor.array()?), token: cursor.rest() },
            // [FRM-18] AUTH's form MUST be 0 or 1, and a token MUST NOT be empty.
            _ => return Err(Kind::UnknownForm.at(base)),
        };
        if matches!(&auth, Self::Shown { token, .. } if token.is_empty()) {
            return Err(cursor.error(Kind::EmptyToken));
        }
        cursor.finish()?;
        Ok(auth)
    }
}

impl Frame {
    /// Reads the payload; `None` is an unknown frame of odd type.
    fn parse(frame: FrameType, payload: &Bytes, base: u64) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match frame {
            FrameType::LAYER => Self::Layer(Box::new(Layer::decode(payload, base)?)),
            // [FRM-8] A BODY frame MUST NOT be empty.
            FrameType::BODY if payload.is_empty() => return Err(Kind::EmptyBodyFrame.at(base)),
            FrameType::BODY => Self::Body(payload.clone()),
            FrameType::END => Self::End(End::decode(payload, base)?),
            FrameType::SEAL => Self::Seal(Box::new(Seal::decode(payload, base)?)),
            FrameType::INTERIM => Self::Interim(Box::new(Seal::decode_interim(payload, base)?)),
            FrameType::CORE => Self::Core(Box::new(RedactedLayer::decode(payload, base)?)),
            FrameType::AUTH => Self::Auth(Auth::decode(payload, base)?),
            FrameType::SETTINGS => Self::Settings(decode_settings(payload, base)?),
            FrameType::GOAWAY => {
                let mut cursor = Cursor::new(payload, base);
                let stream = cursor.varint()?;
                cursor.finish()?;
                Self::Goaway(stream)
            }
            FrameType::KEYS => Self::Keys(KeyList::decode(payload, base)?),
            FrameType::CHECKPOINT => {
                // [FRM-20] CHECKPOINT MUST be such a text, in its one spelling.
                let growth = std::str::from_utf8(payload).ok().map(Growth::parse);
                let growth = growth.and_then(Result::ok).ok_or(Kind::Checkpoint.at(base))?;
                Self::Checkpoint(Box::new(growth))
            }
            _ => return Ok(None),
        }))
    }

    /// Writes the frame. A layer's body is not part of its frame: [`Layer::encode`] writes both.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Layer(layer) => layer.encode_head(out),
            Self::Body(data) => write(FrameType::BODY, out, |out| out.put_slice(data)),
            Self::End(end) => write(FrameType::END, out, |out| end.encode(out)),
            Self::Seal(seal) => write(FrameType::SEAL, out, |out| seal.encode(out)),
            Self::Interim(seal) => write(FrameType::INTERIM, out, |out| seal.encode(out)),
            Self::Core(core) => write(FrameType::CORE, out, |out| core.encode(out)),
            Self::Auth(Auth::Known(digest)) => write(FrameType::AUTH, out, |out| {
                varint::write(0, out);
                out.put_slice(&digest.0);
            }),
            Self::Auth(Auth::Shown { proof, token }) => write(FrameType::AUTH, out, |out| {
                varint::write(1, out);
                out.put_slice(&proof.0);
                out.put_slice(token);
            }),
            Self::Settings(settings) => write(FrameType::SETTINGS, out, |out| {
                for (id, value) in settings {
                    varint::write(id.0, out);
                    varint::write(*value, out);
                }
            }),
            Self::Goaway(stream) => {
                write(FrameType::GOAWAY, out, |out| varint::write(*stream, out));
            }
            Self::Keys(keys) => write(FrameType::KEYS, out, |out| keys.encode(out)),
            Self::Checkpoint(growth) => write(FrameType::CHECKPOINT, out, |out| {
                out.put_slice(growth.to_string().as_bytes());
            }),
        }
    }

    /// The frame's type.
    pub const fn frame_type(&self) -> FrameType {
        match self {
            Self::Layer(_) => FrameType::LAYER,
            Self::Body(_) => FrameType::BODY,
            Self::End(_) => FrameType::END,
            Self::Seal(_) => FrameType::SEAL,
            Self::Interim(_) => FrameType::INTERIM,
            Self::Core(_) => FrameType::CORE,
            Self::Auth(_) => FrameType::AUTH,
            Self::Settings(_) => FrameType::SETTINGS,
            Self::Goaway(_) => FrameType::GOAWAY,
            Self::Keys(_) => FrameType::KEYS,
            Self::Checkpoint(_) => FrameType::CHECKPOINT,
        }
    }
}

/// Cuts a stream of bytes into frames; bytes may come in any pieces.
///
/// ```
/// use cmtp_codec::{Frame, FrameReader};
///
/// let mut reader = FrameReader::new(0);
/// reader.push(&[0x12, 0x01]);
/// assert_eq!(reader.next_frame(), Ok(None)); // more is needed
/// reader.push(&[0x08]);
/// assert_eq!(reader.next_frame(), Ok(Some(Frame::Goaway(8))));
/// ```
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: BytesMut,
    offset: u64,
    skipped: u64,
}

impl FrameReader {
    /// Starts at byte `offset` of the stream or file, which only errors speak of.
    pub fn new(offset: u64) -> Self {
        Self { offset, ..Self::default() }
    }

    /// Adds bytes that came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Adds bytes that came, without copying where nothing waits.
    pub fn push_bytes(&mut self, bytes: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::from(bytes);
        } else {
            self.push(&bytes);
        }
    }

    /// The next frame, or `None` where more bytes are needed. Unknown frames of odd type are skipped.
    ///
    /// # Errors
    /// [`DecodeError`]; the stream can't be read on after it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        loop {
            let header = Header::read(&self.buffer).map_err(|kind| kind.at(self.offset))?;
            let Some(Header { frame, length, payload }) = header else { return Ok(None) };
            if self.buffer.len() < length + payload {
                return Ok(None);
            }
            let bytes = self.buffer.split_to(length + payload).freeze();
            let start = self.offset;
            self.offset += bytes.len() as u64;
            match Frame::parse(frame, &bytes.slice(length..), start + length as u64)? {
                Some(frame) => return Ok(Some(frame)),
                // [FRM-2] A receiver MUST skip an unknown frame of odd type.
                None => self.skipped += 1,
            }
            // [FRM-4] A receiver MUST bound unknown frames.
            if self.skipped > limits::UNKNOWN_FRAMES_MAX {
                return Err(Kind::TooManyUnknown.at(start));
            }
        }
    }

    /// The type of the frame that comes next, once it can be told.
    pub fn next_type(&self) -> Option<FrameType> {
        match varint::read(&self.buffer) {
            varint::Read::Value(value, _) => Some(FrameType(value)),
            varint::Read::Incomplete | varint::Read::NotMinimal => None,
        }
    }

    /// Bytes of the frame that comes next, its header included, once they can be told.
    pub fn next_length(&self) -> Option<usize> {
        let header = Header::read(&self.buffer).ok().flatten()?;
        Some(header.length + header.payload)
    }

    /// Bytes of the stream that were taken so far.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// How many unknown frames were skipped.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether bytes wait that are no whole frame.
    pub fn is_within_frame(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// Writes a frame whose payload `payload` writes.
pub(crate) fn write(frame: FrameType, out: &mut BytesMut, payload: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    payload(out);
    let length = (out.len() - start) as u64;
    // The length stands before what it measures: write it behind, then turn the two around.
    let header = varint::length_of(frame.0) + varint::length_of(length);
    varint::write(frame.0, out);
    varint::write(length, out);
    out[start..].rotate_right(header);
}

/// Writes a frame whose payload, of `length` bytes, `payload` writes.
pub(crate) fn write_measured(
    frame: FrameType,
    length: usize,
    out: &mut BytesMut,
    payload: impl FnOnce(&mut BytesMut),
) {
    let header = varint::length_of(frame.0) + varint::length_of(length as u64);
    out.reserve(header + length);
    varint::write(frame.0, out);
    varint::write(length as u64, out);
    let start = out.len();
    payload(out);
    debug_assert_eq!(out.len() - start, length, "the payload is as long as it was measured");
}

/// Bytes of a full BODY frame.
pub(crate) const BODY_CHUNK: usize = limits::BODY_FRAME_MAX as usize;

struct Header {
    frame: FrameType,
    /// Bytes of the header itself.
    length: usize,
    /// Bytes of the payload.
    payload: usize,
}

impl Header {
    fn read(input: &[u8]) -> Result<Option<Self>, Kind> {
        let (frame, first) = match varint::read(input) {
            varint::Read::Value(value, length) => (FrameType(value), length),
            varint::Read::Incomplete => return Ok(None),
            varint::Read::NotMinimal => return Err(Kind::NotMinimal),
        };
        // [FRM-3] An unknown frame of even type is an error as soon as its type is read.
        let limit = match payload_limit(frame) {
            Some(limit) => limit,
            None if frame.0 % 2 == 0 => return Err(Kind::UnknownFrame),
            // [FRM-4] A receiver MUST bound unknown frames.
            None => limits::UNKNOWN_FRAME_MAX,
        };
        match varint::read(&input[first..]) {
            // [CNV-4] [LIM-1] [LIM-2] A length above its limit is an error as soon as it is read.
            varint::Read::Value(value, _) if value > limit => Err(Kind::LimitExceeded),
            varint::Read::Value(value, length) => Ok(Some(Self {
                frame,
                length: first + length,
                payload: usize::try_from(value).map_err(|_too_large| Kind::LimitExceeded)?,
            })),
            varint::Read::Incomplete => Ok(None),
            varint::Read::NotMinimal => Err(Kind::NotMinimal),
        }
    }
}

const fn payload_limit(frame: FrameType) -> Option<u64> {
    Some(match frame {
        FrameType::LAYER => limits::LAYER_FRAME_MAX,
        FrameType::BODY => limits::BODY_FRAME_MAX,
        FrameType::END => limits::END_FRAME_MAX,
        FrameType::SEAL | FrameType::INTERIM => limits::SEAL_FRAME_MAX,
        FrameType::CORE => limits::CORE_FRAME_MAX,
        FrameType::AUTH => limits::AUTH_FRAME_MAX,
        FrameType::SETTINGS => limits::SETTINGS_FRAME_MAX,
        FrameType::GOAWAY => limits::GOAWAY_FRAME_MAX,
        FrameType::KEYS => limits::KEYS_FRAME_MAX,
        FrameType::CHECKPOINT => limits::CHECKPOINT_FRAME_MAX,
        _ => return None,
    })
}

fn decode_settings(payload: &Bytes, base: u64) -> Result<Vec<(SettingId, u64)>, DecodeError> {
    let mut cursor = Cursor::new(payload, base);
    let mut settings: Vec<(SettingId, u64)> = Vec::new();
    while cursor.remaining() > 0 {
        let id = SettingId(cursor.varint()?);
        // [FRM-19] SETTINGS identifiers MUST be strictly ascending.
        if settings.last().is_some_and(|&(last, _)| last >= id) {
            return Err(cursor.error(Kind::SettingsOrder));
        }
        settings.push((id, cursor.varint()?));
    }
    Ok(settings)
}
