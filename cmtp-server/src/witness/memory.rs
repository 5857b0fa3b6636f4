//! What a witness saw of a log: on the disk, and only then in an answer.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cmtp_client::Existing;
use cmtp_codec::Digest;
use cmtp_codec::log::{Checkpoint, CheckpointError, SignedCheckpoint};

use crate::log::CHECKPOINT;
use crate::witness::{Refused, WitnessError, write};

/// The last checkpoint of one log that was cosigned; in a file that is served as it is.
#[derive(Debug)]
pub(crate) struct Remembered {
    file: PathBuf,
    /// What is known of a log of which nothing is.
    nothing: Checkpoint,
    last: Mutex<Option<SignedCheckpoint>>,
}

impl Remembered {
    /// Reads what a folder holds of the log with this origin, and makes the folder where there is none.
    pub(crate) fn open(
        folder: PathBuf,
        origin: String,
        check: impl FnOnce(&SignedCheckpoint) -> Result<(), CheckpointError>,
    ) -> Result<Self, WitnessError> {
        let io = |source| WitnessError::Io { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(io)?;
        if let Some(above) = folder.parent() {
            File::open(above).and_then(|above| above.sync_all()).map_err(io)?;
        }
        let file = folder.join(CHECKPOINT);
        let damaged = |fault| WitnessError::Memory { path: file.clone(), fault };
        let last = match fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            read => {
                let text = String::from_utf8(read.map_err(io)?);
                let text = text.map_err(|_bytes| damaged(CheckpointError::Malformed))?;
                let note = SignedCheckpoint::parse(&text).map_err(damaged)?;
                check(&note).map_err(damaged)?;
                Some(note)
            }
        };
        let nothing = Checkpoint { origin, size: 0, root: Digest::of(&[]) };
        Ok(Self { file, nothing, last: Mutex::new(last) })
    }

    /// The note that was remembered last.
    pub(crate) fn note(&self) -> Option<String> {
        self.last().as_ref().map(|last| last.note().to_owned())
    }

    /// Lets `judge` see what is known, remembers the note that it gives, and only then gives its answer.
    pub(crate) fn replace<T>(
        &self,
        judge: impl FnOnce(&Checkpoint) -> Result<(SignedCheckpoint, T), Refused>,
    ) -> Result<T, Refused> {
        let mut last = self.last();
        let known = last.as_ref().map_or(&self.nothing, SignedCheckpoint::untrusted);
        let (note, answer) = judge(known)?;
        write(&self.file, note.note(), Existing::Replace)?;
        *last = Some(note);
        Ok(answer)
    }

    fn last(&self) -> MutexGuard<'_, Option<SignedCheckpoint>> {
        // It is replaced as a whole, and after the disk.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That one process alone uses a folder.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn take(folder: &Path) -> Result<Self, WitnessError> {
        let path = folder.join("lock");
        let io = |source: io::Error| WitnessError::Io { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(io)?;
        let options = &mut OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(WitnessError::InUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }
}
