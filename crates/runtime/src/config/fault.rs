//! What is wrong with a configuration, as data: the CLI prints it, `config
//! check -o json` serialises it.

use std::fmt;

use serde::Serialize;

/// One mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// The dotted key, such as `nats.url`; empty when the fault is a file's.
    pub key: String,
    /// Where the value came from: `planfleet.toml:12`, `env PLANFLEET__..`.
    pub source: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Fault {
    pub(super) fn new(key: impl Into<String>, source: impl Into<String>, message: impl fmt::Display) -> Self {
        // A fault is one line: parsers' messages may have more.
        let message = message.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { key: key.into(), source: source.into(), message }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.source, self.message),
            key => write!(f, "{key}: {} ({})", self.message, self.source),
        }
    }
}

/// Every mistake of a configuration; its text has one line for each.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(.faults))]
pub struct ConfigError {
    /// Sorted by key; never empty.
    pub faults: Vec<Fault>,
}

impl ConfigError {
    pub(super) fn unless_empty(mut faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() {
            return Ok(());
        }
        faults.sort();
        faults.dedup();
        Err(Self { faults })
    }
}

fn lines(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    lines.join("\n")
}
