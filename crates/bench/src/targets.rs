//! What should be reached, in one place. Missing a target is said, and no error.

use crate::sample::{Row, Target};

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
    let quotient = |of: Option<f64>, by: Option<f64>| Some(of? / by?);
    let mut targets = Vec::new();
    let (workload, runs) = (row.subject.workload, row.subject.runs);
    if matches!(workload, "diamond-10" | "chain-100" | "wide-1000" | "wide-100000") {
        let per_run = 2.0 * runs as f64 / row.subject.steps as f64;
        targets.push(at_most(
            "messages/step beyond 2/run",
            median("messages_per_step").map(|m| m - per_run),
            2.1,
        ));
    }
    match (workload, runs) {
        ("diamond-10", 1_000) => {
            targets.push(at_least("of the floor's rate", median("ratio"), 0.60));
            targets.push(at_most("times the floor's CPU", median("cpu_ratio"), 1.6));
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
            targets.push(at_most("p50s in p99", tail, 3.0));
        }
        _ => {}
    }
    targets
}

fn at_least(what: &str, found: Option<f64>, bound: f64) -> Target {
    target(what, ">=", bound, found, |found| found >= bound)
}

fn at_most(what: &str, found: Option<f64>, bound: f64) -> Target {
    target(what, "<=", bound, found, |found| found <= bound)
}

fn target(what: &str, sign: &str, bound: f64, found: Option<f64>, holds: impl Fn(f64) -> bool) -> Target {
    let shown = found.map_or_else(|| "not measured".to_owned(), |found| format!("{found:.2}"));
    Target { text: format!("{shown} {what} ({sign} {bound})"), met: found.map(holds) }
}
