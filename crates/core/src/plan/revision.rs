//! Whether an answer to a replan request makes a sound next revision, and what
//! it drops. Planners ask before they publish, the fold asks before it commits.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Plan, PlanStep,
    lint::{self, Code, Existing, Fault},
    order,
};
use crate::{
    command::{Situation, StepStanding},
    reason::Cause,
};

/// A sound revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revised {
    /// Steps that are not wanted any more: those named, those that failed, and
    /// those that can never run because they depend on one of them.
    pub dropped: BTreeSet<u32>,
    /// The step whose output is the answer.
    pub final_step: u32,
    /// Whether it changes anything: after a review, the plan may be good as it is.
    pub is_change: bool,
}

/// What the planner wants changed.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Steps to drop.
    pub drop: &'a [u32],
    /// The new final step; `None` keeps the current one.
    pub final_step: Option<u32>,
    /// Steps to add.
    pub steps: &'a [Arc<PlanStep>],
}

/// Works a change out against where the run stands.
///
/// # Errors
/// Every fault of the change.
pub fn revise(situation: &Situation, change: &Change<'_>) -> Result<Revised, Vec<Fault>> {
    let dropped = dropped(situation, change.drop);
    let existing = existing(situation, &dropped);
    let final_step = change.final_step.unwrap_or(situation.final_step);
    let plan = Plan { steps: change.steps.to_vec(), final_step };
    let mut faults = lint::structure(&plan, &existing, situation.steps_left as usize);
    let is_change = !dropped.is_empty() || final_step != situation.final_step || !change.steps.is_empty();
    if !is_open(situation, &dropped, &plan, final_step) && !faults.iter().any(is_about_final) {
        let message = format!("\"final\" is {final_step}, which has failed and will not be done");
        faults.push(Fault::new(Code::UnreachableFinal, None, message));
    }
    if repeats(situation, change, &dropped) {
        let message =
            "the revision only repeats the steps that it replaces; do something else, finish, or give up";
        faults.push(Fault::new(Code::EqualPlan, None, message));
    } else if matches!(situation.cause, Cause::Rejected { .. }) && !is_change {
        let message =
            "the plan was rejected and the revision changes nothing; do something else, finish, or give up";
        faults.push(Fault::new(Code::EqualPlan, None, message));
    }
    if faults.is_empty() { Ok(Revised { dropped, final_step, is_change }) } else { Err(faults) }
}

fn is_about_final(fault: &Fault) -> bool {
    fault.code == Code::UnreachableFinal
}

/// Whether the final step is done or will be.
fn is_open(situation: &Situation, dropped: &BTreeSet<u32>, plan: &Plan, final_step: u32) -> bool {
    let standing = situation.steps.iter().find(|standing| standing.step.id == final_step);
    plan.steps.iter().any(|step| step.id == final_step)
        || standing.is_some_and(|standing| standing.state != "partial" && !dropped.contains(&final_step))
}

/// What new steps may refer to when `dropped` is gone: all that is left, and
/// what `for_each` steps had done before they failed.
#[must_use]
pub fn existing(situation: &Situation, dropped: &BTreeSet<u32>) -> Existing {
    let referable = |standing: &&StepStanding| standing.has_output() || !dropped.contains(&standing.step.id);
    let kept = situation.steps.iter().filter(referable).map(|standing| standing.step.id).collect();
    Existing { kept, highest_id: situation.highest_id }
}

/// The named and failed steps and all that waits for them. Finished steps keep
/// their results whatever the planner says.
#[must_use]
pub fn dropped(situation: &Situation, named: &[u32]) -> BTreeSet<u32> {
    let unfinished = |standing: &&StepStanding| !matches!(standing.state, "succeeded" | "partial");
    let mut dependents: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for standing in situation.steps.iter().filter(unfinished) {
        for on in standing.step.dependencies() {
            dependents.entry(on).or_default().push(standing.step.id);
        }
    }
    let named: BTreeSet<u32> = named.iter().copied().collect();
    let open = situation.steps.iter().filter(unfinished).map(|standing| standing.step.id);
    let mut going: Vec<u32> = open.filter(|id| named.contains(id)).collect();
    going.extend(situation.frontier());
    let mut dropped = BTreeSet::new();
    while let Some(id) = going.pop() {
        if dropped.insert(id) {
            going.extend(dependents.remove(&id).unwrap_or_default());
        }
    }
    dropped
}

/// Loop guard: the same work again, however renumbered and in whatever order. What
/// the planner wanted gone counts as gone, also where it has finished meanwhile:
/// the answer is measured by what its planner saw.
fn repeats(situation: &Situation, change: &Change<'_>, dropped: &BTreeSet<u32>) -> bool {
    let is_gone = |id: &u32| dropped.contains(id) || change.drop.contains(id);
    let standings = situation.steps.iter().filter(|standing| is_gone(&standing.step.id));
    let gone = order::by_dependency(standings.map(|standing| Arc::clone(&standing.step)).collect());
    let new = order::by_dependency(change.steps.to_vec());
    let renumbered: BTreeMap<u32, u32> = new.iter().zip(&gone).map(|(new, old)| (new.id, old.id)).collect();
    let in_old_terms = |id: u32| renumbered.get(&id).copied().unwrap_or(id);
    let same_edges = |new: &PlanStep, old: &PlanStep| {
        let mut on: Vec<u32> = new.dependencies().into_iter().map(in_old_terms).collect();
        on.sort_unstable();
        let references = new.references().map(|(from, path)| (in_old_terms(from), path));
        on == old.dependencies() && references.eq(old.references())
    };
    !new.is_empty()
        && new.len() == gone.len()
        && new.iter().zip(&gone).all(|(new, old)| new.same_work(old) && same_edges(new, old))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn step(value: serde_json::Value) -> Arc<PlanStep> {
        serde_json::from_value(value).unwrap()
    }

    fn situation() -> Situation {
        let standing = |value, state| StepStanding { step: step(value), state, output: None, failure: None };
        Situation {
            steps: vec![
                standing(json!({"id": 1, "description": "a"}), "succeeded"),
                standing(json!({"id": 2, "description": "b", "depends_on": [1]}), "failed"),
                standing(json!({"id": 3, "description": "c", "depends_on": [2]}), "waiting"),
                standing(json!({"id": 4, "description": "d"}), "running"),
            ],
            cause: Cause::Failed { steps: vec![2] },
            final_step: 3,
            highest_id: 4,
            steps_left: 100,
            replans_left: 2,
            tokens_left: None,
            nano_usd_left: None,
        }
    }

    fn change(drop: &[u32], final_step: Option<u32>, steps: &[Arc<PlanStep>]) -> Result<Revised, Vec<Code>> {
        revise(&situation(), &Change { drop, final_step, steps })
            .map_err(|faults| faults.into_iter().map(|fault| fault.code).collect())
    }

    #[test]
    fn what_waits_for_a_failed_step_goes_with_it() {
        let new = [step(json!({"id": 5, "description": "e", "depends_on": [1]}))];
        let revised = change(&[1], Some(5), &new).unwrap();
        assert_eq!(revised.dropped, BTreeSet::from([2, 3]));
    }

    #[test]
    fn a_final_step_that_was_dropped_is_a_fault() {
        let new = [step(json!({"id": 5, "description": "e"}))];
        assert_eq!(change(&[], None, &new), Err(vec![Code::UnreachableFinal]));
        assert_eq!(change(&[], None, &[]), Err(vec![Code::UnreachableFinal]));
    }

    #[test]
    fn the_same_work_again_is_refused() {
        let again = [
            step(json!({"id": 5, "description": "b", "depends_on": [1]})),
            step(json!({"id": 6, "description": "c", "depends_on": [5]})),
        ];
        assert_eq!(change(&[], Some(6), &again), Err(vec![Code::EqualPlan]));
    }

    #[test]
    fn a_new_step_cannot_lean_on_a_failed_one() {
        let new = [step(json!({"id": 5, "description": "e", "depends_on": [2]}))];
        assert_eq!(change(&[], Some(5), &new), Err(vec![Code::DanglingReference]));
    }
}
