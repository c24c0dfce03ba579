//! Plans become revisions, or end the run.

use std::sync::Arc;

use super::{
    Phase, Revision, Run, Turn,
    step::{Step, StepState},
};
use crate::{
    document::RunState,
    failure::{Failure, FailureClass},
    id::StepId,
    plan::{
        Plan, PlanStep,
        lint::{self, Code, Existing, Fault},
        order,
        revision::{self, Change},
    },
    reason::{Cause, End, EndCode},
    record::{Decision, PlanSealed},
    usage::{Charge, Usage},
};

impl Run {
    /// A plan that came with the task: revision 1, with no planner.
    pub(super) fn adopt(&mut self, plan: &Plan, turn: &mut Turn<'_>) {
        let mut faults = lint::structure(plan, &Existing::default(), self.steps_left());
        faults.extend(self.foreign_outputs(plan));
        if !faults.is_empty() {
            let message =
                format!("invalid_output: the task's plan is not sound:\n{}", lint::describe(&faults));
            self.end(RunState::Failed, End::new(EndCode::UnsoundPlan, message), turn);
            return;
        }
        self.revision = 1;
        self.final_step = plan.final_step;
        let (cause, reason) = match &self.submission.carried {
            None => (Cause::Given, "the task's own plan".into()),
            Some(carried) => {
                let reason = format!("goes on from where run {} ended", carried.run).into();
                (Cause::Rerun { run: carried.run.clone() }, reason)
            }
        };
        self.revisions.push(Revision {
            cause,
            reason,
            dropped: Vec::new(),
            model: Box::default(),
            nano_usd: Usage::NONE.nano_usd,
        });
        for spec in &plan.steps {
            let step = match self.carried(StepId::plain(spec.id)) {
                Some(output) => Step::carried(Arc::clone(spec), output.clone()),
                None => self.new_step(Arc::clone(spec), 1),
            };
            self.add_step(step);
        }
        self.carry_on(self.unfinished > 0, turn);
    }

    /// A rerun that brings outputs of steps that its plan does not have.
    fn foreign_outputs(&self, plan: &Plan) -> Vec<Fault> {
        let Some(carried) = &self.submission.carried else {
            return Vec::new();
        };
        let planned: std::collections::BTreeSet<u32> = plan.steps.iter().map(|step| step.id).collect();
        let foreign = carried.outputs.keys().filter(|id| !planned.contains(&id.step));
        foreign
            .map(|id| {
                Fault::new(
                    Code::Malformed,
                    Some(id.step),
                    "an output of it is carried, but no such step is planned",
                )
            })
            .collect()
    }

    /// Commits a draft, once all of its steps are here.
    pub(super) fn seal(&mut self, sealed: Box<PlanSealed>, turn: &mut Turn<'_>) {
        let steps_max = self.submission.envelope.steps_max;
        let Some(drafting) = self.drafting() else {
            return;
        };
        if sealed.steps > steps_max {
            let message = format!("{} steps are more than the {steps_max} allowed", sealed.steps);
            self.planning_came_to_nothing(&Failure::new(FailureClass::InvalidOutput, message), turn);
            return;
        }
        if drafting.staged.len() < sealed.steps as usize {
            drafting.sealed = Some(sealed);
            return;
        }
        // Records come in any order; what counts is that there is one without forward references.
        let steps = order::by_dependency(drafting.staged.values().cloned().collect());
        let cause = drafting.cause.clone();
        let first = matches!(self.phase, Phase::Planning(_));
        if first {
            self.cache.clone_from(&sealed.cache);
        }
        let committed = match &sealed.decision {
            Decision::Plan { final_step } if first => self.commit_first(*final_step, steps, &sealed, turn),
            Decision::Revise { drop, final_step } if !first => {
                let change = Change { drop, final_step: *final_step, steps: &steps };
                self.commit_revision(cause, &change, &sealed, turn)
            }
            Decision::Plan { .. } => Err(vec![misplaced("a first plan cannot answer a replan")]),
            Decision::Revise { .. } => Err(vec![misplaced("there is no plan to revise yet")]),
            Decision::Finish { answer } => {
                self.note_sealed(cause, &sealed, Vec::new());
                self.finish_early(answer.clone(), &sealed.reason, turn);
                Ok(())
            }
            Decision::GiveUp => {
                self.note_sealed(cause, &sealed, Vec::new());
                self.give_up(&sealed.reason, turn);
                Ok(())
            }
        };
        if let Err(faults) = committed {
            let message = format!("the plan is not sound:\n{}", lint::describe(&faults));
            let failure = Failure::new(FailureClass::InvalidOutput, message);
            self.planning_came_to_nothing(&failure, turn);
        }
    }

    fn commit_first(
        &mut self,
        final_step: u32,
        steps: Vec<Arc<PlanStep>>,
        sealed: &PlanSealed,
        turn: &mut Turn<'_>,
    ) -> Result<(), Vec<Fault>> {
        let plan = Plan { steps, final_step };
        let faults =
            lint::structure(&plan, &Existing::default(), self.submission.envelope.steps_max as usize);
        if !faults.is_empty() {
            return Err(faults);
        }
        self.note_sealed(Cause::Planned, sealed, Vec::new());
        for step in plan.steps {
            // A step whose record came before those it depends on was not taken up yet.
            if !self.steps.contains_key(&step.id) {
                self.take_up(step, turn);
            }
        }
        self.let_drafts_go();
        self.revision = 1;
        self.final_step = final_step;
        self.carry_on(true, turn);
        Ok(())
    }

    fn commit_revision(
        &mut self,
        cause: Cause,
        change: &Change<'_>,
        sealed: &PlanSealed,
        turn: &mut Turn<'_>,
    ) -> Result<(), Vec<Fault>> {
        let revised = revision::revise(&self.situation(&cause), change)?;
        if matches!(cause, Cause::Reviewed { .. }) && revised.is_change {
            self.replans += 1;
        }
        self.revision += 1;
        self.final_step = revised.final_step;
        for id in &revised.dropped {
            self.drop_step(*id);
        }
        self.note_sealed(cause, sealed, revised.dropped.into_iter().collect());
        for spec in change.steps {
            let step = self.new_step(Arc::clone(spec), self.revision);
            self.add_step(step);
        }
        self.carry_on(!change.steps.is_empty(), turn);
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

    fn note_sealed(&mut self, cause: Cause, sealed: &PlanSealed, dropped: Vec<u32>) {
        self.revisions.push(Revision {
            cause,
            reason: sealed.reason.clone().into(),
            dropped,
            model: sealed.model.as_str().into(),
            nano_usd: Charge::sum(&sealed.usage).nano_usd,
        });
    }
}

fn misplaced(message: &str) -> Fault {
    Fault::new(Code::Malformed, None, message)
}
