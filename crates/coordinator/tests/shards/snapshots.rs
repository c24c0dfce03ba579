//! Snapshots: what a takeover begins with, and what it does without.

use bytes::Bytes;
use planfleet_bus::{broker::Published, snapshots::SnapshotRef};
use planfleet_coordinator::{Config, Upkeep};
use planfleet_core::{id::RunId, record::Fact};
use planfleet_proto::{Message as _, subjects, wire};

use super::{Fleet, Node, goal, planned, step, succeeded, until};

/// A snapshot every few entries, of a log that is cut as soon as it may be.
fn often(config: &mut Config) {
    config.upkeep = Upkeep { snapshot_entries: 5, log_entries: 0, trim_entries: 1 };
}

/// The same, of a log that is left as it is.
fn often_and_whole(config: &mut Config) {
    config.upkeep = Upkeep { snapshot_entries: 5, log_entries: 1_000_000, trim_entries: 1_000_000 };
}

struct Scene {
    fleet: Fleet,
    a: Node,
    /// Its step 3 is owed.
    run: RunId,
    /// It is being planned.
    old: RunId,
    /// The newest first.
    snapshots: Vec<SnapshotRef>,
}

/// An old run, one that goes on, and runs that end, until there are two snapshots;
/// then the owner dies.
async fn scene(set: fn(&mut Config)) -> Scene {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_with("a", set);
    fleet.owned_by("a").await;
    let old = fleet.submit("old", goal()).await;
    let run = fleet.submit("run", planned()).await;
    fleet.append(&run, succeeded(1)).await;
    for number in 0..8 {
        let over = fleet.submit(&format!("over{number}"), goal()).await;
        fleet.append(&over, Fact::RunCancelRequested { reason: "enough".to_owned() }).await;
        fleet.ended(&over).await;
        fleet.checkpoint().await;
    }
    until("two snapshots", async || fleet.lease(0).await.snapshots.len() == 2).await;
    fleet.append(&run, succeeded(2)).await;
    fleet.queued(&step(&run, 3, 1)).await;
    fleet.checkpoint().await;
    a.crash().await;
    let snapshots = fleet.lease(0).await.snapshots;
    Scene { fleet, a, run, old, snapshots }
}

impl Scene {
    /// Another coordinator takes over and owes what it has to.
    async fn is_taken_over(&self) -> Node {
        self.is_taken_over_by("b").await
    }

    async fn is_taken_over_by(&self, name: &str) -> Node {
        let b = self.fleet.start_with(name, often_and_whole);
        self.fleet.owned_by(name).await;
        self.fleet.checkpoint().await;
        let planning = format!("pf.steps.plan.1.default.{}.r1.1", self.old);
        let mut emitted = b.spy.published("pf.steps.");
        emitted.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(emitted, [(step(&self.run, 3, 1), Published::Present), (planning, Published::Present)]);
        self.fleet.append(&self.run, succeeded(3)).await;
        assert_eq!(self.fleet.ended(&self.run).await["answer"], "out 3");
        b
    }

    async fn change(&self, name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let broker = self.fleet.bus.broker();
        let body = broker.object_get(subjects::SNAPSHOTS, name).await.expect("an answer").expect("an object");
        self.remove(name).await;
        let body = Bytes::from(change(body.to_vec()));
        broker.object_put(subjects::SNAPSHOTS, name, body).await.expect("stored");
    }

    async fn remove(&self, name: &str) {
        let gone = self.fleet.bus.broker().object_delete(subjects::SNAPSHOTS, name, None).await;
        assert!(gone.expect("an answer"), "{name} was there");
    }

    /// From where the log was read.
    fn began(&self, node: &Node) -> u64 {
        *node.spy.read_from(&subjects::log(0)).first().expect("a reader")
    }

    fn names(&self) -> [&str; 2] {
        [&self.snapshots[0].name, &self.snapshots[1].name]
    }
}

#[tokio::test(start_paused = true)]
async fn a_takeover_begins_with_the_newest_snapshot() {
    let scene = scene(often).await;
    let first = scene.fleet.bus.journal_head(0).await.unwrap();
    assert!(first > 3, "what snapshots hold is trimmed: {first}");
    let b = scene.is_taken_over().await;
    assert_eq!(scene.began(&b), scene.snapshots[0].folded_to + 1);
}

#[tokio::test(start_paused = true)]
async fn old_snapshots_go() {
    let scene = scene(often).await;
    let left = scene.fleet.snapshot_objects().await;
    assert!(left.iter().all(|name| scene.names().iter().any(|kept| name.starts_with(kept))), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_one_is_replaced_by_the_one_before() {
    let scene = scene(often).await;
    scene.remove(scene.names()[0]).await;
    let b = scene.is_taken_over().await;
    assert_eq!(scene.began(&b), scene.snapshots[1].folded_to + 1);
}

#[tokio::test(start_paused = true)]
async fn so_is_one_that_is_cut_short() {
    let scene = scene(often).await;
    let segment = subjects::segment(scene.names()[0], 0);
    scene
        .change(&segment, |mut body| {
            body.truncate(body.len() / 2);
            body
        })
        .await;
    let b = scene.is_taken_over().await;
    assert_eq!(scene.began(&b), scene.snapshots[1].folded_to + 1);
}

#[tokio::test(start_paused = true)]
async fn so_is_one_in_which_a_bit_has_flipped() {
    let scene = scene(often).await;
    scene
        .change(scene.names()[0], |mut body| {
            let middle = body.len() / 2;
            body[middle] ^= 1;
            body
        })
        .await;
    let b = scene.is_taken_over().await;
    assert_eq!(scene.began(&b), scene.snapshots[1].folded_to + 1);
}

#[tokio::test(start_paused = true)]
async fn so_is_one_of_a_version_to_come() {
    let scene = scene(often).await;
    scene
        .change(scene.names()[0], |body| {
            let manifest = wire::SnapshotManifest::decode(body.as_slice()).expect("a manifest");
            wire::SnapshotManifest { version: 2, ..manifest }.encode_to_vec()
        })
        .await;
    let b = scene.is_taken_over().await;
    assert_eq!(scene.began(&b), scene.snapshots[1].folded_to + 1);
}

#[tokio::test(start_paused = true)]
async fn without_any_that_is_whole_the_log_is_enough() {
    let scene = scene(often_and_whole).await;
    for name in scene.names() {
        scene.remove(name).await;
    }
    let b = scene.is_taken_over().await;
    assert_eq!(scene.began(&b), scene.fleet.lease(0).await.replay_from.min(2), "where the oldest run begins");
}

#[tokio::test(start_paused = true)]
async fn where_the_log_is_cut_as_well_what_is_left_goes_on() {
    let scene = scene(often).await;
    for name in scene.names() {
        scene.remove(name).await;
    }
    let b = scene.fleet.start_with("b", often);
    scene.fleet.owned_by("b").await;
    let fresh = scene.fleet.submit("fresh", planned()).await;
    scene.fleet.queued(&step(&fresh, 1, 1)).await;
    assert_eq!(b.work(), [step(&fresh, 1, 1), step(&fresh, 2, 1)]);
}

#[tokio::test(start_paused = true)]
async fn the_next_one_is_made_though_the_one_before_is_damaged() {
    let scene = scene(often_and_whole).await;
    let b = scene.is_taken_over().await;
    scene.remove(&scene.fleet.lease(0).await.snapshots[0].name).await;
    for number in 0..4 {
        let over = scene.fleet.submit(&format!("later{number}"), goal()).await;
        scene.fleet.append(&over, Fact::RunCancelRequested { reason: "enough".to_owned() }).await;
        scene.fleet.ended(&over).await;
    }
    let newest = scene.snapshots[0].folded_to;
    until("another", async || {
        scene.fleet.lease(0).await.snapshots.first().is_some_and(|made| made.folded_to > newest)
    })
    .await;
    b.crash().await;
    let c = scene.fleet.start_alone("c").await;
    scene.fleet.checkpoint().await;
    let planning = format!("pf.steps.plan.1.default.{}.r1.1", scene.old);
    assert_eq!(c.work(), [planning], "the old run is in it");
}

#[tokio::test(start_paused = true)]
async fn one_of_no_use_stands_in_nobody_s_way_where_the_log_is_cut() {
    let scene = scene(often).await;
    scene.remove(scene.names()[0]).await;
    let b = scene.fleet.start_with("b", often);
    scene.fleet.owned_by("b").await;
    let end = async |name: &str| {
        let over = scene.fleet.submit(name, goal()).await;
        scene.fleet.append(&over, Fact::RunCancelRequested { reason: "enough".to_owned() }).await;
        scene.fleet.ended(&over).await;
        scene.fleet.checkpoint().await;
    };
    let newest = scene.snapshots[0].folded_to;
    for number in 0..8 {
        end(&format!("later{number}")).await;
    }
    until("two others", async || {
        let known = scene.fleet.lease(0).await.snapshots;
        known.len() == 2 && known.iter().all(|made| made.folded_to > newest)
    })
    .await;
    b.crash().await;
    let c = scene.is_taken_over_by("c").await;
    assert!(scene.began(&c) > newest, "by one that was made out of the older one");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_has_ended_lately_is_known_by_the_next_owner() {
    let scene = scene(often).await;
    scene.fleet.submit("over0", goal()).await;
    // Its submit comes again, and starts nothing.
    scene.is_taken_over().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_to_stop_leaves_a_snapshot_at_the_tail() {
    let scene = scene(often).await;
    let b = scene.is_taken_over().await;
    for number in 0..6 {
        scene.fleet.submit(&format!("more{number}"), goal()).await;
    }
    scene.fleet.checkpoint().await;
    b.stop().await;
    let (lease, tail) = (scene.fleet.lease(0).await, scene.fleet.bus.journal_tail(0).await.unwrap());
    assert_eq!((lease.owner.as_str(), lease.snapshots[0].folded_to), ("", tail));
}

#[tokio::test(start_paused = true)]
async fn an_old_owner_s_sweep_leaves_a_new_one_s_snapshots() {
    let scene = scene(often).await;
    let epoch = scene.fleet.lease(0).await.epoch;
    let before = scene.fleet.snapshot_objects().await;
    let swept = scene.fleet.bus.sweep_snapshots(0, epoch - 1, &[]).await.unwrap();
    assert_eq!((swept, scene.fleet.snapshot_objects().await), (0, before.clone()));
    let swept = scene.fleet.bus.sweep_snapshots(0, epoch, &scene.snapshots).await.unwrap();
    assert_eq!((swept, scene.fleet.snapshot_objects().await), (0, before.clone()), "nor those that are kept");
    let newest = &scene.snapshots[..1];
    let swept = scene.fleet.bus.sweep_snapshots(0, epoch, newest).await.unwrap();
    assert_eq!(swept, before.len() / 2, "the older one goes");
    let swept = scene.fleet.bus.sweep_snapshots(0, epoch, &[]).await.unwrap();
    assert_eq!(swept, 0, "what goes further than any that is kept may be under way");
    let swept = scene.fleet.bus.sweep_snapshots(0, epoch + 1, &[]).await.unwrap();
    assert_eq!(swept, before.len() / 2, "of owners before nothing is under way");
    drop(scene.a);
}
