//! `planfleet bench`: measures the engine and the floor under it on the same machine,
//! one after the other, so that their ratio means something on any machine.
//!
//! Every measurement has fresh nats-servers, and a process for each role, all of which
//! end with it. Start with [`workload`] for what there is, [`load`] for how most of it
//! is measured, and [`floor`] for what it is compared with. [`targets`] is what should
//! be reached. **Invariant:** a figure that was not measured is null, never zero, and a
//! run that did not succeed makes the whole measurement void.

mod backlog;
mod batch;
mod case;
mod child;
mod cold_start;
mod engine;
mod error;
pub mod floor;
mod graph;
mod isolation;
mod load;
mod machine;
mod measure;
mod messages;
mod movie;
mod occupancy;
mod offer;
mod overload;
mod plan_text;
mod planned;
mod provider;
mod report;
mod sample;
mod scale;
mod server;
mod site;
mod slow;
mod streamed;
mod targets;
mod usage;
mod watched;
mod watcher;
mod workload;

use std::{path::PathBuf, time::Duration};

pub use self::{
    error::Error,
    messages::Messages,
    report::{TABLES, Table},
    sample::Row,
    watcher::watch,
    workload::names,
};

/// Nothing that is measured stands still for so long.
const STALL: Duration = Duration::from_secs(120);

/// What to measure, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names of workloads; none means all.
    pub workloads: Vec<String>,
    /// Runs of each row, in place of the workload's own numbers.
    pub runs: Option<u64>,
    /// How often each row is measured; its figures are medians.
    pub repeat: usize,
    /// The broker that is started for each measurement.
    pub broker: Broker,
    /// Executor processes, in place of the workload's own number.
    pub executors: Option<usize>,
    /// Steps at once in each executor, in place of the workload's own number.
    pub slots: Option<usize>,
    /// How long `backlog` leaves its runs without any executor.
    pub outage: Duration,
    /// Whether the engine is measured.
    pub engine: bool,
    /// Whether the floor is measured.
    pub floor: bool,
    /// The folder for `<workload>.json`.
    pub out: PathBuf,
    /// The planfleet program.
    pub program: PathBuf,
    /// The nats-server program.
    pub nats_server: PathBuf,
}

/// How a broker keeps what it stores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Broker {
    /// Servers, and copies of everything: 1 or 3.
    pub replicas: usize,
    /// How often it syncs to disk.
    pub sync: Sync,
}

/// How often a broker syncs to disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sync {
    /// As the server does unless it is told.
    #[default]
    Default,
    /// Before each ack.
    Always,
}

impl Sync {
    /// The server's own setting, where one is needed.
    const fn setting(self) -> Option<&'static str> {
        match self {
            Self::Default => None,
            Self::Always => Some("always"),
        }
    }
}

/// Measures all that was asked for, writes a file for each workload, and gives the
/// rows of the table. `progress` is told what is going on.
///
/// # Errors
/// [`Error::UnknownWorkload`] before anything is started; else when a process ends
/// that was to stay, when something takes too long, or when the engine did not do
/// what the workload asks for.
pub async fn run(options: &Options, progress: &dyn Fn(&str)) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for workload in workload::chosen(&options.workloads)? {
        let from = rows.len();
        rows.extend(workload::measure(workload, options, progress).await?);
        targets::judge(&mut rows);
        report::write(&options.out, workload.name, &rows[from..])?;
    }
    Ok(rows)
}
