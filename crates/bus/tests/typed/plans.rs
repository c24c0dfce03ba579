//! The plan cache: whose success it was.

use std::time::Duration;

use planfleet_core::{
    cache::{Cost, Entry, Outcomes, Way},
    document::RunState,
};
use tokio::time::timeout;

use crate::{batches::ended, new_bus, run_id};

fn entry(made_ms: u64) -> Entry {
    Entry {
        tenant: "acme".to_owned(),
        class: "movies".to_owned(),
        slots: Vec::new(),
        goal: "Find a movie".to_owned(),
        extracted: false,
        way: Way::Direct,
        model: "big".to_owned(),
        cost: Cost::default(),
        made_ms,
        pinned: false,
        used: Outcomes::default(),
        fresh: Outcomes::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_of_an_old_plan_says_nothing_of_the_one_that_took_its_place() {
    let bus = new_bus().await;
    bus.keep_plan("k", &entry(20), 0).await.unwrap();
    for (made_ms, state) in [(10, RunState::Failed), (20, RunState::Succeeded), (0, RunState::Succeeded)] {
        let mut document = ended(&run_id("00-a"), "b", state);
        document.cache = Some(Box::new(entry(made_ms).note("k", true)));
        bus.note_outcome(&document);
    }
    // It writes for as long as it is polled.
    assert!(timeout(Duration::from_secs(3), bus.write_outcomes()).await.is_err());
    let kept = bus.cached_plan("k").await.unwrap().unwrap().entry;
    assert_eq!((kept.used, kept.fresh), (Outcomes { succeeded: 2, failed: 0 }, Outcomes::default()));
}
