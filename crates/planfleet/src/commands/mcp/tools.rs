//! The tools of the MCP server: what they take, and what they show of a run.

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde::Deserialize;
use serde_json::{Value, json};

/// Clients give up on a call after a minute or so: a longer wait is several calls.
pub(super) const WAIT_S_MAX: u64 = 50;

#[derive(Deserialize)]
pub(super) struct Submit {
    /// The rest: the fields of a task.
    #[serde(flatten)]
    pub(super) task: JsonObject,
    pub(super) idempotency_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    pub(super) run_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    pub(super) run_id: String,
    #[serde(default = "wait_s_max")]
    pub(super) timeout_s: u64,
}

fn wait_s_max() -> u64 {
    WAIT_S_MAX
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cancel {
    pub(super) run_id: String,
    #[serde(default)]
    pub(super) reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outcome {
    pub(super) run_id: String,
    #[serde(default)]
    pub(super) steps: bool,
}

/// What a client is told of the tools.
pub(super) fn all() -> Vec<Tool> {
    let reads = || ToolAnnotations::new().read_only(true);
    let writes = |destructive| ToolAnnotations::new().read_only(false).destructive(destructive);
    vec![
        tool(
            "submit",
            "Starts a run on the fleet and gives its id at once. Give a `goal` in words; `inputs` are named values \
             that the plan may refer to; `tools` names the tools it may use (by default those without side effects).",
            submit(),
            writes(false),
        ),
        tool("status", "How far a run is: its state and the states of its steps.", run(json!({})), reads()),
        tool(
            "wait",
            "Waits for a run's end and gives its answer, or its status when the time is over: then wait again.",
            run(json!({"timeout_s": {"type": "integer", "minimum": 0, "maximum": WAIT_S_MAX}})),
            reads(),
        ),
        tool(
            "cancel",
            "Ends a run; what it has reached by then is kept.",
            run(json!({"reason": {"type": "string"}})),
            writes(true),
        ),
        tool(
            "result",
            "What came of a run that has ended: state, answer, cost; with `steps`, the whole document.",
            run(json!({"steps": {"type": "boolean"}})),
            reads(),
        ),
    ]
}

fn tool(name: &'static str, description: &'static str, schema: Value, annotations: ToolAnnotations) -> Tool {
    let schema = schema.as_object().cloned().unwrap_or_default();
    Tool::new(name, description, Arc::new(schema)).with_annotations(annotations)
}

fn run(mut properties: Value) -> Value {
    properties["run_id"] = json!({"type": "string", "description": "As `submit` gave it."});
    json!({
        "type": "object", "properties": properties, "required": ["run_id"], "additionalProperties": false
    })
}

/// The fields that agents need; a task may have every other one that `planfleet run -f` takes.
fn submit() -> Value {
    json!({
        "type": "object",
        "properties": {
            "goal": {"type": "string", "description": "What is to be reached, in words."},
            "inputs": {"type": "object", "description": "Named values for the plan."},
            "tools": {"type": "array", "items": {"type": "string"}},
            "plan": {"type": "object", "description": "A plan of your own, in place of a planner's."},
            "budget": {
                "type": "object",
                "properties": {"usd": {"type": ["number", "string"]}, "tokens": {"type": "integer"}},
                "description": "What it may spend at most."
            },
            "deadline_s": {"type": "integer", "minimum": 1, "description": "Seconds until it ends at the latest."},
            "max_replans": {"type": "integer", "minimum": 0},
            "idempotency_key": {
                "type": "string",
                "description": "The same key gives the same run, however often it is submitted."
            }
        }
    })
}

/// A run that goes on, or the outline of one that has ended.
pub(super) fn status(document: &Value) -> Value {
    let step = |step: &Value| {
        let mut shown = json!({"id": step["id"], "state": step["state"], "description": step["description"]});
        if !step["error"].is_null() {
            shown["error"] = step["error"].clone();
        }
        shown
    };
    let steps: Vec<Value> = document["steps"].as_array().into_iter().flatten().map(step).collect();
    json!({"run_id": document["run_id"], "state": document["state"], "ended": false, "steps": steps})
}

/// What came of a run.
pub(super) fn ended(document: &Value) -> Value {
    let mut shown = json!({"ended": true});
    for field in ["run_id", "state", "answer", "partial", "reason", "usd", "timings"] {
        shown[field] = document[field].clone();
    }
    shown
}
