//! What a simulator is told to do, as TOML or JSON:
//!
//! ```toml
//! seed = 1
//! [[rules]]
//! when = { contains = ["capital of France"] }
//! reply = { text = "Paris" }
//! latency = { first_byte_ms = 40, tokens_per_s = 200, jitter_ms = 10 }
//!
//! [[rules]]
//! when = { contains = ["flaky"], nth = 1 }
//! fault = { status = 429, code = "rate_limit_exceeded", retry_after_s = 1 }
//! ```
//!
//! Rules are tried in order and the first that applies answers. `latency`, `faults`, `limits` and
//! `cache` hold for all requests; `docs/modelsim.md` tells all of it.

mod fault;
mod limit;
mod rule;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
pub use fault::{Fault, FaultKind, Faults, StatusFault};
pub use limit::{Cache, Limits};
pub use rule::{Latency, Reply, Rule, ScriptedToolCall, UsageFigures, When};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Seed of the jitter and of the faults by chance.
    pub seed: u64,
    /// What `GET /v1/models` lists. Chat requests may name any model; rules can tell them apart.
    pub models: Vec<String>,
    /// Of rules that have none of their own, and of a cassette.
    pub latency: Latency,
    pub faults: Faults,
    pub limits: Limits,
    pub cache: Cache,
    pub rules: Vec<Rule>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            seed: 0,
            models: vec![crate::MODEL.to_owned()],
            latency: Latency::default(),
            faults: Faults::default(),
            limits: Limits::default(),
            cache: Cache::default(),
            rules: Vec::new(),
        }
    }
}

impl Script {
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        Self::checked(toml::from_str(text)?)
    }

    pub fn from_json(text: &str) -> Result<Self, Error> {
        Self::checked(serde_json::from_str(text)?)
    }

    /// Reads a file by its ending, `.toml` or `.json`.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let read =
            || std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source });
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("toml") => Self::from_toml(&read()?),
            Some("json") => Self::from_json(&read()?),
            _ => Err(Error::Format(path.to_owned())),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        for (index, rule) in self.rules.iter().enumerate() {
            rule.check().map_err(|what| Error::Rule { rule: index + 1, what })?;
        }
        let section = |name: &'static str| move |what| Error::Section { name, what };
        self.latency.check().map_err(section("latency"))?;
        self.faults.check().map_err(section("faults"))?;
        self.limits.check().map_err(section("limits"))
    }

    fn checked(script: Self) -> Result<Self, Error> {
        script.check()?;
        Ok(script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = r#"
            [[rules]]
            when = { model = "m", contains = ["a"], not_contains = ["b"], nth = 2 }
            times = 3
            reply = { tool_calls = [{ name = "add", arguments = { a = 1 } }] }
            [[rules]]
            fault = "hang"
            [[rules]]
            fault = { status = 503, retry_after_s = 0.5 }
        "#;
        let script = Script::from_toml(toml).unwrap();
        assert_eq!(script.rules[1].fault, Some(Fault::Kind(FaultKind::Hang)));
        let json = serde_json::to_string(&script).unwrap();
        assert_eq!(Script::from_json(&json).unwrap(), script);
    }

    #[test]
    fn what_holds_for_all_requests() {
        let toml = r#"
            latency = { first_byte_ms = 5 }
            limits = { requests_per_minute = 60 }
            [faults]
            retry_after_s = 0.1
            when = { model = "m" }
            rates = { "429" = 0.06, timeout = 0.05, wrong_schema = 0.04 }
        "#;
        let script = Script::from_toml(toml).unwrap();
        assert_eq!(script.faults.rates[&FaultKind::RateLimit], 0.06);
        assert_eq!(script.limits.requests_per_minute, Some(60));
        let json = serde_json::to_string(&script).unwrap();
        assert_eq!(Script::from_json(&json).unwrap(), script);
    }

    #[test]
    fn the_manual_s_script_is_one() {
        let manual = include_str!("../../../docs/modelsim.md");
        let script = manual.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let script = Script::from_toml(script).unwrap();
        assert_eq!((script.rules.len(), script.faults.rates.len(), script.cache.automatic), (2, 3, true));
    }

    #[test]
    fn mistakes_are_refused() {
        let message = |text| Script::from_toml(text).unwrap_err().to_string();
        assert_eq!(
            message("[faults.rates]\n429 = 0.6\n500 = 0.6"),
            "script faults: the rates add up to more than 1"
        );
        assert_eq!(message("[limits]\ntokens_per_minute = 0"), "script limits: a limit is at least 1");
        assert_eq!(message("[[rules]]\ntimes = 1"), "script rule 1: needs a reply or a fault");
        assert_eq!(
            message("[[rules]]\nreply = { text = \"x\" }\nlatency = { tokens_per_s = 0 }"),
            "script rule 1: tokens_per_s must be above 0"
        );
        for text in [
            "[[rules]]\nreplay = { text = \"x\" }",
            "[[rules]]\nfault = \"explode\"",
            "[[rules]]\nfault = { status = 200 }",
            "[[rules]]\nreply = { text = \"x\" }\nwhen = { nth = 0 }",
        ] {
            assert!(Script::from_toml(text).is_err(), "{text}");
        }
        assert!(Script::load(Path::new("script.yaml")).is_err());
    }
}
