//! What a provider's headers say of its limits.
//!
//! OpenAI sends `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` with a reset such as
//! `6m0s`, Anthropic `anthropic-ratelimit-{requests,tokens,..}-{limit,remaining,reset}` with a
//! time by RFC 3339. Others send some of the first or none: nothing may depend on them.

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

/// Anthropic counts tokens three times; the tightest window is what matters.
const TOKEN_KINDS: [&str; 3] = ["tokens", "input-tokens", "output-tokens"];

/// The limits of one account on one model, as far as they are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimits {
    pub requests: Option<Window>,
    pub tokens: Option<Window>,
}

/// One limit, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// In the provider's own window, mostly a minute.
    pub limit: Option<u64>,
    pub remaining: u64,
    /// Until all of it is there again.
    pub reset: Option<Duration>,
}

impl RateLimits {
    /// Reads the headers of either provider, whatever wire they come with.
    #[must_use]
    pub fn read(headers: &HeaderMap, now: SystemTime) -> Self {
        let read = |kind: &str| Window::read(headers, kind, now);
        let tokens = TOKEN_KINDS.into_iter().filter_map(read);
        Self { requests: read("requests"), tokens: tokens.min_by_key(|window| window.remaining) }
    }

    /// Whether anything was told.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.requests.is_some() || self.tokens.is_some()
    }

    /// The limits themselves, which change seldom.
    pub(crate) fn limits(&self) -> [Option<u64>; 2] {
        [self.requests, self.tokens].map(|window| window.and_then(|window| window.limit))
    }

    /// How long it takes until what is used up is there again.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        let exhausted =
            [self.requests, self.tokens].into_iter().flatten().filter(|window| window.remaining == 0);
        exhausted.filter_map(|window| window.reset).max()
    }
}

impl Window {
    fn read(headers: &HeaderMap, kind: &str, now: SystemTime) -> Option<Self> {
        let value = |what: &str| {
            text(headers, &format!("x-ratelimit-{what}-{kind}"))
                .or_else(|| text(headers, &format!("anthropic-ratelimit-{kind}-{what}")))
        };
        Some(Self {
            remaining: value("remaining")?.parse().ok()?,
            limit: value("limit").and_then(|limit| limit.parse().ok()),
            reset: value("reset").and_then(|reset| until(reset, now)),
        })
    }
}

/// `6m0s`, `120ms`, seconds, or a time by RFC 3339.
fn until(text: &str, now: SystemTime) -> Option<Duration> {
    let seconds = || Duration::try_from_secs_f64(text.parse().ok()?).ok();
    let at = || humantime::parse_rfc3339_weak(text).ok()?.duration_since(now).ok();
    seconds().or_else(|| humantime::parse_duration(text).ok()).or_else(at)
}

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn read(pairs: &[(&'static str, &'static str)]) -> RateLimits {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let now = humantime::parse_rfc3339("2026-11-23T10:00:00Z").unwrap();
        RateLimits::read(&pairs.iter().map(pair).collect(), now)
    }

    fn window(limit: u64, remaining: u64, reset_ms: u64) -> Option<Window> {
        Some(Window { limit: Some(limit), remaining, reset: Some(Duration::from_millis(reset_ms)) })
    }

    #[test]
    fn openai_s_headers() {
        let rates = read(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ]);
        assert_eq!(
            rates,
            RateLimits { requests: window(60, 59, 1_000), tokens: window(150_000, 0, 360_000) }
        );
        assert_eq!(rates.wait(), Some(Duration::from_secs(360)));
        for (text, ms) in [("120ms", 120), ("8.64s", 8_640), ("2.5", 2_500), ("1m30s", 90_000)] {
            assert_eq!(until(text, SystemTime::UNIX_EPOCH), Some(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn anthropic_s_headers_and_the_tightest_of_its_token_limits() {
        let rates = read(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-11-23T10:00:02Z"),
            ("anthropic-ratelimit-input-tokens-limit", "40000"),
            ("anthropic-ratelimit-input-tokens-remaining", "39000"),
            ("anthropic-ratelimit-output-tokens-limit", "8000"),
            ("anthropic-ratelimit-output-tokens-remaining", "100"),
            ("anthropic-ratelimit-output-tokens-reset", "2026-11-23T10:01:00Z"),
        ]);
        assert_eq!(rates, RateLimits { requests: window(50, 49, 2_000), tokens: window(8_000, 100, 60_000) });
        assert_eq!(rates.wait(), None, "nothing is used up");
    }

    #[test]
    fn nonsense_says_nothing() {
        assert!(!read(&[]).is_known());
        assert!(!read(&[("x-ratelimit-remaining-requests", "lots")]).is_known());
        let late = read(&[
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "2026-11-23T09:00:00Z"),
        ]);
        assert_eq!(late.wait(), None);
    }
}
