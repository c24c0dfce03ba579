//! Records that can follow from nothing: told once, and in nobody's way.

use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex},
};

use planfleet_core::record::{ApprovalDecided, Fact, Gate};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::{Fleet, planned, step, succeeded, until};

/// What this thread warns of, a line each.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn of(&self, words: &str) -> Vec<String> {
        let all = self.0.lock().expect("a list");
        all.iter().filter(|line| line.contains(words)).cloned().collect()
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{}", event.metadata().level()));
        event.record(&mut line);
        self.0.lock().expect("a list").push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

#[tokio::test(start_paused = true)]
async fn an_illegal_record_is_told_once_and_stops_nothing() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    fleet.append(&run, succeeded(9)).await;
    let gate = Gate::Plan { revision: 1 };
    let decided = ApprovalDecided { gates: vec![gate], approved: true, reason: String::new() };
    fleet.append(&run, Fact::ApprovalDecided(decided)).await;
    for step in [1, 1, 2] {
        fleet.append(&run, succeeded(step)).await;
    }
    fleet.queued(&step(&run, 3, 1)).await;
    let told = warnings.of("illegal");
    let [of_step, of_plan] = told.as_slice() else { panic!("one each, none of the repeated: {told:?}") };
    for said in ["WARN", "record=\"StepSucceeded\"", "state=\"Executing\"", "run=00-run"] {
        assert!(of_step.contains(said), "{said}: {of_step}");
    }
    assert!(of_plan.contains("record=\"ApprovalDecided\""), "{of_plan}");

    fleet.checkpoint().await;
    a.crash().await;
    let b = fleet.start_alone("b").await;
    until("the replay", async || !b.work().is_empty()).await;
    assert_eq!(warnings.of("illegal"), told, "the owner before has told it");
    fleet.append(&run, succeeded(3)).await;
    assert_eq!(fleet.ended(&run).await["state"], "succeeded");
}
