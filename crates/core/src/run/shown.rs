//! A run as people and programs see it: its document, while it goes on and at its end.

use std::sync::Arc;

use super::{
    Phase, Run,
    step::{Door, Step, StepState, Work, WorkState},
};
use crate::{
    document::{
        GOAL_CHARS_MAX, PlanningNote, RevisionNote, RunDocument, RunState, StepCounts, StepEntry, StepKey,
        Summary, Timings, rfc3339, usd,
    },
    failure::trim_chars,
    id::StepId,
    json::Json,
    reason::{End, Wait},
    usage::Usage,
};

impl Run {
    /// The run as it stands at `at_ms`.
    pub(crate) fn document(&self, at_ms: u64) -> RunDocument {
        RunDocument {
            paused: self.paused.as_deref().map(str::to_owned),
            approvals: self.gates(),
            planning: self.planning(),
            ..self.document_in(self.state(), at_ms)
        }
    }

    /// The run in a list, as it stands at `at_ms`: costs its steps a look each, and no copy.
    pub(crate) fn summary(&self, at_ms: u64) -> Summary {
        let task = &self.submission.task;
        let short = |text: &str| trim_chars(text, GOAL_CHARS_MAX);
        let mut steps = StepCounts::default();
        self.steps.values().for_each(|step| steps.add(step.state_name()));
        Summary {
            run_id: self.id.clone(),
            custom_id: task.custom_id.clone(),
            goal: task.goal.as_deref().map(short),
            state: self.state(),
            partial: true,
            reason: self.paused.as_deref().map(short),
            class: self.class().map(str::to_owned),
            template: task.template.clone(),
            batch_id: task.batch.clone(),
            tenant: task.tenant().to_owned(),
            priority: task.priority,
            labels: task.labels.clone(),
            usd: usd(self.ledger().total().nano_usd),
            created_at: rfc3339(self.submitted_ms),
            ended_at: None,
            total_ms: at_ms.saturating_sub(self.submitted_ms),
            steps,
            revisions: u32::try_from(self.revisions.len()).unwrap_or(u32::MAX),
        }
    }

    fn planning(&self) -> Option<PlanningNote> {
        let (Phase::Planning(drafting) | Phase::Replanning(drafting)) = &self.phase else {
            return None;
        };
        Some(PlanningNote {
            revision: drafting.draft.revision,
            attempt: drafting.draft.attempt,
            cause: drafting.cause.clone(),
            retry_at_ms: drafting.retry_at_ms,
            waits_for: None,
        })
    }

    /// Where it stands, in a word.
    pub(crate) fn state(&self) -> RunState {
        if self.paused.is_some() && !self.ended() {
            return RunState::Paused;
        }
        match self.phase {
            Phase::Planning(_) => RunState::Planning,
            Phase::Approving => RunState::AwaitingApproval,
            Phase::Executing if self.waits_for_people_only() => RunState::AwaitingApproval,
            Phase::Executing => RunState::Executing,
            Phase::Replanning(_) => RunState::Replanning,
            Phase::Ended => RunState::Failed,
        }
    }

    /// Nothing is at work, and nothing will be before a person has approved a step.
    fn waits_for_people_only(&self) -> bool {
        let mut steps = self.steps.values();
        self.unfinished > 0
            && self.steps.values().any(Step::is_asked)
            && steps.all(|step| step.state != StepState::Active)
    }

    pub(super) fn ended_document(
        &self,
        state: RunState,
        end: End,
        answer: Option<Json>,
        at_ms: u64,
    ) -> RunDocument {
        let document = self.document_in(state, at_ms);
        // What has failed of a child is its parent's to do again.
        let has_rerun = state != RunState::Succeeded && self.submission.parent.is_none();
        let ended = RunDocument {
            answer: answer.or(document.answer),
            ended_ms: Some(at_ms),
            rerun: has_rerun.then(|| Arc::new(self.rerun())),
            end: Some(end),
            ..document
        };
        RunDocument { report: self.report(&ended, at_ms).map(Box::new), ..ended }
    }

    fn document_in(&self, state: RunState, at_ms: u64) -> RunDocument {
        let last = self.steps.get(&self.final_step);
        let usage = self.ledger();
        RunDocument {
            run_id: self.id.clone(),
            custom_id: self.submission.task.custom_id.clone(),
            batch_id: self.submission.task.batch.clone(),
            tenant: self.submission.task.tenant().to_owned(),
            class: self.class().map(str::to_owned),
            submission: Arc::clone(&self.submission),
            created_ms: self.submitted_ms,
            ended_ms: None,
            rerun_of: self.submission.carried.as_ref().map(|carried| carried.run.clone()),
            parent: self.submission.parent.as_ref().map(|parent| (parent.run.clone(), parent.step)),
            state,
            answer: last.and_then(Step::partial_output),
            partial: last.is_none_or(|step| step.state != StepState::Succeeded),
            end: None,
            paused: None,
            approvals: Vec::new(),
            planning: None,
            revisions: self.notes(),
            final_step: (self.final_step > 0).then_some(self.final_step),
            steps: self.entries(state.is_end()),
            nano_usd: usage.total().nano_usd,
            usage,
            cache: self.cache.clone(),
            timings: self.timings(at_ms),
            rerun: None,
            report: None,
        }
    }

    fn notes(&self) -> Vec<RevisionNote> {
        let mut notes: Vec<RevisionNote> = (1..)
            .zip(&self.revisions)
            .map(|(number, revision)| RevisionNote {
                revision: number,
                cause: revision.cause.clone(),
                reason: revision.reason.clone().into_owned(),
                added: Vec::new(),
                dropped: revision.dropped.clone(),
                model: Some(revision.model.to_string()).filter(|model| !model.is_empty()),
                nano_usd: revision.nano_usd,
            })
            .collect();
        for (id, step) in &self.steps {
            if let Some(note) = notes.get_mut(step.revision.saturating_sub(1) as usize) {
                note.added.push(*id);
            }
        }
        notes
    }

    fn timings(&self, at_ms: u64) -> Timings {
        let since = |from: u64, to: u64| to.saturating_sub(from);
        let happened = |at_ms: u64| Some(at_ms).filter(|at_ms| *at_ms > 0);
        let first_step = happened(self.times.first_step_started);
        let began = happened(self.times.planner_started).or(first_step);
        Timings {
            queued_ms: since(self.submitted_ms, began.unwrap_or(at_ms)),
            planning_ms: self.times.planning_ms,
            executing_ms: first_step.map_or(0, |from| since(from, at_ms)),
            total_ms: since(self.submitted_ms, at_ms),
        }
    }

    fn entries(&self, ended: bool) -> Vec<StepEntry> {
        let mut entries = Vec::with_capacity(self.steps.len());
        for step in self.steps.values() {
            entries.push(self.step_entry(step, ended));
            let items = step.named_work().filter(|(id, _)| id.item.is_some());
            entries.extend(items.map(|(id, work)| self.item_entry(step, id, work, ended)));
        }
        entries
    }

    fn step_entry(&self, step: &Step, ended: bool) -> StepEntry {
        let mut usage = Usage::NONE;
        step.work().iter().for_each(|work| usage.add(&work.usage()));
        let unfinished = matches!(step.state, StepState::Waiting | StepState::Active);
        // Why it is tried again is why it is waited for.
        let retried = match step.work() {
            [work] if retry_of(work).is_some() => work.failure.as_deref(),
            _ => None,
        };
        let retry = match step.work() {
            [work] if step.state == StepState::Active => retry_of(work),
            _ => None,
        };
        StepEntry {
            id: StepKey(StepId::plain(step.spec.id)),
            revision: step.revision,
            state: if ended && unfinished { "cancelled" } else { step.state_name() },
            needs_approval: unfinished && matches!(step.door, Door::Shut | Door::Asked),
            waits_for: self.wait_of(step).or(retry).filter(|_| !ended),
            spec: Arc::clone(&step.spec),
            attempts: step.attempts(),
            pool: self.pool(&step.spec),
            model: step.work().iter().find_map(Work::model).cloned(),
            child: self.child_of(step, None),
            output: step.partial_output(),
            error: step.failure().or(retried).cloned(),
            usage,
            started_ms: step.work().iter().filter_map(Work::started_ms).min(),
            ended_ms: step.work().iter().filter_map(Work::ended_ms).max(),
        }
    }

    /// An item shows what is its own, and where it belongs as its step does.
    fn item_entry(&self, step: &Step, id: StepId, work: &Work, ended: bool) -> StepEntry {
        StepEntry {
            id: StepKey(id),
            revision: step.revision,
            state: match step.state {
                StepState::Dropped if work.output.is_none() && work.failure.is_none() => "dropped",
                _ if ended && work.is_open() => "cancelled",
                _ => work.state_name(),
            },
            needs_approval: false,
            waits_for: retry_of(work).filter(|_| !ended),
            spec: Arc::clone(&step.spec),
            attempts: work.attempt,
            pool: self.pool(&step.spec),
            model: work.model().cloned(),
            child: self.child_of(step, id.item),
            output: work.output.clone(),
            error: work.failure.as_deref().cloned(),
            usage: work.usage(),
            started_ms: work.started_ms(),
            ended_ms: work.ended_ms(),
        }
    }
}

const fn retry_of(work: &Work) -> Option<Wait> {
    match work.state {
        WorkState::Backoff { until_ms } => Some(Wait::Retry { at_ms: until_ms }),
        _ => None,
    }
}
