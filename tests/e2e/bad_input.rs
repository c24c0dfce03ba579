//! What users get wrong, and what they are told.

use std::net::TcpListener;

use planfleet_modelsim::{Rule, Simulator};
use serde_json::json;

use crate::support::{Broker, Home, Outcome, Rig, Roles as _, Sim, first_plan, plan, step, tool};

fn run_file(home: &Home, content: impl AsRef<[u8]>) -> Outcome {
    home.write("task.json", content);
    home.planfleet(["run", "--local", "-f", "task.json", "-o", "json"]).code(2)
}

#[test]
fn a_task_with_three_mistakes_names_all_three() {
    let task = json!({"goal": 3, "deadline_s": -1, "colour": "red"});
    let outcome = run_file(&Home::new(), task.to_string());
    for mistake in ["goal", "deadline_s", "colour"] {
        assert!(outcome.err.contains(mistake), "{mistake:?} is not in {outcome:#?}");
    }
    assert_eq!(outcome.out, "");
}

#[test]
fn a_key_given_twice_is_refused() {
    let outcome = run_file(&Home::new(), r#"{"goal": "one", "goal": "two"}"#);
    assert!(outcome.one_line().contains("goal"), "{outcome:#?}");
}

#[test]
fn nesting_without_end_is_refused() {
    let deep = format!(r#"{{"goal": "g", "inputs": {{"x": {}1{}}}}}"#, "[".repeat(100), "]".repeat(100));
    assert!(run_file(&Home::new(), deep).one_line().contains("64"));
}

#[test]
fn a_task_that_is_too_large_is_refused() {
    let task = json!({"goal": "g", "inputs": {"text": "x".repeat(1024 * 1024)}});
    let outcome = run_file(&Home::new(), task.to_string());
    assert!(outcome.one_line().contains("limits.task_bytes"), "{outcome:#?}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let outcome = Home::new().planfleet(["run", "--local", "-f", "nowhere.json"]).code(2);
    assert!(outcome.one_line().contains("nowhere.json"), "{outcome:#?}");
}

#[test]
fn an_unknown_key_of_the_configuration_comes_with_a_suggestion() {
    let home = Home::new();
    home.write("planfleet.toml", "[nats]\nulr = \"nats://127.0.0.1:1\"\n[limits]\nreplans = \"many\"\n");
    let outcome = home.planfleet(["config", "check"]).code(2);
    for told in ["nats.ulr", "did you mean `url`", "limits.replans"] {
        assert!(outcome.err.contains(told), "{told:?} is not in {outcome:#?}");
    }
}

#[test]
fn a_role_without_its_model_comes_with_a_suggestion() {
    let mut rig = Rig::new(Vec::new());
    rig.set("roles.planner=brian");
    let outcome = rig.planfleet(&["config", "check"]).code(2);
    assert!(outcome.err.contains("did you mean `brain`"), "{outcome:#?}");
}

#[test]
fn a_broker_that_is_not_there_is_one_line_that_says_what_to_do() {
    let mut rig = Rig::new(Vec::new());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    rig.set(format!("nats.url=nats://127.0.0.1:{port}"));
    for args in [&["run", "go"][..], &["runs", "list"], &["serve", "--roles", "executor"]] {
        let outcome = rig.planfleet(args).code(7);
        let line = outcome.one_line();
        assert!(line.contains(&port.to_string()) && line.contains("planfleet dev"), "{line}");
    }
}

/// A wrong key: one clear line in the run's reason, and the key is not in it.
#[test]
fn a_wrong_key_is_the_reason_of_the_run() {
    let sim = Sim::with(Simulator::builder().rule(Rule::text("x")).require_key("another-key"));
    let mut rig = Rig::new(Vec::new());
    rig.set(format!("models.brain.base_url={}", sim.url()));
    let outcome = rig.run_local(&json!({"goal": "go"})).code(3);
    let document = outcome.json();
    let reason = document["reason"].as_str().unwrap();
    assert!(!reason.contains('\n') && reason.contains("401"), "{reason}");
    assert!(reason.contains("`brain`") && reason.contains("api_key_env"), "what to look at: {reason}");
    assert!(!format!("{outcome:?}").contains("sk-e2e"), "{outcome:#?}");
    assert_eq!(sim.all().count(), 1, "asking again would not help");
}

#[test]
fn a_key_that_is_not_set_is_said_before_anything_starts() {
    let mut rig = Rig::new(Vec::new());
    rig.set("models.brain.api_key_env=NOT_SET_HERE");
    let outcome = rig.run_local(&json!({"goal": "go"})).code(2);
    assert!(outcome.one_line().contains("NOT_SET_HERE"), "{outcome:#?}");
}

#[test]
fn a_model_that_the_provider_does_not_have_is_the_reason_of_the_run() {
    let rig = Rig::new(vec![
        first_plan(plan([step(1, "Say hello.")])),
        Rule::status(404, "model_not_found").step("Say hello"),
    ]);
    let document = rig.run_local(&json!({"goal": "go", "max_replans": 0})).code(3).json();
    let reason = document["reason"].as_str().unwrap();
    assert!(!reason.contains('\n') && reason.contains("404") && reason.contains("hands"), "{reason}");
    assert_eq!(rig.sim.executor("Say hello").count(), 1);
}

#[test]
fn a_port_in_use_is_one_line_that_says_what_to_set() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::new(Vec::new());
    rig.set(format!("health.listen={}", taken.local_addr().unwrap()));
    let outcome = rig.planfleet(&["dev", "--no-local-model", "--quiet"]).code(2);
    let line = outcome.one_line();
    assert!(line.contains("health.listen") && line.contains("in use"), "{line}");

    let broker = Broker::start(&rig.home);
    rig.set(format!("nats.url={}", broker.url()));
    let outcome = rig.planfleet(&["serve", "--roles", "executor"]).code(2);
    // Below the log of what had been done until then.
    let line = outcome.err.lines().last().unwrap();
    assert!(line.contains("health.listen") && line.contains("in use"), "{line}");
}

#[test]
fn lint_lists_every_fault_of_a_plan_as_data() {
    let home = Home::new();
    let sound = plan([step(1, "One."), step(2, "Two.").uses("x", 1, "")]);
    home.write("sound.json", sound.to_string());
    let clean = home.planfleet(["plan", "lint", "sound.json", "-o", "json"]).code(0).json();
    assert_eq!(clean, json!({"ok": true, "faults": []}));

    let faulty = plan([
        step(1, "One.").after(2),
        step(2, "Two.").after(1),
        step(3, "Three.").uses("x", 8, ""),
        step(3, "Three again.").must("matches", "("),
        tool(5, "crystal_ball"),
        tool(6, "math_eval"),
    ]);
    home.write("faulty.json", faulty.to_string());
    let report = home.planfleet(["plan", "lint", "faulty.json", "-o", "json"]).code(2).json();
    assert_eq!(report["ok"], false);
    let faults = report["faults"].as_array().unwrap();
    assert!(
        faults.iter().all(|fault| fault["code"].is_string() && fault["message"].is_string()),
        "{report:#}"
    );
    for step in [3, 5, 6] {
        assert!(faults.iter().any(|fault| fault["step"] == step), "nothing about step {step}: {report:#}");
    }
    let about_cycle = |fault: &serde_json::Value| fault["step"] == 1 || fault["step"] == 2;
    assert!(faults.iter().any(about_cycle), "{report:#}");
    assert!(faults.len() >= 6, "{report:#}");
}

#[test]
fn a_template_says_which_input_it_misses() {
    let home = Home::new();
    let template =
        json!({"slots": {"type": "object", "required": ["path"]}, "plan": plan([step(1, "One.")])});
    home.write("template.json", template.to_string());
    let outcome = run_file(&home, json!({"template": "template.json"}).to_string());
    assert!(outcome.err.contains("path"), "{outcome:#?}");
}

#[test]
fn a_command_that_is_not_there_is_a_mistake_of_usage() {
    Home::new().planfleet(["dance"]).code(2);
    Home::new().planfleet(["run"]).code(2);
}
