//! Where the index is, and that nobody else has it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// Where the index is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IndexFile {
    /// In a folder of its own that goes with the process.
    #[default]
    Temporary,
    /// Here, or, where another process has that or nothing can be written, temporary.
    Preferably(PathBuf),
    /// Here and nowhere else.
    At(PathBuf),
}

/// Why the index cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or its folder cannot be made or read.
    #[error("api.index_file: {path}: {error}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another process has it open.
    #[error("api.index_file: {} is in use by another process; give each its own", .0.display())]
    Taken(PathBuf),
    /// SQLite cannot use it.
    #[error("api.index_file: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// A file that is ours for as long as this lives.
pub(super) struct Place {
    path: PathBuf,
    /// Its lock, which the system lets go when the process ends, however that is.
    _lock: Option<File>,
    _folder: Option<TempDir>,
}

impl Place {
    pub(super) fn take(file: &IndexFile) -> Result<Self, OpenError> {
        match file {
            IndexFile::Temporary => Self::temporary(),
            IndexFile::At(path) => Self::at(path),
            IndexFile::Preferably(path) => match Self::at(path) {
                Err(OpenError::Taken(path)) => {
                    tracing::info!(path = %path.display(), "another process has the index; using a temporary one");
                    Self::temporary()
                }
                // Nobody has asked for this place, and what is in it is made again anyhow: a service
                // whose home is read-only goes on.
                Err(error @ OpenError::Io { .. }) => {
                    tracing::warn!(%error, "the index cannot be there; using a temporary one");
                    Self::temporary()
                }
                taken => taken,
            },
        }
    }

    fn temporary() -> Result<Self, OpenError> {
        let io = |error| OpenError::Io { path: std::env::temp_dir(), error };
        let folder = tempfile::Builder::new().prefix("planfleet-index-").tempdir().map_err(io)?;
        Ok(Self { path: folder.path().join("runs.sqlite"), _lock: None, _folder: Some(folder) })
    }

    fn at(path: &Path) -> Result<Self, OpenError> {
        let io = |error| OpenError::Io { path: path.to_owned(), error };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(io)?;
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".lock");
        let lock = File::create(beside).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Some(lock), _folder: None }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Taken(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(io(error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
