//! Commands: orders that follow from records. Each has a name that does not
//! depend on who emits it or how often, so that emitting it twice is harmless.

use std::{borrow::Cow, sync::Arc};

use crate::{
    document::RunDocument,
    failure::Failure,
    id::{RunId, StepId},
    json::Json,
    plan::PlanStep,
    reason::Cause,
    record::{Draft, Fact, Gate, Timer},
    task::{Envelope, Priority, Submission},
};

/// An order to the shell around the core.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Have a planner write a revision.
    DispatchPlan(Box<PlanOrder>),
    /// Have an executor carry out a step.
    DispatchStep(Box<StepOrder>),
    /// Append [`Timer`] as a record when the time has come.
    ArmTimer {
        /// The run.
        run: RunId,
        /// Milliseconds since the Unix epoch.
        at_ms: u64,
        /// What to append.
        timer: Timer,
    },
    /// Tell executors and planners to stop working for the run.
    BroadcastCancel {
        /// The run.
        run: RunId,
    },
    /// Tell people that something waits for their approval.
    AskApproval {
        /// The run.
        run: RunId,
        /// What waits.
        gate: Gate,
    },
    /// Append a fact to a run's log that follows from another run: a child is submitted,
    /// or told that its parent has ended, paused or gone on. Appending it again changes nothing.
    TellRun {
        /// The run.
        run: RunId,
        /// What it is told.
        fact: Box<Fact>,
    },
    /// Keep the run's document, once its [`report`](RunDocument::report) is in its parent's
    /// log; the run is forgotten.
    FinishRun(Arc<RunDocument>),
}

/// Planning work: everything that a planner needs, and nothing else of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanOrder {
    /// The run.
    pub run: RunId,
    /// The revision and attempt; the planner's `take` comes after this one.
    pub draft: Draft,
    /// The task and its envelope.
    pub submission: Arc<Submission>,
    /// What is to be revised; `None` for the first plan.
    pub situation: Option<Situation>,
    /// When the run ends at the latest, in milliseconds since the Unix epoch.
    pub deadline_at_ms: Option<u64>,
}

/// Where a run stands when its plan is to be revised.
#[derive(Debug, Clone, PartialEq)]
pub struct Situation {
    /// Why the planner is asked.
    pub cause: Cause,
    /// Every step of the current revision, in order, and `for_each` steps of
    /// earlier ones of which some items were done.
    pub steps: Vec<StepStanding>,
    /// The current final step.
    pub final_step: u32,
    /// New ids start above this one.
    pub highest_id: u32,
    /// How many steps may still be added.
    pub steps_left: u32,
    /// Replans left after this one.
    pub replans_left: u32,
    /// Tokens left, where the budget names them.
    pub tokens_left: Option<u64>,
    /// Nano-USD left, where the budget names them.
    pub nano_usd_left: Option<u64>,
}

impl Situation {
    /// The steps that have failed and that a revision has to do without.
    #[must_use]
    pub fn frontier(&self) -> &[u32] {
        match &self.cause {
            Cause::Failed { steps } => steps,
            _ => &[],
        }
    }
}

/// One step as a planner sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct StepStanding {
    /// The step as planned.
    pub step: Arc<PlanStep>,
    /// `succeeded`, `failed`, `running`, `waiting`, or `partial`: dropped by an
    /// earlier revision, with some of its items done.
    pub state: &'static str,
    /// Its output, trimmed; of a `for_each` that failed, the list with null where an item has none.
    pub output: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

impl StepStanding {
    /// Whether new steps may refer to its output.
    #[must_use]
    pub const fn has_output(&self) -> bool {
        self.output.is_some()
    }
}

/// An attempt to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct StepOrder {
    /// The run.
    pub run: RunId,
    /// The step or item.
    pub step: StepId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The plan revision that asked for it.
    pub revision: u32,
    /// The pool that shall do it.
    pub pool: Cow<'static, str>,
    /// The step as planned.
    pub spec: Arc<PlanStep>,
    /// Its inputs, resolved.
    pub inputs: Vec<ResolvedInput>,
    /// Whose run it is.
    pub tenant: Cow<'static, str>,
    /// The batch that the run belongs to, if it does.
    pub batch: Option<String>,
    /// The run's place in line.
    pub priority: Priority,
    /// What the run may use.
    pub envelope: Arc<Envelope>,
    /// W3C `traceparent` of the run's root span.
    pub traceparent: Option<String>,
    /// When the run ends at the latest, in milliseconds since the Unix epoch.
    pub deadline_at_ms: Option<u64>,
    /// When nobody waits for this attempt any more, likewise.
    pub timeout_at_ms: Option<u64>,
}

/// An input with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedInput {
    /// The argument's name.
    pub name: String,
    /// Its value.
    pub value: ResolvedValue,
}

/// Where a value came from decides how it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolvedValue {
    /// A literal of the plan: text, unless the tool's schema asks for another type.
    Literal(String),
    /// Part of an earlier output, as it is.
    Json(Json),
    /// The item of a `for_each`: fills the argument of its name, or the one left open.
    Item(Json),
    /// The item's position: given to tools only if they ask for it.
    Index(u32),
}
