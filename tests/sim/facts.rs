//! What a log says of each run, read without the fold: whether work may begin
//! is checked against this, so that the fold is not its own witness.

use std::collections::{BTreeMap, BTreeSet};

use planfleet_core::{
    command::{ResolvedInput, ResolvedValue, StepOrder},
    id::{RunId, StepId},
    plan::PlanStep,
    record::{Fact, Record},
    reference,
    task::Submission,
};
use serde_json::Value;

/// What the logs say so far.
#[derive(Default)]
pub(crate) struct Facts {
    runs: BTreeMap<RunId, RunFacts>,
}

#[derive(Default)]
struct RunFacts {
    /// A plan was sealed or came with the task.
    planned: bool,
    /// Steps that are expanded over a list.
    expanded: BTreeSet<u32>,
    /// Everything that was ever put out.
    outputs: BTreeMap<StepId, Vec<Value>>,
}

impl Facts {
    /// Takes in one entry of a log.
    pub(crate) fn read(&mut self, record: &Record) {
        let run = self.runs.entry(record.run.clone()).or_default();
        match &record.fact {
            Fact::TaskSubmitted(submission) => run.submitted(submission),
            Fact::StepPlanned { step, .. } => run.expands(step),
            Fact::PlanSealed(_) => run.planned = true,
            Fact::StepSucceeded(success) => {
                let output = success.output.value();
                run.outputs.entry(success.attempt.step).or_default().push(output);
            }
            _ => {}
        }
    }

    /// Why an order is too early, if it is.
    pub(crate) fn too_early(&self, order: &StepOrder) -> Option<String> {
        let Some(run) = self.runs.get(&order.run) else {
            return Some("its run is not in the log".to_owned());
        };
        if !run.planned && !order.envelope.side_effect_free(&order.spec.tools) {
            return Some("its tools have side effects, and its plan is not whole".to_owned());
        }
        let waits = order.spec.dependencies();
        let missing = waits.iter().find(|on| !run.is_done(**on));
        if let Some(on) = missing {
            return Some(format!("step {on}, which it waits for, has not succeeded"));
        }
        let strange = order.inputs.iter().find(|input| !run.came_from(&order.spec, input));
        strange.map(|input| format!("nobody has put out its input {:?}", input.name))
    }
}

impl RunFacts {
    fn submitted(&mut self, submission: &Submission) {
        if let Some(plan) = &submission.plan {
            self.planned = true;
            plan.steps.iter().for_each(|step| self.expands(step));
        }
    }

    fn expands(&mut self, step: &PlanStep) {
        if step.for_each.is_some() {
            self.expanded.insert(step.id);
        }
    }

    /// A step over an empty list is done without a word.
    fn is_done(&self, step: u32) -> bool {
        self.expanded.contains(&step) || self.outputs.contains_key(&StepId::plain(step))
    }

    fn came_from(&self, spec: &PlanStep, input: &ResolvedInput) -> bool {
        let ResolvedValue::Json(value) = &input.value else { return true };
        let written = spec.inputs.iter().find(|written| written.name == input.name);
        match written.and_then(|written| written.reference()) {
            Some((0, _)) => true,
            Some((from, path)) => self.put_out(from, path, &value.value()),
            None => false,
        }
    }

    fn put_out(&self, from: u32, path: &str, value: &Value) -> bool {
        let whole = self.outputs.get(&StepId::plain(from)).into_iter().flatten();
        if whole.into_iter().any(|output| reference::resolve(from, output, path) == Ok(value)) {
            return true;
        }
        // One draft's step may be another's list of steps.
        let Value::Array(items) = value else { return false };
        let each = |(at, item): (u32, &Value)| {
            self.outputs.get(&StepId::item(from, at)).is_some_and(|outputs| outputs.contains(item))
        };
        self.expanded.contains(&from) && (0..).zip(items).all(each)
    }
}
