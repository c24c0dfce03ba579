//! MCP both ways: public servers that plans use, and the fleet as a server that the official
//! SDK's client uses.

use std::path::Path;

use planfleet_modelsim::Rule;
use serde_json::{Value, json};

use crate::support::{
    Fleet, Outcome, Process, Rig, Roles as _, first_plan, free_port, mcp_packages, plan, slow, step, tool,
};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/e2e/mcp_client.py");

/// A calculator behind streamable HTTP, by an SDK of another generation than ours.
fn calculator(rig: &mut Rig, port: u16) -> Process {
    rig.home.set("PYTHONPATH", mcp_packages("http"));
    let port = port.to_string();
    let args = [
        "-m",
        "mcp_proxy",
        "--port",
        &port,
        "--pass-environment",
        "python3",
        "--",
        "-m",
        "mcp_server_calculator",
    ];
    let mut process = rig.home.start_program(Path::new("python3"), args);
    process.says("Uvicorn running");
    process
}

/// Two public servers in the configuration: one over stdio, one over HTTP.
fn with_servers(rig: &mut Rig, port: u16) {
    rig.home.set("PYTHONPATH", mcp_packages("sdk"));
    let own = std::fs::read_to_string(rig.home.path("fleet.toml")).unwrap();
    let servers = format!(
        "[mcp.time]\ncommand = \"python3\"\nargs = [\"-m\", \"mcp_server_time\"]\nenv = [\"PYTHONPATH\"]\n\
         tools = [\"convert_time\"]\n\
         [mcp.calc]\nurl = \"http://127.0.0.1:{port}/mcp\"\neffects = {{ calculate = \"pure\" }}\n\
         [tools]\nallow_loopback = true\n"
    );
    rig.home.write("fleet.toml", own + &servers);
}

#[test]
fn a_planned_run_uses_public_servers_over_stdio_and_http() {
    let planned = plan([
        tool(1, "mcp_time_convert_time")
            .literal("source_timezone", "Asia/Tokyo")
            .literal("time", "09:00")
            .literal("target_timezone", "UTC"),
        tool(2, "mcp_calc_calculate").literal("expression", "6 * 7"),
        step(3, "Say what came of it.").uses("time", 1, "").uses("sum", 2, ""),
    ]);
    let mut rig =
        Rig::new(vec![first_plan(planned), Rule::text("midnight, and 42").step("Say what came of it")]);
    let port = free_port();
    let _calculator = calculator(&mut rig, port);
    with_servers(&mut rig, port);

    let listed = rig.planfleet(&["tools", "list", "-o", "json"]).code(0).json();
    let effect = |name: &str| {
        let tool = listed.as_array().unwrap().iter().find(|tool| tool["name"] == name);
        tool.unwrap_or_else(|| panic!("no {name} in {listed:#}"))["effect"].clone()
    };
    // What the one server says of its tool, and what the operator says of the other's.
    assert_eq!([effect("mcp_time_convert_time"), effect("mcp_calc_calculate")], ["read", "pure"]);
    let shown = rig.planfleet(&["tools", "show", "mcp_time_convert_time", "-o", "json"]).code(0).json();
    assert_eq!(shown["origin"]["server"], "time");
    assert_eq!(shown["origin"]["server_sha256"].as_str().map(str::len), Some(64), "{shown:#}");

    let document = rig.run_local(&json!({"goal": "What time is it there?"})).code(0).json();

    assert_eq!((&document["state"], &document["answer"]), (&json!("succeeded"), &json!("midnight, and 42")));
    let prompt = rig.sim.executor("Say what came of it").prompt(0);
    assert!(prompt.contains("00:00:00") && prompt.contains("42"), "{prompt}");
    let planner = rig.sim.planner().prompt(0);
    for told in ["mcp_time_convert_time", "source_timezone", "mcp_calc_calculate", "expression"] {
        assert!(planner.contains(told), "{told} is not in {planner}");
    }
    assert!(!planner.contains("http_request"), "a run has no tools that write unless it asks for them");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let mut rig = Rig::new(Vec::new());
    rig.home.set("PYTHONPATH", mcp_packages("sdk"));
    with_servers(&mut rig, free_port());
    let outcome = rig.planfleet(&["tools", "list"]).code(2);
    assert!(outcome.err.contains("mcp.calc"), "{outcome:#?}");
}

/// What the official client sees when it makes these calls.
fn drive(fleet: &Fleet, calls: &Value) -> Value {
    let config = fleet.rig.home.path("fleet.toml").display().to_string();
    let url = format!("nats.url={}", fleet.broker.url());
    let program = env!("CARGO_BIN_EXE_planfleet");
    let calls = calls.to_string();
    let args = [CLIENT, &calls, program, "--config", &config, "--set", &url, "--set", "nats.shards=1", "mcp"];
    let outcome: Outcome = fleet.rig.home.start_program(Path::new("python3"), args).ended();
    outcome.code(0).json()
}

#[test]
fn the_official_client_submits_waits_and_reads() {
    let mut rig = Rig::new(vec![
        first_plan(plan([step(1, "Name the river.")])),
        Rule::text("Rhine").step("Name the river"),
    ]);
    rig.home.set("PYTHONPATH", mcp_packages("sdk"));
    let fleet = Fleet::in_rig(rig);
    let _serving = fleet.serve("coordinator,planner,executor");
    fleet.wait_for_an_owner();
    let seen = drive(
        &fleet,
        &json!([
            ["submit", {"goal": "Which river?", "idempotency_key": "k"}],
            ["wait", {"run_id": "$run", "timeout_s": 40}],
            ["status", {"run_id": "$run"}],
            ["result", {"run_id": "$run", "steps": true}],
            ["submit", {"goal": "Which river?", "idempotency_key": "k"}],
            ["cancel", {"run_id": "$run"}],
            ["submit", {"gaol": "Which river?"}],
            ["status", {"run_id": "00-nobody"}],
            ["wait", {}],
        ]),
    );
    let names: Vec<&str> =
        seen["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, ["submit", "status", "wait", "cancel", "result"]);
    assert_eq!(seen["tools"][1]["annotations"]["readOnlyHint"], true);
    let answers = &seen["answers"];
    let value = |nth: usize| &answers[nth]["value"];
    assert_eq!(
        (&value(1)["state"], &value(1)["answer"]),
        (&json!("succeeded"), &json!("Rhine")),
        "{answers:#}"
    );
    assert_eq!((&value(2)["ended"], &value(3)["steps"][0]["output"]), (&json!(true), &json!("Rhine")));
    assert_eq!(value(4)["run_id"], value(0)["run_id"], "the same key, the same run");
    for (nth, said) in [(5, "ended already"), (6, "gaol"), (7, "00-nobody"), (8, "run_id")] {
        assert_eq!(answers[nth]["error"], true, "{nth}: {answers:#}");
        assert!(answers[nth]["text"].as_str().unwrap().contains(said), "{nth}: {answers:#}");
    }
}

#[test]
fn the_official_client_cancels() {
    let mut rig = Rig::new(vec![
        first_plan(plan([step(1, "Dawdle.")])),
        Rule::text("late").step("Dawdle").latency(slow(60_000)),
    ]);
    rig.home.set("PYTHONPATH", mcp_packages("sdk"));
    let fleet = Fleet::in_rig(rig);
    let _serving = fleet.serve("coordinator,planner,executor");
    fleet.wait_for_an_owner();
    let seen = drive(
        &fleet,
        &json!([
            ["submit", {"goal": "Dawdle."}],
            ["wait", {"run_id": "$run", "timeout_s": 1}],
            ["result", {"run_id": "$run"}],
            ["cancel", {"run_id": "$run", "reason": "enough"}],
            ["wait", {"run_id": "$run", "timeout_s": 40}],
        ]),
    );
    let answers = &seen["answers"];
    assert_eq!(answers[1]["value"]["ended"], false, "{answers:#}");
    assert!(answers[2]["error"] == true && answers[2]["text"].as_str().unwrap().contains("not ended"));
    assert_eq!(answers[4]["value"]["state"], "cancelled", "{answers:#}");
}

#[test]
fn without_a_fleet_the_caller_is_told_and_the_server_goes_on() {
    let mut rig = Rig::new(Vec::new());
    rig.home.set("PYTHONPATH", mcp_packages("sdk"));
    let fleet = Fleet::in_rig(rig);
    let Fleet { broker, rig } = fleet;
    let url = format!("nats.url={}", broker.url());
    drop(broker);
    let config = rig.home.path("fleet.toml").display().to_string();
    let calls = json!([["status", {"run_id": "00-a"}], ["status", {"run_id": "00-a"}]]).to_string();
    let program = env!("CARGO_BIN_EXE_planfleet");
    let quick = "nats.connect_timeout_s=1";
    let args = [CLIENT, &calls, program, "--config", &config, "--set", &url, "--set", quick, "mcp"];
    let process = rig.home.start_program(Path::new("python3"), args);
    let seen = process.ended().code(0).json();
    for answer in seen["answers"].as_array().unwrap() {
        assert!(answer["text"].as_str().unwrap().contains("planfleet dev"), "{answer:#}");
    }
}
