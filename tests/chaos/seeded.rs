//! Whether campaigns find what is wrong: one short campaign for each bug that can be put
//! into the product on purpose, with the faults that bring it out, has to break a rule
//! that it should. Before them all, the same fleet without a bug has to be found sound.
//!
//! `make chaos-bugs` hunts them all, `BUG=<name>` one of them, and `BUG=none` is the fleet
//! without any. The table is in `target/chaos/bugs.json`, and each campaign's own report
//! beside it.

#![cfg_attr(
    not(feature = "seeded-bugs"),
    expect(dead_code, reason = "without the feature there is nothing to hunt")
)]

use std::{
    fmt, fs, iter,
    path::PathBuf,
    time::{Duration, Instant},
};

use planfleet_core::seeded::Bug;
use serde_json::{Value, json};

use crate::{
    campaign::{Fought, Settings, fight},
    fleet::LOGS,
    history::{FaultKind as F, Target as T},
    nemesis::plan::Named,
    report::{Report, folder, report},
    support::Home,
};

/// What still goes on then goes on for ever: some times what the longest run takes after
/// the last fault, a work's wait for another worker included.
const END_WITHIN: Duration = Duration::from_secs(20);

/// Long enough that ten clients see some tasks of each kind to their end.
const PEACE: Duration = Duration::from_secs(8);

/// Between two faults.
const EVERY: Duration = Duration::from_millis(1_500);

/// How a bug is hunted.
struct Hunt {
    /// It is caught by any of these.
    rules: &'static [&'static str],
    /// What brings it out.
    mix: &'static [Named],
    /// How many of these.
    faults: u32,
    /// Between two of them.
    every: Duration,
}

/// A bug that shows in peace.
const fn in_peace(rules: &'static [&'static str]) -> Hunt {
    Hunt { rules, mix: &[], faults: 0, every: EVERY }
}

/// A bug that only a fault brings out.
const fn under_faults(rules: &'static [&'static str], mix: &'static [Named], faults: u32) -> Hunt {
    Hunt { rules, mix, faults, every: EVERY }
}

/// Everything that the hunts need, and a sound fleet must bear.
const CONTROL: Hunt = Hunt {
    rules: &[],
    mix: &[
        (F::Kill, T::Coordinator),
        (F::Kill, T::Executor),
        (F::Kill, T::Broker),
        (F::Freeze, T::Coordinator),
        (F::Terminate, T::Coordinator),
        (F::Freeze, T::Executor),
    ],
    faults: 12,
    every: EVERY,
};

fn hunt(bug: Bug) -> Hunt {
    match bug {
        Bug::ItemsOffByOne => in_peace(&["no-early-start"]),
        Bug::CancelIgnored => in_peace(&["cancelled-means-no-more"]),
        Bug::LastItemForAll => in_peace(&["inputs-are-accepted-outputs"]),
        Bug::EndNotLookedUp => in_peace(&["reads-go-forward"]),
        Bug::SecondDocument => in_peace(&["one-end"]),
        Bug::KeyIgnored => in_peace(&["acked-is-present"]),
        Bug::DoneHandedBack => in_peace(&["duplicates"]),
        Bug::FailureAsSuccess => in_peace(&["inputs-are-accepted-outputs"]),
        Bug::TakeoverOwesNothing => under_faults(&["all-end-in-time"], &[(F::Kill, T::Coordinator)], 6),
        Bug::TakeoverBeforeTail => under_faults(&["orders-keep-to-epochs"], &[(F::Kill, T::Coordinator)], 6),
        Bug::EpochKept => under_faults(&["logs-are-whole"], &[(F::Kill, T::Coordinator)], 4),
        // One at a time: the others have to take over while it stands still.
        Bug::ZombieOwner => Hunt {
            every: Duration::from_secs(7),
            ..under_faults(&["orders-keep-to-epochs"], &[(F::Freeze, T::Coordinator)], 3)
        },
        // Work whose result was lost is over for the broker, and not for its owner: the next
        // one orders it again, and without a next one it is never done.
        Bug::UnknownIsStored => under_faults(
            &["one-name-once", "all-end-in-time", "acked-is-present"],
            &[(F::Kill, T::Broker)],
            8,
        ),
        // What an executor holds that stands still is in flight when the next owner comes.
        Bug::NamesDiffer => {
            under_faults(&["one-name-once"], &[(F::Terminate, T::Coordinator), (F::Freeze, T::Executor)], 8)
        }
        Bug::AckBeforeWork => under_faults(&["all-end-in-time"], &[(F::Kill, T::Executor)], 8),
        Bug::RedeliveryDropped => under_faults(&["all-end-in-time"], &[(F::Kill, T::Executor)], 8),
        Bug::DeliveryAsAttempt => under_faults(&["one-accepted-result"], &[(F::Kill, T::Executor)], 8),
    }
}

/// What came of one hunt.
struct Caught {
    bug: Option<Bug>,
    /// The rules that should break and did; of the fleet without a bug, there are none.
    by: Vec<&'static str>,
    /// Others that broke.
    besides: Vec<&'static str>,
    /// What the first of the rules said.
    said: String,
    took: Duration,
    /// Why the hunt has failed, if it has.
    failed: Vec<String>,
}

async fn go_hunting(bug: Option<Bug>, seed: u64) -> Caught {
    let Hunt { rules, mix, faults, every } = bug.map_or(CONTROL, hunt);
    println!("\nBUG={}", name(bug));
    let length = if mix.is_empty() { PEACE } else { every * faults };
    let settings = Settings { seed, length, mix, every, end_within: END_WITHIN, bug, ..Settings::default() };
    let began = Instant::now();
    let fighting = tokio::spawn(async move {
        let fought = fight(&settings).await;
        (report(&settings, &fought), fought)
    });
    let mut caught = match fighting.await {
        Ok((report, fought)) => Caught::of(bug, rules, report, fought),
        Err(error) => Caught::nothing(bug, format!("the campaign broke off: {error}")),
    };
    caught.took = began.elapsed();
    println!("{caught}");
    caught
}

fn name(bug: Option<Bug>) -> &'static str {
    bug.map_or("none", Bug::name)
}

/// Processes that did not have the bug: somebody has built the program anew meanwhile.
fn sound_ones(home: &Home, bug: Bug) -> Vec<String> {
    let logs = fs::read_dir(home.path(LOGS)).expect("a campaign keeps its logs");
    let logs: Vec<_> = logs.map(|entry| entry.expect("an entry").path()).collect();
    let processes = logs.iter().filter(|path| path.extension().is_some_and(|ending| ending == "log"));
    let has_it = format!("switched on: {}", bug.name());
    let lacks_it = |path: &&PathBuf| {
        let log = fs::read_to_string(path).unwrap_or_default();
        log.contains("serving ") && !log.contains(&has_it)
    };
    processes.filter(lacks_it).map(|path| format!("{} ran without the bug", path.display())).collect()
}

impl Caught {
    fn nothing(bug: Option<Bug>, why: String) -> Self {
        let (by, besides, said) = (Vec::new(), Vec::new(), String::new());
        Self { bug, by, besides, said, took: Duration::ZERO, failed: vec![why] }
    }

    fn of(bug: Option<Bug>, rules: &[&str], report: Report, fought: Fought) -> Self {
        let Report { verdict, wrong } = report;
        let (by, besides): (Vec<_>, Vec<_>) =
            verdict.broken().into_iter().partition(|rule| rules.contains(rule));
        let judged = verdict.rules.iter().find(|judged| by.first() == Some(&judged.rule));
        let finding = judged.and_then(|judged| judged.finding.as_ref());
        let said = finding.map(|finding| finding.text.clone()).unwrap_or_default();
        let failed = match bug {
            None => wrong,
            // What a fleet with a bug does not get to is that bug's doing.
            Some(bug) => {
                let mut failed = fought.unproven;
                failed.extend(sound_ones(&fought.home, bug));
                failed.extend(by.is_empty().then(|| format!("none of {rules:?} was broken")));
                failed
            }
        };
        Self { bug, by, besides, said, took: Duration::ZERO, failed }
    }

    fn json(&self) -> Value {
        json!({
            "bug": name(self.bug), "caught_by": self.by, "also_broken": self.besides,
            "seconds": self.took.as_secs_f64(), "said": self.said, "failed": self.failed,
        })
    }
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bug, by, besides, said, took, failed } = self;
        let by = if by.is_empty() { "-".to_owned() } else { by.join(", ") };
        write!(f, "{:<22} {by:<28} {:>4.0} s  {said}", name(*bug), took.as_secs_f64())?;
        if !besides.is_empty() {
            write!(f, " (also broken: {})", besides.join(", "))?;
        }
        failed.iter().try_for_each(|why| write!(f, "\n    FAILED: {why}"))
    }
}

/// Hunts the bug of that name, or all of them; says which hunts have failed.
async fn go_hunting_for(only: &str, seed: u64) -> Vec<&'static str> {
    let all = iter::once(None).chain(Bug::ALL.map(Some));
    let hunted: Vec<_> = all.filter(|bug| only.is_empty() || name(*bug) == only).collect();
    assert!(!hunted.is_empty(), "no seeded bug is called {only:?}");
    let mut table = Vec::new();
    for bug in hunted {
        table.push(go_hunting(bug, seed).await);
    }
    println!("\n{:<22} {:<28} {:>6}  said first", "bug", "caught by", "took");
    table.iter().for_each(|caught| println!("{caught}"));
    let rows: Vec<_> = table.iter().map(Caught::json).collect();
    let file = folder().join("bugs.json");
    let written = fs::write(&file, format!("{:#}\n", Value::from(rows)));
    written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    table.iter().filter(|caught| !caught.failed.is_empty()).map(|caught| name(caught.bug)).collect()
}

#[cfg(feature = "seeded-bugs")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_seeded_bug_is_caught() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let only: String = crate::asked("BUG", String::new());
    let failed = go_hunting_for(&only, crate::asked("SEED", 1)).await;
    assert!(failed.is_empty(), "not as they should be: {failed:?}");
}

/// A rule that is misspelt would never catch anything.
#[test]
fn bugs_are_hunted_by_rules_that_there_are() {
    let known: Vec<_> = crate::check::rule_names().collect();
    for bug in Bug::ALL {
        for rule in hunt(bug).rules {
            assert!(known.contains(rule), "{}: no rule {rule}", bug.name());
        }
        assert!(!hunt(bug).rules.is_empty());
    }
}
