//! What the API answers with, as types: `openapi.json` is made from them.
//!
//! A run's document is passed on as its owner wrote it; its types here say what is in it,
//! and a test holds real documents to them.

mod batch;
mod document;
mod fleet;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

pub use self::fleet::{CacheDetail, CacheEntry, DeadLetter, DeadLetterDetail, Outcomes, PreviewUsage};
pub(crate) use self::{batch::*, document::*, fleet::*};

/// Where a run stands, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunState {
    Planning,
    AwaitingApproval,
    Executing,
    Replanning,
    Paused,
    Succeeded,
    Failed,
    Cancelled,
    Expired,
}

/// A run's place in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Priority {
    High,
    Normal,
    Low,
}

/// How many steps of a run stand where; the items of a `for_each` are none of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct StepCounts {
    pub(crate) total: u32,
    pub(crate) done: u32,
    pub(crate) failed: u32,
    pub(crate) active: u32,
}

impl StepCounts {
    /// Counts a step that stands at one of a document's words.
    pub(crate) fn add(&mut self, state: &str) {
        let mut counted = planfleet_core::document::StepCounts::default();
        counted.add(state);
        self.total += counted.total;
        self.done += counted.done;
        self.failed += counted.failed;
        self.active += counted.active;
    }
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Summary {
    pub(crate) run_id: String,
    /// The user's own name for it.
    pub(crate) custom_id: Option<String>,
    /// The first 200 characters of what is to be reached.
    pub(crate) goal: Option<String>,
    pub(crate) state: RunState,
    /// Whether it has not reached its final step.
    pub(crate) partial: bool,
    /// Why it ended or is paused, where there is more to say than its state.
    pub(crate) reason: Option<String>,
    pub(crate) class: Option<String>,
    pub(crate) template: Option<String>,
    pub(crate) batch_id: Option<String>,
    pub(crate) tenant: String,
    pub(crate) priority: Priority,
    pub(crate) labels: BTreeMap<String, String>,
    /// What it cost in dollars; null when a price was unknown.
    pub(crate) usd: Option<f64>,
    /// RFC 3339, as all times.
    pub(crate) created_at: String,
    pub(crate) ended_at: Option<String>,
    /// Milliseconds from its submit to its end, or until now.
    pub(crate) total_ms: u64,
    pub(crate) steps: StepCounts,
    /// Revisions of its plan.
    pub(crate) revisions: u32,
}

/// A page of runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunPage {
    pub(crate) runs: Vec<Summary>,
    /// Gives the next page with the same query; null on the last one.
    pub(crate) next_cursor: Option<String>,
    /// What the answer lacks, if anything.
    pub(crate) gaps: Gaps,
}

/// What an answer about runs lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Gaps {
    /// Ended runs are still being read into the index: older ones are missing.
    pub(crate) indexing: bool,
    /// Active runs beyond those that one look at the fleet takes in.
    pub(crate) active_left_out: u64,
    /// Shards whose active runs are missing, as nobody answers for them.
    pub(crate) shards_left_out: u64,
}

/// How many runs there are.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct RunCounts {
    pub(crate) total: u64,
    /// By the name of the state; states without runs are left out.
    pub(crate) by_state: BTreeMap<String, u64>,
    /// What those have cost whose cost is known.
    pub(crate) usd: f64,
    /// Runs whose cost is not known, as a price was not.
    pub(crate) usd_unknown: u64,
    /// Whether there are more, "10,000+": of ended runs that fit words, labels, a template or a
    /// time, only the newest 10,000 or so are counted.
    pub(crate) capped: bool,
    pub(crate) gaps: Gaps,
}

/// A run that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    pub(crate) run_id: String,
}

/// Active runs that a filter has found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunsCancelled {
    /// How many fit.
    pub(crate) found: u64,
    /// How many were asked to end; none by a dry run.
    pub(crate) cancelled: u64,
    /// The first hundred that fit.
    pub(crate) run_ids: Vec<String>,
    /// Shards whose active runs are left out, as nobody answers for them.
    pub(crate) shards_left_out: u64,
}

/// Runs without success that a filter has found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunsRetried {
    /// How many fit.
    pub(crate) found: u64,
    /// The first hundred that fit.
    pub(crate) run_ids: Vec<String>,
    /// The new runs; none of a dry run.
    pub(crate) runs: Vec<Rerun>,
    pub(crate) refused: Vec<NotRerun>,
}

/// What was decided about.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Decided {
    pub(crate) run_id: String,
    /// Each is `{"gate": "plan", "revision": 2}` or `{"gate": "step", "step": 3}`.
    pub(crate) decided: Vec<Value>,
}

/// Something that has happened to a run.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct RunEvent {
    /// Its position in the log; null for what is not in the log: an executor has begun
    /// (`StepStarted`), something waits for a person (`ApprovalAsked`), the document is kept
    /// (`RunFinished`).
    pub(crate) seq: Option<u64>,
    /// RFC 3339.
    pub(crate) at: String,
    /// The name of the record, such as `StepSucceeded`.
    pub(crate) kind: String,
    /// `3`, or `"3[0]"` for an item.
    pub(crate) step: Option<Value>,
    pub(crate) attempt: Option<u32>,
    /// Revision of the plan, where it is about one.
    pub(crate) revision: Option<u32>,
    pub(crate) model: Option<String>,
    /// What it says in a line, cut at 300 characters: a reason, or an error.
    pub(crate) detail: Option<String>,
}

/// The events of a run that the log still has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Events {
    pub(crate) events: Vec<RunEvent>,
    /// Whether older ones are gone from the log, or were too many to look at.
    pub(crate) incomplete: bool,
}

/// What went wrong with a request: RFC 9457 problem details.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemDetails {
    /// `urn:planfleet:problem:<code>`.
    pub(crate) r#type: String,
    pub(crate) title: Option<String>,
    pub(crate) status: u16,
    /// Stable: programs match on it.
    pub(crate) code: String,
    /// What is wrong, and what would be right.
    pub(crate) detail: String,
    /// Everything that is wrong with a task, template or line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) errors: Vec<ProblemAt>,
}

/// One mistake.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemAt {
    /// Where, such as `budget.usd`.
    pub(crate) path: String,
    pub(crate) message: String,
}
