//! When a run is over, and what is kept of it.

use std::sync::Arc;

use super::{
    Phase, Run,
    step::{Step, StepState, Work},
    steps::reason,
};
use crate::{
    command::Command,
    document::{RunDocument, RunState, StepEntry, StepKey, Timings},
    id::StepId,
    json::Json,
    task::Review,
};

impl Run {
    pub(super) fn succeed(&mut self, at_ms: u64, out: &mut Vec<Command>) {
        self.end(RunState::Succeeded, None, at_ms, out);
    }

    /// The planner answers from what there is.
    pub(super) fn finish_early(&mut self, answer: Json, reason: &str, at_ms: u64, out: &mut Vec<Command>) {
        let reason = format!("finished by the planner: {reason}");
        self.end_with(RunState::Succeeded, Some(reason), Some(answer), at_ms, out);
    }

    pub(super) fn give_up(&mut self, reason: &str, at_ms: u64, out: &mut Vec<Command>) {
        let failure = self.first_failure().map(|failure| format!("{failure}\n")).unwrap_or_default();
        self.end(RunState::Failed, Some(format!("{failure}the planner gave up: {reason}")), at_ms, out);
    }

    /// Ends the run if it has used more than it may. True if it did.
    pub(super) fn end_over_budget(&mut self, at_ms: u64, out: &mut Vec<Command>) -> bool {
        let reason = self.over_budget();
        let over = reason.is_some();
        if over {
            self.end(RunState::Failed, reason, at_ms, out);
        }
        over
    }

    /// How the run has used more than it may, if it has.
    pub(super) fn over_budget(&self) -> Option<String> {
        let used = self.ledger.total();
        let budget = self.submission.envelope.budget;
        let over_tokens = budget.tokens.filter(|max| used.tokens() > *max);
        let over_usd = budget.nano_usd.filter(|max| used.nano_usd.is_some_and(|usd| usd > *max));
        match (over_tokens, over_usd) {
            (Some(max), _) => Some(format!("budget: {} tokens used of {max}", used.tokens())),
            (None, Some(max)) => {
                Some(format!("budget: {} nano-USD used of {max}", used.nano_usd.unwrap_or(0)))
            }
            (None, None) => None,
        }
    }

    /// Why the planner cannot be asked, if it cannot.
    pub(super) fn no_replan(&self) -> Option<String> {
        let envelope = &self.submission.envelope;
        let goal = &self.submission.task.goal;
        if envelope.review == Review::Never {
            Some(" (the task asks for no review)".to_owned())
        } else if goal.is_none() {
            Some(" (the task has no goal to replan for)".to_owned())
        } else if self.replans >= envelope.replans_max {
            Some(format!(" (all {} replans are used)", envelope.replans_max))
        } else if self.denied_again {
            Some(" (the plan asked again for what its envelope denies)".to_owned())
        } else {
            None
        }
    }

    /// The failure to name when several steps have failed: the first by id.
    pub(super) fn first_failure(&self) -> Option<String> {
        let id = self.failed.first()?;
        let failure = self.steps.get(id)?.failure.as_ref()?;
        Some(reason(StepId::plain(*id), failure))
    }

    pub(super) fn end(
        &mut self,
        state: RunState,
        reason: Option<String>,
        at_ms: u64,
        out: &mut Vec<Command>,
    ) {
        self.end_with(state, reason, None, at_ms, out);
    }

    fn end_with(
        &mut self,
        state: RunState,
        reason: Option<String>,
        answer: Option<Json>,
        at_ms: u64,
        out: &mut Vec<Command>,
    ) {
        if self.ended() {
            return;
        }
        let busy = !matches!(self.phase, Phase::Executing)
            || !self.let_go.is_empty()
            || self.steps.values().any(Step::is_in_flight);
        let document = self.document_at(state, reason, answer, at_ms);
        self.phase = Phase::Ended;
        if busy {
            out.push(Command::BroadcastCancel { run: self.id.clone() });
        }
        out.push(Command::FinishRun(Arc::new(document)));
    }

    /// The run as it stands.
    pub(crate) fn document(&self, at_ms: u64) -> RunDocument {
        let state = match self.phase {
            Phase::Planning(_) => RunState::Planning,
            Phase::Executing => RunState::Executing,
            Phase::Replanning(_) => RunState::Replanning,
            Phase::Ended => RunState::Failed,
        };
        self.document_at(state, None, None, at_ms)
    }

    fn document_at(
        &self,
        state: RunState,
        reason: Option<String>,
        answer: Option<Json>,
        at_ms: u64,
    ) -> RunDocument {
        let final_output = || self.steps.get(&self.final_step).and_then(|step| step.output.clone());
        let final_done = final_output().is_some();
        let usage = self.ledger;
        RunDocument {
            run_id: self.id.clone(),
            custom_id: self.submission.task.custom_id.clone(),
            tenant: self.submission.task.tenant().to_owned(),
            state,
            answer: answer.or_else(final_output),
            partial: !final_done,
            reason,
            revisions: self.revisions.clone(),
            final_step: (self.final_step > 0).then_some(self.final_step),
            steps: self.entries(state.is_end()),
            usage,
            nano_usd: usage.total().nano_usd,
            timings: self.timings(at_ms),
        }
    }

    fn timings(&self, at_ms: u64) -> Timings {
        let since = |from: u64, to: u64| to.saturating_sub(from);
        let began = self.times.planner_started.or(self.times.first_step_started);
        Timings {
            queued_ms: since(self.submitted_ms, began.unwrap_or(at_ms)),
            planning_ms: self.times.planning_ms,
            executing_ms: self.times.first_step_started.map_or(0, |from| since(from, at_ms)),
            total_ms: since(self.submitted_ms, at_ms),
        }
    }

    fn entries(&self, ended: bool) -> Vec<StepEntry> {
        let mut entries = Vec::with_capacity(self.steps.len());
        for step in self.steps.values() {
            let entry = self.step_entry(step, ended);
            let items = if step.spec.for_each.is_some() { step.work.as_slice() } else { &[] };
            let items: Vec<_> =
                (0u32..).zip(items).map(|(at, work)| item_entry(&entry, at, work, ended)).collect();
            entries.push(entry);
            entries.extend(items);
        }
        entries
    }

    fn step_entry(&self, step: &Step, ended: bool) -> StepEntry {
        let mut usage = crate::usage::Usage::NONE;
        step.work.iter().for_each(|work| usage.add(&work.usage));
        let unfinished = matches!(step.state, StepState::Waiting | StepState::Active);
        StepEntry {
            id: StepKey(StepId::plain(step.spec.id)),
            revision: step.revision,
            state: if ended && unfinished { "cancelled" } else { step.state_name() }.to_owned(),
            description: step.spec.description.clone(),
            tools: step.spec.tools.clone(),
            depends_on: step.spec.dependencies(),
            attempts: step.attempts().max(u32::from(!step.work.is_empty())),
            pool: self.pool(&step.spec),
            model: step.work.iter().find_map(|work| work.model.clone()),
            output: step.partial_output(),
            error: step.failure.clone(),
            usage,
            started_ms: step.work.iter().filter_map(|work| work.started_ms).min(),
            ended_ms: step.work.iter().filter_map(|work| work.ended_ms).max(),
        }
    }
}

/// An item shows what is its own, and where it belongs as its step does.
fn item_entry(step: &StepEntry, at: u32, work: &Work, ended: bool) -> StepEntry {
    let unfinished = matches!(work.state_name(), "running" | "waiting");
    StepEntry {
        id: StepKey(StepId::item(step.id.0.step, at)),
        revision: step.revision,
        state: if ended && unfinished { "cancelled" } else { work.state_name() }.to_owned(),
        description: String::new(),
        tools: step.tools.clone(),
        depends_on: step.depends_on.clone(),
        attempts: work.attempt,
        pool: step.pool.clone(),
        model: work.model.clone(),
        output: work.output.clone(),
        error: work.failure.clone(),
        usage: work.usage,
        started_ms: work.started_ms,
        ended_ms: work.ended_ms,
    }
}
