//! `planfleet bench` on a small scale: that it measures, not what.

use serde_json::Value;

use crate::support::Home;

/// The fields that others rely on.
const FIELDS: [&str; 16] = [
    "workload",
    "runs",
    "steps",
    "steps_per_s",
    "floor_steps_per_s",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "engine_cpu_s_per_1k",
    "server_cpu_s_per_1k",
    "floor_cpu_s_per_1k",
    "peak_rss_mb",
    "messages_per_step",
    "replicas",
    "sync_interval",
    "met",
];

#[test]
fn engine_and_floor_do_the_same_work() {
    let home = Home::new();
    let measured = home.planfleet([
        "bench",
        "diamond-10",
        "--runs",
        "5",
        "--repeat",
        "1",
        "--out",
        "measured",
        "-o",
        "json",
    ]);
    let printed = measured.code(0).json();
    let written = std::fs::read_to_string(home.path("measured/diamond-10.json")).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written, printed);
    let row = &written[0];
    for field in FIELDS {
        assert!(row.get(field).is_some(), "{field} is missing: {row:#}");
    }
    assert_eq!(
        (&row["workload"], &row["runs"], &row["steps"]),
        (&"diamond-10".into(), &5.into(), &50.into())
    );
    assert_eq!((&row["replicas"], &row["sync_interval"]), (&1.into(), &"120s".into()));
    let figure = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name} of {row:#}"));
    // Leases are renewed beside the work, which on a slow machine is a few messages more.
    assert!(
        figure("engine_messages") >= 110.0 && figure("messages_per_step") < 2.1 + 10.0 / 50.0 + 0.5,
        "{row:#}"
    );
    // The floor stores nothing but the work.
    assert_eq!(figure("floor_messages"), 110.0);
    for name in ["steps_per_s", "floor_steps_per_s", "p50_ms", "floor_p50_ms", "peak_rss_mb"] {
        assert!(figure(name) > 0.0, "{name} of {row:#}");
        let (least, most) = (figure(&format!("{name}_min")), figure(&format!("{name}_max")));
        assert!(least <= figure(name) && figure(name) <= most, "{name} of {row:#}");
    }
}

#[test]
fn a_streamed_step_is_timed_from_its_closing_brace() {
    let home = Home::new();
    let args = ["bench", "streamed", "--runs", "2", "--repeat", "1", "--engine-only", "--out", "measured"];
    home.planfleet(args).code(0);
    let written = std::fs::read_to_string(home.path("measured/streamed.json")).unwrap();
    let row = &serde_json::from_str::<Value>(&written).unwrap()[0];
    assert_eq!((&row["runs"], &row["steps"]), (&2.into(), &20.into()));
    for name in ["first_step_p50_ms", "step_p50_ms", "step_p99_ms"] {
        assert!(row[name].as_f64() > Some(0.0), "{name} of {row:#}");
    }
}

#[test]
fn an_unknown_workload_is_answered_with_the_list() {
    let refused = Home::new().planfleet(["bench", "diamond-10", "dimond"]).code(2);
    let line = refused.one_line();
    assert!(
        line.contains("\"dimond\"") && line.contains("diamond-10") && line.contains("wide-100000"),
        "{line}"
    );
    assert_eq!(refused.out, "");
}

/// The rows of a workload of the engine alone.
fn rows(args: &[&str]) -> Vec<Value> {
    let home = Home::new();
    let common = ["--repeat", "1", "--engine-only", "--out", "measured", "-o", "json"];
    let rows = home.planfleet([&["bench"][..], args, &common].concat()).code(0).json();
    rows.as_array().unwrap().clone()
}

fn figure(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap_or_else(|| panic!("{name} of {row:#}"))
}

#[test]
fn a_batch_is_never_further_ahead_than_its_window() {
    let rows = rows(&["batch", "--runs", "60"]);
    let windows: Vec<&Value> = rows.iter().map(|row| &row["window"]).collect();
    assert_eq!(windows, [4, 60]);
    for row in &rows {
        assert_eq!((&row["runs"], &row["steps"]), (&60.into(), &600.into()));
        let most = figure(row, "open_runs_peak");
        assert!((1.0..=figure(row, "window")).contains(&most), "{row:#}");
        for name in ["submitter_rss_mb", "coordinator_rss_mb", "executor_rss_mb", "submitter_cpu_s_per_1k"] {
            assert!(figure(row, name) > 0.0, "{name} of {row:#}");
        }
    }
}

/// The measurement is void when what was accepted does not end.
#[test]
fn what_an_overloaded_fleet_accepts_ends() {
    let rows = rows(&["overload", "--runs", "200", "--slots", "2"]);
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(figure(row, "accepted") + figure(row, "refused"), 200.0, "{row:#}");
    for name in ["accepted", "refused", "steps_per_s", "peak_runs_per_s", "refusal_p99_ms"] {
        assert!(figure(row, name) > 0.0, "{name} of {row:#}");
    }
}

#[test]
fn tenants_are_measured_beside_each_other() {
    let rows = rows(&["isolation", "--runs", "40"]);
    let modes: Vec<&Value> = rows.iter().map(|row| &row["mode"]).collect();
    assert_eq!(modes, ["wait", "wait-short", "shares"]);
    for row in &rows[..2] {
        for name in ["p99_ms", "alone_p99_ms", "p99_times_alone", "heavy_waiting"] {
            assert!(figure(row, name) > 0.0, "{name} of {row:#}");
        }
    }
    // Turns are counted and not timed, so this holds on any machine; what is let go at the end
    // of so few runs is a part of them.
    assert!(figure(&rows[2], "share_off_max") <= 0.2, "{:#}", rows[2]);
}

#[test]
fn a_backlog_only_gets_less() {
    let rows = rows(&["backlog", "--runs", "40", "--outage", "1"]);
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((figure(row, "left_growth_max"), figure(row, "dispatched_again")), (0.0, 0.0), "{row:#}");
    assert!(figure(row, "stall_max_ms") > 0.0 && figure(row, "outage_s") == 1.0, "{row:#}");
}
