//! `runs`: look at runs and steer them.

use clap::{Args, Subcommand};

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
    /// Ask for a run to end.
    Cancel {
        /// The run's id.
        id: String,
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
        id: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
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
