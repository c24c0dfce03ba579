//! Who owns what, and for how long nobody does.

use std::time::Duration;

use planfleet_bus::client::Found;
use planfleet_coordinator::{Config, spread};
use planfleet_core::{id::RunId, record::Fact};
use tokio::time::{Instant, sleep};

use super::{Fleet, STALE, goal, planned, succeeded, until};

/// A look at the lease, and a margin for what the paused clock leaves to chance.
const LOOKS: Duration = Duration::from_millis(450);

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(1);

/// How long a run that has ended is remembered, and a moment.
const MINUTE: Duration = Duration::from_millis(60_100);

async fn shared(fleet: &Fleet, names: &[&str]) {
    let preferred: Vec<&str> = (0..fleet.bus.shards())
        .map(|shard| spread::preferred(shard, names.iter().copied()).expect("a member"))
        .collect();
    for name in names {
        assert!(preferred.contains(name), "{name} is to own some: {preferred:?}");
    }
    until("everybody's share", async || fleet.owners().await == preferred).await;
}

#[tokio::test(start_paused = true)]
async fn two_coordinators_share_the_shards() {
    let fleet = Fleet::with_shards(8).await;
    let began = Instant::now();
    let _a = fleet.start_alone("a").await;
    assert!(began.elapsed() < LOOKS, "what nobody ever had is taken at once");
    let _b = fleet.start("b");
    shared(&fleet, &["a", "b"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_coordinator_is_replaced_once_its_leases_are_stale() {
    let fleet = Fleet::with_shards(8).await;
    let a = fleet.start("a");
    let _b = fleet.start("b");
    shared(&fleet, &["a", "b"]).await;
    let began = Instant::now();
    a.crash().await;
    let lost = fleet.owners().await;
    assert!(lost.iter().any(|owner| owner == "a"), "a crash says nothing");
    fleet.owned_by("b").await;
    assert!(began.elapsed() <= STALE + LOOKS, "{:?}", began.elapsed());
    assert!(began.elapsed() >= STALE / 2, "not on a whim: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_next_in_line_takes_over_and_the_others_wait() {
    let fleet = Fleet::with_shards(8).await;
    let a = fleet.start("a");
    let (_b, _c) = (fleet.start("b"), fleet.start("c"));
    shared(&fleet, &["a", "b", "c"]).await;
    let before = fleet.owners().await;
    a.crash().await;
    shared(&fleet, &["b", "c"]).await;
    for (shard, (before, after)) in before.iter().zip(fleet.owners().await).enumerate() {
        assert!(before == "a" || *before == after, "shard {shard} moved from {before} to {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_hands_over_at_once() {
    let fleet = Fleet::with_shards(8).await;
    let a = fleet.start("a");
    let b = fleet.start("b");
    shared(&fleet, &["a", "b"]).await;
    let began = Instant::now();
    a.stop().await;
    fleet.owned_by("b").await;
    assert!(began.elapsed() <= LOOKS, "{:?}", began.elapsed());
    assert_eq!(fleet.bus.members().await.unwrap().len(), 1, "a has said goodbye");
    b.stop().await;
    assert!(fleet.owners().await.iter().all(String::is_empty), "nobody is left");
    let began = Instant::now();
    let _c = fleet.start_alone("c").await;
    assert!(began.elapsed() <= LOOKS, "{:?}", began.elapsed());
}

/// The dead leave their names behind; who comes later waits for none of them as if it were there.
#[tokio::test(start_paused = true)]
async fn a_newcomer_soon_knows_who_is_gone() {
    let fleet = Fleet::with_shards(8).await;
    let a = fleet.start("a");
    let dead = fleet.start("dead");
    shared(&fleet, &["a", "dead"]).await;
    dead.crash().await;
    fleet.owned_by("a").await;
    let _newcomer = fleet.start("b");
    sleep(BEAT * 2).await;
    let began = Instant::now();
    a.stop().await;
    fleet.owned_by("b").await;
    assert!(began.elapsed() <= LOOKS, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_takes_everything_along() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&super::step(&run, 1, 1)).await;
    a.stop().await;
    let lease = fleet.lease(0).await;
    let tail = fleet.bus.journal_tail(0).await.unwrap();
    assert_eq!((lease.owner.as_str(), lease.folded_to), ("", tail), "it stops at the tail");
    let _b = fleet.start_alone("b").await;
    assert_eq!(fleet.lease(0).await.epoch, lease.epoch + 1);
    for step in 1..=3 {
        fleet.append(&run, succeeded(step)).await;
    }
    assert_eq!(fleet.ended(&run).await["state"], "succeeded");
}

#[tokio::test(start_paused = true)]
async fn active_runs_are_answered_for_from_memory() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    let other = fleet.submit("other", goal()).await;
    fleet.checkpoint().await;
    let nobody = "00-nobody".parse().unwrap();
    let state = async |run| match fleet.client.find(run).await.expect("an answer") {
        Found::Active(document) => document["state"].as_str().expect("a state").to_owned(),
        Found::Ended(document) => format!("ended {}", document["state"]),
        Found::Unknown => "unknown".to_owned(),
    };
    assert_eq!(state(&run).await, "executing");
    assert_eq!(state(&other).await, "planning");
    assert_eq!(state(&nobody).await, "unknown");
    let listed = fleet.client.list(10).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|run| run["steps"].as_array().is_some_and(Vec::is_empty)), "lists are short");

    a.crash().await;
    assert!(fleet.client.find(&run).await.is_err(), "nobody knows for now");
    let _b = fleet.start_alone("b").await;
    until("the replay", async || fleet.client.find(&run).await.is_ok()).await;
    assert_eq!(state(&run).await, "executing");
    fleet.client.cancel(&run, "enough").await.unwrap();
    fleet.ended(&run).await;
    assert_eq!(state(&run).await, "ended \"cancelled\"");
    assert_eq!(fleet.client.list(10).await.unwrap().len(), 2, "one active, one ended");
}

#[tokio::test(start_paused = true)]
async fn the_replay_starts_later_when_runs_end() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let begin = fleet.bus.journal_tail(0).await.unwrap();
    let first = fleet.submit("first", planned()).await;
    let second = fleet.submit("second", goal()).await;
    fleet.checkpoint().await;
    assert_eq!(fleet.lease(0).await.replay_from, begin + 1, "where the oldest active run begins");
    fleet.client.cancel(&first, "enough").await.unwrap();
    fleet.ended(&first).await;
    fleet.checkpoint().await;
    assert_eq!(fleet.lease(0).await.replay_from, begin + 1, "a run that has just ended is remembered");
    sleep(MINUTE).await;
    fleet.client.cancel(&second, "enough").await.unwrap();
    fleet.ended(&second).await;
    until("a checkpoint", async || fleet.lease(0).await.replay_from == begin + 2).await;
    sleep(MINUTE).await;
    fleet.submit("third", planned()).await;
    let tail = fleet.bus.journal_tail(0).await.unwrap();
    until("a checkpoint", async || fleet.lease(0).await.replay_from == tail).await;

    a.crash().await;
    let b = fleet.start_alone("b").await;
    fleet.checkpoint().await;
    assert_eq!(b.spy.published("pf.done."), [], "ended runs are not looked at again");
}

/// Runs are spread by chance: what a tenant may have is counted in all shards together.
#[tokio::test(start_paused = true)]
async fn a_tenant_that_may_have_few_runs_may_have_them_in_any_shards() {
    let fleet = Fleet::with_shards(2).await;
    let few = |config: &mut Config| config.room.runs_of_tenant = 4;
    let _nodes = [fleet.start_with("a", few), fleet.start_with("b", few)];
    let both = async || fleet.owners().await.iter().all(|owner| !owner.is_empty());
    until("owners", both).await;
    let full = async |shard| !fleet.lease(shard).await.load.full_tenants.is_empty();
    let in_shard = async |shard, name: &str| {
        let run = RunId::new(shard, name).unwrap();
        fleet.append(&run, Fact::TaskSubmitted(Box::new(goal()))).await;
        let said = async || fleet.lease(shard).await.load.runs_of_few.values().sum::<u64>();
        let before = said().await;
        until("its count", async || said().await > before).await;
    };
    for name in ["one", "two", "three"] {
        in_shard(0, name).await;
    }
    sleep(STALE).await;
    assert!(!full(0).await && !full(1).await, "three of four, all of them in one shard");
    in_shard(1, "four").await;
    until("both to be full", async || full(0).await && full(1).await).await;
}
