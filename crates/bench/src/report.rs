//! The table for people, and the files for programs.

use std::path::Path;

use serde_json::Value;

use crate::{
    error::{Error, failed},
    sample::Row,
};

/// A table for rows of one kind.
#[derive(Debug)]
pub struct Table {
    /// The columns.
    pub head: &'static [&'static str],
    /// A row's cells, from its data.
    pub cells: fn(&Value) -> Vec<String>,
    has: fn(&Value) -> bool,
}

/// What is measured in steps, and what in model calls.
pub const TABLES: [Table; 2] = [
    Table { head: &HEAD, cells, has: |row| !of_models(row) },
    Table { head: &MODELS_HEAD, cells: models_cells, has: of_models },
];

impl Table {
    /// The rows that belong into it.
    #[must_use]
    pub fn of(&self, rows: &[Value]) -> Vec<Value> {
        rows.iter().filter(|row| (self.has)(row)).cloned().collect()
    }
}

fn of_models(row: &Value) -> bool {
    ["of_bound", "first_step_p50_ms"].into_iter().any(|name| !row[name].is_null())
}

/// The columns of `movie` and `streamed`. Tokens and money are those of a provider that counts
/// as LLMCompiler has published; the `own` ones are of what the fleet has really said, four
/// bytes being a token.
const MODELS_HEAD: [&str; 13] = [
    "workload",
    "runs",
    "p50 s",
    "p99 s",
    "mean s",
    "critical path s",
    "times that",
    "tokens in | out",
    "USD/1000",
    "cheaper | own",
    "brace to step ms: first p50 | p99",
    "all p50 | p99",
    "target",
];

fn models_cells(row: &Value) -> Vec<String> {
    let figure = |name: &str| row[name].as_f64();
    let seconds = |name: &str| shown(figure(name).map(|ms| ms / 1e3));
    let two = |first: &str, second: &str| format!("{} | {}", shown(figure(first)), shown(figure(second)));
    vec![
        name(row),
        text(&row["runs"]),
        seconds("p50_ms"),
        seconds("p99_ms"),
        seconds("mean_ms"),
        seconds("bound_ms"),
        shown(figure("of_bound")),
        two("input_tokens_per_run", "output_tokens_per_run"),
        shown(figure("usd_per_1k_runs")),
        two("cost_ratio", "own_cost_ratio"),
        two("first_step_p50_ms", "first_step_p99_ms"),
        two("step_p50_ms", "step_p99_ms"),
        text(&row["target"]).replace("; ", "\n"),
    ]
}

/// The table's columns. Of two figures the first is the engine's and the second the
/// floor's; `others` is what the rest of the machine used meanwhile.
const HEAD: [&str; 14] = [
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

fn cells(row: &Value) -> Vec<String> {
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
    match (row["executors"].as_u64(), row["window"].as_u64(), row["mode"].as_str()) {
        (Some(number), ..) => format!("{workload} x{number}"),
        (_, Some(window), _) => format!("{workload}, window {window}"),
        (.., Some(mode)) => format!("{workload} {mode}"),
        _ => workload,
    }
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
