//! The provider's rate limits: token buckets per API key and model, and what headers say of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::script::Limits;

/// Pairs of key and model that are kept apart. No test has more; beyond that all begin anew.
const ACCOUNTS_MAX: usize = 10_000;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counted {
    Requests,
    Tokens,
    InputTokens,
    OutputTokens,
}

/// Where one limit stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Standing {
    pub(crate) counted: Counted,
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    /// Until the bucket is full again.
    pub(crate) reset: Duration,
}

/// A request that came too early.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TooMany {
    pub(crate) counted: Counted,
    pub(crate) limit: u64,
    pub(crate) retry_after: Duration,
}

#[derive(Debug)]
pub(crate) struct Limiter {
    limits: Limits,
    accounts: Mutex<HashMap<u64, Vec<Bucket>>>,
}

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, accounts: Mutex::default() }
    }

    /// Takes a request with so much input, or says how long to wait. Nothing is taken then.
    pub(crate) fn admit(&self, account: u64, input_tokens: u64) -> Result<(), TooMany> {
        self.with(account, |buckets| {
            if let Some(too_many) = buckets.iter().find_map(|bucket| bucket.lacks(input_tokens)) {
                return Err(too_many);
            }
            for bucket in buckets {
                bucket.level -= bucket.asked(input_tokens) as f64;
            }
            Ok(())
        })
    }

    /// Takes the answer's tokens, which may leave a bucket in debt, and says where all stand.
    pub(crate) fn settle(&self, account: u64, output_tokens: u64) -> Vec<Standing> {
        self.with(account, |buckets| {
            for bucket in buckets.iter_mut() {
                if matches!(bucket.counted, Counted::Tokens | Counted::OutputTokens) {
                    bucket.level -= output_tokens as f64;
                }
            }
            buckets.iter().map(Bucket::standing).collect()
        })
    }

    /// The account's buckets, refilled; none where nothing is limited.
    fn with<T>(&self, account: u64, act: impl FnOnce(&mut [Bucket]) -> T) -> T {
        if !self.limits.any() {
            return act(&mut []);
        }
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= ACCOUNTS_MAX && !accounts.contains_key(&account) {
            accounts.clear();
        }
        let now = Instant::now();
        let buckets = accounts.entry(account).or_insert_with(|| buckets(&self.limits, now));
        for bucket in buckets.iter_mut() {
            bucket.refill(now);
        }
        act(buckets)
    }
}

#[derive(Debug)]
struct Bucket {
    counted: Counted,
    limit: u64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let gained = now.duration_since(self.at).as_secs_f64() * self.per_s();
        self.level = (self.level + gained).min(self.limit as f64);
        self.at = now;
    }

    /// What a request takes before it is answered.
    fn asked(&self, input_tokens: u64) -> u64 {
        match self.counted {
            Counted::Requests => 1,
            Counted::Tokens | Counted::InputTokens => input_tokens,
            Counted::OutputTokens => 0,
        }
    }

    fn lacks(&self, input_tokens: u64) -> Option<TooMany> {
        // More than a minute's worth at once waits for the full bucket, and in vain.
        let missing = (self.asked(input_tokens) as f64 - self.level).min(self.limit as f64);
        (missing > 0.0).then(|| TooMany {
            counted: self.counted,
            limit: self.limit,
            retry_after: Duration::from_secs_f64(missing / self.per_s()),
        })
    }

    fn standing(&self) -> Standing {
        let missing = (self.limit as f64 - self.level).max(0.0);
        Standing {
            counted: self.counted,
            limit: self.limit,
            remaining: self.level.max(0.0) as u64,
            reset: Duration::from_secs_f64(missing / self.per_s()),
        }
    }

    fn per_s(&self) -> f64 {
        self.limit as f64 / 60.0
    }
}

fn buckets(limits: &Limits, now: Instant) -> Vec<Bucket> {
    [
        (Counted::Requests, limits.requests_per_minute),
        (Counted::Tokens, limits.tokens_per_minute),
        (Counted::InputTokens, limits.input_tokens_per_minute),
        (Counted::OutputTokens, limits.output_tokens_per_minute),
    ]
    .into_iter()
    .filter_map(|(counted, limit)| Some(Bucket { counted, limit: limit?, level: limit? as f64, at: now }))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_empties_says_how_long_and_fills_again() {
        let limits = Limits { requests_per_minute: Some(2), ..Limits::default() };
        let limiter = Limiter::new(limits);
        assert!(limiter.admit(1, 10).is_ok() && limiter.admit(1, 10).is_ok());
        let too_many = limiter.admit(1, 10).unwrap_err();
        assert_eq!((too_many.counted, too_many.retry_after), (Counted::Requests, Duration::from_secs(30)));
        assert!(limiter.admit(2, 10).is_ok(), "another account has its own");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(limiter.admit(1, 10).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_charged_after_they_are_given() {
        let limits = Limits { tokens_per_minute: Some(600), ..Limits::default() };
        let limiter = Limiter::new(limits);
        limiter.admit(1, 100).unwrap();
        let standing = limiter.settle(1, 50);
        assert_eq!(
            standing,
            [Standing {
                counted: Counted::Tokens,
                limit: 600,
                remaining: 450,
                reset: Duration::from_secs(15)
            }]
        );
        limiter.settle(1, 460);
        let too_many = limiter.admit(1, 20).unwrap_err();
        assert_eq!(too_many.retry_after, Duration::from_secs(3), "the debt of 10 and the 20");
    }

    #[test]
    fn nothing_is_limited_unless_asked_for() {
        let limiter = Limiter::new(Limits::default());
        assert!(limiter.admit(1, u64::MAX).is_ok());
        assert_eq!(limiter.settle(1, 5), []);
    }
}
