//! A real nats-server for one test: own port, own store, gone with the test.

pub(crate) mod proxy;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use planfleet_bus::broker::nats::{ConnectOptions, NatsBroker};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Starting takes well under a second; a machine full of builds takes longer.
const START_LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct NatsServer {
    dir: TempDir,
    /// Killed by its own pid when it is dropped.
    child: Child,
    port: u16,
}

impl NatsServer {
    pub(crate) async fn start() -> Self {
        Self::configured("").await
    }

    /// One that syncs each message to disk before it answers.
    pub(crate) async fn syncing() -> Self {
        Self::configured("jetstream { sync_interval: always }\n").await
    }

    /// One with these lines in its configuration.
    pub(crate) async fn configured(configuration: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("server.conf"), configuration).expect("room for a configuration");
        let child = spawn(dir.path(), -1);
        let port = port_of(&child, dir.path()).await;
        Self { dir, child, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What the server has written so far, its refusals among it.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("server.log")).expect("a log")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn connect(&self) -> NatsBroker {
        let options = ConnectOptions { url: self.url(), ..ConnectOptions::default() };
        NatsBroker::connect(options).await.expect("a connection to the test's own server")
    }

    /// Kills the server as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("a running server");
    }

    /// Removes the store of a killed server.
    pub(crate) fn forget_everything(&self) {
        fs::remove_dir_all(self.dir.path().join("store")).expect("a store");
    }

    /// Starts it again, on the same port and store.
    pub(crate) async fn revive(&mut self) {
        self.child = spawn(self.dir.path(), i32::from(self.port));
        port_of(&self.child, self.dir.path()).await;
    }
}

impl Drop for NatsServer {
    #[expect(clippy::print_stderr, reason = "a failed test's output is where it is looked for")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("server.log"));
            eprintln!("nats-server's log:\n{}", log.unwrap_or_default());
        }
    }
}

fn spawn(dir: &Path, port: i32) -> Child {
    let binary = find_server();
    Command::new(&binary)
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js"])
        .arg("-c")
        .arg(dir.join("server.conf"))
        .arg("-sd")
        .arg(dir.join("store"))
        .arg("--ports_file_dir")
        .arg(dir)
        .arg("-l")
        .arg(dir.join("server.log"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}; run `make setup`", binary.display()))
}

/// The server writes its ports into a file once it takes connections.
async fn port_of(child: &Child, dir: &Path) -> u16 {
    let pid = child.id().expect("a running server");
    let file = dir.join(format!("nats-server_{pid}.ports"));
    let written = async {
        loop {
            if let Some(port) = fs::read_to_string(&file).ok().as_deref().and_then(parse_port) {
                return port;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(START_LIMIT, written).await.expect("nats-server starts")
}

fn parse_port(ports: &str) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_str(ports).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}

fn find_server() -> PathBuf {
    if let Some(named) = env::var_os("PLANFLEET_NATS_SERVER") {
        return named.into();
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/nats-server");
    if installed.exists() {
        return installed;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|dir| dir.join("nats-server"))
        .find(|candidate| candidate.exists())
        .expect("nats-server is not installed: run `make setup`")
}
