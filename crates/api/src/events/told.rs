//! A record as an event: small facts, and no bodies.

use planfleet_core::{
    document::{StepKey, rfc3339, usd},
    failure::{Failure, trim_chars},
    id::StepId,
    record::{AttemptReport, Fact, ToolCall},
    usage::Charge,
};
use serde_json::{Value, json};

use crate::view::{AttemptMade, ModelUsage, RunEvent, ToolCallMade};

/// Characters of what an event says: a line for people, not the thing itself.
const DETAIL_CHARS_MAX: usize = 300;

/// An attempt that has ended, and of which step.
#[derive(Debug, Clone)]
pub(crate) struct AttemptOf {
    pub(crate) step: StepId,
    pub(crate) report: AttemptReport,
    pub(crate) failure: Option<Failure>,
}

impl AttemptOf {
    /// The attempt that a record tells of, if it does.
    pub(super) fn of(fact: &Fact) -> Option<Self> {
        let of = |report: &AttemptReport, failure: Option<&Failure>| Self {
            step: report.step,
            report: report.clone(),
            failure: failure.cloned(),
        };
        match fact {
            Fact::StepSucceeded(done) => Some(of(&done.attempt, None)),
            Fact::StepFailed(failed) => Some(of(&failed.attempt, Some(&failed.failure))),
            _ => None,
        }
    }

    pub(crate) fn view(&self) -> AttemptMade {
        let Self { report, failure, .. } = self;
        AttemptMade {
            attempt: report.attempt,
            state: if failure.is_some() { "failed" } else { "succeeded" }.to_owned(),
            model: report.model.clone(),
            error: failure.as_ref().and_then(|failure| json!(failure).as_object().cloned()),
            started_at: rfc3339(report.started_ms),
            ended_at: rfc3339(report.ended_ms),
            usage: report.usage.iter().map(charge).collect(),
            tool_calls: report.calls.iter().map(tool_call).collect(),
        }
    }
}

fn tool_call(call: &ToolCall) -> ToolCallMade {
    ToolCallMade {
        tool: call.tool.clone(),
        arguments: call.arguments.clone(),
        result: call.result.clone(),
        error_class: call.class.map(|class| class.as_str().to_owned()),
        started_at: rfc3339(call.started_ms),
        ended_at: rfc3339(call.ended_ms),
    }
}

fn charge(Charge { account, model, usage }: &Charge) -> ModelUsage {
    ModelUsage {
        model: model.clone(),
        role: json!(account).as_str().unwrap_or_default().to_owned(),
        calls: usage.calls,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_tokens: usage.cached_tokens,
        usd: usd(usage.nano_usd),
    }
}

/// What a record says, in short.
pub(super) fn event(seq: u64, at_ms: u64, fact: &Fact) -> RunEvent {
    let empty = bare(Some(seq), at_ms, fact.name());
    let detail = |text: &str| Some(trim_chars(text, DETAIL_CHARS_MAX)).filter(|text| !text.is_empty());
    match fact {
        Fact::TaskSubmitted(submission) => {
            RunEvent { detail: submission.task.goal.as_deref().and_then(detail), ..empty }
        }
        Fact::StepPlanned { draft, step } => RunEvent {
            step: Some(json!(step.id)),
            revision: Some(draft.revision),
            attempt: Some(draft.attempt),
            detail: detail(&step.description),
            ..empty
        },
        Fact::PlanSealed(sealed) => RunEvent {
            revision: Some(sealed.draft.revision),
            attempt: Some(sealed.draft.attempt),
            model: Some(sealed.model.clone()).filter(|model| !model.is_empty()),
            detail: detail(&sealed.reason),
            ..empty
        },
        Fact::PlanFailed { draft, failure, .. } => RunEvent {
            revision: Some(draft.revision),
            attempt: Some(draft.attempt),
            detail: detail(&failure.to_string()),
            ..empty
        },
        Fact::StepSucceeded(done) => of_attempt(&done.attempt, empty),
        Fact::StepFailed(failed) => {
            RunEvent { detail: detail(&failed.failure.to_string()), ..of_attempt(&failed.attempt, empty) }
        }
        Fact::RunCancelRequested { reason } | Fact::RunPauseRequested { reason } => {
            RunEvent { detail: detail(reason), ..empty }
        }
        Fact::RunResumeRequested => empty,
        Fact::ApprovalDecided(decided) => {
            let word = if decided.approved { "approved" } else { "rejected" };
            let gates: Vec<String> = decided.gates.iter().map(crate::approval::name).collect();
            let said = format!("{word}: {} {}", gates.join(", "), decided.reason);
            RunEvent { detail: detail(said.trim()), ..empty }
        }
        Fact::TimerFired(timer) => RunEvent { detail: detail(&format!("{timer:?}")), ..empty },
    }
}

fn of_attempt(report: &AttemptReport, event: RunEvent) -> RunEvent {
    RunEvent {
        step: Some(key(report.step)),
        attempt: Some(report.attempt),
        model: report.model.clone(),
        ..event
    }
}

/// A step as documents name it.
pub(super) fn key(step: StepId) -> Value {
    json!(StepKey(step))
}

/// An event that says no more than that it has happened.
pub(super) fn bare(seq: Option<u64>, at_ms: u64, kind: &str) -> RunEvent {
    RunEvent {
        seq,
        at: rfc3339(at_ms),
        kind: kind.to_owned(),
        step: None,
        attempt: None,
        revision: None,
        model: None,
        detail: None,
    }
}
