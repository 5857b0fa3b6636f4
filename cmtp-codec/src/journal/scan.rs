//! A whole log file: header, then commits. `cmtp-spec/spec/17-journal.md`.

use bytes::{BufMut, Bytes};
use cmtp_spec::binding;

use crate::journal::commit::{ALIGN, Commit, framed};
use crate::key::PublicKey;

/// What a file was found to hold.
#[derive(Debug)]
pub struct Scanned {
    /// The commits, each with its place.
    pub commits: Vec<(Commit, u64)>,
    /// Where the last whole commit ends.
    pub end: u64,
    /// Bytes behind it that are no whole commit and were never promised to anybody.
    pub torn: bool,
    /// What no commit says was durable, up to the end.
    pub last: Bytes,
}

/// Reads all commits of a file that begins with the entry `first`.
///
/// # Errors
/// [`Damage`] where a commit that was durable once is not whole.
pub fn scan(file: &Bytes, node: &PublicKey, first: u64) -> Result<Scanned, Damage> {
    if file.get(..HEADER) != Some(&header(node, first)) {
        return Err(Damage { offset: 0, what: Broken::Header });
    }
    let mut scanned =
        Scanned { commits: Vec::new(), end: HEADER as u64, torn: false, last: Bytes::new() };
    let (mut at, mut next) = (HEADER, first);
    while let Some(body) = framed(file, at) {
        let end = body.end;
        let commit = Commit::decode(file.slice(body))
            .filter(|commit| commit.first == next)
            .ok_or(Damage { offset: at as u64, what: Broken::Order })?;
        next += commit.pieces.len() as u64;
        scanned.commits.push((commit, at as u64));
        at = end.next_multiple_of(ALIGN);
    }
    scanned.end = at as u64;
    let durable = scanned.commits.last().map_or(at as u64, |(commit, _)| commit.durable);
    let durable = usize::try_from(durable).unwrap_or(at).clamp(HEADER, at.min(file.len()));
    scanned.last = file.slice(durable..at.min(file.len()));
    scanned.torn = file.get(at..).is_some_and(|rest| rest.iter().any(|&byte| byte != 0));
    if scanned.torn {
        check_tail(file, at, next)?;
    }
    Ok(scanned)
}

/// [JRN-7] A torn tail is behind all that was durable: a later commit that says otherwise tells of damage.
fn check_tail(file: &Bytes, at: usize, next: u64) -> Result<(), Damage> {
    let magic = &binding::COMMIT_MAGIC[..];
    for later in (at..file.len()).step_by(ALIGN) {
        if !file[later..].starts_with(magic) {
            continue;
        }
        let Some(body) = framed(file, later) else { continue };
        let commit = Commit::decode_bare(file.slice(body));
        if commit.is_some_and(|(commit, _)| commit.durable > at as u64 && commit.first > next) {
            return Err(Damage { offset: at as u64, what: Broken::Commit });
        }
    }
    Ok(())
}

/// A file of the journal that lost what was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {what}")]
pub struct Damage {
    /// Bytes from the beginning of the file.
    pub offset: u64,
    /// What is wrong there.
    pub what: Broken,
}

/// What is wrong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Magic, first index or node.
    #[error("the header is not that of this node's journal")]
    Header,
    /// CRC-32, length or form.
    #[error("a commit that was durable is damaged")]
    Commit,
    /// First index.
    #[error("a commit does not continue the one before")]
    Order,
}

/// What every file of the journal begins with.
pub fn header(node: &PublicKey, first: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let mut out = header.as_mut_slice();
    out.put_slice(&binding::JOURNAL_MAGIC);
    out.put_u64(first);
    out.put_slice(&node.0);
    header
}

/// Bytes of [`header`].
pub const HEADER: usize = 64;
