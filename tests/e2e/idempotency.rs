//! The same key gives the same run, whatever has died since, and no run for another task.

use planfleet_modelsim::Rule;
use serde_json::{Value, json};

use crate::support::{Fleet, Outcome, Roles as _, first_plan, plan, slow, step};

/// One step; it takes its time.
fn one_step() -> Vec<Rule> {
    vec![
        first_plan(plan([step(1, "Say hello.")])),
        Rule::text("hello").step("Say hello").latency(slow(1_500)),
    ]
}

fn run(fleet: &Fleet, goal: &str, args: &[&str]) -> Outcome {
    fleet.rig.planfleet(&[&["run", goal, "--idempotency-key", "k1"], args].concat())
}

/// Submits under the key and gives the run's id.
fn submit(fleet: &Fleet) -> String {
    run(fleet, "Say hello.", &["--detach"]).code(0).out.trim().to_owned()
}

/// Whoever asks for something else under the key is told so.
fn another_task_is_refused(fleet: &Fleet, run_id: &str) {
    let refused = run(fleet, "Say goodbye.", &["--detach"]).code(2);
    let said = format!("the idempotency key \"k1\" was used for another task, that of run {run_id}");
    assert!(refused.err.contains(&said) && refused.err.contains("under another key"), "{refused:#?}");
    assert_eq!(refused.out, "");
}

fn one_run_was_done(fleet: &Fleet) {
    fleet.rig.sim.planner().only();
    fleet.rig.sim.executor("Say hello").only();
    let listed = fleet.rig.planfleet(&["runs", "list", "-o", "json"]).code(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed:#}");
}

#[test]
fn a_key_is_one_run_and_one_answer() {
    let fleet = Fleet::new(one_step());
    let _serving = fleet.serve("coordinator,planner,executor");
    let first = submit(&fleet);
    another_task_is_refused(&fleet, &first);
    let answered = |outcome: Outcome| -> Value {
        let document = outcome.code(0).json();
        assert_eq!((&document["run_id"], &document["answer"]), (&json!(first), &json!("hello")));
        document
    };
    let followed = answered(run(&fleet, "Say hello.", &["-o", "json"]));
    assert_eq!(answered(run(&fleet, "Say hello.", &["-o", "json"])), followed, "also when it has ended");
    another_task_is_refused(&fleet, &first);
    // A task file that says the same is the same task.
    fleet.rig.home.write("task.json", r#"{"tools": null, "goal": "Say hello."}"#);
    let file = ["run", "-f", "task.json", "--idempotency-key", "k1", "-o", "json"];
    assert_eq!(answered(fleet.rig.planfleet(&file)), followed);
    one_run_was_done(&fleet);
}

#[test]
fn a_key_outlives_a_crash_of_everything() {
    let mut fleet = Fleet::new(one_step());
    let mut serving = fleet.serve("coordinator,planner,executor");
    let first = submit(&fleet);
    fleet.await_only("Say hello");
    serving.kill();
    fleet.broker.crash_and_restart(&fleet.rig.home);
    // Nobody is there to say that the run is known.
    let records = fleet.broker.messages("PF_EV_00");
    assert_eq!(submit(&fleet), first);
    another_task_is_refused(&fleet, &first);
    assert_eq!(fleet.broker.messages("PF_EV_00"), records, "nothing was submitted again");
    let _serving = fleet.serve("coordinator,planner,executor");
    assert_eq!(submit(&fleet), first);
    assert_eq!(fleet.watch(&first).code(0).json()["answer"], "hello");
    fleet.rig.sim.planner().only();
}

#[test]
fn a_key_outlives_its_run_and_the_broker() {
    let mut fleet = Fleet::new(one_step());
    let mut serving = fleet.serve("coordinator,planner,executor");
    let first = run(&fleet, "Say hello.", &["-o", "json"]).code(0).json();
    serving.kill();
    fleet.broker.crash_and_restart(&fleet.rig.home);
    let id = first["run_id"].as_str().unwrap();
    assert_eq!(submit(&fleet), id);
    another_task_is_refused(&fleet, id);
    let _serving = fleet.serve("coordinator,planner,executor");
    assert_eq!(run(&fleet, "Say hello.", &["-o", "json"]).code(0).json(), first);
    one_run_was_done(&fleet);
}

/// A rerun has keys of its own, and keeps them likewise.
#[test]
fn a_key_of_a_rerun_is_one_rerun() {
    let rules = vec![
        first_plan(plan([step(1, "Say hello.")])),
        Rule::status(400, "invalid_request_error").step("Say hello").nth(1),
        Rule::text("hello").step("Say hello"),
    ];
    let mut fleet = Fleet::new(rules);
    fleet.rig.set("limits.replans=0");
    let serving = fleet.serve("coordinator,planner,executor");
    let failed = run(&fleet, "Say hello.", &["-o", "json"]).code(3).json();
    let id = failed["run_id"].as_str().unwrap();
    let retry = |fleet: &Fleet| {
        let retried = ["runs", "retry", id, "--idempotency-key", "k1", "--detach"];
        fleet.rig.planfleet(&retried).code(0).out.trim().to_owned()
    };
    let rerun = retry(&fleet);
    assert_ne!(rerun, id);
    assert_eq!(fleet.watch(&rerun).code(0).json()["answer"], "hello");
    drop(serving);
    fleet.broker.crash_and_restart(&fleet.rig.home);
    assert_eq!(retry(&fleet), rerun);
    assert_eq!(submit(&fleet), id, "the key of the first run stays its own");
    assert_eq!(fleet.rig.sim.executor("Say hello").count(), 2);
}
