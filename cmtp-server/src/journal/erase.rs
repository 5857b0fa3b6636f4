//! Finding what is to be erased, and destroying its keys. `cmtp-spec/spec/17-journal.md`, section Erasure.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use cmtp_codec::journal::{Degree, Piece};
use cmtp_codec::{Digest, Entry};
use cmtp_spec::EntryType;
use tokio::sync::oneshot;

use crate::journal::Journal;
use crate::journal::clerk::Moving;

/// What names a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// F, of its seal.
    Seal(Digest),
    /// One of its entries.
    Entry(u64),
    /// Its id, which another caller's message may have, too.
    Id([u8; 16]),
}

/// A message that has ended, in the journal.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its entries, ascending.
    pub(crate) pieces: Vec<u64>,
    /// The entry that ends it.
    pub(crate) last: Entry,
    /// The notes that tell of its erasure.
    pub(crate) noted: Vec<(u64, Degree)>,
}

/// A message's entries so far, by index.
type Pieces = Vec<(u64, Entry)>;

impl Named {
    /// Reads what a person names: 64 hexadecimal digits are F, 32 (with or without hyphens) an id, decimal ones an index.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = |text: &str| {
            data_encoding::HEXLOWER_PERMISSIVE.decode(text.replace('-', "").as_bytes()).ok()
        };
        match text.replace('-', "").len() {
            64 => Some(Self::Seal(Digest(hex(text)?.try_into().ok()?))),
            32 => Some(Self::Id(hex(text)?.try_into().ok()?)),
            _ => text.parse().ok().map(Self::Entry),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seal(seal) => write!(f, "seal {seal}"),
            Self::Entry(index) => write!(f, "entry {index}"),
            Self::Id(id) => write!(f, "message id {}", data_encoding::HEXLOWER.encode(id)),
        }
    }
}

impl Journal {
    /// Finds the message that is named so. Reads all entries, so it takes its time.
    pub(crate) fn find_message(&self, named: Named) -> Result<Found, FindError> {
        let missing = || FindError::Missing(named);
        let id = match named {
            Named::Id(id) => id,
            Named::Entry(index) => {
                let piece = self.piece(index).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => missing(),
                    _ => FindError::Io(error),
                })?;
                // [ERA-4] A node MUST NOT erase a note of its own.
                if !piece.entry.is_of_message() {
                    return Err(FindError::Note(index));
                }
                piece.entry.message_id
            }
            Named::Seal(seal) => {
                let mut id = None;
                self.each_entry(|_, entry| {
                    if entry.seal == seal && entry.is_of_message() {
                        id = Some(entry.message_id);
                    }
                })?;
                id.ok_or_else(missing)?
            }
        };
        let (mut entries, mut notes) = (Vec::new(), Vec::new());
        self.each_entry(|index, entry| {
            if entry.message_id == id && entry.is_of_message() {
                entries.push((index, entry));
            } else if let (true, Some(degree)) =
                (entry.message_id == id, Degree::of(entry.entry_type))
            {
                notes.push((index, degree, entry.seal));
            }
        })?;
        let mut messages = BTreeMap::<u64, Pieces>::new();
        for (index, entry) in entries {
            messages.entry(self.piece(index)?.begin).or_default().push((index, entry));
        }
        messages.retain(|_, pieces| match named {
            Named::Id(_) => true,
            Named::Entry(wanted) => pieces.iter().any(|(index, _)| *index == wanted),
            Named::Seal(seal) => pieces.iter().any(|(_, entry)| entry.seal == seal),
        });
        let Some((_, pieces)) = messages.pop_first() else { return Err(missing()) };
        if !messages.is_empty() {
            let candidates = [pieces].into_iter().chain(messages.into_values());
            let candidates = candidates.filter_map(|pieces| pieces.last().copied());
            return Err(FindError::Ambiguous { named, ends: candidates.collect() });
        }
        match pieces.last() {
            // [ERA-4] … nor a message that has not ended.
            Some((index, last)) if !last.ends_message() => Err(FindError::Open(*index)),
            None => Err(missing()),
            Some((_, last)) => Ok(Found {
                last: *last,
                noted: notes
                    .into_iter()
                    .filter(|(.., seal)| *seal == last.seal)
                    .map(|(index, degree, _)| (index, degree))
                    .collect(),
                pieces: pieces.iter().map(|(index, _)| *index).collect(),
            }),
        }
    }

    /// The piece of the entry `index`.
    pub(crate) fn piece(&self, index: u64) -> io::Result<Piece> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no entry {index}"));
        let mut commit = self.store.read(index)?;
        let offset = usize::try_from(index - commit.first).map_err(|_too_far| missing())?;
        if offset >= commit.pieces.len() {
            return Err(missing());
        }
        Ok(commit.pieces.swap_remove(offset))
    }

    /// Destroys the keys of these entries, ascending; whether any of them was there is given back. Done twice, it does no
    /// harm.
    pub(crate) async fn destroy(
        &self,
        pieces: &[u64],
        degree: Degree,
    ) -> Result<bool, DestroyError> {
        let mut left = Vec::new();
        for &index in pieces {
            let keys = self.piece(index)?.hidden.keys;
            if keys.has_content() || (degree == Degree::Forget && keys.has_cores()) {
                left.push(index);
            }
        }
        // [ERA-3] A commit's checksum covers its keys: a log that holds one is moved first, and is no log afterwards.
        if let Some(&entry) = left.last() {
            let (moved, is_moved) = oneshot::channel();
            self.clerk.have_moved(Moving { entry, moved });
            match tokio::time::timeout(MOVING, is_moved).await {
                Ok(Ok(())) => {}
                _ => return Err(DestroyError::NotMoved),
            }
        }
        let mut files = BTreeMap::<u64, Vec<u64>>::new();
        for &index in &left {
            let (_, first) = self.store.segment(index).ok_or(DestroyError::NotMoved)?;
            files.entry(first).or_default().push(index);
        }
        for (first, entries) in files {
            let (segment, _) = self.store.segment(first).ok_or(DestroyError::NotMoved)?;
            segment.destroy(&entries, degree)?;
        }
        Ok(!left.is_empty())
    }

    fn each_entry(&self, mut show: impl FnMut(u64, Entry)) -> io::Result<()> {
        self.store.each_entry(|index, bytes| {
            if let Some(entry) = Entry::from_bytes(bytes) {
                show(index, entry);
            }
        })
    }
}

/// Why there is nothing to be erased.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FindError {
    #[error("the journal has no message with {0}; see: cmtpd journal list")]
    Missing(Named),
    #[error("entry {0} is a note of the node's own, which can't be erased")]
    Note(u64),
    #[error("the message of entry {0} has not ended yet; erase it when it has")]
    Open(u64),
    #[error("{} messages have {named}; name one by its seal: {}", ends.len(), candidates(ends))]
    Ambiguous { named: Named, ends: Pieces },
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Why keys stand that were to be destroyed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DestroyError {
    #[error("a log can't be moved yet: has the disk room?")]
    NotMoved,
    #[error("{0}")]
    Io(#[from] io::Error),
}

fn candidates(pieces: &Pieces) -> String {
    let named = |(index, entry): &(u64, Entry)| {
        let kind = EntryType::name(entry.entry_type).unwrap_or("unknown");
        format!("{} (entry {index}, {kind}, status {})", entry.seal, entry.status.0)
    };
    let named: Vec<_> = pieces.iter().take(CANDIDATES).map(named).collect();
    let more = pieces.len().saturating_sub(CANDIDATES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    named.join(", ") + &more
}

/// What an answer's detail has room for: about 12 kB.
const CANDIDATES: usize = 100;
/// A log of 64 MiB is moved in a second or two; a disk that is full takes no move at all.
const MOVING: Duration = Duration::from_secs(15);
