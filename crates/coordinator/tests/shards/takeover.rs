//! What a new owner emits, and what it leaves alone.

use std::time::Duration;

use futures::StreamExt as _;
use planfleet_bus::broker::{Broker as _, Published};
use planfleet_core::record::Fact;
use planfleet_proto::subjects;

use super::{Fleet, goal, planned, step, succeeded, until};

#[tokio::test(start_paused = true)]
async fn exactly_what_is_owed_is_emitted_again() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    let unplanned = fleet.submit("unplanned", goal()).await;
    let done = fleet.submit("done", planned()).await;
    fleet.append(&run, succeeded(1)).await;
    fleet.append(&done, Fact::RunCancelRequested { reason: "enough".to_owned() }).await;
    fleet.ended(&done).await;
    fleet.checkpoint().await;
    a.crash().await;

    let b = fleet.start_alone("b").await;
    fleet.checkpoint().await;
    let planning = format!("pf.steps.plan.1.default.{unplanned}.r1.1");
    let mut emitted = b.spy.published("pf.steps.");
    emitted.sort_by(|one, other| one.0.cmp(&other.0));
    let owed = [(step(&run, 2, 1), Published::Present), (planning, Published::Present)];
    assert_eq!(emitted, owed, "under the same names, which the broker knows");
    assert_eq!(b.spy.published("pf.ev.").len(), 1, "its epoch is all that it adds to the log");
}

#[tokio::test(start_paused = true)]
async fn work_that_was_lost_is_queued_again() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&step(&run, 2, 1)).await;
    a.crash().await;
    let expires = std::time::Duration::from_millis(10);
    let mut pulled = fleet.broker.pull(subjects::STEPS, "pool_default", 10, expires).await.unwrap();
    while let Some(delivery) = pulled.next().await {
        delivery.unwrap().settle.ack().await.unwrap();
    }
    assert!(!fleet.is_queued(&step(&run, 1, 1)).await);
    let _b = fleet.start_alone("b").await;
    fleet.queued(&step(&run, 1, 1)).await;
    fleet.queued(&step(&run, 2, 1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_leaves_the_queue_during_a_takeover_is_not_queued_again() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&step(&run, 2, 1)).await;
    a.crash().await;
    let b = fleet.start("b");
    b.spy.keep_what_is_queued();
    until("a question what is queued", async || b.spy.is_asked_what_is_queued()).await;
    // Done, and the record of it takes long to reach the new owner.
    fleet.append(&run, succeeded(1)).await;
    let expires = Duration::from_millis(10);
    let mut pulled = fleet.broker.pull(subjects::STEPS, "pool_default", 10, expires).await.unwrap();
    while let Some(delivery) = pulled.next().await {
        let delivery = delivery.unwrap();
        if delivery.subject == step(&run, 1, 1) {
            delivery.settle.ack().await.unwrap();
        }
    }
    b.spy.tell_what_is_queued();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(b.work(), [] as [String; 0], "it has not read that far");
    b.spy.hold_logs(false);
    until("what is owed", async || !b.work().is_empty()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(b.work(), [step(&run, 2, 1)]);
}

#[tokio::test(start_paused = true)]
async fn results_that_came_while_nobody_was_there_are_folded_first() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&step(&run, 2, 1)).await;
    a.crash().await;
    fleet.append(&run, succeeded(1)).await;
    fleet.append(&run, succeeded(2)).await;
    let b = fleet.start_alone("b").await;
    fleet.queued(&step(&run, 3, 1)).await;
    assert_eq!(b.work(), [step(&run, 3, 1)], "finished steps are not started again");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_has_seen_is_written() {
    let fleet = Fleet::with_shards(1).await;
    let run = fleet.submit("run", planned()).await;
    for step in 1..=3 {
        fleet.append(&run, succeeded(step)).await;
    }
    let b = fleet.start_alone("b").await;
    let document = fleet.ended(&run).await;
    assert_eq!((&document["state"], &document["answer"]), (&"succeeded".into(), &"out 3".into()));
    assert_eq!(b.work(), [] as [String; 0], "a replay is silent");
}

#[tokio::test(start_paused = true)]
async fn a_late_or_second_result_changes_nothing() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&step(&run, 2, 1)).await;
    for step in [1, 1, 2, 1, 2] {
        fleet.append(&run, succeeded(step)).await;
    }
    fleet.checkpoint().await;
    assert_eq!(a.work(), [step(&run, 1, 1), step(&run, 2, 1), step(&run, 3, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_submit_repeated_behind_its_run_s_end_starts_nothing_after_a_takeover() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    for step in 1..=3 {
        fleet.append(&run, succeeded(step)).await;
    }
    fleet.ended(&run).await;
    fleet.checkpoint().await;
    fleet.submit("run", planned()).await;
    a.crash().await;
    let b = fleet.start_alone("b").await;
    fleet.checkpoint().await;
    assert_eq!(b.work(), [] as [String; 0], "the run has ended");
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_record_is_set_aside_once_and_stops_nobody() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let before = fleet.submit("before", goal()).await;
    fleet.garbage().await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&step(&run, 1, 1)).await;
    assert_eq!(fleet.dead_letters().await, 1);
    fleet.checkpoint().await;
    assert_eq!(fleet.lease(0).await.replay_from, 2, "{before} keeps the record in the replay");
    a.crash().await;

    let b = fleet.start_alone("b").await;
    until("the replay", async || !b.work().is_empty()).await;
    assert_eq!(fleet.dead_letters().await, 1, "the owner before has done it");
    assert_eq!(b.spy.published("pf.dlq."), []);
}

/// As when the broker has stored a dispatch and its ack was lost with the leader.
#[tokio::test(start_paused = true)]
async fn what_is_answered_is_not_tried_to_be_queued_again() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    a.spy.refuse_work(true);
    let run = fleet.submit("run", planned()).await;
    fleet.checkpoint().await;
    fleet.append(&run, succeeded(1)).await;
    fleet.checkpoint().await;
    a.spy.refuse_work(false);
    fleet.queued(&step(&run, 2, 1)).await;
    fleet.append(&run, succeeded(2)).await;
    fleet.queued(&step(&run, 3, 1)).await;
    assert_eq!(a.work(), [step(&run, 2, 1), step(&run, 3, 1)]);
    a.spy.refuse_work(true);
    let ended = fleet.submit("ended", planned()).await;
    fleet.checkpoint().await;
    fleet.append(&ended, Fact::RunCancelRequested { reason: "enough".to_owned() }).await;
    fleet.ended(&ended).await;
    a.spy.refuse_work(false);
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert!(!fleet.is_queued(&step(&ended, 1, 1)).await, "nothing is queued for a run that has ended");
}
