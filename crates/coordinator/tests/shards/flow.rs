//! What is let go of ready work, and when it counts as come back.

use std::time::Duration;

use planfleet_bus::flow::{Pause, Target};
use planfleet_coordinator::{Config, FlowSettings};
use planfleet_core::task::{Brief, Priority};
use serde_json::json;
use tokio::time::sleep;

use super::{Fleet, Node, enveloped, goal, planned, step, succeeded, until};

/// Far longer than anything takes to be let go on the paused clock.
const A_WHILE: Duration = Duration::from_secs(30);

/// At most so many of the default pool at once.
fn at_most(limit: usize) -> impl FnOnce(&mut Config) {
    let pools = [("default".to_owned(), limit)].into();
    move |config| config.flow = FlowSettings { pools, ..FlowSettings::default() }
}

async fn alone(fleet: &Fleet, name: &str, set: impl FnOnce(&mut Config)) -> Node {
    let node = fleet.start_with(name, set);
    fleet.owned_by(name).await;
    node
}

#[tokio::test(start_paused = true)]
async fn a_limit_holds_across_a_takeover() {
    let fleet = Fleet::with_shards(1).await;
    let a = alone(&fleet, "a", at_most(2)).await;
    let first = fleet.submit("z-first", planned()).await;
    fleet.queued(&step(&first, 2, 1)).await;
    // It comes first where work is owed, and is not out.
    let second = fleet.submit("a-second", planned()).await;
    fleet.checkpoint().await;
    sleep(A_WHILE).await;
    assert_eq!(a.work().len(), 2, "{:?}", a.work());
    a.crash().await;

    let b = alone(&fleet, "b", at_most(2)).await;
    fleet.checkpoint().await;
    sleep(A_WHILE).await;
    let mut said = b.work();
    said.sort();
    assert_eq!(said, [step(&first, 1, 1), step(&first, 2, 1)], "what is out is said again, and no more");
    fleet.append(&first, succeeded(1)).await;
    fleet.queued(&step(&second, 1, 1)).await;
    sleep(A_WHILE).await;
    assert!(!fleet.is_queued(&step(&second, 2, 1)).await);
    fleet.append(&first, succeeded(2)).await;
    fleet.queued(&step(&second, 2, 1)).await;
    let waits = fleet.active(&first).await["steps"][2]["waits_for"].clone();
    assert_eq!(waits, json!({"code": "queue"}), "its last step waits behind those");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_time_is_over_is_not_out_any_more() {
    let fleet = Fleet::with_shards(1).await;
    let _a = alone(&fleet, "a", at_most(1)).await;
    let hurried = enveloped(planned(), |envelope| envelope.step_timeout_ms = Some(60_000));
    let first = fleet.submit("first", hurried).await;
    fleet.queued(&step(&first, 1, 1)).await;
    let second = fleet.submit("second", planned()).await;
    fleet.checkpoint().await;
    assert!(!fleet.is_queued(&step(&second, 1, 1)).await);
    // Nobody works for it: its steps run out of time, the one that waits too, and with no
    // planner left it waits for that.
    fleet.queued(&step(&second, 1, 1)).await;
    assert!(!fleet.is_queued(&step(&first, 2, 1)).await, "it was over before its turn came");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_run_makes_room() {
    let fleet = Fleet::with_shards(1).await;
    let _a = alone(&fleet, "a", at_most(1)).await;
    let first = fleet.submit("first", planned()).await;
    fleet.queued(&step(&first, 1, 1)).await;
    let second = fleet.submit("second", planned()).await;
    fleet.client.cancel(&first, "enough").await.unwrap();
    fleet.ended(&first).await;
    fleet.queued(&step(&second, 1, 1)).await;
    assert!(!fleet.is_queued(&step(&first, 2, 1)).await);
}

#[tokio::test(start_paused = true)]
async fn a_higher_priority_goes_before_what_waits() {
    let fleet = Fleet::with_shards(1).await;
    let a = alone(&fleet, "a", at_most(1)).await;
    let of = |priority| {
        let mut submission = planned();
        submission.task = Brief { priority, ..submission.task };
        submission
    };
    let low = fleet.submit("low", of(Priority::Low)).await;
    fleet.queued(&format!("pf.steps.default.2.default.{low}.1.1")).await;
    let high = fleet.submit("high", of(Priority::High)).await;
    fleet.checkpoint().await;
    fleet.append(&low, succeeded(1)).await;
    fleet.queued(&format!("pf.steps.default.0.default.{high}.1.1")).await;
    assert_eq!(a.work().len(), 2, "{:?}", a.work());
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_planning_is_shown_and_ends() {
    let fleet = Fleet::with_shards(1).await;
    let pause = Pause { target: Target::Pool("plan".to_owned()), reason: "tea".to_owned(), since_ms: 1 };
    fleet.bus.pause(&pause).await.unwrap();
    let _a = fleet.start_alone("a").await;
    let run = fleet.submit("run", goal()).await;
    fleet.checkpoint().await;
    sleep(A_WHILE).await;
    let planning = format!("pf.steps.plan.1.default.{run}.r1.1");
    assert!(!fleet.is_queued(&planning).await);
    let waits = fleet.active(&run).await["planning"]["waits_for"].clone();
    assert_eq!(waits, json!({"code": "queue_paused", "what": "pool plan", "reason": "tea"}));
    fleet.bus.resume(&pause.target).await.unwrap();
    fleet.queued(&planning).await;
    assert_eq!(fleet.active(&run).await["planning"].get("waits_for"), None);
}

#[tokio::test(start_paused = true)]
async fn what_others_have_out_is_left_to_them() {
    let fleet = Fleet::with_shards(2).await;
    let window = |config: &mut Config| config.flow.window_without_workers = 4;
    let (a, b) = (fleet.start_with("a", window), fleet.start_with("b", window));
    let both = async || {
        let mut owners = fleet.owners().await;
        owners.sort();
        owners == ["a", "b"]
    };
    until("an owner for each shard", both).await;
    // Of one shard alone: its owner has what the other one does not use.
    let runs: Vec<String> = (0..4).map(|n| format!("run{n}")).collect();
    for run in &runs {
        fleet.submit(run, planned()).await;
    }
    sleep(A_WHILE).await;
    assert_eq!(a.work().len() + b.work().len(), 4, "{:?} {:?}", a.work(), b.work());
}
