//! What can be read of a stored file that is broken.

use bytes::Bytes;
use cmtp_codec::{Assembler, FrameReader, Link, Part, Source};
use cmtp_spec::{binding, limits};

/// The layers before the place where a stored file can't be read on. For display only: nothing is checked.
///
/// ```
/// assert!(cmtp_client::salvage(b"no message at all").is_empty());
/// ```
pub fn salvage(file: &[u8]) -> Vec<Link> {
    let mut links = Vec::new();
    let Some(frames) = file.strip_prefix(&binding::STORED_MAGIC) else { return links };
    // The version's one byte; of another version nothing is known.
    let Some(frames) = frames.strip_prefix(&[0]) else { return links };
    let mut reader = FrameReader::new(0);
    reader.push_bytes(Bytes::copy_from_slice(frames));
    let mut assembler = Assembler::new(Source::Stored, limits::STORED_MAX);
    while let Ok(Some(frame)) = reader.next_frame() {
        match assembler.take(frame) {
            Ok(Some(Part::Link(link))) => links.push(*link),
            Ok(_) => {}
            Err(_broken) => break,
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sample;

    #[test]
    fn layers_before_the_break_are_saved() {
        let file = Sample::answer().message().to_stored();
        assert_eq!(salvage(&file).len(), 3);
        for length in 0..file.len() {
            let links = salvage(&file[..length]);
            assert!(links.len() <= 3, "{length}");
        }
        assert_eq!(salvage(&file[..file.len() / 3]).len(), 1);
    }
}
