//! How much of a pool's work may be out at once.
//!
//! Twice the slots are enough where work takes long: while one half is at work, the
//! other waits next to it. Where it takes a millisecond, most of it is on its way at
//! any moment, to the broker, to a worker and back, and slots say little. There Little's
//! law does: what is out is the rate at which work comes back, times how long it is out.
//! So a window also holds twice what came back in the last [`window_time`]. As long as
//! work comes back within twice that time, a window that is too small doubles from one
//! such time to the next; when workers have all that they can do, the rate stays, and
//! what waits before them is what they do in half a second. Work that takes long comes
//! back rarely, and leaves the window at twice the slots.
//!
//! Slots are the fleet's, and every coordinator has its own runs. Each one has the part
//! of its shards, and whatever of the rest others do not use: they say so every second
//! (see [`super::follow`]). Two that begin at once may be over the whole for that long.
//!
//! [`window_time`]: crate::FlowSettings::window_time

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::FlowSettings;

/// What is known of a pool's workers and of others who let work go to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Outlook {
    /// All slots of workers that are there; 0 while none is known.
    pub(super) slots: usize,
    /// What other coordinators have out.
    pub(super) others: usize,
}

/// A part of a whole that all shards have in equal parts: as many of them as are owned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) owned: usize,
    pub(super) of: usize,
}

/// What came back lately.
#[derive(Debug)]
pub(super) struct Returns {
    since: Instant,
    counts: [usize; 3],
}

impl Part {
    /// The part of so many: never nothing, or what is owned would stand still.
    pub(super) fn share(self, whole: usize) -> usize {
        let of = self.of.max(1);
        whole.saturating_mul(self.owned).div_ceil(of).max(1)
    }
}

impl Returns {
    pub(super) fn from(now: Instant) -> Self {
        Self { since: now, counts: [0; 3] }
    }

    pub(super) fn note(&mut self, now: Instant, every: Duration) {
        self.roll(now, every);
        self.counts[0] += 1;
    }

    /// The most that came back in one of the last times: one hiccup is no slow fleet.
    pub(super) fn most(&mut self, now: Instant, every: Duration) -> usize {
        self.roll(now, every);
        self.counts.into_iter().max().unwrap_or_default()
    }

    fn roll(&mut self, now: Instant, every: Duration) {
        for _ in 0..self.counts.len() {
            if now.duration_since(self.since) < every {
                return;
            }
            self.since += every;
            self.counts.rotate_right(1);
            self.counts[0] = 0;
        }
        // Nothing for long.
        if now.duration_since(self.since) >= every {
            self.since = now;
        }
    }
}

/// How much may be out, by what is known.
pub(super) fn window(settings: &FlowSettings, outlook: Outlook, part: Part, came_back: usize) -> usize {
    let whole = match outlook.slots {
        0 => settings.window_without_workers,
        slots => slots.saturating_mul(settings.window_per_slot),
    };
    let unused = whole.saturating_sub(outlook.others);
    part.share(whole).max(unused).max(came_back.saturating_mul(2))
}

/// Slots by pool of all that were said lately.
pub(super) fn sum<'a>(said: impl Iterator<Item = &'a BTreeMap<String, usize>>) -> BTreeMap<&'a str, usize> {
    let mut sums = BTreeMap::<&str, usize>::new();
    for counts in said {
        for (pool, count) in counts {
            let sum = sums.entry(pool).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Part = Part { owned: 4, of: 4 };

    fn of(outlook: Outlook, part: Part, came_back: usize) -> usize {
        window(&FlowSettings::default(), outlook, part, came_back)
    }

    #[test]
    fn a_window_holds_twice_the_slots_or_what_comes_back_in_half_a_second() {
        let outlook = Outlook { slots: 16, others: 0 };
        assert_eq!((of(outlook, ALL, 3), of(outlook, ALL, 500)), (32, 1_000));
        assert_eq!(of(Outlook::default(), ALL, 0), 64, "no worker is known");
    }

    #[test]
    fn a_coordinator_has_its_part_and_what_others_do_not_use() {
        let quarter = Part { owned: 1, of: 4 };
        let with = |others| of(Outlook { slots: 16, others }, quarter, 0);
        assert_eq!((with(0), with(20), with(32)), (32, 12, 8));
        let none = Part { owned: 0, of: 4 };
        assert_eq!(of(Outlook { slots: 1, others: 9 }, none, 0), 1, "nothing stands still");
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_back_is_forgotten_after_a_while() {
        let every = Duration::from_millis(250);
        let began = Instant::now();
        let mut returns = Returns::from(began);
        let at = |ms| began + Duration::from_millis(ms);
        (0..100).for_each(|n| returns.note(at(n), every));
        (0..40).for_each(|n| returns.note(at(260 + n), every));
        assert_eq!(returns.most(at(400), every), 100);
        assert_eq!(returns.most(at(740), every), 100);
        assert_eq!(returns.most(at(760), every), 40);
        assert_eq!(returns.most(at(1_010), every), 0);
        returns.note(at(60_000), every);
        assert_eq!(returns.most(at(60_249), every), 1);
        assert_eq!(returns.most(at(61_000), every), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_that_is_too_small_grows_until_the_workers_are_busy() {
        // Each piece is out for 20 ms, and workers do a thousand a second of them at most.
        let (settings, began) = (FlowSettings::default(), Instant::now());
        let mut returns = Returns::from(began);
        let outlook = Outlook { slots: 1, others: 0 };
        let (mut out, mut done) = (std::collections::VecDeque::new(), 0);
        let mut last = 0;
        for ms in 0..4_000_u64 {
            let now = began + Duration::from_millis(ms);
            if out.front().is_some_and(|since| ms >= since + 20) {
                out.pop_front();
                returns.note(now, settings.window_time);
                done += 1;
            }
            last = window(&settings, outlook, ALL, returns.most(now, settings.window_time));
            while out.len() < last {
                out.push_back(ms);
            }
        }
        assert!(done > 3_500, "{done} done in 4,000 ms");
        assert_eq!(last, 500, "half a second of work");
    }
}
