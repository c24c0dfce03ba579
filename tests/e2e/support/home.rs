//! A user's home that lasts for one test, and `planfleet` as that user calls it.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

use super::{Outcome, Process, installed};

/// A home. Nothing of the machine's own user reaches the processes in it.
pub(crate) struct Home {
    folder: TempDir,
    started: AtomicU32,
    variables: Vec<(String, OsString)>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("pf-e2e-").tempdir().unwrap();
        let home = Self { folder, started: AtomicU32::new(0), variables: Vec::new() };
        fs::create_dir(home.path("tmp")).unwrap();
        home
    }

    /// Sets a variable for everything that is started from now on.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Runs `planfleet` to its end.
    pub(crate) fn planfleet<S: Into<OsString>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        self.start(args).ended()
    }

    /// Starts `planfleet`.
    pub(crate) fn start<S: Into<OsString>>(&self, args: impl IntoIterator<Item = S>) -> Process {
        let program = Path::new(env!("CARGO_BIN_EXE_planfleet"));
        self.start_program(program, args)
    }

    /// Starts `planfleet` in a folder, with these variables and no others.
    pub(crate) fn start_bare(
        &self,
        args: impl IntoIterator<Item = String>,
        variables: impl IntoIterator<Item = (String, String)>,
        folder: &Path,
    ) -> Process {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new(env!("CARGO_BIN_EXE_planfleet"));
        command.args(args).current_dir(folder).env_clear().envs(variables);
        Process::start(command, &self.path(&format!("process-{number}")))
    }

    /// Starts any program as this user.
    pub(crate) fn start_program<S: Into<OsString>>(
        &self,
        program: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Process {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new(program);
        command.args(args.into_iter().map(Into::into)).current_dir(self.folder.path());
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("PLANFLEET_NATS_SERVER", installed::nats_server());
        command.env("HOME", self.folder.path()).env("TMPDIR", self.path("tmp"));
        for (name, folder) in [("DATA", "data"), ("CONFIG", "config"), ("CACHE", "cache")] {
            command.env(format!("XDG_{name}_HOME"), self.path(folder));
        }
        Process::start(command, &self.path(&format!("process-{number}")))
    }
}
