//! The commands that name work: built from state alone, so that whoever holds
//! the state can build them again.

use std::sync::Arc;

use super::{
    Phase, Run,
    step::{StepState, WorkState},
};
use crate::{
    command::{Command, PlanOrder, ResolvedInput, ResolvedValue, Situation, StepOrder, StepStanding},
    failure::{Failure, trim_chars},
    id::StepId,
    json::{self, Json},
    plan::PlanStep,
    record::{Draft, Timer},
};

/// How much of each finished output a planner sees: enough to decide by, and a
/// plan of a hundred steps still fits a prompt.
const OUTPUT_CHARS_MAX: usize = 1_500;

impl Run {
    /// Everything that is dispatched, waiting or armed: what a coordinator emits
    /// after it has taken the run over.
    pub(crate) fn owed(&self, out: &mut Vec<Command>) {
        self.arm_deadline(out);
        match &self.phase {
            Phase::Planning(drafting) | Phase::Replanning(drafting) => match drafting.retry_at_ms {
                None => out.push(self.plan_order(drafting.draft, Some(&drafting.frontier))),
                Some(at_ms) => out.push(self.replan_timer(drafting.draft, at_ms)),
            },
            Phase::Executing => {}
            Phase::Ended => return,
        }
        for (step, work) in self.active_work() {
            match work.state {
                WorkState::Dispatched => out.extend(self.step_order(step)),
                WorkState::Backoff { until_ms } => {
                    let timer = Timer::Retry { step, attempt: work.attempt + 1 };
                    out.push(Command::ArmTimer { run: self.id.clone(), at_ms: until_ms, timer });
                }
                WorkState::Succeeded | WorkState::Failed => {}
            }
        }
    }

    pub(super) fn replan_timer(&self, failed: Draft, at_ms: u64) -> Command {
        let timer = Timer::Replan { revision: failed.revision, attempt: failed.attempt + 1 };
        Command::ArmTimer { run: self.id.clone(), at_ms, timer }
    }

    pub(super) fn plan_order(&self, draft: Draft, frontier: Option<&[u32]>) -> Command {
        let situation = (draft.revision > 1).then(|| self.situation(frontier.unwrap_or_default()));
        Command::DispatchPlan(Box::new(PlanOrder {
            run: self.id.clone(),
            draft,
            submission: Arc::clone(&self.submission),
            situation,
            deadline_at_ms: self.deadline_at_ms(),
        }))
    }

    /// Where the run stands, as its planner sees it.
    pub(super) fn situation(&self, frontier: &[u32]) -> Situation {
        let standing = |step: &super::Step| StepStanding {
            step: Arc::clone(&step.spec),
            state: step.state_name(),
            output: step
                .partial_output()
                .map(|output| trim_chars(&json::plain_text(&output.value()), OUTPUT_CHARS_MAX)),
            failure: step.failure.clone(),
        };
        let budget = self.submission.envelope.budget;
        let used = self.ledger.total();
        Situation {
            steps: self.steps.values().filter(|s| s.state != StepState::Dropped).map(standing).collect(),
            frontier: frontier.to_vec(),
            final_step: self.final_step,
            highest_id: self.highest_id,
            replans_left: self.submission.envelope.replans_max.saturating_sub(self.replans),
            tokens_left: budget.tokens.map(|max| max.saturating_sub(used.tokens())),
            nano_usd_left: budget.nano_usd.map(|max| max.saturating_sub(used.nano_usd.unwrap_or(0))),
        }
    }

    /// The dispatch of a step's newest attempt.
    pub(super) fn step_order(&self, id: StepId) -> Option<Command> {
        let step = self.steps.get(&id.step)?;
        let work = step.work.get(id.item.unwrap_or(0) as usize)?;
        let mut inputs = step.inputs.clone();
        if let (Some(each), Some(position), Some(item)) = (&step.spec.for_each, id.item, &work.item) {
            let input = |name: &str, value| ResolvedInput { name: name.to_owned(), value };
            inputs.push(input(each.item_name(), ResolvedValue::Item(item.clone())));
            inputs.push(input("index", ResolvedValue::Index(position)));
        }
        Some(Command::DispatchStep(Box::new(StepOrder {
            run: self.id.clone(),
            step: id,
            attempt: work.attempt,
            revision: step.revision,
            pool: self.pool(&step.spec),
            spec: Arc::clone(&step.spec),
            inputs,
            tenant: self.submission.task.tenant().to_owned(),
            priority: self.submission.task.priority,
            envelope: Arc::clone(&self.submission.envelope),
            traceparent: self.submission.traceparent.clone(),
            deadline_at_ms: self.deadline_at_ms(),
        })))
    }

    pub(super) fn pool(&self, step: &PlanStep) -> String {
        let own = self.submission.envelope.pools.contains(&step.tier);
        if own { step.tier.clone() } else { "default".to_owned() }
    }

    /// The step's inputs with their values, and nothing of the run besides.
    pub(super) fn resolve_inputs(&self, step: &PlanStep) -> Result<Vec<ResolvedInput>, Failure> {
        step.inputs
            .iter()
            .map(|input| {
                let value = match (input.reference(), &input.value) {
                    (Some((from, "")), _) if from != 0 => self.whole_output(from)?,
                    (Some((from, path)), _) => {
                        ResolvedValue::Json(Json::from_value(&self.look_up(from, path)?))
                    }
                    (None, literal) => ResolvedValue::Literal(literal.clone().unwrap_or_default()),
                };
                Ok(ResolvedInput { name: input.name.clone(), value })
            })
            .collect()
    }

    /// A whole output is passed on as it is, without looking inside.
    fn whole_output(&self, from: u32) -> Result<ResolvedValue, Failure> {
        match self.steps.get(&from).and_then(|step| step.output.clone()) {
            Some(output) => Ok(ResolvedValue::Json(output)),
            None => self.look_up(from, "").map(|value| ResolvedValue::Json(Json::from_value(&value))),
        }
    }
}
