//! What the index has of one ended run.

use std::{collections::BTreeMap, fmt::Write as _};

use planfleet_core::failure::trim_chars;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::view::{ModelUsage, Priority, RunState, StepCounts, Summary};

/// Characters of each text that words are found in: a goal may be a whole document, and
/// whoever looks for a run remembers how it begins.
const TEXT_CHARS_MAX: usize = 2_000;

/// Characters of a goal or a reason that a list shows.
const SHOWN_CHARS_MAX: usize = 200;

/// One ended run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) seq: u64,
    pub(crate) kept_ms: u64,
    pub(crate) summary: Summary,
    pub(crate) nano_usd: Option<i64>,
    pub(crate) models: Vec<ModelUsage>,
    /// What words are found in.
    pub(crate) text: String,
}

/// The fields of a document that are wanted here. What a document of an older version
/// lacks is empty.
#[derive(Deserialize)]
struct Document {
    run_id: String,
    custom_id: Option<String>,
    goal: Option<String>,
    state: RunState,
    partial: bool,
    reason: Option<String>,
    class: Option<String>,
    template: Option<String>,
    batch_id: Option<String>,
    tenant: String,
    priority: Option<Priority>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    usd: Option<f64>,
    parent: Option<serde::de::IgnoredAny>,
    created_at: Option<String>,
    ended_at: Option<String>,
    timings: Timings,
    #[serde(default)]
    steps: Vec<Step>,
    #[serde(default)]
    revisions: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    models: Vec<ModelUsage>,
}

#[derive(Deserialize)]
struct Timings {
    total_ms: u64,
}

#[derive(Deserialize)]
struct Step {
    /// Items have a text here.
    id: Value,
    state: String,
}

impl Row {
    /// Reads a document that is kept at `seq` since `kept_ms`.
    pub(crate) fn of(seq: u64, kept_ms: u64, document: &str) -> serde_json::Result<Self> {
        let document: Document = serde_json::from_str(document)?;
        let mut steps = StepCounts::default();
        document.steps.iter().filter(|step| step.id.is_u64()).for_each(|step| steps.add(&step.state));
        let ended_ms = kept_ms;
        let text = text(&document);
        let total_ms = document.timings.total_ms;
        let time = planfleet_core::document::rfc3339;
        let summary = Summary {
            run_id: document.run_id,
            custom_id: document.custom_id,
            goal: document.goal.as_deref().map(|goal| trim_chars(goal, SHOWN_CHARS_MAX)),
            state: document.state,
            partial: document.partial,
            reason: document.reason.as_deref().map(|reason| trim_chars(reason, SHOWN_CHARS_MAX)),
            class: document.class,
            template: document.template,
            batch_id: document.batch_id,
            tenant: document.tenant,
            priority: document.priority.unwrap_or(Priority::Normal),
            labels: document.labels,
            usd: document.usd,
            created_at: document.created_at.unwrap_or_else(|| time(ended_ms.saturating_sub(total_ms))),
            ended_at: Some(document.ended_at.unwrap_or_else(|| time(ended_ms))),
            total_ms,
            steps,
            revisions: u32::try_from(document.revisions.len()).unwrap_or(u32::MAX),
        };
        // What a part of a run has used is in that run's own document, and counted there.
        let (nano_usd, models) = match document.parent {
            Some(_) => (Some(0), Vec::new()),
            None => (summary.usd.map(nano), document.models),
        };
        Ok(Self { seq, kept_ms, nano_usd, summary, models, text })
    }

    /// The day on which it was kept, since the Unix epoch (UTC).
    pub(crate) const fn day(&self) -> u64 {
        self.kept_ms / 86_400_000
    }

    /// What can be filtered by, each as one word that no text has.
    pub(super) fn facets(&self) -> String {
        let of = &self.summary;
        let own = [
            ("tenant", Some(of.tenant.as_str())),
            ("state", Some(state_name(of.state))),
            ("class", of.class.as_deref()),
            ("batch", of.batch_id.as_deref()),
            ("template", of.template.as_deref()),
            // A name stands for all its versions too.
            ("template", of.template.as_deref().and_then(|name| name.split_once('@')).map(|(name, _)| name)),
        ];
        let mut all: Vec<String> =
            own.into_iter().filter_map(|(name, value)| Some(facet(name, value?))).collect();
        all.extend(of.labels.iter().map(|(name, value)| label_facet(name, value)));
        all.join(" ")
    }
}

fn text(document: &Document) -> String {
    let mut text = String::new();
    let short = [&document.run_id].into_iter().chain(&document.custom_id).chain(&document.class);
    let labels = document.labels.iter().flat_map(|(name, value)| [name, value]);
    let long = document.goal.iter().chain(&document.reason);
    for part in short.chain(labels).chain(&document.batch_id).chain(long) {
        let end = part.char_indices().nth(TEXT_CHARS_MAX).map_or(part.len(), |(end, _)| end);
        text.push_str(&part[..end]);
        text.push('\n');
    }
    text
}

/// A value to filter by as one word: as long as any value, and of letters and digits alone.
pub(super) fn facet(name: &str, value: &str) -> String {
    hashed(&[name, value])
}

pub(super) fn label_facet(name: &str, value: &str) -> String {
    hashed(&["label", name, value])
}

fn hashed(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update([part.as_bytes(), &[0]].concat()));
    let mut word = String::from("f");
    for byte in &hash.finalize()[..8] {
        // Writing to a String cannot fail.
        let _ = write!(word, "{byte:02x}");
    }
    word
}

pub(crate) const fn state_name(state: RunState) -> &'static str {
    match state {
        RunState::Planning => "planning",
        RunState::AwaitingApproval => "awaiting_approval",
        RunState::Executing => "executing",
        RunState::Replanning => "replanning",
        RunState::Paused => "paused",
        RunState::Succeeded => "succeeded",
        RunState::Failed => "failed",
        RunState::Cancelled => "cancelled",
        RunState::Expired => "expired",
    }
}

/// The integer that a document's dollars are made from, so that sums are exact.
#[expect(clippy::cast_possible_truncation, reason = "made from an integer below 2^53")]
pub(crate) fn nano(dollars: f64) -> i64 {
    (dollars * 1e9).round() as i64
}
