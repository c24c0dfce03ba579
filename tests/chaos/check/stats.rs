//! A few numbers about many durations.

use std::fmt;

use serde_json::{Value, json};

/// Durations in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Durations(Vec<u64>);

impl Durations {
    pub(crate) fn add(&mut self, ms: u64) {
        let at = self.0.partition_point(|known| *known < ms);
        self.0.insert(at, ms);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The longest; `None` of none.
    pub(crate) fn longest(&self) -> Option<u64> {
        self.0.last().copied()
    }

    /// The one in the middle, the longer of two; `None` of none.
    pub(crate) fn median(&self) -> Option<u64> {
        self.0.get(self.0.len() / 2).copied()
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        json!({"count": self.count(), "median_ms": self.median(), "longest_ms": self.longest()})
    }
}

impl fmt::Display for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.median(), self.longest()) {
            (Some(median), Some(longest)) => {
                write!(f, "{} times, median {median} ms, longest {longest} ms", self.count())
            }
            _ => f.write_str("never"),
        }
    }
}
