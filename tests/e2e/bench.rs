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
