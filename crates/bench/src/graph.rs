//! The shapes of work: a plan of no-op steps with 200 bytes in and out of each, and
//! how many of its steps are there at once, which is all that the floor knows of it.

use planfleet_api::submission::{self, Limits, Scope};
use planfleet_core::task::Submission;
use planfleet_tools::{Registry, Settings};
use serde_json::{Value, json};

use crate::error::Error;

/// What each step gets and gives.
pub(crate) const PAYLOAD_BYTES: usize = 200;

/// A shape of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Graph {
    /// One step, eight beside each other that use its output, one that waits for them.
    Diamond,
    /// So many steps, each of which uses the output of the one before.
    Chain(u32),
    /// One step, one for each of so many items, one that waits for them.
    Wide(u32),
    /// The same, but the step for each item takes [`WAIT_MS`].
    Waits(u32),
    /// The same, but the step for each item is a model call.
    Calls(u32),
}

/// How long a step takes that waits, in milliseconds.
pub(crate) const WAIT_MS: u32 = 50;

impl Graph {
    /// How many steps there are in all, items counted one by one.
    pub(crate) fn steps(self) -> u64 {
        self.stages().into_iter().map(u64::from).sum()
    }

    /// How many steps are ready at once, stage after stage.
    pub(crate) fn stages(self) -> Vec<u32> {
        match self {
            Self::Diamond => vec![1, 8, 1],
            Self::Chain(steps) => vec![1; steps as usize],
            Self::Wide(items) | Self::Waits(items) | Self::Calls(items) => vec![1, items, 1],
        }
    }

    /// The task, with its plan.
    pub(crate) fn task(self) -> Value {
        let text = "x".repeat(PAYLOAD_BYTES);
        let first = echo(1, json!({"name": "text", "value": text}));
        let after = |id: u32, from: u32| echo(id, output_of(from));
        let steps: Vec<Value> = match self {
            Self::Diamond => {
                let mut last = after(10, 2);
                last["depends_on"] = (3..10).collect();
                std::iter::once(first).chain((2..10).map(|id| after(id, 1))).chain([last]).collect()
            }
            Self::Chain(steps) => {
                std::iter::once(first).chain((2..=steps).map(|id| after(id, id - 1))).collect()
            }
            Self::Wide(_) => wide(first, after(2, 1)),
            Self::Waits(_) => {
                // The item says how long.
                let each = json!({"id": 2, "description": "Wait.", "kind": "tool", "tools": ["wait"]});
                wide(first, each)
            }
            Self::Calls(_) => wide(first, json!({"id": 2, "description": "Say done.", "kind": "model"})),
        };
        let last = steps.last().map(|step| step["id"].clone());
        let plan = json!({"steps": steps, "final": last});
        json!({"plan": plan, "tools": ["echo", "wait"], "inputs": self.inputs()})
    }

    /// The lists that steps are expanded over.
    fn inputs(self) -> Value {
        match self {
            Self::Diamond | Self::Chain(_) => json!({}),
            Self::Wide(items) | Self::Calls(items) => json!({"items": (0..items).collect::<Vec<u32>>()}),
            Self::Waits(items) => json!({"items": vec![WAIT_MS; items as usize]}),
        }
    }

    /// What a client submits.
    pub(crate) fn submission(self) -> Result<Submission, Error> {
        freeze(self.task())
    }
}

/// A task of one step that keeps a slot for so long.
pub(crate) fn wait_task(ms: u32) -> Value {
    let wait = json!({
        "id": 1, "description": "Wait.", "kind": "tool", "tools": ["wait"],
        "inputs": [{"name": "ms", "value": ms.to_string()}],
    });
    json!({"plan": {"steps": [wait], "final": 1}, "tools": ["wait"]})
}

/// A step that gives back what it gets.
fn echo(id: u32, input: Value) -> Value {
    json!({"id": id, "description": "Echo a text.", "kind": "tool", "tools": ["echo"], "inputs": [input]})
}

/// One step, one for each item, one that waits for them.
fn wide(first: Value, mut each: Value) -> Vec<Value> {
    let mut last = echo(3, output_of(1));
    each["for_each"] = json!({"from_step": 0, "path": "/items"});
    each["depends_on"] = json!([1]);
    last["depends_on"] = json!([2]);
    vec![first, each, last]
}

fn output_of(step: u32) -> Value {
    json!({"name": "text", "from_step": step, "path": "/text"})
}

/// Freezes a task as the command line does, within limits that every workload keeps.
pub(crate) fn freeze(task: Value) -> Result<Submission, Error> {
    freeze_with(task, Settings::default())
}

/// The same with tools of its own.
pub(crate) fn freeze_with(task: Value, tools: Settings) -> Result<Submission, Error> {
    let registry = Registry::builtin(tools).map_err(crate::error::failed("make the tools"))?;
    let limits = Limits { steps_max: 1_000, items_max: 100_000, ..Limits::default() };
    let scope = Scope { tools: registry.catalog(), limits, ..Scope::default() };
    let no_template = |name: &str| Err(vec![format!("a benchmark has no template {name:?}")]);
    submission::freeze(task, &scope, &no_template).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Error::Void(format!("the workload's task is wrong: {}", faults.join("; ")))
    })
}
