//! How a server is reached: as a child process, or over HTTP by way of the egress gateway.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::ProtocolVersion;
use rmcp::service::{ClientLifecycleMode, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientServiceExt as _, RoleClient};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinSet;

use super::server::Watch;
use super::settings::McpSettings;
use crate::egress::Gateway;

/// Programs of package runners are fetched when they are first used.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// How much of a program's last words an error repeats.
const STDERR_BYTES_MAX: usize = 2_000;

/// A program that ends at its start says why in this time.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The most that a server may answer with; longer answers are dropped by the SDK before they are
/// whole in memory.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Calls to one server that may be posted at once: as many as an executor has slots at most
/// times, and few enough for a server of one process.
const POSTS_MAX: usize = 256;

/// A connection; dropping it ends it, and the program with it.
pub(super) struct Link {
    pub(super) service: RunningService<RoleClient, Watch>,
    _program: Option<(Child, LastWords)>,
}

/// Connects; the error says what is wrong.
pub(super) async fn connect(settings: &McpSettings, gateway: &Gateway, watch: Watch) -> Result<Link, String> {
    let connecting = async {
        if settings.url.is_empty() {
            over_stdio(settings, watch).await
        } else {
            over_http(settings, gateway, watch).await
        }
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .unwrap_or_else(|_| Err(format!("it did not answer within {} s", CONNECT_TIMEOUT.as_secs())))
}

/// Servers of every age: the newest way of beginning first, then the one before it.
fn lifecycle() -> ClientLifecycleMode {
    ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: Some(ProtocolVersion::V_2025_11_25),
    }
}

async fn over_stdio(settings: &McpSettings, watch: Watch) -> Result<Link, String> {
    let mut child = Command::new(&settings.command)
        .args(&settings.args)
        // Nothing of what this process was told is passed on, but for what is named.
        .env_clear()
        .envs(&settings.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A Ctrl-C is for this process, which ends its children itself.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start `{}`: {error}", settings.command))?;
    let pipes = (child.stdout.take(), child.stdin.take(), child.stderr.take());
    let (Some(output), Some(input), Some(stderr)) = pipes else {
        return Err("its pipes are gone".to_owned());
    };
    let mut words = LastWords::of(stderr);
    match watch.serve_with_lifecycle((output, input), lifecycle()).await {
        Ok(service) => Ok(Link { service, _program: Some((child, words)) }),
        Err(error) => {
            Err(format!("`{}` does not speak MCP: {error}{}", settings.command, words.read().await))
        }
    }
}

async fn over_http(settings: &McpSettings, gateway: &Gateway, watch: Watch) -> Result<Link, String> {
    // The credentials of its host, and nothing else that anybody has handed to us.
    let headers = gateway.admit(&settings.url).map_err(|error| error.to_string())?;
    let headers: HashMap<_, _> =
        headers.into_iter().filter_map(|(name, value)| Some((name?, value))).collect();
    let config = StreamableHttpClientTransportConfig::with_uri(settings.url.as_str())
        .custom_headers(headers)
        .max_concurrent_requests(POSTS_MAX)
        .max_json_response_size(MESSAGE_BYTES_MAX)
        .max_sse_event_size(MESSAGE_BYTES_MAX);
    let transport = StreamableHttpClientTransport::with_client(gateway.client().clone(), config);
    match watch.serve_with_lifecycle(transport, lifecycle()).await {
        Ok(service) => Ok(Link { service, _program: None }),
        Err(error) => Err(format!("{} does not speak MCP: {}", settings.url, chain(&error))),
    }
}

/// An error with its sources.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

/// What a program writes to its standard error: read as long as its link lives, so that it is
/// never held up there, and kept only as far as an error at its start repeats it.
struct LastWords {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: JoinSet<()>,
}

impl LastWords {
    fn of(mut stderr: ChildStderr) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let own = kept.clone();
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            let mut chunk = [0; 1024];
            while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
                let mut kept = own.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&chunk[..count]);
                let over = kept.len().saturating_sub(STDERR_BYTES_MAX);
                kept.drain(..over);
            }
        });
        Self { kept, reader }
    }

    async fn read(&mut self) -> String {
        let _ = tokio::time::timeout(LAST_WORDS, self.reader.join_next()).await;
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match String::from_utf8_lossy(&kept).trim() {
            "" => String::new(),
            words => format!("; it said: {words}"),
        }
    }
}
