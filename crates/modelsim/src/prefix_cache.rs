//! The provider's prompt cache: how much of a prompt was read from it, and how much written to it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::answer::tokens_of;
use crate::script::Cache;

/// Prefixes that are remembered, some MiB; beyond that all are forgotten, as a provider's cache may.
const PREFIXES_MAX: usize = 1 << 16;

/// A point of the prompt at which a prefix may end: everything up to there, hashed and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Boundary {
    pub(crate) hash: u64,
    pub(crate) bytes: u64,
    /// What ends here is to be cached.
    pub(crate) marked: bool,
}

#[derive(Debug)]
pub(crate) struct PrefixCache {
    settings: Cache,
    written: Mutex<HashMap<u64, Instant>>,
}

impl PrefixCache {
    pub(crate) fn new(settings: Cache) -> Self {
        Self { settings, written: Mutex::default() }
    }

    /// Tokens that are read from the cache and tokens that are written to it. `account` keeps
    /// those of different keys and models apart.
    pub(crate) fn pass(&self, account: u64, boundaries: &[Boundary]) -> (u64, u64) {
        let Some(last_marked) = boundaries.iter().rposition(|boundary| boundary.marked) else {
            return (0, 0);
        };
        let within = &boundaries[..=last_marked];
        let long_enough = |boundary: &&Boundary| tokens_of(boundary.bytes) >= self.settings.tokens_min;
        let now = Instant::now();
        let ttl = Duration::from_secs(self.settings.ttl_s);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |boundary: &&Boundary| {
            written.get(&(boundary.hash ^ account)).is_some_and(|used| now.duration_since(*used) < ttl)
        };
        let read = within.iter().rev().filter(long_enough).find(known).map_or(0, |b| tokens_of(b.bytes));
        if written.len() >= PREFIXES_MAX {
            written.clear();
        }
        let marked: Vec<&Boundary> = within.iter().filter(|b| b.marked).filter(long_enough).collect();
        for boundary in &marked {
            written.insert(boundary.hash ^ account, now);
        }
        let end = marked.last().map_or(0, |boundary| tokens_of(boundary.bytes));
        (read, end.saturating_sub(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary(hash: u64, tokens: u64, marked: bool) -> Boundary {
        Boundary { hash, bytes: tokens * 4, marked }
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_known_prefix_is_read_and_the_rest_up_to_the_mark_written() {
        let cache = PrefixCache::new(Cache::default());
        let system = boundary(1, 2_000, true);
        assert_eq!(cache.pass(0, &[system, boundary(2, 2_500, false)]), (0, 2_000));
        assert_eq!(cache.pass(0, &[system, boundary(3, 3_000, false)]), (2_000, 0));
        assert_eq!(cache.pass(0, &[boundary(1, 2_000, false), boundary(4, 2_600, true)]), (2_000, 600));
        assert_eq!(cache.pass(9, &[system]), (0, 2_000), "another account");
        tokio::time::advance(Duration::from_secs(301)).await;
        assert_eq!(cache.pass(0, &[system]), (0, 2_000), "forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn short_and_unmarked_prompts_are_not_cached() {
        let cache = PrefixCache::new(Cache::default());
        for _ in 0..2 {
            assert_eq!(cache.pass(0, &[boundary(1, 1_023, true)]), (0, 0));
            assert_eq!(cache.pass(0, &[boundary(2, 5_000, false)]), (0, 0));
        }
    }
}
