//! How a service gets the keys of a route: an ask, and what comes back, sealed. How it is sealed is not this crate's.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use cmtp_spec::{BusKind, KeyUse, Status, limits};

use super::{Envelope, EnvelopeError, KeyId, Proof};
use crate::cursor::Cursor;
use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::hash::Digest;
use crate::key::{PublicKey, SignatureError, SigningKey};
use crate::keylist::KeyList;
use crate::trust::{Unverified, Verified};
use crate::varint;

/// What a service asks a node for keys with; the key id that it asks for is the envelope's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The node's root key.
    pub node: PublicKey,
    /// The instance that asks.
    pub instance: KeyId,
    /// X25519, made for this ask.
    pub sealing_key: [u8; 32],
    /// The service's clock, microseconds since 1970.
    pub time: u64,
}

/// An ask as it came to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What is asked.
    pub ask: Ask,
    /// Who asks: the actor of a service.
    pub actor: PublicKey,
    /// The key id that it asks for.
    pub key_id: KeyId,
    /// SHA-256 of the envelope, which the answer names.
    pub hash: Digest,
}

impl Ask {
    /// The envelope of an ask for `key_id`.
    pub fn sign(&self, key_id: KeyId, actor: &SigningKey) -> Envelope {
        // The head of an ask is zero: it continues nothing.
        Envelope::sign(BusKind::ASK, key_id, Digest::ZERO, self.to_payload(), actor)
    }

    /// Checks an ask that came to `node` (its root key) at `now`, microseconds since 1970.
    ///
    /// Whether a route with that key id pins the actor is the node's to check (`[NAT-20]`).
    ///
    /// # Errors
    /// [`AskError`], with the status that is to be answered.
    pub fn verify(
        envelope: Unverified<Envelope>,
        node: PublicKey,
        now: u64,
    ) -> Result<Verified<Asked>, AskError> {
        if envelope.untrusted().kind != BusKind::ASK {
            return Err(Kind::EnvelopeKind.at(1).into());
        }
        let ask = Self::from_payload(&envelope.untrusted().payload)?;
        // [NAT-20] A node MUST give keys only for an ask that names it, …
        if ask.node != node {
            return Err(AskError::OtherNode);
        }
        // [NAT-20] … whose time is at most `clock-skew-max` from its clock, …
        if now.abs_diff(ask.time) > limits::CLOCK_SKEW_MAX * 1_000_000 {
            return Err(AskError::Time);
        }
        // [NAT-20] … whose tag is right.
        let envelope = envelope.verify(Digest::ZERO, Proof::Signature)?;
        let (actor, key_id, hash) = (envelope.sender, envelope.key_id, envelope.hash());
        Ok(Verified::new(Asked { ask, actor, key_id, hash }))
    }

    fn to_payload(self) -> Bytes {
        let mut payload = BytesMut::with_capacity(88);
        payload.put_slice(&self.node.0);
        payload.put_slice(&self.instance.0);
        payload.put_slice(&self.sealing_key);
        payload.put_u64(self.time);
        payload.freeze()
    }

    fn from_payload(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(payload, 0);
        let ask = Self {
            node: PublicKey(cursor.array()?),
            instance: KeyId(cursor.array()?),
            sealing_key: cursor.array()?,
            time: cursor.time()?,
        };
        // [NAT-10] Bytes missing or left over.
        cursor.finish()?;
        Ok(ask)
    }
}

/// Why a node gives no keys for an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Not an ask.
    #[error("not an ask for keys: {0}")]
    Malformed(#[from] DecodeError),
    /// Not by the actor that it names.
    #[error(transparent)]
    Tag(#[from] EnvelopeError),
    /// For another node.
    #[error("the ask is for another node")]
    OtherNode,
    /// An old one, or clocks that differ.
    #[error("the ask is more than 5 minutes from this node's clock; set the service's clock")]
    Time,
}

impl AskError {
    /// The status of the NATS micro error that answers it.
    pub const fn status(&self) -> Status {
        // [NAT-20] 400 malformed, 403 tag, time or sender, 404 another node or an unknown id.
        match self {
            Self::Malformed(_) => Status::BAD_REQUEST,
            Self::Tag(_) | Self::Time => Status::FORBIDDEN,
            Self::OtherNode => Status::NOT_FOUND,
        }
    }
}

/// What a node answers to an [`Ask`].
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKeys {
    /// Ties the sender to the node; not yet verified.
    pub list: KeyList,
    /// The encapsulated key of HPKE.
    pub encapsulated: [u8; 32],
    /// Request key and answer key, 32 bytes each, sealed.
    pub sealed: [u8; Self::SEALED],
}

/// Keys that answer an ask, to be opened with its X25519 key.
#[derive(Clone, Debug)]
pub struct AnsweredKeys {
    /// The node's layer key, which signed them.
    pub sender: PublicKey,
    /// The node's key list.
    pub list: Verified<KeyList>,
    /// The encapsulated key of HPKE.
    pub encapsulated: [u8; 32],
    /// Request key and answer key, 32 bytes each, sealed.
    pub sealed: [u8; SealedKeys::SEALED],
    /// SHA-256 of the ask's envelope: `aad` of HPKE.
    pub ask: Digest,
}

impl SealedKeys {
    /// Bytes of two sealed keys: 32 each, and the tag of the cipher.
    pub const SEALED: usize = 2 * 32 + 16;

    /// The envelope that answers `asked`, by the node's layer key.
    pub fn sign(&self, asked: &Asked, layer_key: &SigningKey) -> Envelope {
        Envelope::sign(BusKind::KEYS, asked.key_id, asked.hash, self.to_payload(), layer_key)
    }

    /// Checks that an envelope answers `ask`, the one for `node` (its root key) that was sent; `now` is in microseconds since 1970.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn verify(
        envelope: Unverified<Envelope>,
        ask: &Envelope,
        node: PublicKey,
        now: u64,
    ) -> Result<Verified<AnsweredKeys>, KeysError> {
        if envelope.untrusted().kind != BusKind::KEYS {
            return Err(Kind::EnvelopeKind.at(1).into());
        }
        // [NAT-21] The tag is right with the ask's hash as head, …
        let hash = ask.hash();
        let envelope = envelope.verify(hash, Proof::Signature)?;
        // [NAT-21] … the key id is the one asked for, …
        if envelope.key_id != ask.key_id {
            return Err(KeysError::OtherId);
        }
        let keys = Self::from_payload(&envelope.payload)?;
        // [NAT-21] … the key list is the asked node's …
        if keys.list.root != node {
            return Err(KeysError::OtherNode);
        }
        let list = keys.list.verify()?;
        // [NAT-21] … and has the sender as a layer key valid now.
        if !list.allows(KeyUse::LAYER, &envelope.sender, now) {
            return Err(KeysError::ForeignKey);
        }
        Ok(Verified::new(AnsweredKeys {
            sender: envelope.sender,
            list,
            encapsulated: keys.encapsulated,
            sealed: keys.sealed,
            ask: hash,
        }))
    }

    fn to_payload(&self) -> Bytes {
        let list = self.list.to_bytes();
        let mut payload = BytesMut::with_capacity(list.len() + 4 + 32 + Self::SEALED);
        varint::write(list.len() as u64, &mut payload);
        payload.put_slice(&list);
        payload.put_slice(&self.encapsulated);
        payload.put_slice(&self.sealed);
        payload.freeze()
    }

    fn from_payload(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(payload, 0);
        let list = cursor.sized(limits::KEYS_FRAME_MAX)?;
        let list = KeyList::decode(&cursor.slice(list), 0)?;
        let keys = Self { list, encapsulated: cursor.array()?, sealed: cursor.array()? };
        // [NAT-10] Bytes missing or left over.
        cursor.finish()?;
        Ok(keys)
    }
}

/// Why keys are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// Not keys.
    #[error("not keys: {0}")]
    Malformed(#[from] DecodeError),
    /// They answer another ask, or are not by their sender.
    #[error(transparent)]
    Tag(#[from] EnvelopeError),
    /// Keys of another route.
    #[error("keys of another id than the one asked for")]
    OtherId,
    /// Another node answered.
    #[error("keys of another node than the one asked")]
    OtherNode,
    /// The key list is not by the node's root key.
    #[error("the key list: {0}")]
    List(#[from] SignatureError),
    /// The sender is none of the node's layer keys.
    #[error("keys by another key than one of the node's layer keys")]
    ForeignKey,
}

impl fmt::Debug for SealedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKeys").field("list", &self.list).finish_non_exhaustive()
    }
}
