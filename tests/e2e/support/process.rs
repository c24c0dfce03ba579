//! Child processes, each ended by its own id.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use serde_json::Value;

use super::until;

/// A process that ends with the test at the latest.
pub(crate) struct Process {
    child: Child,
    shown: String,
    out: PathBuf,
    err: PathBuf,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) shown: String,
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Process {
    pub(super) fn start(mut command: Command, output: &Path) -> Self {
        let (out, err) = (output.with_extension("out"), output.with_extension("err"));
        // Held open as long as the process is held: some end with it.
        command.stdin(Stdio::piped());
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let shown = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        Self { child, shown, out, err }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    pub(crate) fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Gives it all of its standard input.
    pub(crate) fn feed(&mut self, input: impl AsRef<[u8]>) {
        self.child.stdin.take().expect("its input was not closed").write_all(input.as_ref()).unwrap();
    }

    /// `kill -9`, and its end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// `kill -TERM`.
    pub(crate) fn terminate(&self) {
        signal("TERM", self.pid());
    }

    /// `kill -STOP`: it stands still, its connections up.
    pub(crate) fn freeze(&self) {
        signal("STOP", self.pid());
    }

    /// `kill -CONT`.
    pub(crate) fn thaw(&self) {
        signal("CONT", self.pid());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.status().is_some()
    }

    /// How it has ended, if it has.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has written a text to standard error.
    pub(crate) fn says(&mut self, text: &str) {
        until(&format!("{text:?} of {}", self.shown), || {
            let said = self.err().contains(text);
            let ended = self.status();
            assert!(said || ended.is_none(), "{} ended with {ended:?}: {}", self.shown, self.err());
            said.then_some(())
        });
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Outcome {
        let what = format!("the end of {}", self.shown);
        let status = until(&what, || self.child.try_wait().unwrap());
        Outcome { shown: self.shown.clone(), status, out: self.out(), err: self.err() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let (out, err) = (self.out(), self.err());
            eprintln!("--- {}\n{out}{err}", self.shown);
        }
    }
}

impl Outcome {
    /// The same, if it ended with this code.
    pub(crate) fn code(self, expected: i32) -> Self {
        let signal = self.status.signal();
        assert_eq!(
            self.status.code(),
            Some(expected),
            "signal {signal:?}\n{}\n{}\n{}",
            self.shown,
            self.out,
            self.err
        );
        self
    }

    /// The JSON on standard output.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{self:#?}"))
    }

    /// Standard error if it is one line.
    pub(crate) fn one_line(&self) -> &str {
        let line = self.err.trim_end();
        assert!(!line.is_empty() && !line.contains('\n'), "not one line: {self:#?}");
        line
    }
}

/// `kill -9` of a process that is not ours to wait for.
pub(crate) fn kill(pid: u32) {
    signal("KILL", pid);
}

fn signal(name: &str, pid: u32) {
    let kill = format!("kill -{name} {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// All processes that a process has started, and those that they have.
pub(crate) fn descendants(pid: u32) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = processes().filter_map(|child| Some((child, stat(child)?.1))).collect();
    let mut found = BTreeSet::from([pid]);
    loop {
        let more = parents.iter().filter(|(child, parent)| found.contains(parent) && !found.contains(child));
        let more: Vec<u32> = more.map(|(child, _)| *child).collect();
        if more.is_empty() {
            found.remove(&pid);
            return found;
        }
        found.extend(more);
    }
}

/// Whether a process is there and not only waiting to be forgotten.
pub(crate) fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// State and parent, which follow the name in parentheses.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
