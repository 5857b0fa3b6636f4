//! Entries and R0, the node's signed promise: `cmtp-spec/spec/13-receipts.md`.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes};

use cmtp_spec::{EntryFlags, EntryType, JournalMode, Opcode, Status, binding, limits, uses};

use crate::cursor::Cursor;
use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::hash::Digest;
use crate::key::{PublicKey, Signature, SignatureError, SigningKey};
use crate::merkle;
use crate::varint;

/// What a log holds for a message: fixed size, no personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What kind of entry it is.
    pub entry_type: EntryType,
    /// The first opcode of the target.
    pub opcode: Opcode,
    /// What is said about it.
    pub flags: EntryFlags,
    /// The message's status.
    pub status: Status,
    /// Layers under the seal.
    pub layers: u32,
    /// Microseconds since 1970; the time of the R0 statement.
    pub time: u64,
    /// The message's id.
    pub message_id: [u8; 16],
    /// F.
    pub seal: Digest,
}

impl Entry {
    /// Bytes of an entry.
    pub const LENGTH: usize = 68;

    /// The entry's bytes.
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let mut out = bytes.as_mut_slice();
        out.put_u8(version());
        out.put_u8(self.entry_type.0);
        out.put_u16(self.opcode.0);
        out.put_u16(self.flags.0);
        out.put_u16(self.status.0);
        out.put_u32(self.layers);
        out.put_u64(self.time);
        out.put_slice(&self.message_id);
        out.put_slice(&self.seal.0);
        bytes
    }

    /// Reads an entry; `None` for bytes of another version, or with a time that is none.
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Option<Self> {
        let mut bytes = bytes.as_slice();
        if bytes.get_u8() != version() {
            return None;
        }
        let entry = Self {
            entry_type: EntryType(bytes.get_u8()),
            opcode: Opcode(bytes.get_u16()),
            flags: EntryFlags(bytes.get_u16()),
            status: Status(bytes.get_u16()),
            layers: bytes.get_u32(),
            time: bytes.get_u64(),
            message_id: array(&mut bytes),
            seal: Digest(array(&mut bytes)),
        };
        // [CNV-2] A time MUST be below 2^62.
        (entry.time <= varint::MAX).then_some(entry)
    }

    /// Whether it stands for layers of a message, and not for a note of the node's own.
    pub const fn is_of_message(&self) -> bool {
        matches!(
            self.entry_type,
            EntryType::INTENT
                | EntryType::OUTCOME
                | EntryType::EXCHANGE
                | EntryType::REFUSAL
                | EntryType::SEGMENT
        )
    }

    /// Whether nothing follows it, where it stands for layers of a message.
    pub const fn ends_message(&self) -> bool {
        !matches!(self.entry_type, EntryType::INTENT | EntryType::SEGMENT)
    }

    /// RFC 6962's leaf hash.
    pub fn leaf(&self) -> Digest {
        merkle::leaf(&self.to_bytes())
    }
}

/// What the node promises about all entries of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The log's origin line; printable ASCII without space and `+`.
    pub log_origin: String,
    /// Index of the commit's first entry in the log; `None` where the receipt names none.
    pub first_index: Option<u64>,
    /// Entries of the commit, at least 1.
    pub count: u32,
    /// RFC 6962 tree hash over the commit's leaf hashes.
    pub root: Digest,
    /// How the entries were journalled when the promise was made.
    pub mode: JournalMode,
    /// Microseconds since 1970.
    pub time: u64,
    /// Seconds until the entries are under a checkpoint; 0 where there is no log.
    pub merge_delay: u32,
}

impl Statement {
    /// Checks the signature.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, key: &PublicKey, signature: &Signature) -> Result<(), SignatureError> {
        key.verify(uses::R0, &self.to_bytes(), signature)
    }

    /// Signs the statement with the sealing key.
    pub fn sign(&self, key: &SigningKey) -> Signature {
        key.sign(uses::R0, &self.to_bytes())
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + self.log_origin.len());
        bytes.put_u8(u8::try_from(self.log_origin.len()).unwrap_or(u8::MAX));
        bytes.put_slice(self.log_origin.as_bytes());
        bytes.put_u64(self.first_index.unwrap_or(NO_INDEX));
        bytes.put_u32(self.count);
        bytes.put_slice(&self.root.0);
        bytes.put_u8(self.mode.0);
        bytes.put_u64(self.time);
        bytes.put_u32(self.merge_delay);
        bytes
    }
}

/// R0: the statement, its signature, and the way from this message's entry to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What is promised.
    pub statement: Statement,
    /// By the SEAL's key, use `r0`.
    pub signature: Signature,
    /// The type of this message's entry.
    pub entry_type: EntryType,
    /// The first opcode of the message's target.
    pub opcode: Opcode,
    /// The flags of this message's entry.
    pub entry_flags: EntryFlags,
    /// The message's id.
    pub message_id: [u8; 16],
    /// The entry's place in the commit.
    pub offset: u32,
    /// From the entry's leaf hash to the commit's root.
    pub path: Vec<Digest>,
}

impl Receipt {
    /// The entry that the receipt is for, over a message with this status, number of layers and seal hash.
    pub fn entry(&self, status: Status, layers: u32, seal: Digest) -> Entry {
        Entry {
            entry_type: self.entry_type,
            opcode: self.opcode,
            flags: self.entry_flags,
            status,
            layers,
            time: self.statement.time,
            message_id: self.message_id,
            seal,
        }
    }

    /// Checks the signature, and that the path leads from `entry` to the signed root.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn verify(&self, key: &PublicKey, entry: &Entry) -> Result<(), ReceiptError> {
        // [RCP-5] A receiver MUST check the signature under the SEAL's key.
        self.statement.verify(key, &self.signature)?;
        self.verify_path(entry)
    }

    /// As [`Receipt::verify`], where the signature may have been verified before.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn verify_knowing(
        &self,
        key: &PublicKey,
        entry: &Entry,
        known: &KnownStatements,
    ) -> Result<(), ReceiptError> {
        if known.contains(key, self) {
            return self.verify_path(entry);
        }
        self.verify(key, entry)?;
        known.insert(*key, self);
        Ok(())
    }

    fn verify_path(&self, entry: &Entry) -> Result<(), ReceiptError> {
        // [RCP-4] The path leads from the entry's leaf hash, at the offset, to the root.
        let Statement { count, root, .. } = self.statement;
        if merkle::verify_path(entry.leaf(), self.offset, count, &self.path, root) {
            Ok(())
        } else {
            Err(ReceiptError::OtherEntry)
        }
    }

    /// Whether the entry is one for an interim seal.
    pub(crate) fn is_for_interim(&self) -> bool {
        self.entry_type == EntryType::SEGMENT
    }

    /// The index of the entry in the log, where the receipt names one.
    pub fn index(&self) -> Option<u64> {
        self.statement.first_index?.checked_add(u64::from(self.offset))
    }

    pub(crate) fn decode(payload: &Bytes, base: u64) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(payload, base);
        let length = cursor.u8()?;
        let log_origin = cursor.take(usize::from(length))?;
        let is_printable = |&byte: &u8| byte.is_ascii_graphic() && byte != b'+';
        // [RCP-13] The log origin MUST be of 1 to `log-origin-max` of these bytes, `offset` less than `count`.
        if log_origin.is_empty() || !log_origin.iter().all(is_printable) {
            return Err(Kind::LogOrigin.at(base));
        }
        let first_index = cursor.u64()?;
        let count = cursor.u32()?;
        let root = Digest(cursor.array()?);
        let mode = JournalMode(cursor.u8()?);
        let time = cursor.time()?;
        let merge_delay = cursor.u32()?;
        // [RCP-3] In mode `wal` first index MUST NOT be 2^64 − 1; in every other mode it MUST be.
        let names_index = first_index != NO_INDEX;
        if names_index != (mode == JournalMode::WAL) {
            return Err(cursor.error(Kind::ReceiptIndex));
        }
        let signature = Signature(cursor.array()?);
        let entry_type = EntryType(cursor.u8()?);
        let opcode = Opcode(cursor.u16()?);
        let entry_flags = EntryFlags(cursor.u16()?);
        // [RCP-14] The entry flag `async` MUST be set in mode `async`, and in no other.
        if (entry_flags.0 & EntryFlags::ASYNC.0 != 0) != (mode == JournalMode::ASYNC) {
            return Err(cursor.error(Kind::ReceiptFlags));
        }
        let message_id = cursor.array()?;
        let at = cursor.error(Kind::ReceiptPlace);
        let offset = cursor.u32()?;
        if offset >= count {
            return Err(at);
        }
        let at = cursor.error(Kind::LimitExceeded);
        let hashes = cursor.u8()?;
        // [RCP-6] A path longer than `commit-path-max` MUST be treated as malformed.
        if u64::from(hashes) > limits::COMMIT_PATH_MAX {
            return Err(at);
        }
        let path = (0..hashes).map(|_| cursor.array().map(Digest)).collect::<Result<_, _>>()?;
        cursor.finish()?;
        let statement = Statement {
            log_origin: String::from_utf8_lossy(&log_origin).into_owned(),
            first_index: names_index.then_some(first_index),
            count,
            root,
            mode,
            time,
            merge_delay,
        };
        Ok(Self { statement, signature, entry_type, opcode, entry_flags, message_id, offset, path })
    }

    /// The receipt's bytes, as in the SEAL item.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.statement.to_bytes();
        bytes.put_slice(&self.signature.0);
        bytes.put_u8(self.entry_type.0);
        bytes.put_u16(self.opcode.0);
        bytes.put_u16(self.entry_flags.0);
        bytes.put_slice(&self.message_id);
        bytes.put_u32(self.offset);
        bytes.put_u8(u8::try_from(self.path.len()).unwrap_or(u8::MAX));
        for hash in &self.path {
            bytes.put_slice(&hash.0);
        }
        bytes
    }

    /// Reads what [`Receipt::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes break a rule; nothing is verified.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, DecodeError> {
        Self::decode(&bytes.into(), 0)
    }
}

/// The statements that were verified last, with their keys and signatures.
///
/// All messages of a commit share one statement, so whoever reads answers as they come meets each many times; a signature
/// costs more than all else in an answer.
#[derive(Debug, Default)]
pub struct KnownStatements(Mutex<VecDeque<(PublicKey, Signature, Statement)>>);

impl KnownStatements {
    /// Whether just this statement was verified under this key and signature.
    fn contains(&self, key: &PublicKey, receipt: &Receipt) -> bool {
        let Receipt { statement, signature, .. } = receipt;
        self.known().iter().any(|(by, with, known)| {
            // The signature first: it differs wherever anything does.
            with == signature && by == key && known == statement
        })
    }

    fn insert(&self, key: PublicKey, receipt: &Receipt) {
        self.add(key, receipt.signature, &receipt.statement);
    }

    /// Takes a statement whose signature somebody else answers for.
    pub(crate) fn add(&self, key: PublicKey, signature: Signature, statement: &Statement) {
        let mut known = self.known();
        known.truncate(KNOWN_STATEMENTS - 1);
        known.push_front((key, signature, statement.clone()));
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<(PublicKey, Signature, Statement)>> {
        // Every change is sound by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an R0 does not hold for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The statement is not signed by the sealing key.
    #[error("R0: {0}")]
    Signature(#[from] SignatureError),
    /// The signed root is not over this message's entry.
    #[error("R0 is for another entry: its path does not lead from this message to the signed root")]
    OtherEntry,
}

/// The protocol's version, in the octet that an entry has for it.
const fn version() -> u8 {
    // The registry's version is far below 2^8, and the entry is laid out for no more.
    binding::VERSION.to_be_bytes()[1]
}

fn array<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let mut array = [0; N];
    bytes.copy_to_slice(&mut array);
    array
}

/// Commits whose answers may be on their way to one reader at a time, and a few more; each is of about 150 bytes.
const KNOWN_STATEMENTS: usize = 16;
/// In place of a first index: the receipt names none.
const NO_INDEX: u64 = u64::MAX;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn receipts(count: u8, key: &SigningKey) -> Vec<(Receipt, Entry)> {
        let entries: Vec<_> = (0..count)
            .map(|n| Entry {
                entry_type: EntryType::EXCHANGE,
                opcode: Opcode::S,
                flags: EntryFlags(0),
                status: Status::OK,
                layers: 3,
                time: 7,
                message_id: [n; 16],
                seal: Digest([n; 32]),
            })
            .collect();
        let tree = merkle::Tree::new(entries.iter().map(Entry::leaf).collect());
        let statement = Statement {
            log_origin: "cmtp/z/0".to_owned(),
            first_index: Some(0),
            count: u32::from(count),
            root: tree.root(),
            mode: JournalMode::WAL,
            time: 7,
            merge_delay: 0,
        };
        let signature = statement.sign(key);
        let receipt = |(offset, entry): (usize, Entry)| {
            let receipt = Receipt {
                statement: statement.clone(),
                signature,
                entry_type: entry.entry_type,
                opcode: entry.opcode,
                entry_flags: entry.flags,
                message_id: entry.message_id,
                offset: u32::try_from(offset).unwrap(),
                path: tree.path(offset),
            };
            (receipt, entry)
        };
        entries.into_iter().enumerate().map(receipt).collect()
    }

    #[test]
    fn a_known_statement_spares_its_signature_and_nothing_else() {
        // [RCP-4] [RCP-5]
        let (key, other) =
            (SigningKey::from_seed(&[1; 32]).unwrap(), SigningKey::from_seed(&[2; 32]).unwrap());
        let known = KnownStatements::default();
        let receipts = receipts(3, &key);
        for (receipt, entry) in &receipts {
            assert_eq!(receipt.verify_knowing(&key.public(), entry, &known), Ok(()));
        }
        assert_eq!(known.known().len(), 1);
        let (receipt, entry) = &receipts[0];
        let mismatch = Err(ReceiptError::Signature(SignatureError::Mismatch));
        // Another key, another signature, another statement, each beside what is known.
        assert_eq!(receipt.verify_knowing(&other.public(), entry, &known), mismatch);
        let mut forged = receipt.clone();
        forged.signature.0[40] ^= 1;
        assert_eq!(forged.verify_knowing(&key.public(), entry, &known), mismatch);
        let mut forged = receipt.clone();
        forged.statement.time += 1;
        assert_eq!(forged.verify_knowing(&key.public(), entry, &known), mismatch);
        // The known one for another entry.
        let other_entry = receipt.verify_knowing(&key.public(), &receipts[1].1, &known);
        assert_eq!(other_entry, Err(ReceiptError::OtherEntry));
        assert_eq!(known.known().len(), 1);
    }

    #[test]
    fn only_the_latest_statements_are_known() {
        let known = KnownStatements::default();
        for seed in 0..40 {
            let key = SigningKey::from_seed(&[seed; 32]).unwrap();
            let (receipt, entry) = &receipts(1, &key)[0];
            assert_eq!(receipt.verify_knowing(&key.public(), entry, &known), Ok(()));
            assert!(known.contains(&key.public(), receipt));
        }
        assert_eq!(known.known().len(), KNOWN_STATEMENTS);
    }
}
