//! Starting work and settling it.

use std::collections::VecDeque;

use serde_json::Value;

use super::{
    Phase, Run, Why,
    step::{Step, StepState, Work, WorkState},
};
use crate::{
    command::Command,
    document::RunState,
    failure::{Failure, FailureClass},
    id::StepId,
    json::{self, Json},
    plan::PlanStep,
    policy::{self, Action},
    record::{AttemptReport, StepFailed, StepSucceeded, Timer},
    reference,
};

impl Run {
    /// Adds a step of the current plan and starts it if nothing is in its way.
    pub(super) fn add_step(&mut self, mut step: Step, out: &mut Vec<Command>) {
        let id = step.spec.id;
        for on in step.spec.dependencies() {
            if let Some(dependency) = self.steps.get_mut(&on) {
                if dependency.state != StepState::Succeeded {
                    step.missing += 1;
                }
                dependency.dependents.push(id);
            }
        }
        self.highest_id = self.highest_id.max(id);
        self.unfinished += 1;
        self.steps.insert(id, step);
        self.start_ready(vec![id], out);
    }

    /// Starts those of `ids` that can, and whatever they unlock by being done at
    /// once. A list and no recursion: steps over empty lists unlock one another
    /// in chains that are as long as a plan.
    pub(super) fn start_ready(&mut self, ids: Vec<u32>, out: &mut Vec<Command>) {
        let mut ids = VecDeque::from(ids);
        while let Some(id) = ids.pop_front() {
            if self.can_start(id) {
                ids.extend(self.start_step(id, out));
            }
        }
    }

    fn can_start(&self, id: u32) -> bool {
        self.steps.get(&id).is_some_and(|step| {
            step.state == StepState::Waiting
                && step.missing == 0
                && (self.sealed() || self.may_start_early(&step.spec))
                && self.over_budget().is_none()
        })
    }

    /// A plan that is not whole yet may turn out unsound: until then only work
    /// that leaves no traces outside is done.
    fn may_start_early(&self, step: &PlanStep) -> bool {
        self.submission.envelope.side_effect_free(&step.tools)
    }

    /// Dispatches a step's work; returns what it unlocks if there is none.
    fn start_step(&mut self, id: u32, out: &mut Vec<Command>) -> Vec<u32> {
        let Some(step) = self.steps.get(&id) else {
            return Vec::new();
        };
        let attempt = step.attempts_before + 1;
        let work = match &step.spec.for_each {
            None => Ok(vec![Work::dispatched(attempt, None)]),
            Some(each) => self.list(each.from_step, &each.path).map(|items| {
                items.iter().map(|item| Work::dispatched(attempt, Some(Json::from_value(item)))).collect()
            }),
        };
        let inputs = self.resolve_inputs(&step.spec);
        let started = work.and_then(|work| inputs.map(|inputs| (work, inputs)));
        let Some(step) = self.steps.get_mut(&id) else {
            return Vec::new();
        };
        match started {
            Err(failure) => {
                step.state = StepState::Failed;
                step.failure = Some(failure);
                self.unfinished -= 1;
                self.note_failure(id);
                return Vec::new();
            }
            Ok((work, inputs)) => {
                step.state = StepState::Active;
                step.open = u32::try_from(work.len()).unwrap_or(u32::MAX);
                (step.work, step.inputs) = (work, inputs);
            }
        }
        if step.open == 0 {
            return self.settle_step(id);
        }
        let ids = work_ids(step);
        out.extend(ids.into_iter().filter_map(|step| self.step_order(step)));
        Vec::new()
    }

    /// The list that a `for_each` is expanded over.
    fn list(&self, from: u32, path: &str) -> Result<Vec<Value>, Failure> {
        let value = self.look_up(from, path)?;
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
    pub(super) fn look_up(&self, from: u32, path: &str) -> Result<Value, Failure> {
        let output = if from == 0 {
            Value::Object(self.submission.task.inputs.clone())
        } else {
            let step = self.steps.get(&from).and_then(|step| step.output.as_ref());
            step.map(Json::value).ok_or_else(|| tool_error(format!("step {from} has no output")))?
        };
        reference::resolve(from, &output, path).cloned().map_err(|error| tool_error(error.to_string()))
    }

    pub(super) fn step_succeeded(
        &mut self,
        success: StepSucceeded,
        at_ms: u64,
        out: &mut Vec<Command>,
    ) -> Result<(), Why> {
        let report = success.attempt;
        let work = self.accept(&report)?;
        work.state = WorkState::Succeeded;
        work.output = Some(success.output);
        work.failure = None;
        self.settle_work(report.step.step, out);
        self.after_result(at_ms, out);
        Ok(())
    }

    pub(super) fn step_failed(
        &mut self,
        failed: StepFailed,
        at_ms: u64,
        out: &mut Vec<Command>,
    ) -> Result<(), Why> {
        let attempts_max = self.submission.envelope.attempts_max;
        let StepFailed { attempt: report, failure } = failed;
        let work = self.accept(&report)?;
        work.failure = Some(failure.clone());
        match policy::on_step_failure(&failure, report.attempt, attempts_max) {
            Action::Retry { delay_ms } => {
                let until_ms = at_ms.saturating_add(delay_ms);
                work.state = WorkState::Backoff { until_ms };
                let timer = Timer::Retry { step: report.step, attempt: report.attempt + 1 };
                out.push(Command::ArmTimer { run: self.id.clone(), at_ms: until_ms, timer });
            }
            Action::AskPlanner => {
                work.state = WorkState::Failed;
                self.settle_work(report.step.step, out);
            }
            Action::End => {
                work.state = WorkState::Failed;
                if let Some(step) = self.steps.get_mut(&report.step.step) {
                    step.fail_for(report.step.item.unwrap_or(0) as usize);
                }
                self.end(end_of(failure.class), Some(reason(report.step, &failure)), at_ms, out);
            }
        }
        self.after_result(at_ms, out);
        Ok(())
    }

    /// The dispatched work that a report is about; charges its usage.
    fn accept(&mut self, report: &AttemptReport) -> Result<&mut Work, Why> {
        let Self { steps, phase, ledger, times, let_go, .. } = self;
        if let_go.remove(&(report.step, report.attempt)) {
            report.usage.iter().for_each(|(account, usage)| ledger.charge(*account, usage));
            return Err(Why::Replaced);
        }
        let id = report.step.step;
        let step = steps.get_mut(&id).or_else(|| phase.abandoned(id)).ok_or(Why::Illegal)?;
        if step.spec.for_each.is_some() != report.step.item.is_some() {
            return Err(Why::Illegal);
        }
        let position = report.step.item.unwrap_or(0) as usize;
        if position >= step.work.len() {
            return Err(if step.attempts() < report.attempt { Why::Illegal } else { Why::Replaced });
        }
        let work = &mut step.work[position];
        if work.attempt != report.attempt {
            return Err(if work.attempt < report.attempt { Why::Illegal } else { Why::Replaced });
        }
        let expected = work.state == WorkState::Dispatched;
        if expected {
            // What a dropped step's attempt has used was used all the same.
            for (account, usage) in &report.usage {
                ledger.charge(*account, usage);
                work.usage.add(usage);
            }
        }
        if step.state == StepState::Dropped {
            if expected {
                work.state = WorkState::Failed;
            }
            return Err(Why::Replaced);
        }
        if step.state != StepState::Active || !expected {
            return Err(Why::Repeated);
        }
        work.model.clone_from(&report.model);
        if report.started_ms > 0 {
            work.started_ms = Some(report.started_ms);
            work.ended_ms = Some(report.ended_ms);
            let first = times.first_step_started.get_or_insert(report.started_ms);
            *first = report.started_ms.min(*first);
        }
        Ok(work)
    }

    pub(super) fn retry_step(&mut self, id: StepId, attempt: u32, out: &mut Vec<Command>) -> Result<(), Why> {
        let Some(step) = self.steps.get_mut(&id.step) else {
            return Err(if self.phase.abandoned(id.step).is_some() { Why::Replaced } else { Why::Illegal });
        };
        let active = step.state == StepState::Active;
        let work = step.work.get_mut(id.item.unwrap_or(0) as usize).ok_or(Why::Replaced)?;
        let due = active && matches!(work.state, WorkState::Backoff { .. }) && work.attempt + 1 == attempt;
        if !due {
            return Err(Why::Replaced);
        }
        work.attempt = attempt;
        work.state = WorkState::Dispatched;
        out.extend(self.step_order(id));
        Ok(())
    }

    fn settle_work(&mut self, id: u32, out: &mut Vec<Command>) {
        let Self { steps, phase, .. } = self;
        let Some(step) = steps.get_mut(&id).or_else(|| phase.abandoned(id)) else {
            return;
        };
        step.open -= 1;
        if step.open == 0 {
            let unlocked = self.settle_step(id);
            self.start_ready(unlocked, out);
        }
    }

    /// All of a step's work is settled; returns the steps that nothing is in the way of now.
    fn settle_step(&mut self, id: u32) -> Vec<u32> {
        let Some(step) = self.steps.get_mut(&id) else {
            if let Some(abandoned) = self.phase.abandoned(id) {
                abandoned.settle();
            }
            return Vec::new();
        };
        step.settle();
        self.unfinished -= 1;
        if step.state == StepState::Failed {
            self.note_failure(id);
            return Vec::new();
        }
        let mut unlocked = step.dependents.clone();
        unlocked.retain(|dependent| {
            self.steps.get_mut(dependent).is_some_and(|waiting| {
                waiting.missing = waiting.missing.saturating_sub(1);
                waiting.missing == 0
            })
        });
        unlocked
    }

    /// A step has failed for good: its failure waits for the planner.
    pub(super) fn note_failure(&mut self, id: u32) {
        self.failed.insert(id);
        let Some(step) = self.steps.get(&id) else {
            return;
        };
        if step.failure.as_ref().is_some_and(|failure| failure.class == FailureClass::Denied) {
            let first = *self.denied_in.get_or_insert(step.revision);
            self.denied_again |= step.revision > first;
        }
    }

    /// Something was settled: the run may be over, over budget, or in need of its planner.
    pub(super) fn after_result(&mut self, at_ms: u64, out: &mut Vec<Command>) {
        let executing = matches!(self.phase, Phase::Executing);
        if executing && self.failed.is_empty() && self.unfinished == 0 {
            // The last result may pass the budget: it is paid for, and it is the answer.
            self.succeed(at_ms, out);
        } else if !self.ended() && !self.end_over_budget(at_ms, out) && executing && !self.failed.is_empty() {
            self.ask_planner(at_ms, out);
        }
    }

    /// Work that is queued, in flight, or waiting for its next attempt.
    pub(super) fn active_work(&self) -> impl Iterator<Item = (StepId, &Work)> {
        self.steps
            .values()
            .filter(|step| step.state == StepState::Active)
            .flat_map(|step| work_ids(step).into_iter().zip(&step.work))
    }
}

fn work_ids(step: &Step) -> Vec<StepId> {
    let id = step.spec.id;
    if step.spec.for_each.is_none() {
        return vec![StepId::plain(id)];
    }
    (0u32..).take(step.work.len()).map(|item| StepId::item(id, item)).collect()
}

/// How a run ends for a failure that nobody can mend.
const fn end_of(class: FailureClass) -> RunState {
    match class {
        FailureClass::Deadline => RunState::Expired,
        FailureClass::Cancelled => RunState::Cancelled,
        _ => RunState::Failed,
    }
}

pub(super) fn reason(step: StepId, failure: &Failure) -> String {
    format!("{}: step {step}: {}", failure.class, failure.message)
}

fn tool_error(message: String) -> Failure {
    Failure::new(FailureClass::ToolError, message)
}
