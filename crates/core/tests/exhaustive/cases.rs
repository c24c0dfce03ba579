//! The cases, and the one place where the core's own types are made of the
//! model's words.

use std::sync::Arc;

use planfleet_core::{
    command::{PlanOrder, StepOrder},
    failure::{Failure, FailureClass},
    id::{RunId, StepId},
    json::Json,
    plan::{ForEach, Input, Plan, PlanStep, StepKind},
    record::{AttemptReport, Decision, Draft, Fact, PlanSealed, Record, StepFailed, StepSucceeded, Timer},
    task::{self, Approval, Budget, Envelope, Review, Submission},
    tool::Effect,
    usage::{Account, Charge, Usage},
};

use super::words::{Entry, Fault};

/// The deadline, after everything else that can happen.
const DEADLINE_MS: u64 = 60_000;

/// When everything else happens: with one time for all, histories that differ
/// only in their order come to the same state.
const AT_MS: u64 = 1_000;

/// One step of a case's first plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    /// The steps that it waits for: it refers to the output of the first.
    pub(crate) needs: &'static [u32],
    /// Once for each item of the list that this step brings.
    pub(crate) each: Option<u32>,
    /// Whether it leaves traces outside, and so waits for the plan to be whole.
    pub(crate) writes: bool,
}

/// A small run and what may happen to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Steps 1, 2, 3.
    pub(crate) steps: &'static [Planned],
    /// A planner writes them; otherwise they come with the task.
    pub(crate) streamed: bool,
    pub(crate) faults: &'static [Fault],
    pub(crate) faults_max: usize,
}

/// What a planner is told of a replan, as far as the model's planner listens.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Brief {
    /// The number of the replacement; 0 for a first plan.
    id: u32,
    /// What is done or under way, which the replacement waits for.
    needs: Vec<u32>,
}

impl Brief {
    pub(crate) fn of(order: &PlanOrder) -> Self {
        let Some(situation) = &order.situation else { return Self::default() };
        let goes_on = |state: &str| matches!(state, "succeeded" | "running");
        let steps = situation.steps.iter().filter(|standing| goes_on(standing.state));
        Self { id: situation.highest_id + 1, needs: steps.map(|standing| standing.step.id).collect() }
    }
}

impl Case {
    /// The record that stands for an entry.
    pub(crate) fn record(&self, entry: Entry, briefs: &[Brief]) -> Record {
        let at_ms = if entry == Entry::Timer(Timer::Deadline) { AT_MS + DEADLINE_MS } else { AT_MS };
        Record { run: run(), at_ms, fact: self.fact(entry, briefs) }
    }

    fn fact(&self, entry: Entry, briefs: &[Brief]) -> Fact {
        match entry {
            Entry::Submitted => Fact::TaskSubmitted(Box::new(self.submission())),
            Entry::Succeeded { step, attempt, again } => {
                let output = self.output(step, attempt, again);
                Fact::StepSucceeded(Box::new(StepSucceeded { attempt: report(step, attempt), output }))
            }
            Entry::Failed { step, attempt, class } => {
                let failure = Failure::new(class, "it went wrong");
                Fact::StepFailed(Box::new(StepFailed { attempt: report(step, attempt), failure }))
            }
            Entry::Planned { draft, step, reworded } => {
                Fact::StepPlanned { draft, step: Box::new(self.step(step, reworded)) }
            }
            Entry::Replacement { draft, brief } => {
                let Brief { id, needs } = &briefs[usize::from(brief)];
                let step = plan_step(*id, "replacement", needs, None, false);
                Fact::StepPlanned { draft, step: Box::new(step) }
            }
            Entry::Sealed { draft, brief } => self.sealed(draft, &briefs[usize::from(brief)]),
            Entry::GaveUp { draft } => sealed(draft, 0, Decision::GiveUp),
            Entry::PlanFailed { draft } => {
                let failure = Failure::new(FailureClass::Transient, "the model is away");
                Fact::PlanFailed { draft, failure, usage: Vec::new() }
            }
            Entry::Timer(timer) => Fact::TimerFired(timer),
            Entry::Cancel => Fact::RunCancelRequested { reason: "enough".to_owned() },
        }
    }

    fn sealed(&self, draft: Draft, brief: &Brief) -> Fact {
        if brief.id == 0 {
            let final_step = u32::try_from(self.steps.len()).expect("few");
            return sealed(draft, final_step, Decision::Plan { final_step });
        }
        sealed(draft, 1, Decision::Revise { drop: Vec::new(), final_step: Some(brief.id) })
    }

    fn submission(&self) -> Submission {
        let inline = (!self.streamed).then(|| {
            let ids = 1..=u32::try_from(self.steps.len()).expect("few");
            let steps: Vec<PlanStep> = ids.map(|id| self.step(id, false)).collect();
            let last = steps[steps.len() - 1].id;
            Arc::new(Plan::new(steps, last))
        });
        Submission {
            task: task::Brief { goal: Some("a small run".to_owned()), ..task::Brief::default() },
            envelope: Arc::new(envelope()),
            plan: inline,
            traceparent: None,
            carried: None,
            parent: None,
        }
    }

    fn step(&self, id: u32, reworded: bool) -> PlanStep {
        let Planned { needs, each, writes } = self.steps[id as usize - 1];
        let wording = if reworded { "the step, reworded" } else { "the step" };
        plan_step(id, wording, needs, each, writes)
    }

    /// What an attempt brings: another result of it brings something else.
    pub(crate) fn output(&self, step: StepId, attempt: u32, again: bool) -> Json {
        let text = format!("{step} by {attempt}{}", if again { ", again" } else { "" });
        let listed = self.steps.iter().any(|planned| planned.each == Some(step.step));
        let value = if listed { serde_json::json!([text, "the other"]) } else { text.into() };
        Json::from_value(&value)
    }

    /// The pieces of work that a step is made of.
    pub(crate) fn pieces(&self, step: u32) -> Vec<StepId> {
        let expanded = self.steps.get(step as usize - 1).is_some_and(|planned| planned.each.is_some());
        if expanded { vec![StepId::item(step, 0), StepId::item(step, 1)] } else { vec![StepId::plain(step)] }
    }
}

/// The steps that an order rests on, with the value that it sees of each.
pub(crate) fn seen(order: &StepOrder) -> Vec<(u32, Option<Json>)> {
    use planfleet_core::command::ResolvedValue;
    let value = |on: u32| {
        let at = order.spec.inputs.iter().position(|input| input.from_step == Some(on))?;
        match &order.inputs.get(at)?.value {
            ResolvedValue::Json(json) => Some(json.clone()),
            _ => None,
        }
    };
    order.spec.dependencies().into_iter().map(|on| (on, value(on))).collect()
}

fn run() -> RunId {
    "00-small".parse().expect("a run id")
}

fn envelope() -> Envelope {
    Envelope {
        tools: [("send".to_owned(), Effect::Write)].into(),
        hosts: Vec::new(),
        pools: Vec::new(),
        budget: Budget::default(),
        deadline_ms: Some(DEADLINE_MS),
        replans_max: 2,
        steps_max: 10,
        items_max: 2,
        // The second transient failure is the planner's.
        attempts_max: 2,
        review: Review::OnFailure,
        approval: Approval::default(),
        step_timeout_ms: None,
        quota_wait_ms: 0,
        lineage: Vec::new(),
    }
}

fn plan_step(id: u32, wording: &str, needs: &[u32], each: Option<u32>, writes: bool) -> PlanStep {
    let input = |on: &u32| Input {
        name: format!("of_{on}"),
        value: None,
        from_step: Some(*on),
        path: Some(String::new()),
    };
    PlanStep {
        id,
        description: wording.to_owned(),
        kind: StepKind::Model,
        tools: if writes { vec!["send".to_owned()] } else { Vec::new() },
        inputs: needs.first().map(input).into_iter().collect(),
        for_each: each.map(|from_step| ForEach { from_step, path: String::new(), item_name: None }),
        depends_on: needs.to_vec(),
        expected_output: String::new(),
        success_criteria: Vec::new(),
        tier: "default".to_owned(),
        timeout_s: None,
    }
}

fn report(step: StepId, attempt: u32) -> AttemptReport {
    let usage = vec![Charge::new(Account::Executor, "m", Usage { calls: 1, ..Usage::NONE })];
    AttemptReport { step, attempt, model: None, usage, started_ms: 0, ended_ms: 0, calls: Vec::new() }
}

fn sealed(draft: Draft, steps: u32, decision: Decision) -> Fact {
    Fact::PlanSealed(Box::new(PlanSealed {
        draft,
        steps,
        decision,
        reason: "so".to_owned(),
        usage: Vec::new(),
        model: String::new(),
        started_ms: 0,
        cache: None,
    }))
}
