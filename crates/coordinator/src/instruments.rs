//! Every metric of this crate.

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, UpDownCounter},
};
use planfleet_core::run::Why;

/// The instruments.
#[derive(Debug)]
pub struct Instruments {
    records: Counter<u64>,
    commands: Counter<u64>,
    takeovers: Counter<u64>,
    active_runs: UpDownCounter<i64>,
    runs_ended: Counter<u64>,
    dead_letters: Counter<u64>,
    snapshots: Counter<u64>,
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
        let meter = global::meter("planfleet");
        Self {
            records: meter
                .u64_counter("planfleet.records")
                .with_description("Log records folded, by outcome: applied, or why they changed nothing")
                .build(),
            commands: meter
                .u64_counter("planfleet.commands")
                .with_description("Commands carried out, by kind")
                .build(),
            takeovers: meter.u64_counter("planfleet.takeovers").with_description("Shards taken over").build(),
            active_runs: meter
                .i64_up_down_counter("planfleet.active_runs")
                .with_description("Runs in the memory of this process, as their owner or as a standby")
                .build(),
            runs_ended: meter
                .u64_counter("planfleet.runs_ended")
                .with_description("Runs ended, by state")
                .build(),
            dead_letters: meter
                .u64_counter("planfleet.dead_letters")
                .with_description("Messages set aside because nobody could read them")
                .build(),
            snapshots: meter
                .u64_counter("planfleet.snapshots")
                .with_description("Snapshots of shards, by what became of them")
                .build(),
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

    pub(crate) fn run_ended(&self, state: &'static str) {
        self.runs_ended.add(1, &[KeyValue::new("state", state)]);
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

    pub(crate) fn dead_letter(&self) {
        self.dead_letters.add(1, &[]);
    }
}

impl Default for Instruments {
    fn default() -> Self {
        Self::new()
    }
}
