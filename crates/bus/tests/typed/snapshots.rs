//! Snapshots are there whole or not at all, and damage is told.

use bytes::Bytes;
use futures::TryStreamExt as _;
use planfleet_bus::{
    Bus, Error,
    broker::{Headers, LogEntry},
    snapshots::SnapshotRef,
};
use planfleet_core::shard::EndedRun;
use planfleet_proto::subjects;

use super::{new_bus, run_id};

const DIGEST: &str = "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff";

fn entry(seq: u64, bytes: usize) -> LogEntry {
    // Not all alike, so that compression does not make one segment of it.
    let payload: Vec<u8> = (0..bytes as u64).map(|at| (at.wrapping_mul(seq) >> 3) as u8).collect();
    let headers = Headers::from([("Pf-Run".to_owned(), "00-a".to_owned())]);
    let subject = "pf.ev.00.result".to_owned();
    LogEntry { seq, at_ms: seq * 10, subject, headers, payload: Bytes::from(payload) }
}

fn ended() -> Vec<EndedRun> {
    vec![EndedRun { run: run_id("00-b"), at_ms: 7, first_seq: 3 }]
}

async fn written(bus: &Bus, entries: &[LogEntry]) -> SnapshotRef {
    let mut writer = bus.write_snapshot(0, 4, 1_000);
    for entry in entries {
        writer.push(entry.clone()).await.expect("room");
    }
    writer.finish(ended()).await.expect("room")
}

async fn read(bus: &Bus, snapshot: &SnapshotRef) -> Result<Vec<LogEntry>, Error> {
    bus.snapshot(snapshot).await?.log().try_collect().await
}

fn same(entries: &[LogEntry], others: &[LogEntry]) -> bool {
    let told = |entry: &LogEntry| {
        let LogEntry { seq, at_ms, subject, headers, payload } = entry.clone();
        (seq, at_ms, subject, headers, payload)
    };
    entries.iter().map(told).eq(others.iter().map(told))
}

#[tokio::test]
async fn what_is_written_is_read() {
    let bus = new_bus().await;
    let mut entries: Vec<_> = (1..=50).map(|seq| entry(seq, 100)).collect();
    entries[7].headers.insert("Pf-Blob".to_owned(), DIGEST.to_owned());
    let kept = written(&bus, &entries).await;
    assert_eq!(kept, SnapshotRef { name: "00/1000.4".to_owned(), folded_to: 1_000 });
    let snapshot = bus.snapshot(&kept).await.unwrap();
    assert_eq!((snapshot.folded_to(), snapshot.entries()), (1_000, 50));
    assert_eq!(snapshot.ended(), ended());
    assert_eq!(snapshot.blobs().collect::<Vec<_>>(), [DIGEST]);
    assert!(same(&read(&bus, &kept).await.unwrap(), &entries));
}

#[tokio::test]
async fn a_large_one_has_several_segments() {
    let bus = new_bus().await;
    // 20 MB before compression, which is more than a segment.
    let entries: Vec<_> = (1..=400).map(|seq| entry(seq, 50_000)).collect();
    let kept = written(&bus, &entries).await;
    let objects = bus.broker().object_list(subjects::SNAPSHOTS).await.unwrap();
    let names: Vec<String> = objects.map_ok(|object| object.name).try_collect().await.unwrap();
    assert_eq!(names.len(), 3, "a manifest and two segments: {names:?}");
    assert!(same(&read(&bus, &kept).await.unwrap(), &entries));
}

#[tokio::test]
async fn one_of_no_entries_is_one() {
    let bus = new_bus().await;
    let kept = written(&bus, &[]).await;
    assert!(read(&bus, &kept).await.unwrap().is_empty());
    assert_eq!(bus.snapshot(&kept).await.unwrap().ended(), ended());
}

/// Replaces an object's body.
async fn replace(bus: &Bus, name: &str, body: Vec<u8>) {
    assert!(bus.broker().object_delete(subjects::SNAPSHOTS, name, None).await.unwrap());
    bus.broker().object_put(subjects::SNAPSHOTS, name, Bytes::from(body)).await.unwrap();
}

#[tokio::test]
async fn every_byte_that_changes_or_is_missing_is_noticed() {
    let bus = new_bus().await;
    let entries: Vec<_> = (1..=3).map(|seq| entry(seq, 40)).collect();
    let kept = written(&bus, &entries).await;
    for name in [kept.name.clone(), subjects::segment(&kept.name, 0)] {
        let whole = bus.broker().object_get(subjects::SNAPSHOTS, &name).await.unwrap().expect("an object");
        for at in 0..whole.len() {
            let mut flipped = whole.to_vec();
            flipped[at] ^= 0x10;
            for damaged in [flipped, whole[..at].to_vec()] {
                replace(&bus, &name, damaged).await;
                let told = read(&bus, &kept).await;
                assert!(matches!(told, Err(Error::Snapshot { .. })), "{name} at {at}: {told:?}");
            }
        }
        replace(&bus, &name, whole.to_vec()).await;
    }
    assert!(same(&read(&bus, &kept).await.unwrap(), &entries), "whole again");
}

#[tokio::test]
async fn one_that_is_missing_is_told_by_its_name() {
    let bus = new_bus().await;
    let kept = written(&bus, &[entry(1, 10)]).await;
    let missing = SnapshotRef { name: "00/999.4".to_owned(), folded_to: 999 };
    let told = read(&bus, &missing).await.expect_err("it is not there").to_string();
    assert_eq!(told, "snapshot 00/999.4 is missing");
    let otherwise = SnapshotRef { folded_to: 7, ..kept };
    let told = read(&bus, &otherwise).await.expect_err("it is another").to_string();
    assert_eq!(told, "snapshot 00/1000.4 goes up to 1000, not 7");
}
