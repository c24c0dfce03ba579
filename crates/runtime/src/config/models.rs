//! `[models.<name>]`: how a model is reached and what it costs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One model as a provider serves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// The protocol spoken.
    pub wire: Wire,
    /// What the server deviates in from the protocol; the llm crate knows them.
    pub dialect: String,
    /// Where the provider is, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// The provider's own name of the model.
    pub model: String,
    /// Name of the variable that holds the key; empty for none.
    pub api_key_env: String,
    /// File that holds the key; empty for none.
    pub api_key_file: String,
    /// Tokens of one answer; the provider's own default when unset.
    pub max_output_tokens: Option<u32>,
    /// 0 to 2; the provider's own default when unset.
    pub temperature: Option<f64>,
    /// How the model is made to answer with JSON; the dialect's own way when unset.
    pub structured: Option<Structured>,
    /// For models below about half a billion parameters: planned under a schema
    /// that fixes the number of steps, prompted without a system message, free
    /// text that ends at the output limit is taken as it is.
    pub small_model: bool,
    /// Whether answers are streamed also where nobody reads along, as plans are;
    /// without it only `total_timeout_s` bounds the wait for those.
    pub always_stream: bool,
    /// Seconds until the first byte of an answer.
    pub first_byte_timeout_s: u64,
    /// Seconds between two chunks of an answer.
    pub idle_timeout_s: u64,
    /// Seconds for a whole call.
    pub total_timeout_s: u64,
    /// What tokens cost.
    pub price: Price,
    /// Merged into the request body as it stands.
    pub extra_body: serde_json::Map<String, serde_json::Value>,
    /// Sent with every request.
    pub extra_headers: BTreeMap<String, String>,
    /// Calls in flight from one process: bounds sockets and memory. Fewer are as
    /// long as the provider bears fewer.
    pub max_concurrency: usize,
    /// Steps and plannings that are this model's at once in the whole fleet.
    pub concurrency: Option<usize>,
    /// Requests a minute of all processes together; unset bounds nothing, here and below.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute of all processes together, input and output.
    pub tokens_per_minute: Option<u64>,
    /// Requests a minute of each tenant.
    pub tenant_requests_per_minute: Option<u64>,
    /// Tokens a minute of each tenant.
    pub tenant_tokens_per_minute: Option<u64>,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            wire: Wire::OpenaiChat,
            dialect: "generic".to_owned(),
            base_url: String::new(),
            model: String::new(),
            api_key_env: String::new(),
            api_key_file: String::new(),
            max_output_tokens: None,
            temperature: None,
            structured: None,
            small_model: false,
            always_stream: true,
            first_byte_timeout_s: 120,
            idle_timeout_s: 60,
            total_timeout_s: 600,
            price: Price::default(),
            extra_body: serde_json::Map::new(),
            extra_headers: BTreeMap::new(),
            max_concurrency: 64,
            concurrency: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            tenant_requests_per_minute: None,
            tenant_tokens_per_minute: None,
        }
    }
}

impl ModelSettings {
    /// How long the first byte of an answer may take.
    pub fn first_byte_timeout(&self) -> Duration {
        Duration::from_secs(self.first_byte_timeout_s)
    }

    /// How long an answer may pause.
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_s)
    }

    /// The rates by their keys.
    pub(super) fn rates(&self) -> [(&'static str, Option<u64>); 4] {
        [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("tenant_requests_per_minute", self.tenant_requests_per_minute),
            ("tenant_tokens_per_minute", self.tenant_tokens_per_minute),
        ]
    }

    /// How long a call may take in all.
    pub fn total_timeout(&self) -> Duration {
        Duration::from_secs(self.total_timeout_s)
    }
}

/// The protocols that models are reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wire {
    /// OpenAI Chat Completions and all that imitate it.
    #[serde(rename = "openai-chat")]
    OpenaiChat,
    /// Anthropic Messages.
    #[serde(rename = "anthropic-messages")]
    AnthropicMessages,
}

/// The ways to make a model answer with JSON, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Structured {
    /// The server holds the answer to the schema.
    JsonSchema,
    /// The schema is that of a tool that the model has to call.
    ToolCall,
    /// `response_format` for any JSON object; the schema goes in the prompt.
    JsonObject,
    /// No `response_format`: the schema goes in the prompt.
    Prompt,
}

/// Prices; an unset one is unknown, which is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Price {
    /// Of tokens sent.
    pub input_usd_per_million: Option<UsdPerMillion>,
    /// Of tokens sent that the provider had cached.
    pub cached_input_usd_per_million: Option<UsdPerMillion>,
    /// Of tokens sent that the provider has put into its cache.
    pub cache_write_input_usd_per_million: Option<UsdPerMillion>,
    /// Of tokens received.
    pub output_usd_per_million: Option<UsdPerMillion>,
    /// Of calls with long prompts, where those cost something else.
    pub long: LongPrice,
}

/// Prices of calls with long prompts: all of their tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LongPrice {
    /// A prompt of more tokens than these is long; unset, none is.
    pub over_tokens: Option<u64>,
    /// Of tokens sent; unset, here and below, is unknown.
    pub input_usd_per_million: Option<UsdPerMillion>,
    /// Of tokens sent that the provider had cached.
    pub cached_input_usd_per_million: Option<UsdPerMillion>,
    /// Of tokens sent that the provider has put into its cache.
    pub cache_write_input_usd_per_million: Option<UsdPerMillion>,
    /// Of tokens received.
    pub output_usd_per_million: Option<UsdPerMillion>,
}

/// A price of a million tokens, exact: money is never a float here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsdPerMillion {
    nano_usd: u64,
}

impl UsdPerMillion {
    const NANO: u64 = 1_000_000_000;

    /// A price that is known in nano-USD for a million tokens.
    pub fn from_nano_usd(nano_usd: u64) -> Self {
        Self { nano_usd }
    }

    /// Nano-USD for a million tokens.
    pub fn nano_usd(self) -> u64 {
        self.nano_usd
    }
}

impl FromStr for UsdPerMillion {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, PriceError> {
        let invalid = || PriceError(text.to_owned());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
            return Err(invalid());
        }
        let nano: u64 = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
        let whole: u64 = whole.parse().map_err(|_| invalid())?;
        whole
            .checked_mul(Self::NANO)
            .and_then(|usd| usd.checked_add(nano))
            .map(|nano_usd| Self { nano_usd })
            .ok_or_else(invalid)
    }
}

impl fmt::Display for UsdPerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, nano) = (self.nano_usd / Self::NANO, self.nano_usd % Self::NANO);
        let fraction = format!("{nano:09}");
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            digits => write!(f, "{whole}.{digits}"),
        }
    }
}

/// Text that is not a price.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a price; expected USD such as \"0.25\", at most nine decimals")]
pub struct PriceError(String);

impl Serialize for UsdPerMillion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UsdPerMillion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a price in USD such as \"0.25\" or 0.25")]
        enum Written {
            Text(String),
            Whole(u64),
            Float(f64),
        }
        // A float is printed by its shortest form that reads back the same,
        // which is what the file's author typed.
        match Written::deserialize(deserializer)? {
            Written::Text(text) => text.parse(),
            Written::Whole(usd) => usd.to_string().parse(),
            Written::Float(usd) => usd.to_string().parse(),
        }
        .map_err(de::Error::custom)
    }
}
