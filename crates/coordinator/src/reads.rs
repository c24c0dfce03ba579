//! Answers for active runs, from memory.

use bytes::Bytes;
use planfleet_bus::{
    Bus,
    broker::{Headers, LiveMessage},
    client::{Question, TRIMMED},
};
use planfleet_core::{document::RunDocument, id::RunId, shard::Shard};
use serde_json::Value;

/// An answer is one message, which the broker limits to a megabyte: a document
/// that is larger goes without outputs, and a much larger one without steps.
const ANSWER_BYTES_MAX: usize = 768 * 1024;

/// Runs of one list: an owner has other things to do.
const LIST_MAX: usize = 200;

/// The answer to one question, if it is one and somebody waits for it, and where it goes.
pub(crate) fn answer(
    shard: &Shard,
    document: impl Fn(&RunId) -> Option<RunDocument>,
    asked: LiveMessage,
) -> Option<(String, Value)> {
    let reply = asked.reply?;
    let Ok(question) = serde_json::from_slice::<Question>(&asked.payload) else {
        tracing::debug!(subject = asked.subject, "a question that is none");
        return None;
    };
    let answer = match question {
        Question::Run { run } => document(&run).map_or(Value::Null, fitted),
        Question::List { limit } => {
            shard.active().take(limit.min(LIST_MAX)).filter_map(document).map(outline).collect()
        }
    };
    Some((reply, answer))
}

/// Sends an answer. Whoever asked asks again if it is lost.
pub(crate) async fn send(bus: &Bus, reply: String, answer: &Value) {
    if let Err(error) =
        bus.broker().publish_live(reply, Headers::new(), Bytes::from(answer.to_string())).await
    {
        tracing::debug!(%error, "an answer was not sent");
    }
}

/// As much of a document as one message carries. What is left out is said: without
/// its answer, a run that has ended would look as if it had none.
fn fitted(mut document: RunDocument) -> Value {
    let whole = to_json(&document);
    if whole.to_string().len() <= ANSWER_BYTES_MAX {
        return whole;
    }
    document.steps.iter_mut().for_each(|step| step.output = None);
    document.answer = None;
    let without_outputs = to_json(&document);
    let fits = without_outputs.to_string().len() <= ANSWER_BYTES_MAX;
    let mut trimmed = if fits { without_outputs } else { outline(document) };
    trimmed[TRIMMED] = Value::Bool(true);
    trimmed
}

/// A document without its steps: lists are long.
fn outline(mut document: RunDocument) -> Value {
    document.steps.clear();
    document.answer = None;
    to_json(&document)
}

fn to_json(document: &RunDocument) -> Value {
    serde_json::to_value(document).unwrap_or_default()
}
