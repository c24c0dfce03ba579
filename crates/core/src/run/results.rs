//! Settling work: what came of it, and what follows.

use super::{
    Phase, Run, Turn, Why, charge, earlier,
    step::{StepState, Work, WorkState},
};
use crate::{
    document::RunState,
    failure::{Failure, FailureClass},
    id::StepId,
    policy::{self, Action, Tries},
    reason::{Cause, End, EndCode},
    record::{AttemptReport, StepFailed, StepSucceeded, Timer},
    task::Review,
    usage::{Charge, Usage},
};

impl Run {
    pub(super) fn step_succeeded(&mut self, success: StepSucceeded, turn: &mut Turn<'_>) -> Result<(), Why> {
        let report = success.attempt;
        if let Err(why) = self.accept(&report) {
            return self.refuse(why, turn);
        }
        self.times.without_credit = 0;
        if let Some(work) = self.work_of(report.step) {
            work.state = WorkState::Succeeded;
            work.output = Some(success.output);
            work.failure = None;
        }
        self.settle_work(report.step.step, turn);
        self.after_result(turn);
        Ok(())
    }

    pub(super) fn step_failed(&mut self, failed: StepFailed, turn: &mut Turn<'_>) -> Result<(), Why> {
        let StepFailed { attempt: report, failure } = failed;
        if let Err(why) = self.accept(&report) {
            return self.refuse(why, turn);
        }
        self.attempt_failed(report.step, report.attempt, failure, WorkState::Failed, turn);
        Ok(())
    }

    /// Nobody waits for an attempt any longer.
    pub(super) fn step_timed_out(
        &mut self,
        id: StepId,
        attempt: u32,
        turn: &mut Turn<'_>,
    ) -> Result<(), Why> {
        let unknown = self.unknown_step(id.step);
        let Some(step) = self.steps.get_mut(&id.step).or_else(|| self.phase.abandoned(id.step)) else {
            return Err(unknown);
        };
        if !step.spec.has(id) {
            return Err(Why::Illegal);
        }
        let active = step.state == StepState::Active;
        let work = step.work_of(id.item).filter(|work| active && work.attempt == attempt);
        let Some(WorkState::Dispatched { timeout_ms: Some(due_ms) }) = work.map(|work| work.state) else {
            return Err(Why::Replaced);
        };
        if turn.at_ms < due_ms {
            // Time is the record's own: a timer that was fired too early is armed again.
            turn.order(self.timer(due_ms, Timer::StepTimeout { step: id, attempt }));
            return Ok(());
        }
        let message = format!("attempt {attempt} brought no result in the time that its step allows");
        let failure = Failure::new(FailureClass::Timeout, message);
        self.attempt_failed(id, attempt, failure, WorkState::Overdue, turn);
        Ok(())
    }

    fn attempt_failed(
        &mut self,
        id: StepId,
        attempt: u32,
        failure: Failure,
        failed: WorkState,
        turn: &mut Turn<'_>,
    ) {
        let without_credit = failure.class == FailureClass::Quota;
        let quota_wait_left_ms = self.quota_wait_left_ms(turn.at_ms);
        let attempts_max = self.submission.envelope.attempts_max;
        let Some(step) = self.steps.get_mut(&id.step).or_else(|| self.phase.abandoned(id.step)) else {
            return;
        };
        let Some(work) = step.work_of(id.item) else {
            return;
        };
        work.failure = Some(Box::new(failure.clone()));
        let tries =
            Tries { attempt, without_credit: work.without_credit(), attempts_max, quota_wait_left_ms };
        match policy::on_step_failure(&failure, tries) {
            Action::Retry { delay_ms } => {
                let until_ms = turn.at_ms.saturating_add(delay_ms);
                work.state = WorkState::Backoff { until_ms };
                if without_credit {
                    work.spent_mut().without_credit += 1;
                    self.times.without_credit = earlier(self.times.without_credit, turn.at_ms);
                }
                turn.order(self.timer(until_ms, Timer::Retry { step: id, attempt: attempt + 1 }));
            }
            Action::AskPlanner => {
                work.state = failed;
                self.settle_work(id.step, turn);
            }
            Action::End => {
                work.state = failed;
                step.fail_for(id.item.unwrap_or(0) as usize);
                self.end_for(id, &failure, turn);
            }
        }
        self.after_result(turn);
    }

    /// What is not wanted is not taken, but it may have passed the budget.
    fn refuse(&mut self, why: Why, turn: &mut Turn<'_>) -> Result<(), Why> {
        if why == Why::Replaced && self.end_over_budget(turn) { Ok(()) } else { Err(why) }
    }

    /// A step's or an item's work, of this draft or of one before.
    fn work_of(&mut self, id: StepId) -> Option<&mut Work> {
        let step = self.steps.get_mut(&id.step).or_else(|| self.phase.abandoned(id.step))?;
        step.work_of(id.item)
    }

    /// Whether a report is about dispatched work that is wanted; charges its usage.
    fn accept(&mut self, report: &AttemptReport) -> Result<(), Why> {
        let unknown = self.unknown_step(report.step.step);
        let Self { steps, phase, ledger, times, strays, .. } = self;
        let stray = (report.step, report.attempt);
        if strays.as_mut().is_some_and(|strays| strays.attempts.remove(&stray)) {
            charge(ledger, &report.usage);
            return Err(Why::Replaced);
        }
        let id = report.step.step;
        let step = steps.get_mut(&id).or_else(|| phase.abandoned(id)).ok_or(unknown)?;
        if !step.spec.has(report.step) {
            return Err(Why::Illegal);
        }
        let state = step.state;
        let known = |newest: u32| if newest < report.attempt { Why::Illegal } else { Why::Replaced };
        if step.peek(report.step.item).is_none() {
            return Err(known(step.attempts()));
        }
        let work = step.work_of(report.step.item).ok_or(Why::Illegal)?;
        if work.attempt != report.attempt || report.attempt == 0 {
            return Err(known(work.attempt));
        }
        let dispatched = matches!(work.state, WorkState::Dispatched { .. });
        let awaited = dispatched || work.state == WorkState::Overdue;
        if awaited {
            // What the attempt of a dropped step or a late one has used was used all the same.
            charge(ledger, &report.usage);
            work.spend(report);
        }
        if awaited && (!dispatched || state == StepState::Dropped) {
            work.state = WorkState::Failed;
            return Err(Why::Replaced);
        }
        if state != StepState::Active || !dispatched {
            return Err(if state == StepState::Dropped { Why::Replaced } else { Why::Repeated });
        }
        if report.started_ms > 0 {
            work.took(report.started_ms, report.ended_ms);
            times.first_step_started = earlier(times.first_step_started, report.started_ms);
        }
        Ok(())
    }

    /// How long it may still wait for models that have run out of credit.
    pub(super) fn quota_wait_left_ms(&self, at_ms: u64) -> u64 {
        let since = earlier(self.times.without_credit, at_ms);
        self.submission.envelope.quota_wait_ms.saturating_sub(at_ms.saturating_sub(since))
    }

    fn settle_work(&mut self, id: u32, turn: &mut Turn<'_>) {
        let Self { steps, phase, .. } = self;
        let Some(step) = steps.get_mut(&id).or_else(|| phase.abandoned(id)) else {
            return;
        };
        if step.close_one() {
            let unlocked = self.settle_step(id);
            self.start_ready(unlocked, turn);
        }
    }

    /// All of a step's work is settled; returns the steps that wait for no output any more.
    pub(super) fn settle_step(&mut self, id: u32) -> Vec<u32> {
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
        self.note_finished(id);
        let Self { steps, edges, .. } = self;
        let dependents = steps.get(&id).map(|step| edges.of(step.dependents).collect::<Vec<_>>());
        let mut unlocked = dependents.unwrap_or_default();
        unlocked.retain(|dependent| {
            steps.get_mut(dependent).is_some_and(|waiting| {
                waiting.missing = waiting.missing.saturating_sub(1);
                waiting.missing == 0
            })
        });
        unlocked
    }

    /// A step has finished: the planner sees it next, where it wants to see each.
    pub(super) fn note_finished(&mut self, id: u32) {
        if self.submission.envelope.review == Review::AfterEachStep && self.no_replan().is_none() {
            self.unreviewed.push(id);
        }
    }

    /// A step has failed for good: its failure waits for the planner.
    pub(super) fn note_failure(&mut self, id: u32) {
        self.failed.insert(id);
    }

    /// Something was settled: the run may be over, over budget, or in need of its planner.
    pub(super) fn after_result(&mut self, turn: &mut Turn<'_>) {
        let executing = matches!(self.phase, Phase::Executing);
        let settled = self.failed.is_empty() && self.unfinished == 0 && self.rejected.is_none();
        if executing && settled {
            // The last result may pass the budget: it is paid for, and it is the answer.
            self.succeed(turn);
        } else if !self.ended() && !self.end_over_budget(turn) && executing && self.paused.is_none() {
            self.look(turn);
        }
    }

    /// Asks the planner, if there is something that it is to see.
    fn look(&mut self, turn: &mut Turn<'_>) {
        if let Some(reason) = self.rejected.take() {
            self.ask_planner(Cause::Rejected { reason: reason.into() }, turn);
        } else if !self.failed.is_empty() {
            self.ask_planner(self.failure_cause(), turn);
        } else if !self.unreviewed.is_empty() {
            if self.no_replan().is_none() {
                let steps = self.unreviewed.clone();
                self.ask_planner(Cause::Reviewed { steps }, turn);
            } else {
                // With all replans used there is nothing that a review could change.
                self.unreviewed.clear();
                self.start_all_ready(turn);
                self.after_result(turn);
            }
        }
    }

    pub(super) fn failure_cause(&self) -> Cause {
        Cause::Failed { steps: self.failed.iter().copied().collect() }
    }

    /// A failure that nobody in the run can mend ends it.
    fn end_for(&mut self, id: StepId, failure: &Failure, turn: &mut Turn<'_>) {
        let (state, code) = match failure.class {
            FailureClass::Deadline => (RunState::Expired, EndCode::Deadline),
            FailureClass::Cancelled => (RunState::Cancelled, EndCode::Cancelled),
            FailureClass::Budget => (RunState::Failed, EndCode::Budget),
            _ => (RunState::Failed, EndCode::Unmendable),
        };
        let end =
            End { step: Some(id.step), class: Some(failure.class), ..End::new(code, describe(id, failure)) };
        self.end(state, end, turn);
    }
}

impl Work {
    /// Adds what an attempt has used.
    fn spend(&mut self, report: &AttemptReport) {
        let used = Charge::sum(&report.usage);
        if report.model.is_none() && used == Usage::NONE {
            return;
        }
        let spent = self.spent_mut();
        spent.usage.add(&used);
        spent.model.clone_from(&report.model);
    }
}

/// A step's failure in one text.
pub(super) fn describe(step: StepId, failure: &Failure) -> String {
    format!("{}: step {step}: {}", failure.class, failure.message)
}
