//! One file of the write-ahead log: header, then commits. `cmtp-spec/spec/17-journal.md`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cmtp_codec::PublicKey;
use cmtp_codec::journal::{Commit, HEADER, header};

/// What a log is written to; a simulated disk in tests, a file else.
pub(crate) trait LogFile: Send {
    /// Writes all of `bytes` at `offset`.
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Comes back when all that was written is durable.
    fn sync(&self) -> io::Result<()>;
    /// Lets the disk begin with what was written to these bytes, and waits for nothing.
    fn begin_write_back(&self, _bytes: Range<u64>) {}
}

impl LogFile for File {
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn begin_write_back(&self, bytes: Range<u64>) {
        use rustix::fs::{Advice, fadvise};
        // Linux writes dirty pages out that are not needed any more. It is a hint, and the sync finds what became of it.
        let length = NonZeroU64::new(bytes.end - bytes.start);
        let _hint = fadvise(self, bytes.start, length, Advice::DontNeed);
    }
}

/// The file that commits are appended to.
pub(crate) struct Wal<F> {
    file: F,
    /// Where the next commit begins.
    end: u64,
    /// How far the file is known to be durable.
    durable: u64,
    /// Room that was set aside for the file, bytes.
    size: u64,
    /// Up to here the disk was told to begin.
    hinted: u64,
    /// The commit that is written; kept, because fresh memory costs more than what is put there.
    buffer: Vec<u8>,
}

impl<F: LogFile> Wal<F> {
    /// Goes on at `end`, up to which the file is durable.
    pub(crate) const fn new(file: F, end: u64, size: u64) -> Self {
        Self { file, end, durable: end, size, hinted: end, buffer: Vec::new() }
    }

    /// Whether a commit of `size` bytes would not fit any more. One that fits no file gets one of its own.
    pub(crate) const fn is_full_for(&self, size: usize) -> bool {
        self.end + size as u64 > self.size && self.end > HEADER as u64
    }

    /// Writes a commit behind the last one; where it begins and ends is given back. Nothing is durable yet.
    ///
    /// # Errors
    /// What the disk says; the next commit is written to the same place.
    pub(crate) fn append(&mut self, commit: &mut Commit) -> io::Result<(u64, u64)> {
        commit.durable = self.durable;
        commit.encode(&mut self.buffer);
        self.file.write(&self.buffer, self.end)?;
        let start = self.end;
        self.end += self.buffer.len() as u64;
        if self.end - self.hinted >= WRITE_BACK {
            // So that little is left to do for a sync, which all wait for.
            self.file.begin_write_back(self.hinted..self.end);
            self.hinted = self.end;
        }
        // What a rare large commit took is given back.
        self.buffer.shrink_to(BUFFER);
        Ok((start, self.end))
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    /// What the disk says: nothing of the file can be relied on then.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.durable < self.end {
            self.file.sync()?;
            self.durable = self.end;
        }
        Ok(())
    }

    /// Whether more than half of its room is used.
    pub(crate) const fn is_half_full(&self) -> bool {
        self.end > self.size / 2
    }

    /// Whether something is not durable yet.
    pub(crate) const fn is_dirty(&self) -> bool {
        self.durable < self.end
    }
}

/// Makes a file with room for `size` bytes that begins with the entry `first`.
///
/// The room is set aside now, so that no later write to it finds the disk full, and no write changes the file's size.
pub(crate) fn create(path: &Path, node: &PublicKey, first: u64, size: u64) -> io::Result<File> {
    let unfinished = path.with_extension(UNFINISHED);
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).read(true).write(true);
    let file = private(&mut options).open(&unfinished)?;
    let made = allocate(&file, size)
        .and_then(|()| file.write_all_at(&header(node, first), 0))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&unfinished, path))
        .and_then(|()| sync_folder(path));
    if made.is_err() {
        // A file without its room only takes the room that is missing.
        let _gone = fs::remove_file(&unfinished);
    }
    made.map(|()| file)
}

/// A file for the next log, made ahead: to make one takes longer than a caller should wait.
///
/// It is full of zeros, where a log that is made in haste has room set aside that was never written: a sync of what is
/// written over does not have to change what the file system knows of the file, and takes about half as long.
#[derive(Debug)]
pub(crate) struct Spare {
    file: File,
    path: PathBuf,
    pub(crate) size: u64,
}

impl Spare {
    /// Makes one of `size` bytes, where the disk has much more than that: of `old`, a log that is not needed any more, or anew.
    pub(crate) fn create(folder: &Path, size: u64, old: Option<&Path>) -> io::Result<Option<Self>> {
        let disk = rustix::fs::statvfs(folder)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < size.saturating_mul(SPARE_SHARE) {
            return Ok(None);
        }
        let path = folder.join("spare").with_extension(UNFINISHED);
        if let Some(old) = old {
            // Its blocks are at hand: to give them back and to get others takes the disk longer than to write them.
            fs::rename(old, &path)?;
            sync_folder(&path)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let file = private(&mut options).open(&path)?;
        let made = write_zeros(&file, size)
            .and_then(|()| file.set_len(size))
            .and_then(|()| file.sync_all());
        if made.is_err() {
            let _gone = fs::remove_file(&path);
        }
        made.map(|()| Some(Self { file, path, size }))
    }

    /// Makes it the log that begins with the entry `first`.
    pub(crate) fn begin(self, path: &Path, node: &PublicKey, first: u64) -> io::Result<File> {
        self.file.write_all_at(&header(node, first), 0)?;
        self.file.sync_data()?;
        fs::rename(&self.path, path)?;
        sync_folder(path)?;
        Ok(self.file)
    }
}

/// The number in a file's name: the index of its first entry.
pub(crate) fn first_of(path: &Path, extension: &str) -> Option<u64> {
    let is_ours = path.extension().is_some_and(|found| found == extension);
    is_ours.then(|| path.file_stem()?.to_str()?.parse().ok())?
}

/// The path of a file whose first entry is `first`.
pub(crate) fn path(folder: &Path, first: u64, extension: &str) -> PathBuf {
    folder.join(format!("{first:020}.{extension}"))
}

/// Makes the name of a file durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Whoever can read the journal can read what it holds the keys for.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600)
}

pub(crate) fn allocate(file: &File, size: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        // Where the filesystem can't set room aside, zeros do.
        Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(file, size),
        allocated => Ok(allocated?),
    }
}

fn write_zeros(file: &File, size: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS];
    let mut at = 0;
    while at < size {
        let mut rest = zeros.as_slice();
        rest = &rest[..usize::try_from(size - at).unwrap_or(ZEROS).min(ZEROS)];
        file.write_all_at(rest, at)?;
        at += rest.len() as u64;
        file.sync_data()?;
    }
    Ok(())
}

/// Ending of a log's name.
pub(crate) const WAL: &str = "wal";
/// Ending of what is not whole yet.
pub(crate) const UNFINISHED: &str = "unfinished";
/// Bytes that are kept to write commits: of a few hundred messages.
const BUFFER: usize = 1 << 20;
/// Bytes that may wait for a sync, about: some milliseconds of a disk's time.
const WRITE_BACK: u64 = 4 << 20;
/// A spare file takes at most this share of what is free.
const SPARE_SHARE: u64 = 16;
/// Bytes that are synced at a time by who is in no hurry: the log's own syncs wait for whatever the disk has to do.
pub(crate) const TRICKLE: u64 = 1 << 20;
const ZEROS: usize = 1 << 20;
