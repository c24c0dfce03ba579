//! The sums over a batch's ended runs.

use std::collections::{BTreeMap, VecDeque};

use planfleet_core::{document::RunState, id::RunId};

use super::End;

/// The rate is that of the last minute: long enough to be steady, short enough to follow
/// a fleet that grows.
const RATE_WINDOW_S: u64 = 60;

/// What has come of a batch so far. A run that was tried again counts as its last try.
/// Holds sums, and the runs that did not succeed.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Runs that reached their answer.
    pub succeeded: u64,
    /// Runs that did not, each with how it ended.
    pub unsuccessful: BTreeMap<RunId, Miss>,
    /// Ended runs that were tried again.
    pub retried: u64,
    /// What all runs cost as far as it is known, tries included.
    pub nano_usd: u64,
    /// Runs whose cost is not known.
    pub unpriced: u64,
    /// Input and output tokens of all runs.
    pub tokens: u64,
    /// When the last run ended.
    pub last_at_ms: u64,
    /// Where its end is in the log of ended runs.
    pub last_seq: u64,
    /// Ends by second, those of the last minute.
    seconds: VecDeque<(u64, u64)>,
}

/// How a run that did not succeed has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// One of the other three ends.
    pub state: RunState,
    /// Whether it ended because there was no budget left.
    pub of_budget: bool,
    /// The name of its task.
    pub custom_id: Option<String>,
}

impl Tally {
    /// Counts an end.
    pub fn add(&mut self, end: &End) {
        if let Some(before) = &end.rerun_of {
            self.retried += u64::from(self.unsuccessful.remove(before).is_some());
        }
        if end.state == RunState::Succeeded {
            self.succeeded += 1;
        } else {
            let of_budget = end.code.as_deref() == Some("budget");
            let miss = Miss { state: end.state, of_budget, custom_id: end.custom_id.clone() };
            self.unsuccessful.insert(end.run.clone(), miss);
        }
        self.nano_usd = self.nano_usd.saturating_add(end.nano_usd.unwrap_or_default());
        self.unpriced += u64::from(end.nano_usd.is_none());
        self.tokens = self.tokens.saturating_add(end.tokens);
        self.last_seq = self.last_seq.max(end.seq);
        self.last_at_ms = self.last_at_ms.max(end.at_ms);
        self.count_second(end.at_ms / 1_000);
    }

    fn count_second(&mut self, second: u64) {
        match self.seconds.back_mut() {
            // What was stored a moment late counts where the others are.
            Some((last, count)) if *last >= second => *count += 1,
            _ => self.seconds.push_back((second, 1)),
        }
        while self.seconds.front().is_some_and(|(first, _)| first + RATE_WINDOW_S <= second) {
            self.seconds.pop_front();
        }
    }

    /// Tasks whose last try has ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.succeeded + self.unsuccessful.len() as u64
    }

    /// Runs that ended so and were not tried again.
    #[must_use]
    pub fn count(&self, state: RunState) -> u64 {
        match state {
            RunState::Succeeded => self.succeeded,
            other => self.unsuccessful.values().filter(|miss| miss.state == other).count() as u64,
        }
    }

    /// Runs that ended a second, over the last minute before `now_ms`.
    #[must_use]
    pub fn rate_per_s(&self, now_ms: u64) -> f64 {
        let now = now_ms / 1_000;
        let recent = self.seconds.iter().filter(|(second, _)| second + RATE_WINDOW_S > now);
        let count: u64 = recent.clone().map(|(_, count)| count).sum();
        let first = recent.map(|(second, _)| *second).next().unwrap_or(now);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let rate = count as f64 / (now.saturating_sub(first) + 1) as f64;
        rate
    }

    /// Seconds until `left` more have ended, if they go on as they do; `None` while nothing ends.
    #[must_use]
    pub fn eta_s(&self, left: u64, now_ms: u64) -> Option<u64> {
        let rate = self.rate_per_s(now_ms);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an estimate, above 0"
        )]
        let seconds = (left as f64 / rate).ceil() as u64;
        (rate > 0.0).then_some(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(run: &str, state: RunState, rerun_of: Option<&str>, at_ms: u64) -> End {
        End {
            run: run.parse().unwrap(),
            custom_id: None,
            rerun_of: rerun_of.map(|run| run.parse().unwrap()),
            state,
            code: (state == RunState::Failed).then(|| "budget".to_owned()),
            nano_usd: (state == RunState::Succeeded).then_some(5),
            tokens: 3,
            at_ms,
            seq: at_ms,
        }
    }

    #[test]
    fn a_run_that_was_tried_again_counts_as_its_last_try() {
        let mut tally = Tally::default();
        tally.add(&end("00-a", RunState::Failed, None, 1));
        tally.add(&end("00-b", RunState::Cancelled, None, 2));
        assert_eq!((tally.ended(), tally.count(RunState::Failed), tally.succeeded), (2, 1, 0));
        tally.add(&end("00-c", RunState::Failed, Some("00-a"), 3));
        tally.add(&end("00-d", RunState::Succeeded, Some("00-c"), 4));
        assert_eq!((tally.ended(), tally.count(RunState::Failed), tally.succeeded), (2, 0, 1));
        assert_eq!((tally.retried, tally.nano_usd, tally.unpriced, tally.tokens), (2, 5, 3, 12));
        assert!(tally.unsuccessful.values().all(|miss| !miss.of_budget));
    }

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let mut tally = Tally::default();
        for second in 0..120 {
            for _ in 0..2 {
                tally.add(&end("00-a", RunState::Succeeded, None, second * 1_000));
            }
        }
        assert!((tally.rate_per_s(119_000) - 2.0).abs() < 0.05);
        assert_eq!(tally.eta_s(20, 119_000), Some(10));
        assert_eq!(tally.eta_s(20, 500_000), None, "nothing has ended for long");
    }
}
