//! A run in a list.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RunState;
use crate::{id::RunId, task::Priority};

/// A run in a list: what people look for one by, and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run.
    pub run_id: RunId,
    /// The user's own name for it.
    pub custom_id: Option<String>,
    /// The first [`GOAL_CHARS_MAX`] characters of what is to be reached.
    pub goal: Option<String>,
    /// Where it stands, or how it ended.
    pub state: RunState,
    /// Whether it has not reached its final step.
    pub partial: bool,
    /// Why it ended, or why it is paused, where there is more to say than its state.
    pub reason: Option<String>,
    /// The class of its task, if it has one.
    pub class: Option<String>,
    /// The template that its plan came from.
    pub template: Option<String>,
    /// The batch that it is part of.
    pub batch_id: Option<String>,
    /// Whose it is.
    pub tenant: String,
    /// Its place in line.
    pub priority: Priority,
    /// For filters and reports.
    pub labels: BTreeMap<String, String>,
    /// What it cost, in dollars; `None` when a price was unknown.
    pub usd: Option<f64>,
    /// When it was submitted, RFC 3339.
    pub created_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// Milliseconds from its submit to its end, or until now.
    pub total_ms: u64,
    /// How far it is.
    pub steps: StepCounts,
    /// Its plan's revisions.
    pub revisions: u32,
}

/// Characters of a goal or a reason in a list.
pub const GOAL_CHARS_MAX: usize = 200;

/// How many steps of a run stand where; the items of a `for_each` are none of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCounts {
    /// Those that are to be done or were.
    pub total: u32,
    /// Those that succeeded.
    pub done: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those at work.
    pub active: u32,
}

impl StepCounts {
    /// Counts a step that stands at one of [`StepEntry::state`](super::StepEntry)'s words.
    pub fn add(&mut self, state: &str) {
        let counted = match state {
            "dropped" => return,
            "succeeded" => Some(&mut self.done),
            "failed" => Some(&mut self.failed),
            "running" => Some(&mut self.active),
            _ => None,
        };
        self.total += 1;
        if let Some(counted) = counted {
            *counted += 1;
        }
    }
}
