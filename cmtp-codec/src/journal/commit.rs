//! A commit: what one signature and one write cover. `cmtp-spec/spec/17-journal.md`.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes};
use cmtp_spec::{EntryType, JournalMode, binding};

use crate::hash::Digest;
use crate::journal::piece::{Hidden, Piece, PieceKeys};
use crate::key::{Signature, SigningKey};
use crate::merkle::Tree;
use crate::receipt::{Entry, Receipt, Statement};

/// Pieces that were journalled together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Index of the first entry in the log.
    pub first: u64,
    /// How far the file was known to be durable when this was written, bytes.
    pub durable: u64,
    /// `wal` or `async`.
    pub mode: JournalMode,
    /// Seconds in which the entries will be under a checkpoint; 0 where there was no log.
    pub merge_delay: u16,
    /// Microseconds since 1970.
    pub time: u64,
    /// By the node's layer key over the statement.
    pub signature: Signature,
    /// What was journalled, in the order of the entries.
    pub pieces: Vec<Piece>,
}

impl Commit {
    /// The statement that the signature is over, and the tree of which it names the root.
    pub fn statement(&self, log_origin: &str) -> (Statement, Tree) {
        let leaves: Vec<Digest> = self.pieces.iter().map(|piece| piece.entry.leaf()).collect();
        let tree = Tree::new(leaves);
        let statement = Statement {
            log_origin: log_origin.to_owned(),
            // [RCP-3] In mode `wal` a first index; in every other mode none.
            first_index: (self.mode == JournalMode::WAL).then_some(self.first),
            count: u32::try_from(self.pieces.len()).unwrap_or(u32::MAX),
            root: tree.root(),
            mode: self.mode,
            time: self.time,
            merge_delay: u32::from(self.merge_delay),
        };
        (statement, tree)
    }

    /// Number of the log that was opened with this commit, if one was: the commit and those behind it are of that log.
    pub fn opened_log(&self) -> Option<u32> {
        let opened = |piece: &&Piece| piece.entry.entry_type == EntryType::OPENED;
        self.pieces.iter().rev().find(opened).map(|piece| piece.entry.layers)
    }

    /// Signs the statement, and gives each piece its R0.
    pub fn sign(&mut self, log_origin: &str, key: &SigningKey) -> Vec<Receipt> {
        let (statement, tree) = self.statement(log_origin);
        self.signature = statement.sign(key);
        let receipt = |(offset, piece): (usize, &Piece)| {
            receipt(&statement, self.signature, &tree, offset, &piece.entry)
        };
        self.pieces.iter().enumerate().map(receipt).collect()
    }

    /// R0 of the piece at `offset`.
    pub fn receipt(&self, log_origin: &str, offset: usize) -> Option<Receipt> {
        let (statement, tree) = self.statement(log_origin);
        let entry = &self.pieces.get(offset)?.entry;
        Some(receipt(&statement, self.signature, &tree, offset, entry))
    }

    /// Writes the bytes of the commit in a write-ahead log to `out`, which is emptied first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.frame(out, |out| {
            self.pieces.iter().for_each(|piece| out.put_slice(&piece.entry.to_bytes()));
            self.pieces.iter().for_each(|piece| out.put_slice(&piece.hidden.keys.0));
        });
    }

    /// As [`Commit::encode`], as it stands in a records file, beside which entries and keys have files of their own.
    pub fn encode_record(&self, out: &mut Vec<u8>) {
        self.frame(out, |_apart| {});
    }

    fn frame(&self, out: &mut Vec<u8>, entries_and_keys: impl FnOnce(&mut Vec<u8>)) {
        out.clear();
        out.reserve(self.size());
        out.put_slice(&binding::COMMIT_MAGIC);
        out.put_u64(0);
        out.put_u8(VERSION);
        out.put_u8(self.mode.0);
        out.put_u16(self.merge_delay);
        out.put_u32(u32::try_from(self.pieces.len()).unwrap_or(u32::MAX));
        out.put_u64(self.first);
        out.put_u64(self.durable);
        out.put_u64(self.time);
        out.put_slice(&self.signature.0);
        entries_and_keys(out);
        for Piece { begin, hidden, .. } in &self.pieces {
            out.put_u64(*begin);
            out.put_u32(u32::try_from(hidden.cores.len()).unwrap_or(u32::MAX));
            out.put_u32(u32::try_from(hidden.content.len()).unwrap_or(u32::MAX));
        }
        for Piece { hidden, .. } in &self.pieces {
            out.put_slice(&hidden.cores);
            out.put_slice(&hidden.content);
        }
        let length = u32::try_from(out.len() - PREFIX).unwrap_or(u32::MAX);
        out[12..PREFIX].copy_from_slice(&length.to_be_bytes());
        let crc = crc32fast::hash(&out[12..]);
        out[8..12].copy_from_slice(&crc.to_be_bytes());
        let padded = out.len().next_multiple_of(ALIGN);
        out.resize(padded, 0);
    }

    /// Bytes of the commit in a write-ahead log, at most.
    pub fn size(&self) -> usize {
        let pieces = self.pieces.iter().map(Piece::size).sum::<usize>();
        (PREFIX + HEAD + pieces).next_multiple_of(ALIGN)
    }

    /// Reads a body that a write-ahead log holds.
    pub fn decode(body: Bytes) -> Option<Self> {
        let mut reader = Reader(body);
        let (mut commit, count) = Self::decode_head(&mut reader)?;
        let entries = reader.take(count.checked_mul(Entry::LENGTH)?)?;
        let keys = reader.take(count.checked_mul(PieceKeys::LENGTH)?)?;
        commit.decode_pieces(&mut reader, count, &entries, &keys)?;
        Some(commit)
    }

    /// Reads a body that a records file holds, with the entries and keys that belong to it.
    pub fn decode_record(body: Bytes, entries: &[u8], keys: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let (mut commit, count) = Self::decode_head(&mut reader)?;
        commit.decode_pieces(&mut reader, count, entries, keys)?;
        Some(commit)
    }

    /// What a body begins with: the commit without its pieces, and how many there are; no room is made for them.
    pub fn decode_bare(body: Bytes) -> Option<(Self, usize)> {
        Self::decode_head(&mut Reader(body))
    }

    fn decode_head(reader: &mut Reader) -> Option<(Self, usize)> {
        let mut head = reader.take(HEAD)?;
        if head.get_u8() != VERSION {
            return None;
        }
        let mode = JournalMode(head.get_u8());
        let merge_delay = head.get_u16();
        let count = usize::try_from(head.get_u32()).ok()?;
        let (first, durable, time) = (head.get_u64(), head.get_u64(), head.get_u64());
        let signature = Signature(head.as_ref().try_into().ok()?);
        Some((
            Self { first, durable, mode, merge_delay, time, signature, pieces: Vec::new() },
            count,
        ))
    }

    fn decode_pieces(
        &mut self,
        reader: &mut Reader,
        count: usize,
        entries: &[u8],
        keys: &[u8],
    ) -> Option<()> {
        let mut table = reader.take(count.checked_mul(ROW)?)?;
        let (entries, _) = entries.as_chunks::<{ Entry::LENGTH }>();
        let (keys, _) = keys.as_chunks::<{ PieceKeys::LENGTH }>();
        for (entry, keys) in entries.iter().zip(keys).take(count) {
            let begin = table.get_u64();
            let (cores, content) = (table.get_u32() as usize, table.get_u32() as usize);
            let hidden = Hidden {
                keys: PieceKeys(*keys),
                cores: reader.take(cores)?,
                content: reader.take(content)?,
            };
            self.pieces.push(Piece { entry: Entry::from_bytes(entry)?, begin, hidden });
        }
        (self.pieces.len() == count && reader.0.is_empty()).then_some(())
    }
}

impl Piece {
    /// Bytes that the piece takes in a commit.
    pub fn size(&self) -> usize {
        let hidden = self.hidden.cores.len() + self.hidden.content.len();
        Entry::LENGTH + PieceKeys::LENGTH + ROW + hidden
    }
}

/// Where the body of the commit lies that begins at `at`, if a whole one does.
pub fn framed(file: &[u8], at: usize) -> Option<Range<usize>> {
    let prefix = file.get(at..at.checked_add(PREFIX)?)?;
    let (crc, _) = prefix.strip_prefix(&binding::COMMIT_MAGIC)?.split_first_chunk::<4>()?;
    let start = at + PREFIX;
    let end = start.checked_add(usize::try_from(body_length(prefix)?).ok()?)?;
    let sums = crc32fast::hash(file.get(start - 4..end)?) == u32::from_be_bytes(*crc);
    sums.then_some(start..end)
}

/// Bytes of the body behind this beginning of a commit; nothing of it was checked.
pub fn body_length(prefix: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*prefix.get(PREFIX - 4..)?.first_chunk()?))
}

/// R0 of the entry at `offset` of the commit that `statement` is over.
pub(crate) fn receipt(
    statement: &Statement,
    signature: Signature,
    tree: &Tree,
    offset: usize,
    entry: &Entry,
) -> Receipt {
    Receipt {
        statement: statement.clone(),
        signature,
        entry_type: entry.entry_type,
        opcode: entry.opcode,
        entry_flags: entry.flags,
        message_id: entry.message_id,
        // A commit has far fewer than 2^32 entries.
        offset: u32::try_from(offset).unwrap_or(u32::MAX),
        path: tree.path(offset),
    }
}

/// Bytes that are cut off from the front, and never more than there are.
struct Reader(Bytes);

impl Reader {
    fn take(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }
}

const VERSION: u8 = 0;
/// Magic, CRC-32, length.
pub const PREFIX: usize = 16;
/// Version, mode, merge delay, count, first index, durable, time, signature.
const HEAD: usize = 8 + 3 * 8 + 64;
/// Begin, two lengths.
const ROW: usize = 16;
/// Commits begin at multiples of this, so that one can be looked for behind damage.
pub const ALIGN: usize = 8;
