//! A deterministic simulation of the fleet: the real coordinators, planners,
//! executors and clients over the broker in memory, under loss, delay,
//! duplication, crash, pause and takeover, on virtual time.
//!
//! A seed is a world ([`world`]). Each process has a link of its own to the
//! broker ([`link`]), where its dice ([`dice`]) say what goes wrong; a witness
//! ([`witness`]) sees everything and compares it with one fold of the log that
//! is never interrupted ([`reference`]); [`verdict`] is what must hold in the
//! end. The same seed gives the same transcript, to the byte.
//!
//! `PLANFLEET_SIM_SEEDS` says how many seeds, `PLANFLEET_SIM_SEED` names one,
//! whose transcript is printed and whose logs are written to the folder
//! `PLANFLEET_SIM_LOGS`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, and clippy knows test functions but not their helpers"
)]

mod delivery;
mod dice;
mod facts;
mod gate;
mod link;
mod models;
mod plans;
mod process;
mod reference;
mod tally;
mod time;
mod tools;
mod transcript;
mod user;
mod verdict;
mod witness;
mod world;

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use planfleet_bus::broker::LogEntry;

use self::{
    tally::Tally,
    world::{Report, simulate},
};

/// Seeds unless the environment says otherwise.
const SEEDS: u64 = 2_000;

/// One seed of so many is simulated twice and compared.
const TWICE_EVERY: u64 = 10;

/// What must have gone wrong at least once in so many seeds on average.
const OFTEN: [(&str, u64); 23] = [
    ("runs", 1),
    ("succeeded", 1),
    ("failed", 3),
    ("cancelled", 10),
    ("expired", 20),
    ("replans", 3),
    ("crashes", 1),
    ("pauses", 1),
    ("stops", 1),
    ("cuts", 3),
    ("takeovers", 3),
    ("shards handed over", 3),
    ("redeliveries", 2),
    ("deliveries doubled", 8),
    ("deliveries lost", 8),
    ("acks lost", 4),
    ("publishes repeated", 4),
    ("publishes unanswered", 4),
    ("submits repeated", 2),
    ("pauses of runs", 4),
    ("snapshot objects", 1),
    ("snapshot objects read", 1),
    ("entries trimmed", 1),
];

/// What may go wrong at most once in so many seeds on average: work that was done is
/// queued again, because a message that was under way for long came when its name was
/// free again. Nobody can rule that out, and everybody keeps it rare.
const RARELY: (&str, u64) = ("settled work queued", 100);

fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, and should be a number")))
}

#[test]
fn fleets_survive_whatever_befalls_them() {
    if let Some(seed) = setting("PLANFLEET_SIM_SEED") {
        let report = lived(seed, true);
        println!("{}\n{}", report.transcript, report.tally);
        if let Some(folder) = env::var_os("PLANFLEET_SIM_LOGS") {
            write_logs(Path::new(&folder), seed, &report);
        }
        assert!(report.violations.is_empty(), "seed {seed}:\n{}", report.violations.join("\n"));
        return;
    }
    let seeds = setting("PLANFLEET_SIM_SEEDS").unwrap_or(SEEDS);
    let (tally, failures) = all(seeds);
    println!("{seeds} seeds: {tally}");
    assert!(failures.is_empty(), "{} of {seeds} seeds failed:\n{}", failures.len(), failures.join("\n"));
    let (count, most) = (tally.get(RARELY.0), seeds.div_ceil(RARELY.1));
    assert!(count <= most, "{count} {} in {seeds} seeds, and there should be {most} at most", RARELY.0);
    for (what, every) in OFTEN {
        let (count, least) = (tally.get(what), seeds / every);
        assert!(count >= least, "only {count} {what} in {seeds} seeds, and there should be {least}");
    }
}

/// Writes the logs down as `tests/histories.rs` reads them. Relative folders are
/// the project's.
fn write_logs(folder: &Path, seed: u64, report: &Report) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    fs::create_dir_all(&folder).expect("a folder");
    for (shard, log) in &report.logs {
        let line = |entry: &LogEntry| {
            let payload: String = entry.payload.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{} {} {} {payload}\n", entry.seq, entry.at_ms, entry.subject)
        };
        let text: String = log.iter().map(line).collect();
        fs::write(folder.join(format!("seed-{seed}-{shard}.entries")), text).expect("a file");
    }
}

/// Simulates all seeds on all cores.
fn all(seeds: u64) -> (Tally, Vec<String>) {
    let (next, total) = (AtomicU64::new(0), Mutex::new((Tally::default(), Vec::new())));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let report = lived(seed, seed.is_multiple_of(TWICE_EVERY));
            let mut total = total.lock().expect("no panic while it is held");
            total.0.add(&report.tally);
            total.1.extend(report.violations.iter().map(|what| format!("make sim SEED={seed}: {what}")));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    total.into_inner().expect("no panic while it was held")
}

/// One seed; twice where its transcripts are to be compared.
fn lived(seed: u64, twice: bool) -> Report {
    let once = || match catch_unwind(AssertUnwindSafe(|| simulate(seed))) {
        Ok(report) => report.expect("a runtime"),
        Err(_) => panic!("seed {seed} panicked: make sim SEED={seed}"),
    };
    let mut report = once();
    if twice {
        let again = once();
        let lines = report.transcript.lines().zip(again.transcript.lines());
        let differs = lines.enumerate().find(|(_, (one, other))| one != other);
        if let Some((number, (one, other))) = differs {
            let what = format!("it is not deterministic, line {number}:\n  {one}\n  {other}");
            report.violations.push(what);
        } else if report.transcript != again.transcript {
            report.violations.push("it is not deterministic: one transcript is longer".to_owned());
        }
    }
    report
}
