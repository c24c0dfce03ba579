//! In what servers that speak "OpenAI-compatible" differ. Data only: the wire reads it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The kinds that [`Dialect::named`] knows.
pub const KINDS: [&str; 8] =
    ["openai", "anthropic", "vllm", "llama.cpp", "ollama", "lmstudio", "openrouter", "generic"];

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
    /// Whether the server takes a `response_format` for any JSON object.
    pub json_object: bool,
    /// Whether the server takes `prompt_cache_key`, by which calls of one stable beginning reach
    /// the machine that has it cached.
    pub prompt_cache_key: bool,
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

/// How a server is made to answer with JSON, the strongest way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Structured {
    /// The server holds the answer to the schema.
    JsonSchema,
    /// The schema is that of a tool that the model has to call; its arguments are the answer.
    ToolCall,
    /// `response_format` that promises some JSON object; the schema goes in the system prompt.
    JsonObject,
    /// The schema goes in the system prompt and nothing is promised.
    Prompt,
}

impl Structured {
    /// The name that the configuration knows it by.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonSchema => "json_schema",
            Self::ToolCall => "tool_call",
            Self::JsonObject => "json_object",
            Self::Prompt => "prompt",
        }
    }
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
            json_object: true,
            prompt_cache_key: false,
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
                dialect.prompt_cache_key = true;
            }
            "anthropic" | "lmstudio" => dialect.json_object = false,
            "vllm" | "openrouter" => dialect.parallel_tools = true,
            "ollama" => {
                dialect.tool_choice = false;
                dialect.strict = false;
            }
            _ => {}
        }
        Some(dialect)
    }

    /// The next weaker way to an answer that is JSON, for when a server has refused one.
    #[must_use]
    pub fn weaker(&self, way: Structured) -> Option<Structured> {
        match way {
            // Without a choice that can be forced, a tool is an offer and no way.
            Structured::JsonSchema if self.tool_choice => Some(Structured::ToolCall),
            Structured::JsonSchema | Structured::ToolCall if self.json_object => Some(Structured::JsonObject),
            Structured::JsonSchema | Structured::ToolCall | Structured::JsonObject => {
                Some(Structured::Prompt)
            }
            Structured::Prompt => None,
        }
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
    fn each_way_to_json_has_a_weaker_one_until_nothing_is_promised() {
        use Structured::*;
        let ways = |kind: &str| {
            let dialect = Dialect::named(kind).unwrap();
            std::iter::successors(Some(JsonSchema), |way| dialect.weaker(*way)).collect::<Vec<_>>()
        };
        assert_eq!(ways("openai"), [JsonSchema, ToolCall, JsonObject, Prompt]);
        assert_eq!(ways("anthropic"), [JsonSchema, ToolCall, Prompt]);
        assert_eq!(ways("ollama"), [JsonSchema, JsonObject, Prompt]);
    }

    #[test]
    fn only_what_a_kind_differs_in_has_to_be_configured() {
        let dialect: Dialect = serde_json::from_str(r#"{"structured": "prompt"}"#).unwrap();
        assert_eq!(dialect, Dialect { structured: Structured::Prompt, ..Dialect::named("generic").unwrap() });
    }
}
