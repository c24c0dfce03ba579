//! Stored bodies that nothing refers to are removed, by one process of the fleet.

use std::time::Duration;

use bytes::Bytes;
use planfleet_bus::{broker::Broker as _, kept::Bounds};
use planfleet_coordinator::{Config, Sweeping};
use planfleet_proto::subjects;
use tokio::time::sleep;

use super::{Fleet, goal, now_ms};

const HOUR: Duration = Duration::from_secs(3600);

/// Stores a body that nothing refers to.
async fn orphan(fleet: &Fleet, byte: u8) -> String {
    let name = hex(byte);
    fleet.broker.object_put(subjects::BLOBS, &name, Bytes::from_static(b"body")).await.expect("room");
    name
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

async fn is_there(fleet: &Fleet, name: &str) -> bool {
    fleet.broker.object_get(subjects::BLOBS, name).await.expect("an answer").is_some()
}

/// One that does little else, so that days pass in a test's time.
fn at_ease(name: &str, sweeping: Sweeping) -> Config {
    Config {
        now_ms,
        sweeping,
        lease_renew: HOUR / 60,
        lease_stale: HOUR / 6,
        member_beat: HOUR / 60,
        ..Config::named(name)
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_goes_a_day_after_its_last_use_at_the_earliest() {
    let fleet = Fleet::with_shards(1).await;
    let name = orphan(&fleet, 1).await;
    let node = fleet.start_as(at_ease("one", Sweeping::default()));
    fleet.owned_by("one").await;
    sleep(23 * HOUR).await;
    assert!(node.spy.swept() > 2, "it was looked at: {}", node.spy.swept());
    assert!(is_there(&fleet, &name).await);
    sleep(10 * HOUR).await;
    assert!(!is_there(&fleet, &name).await);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_owner_of_the_first_shard_sweeps_and_nobody_else() {
    let fleet = Fleet::with_shards(1).await;
    let minute = HOUR / 60;
    let sweeping = Sweeping { first: minute, every: minute, grace: Duration::ZERO, ..Sweeping::default() };
    let configured = |name: &str| Config { now_ms, sweeping: sweeping.clone(), ..Config::named(name) };
    let one = fleet.start_as(configured("one"));
    fleet.owned_by("one").await;
    let other = fleet.start_as(configured("other"));
    // The shard may change hands once, to whom it suits best.
    sleep(minute).await;
    let owner = fleet.lease(0).await.owner;
    let (owning, waiting) = if owner == "one" { (one, other) } else { (other, one) };
    let so_far = waiting.spy.swept();
    for byte in 0..3 {
        let name = orphan(&fleet, byte).await;
        sleep(2 * minute).await;
        assert!(!is_there(&fleet, &name).await);
    }
    assert!(owning.spy.swept() >= 3, "{}", owning.spy.swept());
    assert_eq!(waiting.spy.swept(), so_far);

    owning.stop().await;
    let name = orphan(&fleet, 9).await;
    sleep(3 * minute).await;
    assert!(!is_there(&fleet, &name).await, "by its successor");
    assert!(waiting.spy.swept() > so_far);
    waiting.stop().await;
}

/// What a run needs is not swept, however old it gets.
#[tokio::test(start_paused = true)]
async fn a_task_that_waits_for_days_keeps_its_body() {
    let fleet = Fleet::with_shards(1).await;
    let mut task = goal();
    task.task.goal = Some("long ".repeat(30_000));
    let run = fleet.submit("a", task).await;
    let node = fleet.start_as(at_ease("one", Sweeping::default()));
    fleet.queued(&format!("pf.steps.plan.1.default.{run}.r1.1")).await;
    let gone = orphan(&fleet, 1).await;
    sleep(72 * HOUR).await;
    assert!(!is_there(&fleet, &gone).await);
    // A new owner reads it again.
    node.crash().await;
    let other = fleet.start_alone("other").await;
    assert_eq!(fleet.active(&run).await["state"], "planning");
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_tools_keep_is_held_to_its_bounds() {
    let fleet = Fleet::with_shards(1).await;
    let put = |name: &'static str| {
        let body = Bytes::from_static(b"body");
        async { fleet.broker.object_put(subjects::TOOL_OBJECTS, name, body).await.expect("room") }
    };
    for name in ["acme/one", "acme/two", "acme/three", "other/one"] {
        put(name).await;
    }
    let kept = Bounds { count: 2, ..Bounds::default() };
    let node = fleet.start_as(at_ease("one", Sweeping { kept, ..Sweeping::default() }));
    fleet.owned_by("one").await;
    sleep(HOUR).await;
    let mut left = Vec::new();
    for name in ["acme/one", "acme/two", "acme/three", "other/one"] {
        if fleet.broker.object_get(subjects::TOOL_OBJECTS, name).await.expect("an answer").is_some() {
            left.push(name);
        }
    }
    assert_eq!(left, ["acme/two", "acme/three", "other/one"]);
    node.stop().await;
}
