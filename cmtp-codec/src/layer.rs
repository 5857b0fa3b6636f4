//! Layers: what each step adds to a message. `cmtp-spec/spec/03-layers.md`.

use bytes::{BufMut, Bytes, BytesMut};

use cmtp_spec::{FieldClass, FieldIndex, FrameType, LayerFlags, Status, Step, limits};

use crate::core::Core;
use crate::cursor::Cursor;
use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::field::{Field, OwnFields, Private};
use crate::frame;
use crate::hash::{self, Digest, Salt, count16};
use crate::key::{PublicKey, Signature};
use crate::varint;

/// What one step adds to a message.
///
/// ```
/// use cmtp_codec::{Chain, Field, Layer, PublicKey, Salt};
/// use cmtp_spec::{FieldIndex, Step};
///
/// let actor = PublicKey([7; 32]);
/// let layer = Layer::new(Step::RESOLVE, actor, 1_790_000_000_000_000, Salt([1; 16]))
///     .with_public(Field::bytes(FieldIndex::RESOLVED, "0xS:0x001:hello_world"))
///     .with_body(Salt([2; 16]), "why");
/// assert_eq!(layer.text(FieldIndex::RESOLVED), Some("0xS:0x001:hello_world"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The kind of step.
    pub step: Step,
    /// What is said about the layer; `signed` and `body` are kept in agreement with the parts.
    pub flags: LayerFlags,
    /// 0 where the layer makes no statement.
    pub status: Status,
    /// Who added it.
    pub actor: PublicKey,
    /// The actor's clock, microseconds since 1970.
    pub time: u64,
    /// What hides the public fields once the whole layer is withheld.
    pub public_salt: Salt,
    /// Fields that are hashed together.
    pub public: Vec<Field>,
    /// Fields that can be withheld one by one.
    pub private: Vec<Private>,
    /// The body.
    pub body: Body,
    /// The actor's signature over the layer hash.
    pub signature: Option<Signature>,
}

/// A layer's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    Absent,
    /// There is one, perhaps empty.
    Present {
        /// What hides it once it is withheld.
        salt: Salt,
        /// Its bytes.
        data: Bytes,
    },
    /// Only its hash is there.
    Withheld(Digest),
}

impl Layer {
    /// A layer without fields, body, status or signature.
    pub const fn new(step: Step, actor: PublicKey, time: u64, public_salt: Salt) -> Self {
        Self {
            step,
            flags: LayerFlags(0),
            status: Status::NONE,
            actor,
            time,
            public_salt,
            public: Vec::new(),
            private: Vec::new(),
            body: Body::Absent,
            signature: None,
        }
    }

    /// Sets the status.
    #[must_use]
    pub const fn with_status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// Adds a flag other than `signed` and `body`.
    #[must_use]
    pub const fn with_flag(mut self, flag: LayerFlags) -> Self {
        self.flags.0 |= flag.0;
        self
    }

    /// Adds a public field.
    #[must_use]
    pub fn with_public(mut self, field: Field) -> Self {
        self.public.push(field);
        self
    }

    /// Adds a private field.
    #[must_use]
    pub fn with_private(mut self, salt: Salt, field: Field) -> Self {
        self.private.push(Private::Disclosed { salt, field });
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, salt: Salt, data: impl Into<Bytes>) -> Self {
        self.flags.0 |= LayerFlags::BODY.0;
        self.body = Body::Present { salt, data: data.into() };
        self
    }

    /// Whether `flag` is set.
    pub const fn has(&self, flag: LayerFlags) -> bool {
        self.flags.0 & flag.0 != 0
    }

    /// Whether the layer refuses the request: a status of 400 or more.
    pub const fn refuses(&self) -> bool {
        self.status.0 >= Status::BAD_REQUEST.0
    }

    /// The body's bytes, where they are there.
    pub const fn data(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Present { data, .. } => Some(data),
            Body::Absent | Body::Withheld(_) => None,
        }
    }

    /// All fields that are there, public ones first.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.public.iter().chain(self.private.iter().filter_map(Private::field))
    }

    /// The value of the first field with this number.
    pub fn value(&self, index: FieldIndex) -> Option<&Bytes> {
        self.fields().find(|field| field.name.index() == Some(index)).map(|field| &field.value)
    }

    /// The value of a field of kind `text` or `json`.
    pub fn text(&self, index: FieldIndex) -> Option<&str> {
        std::str::from_utf8(self.value(index)?).ok()
    }

    /// The value of a field of kind `digest`.
    pub fn digest(&self, index: FieldIndex) -> Option<Digest> {
        self.fixed(index).map(Digest)
    }

    /// The value of a field of kind `key`.
    pub fn key(&self, index: FieldIndex) -> Option<PublicKey> {
        self.fixed(index).map(PublicKey)
    }

    /// The value of a field of kind `number` or `time`.
    pub fn number(&self, index: FieldIndex) -> Option<u64> {
        self.fixed(index).map(u64::from_be_bytes)
    }

    /// The value of a field of kind `mode`, `kind` or `scheme`.
    pub fn octet(&self, index: FieldIndex) -> Option<u8> {
        self.fixed::<1>(index).map(|[octet]| octet)
    }

    /// The value of a field that is `N` bytes long.
    pub fn fixed<const N: usize>(&self, index: FieldIndex) -> Option<[u8; N]> {
        self.value(index)?.as_ref().try_into().ok()
    }

    /// Closes layer 0 of a request that the node refused without reading the body: `[QUI-17]`.
    pub fn close_unread(&mut self) {
        // [QUI-17] Flags `signed` and `body` cleared and `body-unread` set.
        self.flags.0 &= !(LayerFlags::SIGNED.0 | LayerFlags::BODY.0);
        self.flags.0 |= LayerFlags::BODY_UNREAD.0;
        self.body = Body::Absent;
        self.signature = None;
    }

    /// The fixed-size struct that is hashed.
    pub fn core(&self, number: u32, prev: Digest) -> Core {
        let public = hash::public_leaf(&self.public_salt, &self.public);
        Core {
            step: self.step,
            flags: self.flags,
            status: self.status,
            number,
            public_count: count16(self.public.len()),
            private_count: count16(self.private.len()),
            time: self.time,
            actor: self.actor,
            fields_root: hash::fields_root(public, self.private.iter().map(Private::leaf)),
            body: match &self.body {
                // [HSH-4] B MUST be zero if it has none.
                Body::Absent => Digest::ZERO,
                Body::Present { salt, data } => hash::body(salt, data),
                // [HSH-2] A withheld body MUST enter the core as the hash that it travels as.
                Body::Withheld(hash) => *hash,
            },
            prev,
        }
    }

    /// Checks what the wire's reader checks, for a layer that was made here.
    ///
    /// # Errors
    /// The rule that a reader would find broken.
    pub fn check(&self, number: u32) -> Result<(), Kind> {
        check_flags(self.flags, self.step, number)?;
        check_place(self.step, self.status, number)?;
        if self.has(LayerFlags::BODY) == matches!(self.body, Body::Absent) {
            return Err(Kind::FlagsDisagree);
        }
        if self.has(LayerFlags::SIGNED) != self.signature.is_some() {
            return Err(Kind::FlagsDisagree);
        }
        if self.time > varint::MAX {
            return Err(Kind::TimeTooLarge);
        }
        if (self.public.len() + self.private.len()) as u64 > limits::FIELDS_MAX {
            return Err(Kind::LimitExceeded);
        }
        let mut own = OwnFields::default();
        for field in &self.public {
            field.check()?;
            own.admit(field, FieldClass::Public)?;
        }
        for field in self.private.iter().filter_map(Private::field) {
            field.check()?;
            own.admit(field, FieldClass::Private)?;
        }
        if self.payload_length() as u64 > limits::LAYER_FRAME_MAX {
            return Err(Kind::LimitExceeded);
        }
        Ok(())
    }

    /// Reads the payload of a LAYER frame; a body, if there is one, comes after it.
    pub(crate) fn decode(payload: &Bytes, base: u64) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(payload, base);
        // [LAY-10] A step MUST be below 2^16.
        let step = decode_u16(&mut cursor, Kind::StepTooLarge)?;
        let flags = LayerFlags(decode_u16(&mut cursor, Kind::UnknownFlags)?);
        check_known(flags).map_err(|kind| cursor.error(kind))?;
        let status = Status(decode_u16(&mut cursor, Kind::StatusTooLarge)?);
        let actor = PublicKey(cursor.array()?);
        let time = cursor.varint()?;
        let mut layer = Self { flags, status, ..Self::new(Step(step), actor, time, Salt([0; 16])) };
        let mut own = OwnFields::default();

        // [FLD-3] The order of fields is part of the message: it is kept as it came.
        let count = cursor.bounded(limits::FIELDS_MAX)?;
        layer.public_salt = Salt(cursor.array()?);
        layer.public.reserve_exact(count);
        for _ in 0..count {
            let put = |field| layer.public.push(field);
            Field::decode(&mut cursor, &mut own, FieldClass::Public, put)?;
        }
        let count = cursor.bounded(limits::FIELDS_MAX - count as u64)?;
        layer.private.reserve_exact(count);
        for _ in 0..count {
            Private::decode(&mut cursor, &mut own, |private| layer.private.push(private))?;
        }
        if layer.has(LayerFlags::SIGNED) && !layer.has(LayerFlags::BODY) {
            layer.signature = Some(Signature(cursor.array()?));
        }
        cursor.finish()?;
        Ok(layer)
    }

    /// Writes LAYER and, where there is a body, BODY frames as full as they can be and END.
    pub fn encode(&self, out: &mut BytesMut) {
        self.encode_head(out);
        if self.has(LayerFlags::BODY) {
            self.encode_body(out);
            self.encode_end(out);
        }
    }

    /// Writes the LAYER frame alone, for a sender that streams the body after it.
    pub fn encode_head(&self, out: &mut BytesMut) {
        let length = self.payload_length();
        frame::write_measured(FrameType::LAYER, length, out, |out| self.encode_payload(out));
    }

    /// [CNV-5] An encoder and a decoder MUST be inverse to each other: this writes what [`Layer::decode`] reads, part by part.
    fn encode_payload(&self, out: &mut impl BufMut) {
        varint::write(u64::from(self.step.0), out);
        varint::write(u64::from(self.flags.0), out);
        varint::write(u64::from(self.status.0), out);
        out.put_slice(&self.actor.0);
        varint::write(self.time, out);
        varint::write(self.public.len() as u64, out);
        out.put_slice(&self.public_salt.0);
        for field in &self.public {
            field.encode(out);
        }
        varint::write(self.private.len() as u64, out);
        for private in &self.private {
            private.encode(out);
        }
        if let Some(signature) = self.own_signature() {
            out.put_slice(&signature.0);
        }
    }

    /// Bytes that `encode_payload` writes.
    fn payload_length(&self) -> usize {
        let numbers = [
            u64::from(self.step.0),
            u64::from(self.flags.0),
            u64::from(self.status.0),
            self.time,
            self.public.len() as u64,
            self.private.len() as u64,
        ];
        numbers.into_iter().map(varint::length_of).sum::<usize>()
            + self.actor.0.len()
            + self.public_salt.0.len()
            + self.public.iter().map(Field::encoded_length).sum::<usize>()
            + self.private.iter().map(Private::encoded_length).sum::<usize>()
            + self.own_signature().map_or(0, |signature| signature.0.len())
    }

    /// The signature, where LAYER carries it; that of a layer with a body stands in END.
    const fn own_signature(&self) -> Option<&Signature> {
        if self.has(LayerFlags::BODY) { None } else { self.signature.as_ref() }
    }

    fn encode_body(&self, out: &mut BytesMut) {
        for chunk in self.data().map(Bytes::as_ref).unwrap_or_default().chunks(frame::BODY_CHUNK) {
            let length = chunk.len();
            frame::write_measured(FrameType::BODY, length, out, |out| out.put_slice(chunk));
        }
    }

    fn encode_end(&self, out: &mut BytesMut) {
        let end = frame::End { body: self.body.clone(), signature: self.signature };
        frame::write(FrameType::END, out, |out| end.encode(out));
    }
}

/// Refuses flag bits that version 0 does not have.
pub(crate) fn check_known(flags: LayerFlags) -> Result<(), Kind> {
    let known = LayerFlags::ALL.iter().fold(0, |bits, flag| bits | flag.0);
    // [LAY-1] Flag bits that are not listed MUST be zero.
    if flags.0 & !known == 0 { Ok(()) } else { Err(Kind::UnknownFlags) }
}

/// Refuses flags that don't go with this layer or with each other.
pub(crate) fn check_flags(flags: LayerFlags, step: Step, number: u32) -> Result<(), Kind> {
    check_known(flags)?;
    let has = |flag: LayerFlags| flags.0 & flag.0 != 0;
    // [LAY-2] `body-unread` MUST stand on layer 0 only, and not together with `body` or `signed`.
    let unread = has(LayerFlags::BODY_UNREAD)
        && (number > 0 || has(LayerFlags::BODY) || has(LayerFlags::SIGNED));
    // [LAY-3] `complete` and `cut` MUST stand on layers of step `segment` only, and not together.
    let (complete, cut) = (has(LayerFlags::COMPLETE), has(LayerFlags::CUT));
    let ends = complete && cut || (complete || cut) && step != Step::SEGMENT;
    if unread || ends { Err(Kind::FlagsDisagree) } else { Ok(()) }
}

/// Refuses a status or an origin where none may stand.
pub(crate) fn check_place(step: Step, status: Status, number: u32) -> Result<(), Kind> {
    // [LAY-5] A status MUST be at most `status-max`.
    if u64::from(status.0) > limits::STATUS_MAX {
        return Err(Kind::StatusTooLarge);
    }
    // [LAY-4] Layer 0 MUST have step `origin` and status 0; no other layer has step `origin`.
    let is_origin = step == Step::ORIGIN;
    if is_origin != (number == 0) || is_origin && status != Status::NONE {
        return Err(Kind::OriginPlace);
    }
    Ok(())
}

fn decode_u16(cursor: &mut Cursor<'_>, too_large: Kind) -> Result<u16, DecodeError> {
    let error = cursor.error(too_large);
    u16::try_from(cursor.varint()?).map_err(|_above_u16| error)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::frame::{Frame, FrameReader};

    /// A layer with each kind of part, whose frame is `length` bytes of payload.
    fn layer_of(length: usize) -> Layer {
        let mut layer =
            Layer::new(Step(0x4000), PublicKey([1; 32]), 1_790_000_000_000_000, Salt([2; 16]))
                .with_status(Status(999))
                .with_public(Field::bytes(FieldIndex::DETAIL, "why"))
                .with_private(Salt([3; 16]), Field::new("x-tenant", "a").unwrap());
        layer.private.push(Private::Withheld(Digest([4; 32])));
        layer.flags = LayerFlags::SIGNED;
        layer.signature = Some(Signature([5; 64]));
        let filler = |length| Field::new("x", vec![6; length]).unwrap();
        for _ in 0..length / LONG {
            layer = layer.with_private(Salt([7; 16]), filler(LONG));
        }
        // Form, salt, a literal's mark and length, its name, two bytes for the value's length.
        let left = length - layer.payload_length() - (1 + 16 + 1 + 1 + 1 + 2);
        layer = layer.with_private(Salt([8; 16]), filler(left));
        layer
    }

    #[test]
    fn a_layer_is_measured_without_being_written() {
        // [LIM-2]
        let limit = limits::LAYER_FRAME_MAX as usize;
        for length in [1_000, limit - 1, limit, limit + 1] {
            let layer = layer_of(length);
            assert_eq!(layer.payload_length(), length);
            let mut payload = Vec::new();
            layer.encode_payload(&mut payload);
            assert_eq!(payload.len(), length);
            let fits = length <= limit;
            assert_eq!(layer.check(1), if fits { Ok(()) } else { Err(Kind::LimitExceeded) });
            let mut out = BytesMut::new();
            layer.encode(&mut out);
            let mut reader = FrameReader::new(0);
            reader.push(&out);
            match reader.next_frame() {
                Ok(Some(Frame::Layer(read))) => assert!(fits && *read == layer),
                other => assert!(!fits && other.is_err(), "{other:?}"),
            }
        }
    }

    /// Four of them, and what is around them, leave room for one more below the limit.
    const LONG: usize = limits::FIELD_VALUE_MAX as usize - 400;
}
