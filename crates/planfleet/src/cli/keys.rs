//! `admin keys`: keys to the HTTP API.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key. It is shown once: only a hash of it is kept.
    Create(CreateKeyArgs),
    /// The keys there are, the newest first, without what they are called with.
    List,
    /// End a key. It works for five seconds more at most.
    Revoke {
        /// Its id, as `list` shows it.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateKeyArgs {
    /// Whose it is, such as `ci` or `ada-laptop`.
    pub(crate) name: String,
    /// The tenant whose runs it sees and submits.
    #[arg(long, required_unless_present = "all_tenants", conflicts_with = "all_tenants")]
    pub(crate) tenant: Option<String>,
    /// Let it see all tenants, and what they share.
    #[arg(long)]
    pub(crate) all_tenants: bool,
    /// What it may: look, submit and steer, or look after what is shared.
    #[arg(long, value_enum, default_value_t = KeyRole::Reader)]
    pub(crate) role: KeyRole,
    /// How long it holds, such as 90d; for ever unless said.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) expires: Option<Duration>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KeyRole {
    /// Look at everything of the tenant.
    Reader,
    /// Submit, steer and decide.
    Operator,
    /// Look after what all runs share.
    Admin,
}
