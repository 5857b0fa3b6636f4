//! The fixed-size struct that is hashed for each layer: `cmtp-spec/spec/04-hashing.md`.

use bytes::{BufMut, Bytes};

use cmtp_spec::{LayerFlags, Status, Step, binding, tags};

use crate::cursor::Cursor;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::hash::Digest;
use crate::key::{PublicKey, Signature};
use crate::layer;
use crate::varint;

/// A layer as it is hashed. It travels in place of a layer that is withheld as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core {
    /// The kind of step.
    pub step: Step,
    /// The layer's flags.
    pub flags: LayerFlags,
    /// The layer's status.
    pub status: Status,
    /// Its place in the chain.
    pub number: u32,
    /// How many public fields it has.
    pub public_count: u16,
    /// How many private fields it has.
    pub private_count: u16,
    /// The actor's clock, microseconds since 1970.
    pub time: u64,
    /// Who added it.
    pub actor: PublicKey,
    /// R.
    pub fields_root: Digest,
    /// B.
    pub body: Digest,
    /// The hash of the layer before it.
    pub prev: Digest,
}

impl Core {
    /// Bytes of the struct.
    pub const LENGTH: usize = 152;

    /// Checks what a core says, its place in a chain apart.
    pub(crate) fn check(&self) -> Result<(), DecodeErrorKind> {
        // [FRM-11] Step, flags, status and time as chapter 3 allows …
        layer::check_flags(self.flags, self.step, self.number)?;
        layer::check_place(self.step, self.status, self.number)?;
        if self.time > varint::MAX {
            return Err(DecodeErrorKind::TimeTooLarge);
        }
        // [FRM-11] … and B zero where the flag `body` is not set.
        if self.flags.0 & LayerFlags::BODY.0 == 0 && self.body != Digest::ZERO {
            return Err(DecodeErrorKind::FlagsDisagree);
        }
        Ok(())
    }

    /// The struct's bytes.
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        self.put(&mut bytes.as_mut_slice());
        bytes
    }

    /// L: the layer hash.
    pub fn hash(&self) -> Digest {
        let mut image = [0; 8 + Self::LENGTH];
        let mut out = image.as_mut_slice();
        out.put_slice(&tags::LAYER);
        self.put(&mut out);
        Digest::of(&image)
    }

    fn put(&self, out: &mut impl BufMut) {
        out.put_u16(binding::VERSION);
        out.put_u16(self.step.0);
        out.put_u16(self.flags.0);
        out.put_u16(self.status.0);
        out.put_u32(self.number);
        out.put_u16(self.public_count);
        out.put_u16(self.private_count);
        out.put_u64(self.time);
        for part in [&self.actor.0, &self.fields_root.0, &self.body.0, &self.prev.0] {
            out.put_slice(part);
        }
    }
}

/// The payload of a CORE frame: a layer redacted to its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedactedLayer {
    /// The core as it travels.
    pub core: Core,
    /// The actor's signature over its hash.
    pub signature: Option<Signature>,
}

impl RedactedLayer {
    pub(crate) fn decode(payload: &Bytes, base: u64) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(payload, base);
        // [FRM-11] A CORE MUST have the version 0.
        if cursor.u16()? != binding::VERSION {
            return Err(DecodeErrorKind::UnknownVersion.at(base));
        }
        let core = Core {
            step: Step(cursor.u16()?),
            flags: LayerFlags(cursor.u16()?),
            status: Status(cursor.u16()?),
            number: cursor.u32()?,
            public_count: cursor.u16()?,
            private_count: cursor.u16()?,
            time: cursor.u64()?,
            actor: PublicKey(cursor.array()?),
            fields_root: Digest(cursor.array()?),
            body: Digest(cursor.array()?),
            prev: Digest(cursor.array()?),
        };
        let signed = core.flags.0 & LayerFlags::SIGNED.0 != 0;
        let signature = if signed { Some(Signature(cursor.array()?)) } else { None };
        cursor.finish()?;
        Ok(Self { core, signature })
    }

    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.core.to_bytes());
        if let Some(signature) = &self.signature {
            out.put_slice(&signature.0);
        }
    }
}
