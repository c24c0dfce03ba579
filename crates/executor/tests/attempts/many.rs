//! As many calls at once as a process has slots.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use planfleet_core::{
    id::StepId,
    tool::{Effect, ToolSpec},
};
use planfleet_executor::{Config, Models};
use planfleet_tools::{CallContext, Tool, ToolError};
use serde_json::{Map, Value, json};
use tokio::sync::Barrier;

use super::{Bench, config, order, pool, tools};

const CALLS: usize = 1_000;

/// A tool whose calls wait for one another: none ends before all have begun.
struct Meeting {
    spec: ToolSpec,
    barrier: Barrier,
}

#[async_trait]
impl Tool for Meeting {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(3_600)
    }

    async fn call(&self, _: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        self.barrier.wait().await;
        Ok(json!("met"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_are_in_flight_in_one_executor() {
    let mut bench = Bench::empty().await;
    let spec = ToolSpec {
        name: "meet".to_owned(),
        description: String::new(),
        arguments: json!({"type": "object"}),
        output: json!({"type": "string"}),
        effect: Effect::Read,
        idempotent: true,
    };
    let mut registry = tools::registry(&bench.calls);
    registry.register(Arc::new(Meeting { spec, barrier: Barrier::new(CALLS) })).expect("a new tool");
    let pool = planfleet_bus::Pool { slots: CALLS, ..pool() };
    bench.bus.broker().ensure_consumer(&pool.consumer()).await.expect("room for them");
    bench.start_with(Config { pool, ..config() }, Models::default(), registry);
    for id in 1..=CALLS {
        let mut order = order(json!({"id": id, "kind": "tool", "tools": ["meet"]}), Vec::new());
        order.step = StepId::plain(u32::try_from(id).expect("few"));
        Arc::make_mut(&mut order.envelope).tools.insert("meet".to_owned(), Effect::Read);
        bench.bus.dispatch_step(&order, Default::default()).await.expect("queued");
    }
    let mut done = BTreeSet::new();
    for _ in 0..CALLS {
        let ended = bench.ended().await;
        done.insert(ended.report.step);
        assert_eq!(ended.output(), "met");
    }
    assert_eq!(done.len(), CALLS);
    bench.emptied().await;
}
