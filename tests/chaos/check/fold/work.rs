//! Steps and their attempts, as the log orders and closes them.

use std::collections::BTreeMap;

use planfleet_core::{json::Json, plan::PlanStep};
use serde_json::Value;

use super::At;

/// One step.
#[derive(Debug)]
pub(crate) struct StepFold<'h> {
    pub(crate) spec: &'h PlanStep,
    /// Steps that wait for it.
    pub(super) dependents: Vec<u32>,
    /// How many steps it waits for.
    pub(super) missing: u32,
    /// Where it was ordered first.
    pub(crate) opened: Option<At>,
    /// By item; a plain step's is at `None`.
    pub(crate) works: BTreeMap<Option<u32>, WorkFold<'h>>,
    /// Where the last of its results was taken.
    pub(crate) done: Option<At>,
    /// Where it failed for good.
    pub(crate) failed: Option<At>,
    /// Where a revision let it go.
    pub(crate) dropped: Option<At>,
}

/// A plain step's work, or that of one item.
#[derive(Debug, Default)]
pub(crate) struct WorkFold<'h> {
    /// In the order in which they were ordered, which is that of their numbers.
    pub(crate) attempts: Vec<Attempt<'h>>,
}

/// One attempt.
#[derive(Debug)]
pub(crate) struct Attempt<'h> {
    pub(crate) number: u32,
    /// The record from which its order followed.
    pub(crate) opened: At,
    /// Its result, or what stood for one, and where.
    pub(crate) closed: Option<(At, Outcome<'h>)>,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome<'h> {
    Succeeded(&'h Json),
    /// Another attempt follows, by a timer.
    TriedAgain,
    Failed,
}

impl<'h> StepFold<'h> {
    pub(super) fn new(spec: &'h PlanStep) -> Self {
        Self {
            spec,
            dependents: Vec::new(),
            missing: 0,
            opened: None,
            works: BTreeMap::new(),
            done: None,
            failed: None,
            dropped: None,
        }
    }

    pub(super) fn open(&mut self, at: At, items: Vec<Option<u32>>) {
        self.opened = Some(at);
        self.works = items.into_iter().map(|item| (item, WorkFold::opened(at))).collect();
    }

    pub(super) const fn is_wanted(&self) -> bool {
        self.dropped.is_none() && self.done.is_none() && self.failed.is_none()
    }

    /// Whether nothing of it is waited for any more.
    pub(super) fn is_closed(&self) -> bool {
        let settled = |work: &WorkFold<'_>| {
            let outcome = work.attempts.last().and_then(|last| last.closed);
            matches!(outcome, Some((_, Outcome::Succeeded(_) | Outcome::Failed)))
        };
        self.opened.is_some() && self.works.values().all(settled)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.works.values().any(|work| work.taken().is_none())
    }

    /// Its output, once it is done: of a `for_each`, the list.
    pub(crate) fn output(&self) -> Option<Value> {
        self.done?;
        if self.spec.for_each.is_none() {
            return self.works.get(&None)?.taken().map(|(_, output)| output.value());
        }
        let outputs = self.works.values().map(|work| work.taken().map(|(_, output)| output.value()));
        outputs.collect::<Option<Vec<_>>>().map(Value::Array)
    }
}

impl<'h> WorkFold<'h> {
    fn opened(at: At) -> Self {
        Self { attempts: vec![Attempt::opened(1, at)] }
    }

    /// The number of the newest attempt.
    pub(crate) fn newest(&self) -> Option<u32> {
        self.attempts.last().map(|last| last.number)
    }

    /// The result that was taken, and where.
    pub(crate) fn taken(&self) -> Option<(At, &'h Json)> {
        match self.attempts.last()?.closed? {
            (at, Outcome::Succeeded(output)) => Some((at, output)),
            (_, Outcome::TriedAgain | Outcome::Failed) => None,
        }
    }
}

impl<'h> Attempt<'h> {
    pub(super) const fn opened(number: u32, opened: At) -> Self {
        Self { number, opened, closed: None }
    }

    pub(super) fn close(&mut self, at: At, outcome: Outcome<'h>) {
        self.closed = Some((at, outcome));
    }
}
