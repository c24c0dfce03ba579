//! The command line of `bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What to measure; everything unless said. A wrong name is answered with the list.
    #[arg(value_name = "WORKLOAD")]
    pub(crate) workloads: Vec<String>,
    /// Runs of each row, in place of the workload's own numbers.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) runs: Option<u64>,
    /// How often each row is measured.
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    pub(crate) repeat: usize,
    /// How often the broker syncs to disk.
    #[arg(long, value_enum, default_value_t = SyncMode::Default)]
    pub(crate) sync: SyncMode,
    /// Servers, and copies of everything: 1 or 3.
    #[arg(long, default_value_t = 1, value_parser = one_or_three)]
    pub(crate) replicas: usize,
    /// Executor processes, in place of the workload's own number.
    #[arg(long, value_parser = at_least_one)]
    pub(crate) executors: Option<usize>,
    /// Steps at once in each executor, in place of the workload's own number.
    #[arg(long, value_parser = at_least_one)]
    pub(crate) slots: Option<usize>,
    /// How long `backlog` leaves its runs without any executor.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) outage: u64,
    /// Measure no floor.
    #[arg(long, conflicts_with = "floor_only")]
    pub(crate) engine_only: bool,
    /// Measure nothing but the floor.
    #[arg(long)]
    pub(crate) floor_only: bool,
    /// The folder for WORKLOAD.json.
    #[arg(long, default_value = "target/bench", value_name = "FOLDER")]
    pub(crate) out: PathBuf,
}

/// How often a benchmark's broker syncs to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SyncMode {
    /// As nats-server does unless it is told: every two minutes.
    Default,
    /// Before each ack.
    Always,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "use a number from 1 on".to_owned())
}

fn one_or_three(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| matches!(number, 1 | 3)).ok_or_else(|| "use 1 or 3".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct BenchFloorArgs {
    /// What this process does.
    #[arg(value_enum)]
    pub(crate) role: FloorRole,
    /// The broker.
    #[arg(long)]
    pub(crate) url: String,
    /// What it moves, as JSON.
    #[arg(long)]
    pub(crate) messages: String,
}

#[derive(Debug, Args)]
pub(crate) struct BenchWatchersArgs {
    /// The run, at its API.
    #[arg(long)]
    pub(crate) url: String,
    /// How many watch it.
    #[arg(long, value_parser = at_least_one)]
    pub(crate) watchers: usize,
}

/// What a process of the floor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FloorRole {
    Coordinator,
    Executor,
    Pong,
}
