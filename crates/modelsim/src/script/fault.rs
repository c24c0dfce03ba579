//! What goes wrong: by a rule, or by chance at a rate.

use std::collections::BTreeMap;

use serde::de::IntoDeserializer as _;
use serde::de::value::Error as NameError;
use serde::{Deserialize, Serialize};

use super::When;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a fault is {status, code, message, retry_after_s} or a name such as \"hang\", \"429\", \
                 \"cut_mid_stream\" or \"garbage\" (docs/modelsim.md has them all)"
)]
pub enum Fault {
    Kind(FaultKind),
    Status(StatusFault),
}

/// A fault by its name; both wires know each, in their own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Nothing is ever answered.
    #[serde(alias = "timeout")]
    Hang,
    /// Half of the reply comes, then nothing more.
    HangMidStream,
    /// Half of the reply comes, then the connection breaks.
    CutMidStream,
    /// Half of the reply comes, then an error as an event of the stream.
    ErrorMidStream,
    /// Status 200 and JSON that breaks off.
    Garbage,
    /// 429 with `retry-after`.
    #[serde(rename = "429", alias = "rate_limit")]
    RateLimit,
    /// 429 that names no wait.
    #[serde(rename = "429_without_retry_after")]
    BareRateLimit,
    /// 500.
    #[serde(rename = "500", alias = "server_error")]
    ServerError,
    /// 529 `overloaded_error`; on OpenAI's wire 503 `server_is_overloaded`.
    #[serde(rename = "529", alias = "overloaded")]
    Overloaded,
    /// The account is empty: 429 `insufficient_quota`; on Anthropic's wire a 400 about credit.
    Quota,
    /// Half of the text, ended by the output limit.
    Truncation,
    /// The model declines.
    Refusal,
    /// JSON of another shape than was asked for.
    WrongSchema,
    /// An answer without text.
    Empty,
}

impl FaultKind {
    /// Reads a name as a script file spells it; the error lists the names there are.
    pub fn named(name: &str) -> Result<Self, String> {
        Self::deserialize(name.into_deserializer()).map_err(|error: NameError| error.to_string())
    }
}

/// An HTTP error, worded as the wire's provider words them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusFault {
    pub status: u16,
    #[serde(default)]
    pub code: Option<String>,
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub retry_after_s: Option<f64>,
}

/// Faults by chance. Whether a request meets one follows from the seed, the request's body and
/// how often that body came before: never from the order of different requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The share of requests that meets each, from 0 to 1; at most 1 in all.
    pub rates: BTreeMap<FaultKind, f64>,
    /// What a `429` asks for.
    pub retry_after_s: f64,
    /// Only requests for which this holds; `nth` has no meaning here.
    pub when: When,
}

impl Default for Faults {
    fn default() -> Self {
        Self { rates: BTreeMap::new(), retry_after_s: 1.0, when: When::default() }
    }
}

impl Faults {
    /// The fault at a point from 0 to 1 of the rates laid end to end.
    pub(crate) fn at(&self, point: f64) -> Option<FaultKind> {
        let mut end = 0.0;
        self.rates.iter().find_map(|(kind, rate)| {
            end += rate;
            (point < end).then_some(*kind)
        })
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        if !self.rates.values().all(|rate| (0.0..=1.0).contains(rate)) {
            return Err("a rate is from 0 to 1");
        }
        if self.rates.values().sum::<f64>() > 1.0 + f64::EPSILON {
            return Err("the rates add up to more than 1");
        }
        if !(self.retry_after_s.is_finite() && self.retry_after_s >= 0.0) {
            return Err("retry_after_s must not be below 0");
        }
        match self.when.nth {
            Some(_) => Err("nth has no meaning for faults by chance"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_lie_end_to_end() {
        let rates = BTreeMap::from([(FaultKind::Hang, 0.25), (FaultKind::Quota, 0.5)]);
        let faults = Faults { rates, ..Faults::default() };
        let at = [0.0, 0.2499, 0.25, 0.7499, 0.75, 0.999].map(|point| faults.at(point));
        let (hang, quota) = (Some(FaultKind::Hang), Some(FaultKind::Quota));
        assert_eq!(at, [hang, hang, quota, quota, None, None]);
    }

    #[test]
    fn names_are_those_of_the_file() {
        assert_eq!(FaultKind::named("429"), Ok(FaultKind::RateLimit));
        assert_eq!(FaultKind::named("timeout"), Ok(FaultKind::Hang));
        let error = FaultKind::named("explode").unwrap_err();
        assert!(error.contains("explode") && error.contains("429_without_retry_after"), "{error}");
    }
}
