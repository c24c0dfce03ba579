//! Whether the server syncs each message to disk, as far as answers tell.
//!
//! A message that is sent behind `k` unanswered ones waits for `k` syncs, its own, and
//! the way there and back: so the shortest of all waits, without that way and divided
//! by `k`, is no less than a sync takes. A busy machine makes some waits longer, and not
//! the shortest of many. Where messages come slowly and are answered late it looks the
//! same; what that costs is found out by trying.

use tokio::time::{Duration, Instant};

/// Behind fewer messages than this, a wait says more about the network.
const BEHIND_MIN: usize = 16;

/// Waits that make a measurement: many, as a machine can be busy for a while.
const SAMPLE: usize = 512;

/// A sync takes longer: 190 µs and more on the disks that this was measured on. A
/// server that leaves syncing for later takes 5 to 20 µs for a message. Where a sync
/// is quicker than this there is little to gain.
const SYNC_MIN: Duration = Duration::from_micros(150);

/// Messages that are tried alone while batches go, which costs two hundredths of a second.
pub(super) const TRIED: usize = 64;

/// How soon they are tried first, and how often at least: a machine that was only busy is
/// found out soon, and a server that syncs is asked ever more rarely.
const TRY_AFTER: Duration = Duration::from_millis(250);
const TRY_EVERY: Duration = Duration::from_secs(8);

/// The pace of one lane.
#[derive(Debug, Default)]
pub(super) struct Pace {
    unanswered: usize,
    waits: usize,
    /// The shortest wait so far, for one message.
    shortest: Option<Duration>,
    /// The shortest wait ever that was behind nobody: the way there and back is in it.
    alone: Option<Duration>,
    tries: Option<Tries>,
}

/// When messages are tried alone next, and how long after the time before.
#[derive(Debug)]
struct Tries {
    next: Instant,
    pause: Duration,
}

/// A message on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    behind: usize,
    at: Instant,
}

impl Pace {
    /// A message is sent alone.
    pub(super) fn sent(&mut self, at: Instant) -> Sent {
        let behind = self.unanswered;
        self.unanswered += 1;
        Sent { behind, at }
    }

    /// It is over. Says whether messages are better sent in batches from now on.
    pub(super) fn over(&mut self, sent: Sent, answered: Option<Instant>) -> bool {
        self.unanswered = self.unanswered.saturating_sub(1);
        let Some(now) = answered else { return false };
        let wait = now.duration_since(sent.at);
        if sent.behind == 0 {
            self.alone = Some(self.alone.map_or(wait, |alone| alone.min(wait)));
        }
        if sent.behind < BEHIND_MIN {
            return false;
        }
        let each = self.each(sent.behind, wait);
        self.shortest = Some(self.shortest.map_or(each, |shortest| shortest.min(each)));
        self.waits += 1;
        if self.waits < SAMPLE {
            return false;
        }
        self.waits = 0;
        let syncs = self.shortest.take().is_some_and(|shortest| shortest > SYNC_MIN);
        if syncs {
            self.tries = Some(Tries { next: now + TRY_AFTER, pause: TRY_AFTER });
        }
        syncs
    }

    /// Whether some of so many messages are to be tried alone, while batches go.
    pub(super) fn tries_singles(&mut self, count: usize, now: Instant) -> bool {
        let Some(tries) = &mut self.tries else { return false };
        if now < tries.next || count < TRIED / 2 {
            return false;
        }
        tries.pause = (tries.pause * 2).min(TRY_EVERY);
        tries.next = now + tries.pause;
        true
    }

    /// Whether messages that were sent at once, and answered at these times, were not synced
    /// each.
    pub(super) fn are_quick(&self, sent: Instant, mut answered: Vec<Instant>) -> bool {
        answered.sort_unstable();
        let waits = answered.iter().enumerate().skip(BEHIND_MIN);
        waits.map(|(behind, at)| self.each(behind, at.duration_since(sent))).any(|each| each <= SYNC_MIN)
    }

    /// What a wait comes to for each message, without the way there and back.
    fn each(&self, behind: usize, wait: Duration) -> Duration {
        let behind = u32::try_from(behind).unwrap_or(u32::MAX);
        wait.saturating_sub(self.alone.unwrap_or_default()) / behind.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `behind + 1` messages at once, again and again, and answers one each `sync`, all
    /// of them `late`; says after how many answers batches are worth a try, if they ever are.
    fn found_out(behind: usize, sync: Duration, late: impl Fn(usize) -> Duration) -> Option<usize> {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        let mut answers = 0;
        for burst in 0..200 {
            let sent: Vec<Sent> = (0..=behind).map(|_| pace.sent(now)).collect();
            now += late(burst);
            for sent in sent {
                now += sync;
                answers += 1;
                if pace.over(sent, Some(now)) {
                    return Some(answers);
                }
            }
        }
        None
    }

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn a_server_that_syncs_is_found_out() {
        let found = found_out(63, us(250), |_| us(0)).unwrap();
        assert!((SAMPLE..2 * SAMPLE).contains(&found), "{found}");
        assert!(found_out(63, us(250), |burst| us(8_000 * (burst as u64 % 3))).is_some());
        assert_eq!(found_out(63, us(30), |_| us(0)), None);
        assert_eq!(found_out(15, us(3_000), |_| us(0)), None, "few messages say nothing");
    }

    #[test]
    fn a_busy_machine_or_a_far_server_is_not_taken_for_one_that_syncs() {
        assert_eq!(found_out(63, us(10), |burst| us(if burst % 3 == 0 { 1_000 } else { 20_000 })), None);
        assert_eq!(found_out(63, us(10), |_| us(5_000)), None, "5 ms away");
    }

    #[test]
    fn singles_are_tried_ever_more_rarely_and_stay_if_they_are_quick() {
        let now = Instant::now();
        let mut pace =
            Pace { tries: Some(Tries { next: now + TRY_AFTER, pause: TRY_AFTER }), ..Pace::default() };
        let ms = Duration::from_millis;
        assert!(!pace.tries_singles(3, now + TRY_EVERY), "three say nothing");
        let tried: Vec<u64> =
            (0..30_000).step_by(50).filter(|at| pace.tries_singles(TRIED, now + ms(*at))).collect();
        assert_eq!(tried, [250, 750, 1_750, 3_750, 7_750, 15_750, 23_750]);
        let answers = |every: u64| (1..=64).map(|n| now + us(n * every)).collect();
        assert!(pace.are_quick(now, answers(30)) && !pace.are_quick(now, answers(250)));
        assert!(!pace.are_quick(now, Vec::new()));
    }
}
