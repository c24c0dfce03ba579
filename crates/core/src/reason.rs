//! Why things are as they are, as data: why a plan has another revision, why a
//! step waits, why a run ended. Commands and the API show what is said here.

use serde::{Deserialize, Serialize, Serializer};

use crate::{document::rfc3339, failure::FailureClass, id::RunId};

/// Why a revision of the plan was written, and why the planner is asked for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Cause {
    /// The task needed a plan.
    Planned,
    /// The task brought its plan.
    Given,
    /// A run goes on from where another one ended.
    Rerun {
        /// The run before.
        run: RunId,
    },
    /// Steps have failed, and a plan without them is wanted.
    Failed {
        /// Those steps.
        steps: Vec<u32>,
    },
    /// The task asks for a review of every result.
    Reviewed {
        /// The steps that have finished since the planner looked last.
        steps: Vec<u32>,
    },
    /// A person has rejected the plan.
    Rejected {
        /// Why.
        reason: String,
    },
}

impl Cause {
    /// The cause's name in JSON and on the wire.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Given => "given",
            Self::Rerun { .. } => "rerun",
            Self::Failed { .. } => "failed",
            Self::Reviewed { .. } => "reviewed",
            Self::Rejected { .. } => "rejected",
        }
    }
}

/// Why a step has not been started, or not been tried again yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Wait {
    /// For outputs.
    Steps {
        /// The steps that are to bring them.
        steps: Vec<u32>,
    },
    /// For its plan to be whole, because it may change the world outside.
    Plan,
    /// For a person to approve the plan.
    PlanApproval,
    /// For a person to approve the step.
    StepApproval,
    /// For the planner to look at what has finished.
    Review,
    /// For the run to be resumed.
    Pause,
    /// For its next attempt, after a failure that may pass by itself.
    Retry {
        /// When that comes, in milliseconds since the Unix epoch; RFC 3339 in JSON.
        #[serde(rename = "at", serialize_with = "as_rfc3339")]
        at_ms: u64,
    },
    /// For its turn: others of its pool go first, or as much as may be is at work.
    Queue,
    /// For work like it to be resumed.
    QueuePaused {
        /// What is paused, such as `tenant acme`.
        what: String,
        /// Why, in the operator's words.
        reason: String,
    },
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The kind of reason.
    pub code: EndCode,
    /// The step that it is about, if it is about one.
    pub step: Option<u32>,
    /// That step's failure, or the planner's.
    pub class: Option<FailureClass>,
    /// All of it for people; empty where a run has just succeeded.
    pub message: String,
}

/// The kinds of reasons why runs end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCode {
    /// Every step is done.
    Completed,
    /// The planner answered from what there was.
    FinishedEarly,
    /// The planner saw no way to the goal.
    GaveUp,
    /// A failure that only people can mend.
    Unmendable,
    /// A step failed, and the task asks for no review.
    NoReview,
    /// A step failed, and there is no goal to plan for.
    NoGoal,
    /// A step failed, and all replans are used.
    ReplansUsed,
    /// The plan asked again for what its envelope or a person denies.
    DeniedAgain,
    /// No plan came about.
    PlanningFailed,
    /// The task's own plan is not sound.
    UnsoundPlan,
    /// A person rejected the plan, and nobody can write another.
    Rejected,
    /// More was used than the budget allows.
    Budget,
    /// The time was up.
    Deadline,
    /// Somebody asked for it.
    Cancelled,
}

impl EndCode {
    /// Every kind, in declaration order.
    pub const ALL: [Self; 14] = [
        Self::Completed,
        Self::FinishedEarly,
        Self::GaveUp,
        Self::Unmendable,
        Self::NoReview,
        Self::NoGoal,
        Self::ReplansUsed,
        Self::DeniedAgain,
        Self::PlanningFailed,
        Self::UnsoundPlan,
        Self::Rejected,
        Self::Budget,
        Self::Deadline,
        Self::Cancelled,
    ];
}

impl End {
    /// A reason that is about no step.
    #[must_use]
    pub fn new(code: EndCode, message: impl Into<String>) -> Self {
        Self { code, step: None, class: None, message: message.into() }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn as_rfc3339<S: Serializer>(at_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at_ms))
}
