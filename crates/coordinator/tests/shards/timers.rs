//! Times that outlive the coordinator that was asked to watch them.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Fleet, goal, planned, step, transient, within};

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
