//! What may not start yet, and why: one function decides it, and the same
//! function tells people. And the records by which people hold a run and let it go.

use super::{
    Phase, Run, Turn, Why,
    step::{Door, Step, StepState, Work, WorkState},
};
use crate::{
    command::Command,
    failure::{Failure, FailureClass},
    id::StepId,
    reason::Wait,
    record::{ApprovalDecided, Gate, Timer},
    task::Review,
};

/// Why a step may not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Steps,
    Pause,
    PlanApproval,
    Review,
    Plan,
    StepApproval,
}

impl Run {
    /// What holds a waiting step, if anything does.
    pub(super) fn hold(&self, step: &Step) -> Option<Hold> {
        let envelope = &self.submission.envelope;
        if step.missing > 0 {
            Some(Hold::Steps)
        } else if self.paused.is_some() {
            Some(Hold::Pause)
        } else if !self.approved {
            Some(Hold::PlanApproval)
        } else if self.in_review() {
            Some(Hold::Review)
        } else if !self.sealed() && (step.door != Door::None || !envelope.side_effect_free(&step.spec.tools))
        {
            // A plan that is not whole yet may turn out unsound: until then only
            // work that leaves no traces outside is done.
            Some(Hold::Plan)
        } else if matches!(step.door, Door::Shut | Door::Asked) {
            Some(Hold::StepApproval)
        } else {
            None
        }
    }

    /// The planner wants to see results before anything new starts.
    fn in_review(&self) -> bool {
        let each = self.submission.envelope.review == Review::AfterEachStep;
        each && (!self.unreviewed.is_empty() || matches!(self.phase, Phase::Replanning(_)))
    }

    /// The same for people: with the steps that are waited for.
    pub(super) fn wait_of(&self, step: &Step) -> Option<Wait> {
        if step.state != StepState::Waiting {
            return None;
        }
        Some(match self.hold(step)? {
            Hold::Steps => {
                let mut steps = step.spec.dependencies();
                steps.retain(|on| self.steps.get(on).is_some_and(|dependency| !dependency.feeds()));
                Wait::Steps { steps }
            }
            Hold::Pause => Wait::Pause,
            Hold::PlanApproval => Wait::PlanApproval,
            Hold::Review => Wait::Review,
            Hold::Plan => Wait::Plan,
            Hold::StepApproval => Wait::StepApproval,
        })
    }

    /// What waits for a person.
    pub(super) fn gates(&self) -> Vec<Gate> {
        let plan = matches!(self.phase, Phase::Approving).then_some(Gate::Plan { revision: self.revision });
        let asked = self.steps.iter().filter(|(_, step)| step.is_asked());
        plan.into_iter().chain(asked.map(|(id, _)| Gate::Step { step: *id })).collect()
    }

    pub(super) fn ask_step_approval(&mut self, id: u32, turn: &mut Turn<'_>) {
        if let Some(step) = self.steps.get_mut(&id).filter(|step| step.door == Door::Shut) {
            step.door = Door::Asked;
            turn.order(Command::AskApproval { run: self.id.clone(), gate: Gate::Step { step: id } });
        }
    }

    /// A revision is there: its steps start, or wait for a person to approve it.
    pub(super) fn carry_on(&mut self, has_new_steps: bool, turn: &mut Turn<'_>) {
        self.approved &= !(has_new_steps && self.submission.envelope.approval.plan);
        if !self.approved && self.unfinished > 0 {
            self.phase = Phase::Approving;
            let gate = Gate::Plan { revision: self.revision };
            turn.order(Command::AskApproval { run: self.id.clone(), gate });
        } else {
            self.phase = Phase::Executing;
            self.start_all_ready(turn);
        }
        self.after_result(turn);
    }

    /// A person has decided. What they decided in vain changes nothing; in vain is
    /// the whole only if all of it is.
    pub(super) fn decided(&mut self, decided: &ApprovalDecided, turn: &mut Turn<'_>) -> Result<(), Why> {
        let mut outcome = Err(Why::Illegal);
        // Steps first: an approved plan starts what it can at once.
        for gate in decided.gates.iter().rev() {
            let one = match *gate {
                Gate::Step { step } => self.step_decided(step, decided, turn),
                Gate::Plan { revision } => self.plan_decided(revision, decided, turn),
            };
            outcome = if outcome.is_ok() { outcome } else { one };
        }
        if outcome.is_ok() {
            self.after_result(turn);
        }
        outcome
    }

    fn plan_decided(
        &mut self,
        revision: u32,
        decided: &ApprovalDecided,
        turn: &mut Turn<'_>,
    ) -> Result<(), Why> {
        if revision > self.revision || !self.submission.envelope.approval.plan {
            return Err(Why::Illegal);
        }
        if revision < self.revision || !matches!(self.phase, Phase::Approving) {
            return Err(Why::Replaced);
        }
        if decided.approved {
            self.approved = true;
            self.carry_on(false, turn);
        } else {
            // The planner is told at once, or when a pause is over; without one the run ends.
            self.phase = Phase::Executing;
            self.rejected = Some(decided.reason.as_str().into());
        }
        Ok(())
    }

    fn step_decided(&mut self, id: u32, decided: &ApprovalDecided, turn: &mut Turn<'_>) -> Result<(), Why> {
        let step = self.steps.get_mut(&id).ok_or(Why::Illegal)?;
        match (step.door, step.state) {
            (Door::None, _) => return Err(Why::Illegal),
            (Door::Open, _) => return Err(Why::Repeated),
            (Door::Shut | Door::Asked, StepState::Waiting) => {}
            (Door::Shut | Door::Asked, _) => return Err(Why::Replaced),
        }
        if decided.approved {
            // In advance, too: it starts as soon as nothing else holds it.
            step.door = Door::Open;
            self.start_ready(vec![id], turn);
        } else {
            let message = format!("a person rejected it: {}", decided.reason);
            step.fail_to_start(Failure::new(FailureClass::Denied, message));
            self.unfinished -= 1;
            self.note_failure(id);
        }
        Ok(())
    }

    pub(super) fn pause(&mut self, reason: String) -> Result<(), Why> {
        if self.paused.is_some() {
            return Err(Why::Repeated);
        }
        self.paused = Some(reason.into());
        Ok(())
    }

    /// Goes on, and makes up for the timers that have fired meanwhile. Those that
    /// have not, by this record's time, are armed again: one that has fired too
    /// early, by its coordinator's clock, was ignored in the pause.
    pub(super) fn resume(&mut self, turn: &mut Turn<'_>) -> Result<(), Why> {
        self.paused.take().ok_or(Why::Repeated)?;
        let backoff = |(id, work): (StepId, &Work)| match work.state {
            WorkState::Backoff { until_ms } => Some((id, work.attempt + 1, until_ms)),
            _ => None,
        };
        let waiting: Vec<_> = self.active_work().filter_map(backoff).collect();
        for (step, attempt, until_ms) in waiting {
            if until_ms <= turn.at_ms {
                let _replaced = self.retry_step(step, attempt, turn);
            } else {
                turn.order(self.timer(until_ms, Timer::Retry { step, attempt }));
            }
        }
        if let Some((revision, attempt, at_ms)) = self.next_planning() {
            if at_ms <= turn.at_ms {
                let _replaced = self.retry_planning(revision, attempt, turn);
            } else {
                turn.order(self.timer(at_ms, Timer::Replan { revision, attempt }));
            }
        }
        self.start_all_ready(turn);
        self.after_result(turn);
        Ok(())
    }
}
