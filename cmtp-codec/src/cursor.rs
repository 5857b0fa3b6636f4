//! Reads a frame's payload from front to back, without copying.

use bytes::Bytes;

use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::varint;

/// A position in a payload that is there as a whole.
pub(crate) struct Cursor<'a> {
    payload: &'a Bytes,
    position: usize,
    base: u64,
}

/// Bytes that a cursor went past.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    start: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the front of `payload`, whose first byte is byte `base` of the stream.
    pub(crate) fn new(payload: &'a Bytes, base: u64) -> Self {
        Self { payload, position: 0, base }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.payload.len() - self.position
    }

    /// An error at the current byte.
    pub(crate) fn error(&self, kind: Kind) -> DecodeError {
        kind.at(self.base + self.position as u64)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        match varint::read(&self.payload[self.position..]) {
            varint::Read::Value(value, length) => {
                self.position += length;
                Ok(value)
            }
            varint::Read::Incomplete => Err(self.error(Kind::PayloadTooShort)),
            varint::Read::NotMinimal => Err(self.error(Kind::NotMinimal)),
        }
    }

    /// A varint that counts or measures something: at most `limit`, checked before anything is made of it.
    #[inline]
    pub(crate) fn bounded(&mut self, limit: u64) -> Result<usize, DecodeError> {
        let at = self.position;
        let value = self.varint()?;
        match usize::try_from(value) {
            // [CNV-4] A length above its limit is an error as soon as the length is read.
            Ok(value) if value as u64 <= limit => Ok(value),
            _ => Err(Kind::LimitExceeded.at(self.base + at as u64)),
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        let span = self.skip(length)?;
        Ok(self.slice(span))
    }

    /// A length of at most `limit`, and as many bytes.
    #[inline]
    pub(crate) fn sized(&mut self, limit: u64) -> Result<Span, DecodeError> {
        let length = self.bounded(limit)?;
        self.skip(length)
    }

    /// The bytes of `span`.
    #[inline]
    pub(crate) fn bytes(&self, span: Span) -> &'a [u8] {
        &self.payload[span.start..span.end]
    }

    /// The bytes of `span`, with a handle of their own.
    #[inline]
    pub(crate) fn slice(&self, span: Span) -> Bytes {
        self.payload.slice(span.start..span.end)
    }

    #[inline]
    fn skip(&mut self, length: usize) -> Result<Span, DecodeError> {
        // [FRM-1] A payload MUST be used up exactly.
        if length > self.remaining() {
            return Err(self.error(Kind::PayloadTooShort));
        }
        let start = self.position;
        self.position += length;
        Ok(Span { start, end: self.position })
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = self.payload[self.position..]
            .first_chunk::<N>()
            .ok_or_else(|| self.error(Kind::PayloadTooShort))?;
        self.position += N;
        Ok(*bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A u64 that is a time.
    pub(crate) fn time(&mut self) -> Result<u64, DecodeError> {
        let time = self.u64()?;
        // [CNV-2] A time MUST be below 2^62.
        if time > varint::MAX { Err(self.error(Kind::TimeTooLarge)) } else { Ok(time) }
    }

    pub(crate) fn rest(&mut self) -> Bytes {
        let rest = self.payload.slice(self.position..);
        self.position = self.payload.len();
        rest
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        // [FRM-1] Bytes left over are malformed.
        if self.remaining() == 0 { Ok(()) } else { Err(self.error(Kind::PayloadTooLong)) }
    }
}
