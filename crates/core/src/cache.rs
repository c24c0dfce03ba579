//! The plan cache: what is kept of a plan that worked, and when it is used again.
//!
//! An [`Entry`] stands for tasks of one kind: the same class, slots, tools, planner and
//! question. Its plan refers to the slots as outputs of step 0, so it fits the next task
//! as it stands. It goes in when it is planned, so that tasks which come meanwhile are not
//! planned again, is proven by a run that succeeds with it, and goes out when it fails
//! more often than plans that are made for their task.

use serde::{Deserialize, Serialize};

use crate::{plan::Plan, record::CacheNote, usage::NanoUsd};

/// Outcomes of an entry before anything is concluded from them: fewer are chance.
const OUTCOMES_MIN: u64 = 5;

/// What is kept for one kind of task. Kept as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose tasks: plans are not shared among tenants.
    pub tenant: String,
    /// The class of the tasks.
    pub class: String,
    /// The names of their slots.
    pub slots: Vec<String>,
    /// The goal of the first of them, which is that of all unless the slots are taken from it.
    pub goal: String,
    /// Whether the slots are taken from the goal by a model; else they are the task's inputs.
    pub extracted: bool,
    /// What to do for such a task.
    pub way: Way,
    /// The model that planned.
    pub model: String,
    /// What making it used, which each use saves.
    pub cost: Cost,
    /// When it was made, in milliseconds since the Unix epoch.
    pub made_ms: u64,
    /// Whether it stays whatever comes of it.
    pub pinned: bool,
    /// What came of runs with it.
    pub used: Outcomes,
    /// What came of runs of such tasks whose plans were made for them.
    pub fresh: Outcomes,
}

/// What to do for a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// One planner is at it: others wait for the plan.
    Writing {
        /// Which process.
        holder: String,
        /// When nobody waits for it any more, in milliseconds since the Unix epoch.
        until_ms: u64,
    },
    /// This plan.
    Plan(Plan),
    /// No plan: one step does it.
    Direct,
    /// A plan of its own for each: those that were made do not fit other tasks.
    Each {
        /// Why they do not.
        reason: String,
    },
}

/// What making a plan used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Input and output tokens.
    pub tokens: u64,
    /// In nano-USD; `None` when a price was unknown.
    pub nano_usd: Option<NanoUsd>,
    /// In milliseconds.
    pub ms: u64,
}

/// What came of runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Reached their end with this plan.
    pub succeeded: u64,
    /// Needed another plan, or failed.
    pub failed: u64,
}

impl Outcomes {
    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.succeeded.saturating_add(self.failed)
    }

    /// Adds others.
    pub const fn add(&mut self, other: &Self) {
        self.succeeded = self.succeeded.saturating_add(other.succeeded);
        self.failed = self.failed.saturating_add(other.failed);
    }
}

impl Entry {
    /// Whether a run has succeeded with it.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.used.succeeded + self.fresh.succeeded > 0
    }

    /// Whether the next task is done its way.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self.way {
            Way::Writing { .. } => false,
            Way::Each { .. } => true,
            Way::Plan(_) | Way::Direct => self.pinned || !self.is_worse_than_fresh(),
        }
    }

    /// Whether plans made for each task fail less often. Of those few are known: each side
    /// counts one success and one failure more than it had, so that a single outcome is
    /// not taken for the whole truth.
    fn is_worse_than_fresh(&self) -> bool {
        if self.used.failed == 0 {
            // The run that it was made for may have failed, and nothing proves it then.
            return self.fresh.failed > 0 && !self.is_proven();
        }
        if self.used.succeeded == 0 && self.used.failed >= 2 {
            return true;
        }
        let rate = |outcomes: &Outcomes| (u128::from(outcomes.failed + 1), u128::from(outcomes.total() + 2));
        let ((used, of_used), (fresh, of_fresh)) = (rate(&self.used), rate(&self.fresh));
        self.used.total() >= OUTCOMES_MIN && used * of_fresh > fresh * of_used
    }

    /// What a use of it saves.
    #[must_use]
    pub fn note(&self, key: &str, hit: bool) -> CacheNote {
        let saved = if hit { self.cost } else { Cost { nano_usd: Some(0), ..Cost::default() } };
        CacheNote {
            key: key.to_owned(),
            class: self.class.clone(),
            hit,
            saved_tokens: saved.tokens,
            saved_nano_usd: saved.nano_usd,
            saved_ms: saved.ms,
            made_ms: self.made_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(used: (u64, u64), fresh: (u64, u64)) -> Entry {
        let outcomes = |(succeeded, failed)| Outcomes { succeeded, failed };
        Entry {
            tenant: "default".to_owned(),
            class: "movies".to_owned(),
            slots: vec!["liked".to_owned()],
            goal: "Find a movie".to_owned(),
            extracted: false,
            way: Way::Direct,
            model: "big".to_owned(),
            cost: Cost { tokens: 900, nano_usd: Some(5), ms: 2_000 },
            made_ms: 1,
            pinned: false,
            used: outcomes(used),
            fresh: outcomes(fresh),
        }
    }

    #[test]
    fn an_entry_is_used_until_it_fails_more_than_fresh_plans() {
        for (used, fresh, good) in [
            ((0, 0), (0, 0), true),
            ((0, 0), (1, 0), true),
            ((0, 0), (0, 1), false),
            ((0, 1), (1, 0), true),
            ((0, 2), (1, 0), false),
            ((3, 1), (1, 0), true),
            ((3, 2), (9, 1), false),
            ((90, 10), (9, 1), true),
            ((50, 50), (9, 1), false),
            ((50, 50), (4, 6), true),
        ] {
            assert_eq!(entry(used, fresh).is_good(), good, "used {used:?}, fresh {fresh:?}");
        }
        assert!(Entry { pinned: true, ..entry((0, 9), (9, 0)) }.is_good());
        let writing = Way::Writing { holder: "p".to_owned(), until_ms: 9 };
        assert!(!Entry { way: writing, ..entry((9, 0), (9, 0)) }.is_good());
    }

    #[test]
    fn a_use_saves_what_the_plan_has_cost_and_making_it_saves_nothing() {
        let hit = entry((1, 0), (1, 0)).note("k", true);
        assert_eq!((hit.saved_tokens, hit.saved_nano_usd, hit.saved_ms), (900, Some(5), 2_000));
        let miss = entry((1, 0), (1, 0)).note("k", false);
        assert_eq!((miss.saved_tokens, miss.saved_nano_usd, miss.saved_ms), (0, Some(0), 0));
    }

    #[test]
    fn an_entry_is_kept_as_json() {
        let plan = serde_json::from_str(r#"{"steps": [{"id": 1, "description": "a"}], "final": 1}"#).unwrap();
        let entry = Entry { way: Way::Plan(plan), ..entry((1, 0), (1, 0)) };
        let kept = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&kept).unwrap(), entry);
    }
}
