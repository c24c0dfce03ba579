//! One step of a run, and the pieces of work it is made of. Runs are many and
//! most of their steps are plain: what only some need is boxed.

use std::{slice, sync::Arc};

use super::edges::Dependents;
use crate::{
    command::ResolvedInput,
    failure::{Failure, FailureClass},
    id::StepId,
    json::Json,
    plan::PlanStep,
    seeded::{self, Bug},
    usage::Usage,
};

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepState {
    /// For its dependencies, or for whatever else holds it.
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

/// Whether a person has to approve a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Nobody has to.
    None,
    /// Somebody will have to, once nothing else holds it.
    Shut,
    /// Somebody has been asked.
    Asked,
    /// Somebody has approved it.
    Open,
}

/// A step: one piece of work, or one for each item.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) spec: Arc<PlanStep>,
    /// Steps that wait for this one.
    pub(super) dependents: Dependents,
    /// The revision that added it.
    pub(super) revision: u32,
    /// Dependencies that have not succeeded yet.
    pub(super) missing: u32,
    pub(super) state: StepState,
    pub(super) door: Door,
    pub(super) works: Works,
}

/// What a step's work is made of.
#[derive(Debug, Clone)]
pub(super) enum Works {
    /// It has not started.
    None {
        /// The highest attempt that an earlier draft's step of this id has used up.
        attempts_before: u32,
    },
    /// A plain step's work; or no work at all but the failure for which none could begin.
    One(Work),
    /// A `for_each` step's items.
    Each(Box<Each>),
}

/// The items of a `for_each` step.
#[derive(Debug, Clone)]
pub(super) struct Each {
    pub(super) items: Vec<Json>,
    pub(super) work: Vec<Work>,
    /// Work that is neither done nor failed.
    pub(super) open: u32,
    /// The inputs that all items share, resolved once; kept until the step is settled.
    pub(super) inputs: Vec<ResolvedInput>,
    attempts_before: u32,
    /// All outputs in order, with null where an item has none; there once the step is settled.
    output: Option<Json>,
    failure: Option<Failure>,
}

/// One dispatchable piece of work.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) state: WorkState,
    /// The newest attempt, from 1.
    pub(super) attempt: u32,
    pub(super) output: Option<Json>,
    pub(super) failure: Option<Box<Failure>>,
    /// What models have used for it.
    pub(super) spent: Option<Box<Spent>>,
    /// When its executor began; 0 when none has.
    started_ms: u64,
    /// How long it took; capped at 49 days, which is longer than a run may take.
    took_ms: u32,
}

/// What models have used for a piece of work.
#[derive(Debug, Clone)]
pub(super) struct Spent {
    pub(super) model: Option<String>,
    pub(super) usage: Usage,
    /// How many of its attempts found a model without credit.
    pub(super) without_credit: u32,
}

/// Where a piece of work stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkState {
    /// Queued or in flight.
    Dispatched {
        /// When it is waited for no longer, if that is limited.
        timeout_ms: Option<u64>,
    },
    /// Waiting for its next attempt.
    Backoff {
        /// When that comes.
        until_ms: u64,
    },
    Succeeded,
    Failed,
    /// Failed for want of a result in time; what a late one has used still counts.
    Overdue,
}

impl Step {
    pub(super) const fn new(spec: Arc<PlanStep>, revision: u32, door: Door) -> Self {
        Self {
            spec,
            dependents: Dependents::EMPTY,
            revision,
            missing: 0,
            state: StepState::Waiting,
            door,
            works: Works::None { attempts_before: 0 },
        }
    }

    pub(super) fn after(mut self, attempts_before: u32) -> Self {
        self.works = Works::None { attempts_before };
        self
    }

    /// A step whose output is there already.
    pub(super) fn carried(spec: Arc<PlanStep>, output: Json) -> Self {
        let work = Work { state: WorkState::Succeeded, output: Some(output), ..Work::new(0) };
        Self { state: StepState::Succeeded, works: Works::One(work), ..Self::new(spec, 1, Door::None) }
    }

    /// All pieces of its work; none before it has started.
    pub(super) fn work(&self) -> &[Work] {
        match &self.works {
            Works::None { .. } => &[],
            Works::One(work) => slice::from_ref(work),
            Works::Each(each) => &each.work,
        }
    }

    /// Whether a step that is added now has this one's output to work with.
    pub(super) fn feeds(&self) -> bool {
        match self.state {
            StepState::Succeeded => true,
            // What a `for_each` step had done before it failed and was dropped.
            StepState::Dropped => self.output().is_some(),
            StepState::Waiting | StepState::Active | StepState::Failed => false,
        }
    }

    /// A person has been asked about it and has not answered.
    pub(super) fn is_asked(&self) -> bool {
        self.state == StepState::Waiting && self.door == Door::Asked
    }

    /// The work of an item, or of a plain step, to look at.
    pub(super) fn peek(&self, item: Option<u32>) -> Option<&Work> {
        match (&self.works, item) {
            (Works::One(work), None) => Some(work),
            (Works::Each(each), Some(item)) => each.work.get(item as usize),
            _ => None,
        }
    }

    /// The work of an item, or of a plain step.
    pub(super) fn work_of(&mut self, item: Option<u32>) -> Option<&mut Work> {
        match (&mut self.works, item) {
            (Works::One(work), None) => Some(work),
            (Works::Each(each), Some(item)) => each.work.get_mut(item as usize),
            _ => None,
        }
    }

    /// Each piece of its work with its name.
    pub(super) fn named_work(&self) -> impl Iterator<Item = (StepId, &Work)> {
        let id = self.spec.id;
        let each = matches!(self.works, Works::Each(_));
        (0u32..)
            .zip(self.work())
            .map(move |(item, work)| (if each { StepId::item(id, item) } else { StepId::plain(id) }, work))
    }

    /// The highest attempt used so far by any of its work.
    pub(super) fn attempts(&self) -> u32 {
        let before = match &self.works {
            Works::None { attempts_before } => *attempts_before,
            Works::One(_) => 0,
            Works::Each(each) => each.attempts_before,
        };
        self.work().iter().map(|work| work.attempt).fold(before, u32::max)
    }

    /// Its output, once it is settled; of a `for_each` that failed, what there is of it.
    pub(super) fn output(&self) -> Option<&Json> {
        match &self.works {
            Works::None { .. } => None,
            Works::One(work) => work.output.as_ref(),
            Works::Each(each) => each.output.as_ref(),
        }
    }

    /// What there is of its output, settled or not.
    pub(super) fn partial_output(&self) -> Option<Json> {
        match &self.works {
            Works::Each(each) if each.output.is_none() => each.partial(),
            _ => self.output().cloned(),
        }
    }

    /// Why it failed, once it has.
    pub(super) fn failure(&self) -> Option<&Failure> {
        match &self.works {
            Works::None { .. } => None,
            Works::One(work) if work.is_open() => None,
            Works::One(work) => work.failure.as_deref(),
            Works::Each(each) => each.failure.as_ref(),
        }
    }

    /// It cannot begin.
    pub(super) fn fail_to_start(&mut self, failure: Failure) {
        let work =
            Work { state: WorkState::Failed, failure: Some(Box::new(failure)), ..Work::new(self.attempts()) };
        self.works = Works::One(work);
        self.state = StepState::Failed;
    }

    /// Marks one piece of its work as done or failed; true when all of it is.
    pub(super) fn close_one(&mut self) -> bool {
        match &mut self.works {
            Works::None { .. } => false,
            Works::One(_) => true,
            Works::Each(each) => {
                each.open -= 1;
                each.open <= u32::from(seeded::is_on(Bug::ItemsOffByOne))
            }
        }
    }

    /// All of its work is settled: there is its output, or its failure.
    pub(super) fn settle(&mut self) {
        let failed = |work: &Work| matches!(work.state, WorkState::Failed | WorkState::Overdue);
        match self.work().iter().position(failed) {
            Some(position) => self.fail_for(position),
            None => self.state = StepState::Succeeded,
        }
        if let Works::Each(each) = &mut self.works {
            each.inputs = Vec::new();
            each.output = if self.state == StepState::Succeeded { Some(each.all()) } else { each.partial() };
        }
    }

    /// It has failed for what the work at `position` failed for.
    pub(super) fn fail_for(&mut self, position: usize) {
        self.state = StepState::Failed;
        if let Works::Each(each) = &mut self.works {
            let of_item = each.work.get(position).and_then(|work| work.failure.as_deref().cloned());
            let mut failure =
                of_item.unwrap_or_else(|| Failure::new(FailureClass::ToolError, "no reason was given"));
            failure.message = format!("item {position}: {}", failure.message);
            each.failure = Some(failure);
        }
    }

    /// Whether another draft of the same plan can go on with it: whatever is
    /// dispatched will be answered. Waiting for a retry is not gone on with,
    /// because its timer may have fired while no draft wanted the step.
    pub(super) fn can_be_resumed(&self) -> bool {
        let in_backoff = |work: &Work| matches!(work.state, WorkState::Backoff { .. });
        self.state != StepState::Dropped && !self.work().iter().any(in_backoff)
    }

    /// Whether somebody may be at work for it, wanted or not.
    pub(super) fn is_in_flight(&self) -> bool {
        self.work().iter().any(Work::is_open)
    }

    /// The attempts that have not reported yet, wanted or not.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (StepId, u32)> {
        let awaited = |work: &Work| matches!(work.state, WorkState::Dispatched { .. } | WorkState::Overdue);
        self.named_work().filter(move |(_, work)| awaited(work)).map(|(id, work)| (id, work.attempt))
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
}

impl Each {
    pub(super) fn new(items: Vec<Json>, work: Vec<Work>, inputs: Vec<ResolvedInput>, before: u32) -> Self {
        let open = work.iter().filter(|work| work.is_open()).count();
        let open = u32::try_from(open).unwrap_or(u32::MAX);
        Self { items, work, open, inputs, attempts_before: before, output: None, failure: None }
    }

    /// The outputs of all items in order, as one list, with null where there is none.
    fn all(&self) -> Json {
        let value = |work: &Work| work.output.as_ref().map(Json::value).unwrap_or_default();
        Json::from_value(&self.work.iter().map(value).collect())
    }

    /// The same, if any item is done.
    fn partial(&self) -> Option<Json> {
        self.work.iter().any(|work| work.output.is_some()).then(|| self.all())
    }
}

impl Work {
    const fn new(attempt: u32) -> Self {
        Self {
            state: WorkState::Dispatched { timeout_ms: None },
            attempt,
            output: None,
            failure: None,
            spent: None,
            started_ms: 0,
            took_ms: 0,
        }
    }

    pub(super) fn dispatched(attempt: u32, timeout_ms: Option<u64>) -> Self {
        Self { state: WorkState::Dispatched { timeout_ms }, ..Self::new(attempt) }
    }

    /// An item that a run before has done.
    pub(super) fn carried(output: Json) -> Self {
        Self { state: WorkState::Succeeded, output: Some(output), ..Self::new(0) }
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, WorkState::Dispatched { .. } | WorkState::Backoff { .. })
    }

    pub(super) fn took(&mut self, started_ms: u64, ended_ms: u64) {
        self.started_ms = started_ms;
        self.took_ms = u32::try_from(ended_ms.saturating_sub(started_ms)).unwrap_or(u32::MAX);
    }

    pub(super) fn started_ms(&self) -> Option<u64> {
        Some(self.started_ms).filter(|ms| *ms > 0)
    }

    pub(super) fn ended_ms(&self) -> Option<u64> {
        self.started_ms().map(|started_ms| started_ms + u64::from(self.took_ms))
    }

    pub(super) fn usage(&self) -> Usage {
        self.spent.as_ref().map_or(Usage::NONE, |spent| spent.usage)
    }

    pub(super) fn spent_mut(&mut self) -> &mut Spent {
        let nothing = || Box::new(Spent { model: None, usage: Usage::NONE, without_credit: 0 });
        self.spent.get_or_insert_with(nothing)
    }

    pub(super) fn without_credit(&self) -> u32 {
        self.spent.as_ref().map_or(0, |spent| spent.without_credit)
    }

    pub(super) fn model(&self) -> Option<&String> {
        self.spent.as_ref().and_then(|spent| spent.model.as_ref())
    }

    pub(super) const fn state_name(&self) -> &'static str {
        match self.state {
            WorkState::Dispatched { .. } => "running",
            WorkState::Backoff { .. } => "waiting",
            WorkState::Succeeded => "succeeded",
            WorkState::Failed | WorkState::Overdue => "failed",
        }
    }
}
