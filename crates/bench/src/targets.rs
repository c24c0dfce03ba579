//! What should be reached, in one place. Missing a target is said, and no error.

use crate::{
    Sync,
    sample::{Row, Subject, Target, Variant},
};

const MIB: f64 = 1024.0 * 1024.0;

/// What a run that has ended may leave behind in a process: a name and a number, twice over.
const BYTES_PER_ENDED_RUN: f64 = 256.0;

/// With so many runs that would be some megabytes.
const MEMORY_RUNS_MIN: u64 = 50_000;

/// Judges every row, some by others that were measured with them.
pub(crate) fn judge(rows: &mut [Row]) {
    for place in 0..rows.len() {
        rows[place].targets = targets(&rows[place], rows);
    }
}

fn targets(row: &Row, all: &[Row]) -> Vec<Target> {
    let median = |name: &str| row.median(name);
    let other = |workload: &str, runs: u64, name: &str| {
        all.iter().find(|row| row.is(workload, runs)).and_then(|row| row.median(name))
    };
    let Subject { workload, runs, broker, .. } = row.subject;
    let always = broker.sync == Sync::Always;
    let mut targets = Vec::new();
    match (workload, runs) {
        ("diamond-10", 1_000) => {
            targets.push(at_least("of the floor's rate", median("ratio"), 0.60));
            targets.push(at_most("times the floor's CPU", median("cpu_ratio"), 1.6));
            if always && broker.replicas == 1 {
                targets.push(at_least("steps/s", median("steps_per_s"), 5_000.0));
            }
        }
        ("diamond-10", 100_000) => {
            let rate = quotient(median("steps_per_s"), other("diamond-10", 1_000, "steps_per_s"));
            targets.push(at_least("of the rate at 1,000 runs", rate, 0.9));
        }
        ("wide-100000", _) => {
            let slower = quotient(other("wide-1000", 10, "steps_per_s"), median("steps_per_s"));
            targets.push(at_most("times wide-1000's time per step", slower, 1.1));
        }
        ("idle", _) => {
            let to_floor = quotient(median("p50_ms"), median("floor_p50_ms"));
            targets.push(at_most("times the floor's p50", to_floor, 2.5));
            let tail = quotient(median("p99_ms"), median("p50_ms"));
            targets.push(at_most("times p50 in p99", tail, 3.0));
            targets.push(at_most("ms p50", median("p50_ms"), if always { 11.0 } else { 4.0 }));
        }
        ("cold-start", _) => targets.push(at_most("ms", median("cold_start_ms"), 2_000.0)),
        ("slow-1000", _) => targets.push(at_least("of the slots busy", median("slots_busy"), 0.99)),
        ("scale", _) => targets.push(scale(row)),
        ("backlog", _) => {
            let bytes = median("coordinator_bytes_per_run_beyond_payload");
            targets.push(at_most("bytes of coordinator per run beyond its payload", bytes, 4_096.0));
            targets.push(at_most("runs more left than at the look before", median("left_growth_max"), 0.0));
            targets.push(at_most("steps dispatched again", median("dispatched_again"), 0.0));
        }
        ("batch", _) => targets.extend(batch(row, all)),
        ("overload", _) => {
            targets.push(at_least("of the peak's goodput", median("goodput_of_peak"), 0.9));
            targets.push(at_least("times the peak offered", median("offered_times_peak"), 9.5));
            targets.push(at_most("ms to a refusal at p99", median("refusal_p99_ms"), 50.0));
        }
        ("isolation", _) => match row.subject.variant {
            Some(Variant::Name(_, "shares")) => {
                targets.push(at_most("off the weights", median("share_off_max"), 0.1));
            }
            _ => targets.push(at_most("times p99 alone", median("p99_times_alone"), 2.0)),
        },
        ("movie", _) => targets.extend(movie(row)),
        ("watched", _) => {
            targets.push(at_most("% slower with 200 dashboards", median("slower_percent"), 5.0));
        }
        ("streamed", _) => {
            targets.push(at_most("ms to the first step at p50", median("first_step_p50_ms"), 20.0));
            targets.push(at_most("ms to the first step at p99", median("first_step_p99_ms"), 20.0));
        }
        _ => {}
    }
    if matches!(workload, "diamond-10" | "chain-100" | "wide-1000" | "wide-100000") {
        targets.extend(messages(row));
    }
    targets
}

/// Two stored messages for each run besides those for its steps.
fn messages(row: &Row) -> Option<Target> {
    let per_run = 2.0 * row.subject.runs as f64 / row.subject.steps? as f64;
    let beyond = row.median("messages_per_step").map(|messages| messages - per_run);
    Some(at_most("messages/step beyond 2/run", beyond, 2.1))
}

/// Memory that grows with the batch would end in none: what is left of a run that has ended is a
/// name and a number.
fn batch(row: &Row, all: &[Row]) -> Vec<Target> {
    let Some(Variant::Number(_, window)) = row.subject.variant else { return Vec::new() };
    let mut targets = vec![at_most("runs open at once", row.median("open_runs_peak"), window as f64)];
    let same = |other: &&Row| other.subject.workload == "batch" && other.subject.runs == row.subject.runs;
    let narrow = all.iter().find(same).filter(|narrow| narrow.subject.variant != row.subject.variant);
    if let Some(narrow) = narrow {
        let rate = quotient(row.median("steps_per_s"), narrow.median("steps_per_s"));
        targets.push(at_least("of the rate of the narrow window", rate, 0.9));
    }
    // What a process takes until it is warm is much beside what few runs leave behind.
    if row.subject.runs < MEMORY_RUNS_MIN {
        return targets;
    }
    for (what, growth) in [
        ("bytes of submitter for each run more", "submitter_growth_mb"),
        ("bytes of executor for each run more", "executor_growth_mb"),
    ] {
        let per_run = row.median(growth).map(|mb| mb * MIB / row.subject.runs as f64);
        targets.push(at_most(what, per_run, BYTES_PER_ENDED_RUN));
    }
    targets
}

/// LLMCompiler's own cost is 1/6.73 of that of `ReAct`.
fn movie(row: &Row) -> Vec<Target> {
    let bound = at_most("times the critical path", row.median("of_bound"), 1.05);
    let cost = |least| at_least("times cheaper than direct", row.median("cost_ratio"), least);
    match row.subject.variant {
        Some(Variant::Name(_, "plan" | "plan+streaming")) => vec![bound, cost(6.7)],
        Some(Variant::Name(_, "plan+cache")) => vec![bound, cost(12.0)],
        _ => Vec::new(),
    }
}

/// A machine whose CPUs are all busy says nothing about the fleet.
fn scale(row: &Row) -> Target {
    let full = row.median("machine_cpu_share").is_some_and(|share| share > 0.9);
    let mut target = at_least("of what the slots could do", row.median("efficiency"), 0.95);
    if full && target.met == Some(false) {
        target.met = None;
        target.text.push_str(", the CPU is full");
    }
    target
}

fn quotient(of: Option<f64>, by: Option<f64>) -> Option<f64> {
    Some(of? / by?)
}

fn at_least(what: &str, found: Option<f64>, bound: f64) -> Target {
    target(what, ">=", bound, found, |found| found >= bound)
}

fn at_most(what: &str, found: Option<f64>, bound: f64) -> Target {
    target(what, "<=", bound, found, |found| found <= bound)
}

fn target(what: &str, sign: &str, bound: f64, found: Option<f64>, holds: impl Fn(f64) -> bool) -> Target {
    let shown = found.map_or_else(|| "not measured".to_owned(), shown);
    Target { text: format!("{shown} {what} ({sign} {bound})"), met: found.map(holds) }
}

/// As many digits as tell a miss from a hit.
fn shown(figure: f64) -> String {
    if figure.abs() >= 100.0 { format!("{figure:.0}") } else { format!("{figure:.2}") }
}
