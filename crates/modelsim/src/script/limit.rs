//! What a provider grants: rates, and a cache of prompts.

use serde::{Deserialize, Serialize};

/// Rates per API key and model, as token buckets that hold a minute's worth; what is not given is
/// not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub requests_per_minute: Option<u64>,
    /// Input and output together.
    pub tokens_per_minute: Option<u64>,
    pub input_tokens_per_minute: Option<u64>,
    pub output_tokens_per_minute: Option<u64>,
}

impl Limits {
    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        let all = [
            self.requests_per_minute,
            self.tokens_per_minute,
            self.input_tokens_per_minute,
            self.output_tokens_per_minute,
        ];
        match all.contains(&Some(0)) {
            true => Err("a limit is at least 1"),
            false => Ok(()),
        }
    }
}

/// The provider's prompt cache. It works for requests that mark what may be cached: by
/// `cache_control` on Anthropic's wire, by `prompt_cache_key` on OpenAI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Whether OpenAI's wire caches without being asked, as OpenAI does.
    pub automatic: bool,
    /// A shorter prefix is not cached.
    pub tokens_min: u64,
    pub ttl_s: u64,
}

impl Default for Cache {
    fn default() -> Self {
        // What both providers document for most of their models.
        Self { automatic: false, tokens_min: 1024, ttl_s: 300 }
    }
}
