//! The folder that an embedded broker keeps its data in, used by one process at a time.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::exit::Failure;

/// A folder in use.
pub(crate) struct Folder {
    path: PathBuf,
    /// Released when the process ends, however it ends.
    _lock: Option<File>,
    temporary: Option<tempfile::TempDir>,
}

impl Folder {
    /// A folder that a restart finds again.
    pub(crate) fn locked(path: &Path) -> Result<Self, Failure> {
        let trouble =
            |error: std::io::Error| Failure::usage(format!("data folder {}: {error}", path.display()));
        fs::create_dir_all(path).map_err(trouble)?;
        let lock = File::create(path.join("planfleet.lock")).map_err(trouble)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Some(lock), temporary: None }),
            Err(TryLockError::WouldBlock) => Err(Failure::usage(format!(
                "the data folder {} is in use by another planfleet; stop it, or set data.dir",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(trouble(error)),
        }
    }

    /// A folder that goes away with this process.
    pub(crate) fn temporary() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("planfleet-")
            .tempdir()
            .map_err(|error| Failure::unexpected(format!("no temporary folder: {error}")))?;
        Ok(Self { path: folder.path().to_owned(), _lock: None, temporary: Some(folder) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(folder) = self.temporary.take() {
            // What is left of it is in the system's temporary folder and harmless.
            let _ = folder.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_used_by_one_at_a_time() {
        let base = tempfile::tempdir().unwrap();
        let first = Folder::locked(base.path()).unwrap();
        assert!(Folder::locked(base.path()).is_err());
        drop(first);
        assert!(Folder::locked(base.path()).is_ok());
    }
}
