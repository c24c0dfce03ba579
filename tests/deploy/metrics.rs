//! Dashboards and alerts ask for what the program exports.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::{read, root, text};

/// What Prometheus calls them: a counter ends in `_total`, a duration in its unit, and a histogram
/// is three.
const ENDINGS: [&str; 6] = ["", "_total", "_seconds", "_seconds_bucket", "_seconds_sum", "_seconds_count"];

/// Every name in the sources that may be a metric's, as Prometheus writes it.
fn exported() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                let quoted = source.split('"').skip(1).step_by(2);
                let metrics =
                    quoted.filter(|name| name.starts_with("planfleet.") || name.starts_with("gen_ai."));
                names.extend(metrics.map(|name| name.replace('.', "_")));
            }
        }
    }
    assert!(names.contains("planfleet_runs_ended"), "the sources are not where they were");
    names
}

/// The names of metrics in a query.
fn asked(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("planfleet_") || word.starts_with("gen_ai_"))
        .map(str::to_owned)
        .collect()
}

/// Values of a key, wherever it is.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str));
            fields.values().for_each(|value| all(value, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        _ => {}
    }
}

#[test]
fn what_is_asked_for_is_exported() {
    let exported = exported();
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/fleet.json")).unwrap();
    let alerts: Value = serde_saphyr::from_str(&read("deploy/grafana/alerts.yaml")).unwrap();
    let scaling = read("deploy/helm/planfleet/templates/scaling.yaml");
    let (mut shown, mut watched) = (Vec::new(), Vec::new());
    all(&dashboard, "expr", &mut shown);
    all(&dashboard, "definition", &mut shown);
    all(&alerts, "expr", &mut watched);
    assert!(shown.len() >= 15 && watched.len() >= 8, "{} {}", shown.len(), watched.len());
    let query = scaling.lines().find(|line| line.contains("query:")).unwrap();
    // What is paused wants no pod and no person.
    for query in watched.iter().chain([&query]).filter(|query| query.contains("planfleet_ready_backlog")) {
        assert!(query.replace("\\\"", "\"").contains("state=\"ready\""), "{query}");
    }
    for query in shown.into_iter().chain(watched).chain([query]) {
        let names = asked(query);
        assert!(!names.is_empty(), "{query} asks for nothing of ours");
        for name in names {
            let known =
                |ending: &&str| name.strip_suffix(*ending).is_some_and(|name| exported.contains(name));
            assert!(ENDINGS.iter().any(known), "{query} asks for {name}: nobody exports it");
        }
    }
}

#[test]
fn alerts_say_what_is_wrong() {
    let alerts: Value = serde_saphyr::from_str(&read("deploy/grafana/alerts.yaml")).unwrap();
    for rule in alerts["groups"][0]["rules"].as_array().unwrap() {
        assert!(["warning", "critical"].contains(&text(&rule["labels"]["severity"])), "{rule}");
        let (summary, description) = (&rule["annotations"]["summary"], &rule["annotations"]["description"]);
        assert!(!text(summary).is_empty() && text(description).len() > 30, "{rule}");
    }
}
