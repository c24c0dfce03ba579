//! Child processes: each ends with us, however we end, and says in its log why it
//! has ended before.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{self, ChildStdin, Command},
    time::timeout,
};

use crate::error::{Error, failed};

/// A process is there within this time, even beside a compile.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A killed process is gone within this time.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a log an error quotes.
const LOG_LINES: usize = 15;

/// Starts the program, says its process id, and kills it when this program is gone,
/// even if that was killed itself: its end of the pipe closes then, and `cat` ends.
const KEEPER: &str = r#"exec 3<&0
log=$1; shift
"$0" "$@" </dev/null >>"$log" 2>&1 3<&- & child=$!
echo $child
exec >/dev/null
(cat >/dev/null; kill -KILL $child 2>/dev/null) <&3 &
wait $child"#;

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// What errors call it.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// All that it finds in its environment besides where programs and temporary files are.
    pub(crate) env: Vec<(&'static str, OsString)>,
    /// Where it runs and where its log is.
    pub(crate) folder: PathBuf,
}

/// A running process. Dropping it kills it.
pub(crate) struct Child {
    name: String,
    pid: i32,
    log: PathBuf,
    keeper: process::Child,
    /// Its end is the order to kill. Not left in `keeper`, which closes it when it is waited for.
    alive: Option<ChildStdin>,
}

impl Child {
    /// Starts a program with nothing of our own environment but where programs and
    /// temporary files are.
    pub(crate) async fn start(program: &Program) -> Result<Self, Error> {
        let Program { name, path, args, env, folder } = program;
        let log = folder.join(format!("{name}.log"));
        let starting = || format!("start {name} ({})", path.display());
        let mut command = Command::new("sh");
        command.arg("-c").arg(KEEPER).arg(path).arg(&log).args(args);
        command.current_dir(folder).env_clear().env("HOME", folder).env("TMPDIR", folder);
        command.envs(env.iter().map(|(name, value)| (name, value)));
        if let Some(found) = std::env::var_os("PATH") {
            command.env("PATH", found);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // A Ctrl-C in the terminal is for us, and ends the children with us.
        command.process_group(0);
        let mut keeper = command.spawn().map_err(failed(starting()))?;
        let alive = keeper.stdin.take();
        let mut said = String::new();
        if let Some(out) = keeper.stdout.take() {
            let mut out = BufReader::new(out);
            let reading = timeout(START_TIMEOUT, out.read_line(&mut said)).await;
            reading
                .map_err(|_| Error::Late { what: starting(), within: START_TIMEOUT })?
                .map_err(failed(starting()))?;
        }
        let pid = said.trim().parse().map_err(failed(starting()))?;
        Ok(Self { name: name.clone(), pid, log, keeper, alive })
    }

    pub(crate) const fn pid(&self) -> i32 {
        self.pid
    }

    /// What it has written.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails if it has ended.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        match self.keeper.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.explain(&status.to_string())),
            Err(error) => Err(self.explain(&error.to_string())),
        }
    }

    /// Waits until it has ended, and says why.
    pub(crate) async fn ended(&mut self) -> Error {
        let status = self.keeper.wait().await;
        self.explain(&status.map_or_else(|error| error.to_string(), |status| status.to_string()))
    }

    /// Waits until it has done what it was started for.
    pub(crate) async fn succeeded(&mut self, limit: Duration) -> Result<(), Error> {
        let late = |_| Error::Late { what: format!("the end of {}", self.name), within: limit };
        match timeout(limit, self.keeper.wait()).await.map_err(late)? {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.explain(&status.to_string())),
            Err(error) => Err(self.explain(&error.to_string())),
        }
    }

    fn explain(&self, status: &str) -> Error {
        Error::Ended { process: self.name.clone(), status: status.to_owned(), log: tail(&self.log) }
    }

    /// Kills it and waits until it is gone.
    pub(crate) async fn stop(mut self) {
        drop(self.alive.take());
        let _ = timeout(STOP_TIMEOUT, self.keeper.wait()).await;
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    if lines.is_empty() { "(it wrote nothing)".to_owned() } else { lines[from..].join("\n") }
}
