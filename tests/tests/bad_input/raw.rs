//! Layers and frames byte by byte, as the codec would never write them.

use cmtp_spec::FieldIndex;
use cmtp_tests::wire::now;

use crate::scene::Scene;

/// An origin in pieces, each of which a case may spoil.
#[derive(Clone)]
pub struct Raw {
    pub step: Vec<u8>,
    pub flags: Vec<u8>,
    pub status: Vec<u8>,
    pub actor: Vec<u8>,
    pub time: Vec<u8>,
    /// In place of the number of public fields.
    pub public_count: Option<Vec<u8>>,
    pub public: Vec<Vec<u8>>,
    /// In place of the number of private fields.
    pub private_count: Option<Vec<u8>>,
    pub private: Vec<Vec<u8>>,
    /// Behind all of it.
    pub tail: Vec<u8>,
}

impl Raw {
    /// A good one, for an echo.
    pub fn new(scene: &Scene) -> Self {
        let root: cmtp_codec::PublicKey = scene.node.did.parse().unwrap();
        let now = now();
        let mut id = [7; 16];
        id[..6].copy_from_slice(&(now / 1000).to_be_bytes()[2..]);
        id[6] = 0x70;
        id[8] = 0x80;
        Self {
            step: varint(0),
            flags: varint(0),
            status: varint(0),
            actor: scene.key.public().0.to_vec(),
            time: varint(now),
            public_count: None,
            public: vec![
                field(FieldIndex::MESSAGE_ID, &id),
                field(FieldIndex::AUDIENCE, &root.0),
                field(FieldIndex::TARGET, b"0xS:echo"),
                field(FieldIndex::NOT_AFTER, &(now + 20_000_000).to_be_bytes()),
            ],
            private_count: None,
            private: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// A public field more.
    pub fn with(mut self, field: Vec<u8>) -> Self {
        self.public.push(field);
        self
    }

    /// A private field more, with this form byte and salt.
    pub fn with_private(mut self, field: &[u8]) -> Self {
        self.private.push([&[0][..], &[7; 16], field].concat());
        self
    }

    /// Another public field in place of the one that stands at `place`.
    pub fn with_field(mut self, place: usize, field: Vec<u8>) -> Self {
        self.public[place] = field;
        self
    }

    /// The LAYER frame.
    pub fn frame(&self) -> Vec<u8> {
        frame(LAYER, &self.payload())
    }

    pub fn payload(&self) -> Vec<u8> {
        let count = |fields: &[Vec<u8>]| varint(fields.len() as u64);
        [
            self.step.clone(),
            self.flags.clone(),
            self.status.clone(),
            self.actor.clone(),
            self.time.clone(),
            self.public_count.clone().unwrap_or_else(|| count(&self.public)),
            vec![7; 16],
            self.public.concat(),
            self.private_count.clone().unwrap_or_else(|| count(&self.private)),
            self.private.concat(),
            self.tail.clone(),
        ]
        .concat()
    }
}

/// A field by its number.
pub fn field(index: FieldIndex, value: &[u8]) -> Vec<u8> {
    numbered(index.0, value)
}

/// A field by any number.
pub fn numbered(index: u64, value: &[u8]) -> Vec<u8> {
    [varint(index), varint(value.len() as u64), value.to_vec()].concat()
}

/// A field with a literal name.
pub fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| varint(bytes.len() as u64);
    [varint(0), length(name), name.to_vec(), length(value), value.to_vec()].concat()
}

/// A frame of any type.
pub fn frame(frame_type: u64, payload: &[u8]) -> Vec<u8> {
    [varint(frame_type), varint(payload.len() as u64), payload.to_vec()].concat()
}

/// A varint in its shortest form.
pub fn varint(value: u64) -> Vec<u8> {
    match value {
        0..=0x3f => vec![value as u8],
        0x40..=0x3fff => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..=0x3fff_ffff => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// A varint in eight bytes, whatever its value.
pub fn long(value: u64) -> Vec<u8> {
    (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec()
}

/// 2^62 − 1, the greatest that a varint can promise.
pub const GREATEST: [u8; 8] = [0xff; 8];

pub const LAYER: u64 = 0x02;
pub const BODY: u64 = 0x04;
pub const END: u64 = 0x06;
pub const SEAL: u64 = 0x08;
pub const INTERIM: u64 = 0x0a;
pub const CORE: u64 = 0x0c;
pub const AUTH: u64 = 0x0e;
pub const SETTINGS: u64 = 0x10;
pub const GOAWAY: u64 = 0x12;
pub const KEYS: u64 = 0x14;

/// END with a salt.
pub fn end() -> Vec<u8> {
    frame(END, &[0; 17])
}
