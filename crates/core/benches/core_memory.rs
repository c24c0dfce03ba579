//! What active runs and the linter hold. Counting every allocation slows all of
//! it down: speed is measured in `core.rs`.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark talks to people and may stop")]

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod workload;

use peak_alloc::PeakAlloc;
use planfleet_core::{
    plan::{
        Plan,
        lint::{self, Existing},
    },
    shard::Shard,
};
use serde_json::json;

use self::workload::{count, given, leaning, rounds, run, write};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Bytes of heap that one active run holds whose first step is done and whose
/// next eight are in flight; every submission was read from the log anew.
fn bytes_per_active_run() -> f64 {
    const RUNS: usize = 10_000;
    let (mut shard, mut commands) = (Shard::default(), Vec::new());
    let before = HEAP.current_usage();
    for number in 0..RUNS {
        for record in given(&run(number)).into_iter().take(2) {
            let _counted = shard.apply(number as u64 + 1, record, &mut commands);
        }
        commands.clear();
    }
    commands = Vec::new();
    assert_eq!((shard.len(), commands.len()), (RUNS, 0));
    count(HEAP.current_usage() - before) / count(RUNS)
}

/// Bytes of heap at most that linting takes, per step, for steps that wait for the four before them.
fn bytes_per_linted_step(steps: u32) -> f64 {
    let needs = |id: u32| (id.saturating_sub(4)..id).filter(|on| *on > 0).collect();
    let plan = Plan::new((1..=steps).map(|id| leaning(id, needs(id))).collect(), steps);
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let faults = lint::structure(&plan, &Existing::default(), steps as usize);
    assert!(faults.is_empty(), "the plan is sound");
    count(HEAP.peak_usage().saturating_sub(before)) / f64::from(steps)
}

fn main() {
    let table = json!([
        rounds("heap of an active run of ten steps", "bytes", bytes_per_active_run),
        rounds("heap for the lint of 50,000 steps", "bytes/step", || bytes_per_linted_step(50_000)),
        rounds("heap for the lint of 100,000 steps", "bytes/step", || bytes_per_linted_step(100_000)),
    ]);
    write("core-memory.json", &table);
}
