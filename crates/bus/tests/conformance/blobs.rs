//! Bodies by reference: swept when nothing refers to them any more, and not before.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::TryStreamExt as _;
use planfleet_bus::{
    Bus, DeadLetter, Error, Lease, Manage, Pool, Topology,
    blobs::sweep::{Sweep, Swept},
    broker::{self, Headers, LogEntry, Outgoing},
    dead_letters::Replay,
    snapshots::SnapshotRef,
};
use planfleet_proto::{INLINE_BYTES_MAX, subjects};
use sha2::{Digest as _, Sha256};

use crate::{AnyBroker, soon};

crate::conformance! {
    what_is_referred_to_stays,
    what_is_young_stays,
    a_dry_run_removes_nothing,
    what_lies_below_the_replay_refers_to_nothing,
    what_only_a_snapshot_refers_to_stays,
    nothing_is_removed_while_a_snapshot_is_missing,
    a_store_of_any_size_is_swept_in_passes,
    a_fleet_of_more_shards_is_not_swept,
    a_body_that_moves_to_the_dead_letters_and_back_is_young,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn bus(broker: AnyBroker) -> Bus {
    let bus = Bus::new(broker, 2);
    let pool = Pool { name: "default".to_owned(), slots: 4, ack_wait: Duration::from_secs(60) };
    let topology = Topology { shards: 2, replicas: 1, pools: vec![pool], manage: Manage::Create };
    bus.bootstrap(&topology).await.expect("assets");
    bus
}

/// A sweep as it would be in two days.
fn in_two_days() -> Sweep {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970") + 2 * DAY;
    Sweep {
        grace: DAY,
        ..Sweep::at(u64::try_from(now.as_millis()).expect("a time before the year 500 million"))
    }
}

async fn swept(bus: &Bus, sweep: &Sweep) -> Swept {
    soon("the sweep", bus.sweep_blobs(sweep)).await.expect("a sweep")
}

/// Stores a body of 1000 bytes and gives its name. No message refers to it.
async fn blob(bus: &Bus, n: u8) -> String {
    let name = hex::encode([n.reverse_bits(); 32]);
    bus.broker().object_put(subjects::BLOBS, &name, Bytes::from(vec![n; 1000])).await.expect("room");
    name
}

async fn is_there(bus: &Bus, name: &str) -> bool {
    bus.broker().object_get(subjects::BLOBS, name).await.expect("an answer").is_some()
}

/// Publishes a message whose body is that one.
async fn refer(bus: &Bus, subject: &str, name: &str) {
    let headers = Headers::from([("Pf-Blob".to_owned(), name.to_owned())]);
    let message =
        Outgoing { subject: subject.to_owned(), headers, payload: Bytes::new(), ..Outgoing::default() };
    bus.broker().publish(message).await.expect("an answer");
}

fn letter(headers: Headers, payload: Bytes) -> DeadLetter {
    DeadLetter {
        to: subjects::dead_record(0),
        stream: subjects::log(0),
        seq: 1,
        subject: "pf.ev.00.cancel".to_owned(),
        reason: "no record".to_owned(),
        headers,
        payload,
    }
}

async fn tail(bus: &Bus, shard: u16) -> u64 {
    bus.journal_tail(shard).await.expect("a tail")
}

async fn write_lease(bus: &Bus, lease: &Lease) {
    let revision = bus.lease(0).await.expect("an answer").map_or(0, |held| held.revision);
    bus.write_lease(0, lease, revision).await.expect("an answer").expect("nobody else writes it");
}

async fn entries(bus: &Bus, shard: u16, count: usize) -> Vec<LogEntry> {
    use futures::StreamExt as _;
    let entries = bus.broker().read_log(&subjects::log(shard), 1).await.expect("a reader");
    soon("the entries", entries.take(count).try_collect()).await.expect("no error")
}

async fn what_is_referred_to_stays(broker: AnyBroker) {
    let bus = bus(broker).await;
    let subjects =
        ["pf.ev.00.result", "pf.ev.01.submit", "pf.done.acme.00-a", "pf.steps.default.1.acme.00-a.1.1"];
    let mut wanted = Vec::new();
    for (subject, n) in subjects.iter().zip(0..) {
        let name = blob(&bus, n).await;
        refer(&bus, subject, &name).await;
        wanted.push(name);
    }
    // Work in flight is in the queue, too.
    let mut pulled = bus.broker().pull(subjects::STEPS, "pool_default", 1, DAY).await.expect("a pull");
    let in_flight = soon("the work", pulled.try_next()).await.expect("no error").expect("work");
    // A dead letter refers to its message's body, and may itself be large.
    let dead = blob(&bus, 10).await;
    let headers = Headers::from([("Pf-Blob".to_owned(), dead.clone())]);
    bus.set_aside(letter(headers, Bytes::new())).await.expect("a broker");
    bus.set_aside(letter(Headers::new(), Bytes::from(vec![1; 2 * INLINE_BYTES_MAX])))
        .await
        .expect("a broker");
    wanted.push(dead);
    let unwanted = [blob(&bus, 20).await, blob(&bus, 21).await];

    let report = swept(&bus, &in_two_days()).await;

    assert_eq!((report.bodies, report.young, report.referred, report.used_again), (8, 0, 6, 0), "{report:?}");
    assert_eq!((report.removed, report.removed_bytes), (2, 2000), "{report:?}");
    for name in &wanted {
        assert!(is_there(&bus, name).await, "{name}");
    }
    for name in &unwanted {
        assert!(!is_there(&bus, name).await, "{name}");
    }
    let large = bus.dead_letter(2).await.expect("an answer").expect("a letter").letter;
    assert_eq!(large.payload.len(), 2 * INLINE_BYTES_MAX);

    // The work is done, and its body has no use any more.
    in_flight.settle.ack().await.expect("an ack");
    let gone = async {
        while swept(&bus, &in_two_days()).await.removed == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the end of the work's body", gone).await;
    assert!(!is_there(&bus, &wanted[3]).await);
    assert!(is_there(&bus, &wanted[2]).await);
}

async fn what_is_young_stays(broker: AnyBroker) {
    let bus = bus(broker).await;
    let name = blob(&bus, 1).await;
    let later = in_two_days();
    let now = Sweep { now_ms: later.now_ms - 2 * 24 * 3600 * 1000, ..later.clone() };
    let report = swept(&bus, &now).await;
    assert_eq!((report.bodies, report.young, report.removed), (1, 1, 0), "{report:?}");
    assert!(is_there(&bus, &name).await);
    assert_eq!(swept(&bus, &later).await.removed, 1);
    assert_eq!(swept(&bus, &later).await, Swept::default(), "nothing is left");
}

async fn a_dry_run_removes_nothing(broker: AnyBroker) {
    let bus = bus(broker).await;
    let name = blob(&bus, 1).await;
    let dry = Sweep { dry_run: true, ..in_two_days() };
    let report = swept(&bus, &dry).await;
    assert_eq!((report.removed, report.removed_bytes), (1, 1000));
    assert!(is_there(&bus, &name).await);
    assert_eq!(swept(&bus, &in_two_days()).await, report, "it had said what would happen");
}

async fn what_lies_below_the_replay_refers_to_nothing(broker: AnyBroker) {
    let bus = bus(broker).await;
    let (old, new) = (blob(&bus, 1).await, blob(&bus, 2).await);
    refer(&bus, "pf.ev.00.result", &old).await;
    refer(&bus, "pf.ev.00.result", &new).await;
    write_lease(&bus, &Lease { replay_from: tail(&bus, 0).await, ..Lease::default() }).await;
    assert_eq!(swept(&bus, &in_two_days()).await.removed, 1);
    assert!(!is_there(&bus, &old).await && is_there(&bus, &new).await);
    // Of another shard nobody has said where a replay begins.
    let other = blob(&bus, 1).await;
    refer(&bus, "pf.ev.01.result", &other).await;
    assert_eq!(swept(&bus, &in_two_days()).await.removed, 0);
}

/// Puts an entry into a snapshot and trims it off the log.
async fn in_a_snapshot(bus: &Bus, name: &str) -> SnapshotRef {
    refer(bus, "pf.ev.00.result", name).await;
    let folded_to = tail(bus, 0).await;
    let mut writer = bus.write_snapshot(0, 1, folded_to);
    for entry in entries(bus, 0, 1).await {
        writer.push(entry).await.expect("room");
    }
    let snapshot = writer.finish([]).await.expect("a snapshot");
    bus.trim_journal(0, folded_to + 1).await.expect("a trim");
    snapshot
}

async fn what_only_a_snapshot_refers_to_stays(broker: AnyBroker) {
    let bus = bus(broker).await;
    let name = blob(&bus, 1).await;
    let snapshot = in_a_snapshot(&bus, &name).await;
    let lease = Lease { replay_from: 1, snapshots: vec![snapshot], ..Lease::default() };
    write_lease(&bus, &lease).await;
    assert_eq!(swept(&bus, &in_two_days()).await.removed, 0);
    assert!(is_there(&bus, &name).await);
    // All of its runs have ended.
    write_lease(&bus, &Lease { replay_from: 2, ..lease }).await;
    assert_eq!(swept(&bus, &in_two_days()).await.removed, 1);
}

async fn nothing_is_removed_while_a_snapshot_is_missing(broker: AnyBroker) {
    let bus = bus(broker).await;
    let name = blob(&bus, 1).await;
    let snapshot = in_a_snapshot(&bus, &name).await;
    bus.broker().object_delete(subjects::SNAPSHOTS, &snapshot.name, None).await.expect("an answer");
    write_lease(&bus, &Lease { replay_from: 1, snapshots: vec![snapshot], ..Lease::default() }).await;
    let failed = soon("the sweep", bus.sweep_blobs(&in_two_days())).await;
    assert!(matches!(failed, Err(Error::Snapshot { .. })), "{failed:?}");
    assert!(is_there(&bus, &name).await);
}

async fn a_store_of_any_size_is_swept_in_passes(broker: AnyBroker) {
    let bus = bus(broker).await;
    let mut names = Vec::new();
    for n in 0..11 {
        let name = blob(&bus, n).await;
        if n % 3 == 0 {
            refer(&bus, "pf.ev.01.result", &name).await;
        }
        names.push(name);
    }
    let report = swept(&bus, &Sweep { pass_max: 2, ..in_two_days() }).await;
    assert_eq!(
        (report.bodies, report.bytes, report.referred, report.removed),
        (11, 11_000, 4, 7),
        "{report:?}"
    );
    for (n, name) in names.iter().enumerate() {
        assert_eq!(is_there(&bus, name).await, n % 3 == 0, "{n}");
    }
}

async fn a_fleet_of_more_shards_is_not_swept(broker: AnyBroker) {
    bus(broker.clone()).await;
    let mistaken = Bus::new(broker, 1);
    let name = blob(&mistaken, 1).await;
    let failed = soon("the sweep", mistaken.sweep_blobs(&in_two_days())).await;
    assert!(matches!(failed, Err(Error::Broker(broker::Error::Differs { .. }))), "{failed:?}");
    assert!(is_there(&mistaken, &name).await);
}

async fn a_body_that_moves_to_the_dead_letters_and_back_is_young(broker: AnyBroker) {
    let bus = bus(broker).await;
    let body = Bytes::from(vec![7; 1000]);
    let name = hex::encode(Sha256::digest(&body));
    bus.broker().object_put(subjects::BLOBS, &name, body).await.expect("room");
    let revision = async || {
        let listed = bus.broker().object_list(subjects::BLOBS).await.expect("a list");
        let listed: Vec<_> = soon("the list", listed.try_collect()).await.expect("no error");
        assert_eq!(listed.len(), 1);
        listed[0].revision
    };
    let at_first = revision().await;
    let headers = Headers::from([("Pf-Blob".to_owned(), name)]);
    bus.set_aside(letter(headers, Bytes::new())).await.expect("a broker");
    let set_aside = revision().await;
    assert!(set_aside > at_first);
    let kept = bus.dead_letter(1).await.expect("an answer").expect("a letter");
    assert_eq!(bus.replay(&kept).await.expect("an answer"), Replay::Sent);
    assert!(revision().await > set_aside);
    // The letter is gone, and the record that it has become again holds the body.
    assert_eq!(swept(&bus, &in_two_days()).await.referred, 1);
}
