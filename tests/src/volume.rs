//! A small filesystem of its own, in a file: it can be full, and copied as a power cut would leave it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A mounted ext4 filesystem; dropped, it is gone.
#[derive(Debug)]
pub struct Volume {
    /// Holds the image and the mount point.
    folder: TempDir,
    mount: PathBuf,
}

impl Volume {
    /// Makes one of so many MiB.
    ///
    /// # Panics
    /// Without root, `mkfs.ext4` or loop devices.
    pub fn new(mebibytes: u64) -> Self {
        let volume = Self::empty();
        let file = fs::File::create(volume.image()).expect("an image");
        file.set_len(mebibytes << 20).expect("room for the image");
        run(Command::new("mkfs.ext4").arg("-q").arg(volume.image()));
        volume.mount();
        volume
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// What its disk holds now, without what is in memory only; not mounted yet.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn copy(&self) -> Self {
        let copy = Self::empty();
        fs::copy(self.image(), copy.image()).expect("a copy of the image");
        copy
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mount = folder.path().join("mount");
        fs::create_dir(&mount).expect("a mount point");
        Self { folder, mount }
    }

    /// Mounts a copy.
    ///
    /// # Panics
    /// Without root or loop devices.
    pub fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(&self.mount));
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Detached where something still runs on it; the image goes with the folder.
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.mount).status();
    }
}

fn run(command: &mut Command) {
    let status = command.status();
    let done = status.as_ref().is_ok_and(std::process::ExitStatus::success);
    assert!(done, "{command:?}: {status:?}; this test needs root, mkfs.ext4 and loop devices");
}
