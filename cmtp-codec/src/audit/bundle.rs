//! Entries as a log serves them: C2SP tlog-tiles, each behind its length in two bytes.

use crate::receipt::Entry;

/// The entries of a bundle; `None` where one has not the length of an entry, there are more than `max`, or bytes are left.
pub fn read_bundle(bytes: &[u8], max: usize) -> Option<Vec<[u8; Entry::LENGTH]>> {
    let (chunks, rest) = bytes.as_chunks::<CHUNK>();
    if !rest.is_empty() || chunks.len() > max {
        return None;
    }
    let entry = |chunk: &[u8; CHUNK]| {
        let (length, entry) = chunk.split_first_chunk::<2>()?;
        let is_entry = usize::from(u16::from_be_bytes(*length)) == Entry::LENGTH;
        entry.first_chunk().copied().filter(|_| is_entry)
    };
    chunks.iter().map(entry).collect()
}

/// Writes what [`read_bundle`] reads.
pub fn write_bundle(entries: &[[u8; Entry::LENGTH]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * CHUNK);
    for entry in entries {
        // An entry is far shorter than 2^16.
        bytes.extend(u16::try_from(Entry::LENGTH).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(entry);
    }
    bytes
}

const CHUNK: usize = 2 + Entry::LENGTH;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_read_as_it_is_written_or_not_at_all() {
        let entries = [[1; Entry::LENGTH], [2; Entry::LENGTH]];
        let bytes = write_bundle(&entries);
        assert_eq!(read_bundle(&bytes, 2), Some(entries.to_vec()));
        assert_eq!(read_bundle(&[], 2), Some(Vec::new()));
        let mut other = bytes.clone();
        other[1] += 1;
        for (bytes, max) in [(&bytes[..], 1), (&bytes[1..], 2), (&bytes[..69], 2), (&other[..], 2)]
        {
            assert_eq!(read_bundle(bytes, max), None);
        }
    }
}
