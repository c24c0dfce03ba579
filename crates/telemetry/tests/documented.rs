//! `docs/observability.md` shows every name, and no other.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own tree has failed")]

use std::{collections::BTreeSet, fs, path::Path};

use planfleet_telemetry::{
    Metric,
    metric::Kind,
    names::{self, Span},
};

/// The rows of the table below a heading.
fn rows(heading: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/observability.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once(&format!("## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect()
}

fn listed(attributes: &[&str]) -> String {
    attributes.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
}

/// What Prometheus calls a metric.
fn prometheus(metric: &Metric) -> String {
    let name = metric.name.replace('.', "_");
    let unit = if metric.unit == "s" { "_seconds" } else { "" };
    let total = if metric.kind == Kind::Counter { "_total" } else { "" };
    format!("{name}{unit}{total}")
}

fn metric_row(metric: &Metric) -> String {
    let (kind, shown) = (metric.kind.as_str(), prometheus(metric));
    let attributes = listed(metric.attributes);
    format!("| `{}` | `{shown}` | {kind} | {attributes} | {} |", metric.name, metric.description)
}

fn span_row(span: &Span) -> String {
    let content = |name: &&&str| names::attribute::CONTENT.contains(*name);
    let attributes: Vec<&str> = span.attributes.iter().filter(|name| !content(name)).copied().collect();
    format!("| `{}` | {} | {} |", span.title, span.kind, listed(&attributes))
}

#[test]
fn all_metrics_are_documented() {
    let expected: BTreeSet<_> = names::metric::METRICS.iter().map(|metric| metric_row(metric)).collect();
    let shown = rows("Metrics");
    let missing: Vec<_> = expected.difference(&shown).collect();
    let unknown: Vec<_> = shown.difference(&expected).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:#?}, unknown: {unknown:#?}");
}

#[test]
fn all_spans_are_documented() {
    let expected: BTreeSet<_> = names::SPANS.iter().map(|span| span_row(span)).collect();
    let shown = rows("Spans");
    let missing: Vec<_> = expected.difference(&shown).collect();
    let unknown: Vec<_> = shown.difference(&expected).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:#?}, unknown: {unknown:#?}");
}

#[test]
fn content_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/observability.md");
    let text = fs::read_to_string(path).unwrap();
    for name in names::attribute::CONTENT {
        assert!(text.contains(&format!("`{name}`")), "{name} is not in the documentation");
    }
}

#[test]
fn names_are_there_once() {
    let metrics: BTreeSet<_> = names::metric::METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(metrics.len(), names::metric::METRICS.len());
    let spans: BTreeSet<_> = names::SPANS.iter().map(|span| span.name).collect();
    assert_eq!(spans.len(), names::SPANS.len());
}
