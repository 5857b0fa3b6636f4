//! Seals: what ends a message. `cmtp-spec/spec/02-frames.md`, `cmtp-spec/spec/04-hashing.md`.

use bytes::{BufMut, Bytes};

use cmtp_spec::{SealItemType, binding, limits, tags};

use crate::cursor::Cursor;
use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::hash::{Digest, Image};
use crate::key::PublicKey;
use crate::keylist::KeyList;
use crate::receipt::Receipt;
use crate::varint;

/// The payload of SEAL and INTERIM: who sealed, the seal hash, and what came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The sealing node's layer key.
    pub key: PublicKey,
    /// F.
    pub hash: Digest,
    /// R0.
    pub receipt: Option<Receipt>,
    /// A refusal before a token was accepted: no entry, no R0.
    pub unlogged: bool,
    /// The answer recorded for an earlier request with the same bytes.
    pub recorded: bool,
    /// The node refused without reading the body of layer 0.
    pub body_unread: bool,
    /// The node's key list; saved files only.
    pub keys: Option<KeyList>,
    /// The layer hashes; saved files only.
    pub heads: Option<Vec<Digest>>,
    /// R1 or R2: a C2SP tlog-proof.
    pub proof: Option<Bytes>,
    /// Whether unknown items were skipped.
    pub skipped: bool,
}

/// F over a chain of `layers` whose last hash is `head`.
pub(crate) fn final_hash(key: &PublicKey, layers: u32, head: Digest) -> Digest {
    hash(tags::FINAL_SEAL, key, layers, head)
}

/// The interim seal over a chain that goes on.
pub(crate) fn interim_hash(key: &PublicKey, layers: u32, head: Digest) -> Digest {
    hash(tags::INTERIM_SEAL, key, layers, head)
}

fn hash(tag: [u8; 8], key: &PublicKey, layers: u32, head: Digest) -> Digest {
    let mut image = Image::new(tag);
    image.bytes(&key.0);
    image.bytes(&layers.to_be_bytes());
    image.bytes(&head.0);
    image.digest()
}

impl Seal {
    /// A seal without items; it needs a receipt or `unlogged` before it can travel.
    pub const fn new(key: PublicKey, hash: Digest) -> Self {
        Self {
            key,
            hash,
            receipt: None,
            unlogged: false,
            recorded: false,
            body_unread: false,
            keys: None,
            heads: None,
            proof: None,
            skipped: false,
        }
    }

    pub(crate) fn decode(payload: &Bytes, base: u64) -> Result<Self, DecodeError> {
        let seal = Self::decode_items(payload, base)?;
        // [FRM-14] A SEAL MUST carry exactly one of `r0` and `unlogged`.
        if seal.receipt.is_some() == seal.unlogged {
            return Err(Kind::SealItems.at(base));
        }
        // [RCP-14] The entry type of an INTERIM MUST be `segment`, that of a SEAL another.
        if seal.receipt.as_ref().is_some_and(Receipt::is_for_interim) {
            return Err(Kind::ReceiptType.at(base));
        }
        Ok(seal)
    }

    pub(crate) fn decode_interim(payload: &Bytes, base: u64) -> Result<Self, DecodeError> {
        let seal = Self::decode_items(payload, base)?;
        let bare = Self {
            receipt: seal.receipt.clone(),
            skipped: seal.skipped,
            ..Self::new(seal.key, seal.hash)
        };
        // [FRM-14] INTERIM MUST carry `r0` and no other known item.
        if seal.receipt.is_none() || seal != bare {
            return Err(Kind::SealItems.at(base));
        }
        // [RCP-14] The entry type of an INTERIM MUST be `segment`.
        if !seal.receipt.as_ref().is_some_and(Receipt::is_for_interim) {
            return Err(Kind::ReceiptType.at(base));
        }
        Ok(seal)
    }

    fn decode_items(payload: &Bytes, base: u64) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(payload, base);
        let mut seal = Self::new(PublicKey(cursor.array()?), Digest(cursor.array()?));
        let mut last = None;
        let mut count = 0;
        while cursor.remaining() > 0 {
            let start = cursor.error(Kind::ItemOrder);
            let item = SealItemType(cursor.varint()?);
            // [FRM-12] Items MUST stand in strictly ascending order of type.
            if last.is_some_and(|last| last >= item) {
                return Err(start);
            }
            last = Some(item);
            count += 1;
            if count > limits::SEAL_ITEMS_MAX {
                return Err(Kind::LimitExceeded.at(start.offset));
            }
            let length = cursor.bounded(length_limit(item))?;
            let at = cursor.error(Kind::ItemPayload).offset;
            let value = cursor.take(length)?;
            seal.take_item(item, &value, at)?;
        }
        Ok(seal)
    }

    fn take_item(&mut self, item: SealItemType, value: &Bytes, at: u64) -> Result<(), DecodeError> {
        match item {
            SealItemType::R0 => self.receipt = Some(Receipt::decode(value, at)?),
            SealItemType::UNLOGGED => self.unlogged = empty(value, at)?,
            SealItemType::RECORDED => self.recorded = empty(value, at)?,
            SealItemType::BODY_UNREAD => self.body_unread = empty(value, at)?,
            SealItemType::KEYS => self.keys = Some(KeyList::decode(value, at)?),
            SealItemType::HEADS => self.heads = Some(decode_heads(value, at)?),
            SealItemType::PROOF => self.proof = Some(check_proof(value, at)?),
            // [FRM-13] A receiver MUST skip an unknown item of odd type.
            unknown if unknown.0 % 2 == 1 => self.skipped = true,
            _ => return Err(Kind::UnknownItem.at(at)),
        }
        Ok(())
    }

    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.key.0);
        out.put_slice(&self.hash.0);
        let mut item = |item: SealItemType, value: &[u8]| {
            varint::write(item.0, out);
            varint::write(value.len() as u64, out);
            out.put_slice(value);
        };
        if let Some(receipt) = &self.receipt {
            item(SealItemType::R0, &receipt.to_bytes());
        }
        if let Some(heads) = &self.heads {
            item(
                SealItemType::HEADS,
                heads.iter().map(|head| head.0).collect::<Vec<_>>().as_flattened(),
            );
        }
        if self.unlogged {
            item(SealItemType::UNLOGGED, &[]);
        }
        if let Some(proof) = &self.proof {
            item(SealItemType::PROOF, proof);
        }
        if self.recorded {
            item(SealItemType::RECORDED, &[]);
        }
        if let Some(keys) = &self.keys {
            item(SealItemType::KEYS, &keys.to_bytes());
        }
        if self.body_unread {
            item(SealItemType::BODY_UNREAD, &[]);
        }
    }
}

const fn length_limit(item: SealItemType) -> u64 {
    match item {
        SealItemType::KEYS => limits::KEYS_FRAME_MAX,
        SealItemType::PROOF => limits::CHECKPOINT_FRAME_MAX,
        _ => limits::SEAL_FRAME_MAX,
    }
}

fn empty(value: &[u8], at: u64) -> Result<bool, DecodeError> {
    // [FRM-15] `unlogged`, `recorded` and `body-unread` MUST be empty.
    if value.is_empty() { Ok(true) } else { Err(Kind::ItemPayload.at(at)) }
}

fn check_proof(value: &Bytes, at: u64) -> Result<Bytes, DecodeError> {
    let header = binding::TLOG_PROOF_HEADER;
    let rest = std::str::from_utf8(value).ok().and_then(|proof| proof.strip_prefix(header));
    // [FRM-15] `proof` MUST be UTF-8 and begin with the line `c2sp.org/tlog-proof@v1`.
    match rest {
        Some(rest) if rest.starts_with('\n') => Ok(value.clone()),
        _ => Err(Kind::ItemPayload.at(at)),
    }
}

fn decode_heads(value: &[u8], at: u64) -> Result<Vec<Digest>, DecodeError> {
    let (heads, rest) = value.as_chunks::<32>();
    if heads.len() as u64 > limits::HEADS_MAX {
        return Err(Kind::LimitExceeded.at(at));
    }
    if !rest.is_empty() {
        return Err(Kind::ItemPayload.at(at));
    }
    Ok(heads.iter().copied().map(Digest).collect())
}
