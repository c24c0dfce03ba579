//! The commands that name work: built from state alone, so that whoever holds
//! the state can build them again.

use std::{borrow::Cow, sync::Arc};

use super::{
    Phase, Run,
    step::{Step, StepState, Work, WorkState, Works},
    steps::Parsed,
};
use crate::{
    command::{Command, PlanOrder, ResolvedInput, ResolvedValue, Situation, StepOrder, StepStanding},
    failure::trim_chars,
    id::StepId,
    json::{self, Json},
    plan::PlanStep,
    reason::Cause,
    record::{Draft, Timer},
    seeded::{self, Bug},
    sub_task,
    task::Submission,
};

/// How much of each finished output a planner sees: enough to decide by, and a
/// plan of a hundred steps still fits a prompt.
const OUTPUT_CHARS_MAX: usize = 1_500;

impl Run {
    /// Everything that is dispatched, waiting, asked or armed: what a coordinator
    /// emits after it has taken the run over.
    pub(crate) fn owed(&self, out: &mut Vec<Command>) {
        self.arm_deadline(out);
        match &self.phase {
            Phase::Planning(drafting) | Phase::Replanning(drafting) => match drafting.retry_at_ms {
                None => out.push(self.plan_order(drafting.draft, Some(&drafting.cause))),
                Some(at_ms) => out.push(self.replan_timer(drafting.draft, at_ms)),
            },
            Phase::Approving | Phase::Executing => {}
            Phase::Ended => return,
        }
        out.extend(self.gates().into_iter().map(|gate| Command::AskApproval { run: self.id.clone(), gate }));
        for step in self.active_steps() {
            self.owed_for(step, out);
        }
    }

    /// The orders of a step's work that is not answered.
    pub(super) fn dispatch_again(&self, id: u32, out: &mut Vec<Command>) {
        if let Some(step) = self.steps.get(&id) {
            self.owed_for(step, out);
        }
    }

    /// The order of an attempt that is owed.
    pub(crate) fn step_owed(&self, id: StepId, attempt: u32) -> Option<Command> {
        let step = self.steps.get(&id.step).filter(|step| step.state == StepState::Active)?;
        let work = step.peek(id.item).filter(|work| work.attempt == attempt)?;
        let inputs = self.inputs_of(step, &mut Parsed::default()).ok()?;
        self.work_order(step, id, work, &inputs)
    }

    /// The same of a revision's planning.
    pub(crate) fn planning_owed(&self, revision: u32, attempt: u32) -> Option<Command> {
        match &self.phase {
            Phase::Planning(drafting) | Phase::Replanning(drafting)
                if self.awaits_planning(revision, attempt) =>
            {
                Some(self.plan_order(drafting.draft, Some(&drafting.cause)))
            }
            _ => None,
        }
    }

    fn owed_for(&self, step: &Step, out: &mut Vec<Command>) {
        let Ok(inputs) = self.inputs_of(step, &mut Parsed::default()) else {
            return;
        };
        for (id, work) in step.named_work() {
            self.order_work(step, id, work, &inputs, out);
            if let WorkState::Backoff { until_ms } = work.state {
                out.push(self.timer(until_ms, Timer::Retry { step: id, attempt: work.attempt + 1 }));
            }
        }
    }

    /// Orders a piece of work that is to be done, with the timer of its attempt.
    pub(super) fn order_work(
        &self,
        step: &Step,
        id: StepId,
        work: &Work,
        inputs: &[ResolvedInput],
        out: &mut Vec<Command>,
    ) {
        let WorkState::Dispatched { timeout_ms } = work.state else {
            return;
        };
        out.extend(self.work_order(step, id, work, inputs));
        let timer = Timer::StepTimeout { step: id, attempt: work.attempt };
        out.extend(timeout_ms.map(|at_ms| self.timer(at_ms, timer)));
    }

    /// The order of a piece of work, if it is to be done.
    fn work_order(&self, step: &Step, id: StepId, work: &Work, inputs: &[ResolvedInput]) -> Option<Command> {
        let WorkState::Dispatched { timeout_ms } = work.state else { return None };
        let inputs = inputs_of_work(step, id, inputs);
        Some(if sub_task::is_call(&step.spec) {
            self.child_order(step, id, work, timeout_ms, &inputs)
        } else {
            self.step_order(step, id, work, timeout_ms, inputs)
        })
    }

    pub(super) fn timer(&self, at_ms: u64, timer: Timer) -> Command {
        Command::ArmTimer { run: self.id.clone(), at_ms, timer }
    }

    fn active_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.values().filter(|step| step.state == StepState::Active)
    }

    /// Work that is queued, in flight, or waiting for its next attempt.
    pub(super) fn active_work(&self) -> impl Iterator<Item = (StepId, &Work)> {
        self.active_steps().flat_map(Step::named_work)
    }

    pub(super) fn replan_timer(&self, failed: Draft, at_ms: u64) -> Command {
        self.timer(at_ms, Timer::Replan { revision: failed.revision, attempt: failed.attempt + 1 })
    }

    pub(super) fn plan_order(&self, draft: Draft, cause: Option<&Cause>) -> Command {
        let situation = cause.filter(|_| draft.revision > 1).map(|cause| self.situation(cause));
        Command::DispatchPlan(Box::new(PlanOrder {
            run: self.id.clone(),
            draft,
            submission: self.submission_to_plan(),
            situation,
            deadline_at_ms: self.deadline_at_ms(),
        }))
    }

    /// The submission without what a planner has no use for: the first plan and what
    /// a run before has brought are in the situation, as far as they matter.
    fn submission_to_plan(&self) -> Arc<Submission> {
        if self.submission.plan.is_none() && self.submission.carried.is_none() {
            return Arc::clone(&self.submission);
        }
        Arc::new(Submission { plan: None, carried: None, ..self.submission.as_ref().clone() })
    }

    /// Where the run stands, as its planner sees it.
    pub(super) fn situation(&self, cause: &Cause) -> Situation {
        let of_interest = |step: &&Step| step.state != StepState::Dropped || step.feeds();
        let budget = self.submission.envelope.budget;
        let used = self.ledger().total();
        Situation {
            cause: cause.clone(),
            steps: self.steps.values().filter(of_interest).map(standing).collect(),
            final_step: self.final_step,
            highest_id: self.highest_id,
            steps_left: u32::try_from(self.steps_left()).unwrap_or(u32::MAX),
            replans_left: self.submission.envelope.replans_max.saturating_sub(self.replans),
            tokens_left: budget.tokens.map(|max| max.saturating_sub(used.tokens())),
            nano_usd_left: budget.nano_usd.map(|max| max.saturating_sub(used.nano_usd.unwrap_or(0))),
        }
    }

    /// The dispatch of the newest attempt of a piece of work.
    fn step_order(
        &self,
        step: &Step,
        id: StepId,
        work: &Work,
        timeout_at_ms: Option<u64>,
        inputs: Vec<ResolvedInput>,
    ) -> Command {
        Command::DispatchStep(Box::new(StepOrder {
            run: self.id.clone(),
            step: id,
            attempt: work.attempt,
            revision: step.revision,
            pool: self.pool(&step.spec),
            spec: Arc::clone(&step.spec),
            inputs,
            tenant: self.submission.task.tenant.clone().map_or("default".into(), Into::into),
            batch: self.submission.task.batch.clone(),
            priority: self.submission.task.priority,
            envelope: Arc::clone(&self.submission.envelope),
            traceparent: self.submission.traceparent.clone(),
            deadline_at_ms: self.deadline_at_ms(),
            timeout_at_ms,
        }))
    }

    pub(super) fn pool(&self, step: &PlanStep) -> Cow<'static, str> {
        let own = self.submission.envelope.pools.contains(&step.tier);
        if own { step.tier.clone().into() } else { "default".into() }
    }
}

/// The inputs of a step's work: those that its items share, and the item.
fn inputs_of_work(step: &Step, id: StepId, shared: &[ResolvedInput]) -> Vec<ResolvedInput> {
    let mut inputs = shared.to_vec();
    if let (Works::Each(each), Some(each_of), Some(at)) = (&step.works, &step.spec.for_each, id.item) {
        let input = |name: &str, value| ResolvedInput { name: name.to_owned(), value };
        let at_item = if seeded::is_on(Bug::LastItemForAll) { each.items.len() - 1 } else { at as usize };
        let item = each.items.get(at_item).cloned().map(ResolvedValue::Item);
        inputs.extend(item.map(|item| input(each_of.item_name(), item)));
        inputs.push(input("index", ResolvedValue::Index(at)));
    }
    inputs
}

fn standing(step: &Step) -> StepStanding {
    let shown = |output: Json| trim_chars(&json::plain_text(&output.value()), OUTPUT_CHARS_MAX);
    StepStanding {
        step: Arc::clone(&step.spec),
        state: if step.state == StepState::Dropped { "partial" } else { step.state_name() },
        output: step.output().cloned().map(shown),
        failure: step.failure().cloned(),
    }
}
