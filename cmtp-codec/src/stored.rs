//! The stored form of a message, `.cmtp` files: `cmtp-spec/spec/12-stored.md`.

use bytes::{BufMut, Bytes, BytesMut};

use cmtp_spec::{FrameType, binding, limits};

use crate::assemble::{Assembler, Part, Source};
use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::frame::{self, FrameReader};
use crate::message::{Message, Place, Replay};
use crate::trust::{Unverified, Verified};
use crate::varint;

impl Unverified<Message> {
    /// Reads a stored message.
    ///
    /// # Errors
    /// [`StoredError`], with the byte and the layer where reading ended.
    pub fn from_stored(file: impl Into<Bytes>) -> Result<Self, StoredError> {
        let file = file.into();
        let nowhere = |error| StoredError { error, place: None };
        // [STO-4] A file above `stored-max` bytes MUST be refused.
        if file.len() as u64 > limits::STORED_MAX {
            return Err(nowhere(Kind::LimitExceeded.at(0)));
        }
        let magic = binding::STORED_MAGIC;
        // [STO-10] A file that does not begin with the magic bytes MUST be refused.
        let rest = file.strip_prefix(&magic).ok_or(nowhere(Kind::BadMagic.at(0)))?;
        let after_magic = magic.len() as u64;
        let header = match varint::read(rest) {
            varint::Read::Value(version, length) if version == u64::from(binding::VERSION) => {
                magic.len() + length
            }
            // [STO-6] Another version MUST be refused with an error that names it.
            varint::Read::Value(..) => return Err(nowhere(Kind::UnknownVersion.at(after_magic))),
            varint::Read::Incomplete => return Err(nowhere(Kind::EndsEarly.at(after_magic))),
            varint::Read::NotMinimal => return Err(nowhere(Kind::NotMinimal.at(after_magic))),
        };
        read_frames(file.slice(header..), header as u64).map(Self::new)
    }
}

impl Message {
    /// Writes the stored form.
    pub fn to_stored(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_slice(&binding::STORED_MAGIC);
        varint::write(u64::from(binding::VERSION), &mut out);
        let mut interims = self.interims.iter().peekable();
        for (number, link) in (1..).zip(&self.links) {
            link.encode(&mut out);
            while let Some((_, seal)) = interims.next_if(|(covered, _)| *covered == number) {
                frame::write(FrameType::INTERIM, &mut out, |out| seal.encode(out));
            }
        }
        frame::write(FrameType::SEAL, &mut out, |out| self.seal.encode(out));
        out.freeze()
    }
}

impl Verified<Replay> {
    /// The message as it is to be saved: with `heads`, so that a later change can be named.
    pub fn to_saved(&self) -> Message {
        let mut message = self.message.clone();
        // [STO-5] Who stores an answer SHOULD add `heads`, for up to `heads-max` layers.
        if self.heads.len() as u64 <= limits::HEADS_MAX {
            message.seal.heads = Some(self.heads.clone());
        }
        message.seal.skipped = false;
        message
    }
}

/// Bytes that are no stored message, and where reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{error}", Within(*place))]
pub struct StoredError {
    /// What is wrong, and at which byte of the file.
    pub error: DecodeError,
    /// Which part of the message was being read; `None` in the file's header.
    pub place: Option<Place>,
}

struct Within(Option<Place>);

impl std::fmt::Display for Within {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(place) => write!(f, "{place}: "),
            None => f.write_str("header: "),
        }
    }
}

fn read_frames(frames: Bytes, base: u64) -> Result<Message, StoredError> {
    let mut assembler = Assembler::new(Source::Stored, limits::STORED_MAX);
    let mut reader = FrameReader::new(base);
    let end = base + frames.len() as u64;
    reader.push_bytes(frames);
    let (mut links, mut interims, mut sealed) = (Vec::new(), Vec::new(), None);
    loop {
        let start = reader.offset();
        let place = match reader.next_type() {
            Some(FrameType::SEAL) => Place::Seal,
            Some(FrameType::INTERIM) => Place::Interim(assembler.number()),
            _ => Place::Layer(assembler.number()),
        };
        let place = Some(place);
        let frame = reader.next_frame().map_err(|error| StoredError { error, place })?;
        let here = |kind: Kind| StoredError { error: kind.at(start), place };
        // [STO-2] It MUST NOT hold unknown frames.
        if reader.skipped() > 0 {
            return Err(here(Kind::UnknownInFile));
        }
        let Some(frame) = frame else { break };
        match assembler.take(frame).map_err(here)? {
            Some(Part::Link(link)) => links.push(*link),
            Some(Part::Interim(seal)) => interims.push((assembler.number(), *seal)),
            Some(Part::Seal(seal)) => sealed = Some(*seal),
            // AUTH has no place in a stored message; the assembler refused it.
            Some(Part::Auth(_)) | None => {}
        }
    }
    let at_end = |kind: Kind| StoredError {
        error: kind.at(end),
        place: Some(Place::Layer(assembler.number())),
    };
    match sealed {
        // [STO-1] Nothing follows the SEAL.
        Some(_) if reader.is_within_frame() => Err(at_end(Kind::AfterSeal)),
        Some(seal) => Ok(Message { links, interims, seal }),
        None => Err(at_end(Kind::EndsEarly)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_above_the_limit_is_refused_unread() {
        // [STO-4]
        let length = usize::try_from(limits::STORED_MAX + 1).unwrap_or(usize::MAX);
        let file = Unverified::<Message>::from_stored(vec![0; length]);
        assert_eq!(file.map_err(|error| error.error.kind), Err(Kind::LimitExceeded));
    }
}
