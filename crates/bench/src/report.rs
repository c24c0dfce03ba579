//! The table for people, and the files for programs.

use std::path::Path;

use serde_json::Value;

use crate::{
    error::{Error, failed},
    sample::Row,
};

/// The table's columns. Of two figures the first is the engine's and the second the
/// floor's; `others` is what the rest of the machine used meanwhile.
pub const HEAD: [&str; 14] = [
    "workload",
    "runs",
    "steps/s",
    "floor",
    "ratio",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "CPU ms/step",
    "RSS MB",
    "msgs/step",
    "others %",
    "broker",
    "target",
];

/// A row's cells, from its data.
#[must_use]
pub fn cells(row: &Value) -> Vec<String> {
    let figure = |name: &str| row[name].as_f64();
    let pair = |engine: Option<f64>, floor: Option<f64>| format!("{} | {}", shown(engine), shown(floor));
    let latency = |name: &str| pair(figure(name), figure(&format!("floor_{name}")));
    // CPU seconds per thousand steps are milliseconds per step.
    let cpu = figure("engine_cpu_s_per_1k").zip(figure("server_cpu_s_per_1k")).map(|(e, s)| e + s);
    vec![
        name(row),
        text(&row["runs"]),
        shown(figure("steps_per_s")),
        shown(figure("floor_steps_per_s")),
        shown(figure("ratio")),
        latency("p50_ms"),
        latency("p99_ms"),
        latency("p999_ms"),
        pair(cpu, figure("floor_cpu_s_per_1k")),
        pair(figure("peak_rss_mb"), figure("floor_peak_rss_mb")),
        pair(figure("messages_per_step"), figure("floor_messages_per_step")),
        pair(percent(figure("others_cpu_share")), percent(figure("floor_others_cpu_share"))),
        format!("R{} sync {}", text(&row["replicas"]), text(&row["sync_interval"])),
        // One below the other: a line would be too long.
        text(&row["target"]).replace("; ", "\n"),
    ]
}

fn percent(share: Option<f64>) -> Option<f64> {
    share.map(|share| (share * 100.0).round())
}

fn name(row: &Value) -> String {
    let workload = text(&row["workload"]);
    row["executors"].as_u64().map_or_else(|| workload.clone(), |number| format!("{workload} x{number}"))
}

fn shown(figure: Option<f64>) -> String {
    match figure {
        None => "-".to_owned(),
        Some(figure) if figure.abs() >= 100.0 || figure == 0.0 => format!("{figure:.0}"),
        Some(figure) if figure.abs() >= 10.0 => format!("{figure:.1}"),
        Some(figure) if figure.abs() >= 0.1 => format!("{figure:.2}"),
        Some(figure) => format!("{figure:.3}"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Writes the rows of one workload.
pub(crate) fn write(folder: &Path, workload: &str, rows: &[Row]) -> Result<(), Error> {
    let path = folder.join(format!("{workload}.json"));
    let writing = || format!("write {}", path.display());
    std::fs::create_dir_all(folder).map_err(failed(writing()))?;
    let rows: Vec<Value> = rows.iter().map(Row::json).collect();
    let text = serde_json::to_string_pretty(&rows).map_err(failed(writing()))?;
    std::fs::write(&path, text + "\n").map_err(failed(writing()))
}
