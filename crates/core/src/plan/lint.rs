//! Everything that is wrong with a plan, at once, as data.
//!
//! [`structure`] needs the plan alone and is what the fold trusts: a plan that
//! passes it never hangs and never runs half. [`full`] adds what the tools'
//! schemas and the task's inputs say. Both are linear in the plan, up to the
//! sorting of ids.

mod cycle;
pub mod tools;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Plan, PlanStep, StepKind, TIMEOUT_S_MAX};
use crate::{criteria, reference, tool::ToolCatalog};

/// What kind of fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Not even of a plan's shape.
    Malformed,
    /// No steps at all.
    Empty,
    /// More steps than allowed.
    TooManySteps,
    /// A step's id is 0, taken twice, or was used earlier in the run.
    ReusedId,
    /// A step depends on itself by way of others.
    Cycle,
    /// A step depends on one that does not exist or was dropped.
    DanglingReference,
    /// A step depends on one that comes later in the plan.
    ForwardReference,
    /// An input that is both literal and reference, or neither, or named twice.
    BadInput,
    /// A path that is no JSON Pointer.
    BadPath,
    /// The task has no such input.
    UnknownInput,
    /// No such tool, or not in the envelope, or not for steps of that kind.
    UnknownTool,
    /// A tool step that does not name exactly one tool.
    ToolCount,
    /// A required argument that no input gives.
    MissingArgument,
    /// An input that the tool takes no argument for.
    UnknownArgument,
    /// A literal that the tool's schema refuses.
    BadArgument,
    /// A criterion whose argument cannot be read, or that nobody can check there.
    BadCriterion,
    /// A tier that is neither `default`, `strong` nor a pool of the envelope.
    UnknownTier,
    /// A time limit that is no time, or longer than a run may take.
    BadTimeout,
    /// A model step without a description.
    EmptyDescription,
    /// `final` names no step of the plan.
    UnreachableFinal,
    /// The revision only repeats the work that has just failed.
    EqualPlan,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind of fault it is.
    pub code: Code,
    /// The step it is in, if it is in one.
    pub step: Option<u32>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Fault {
    /// A fault.
    #[must_use]
    pub fn new(code: Code, step: Option<u32>, message: impl Into<String>) -> Self {
        Self { code, step, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => write!(f, "step {step}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Faults as one text, a line each.
#[must_use]
pub fn describe(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("- {fault}")).collect::<Vec<_>>().join("\n")
}

/// Steps that exist already when a revision is linted.
#[derive(Debug, Clone, Default)]
pub struct Existing {
    /// Steps that go on existing: finished, in flight, or still to be done.
    pub kept: BTreeSet<u32>,
    /// Every id up to this one has been used.
    pub highest_id: u32,
}

/// What a plan may use.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The envelope's tools with their schemas.
    pub tools: &'a ToolCatalog,
    /// The task's inputs, where they are known.
    pub inputs: Option<&'a Map<String, Value>>,
    /// Pools that a step's tier may name besides `default` and `strong`.
    pub pools: &'a [String],
    /// Most steps a run may have.
    pub steps_max: usize,
}

/// Faults that show in the plan alone.
#[must_use]
pub fn structure(plan: &Plan, existing: &Existing, steps_max: usize) -> Vec<Fault> {
    let mut faults = Vec::new();
    let positions = positions(plan, existing, &mut faults);
    if plan.steps.is_empty() && existing.kept.is_empty() {
        faults.push(Fault::new(Code::Empty, None, "a plan has at least one step"));
    }
    if plan.steps.len() > steps_max {
        let message = format!("{} steps are more than the {steps_max} allowed", plan.steps.len());
        faults.push(Fault::new(Code::TooManySteps, None, message));
    }
    let cyclic = cycle::members(plan, &positions);
    for (at, step) in plan.steps.iter().enumerate() {
        if cyclic.contains(&at) {
            let message = "depends on itself by way of others; a plan has no cycles";
            faults.push(Fault::new(Code::Cycle, Some(step.id), message));
        }
        edges(step, at, &positions, existing, cyclic.contains(&at), &mut faults);
        inputs(step, &mut faults);
        own(step, &mut faults);
    }
    let known = positions.contains_key(&plan.final_step) || existing.kept.contains(&plan.final_step);
    if !known && (!plan.steps.is_empty() || !existing.kept.is_empty()) {
        let message = format!(
            "\"final\" is {}, which is no step of the plan that can still be reached",
            plan.final_step
        );
        faults.push(Fault::new(Code::UnreachableFinal, None, message));
    }
    faults
}

/// All faults: [`structure`], and what tools, tiers and task inputs add.
#[must_use]
pub fn full(plan: &Plan, existing: &Existing, scope: &Scope<'_>) -> Vec<Fault> {
    let mut faults = structure(plan, existing, scope.steps_max);
    for step in &plan.steps {
        tools::step(step, scope.tools, &mut faults);
        tier(step, scope.pools, &mut faults);
        task_references(step, scope.inputs, &mut faults);
    }
    faults
}

/// The position of every id, with reused ones reported.
fn positions(plan: &Plan, existing: &Existing, faults: &mut Vec<Fault>) -> BTreeMap<u32, usize> {
    let mut positions = BTreeMap::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let taken = positions.insert(step.id, at).is_some();
        if step.id == 0 {
            faults.push(Fault::new(Code::ReusedId, Some(0), "0 is the task itself; steps count from 1"));
        } else if taken || step.id <= existing.highest_id {
            let free = match existing.highest_id.checked_add(1) {
                Some(lowest) => format!("use ids from {lowest} on, each once"),
                None => "there are no ids left in this run".to_owned(),
            };
            let message = format!("id {} is taken; {free}", step.id);
            faults.push(Fault::new(Code::ReusedId, Some(step.id), message));
        }
    }
    positions
}

fn edges(
    step: &PlanStep,
    at: usize,
    positions: &BTreeMap<u32, usize>,
    existing: &Existing,
    cyclic: bool,
    faults: &mut Vec<Fault>,
) {
    for on in step.dependencies() {
        match positions.get(&on) {
            Some(position) if *position >= at && !cyclic => {
                let message = format!("refers to step {on}, which comes later; put it before");
                faults.push(Fault::new(Code::ForwardReference, Some(step.id), message));
            }
            Some(_) => {}
            None if existing.kept.contains(&on) => {}
            None => {
                let message = format!("refers to step {on}, which does not exist");
                faults.push(Fault::new(Code::DanglingReference, Some(step.id), message));
            }
        }
    }
}

fn inputs(step: &PlanStep, faults: &mut Vec<Fault>) {
    // An item and its position are inputs by these names already.
    let of_item = step.for_each.iter().flat_map(|each| [each.item_name(), "index"]);
    let mut seen: BTreeSet<&str> = of_item.collect();
    for input in &step.inputs {
        if input.name.is_empty() || !seen.insert(input.name.as_str()) {
            let message = format!(
                "input {:?} is named twice (a for_each gives \"item\", or its \"as\", and \"index\" by itself) or not at all",
                input.name
            );
            faults.push(Fault::new(Code::BadInput, Some(step.id), message));
        }
        let problem = match (&input.value, input.from_step) {
            (Some(_), Some(_)) => Some("has both a value and a from_step; give one"),
            (None, None) => Some("has neither a value nor a from_step; give one"),
            _ => None,
        };
        if let Some(problem) = problem {
            let message = format!("input {:?} {problem}", input.name);
            faults.push(Fault::new(Code::BadInput, Some(step.id), message));
        }
    }
    for (from, path) in step.references() {
        if !reference::is_pointer(path) {
            let message = format!(
                "path {path:?} into step {from} is no JSON Pointer; it is empty or starts with \"/\""
            );
            faults.push(Fault::new(Code::BadPath, Some(step.id), message));
        }
    }
}

fn own(step: &PlanStep, faults: &mut Vec<Fault>) {
    if step.kind == StepKind::Tool && step.tools.len() != 1 {
        let message = format!("a tool step names exactly one tool, this one {}", step.tools.len());
        faults.push(Fault::new(Code::ToolCount, Some(step.id), message));
    }
    if step.kind == StepKind::Model && step.description.trim().is_empty() {
        let message = "a model step needs a description of what to do";
        faults.push(Fault::new(Code::EmptyDescription, Some(step.id), message));
    }
    if step.timeout_s.is_some_and(|seconds| !(1..=TIMEOUT_S_MAX).contains(&seconds)) {
        let message = format!("timeout_s is not from 1 to {TIMEOUT_S_MAX} seconds");
        faults.push(Fault::new(Code::BadTimeout, Some(step.id), message));
    }
    for criterion in &step.success_criteria {
        if let Err(error) = criteria::Check::compile(criterion) {
            faults.push(Fault::new(Code::BadCriterion, Some(step.id), error.to_string()));
        }
    }
}

fn tier(step: &PlanStep, pools: &[String], faults: &mut Vec<Fault>) {
    let known = step.tier == "default" || step.tier == "strong" || pools.contains(&step.tier);
    if !known {
        let message = format!("tier {:?} is not known; use default or strong", step.tier);
        faults.push(Fault::new(Code::UnknownTier, Some(step.id), message));
    }
}

fn task_references(step: &PlanStep, task_inputs: Option<&Map<String, Value>>, faults: &mut Vec<Fault>) {
    let Some(task_inputs) = task_inputs else {
        return;
    };
    for (_, path) in step.references().filter(|(from, _)| *from == 0) {
        let name = path.split('/').nth(1).unwrap_or_default().replace("~1", "/").replace("~0", "~");
        if !path.is_empty() && !task_inputs.contains_key(&name) {
            let have: Vec<_> = task_inputs.keys().map(String::as_str).collect();
            let message = format!("the task has no input {name:?}; it has [{}]", have.join(", "));
            faults.push(Fault::new(Code::UnknownInput, Some(step.id), message));
        }
    }
}

#[cfg(test)]
mod tests;
