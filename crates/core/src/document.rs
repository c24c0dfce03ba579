//! What is kept of a run, and what people and programs read of it.

mod summary;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};

pub use self::summary::{GOAL_CHARS_MAX, StepCounts, Summary};
use crate::{
    failure::Failure,
    id::{RunId, StepId},
    json::Json,
    plan::PlanStep,
    reason::{Cause, End, Wait},
    record::{CacheNote, Gate, Report},
    task::Submission,
    usage::{Charge, Ledger, NanoUsd, Usage},
};

/// Where a run stands, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its first plan is being written.
    Planning,
    /// A person has to approve its newest revision, or the only steps that are left.
    AwaitingApproval,
    /// Its plan is being carried out.
    Executing,
    /// Its plan is being revised.
    Replanning,
    /// It starts nothing new until it is resumed; what is in flight goes on.
    Paused,
    /// Ended with an answer.
    Succeeded,
    /// Ended without reaching its goal.
    Failed,
    /// Ended because somebody asked for it.
    Cancelled,
    /// Ended because its time was up.
    Expired,
}

impl RunState {
    /// Whether it is one of the four ends.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired)
    }

    /// The state's name in JSON, tables and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Paused => "paused",
            Self::Executing => "executing",
            Self::Replanning => "replanning",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// A run, whole: what `runs get -o json` prints and the `DONE` stream keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct RunDocument {
    /// The run.
    pub run_id: RunId,
    /// The user's own name for it.
    pub custom_id: Option<String>,
    /// The batch that it is part of, if it is; absent in JSON where it is not.
    pub batch_id: Option<String>,
    /// Whose it is.
    pub tenant: String,
    /// The class of its task, if it has one.
    pub class: Option<String>,
    /// What was submitted: its goal, inputs, template, priority and labels are shown.
    pub submission: Arc<Submission>,
    /// When it was submitted, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When it ended, once it has.
    pub ended_ms: Option<u64>,
    /// The run that it goes on from, if it is a rerun.
    pub rerun_of: Option<RunId>,
    /// The run that it is a part of, if it is a sub-task, and the step there.
    pub parent: Option<(RunId, StepId)>,
    /// Where it stands, or how it ended.
    pub state: RunState,
    /// The final step's output, or what the planner answered from what there was.
    pub answer: Option<Json>,
    /// True whenever the run did not reach its final step.
    pub partial: bool,
    /// Why it ended, once it has.
    pub end: Option<End>,
    /// Why it is paused, if it is.
    pub paused: Option<String>,
    /// What waits for a person.
    pub approvals: Vec<Gate>,
    /// The revision that is being written, if one is.
    pub planning: Option<PlanningNote>,
    /// Every plan revision.
    pub revisions: Vec<RevisionNote>,
    /// The step whose output is the answer.
    pub final_step: Option<u32>,
    /// Every step of every revision; the items of a `for_each` follow their step.
    pub steps: Vec<StepEntry>,
    /// Usage by account, and by model.
    pub usage: Ledger,
    /// What it cost; `None` when a price was unknown.
    pub nano_usd: Option<NanoUsd>,
    /// What the plan cache had to do with it, where it was asked.
    pub cache: Option<Box<CacheNote>>,
    /// Where the time went.
    pub timings: Timings,
    /// What to submit for a rerun that keeps what is done; kept beside the
    /// document of a run that did not succeed, and no part of its JSON.
    pub rerun: Option<Arc<Submission>>,
    /// What its parent is told of its end; no part of its JSON.
    pub report: Option<Box<Report>>,
}

impl RunDocument {
    /// Why it ended in words, where that is not plain success.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.end.as_ref().map(|end| end.message.as_str()).filter(|message| !message.is_empty())
    }
}

/// A revision that is being written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanningNote {
    /// Its number.
    pub revision: u32,
    /// Which try it is, from 1.
    pub attempt: u32,
    /// Why it is wanted.
    pub cause: Cause,
    /// When the next try is made, unless this one comes to its end before; RFC 3339 in JSON.
    #[serde(rename = "retry_at", serialize_with = "rfc3339_or_null")]
    pub retry_at_ms: Option<u64>,
    /// What it waits for before a planner may take it; not there if for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Wait>,
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn rfc3339_or_null<S: Serializer>(at_ms: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    at_ms.map(rfc3339).serialize(serializer)
}

/// What one revision changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionNote {
    /// Its number, from 1.
    pub revision: u32,
    /// Why one was wanted.
    pub cause: Cause,
    /// Why it is as it is, in the planner's words.
    pub reason: String,
    /// Steps it added.
    pub added: Vec<u32>,
    /// Steps it dropped.
    pub dropped: Vec<u32>,
    /// The model that wrote it, if one did.
    pub model: Option<String>,
    /// What it cost to write; `None` when the price was unknown.
    pub nano_usd: Option<NanoUsd>,
}

/// One step or item of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct StepEntry {
    /// `3`, or `"3[0]"` for an item.
    pub id: StepKey,
    /// The revision that added it.
    pub revision: u32,
    /// `waiting`, `running`, `succeeded`, `failed`, `dropped` or `cancelled`.
    pub state: &'static str,
    /// Whether a person has to approve it and has not.
    pub needs_approval: bool,
    /// Why it is not at work, while it is not and will be.
    pub waits_for: Option<Wait>,
    /// The step as planned.
    pub spec: Arc<PlanStep>,
    /// How many attempts were made.
    pub attempts: u32,
    /// The pool that does it.
    pub pool: Cow<'static, str>,
    /// The model that did it, if one did.
    pub model: Option<String>,
    /// The run that does it, if it is a sub-task that has begun.
    pub child: Option<RunId>,
    /// Its output.
    pub output: Option<Json>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// What it used.
    pub usage: Usage,
    /// When its first attempt began, in milliseconds since the Unix epoch.
    pub started_ms: Option<u64>,
    /// When its last attempt ended.
    pub ended_ms: Option<u64>,
}

/// A step id as JSON: a number, or a text for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepKey(pub StepId);

/// Where a run's time went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Timings {
    /// From submit until a planner or the first executor began.
    pub queued_ms: u64,
    /// Planners at work.
    pub planning_ms: u64,
    /// From the first step's beginning to the end.
    pub executing_ms: u64,
    /// From submit to the end.
    pub total_ms: u64,
}

impl StepEntry {
    /// What it does; an item's step says it for all.
    #[must_use]
    pub fn description(&self) -> &str {
        if self.id.0.item.is_some() { "" } else { &self.spec.description }
    }
}

/// Nano-USD as dollars, for people and JSON.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shown, never added up")]
pub fn usd(nano: Option<NanoUsd>) -> Option<f64> {
    nano.map(|nano| nano as f64 / 1e9)
}

/// Milliseconds since the Unix epoch as RFC 3339.
#[must_use]
pub fn rfc3339(at_ms: u64) -> String {
    // 9,999-12-31: what RFC 3339 can still say.
    let at_ms = at_ms.min(253_402_300_799_000);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at_ms)).to_string()
}

impl Serialize for RunDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let task = &self.submission.task;
        let mut doc = serializer.serialize_struct("RunDocument", 30)?;
        doc.serialize_field("run_id", &self.run_id)?;
        doc.serialize_field("custom_id", &self.custom_id)?;
        doc.serialize_field("batch_id", &self.batch_id)?;
        doc.serialize_field("tenant", &self.tenant)?;
        doc.serialize_field("class", &self.class)?;
        doc.serialize_field("goal", &task.goal)?;
        doc.serialize_field("inputs", &task.inputs)?;
        doc.serialize_field("template", &task.template)?;
        doc.serialize_field("priority", &task.priority)?;
        doc.serialize_field("labels", &task.labels)?;
        doc.serialize_field("created_at", &rfc3339(self.created_ms))?;
        doc.serialize_field("ended_at", &self.ended_ms.map(rfc3339))?;
        doc.serialize_field("rerun_of", &self.rerun_of)?;
        doc.serialize_field("parent", &self.parent.as_ref().map(ParentJson))?;
        doc.serialize_field("state", &self.state)?;
        doc.serialize_field("answer", &self.answer)?;
        doc.serialize_field("partial", &self.partial)?;
        doc.serialize_field("reason", &self.reason())?;
        doc.serialize_field("end", &self.end)?;
        doc.serialize_field("paused", &self.paused)?;
        doc.serialize_field("approvals", &self.approvals)?;
        doc.serialize_field("planning", &self.planning)?;
        doc.serialize_field("revisions", &self.revisions)?;
        doc.serialize_field("final", &self.final_step)?;
        doc.serialize_field("steps", &self.steps)?;
        doc.serialize_field("usage", &LedgerJson(&self.usage))?;
        doc.serialize_field("models", &ModelsJson(&self.usage.models))?;
        doc.serialize_field("usd", &usd(self.nano_usd))?;
        doc.serialize_field("cache", &self.cache.as_deref().map(CacheJson))?;
        doc.serialize_field("timings", &self.timings)?;
        doc.end()
    }
}

struct ParentJson<'a>(&'a (RunId, StepId));

impl Serialize for ParentJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (run, step) = self.0;
        let mut parent = serializer.serialize_struct("Parent", 2)?;
        parent.serialize_field("run_id", run)?;
        parent.serialize_field("step", &StepKey(*step))?;
        parent.end()
    }
}

impl Serialize for RevisionNote {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut note = serializer.serialize_struct("RevisionNote", 7)?;
        note.serialize_field("revision", &self.revision)?;
        note.serialize_field("cause", &self.cause)?;
        note.serialize_field("reason", &self.reason)?;
        note.serialize_field("added", &self.added)?;
        note.serialize_field("dropped", &self.dropped)?;
        note.serialize_field("model", &self.model)?;
        note.serialize_field("usd", &usd(self.nano_usd))?;
        note.end()
    }
}

impl Serialize for StepKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.item {
            None => serializer.serialize_u32(self.0.step),
            Some(_) => serializer.collect_str(&self.0),
        }
    }
}

impl Serialize for StepEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What an item was planned as, its step says for all.
        let planned = self.id.0.item.is_none().then_some(&self.spec);
        let mut step = serializer.serialize_struct("StepEntry", 21)?;
        step.serialize_field("id", &self.id)?;
        step.serialize_field("revision", &self.revision)?;
        step.serialize_field("state", self.state)?;
        step.serialize_field("needs_approval", &self.needs_approval)?;
        step.serialize_field("waits_for", &self.waits_for)?;
        step.serialize_field("description", self.description())?;
        step.serialize_field("kind", &self.spec.kind)?;
        step.serialize_field("tools", &self.spec.tools)?;
        step.serialize_field("inputs", &planned.map_or(&[][..], |spec| &spec.inputs))?;
        step.serialize_field("for_each", &planned.and_then(|spec| spec.for_each.as_ref()))?;
        step.serialize_field("success_criteria", &planned.map_or(&[][..], |spec| &spec.success_criteria))?;
        step.serialize_field("depends_on", &self.spec.dependencies())?;
        step.serialize_field("attempts", &self.attempts)?;
        step.serialize_field("pool", &self.pool)?;
        step.serialize_field("model", &self.model)?;
        step.serialize_field("child", &self.child)?;
        step.serialize_field("output", &self.output)?;
        step.serialize_field("error", &self.error)?;
        step.serialize_field("usage", &UsageJson(&self.usage))?;
        step.serialize_field("started_at", &self.started_ms.map(rfc3339))?;
        step.serialize_field("ended_at", &self.ended_ms.map(rfc3339))?;
        step.end()
    }
}

struct LedgerJson<'a>(&'a Ledger);

impl Serialize for LedgerJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ledger = serializer.serialize_struct("Ledger", 4)?;
        ledger.serialize_field("planner", &UsageJson(&self.0.planner))?;
        ledger.serialize_field("executor", &UsageJson(&self.0.executor))?;
        ledger.serialize_field("judge", &UsageJson(&self.0.judge))?;
        ledger.serialize_field("triage", &UsageJson(&self.0.triage))?;
        ledger.end()
    }
}

struct CacheJson<'a>(&'a CacheNote);

impl Serialize for CacheJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut cache = serializer.serialize_struct("Cache", 6)?;
        cache.serialize_field("key", &self.0.key)?;
        cache.serialize_field("class", &self.0.class)?;
        cache.serialize_field("hit", &self.0.hit)?;
        cache.serialize_field("saved_tokens", &self.0.saved_tokens)?;
        cache.serialize_field("saved_usd", &usd(self.0.saved_nano_usd))?;
        cache.serialize_field("saved_ms", &self.0.saved_ms)?;
        cache.end()
    }
}

struct ModelsJson<'a>(&'a [Charge]);

impl Serialize for ModelsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ModelJson))
    }
}

/// What was used of one model for one role.
struct ModelJson<'a>(&'a Charge);

impl Serialize for ModelJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Charge { account, model, usage } = self.0;
        let mut used = serializer.serialize_struct("ModelUsage", 7)?;
        used.serialize_field("model", model)?;
        used.serialize_field("role", account)?;
        figures(usage, &mut used)?;
        used.end()
    }
}

struct UsageJson<'a>(&'a Usage);

impl Serialize for UsageJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut usage = serializer.serialize_struct("Usage", 5)?;
        figures(self.0, &mut usage)?;
        usage.end()
    }
}

fn figures<S: SerializeStruct>(usage: &Usage, into: &mut S) -> Result<(), S::Error> {
    into.serialize_field("calls", &usage.calls)?;
    into.serialize_field("input_tokens", &usage.input_tokens)?;
    into.serialize_field("output_tokens", &usage.output_tokens)?;
    into.serialize_field("cached_tokens", &usage.cached_tokens)?;
    into.serialize_field("usd", &usd(usage.nano_usd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_named_by_text_and_steps_by_number() {
        assert_eq!(serde_json::to_string(&StepKey(StepId::plain(3))).unwrap(), "3");
        assert_eq!(serde_json::to_string(&StepKey(StepId::item(3, 0))).unwrap(), "\"3[0]\"");
    }

    #[test]
    fn an_unknown_cost_is_null() {
        assert_eq!(usd(None), None);
        assert_eq!(usd(Some(1_500_000_000)), Some(1.5));
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(1_000), "1970-01-01T00:00:01.000Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.000Z");
    }
}
