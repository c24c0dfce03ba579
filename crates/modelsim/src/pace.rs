//! How long a simulated answer takes.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::script::Latency;

/// No client waits longer, so neither does a connection that hangs.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// Waits, but no longer than the server runs: a graceful stop must not wait for a hung answer.
#[derive(Debug, Clone)]
pub(crate) struct Pauses(watch::Receiver<bool>);

impl Pauses {
    pub(crate) fn new(stopped: watch::Receiver<bool>) -> Self {
        Self(stopped)
    }

    pub(crate) async fn pause(&mut self, wait: Duration) {
        if !wait.is_zero() {
            self.pause_until(Instant::now() + wait.min(WAIT_MAX)).await;
        }
    }

    pub(crate) async fn pause_until(&mut self, due: Instant) {
        if due <= Instant::now() {
            return;
        }
        let stopped = self.0.wait_for(|stopped| *stopped);
        // Both ends, the time's and the server's, are the end of the pause.
        let _ = tokio::time::timeout_at(due, stopped).await;
    }

    pub(crate) async fn hang(&mut self) {
        self.pause(WAIT_MAX).await;
    }
}

/// The wait before anything is sent.
pub(crate) fn first_byte(latency: &Latency, chance: Chance) -> Duration {
    let jitter_ms = latency.jitter_ms as f64 * chance.of_jitter();
    let jitter = Duration::try_from_secs_f64(jitter_ms / 1e3).unwrap_or(WAIT_MAX);
    Duration::from_millis(latency.first_byte_ms).saturating_add(jitter)
}

/// The time that so many tokens take.
pub(crate) fn writing(latency: &Latency, tokens: u64) -> Duration {
    let Some(tokens_per_s) = latency.tokens_per_s else {
        return Duration::ZERO;
    };
    let wait = Duration::try_from_secs_f64(tokens as f64 / tokens_per_s);
    wait.map_or(WAIT_MAX, |wait| wait.min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chances;

    #[test]
    fn jitter_is_bounded_and_depends_on_the_seed_alone() {
        let latency = Latency { first_byte_ms: 100, jitter_ms: 20, tokens_per_s: None };
        let waits = |seed| -> Vec<u128> {
            let chances = Chances::new(seed);
            (0..50).map(|_| first_byte(&latency, chances.of(b"{}")).as_millis()).collect()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
        assert!(waits(1).iter().all(|wait| (100..=120).contains(wait)));
    }

    #[test]
    fn speed_is_tokens_per_second() {
        let latency = Latency { tokens_per_s: Some(50.0), ..Latency::default() };
        assert_eq!(writing(&latency, 10), Duration::from_millis(200));
        assert_eq!(writing(&Latency::default(), 10), Duration::ZERO);
    }
}
