//! The providers' wire formats, each as pure functions from and to bytes.

pub mod anthropic_messages;
pub mod openai_chat;
mod structured;

use serde_json::Value;

use crate::chat::{ChatRequest, ChatResponse};
use crate::dialect::Dialect;
use crate::error::Error;

/// The protocols that a server may speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wire {
    /// OpenAI Chat Completions, and what imitates it.
    #[default]
    OpenAiChat,
    /// Anthropic Messages, and what imitates it.
    AnthropicMessages,
}

impl Wire {
    /// Where chat requests go, below the address that ends in the API's version.
    pub(crate) fn chat_path(self) -> &'static str {
        match self {
            Self::OpenAiChat => "chat/completions",
            Self::AnthropicMessages => "messages",
        }
    }

    /// The API in telemetry (`openai.api.type` has no like elsewhere).
    pub(crate) fn openai_api_type(self) -> Option<&'static str> {
        (self == Self::OpenAiChat).then_some("chat_completions")
    }

    pub(crate) fn encode(self, request: &ChatRequest, dialect: &Dialect, stream: bool) -> Value {
        match self {
            Self::OpenAiChat => openai_chat::encode(request, dialect, stream),
            Self::AnthropicMessages => anthropic_messages::encode(request, dialect, stream),
        }
    }

    pub(crate) fn decode(self, bytes: &[u8], expected: &Expected) -> Result<ChatResponse, Error> {
        let response = match self {
            Self::OpenAiChat => openai_chat::decode(bytes)?,
            Self::AnthropicMessages => anthropic_messages::decode(bytes)?,
        };
        Ok(expected.take(response))
    }

    pub(crate) fn stream(self, expected: Expected) -> StreamDecoder {
        match self {
            Self::OpenAiChat => StreamDecoder::OpenAiChat(openai_chat::StreamDecoder::new(expected)),
            Self::AnthropicMessages => {
                StreamDecoder::AnthropicMessages(anthropic_messages::StreamDecoder::new(expected))
            }
        }
    }
}

pub use structured::Expected;

/// Assembles a streamed answer of either wire.
#[derive(Debug)]
pub(crate) enum StreamDecoder {
    OpenAiChat(openai_chat::StreamDecoder),
    AnthropicMessages(anthropic_messages::StreamDecoder),
}

impl StreamDecoder {
    /// Takes the payload of one event and returns the text that it adds, if any.
    pub(crate) fn push(&mut self, data: &str) -> Result<Option<String>, Error> {
        match self {
            Self::OpenAiChat(decoder) => decoder.push(data),
            Self::AnthropicMessages(decoder) => decoder.push(data),
        }
    }

    /// Whether the server said that nothing more comes.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::OpenAiChat(decoder) => decoder.is_done(),
            Self::AnthropicMessages(decoder) => decoder.is_done(),
        }
    }

    pub(crate) fn finish(self) -> Result<ChatResponse, Error> {
        match self {
            Self::OpenAiChat(decoder) => decoder.finish(),
            Self::AnthropicMessages(decoder) => decoder.finish(),
        }
    }
}
