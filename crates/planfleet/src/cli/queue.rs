//! `queue`: look after the queues.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Dead letters: messages that nobody could read.
    #[command(subcommand)]
    Dlq(DlqCommand),
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
