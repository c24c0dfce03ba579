//! What a campaign came to, for people on standard output and for programs in
//! `target/chaos/<seed>-<servers>.json`, whose name says too if not everything could go
//! wrong, and what was wrong on purpose. The processes' logs are beside it where something is
//! wrong that was not meant to be.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use planfleet_proto::decode::Entry;
use serde_json::{Value, json};

use crate::{
    campaign::{Fought, Settings},
    check::{Limits, Verdict, judge},
    fleet::LOGS,
    gate::{blind, by_kind},
    history::{Fault, History},
    nemesis::plan::{ALL, shown},
};

/// Between two faults, where at most one step of a hundred may be done again, and what is
/// promised to be done in time has to be.
const PROMISED_EVERY: Duration = Duration::from_secs(10);

/// Where they come closer together, as in the short campaigns of every build, only gross
/// delays tell anything: things may take so many times as long.
const PATIENCE: u64 = 3;

/// What a campaign came to.
pub(crate) struct Report {
    pub(crate) verdict: Verdict,
    /// Everything that is wrong: findings about the product, and why the campaign proves
    /// nothing, if it does not.
    pub(crate) wrong: Vec<String>,
}

/// Judges, prints, writes.
pub(crate) fn report(settings: &Settings, fought: &Fought) -> Report {
    let Fought { history, findings, unproven, idle, notes, home } = fought;
    let limits = limits(settings);
    let verdict = judge(history, &limits);
    println!("{verdict}");
    notes.iter().for_each(|note| println!("  {note}"));
    let broken = verdict.broken().into_iter().map(|rule| format!("FINDING: rule {rule} is broken"));
    let missed = verdict.figures.missed.iter().map(|missed| format!("FINDING: too late: {missed}"));
    let mut wrong: Vec<String> = broken.chain(missed).collect();
    wrong.extend(findings.iter().map(|finding| format!("FINDING: {finding}")));
    let nothing = verdict.idle().into_iter().map(|rule| format!("rule {rule} had nothing to look at"));
    let too_little = blind(&verdict.figures, settings.is_peaceful());
    let invalid = unproven.iter().chain(idle).cloned().chain(nothing).chain(too_little);
    wrong.extend(invalid.map(|why| format!("INVALID: {why}")));
    let whole = json!({
        "seed": settings.seed, "nodes": settings.nodes, "faults": by_kind(&history.faults),
        "nemesis": history.faults.iter().map(fault_json).collect::<Vec<_>>(), "epochs": epochs(history),
        "wrong": wrong, "notes": notes, "verdict": verdict.json(),
    });
    let file = file(settings);
    let written = fs::create_dir_all(folder()).and_then(|()| fs::write(&file, format!("{whole:#}\n")));
    written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    // Of a seeded bug it is known what is wrong.
    if !wrong.is_empty() && settings.bug.is_none() {
        let logs = file.with_extension("logs");
        copy_logs(&home.path(LOGS), &logs).unwrap_or_else(|error| panic!("{}: {error}", logs.display()));
        println!("  logs: {}", logs.display());
    }
    Report { verdict, wrong }
}

/// What is done again is what was in flight when a fault came. One step of a hundred is
/// promised for a fault every ten seconds, and so many times more for as many times more.
fn limits(settings: &Settings) -> Limits {
    let end_within_ms = u64::try_from(settings.end_within.as_millis()).unwrap_or(u64::MAX);
    let patience = if settings.every >= PROMISED_EVERY { 1 } else { PATIENCE };
    if settings.is_peaceful() {
        return Limits { end_within_ms, patience, ..Limits::WITHOUT_FAULTS };
    }
    let denser = (PROMISED_EVERY.as_secs_f64() / settings.every.as_secs_f64()).max(1.0);
    Limits { duplicates: Limits::UNDER_FAULTS.duplicates * denser, end_within_ms, patience }
}

/// The nemesis's log, for whoever asks what was near.
fn fault_json(fault: &Fault) -> Value {
    json!({
        "what": shown((fault.kind, fault.target)), "name": fault.name, "from_ms": fault.from_ms,
        "to_ms": fault.to_ms, "evidence": fault.evidence,
    })
}

/// Who owned which shard from when, likewise.
fn epochs(history: &History) -> Vec<Value> {
    let entries = history.logs.iter().flat_map(|(shard, log)| log.iter().map(move |logged| (shard, logged)));
    let opened = entries.filter_map(|(shard, logged)| match &logged.entry {
        Ok(Entry::EpochOpened { epoch, owner, .. }) => {
            Some(json!({"shard": shard, "at_ms": logged.at_ms, "epoch": epoch, "owner": owner}))
        }
        _ => None,
    });
    opened.collect()
}

/// Where reports are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/chaos")
}

fn file(settings: &Settings) -> PathBuf {
    let weather = match settings.mix.len() {
        0 => "-peace",
        some if some < ALL.len() => "-part",
        _ => "",
    };
    let bug = settings.bug.map(|bug| format!("-{}", bug.name())).unwrap_or_default();
    folder().join(format!("{}-{}{weather}{bug}.json", settings.seed, settings.nodes))
}

/// Keeps the logs of a campaign that went wrong, and of no other: they are large.
fn copy_logs(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
