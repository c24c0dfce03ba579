//! Records: past facts, appended to a shard's log by whoever saw them happen.

use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, FailureClass},
    id::{RunId, StepId},
    json::Json,
    plan::PlanStep,
    task::Submission,
    usage::{Charge, NanoUsd},
};

/// One entry of a shard's log.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The run it is about.
    pub run: RunId,
    /// When the broker stored it, in milliseconds since the Unix epoch. The
    /// only time there is.
    pub at_ms: u64,
    /// What happened.
    pub fact: Fact,
}

/// What happened to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A task was submitted: the run exists.
    TaskSubmitted(Box<Submission>),
    /// The planner has completed one step of a draft.
    StepPlanned {
        /// The draft it belongs to.
        draft: Draft,
        /// The step.
        step: Box<PlanStep>,
    },
    /// The planner has completed a draft.
    PlanSealed(Box<PlanSealed>),
    /// The planner could not plan.
    PlanFailed {
        /// The draft that came to nothing.
        draft: Draft,
        /// Why.
        failure: Failure,
        /// What it cost all the same.
        usage: Vec<Charge>,
    },
    /// An attempt has succeeded.
    StepSucceeded(Box<StepSucceeded>),
    /// An attempt has failed.
    StepFailed(Box<StepFailed>),
    /// Somebody wants the run to end.
    RunCancelRequested {
        /// Why, in the words of who asked.
        reason: String,
    },
    /// Somebody wants the run to start nothing new.
    RunPauseRequested {
        /// Why, in the words of who asked.
        reason: String,
    },
    /// Somebody wants a paused run to go on.
    RunResumeRequested,
    /// A person has decided about something that waits for approval.
    ApprovalDecided(ApprovalDecided),
    /// A time that a command asked to be told of has come.
    TimerFired(Timer),
}

impl Fact {
    /// The fact's name in logs, errors and transcripts.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TaskSubmitted(_) => "TaskSubmitted",
            Self::StepPlanned { .. } => "StepPlanned",
            Self::PlanSealed(_) => "PlanSealed",
            Self::PlanFailed { .. } => "PlanFailed",
            Self::StepSucceeded(_) => "StepSucceeded",
            Self::StepFailed(_) => "StepFailed",
            Self::RunCancelRequested { .. } => "RunCancelRequested",
            Self::RunPauseRequested { .. } => "RunPauseRequested",
            Self::RunResumeRequested => "RunResumeRequested",
            Self::ApprovalDecided(_) => "ApprovalDecided",
            Self::TimerFired(_) => "TimerFired",
        }
    }
}

/// Which planner's work a planning record belongs to. Ordered: a later draft of
/// the same revision replaces an earlier one, whose records are then ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Draft {
    /// The revision that is being written.
    pub revision: u32,
    /// The dispatch of the planning work.
    pub attempt: u32,
    /// Deliveries and repair turns within that dispatch, ascending.
    pub take: u32,
}

/// What a planner has decided.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanSealed {
    /// The draft that is complete.
    pub draft: Draft,
    /// How many steps the draft has: one that is not here yet is waited for.
    pub steps: u32,
    /// The decision.
    pub decision: Decision,
    /// Why, in the planner's words.
    pub reason: String,
    /// What it cost.
    pub usage: Vec<Charge>,
    /// The model that planned; empty when none had to.
    pub model: String,
    /// When the planner took the work, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// What the plan cache had to do with it, where it was asked.
    pub cache: Option<Box<CacheNote>>,
}

/// What the plan cache had to do with a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheNote {
    /// The entry's key.
    pub key: String,
    /// The class of task that it is for.
    pub class: String,
    /// Whether the plan came from there; else it may go there.
    pub hit: bool,
    /// Tokens that making the plan anew would have used: those of when it was made.
    pub saved_tokens: u64,
    /// Likewise what it would have cost; `None` when the price was unknown.
    pub saved_nano_usd: Option<NanoUsd>,
    /// Likewise how long it would have taken, in milliseconds.
    pub saved_ms: u64,
    /// When the entry was made, in milliseconds since the Unix epoch: a key may have another one
    /// by the time that the run ends. 0 where that was not noted.
    pub made_ms: u64,
}

/// How a run goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The first plan.
    Plan {
        /// The step whose output is the answer.
        final_step: u32,
    },
    /// Drop some steps, add those of the draft.
    Revise {
        /// Steps that are not wanted any more.
        drop: Vec<u32>,
        /// The step whose output is the answer; `None` keeps the one there was.
        final_step: Option<u32>,
    },
    /// Answer from what there is.
    Finish {
        /// The answer.
        answer: Json,
    },
    /// The goal cannot be reached.
    GiveUp,
}

/// What an attempt that succeeded brought.
#[derive(Debug, Clone, PartialEq)]
pub struct StepSucceeded {
    /// Which attempt, and what it used.
    pub attempt: AttemptReport,
    /// The output.
    pub output: Json,
}

/// What an attempt that failed left behind.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFailed {
    /// Which attempt, and what it used.
    pub attempt: AttemptReport,
    /// Why it failed.
    pub failure: Failure,
}

/// One attempt as its executor saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptReport {
    /// The step.
    pub step: StepId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The model that was used, if one was.
    pub model: Option<String>,
    /// Usage by account and model.
    pub usage: Vec<Charge>,
    /// When the executor began, in milliseconds since the Unix epoch; 0 when nobody did.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// The tool calls that its model has made, in order; the first of them where there were many.
    /// A step that is one tool call has none: its inputs and its output say it.
    pub calls: Vec<ToolCall>,
}

impl AttemptReport {
    /// That of an attempt which nobody has begun.
    #[must_use]
    pub const fn unbegun(step: StepId, attempt: u32) -> Self {
        Self { step, attempt, model: None, usage: Vec::new(), started_ms: 0, ended_ms: 0, calls: Vec::new() }
    }
}

/// A call of a tool by a step's model, for people: nothing is decided by it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The tool.
    pub tool: String,
    /// Its arguments as the model wrote them, usually JSON; the beginning of long ones.
    pub arguments: String,
    /// What the model was told: the output as JSON, or the error; the beginning of a long one.
    pub result: String,
    /// Why it failed, if it did.
    pub class: Option<FailureClass>,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
}

/// The end of a run as the outcome of another run's step.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The run whose step it is.
    pub run: RunId,
    /// [`Fact::StepSucceeded`] or [`Fact::StepFailed`].
    pub fact: Fact,
}

/// What waits for a person's approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "gate", rename_all = "snake_case")]
pub enum Gate {
    /// A revision of the plan, as a whole.
    Plan {
        /// Its number: a decision about one revision is none about the next.
        revision: u32,
    },
    /// A step that may use a tool which needs approval; all items of a `for_each`.
    Step {
        /// Its id.
        step: u32,
    },
}

/// What a person has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalDecided {
    /// What about: everything that was decided in one go, so that a planner who is
    /// told of a rejection is told of all of it.
    pub gates: Vec<Gate>,
    /// Yes or no.
    pub approved: bool,
    /// Why, in that person's words; the planner reads it where the answer is no.
    pub reason: String,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The run's deadline.
    Deadline,
    /// The next attempt of a step, after the delay that its provider asked for.
    Retry {
        /// The step.
        step: StepId,
        /// The attempt to be made.
        attempt: u32,
    },
    /// An attempt has had all the time that its step allows.
    StepTimeout {
        /// The step.
        step: StepId,
        /// The attempt that has no result yet.
        attempt: u32,
    },
    /// The next attempt of a planning, likewise.
    Replan {
        /// The revision that is being written.
        revision: u32,
        /// The attempt to be made.
        attempt: u32,
    },
}
