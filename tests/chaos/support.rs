//! What the end-to-end tests' rig has that a campaign needs too: homes and processes.

#![allow(dead_code, reason = "a campaign uses a part of what the end-to-end tests need")]
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "as in the end-to-end tests")]

#[path = "../e2e/support/disk.rs"]
mod disk;
#[path = "../e2e/support/home.rs"]
mod home;
#[path = "../e2e/support/installed.rs"]
mod installed;
#[path = "../e2e/support/port.rs"]
mod port;
#[path = "../e2e/support/process.rs"]
mod process;

use std::{
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub(crate) use self::{
    disk::Disk,
    home::Home,
    installed::nats_server,
    port::free_port,
    process::{Outcome, Process},
};

/// Longer than any process here takes to start or end, even beside a compile on two cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until there is something to see.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Milliseconds since the Unix epoch: the one clock of a campaign.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
