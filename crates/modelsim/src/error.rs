//! What can go wrong with a simulator, as opposed to what it is told to do wrong.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen")]
    Bind(#[source] std::io::Error),

    #[error("cannot serve")]
    Serve(#[source] std::io::Error),

    #[error("cannot read script {path}")]
    Read { path: PathBuf, source: std::io::Error },

    #[error("script is not valid TOML")]
    Toml(#[from] toml::de::Error),

    #[error("script is not valid JSON")]
    Json(#[from] serde_json::Error),

    #[error("script {0} must end in .toml or .json")]
    Format(PathBuf),

    /// `rule` counts from 1.
    #[error("script rule {rule}: {what}")]
    Rule { rule: usize, what: &'static str },

    #[error("script {name}: {what}")]
    Section { name: &'static str, what: &'static str },

    #[error("cannot use the cassette")]
    Cassette(#[from] planfleet_llm::cassette::Error),

    #[error("only {received} of {expected} requests came in time")]
    Waited { received: u64, expected: u64 },
}
