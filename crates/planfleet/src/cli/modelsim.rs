//! The command line of `modelsim`.

use std::path::PathBuf;

use clap::Args;
use planfleet_modelsim::FaultKind;

/// Flags win over the script. Everything has its chapter in docs/modelsim.md.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("answers").required(true).multiple(true))]
pub(crate) struct ModelsimArgs {
    /// What it answers: rules as TOML or JSON.
    #[arg(value_name = "SCRIPT", group = "answers")]
    pub(crate) path: Option<PathBuf>,
    /// The same, by name.
    #[arg(long, value_name = "FILE", group = "answers", conflicts_with = "path")]
    pub(crate) script: Option<PathBuf>,
    /// Answer what no rule answers from recorded answers.
    #[arg(long, value_name = "FILE", group = "answers")]
    pub(crate) cassette: Option<PathBuf>,
    /// Answer what nothing else answers with this text.
    #[arg(long, value_name = "TEXT", group = "answers", conflicts_with = "cassette")]
    pub(crate) reply: Option<String>,
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: String,
    /// Refuse requests without this key.
    #[arg(long, value_name = "KEY")]
    pub(crate) require_key: Option<String>,
    /// Seed of jitter and of faults by chance.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Wait before an answer begins.
    #[arg(long, value_name = "MS")]
    pub(crate) latency_first_byte_ms: Option<u64>,
    /// Speed at which answers are written.
    #[arg(long, value_name = "N")]
    pub(crate) tokens_per_second: Option<f64>,
    /// Added to the wait before an answer: from nothing to this much, by the seed.
    #[arg(long, value_name = "MS")]
    pub(crate) jitter_ms: Option<u64>,
    /// Something that goes wrong at a rate, as --fault 429=0.06 --fault timeout=0.05.
    #[arg(long = "fault", value_name = "NAME=RATE", value_parser = fault)]
    pub(crate) faults: Vec<(FaultKind, f64)>,
    /// What a 429 by chance asks for.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) retry_after: Option<f64>,
    /// Limit of each key and model.
    #[arg(long, value_name = "N")]
    pub(crate) requests_per_minute: Option<u64>,
    /// Limit of each key and model, input and output together.
    #[arg(long, value_name = "N")]
    pub(crate) tokens_per_minute: Option<u64>,
}

fn fault(text: &str) -> Result<(FaultKind, f64), String> {
    let (name, rate) = text.split_once('=').ok_or("use NAME=RATE, as 429=0.06")?;
    let rate: f64 = rate.parse().map_err(|_| format!("`{rate}` is no rate: use a number from 0 to 1"))?;
    Ok((FaultKind::named(name)?, rate))
}
