//! A disk that is small enough to be filled: a tmpfs.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// A mounted disk; unmounted when it is dropped.
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// A new disk of this size at a place, or why this user may not mount one.
    pub(crate) fn mount(path: &Path, mib: u32) -> Result<Self, String> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(path)
            .output()
            .map_err(|error| error.to_string())?;
        if !mounted.status.success() {
            return Err(String::from_utf8_lossy(&mounted.stderr).trim().to_owned());
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Takes all the space that is left.
    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        let mut chunk = vec![0; 64 << 10];
        loop {
            match filler.write_all(&chunk) {
                Ok(()) => {}
                // The last pages, one by one.
                Err(_) if chunk.len() > 512 => chunk.truncate(chunk.len() / 2),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                    return;
                }
            }
        }
    }

    /// Gives the space back.
    pub(crate) fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the server that has it open may be ending just now.
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path.display());
        }
    }
}
