//! The directory that holds what a person keeps: identity and known nodes.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The directory for identity and known nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// A directory; it need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// `CMTP_HOME`, or `~/.config/cmtp`.
    ///
    /// # Errors
    /// [`HomeError::Nowhere`] where neither `CMTP_HOME` nor `HOME` is set.
    pub fn from_env() -> Result<Self, HomeError> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        if let Some(home) = set("CMTP_HOME") {
            return Ok(Self::new(home));
        }
        let user = set("HOME").ok_or(HomeError::Nowhere)?;
        Ok(Self::new(Path::new(&user).join(".config").join("cmtp")))
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes the directory, for its owner only, where it is not there.
    pub(crate) fn create(&self) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.0)
    }

    /// Keeps other processes from changing the directory's files until the lock is dropped.
    pub(crate) fn lock(&self) -> io::Result<File> {
        self.create()?;
        let lock = File::create(self.file("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => lock.lock().map(|()| lock),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Why there is no directory to keep things in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The environment names none.
    #[error("neither CMTP_HOME nor HOME is set; set CMTP_HOME to a directory of yours")]
    Nowhere,
}

/// Whether a file that is there is replaced. Closed: a file is there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and writing fails.
    Keep,
    /// It is replaced.
    Replace,
}

/// Writes a file whole or not at all, readable by its owner only, and durable once this returns.
///
/// # Errors
/// The file system's; [`io::ErrorKind::AlreadyExists`] with [`Existing::Keep`].
pub fn write_whole(path: &Path, bytes: &[u8], existing: Existing) -> io::Result<()> {
    let directory = directory_of(path);
    // `tempfile` makes files with mode 0600.
    let mut file = tempfile::Builder::new().prefix(".cmtp-").tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match existing {
        Existing::Keep => file.persist_noclobber(path),
        Existing::Replace => file.persist(path),
    }
    .map_err(|failed| failed.error)?;
    sync_directory(directory)
}

/// The directory that a file stands in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes durable which files a directory has: a new name, or that one is gone.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
