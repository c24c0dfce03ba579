//! `batch`: many tasks at once.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use planfleet_api::batch::order::WINDOW_MAX;

use super::ASKED;

#[derive(Debug, Subcommand)]
pub(crate) enum BatchCommand {
    /// Submit a file of tasks, one JSON object a line.
    ///
    /// Lines are tasks, or requests for chat completions in the form of OpenAI's batch
    /// files. Lines that are wrong are named, and the others run. Submitting a file again
    /// goes on where it stopped, and starts nothing twice.
    Submit(SubmitArgs),
    /// How a batch stands: counts, cost, and the time that is left.
    Status {
        /// The batch's id.
        id: String,
    },
    /// Follow a batch to its end.
    Watch {
        /// The batch's id.
        id: String,
    },
    /// The documents of its ended runs, one a line.
    Results {
        /// The batch's id.
        id: String,
        /// Go on until the batch is at its end.
        #[arg(long)]
        follow: bool,
    },
    /// Lines that were refused, and runs that did not succeed.
    Errors {
        /// The batch's id.
        id: String,
    },
    /// Submit nothing more of a batch, and ask its active runs to end.
    Cancel {
        /// The batch's id.
        id: String,
        /// Why.
        #[arg(long, value_name = "TEXT", default_value = ASKED)]
        reason: String,
    },
    /// Run again what did not succeed; what is done is not done again.
    RetryFailed {
        /// The batch's id.
        id: String,
        /// Wait until the new runs have ended.
        #[arg(long)]
        wait: bool,
    },
    /// The newest batches.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// Tasks as JSON Lines; - reads standard input.
    pub(crate) file: PathBuf,
    /// The batch's id; that of the file's content unless said. Give one with standard
    /// input, to be able to go on.
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Whose the batch is; `default` unless said.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// Most runs that are open at once: no more is submitted until some have ended.
    #[arg(long, value_name = "RUNS", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(WINDOW_MAX)))]
    pub(crate) window: u32,
    /// How tasks that only have a goal are run: auto, plan or direct; auto unless said.
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<String>,
    /// What all runs together may cost.
    #[arg(long, value_name = "USD")]
    pub(crate) budget_usd: Option<f64>,
    /// Input and output tokens that all runs together may use.
    #[arg(long, value_name = "TOKENS")]
    pub(crate) budget_tokens: Option<u64>,
    /// A label of all runs; may be given again for more.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Wait until all runs have ended; with -o jsonl their documents are printed as they do.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Stop after so many seconds; what is submitted goes on.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Start everything for this one batch, and stop it again.
    #[arg(long, requires = "wait")]
    pub(crate) local: bool,
}
