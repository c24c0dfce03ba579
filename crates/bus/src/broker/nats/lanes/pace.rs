//! Whether the server syncs each message to disk, as far as answers tell.
//!
//! The gaps between answers do: a sync is between any two of them. A server that is
//! slow for another reason, because its machine is busy, say, answers many at once
//! and then none for a while.

use tokio::time::{Duration, Instant};

/// With fewer unanswered messages than this, the gaps between answers say how fast
/// messages come, not how fast they are stored.
const BUSY: usize = 16;

/// Gaps that make a measurement, and how many of them have to be long.
pub(super) const SAMPLE: usize = 64;
const LONG_MIN: usize = SAMPLE * 3 / 4;

/// A longer gap is as good as a sync: those take 190 µs and more on the disks that this
/// was measured on, and a server that leaves them for later answers every 10 to 50 µs.
/// Where a sync takes less than this there is not much to gain.
const LONG: Duration = Duration::from_micros(100);

/// How often single messages are tried again while batches go: a sample costs a fiftieth
/// of a second then.
const TRY_SINGLES_EVERY: Duration = Duration::from_secs(5);

/// The pace of one lane.
#[derive(Debug, Default)]
pub(super) struct Pace {
    unanswered: usize,
    /// The answer before, if the server has been busy since.
    last: Option<Instant>,
    gaps: Gaps,
    tried_singles: Option<Instant>,
    no_batches: bool,
}

#[derive(Debug, Default)]
struct Gaps {
    all: usize,
    long: usize,
}

impl Gaps {
    fn add(&mut self, gap: Duration) {
        self.all += 1;
        self.long += usize::from(gap > LONG);
    }

    const fn are_syncs(&self) -> bool {
        // A part of a sample is judged by the same share.
        self.long * SAMPLE >= LONG_MIN * self.all
    }
}

impl Pace {
    /// A single message is on its way.
    pub(super) fn sent(&mut self) {
        self.unanswered += 1;
    }

    /// One is answered, or given up. Says whether messages are better sent in batches from now on.
    pub(super) fn answered(&mut self, now: Instant) -> bool {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.unanswered < BUSY || self.no_batches {
            (self.last, self.gaps) = (None, Gaps::default());
            return false;
        }
        if let Some(last) = self.last.replace(now) {
            self.gaps.add(now.duration_since(last));
        }
        if self.gaps.all < SAMPLE {
            return false;
        }
        let syncs = self.gaps.are_syncs();
        (self.last, self.gaps) = (None, Gaps::default());
        if syncs {
            self.tried_singles = Some(now);
        }
        syncs
    }

    /// Whether so many messages are to be tried alone, while batches go.
    pub(super) fn tries_singles(&mut self, count: usize, now: Instant) -> bool {
        let due = self.tried_singles.is_none_or(|at| now.duration_since(at) >= TRY_SINGLES_EVERY);
        if due && count >= SAMPLE / 2 {
            self.tried_singles = Some(now);
            return true;
        }
        false
    }

    /// The stream does not take batches.
    pub(super) fn never_batches(&mut self) {
        self.no_batches = true;
    }
}

/// Whether messages that were sent at once and answered at these times are better sent
/// alone from now on.
pub(super) fn are_quick(mut answered: Vec<Instant>) -> bool {
    answered.sort_unstable();
    let mut gaps = Gaps::default();
    for pair in answered.windows(2) {
        gaps.add(pair[1].duration_since(pair[0]));
    }
    gaps.all > 0 && !gaps.are_syncs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps `unanswered` messages on their way while answers come with these gaps, again
    /// and again; says after how many answers batches are worth a try, if they ever are.
    fn found_out(unanswered: usize, gaps_us: &[u64]) -> Option<usize> {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        (0..unanswered).for_each(|_| pace.sent());
        gaps_us.iter().cycle().take(10 * SAMPLE).position(|gap| {
            now += Duration::from_micros(*gap);
            let syncs = pace.answered(now);
            pace.sent();
            syncs
        })
    }

    #[test]
    fn a_server_that_syncs_is_found_out() {
        assert_eq!(found_out(64, &[300]), Some(SAMPLE));
        assert_eq!(found_out(64, &[20, 300, 300, 300, 300, 300, 300]), Some(SAMPLE));
        assert_eq!(found_out(64, &[50]), None);
        assert_eq!(found_out(BUSY, &[3_000]), None, "few messages say nothing");
    }

    #[test]
    fn a_server_on_a_busy_machine_is_not_taken_for_one_that_syncs() {
        assert_eq!(found_out(64, &[10, 10, 10, 10, 4_000]), None, "800 µs each, and most at once");
    }

    #[test]
    fn singles_are_tried_now_and_then_and_stay_if_they_are_quick() {
        let mut pace = Pace::default();
        let now = Instant::now();
        assert!(!pace.tries_singles(3, now), "three say nothing");
        assert!(pace.tries_singles(SAMPLE, now) && !pace.tries_singles(SAMPLE, now));
        assert!(pace.tries_singles(SAMPLE, now + TRY_SINGLES_EVERY));
        let answers = |gap: u64| (0..64).map(|n| now + Duration::from_micros(n * gap)).collect();
        assert!(are_quick(answers(30)) && !are_quick(answers(250)) && !are_quick(Vec::new()));
    }

    #[test]
    fn a_stream_without_batches_is_never_asked_again() {
        let mut pace = Pace::default();
        pace.never_batches();
        (0..100).for_each(|_| pace.sent());
        let now = Instant::now();
        assert!((1..90).all(|n| !pace.answered(now + Duration::from_millis(n))));
    }
}
