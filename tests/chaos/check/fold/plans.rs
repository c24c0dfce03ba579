//! What planners write: the first plan, and revisions of it.

use std::collections::{BTreeMap, BTreeSet};

use planfleet_core::{
    failure::{Failure, FailureClass},
    plan::PlanStep,
    record::{Decision, Draft, PlanSealed},
    task::Review,
};

use super::{At, RunFold};

/// A revision that is being written.
#[derive(Debug, Default)]
pub(super) struct Writing<'h> {
    /// The newest draft seen.
    draft: Draft,
    /// Its steps so far.
    staged: BTreeMap<u32, &'h PlanStep>,
    /// Its end, while steps are missing.
    sealed: Option<&'h PlanSealed>,
    /// The failed steps that its planner was told of.
    frontier: BTreeSet<u32>,
}

impl<'h> RunFold<'h> {
    /// A planner is asked for the next revision.
    pub(super) fn ask(&mut self, at: At, writing: Writing<'h>) {
        self.asked.insert((self.revision + 1, 1), at);
        self.writing = Some(writing);
    }

    pub(super) fn planned(&mut self, at: At, draft: Draft, step: &'h PlanStep) {
        if !self.enter(draft) {
            return;
        }
        let Some(writing) = &mut self.writing else { return };
        if writing.staged.insert(step.id, step).is_some() {
            // A record that was appended twice.
            return;
        }
        // Of a first plan, what changes nothing outside starts before it is whole.
        let known = |on: &u32| self.steps.contains_key(on);
        if self.revision == 0 && step.dependencies().iter().all(known) {
            self.take_up(at, [step].into_iter());
        }
        self.commit_if_whole(at);
    }

    pub(super) fn sealed(&mut self, at: At, sealed: &'h PlanSealed) {
        if self.enter(sealed.draft) {
            if let Some(writing) = &mut self.writing {
                writing.sealed = Some(sealed);
            }
            self.commit_if_whole(at);
        }
    }

    /// What fails for a while is tried again by a timer; what does not ends the
    /// run, or is an older draft's and does nothing.
    pub(super) fn plan_failed(&mut self, draft: Draft, failure: &Failure) {
        use FailureClass as C;
        let attempts_max = self.submission.map_or(0, |submission| submission.envelope.attempts_max);
        let passing = matches!(failure.class, C::Transient | C::Timeout | C::Lost);
        if !passing || draft.attempt >= attempts_max {
            self.give_up("its planner failed");
        }
    }

    /// Planning is tried again, and its planner told of what has failed meanwhile.
    pub(super) fn plan_again(&mut self, at: At, revision: u32, attempt: u32) {
        let next = self.revision + 1;
        let Some(writing) = self.writing.as_mut().filter(|writing| attempt > writing.draft.attempt) else {
            return;
        };
        if revision == next {
            self.asked.entry((revision, attempt)).or_insert(at);
            if !writing.frontier.is_empty() {
                writing.frontier.clone_from(&self.failed);
            }
        }
    }

    /// Whether a draft is the newest of the revision that is being written.
    fn enter(&mut self, draft: Draft) -> bool {
        let next = self.revision + 1;
        let Some(writing) = self.writing.as_mut().filter(|writing| draft >= writing.draft) else {
            return false;
        };
        if draft.revision != next {
            return false;
        }
        if draft > writing.draft {
            let frontier = std::mem::take(&mut writing.frontier);
            *writing = Writing { draft, frontier, ..Writing::default() };
            if self.revision == 0 && !self.steps.is_empty() {
                self.give_up("its first plan was written twice");
            }
        }
        true
    }

    fn commit_if_whole(&mut self, at: At) {
        let whole = |writing: &&mut Writing<'_>| {
            writing.sealed.is_some_and(|sealed| writing.staged.len() >= sealed.steps as usize)
        };
        if self.writing.as_mut().filter(whole).is_none() {
            return;
        }
        let Some(Writing { sealed: Some(sealed), staged, frontier, .. }) = self.writing.take() else {
            return;
        };
        self.committed.insert(self.revision + 1, at);
        match &sealed.decision {
            Decision::Finish { .. } => return self.finish(at, "succeeded"),
            Decision::GiveUp => return self.finish(at, "failed"),
            Decision::Plan { .. } => {}
            Decision::Revise { drop, .. } => self.let_go(at, drop, &frontier),
        }
        self.revision += 1;
        let new: Vec<_> =
            staged.values().filter(|step| !self.steps.contains_key(&step.id)).copied().collect();
        self.take_up(at, new.into_iter());
        // What waited only for the plan to be whole.
        let waiting = self.steps.iter().filter(|(_, step)| step.opened.is_none());
        let waiting = waiting.map(|(id, _)| *id).collect();
        self.open_ready(at, waiting);
        self.look(at);
    }

    /// The named and failed steps go, and all that waits for them.
    fn let_go(&mut self, at: At, named: &[u32], frontier: &BTreeSet<u32>) {
        let mut going: Vec<u32> = named.iter().chain(frontier).copied().collect();
        while let Some(id) = going.pop() {
            let Some(step) = self.steps.get_mut(&id) else { continue };
            if step.dropped.is_some() || step.done.is_some() {
                continue;
            }
            if step.failed.is_none() {
                self.unfinished -= 1;
            } else if step.spec.for_each.is_some() {
                self.loose = self.loose.or(Some("a list of results has gaps"));
            }
            step.dropped = Some(at);
            self.failed.remove(&id);
            going.extend(&step.dependents);
        }
    }

    /// Whether a step may start while its plan is being written.
    pub(super) fn may_start(&self, spec: &PlanStep) -> bool {
        let harmless = || self.submission.is_some_and(|task| task.envelope.side_effect_free(&spec.tools));
        self.revision > 0 || harmless()
    }

    /// Something was settled: the run may be over, or in need of its planner.
    pub(super) fn look(&mut self, at: At) {
        if self.end.is_some() || self.writing.is_some() {
            return;
        }
        if !self.failed.is_empty() {
            self.ask_planner(at);
        } else if self.unfinished == 0 {
            self.finish(at, "succeeded");
        }
    }

    fn ask_planner(&mut self, at: At) {
        let can = self.submission.is_some_and(|submission| {
            let envelope = &submission.envelope;
            let asks = envelope.review != Review::Never && submission.task.goal.is_some();
            asks && self.replans < envelope.replans_max
        });
        if can {
            self.replans += 1;
            self.ask(at, Writing { frontier: self.failed.clone(), ..Writing::default() });
        } else {
            self.finish(at, "failed");
        }
    }
}
