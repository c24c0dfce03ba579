//! Runs that are parts of others: they live in one shard, so that what one owes the other
//! follows from what is here. Each run's own state follows from its own records alone: a
//! child learns of its parent by a record of its own, and the parent of it likewise.

use std::collections::{BTreeMap, BTreeSet};

use super::Shard;
use crate::{command::Command, id::RunId, record::Fact, run::Run};

/// The active children of each run that has any.
#[derive(Debug, Default)]
pub(super) struct Family(BTreeMap<RunId, BTreeSet<RunId>>);

impl Family {
    pub(super) fn join(&mut self, run: &Run) {
        if let Some(parent) = run.parent() {
            self.0.entry(parent.run.clone()).or_default().insert(run.id().clone());
        }
    }

    pub(super) fn leave(&mut self, run: &Run) {
        let Some(parent) = run.parent() else { return };
        if let Some(children) = self.0.get_mut(&parent.run) {
            children.remove(run.id());
            if children.is_empty() {
                self.0.remove(&parent.run);
            }
        }
    }
}

/// Whether a fact may change what a run owes its children, or has from its parent, although
/// it goes on: results of a step are about that step alone.
pub(super) const fn steers(fact: &Fact) -> bool {
    !matches!(fact, Fact::StepSucceeded(_) | Fact::StepFailed(_))
}

impl Shard {
    /// What a child is to be told now, if it is one and its parent stands otherwise.
    pub(super) fn told(&self, child: &Run) -> Option<Command> {
        let parent = &child.parent()?.run;
        let fact = child.told_by(self.runs.get(parent).map(|entry| &*entry.run))?;
        Some(Command::TellRun { run: child.id().clone(), fact: Box::new(fact) })
    }

    /// Tells a run, if it is a child, and its children, if it has any, how things stand.
    pub(super) fn tell_family(&self, run: &RunId, out: &mut Vec<Command>) {
        let children = self.family.0.get(run).into_iter().flatten();
        for run in [run].into_iter().chain(children) {
            out.extend(self.runs.get(run).and_then(|entry| self.told(&entry.run)));
        }
    }

    /// Whether what a run was to be told still holds.
    pub(super) fn still_tells(&self, run: &RunId, fact: &Fact, command: &Command) -> bool {
        let active = self.runs.get(run).map(|entry| &*entry.run);
        match fact {
            Fact::TaskSubmitted(submission) => {
                let parent = submission.parent.as_deref();
                let known = active.is_some() || self.ended.contains(run);
                !known
                    && parent.is_some_and(|parent| {
                        let entry = self.runs.get(&parent.run);
                        entry.is_some_and(|entry| entry.run.awaits_work(parent.step, parent.attempt))
                    })
            }
            Fact::StepFailed(failed) => {
                let attempt = &failed.attempt;
                active.is_some_and(|run| run.awaits_work(attempt.step, attempt.attempt))
            }
            _ => active.and_then(|run| self.told(run)).as_ref() == Some(command),
        }
    }
}
