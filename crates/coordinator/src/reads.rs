//! Answers for active runs, from memory.

use bytes::Bytes;
use planfleet_bus::{
    Bus,
    broker::{Headers, LiveMessage},
    client::{Question, TRIMMED},
};
use planfleet_core::{document::RunDocument, failure::trim_chars, id::RunId, shard::Shard};
use planfleet_proto::subjects::WorkKind;
use serde_json::{Value, json};

use crate::flow::Gate;

/// An answer is one message, which the broker limits to a megabyte: a document that is larger goes
/// without outputs, a larger one without the items of its steps too, a much larger one without steps.
const ANSWER_BYTES_MAX: usize = 768 * 1024;

/// Runs of one list: an owner has other things to do.
const LIST_MAX: usize = 200;

/// Summaries of one page. Each costs a look at every step of its run.
const SUMMARIES_MAX: usize = 500;

/// Runs of a batch in one answer, which are ids alone: well below the size of a message.
const BATCH_RUNS_MAX: usize = 5_000;

/// Characters of a reason in a list; the run itself has all of it.
const ROW_CHARS_MAX: usize = 200;

/// The answer to one question, if it is one and somebody waits for it, and where it goes.
pub(crate) fn answer(
    shard: &Shard,
    gate: &Gate,
    document: impl Fn(&RunId) -> Option<RunDocument>,
    now_ms: u64,
    asked: LiveMessage,
) -> Option<(String, String)> {
    let reply = asked.reply?;
    let Ok(question) = serde_json::from_slice::<Question>(&asked.payload) else {
        tracing::debug!(subject = asked.subject, "a question that is none");
        return None;
    };
    let answer = match question {
        Question::Run { run } => {
            let found = document(&run).map(|document| fitted(with_waits(document, gate)));
            return Some((reply, found.unwrap_or_else(|| Value::Null.to_string())));
        }
        Question::List { limit } => {
            list(shard.active().take(limit.min(LIST_MAX)).filter_map(document).map(row))
        }
        Question::Active { after, limit } => {
            let rows = shard.summaries(after.as_ref(), now_ms).take(limit.min(SUMMARIES_MAX));
            page(rows.map(|row| json!(row)), shard.len())
        }
        Question::Batch { batch, limit } => {
            let runs: Vec<&RunId> = shard.active_in(&batch).take(limit.min(BATCH_RUNS_MAX)).collect();
            json!({"active": shard.active_in(&batch).count(), "runs": runs})
        }
        Question::Queues => gate.standing(),
    };
    Some((reply, answer.to_string()))
}

/// Sends an answer. Whoever asked asks again if it is lost.
pub(crate) async fn send(bus: &Bus, reply: String, answer: String) {
    if let Err(error) = bus.broker().publish_live(reply, Headers::new(), Bytes::from(answer)).await {
        tracing::debug!(%error, "an answer was not sent");
    }
}

/// A document with what work waits for that is ready and not let go. For the fold it is at
/// work: it has ordered it.
fn with_waits(mut document: RunDocument, gate: &Gate) -> RunDocument {
    let mut waits = gate.waits(&document.run_id);
    if waits.is_empty() {
        return document;
    }
    if let Some(planning) = &mut document.planning {
        planning.waits_for = waits.remove(&(WorkKind::Planning(planning.revision), planning.attempt));
    }
    for step in &mut document.steps {
        if let Some(wait) = waits.remove(&(WorkKind::Step(step.id.0), step.attempts)) {
            (step.state, step.waits_for) = ("waiting", Some(wait));
        }
    }
    document
}

/// As much of a document as one message carries, as its text: a run of thousands of steps is asked
/// for again and again, and its owner has other things to do than to build it as values first. What
/// is left out is said: without its answer, a run that has ended would look as if it had none.
fn fitted(mut document: RunDocument) -> String {
    let whole = to_text(&document);
    if whole.len() <= ANSWER_BYTES_MAX {
        return whole;
    }
    document.steps.iter_mut().for_each(|step| step.output = None);
    document.answer = None;
    let without_outputs = trimmed(to_text(&document));
    if without_outputs.len() <= ANSWER_BYTES_MAX {
        return without_outputs;
    }
    document.steps.retain(|step| step.id.0.item.is_none());
    let without_items = trimmed(to_text(&document));
    if without_items.len() <= ANSWER_BYTES_MAX {
        return without_items;
    }
    trimmed(outline(document).to_string())
}

/// An object as text, marked as one that is not whole.
fn trimmed(mut object: String) -> String {
    if object.pop() == Some('}') {
        object.push_str(&format!(",\"{TRIMMED}\":true}}"));
    }
    object
}

fn to_text(document: &RunDocument) -> String {
    serde_json::to_string(document).unwrap_or_else(|_| Value::Null.to_string())
}

/// As many rows as one message carries, and how many are left out where not all are.
fn list(rows: impl Iterator<Item = Value>) -> Value {
    let (mut runs, mut left_out, mut room) = (Vec::new(), 0_u64, ANSWER_BYTES_MAX);
    for row in rows {
        // The row and the comma after it.
        match room.checked_sub(row.to_string().len() + 1) {
            Some(left) => {
                room = left;
                runs.push(row);
            }
            None => left_out += 1,
        }
    }
    if left_out == 0 { Value::Array(runs) } else { json!({"runs": runs, "left_out": left_out}) }
}

/// As many summaries as one message carries: whoever wants more asks for those behind.
fn page(rows: impl Iterator<Item = Value>, active: usize) -> Value {
    let mut room = ANSWER_BYTES_MAX;
    let fitting = rows.map_while(|row| {
        room = room.checked_sub(row.to_string().len() + 1)?;
        Some(row)
    });
    json!({"runs": fitting.collect::<Vec<_>>(), "active": active})
}

/// A run in a list: without its steps, and with the beginnings of what people wrote.
fn row(document: RunDocument) -> Value {
    let mut row = outline(document);
    shorten(&mut row["paused"]);
    shorten(&mut row["goal"]);
    for revision in row["revisions"].as_array_mut().into_iter().flatten() {
        shorten(&mut revision["reason"]);
        if let Some(reason) = revision["cause"].get_mut("reason") {
            shorten(reason);
        }
    }
    row
}

fn shorten(text: &mut Value) {
    if let Value::String(text) = text {
        *text = trim_chars(text, ROW_CHARS_MAX);
    }
}

/// A document without its steps and inputs.
fn outline(mut document: RunDocument) -> Value {
    document.steps.clear();
    document.answer = None;
    let mut outline = to_json(&document);
    outline["inputs"] = json!({});
    outline
}

fn to_json(document: &RunDocument) -> Value {
    serde_json::to_value(document).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_as_many_rows_as_fit_and_says_how_many_do_not() {
        let row = |bytes: usize| json!({"run_id": "x".repeat(bytes)});
        let short = list([row(1), row(2)].into_iter());
        assert_eq!(short, json!([row(1), row(2)]));
        let large = ANSWER_BYTES_MAX / 2;
        let part = list([row(large), row(large), row(3), row(large)].into_iter());
        assert_eq!(part, json!({"runs": [row(large), row(3)], "left_out": 2}));
        let largest = list([row(ANSWER_BYTES_MAX)].into_iter());
        assert_eq!(largest, json!({"runs": [], "left_out": 1}));
    }
}
