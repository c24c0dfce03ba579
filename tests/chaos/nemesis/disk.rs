//! A disk that can be filled: a small file system of its own in memory, where this
//! process may mount one.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// Some times what a short campaign stores.
const MIB_MIN: usize = 512;

/// The same for each of many runs.
const MIB_PER_HUNDRED_RUNS: usize = 25;

/// What one write of the filling brings.
const FILL_BYTES: usize = 1024 * 1024;

/// A file system that ends with this value.
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts one at `folder` that is large enough for so many runs; or says why that cannot be done.
    pub(crate) fn mount(folder: &Path, runs: usize) -> Result<Self, String> {
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let size = format!("size={}m", MIB_MIN.max(runs / 100 * MIB_PER_HUNDRED_RUNS));
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "planfleet-chaos"]).arg(folder).output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self { folder: folder.to_owned() }),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes all the room that is left; says how that was seen.
    pub(crate) fn fill(&self) -> Result<String, String> {
        let mut file = File::create(self.filling()).map_err(|error| error.to_string())?;
        let piece = vec![0; FILL_BYTES];
        let mut size = FILL_BYTES;
        loop {
            match file.write(&piece[..size]) {
                Ok(0) => return Err("a write of nothing".to_owned()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull && size > 1 => size = 1,
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    return Ok(format!("a write of one byte: {error}"));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Whether a single byte still finds no room.
    pub(crate) fn is_full(&self) -> bool {
        let probe = self.folder.join("probe");
        let opened = OpenOptions::new().create(true).append(true).open(&probe);
        let written = opened.and_then(|mut file| file.write_all(b"x"));
        // It may not even have been made.
        let _ = fs::remove_file(probe);
        written.is_err_and(|error| error.kind() == ErrorKind::StorageFull)
    }

    /// Gives the room back.
    pub(crate) fn free(&self) {
        // It may be gone already, which is as good.
        let _ = fs::remove_file(self.filling());
    }

    fn filling(&self) -> PathBuf {
        self.folder.join("filling")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server that is just ending may still have files open.
        let unmounted = Command::new("umount").arg("-l").arg(&self.folder).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            println!("cannot unmount {}", self.folder.display());
        }
    }
}
