//! Starting work: as soon as nothing holds it, with its inputs resolved.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::{
    Run, Turn, Why,
    holds::Hold,
    step::{Door, Each, Step, StepState, Work, WorkState, Works},
};
use crate::{
    command::{Command, ResolvedInput, ResolvedValue},
    failure::{Failure, FailureClass},
    id::StepId,
    json::{self, Json},
    plan::PlanStep,
    reference,
};

/// Outputs that somebody has looked into, so that a thousand steps which refer to
/// parts of one output, and start together, parse it once.
#[derive(Debug, Default)]
pub(super) struct Parsed(BTreeMap<u32, Value>);

impl Parsed {
    fn value(&mut self, step: u32, output: &Json) -> &Value {
        self.0.entry(step).or_insert_with(|| output.value())
    }
}

impl Run {
    /// Adds a step of the current plan; whoever adds steps starts those that can be.
    pub(super) fn add_step(&mut self, mut step: Step) {
        let id = step.spec.id;
        for on in step.spec.dependencies() {
            if let Some(dependency) = self.steps.get_mut(&on) {
                if !dependency.feeds() {
                    step.missing += 1;
                }
                self.edges.add(&mut dependency.dependents, id);
            }
        }
        self.highest_id = self.highest_id.max(id);
        if matches!(step.state, StepState::Waiting | StepState::Active) {
            self.unfinished += 1;
        }
        self.steps.insert(id, step);
    }

    /// A step of the plan that nobody has begun.
    pub(super) fn new_step(&self, spec: std::sync::Arc<PlanStep>, revision: u32) -> Step {
        let gated = &self.submission.envelope.approval.tools;
        let door = if spec.tools.iter().any(|tool| gated.contains(tool)) { Door::Shut } else { Door::None };
        Step::new(spec, revision, door)
    }

    /// Starts those of `ids` that can, and whatever they unlock by being done at
    /// once. A list and no recursion: steps over empty lists unlock one another
    /// in chains that are as long as a plan.
    pub(super) fn start_ready(&mut self, ids: Vec<u32>, turn: &mut Turn<'_>) {
        let mut ids = VecDeque::from(ids);
        while let Some(id) = ids.pop_front() {
            let Some(step) = self.steps.get(&id).filter(|step| step.state == StepState::Waiting) else {
                continue;
            };
            match self.hold(step) {
                // What has passed the budget ends its run before anything else happens.
                None if self.over_budget().is_none() => ids.extend(self.start_step(id, turn)),
                None => {}
                Some(Hold::StepApproval) => self.ask_step_approval(id, turn),
                Some(_) => {}
            }
        }
    }

    /// Looks at every step: for the rare moments when something that held all of them is gone.
    pub(super) fn start_all_ready(&mut self, turn: &mut Turn<'_>) {
        let waiting = self.steps.iter().filter(|(_, step)| step.state == StepState::Waiting);
        let ids = waiting.map(|(id, _)| *id).collect();
        self.start_ready(ids, turn);
    }

    /// Dispatches a step's work; returns what it unlocks if there is none.
    fn start_step(&mut self, id: u32, turn: &mut Turn<'_>) -> Vec<u32> {
        let Some(step) = self.steps.get(&id) else {
            return Vec::new();
        };
        let begun = self.begin(step, turn.at_ms, &mut turn.parsed);
        let Some(step) = self.steps.get_mut(&id) else {
            return Vec::new();
        };
        match begun {
            Ok((works, inputs)) => {
                step.works = works;
                step.state = StepState::Active;
                if matches!(&step.works, Works::Each(each) if each.open == 0) {
                    return self.settle_step(id);
                }
                self.dispatch_all(id, &inputs, turn);
            }
            Err(failure) => {
                step.fail_to_start(failure);
                self.unfinished -= 1;
                self.note_failure(id);
            }
        }
        Vec::new()
    }

    /// A step's work as it is dispatched at `at_ms`, and its inputs.
    fn begin(
        &self,
        step: &Step,
        at_ms: u64,
        parsed: &mut Parsed,
    ) -> Result<(Works, Vec<ResolvedInput>), Failure> {
        let inputs = self.resolve_inputs(&step.spec, parsed)?;
        let before = step.attempts();
        let work = Work::dispatched(before + 1, self.timeout_at_ms(&step.spec, at_ms));
        let Some(each) = &step.spec.for_each else {
            return Ok((Works::One(work), inputs));
        };
        let items: Vec<Json> =
            self.list(each.from_step, &each.path, parsed)?.iter().map(Json::from_value).collect();
        let id = step.spec.id;
        let carried = |item| self.carried(StepId::item(id, item)).cloned().map(Work::carried);
        let work =
            (0u32..).take(items.len()).map(|item| carried(item).unwrap_or_else(|| work.clone())).collect();
        Ok((Works::Each(Box::new(Each::new(items, work, inputs.clone(), before))), inputs))
    }

    /// Orders every piece of work that a step has just begun.
    fn dispatch_all(&self, id: u32, inputs: &[ResolvedInput], turn: &mut Turn<'_>) {
        let Some(step) = self.steps.get(&id) else {
            return;
        };
        for (id, work) in step.named_work() {
            self.order_work(step, id, work, inputs, turn.out);
        }
    }

    /// Orders one more attempt.
    pub(super) fn dispatch(&self, id: StepId, out: &mut Vec<Command>) {
        let Some(step) = self.steps.get(&id.step) else {
            return;
        };
        let Ok(inputs) = self.inputs_of(step, &mut Parsed::default()) else {
            return;
        };
        if let Some(work) = step.peek(id.item) {
            self.order_work(step, id, work, &inputs, out);
        }
    }

    /// When an attempt that is dispatched at `at_ms` is waited for no longer.
    fn timeout_at_ms(&self, step: &PlanStep, at_ms: u64) -> Option<u64> {
        let own = step.timeout_s.map(|seconds| u64::from(seconds) * 1_000);
        own.or(self.submission.envelope.step_timeout_ms).map(|within| at_ms.saturating_add(within))
    }

    /// The next attempt of a piece of work whose wait is over.
    pub(super) fn retry_step(&mut self, id: StepId, attempt: u32, turn: &mut Turn<'_>) -> Result<(), Why> {
        let paused = self.paused.is_some();
        let Some(step) = self.steps.get(&id.step) else {
            return Err(self.unknown_step(id.step));
        };
        if !step.spec.has(id) {
            return Err(Why::Illegal);
        }
        let active = step.state == StepState::Active;
        let timeout_ms = self.timeout_at_ms(&step.spec, turn.at_ms);
        let Some(work) = self.steps.get_mut(&id.step).and_then(|step| step.work_of(id.item)) else {
            return Err(Why::Replaced);
        };
        let due = active && matches!(work.state, WorkState::Backoff { .. }) && work.attempt + 1 == attempt;
        if !due {
            return Err(Why::Replaced);
        }
        if paused {
            return Err(Why::Paused);
        }
        work.attempt = attempt;
        work.state = WorkState::Dispatched { timeout_ms };
        if !self.end_over_budget(turn) {
            self.dispatch(id, turn.out);
        }
        Ok(())
    }

    /// The list that a `for_each` is expanded over.
    fn list(&self, from: u32, path: &str, parsed: &mut Parsed) -> Result<Vec<Value>, Failure> {
        let value = self.look_up(from, path, parsed)?;
        let max = self.submission.envelope.items_max as usize;
        match value {
            Value::Array(items) if items.len() <= max => Ok(items),
            Value::Array(items) => Err(tool_error(format!(
                "for_each over {} items at path {path:?} of step {from}; at most {max} are allowed",
                items.len()
            ))),
            other => Err(tool_error(format!(
                "for_each needs a list at path {path:?} of step {from}, there is a {}",
                json::type_name(&other)
            ))),
        }
    }

    /// What a reference points to.
    fn look_up(&self, from: u32, path: &str, parsed: &mut Parsed) -> Result<Value, Failure> {
        let inputs = &self.submission.task.inputs;
        if from == 0 && path.is_empty() {
            return Ok(Value::Object(inputs.clone()));
        }
        if from == 0 {
            let found = reference::resolve_input(inputs, path);
            return found.cloned().map_err(|error| tool_error(error.to_string()));
        }
        let output = self.steps.get(&from).and_then(Step::output);
        let output = output.ok_or_else(|| tool_error(format!("step {from} has no output")))?;
        let found = reference::resolve(from, parsed.value(from, output), path);
        found.cloned().map_err(|error| tool_error(error.to_string()))
    }

    /// The inputs that a step's work was begun with: outputs never change once
    /// they are there, so that resolving again gives the same.
    pub(super) fn inputs_of(&self, step: &Step, parsed: &mut Parsed) -> Result<Vec<ResolvedInput>, Failure> {
        match &step.works {
            Works::Each(each) => Ok(each.inputs.clone()),
            Works::None { .. } | Works::One(_) => self.resolve_inputs(&step.spec, parsed),
        }
    }

    /// The step's inputs with their values, and nothing of the run besides.
    fn resolve_inputs(&self, step: &PlanStep, parsed: &mut Parsed) -> Result<Vec<ResolvedInput>, Failure> {
        step.inputs
            .iter()
            .map(|input| {
                let value = match (input.reference(), &input.value) {
                    (Some((from, "")), _) if from != 0 => self.whole_output(from)?,
                    (Some((from, path)), _) => {
                        ResolvedValue::Json(Json::from_value(&self.look_up(from, path, parsed)?))
                    }
                    (None, literal) => ResolvedValue::Literal(literal.clone().unwrap_or_default()),
                };
                Ok(ResolvedInput { name: input.name.clone(), value })
            })
            .collect()
    }

    /// A whole output is passed on as it is, without looking inside.
    fn whole_output(&self, from: u32) -> Result<ResolvedValue, Failure> {
        let output = self.steps.get(&from).and_then(Step::output);
        let output = output.ok_or_else(|| tool_error(format!("step {from} has no output")))?;
        Ok(ResolvedValue::Json(output.clone()))
    }

    /// What a run before has brought for a step or an item.
    pub(super) fn carried(&self, id: StepId) -> Option<&Json> {
        self.submission.carried.as_ref().and_then(|carried| carried.outputs.get(&id))
    }
}

pub(super) fn tool_error(message: String) -> Failure {
    Failure::new(FailureClass::ToolError, message)
}
