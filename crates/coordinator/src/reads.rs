//! Answers for active runs, from memory.

use bytes::Bytes;
use planfleet_bus::{
    Bus,
    broker::{Headers, LiveMessage},
    client::Question,
};
use planfleet_core::shard::Shard;
use serde_json::Value;

/// Answers one question, if it is one and somebody waits for the answer.
pub(crate) async fn answer(bus: &Bus, shard: &Shard, now_ms: u64, asked: LiveMessage) {
    let Some(reply) = asked.reply else { return };
    let Ok(question) = serde_json::from_slice::<Question>(&asked.payload) else {
        tracing::debug!(subject = asked.subject, "a question that is none");
        return;
    };
    let answer = match question {
        Question::Run { run } => {
            shard.document(&run, now_ms).map_or(Value::Null, |document| to_json(&document))
        }
        Question::List { limit } => shard
            .active()
            .take(limit)
            .filter_map(|run| shard.document(run, now_ms))
            .map(|d| outline(&d))
            .collect(),
    };
    if let Err(error) =
        bus.broker().publish_live(reply, Headers::new(), Bytes::from(answer.to_string())).await
    {
        tracing::debug!(%error, "an answer was not sent");
    }
}

fn to_json(document: &planfleet_core::document::RunDocument) -> Value {
    serde_json::to_value(document).unwrap_or_default()
}

/// A document without its steps: lists are long.
fn outline(document: &planfleet_core::document::RunDocument) -> Value {
    let mut value = to_json(document);
    if let Some(steps) = value.get_mut("steps") {
        *steps = Value::Array(Vec::new());
    }
    value
}
