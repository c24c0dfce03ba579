//! The HTTP API, and how a task becomes a submission.
//!
//! It checks and freezes tasks ([`submission`]), appends them, and answers from
//! what the fleet says of its runs; it decides nothing about them and keeps
//! nothing but an index that is made again from the broker. No request can name a file.
//! Who asks and what they may is in [`access`], all routes with the role that each needs
//! in `routes`, every error's status and code in `problem`, the dashboard in `ui`.

pub mod access;
pub mod approval;
pub mod batch;
pub mod bulk;
pub mod dead_letters;
pub mod plan_cache;
pub mod reason;
pub mod submission;
pub mod template;

mod events;
mod gate;
mod index;
mod listener;
mod listing;
mod looks;
mod openapi;
mod problem;
mod routes;
mod service;
mod steer;
mod ui;
mod view;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use futures::future::{self, BoxFuture};
use planfleet_bus::Bus;
use planfleet_core::{failure::Failure, plan::Plan, task::Submission};
use planfleet_runtime::health::ListenError;
use tokio_util::sync::CancellationToken;

use self::{
    access::{AccessConfig, Door},
    index::Index,
    service::Service,
    submission::Scope,
};
pub use self::{
    index::{IndexFile, OpenError},
    listener::{Listener, TlsError, listen},
    openapi::document as openapi,
    view::PreviewUsage,
};

/// Where it listens unless something else is configured.
pub const LISTEN: &str = "127.0.0.1:8460";

/// What went wrong with the service itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Others could reach it, and nobody would be asked who they are.
    #[error(
        "api.listen: {0} can be reached from other machines, and api.auth = \"none\" asks nobody who they are; \
         set api.auth to \"required\" and make keys with `planfleet admin keys create`, or api.listen to a \
         loopback address such as {LISTEN}"
    )]
    Exposed(SocketAddr),
    /// The index of runs cannot be opened.
    #[error(transparent)]
    Index(#[from] OpenError),
    /// There is no client to ask the issuer of tokens with.
    #[error("api.oidc: {0}")]
    Issuer(#[from] reqwest::Error),
    /// It stopped by itself.
    #[error("cannot serve the API")]
    Serve(#[from] io::Error),
}

/// How the API behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Largest request body in bytes.
    pub task_bytes_max: usize,
    /// Requests in work at once. Most of them wait for a run and cost little;
    /// more than this is a client that has lost count.
    pub requests_max: usize,
    /// Streams of events open at once: each is a connection and a queue.
    pub watchers_max: usize,
    /// How callers show who they are.
    pub access: AccessConfig,
    /// Where the list of ended runs is kept.
    pub index: IndexFile,
    /// Whether the broker lets this process write what services write, so that dead letters of
    /// theirs can be replayed.
    pub replays_all: bool,
    /// Where the page of a trace is, with `{trace_id}` in it; empty where nobody shows traces.
    pub trace_url: String,
    /// How long one question to the fleet may take, its own retries included.
    pub answer_timeout: Duration,
    /// How long one request submits lines of a batch: whoever sends more, or to a full fleet,
    /// hears before the request ends how to go on.
    pub submit_max: Duration,
    /// Answers that are not out this long after a stop belong to clients that
    /// do not read.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            task_bytes_max: 1 << 20,
            requests_max: 1024,
            watchers_max: 2_000,
            access: AccessConfig::default(),
            index: IndexFile::Temporary,
            replays_all: true,
            trace_url: String::new(),
            answer_timeout: Duration::from_secs(10),
            // A request ends after two minutes.
            submit_max: Duration::from_secs(100),
            drain: Duration::from_secs(2),
        }
    }
}

/// Gives the models of the settings as objects, with what the fleet knows of each.
pub type ListModels = Arc<dyn Fn() -> BoxFuture<'static, Vec<serde_json::Value>> + Send + Sync>;

/// Asks the planner's model for a plan, and runs nothing.
pub type PreviewPlan =
    Arc<dyn Fn(Submission) -> BoxFuture<'static, Result<(Plan, PreviewUsage), Failure>> + Send + Sync>;

/// What the API shows of the fleet and others know: it depends on no other service.
#[derive(Clone)]
pub struct FleetView {
    /// Pools with the slots of one process of each.
    pub pools: Vec<(String, usize)>,
    /// The models.
    pub models: ListModels,
    /// Planning without running, or why that is not possible here.
    pub preview: Result<PreviewPlan, String>,
}

impl Default for FleetView {
    /// A fleet without pools and models.
    fn default() -> Self {
        let none = "no planner's model is configured where this API runs".to_owned();
        Self { pools: Vec::new(), models: Arc::new(|| Box::pin(async { Vec::new() })), preview: Err(none) }
    }
}

impl fmt::Debug for FleetView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetView").field("pools", &self.pools).finish_non_exhaustive()
    }
}

/// The API of one process.
pub struct Api {
    bus: Bus,
    config: Config,
    scope: Scope,
    fleet: FleetView,
}

impl Api {
    /// An API on that bus; `scope` is what the tasks it takes may draw on.
    #[must_use]
    pub fn build(bus: Bus, config: Config, scope: Scope) -> Self {
        Self { bus, config, scope, fleet: FleetView::default() }
    }

    /// The same with what it shows of the fleet.
    #[must_use]
    pub fn with_fleet(self, fleet: FleetView) -> Self {
        Self { fleet, ..self }
    }

    /// Serves until `stop`; requests that wait for a run are then answered at once.
    ///
    /// # Errors
    /// When the listener can be reached from elsewhere, or fails.
    pub async fn run(self, listener: Listener, stop: CancellationToken) -> Result<(), Error> {
        listener.check_exposed(&self.config.access)?;
        let drain = self.config.drain;
        let door = Door::new(self.bus.clone(), self.config.access.clone(), listener.local_addr()?.ip())?;
        let index = Index::open(&self.config.index)?;
        let filling = index::fill(index.clone(), self.bus.clone(), stop.clone());
        let service =
            Service::new(self.bus, self.config, self.scope, self.fleet, (index, door), stop.clone());
        let served = listener.serve(routes::router(service), stop.clone());
        let drained = async {
            stop.cancelled().await;
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            ended = served => Ok(ended?),
            () = drained => Ok(()),
            () = async { filling.await; future::pending().await } => Ok(()),
        }
    }
}
