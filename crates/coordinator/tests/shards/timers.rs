//! Times that outlive the coordinator that was asked to watch them.

use std::time::Duration;

use planfleet_core::{record::Fact, task::Submission};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Fleet, enveloped, goal, planned, step, succeeded, transient, within};

/// A record is as exact as a millisecond, and a test looks every ten.
const EXACT: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_run() {
    let fleet = Fleet::with_shards(1).await;
    let _a = fleet.start_alone("a").await;
    let began = Instant::now();
    let run = fleet.submit("run", within(planned(), Duration::from_secs(90))).await;
    let document = fleet.ended(&run).await;
    assert_eq!((&document["state"], &document["partial"]), (&"expired".into(), &true.into()));
    let took = began.elapsed();
    assert!((Duration::from_secs(90)..Duration::from_secs(90) + EXACT).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept_after_a_takeover() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let began = Instant::now();
    let run = fleet.submit("run", within(goal(), Duration::from_secs(20))).await;
    fleet.checkpoint().await;
    a.crash().await;
    let _b = fleet.start_alone("b").await;
    assert_eq!(fleet.ended(&run).await["state"], "expired");
    let took = began.elapsed();
    assert!((Duration::from_secs(20)..Duration::from_secs(20) + EXACT).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passed_while_nobody_was_there_is_noticed_at_once() {
    let fleet = Fleet::with_shards(1).await;
    let run = fleet.submit("run", within(goal(), Duration::from_secs(5))).await;
    sleep(Duration::from_secs(60)).await;
    let began = Instant::now();
    let _b = fleet.start_alone("b").await;
    assert_eq!(fleet.ended(&run).await["state"], "expired");
    assert!(began.elapsed() < EXACT + Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_as_long_as_it_was_asked_to_whoever_owns_the_shard() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&step(&run, 2, 1)).await;
    let began = Instant::now();
    fleet.append(&run, transient(2, Duration::from_secs(15))).await;
    fleet.checkpoint().await;
    a.crash().await;
    let b = fleet.start_alone("b").await;
    fleet.queued(&step(&run, 2, 2)).await;
    let took = began.elapsed();
    assert!((Duration::from_secs(15)..Duration::from_secs(15) + EXACT).contains(&took), "{took:?}");
    assert_eq!(b.work(), [step(&run, 1, 1), step(&run, 2, 2)], "the first attempt is not owed");
}

/// The task of [`planned`], whose steps have a minute each; the last one has an hour.
fn hurried() -> Submission {
    let plan = json!({"final": 3, "steps": [
        {"id": 1, "description": "a"},
        {"id": 2, "description": "b"},
        {"id": 3, "description": "c", "depends_on": [1, 2], "timeout_s": 3600}
    ]});
    let task = enveloped(goal(), |envelope| envelope.step_timeout_ms = Some(60_000));
    Submission { plan: Some(serde_json::from_value(plan).expect("a plan")), ..task }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_brings_nothing_in_its_time_is_the_planners() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let began = Instant::now();
    let run = fleet.submit("run", hurried()).await;
    fleet.append(&run, succeeded(1)).await;
    fleet.checkpoint().await;
    a.crash().await;
    let _b = fleet.start_alone("b").await;
    fleet.queued(&format!("pf.steps.plan.1.default.{run}.r2.1")).await;
    let took = began.elapsed();
    assert!((Duration::from_secs(60)..Duration::from_secs(60) + EXACT).contains(&took), "{took:?}");
    let document = fleet.active(&run).await;
    assert_eq!(document["state"], "replanning");
    assert_eq!(document["steps"][1]["error"]["class"], "timeout");
    assert_eq!(document["steps"][0]["state"], "succeeded");
}

#[tokio::test(start_paused = true)]
async fn the_time_of_an_attempt_that_was_answered_becomes_no_record() {
    let fleet = Fleet::with_shards(1).await;
    let _a = fleet.start_alone("a").await;
    let run = fleet.submit("run", hurried()).await;
    fleet.append(&run, succeeded(1)).await;
    fleet.append(&run, succeeded(2)).await;
    fleet.queued(&step(&run, 3, 1)).await;
    let tail = fleet.bus.journal_tail(0).await.unwrap();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(fleet.bus.journal_tail(0).await.unwrap(), tail);
    assert_eq!(fleet.active(&run).await["state"], "executing");
    fleet.append(&run, succeeded(3)).await;
    assert_eq!(fleet.ended(&run).await["state"], "succeeded");
    sleep(Duration::from_secs(4_000)).await;
    assert_eq!(fleet.bus.journal_tail(0).await.unwrap(), tail + 1, "an ended run has no timers");
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_was_due_while_the_run_was_paused_is_made_up_for() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    fleet.append(&run, transient(2, Duration::from_secs(15))).await;
    fleet.append(&run, Fact::RunPauseRequested { reason: "lunch".to_owned() }).await;
    fleet.checkpoint().await;
    sleep(Duration::from_secs(20)).await;
    assert!(!fleet.is_queued(&step(&run, 2, 2)).await);
    a.crash().await;
    let _b = fleet.start_alone("b").await;
    fleet.append(&run, Fact::RunResumeRequested).await;
    fleet.queued(&step(&run, 2, 2)).await;
}
