//! Every metric of this crate.

use opentelemetry::{KeyValue, global, metrics::Counter};

/// The instruments.
#[derive(Debug)]
pub(crate) struct Instruments {
    plans: Counter<u64>,
    cache: Counter<u64>,
}

impl Instruments {
    pub(crate) fn new() -> Self {
        let meter = global::meter("planfleet");
        let plans = meter
            .u64_counter("planfleet.plans")
            .with_description("Plans written, by kind (plan, replan) and outcome")
            .build();
        let cache = meter
            .u64_counter("planfleet.plan_cache.lookups")
            .with_description("Looks into the plan cache, by outcome (hit, miss, unfit)")
            .build();
        Self { plans, cache }
    }

    pub(crate) fn cache(&self, outcome: &'static str) {
        self.cache.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn plan(&self, kind: &'static str, outcome: &'static str) {
        self.plans.add(1, &[KeyValue::new("kind", kind), KeyValue::new("outcome", outcome)]);
    }
}
