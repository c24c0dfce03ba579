//! Plans as planners write them: numbered, self-contained steps with structured
//! references to earlier outputs.
//!
//! The same JSON is what a planner model answers with, what a task carries
//! inline and what a template holds. [`lint`] says everything that is wrong
//! with one.

pub mod lint;
pub mod order;
pub mod parse;
pub mod revision;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{id::StepId, sub_task};

/// A step may take as long as its run at most: 30 days, a day less than logs keep their records.
pub const TIMEOUT_S_MAX: u32 = 30 * 24 * 3600;

/// One revision of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In an order in which every step comes after those it depends on.
    /// Shared with the runs that carry them out.
    pub steps: Vec<Arc<PlanStep>>,
    /// The step whose output is the run's answer.
    #[serde(rename = "final")]
    pub final_step: u32,
}

impl Plan {
    /// A plan of those steps.
    #[must_use]
    pub fn new(steps: Vec<PlanStep>, final_step: u32) -> Self {
        Self { steps: steps.into_iter().map(Arc::new).collect(), final_step }
    }
}

/// What carries a step out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Exactly one tool, called with the inputs as arguments; no model.
    Tool,
    /// The executor model, given the description, the inputs and the tools.
    Model,
}

/// One atomic piece of work that can be done knowing nothing else of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanStep {
    /// From 1; never reused within a run.
    pub id: u32,
    /// What to do, self-contained.
    #[serde(default)]
    pub description: String,
    /// Tool or model.
    #[serde(default = "model_kind")]
    pub kind: StepKind,
    /// The tools it may use; exactly one for [`StepKind::Tool`].
    #[serde(default)]
    pub tools: Vec<String>,
    /// Literals and references.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// Expands the step over a list known only at run time.
    #[serde(default)]
    pub for_each: Option<ForEach>,
    /// Steps to wait for besides those referenced.
    #[serde(default)]
    pub depends_on: Vec<u32>,
    /// What the output should be, in words.
    #[serde(default)]
    pub expected_output: String,
    /// What the output must satisfy.
    #[serde(default)]
    pub success_criteria: Vec<Criterion>,
    /// `default`, `strong`, or a pool of the envelope.
    #[serde(default = "default_tier")]
    pub tier: String,
    /// Seconds from the dispatch of an attempt to its result, waiting in the
    /// queue included; `None` leaves it to the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u32>,
}

const fn model_kind() -> StepKind {
    StepKind::Model
}

fn default_tier() -> String {
    "default".to_owned()
}

/// One named input: a literal or a reference, never both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The argument's name.
    pub name: String,
    /// A literal, as text; parsed as JSON where a tool's schema asks for another type.
    #[serde(default, deserialize_with = "literal_text")]
    pub value: Option<String>,
    /// The step whose output is referenced; 0 is the task itself.
    #[serde(default)]
    pub from_step: Option<u32>,
    /// JSON Pointer into that output; empty is the whole.
    #[serde(default)]
    pub path: Option<String>,
}

impl Input {
    /// The reference, if it is one.
    #[must_use]
    pub fn reference(&self) -> Option<(u32, &str)> {
        self.from_step.map(|step| (step, self.path.as_deref().unwrap_or_default()))
    }
}

/// Models write numbers and objects where text is asked for; their JSON is the text.
fn literal_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

/// The list that a step is expanded over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForEach {
    /// The step whose output holds the list; 0 is the task itself.
    pub from_step: u32,
    /// JSON Pointer to the list.
    #[serde(default)]
    pub path: String,
    /// What the item's input is called; `item` unless said.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub item_name: Option<String>,
}

impl ForEach {
    /// What the item's input is called.
    #[must_use]
    pub fn item_name(&self) -> &str {
        self.item_name.as_deref().unwrap_or("item")
    }
}

/// How an output is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CriterionKind {
    /// Valid under a JSON Schema; `arg` is the schema.
    JsonSchema,
    /// Matches a regular expression; `arg` is the pattern.
    Matches,
    /// Contains a text; `arg` is the text.
    Contains,
    /// Does not contain a text; `arg` is the text.
    NotContains,
    /// At least so many characters or items; `arg` is the number.
    MinLength,
    /// At most so many characters or items; `arg` is the number.
    MaxLength,
    /// Equals a text or JSON value; `arg` is it.
    Equals,
    /// A number within a range; `arg` is `"1..10"`, both ends included.
    Range,
    /// A model decides; `arg` is the question.
    Judge,
}

impl CriterionKind {
    /// The kind's name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonSchema => "json_schema",
            Self::Matches => "matches",
            Self::Contains => "contains",
            Self::NotContains => "not_contains",
            Self::MinLength => "min_length",
            Self::MaxLength => "max_length",
            Self::Equals => "equals",
            Self::Range => "range",
            Self::Judge => "judge",
        }
    }

    /// Every kind. The list is open to extension here and in [`crate::criteria`].
    pub const ALL: [Self; 9] = [
        Self::JsonSchema,
        Self::Matches,
        Self::Contains,
        Self::NotContains,
        Self::MinLength,
        Self::MaxLength,
        Self::Equals,
        Self::Range,
        Self::Judge,
    ];
}

/// One condition on an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Criterion {
    /// How it is checked.
    pub kind: CriterionKind,
    /// What it is checked against.
    pub arg: String,
}

impl std::fmt::Display for Criterion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.arg)
    }
}

impl PlanStep {
    /// The steps it refers to, in the order of its inputs, the list of
    /// `for_each` first. 0 is the task itself.
    pub fn references(&self) -> impl Iterator<Item = (u32, &str)> {
        let list = self.for_each.iter().map(|each| (each.from_step, each.path.as_str()));
        list.chain(self.inputs.iter().filter_map(Input::reference))
    }

    /// The steps it has to wait for: declared and referenced, each once, ascending.
    #[must_use]
    pub fn dependencies(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.depends_on.clone();
        all.extend(self.references().map(|(step, _)| step).filter(|step| *step != 0));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether `id` can name work of this step: items only where there is a list.
    #[must_use]
    pub const fn has(&self, id: StepId) -> bool {
        self.id == id.step && self.for_each.is_some() == id.item.is_some()
    }

    /// Whether two steps ask for the same work, whatever their numbers. Used to
    /// refuse a revision that only repeats what has just failed.
    #[must_use]
    pub fn same_work(&self, other: &Self) -> bool {
        let item_name = |step: &Self| step.for_each.as_ref().map(|each| each.item_name().to_owned());
        let literals = |step: &Self| -> Vec<(String, Option<String>, Option<String>)> {
            step.inputs.iter().map(|i| (i.name.clone(), i.value.clone(), i.path.clone())).collect()
        };
        self.kind == other.kind
            && self.description == other.description
            && self.tools == other.tools
            && self.tier == other.tier
            && self.timeout_s == other.timeout_s
            && self.success_criteria == other.success_criteria
            && self.expected_output == other.expected_output
            && item_name(self) == item_name(other)
            && literals(self) == literals(other)
    }
}

/// The id, dependencies and references a plan of one model step for a whole task
/// has: what `direct` mode runs instead of a planned one.
#[must_use]
pub fn direct(goal: &str, input_names: &[String], tools: Vec<String>, tier: &str) -> Plan {
    let reference = |name: &String| Input {
        name: name.clone(),
        value: None,
        from_step: Some(0),
        path: Some(format!("/{}", name.replace('~', "~0").replace('/', "~1"))),
    };
    let step = PlanStep {
        id: 1,
        description: goal.to_owned(),
        kind: StepKind::Model,
        // A model would hold its slot while it waits for a run.
        tools: tools.into_iter().filter(|tool| tool != sub_task::NAME).collect(),
        inputs: input_names.iter().map(reference).collect(),
        for_each: None,
        depends_on: Vec::new(),
        expected_output: String::new(),
        success_criteria: Vec::new(),
        tier: tier.to_owned(),
        timeout_s: None,
    };
    Plan::new(vec![step], 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_format_reads_as_written() {
        let plan: Plan = serde_json::from_str(include_str!("../tests/data/plan_example.json")).unwrap();
        assert_eq!(plan.final_step, 2);
        assert_eq!(plan.steps[0].kind, StepKind::Tool);
        assert_eq!(plan.steps[1].dependencies(), [1]);
        assert_eq!(plan.steps[1].inputs[0].reference(), Some((1, "/text")));
        assert_eq!(serde_json::to_value(&plan).unwrap()["final"], 2);
    }

    #[test]
    fn edges_are_declared_and_referenced_together() {
        let step: PlanStep = serde_json::from_str(
            r#"{"id": 5, "depends_on": [3, 1], "for_each": {"from_step": 2, "path": ""},
                "inputs": [{"name": "a", "from_step": 3}, {"name": "b", "from_step": 0, "path": "/x"}]}"#,
        )
        .unwrap();
        assert_eq!(step.dependencies(), [1, 2, 3]);
    }
}
