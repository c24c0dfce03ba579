//! An own nats-server as a child process.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use planfleet_runtime::config::{Env as _, ProcessEnv};
use serde_json::Value;
use tokio::{
    process::{Child, ChildStdin, Command},
    time::{Instant, sleep, timeout},
};

use crate::exit::Failure;

/// A server with much data takes a while to read its indexes.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A stop writes what is in memory; after this the server is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The server's own log, in its folder.
const LOG: &str = "nats-server.log";

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Stops the server when this program is gone, even if it was killed: its end
/// of the pipe closes then, and `cat` ends.
const KEEPER: &str = r#""$0" "$@" </dev/null & child=$!
trap 'kill -TERM $child 2>/dev/null' TERM INT
(cat >/dev/null; kill -TERM $child 2>/dev/null) <&3 &
wait $child"#;

/// A running server.
pub(crate) struct NatsServer {
    child: Child,
    /// Its end is the order to stop. Not left in `child`, which closes it when it is waited for.
    alive: Option<ChildStdin>,
    url: String,
    log: PathBuf,
}

impl NatsServer {
    /// Starts a server on a free loopback port with its data in `folder`.
    pub(crate) async fn start(folder: &Path, sync_interval: Option<&str>) -> Result<Self, Failure> {
        let program = find()?;
        let ports = folder.join("ports");
        let _ = std::fs::remove_dir_all(&ports);
        let trouble = |error: std::io::Error| Failure::unexpected(format!("nats-server: {error}"));
        std::fs::create_dir_all(&ports).map_err(trouble)?;
        let config = folder.join("nats-server.conf");
        std::fs::write(&config, configuration(folder, sync_interval)).map_err(trouble)?;
        let script = format!("exec 3<&0\n{KEEPER}");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .arg(&program)
            .args(["-c".as_ref(), config.as_os_str(), "--ports_file_dir".as_ref(), ports.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C in the terminal is for planfleet, which stops the server last.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(trouble)?;
        let alive = child.stdin.take();
        let mut server = Self { child, alive, url: String::new(), log: folder.join(LOG) };
        server.url = server.wait_for_port(&ports).await?;
        tracing::info!(url = server.url, program = %program.display(), "own nats-server started");
        Ok(server)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    async fn wait_for_port(&mut self, ports: &Path) -> Result<String, Failure> {
        let started = Instant::now();
        while started.elapsed() < START_TIMEOUT {
            if let Some(url) = read_port(ports) {
                return Ok(url);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let why = last_line(&self.log);
                return Err(Failure::unexpected(format!(
                    "nats-server ended with {status} at its start: {why}"
                )));
            }
            sleep(LOOK_EVERY).await;
        }
        Err(Failure::unexpected(format!("nats-server did not start within {} s", START_TIMEOUT.as_secs())))
    }

    /// Waits until the server has ended by itself, and says what it wrote last.
    pub(crate) async fn ended(&mut self) -> String {
        let status =
            self.child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("nats-server has ended ({status}): {}", last_line(&self.log))
    }

    /// Stops the server and waits until it has written what it has in memory.
    pub(crate) async fn stop(mut self) {
        drop(self.alive.take());
        if timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            tracing::warn!("nats-server did not stop in time and is killed");
            let _ = self.child.kill().await;
        }
    }
}

fn configuration(folder: &Path, sync_interval: Option<&str>) -> String {
    let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
    let mut text = format!(
        "listen: \"127.0.0.1:-1\"\nlog_file: {}\njetstream {{\n  store_dir: {}\n",
        quoted(folder.join(LOG)),
        quoted(folder.join("jetstream"))
    );
    if let Some(interval) = sync_interval {
        // In quotes, or the server takes `2m` for the number of two million seconds.
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  sync_interval: {interval:?}");
    }
    text.push_str("}\n");
    text
}

fn read_port(folder: &Path) -> Option<String> {
    let file = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .find(|entry| entry.path().extension().is_some_and(|e| e == "ports"))?;
    let ports: Value = serde_json::from_str(&std::fs::read_to_string(file.path()).ok()?).ok()?;
    ports["nats"][0].as_str().map(str::to_owned)
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("it wrote no log").to_owned()
}

/// The server's program: named, beside the project, or on the path.
pub(crate) fn find() -> Result<PathBuf, Failure> {
    if let Some(named) = ProcessEnv.get("PLANFLEET_NATS_SERVER") {
        let named = PathBuf::from(named);
        return if named.is_file() {
            Ok(named)
        } else {
            Err(Failure::usage(format!("PLANFLEET_NATS_SERVER={}: there is no such file", named.display())))
        };
    }
    let path = ProcessEnv.get("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    tool_folders()
        .map(|folder| folder.join("nats-server"))
        .chain(on_path)
        .find(|program| program.is_file())
        .ok_or_else(|| {
            Failure::usage(
                "nats-server is not there; run `make setup`, or put version 2.12 or newer on the PATH",
            )
        })
}

/// `.tools/bin` in the folders above the working directory and above this program.
fn tool_folders() -> impl Iterator<Item = PathBuf> {
    let starts = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    starts
        .into_iter()
        .flatten()
        .flat_map(|start| start.ancestors().map(|folder| folder.join(".tools/bin")).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_not_a_number_to_the_server() {
        let text = configuration(Path::new("/x"), Some("2m"));
        assert!(text.contains("  sync_interval: \"2m\"\n"), "{text}");
        assert!(!configuration(Path::new("/x"), None).contains("sync_interval"));
    }
}
