//! A model that only people can mend, and the calls that find out whether they have.

use std::time::Duration;

use tokio::time::Instant;

/// Whether a call may go to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Free,
    /// The pause has run out, and this call finds out whether it is over.
    Probe,
    Shut,
}

#[derive(Debug)]
pub(super) struct Pause {
    first: Duration,
    max: Duration,
    /// How long the next one is.
    next: Duration,
    paused: Option<Paused>,
}

#[derive(Debug)]
struct Paused {
    reason: String,
    until: Instant,
    probing: bool,
}

impl Pause {
    pub(super) fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first, paused: None }
    }

    /// Whether no call gets through just now.
    pub(super) fn is_shut(&self, now: Instant) -> bool {
        self.paused.as_ref().is_some_and(|paused| paused.probing || paused.until > now)
    }

    /// How long the model is left alone.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.paused.as_ref().map(|paused| paused.until.saturating_duration_since(now))
    }

    pub(super) fn reason(&self) -> &str {
        self.paused.as_ref().map_or("", |paused| &paused.reason)
    }

    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        match &mut self.paused {
            None => Admission::Free,
            Some(paused) if paused.probing || paused.until > now => Admission::Shut,
            Some(paused) => {
                paused.probing = true;
                Admission::Probe
            }
        }
    }

    /// A call was refused for what only people can mend. Says whether a pause begins; calls that
    /// were under way when it began change nothing.
    pub(super) fn refused(&mut self, reason: &str, probe: bool, now: Instant) -> bool {
        let begins = self.paused.is_none();
        if begins || probe {
            self.paused = Some(Paused { reason: reason.to_owned(), until: now + self.next, probing: false });
            self.next = (self.next * 2).min(self.max);
        }
        begins
    }

    /// The model answers. Says whether there was a pause.
    pub(super) fn end(&mut self) -> bool {
        self.next = self.first;
        self.paused.take().is_some()
    }

    /// The probe came to nothing: the next call is one.
    pub(super) fn probe_again(&mut self) {
        if let Some(paused) = &mut self.paused {
            paused.probing = false;
        }
    }

    /// Another process has paused the model.
    pub(super) fn heed(&mut self, reason: &str, left: Duration, now: Instant) {
        let until = now + left.min(self.max);
        match &mut self.paused {
            Some(paused) => paused.until = paused.until.max(until),
            None => self.paused = Some(Paused { reason: reason.to_owned(), until, probing: false }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(60);

    fn pause() -> (Pause, Instant) {
        (Pause::new(FIRST, FIRST * 15), Instant::now())
    }

    #[test]
    fn one_call_probes_and_refused_probes_take_ever_longer() {
        let (mut pause, mut now) = pause();
        assert_eq!(pause.admit(now), Admission::Free);
        assert!(pause.refused("no credit", false, now));
        assert!(!pause.refused("no credit", false, now), "one that was under way");
        for minutes in [1, 2, 4, 8, 15, 15] {
            assert_eq!(pause.admit(now), Admission::Shut);
            assert_eq!(pause.left(now), Some(FIRST * minutes));
            now += FIRST * minutes;
            assert_eq!(pause.admit(now), Admission::Probe);
            assert_eq!(pause.admit(now), Admission::Shut, "one is enough");
            assert!(!pause.refused("no credit", true, now));
        }
    }

    #[test]
    fn an_answer_ends_it_and_a_lost_probe_is_followed_by_another() {
        let (mut pause, now) = pause();
        pause.refused("no credit", false, now);
        assert_eq!(pause.admit(now + FIRST), Admission::Probe);
        pause.probe_again();
        assert_eq!(pause.admit(now + FIRST), Admission::Probe);
        assert!(pause.end() && !pause.end());
        assert_eq!(pause.admit(now), Admission::Free);
        pause.refused("no credit", false, now);
        assert_eq!(pause.left(now), Some(FIRST), "the next one begins small again");
    }

    #[test]
    fn what_another_process_says_is_heeded_within_bounds() {
        let (mut pause, now) = pause();
        pause.heed("theirs", FIRST * 1_000, now);
        assert_eq!((pause.left(now), pause.reason()), (Some(FIRST * 15), "theirs"));
    }
}
