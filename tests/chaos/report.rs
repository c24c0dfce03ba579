//! What a campaign came to, for people on standard output and for programs in
//! `target/chaos/<seed>.json`.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    campaign::{Fought, Settings},
    check::{Limits, judge},
    gate::by_kind,
};

/// Between two faults, where at most one step of a hundred may be done again.
const PROMISED_EVERY: Duration = Duration::from_secs(10);

/// Judges, prints, writes. Returns everything that is wrong: findings about the product,
/// and why the campaign proves nothing, if it does not.
pub(crate) fn report(settings: &Settings, fought: &Fought) -> Vec<String> {
    let Fought { history, findings, invalid, notes } = fought;
    let limits = limits(settings);
    let verdict = judge(history, &limits);
    println!("{verdict}");
    for note in notes {
        println!("{note}");
    }
    let broken = verdict.broken().into_iter().map(|rule| format!("FINDING: rule {rule} is broken"));
    let mut wrong: Vec<String> = broken.collect();
    wrong.extend(findings.iter().map(|finding| format!("FINDING: {finding}")));
    wrong.extend(invalid.iter().map(|why| format!("INVALID: {why}")));
    let whole = json!({
        "seed": settings.seed, "nodes": settings.nodes, "faults": by_kind(&history.faults),
        "wrong": wrong, "notes": notes, "verdict": verdict.json(),
    });
    write(settings, &whole);
    wrong
}

/// What is done again is what was in flight when a fault came. One step of a hundred is
/// promised for a fault every ten seconds, and so many times more for as many times more.
fn limits(settings: &Settings) -> Limits {
    if !settings.faults {
        return Limits::WITHOUT_FAULTS;
    }
    let denser = (PROMISED_EVERY.as_secs_f64() / settings.every.as_secs_f64()).max(1.0);
    Limits { duplicates: Limits::UNDER_FAULTS.duplicates * denser, ..Limits::UNDER_FAULTS }
}

fn write(settings: &Settings, whole: &Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/chaos");
    let file = folder.join(format!("{}.json", settings.seed));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, format!("{whole:#}\n")));
    written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}
