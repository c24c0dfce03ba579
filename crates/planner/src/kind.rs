//! What kind of task it is, as far as the plan cache goes: tasks of one kind differ in the
//! values of their slots alone, and one plan fits them all.

use std::sync::Arc;

use planfleet_core::{
    cache::{Entry, Way},
    json,
    plan::{Input, PlanStep},
    reference,
    task::Submission,
    tool::ToolCatalog,
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{prompt, schema};

/// A value that is shorter may be among other words by chance, as "no" and "10" are.
const TELLING_CHARS_MIN: usize = 4;

/// How much of a class's name is part of a key, and of a goal part of an entry.
const CLASS_CHARS_MAX: usize = 64;
const GOAL_CHARS_MAX: usize = 300;

/// One kind of task, and the values of a task's slots.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    /// Where it is kept.
    pub(crate) key: String,
    tenant: String,
    class: String,
    goal: String,
    slots: Map<String, Value>,
    /// The slots are no inputs of the task: what refers to them gets their values.
    extracted: bool,
}

impl Kind {
    /// The kind that a task's own class makes, its inputs being the slots.
    pub(crate) fn of_task(submission: &Submission, tools: &ToolCatalog, model: &str) -> Option<Self> {
        let task = &submission.task;
        let (class, goal) = (task.class.as_deref()?, task.goal.as_deref()?);
        Some(Self::new(submission, class, goal, task.inputs.clone(), false, tools, model))
    }

    /// The kind that a model has told, which has also taken the slots from the goal. `None`
    /// where they are not what the goal says, word for word, or are inputs of the task.
    pub(crate) fn told(
        submission: &Submission,
        class: &str,
        slots: Map<String, Value>,
        tools: &ToolCatalog,
        model: &str,
    ) -> Option<Self> {
        let task = &submission.task;
        let mut rest = task.goal.clone()?;
        let mut longest_first: Vec<(&String, &str)> =
            slots.iter().filter_map(|(name, value)| Some((name, value.as_str()?))).collect();
        longest_first.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        for (name, value) in longest_first {
            if value.is_empty() || !rest.contains(value) || task.inputs.contains_key(name) {
                return None;
            }
            rest = rest.replace(value, &format!("{{{name}}}"));
        }
        let mut kind = Self::new(submission, class, &rest, slots, true, tools, model);
        kind.goal = task.goal.clone()?;
        Some(kind)
    }

    fn new(
        submission: &Submission,
        class: &str,
        goal: &str,
        slots: Map<String, Value>,
        extracted: bool,
        tools: &ToolCatalog,
        model: &str,
    ) -> Self {
        let tenant = submission.task.tenant();
        let tools: Vec<Value> = submission
            .envelope
            .narrow(tools)
            .into_values()
            .map(|tool| json!([tool.name, tool.effect.as_str(), tool.arguments, tool.output]))
            .collect();
        let names: Vec<&String> = slots.keys().collect();
        let inputs: Vec<&String> = submission.task.inputs.keys().collect();
        // What varies among tasks of one kind is in the slots; the rest of the goal is what they
        // have in common, whoever has named the class.
        let pools = &submission.envelope.pools;
        let what = json!([class, goal, names, inputs, tools, pools, model, prompt::RULES, schema::plan()]);
        let digest = hex::encode(&Sha256::digest(what.to_string())[..16]);
        let class = name(class);
        let key = format!("{tenant}.{class}.{digest}");
        Self { key, tenant: tenant.to_owned(), class, goal: goal.to_owned(), slots, extracted }
    }

    /// An entry of this kind.
    pub(crate) fn entry(&self, way: Way, model: &str, made_ms: u64) -> Entry {
        Entry {
            tenant: self.tenant.clone(),
            class: self.class.clone(),
            slots: self.slots.keys().cloned().collect(),
            goal: self.goal.chars().take(GOAL_CHARS_MAX).collect(),
            extracted: self.extracted,
            way,
            model: model.to_owned(),
            cost: Default::default(),
            made_ms,
            pinned: false,
            used: Default::default(),
            fresh: Default::default(),
        }
    }

    pub(crate) fn class(&self) -> &str {
        &self.class
    }

    /// The task as its planner sees it: with the slots as inputs.
    pub(crate) fn with_slots(&self, submission: &Submission) -> Submission {
        let mut shown = submission.clone();
        if self.extracted {
            shown.task.inputs.extend(self.slots.clone());
        }
        shown
    }

    /// A step of a plan for this kind as this task's: without references to slots that are
    /// no inputs of it. `None` where it cannot do without.
    pub(crate) fn filled(&self, step: &PlanStep) -> Option<PlanStep> {
        let mut step = step.clone();
        if !self.extracted {
            return Some(step);
        }
        let refers = |path: &str| self.slot_of(path).is_some();
        if step.for_each.as_ref().is_some_and(|each| each.from_step == 0 && refers(&each.path)) {
            return None;
        }
        for input in &mut step.inputs {
            let Some((0, path)) = input.reference() else { continue };
            if refers(path) {
                let value = self.value(path)?;
                *input = Input { name: input.name.clone(), value: Some(value), from_step: None, path: None };
            }
        }
        Some(step)
    }

    fn slot_of(&self, path: &str) -> Option<&str> {
        let first = path.strip_prefix('/')?.split('/').next()?;
        let name = first.replace("~1", "/").replace("~0", "~");
        self.slots.get_key_value(&name).map(|(name, _)| name.as_str())
    }

    /// The text of what a path leads to among the slots.
    fn value(&self, path: &str) -> Option<String> {
        let value = reference::resolve_input(&self.slots, path).ok()?;
        Some(json::plain_text(value))
    }

    /// Why a plan that was made for this task does not fit others of its kind.
    pub(crate) fn unfit(&self, steps: &[Arc<PlanStep>]) -> Option<String> {
        let mut texts = Vec::new();
        self.slots.values().for_each(|value| leaves(value, &mut texts));
        let texts: Vec<String> = texts.into_iter().map(|text| text.to_lowercase()).collect();
        let telling: Vec<&String> =
            texts.iter().filter(|text| text.chars().count() >= TELLING_CHARS_MIN).collect();
        for step in steps {
            let words = words(step).to_lowercase();
            let literals = step.inputs.iter().filter_map(|input| input.value.as_ref());
            let is_literal = literals.map(|value| value.to_lowercase()).any(|value| texts.contains(&value));
            if is_literal || telling.iter().any(|text| words.contains(text.as_str())) {
                return Some(format!("step {} holds the value of a slot", step.id));
            }
        }
        None
    }
}

/// What of a step a model has written, besides its references.
fn words(step: &PlanStep) -> String {
    let literals = step.inputs.iter().filter_map(|input| input.value.as_deref());
    let criteria = step.success_criteria.iter().map(|criterion| criterion.arg.as_str());
    let own = [step.description.as_str(), step.expected_output.as_str()];
    own.into_iter().chain(literals).chain(criteria).collect::<Vec<_>>().join("\n")
}

fn leaves(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| leaves(field, into)),
        Value::Number(number) => into.push(number.to_string()),
        Value::Null | Value::Bool(_) => {}
    }
}

/// A class as part of a key: what a model has told may be any text.
fn name(class: &str) -> String {
    let kept = class.trim().chars().take(CLASS_CHARS_MAX);
    let name: String =
        kept.map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}
