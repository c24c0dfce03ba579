//! Sealed drafts become revisions, or end the run.

use std::sync::Arc;

use super::{
    Phase, Run,
    step::{Step, StepState},
};
use crate::{
    command::Command,
    document::RevisionNote,
    failure::{Failure, FailureClass},
    plan::{
        Plan, PlanStep,
        lint::{self, Code, Existing, Fault},
        order,
        revision::{self, Change},
    },
    record::{Decision, PlanSealed},
    usage::Usage,
};

impl Run {
    /// Commits a draft, once all of its steps are here.
    pub(super) fn seal(&mut self, sealed: Box<PlanSealed>, at_ms: u64, out: &mut Vec<Command>) {
        let Some(drafting) = self.drafting() else {
            return;
        };
        if drafting.staged.len() < sealed.steps as usize {
            drafting.sealed = Some(sealed);
            return;
        }
        // Records come in any order; what counts is that there is one without forward references.
        let steps =
            order::by_dependency(drafting.staged.values().map(|step| step.as_ref().clone()).collect());
        let frontier = drafting.frontier.clone();
        let first = matches!(self.phase, Phase::Planning(_));
        let committed = match &sealed.decision {
            Decision::Plan { final_step } if first => self.commit_first(*final_step, steps, &sealed, out),
            Decision::Revise { drop, final_step } if !first => {
                let change = Change { drop, final_step: *final_step, steps: &steps };
                self.commit_revision(&frontier, &change, &sealed, out)
            }
            Decision::Plan { .. } => Err(vec![misplaced("a first plan cannot answer a replan")]),
            Decision::Revise { .. } => Err(vec![misplaced("there is no plan to revise yet")]),
            Decision::Finish { answer } => {
                self.note(self.revision + 1, &sealed.reason, Vec::new(), Vec::new(), &sealed.usage);
                self.finish_early(answer.clone(), &sealed.reason, at_ms, out);
                Ok(())
            }
            Decision::GiveUp => {
                self.note(self.revision + 1, &sealed.reason, Vec::new(), Vec::new(), &sealed.usage);
                self.give_up(&sealed.reason, at_ms, out);
                Ok(())
            }
        };
        match committed {
            Ok(()) => self.after_result(at_ms, out),
            Err(faults) => {
                let message = format!("the plan is not sound:\n{}", lint::describe(&faults));
                let failure = Failure::new(FailureClass::InvalidOutput, message);
                self.planning_came_to_nothing(&failure, at_ms, out);
            }
        }
    }

    fn commit_first(
        &mut self,
        final_step: u32,
        steps: Vec<PlanStep>,
        sealed: &PlanSealed,
        out: &mut Vec<Command>,
    ) -> Result<(), Vec<Fault>> {
        let plan = Plan { steps, final_step };
        let faults =
            lint::structure(&plan, &Existing::default(), self.submission.envelope.steps_max as usize);
        if !faults.is_empty() {
            return Err(faults);
        }
        let added = plan.steps.iter().map(|step| step.id).collect();
        self.note(1, &sealed.reason, added, Vec::new(), &sealed.usage);
        for step in plan.steps {
            // A step whose record came before those it depends on was not started yet.
            if !self.steps.contains_key(&step.id) {
                self.take_up(Arc::new(step), out);
            }
        }
        self.let_drafts_go();
        self.phase = Phase::Executing;
        self.revision = 1;
        self.final_step = final_step;
        self.start_ready(self.steps.keys().copied().collect(), out);
        Ok(())
    }

    fn commit_revision(
        &mut self,
        frontier: &[u32],
        change: &Change<'_>,
        sealed: &PlanSealed,
        out: &mut Vec<Command>,
    ) -> Result<(), Vec<Fault>> {
        let revised = revision::revise(&self.situation(frontier), change, self.steps_left())?;
        self.phase = Phase::Executing;
        self.revision += 1;
        self.final_step = revised.final_step;
        for id in &revised.dropped {
            self.drop_step(*id);
        }
        let added = change.steps.iter().map(|step| step.id).collect();
        let dropped = revised.dropped.iter().copied().collect();
        self.note(self.revision, &sealed.reason, added, dropped, &sealed.usage);
        for step in change.steps {
            self.add_step(Step::new(Arc::new(step.clone()), self.revision, 0), out);
        }
        Ok(())
    }

    fn drop_step(&mut self, id: u32) {
        self.failed.remove(&id);
        let Some(step) = self.steps.get_mut(&id) else {
            return;
        };
        match step.state {
            StepState::Waiting | StepState::Active => self.unfinished -= 1,
            StepState::Failed => {}
            StepState::Succeeded | StepState::Dropped => return,
        }
        step.state = StepState::Dropped;
    }

    /// How many steps may still be added.
    pub(super) fn steps_left(&self) -> usize {
        (self.submission.envelope.steps_max as usize).saturating_sub(self.steps.len())
    }

    pub(super) fn note(
        &mut self,
        revision: u32,
        reason: &str,
        added: Vec<u32>,
        dropped: Vec<u32>,
        usage: &Usage,
    ) {
        let reason = reason.to_owned();
        self.revisions.push(RevisionNote { revision, reason, added, dropped, nano_usd: usage.nano_usd });
    }
}

fn misplaced(message: &str) -> Fault {
    Fault::new(Code::Malformed, None, message)
}
