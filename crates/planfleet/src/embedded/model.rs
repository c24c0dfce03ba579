//! A real small model on this machine, for those who have no provider at hand:
//! SmolLM2-135M-Instruct on llama.cpp's own server.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use planfleet_runtime::{
    config::{Env, LongPrice, ModelSettings, Price, Settings},
    tasks::Tasks,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdin, Command},
    time::timeout,
};

use crate::exit::Failure;

const SCRIPT: &str = include_str!("../../../../scripts/local_model_server.py");

/// The model's file and its server's package, as `make setup` puts them into the cache.
const GGUF: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const PACKAGE: &str = "xllamacpp-2026.10.11549";
const ALIAS: &str = "smollm2-135m";

/// How lines begin that our script writes, and not llama.cpp.
const OWN_LINES: &str = "local model:";

/// From the end of the output to the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Loading takes about a second; a larger model that the user has brought, longer.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Sequences that the server works on at once. More only wait for the one thread.
const SLOTS: usize = 4;

/// Context of each slot in tokens: a replan request with the outputs of a few
/// steps has to fit.
const SLOT_CONTEXT: usize = 4_096;

/// A running model.
pub(crate) struct LocalModel {
    child: Child,
    /// Its end is the order to stop. Not left in `child`, which closes it when it is waited for.
    alive: Option<ChildStdin>,
    base_url: String,
    alias: String,
    /// Whether it is the model that `make setup` installs, and not the user's own.
    pinned: bool,
    complaints: Complaints,
}

/// What the model's server writes to its standard error, of which the last line
/// of its own (llama.cpp's log is long) says why it failed.
#[derive(Clone, Default)]
struct Complaints(Arc<Mutex<String>>);

impl Complaints {
    /// Reads until the end, so that the server never waits for a full pipe.
    fn listen(stderr: ChildStderr, tasks: &Tasks) -> Self {
        let complaints = Self::default();
        let heard = complaints.clone();
        tasks.spawn("local model log", async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with(OWN_LINES) {
                    *heard.0.lock().unwrap_or_else(PoisonError::into_inner) = line;
                }
            }
        });
        complaints
    }

    fn last(&self) -> String {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if line.is_empty() { "it did not say why".to_owned() } else { line }
    }
}

/// What is installed.
struct Installed {
    gguf: PathBuf,
    package: PathBuf,
    alias: String,
}

/// The folder that `make setup` installs the model into, outside the repository.
pub(crate) fn cache_dir(env: &dyn Env) -> Option<PathBuf> {
    let base = || {
        let xdg = env.get("XDG_CACHE_HOME").map(PathBuf::from);
        xdg.or_else(|| env.get("HOME").map(|home| PathBuf::from(home).join(".cache")))
    };
    env.get("PLANFLEET_CACHE").map(PathBuf::from).or_else(|| base().map(|base| base.join("planfleet")))
}

fn installed(env: &dyn Env) -> Result<Option<Installed>, Failure> {
    let Some(cache) = cache_dir(env) else { return Ok(None) };
    let package = cache.join(PACKAGE);
    let (gguf, alias) = match env.get("PLANFLEET_GGUF") {
        Some(own) => {
            let own = PathBuf::from(own);
            if !own.is_file() {
                return Err(Failure::usage(format!(
                    "PLANFLEET_GGUF={}: there is no such file",
                    own.display()
                )));
            }
            let alias =
                own.file_stem().map_or_else(|| "gguf".into(), |stem| stem.to_string_lossy().into_owned());
            (own, alias)
        }
        None => (cache.join(GGUF), ALIAS.to_owned()),
    };
    Ok((package.is_dir() && gguf.is_file()).then_some(Installed { gguf, package, alias }))
}

/// Whether the local model is installed.
pub(crate) fn is_installed(env: &dyn Env) -> bool {
    matches!(installed(env), Ok(Some(_)))
}

impl LocalModel {
    /// Starts the model if it is installed.
    pub(crate) async fn start(env: &dyn Env) -> Result<Option<Self>, Failure> {
        let Some(installed) = installed(env)? else { return Ok(None) };
        let port = free_port()?;
        let trouble = |error: std::io::Error| Failure::unexpected(format!("local model: python3: {error}"));
        let mut child = Command::new("python3")
            .args(["-c", SCRIPT, "--gguf"])
            .arg(&installed.gguf)
            .args(["--port", &port.to_string(), "--alias", &installed.alias, "--threads", "1"])
            .args(["--slots", &SLOTS.to_string(), "--context", &SLOT_CONTEXT.to_string()])
            .env("PYTHONPATH", &installed.package)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(trouble)?;
        let complaints =
            child.stderr.take().map(|stderr| Complaints::listen(stderr, &Tasks::new("local model")));
        let ready = timeout(START_TIMEOUT, ready_line(&mut child)).await;
        let alias = installed.alias;
        let pinned = installed.gguf.ends_with(GGUF);
        match (ready, complaints) {
            (Ok(Some(base_url)), Some(complaints)) => {
                let alive = child.stdin.take();
                Ok(Some(Self { child, alive, base_url, alias, pinned, complaints }))
            }
            (Ok(_), complaints) => {
                // Its last words may still be on their way.
                let _ = timeout(LAST_WORDS, child.wait()).await;
                let why = complaints.map(|complaints| complaints.last()).unwrap_or_default();
                Err(Failure::unexpected(format!("the local model did not start: {why}")))
            }
            (Err(_), _) => Err(Failure::unexpected(format!(
                "the local model did not start within {} s",
                START_TIMEOUT.as_secs()
            ))),
        }
    }

    /// Waits until it has ended by itself, and says what it wrote last.
    pub(crate) async fn ended(&mut self) -> String {
        let status =
            self.child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("the local model has ended ({status}): {}", self.complaints.last())
    }

    /// What it is, for people.
    pub(crate) fn description(&self) -> String {
        format!("{} on llama.cpp at {}", self.alias, self.base_url)
    }

    /// Makes it the model of every role.
    pub(crate) fn configure(&self, settings: &mut Settings) {
        let free: Option<planfleet_runtime::config::UsdPerMillion> = "0".parse().ok();
        let model = ModelSettings {
            dialect: "llama.cpp".to_owned(),
            base_url: self.base_url.clone(),
            model: self.alias.clone(),
            max_output_tokens: self.pinned.then_some(256),
            temperature: Some(0.0),
            small_model: self.pinned,
            price: Price {
                input_usd_per_million: free,
                cached_input_usd_per_million: free,
                cache_write_input_usd_per_million: free,
                output_usd_per_million: free,
                long: LongPrice::default(),
            },
            max_concurrency: SLOTS,
            ..ModelSettings::default()
        };
        settings.models.insert(super::LOCAL_MODEL.to_owned(), model);
        settings.roles.planner = super::LOCAL_MODEL.into();
        settings.roles.executor = super::LOCAL_MODEL.into();
    }

    /// Stops it: it ends when its standard input closes.
    pub(crate) async fn stop(mut self) {
        drop(self.alive.take());
        if timeout(Duration::from_secs(2), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

async fn ready_line(child: &mut Child) -> Option<String> {
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let value: Value = serde_json::from_str(&line).unwrap_or_default();
        if value["ready"] == true {
            return value["base_url"].as_str().map(str::to_owned);
        }
    }
    None
}

fn free_port() -> Result<u16, Failure> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(Failure::unexpected)?;
    Ok(listener.local_addr().map_err(Failure::unexpected)?.port())
}
