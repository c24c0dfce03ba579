//! Requests and tokens a minute, as buckets that fill steadily. What a call will use is guessed
//! before it and put right after it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Limits;
use crate::chat::{ChatRequest, Message};

/// How much of a minute's worth may be taken at once: providers count in shorter spans than a
/// minute too.
const BURST: f64 = 1.0 / 6.0;

/// Roughly, in English; what is left of the error is put right after the call.
const CHARS_PER_TOKEN: usize = 4;

/// What an answer is guessed at where no limit says more: most are shorter.
const OUTPUT_TOKENS: u64 = 500;

/// Tenants with buckets of their own: far more than a fleet has at once. Those whose buckets are
/// full are forgotten beyond it, which loses nothing.
const TENANTS_MAX: usize = 10_000;

/// What a call is guessed to use.
pub(super) fn tokens(request: &ChatRequest) -> u64 {
    let chars = |message: &Message| match message {
        Message::System { content }
        | Message::User { content }
        | Message::Assistant { content, .. }
        | Message::Tool { content, .. } => content.len(),
    };
    let input: usize = request.messages.iter().map(chars).sum::<usize>() / CHARS_PER_TOKEN;
    let output = request.max_output_tokens.map_or(OUTPUT_TOKENS, |max| OUTPUT_TOKENS.min(max.into()));
    u64::try_from(input).unwrap_or(u64::MAX).saturating_add(output)
}

/// The rates of one model in one process.
#[derive(Debug)]
pub(super) struct Rates {
    /// Nothing is bounded.
    is_free: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    all: Pair,
    tenants: BTreeMap<String, Pair>,
    /// What a tenant begins with.
    tenant: Pair,
    shares: f64,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        let all = Pair::new(limits.requests_per_minute, limits.tokens_per_minute);
        let tenant = Pair::new(limits.tenant_requests_per_minute, limits.tenant_tokens_per_minute);
        let is_free = all.is_free() && tenant.is_free();
        let state = State { all, tenants: BTreeMap::new(), tenant, shares: 1.0 };
        Self { is_free, state: Mutex::new(state) }
    }

    /// Waits until one request of so many tokens fits into the rates. First come, first served:
    /// whoever comes later waits for what was taken before.
    pub(super) async fn take<'a>(&'a self, tenant: &'a str, tokens: u64) -> Place<'a> {
        let place = Place { rates: self, tenant, tokens, used: false };
        if self.is_free {
            return place;
        }
        let wait = {
            let mut state = self.state();
            let (now, shares) = (Instant::now(), state.shares);
            state.pairs(tenant).map(|pair| pair.take(tokens as f64, shares, now)).max()
        };
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            tracing::debug!(wait_ms = wait.as_millis(), "waiting for the model's configured rate");
            sleep(wait).await;
        }
        place
    }

    /// So many processes have equal shares of the rates.
    pub(super) fn share(&self, processes: usize) {
        self.state().shares = processes.max(1) as f64;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each critical section leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's place in the rates. One that is not used is given back.
#[derive(Debug)]
pub(super) struct Place<'a> {
    rates: &'a Rates,
    tenant: &'a str,
    tokens: u64,
    used: bool,
}

impl Place<'_> {
    /// The request is made, whatever comes of it.
    pub(super) fn used(&mut self) {
        self.used = true;
    }

    /// Puts right what was guessed.
    pub(super) fn settle(&self, tokens: u64) {
        self.give_back(0.0, self.tokens as f64 - tokens as f64);
    }

    fn give_back(&self, requests: f64, tokens: f64) {
        if !self.rates.is_free {
            self.rates.state().pairs(self.tenant).for_each(|pair| pair.give_back(requests, tokens));
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.used {
            self.give_back(1.0, self.tokens as f64);
        }
    }
}

impl State {
    /// The model's buckets and the tenant's.
    fn pairs(&mut self, tenant: &str) -> impl Iterator<Item = &mut Pair> {
        let has_own = !tenant.is_empty() && !self.tenant.is_free();
        if has_own && !self.tenants.contains_key(tenant) {
            if self.tenants.len() >= TENANTS_MAX {
                let (now, shares) = (Instant::now(), self.shares);
                self.tenants.retain(|_, pair| !pair.is_full(shares, now));
            }
            self.tenants.insert(tenant.to_owned(), self.tenant.clone());
        }
        std::iter::once(&mut self.all).chain(self.tenants.get_mut(tenant).filter(|_| has_own))
    }
}

/// Buckets of requests and of tokens.
#[derive(Debug, Clone)]
struct Pair {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

impl Pair {
    fn new(requests: Option<u64>, tokens: Option<u64>) -> Self {
        Self { requests: requests.map(Bucket::new), tokens: tokens.map(Bucket::new) }
    }

    fn is_free(&self) -> bool {
        self.requests.is_none() && self.tokens.is_none()
    }

    fn take(&mut self, tokens: f64, shares: f64, now: Instant) -> Duration {
        let requests = self.requests.as_mut().map(|bucket| bucket.take(1.0, shares, now));
        let tokens = self.tokens.as_mut().map(|bucket| bucket.take(tokens, shares, now));
        requests.max(tokens).unwrap_or_default()
    }

    fn give_back(&mut self, requests: f64, tokens: f64) {
        if let Some(bucket) = &mut self.requests {
            bucket.level += requests;
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.level += tokens;
        }
    }

    fn is_full(&mut self, shares: f64, now: Instant) -> bool {
        [&mut self.requests, &mut self.tokens].into_iter().flatten().all(|bucket| bucket.is_full(shares, now))
    }
}

/// Fills up to a part of a minute's worth. Its level falls below nothing for those who wait.
#[derive(Debug, Clone)]
struct Bucket {
    per_minute: f64,
    level: f64,
    /// When it had that level; unset before its first use.
    at: Option<Instant>,
}

impl Bucket {
    fn new(per_minute: u64) -> Self {
        let per_minute = (per_minute as f64).max(1.0);
        Self { per_minute, level: per_minute, at: None }
    }

    fn take(&mut self, amount: f64, shares: f64, now: Instant) -> Duration {
        self.fill(shares, now);
        self.level -= amount;
        let missing = (-self.level).max(0.0);
        // A day is more than any step waits, and a float that a duration takes.
        Duration::from_secs_f64((missing * shares * 60.0 / self.per_minute).min(86_400.0))
    }

    fn is_full(&mut self, shares: f64, now: Instant) -> bool {
        self.fill(shares, now);
        self.level >= self.capacity(shares)
    }

    fn fill(&mut self, shares: f64, now: Instant) {
        let seconds = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        let filled = self.level + self.per_minute / shares * seconds / 60.0;
        self.level = filled.min(self.capacity(shares));
        self.at = Some(now);
    }

    /// At least one request, however low the rate.
    fn capacity(&self, shares: f64) -> f64 {
        (self.per_minute / shares * BURST).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;
    use futures::future::join_all;

    use super::*;

    fn rates(limits: Limits) -> Rates {
        Rates::new(&limits)
    }

    /// Takes a place and uses it.
    async fn call(rates: &Rates, tenant: &str, tokens: u64) {
        rates.take(tenant, tokens).await.used();
    }

    /// How long so many calls take that use nothing but their place.
    async fn seconds(rates: &Rates, calls: usize, tokens: u64) -> u64 {
        let began = Instant::now();
        join_all((0..calls).map(|_| call(rates, "", tokens))).await;
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_keep_to_their_rate_after_a_burst() {
        let rates = rates(Limits { requests_per_minute: Some(60), ..Limits::default() });
        assert_eq!(seconds(&rates, 10, 0).await, 0);
        assert_eq!(seconds(&rates, 60, 0).await, 60);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(seconds(&rates, 20, 0).await, 10, "no more than a burst is saved");
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_put_right_after_the_call() {
        let rates = rates(Limits { tokens_per_minute: Some(6_000), ..Limits::default() });
        let mut place = rates.take("", 1_000).await;
        place.used();
        place.settle(0);
        assert_eq!(seconds(&rates, 1, 1_000).await, 0, "nothing was used");
        place.settle(2_000);
        assert_eq!(seconds(&rates, 1, 500).await, 15, "1000 were used beyond the guess");
        // One call of more than a burst waits, and does not wait for ever.
        assert_eq!(seconds(&rates, 1, 3_000).await, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn processes_share_a_rate_and_tenants_have_their_own() {
        let limits = Limits {
            requests_per_minute: Some(600),
            tenant_requests_per_minute: Some(60),
            ..Limits::default()
        };
        let rates = rates(limits);
        let began = Instant::now();
        join_all((0..20).map(|_| call(&rates, "greedy", 0))).await;
        assert_eq!(began.elapsed().as_secs(), 10);
        assert!(rates.take("modest", 0).now_or_never().is_some());
        rates.share(10);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(seconds(&rates, 20, 0).await, 10, "a tenth of the rate, of which ten at once");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_waiting_gives_the_place_back() {
        let rates = Arc::new(rates(Limits { requests_per_minute: Some(6), ..Limits::default() }));
        call(&rates, "", 0).await;
        for _ in 0..100 {
            assert!(rates.take("", 0).now_or_never().is_none());
        }
        assert_eq!(seconds(&rates, 1, 0).await, 10);
    }

    #[test]
    fn tenants_are_forgotten_when_there_are_too_many() {
        let rates = rates(Limits { tenant_requests_per_minute: Some(60), ..Limits::default() });
        for tenant in 0..TENANTS_MAX * 2 {
            assert!(rates.take(&tenant.to_string(), 0).now_or_never().is_some());
        }
        assert!(rates.state().tenants.len() <= TENANTS_MAX);
    }

    #[test]
    fn a_guess_counts_what_is_sent_and_some_of_what_comes() {
        let request =
            ChatRequest { messages: vec![Message::user("x".repeat(400))], ..ChatRequest::default() };
        assert_eq!(tokens(&request), 600);
        assert_eq!(tokens(&ChatRequest { max_output_tokens: Some(10), ..request }), 110);
    }
}
