//! The parts of an answer that whole answers and stream events share.

use serde::Deserialize;
use serde_json::Value;

use crate::chat::{StopReason, ToolCall, Usage};

/// Blocks of a model's thoughts: opaque, and to be sent back as they came.
const THINKING: [&str; 2] = ["thinking", "redacted_thinking"];

/// Figures of a call. Events repeat those that have changed.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl WireUsage {
    /// These figures where there are some, else the earlier ones: all are running totals.
    pub(super) fn or(self, earlier: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.or(earlier.input_tokens),
            cache_read_input_tokens: self.cache_read_input_tokens.or(earlier.cache_read_input_tokens),
            cache_creation_input_tokens: self
                .cache_creation_input_tokens
                .or(earlier.cache_creation_input_tokens),
            output_tokens: self.output_tokens.or(earlier.output_tokens),
            output_tokens_details: self.output_tokens_details.or(earlier.output_tokens_details),
        }
    }
}

impl From<WireUsage> for Usage {
    /// The wire counts cached tokens beside the input, we as parts of it.
    fn from(wire: WireUsage) -> Self {
        let cached_tokens = wire.cache_read_input_tokens.unwrap_or(0);
        let cache_write_tokens = wire.cache_creation_input_tokens.unwrap_or(0);
        let fresh = wire.input_tokens.unwrap_or(0);
        Self {
            input_tokens: fresh.saturating_add(cached_tokens).saturating_add(cache_write_tokens),
            output_tokens: wire.output_tokens.unwrap_or(0),
            cached_tokens,
            cache_write_tokens,
            reasoning_tokens: wire
                .output_tokens_details
                .and_then(|details| details.thinking_tokens)
                .unwrap_or(0),
        }
    }
}

/// What the content's blocks come to.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) text: String,
    pub(super) tool_calls: Vec<ToolCall>,
    pub(super) thinking: Vec<Value>,
}

impl Content {
    /// Adds a whole block. `streamed` is the text in which a call's arguments came; without
    /// that they are in the block.
    pub(super) fn add(&mut self, block: Value, streamed: String) {
        match block["type"].as_str() {
            Some("text") => self.text.push_str(block["text"].as_str().unwrap_or_default()),
            Some("tool_use") => self.tool_calls.push(tool_call(&block, streamed)),
            Some(kind) if THINKING.contains(&kind) => self.thinking.push(block),
            _ => {}
        }
    }
}

fn tool_call(block: &Value, streamed: String) -> ToolCall {
    let text = |field: &str| block[field].as_str().unwrap_or_default().to_owned();
    let arguments = match &block["input"] {
        _ if !streamed.is_empty() => streamed,
        Value::Null => String::new(),
        input => input.to_string(),
    };
    ToolCall { id: text("id"), name: text("name"), arguments }
}

/// What the answer's end means.
pub(super) fn stop_reason(word: Option<&str>) -> StopReason {
    match word {
        Some("end_turn" | "stop_sequence") | None => StopReason::Stop,
        Some("max_tokens") => StopReason::Length,
        Some("tool_use") => StopReason::ToolCalls,
        Some("refusal") => StopReason::Refusal,
        Some("pause_turn") => StopReason::Paused,
        Some("model_context_window_exceeded") => StopReason::ContextWindow,
        Some(other) => StopReason::Other(other.to_owned()),
    }
}

/// Why the model would not answer: the explanation where one is given, else what it has said.
pub(super) fn refusal(reason: &StopReason, details: &Value, text: &str) -> Option<String> {
    let said = || (!text.is_empty()).then(|| text.to_owned());
    let explained = details["explanation"].as_str().map(str::to_owned);
    (*reason == StopReason::Refusal).then(|| explained.or_else(said)).flatten()
}
