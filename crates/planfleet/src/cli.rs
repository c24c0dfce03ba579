//! The command line's shape.

mod admin;
mod batch;
mod bench;
mod keys;
mod models;
mod modelsim;
mod queue;
mod runs;
mod templates;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use planfleet_runtime::config::LoadRequest;

pub(crate) use self::{
    admin::{AdminCommand, GcArgs, NatsAuthArgs},
    batch::{BatchCommand, SubmitArgs},
    bench::{BenchArgs, BenchFloorArgs, BenchWatchersArgs, FloorRole, SyncMode},
    keys::{CreateKeyArgs, KeyRole, KeysCommand},
    models::{ModelsCommand, PricesCommand},
    modelsim::ModelsimArgs,
    queue::{DlqCommand, LetterArgs, OriginArgs, QueueCommand, TargetArgs},
    runs::{ASKED, FilterArgs, GateArgs, RunsCommand},
    templates::TemplatesCommand,
};
use crate::exit::Failure;

/// Plan-and-execute LLM work on a fleet.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, propagate_version = true)]
pub(crate) struct Cli {
    /// Configuration file (TOML); otherwise ./planfleet.toml or the user's own.
    #[arg(long, short, global = true, value_name = "FILE", env = "PLANFLEET_CONFIG")]
    config: Option<PathBuf>,
    /// Set one configuration key, as --set pools.default.slots=4.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How data is printed on standard output.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// No progress and no notes, only data and errors.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Log more; twice for debug.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
    /// YAML.
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process, with an own nats-server.
    Dev(DevArgs),
    /// Run chosen roles of a fleet.
    Serve(ServeArgs),
    /// Submit a task and wait for its end.
    Run(RunArgs),
    /// Plan a goal without running it, or check a plan.
    Plan(PlanArgs),
    /// Look at runs; pause, approve, cancel and retry them.
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Submit many tasks at once, follow them, and bring them to an end.
    #[command(subcommand)]
    Batch(BatchCommand),
    /// Look at templates, check them, and add them to the fleet.
    #[command(subcommand)]
    Templates(TemplatesCommand),
    /// Look after the queues.
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Look at the tools that plans may use.
    #[command(subcommand)]
    Tools(ToolsCommand),
    /// Do the same tasks in several ways, and compare cost, time and success.
    Compare(CompareArgs),
    /// Look after the plans that are used again.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// See what runs have cost.
    #[command(subcommand)]
    Cost(CostCommand),
    /// Let coding agents use the fleet: an MCP server on standard input and output.
    Mcp,
    /// Look at the configured models.
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look after the installation.
    #[command(subcommand)]
    Admin(AdminCommand),
    /// A simulated model provider, for tests, demonstrations and load tests.
    Modelsim(ModelsimArgs),
    /// Measure this program, and the floor under it, on this machine.
    ///
    /// Each measurement starts its own nats-server and its own processes, and stops
    /// them again. Beside the engine, a bare program moves the same messages through
    /// the same streams: the floor. All figures are medians of --repeat measurements.
    Bench(BenchArgs),
    /// One process of the floor that `bench` compares with.
    #[command(hide = true)]
    BenchFloor(BenchFloorArgs),
    /// Those who watch a run while `bench` times it.
    #[command(hide = true)]
    BenchWatchers(BenchWatchersArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Use no local model even if one is installed.
    #[arg(long)]
    pub(crate) no_local_model: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Which roles this process takes.
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    pub(crate) roles: Vec<Role>,
    /// The pools that the executor works for; all configured ones unless said.
    #[arg(long, value_delimiter = ',')]
    pub(crate) pool: Vec<String>,
    /// Steps that this process carries out at once, per pool.
    #[arg(long)]
    pub(crate) slots: Option<usize>,
    /// This process's name among coordinators; unique.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

/// What a process of the fleet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Turns goals into plans.
    Planner,
    /// Tracks runs and dispatches their steps.
    Coordinator,
    /// Carries steps out.
    Executor,
    /// Answers over HTTP.
    Api,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Planner, Self::Coordinator, Self::Executor];
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The goal, in words.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub(crate) goal: Option<String>,
    /// A task as JSON; - reads standard input.
    #[arg(long, short)]
    pub(crate) file: Option<PathBuf>,
    /// An input of the task, as --input path=notes.txt; JSON where it is JSON.
    #[arg(long = "input", short, value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<String>,
    #[command(flatten)]
    pub(crate) guards: GuardArgs,
    /// Start everything for this one run, and stop it again.
    #[arg(long, conflicts_with = "detach")]
    pub(crate) local: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// How a run is watched over; in place of what a task file says.
#[derive(Debug, Default, Args)]
pub(crate) struct GuardArgs {
    /// When the planner looks at the run again: on_failure, after_each_step or never.
    #[arg(long, value_name = "WHEN")]
    pub(crate) review: Option<String>,
    /// Every plan waits until somebody approves it.
    #[arg(long)]
    pub(crate) approve_plan: bool,
    /// Steps that may use this tool wait until somebody approves them.
    #[arg(long = "approve-tool", value_name = "NAME")]
    pub(crate) approve_tools: Vec<String>,
    /// Time for one attempt of a step, where the step does not say.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) step_timeout: Option<u32>,
}

/// How a new run is waited for.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Print the run's id and do not wait.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Stop waiting after so many seconds; the run goes on.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// The same key gives the same run.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct PlanArgs {
    #[command(subcommand)]
    pub(crate) command: Option<PlanCommand>,
    /// The goal, in words.
    #[arg(required_unless_present = "file")]
    pub(crate) goal: Option<String>,
    /// A task as JSON; - reads standard input.
    #[arg(long, short, conflicts_with = "goal")]
    pub(crate) file: Option<PathBuf>,
    /// An input of the task, as --input path=notes.txt; JSON where it is JSON.
    #[arg(long = "input", short, value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<String>,
    /// Print the plan as a Mermaid flowchart.
    #[arg(long)]
    pub(crate) mermaid: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Check a plan and list all of its faults.
    Lint {
        /// A plan as JSON; - reads standard input.
        file: PathBuf,
    },
}

/// The same tasks done in several ways, side by side.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Tasks as JSON lines, each with an `expected` answer if there is one; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: String,
    /// The ways, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "direct,plan,plan+cache")]
    pub(crate) modes: Vec<CompareMode>,
    /// Only the first so many tasks.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Runs at once. More of them wait for each other, which latencies then show.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) concurrency: u16,
    /// Write what the models answer to this file, to be played again.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub(crate) record: Option<std::path::PathBuf>,
    /// Answer from such a file instead of asking the models.
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<std::path::PathBuf>,
    /// Seconds that one run may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) deadline_s: u64,
}

/// How the tasks are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CompareMode {
    /// One call of the strong model with all tools, which takes as many turns as it wants.
    Direct,
    /// As a fleet does it by itself: a cheap model says whether a plan is needed.
    Auto,
    /// A plan for each task.
    Plan,
    /// One plan for all tasks of a class.
    #[value(name = "plan+cache")]
    PlanCache,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Every kind of task that is known, the most used first.
    List {
        /// Only kinds of this class.
        #[arg(long, value_name = "NAME")]
        class: Option<String>,
    },
    /// One kind of task with its plan.
    Show {
        /// Its key, as `list` shows it.
        key: String,
    },
    /// What the cache has saved, by class.
    Stats,
    /// Forget kinds of task: the next of each is planned.
    Rm {
        /// Their keys, as `list` shows them.
        #[arg(value_name = "KEY", required_unless_present = "all", conflicts_with = "all")]
        keys: Vec<String>,
        /// All that are there.
        #[arg(long)]
        all: bool,
    },
    /// Keep a plan whatever comes of it.
    Pin {
        /// Its key, as `list` shows it.
        key: String,
        /// Let it go again when it fails too often.
        #[arg(long)]
        off: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CostCommand {
    /// What runs that have ended have cost.
    Report(CostArgs),
}

/// Which runs, and how they are put together.
#[derive(Debug, Args)]
pub(crate) struct CostArgs {
    /// What makes a row.
    #[arg(long, value_enum, default_value = "model")]
    pub(crate) by: CostBy,
    /// Only runs that ended within this time, such as `24h` or `7d`.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) since: Option<std::time::Duration>,
    /// Only runs of this tenant.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// Only runs of this batch.
    #[arg(long, value_name = "ID")]
    pub(crate) batch: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CostBy {
    Run,
    Batch,
    Model,
    Role,
    Class,
    Day,
    Tenant,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ToolsCommand {
    /// Every tool.
    List,
    /// One tool with its schemas.
    Show {
        /// The tool's name.
        name: String,
    },
    /// Call one tool under the configured rules.
    Call {
        /// The tool's name.
        name: String,
        /// Its arguments, a JSON object.
        #[arg(long, default_value = "{}")]
        args: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// The effective configuration, secrets redacted.
    Show,
    /// Say everything that is wrong with the configuration.
    Check,
    /// The commented defaults, to start a file from.
    Init,
}

impl Command {
    /// The command's name, as telemetry shows the role of a process.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Dev(_) => "dev",
            Self::Serve(_) => "serve",
            Self::Run(_) => "run",
            Self::Plan(_) => "plan",
            Self::Runs(_) => "runs",
            Self::Batch(_) => "batch",
            Self::Templates(_) => "templates",
            Self::Queue(_) => "queue",
            Self::Tools(_) => "tools",
            Self::Compare(_) => "compare",
            Self::Cache(_) => "cache",
            Self::Cost(_) => "cost",
            Self::Mcp => "mcp",
            Self::Models(_) => "models",
            Self::Config(_) => "config",
            Self::Admin(_) => "admin",
            Self::Modelsim(_) => "modelsim",
            Self::Bench(_) => "bench",
            Self::BenchFloor(_) => "bench-floor",
            Self::BenchWatchers(_) => "bench-watchers",
        }
    }

    /// Whether it makes a price file.
    pub(crate) const fn imports_prices(&self) -> bool {
        matches!(self, Self::Models(ModelsCommand::Prices { command: Some(PricesCommand::Import { .. }) }))
    }

    /// Whether it runs until it is stopped.
    pub(crate) const fn is_service(&self) -> bool {
        matches!(self, Self::Dev(_) | Self::Serve(_) | Self::Modelsim(_))
    }
}

impl Cli {
    /// What the command line says about the configuration.
    pub(crate) fn load_request(&self) -> Result<LoadRequest, Failure> {
        let pair = |text: &String| {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                Failure::usage(format!("--set {text}: use KEY=VALUE, as pools.default.slots=4"))
            })?;
            Ok((key.to_owned(), value.to_owned()))
        };
        Ok(LoadRequest {
            file: self.config.clone(),
            overrides: self.set.iter().map(pair).collect::<Result<_, Failure>>()?,
            directory: std::env::current_dir().map_err(Failure::unexpected)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
