//! The vocabulary of a chat call, independent of any provider's wire format.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dialect::Structured;
use crate::error::Error;
use crate::rates::RateLimits;

/// Sees the text of a streamed answer, piece by piece.
pub type TextSink<'a> = dyn FnMut(&str) + Send + 'a;

/// A model that answers chat requests. One call is one request to the provider: implementations
/// do not retry (see [`crate::Retrying`]).
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Asks for the whole answer at once.
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, Error>;

    /// Asks for a streamed answer. `sink` sees each piece of text as it arrives (never tool calls
    /// or refusals); the result is the assembled whole.
    async fn chat_stream(
        &self,
        request: &ChatRequest,
        sink: &mut TextSink<'_>,
    ) -> Result<ChatResponse, Error>;
}

/// What to ask of a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatRequest {
    /// The provider's name of the model; empty means the endpoint's own.
    pub model: String,
    pub messages: Vec<Message>,
    pub tools: Vec<ToolDefinition>,
    pub tool_choice: ToolChoice,
    pub response_format: Option<JsonSchemaFormat>,
    /// How the format is asked for; the dialect's own way when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured: Option<Structured>,
    pub max_output_tokens: Option<u32>,
    pub temperature: Option<f32>,
    pub seed: Option<u64>,
    pub stop: Vec<String>,
    /// What of the request other calls begin with too, for providers' prompt caches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_prefix: Option<StablePrefix>,
    /// Whose rates the call counts against; empty for nobody's. Not sent, and no part of what is
    /// asked.
    #[serde(skip)]
    pub tenant: String,
}

impl ChatRequest {
    /// Whether the stable prefix ends with the message at this position.
    pub(crate) fn ends_stable_prefix(&self, position: usize) -> bool {
        self.stable_prefix.as_ref().is_some_and(|prefix| prefix.messages == position + 1)
    }
}

/// The beginning of a request that is the same in many calls: the tools, and this many messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StablePrefix {
    /// How many messages it has; at least 1.
    pub messages: usize,
    /// The same for all calls that begin so, at most 64 characters.
    pub key: String,
}

/// One turn of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase", deny_unknown_fields)]
pub enum Message {
    System {
        content: String,
    },
    User {
        content: String,
    },
    Assistant {
        #[serde(default)]
        content: String,
        #[serde(default)]
        tool_calls: Vec<ToolCall>,
        /// What the provider wants back as it came; see [`ChatResponse::thinking`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        thinking: Vec<Value>,
    },
    /// A tool's answer to the call that the assistant named `tool_call_id`.
    Tool {
        tool_call_id: String,
        content: String,
    },
}

impl Message {
    pub fn system(content: impl Into<String>) -> Self {
        Self::System { content: content.into() }
    }

    pub fn user(content: impl Into<String>) -> Self {
        Self::User { content: content.into() }
    }

    pub fn assistant(content: impl Into<String>, tool_calls: Vec<ToolCall>) -> Self {
        Self::Assistant { content: content.into(), tool_calls, thinking: Vec::new() }
    }

    /// The turn that an answer is, for the request that goes on from it.
    #[must_use]
    pub fn answered(response: &ChatResponse) -> Self {
        Self::Assistant {
            content: response.text.clone(),
            tool_calls: response.tool_calls.clone(),
            thinking: response.thinking.clone(),
        }
    }

    pub fn tool(tool_call_id: impl Into<String>, content: impl Into<String>) -> Self {
        Self::Tool { tool_call_id: tool_call_id.into(), content: content.into() }
    }
}

/// A tool that the model may call; `parameters` is a JSON Schema of its arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolDefinition {
    pub name: String,
    pub description: String,
    pub parameters: Value,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No tool may be called.
    None,
    /// Some tool must be called.
    Required,
    /// This tool must be called.
    Named(String),
}

/// Asks for an answer that is JSON of this schema. `strict` asks the server to enforce it; a
/// dialect whose server cannot do so drops the word, so validate the answer in any case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonSchemaFormat {
    pub name: String,
    pub schema: Value,
    pub strict: bool,
}

/// What the model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatResponse {
    pub id: Option<String>,
    /// The model that answered, in the provider's words; may be more precise than the one asked.
    pub model: String,
    pub text: String,
    pub tool_calls: Vec<ToolCall>,
    /// The model's thoughts as opaque blocks. Some providers want them back, unmodified, with
    /// the results of the tools that the same answer calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thinking: Vec<Value>,
    pub stop_reason: StopReason,
    /// Why the model would not answer, in its own words.
    pub refusal: Option<String>,
    /// The provider's own figures; `None` when it sent none.
    pub usage: Option<Usage>,
    /// Set for streamed calls only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_chunk: Option<Duration>,
    /// What the provider says of its limits; no part of the answer.
    #[serde(skip)]
    pub rates: RateLimits,
}

/// A call that the model wants made. `arguments` is JSON text as the model wrote it, not yet
/// parsed or validated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub arguments: String,
}

/// Why the model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    Stop,
    /// The output limit was reached: text and JSON are cut off.
    Length,
    ToolCalls,
    ContentFilter,
    Refusal,
    /// The context window was full: text and JSON are cut off.
    ContextWindow,
    /// The provider has put off the rest of a long turn of its own tools.
    Paused,
    Other(String),
}

impl StopReason {
    /// The name that spans and logs use; the OpenAI wire's own words where it has one.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Refusal => "refusal",
            Self::ContextWindow => "model_context_window_exceeded",
            Self::Paused => "pause_turn",
            Self::Other(word) => word,
        }
    }
}

/// Tokens of one call. `cached_tokens` (read from the provider's cache) and `cache_write_tokens`
/// (written to it) are parts of `input_tokens`, `reasoning_tokens` is a part of `output_tokens`,
/// whatever the provider's own convention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    #[serde(default)]
    pub cache_write_tokens: u64,
    pub reasoning_tokens: u64,
}
