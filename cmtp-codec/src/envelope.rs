//! Bus envelopes: how a node and a layered service talk over NATS. `cmtp-spec/spec/11-nats.md`, section Layered services.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use bytes::{BufMut, Bytes, BytesMut};

use cmtp_spec::{BusAuth, BusKind, limits, uses};

use crate::assemble::{Assembler, Part, Source};
use crate::chain::Link;
use crate::cursor::Cursor;
use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::frame::FrameReader;
use crate::hash::Digest;
use crate::key::{PublicKey, Signature, SignatureError, SigningKey};
use crate::layer::Layer;
use crate::trust::{Unverified, Verified};

pub use answer::BusAnswer;
pub use keys::{AnsweredKeys, Ask, AskError, Asked, KeysError, SealedKeys};
pub use request::BusRequest;

mod answer;
mod keys;
mod request;

/// One NATS payload between a node and a layered service.
///
/// ```
/// use cmtp_codec::{Digest, Envelope, KeyId, MacKey, Proof, PublicKey};
/// use cmtp_spec::BusKind;
///
/// let (key, head) = (MacKey::new([7; 32]), Digest::of(b"what was asked"));
/// let sender = PublicKey([1; 32]);
/// let payload = head.0.to_vec();
/// let made = Envelope::mac(BusKind::CANCEL, KeyId([2; 16]), sender, head, payload, &key);
/// let came = Envelope::decode(made.to_bytes(), 16_777_216)?;
/// let verified = came.verify(head, Proof::Mac(&key))?;
/// assert_eq!(verified.cancelled()?, head);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is.
    pub kind: BusKind,
    /// Names the keys of the tag; zero where there are none.
    pub key_id: KeyId,
    /// Who made it, as it says.
    pub sender: PublicKey,
    /// The authentication.
    pub tag: Tag,
    /// By the kind: layers, a head, an ask, keys.
    pub payload: Bytes,
}

/// What authenticates an envelope. Closed: these are the schemes that an envelope can have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// Nothing does.
    None,
    /// HMAC-SHA-256.
    Mac([u8; 32]),
    /// By the sender, use `bus`.
    Signature(Signature),
}

/// Names the keys of a route, or an instance of a service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 16]);

/// A key of scheme `mac`.
#[derive(Clone)]
pub struct MacKey(hmac::Key);

/// What a receiver demands of an envelope. Closed: one for each scheme.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// Scheme `none`: anybody may have made it. Only where the operator asked for that (`[NAT-9]`).
    NoneWanted,
    /// Scheme `mac` under this key.
    Mac(&'a MacKey),
    /// Scheme `signature` by the sender that the envelope names; who may be that is the caller's to check.
    Signature,
}

impl Envelope {
    /// An envelope of scheme `none`.
    pub fn open(kind: BusKind, sender: PublicKey, payload: impl Into<Bytes>) -> Self {
        Self { kind, key_id: KeyId::ZERO, sender, tag: Tag::None, payload: payload.into() }
    }

    /// An envelope of scheme `mac`.
    pub fn mac(
        kind: BusKind,
        key_id: KeyId,
        sender: PublicKey,
        head: Digest,
        payload: impl Into<Bytes>,
        key: &MacKey,
    ) -> Self {
        let tag = Tag::Mac([0; 32]);
        let mut envelope = Self { kind, key_id, sender, tag, payload: payload.into() };
        envelope.tag = Tag::Mac(envelope.computed_mac(head, key));
        envelope
    }

    /// An envelope of scheme `signature`.
    pub fn sign(
        kind: BusKind,
        key_id: KeyId,
        head: Digest,
        payload: impl Into<Bytes>,
        key: &SigningKey,
    ) -> Self {
        let (sender, tag) = (key.public(), Tag::Signature(Signature([0; 64])));
        let mut envelope = Self { kind, key_id, sender, tag, payload: payload.into() };
        envelope.tag = Tag::Signature(key.sign(uses::BUS, &envelope.tagged(head)));
        envelope
    }

    /// How it is authenticated.
    pub const fn scheme(&self) -> BusAuth {
        self.tag.scheme()
    }

    /// Reads an envelope whose layers' bodies may be up to `body_max` bytes; the payload is not read yet.
    ///
    /// # Errors
    /// The first thing that breaks `[NAT-10]`. A bus gives payloads as a whole, so that one which ends early is broken.
    pub fn decode(bytes: impl Into<Bytes>, body_max: u64) -> Result<Unverified<Self>, DecodeError> {
        let bytes = bytes.into();
        let mut cursor = Cursor::new(&bytes, 0);
        // [NAT-10] A receiver MUST refuse as malformed an envelope of another version, with a kind or scheme that is not of
        // these, …
        if cursor.u8()? != VERSION {
            return Err(Kind::EnvelopeVersion.at(0));
        }
        let kind = BusKind(cursor.u8()?);
        if kind.name().is_none() {
            return Err(Kind::EnvelopeKind.at(1));
        }
        let scheme = BusAuth(cursor.u8()?);
        // [NAT-10] … an ask or keys of another scheme than `signature`, …
        if is_of_keys(kind) && scheme != BusAuth::SIGNATURE {
            return Err(Kind::EnvelopeScheme.at(2));
        }
        let key_id = KeyId(cursor.array()?);
        if key_id != KeyId::ZERO && !may_have_key_id(kind, scheme) {
            return Err(Kind::EnvelopeKeyId.at(3));
        }
        let sender = PublicKey(cursor.array()?);
        let tag = match scheme {
            BusAuth::NONE => Tag::None,
            BusAuth::MAC => Tag::Mac(cursor.array()?),
            BusAuth::SIGNATURE => Tag::Signature(Signature(cursor.array()?)),
            _ => return Err(Kind::EnvelopeScheme.at(2)),
        };
        // [NAT-10] … or more bytes than the tag's, 51, its `body-max` and `envelope-overhead-max`.
        if cursor.remaining() as u64 > body_max.saturating_add(limits::ENVELOPE_OVERHEAD_MAX) {
            return Err(cursor.error(Kind::LimitExceeded));
        }
        Ok(Unverified::new(Self { kind, key_id, sender, tag, payload: cursor.rest() }))
    }

    /// The bytes that travel.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.offset() + self.payload.len());
        bytes.put_slice(&self.header());
        match &self.tag {
            Tag::None => {}
            Tag::Mac(tag) => bytes.put_slice(tag),
            Tag::Signature(signature) => bytes.put_slice(&signature.0),
        }
        bytes.put_slice(&self.payload);
        bytes.freeze()
    }

    /// SHA-256 of the bytes that travel: what keys name their ask by.
    pub fn hash(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// The head that an envelope of kind `cancel` names.
    ///
    /// # Errors
    /// Where the payload is no head.
    pub fn cancelled(&self) -> Result<Digest, DecodeError> {
        let mut cursor = Cursor::new(&self.payload, self.offset() as u64);
        let head = Digest(cursor.array()?);
        // [NAT-10] Bytes missing or left over.
        cursor.finish()?;
        Ok(head)
    }

    /// Where the payload begins.
    const fn offset(&self) -> usize {
        let tag = match self.tag {
            Tag::None => 0,
            Tag::Mac(_) => 32,
            Tag::Signature(_) => 64,
        };
        HEADER + tag
    }

    fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..3].copy_from_slice(&[VERSION, self.kind.0, self.scheme().0]);
        header[3..19].copy_from_slice(&self.key_id.0);
        header[19..].copy_from_slice(&self.sender.0);
        header
    }

    /// What the tag is over.
    fn tagged(&self, head: Digest) -> Vec<u8> {
        [&self.header()[..], &head.0, &self.payload].concat()
    }

    /// The MAC of the same bytes, without putting them together.
    fn computed_mac(&self, head: Digest, key: &MacKey) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&key.0);
        context.update(&self.header());
        context.update(&head.0);
        context.update(&self.payload);
        let mut mac = [0; 32];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }

    fn check_tag(&self, head: Digest, proof: Proof<'_>) -> Result<(), EnvelopeError> {
        match (proof, &self.tag) {
            (Proof::NoneWanted, Tag::None) => Ok(()),
            (Proof::Mac(key), Tag::Mac(tag)) => {
                verify_slices_are_equal(&self.computed_mac(head, key), tag)
                    .map_err(|aws_lc_rs::error::Unspecified| EnvelopeError::Mac)
            }
            (Proof::Signature, Tag::Signature(signature)) => self
                .sender
                .verify(uses::BUS, &self.tagged(head), signature)
                .map_err(EnvelopeError::Signature),
            (_, tag) => Err(EnvelopeError::Scheme(tag.scheme())),
        }
    }

    /// The layers of the payload, `number` of which came before.
    pub(crate) fn layers(&self, number: u32, body_max: u64) -> Result<Vec<Layer>, DecodeError> {
        let mut reader = FrameReader::new(self.offset() as u64);
        reader.push_bytes(self.payload.clone());
        let mut assembler = Assembler::new(Source::Answer, body_max).after(number);
        let mut layers = Vec::new();
        let mut at = reader.offset();
        while let Some(frame) = reader.next_frame()? {
            let part = assembler.take(frame).map_err(|kind| kind.at(at))?;
            at = reader.offset();
            match part {
                None => {}
                Some(Part::Link(link)) => match *link {
                    Link::Layer(layer) => layers.push(layer),
                    Link::Core(_) => return Err(Kind::EnvelopeLayers.at(at)),
                },
                // A seal is the node's last word, and no layer follows it on the bus.
                Some(_) => return Err(Kind::EnvelopeLayers.at(at)),
            }
        }
        if reader.is_within_frame() || assembler.open_layer().is_some() {
            return Err(Kind::EndsEarly.at(at));
        }
        // [NAT-11] [NAT-12] The frames LAYER, BODY and END: unknown ones have no place either.
        if reader.skipped() > 0 { Err(Kind::EnvelopeLayers.at(at)) } else { Ok(layers) }
    }
}

impl Unverified<Envelope> {
    /// Checks the tag, for `head` and as `proof` demands.
    ///
    /// A request and an answer are checked by [`BusRequest`] and [`BusAnswer`], which know their heads.
    ///
    /// # Errors
    /// [`EnvelopeError`] where the envelope is of another scheme, or its tag is wrong.
    pub fn verify(
        self,
        head: Digest,
        proof: Proof<'_>,
    ) -> Result<Verified<Envelope>, EnvelopeError> {
        self.untrusted().check_tag(head, proof)?;
        Ok(Verified::new(self.into_untrusted()))
    }
}

/// Why an envelope is not what it says, though its bytes can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// It is authenticated in another way than the receiver demands, or not at all.
    #[error("an envelope of another scheme than agreed: {0}")]
    Scheme(BusAuth),
    /// The MAC is wrong.
    #[error("the envelope's tag is wrong")]
    Mac,
    /// The signature is wrong.
    #[error("the envelope's signature: {0}")]
    Signature(SignatureError),
    /// A signature within it is wrong.
    #[error("layer {number}: {error}")]
    Layer {
        /// The layer's number.
        number: u32,
        /// What is wrong.
        error: SignatureError,
    },
}

impl Tag {
    /// The scheme by which it authenticates.
    pub const fn scheme(&self) -> BusAuth {
        match self {
            Self::None => BusAuth::NONE,
            Self::Mac(_) => BusAuth::MAC,
            Self::Signature(_) => BusAuth::SIGNATURE,
        }
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({})", self.scheme())
    }
}

impl KeyId {
    /// Names nothing.
    pub const ZERO: Self = Self([0; 16]);
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl MacKey {
    /// The key with these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(…)")
    }
}

fn is_of_keys(kind: BusKind) -> bool {
    kind == BusKind::ASK || kind == BusKind::KEYS
}

/// [NAT-10] A key id that is not zero where it has to be.
fn may_have_key_id(kind: BusKind, scheme: BusAuth) -> bool {
    match scheme {
        BusAuth::MAC => true,
        BusAuth::SIGNATURE => kind != BusKind::ANSWER,
        _ => false,
    }
}

const VERSION: u8 = 0;
/// Version, kind, scheme, key id and sender.
const HEADER: usize = 51;
