//! The rig: homes, processes, brokers, the simulated provider, and how to wait.

mod broker;
mod cluster;
mod disk;
mod fleet;
mod home;
pub(crate) mod http;
mod installed;
mod network;
mod port;
mod process;
mod receiver;
mod rig;
mod sim;
mod traffic;
mod write;

use std::{
    thread,
    time::{Duration, Instant},
};

pub(crate) use self::{
    broker::Broker,
    cluster::Cluster,
    disk::Disk,
    fleet::Fleet,
    home::Home,
    installed::{local_model, mcp_packages, nats_server, node, python_packages},
    network::{Host, Network},
    port::free_port,
    process::{Outcome, Process, alive, descendants, kill},
    receiver::{Receiver, Span},
    rig::{Rig, configuration},
    sim::{Roles, Sim, first_plan, slow},
    traffic::{Traffic, api_port, ended_within},
    write::{Step, at, plan, replan, step, tool},
};

/// Longer than anything here takes, even beside a compile on two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Looks until there is something to see.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, &mut look)
}

/// Looks until there is something to see, for no longer than `limit`.
pub(crate) fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
