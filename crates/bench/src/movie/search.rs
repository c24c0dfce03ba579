//! The tool `search`: a server beside the fleet whose answers take as long as LLMCompiler's did.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Json, Router, extract::State, routing::post};
use planfleet_tools::{Settings, settings::HttpToolSettings};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use super::{mode::LOOK_UPS_MS, tasks::MOVIES, tokens::SUMMARY_BYTES};
use crate::error::{Error, failed};

/// As the executor's configuration has it, which the tasks' envelopes have to agree with.
const TOOL: &str = r#"description = "Looks a movie up and gives a summary of it."
arguments = { type = "object", properties = { title = { type = "string" } }, required = ["title"], additionalProperties = false }
output = { type = "object", properties = { summary = { type = "string" } }, required = ["summary"] }
effect = "read"
"#;

/// The server, for as long as it is kept.
pub(super) struct Search {
    url: String,
    _serving: JoinSet<()>,
}

/// Look-ups so far, by run, and the runs in the order in which they came.
type Seen = Arc<Mutex<HashMap<String, (usize, usize)>>>;

impl Search {
    pub(super) async fn start() -> Result<Self, Error> {
        let what = "serve the tool search";
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed(what))?;
        let url = format!("http://{}/search", listener.local_addr().map_err(failed(what))?);
        let router = Router::new().route("/search", post(look_up)).with_state(Seen::default());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // Without it every look-up fails, and with them the measurement.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { url, _serving: serving })
    }

    /// The part of the fleet's configuration that names it.
    pub(super) fn config(&self) -> String {
        format!("[tools]\nallow_loopback = true\n[tools.http.search]\nurl = {:?}\n{TOOL}", self.url)
    }

    /// What the fleet's tools are made of, likewise.
    pub(super) fn settings(&self) -> Result<Settings, Error> {
        let tool: HttpToolSettings = toml::from_str(TOOL).map_err(failed("read the tool search"))?;
        let http = [("search".to_owned(), HttpToolSettings { url: self.url.clone(), ..tool })].into();
        Ok(Settings { allow_loopback: true, http, ..Settings::default() })
    }
}

async fn look_up(State(seen): State<Seen>, Json(call): Json<Value>) -> Json<Value> {
    sleep(Duration::from_millis(next_ms(&seen, call["run"].as_str().unwrap_or_default()))).await;
    let title = call["arguments"]["title"].as_str().unwrap_or_default();
    let mut summary = format!("{title} is a movie. ");
    while summary.len() < SUMMARY_BYTES {
        summary.push_str("Somebody wants something and somebody else is in the way. ");
    }
    Json(json!({"output": {"summary": summary}}))
}

/// Each run has each of the times once, and each of eight runs in turn begins with another.
fn next_ms(seen: &Seen, run: &str) -> u64 {
    // Nothing panics under this lock.
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let runs = seen.len();
    let (turn, look_ups) = seen.entry(run.to_owned()).or_insert((runs, 0));
    *look_ups += 1;
    LOOK_UPS_MS[(*turn + *look_ups - 1) % MOVIES]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_every_time_once_and_runs_begin_with_each_of_them() {
        let seen = Seen::default();
        let times = |run: String| (0..MOVIES).map(|_| next_ms(&seen, &run)).collect::<Vec<u64>>();
        let runs: Vec<Vec<u64>> = (0..MOVIES).map(|run| times(run.to_string())).collect();
        let sorted = |times: &Vec<u64>| {
            let mut times = times.clone();
            times.sort_unstable();
            times
        };
        assert!(runs.iter().all(|times| sorted(times) == LOOK_UPS_MS));
        assert_eq!(sorted(&runs.iter().map(|times| times[0]).collect()), LOOK_UPS_MS);
    }
}
