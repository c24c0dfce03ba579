//! Faults of processes: signals, and what is seen of those that they were sent to.

use std::{os::unix::process::ExitStatusExt as _, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Nemesis, STOP_LIMIT, noted, plan::Planned, signals, until};
use crate::{
    history::{FaultKind, Target},
    support::Process,
};

/// How long a signal may take to be seen in the state of a process.
const STATE_LIMIT: Duration = Duration::from_secs(2);

/// The signal that kills.
const SIGKILL: i32 = 9;

impl Nemesis {
    /// Kills, freezes or terminates one process; says how that was seen. A frozen one goes on
    /// when this returns, the others have ended.
    pub(super) async fn harm_process(
        &self,
        fault: &Planned,
        name: &str,
        process: &mut Process,
    ) -> Result<String, String> {
        let pid = process.pid();
        match fault.kind {
            FaultKind::Kill => {
                process.kill();
                match process.status().and_then(|status| status.signal()) {
                    Some(SIGKILL) => gone(pid, "killed").await,
                    _ => {
                        let death = format!("{name} ended by itself: {:?}", process.status());
                        noted(&self.findings, death.clone());
                        Err(death)
                    }
                }
            }
            FaultKind::Freeze => {
                signals::send("STOP", pid)?;
                let stopped = until(STATE_LIMIT, || signals::state(pid) == Some('T')).await;
                sleep(fault.lasts).await;
                let still = signals::state(pid);
                signals::send("CONT", pid)?;
                match (stopped, still) {
                    (true, Some('T')) => Ok(format!("{pid} in state T for {:?}", fault.lasts)),
                    _ => Err(format!("{pid} is in state {still:?}")),
                }
            }
            _ => {
                process.terminate();
                let asked = Instant::now();
                if !until(STOP_LIMIT, || process.has_ended()).await {
                    process.kill();
                    let stuck = format!("{name} did not stop within {STOP_LIMIT:?} of SIGTERM");
                    noted(&self.findings, stuck.clone());
                    return Err(stuck);
                }
                let code = process.status().and_then(|status| status.code());
                if fault.target != Target::Broker && code != Some(0) {
                    let said = process.err().trim_end().lines().last().unwrap_or_default().to_owned();
                    let how = format!("{:?}", process.status());
                    noted(&self.findings, format!("{name} ended with {how} on SIGTERM: {said}"));
                }
                gone(pid, &format!("stopped {:?} after SIGTERM", asked.elapsed())).await
            }
        }
    }
}

async fn gone(pid: u32, how: &str) -> Result<String, String> {
    if until(STATE_LIMIT, || signals::state(pid).is_none()).await {
        return Ok(format!("{pid} {how}"));
    }
    Err(format!("{pid} is still there"))
}
