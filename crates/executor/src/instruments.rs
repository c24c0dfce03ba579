//! Every metric of this crate.

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use planfleet_telemetry::names::metric;

/// The instruments of one pool's executor. Its name is made an attribute once: a measurement
/// copies a pointer to it and allocates nothing.
#[derive(Debug)]
pub struct Instruments {
    pool: KeyValue,
    attempts: Counter<u64>,
    duration: Histogram<f64>,
    queue_wait: Histogram<f64>,
    redeliveries: Counter<u64>,
}

impl Instruments {
    /// Creates them with the process's meter.
    #[must_use]
    pub fn new(pool: &str) -> Self {
        Self {
            pool: KeyValue::new("pool", std::sync::Arc::<str>::from(pool)),
            attempts: metric::ATTEMPTS.counter(),
            duration: metric::AGENT_DURATION.histogram(),
            queue_wait: metric::QUEUE_WAIT.histogram(),
            redeliveries: metric::REDELIVERIES.counter(),
        }
    }

    pub(crate) fn attempt(&self, outcome: &'static str, took: Duration) {
        let attributes = [self.pool.clone(), KeyValue::new("outcome", outcome)];
        self.attempts.add(1, &attributes);
        self.duration.record(took.as_secs_f64(), &attributes);
    }

    /// A step has come that was queued so many milliseconds ago. One that comes again has not
    /// waited but been lost.
    pub(crate) fn delivery(&self, deliveries: u64, waited_ms: u64) {
        let attributes = std::slice::from_ref(&self.pool);
        if deliveries > 1 {
            self.redeliveries.add(1, attributes);
        } else {
            self.queue_wait.record(Duration::from_millis(waited_ms).as_secs_f64(), attributes);
        }
    }
}
