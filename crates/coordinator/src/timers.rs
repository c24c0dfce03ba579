//! Times that commands asked to be told of. Rebuilt from state after a takeover.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use planfleet_core::{id::RunId, record::Timer};

/// Pending timers, ordered by time and found by run.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(u64, RunId, Timer)>,
    by_run: BTreeMap<RunId, Vec<(u64, Timer)>>,
}

impl Timers {
    pub(crate) fn arm(&mut self, run: RunId, at_ms: u64, timer: Timer) {
        if self.by_time.insert((at_ms, run.clone(), timer)) {
            self.by_run.entry(run).or_default().push((at_ms, timer));
        }
    }

    /// Drops the timers of a run that has ended.
    pub(crate) fn forget(&mut self, run: &RunId) {
        for (at_ms, timer) in self.by_run.remove(run).unwrap_or_default() {
            self.by_time.remove(&(at_ms, run.clone(), timer));
        }
    }

    /// Takes the timers that are due.
    pub(crate) fn due(&mut self, now_ms: u64) -> Vec<(RunId, Timer)> {
        let mut due = Vec::new();
        while let Some((at_ms, run, timer)) = self.by_time.pop_first() {
            if at_ms > now_ms {
                self.by_time.insert((at_ms, run, timer));
                break;
            }
            if let Some(armed) = self.by_run.get_mut(&run) {
                armed.retain(|armed| *armed != (at_ms, timer));
                if armed.is_empty() {
                    self.by_run.remove(&run);
                }
            }
            due.push((run, timer));
        }
        due
    }

    /// How long until the next is due. At most a minute, so that a clock that
    /// was set does not keep timers asleep.
    pub(crate) fn wait(&self, now_ms: u64) -> Duration {
        const LONGEST_MS: u64 = 60_000;
        let next = self.by_time.first().map_or(LONGEST_MS, |(at_ms, ..)| at_ms.saturating_sub(now_ms));
        Duration::from_millis(next.min(LONGEST_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_timers_come_in_order_and_once() {
        let run = RunId::new(0, "a").unwrap();
        let mut timers = Timers::default();
        timers.arm(run.clone(), 20, Timer::Deadline);
        timers.arm(run.clone(), 10, Timer::Replan { revision: 1, attempt: 2 });
        timers.arm(run.clone(), 10, Timer::Replan { revision: 1, attempt: 2 });
        assert_eq!(timers.wait(5), Duration::from_millis(5));
        assert_eq!(timers.due(15).len(), 1);
        assert_eq!(timers.due(25), [(run.clone(), Timer::Deadline)]);
        timers.arm(run.clone(), 30, Timer::Deadline);
        timers.forget(&run);
        assert_eq!(timers.due(99), []);
    }
}
