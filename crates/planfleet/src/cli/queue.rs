//! `queue`: look after the queues.

use clap::{Args, Subcommand};
use planfleet_bus::flow::Target;

use crate::exit::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// What waits, is out or is paused, by pool, priority and tenant; and what is paused.
    List,
    /// Start no new work of a pool, a tenant or a class. What is at work goes on.
    Pause {
        #[command(flatten)]
        target: TargetArgs,
        /// Why, for others who look.
        #[arg(long, default_value = "paused by an operator")]
        reason: String,
    },
    /// Start work of a paused pool, tenant or class again.
    Resume(TargetArgs),
    /// Dead letters: messages that nobody could read.
    #[command(subcommand)]
    Dlq(DlqCommand),
}

/// What is paused or resumed: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// All work of this pool.
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// All work of this tenant.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// All work of tasks of this class.
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
}

impl TargetArgs {
    /// The one that is named.
    ///
    /// # Errors
    /// When it cannot be a name.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        let pool = self.pool.clone().map(Target::Pool);
        let tenant = || self.tenant.clone().map(Target::Tenant);
        let class = || self.class.clone().map(Target::Class);
        let target = pool.or_else(tenant).or_else(class);
        let target = target.ok_or_else(|| Failure::usage("expected --pool, --tenant or --class"))?;
        target.check().map_err(Failure::usage)?;
        Ok(target)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// The newest dead letters, the newest last.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        of: OriginArgs,
    },
    /// One dead letter with its payload.
    Show {
        /// Its sequence, as `list` shows it.
        seq: u64,
    },
    /// Send messages again to where they came from, and drop their letters.
    Replay(LetterArgs),
    /// Drop dead letters for good.
    Drop(LetterArgs),
}

/// Which dead letters; each by its sequence, or all.
#[derive(Debug, Args)]
pub(crate) struct LetterArgs {
    /// Their sequences, as `list` shows them.
    #[arg(value_name = "SEQ", required_unless_present = "all", conflicts_with_all = ["all", "pool", "shard"])]
    pub(crate) seqs: Vec<u64>,
    /// All that are there now; with --pool or --shard, all from there.
    #[arg(long)]
    pub(crate) all: bool,
    /// Do it to all of them, and do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) of: OriginArgs,
}

/// Where dead letters come from; anywhere unless said.
#[derive(Debug, Args)]
pub(crate) struct OriginArgs {
    /// Only work of this pool.
    #[arg(long, value_name = "NAME", conflicts_with = "shard")]
    pub(crate) pool: Option<String>,
    /// Only records of this shard's log.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) shard: Option<u16>,
}
