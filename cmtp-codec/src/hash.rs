//! SHA-256 values, salts, and the pre-images of chapter 4: `cmtp-spec/spec/04-hashing.md`.

use std::fmt;

use sha2::{Digest as _, Sha256};

use cmtp_spec::tags;

use crate::field::Field;

/// A SHA-256 value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// 32 zero bytes: what stands where there is nothing to hash.
    pub const ZERO: Self = Self([0; 32]);

    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 16 random bytes that hide what is hashed with them. Each is used once: `[HSH-6]`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 16]);

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(…)")
    }
}

/// P: the leaf of all public fields.
pub fn public_leaf(salt: &Salt, fields: &[Field]) -> Digest {
    let mut image = Image::new(tags::PUBLIC_LEAF);
    image.bytes(&salt.0);
    image.bytes(&count16(fields.len()).to_be_bytes());
    for field in fields {
        image.field(field);
    }
    image.digest()
}

/// The leaf of one private field.
pub fn private_leaf(salt: &Salt, field: &Field) -> Digest {
    let mut image = Image::new(tags::PRIVATE_LEAF);
    image.bytes(&salt.0);
    image.field(field);
    image.digest()
}

/// R: the root over a layer's leaves, the public one first.
pub fn fields_root(public: Digest, private: impl ExactSizeIterator<Item = Digest>) -> Digest {
    let mut image = Image::new(tags::FIELDS_ROOT);
    image.bytes(&count32(private.len() + 1).to_be_bytes());
    image.bytes(&public.0);
    for leaf in private {
        image.bytes(&leaf.0);
    }
    image.digest()
}

/// B: the hash of a body.
pub fn body(salt: &Salt, body: &[u8]) -> Digest {
    let mut image = Image::new(tags::BODY);
    image.bytes(&salt.0);
    image.bytes(&(body.len() as u64).to_be_bytes());
    image.bytes(&Digest::of(body).0);
    image.digest()
}

/// A pre-image, gathered so that the hash function is fed few and long pieces, most of the time one.
pub(crate) struct Image {
    gathered: [u8; GATHER],
    length: usize,
    /// What did not fit, hashed so far.
    hash: Option<Sha256>,
}

impl Image {
    #[inline]
    pub(crate) fn new(tag: [u8; 8]) -> Self {
        let mut image = Self { gathered: [0; GATHER], length: 0, hash: None };
        image.bytes(&tag);
        image
    }

    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        match self.gathered.get_mut(self.length..self.length + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            None => self.overflow(bytes),
        }
    }

    #[cold]
    fn overflow(&mut self, bytes: &[u8]) {
        let hash = self.hash.get_or_insert_default();
        hash.update(&self.gathered[..self.length]);
        self.length = 0;
        match self.gathered.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.length = bytes.len();
            }
            None => hash.update(bytes),
        }
    }

    #[inline]
    fn field(&mut self, field: &Field) {
        let name = field.name.as_str();
        self.bytes(&count16(name.len()).to_be_bytes());
        self.bytes(name.as_bytes());
        self.bytes(&count32(field.value.len()).to_be_bytes());
        self.bytes(&field.value);
    }

    #[inline]
    pub(crate) fn digest(&self) -> Digest {
        let gathered = &self.gathered[..self.length];
        match &self.hash {
            None => Digest::of(gathered),
            Some(hash) => Digest(hash.clone().chain_update(gathered).finalize().into()),
        }
    }
}

/// `registry/limits.toml` keeps every count far below these bounds, and a layer is checked against it before it is hashed.
pub(crate) fn count16(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

pub(crate) fn count32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Eight blocks of SHA-256: most leaves fit whole.
const GATHER: usize = 512;
