//! What the core knows about tools: their contract, never how they work.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a call does to the world outside the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Depends on its arguments only.
    Pure,
    /// Reads the outside world.
    Read,
    /// Changes the outside world.
    Write,
    /// Changes the outside world in a way that cannot be undone.
    Destructive,
}

impl Effect {
    /// Whether a call may be made before the plan that asks for it is whole.
    #[must_use]
    pub const fn is_side_effect_free(self) -> bool {
        matches!(self, Self::Pure | Self::Read)
    }

    /// The effect's name in JSON, tables and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
        }
    }
}

/// A tool's contract: what planners and linters see of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// `[a-z0-9_]{1,64}`, unique in a registry.
    pub name: String,
    /// One or two sentences for the planner model.
    pub description: String,
    /// JSON Schema (an object schema) of the arguments.
    pub arguments: Value,
    /// JSON Schema of the output.
    pub output: Value,
    /// What a call does to the world.
    pub effect: Effect,
    /// Whether calling twice with the same arguments is the same as calling once.
    pub idempotent: bool,
}

impl ToolSpec {
    /// The argument names that the schema requires, in its order.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        self.arguments["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    /// Whether it says that it takes arguments that its schema does not name.
    #[must_use]
    pub fn takes_any(&self) -> bool {
        self.arguments["additionalProperties"] == true
    }

    /// The schema of one argument, or `None` when the tool takes no such argument.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&Value> {
        self.arguments["properties"].get(name)
    }
}

/// The tools a plan may name, by name.
pub type ToolCatalog = BTreeMap<String, ToolSpec>;
