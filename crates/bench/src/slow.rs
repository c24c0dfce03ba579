//! `slow-1000`: model calls of 200 ms, a thousand at once in each executor. What counts
//! is how many of the slots are kept busy, and what a call costs the executor.

use planfleet_core::id::RunId;
use serde_json::{Value, json};

use crate::{
    Options,
    engine::{self, Fleet, User},
    error::{Error, failed},
    graph::Graph,
    measure::{Side, Span},
    occupancy::{self, Calls},
    sample::Sample,
    site::{Role, Site},
};

/// How long the simulated model takes for an answer.
const CALL_MS: u64 = 200;

const SLOTS: usize = 1_000;

/// So many calls by each run, one run after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slow {
    pub(crate) calls: u32,
    pub(crate) runs: u64,
}

impl Slow {
    pub(crate) fn steps(self) -> u64 {
        self.runs * self.graph().steps()
    }

    const fn graph(self) -> Graph {
        Graph::Calls(self.calls)
    }

    pub(crate) async fn engine(self, options: &Options) -> Result<Sample, Error> {
        let reply = json!({"reply": {"text": "done"}, "latency": {"first_byte_ms": CALL_MS}});
        let slots = options.slots.unwrap_or(SLOTS);
        let script = json!({"rules": [reply]});
        let fleet = Fleet { slots, model: Some(script), ..Fleet::usual(options) };
        let mut site = Site::open(options).await?;
        engine::start(&mut site, options, &fleet).await?;
        let mut user = User::new(&site, Graph::Calls(100).submission()?);
        site.with_crew(user.run()).await?;
        user.set(self.graph().submission()?);
        let (before, mut latencies, mut runs) = (site.read().await?, Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let (run, latency) = site.with_crew(user.run()).await?;
            runs.push(run);
            latencies.push(latency);
        }
        let after = site.read().await?;
        let span = Span { before, after, runs: self.runs, steps: self.steps() };
        span.check()?;
        let mut sample = span.sample(&site, Side::Engine, latencies).await?;
        let calls = (u64::from(self.calls) * self.runs) as f64;
        sample.set("calls_per_s", calls / span.seconds());
        sample.set("executor_cpu_ms_per_call", span.cpu_s(&[Role::Executor]) * 1_000.0 / calls);
        sample.set("model_cpu_ms_per_call", span.cpu_s(&[Role::Model]) * 1_000.0 / calls);
        let all_slots = slots * fleet.executors;
        let mut busy = Vec::new();
        for run in &runs {
            busy.extend(occupancy::busy(all_slots, self.calls_of(&user, run).await?));
        }
        if !busy.is_empty() {
            sample.set("slots_busy", busy.iter().sum::<f64>() / busy.len() as f64);
        }
        site.close().await;
        Ok(sample)
    }

    /// When the run's calls began and ended, by their executor's clock.
    async fn calls_of(self, user: &User, run: &RunId) -> Result<Calls, Error> {
        let document = user.document(run).await?;
        let steps = document["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        let items = steps.iter().filter(|step| step["id"].is_string());
        let calls: Calls = items
            .map(|item| Ok((unix_ms(&item["started_at"])?, unix_ms(&item["ended_at"])?)))
            .collect::<Result<_, Error>>()?;
        if calls.len() == self.calls as usize {
            return Ok(calls);
        }
        Err(Error::Void(format!("run {run} shows {} calls of {}", calls.len(), self.calls)))
    }
}

/// A time of a document, in milliseconds since the Unix epoch.
pub(crate) fn unix_ms(time: &Value) -> Result<u64, Error> {
    let text = time.as_str().unwrap_or_default();
    let time = humantime::parse_rfc3339(text).map_err(failed(format!("read the time {text:?}")))?;
    let since = time.duration_since(std::time::UNIX_EPOCH).map_err(failed("read a time"))?;
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
