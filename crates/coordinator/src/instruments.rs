//! Every metric of this crate.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, UpDownCounter},
};
use planfleet_core::{
    command::{PlanOrder, Situation},
    document::{RunDocument, RunState},
    reason::Cause,
    run::Why,
    task::Priority,
};
use planfleet_telemetry::names::{self, attribute as a, metric};

/// The instruments.
#[derive(Debug)]
pub struct Instruments {
    records: Counter<u64>,
    commands: Counter<u64>,
    takeovers: Counter<u64>,
    active_runs: UpDownCounter<i64>,
    runs_submitted: Counter<u64>,
    runs_ended: Counter<u64>,
    run_duration: Histogram<f64>,
    replans: Counter<u64>,
    dead_letters: Counter<u64>,
    snapshots: Counter<u64>,
    ready_wait: Histogram<f64>,
}

/// What can become of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SnapshotEvent {
    /// It was written, and a lease names it.
    Written,
    /// It could not be written.
    Failed,
    /// It could not be used: it is missing, damaged or of another version.
    Unusable,
    /// None could be used, and the log begins behind what is needed.
    Lost,
}

impl Instruments {
    /// Creates them with the process's meter.
    #[must_use]
    pub fn new() -> Self {
        Self {
            records: metric::RECORDS.counter(),
            commands: metric::COMMANDS.counter(),
            takeovers: metric::TAKEOVERS.counter(),
            active_runs: metric::ACTIVE_RUNS.up_down_counter(),
            runs_submitted: metric::RUNS_SUBMITTED.counter(),
            runs_ended: metric::RUNS_ENDED.counter(),
            run_duration: metric::WORKFLOW_DURATION.histogram(),
            replans: metric::REPLANS.counter(),
            dead_letters: metric::DEAD_LETTERS.counter(),
            snapshots: metric::SNAPSHOTS.counter(),
            ready_wait: metric::READY_WAIT.histogram(),
        }
    }

    pub(crate) fn record(&self, outcome: Result<(), Why>) {
        let outcome = match outcome {
            Ok(()) => "applied",
            Err(Why::Repeated) => "repeated",
            Err(Why::Replaced) => "replaced",
            Err(Why::Paused) => "paused",
            Err(Why::UnknownRun) => "unknown_run",
            Err(Why::Illegal) => "illegal",
        };
        self.records.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn command(&self, kind: &'static str) {
        self.commands.add(1, &[KeyValue::new("kind", kind)]);
    }

    pub(crate) fn takeover(&self) {
        self.takeovers.add(1, &[]);
    }

    pub(crate) fn active_runs(&self, change: i64) {
        self.active_runs.add(change, &[]);
    }

    pub(crate) fn run_submitted(&self) {
        self.runs_submitted.add(1, &[]);
    }

    pub(crate) fn run_ended(&self, document: &RunDocument) {
        let state = document.state.as_str();
        self.runs_ended.add(1, &[KeyValue::new("state", state)]);
        let took = Duration::from_millis(document.timings.total_ms).as_secs_f64();
        let workflow = KeyValue::new(a::WORKFLOW, names::WORKFLOW);
        match document.state {
            RunState::Succeeded => self.run_duration.record(took, &[workflow]),
            _ => self.run_duration.record(took, &[workflow, KeyValue::new(a::ERROR_TYPE, state)]),
        }
    }

    /// A plan is asked for; only the first order of a revision counts.
    pub(crate) fn plan_ordered(&self, order: &PlanOrder) {
        if let (Some(situation), 1) = (&order.situation, order.draft.attempt) {
            self.replans.add(1, &[KeyValue::new("reason", reason(situation))]);
        }
    }

    pub(crate) fn snapshot(&self, event: SnapshotEvent) {
        let outcome = match event {
            SnapshotEvent::Written => "written",
            SnapshotEvent::Failed => "failed",
            SnapshotEvent::Unusable => "unusable",
            SnapshotEvent::Lost => "lost",
        };
        self.snapshots.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// A pool's work was let go after a wait.
    pub(crate) fn let_go(&self, pool: &Arc<str>, priority: Priority, waited: Duration) {
        let labels =
            [KeyValue::new("pool", Arc::clone(pool)), KeyValue::new("priority", priority_name(priority))];
        self.ready_wait.record(waited.as_secs_f64(), &labels);
    }

    pub(crate) fn dead_letter(&self) {
        self.dead_letters.add(1, &[]);
    }
}

/// A priority as people write it.
pub(crate) const fn priority_name(priority: Priority) -> &'static str {
    match priority {
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
    }
}

impl Default for Instruments {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a planner is asked again, in one word: of a failure its class.
fn reason(situation: &Situation) -> &'static str {
    let failed = situation.steps.iter().find_map(|standing| standing.failure.as_ref());
    match (&situation.cause, failed) {
        (Cause::Failed { .. }, Some(failure)) => failure.class.as_str(),
        (cause, _) => cause.as_str(),
    }
}
