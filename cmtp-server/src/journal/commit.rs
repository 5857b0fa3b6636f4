//! A commit: what one signature and one write cover. `cmtp-spec/spec/17-journal.md`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::{Buf, BufMut, Bytes};
use cmtp_codec::merkle::Tree;
use cmtp_codec::{Digest, Entry, Receipt, Signature, SigningKey, Statement};
use cmtp_spec::{JournalMode, binding};

use crate::journal::piece::{Hidden, Piece, PieceKeys};

/// Pieces that were journalled together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Index of the first entry in the log.
    pub(crate) first: u64,
    /// How far the file was known to be durable when this was written, bytes.
    pub(crate) durable: u64,
    pub(crate) mode: JournalMode,
    /// Microseconds since 1970.
    pub(crate) time: u64,
    /// By the node's layer key over the statement.
    pub(crate) signature: Signature,
    pub(crate) pieces: Vec<Piece>,
}

/// Where a commit's bytes end, or why there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framed {
    /// A whole body stands at this range.
    Whole { start: usize, end: usize },
    /// No commit, or one that is not whole.
    Broken,
}

impl Commit {
    /// The statement that the signature is over, and the tree of which it names the root.
    pub(crate) fn statement(&self, log_origin: &str) -> (Statement, Tree) {
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
            merge_delay: 0,
        };
        (statement, tree)
    }

    /// Signs the statement, and gives each piece its R0.
    pub(crate) fn sign(&mut self, log_origin: &str, key: &SigningKey) -> Vec<Receipt> {
        let (statement, tree) = self.statement(log_origin);
        self.signature = statement.sign(key);
        let receipt = |(offset, piece): (usize, &Piece)| {
            receipt(&statement, self.signature, &tree, offset, &piece.entry)
        };
        self.pieces.iter().enumerate().map(receipt).collect()
    }

    /// R0 of the piece at `offset`.
    pub(crate) fn receipt(&self, log_origin: &str, offset: usize) -> Option<Receipt> {
        let (statement, tree) = self.statement(log_origin);
        let entry = &self.pieces.get(offset)?.entry;
        Some(receipt(&statement, self.signature, &tree, offset, entry))
    }

    /// Writes the bytes of the commit in a write-ahead log to `out`, which is emptied first.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.frame(out, |out| {
            self.pieces.iter().for_each(|piece| out.put_slice(&piece.entry.to_bytes()));
            self.pieces.iter().for_each(|piece| out.put_slice(&piece.hidden.keys.0));
        });
    }

    /// As [`Commit::encode`], as it stands in a records file, beside which entries and keys have files of their own.
    pub(crate) fn encode_record(&self, out: &mut Vec<u8>) {
        self.frame(out, |_apart| {});
    }

    fn frame(&self, out: &mut Vec<u8>, entries_and_keys: impl FnOnce(&mut Vec<u8>)) {
        out.clear();
        out.reserve(self.size());
        out.put_slice(&binding::COMMIT_MAGIC);
        out.put_u64(0);
        out.put_u8(VERSION);
        out.put_u8(self.mode.0);
        out.put_u16(0);
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
    pub(crate) fn size(&self) -> usize {
        let pieces = self.pieces.iter().map(Piece::size).sum::<usize>();
        (PREFIX + HEAD + pieces).next_multiple_of(ALIGN)
    }

    /// Reads a body that a write-ahead log holds.
    pub(crate) fn decode(body: Bytes) -> Option<Self> {
        let mut reader = Reader(body);
        let (mut commit, count) = Self::decode_head(&mut reader)?;
        let entries = reader.take(count.checked_mul(Entry::LENGTH)?)?;
        let keys = reader.take(count.checked_mul(PieceKeys::LENGTH)?)?;
        commit.decode_pieces(&mut reader, count, &entries, &keys)?;
        Some(commit)
    }

    /// Reads a body that a records file holds, with the entries and keys that belong to it.
    pub(crate) fn decode_record(body: Bytes, entries: &[u8], keys: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let (mut commit, count) = Self::decode_head(&mut reader)?;
        commit.decode_pieces(&mut reader, count, entries, keys)?;
        Some(commit)
    }

    /// What a body begins with: the commit without its pieces, and how many there are.
    pub(crate) fn decode_bare(body: Bytes) -> Option<(Self, usize)> {
        Self::decode_head(&mut Reader(body))
    }

    fn decode_head(reader: &mut Reader) -> Option<(Self, usize)> {
        let mut head = reader.take(HEAD)?;
        if head.get_u8() != VERSION {
            return None;
        }
        let mode = JournalMode(head.get_u8());
        head.advance(2);
        let count = usize::try_from(head.get_u32()).ok()?;
        let (first, durable, time) = (head.get_u64(), head.get_u64(), head.get_u64());
        let signature = Signature(head.as_ref().try_into().ok()?);
        Some((Self { first, durable, mode, time, signature, pieces: Vec::new() }, count))
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
    pub(crate) fn size(&self) -> usize {
        let hidden = self.hidden.cores.len() + self.hidden.content.len();
        Entry::LENGTH + PieceKeys::LENGTH + ROW + hidden
    }
}

/// Finds the commit that begins at `at`, if a whole one does.
pub(crate) fn framed(file: &[u8], at: usize) -> Framed {
    let whole = || {
        let prefix = file.get(at..at.checked_add(PREFIX)?)?;
        let rest = prefix.strip_prefix(&binding::COMMIT_MAGIC)?;
        let (crc, length) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
        let start = at + PREFIX;
        let end = start.checked_add(length)?;
        let sums = crc32fast::hash(file.get(start - 4..end)?) == u32::from_be_bytes(*crc);
        sums.then_some(Framed::Whole { start, end })
    };
    whole().unwrap_or(Framed::Broken)
}

/// Reads the body of the commit that begins at `at`, and says where the next one would begin.
pub(crate) fn read_body(file: &File, at: u64) -> io::Result<(Bytes, u64)> {
    let damaged =
        || io::Error::new(io::ErrorKind::InvalidData, "a commit of the journal is damaged");
    let mut prefix = [0; PREFIX];
    file.read_exact_at(&mut prefix, at)?;
    let length = u32::from_be_bytes([prefix[12], prefix[13], prefix[14], prefix[15]]);
    let size = PREFIX as u64 + u64::from(length);
    // A length beyond the file is damage, and no reason to make room for it.
    if at + size > file.metadata()?.len() {
        return Err(damaged());
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut bytes, at)?;
    let Framed::Whole { start, end } = framed(&bytes, 0) else { return Err(damaged()) };
    Ok((Bytes::from(bytes).slice(start..end), at + size.next_multiple_of(ALIGN as u64)))
}

fn receipt(
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
pub(crate) const PREFIX: usize = 16;
/// Version, mode, two zero bytes, count, first index, durable, time, signature.
const HEAD: usize = 8 + 3 * 8 + 64;
/// Begin, two lengths.
const ROW: usize = 16;
/// Commits begin at multiples of this, so that one can be looked for behind damage.
pub(crate) const ALIGN: usize = 8;
