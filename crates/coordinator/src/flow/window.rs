//! How much of a pool's work may be out at once.
//!
//! Twice the slots are enough where work takes long: while one half is at work, the
//! other waits next to it. Where it takes a millisecond, most of it is on its way at
//! any moment, to the broker, to a worker and back, and slots say little. There Little's
//! law does: what is out is the rate at which work comes back, times how long it is out.
//! So a window also holds half as much again as that comes to by the last returns
//! ([`window_time`]), with what is at work by the workers' own clocks and what is on its way
//! by the least that was seen lately. A window that is too small grows by half from one such
//! time to the next; when workers have all that they can do the rate stays, and what waits
//! before them is half of what is under way anyhow. More would make no worker faster, and
//! whoever comes next would wait behind it.
//!
//! The least way is found as long as something comes back that has not waited. In a fleet
//! that is always full nothing would, so a window begins each [`PERIOD`] at twice the slots
//! for a moment.
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

/// So much more than what is under way: what a window that is too small grows by.
const MORE: f64 = 1.5;

/// For so long a way is remembered at least, and at most twice as long.
const PERIOD: Duration = Duration::from_secs(5);

/// The longest moment for which a window is small at the beginning of a period.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// What came back lately.
#[derive(Debug)]
pub(super) struct Returns {
    since: Instant,
    /// In this time and the two before it.
    times: [Returned; 3],
    ways: Ways,
}

/// What came back in one time.
#[derive(Debug, Clone, Copy, Default)]
struct Returned {
    count: usize,
    /// How long all of it was at work, by its workers' clocks.
    at_work: Duration,
}

/// How long work is out besides being at work: on its way, and waiting for a worker.
#[derive(Debug)]
struct Ways {
    since: Instant,
    /// The least in this period, and in the one before.
    least: Option<Duration>,
    before: Option<Duration>,
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
        let ways = Ways { since: now, least: None, before: None };
        Self { since: now, times: Default::default(), ways }
    }

    /// Notes work that was out for so long, if that is known, and at work for so long of it.
    pub(super) fn note(&mut self, now: Instant, every: Duration, out: Option<Duration>, at_work: Duration) {
        self.roll(now, every);
        self.times[0].count += 1;
        self.times[0].at_work = self.times[0].at_work.saturating_add(at_work);
        if let Some(out) = out {
            self.ways.note(now, out.saturating_sub(at_work));
        }
    }

    /// How much is under way at once in workers of so many slots, as far as what came back
    /// tells: by the most in one of the last times, as one hiccup is no slow fleet.
    pub(super) fn under_way(&mut self, now: Instant, every: Duration, slots: usize) -> f64 {
        self.roll(now, every);
        let Some(way) = self.ways.least(now) else { return 0.0 };
        let of = |Returned { count, at_work }: &Returned| {
            // Long work that ends together has filled no more than the slots.
            let at_work = (at_work.as_secs_f64() / every.as_secs_f64()).min(slots as f64);
            at_work + *count as f64 * way.as_secs_f64() / every.as_secs_f64()
        };
        self.times.iter().map(of).fold(0.0, f64::max)
    }

    fn roll(&mut self, now: Instant, every: Duration) {
        for _ in 0..self.times.len() {
            if now.duration_since(self.since) < every {
                return;
            }
            self.since += every;
            self.times.rotate_right(1);
            self.times[0] = Returned::default();
        }
        // Nothing for long.
        if now.duration_since(self.since) >= every {
            self.since = now;
        }
    }
}

impl Ways {
    fn note(&mut self, now: Instant, way: Duration) {
        self.roll(now);
        self.least = Some(self.least.map_or(way, |least| least.min(way)));
    }

    /// The least that was seen lately; `None` where nothing was, or it is just being looked for.
    fn least(&mut self, now: Instant) -> Option<Duration> {
        self.roll(now);
        // What is out until now is back by then, and what comes after it too.
        let looked = self.before.map(|before| (before * 3).min(LOOK_MAX));
        if looked.is_some_and(|looked| now.duration_since(self.since) < looked) {
            return None;
        }
        self.least.into_iter().chain(self.before).min()
    }

    fn roll(&mut self, now: Instant) {
        let passed = now.duration_since(self.since);
        if passed >= PERIOD {
            self.before = self.least.take().filter(|_| passed < PERIOD * 2);
            self.since = now;
        }
    }
}

/// How much may be out, by what is known.
pub(super) fn window(settings: &FlowSettings, outlook: Outlook, part: Part, under_way: f64) -> usize {
    let whole = match outlook.slots {
        0 => settings.window_without_workers,
        slots => slots.saturating_mul(settings.window_per_slot),
    };
    let unused = whole.saturating_sub(outlook.others);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pieces of work, above 0")]
    let under_way = (under_way * MORE).ceil() as usize;
    part.share(whole).max(unused).max(under_way)
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
    use std::collections::VecDeque;

    use super::*;

    const ALL: Part = Part { owned: 4, of: 4 };

    const EVERY: Duration = Duration::from_millis(100);

    fn of(outlook: Outlook, part: Part, under_way: f64) -> usize {
        window(&FlowSettings::default(), outlook, part, under_way)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_window_holds_twice_the_slots_or_half_more_than_is_under_way() {
        let outlook = Outlook { slots: 16, others: 0 };
        assert_eq!((of(outlook, ALL, 3.0), of(outlook, ALL, 500.0)), (32, 750));
        assert_eq!(of(Outlook::default(), ALL, 0.0), 64, "no worker is known");
    }

    #[test]
    fn a_coordinator_has_its_part_and_what_others_do_not_use() {
        let quarter = Part { owned: 1, of: 4 };
        let with = |others| of(Outlook { slots: 16, others }, quarter, 0.0);
        assert_eq!((with(0), with(20), with(32)), (32, 12, 8));
        let none = Part { owned: 0, of: 4 };
        assert_eq!(of(Outlook { slots: 1, others: 9 }, none, 0.0), 1, "nothing stands still");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_what_came_back_times_how_long_it_was_out() {
        let began = Instant::now();
        let mut returns = Returns::from(began);
        let at = |ms| began + Duration::from_millis(ms);
        // A thousand a second, each 5 ms at work and 15 on its way, one of them but 10.
        (0..100).for_each(|n| returns.note(at(n), EVERY, Some(ms(20)), ms(5)));
        returns.note(at(99), EVERY, Some(ms(15)), ms(5));
        returns.note(at(99), EVERY, None, ms(0));
        let found = returns.under_way(at(99), EVERY, 16);
        assert!((found - (5.05 + 10.2)).abs() < 0.01, "{found}");
        assert!((returns.under_way(at(99), EVERY, 2) - (2.0 + 10.2)).abs() < 0.01, "there are but two slots");
        // One slow time changes nothing, three do.
        assert!(returns.under_way(at(290), EVERY, 16) > 15.0);
        assert_eq!(returns.under_way(at(310), EVERY, 16), 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_way_is_forgotten_and_looked_for_again() {
        let began = Instant::now();
        let mut ways = Ways { since: began, least: None, before: None };
        assert_eq!(ways.least(began), None);
        ways.note(began, ms(20));
        ways.note(began, ms(30));
        assert_eq!(ways.least(began + ms(4_999)), Some(ms(20)));
        ways.note(began + PERIOD, ms(40));
        assert_eq!(ways.least(began + PERIOD + ms(59)), None, "the window is small for a moment");
        assert_eq!(ways.least(began + PERIOD + ms(60)), Some(ms(20)));
        assert_eq!(ways.least(began + PERIOD * 2), None);
        assert_eq!(ways.least(began + PERIOD * 2 + ms(120)), Some(ms(40)));
        assert_eq!(ways.least(began + PERIOD * 9), None, "nothing has come back for long");
    }

    /// A fleet of one worker that takes a millisecond for a piece, each of which is on its way for
    /// 20 ms besides, and has always more to do.
    #[tokio::test(start_paused = true)]
    async fn a_window_grows_until_the_workers_are_busy_and_no_further() {
        const WAY_MS: u64 = 20;
        let (settings, began) =
            (FlowSettings { window_time: EVERY, ..FlowSettings::default() }, Instant::now());
        let mut returns = Returns::from(began);
        let outlook = Outlook { slots: 1, others: 0 };
        // When each piece was let go, before the worker and on its way back.
        let (mut queue, mut back) = (VecDeque::new(), VecDeque::new());
        let (mut done, mut most) = (0, 0);
        for at in 0..30_000_u64 {
            let now = began + ms(at);
            if let Some((since, _)) = back.pop_front_if(|(_, due)| *due <= at) {
                returns.note(now, EVERY, Some(ms(at - since)), ms(1));
                done += 1;
            }
            if let Some(since) = queue.pop_front_if(|since| *since + WAY_MS / 2 <= at) {
                back.push_back((since, at + 1 + WAY_MS / 2));
            }
            let window = window(&settings, outlook, ALL, returns.under_way(now, EVERY, outlook.slots));
            while queue.len() + back.len() < window {
                queue.push_back(at);
            }
            if at > 2_000 {
                most = most.max(window);
            }
        }
        assert!(done > 28_000, "{done} done in 30,000 ms");
        // 21 are under way.
        assert!((31..=36).contains(&most), "a window of {most}");
    }
}
