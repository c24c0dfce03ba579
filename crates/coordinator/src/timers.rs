//! Times that commands asked to be told of. Rebuilt from state after a takeover.
//!
//! Most timers are overtaken: an attempt is answered long before its time is up.
//! They stay until they are due, their run ends, or the next sweep, so that
//! there are never more than twice as many as were awaited at the last sweep (or
//! [`UNSWEPT_MAX`]), and each arming costs its share of a sweep and no more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use planfleet_core::{id::RunId, record::Timer};

/// About 50 KiB of timers are not worth a sweep.
const UNSWEPT_MAX: usize = 1_024;

/// Pending timers, found by time and by run.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// Each run's timers by time; no run is without any.
    by_run: BTreeMap<RunId, BTreeSet<(u64, Timer)>>,
    /// When each run's first timer is due.
    first: BTreeSet<(u64, RunId)>,
    armed: usize,
    /// How many were left by the last sweep.
    swept: usize,
}

impl Timers {
    pub(crate) fn arm(&mut self, run: RunId, at_ms: u64, timer: Timer) {
        let timers = self.by_run.entry(run.clone()).or_default();
        let before = timers.first().map(|(at_ms, _)| *at_ms);
        if timers.insert((at_ms, timer)) {
            self.armed += 1;
        }
        self.note_first(run, before);
    }

    /// Drops the timers of a run that has ended.
    pub(crate) fn forget(&mut self, run: &RunId) {
        self.change(run, BTreeSet::clear);
    }

    /// Takes the next timer that is due.
    pub(crate) fn next_due(&mut self, now_ms: u64) -> Option<(RunId, Timer)> {
        let (_, run) = self.first.first().filter(|(at_ms, _)| *at_ms <= now_ms)?.clone();
        let mut due = None;
        self.change(&run, |timers| due = timers.pop_first());
        due.map(|(_, timer)| (run, timer))
    }

    /// Drops those that nobody awaits any more, if so many have been armed since
    /// the last time that it pays.
    pub(crate) fn sweep(&mut self, awaited: impl Fn(&RunId, Timer) -> bool) {
        if self.armed <= UNSWEPT_MAX.max(self.swept.saturating_mul(2)) {
            return;
        }
        let runs: Vec<RunId> = self.by_run.keys().cloned().collect();
        for run in runs {
            self.change(&run, |timers| timers.retain(|(_, timer)| awaited(&run, *timer)));
        }
        self.swept = self.armed;
    }

    /// How long until the next is due. At most a minute, so that a clock that
    /// was set does not keep timers asleep.
    pub(crate) fn wait(&self, now_ms: u64) -> Duration {
        const LONGEST_MS: u64 = 60_000;
        let next = self.first.first().map_or(LONGEST_MS, |(at_ms, _)| at_ms.saturating_sub(now_ms));
        Duration::from_millis(next.min(LONGEST_MS))
    }

    /// Takes timers of a run away.
    fn change(&mut self, run: &RunId, take: impl FnOnce(&mut BTreeSet<(u64, Timer)>)) {
        let Some(timers) = self.by_run.get_mut(run) else { return };
        let (before, had) = (timers.first().map(|(at_ms, _)| *at_ms), timers.len());
        take(timers);
        self.armed -= had - timers.len();
        self.note_first(run.clone(), before);
    }

    /// Keeps [`Self::first`] in step with a run whose first timer was due at `before`.
    fn note_first(&mut self, run: RunId, before: Option<u64>) {
        let after = self.by_run.get(&run).and_then(|timers| timers.first()).map(|(at_ms, _)| *at_ms);
        if after.is_none() {
            self.by_run.remove(&run);
        }
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.first.remove(&(before, run.clone()));
        }
        if let Some(after) = after {
            self.first.insert((after, run));
        }
    }
}

#[cfg(test)]
mod tests {
    use planfleet_core::id::StepId;

    use super::*;

    fn run(name: &str) -> RunId {
        RunId::new(0, name).unwrap()
    }

    fn timeout(step: u32) -> Timer {
        Timer::StepTimeout { step: StepId::plain(step), attempt: 1 }
    }

    fn due(timers: &mut Timers, now_ms: u64) -> Vec<(RunId, Timer)> {
        std::iter::from_fn(|| timers.next_due(now_ms)).collect()
    }

    #[test]
    fn due_timers_come_in_order_and_once() {
        let mut timers = Timers::default();
        timers.arm(run("a"), 20, Timer::Deadline);
        timers.arm(run("a"), 10, timeout(1));
        timers.arm(run("a"), 10, timeout(1));
        timers.arm(run("b"), 15, timeout(2));
        assert_eq!(timers.wait(5), Duration::from_millis(5));
        assert_eq!(due(&mut timers, 12), [(run("a"), timeout(1))]);
        assert_eq!(due(&mut timers, 25), [(run("b"), timeout(2)), (run("a"), Timer::Deadline)]);
        assert_eq!(timers.wait(25), Duration::from_secs(60));
    }

    #[test]
    fn the_timers_of_a_run_that_has_ended_are_forgotten() {
        let mut timers = Timers::default();
        timers.arm(run("a"), 30, Timer::Deadline);
        timers.arm(run("a"), 20, timeout(1));
        timers.arm(run("b"), 30, Timer::Deadline);
        timers.forget(&run("a"));
        timers.forget(&run("a"));
        assert_eq!((timers.armed, timers.by_run.len(), timers.first.len()), (1, 1, 1));
        assert_eq!(due(&mut timers, 99), [(run("b"), Timer::Deadline)]);
        assert_eq!((timers.armed, timers.by_run.len(), timers.first.len()), (0, 0, 0));
    }

    #[test]
    fn what_nobody_awaits_does_not_pile_up() {
        let mut timers = Timers::default();
        let mut most = 0;
        // Of a hundred thousand steps one after another, each awaits its own time only.
        for step in 1..=100_000 {
            timers.arm(run("a"), u64::from(step) + 3_600_000, timeout(step));
            timers.sweep(|_, timer| timer == timeout(step));
            most = most.max(timers.armed);
        }
        assert!(most <= UNSWEPT_MAX + 1, "{most}");
        timers.sweep(|_, _| panic!("not worth it"));
    }

    #[test]
    fn a_sweep_comes_when_twice_as_many_are_armed_as_were_awaited() {
        let (mut timers, swept) = (Timers::default(), std::cell::Cell::new(0));
        for step in 1..=10_000 {
            timers.arm(run("a"), 5, timeout(step));
            timers.sweep(|_, _| {
                swept.set(swept.get() + 1);
                true
            });
        }
        assert_eq!(timers.armed, 10_000, "all are awaited");
        assert!(swept.get() < 20_000, "each arming pays for less than two looks: {}", swept.get());
    }
}
