//! One step of a run, and the pieces of work it is made of.

use std::sync::Arc;

use crate::{
    command::ResolvedInput,
    failure::{Failure, FailureClass},
    id::StepId,
    json::Json,
    plan::PlanStep,
    usage::Usage,
};

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
    /// Its inputs with their values, resolved once when it starts; kept until it is settled.
    pub(super) inputs: Vec<ResolvedInput>,
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
            inputs: Vec::new(),
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

    /// All of its work is settled: there is its output, or its failure.
    pub(super) fn settle(&mut self) {
        self.inputs = Vec::new();
        let broken = self.work.iter().position(|work| work.state == WorkState::Failed);
        if let Some(position) = broken {
            self.fail_for(position);
            return;
        }
        self.output = match &self.spec.for_each {
            Some(_) => Some(gather(&self.work)),
            None => self.work.first().and_then(|work| work.output.clone()),
        };
        self.state = StepState::Succeeded;
    }

    /// It has failed for what the work at `position` failed for.
    pub(super) fn fail_for(&mut self, position: usize) {
        let failure = self.work.get(position).and_then(|work| work.failure.clone());
        let mut failure =
            failure.unwrap_or_else(|| Failure::new(FailureClass::ToolError, "no reason was given"));
        if self.spec.for_each.is_some() {
            failure.message = format!("item {position}: {}", failure.message);
        }
        self.state = StepState::Failed;
        self.failure = Some(failure);
    }

    /// Whether another draft of the same plan can go on with it: whatever is
    /// dispatched will be answered. Waiting for a retry is not gone on with,
    /// because its timer may have fired while no draft wanted the step.
    pub(super) fn can_be_resumed(&self) -> bool {
        let in_backoff = |work: &Work| matches!(work.state, WorkState::Backoff { .. });
        self.state != StepState::Dropped && !self.work.iter().any(in_backoff)
    }

    /// Whether somebody may be at work for it, wanted or not.
    pub(super) fn is_in_flight(&self) -> bool {
        self.work.iter().any(|work| matches!(work.state, WorkState::Dispatched | WorkState::Backoff { .. }))
    }

    /// The attempts that are queued or in flight.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = (StepId, u32)> {
        let id = self.spec.id;
        let each = self.spec.for_each.is_some();
        let named = move |(at, work): (u32, &Work)| {
            let step = if each { StepId::item(id, at) } else { StepId::plain(id) };
            (work.state == WorkState::Dispatched).then_some((step, work.attempt))
        };
        (0..).zip(&self.work).filter_map(named)
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
