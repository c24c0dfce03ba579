//! The only place that repeats a model call.
//!
//! It repeats transient failures only, and only as long as waiting here is cheaper than giving
//! the step back: longer waits are the coordinator's, which holds no worker while it waits.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::chat::{ChatModel, ChatRequest, ChatResponse, TextSink};
use crate::error::{Error, ErrorClass};

/// How a call is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retrying {
    /// Repetitions after the first call.
    pub retries_max: u32,
    /// The first wait when the server names none; it doubles with each retry.
    pub backoff: Duration,
    pub backoff_max: Duration,
    /// The sum of all waits; a server that asks for more gets the error returned with its wish.
    pub wait_max: Duration,
}

impl Default for Retrying {
    fn default() -> Self {
        Self {
            retries_max: 2,
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(8),
            wait_max: Duration::from_secs(20),
        }
    }
}

/// A result and the number of calls that it took: each may have cost money.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempted<T> {
    pub result: Result<T, Error>,
    pub calls: u32,
    /// Whether a call that failed, the last one or one before it, may have been billed: what all
    /// of them cost is not known then.
    pub failed_may_be_billed: bool,
}

impl<T> Attempted<T> {
    /// This one, with the calls that came before it.
    pub(crate) fn after<U>(self, earlier: &Attempted<U>) -> Self {
        Self {
            result: self.result,
            calls: self.calls + earlier.calls,
            failed_may_be_billed: self.failed_may_be_billed || earlier.failed_may_be_billed,
        }
    }
}

impl Retrying {
    pub async fn chat(&self, model: &dyn ChatModel, request: &ChatRequest) -> Attempted<ChatResponse> {
        let mut course = Course::new(self);
        loop {
            let result = model.chat(request).await;
            match course.next_wait(&result) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return course.end(result),
            }
        }
    }

    /// Repeats only while `sink` has seen nothing: what was handed on cannot be taken back.
    pub async fn chat_stream(
        &self,
        model: &dyn ChatModel,
        request: &ChatRequest,
        sink: &mut TextSink<'_>,
    ) -> Attempted<ChatResponse> {
        let mut course = Course::new(self);
        let mut handed_on = false;
        loop {
            let mut watched = |text: &str| {
                handed_on = true;
                sink(text);
            };
            let result = model.chat_stream(request, &mut watched).await;
            match course.next_wait(&result).filter(|_| !handed_on) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return course.end(result),
            }
        }
    }
}

/// The calls made so far.
struct Course<'a> {
    policy: &'a Retrying,
    calls: u32,
    failed_may_be_billed: bool,
    waited: Duration,
}

impl<'a> Course<'a> {
    fn new(policy: &'a Retrying) -> Self {
        Self { policy, calls: 0, failed_may_be_billed: false, waited: Duration::ZERO }
    }

    /// Counts a call and says how long to wait before the next one, or `None` if it was the last.
    fn next_wait<T>(&mut self, result: &Result<T, Error>) -> Option<Duration> {
        self.calls += 1;
        let error = result.as_ref().err()?;
        self.failed_may_be_billed |= error.may_be_billed;
        if error.class != ErrorClass::Transient || self.calls > self.policy.retries_max {
            return None;
        }
        let wait = error.retry_after.unwrap_or_else(|| self.backoff());
        if self.waited + wait > self.policy.wait_max {
            return None;
        }
        self.waited += wait;
        Some(wait)
    }

    /// Exponential, times 0.75 to 1: workers that failed together must not return together.
    fn backoff(&self) -> Duration {
        let doubled = self.policy.backoff * 2_u32.saturating_pow(self.calls - 1);
        doubled.min(self.policy.backoff_max).mul_f64(jitter())
    }

    fn end<T>(self, result: Result<T, Error>) -> Attempted<T> {
        Attempted { result, calls: self.calls, failed_may_be_billed: self.failed_may_be_billed }
    }
}

/// A factor from 0.75 to 1. Each `RandomState` has fresh keys, which is randomness enough here
/// and spares a dependency.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0_u8) >> 32;
    0.75 + 0.25 * (random as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(class: ErrorClass, retry_after_s: Option<u64>) -> Result<(), Error> {
        Err(Error { retry_after: retry_after_s.map(Duration::from_secs), ..Error::new(class, "x") })
    }

    #[test]
    fn transient_failures_are_repeated_twice() {
        let policy = Retrying::default();
        let mut course = Course::new(&policy);
        let transient = failed(ErrorClass::Transient, None);
        let first = course.next_wait(&transient).unwrap();
        assert!((375..=500).contains(&first.as_millis()), "{first:?}");
        let second = course.next_wait(&transient).unwrap();
        assert!((750..=1000).contains(&second.as_millis()), "{second:?}");
        assert_eq!(course.next_wait(&transient), None);
        assert_eq!(course.end(transient).calls, 3);
    }

    #[test]
    fn a_wish_is_granted_only_while_all_waits_stay_within_the_bound() {
        let policy = Retrying::default();
        let mut course = Course::new(&policy);
        let wish = failed(ErrorClass::Transient, Some(12));
        assert_eq!(course.next_wait(&wish), Some(Duration::from_secs(12)));
        assert_eq!(course.next_wait(&wish), None);
        let too_long = failed(ErrorClass::Transient, Some(21));
        assert_eq!(Course::new(&policy).next_wait(&too_long), None);
    }

    #[test]
    fn nothing_else_is_repeated() {
        let policy = Retrying::default();
        for class in [ErrorClass::Quota, ErrorClass::Timeout, ErrorClass::InvalidRequest] {
            assert_eq!(Course::new(&policy).next_wait(&failed(class, None)), None);
        }
        assert_eq!(Course::new(&policy).next_wait(&Ok(())), None);
    }
}
