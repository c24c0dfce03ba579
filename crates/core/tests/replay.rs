//! The log is the state: whoever folds the same records decides the same, from
//! any point on, and owes exactly what was dispatched and not yet answered.
//! First over every story, then over random histories.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot make its history has failed"
)]

#[path = "replay/history.rs"]
mod history;
#[path = "replay/open.rs"]
mod open;
#[path = "scenarios/script.rs"]
#[allow(dead_code, reason = "one test reads the text, the other the beats")]
mod script;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use planfleet_core::{command::Command, record::Record, shard::Shard};

use self::{
    history::{Ended, History},
    open::{Open, name},
};

/// Enough for the rare orders of events to come up; seconds in a debug build.
const HISTORIES: u64 = 10_000;

fn replayed(records: &[Record]) -> Shard {
    let mut shard = Shard::default();
    for (seq, record) in (1..).zip(records) {
        let _silently = shard.apply(seq, record.clone(), &mut Vec::new());
    }
    shard
}

/// Every prefix, replayed afresh, goes on as the straight run did and owes what it owed.
fn every_prefix_goes_on_alike(title: &str, records: &[Record], straight: &[Vec<Command>]) {
    for cut in 0..=records.len() {
        let mut shard = replayed(&records[..cut]);
        for at in cut..records.len() {
            let mut commands = Vec::new();
            let _counted = shard.apply(at as u64 + 1, records[at].clone(), &mut commands);
            assert_eq!(commands, straight[at], "{title}: replayed to {cut}, then at record {at}");
        }
    }
}

#[test]
fn every_story_goes_on_alike_from_any_point() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "txt") {
            continue;
        }
        let beats = script::tell(&fs::read_to_string(&path).unwrap()).beats;
        let title = path.file_stem().unwrap().to_string_lossy();
        let records: Vec<Record> = beats.iter().map(|beat| beat.record.clone()).collect();
        let straight: Vec<Vec<Command>> = beats.iter().map(|beat| beat.commands.clone()).collect();
        every_prefix_goes_on_alike(&title, &records, &straight);

        let mut open = Open::default();
        for (at, beat) in beats.iter().enumerate() {
            open.fold(&beat.record, beat.outcome.is_ok(), &beat.commands);
            let shard = replayed(&records[..=at]);
            let mut all = shard.owed();
            all.retain(|command| !matches!(command, Command::TellRun { .. }));
            let owed: BTreeSet<String> = all.iter().map(name).collect();
            assert_eq!(all.len(), owed.len(), "{title}: owed twice");
            let expected = open.names(&shard, beat.record.at_ms);
            assert_eq!(owed, expected, "{title}: owed after record {at}, {:?}", beat.record.fact);
        }
    }
}

#[test]
fn random_histories_keep_the_promises_of_the_fold() {
    let first: u64 = std::env::var("PLANFLEET_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut ended = BTreeMap::<Ended, u32>::new();
    let mut accepted = BTreeMap::<&str, u32>::new();
    for seed in first..first + HISTORIES {
        let told = std::panic::catch_unwind(|| History::run(seed));
        match told {
            Ok(history) => {
                *ended.entry(history.ended()).or_default() += 1;
                history.accepted.iter().for_each(|record| *accepted.entry(record).or_default() += 1);
            }
            Err(_) => panic!("seed {seed} broke a promise; PLANFLEET_SEED={seed} starts there"),
        }
    }
    println!("{ended:?} {accepted:?}");
    // A generator that only makes runs of one kind would prove little.
    for kind in [Ended::Succeeded, Ended::Failed, Ended::Cancelled, Ended::Expired] {
        assert!(ended.get(&kind).is_some_and(|count| *count > 20), "{kind:?} is rare: {ended:?}");
    }
    assert_eq!(accepted.len(), 11, "not every kind of record comes up: {accepted:?}");
    assert!(accepted.values().all(|count| *count > 50), "some are rare: {accepted:?}");
}

#[test]
fn random_histories_go_on_alike_from_any_point() {
    for seed in 1..=200 {
        let history = History::run(seed);
        every_prefix_goes_on_alike(&format!("seed {seed}"), &history.records, &history.straight);
    }
}
