//! One commit of a file, read where it stands.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use cmtp_codec::journal::{ALIGN, PREFIX, body_length, framed};

/// Reads the body of the commit that begins at `at`, and says where the next one would begin.
pub(crate) fn read_body(file: &File, at: u64) -> io::Result<(Bytes, u64)> {
    let damaged =
        || io::Error::new(io::ErrorKind::InvalidData, "a commit of the journal is damaged");
    let mut prefix = [0; PREFIX];
    file.read_exact_at(&mut prefix, at)?;
    let length = body_length(&prefix).ok_or_else(damaged)?;
    let size = PREFIX as u64 + u64::from(length);
    // A length beyond the file is damage, and no reason to make room for it.
    if at + size > file.metadata()?.len() {
        return Err(damaged());
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut bytes, at)?;
    let body = framed(&bytes, 0).ok_or_else(damaged)?;
    Ok((Bytes::from(bytes).slice(body), at + size.next_multiple_of(ALIGN as u64)))
}
