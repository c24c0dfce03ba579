//! The ledger: the world outside, where steps leave their traces. An HTTP server that
//! computes the value of a node's call and remembers that it was asked.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    time::{Duration, sleep},
};

use crate::{history::Effect, support::now_ms, workload::graph};

/// Every call takes some time, so that runs overlap and kills meet work.
const LATENCY_MS: std::ops::Range<u64> = 2..25;

/// Now and then one takes so long that it is met for sure, ...
const SLOW_MS: std::ops::Range<u64> = 100..800;

/// ... one of so many.
const SLOW_ONE_IN: u32 = 6;

/// What a run that is to be cancelled is at when it is: longer than its cancel may take,
/// so that a call which nobody stops shows.
const LONG: Duration = Duration::from_secs(6);

/// A handle on the running ledger. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ledger {
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
}

#[derive(Default)]
struct Shared {
    effects: Mutex<Vec<Effect>>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    salt: u64,
    pad: usize,
    trouble: Option<String>,
    item: Option<u32>,
    #[serde(rename = "in")]
    inputs: String,
}

impl Ledger {
    /// Answers from now on, for as long as the runtime lives.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::<Shared>::default();
        let routes = Router::new().route("/{tag}/{node}", get(call)).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { shared, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether a call is being answered just now.
    pub(crate) fn is_at_work(&self) -> bool {
        let effects = self.shared.effects.lock().unwrap_or_else(PoisonError::into_inner);
        effects.iter().rev().any(|effect| effect.over_ms().is_none())
    }

    /// Every call so far.
    pub(crate) fn effects(&self) -> Vec<Effect> {
        self.shared.effects.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A call in the book. Where the connection breaks, the handler is dropped, and the entry
/// says when.
struct Entry<'a> {
    shared: &'a Shared,
    place: usize,
}

impl<'a> Entry<'a> {
    fn begin(shared: &'a Shared, effect: Effect) -> Self {
        let mut effects = shared.effects.lock().unwrap_or_else(PoisonError::into_inner);
        effects.push(effect);
        Self { shared, place: effects.len() - 1 }
    }

    fn end(self, value: Option<u64>) {
        let mut effects = self.shared.effects.lock().unwrap_or_else(PoisonError::into_inner);
        let effect = &mut effects[self.place];
        effect.ended_ms = Some(now_ms());
        effect.value = value.map(Value::from);
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut effects = self.shared.effects.lock().unwrap_or_else(PoisonError::into_inner);
        let effect = &mut effects[self.place];
        if effect.ended_ms.is_none() {
            effect.broke_ms = Some(now_ms());
        }
    }
}

async fn call(
    State(shared): State<Arc<Shared>>,
    Path((tag, node)): Path<(String, String)>,
    Query(asked): Query<Asked>,
    uri: Uri,
    headers: axum::http::HeaderMap,
) -> Response {
    let inputs: Vec<u64> = asked.inputs.split(',').filter_map(|input| input.parse().ok()).collect();
    let mut seen: Vec<Value> = inputs.iter().copied().map(Value::from).collect();
    if asked.item.is_some() {
        // What a `for_each` goes over is the URLs of its calls.
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        seen.push(json!(format!("http://{host}{uri}")));
    }
    let effect =
        Effect { began_ms: now_ms(), tag, node, item: asked.item, inputs: seen, ..Effect::default() };
    let entry = Entry::begin(&shared, effect);
    sleep(latency(asked.trouble.as_deref())).await;
    match asked.trouble.as_deref() {
        Some("broken") => {
            entry.end(None);
            // A second, so that a run that fails on purpose does not outlast its campaign.
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::RETRY_AFTER, "1")], "broken").into_response()
        }
        Some("missing") => {
            entry.end(None);
            (StatusCode::NOT_FOUND, "missing").into_response()
        }
        // Those that are slow answer too.
        _ => {
            let value = graph::value(asked.salt, &inputs);
            entry.end(Some(value));
            let join = format!("([.] | flatten) + [{value}]");
            Json(json!({"value": value, "join": join, "pad": "p".repeat(asked.pad * 1024)})).into_response()
        }
    }
}

fn latency(trouble: Option<&str>) -> Duration {
    if trouble == Some("slow") {
        return LONG;
    }
    let slow = fastrand::u32(..SLOW_ONE_IN) == 0;
    Duration::from_millis(fastrand::u64(if slow { SLOW_MS } else { LATENCY_MS }))
}
