//! A run for people.

use std::time::{Duration, SystemTime};

use planfleet_core::document::RunState;
use serde::Deserialize as _;
use serde_json::Value;

use super::reasons;
use crate::{
    cli::{Cli, Format},
    exit::Failure,
    output::{self, cell, line},
};

/// More steps than this are shown by counts: nobody reads a thousand rows.
const STEPS_SHOWN_MAX: usize = 40;

/// Prints a run's document in the chosen format.
pub(super) fn print(cli: &Cli, document: &Value) -> Result<(), Failure> {
    if cli.output != Format::Table {
        return output::value(cli.output, document);
    }
    output::data(&text(document));
    Ok(())
}

fn text(document: &Value) -> String {
    let mut parts = vec![headline(document), steps(document)];
    let revisions = document["revisions"].as_array().map_or(0, Vec::len);
    if revisions > 1 {
        parts.push(self::revisions(document));
    }
    let goes_on = !RunState::deserialize(&document["state"]).is_ok_and(RunState::is_end);
    // Of a run that goes on, what is not there yet may still come.
    parts.extend(usage(document).or_else(|| (!goes_on).then(|| "No model was called.".to_owned())));
    parts.push(timings(document));
    if !(goes_on && document["answer"].is_null()) {
        parts.push(answer(document));
    }
    parts.join("\n\n")
}

fn answer(document: &Value) -> String {
    let answer = match &document["answer"] {
        Value::Null => "no answer".to_owned(),
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    if document["partial"] == true { format!("Partial answer:\n{answer}") } else { answer }
}

fn headline(document: &Value) -> String {
    let mut text = format!("Run {} {}", cell(&document["run_id"]), cell(&document["state"]));
    if let Some(code) = reasons::end_code(document).filter(|code| document["state"] != *code) {
        text.push_str(&format!(" ({code})"));
    }
    if let Some(before) = document["rerun_of"].as_str() {
        text.push_str(&format!("\nGoes on from run {before}"));
    }
    for hold in reasons::holds(document, None) {
        text.push_str(&format!("\n{hold}"));
    }
    if let Some(reason) = document["reason"].as_str() {
        text.push_str(&format!("\nReason: {reason}"));
    }
    text
}

fn steps(document: &Value) -> String {
    let all: Vec<&Value> = document["steps"].as_array().into_iter().flatten().collect();
    let plain: Vec<&&Value> = all.iter().filter(|step| step["id"].is_u64()).collect();
    let mut rows: Vec<Vec<String>> = plain.iter().take(STEPS_SHOWN_MAX).map(|step| row(step, &all)).collect();
    if plain.len() > STEPS_SHOWN_MAX {
        rows.push(vec!["…".to_owned(), format!("{} more", plain.len() - STEPS_SHOWN_MAX)]);
    }
    output::table(&["step", "state", "what", "by", "tries", "tokens", "time", "output"], rows)
}

fn row(step: &Value, all: &[&Value]) -> Vec<String> {
    let items = items(step, all);
    let what = match items {
        0 => line(step["description"].as_str().unwrap_or_default(), 48),
        count => format!("{} (x{count})", line(step["description"].as_str().unwrap_or_default(), 40)),
    };
    let output = if step["error"].is_null() { &step["output"] } else { &step["error"]["message"] };
    let output = reasons::wait_from(step, SystemTime::now()).unwrap_or_else(|| cell(output));
    vec![
        cell(&step["id"]),
        cell(&step["state"]),
        what,
        by(step),
        cell(&step["attempts"]),
        tokens(&step["usage"]),
        duration(step),
        line(&output, 48),
    ]
}

fn items(step: &Value, all: &[&Value]) -> usize {
    let prefix = format!("{}[", step["id"]);
    all.iter().filter(|other| other["id"].as_str().is_some_and(|id| id.starts_with(&prefix))).count()
}

fn by(step: &Value) -> String {
    match (&step["model"], &step["tools"][0]) {
        (Value::String(model), _) => model.clone(),
        (_, Value::String(tool)) => tool.clone(),
        _ => "-".to_owned(),
    }
}

fn tokens(usage: &Value) -> String {
    let count = |name: &str| usage[name].as_u64().unwrap_or(0);
    match count("input_tokens") + count("output_tokens") {
        0 => "-".to_owned(),
        sum => sum.to_string(),
    }
}

fn duration(step: &Value) -> String {
    took(step).map_or_else(|| "-".to_owned(), |took| seconds(took.as_millis()))
}

/// From a step's first beginning to its last end, where it has both.
pub(super) fn took(step: &Value) -> Option<Duration> {
    let at = |name: &str| step[name].as_str().and_then(|text| humantime::parse_rfc3339(text).ok());
    at("ended_at")?.duration_since(at("started_at")?).ok()
}

#[expect(clippy::cast_precision_loss, reason = "shown with one or two decimals")]
pub(super) fn seconds(ms: u128) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { format!("{:.1} s", ms as f64 / 1_000.0) }
}

fn revisions(document: &Value) -> String {
    let row = |note: &Value| {
        vec![
            cell(&note["revision"]),
            line(&reasons::cause(note), 40),
            cell(&note["added"]),
            cell(&note["dropped"]),
            line(&cell(&note["reason"]), 80),
        ]
    };
    let rows = document["revisions"].as_array().into_iter().flatten().map(row).collect();
    output::table(&["plan", "because", "added", "dropped", "why"], rows)
}

/// What models have used, if any has been called.
fn usage(document: &Value) -> Option<String> {
    let row = |role: &str| {
        let usage = &document["usage"][role];
        let used = usage["calls"].as_u64().unwrap_or(0) > 0;
        used.then(|| {
            let count = |name: &str| cell(&usage[name]);
            vec![
                role.to_owned(),
                count("calls"),
                count("input_tokens"),
                count("output_tokens"),
                usd(&usage["usd"]),
            ]
        })
    };
    let mut rows: Vec<Vec<String>> =
        ["planner", "executor", "judge", "triage"].into_iter().filter_map(row).collect();
    if rows.is_empty() {
        return None;
    }
    rows.push(vec!["all".into(), String::new(), String::new(), String::new(), usd(&document["usd"])]);
    Some(output::table(&["role", "calls", "tokens in", "tokens out", "cost"], rows))
}

/// An unknown price is said to be unknown.
fn usd(value: &Value) -> String {
    value.as_f64().map_or_else(|| "unknown".to_owned(), |usd| format!("${usd:.6}"))
}

fn timings(document: &Value) -> String {
    let time = |name: &str| seconds(document["timings"][name].as_u64().unwrap_or(0).into());
    format!(
        "queued {}, planning {}, executing {}, in all {}",
        time("queued_ms"),
        time("planning_ms"),
        time("executing_ms"),
        time("total_ms")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_still_come_is_not_said_to_be_missing() {
        let document =
            |state: &str| json!({"run_id": "00-a", "state": state, "partial": true, "answer": null});
        let ended = text(&document("failed"));
        assert!(
            ended.contains("No model was called.") && ended.ends_with("Partial answer:\nno answer"),
            "{ended}"
        );
        let active = text(&document("executing"));
        assert!(!active.contains("No model") && !active.contains("no answer"), "{active}");
    }

    #[test]
    fn the_wait_for_a_next_attempt_is_said_whole() {
        let in_a_minute = humantime::format_rfc3339_millis(SystemTime::now() + Duration::from_secs(60));
        let wait = json!({"code": "retry", "at": in_a_minute.to_string()});
        let step = json!({"id": 1, "state": "waiting", "waits_for": wait, "error": {"message": "busy"}});
        let shown = row(&step, &[]).pop().unwrap();
        assert!(shown.starts_with("next attempt in ") && shown.ends_with(" s"), "{shown}");
    }
}
