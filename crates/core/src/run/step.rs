//! One step of a run, and the pieces of work it is made of.

use std::sync::Arc;

use crate::{failure::Failure, json::Json, plan::PlanStep, usage::Usage};

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepState {
    /// For its dependencies, or for the plan to be whole.
    Waiting,
    /// Some of its work is dispatched.
    Active,
    /// Its output is there.
    Succeeded,
    /// It failed, and its failure is the planner's to mend.
    Failed,
    /// A revision does not want it any more.
    Dropped,
}

/// A step: one piece of work, or one for each item.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) spec: Arc<PlanStep>,
    /// The revision that added it.
    pub(super) revision: u32,
    pub(super) state: StepState,
    /// Steps that wait for this one.
    pub(super) dependents: Vec<u32>,
    /// Dependencies that have not succeeded yet.
    pub(super) missing: u32,
    /// One, or one per item; empty until it starts.
    pub(super) work: Vec<Work>,
    /// Work that is neither done nor failed.
    pub(super) open: u32,
    /// The highest attempt that an earlier draft's step of this id has used up.
    pub(super) attempts_before: u32,
    pub(super) output: Option<Json>,
    pub(super) failure: Option<Failure>,
}

/// One dispatchable piece of work.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) state: WorkState,
    /// The newest attempt, from 1.
    pub(super) attempt: u32,
    pub(super) item: Option<Json>,
    pub(super) output: Option<Json>,
    pub(super) failure: Option<Failure>,
    pub(super) model: Option<String>,
    pub(super) usage: Usage,
    pub(super) started_ms: Option<u64>,
    pub(super) ended_ms: Option<u64>,
}

/// Where a piece of work stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkState {
    /// Queued or in flight.
    Dispatched,
    /// Waiting for its next attempt.
    Backoff {
        /// When that comes.
        until_ms: u64,
    },
    Succeeded,
    Failed,
}

impl Step {
    pub(super) const fn new(spec: Arc<PlanStep>, revision: u32, attempts_before: u32) -> Self {
        Self {
            spec,
            revision,
            state: StepState::Waiting,
            dependents: Vec::new(),
            missing: 0,
            work: Vec::new(),
            open: 0,
            attempts_before,
            output: None,
            failure: None,
        }
    }

    /// The highest attempt used so far by any of its work.
    pub(super) fn attempts(&self) -> u32 {
        self.work.iter().map(|work| work.attempt).max().unwrap_or(self.attempts_before)
    }

    pub(super) const fn state_name(&self) -> &'static str {
        match self.state {
            StepState::Waiting => "waiting",
            StepState::Active => "running",
            StepState::Succeeded => "succeeded",
            StepState::Failed => "failed",
            StepState::Dropped => "dropped",
        }
    }

    /// What there is of its output: whole, or for a failed `for_each` the list
    /// with nulls where items are missing.
    pub(super) fn partial_output(&self) -> Option<Json> {
        if self.output.is_some() || self.spec.for_each.is_none() || self.work.is_empty() {
            return self.output.clone();
        }
        Some(gather(&self.work))
    }
}

/// The outputs of all items in order, as one list.
pub(super) fn gather(work: &[Work]) -> Json {
    let items: Vec<serde_json::Value> =
        work.iter().map(|work| work.output.as_ref().map(Json::value).unwrap_or_default()).collect();
    Json::from_value(&serde_json::Value::Array(items))
}

impl Work {
    pub(super) const fn dispatched(attempt: u32, item: Option<Json>) -> Self {
        Self {
            state: WorkState::Dispatched,
            attempt,
            item,
            output: None,
            failure: None,
            model: None,
            usage: Usage::NONE,
            started_ms: None,
            ended_ms: None,
        }
    }

    pub(super) const fn state_name(&self) -> &'static str {
        match self.state {
            WorkState::Dispatched => "running",
            WorkState::Backoff { .. } => "waiting",
            WorkState::Succeeded => "succeeded",
            WorkState::Failed => "failed",
        }
    }
}
