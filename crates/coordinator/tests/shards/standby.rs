//! Whoever is next follows the log, and says nothing until it is its turn.

use std::time::Duration;

use planfleet_coordinator::spread;
use planfleet_core::record::Fact;
use planfleet_proto::subjects;
use tokio::time::sleep;

use super::{Fleet, Node, planned, step, succeeded, until};

/// The first node, and a second that follows it.
async fn pair(fleet: &Fleet) -> (Node, Node) {
    let a = fleet.start_alone("a").await;
    let b = fleet.start_with("b", |config| config.member_beat = Duration::from_millis(100));
    until("two members", async || fleet.bus.members().await.expect("an answer").len() == 2).await;
    // Who of the two owns the shard is the hash's to say.
    sleep(Duration::from_secs(5)).await;
    if fleet.lease(0).await.owner == "a" { (a, b) } else { (b, a) }
}

#[tokio::test(start_paused = true)]
async fn a_standby_has_read_the_log_when_it_takes_over() {
    let fleet = Fleet::with_shards(1).await;
    let (owner, standby) = pair(&fleet).await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&step(&run, 2, 1)).await;
    fleet.append(&run, succeeded(1)).await;
    fleet.checkpoint().await;
    assert_eq!(standby.work(), [] as [String; 0], "it keeps silent");
    let log = subjects::log(0);
    let reads = standby.spy.read_from(&log).len();
    let before = fleet.lease(0).await;
    owner.crash().await;
    until("a takeover", async || fleet.lease(0).await.epoch > before.epoch).await;
    fleet.append(&run, succeeded(2)).await;
    fleet.queued(&step(&run, 3, 1)).await;
    assert_eq!(standby.spy.read_from(&log).len(), reads, "it goes on reading where it was");
    fleet.append(&run, succeeded(3)).await;
    assert_eq!(fleet.ended(&run).await["answer"], "out 3");
}

#[tokio::test(start_paused = true)]
async fn documents_that_nobody_has_kept_are_kept_by_the_standby() {
    let fleet = Fleet::with_shards(1).await;
    let (owner, standby) = pair(&fleet).await;
    let kept = fleet.submit("kept", planned()).await;
    fleet.append(&kept, Fact::RunCancelRequested { reason: "enough".to_owned() }).await;
    fleet.ended(&kept).await;
    fleet.checkpoint().await;
    sleep(Duration::from_secs(1)).await;
    // Dies before it hears of the second one's end.
    owner.crash().await;
    let unkept = fleet.submit("unkept", planned()).await;
    fleet.append(&unkept, Fact::RunCancelRequested { reason: "enough".to_owned() }).await;
    fleet.ended(&unkept).await;
    let done: Vec<_> = standby.spy.published("pf.done.").into_iter().map(|(subject, _)| subject).collect();
    assert_eq!(done, [subjects::done("default", &unkept)]);
}

#[tokio::test(start_paused = true)]
async fn a_process_may_be_told_not_to_stand_by() {
    let fleet = Fleet::with_shards(1).await;
    let names = ["a", "b"];
    let owner = spread::preferred(0, names).expect("one of them");
    let other = names.into_iter().find(|name| *name != owner).expect("the other");
    let _owner = fleet.start_alone(owner).await;
    let node = fleet.start_with(other, |config| config.standby = false);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(fleet.lease(0).await.owner, owner);
    assert_eq!(node.spy.read_from(&subjects::log(0)), [] as [u64; 0]);
}

/// One that was held up finds a log that begins behind what it has.
#[tokio::test(start_paused = true)]
async fn a_standby_that_has_missed_what_was_trimmed_begins_anew() {
    let fleet = Fleet::with_shards(1).await;
    let (owner, standby) = pair(&fleet).await;
    let missed = fleet.submit("missed", planned()).await;
    fleet.queued(&step(&missed, 2, 1)).await;
    fleet.checkpoint().await;
    standby.spy.hold_logs(true);
    fleet.append(&missed, Fact::RunCancelRequested { reason: "enough".to_owned() }).await;
    fleet.ended(&missed).await;
    sleep(Duration::from_secs(70)).await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&step(&run, 2, 1)).await;
    until("nothing of what was missed", async || fleet.lease(0).await.replay_from > 2).await;
    fleet.bus.trim_journal(0, fleet.lease(0).await.replay_from).await.expect("trimmed");
    standby.spy.hold_logs(false);
    sleep(Duration::from_secs(10)).await;
    let before = fleet.lease(0).await;
    owner.crash().await;
    until("a takeover", async || fleet.lease(0).await.epoch > before.epoch).await;
    fleet.checkpoint().await;
    let mut work = standby.work();
    work.sort();
    assert_eq!(work, [step(&run, 1, 1), step(&run, 2, 1)], "nothing of the run that has ended");
}

#[tokio::test(start_paused = true)]
async fn what_a_standby_cannot_read_is_set_aside_by_whoever_speaks() {
    let fleet = Fleet::with_shards(1).await;
    let (owner, standby) = pair(&fleet).await;
    fleet.checkpoint().await;
    owner.crash().await;
    fleet.garbage().await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&step(&run, 1, 1)).await;
    until("a dead letter", async || fleet.dead_letters().await == 1).await;
    assert_eq!(standby.spy.published("pf.dlq.").len(), 1);
}
