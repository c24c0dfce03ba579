//! One run's log, read by hand: what the log alone orders, takes and ends.
//!
//! It is small because it gives up: where a planner wrote a first plan twice, or
//! people had a say, the run is [`RunFold::loose`], and the rules ask less of it.
//! What a run with its own plan, a plan written once, or a plan revised does is
//! followed to the letter.

mod plans;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use planfleet_core::{
    failure::{Failure, FailureClass},
    id::StepId,
    json::Json,
    plan::PlanStep,
    record::{AttemptReport, Fact, Record, StepFailed, StepSucceeded, Timer},
    task::{Review, Submission},
};
use serde_json::Value;

use self::plans::Writing;
pub(crate) use self::work::{Attempt, Outcome, StepFold, WorkFold};

/// An hour: a provider that asks for a longer wait is not waited for.
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

/// A place in a log. Ordered by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) seq: u64,
    pub(crate) at_ms: u64,
}

/// Where the log says that a run is over, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunEnd {
    pub(crate) at: At,
    pub(crate) state: &'static str,
}

/// A success that is in the log, taken or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Success<'h> {
    pub(crate) at: At,
    pub(crate) attempt: u32,
    pub(crate) output: &'h Json,
}

/// One run's log.
#[derive(Debug, Default)]
pub(crate) struct RunFold<'h> {
    pub(crate) submitted: Option<At>,
    pub(crate) submission: Option<&'h Submission>,
    /// Every step that was planned and taken up.
    pub(crate) steps: BTreeMap<u32, StepFold<'h>>,
    /// Where it was over, as far as this can be told.
    pub(crate) end: Option<RunEnd>,
    /// The first record that asks for its end.
    pub(crate) cancel: Option<At>,
    /// Why this fold cannot follow it to the letter, if it cannot.
    pub(crate) loose: Option<&'static str>,
    /// All that was ever put out, also what nobody wanted.
    pub(crate) successes: BTreeMap<StepId, Vec<Success<'h>>>,
    /// All that attempts have reported, by attempt: where the first report is.
    pub(crate) reports: BTreeMap<(StepId, u32), At>,
    /// The same of planning work, by revision and attempt.
    pub(crate) plannings: BTreeMap<(u32, u32), At>,
    /// Where each step was first written by anybody.
    pub(crate) written: BTreeMap<u32, At>,
    /// Where planning was asked for, by revision and attempt.
    pub(crate) asked: BTreeMap<(u32, u32), At>,
    /// Where each revision was whole.
    pub(crate) committed: BTreeMap<u32, At>,
    /// Reports of attempts that nobody had ordered.
    pub(crate) unordered: Vec<(At, StepId, u32)>,
    writing: Option<Writing<'h>>,
    revision: u32,
    replans: u32,
    unfinished: u32,
    failed: BTreeSet<u32>,
}

impl<'h> RunFold<'h> {
    /// Takes in the run's next record.
    pub(crate) fn read(&mut self, seq: u64, record: &'h Record) {
        let at = At { seq, at_ms: record.at_ms };
        self.note(at, &record.fact);
        if self.end.is_some() {
            return;
        }
        match &record.fact {
            Fact::TaskSubmitted(submission) if self.submitted.is_none() => self.submit(at, submission),
            // A submit that was repeated, which changes nothing.
            Fact::TaskSubmitted(_) => {}
            Fact::RunCancelRequested { .. } => self.finish(at, "cancelled"),
            Fact::TimerFired(Timer::Deadline) => self.deadline(at),
            Fact::TimerFired(Timer::Retry { step, attempt }) => self.retry(at, *step, *attempt),
            Fact::TimerFired(Timer::StepTimeout { step, attempt }) => self.time_out(at, *step, *attempt),
            Fact::TimerFired(Timer::Replan { revision, attempt }) => self.plan_again(at, *revision, *attempt),
            Fact::StepSucceeded(success) => self.succeeded(at, success),
            Fact::StepFailed(failed) => self.attempt_failed(at, failed),
            Fact::StepPlanned { draft, step } => self.planned(at, *draft, step),
            Fact::PlanSealed(sealed) => self.sealed(at, sealed),
            Fact::PlanFailed { draft, failure, .. } => self.plan_failed(*draft, failure),
            Fact::RunPauseRequested { .. } | Fact::RunResumeRequested | Fact::ApprovalDecided(_) => {
                self.give_up("people had a say");
            }
        }
    }

    /// What is kept of a record whatever it changes.
    fn note(&mut self, at: At, fact: &'h Fact) {
        match fact {
            Fact::RunCancelRequested { .. } => self.cancel = self.cancel.or(Some(at)),
            Fact::StepSucceeded(success) => {
                let StepSucceeded { attempt: AttemptReport { step, attempt, .. }, output } = success.as_ref();
                let success = Success { at, attempt: *attempt, output };
                self.successes.entry(*step).or_default().push(success);
                self.reports.entry((*step, *attempt)).or_insert(at);
            }
            Fact::StepFailed(failed) => {
                self.reports.entry((failed.attempt.step, failed.attempt.attempt)).or_insert(at);
            }
            Fact::TaskSubmitted(submission) => {
                for step in submission.plan.iter().flat_map(|plan| &plan.steps) {
                    self.written.entry(step.id).or_insert(at);
                }
            }
            Fact::StepPlanned { step, .. } => {
                self.written.entry(step.id).or_insert(at);
            }
            Fact::PlanSealed(sealed) => {
                self.plannings.entry((sealed.draft.revision, sealed.draft.attempt)).or_insert(at);
            }
            Fact::PlanFailed { draft, .. } => {
                self.plannings.entry((draft.revision, draft.attempt)).or_insert(at);
            }
            _ => {}
        }
    }

    fn submit(&mut self, at: At, submission: &'h Submission) {
        self.submitted = Some(at);
        self.submission = Some(submission);
        let envelope = &submission.envelope;
        let gated = envelope.approval.plan || !envelope.approval.tools.is_empty();
        let capped = envelope.budget.tokens.is_some() || envelope.budget.nano_usd.is_some();
        if gated || capped || envelope.review == Review::AfterEachStep || submission.carried.is_some() {
            self.give_up("its plan is approved, reviewed, budgeted or carried over");
        }
        match &submission.plan {
            Some(plan) => {
                self.revision = 1;
                self.take_up(at, plan.steps.iter().map(AsRef::as_ref));
                self.look(at);
            }
            None => self.ask(at, Writing::default()),
        }
    }

    fn give_up(&mut self, why: &'static str) {
        self.loose = self.loose.or(Some(why));
    }

    /// Where it is over; what a loose fold believes of that is not said.
    fn finish(&mut self, at: At, state: &'static str) {
        self.end = Some(RunEnd { at, state });
    }

    fn deadline(&mut self, at: At) {
        let after = self.submission.and_then(|submission| submission.envelope.deadline_ms);
        let due = self.submitted.zip(after).map(|(submitted, after)| submitted.at_ms + after);
        if due.is_some_and(|due| at.at_ms >= due) {
            self.finish(at, "expired");
        }
    }

    fn succeeded(&mut self, at: At, success: &'h StepSucceeded) {
        let id = success.attempt.step;
        if let Some(attempt) = self.awaited(at, id, success.attempt.attempt) {
            attempt.close(at, Outcome::Succeeded(&success.output));
            self.settle(at, id.step);
            self.look(at);
        }
    }

    fn attempt_failed(&mut self, at: At, failed: &'h StepFailed) {
        let (id, number) = (failed.attempt.step, failed.attempt.attempt);
        if self.awaited(at, id, number).is_some() {
            self.failed_for(at, id, number, &failed.failure);
        }
    }

    fn time_out(&mut self, at: At, id: StepId, number: u32) {
        let own = self.steps.get(&id.step).and_then(|step| step.spec.timeout_s);
        let own = own.map(|seconds| u64::from(seconds) * 1_000);
        let of_task = self.submission.and_then(|submission| submission.envelope.step_timeout_ms);
        let Some(within) = own.or(of_task) else { return };
        let due = |attempt: &&mut Attempt<'_>| at.at_ms >= attempt.opened.at_ms + within;
        if self.open_attempt(id, number).filter(due).is_some() {
            self.failed_for(at, id, number, &Failure::new(FailureClass::Timeout, ""));
        }
    }

    /// An attempt that was waited for has failed: it is tried again, or the step
    /// has failed, or the run.
    fn failed_for(&mut self, at: At, id: StepId, number: u32, failure: &Failure) {
        use FailureClass as C;
        let attempts_max = self.submission.map_or(0, |submission| submission.envelope.attempts_max);
        let patient = failure.retry_after_ms.is_none_or(|asked| asked <= RETRY_AFTER_MS_MAX);
        let again = failure.class == C::Transient && number < attempts_max && patient;
        if let Some(attempt) = self.open_attempt(id, number) {
            attempt.close(at, if again { Outcome::TriedAgain } else { Outcome::Failed });
        }
        match failure.class {
            _ if again => {}
            C::Quota | C::Budget => self.finish(at, "failed"),
            C::Deadline => self.finish(at, "expired"),
            C::Cancelled => self.finish(at, "cancelled"),
            _ => {
                self.settle(at, id.step);
                self.look(at);
            }
        }
    }

    fn retry(&mut self, at: At, id: StepId, number: u32) {
        let step = self.steps.get_mut(&id.step).filter(|step| step.is_wanted());
        let Some(work) = step.and_then(|step| step.works.get_mut(&id.item)) else { return };
        let waits = work.attempts.last().is_some_and(|last| {
            matches!(last.closed, Some((_, Outcome::TriedAgain))) && last.number + 1 == number
        });
        if waits {
            work.attempts.push(Attempt::opened(number, at));
        }
    }

    /// The attempt that a report is about, if it is waited for.
    fn awaited(&mut self, at: At, id: StepId, number: u32) -> Option<&mut Attempt<'h>> {
        let work = self.steps.get(&id.step).and_then(|step| step.works.get(&id.item));
        if work.and_then(WorkFold::newest).is_none_or(|newest| newest < number) {
            self.unordered.push((at, id, number));
        }
        self.open_attempt(id, number)
    }

    fn open_attempt(&mut self, id: StepId, number: u32) -> Option<&mut Attempt<'h>> {
        let step = self.steps.get_mut(&id.step).filter(|step| step.is_wanted())?;
        let newest = step.works.get_mut(&id.item)?.attempts.last_mut()?;
        (newest.number == number && newest.closed.is_none()).then_some(newest)
    }

    /// Adds steps, and opens those that wait for nothing.
    fn take_up(&mut self, at: At, specs: impl Iterator<Item = &'h PlanStep> + Clone) {
        for spec in specs.clone() {
            self.steps.insert(spec.id, StepFold::new(spec));
            self.unfinished += 1;
        }
        for spec in specs.clone() {
            let mut missing = 0;
            for on in spec.dependencies() {
                let Some(dependency) = self.steps.get_mut(&on) else { continue };
                dependency.dependents.push(spec.id);
                missing += u32::from(dependency.done.is_none());
            }
            if let Some(step) = self.steps.get_mut(&spec.id) {
                step.missing = missing;
            }
        }
        self.open_ready(at, specs.map(|spec| spec.id).collect());
    }

    /// Opens what waits for nothing, and what is unlocked by lists that are empty.
    fn open_ready(&mut self, at: At, mut ids: Vec<u32>) {
        while let Some(id) = ids.pop() {
            let Some(step) = self.steps.get(&id) else { continue };
            if step.missing > 0 || step.opened.is_some() || !step.is_wanted() || !self.may_start(step.spec) {
                continue;
            }
            let items = match &step.spec.for_each {
                None => vec![None],
                Some(each) => match self.value(each.from_step, &each.path) {
                    Some(Value::Array(items)) => (0..).take(items.len()).map(Some).collect(),
                    _ => return self.give_up("a list is none"),
                },
            };
            let empty = items.is_empty();
            if let Some(step) = self.steps.get_mut(&id) {
                step.open(at, items);
            }
            if empty {
                ids.extend(self.done(at, id));
            }
        }
    }

    /// A step is settled once all of its work is.
    fn settle(&mut self, at: At, id: u32) {
        let Some(step) = self.steps.get_mut(&id).filter(|step| step.is_closed()) else { return };
        if step.has_failed() {
            self.unfinished -= 1;
            self.failed.insert(id);
            step.failed = Some(at);
        } else {
            let unlocked = self.done(at, id);
            self.open_ready(at, unlocked);
        }
    }

    fn done(&mut self, at: At, id: u32) -> Vec<u32> {
        self.unfinished -= 1;
        let step = self.steps.get_mut(&id);
        let unlocked = step.map(|step| {
            step.done = Some(at);
            step.dependents.clone()
        });
        let unlocked = unlocked.unwrap_or_default();
        for dependent in &unlocked {
            if let Some(dependent) = self.steps.get_mut(dependent) {
                dependent.missing -= 1;
            }
        }
        unlocked
    }

    /// What a reference points to, of what was taken.
    pub(crate) fn value(&self, from: u32, path: &str) -> Option<Value> {
        let whole = match from {
            0 => Value::Object(self.submission?.task.inputs.clone()),
            from => self.steps.get(&from)?.output()?,
        };
        whole.pointer(path).cloned()
    }
}
