//! `admin`: look after the installation.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use planfleet_bus::blobs::sweep::GRACE;

use super::KeysCommand;

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Check everything that a fleet needs, and say what to do.
    Doctor,
    /// Remove stored bodies that nothing refers to any more.
    ///
    /// What is larger than 64 KiB is stored beside the message that carries it. A
    /// coordinator removes what has outlived its messages every six hours; this does
    /// it now. Whatever an active run, queued work, a document of an ended run, a dead
    /// letter or a snapshot refers to stays.
    Gc(GcArgs),
    /// Make streams, consumers and buckets, or check that they are as they should be.
    ///
    /// For a fleet whose services may not make them: run it with an admin's key, before
    /// the services start and after each upgrade. May be repeated.
    Bootstrap,
    /// Write keys for every role, and who may do what for the nats-server.
    ///
    /// One NKey for each role and pool of executors of the settings, in a file that only its
    /// owner reads, and `nats-auth.conf` for the servers to include. Keys that are there stay:
    /// run it again after adding a pool.
    NatsAuth(NatsAuthArgs),
    /// Keys to the HTTP API.
    #[command(subcommand)]
    Keys(KeysCommand),
}

#[derive(Debug, Args)]
pub(crate) struct NatsAuthArgs {
    /// The folder to write to.
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Replace a `nats-auth.conf` that differs. Keys are never replaced by this.
    #[arg(long)]
    pub(crate) force: bool,
    /// Make new keys for these roles, such as `client` or `executor-default`; the old ones are
    /// worth nothing once the servers have read the new `nats-auth.conf`.
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    pub(crate) rotate: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Only say what would be removed.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Leave alone what was stored or used within so many seconds. Less than the
    /// longest publish (some minutes) is safe only while nothing else runs.
    #[arg(long, value_name = "SECONDS", default_value_t = GRACE.as_secs())]
    pub(crate) grace: u64,
}
