//! Runs that are submitted all the time, over the API, whatever happens to the broker.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use planfleet_modelsim::{ReceivedRequest, Rule};
use serde_json::{Value, json};

use super::{PATIENCE as LIMIT, Process, Rig, Roles as _, http, plan, slow, step, tool, within};

/// Between two submits: ten a second keep steps in flight at every moment.
const EVERY: Duration = Duration::from_millis(100);

/// Longer than a publish is tried again, so that every submit is answered.
const PATIENCE: Duration = Duration::from_secs(45);

/// How long a model takes for a step.
const CALL_MS: u64 = 200;

/// Runs that are being submitted.
pub(crate) struct Traffic {
    port: u16,
    stop: Arc<AtomicBool>,
    submitting: JoinHandle<Vec<JoinHandle<Submitted>>>,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Submitted {
    name: String,
    run: String,
}

/// What was seen when all was over.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) runs: usize,
    /// Steps whose model was called more than once, with how long after each other.
    pub(crate) repeated: BTreeMap<String, Vec<Duration>>,
    /// The longest time without any model call.
    pub(crate) gap: Duration,
}

impl Traffic {
    /// What the models answer.
    pub(crate) fn rules() -> Vec<Rule> {
        vec![Rule::text("ahoy").step("Call").latency(slow(CALL_MS))]
    }

    /// Submits to a process that serves the API, from now on.
    pub(crate) fn start(serving: &Process) -> Self {
        let port = api_port(serving);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let submitting = thread::spawn(move || {
            let mut submitted = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let name = format!("run-{:04}.", submitted.len());
                submitted.push(thread::spawn(move || submit(port, name)));
                thread::sleep(EVERY);
            }
            submitted
        });
        Self { port, stop, submitting }
    }

    /// Submits no more, waits until every run has ended, and checks that each has
    /// ended as it should.
    pub(crate) fn end(self, rig: &Rig) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let submitted: Vec<Submitted> =
            self.submitting.join().unwrap().into_iter().map(|one| one.join().unwrap()).collect();
        for one in &submitted {
            let document = ended(self.port, &one.run);
            assert_eq!(document["state"], "succeeded", "{document:#}");
            assert_eq!(document["answer"]["text"], format!("{} is done", one.name), "{document:#}");
        }
        let calls = rig.sim.all().0;
        let mut times: Vec<u64> = calls.iter().map(|call| call.at_us).collect();
        times.sort_unstable();
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        let steps = submitted.iter().flat_map(|one| ["first", "second"].map(|nth| call(&one.name, nth)));
        let repeated = steps.filter_map(|step| {
            let calls = rig.sim.executor(&step).0;
            assert!(!calls.is_empty(), "{step} was not called, and its run succeeded");
            let apart = |pair: &[ReceivedRequest]| Duration::from_micros(pair[1].at_us - pair[0].at_us);
            let apart: Vec<Duration> = calls.windows(2).map(apart).collect();
            (!apart.is_empty()).then_some((step, apart))
        });
        let repeated = repeated.collect();
        Seen { runs: submitted.len(), repeated, gap: Duration::from_micros(gap) }
    }
}

/// Submits until the API has said that the run is there.
fn submit(port: u16, name: String) -> Submitted {
    let steps = [
        step(1, &call(&name, "first")),
        step(2, &call(&name, "second")).uses("before", 1, ""),
        tool(3, "text_template").literal("template", &format!("{name} is done")).uses("values", 2, ""),
    ];
    let task = json!({"goal": name, "plan": plan(steps)}).to_string();
    let run = super::within(PATIENCE * 2, &format!("{name} to be taken"), || {
        let answer = http::post(port, "/v1/runs", &name, &task, PATIENCE);
        let answer = answer.inspect_err(|error| eprintln!("{name}: {error}")).ok()?;
        let later = answer.status == 503 && answer.head.to_lowercase().contains("retry-after:");
        assert!(answer.status == 202 || later, "{answer:?}");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        body["run_id"].as_str().map(str::to_owned)
    });
    Submitted { name, run }
}

fn call(name: &str, nth: &str) -> String {
    format!("Call {name} {nth}")
}

fn ended(port: u16, run: &str) -> Value {
    ended_within(LIMIT, port, run)
}

/// The document of a run that has ended, once it has.
pub(crate) fn ended_within(limit: Duration, port: u16, run: &str) -> Value {
    within(limit, &format!("the end of {run}"), || {
        let answer = http::get(port, &format!("/v1/runs/{run}")).ok()?;
        let document: Value = serde_json::from_str(&answer.body).ok()?;
        let active = matches!(
            document["state"].as_str(),
            None | Some("planning" | "executing" | "replanning" | "paused")
        );
        (answer.status == 200 && !active).then_some(document)
    })
}

/// Where a process serves the API.
pub(crate) fn api_port(serving: &Process) -> u16 {
    let said = serving.err();
    let address = said.split_once("(http://127.0.0.1:").and_then(|(_, rest)| rest.split_once(')'));
    address.and_then(|(port, _)| port.parse().ok()).unwrap_or_else(|| panic!("no API: {said}"))
}
