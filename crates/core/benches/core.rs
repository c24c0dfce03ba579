//! How fast the fold and the linter are, on one core, with no I/O. Each figure
//! is the median of five rounds with the least and the most beside it.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark talks to people and may stop")]
#![allow(clippy::disallowed_types, reason = "the core has no clock; a benchmark is one")]

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod workload;

use std::time::Instant;

use planfleet_core::{
    command::Command,
    id::RunId,
    plan::{
        Plan,
        lint::{self, Existing},
    },
    record::{Fact, Record},
    shard::Shard,
};
use serde_json::json;

use self::workload::{
    given, leaning, per_second, planned, record, rounds, run, submission, succeeded, write,
};

/// Folds the records of `runs` runs side by side, as a fleet brings them, and
/// returns the records folded per second.
fn fold(runs: usize, records: fn(&RunId) -> Vec<Record>) -> f64 {
    let mut of_runs: Vec<std::vec::IntoIter<Record>> =
        (0..runs).map(|number| records(&run(number)).into_iter()).collect();
    let mut mixed = Vec::new();
    loop {
        let before = mixed.len();
        mixed.extend(of_runs.iter_mut().filter_map(Iterator::next));
        if mixed.len() == before {
            break;
        }
    }
    let (count, mut shard, mut commands) = (mixed.len(), Shard::default(), Vec::new());
    let mut finished = 0;
    let started = Instant::now();
    for (seq, record) in (1..).zip(mixed) {
        shard.apply(seq, record, &mut commands).expect("all of it is legal");
        finished += commands.iter().filter(|command| matches!(command, Command::FinishRun(_))).count();
        commands.clear();
    }
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(finished, runs, "every run has ended");
    per_second(count, seconds)
}

/// Nanoseconds per step of a plan of `steps` steps, each of which waits for what `needs` says.
fn wide_or_long(steps: u32, needs: fn(u32) -> Vec<u32>) -> f64 {
    let plan = Plan::new((1..=steps).map(|id| leaning(id, needs(id))).collect(), steps);
    let (run, mut shard, mut commands) = (run(0), Shard::default(), Vec::new());
    let submitted = record(&run, Fact::TaskSubmitted(Box::new(submission(Some(plan)))));
    let results: Vec<Record> = (1..=steps).map(|id| record(&run, succeeded(id))).collect();
    let started = Instant::now();
    shard.apply(1, submitted, &mut commands).expect("legal");
    for (seq, record) in (2..).zip(results) {
        commands.clear();
        shard.apply(seq, record, &mut commands).expect("legal");
    }
    let nanoseconds = started.elapsed().as_secs_f64() * 1e9;
    assert!(shard.is_empty(), "it has ended");
    nanoseconds / f64::from(steps)
}

/// Milliseconds to lint a plan whose steps wait for the four before them.
fn lint(steps: u32) -> f64 {
    let needs = |id: u32| (id.saturating_sub(4)..id).filter(|on| *on > 0).collect();
    let plan = Plan::new((1..=steps).map(|id| leaning(id, needs(id))).collect(), steps);
    let started = Instant::now();
    let faults = lint::structure(&plan, &Existing::default(), steps as usize);
    let milliseconds = started.elapsed().as_secs_f64() * 1e3;
    assert!(faults.is_empty(), "the plan is sound");
    milliseconds
}

fn chain(id: u32) -> Vec<u32> {
    if id > 1 { vec![id - 1] } else { Vec::new() }
}

fn fan(id: u32) -> Vec<u32> {
    if id > 1 { vec![1] } else { Vec::new() }
}

fn main() {
    let table = json!([
        rounds("fold, plan given, 1,000 runs active", "records/s", || fold(1_000, given)),
        rounds("fold, plan given, 100,000 runs active", "records/s", || fold(100_000, given)),
        rounds("fold, plan streamed, 1,000 runs active", "records/s", || fold(1_000, planned)),
        rounds("chain of 10,000 steps", "ns/step", || wide_or_long(10_000, chain)),
        rounds("chain of 100,000 steps", "ns/step", || wide_or_long(100_000, chain)),
        rounds("fan-out of 10,000 steps", "ns/step", || wide_or_long(10_000, fan)),
        rounds("fan-out of 100,000 steps", "ns/step", || wide_or_long(100_000, fan)),
        rounds("lint of 50,000 steps", "ms", || lint(50_000)),
        rounds("lint of 100,000 steps", "ms", || lint(100_000)),
    ]);
    write("core.json", &table);
}
