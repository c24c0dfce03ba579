//! In what servers that speak "OpenAI-compatible" differ. Data only: the wire reads it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The kinds that [`Dialect::named`] knows.
pub const KINDS: [&str; 7] = ["openai", "vllm", "llama.cpp", "ollama", "lmstudio", "openrouter", "generic"];

/// What one kind of server takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dialect {
    /// The server's name in telemetry (`gen_ai.provider.name`).
    pub provider: String,
    pub max_tokens_field: MaxTokensField,
    pub structured: Structured,
    /// Whether `strict: true` may be sent with a schema.
    pub strict: bool,
    /// Whether the server honours `tool_choice`. Where it does not, the choice is made by sending
    /// only the tools that may be called.
    pub tool_choice: bool,
    /// Whether the server takes `parallel_tool_calls`.
    pub parallel_tools: bool,
    /// Whether the server takes `stream_options.include_usage`.
    pub stream_usage: bool,
    /// For models below about half a billion parameters: planned under a schema that fixes the
    /// number of steps (`prefixItems`, which llama.cpp's grammar takes and other servers refuse),
    /// prompted without a system message, free text that ends at the output limit is taken as it
    /// is. No kind of server implies it.
    pub small_model: bool,
    /// Sent as it is with every request; wins over what the wire would send.
    pub extra_body: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    MaxCompletionTokens,
    MaxTokens,
}

/// How a server is made to answer with JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Structured {
    /// `response_format` with the schema.
    JsonSchema,
    /// `response_format` that promises some JSON object; the schema goes in the system prompt.
    JsonObject,
    /// The schema goes in the system prompt and nothing is promised.
    Prompt,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            provider: "generic".to_owned(),
            max_tokens_field: MaxTokensField::MaxTokens,
            structured: Structured::JsonSchema,
            strict: true,
            tool_choice: true,
            parallel_tools: false,
            stream_usage: true,
            small_model: false,
            extra_body: Map::new(),
        }
    }
}

impl Dialect {
    /// The dialect of a kind of server, or `None` for a kind that is not in [`KINDS`].
    pub fn named(kind: &str) -> Option<Self> {
        let kind = KINDS.into_iter().find(|known| *known == kind)?;
        let mut dialect = Self { provider: kind.to_owned(), ..Self::default() };
        match kind {
            "openai" => {
                dialect.max_tokens_field = MaxTokensField::MaxCompletionTokens;
                dialect.parallel_tools = true;
            }
            "vllm" | "openrouter" => dialect.parallel_tools = true,
            "ollama" => {
                dialect.tool_choice = false;
                dialect.strict = false;
            }
            _ => {}
        }
        Some(dialect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_named_and_others_are_not() {
        for kind in KINDS {
            assert_eq!(Dialect::named(kind).unwrap().provider, kind);
        }
        assert_eq!(Dialect::named("OpenAI"), None);
    }

    #[test]
    fn only_what_a_kind_differs_in_has_to_be_configured() {
        let dialect: Dialect = serde_json::from_str(r#"{"structured": "prompt"}"#).unwrap();
        assert_eq!(dialect, Dialect { structured: Structured::Prompt, ..Dialect::named("generic").unwrap() });
    }
}
