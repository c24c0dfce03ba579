//! When a run is over, and with what reason.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Phase, Run, Turn,
    results::describe,
    step::{Step, StepState},
};
use crate::{
    command::Command,
    document::RunState,
    failure::FailureClass,
    id::StepId,
    json::Json,
    plan::{Plan, order},
    reason::{End, EndCode},
    task::{Carried, Review, Submission},
};

impl Run {
    pub(super) fn succeed(&mut self, turn: &mut Turn<'_>) {
        self.end(RunState::Succeeded, End::new(EndCode::Completed, ""), turn);
    }

    /// The planner answers from what there is.
    pub(super) fn finish_early(&mut self, answer: Json, reason: &str, turn: &mut Turn<'_>) {
        let end = End::new(EndCode::FinishedEarly, format!("finished by the planner: {reason}"));
        self.end_with(RunState::Succeeded, end, Some(answer), turn);
    }

    pub(super) fn give_up(&mut self, reason: &str, turn: &mut Turn<'_>) {
        let first = self.first_failure();
        let failure = first.as_ref().map(|(.., failure)| format!("{failure}\n")).unwrap_or_default();
        let message = format!("{failure}the planner gave up: {reason}");
        let (step, class) = first.map(|(step, class, _)| (step, class)).unzip();
        self.end(RunState::Failed, End { step, class, ..End::new(EndCode::GaveUp, message) }, turn);
    }

    /// Ends the run if it has used more than it may. True if it did.
    pub(super) fn end_over_budget(&mut self, turn: &mut Turn<'_>) -> bool {
        let reason = self.over_budget();
        let over = reason.is_some();
        if let Some(reason) = reason {
            self.end(RunState::Failed, End::new(EndCode::Budget, reason), turn);
        }
        over
    }

    /// How the run has used more than it may, if it has.
    pub(super) fn over_budget(&self) -> Option<String> {
        let budget = self.submission.envelope.budget;
        if budget.tokens.is_none() && budget.nano_usd.is_none() {
            return None;
        }
        let used = self.ledger().total();
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
    pub(super) fn no_replan(&self) -> Option<(EndCode, String)> {
        let envelope = &self.submission.envelope;
        if envelope.review == Review::Never {
            Some((EndCode::NoReview, " (the task asks for no review)".to_owned()))
        } else if self.submission.task.goal.is_none() {
            Some((EndCode::NoGoal, " (the task has no goal to replan for)".to_owned()))
        } else if self.replans >= envelope.replans_max {
            Some((EndCode::ReplansUsed, format!(" (all {} replans are used)", envelope.replans_max)))
        } else if self.denied_again() {
            let message = " (the plan asked again for what was denied)".to_owned();
            Some((EndCode::DeniedAgain, message))
        } else {
            None
        }
    }

    /// A plan asks for what is denied although its planner had been told.
    fn denied_again(&self) -> bool {
        self.denied().any(|step| self.told_in.is_some_and(|told| step.revision >= told))
    }

    /// The failed steps that were denied.
    pub(super) fn denied(&self) -> impl Iterator<Item = &Step> {
        let failed = self.failed.iter().filter_map(|id| self.steps.get(id));
        failed.filter(|step| step.failure().is_some_and(|failure| failure.class == FailureClass::Denied))
    }

    /// The failure to name when several steps have failed, the first by id: the
    /// step, the class, and both in words.
    pub(super) fn first_failure(&self) -> Option<(u32, FailureClass, String)> {
        let id = *self.failed.first()?;
        let failure = self.steps.get(&id)?.failure()?;
        Some((id, failure.class, describe(StepId::plain(id), failure)))
    }

    pub(super) fn end(&mut self, state: RunState, end: End, turn: &mut Turn<'_>) {
        self.end_with(state, end, None, turn);
    }

    fn end_with(&mut self, state: RunState, end: End, answer: Option<Json>, turn: &mut Turn<'_>) {
        if self.ended() {
            return;
        }
        let writing = matches!(self.phase, Phase::Planning(_) | Phase::Replanning(_));
        let strays = self.strays.as_ref().is_some_and(|strays| !strays.attempts.is_empty());
        let busy = writing || strays || self.steps.values().any(Step::is_in_flight);
        let document = self.ended_document(state, end, answer, turn.at_ms);
        self.phase = Phase::Ended;
        if busy {
            turn.order(Command::BroadcastCancel { run: self.id.clone() });
        }
        turn.order(Command::FinishRun(Arc::new(document)));
    }

    /// What to submit for a run that goes on from where this one ended.
    pub(super) fn rerun(&self) -> Submission {
        let mut submission = self.submission.as_ref().clone();
        submission.traceparent = None;
        if !self.sealed() {
            return submission;
        }
        let wanted = |step: &&Step| step.state != StepState::Dropped || step.feeds();
        let kept = || self.steps.values().filter(wanted);
        let steps = order::by_dependency(kept().map(|step| Arc::clone(&step.spec)).collect());
        submission.plan = Some(Arc::new(Plan { steps, final_step: self.final_step }));
        let outputs = kept().flat_map(|step| self.outputs(step)).collect();
        submission.carried = Some(Box::new(Carried { run: self.id.clone(), outputs }));
        submission
    }

    /// What a step has brought that need not be done again: its output, or those
    /// of its items, or what a run before has brought of a step that was not begun.
    fn outputs(&self, step: &Step) -> BTreeMap<StepId, Json> {
        let id = step.spec.id;
        if let Some(output) = step.output().filter(|_| step.feeds()) {
            return [(StepId::plain(id), output.clone())].into();
        }
        let carried = self.submission.carried.iter().flat_map(|carried| &carried.outputs);
        let before = carried.filter(|(of, _)| of.step == id && step.work().is_empty());
        let items = step.named_work().filter_map(|(id, work)| Some((id, work.output.clone()?)));
        before.map(|(id, output)| (*id, output.clone())).chain(items).collect()
    }
}
