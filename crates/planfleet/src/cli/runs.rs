//! `runs`: look at runs and steer them.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use planfleet_core::document::RunState;
use serde_json::Value;

use super::WaitArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// Active runs and the newest that have ended.
    List {
        /// At most so many of each.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// One run, whole.
    Get {
        /// The run's id.
        id: String,
    },
    /// Follow a run to its end.
    Watch {
        /// The run's id.
        id: String,
    },
    /// Ask for a run to end, or for all that fit.
    Cancel {
        /// The run's id.
        #[arg(required_unless_present = "filter")]
        id: Option<String>,
        #[command(flatten)]
        which: FilterArgs,
        /// Why.
        #[arg(long, value_name = "TEXT", default_value = ASKED)]
        reason: String,
    },
    /// Have a run start nothing new; what is at work goes on.
    Pause {
        /// The run's id.
        id: String,
        /// Why.
        #[arg(long, value_name = "TEXT", default_value = ASKED)]
        reason: String,
    },
    /// Have a paused run go on.
    Resume {
        /// The run's id.
        id: String,
    },
    /// Say yes to what waits for approval.
    Approve {
        /// The run's id.
        id: String,
        #[command(flatten)]
        gates: GateArgs,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Say no to what waits for approval.
    Reject {
        /// The run's id.
        id: String,
        #[command(flatten)]
        gates: GateArgs,
        /// Why; the planner reads it.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Run again what has failed; what is done is not done again.
    Retry {
        /// The id of the run that did not succeed.
        #[arg(required_unless_present = "filter")]
        id: Option<String>,
        #[command(flatten)]
        which: FilterArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

/// Runs that fit all of what is said.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("filter").multiple(true)))]
pub(crate) struct FilterArgs {
    /// All that can be meant, instead of an id or a filter.
    #[arg(long, group = "filter", conflicts_with = "id")]
    pub(crate) all: bool,
    /// Only those in this state; may be given again for more.
    #[arg(long = "state", value_name = "STATE", value_parser = state, group = "filter", conflicts_with = "id")]
    pub(crate) states: Vec<RunState>,
    /// Only those of this tenant.
    #[arg(long, value_name = "NAME", group = "filter", conflicts_with = "id")]
    pub(crate) tenant: Option<String>,
    /// Only those of this class.
    #[arg(long, value_name = "NAME", group = "filter", conflicts_with = "id")]
    pub(crate) class: Option<String>,
    /// Only those with a plan from this template.
    #[arg(long, value_name = "NAME", group = "filter", conflicts_with = "id")]
    pub(crate) template: Option<String>,
    /// Only those of this batch.
    #[arg(long, value_name = "ID", group = "filter", conflicts_with = "id")]
    pub(crate) batch: Option<String>,
    /// Only those with this label; may be given again for more.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label, group = "filter", conflicts_with = "id")]
    pub(crate) labels: Vec<(String, String)>,
    /// Only those submitted at most so long ago, such as 2h.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, group = "filter", conflicts_with = "id")]
    pub(crate) newer_than: Option<Duration>,
    /// Only those submitted longer ago than this.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, group = "filter", conflicts_with = "id")]
    pub(crate) older_than: Option<Duration>,
    /// Only show which runs are meant.
    #[arg(long, conflicts_with = "id")]
    pub(crate) dry_run: bool,
    /// Do it, and not only show how many runs are meant.
    #[arg(long, conflicts_with_all = ["id", "dry_run"])]
    pub(crate) yes: bool,
}

fn state(text: &str) -> Result<RunState, String> {
    serde_json::from_value(Value::from(text)).map_err(|_| {
        "not a state; expected planning, awaiting_approval, executing, replanning, paused, failed, \
         cancelled or expired"
            .to_owned()
    })
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The reason of a request that gives none.
pub(crate) const ASKED: &str = "asked for on the command line";

/// What a decision is about; everything that waits unless said.
#[derive(Debug, Args)]
pub(crate) struct GateArgs {
    /// Only this revision of the plan.
    #[arg(long, value_name = "REVISION", conflicts_with = "steps")]
    pub(crate) plan: Option<u32>,
    /// Only this step; may be given again for more.
    #[arg(long = "step", value_name = "STEP")]
    pub(crate) steps: Vec<u32>,
}
