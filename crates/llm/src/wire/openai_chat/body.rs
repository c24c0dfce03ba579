//! The parts of an answer that whole answers and stream chunks share, as servers send them.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::chat::{StopReason, Usage};

/// An answer or one chunk of it. Everything is optional: see each reader for what it insists on.
#[derive(Debug, Deserialize)]
pub(super) struct Body {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) choices: Vec<Choice>,
    pub(super) usage: Option<WireUsage>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    message: Option<Part>,
    delta: Option<Part>,
    pub(super) finish_reason: Option<String>,
}

impl Choice {
    /// What the choice holds: `delta` in a chunk, `message` in a whole answer.
    pub(super) fn part(self) -> Part {
        self.delta.or(self.message).unwrap_or_default()
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Part {
    #[serde(default, deserialize_with = "text")]
    pub(super) content: String,
    pub(super) refusal: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) tool_calls: Vec<Call>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Call {
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) function: Function,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "arguments")]
    pub(super) arguments: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireUsage {
    #[serde(default, deserialize_with = "null_as_default")]
    prompt_tokens: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    completion_tokens: u64,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let input = wire.prompt_tokens_details.unwrap_or_default();
        let output = wire.completion_tokens_details.unwrap_or_default();
        Self {
            input_tokens: wire.prompt_tokens,
            output_tokens: wire.completion_tokens,
            cached_tokens: input.cached_tokens.unwrap_or(0),
            cache_write_tokens: input.cache_write_tokens.unwrap_or(0),
            reasoning_tokens: output.reasoning_tokens.unwrap_or(0),
        }
    }
}

/// What the answer's end means. What it holds is asked before the word: several servers say
/// "stop" after tool calls or beside a refusal.
pub(super) fn stop_reason(word: Option<&str>, has_calls: bool, refused: bool) -> StopReason {
    match word {
        Some("length") => StopReason::Length,
        Some("content_filter") => StopReason::ContentFilter,
        _ if refused => StopReason::Refusal,
        _ if has_calls => StopReason::ToolCalls,
        Some("stop") | None => StopReason::Stop,
        Some("tool_calls" | "function_call") => StopReason::ToolCalls,
        Some(other) => StopReason::Other(other.to_owned()),
    }
}

/// An id for a call that the server sent without one, so that its result can be answered.
pub(super) fn call_id(id: Option<String>, position: usize) -> String {
    id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{position}"))
}

/// Servers send `null` where the specification says that the field is absent.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Content is text, `null`, or a list of parts of which some hold text.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    })
}

/// Arguments are JSON in a string; some servers send the object itself.
fn arguments<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    })
}
