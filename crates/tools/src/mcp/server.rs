//! One server, connected to when it is needed and again when the connection is lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use planfleet_core::failure::FailureClass;
use rmcp::model::{ClientCapabilities, ClientConfig, Implementation};
use rmcp::service::NotificationContext;
use rmcp::{ClientHandler, Peer, RoleClient};
use tokio::sync::{Mutex, MutexGuard, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::definition::{self, Definition};
use super::settings::McpSettings;
use super::transport::{self, Link};
use crate::egress::Gateway;
use crate::tool::ToolError;

/// A server with more tools than this is one for another way of choosing them.
const TOOLS_MAX: usize = 256;

/// A list of tools that takes longer is not answered, or has no end.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// Definitions are compared again after this long, as servers without a lasting connection have
/// no way to say that they have changed.
const COMPARE_AFTER: Duration = Duration::from_secs(300);

/// The first wait after a start that failed; each further one doubles it.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The longest such wait: a server that comes back is used within a minute.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// When a call that has waited for a connection comes again: most servers that start slowly take
/// some seconds.
const CONNECTING_RETRY: Duration = Duration::from_secs(5);

/// Calls in a row that end without an answer, after which a server counts as stuck and is
/// started again: one may be a slow call, and a server of one thread is held up by that.
const SILENT_MAX: u32 = 3;

/// One server of the settings.
pub(super) struct Server {
    pub(super) name: String,
    pub(super) settings: McpSettings,
    gateway: Arc<Gateway>,
    state: Mutex<State>,
    /// Calls without an answer since the last one with one.
    silent: AtomicU32,
    /// Connections being made, and lists being compared: as many as calls wait for them, of which
    /// one is at work and the others find it done.
    refreshing: std::sync::Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct State {
    link: Option<Link>,
    /// Which connection that is; each has its own number.
    number: u64,
    /// How often the server has said that its list of tools has changed.
    changes: Arc<AtomicU64>,
    /// How many of those are in what is `current`.
    compared_changes: u64,
    compared_at: Option<Instant>,
    /// What tools were pinned as, by the server's names.
    pins: BTreeMap<String, String>,
    /// What the server has now.
    current: BTreeMap<String, String>,
    failures: u32,
    not_before: Option<Instant>,
}

impl State {
    fn open(&self) -> Option<Peer<RoleClient>> {
        let open = self.link.as_ref().filter(|link| !link.service.is_closed());
        open.map(|link| link.service.peer().clone())
    }

    fn is_ready(&self) -> bool {
        let old = self.compared_at.is_none_or(|at| at.elapsed() > COMPARE_AFTER);
        let changed = self.changes.load(Ordering::Relaxed) != self.compared_changes;
        !old && !changed && self.open().is_some()
    }
}

/// The tools of a server.
pub(super) struct Found {
    pub(super) tools: Vec<Definition>,
    /// What they hash to together.
    pub(super) sha256: String,
}

/// What the server may ask and tell us: it may say that its tools have changed.
#[derive(Clone)]
pub(super) struct Watch {
    changes: Arc<AtomicU64>,
}

impl ClientHandler for Watch {
    fn get_info(&self) -> ClientConfig {
        let own = Implementation::new("planfleet", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), own)
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }
}

impl Server {
    pub(super) fn new(name: String, settings: McpSettings, gateway: Arc<Gateway>) -> Self {
        Self {
            name,
            settings,
            gateway,
            state: Mutex::default(),
            silent: AtomicU32::new(0),
            refreshing: std::sync::Mutex::default(),
        }
    }

    /// Asks for its tools and pins them.
    pub(super) async fn discover(&self) -> Result<Found, String> {
        let mut state = self.state.lock().await;
        let peer = self.connect(&mut state).await?;
        let tools = self.list(&peer).await?;
        let sha256 = definition::sha256_of_all(&tools);
        if !self.settings.sha256.is_empty() && self.settings.sha256 != sha256 {
            return Err(format!(
                "its tools are not those that are pinned: they hash to {sha256}, and sha256 is {}; look at \
                 what has changed, then set it",
                self.settings.sha256
            ));
        }
        state.pins = hashes(&tools);
        state.current = state.pins.clone();
        state.compared_at = Some(Instant::now());
        Ok(Found { tools, sha256 })
    }

    /// Whom to ask for a call of a tool, which is the one that was pinned, and the number of
    /// the connection.
    pub(super) async fn peer(self: &Arc<Self>, tool: &str) -> Result<(Peer<RoleClient>, u64), ToolError> {
        let Ok(state) = tokio::time::timeout(self.settings.timeout(), self.ready()).await else {
            return Err(self.unreachable("it is still being connected to".to_owned(), CONNECTING_RETRY));
        };
        let (state, peer) = state?;
        if state.pins.get(tool) != state.current.get(tool) {
            let message = format!(
                "MCP server `{}` has another tool `{tool}` now than when this process was started, which is not \
                 called; look at what has changed, then restart",
                self.name
            );
            tracing::warn!(server = self.name, tool, "an MCP tool has changed and is refused");
            return Err(ToolError::failed(message));
        }
        Ok((peer, state.number))
    }

    /// The state with a connection and a list of tools that is not old.
    async fn ready(self: &Arc<Self>) -> Result<(MutexGuard<'_, State>, Peer<RoleClient>), ToolError> {
        let mut state = self.state.lock().await;
        if !state.is_ready() {
            drop(state);
            self.refreshed().await?;
            state = self.state.lock().await;
        }
        match &state.link {
            Some(link) => {
                let peer = link.service.peer().clone();
                Ok((state, peer))
            }
            None => Err(self.unreachable("it is gone again".to_owned(), BACKOFF_MIN)),
        }
    }

    /// Has a task make the state ready, which goes on when the call that waits for it is given up:
    /// a server may take longer to start than a call may.
    async fn refreshed(self: &Arc<Self>) -> Result<(), ToolError> {
        let (sender, receiver) = oneshot::channel();
        let server = self.clone();
        {
            let mut tasks = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                let refreshed = server.refresh(&mut *server.state.lock().await).await;
                // Nobody listens any more when the call was given up.
                let _ = sender.send(refreshed);
            });
        }
        let broke_off = |_| Err(self.unreachable("connecting to it broke off".to_owned(), BACKOFF_MIN));
        receiver.await.unwrap_or_else(broke_off)
    }

    async fn refresh(&self, state: &mut State) -> Result<(), ToolError> {
        if state.is_ready() {
            return Ok(());
        }
        let peer = match state.open() {
            Some(peer) => peer,
            None => self.reconnect(state).await?,
        };
        // What is said to have changed from here on is in the next list.
        let changes = state.changes.load(Ordering::Relaxed);
        let listed = self.list(&peer).await.map_err(|reason| self.unreachable(reason, BACKOFF_MIN))?;
        state.current = hashes(&listed);
        (state.compared_at, state.compared_changes) = (Some(Instant::now()), changes);
        Ok(())
    }

    /// A call has found that connection closed: the next one makes another.
    pub(super) async fn lost(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.number == number {
            state.link = None;
        }
    }

    /// A call has been answered, with whatever.
    pub(super) fn answered(&self) {
        self.silent.store(0, Ordering::Relaxed);
    }

    /// A call over that connection was not answered in its time.
    pub(super) async fn silent(&self, number: u64) {
        if self.silent.fetch_add(1, Ordering::Relaxed) + 1 >= SILENT_MAX {
            tracing::warn!(
                server = self.name,
                "an MCP server does not answer any more; making the connection again"
            );
            self.answered();
            self.lost(number).await;
        }
    }

    async fn reconnect(&self, state: &mut State) -> Result<Peer<RoleClient>, ToolError> {
        let now = Instant::now();
        if let Some(wait) = state.not_before.and_then(|at| at.checked_duration_since(now)) {
            return Err(self.unreachable("it was not there a moment ago".to_owned(), wait));
        }
        tracing::warn!(server = self.name, "the connection to an MCP server is gone; making it again");
        match self.connect(state).await {
            Ok(peer) => {
                (state.failures, state.not_before) = (0, None);
                // Another server may have come up in its place.
                state.compared_at = None;
                Ok(peer)
            }
            Err(reason) => {
                let wait = BACKOFF_MIN.saturating_mul(1 << state.failures.min(6)).min(BACKOFF_MAX);
                state.failures += 1;
                state.not_before = Some(Instant::now() + wait);
                Err(self.unreachable(reason, wait))
            }
        }
    }

    async fn connect(&self, state: &mut State) -> Result<Peer<RoleClient>, String> {
        state.link = None;
        (state.changes, state.compared_changes) = Default::default();
        let watch = Watch { changes: state.changes.clone() };
        let link = transport::connect(&self.settings, &self.gateway, watch).await?;
        let peer = link.service.peer().clone();
        state.link = Some(link);
        state.number += 1;
        Ok(peer)
    }

    /// The tools that the settings take, in the server's order.
    async fn list(&self, peer: &Peer<RoleClient>) -> Result<Vec<Definition>, String> {
        let listed = tokio::time::timeout(LIST_TIMEOUT, peer.list_all_tools())
            .await
            .map_err(|_| format!("it did not list its tools within {} s", LIST_TIMEOUT.as_secs()))?
            .map_err(|error| format!("it does not list its tools: {}", transport::chain(&error)))?;
        let missing = |name: &&String| *name != "*" && !listed.iter().any(|tool| tool.name == name.as_str());
        if let Some(name) = self.settings.tools.iter().find(missing) {
            let have: Vec<&str> = listed.iter().map(|tool| &*tool.name).collect();
            return Err(format!(
                "it has no tool `{name}` (mcp.{}.tools); it has {}",
                self.name,
                have.join(", ")
            ));
        }
        let taken: Vec<_> = listed.iter().filter(|tool| self.settings.takes(&tool.name)).collect();
        if taken.len() > TOOLS_MAX {
            return Err(format!(
                "it has {} tools, and at most {TOOLS_MAX} are taken: name some in `tools`",
                taken.len()
            ));
        }
        taken.into_iter().map(Definition::read).collect()
    }

    fn unreachable(&self, reason: String, wait: Duration) -> ToolError {
        ToolError {
            retry_after_ms: u64::try_from(wait.as_millis()).ok(),
            ..ToolError::new(FailureClass::Transient, format!("MCP server `{}`: {reason}", self.name))
        }
    }
}

fn hashes(tools: &[Definition]) -> BTreeMap<String, String> {
    tools.iter().map(|tool| (tool.name.clone(), tool.sha256.clone())).collect()
}
