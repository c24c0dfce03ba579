//! The fleet's HTTP API as one client calls it: what a call came to, never a panic.

use std::time::Duration;

use planfleet_core::id::RunId;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::history::{Outcome, UNKNOWN};

/// A caller gives up after this: longer than an election of the broker takes.
const CALL_LIMIT: Duration = Duration::from_secs(12);

/// A caller.
#[derive(Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    url: String,
}

/// A submit's outcome.
pub(crate) struct Submitted {
    pub(crate) outcome: Outcome,
    pub(crate) run: Option<RunId>,
    /// What a refusal says.
    pub(crate) said: String,
}

impl Api {
    pub(crate) fn new(url: &str) -> Self {
        let http = reqwest::Client::builder().timeout(CALL_LIMIT).build().expect("a client");
        Self { http, url: url.to_owned() }
    }

    /// Submits a task under its key.
    pub(crate) async fn submit(&self, task: &Value, key: &str) -> Submitted {
        let request = self.http.post(format!("{}/v1/runs", self.url)).header("idempotency-key", key);
        let answer = request.header("content-type", "application/json").body(task.to_string()).send().await;
        let Ok(answer) = answer else {
            return Submitted { outcome: Outcome::Unknown, run: None, said: String::new() };
        };
        let outcome = outcome(answer.status());
        let said = answer.text().await.unwrap_or_default();
        let body: Value = serde_json::from_str(&said).unwrap_or_default();
        let run = body["run_id"].as_str().and_then(|run| run.parse().ok());
        match (outcome, run) {
            // An answer that broke off says nothing.
            (Outcome::Ok, None) => Submitted { outcome: Outcome::Unknown, run: None, said },
            (Outcome::Ok, run) => Submitted { outcome, run, said },
            _ => Submitted { outcome, run: None, said },
        }
    }

    /// Asks for a run to end.
    pub(crate) async fn cancel(&self, run: &RunId) -> Outcome {
        let request = self.http.post(format!("{}/v1/runs/{run}/cancel", self.url));
        let body = json!({"reason": "the campaign's own"}).to_string();
        match request.header("content-type", "application/json").body(body).send().await {
            Ok(answer) => outcome(answer.status()),
            Err(_) => Outcome::Unknown,
        }
    }

    /// A run's document as of now, or its last one if it ends within `wait_s`; its state
    /// is [`UNKNOWN`] where it is said that there is no such run.
    pub(crate) async fn read(&self, run: &RunId, wait_s: u64) -> Option<Value> {
        let answer = self.http.get(format!("{}/v1/runs/{run}?wait={wait_s}", self.url)).send().await.ok()?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Some(json!({"state": UNKNOWN})),
            status if !status.is_success() => return None,
            _ => {}
        }
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }
}

/// 4xx is a refusal; of everything else that is no success, nobody knows what it has done.
fn outcome(status: StatusCode) -> Outcome {
    match status.as_u16() {
        200..=299 => Outcome::Ok,
        408 | 500.. => Outcome::Unknown,
        _ => Outcome::Refused,
    }
}
