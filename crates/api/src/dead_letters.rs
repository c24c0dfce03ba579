//! Dead letters as people and programs see them, and what becomes of one that is replayed.

use planfleet_bus::{
    Bus, Error as BusError,
    dead_letters::{About, DeadLetter as Letter, Kept, Replay},
};
use planfleet_core::{
    document::{StepKey, rfc3339},
    record::{AttemptReport, Fact},
    task::Brief,
};
use planfleet_proto::decode::{self, Entry};
use serde_json::{Map, Value, json};

pub use crate::view::{DeadLetter, DeadLetterDetail};

/// A letter without its payload, which may be anybody's secret.
#[must_use]
pub fn summary(kept: &Kept) -> DeadLetter {
    let letter = &kept.letter;
    let About { run, step, planning, attempt } = letter.about();
    DeadLetter {
        seq: kept.seq,
        set_aside_at: rfc3339(kept.at_ms),
        stream: filled(&letter.stream),
        stream_seq: (letter.seq > 0).then_some(letter.seq),
        subject: filled(&letter.subject),
        reason: letter.reason.clone(),
        run_id: run.map(|run| run.to_string()),
        step: step.map(|step| json!(StepKey(step))),
        planning,
        attempt,
        bytes: letter.payload.len() as u64,
    }
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A letter whole, with its body, or why that is gone.
///
/// # Errors
/// When the broker cannot be reached.
pub async fn detail(bus: &Bus, kept: &Kept) -> Result<DeadLetterDetail, BusError> {
    let body = match bus.dead_body(&kept.letter).await {
        Ok(body) => Ok(body),
        // What the letter says without its body is worth reading.
        Err(error @ BusError::Blob { .. }) => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    let decoded = match &body {
        Ok(body) => decoded(&kept.letter, body, kept.at_ms),
        Err(gone) => Err(gone.clone()),
    };
    let (decoded, not_decoded) = match decoded {
        Ok(decoded) => (decoded.as_object().cloned(), None),
        Err(fault) => (None, Some(fault)),
    };
    Ok(DeadLetterDetail {
        letter: summary(kept),
        headers: kept.letter.headers.clone().into_iter().collect(),
        payload_hex: body.ok().map(hex::encode),
        decoded,
        not_decoded,
    })
}

/// Sends a dead message again to where it came from, and says what that can still bring
/// about; or why it is kept.
///
/// # Errors
/// When the broker cannot be reached.
pub async fn replay(bus: &Bus, kept: &Kept) -> Result<Result<String, String>, BusError> {
    let refused = match bus.replay(kept).await {
        Ok(Replay::Sent) => return Ok(Ok(consequence(bus, kept).await)),
        Ok(Replay::NameTaken) => {
            "the queue holds work of this name already; replay it when that is done, or drop it".to_owned()
        }
        Ok(Replay::RunEnded) => "its run has ended, and its submit would run it again: drop it".to_owned(),
        Ok(Replay::NoOrigin) => {
            "the letter itself cannot be read: where it came from is not known".to_owned()
        }
        Err(error) if error.is_permanent() => error.to_string(),
        Err(error) => return Err(error),
    };
    Ok(Err(refused))
}

/// What the message can still bring about.
async fn consequence(bus: &Bus, kept: &Kept) -> String {
    let run = kept.letter.about().run;
    let ended = match &run {
        Some(run) => bus.has_ended(run).await.unwrap_or(false),
        None => false,
    };
    let text = match (kept.letter.is_work(), run, ended) {
        (true, Some(_), true) => "its run has ended: the work is done again, and its result is ignored",
        // Whoever set it aside has reported the attempt as lost.
        (true, Some(_), false) => {
            "its run counts this attempt as lost: the work is done again, and its result is ignored"
        }
        (true, None, _) => "a worker takes it; whose work it is cannot be told",
        (false, _, true) => "its run has ended: the record is ignored",
        (false, _, false) => "the shard's owner reads it next",
    };
    format!("sent to {}; {text}", kept.letter.subject)
}

/// What this version of planfleet reads in a body, which another one may have found
/// unreadable: or why it reads nothing.
fn decoded(letter: &Letter, body: &[u8], at_ms: u64) -> Result<Value, String> {
    if !letter.is_work() {
        return record(body, at_ms).map_err(|error| error.to_string());
    }
    match decode::step_order(body) {
        Ok(order) => Ok(json!({
            "what": "StepOrder",
            "run_id": order.run,
            "step": StepKey(order.step),
            "attempt": order.attempt,
            "revision": order.revision,
            "spec": order.spec,
            "tenant": order.tenant,
        })),
        Err(error) => plan_order(body).ok_or_else(|| error.to_string()),
    }
}

fn plan_order(body: &[u8]) -> Option<Value> {
    let order = decode::plan_order(body).ok()?;
    Some(json!({
        "what": "PlanOrder",
        "run_id": order.run,
        "planning": order.draft.revision,
        "attempt": order.draft.attempt,
        "task": task(&order.submission.task),
    }))
}

fn record(body: &[u8], at_ms: u64) -> Result<Value, decode::Error> {
    Ok(match decode::entry(body, at_ms)? {
        Entry::EpochOpened { epoch, owner, .. } => {
            json!({"what": "EpochOpened", "epoch": epoch, "owner": owner})
        }
        Entry::Run(record) => {
            let mut shown = fact(&record.fact);
            shown.insert("what".to_owned(), json!(record.fact.name()));
            shown.insert("run_id".to_owned(), json!(record.run));
            Value::Object(shown)
        }
    })
}

fn fact(fact: &Fact) -> Map<String, Value> {
    let shown = match fact {
        Fact::TaskSubmitted(submission) => json!({"task": task(&submission.task)}),
        Fact::StepPlanned { draft, step } => json!({"revision": draft.revision, "step": step}),
        Fact::PlanSealed(sealed) => json!({
            "revision": sealed.draft.revision,
            "steps": sealed.steps,
            "reason": sealed.reason,
            "model": sealed.model,
        }),
        Fact::PlanFailed { draft, failure, .. } => {
            json!({"revision": draft.revision, "attempt": draft.attempt, "failure": failure})
        }
        Fact::StepSucceeded(done) => with_attempt(&done.attempt, "output", json!(done.output)),
        Fact::StepFailed(failed) => with_attempt(&failed.attempt, "failure", json!(failed.failure)),
        Fact::RunCancelRequested { reason } | Fact::RunPauseRequested { reason } => json!({"reason": reason}),
        Fact::RunResumeRequested => json!({}),
        Fact::ApprovalDecided(decided) => {
            json!({"gates": decided.gates, "approved": decided.approved, "reason": decided.reason})
        }
        Fact::TimerFired(timer) => json!({"timer": format!("{timer:?}")}),
    };
    match shown {
        Value::Object(shown) => shown,
        _ => Map::new(),
    }
}

fn task(task: &Brief) -> Value {
    json!({
        "goal": task.goal,
        "inputs": task.inputs,
        "custom_id": task.custom_id,
        "batch_id": task.batch,
        "tenant": task.tenant(),
        "labels": task.labels,
    })
}

fn with_attempt(report: &AttemptReport, name: &str, value: Value) -> Value {
    json!({"step": StepKey(report.step), "attempt": report.attempt, "model": report.model, name: value})
}
