//! Commands that look at things.

use planfleet_modelsim::{Rule, Simulator};
use serde_json::json;

use crate::support::{Fleet, Home, Rig, Roles as _, Sim, first_plan, plan, step};

#[test]
fn the_configuration_is_shown_without_its_secrets() {
    let mut rig = Rig::new(Vec::new());
    rig.set("nats.url=nats://me:hunter2@127.0.0.1:4222");
    rig.set("models.hands.extra_headers={\"x-api-key\": \"hunter2\"}");
    for format in ["table", "json", "yaml"] {
        let shown = rig.planfleet(&["config", "show", "-o", format]).code(0);
        assert!(shown.out.contains("brain") && shown.out.contains("E2E_KEY"), "{shown:#?}");
        assert!(!shown.out.contains("hunter2") && !shown.out.contains("sk-e2e"), "{shown:#?}");
    }
    rig.planfleet(&["config", "check"]).code(0);
}

#[test]
fn layers_of_the_configuration_win_in_their_order() {
    let mut home = Home::new();
    home.write("planfleet.toml", "[limits]\nreplans = 4\nattempts = 4\nmodel_turns = 4\n");
    home.set("PLANFLEET__LIMITS__ATTEMPTS", "6");
    home.set("PLANFLEET__LIMITS__MODEL_TURNS", "6");
    let shown =
        home.planfleet(["config", "show", "-o", "json", "--set", "limits.model_turns=7"]).code(0).json();
    let limits = &shown["limits"];
    assert_eq!([&limits["replans"], &limits["attempts"], &limits["model_turns"]], [4, 6, 7]);
}

#[test]
fn the_default_configuration_is_a_valid_one() {
    let home = Home::new();
    let init = home.planfleet(["config", "init"]).code(0);
    home.write("planfleet.toml", init.out);
    home.planfleet(["config", "check"]).code(0);
}

#[test]
fn tools_are_listed_and_called() {
    let home = Home::new();
    let listed = home.planfleet(["tools", "list", "-o", "json"]).code(0).json();
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
    for name in [
        "echo",
        "http_fetch",
        "file_read",
        "file_list",
        "json_transform",
        "text_template",
        "text_split",
        "math_eval",
        "wait",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    let call = |name: &str, args: &str| home.planfleet(["tools", "call", name, "--args", args, "-o", "json"]);
    let answer = call("math_eval", r#"{"expression": "6*7"}"#).code(0).json();
    assert_eq!(answer, json!({"ok": true, "output": {"value": 42}}));
    // Outside of the roots, which are none.
    let refused = call("file_read", r#"{"path": "/etc/hostname"}"#).code(1).json();
    assert_eq!((&refused["ok"], &refused["error"]["class"]), (&json!(false), &json!("denied")));
    assert!(refused["error"]["message"].is_string());
    // This machine itself is not on the web.
    let own = call("http_fetch", r#"{"url": "http://127.0.0.1:1/"}"#).code(1).json();
    assert_eq!(own["error"]["class"], "denied", "{own:#}");
    assert_eq!(call("math_eval", r#"{"expression": 1}"#).code(1).json()["error"]["class"], "tool_error");
    assert_eq!(call("no_such_tool", "{}").code(1).json()["ok"], false);
}

#[test]
fn models_are_listed_and_tested() {
    let rig = Rig::new(vec![Rule::text("ready")]);
    let listed = rig.planfleet(&["models", "list", "-o", "json"]).code(0).json();
    let brain = listed.as_array().unwrap().iter().find(|model| model["name"] == "brain").unwrap();
    assert!(brain["roles"].as_array().unwrap().contains(&json!("planner")), "{brain}");
    let tested = rig.planfleet(&["models", "test", "-o", "json"]).code(0).json();
    assert_eq!(tested.as_array().unwrap().len(), 3);
    assert!(tested.as_array().unwrap().iter().all(|model| model["ok"] == true), "{tested:#}");
    rig.planfleet(&["models", "test", "nobody"]).code(2);
}

#[test]
fn a_model_that_does_not_answer_fails_its_test() {
    let sim = Sim::with(Simulator::builder().rule(Rule::text("x")).require_key("another-key"));
    let mut rig = Rig::new(vec![Rule::text("ready")]);
    rig.set(format!("models.judge.base_url={}", sim.url()));
    let tested = rig.planfleet(&["models", "test", "judge", "-o", "json"]).code(1).json();
    assert_eq!(tested[0]["ok"], false);
    assert!(tested[0]["error"].as_str().unwrap().contains("401"), "{tested:#}");
}

#[test]
fn the_doctor_is_content_with_a_fleet_and_not_without() {
    let fleet = Fleet::new(Vec::new());
    let serving = fleet.serve("coordinator,planner,executor");
    fleet.wait_for_an_owner();
    let found = fleet.rig.planfleet(&["admin", "doctor", "-o", "json"]).code(0).json();
    let state = |what: &str| {
        let finding = found.as_array().unwrap().iter().find(|finding| finding["what"] == what);
        finding.unwrap_or_else(|| panic!("nothing about {what}: {found:#}"))["state"].clone()
    };
    assert_eq!([state("nats-server"), state("broker"), state("shard 00")], ["ok", "ok", "ok"]);

    let Fleet { broker, mut rig } = fleet;
    drop((serving, broker));
    rig.set("nats.url=nats://127.0.0.1:1");
    let found = rig.planfleet(&["admin", "doctor", "-o", "json"]).code(1).json();
    let broker = found.as_array().unwrap().iter().find(|finding| finding["what"] == "broker").unwrap();
    assert_eq!(broker["state"], "bad");
}

#[test]
fn a_goal_is_planned_without_being_run() {
    let rig = Rig::new(vec![first_plan(plan([step(1, "One."), step(2, "Two.").uses("x", 1, "")]))]);
    let shown = rig.planfleet(&["plan", "go", "-o", "json"]).code(0).json();
    assert_eq!(shown["final"], 2);
    assert_eq!(shown["steps"][1]["description"], "Two.");
    let chart = rig.planfleet(&["plan", "go", "--mermaid"]).code(0);
    assert!(chart.out.starts_with("flowchart") || chart.out.starts_with("graph"), "{chart:#?}");
    rig.planfleet(&["plan", "go"]).code(0);
    assert_eq!(rig.sim.executor("").count(), 0);
}

/// The same key gives the same run; without waiting it is one line: its id.
#[test]
fn a_repeated_submission_is_one_run() {
    let fleet = Fleet::new(vec![first_plan(plan([step(1, "Say hello.")])), Rule::text("hello").step("Say")]);
    let _serving = fleet.serve("coordinator,planner,executor");
    let submit = || {
        let outcome = fleet.rig.planfleet(&["run", "go", "--detach", "--idempotency-key", "k1"]).code(0);
        outcome.out.trim().to_owned()
    };
    let (first, second) = (submit(), submit());
    assert_eq!(first, second);
    assert_eq!(fleet.watch(&first).code(0).json()["answer"], "hello");
    assert_eq!(submit(), first);
    fleet.rig.planfleet(&["runs", "get", &first, "-o", "json"]).code(0);
    let listed = fleet.rig.planfleet(&["runs", "list", "-o", "json"]).code(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed:#}");
    fleet.rig.sim.planner().only();
    fleet.rig.planfleet(&["runs", "get", "00-nobody"]).code(1);
    for what in ["get", "cancel"] {
        let nowhere = fleet.rig.planfleet(&["runs", what, "ff-nobody"]).code(1);
        assert!(nowhere.one_line().contains("there is no run ff-nobody"), "{nowhere:#?}");
    }
}

/// Data is on standard output, everything else on standard error.
#[test]
fn every_format_is_only_data() {
    let rig = Rig::new(vec![first_plan(plan([step(1, "Say hello.")])), Rule::text("hello").step("Say")]);
    let run = |format: &str| rig.planfleet(&["run", "--local", "go", "-o", format]).code(0).out;
    assert!(serde_json::from_str::<serde_json::Value>(&run("json")).is_ok());
    assert_eq!(run("jsonl").lines().count(), 1);
    assert!(run("yaml").contains("answer: hello"));
    assert!(run("table").trim_end().ends_with("hello"));
    let quiet = rig.planfleet(&["run", "--local", "go", "-o", "json", "--quiet"]).code(0);
    assert_eq!(quiet.err, "");
}
