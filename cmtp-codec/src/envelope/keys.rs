//! How a service gets the keys of a route: an ask, and what comes back, sealed. How it is sealed is not this crate's.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use cmtp_spec::limits;

use super::KeyId;
use crate::cursor::Cursor;
use crate::error::DecodeError;
use crate::key::PublicKey;
use crate::keylist::KeyList;
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

impl Ask {
    /// The payload of the ask's envelope.
    pub fn to_payload(&self) -> Bytes {
        let mut payload = BytesMut::with_capacity(88);
        payload.put_slice(&self.node.0);
        payload.put_slice(&self.instance.0);
        payload.put_slice(&self.sealing_key);
        payload.put_u64(self.time);
        payload.freeze()
    }

    /// Reads the payload of an ask's envelope.
    ///
    /// # Errors
    /// Bytes are missing or left over (`[NAT-10]`), or the time is too large.
    pub fn from_payload(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(payload, 0);
        let ask = Self {
            node: PublicKey(cursor.array()?),
            instance: KeyId(cursor.array()?),
            sealing_key: cursor.array()?,
            time: cursor.time()?,
        };
        cursor.finish()?;
        Ok(ask)
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
    pub sealed: [u8; SEALED],
}

impl SealedKeys {
    /// The payload of the envelope.
    pub fn to_payload(&self) -> Bytes {
        let list = self.list.to_bytes();
        let mut payload = BytesMut::with_capacity(list.len() + 4 + 32 + SEALED);
        varint::write(list.len() as u64, &mut payload);
        payload.put_slice(&list);
        payload.put_slice(&self.encapsulated);
        payload.put_slice(&self.sealed);
        payload.freeze()
    }

    /// Reads the payload of an envelope of kind `keys`.
    ///
    /// # Errors
    /// Bytes are missing or left over (`[NAT-10]`), or the key list can't be read.
    pub fn from_payload(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(payload, 0);
        let list = cursor.sized(limits::KEYS_FRAME_MAX)?;
        let list = KeyList::decode(&cursor.slice(list), 0)?;
        let keys = Self { list, encapsulated: cursor.array()?, sealed: cursor.array()? };
        cursor.finish()?;
        Ok(keys)
    }
}

impl fmt::Debug for SealedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKeys").field("list", &self.list).finish_non_exhaustive()
    }
}

/// Two keys of 32 bytes and the tag of the cipher.
const SEALED: usize = 2 * 32 + 16;
