//! Holds `docs/run-lifecycle.md` and the state machine together: every move
//! that runs make is an arrow of the chart, every arrow a move that runs make,
//! and every reason that the code knows is explained.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot read the chart has failed"
)]

#[path = "replay/history.rs"]
#[allow(dead_code, reason = "one test looks at records, the other at moves")]
mod history;
#[path = "replay/open.rs"]
#[allow(dead_code, reason = "one test looks at records, the other at moves")]
mod open;
#[path = "scenarios/script.rs"]
#[allow(dead_code, reason = "one test reads the text, the other the moves")]
mod script;

use std::{collections::BTreeSet, fs, path::Path};

use planfleet_core::{failure::FailureClass, reason::EndCode};

use self::history::History;

/// Enough for most moves; the rare ones have scenarios.
const HISTORIES: u64 = 3_000;

/// A state's name, a record's name, the next state's name.
type Arrow = (String, String, String);

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/run-lifecycle.md");
    fs::read_to_string(path).expect("the page")
}

/// The arrows of the chart, those of the group `active` once for each of its states.
fn arrows(page: &str) -> BTreeSet<Arrow> {
    let chart = page.split("```").find(|block| block.starts_with("mermaid")).expect("a chart");
    let group = chart.split("state active {").nth(1).and_then(|rest| rest.split('}').next());
    let active: Vec<&str> = group.expect("the active states").split_whitespace().collect();
    let mut arrows = BTreeSet::new();
    for (edge, records) in chart.lines().filter_map(|line| line.split_once(": ")) {
        let (from, to) = edge.split_once(" --> ").expect("an arrow");
        let (from, to) = (from.trim(), to.trim());
        let from = if from == "active" { active.clone() } else { vec![from] };
        for from in from.into_iter().filter(|from| *from != to) {
            for record in records.split(", ") {
                arrows.insert((from.to_owned(), record.trim().to_owned(), to.to_owned()));
            }
        }
    }
    arrows
}

#[test]
fn the_chart_and_the_table_are_the_same() {
    let mut made = BTreeSet::new();
    for seed in 1..=HISTORIES {
        let moves = History::run(seed).moves;
        let moves = moves.into_iter().filter(|(from, _, to)| from != to);
        made.extend(moves.map(|(from, record, to)| (from.to_owned(), record.to_owned(), to.to_owned())));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    for file in fs::read_dir(folder).expect("the scenarios") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("a scenario");
        for beat in script::tell(&text).beats {
            let (from, to) = beat.moved;
            if from != to {
                made.insert((from.to_owned(), beat.record.fact.name().to_owned(), to.to_owned()));
            }
        }
    }
    let drawn = arrows(&page());
    let missing: Vec<&Arrow> = made.difference(&drawn).collect();
    let superfluous: Vec<&Arrow> = drawn.difference(&made).collect();
    assert!(missing.is_empty(), "runs make moves that the chart does not show: {missing:#?}");
    assert!(superfluous.is_empty(), "the chart shows moves that no run makes: {superfluous:#?}");
}

#[test]
fn every_reason_is_explained() {
    let page = page();
    let name = |code: EndCode| serde_json::to_value(code).unwrap().as_str().unwrap().to_owned();
    let mut names: Vec<String> = EndCode::ALL.into_iter().map(name).collect();
    names.extend(FailureClass::ALL.map(|class| class.as_str().to_owned()));
    for name in names {
        assert!(page.contains(&format!("| `{name}` |")), "`{name}` is not explained");
    }
}
