//! `/livez`, `/readyz` (also `/healthz`) and `/metrics`.
//!
//! Parts of the process register a check and set it; nothing is probed when a
//! request comes, so an orchestrator that asks often costs nothing. Start at
//! [`Health::check`] and [`serve`].

mod listen;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

pub use listen::{ListenError, listen};

/// Where `serve` listens when `health.listen` is empty: the port that
/// OpenTelemetry's Prometheus exporters take by default.
pub const SERVE_LISTEN: &str = "127.0.0.1:9464";

/// `health.listen` of a process that has no health port at all.
pub const OFF: &str = "off";

/// Requests are answered from memory: a connection that is still open this long
/// after the end was asked for belongs to a client that does not read.
const DRAIN: Duration = Duration::from_secs(2);

/// The checks of one process; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<Checks>>,
}

/// By name. One for each part of the process, so a dozen at most.
type Checks = BTreeMap<&'static str, Check>;

/// The state of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Whether the part can do its work now.
    pub ready: bool,
    /// Why, for people.
    pub detail: String,
}

/// Sets one check; clones set the same one.
#[derive(Debug, Clone)]
pub struct HealthHandle {
    name: &'static str,
    health: Health,
}

/// What `/readyz` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether every check is ready. With no check registered it is not: the
    /// process has not started its parts yet.
    pub ready: bool,
    /// Every check by name.
    pub checks: BTreeMap<&'static str, Check>,
}

impl Health {
    /// No checks, so not ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a check, not ready until its handle says so. A name that is
    /// registered already is taken over.
    pub fn check(&self, name: &'static str) -> HealthHandle {
        let handle = HealthHandle { name, health: self.clone() };
        handle.set(false, "starting");
        handle
    }

    /// The state of all checks now.
    pub fn readiness(&self) -> Readiness {
        let checks = self.lock().clone();
        Readiness { ready: !checks.is_empty() && checks.values().all(|check| check.ready), checks }
    }

    fn lock(&self) -> MutexGuard<'_, Checks> {
        // Each critical section is one map operation: a poisoned map is whole.
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HealthHandle {
    /// Says whether the part is ready, and why.
    pub fn set(&self, ready: bool, detail: impl Into<String>) {
        let detail = detail.into();
        self.health.lock().insert(self.name, Check { ready, detail });
    }

    /// Takes the check away, when its part ends for good.
    pub fn remove(self) {
        self.health.lock().remove(self.name);
    }
}

/// The routes, for a server that has others beside them.
pub fn routes(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/healthz", get(readyz))
        .with_state(health)
        .route("/metrics", get(render).with_state(metrics))
}

/// Serves the routes until the token is cancelled and the last answers are out.
/// For the orchestrator's own network: connections are not limited in number.
pub async fn serve(listener: TcpListener, routes: Router, token: CancellationToken) -> io::Result<()> {
    let server =
        axum::serve(listener, routes).with_graceful_shutdown(token.clone().cancelled_owned()).into_future();
    let drained = async {
        token.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server => ended,
        () = drained => Ok(()),
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    let readiness = health.readiness();
    let status = match readiness.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(readiness)).into_response()
}

async fn render(State(metrics): State<Metrics>) -> Response {
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::warn!(%error, "metrics cannot be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
    }
}
