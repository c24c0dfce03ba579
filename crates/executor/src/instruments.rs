//! Every metric of this crate.

use std::time::Duration;

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Histogram},
};

/// The instruments.
#[derive(Debug)]
pub struct Instruments {
    attempts: Counter<u64>,
    duration: Histogram<f64>,
    redeliveries: Counter<u64>,
}

impl Instruments {
    /// Creates them with the process's meter.
    #[must_use]
    pub fn new() -> Self {
        let meter = global::meter("planfleet");
        Self {
            attempts: meter
                .u64_counter("planfleet.attempts")
                .with_description("Attempts carried out, by pool and outcome")
                .build(),
            duration: meter
                .f64_histogram("gen_ai.invoke_agent.duration")
                .with_unit("s")
                .with_description("Duration of one attempt of a step")
                .build(),
            redeliveries: meter
                .u64_counter("planfleet.redeliveries")
                .with_description("Steps delivered again after an executor was lost")
                .build(),
        }
    }

    pub(crate) fn attempt(&self, pool: &str, outcome: &'static str, took: Duration) {
        let labels = [KeyValue::new("pool", pool.to_owned()), KeyValue::new("outcome", outcome)];
        self.attempts.add(1, &labels);
        self.duration.record(took.as_secs_f64(), &labels);
    }

    pub(crate) fn redelivery(&self, pool: &str) {
        self.redeliveries.add(1, &[KeyValue::new("pool", pool.to_owned())]);
    }
}

impl Default for Instruments {
    fn default() -> Self {
        Self::new()
    }
}
