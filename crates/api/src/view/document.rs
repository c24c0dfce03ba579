//! A run's document and its steps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Priority, RunState};

/// A run, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunDocument {
    pub(crate) run_id: String,
    pub(crate) custom_id: Option<String>,
    pub(crate) batch_id: Option<String>,
    pub(crate) tenant: String,
    pub(crate) class: Option<String>,
    pub(crate) goal: Option<String>,
    pub(crate) inputs: Map<String, Value>,
    pub(crate) template: Option<String>,
    pub(crate) priority: Priority,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) created_at: String,
    pub(crate) ended_at: Option<String>,
    /// The run that it goes on from, if it is a rerun.
    pub(crate) rerun_of: Option<String>,
    /// The run and the step that it is a part of, if it is a sub-task; what it has used is in that
    /// run's figures too.
    pub(crate) parent: Option<Parent>,
    pub(crate) state: RunState,
    /// The final step's output, or what the planner answered from what there was.
    pub(crate) answer: Value,
    pub(crate) partial: bool,
    pub(crate) reason: Option<String>,
    /// Why it ended, once it has: `{"code", "message", "step", "class"}`.
    pub(crate) end: Option<Map<String, Value>>,
    pub(crate) paused: Option<String>,
    /// What waits for a person.
    pub(crate) approvals: Vec<Map<String, Value>>,
    /// The revision that is being written, if one is.
    pub(crate) planning: Option<Map<String, Value>>,
    pub(crate) revisions: Vec<Revision>,
    /// The step whose output is the answer.
    pub(crate) r#final: Option<u32>,
    /// Every step of every revision; the items of a `for_each` follow their step.
    pub(crate) steps: Vec<Step>,
    pub(crate) usage: UsageByRole,
    pub(crate) models: Vec<ModelUsage>,
    pub(crate) usd: Option<f64>,
    /// What the plan cache had to do with it, where it was asked.
    pub(crate) cache: Option<Map<String, Value>>,
    pub(crate) timings: Timings,
    /// True where outputs are left out, as the run goes on and is too large for one message; of a larger
    /// one the items of its steps, too, and of a much larger one all steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub(crate) trimmed: Option<bool>,
}

/// A step of another run, which a run does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parent {
    pub(crate) run_id: String,
    /// `3`, or `"3[0]"` for an item.
    pub(crate) step: Value,
}

/// A revision of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revision {
    pub(crate) revision: u32,
    /// Why one was wanted.
    pub(crate) cause: Value,
    /// Why it is as it is, in the planner's words.
    pub(crate) reason: String,
    pub(crate) added: Vec<u32>,
    pub(crate) dropped: Vec<u32>,
    pub(crate) model: Option<String>,
    pub(crate) usd: Option<f64>,
}

/// A step or an item of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Step {
    /// `3`, or `"3[0]"` for an item.
    pub(crate) id: Value,
    pub(crate) revision: u32,
    /// `waiting`, `running`, `succeeded`, `failed`, `dropped` or `cancelled`.
    pub(crate) state: String,
    pub(crate) needs_approval: bool,
    /// Why it is not at work, while it is not and will be.
    pub(crate) waits_for: Option<Value>,
    pub(crate) description: String,
    /// `tool` or `model`.
    pub(crate) kind: String,
    pub(crate) tools: Vec<String>,
    /// As planned: `{"name", "value"}` or `{"name", "from_step", "path"}`. Items have their step's.
    pub(crate) inputs: Vec<Map<String, Value>>,
    pub(crate) for_each: Option<Map<String, Value>>,
    pub(crate) success_criteria: Vec<Map<String, Value>>,
    pub(crate) depends_on: Vec<u32>,
    pub(crate) attempts: u32,
    pub(crate) pool: String,
    pub(crate) model: Option<String>,
    /// The run that does it, if it is a sub-task that has begun.
    pub(crate) child: Option<String>,
    pub(crate) output: Value,
    /// `{"class", "message", ..}`.
    pub(crate) error: Option<Map<String, Value>>,
    pub(crate) usage: Usage,
    pub(crate) started_at: Option<String>,
    pub(crate) ended_at: Option<String>,
}

/// A step with all that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepDetail {
    #[serde(flatten)]
    pub(crate) step: Step,
    pub(crate) run_id: String,
    /// Its inputs with their values where these are known; longer ones are cut, and say so.
    pub(crate) resolved: Vec<ResolvedInput>,
    /// What the log still tells of its attempts, in their order.
    pub(crate) attempts_made: Vec<AttemptMade>,
    /// The trace that the run belongs to, where the log still tells and it has one.
    pub(crate) trace_id: Option<String>,
    /// Where that is shown, where the settings say it.
    pub(crate) trace_url: Option<String>,
}

/// One input of a step.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResolvedInput {
    pub(crate) name: String,
    /// The step that it comes from; 0 is the task; null for a literal.
    pub(crate) from_step: Option<u32>,
    pub(crate) path: Option<String>,
    /// Null while it is not known.
    pub(crate) value: Value,
    pub(crate) known: bool,
}

/// One attempt of a step.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptMade {
    pub(crate) attempt: u32,
    /// `succeeded` or `failed`.
    pub(crate) state: String,
    pub(crate) model: Option<String>,
    pub(crate) error: Option<Map<String, Value>>,
    pub(crate) started_at: String,
    pub(crate) ended_at: String,
    pub(crate) usage: Vec<ModelUsage>,
    /// What its model has called, in order; a step that is one tool call has none. The first 64.
    pub(crate) tool_calls: Vec<ToolCallMade>,
}

/// A call of a tool by a step's model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToolCallMade {
    pub(crate) tool: String,
    /// As the model wrote them, usually JSON; the first 2,000 characters.
    pub(crate) arguments: String,
    /// What the model was told: the output as JSON, or `{"error"}`; the first 2,000 characters.
    pub(crate) result: String,
    /// The class of its failure; null for a call that succeeded.
    pub(crate) error_class: Option<String>,
    pub(crate) started_at: String,
    pub(crate) ended_at: String,
}

/// What was used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Usage {
    pub(crate) calls: u64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) usd: Option<f64>,
}

/// What was used for what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageByRole {
    pub(crate) planner: Usage,
    pub(crate) executor: Usage,
    pub(crate) judge: Usage,
    pub(crate) triage: Usage,
}

/// What was used of one model for one role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelUsage {
    pub(crate) model: String,
    pub(crate) role: String,
    pub(crate) calls: u64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) usd: Option<f64>,
}

/// Where the time went, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Timings {
    pub(crate) queued_ms: u64,
    pub(crate) planning_ms: u64,
    pub(crate) executing_ms: u64,
    pub(crate) total_ms: u64,
}
