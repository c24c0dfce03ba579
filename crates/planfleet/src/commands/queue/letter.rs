//! One dead letter as data and for people.

use std::{fmt::Write as _, time::Duration};

use planfleet_bus::dead_letters::{About, DeadLetter, Kept};
use planfleet_core::{
    document::StepKey,
    record::{AttemptReport, Fact},
    task::Brief,
};
use planfleet_proto::decode::{self, Entry};
use serde_json::{Map, Value, json};

use crate::{
    cli::{Cli, Format},
    exit::Failure,
    output::{self, cell},
};

/// Nobody reads more of it on a terminal; `-o json` has all.
const DUMPED_BYTES_MAX: usize = 2048;

const DUMPED_BYTES_A_LINE: usize = 16;

pub(super) const HEAD: [&str; 8] = ["seq", "set aside", "from", "subject", "run", "step", "why", "bytes"];

/// A letter without its payload, which may be anybody's secret.
pub(super) fn summary(kept: &Kept) -> Value {
    let letter = &kept.letter;
    let About { run, step, planning, attempt } = letter.about();
    json!({
        "seq": kept.seq,
        "set_aside_at": time(kept.at_ms),
        "stream": filled(&letter.stream),
        "stream_seq": (letter.seq > 0).then_some(letter.seq),
        "subject": filled(&letter.subject),
        "reason": letter.reason,
        "run_id": run,
        "step": step.map(StepKey),
        "planning": planning,
        "attempt": attempt,
        "bytes": letter.payload.len(),
    })
}

fn time(at_ms: u64) -> String {
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_millis(at_ms)).to_string()
}

fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

pub(super) fn row(letter: &Value) -> Vec<String> {
    let shown = |name: &str| cell(&letter[name]);
    vec![
        shown("seq"),
        shown("set_aside_at"),
        from(letter),
        shown("subject"),
        shown("run_id"),
        step(letter),
        shown("reason"),
        shown("bytes"),
    ]
}

fn from(letter: &Value) -> String {
    match letter["stream_seq"].as_u64() {
        Some(seq) => format!("{} {seq}", cell(&letter["stream"])),
        None => cell(&letter["stream"]),
    }
}

fn step(letter: &Value) -> String {
    match letter["planning"].as_u64() {
        Some(revision) => format!("plan {revision}"),
        None => cell(&letter["step"]),
    }
}

/// Prints a letter whole: its body, or why that is gone.
pub(super) fn print(cli: &Cli, kept: &Kept, body: Result<impl AsRef<[u8]>, String>) -> Result<(), Failure> {
    let mut shown = summary(kept);
    let body = body.as_ref().map(AsRef::as_ref);
    let decoded = body.map_err(String::clone).and_then(|body| decoded(&kept.letter, body, kept.at_ms));
    if cli.output == Format::Table {
        output::data(&text(&shown, body.unwrap_or_default(), &decoded));
        return Ok(());
    }
    let (decoded, fault) = match decoded {
        Ok(decoded) => (Some(decoded), None),
        Err(fault) => (None, Some(fault)),
    };
    shown["headers"] = json!(kept.letter.headers);
    shown["payload_hex"] = json!(body.ok().map(hex));
    shown["decoded"] = json!(decoded);
    shown["not_decoded"] = json!(fault);
    output::value(cli.output, &shown)
}

fn text(letter: &Value, body: &[u8], decoded: &Result<Value, String>) -> String {
    let mut text = String::new();
    let cells = HEAD.into_iter().zip(row(letter)).filter(|(name, _)| *name != "why");
    for (name, cell) in cells {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<10} {cell}");
    }
    let _ = writeln!(text, "{:<10} {}\n", "why", letter["reason"].as_str().unwrap_or_default());
    text.push_str(&dump(body));
    match decoded {
        Ok(value) => text.push_str(&serde_json::to_string_pretty(value).unwrap_or_default()),
        Err(fault) => {
            let _ = write!(text, "It does not decode: {fault}");
        }
    }
    text
}

fn dump(body: &[u8]) -> String {
    let mut text = String::new();
    let shown = &body[..body.len().min(DUMPED_BYTES_MAX)];
    for (line, bytes) in shown.chunks(DUMPED_BYTES_A_LINE).enumerate() {
        let at = line * DUMPED_BYTES_A_LINE;
        let readable = bytes.iter().map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '.',
        });
        let pairs = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        let width = DUMPED_BYTES_A_LINE * 3;
        let _ = writeln!(text, "{at:08x}  {pairs:<width$} {}", readable.collect::<String>());
    }
    if body.len() > shown.len() {
        let _ = writeln!(text, "… {} bytes more; -o json has them", body.len() - shown.len());
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What this version of planfleet reads in a body, which another one may have found
/// unreadable: or why it reads nothing.
fn decoded(letter: &DeadLetter, body: &[u8], at_ms: u64) -> Result<Value, String> {
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
