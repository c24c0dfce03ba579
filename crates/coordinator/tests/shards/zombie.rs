//! An owner that is none any more keeps its mouth shut.

use std::time::Duration;

use planfleet_bus::Lease;
use tokio::time::{Instant, sleep};

use super::{Fleet, Node, STALE, planned, step};

/// Appends a run and says what of it the node emits within a second.
async fn emitted_for_a_run(fleet: &Fleet, node: &Node) -> Vec<String> {
    let before = node.work().len();
    let run = fleet.submit("run", planned()).await;
    sleep(Duration::from_secs(1)).await;
    assert!(!fleet.is_queued(&step(&run, 1, 1)).await || node.work().len() > before);
    node.work().split_off(before)
}

#[tokio::test(start_paused = true)]
async fn whoever_owns_the_shard_speaks() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    assert_eq!(emitted_for_a_run(&fleet, &a).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_has_written_silences_the_owner() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let held = fleet.bus.lease(0).await.unwrap().expect("a lease");
    let other = Lease { epoch: held.lease.epoch + 1, owner: "other".to_owned(), ..held.lease };
    fleet.bus.write_lease(0, &other, held.revision).await.unwrap().expect("nobody was faster");
    sleep(Duration::from_millis(450)).await;
    assert_eq!(emitted_for_a_run(&fleet, &a).await, [] as [String; 0], "its next renewal has failed");
    assert_eq!(fleet.lease(0).await.owner, "other", "and it takes nothing back that is not stale");
}

#[tokio::test(start_paused = true)]
async fn a_newer_epoch_in_the_log_silences_the_owner_at_once() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let held = fleet.bus.lease(0).await.unwrap().expect("a lease");
    let other = Lease { epoch: held.lease.epoch + 1, owner: "other".to_owned(), ..held.lease };
    fleet.bus.write_lease(0, &other, held.revision).await.unwrap().expect("nobody was faster");
    fleet.bus.open_epoch(0, &other).await.unwrap();
    assert_eq!(emitted_for_a_run(&fleet, &a).await, [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_cannot_renew_is_silent_before_another_may_speak() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let began = Instant::now();
    a.spy.cut();
    let b = fleet.start("b");
    sleep(STALE * 2 / 3 + Duration::from_millis(450)).await;
    assert_eq!(fleet.lease(0).await.owner, "a", "nobody has taken over yet");
    assert!(began.elapsed() < STALE);
    let run = fleet.submit("late", planned()).await;
    fleet.queued(&step(&run, 1, 1)).await;
    assert_eq!(a.work(), [] as [String; 0]);
    assert_eq!(b.work(), [step(&run, 1, 1), step(&run, 2, 1)]);
    assert_eq!(fleet.lease(0).await.owner, "b");
}
