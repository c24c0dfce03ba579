//! Every metric of this crate.

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use planfleet_core::record::CacheNote;
use planfleet_telemetry::names::metric;

/// The instruments.
#[derive(Debug)]
pub(crate) struct Instruments {
    pool: KeyValue,
    attempts: Counter<u64>,
    plans: Counter<u64>,
    duration: Histogram<f64>,
    queue_wait: Histogram<f64>,
    redeliveries: Counter<u64>,
    cache: Counter<u64>,
    saved_usd: Counter<f64>,
    saved_tokens: Counter<u64>,
}

impl Instruments {
    pub(crate) fn new(pool: &str) -> Self {
        Self {
            pool: KeyValue::new("pool", pool.to_owned()),
            attempts: metric::ATTEMPTS.counter(),
            plans: metric::PLANS.counter(),
            duration: metric::PLANNING_DURATION.histogram(),
            queue_wait: metric::QUEUE_WAIT.histogram(),
            redeliveries: metric::REDELIVERIES.counter(),
            cache: metric::CACHE_LOOKUPS.counter(),
            saved_usd: metric::CACHE_SAVED_USD.fractional_counter(),
            saved_tokens: metric::CACHE_SAVED_TOKENS.counter(),
        }
    }

    /// Work has come that was queued so many milliseconds ago. Work that comes again has not
    /// waited but been lost.
    pub(crate) fn delivery(&self, deliveries: u64, waited_ms: u64) {
        let attributes = std::slice::from_ref(&self.pool);
        if deliveries > 1 {
            self.redeliveries.add(1, attributes);
        } else {
            self.queue_wait.record(Duration::from_millis(waited_ms).as_secs_f64(), attributes);
        }
    }

    pub(crate) fn cache(&self, outcome: &'static str) {
        self.cache.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// A plan from the cache is used.
    #[expect(clippy::cast_precision_loss, reason = "shown, and exact to a millionth of a dollar")]
    pub(crate) fn saved(&self, note: &CacheNote) {
        self.saved_tokens.add(note.saved_tokens, &[]);
        if let Some(nano_usd) = note.saved_nano_usd {
            self.saved_usd.add(nano_usd as f64 / 1e9, &[]);
        }
    }

    /// Planning work has been done, with a plan or with the class of a failure. It is an attempt of
    /// its pool as steps are of theirs: what looks after pools looks after this one, too.
    pub(crate) fn plan(&self, kind: &'static str, failure: Option<&'static str>, took: Duration) {
        let outcome = |done| KeyValue::new("outcome", failure.unwrap_or(done));
        self.attempts.add(1, &[self.pool.clone(), outcome("succeeded")]);
        let kind = KeyValue::new("kind", kind);
        self.duration.record(took.as_secs_f64(), std::slice::from_ref(&kind));
        self.plans.add(1, &[kind, outcome("sealed")]);
    }
}
