//! As many calls at once as a provider bears: additive increase, and a decrease by the share of
//! calls that were refused (as DCTCP does it, RFC 8257), so that one bad call in many takes
//! little and a provider that refuses all of them is left alone quickly.
//!
//! Answers that take much longer than they used to count as a milder sign of the same.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Stands for the time of a call that its length does not explain: reading the prompt.
const BASE_TOKENS: f64 = 50.0;

/// Answers this much slower than usual are held back for.
const SLOWER: f64 = 2.0;

/// The weight of the newest window in what is usual.
const USUAL_WEIGHT: f64 = 0.1;

/// A model's calls in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Calls that may be under way at once just now.
    pub concurrency: usize,
    /// Calls that are under way.
    pub in_flight: usize,
}

#[derive(Debug)]
pub(super) struct Slots {
    /// Has never more than [`Semaphore::MAX_PERMITS`], and is never closed.
    semaphore: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    adaptive: Adaptive,
    /// Permits that exist, taken or not.
    permits: usize,
    in_flight: usize,
}

impl Slots {
    /// All of `max` at first: what a provider bears is learnt by asking.
    pub(super) fn new(max: usize) -> Self {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        let state = State { adaptive: Adaptive::new(max), permits: max, in_flight: 0 };
        Self { semaphore: Semaphore::new(max), state: Mutex::new(state) }
    }

    pub(super) async fn take(&self) -> Slot<'_> {
        // It is never closed, so there is always a permit.
        let permit = self.semaphore.acquire().await.ok();
        self.state().in_flight += 1;
        Slot { slots: self, permit, began: Instant::now() }
    }

    pub(super) fn standing(&self) -> Standing {
        let state = self.state();
        Standing { concurrency: state.adaptive.limit(), in_flight: state.in_flight }
    }

    fn learn(&self, outcome: Outcome) {
        let mut state = self.state();
        let busy = state.in_flight * 2 >= state.adaptive.limit();
        state.adaptive.learn(outcome, busy);
        let limit = state.adaptive.limit();
        if limit > state.permits {
            self.semaphore.add_permits(limit - state.permits);
            state.permits = limit;
        } else {
            // Those that are taken go when they come back.
            state.permits -= self.semaphore.forget_permits(state.permits - limit);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each critical section leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one call.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    slots: &'a Slots,
    permit: Option<SemaphorePermit<'a>>,
    began: Instant,
}

impl Slot<'_> {
    /// The call begins now.
    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
    }

    pub(super) fn succeeded(&self, output_tokens: u64) {
        self.slots.learn(Outcome::Succeeded { took: self.began.elapsed(), output_tokens });
    }

    pub(super) fn overloaded(&self) {
        self.slots.learn(Outcome::Overloaded);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        state.in_flight -= 1;
        if state.permits > state.adaptive.limit() {
            state.permits -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Succeeded { took: Duration, output_tokens: u64 },
    Overloaded,
}

/// The limit, from the outcomes of calls. A window is as many outcomes as the limit allows calls.
#[derive(Debug)]
struct Adaptive {
    limit: f64,
    max: f64,
    /// Latency alone takes the limit no further down: answers are slow for other reasons too,
    /// such as long prompts, and only refusals prove that there is too much.
    latency_floor: f64,
    succeeded: f64,
    overloaded: f64,
    /// Seconds for each token of the window's answers, summed.
    pace_sum: f64,
    usual_pace: Option<f64>,
}

impl Adaptive {
    fn new(max: usize) -> Self {
        let max = max as f64;
        Self {
            limit: max,
            max,
            latency_floor: max.sqrt(),
            succeeded: 0.0,
            overloaded: 0.0,
            pace_sum: 0.0,
            usual_pace: None,
        }
    }

    fn limit(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to a usize")]
        let limit = self.limit as usize;
        limit.max(1)
    }

    /// `busy`: most of the limit is in use, so that more of it could be.
    fn learn(&mut self, outcome: Outcome, busy: bool) {
        match outcome {
            Outcome::Succeeded { took, output_tokens } => {
                self.succeeded += 1.0;
                self.pace_sum += took.as_secs_f64() / (output_tokens as f64 + BASE_TOKENS);
            }
            Outcome::Overloaded => self.overloaded += 1.0,
        }
        if self.succeeded + self.overloaded >= self.limit.floor() {
            self.end_window(busy);
        }
    }

    fn end_window(&mut self, busy: bool) {
        let refused = self.overloaded / (self.succeeded + self.overloaded);
        let slower = self.is_slower();
        if refused > 0.0 {
            self.limit *= 1.0 - refused / 2.0;
        } else if slower && busy && self.limit > self.latency_floor {
            self.limit = (self.limit * 0.9).max(self.latency_floor);
        }
        if busy && !slower {
            self.limit += 1.0 - refused;
        }
        self.limit = self.limit.clamp(1.0, self.max);
        (self.succeeded, self.overloaded, self.pace_sum) = (0.0, 0.0, 0.0);
    }

    /// Compares the window's pace with the usual one, which moves towards it.
    fn is_slower(&mut self) -> bool {
        if self.succeeded < 1.0 {
            return false;
        }
        let pace = self.pace_sum / self.succeeded;
        let usual = self.usual_pace.unwrap_or(pace);
        self.usual_pace = Some(usual + (pace - usual) * USUAL_WEIGHT);
        pace > usual * SLOWER
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn ok(ms: u64) -> Outcome {
        Outcome::Succeeded { took: Duration::from_millis(ms), output_tokens: 50 }
    }

    #[test]
    fn refusals_take_the_limit_down_to_one_and_answers_bring_it_back() {
        let mut adaptive = Adaptive::new(64);
        for _ in 0..200 {
            adaptive.learn(Outcome::Overloaded, true);
        }
        assert_eq!(adaptive.limit(), 1);
        for _ in 0..63 * 64 / 2 {
            adaptive.learn(ok(100), true);
        }
        assert!((60..=64).contains(&adaptive.limit()), "{}", adaptive.limit());
        for _ in 0..1_000 {
            adaptive.learn(ok(100), true);
        }
        assert_eq!(adaptive.limit(), 64, "no further than it may");
    }

    #[test]
    fn a_few_refusals_take_little() {
        // Each nth call is refused, whatever the load: the limit settles near 2 (1 - f) / f.
        let settles = |nth: usize| {
            let mut adaptive = Adaptive::new(64);
            for call in 0..20_000 {
                adaptive.learn(if call % nth == 0 { Outcome::Overloaded } else { ok(100) }, true);
            }
            adaptive.limit()
        };
        assert!((6..=12).contains(&settles(5)), "{}", settles(5));
        assert!((28..=45).contains(&settles(17)), "{}", settles(17));
    }

    #[test]
    fn an_idle_model_learns_nothing_from_success() {
        let mut adaptive = Adaptive::new(64);
        for _ in 0..64 {
            adaptive.learn(Outcome::Overloaded, true);
        }
        let before = adaptive.limit();
        for _ in 0..1_000 {
            adaptive.learn(ok(100), false);
        }
        assert_eq!(adaptive.limit(), before);
    }

    #[test]
    fn slow_answers_take_it_down_no_further_than_the_root_and_not_for_ever() {
        let mut adaptive = Adaptive::new(64);
        for _ in 0..640 {
            adaptive.learn(ok(100), true);
        }
        let mut lowest = 64;
        for _ in 0..10_000 {
            adaptive.learn(ok(1_000), true);
            lowest = lowest.min(adaptive.limit());
        }
        assert!((8..64).contains(&lowest), "{lowest}");
        assert_eq!(adaptive.limit(), 64, "what lasts is usual");
    }

    #[tokio::test]
    async fn a_lower_limit_holds_once_the_calls_under_way_have_ended() {
        let slots = Slots::new(4);
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(slots.take().await);
        }
        for slot in &taken {
            slot.overloaded();
        }
        assert_eq!(slots.standing(), Standing { concurrency: 2, in_flight: 4 });
        drop(taken.split_off(2));
        assert!(slots.take().now_or_never().is_none(), "two are still under way");
        drop(taken);
        let two = (slots.take().await, slots.take().await);
        assert!(slots.take().now_or_never().is_none());
        drop(two);
        assert_eq!(slots.standing().in_flight, 0);
    }
}
