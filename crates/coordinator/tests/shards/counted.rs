//! What is counted of a log is counted once, however often it is read.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use opentelemetry::{
    InstrumentationScope, KeyValue, global,
    metrics::{Counter, InstrumentBuilder, InstrumentProvider, Meter, MeterProvider, SyncInstrument},
};
use planfleet_core::record::Fact;

use super::{Fleet, planned, step, succeeded, until};

thread_local! {
    /// Everything that this test, which is one thread, has counted.
    static COUNTED: RefCell<BTreeMap<String, u64>> = RefCell::default();
}

struct Counting;

impl MeterProvider for Counting {
    fn meter_with_scope(&self, _: InstrumentationScope) -> Meter {
        Meter::new(Arc::new(Self))
    }
}

impl InstrumentProvider for Counting {
    fn u64_counter(&self, builder: InstrumentBuilder<'_, Counter<u64>>) -> Counter<u64> {
        Counter::new(Arc::new(Counts(builder.name.into_owned())))
    }
}

struct Counts(String);

impl SyncInstrument<u64> for Counts {
    fn measure(&self, by: u64, attributes: &[KeyValue]) {
        let values = attributes.iter().map(|attribute| format!(" {}", attribute.value)).collect::<String>();
        COUNTED.with_borrow_mut(|counted| *counted.entry(format!("{}{values}", self.0)).or_default() += by);
    }
}

fn counted(what: &str) -> u64 {
    COUNTED.with_borrow(|counted| counted.get(what).copied().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn a_replay_counts_nothing_again() {
    global::set_meter_provider(Counting);
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    // Keeps the log from its beginning.
    let first = fleet.submit("first", planned()).await;
    fleet.queued(&step(&first, 1, 1)).await;
    let run = fleet.submit("run", planned()).await;
    fleet.append(&run, succeeded(1)).await;
    fleet.append(&run, succeeded(1)).await;
    fleet.append(&run, Fact::RunCancelRequested { reason: "enough".to_owned() }).await;
    fleet.ended(&run).await;
    fleet.checkpoint().await;
    let all = || {
        ["planfleet.records applied", "planfleet.records repeated", "planfleet.runs_ended cancelled"]
            .map(counted)
    };
    assert_eq!(all(), [4, 1, 1]);

    a.crash().await;
    let b = fleet.start_alone("b").await;
    until("the replay", async || !b.work().is_empty()).await;
    assert_eq!(all(), [4, 1, 1], "the owner before has counted them");
    fleet.append(&first, succeeded(1)).await;
    until("what is new", async || counted("planfleet.records applied") == 5).await;
}
