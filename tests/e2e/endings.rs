//! A run is cancelled, late, or too dear.

use planfleet_modelsim::{Fault, FaultKind, Rule, UsageFigures};
use serde_json::json;

use crate::support::{Fleet, Rig, Roles as _, first_plan, plan, step, until};

fn hanging() -> Vec<Rule> {
    let steps = [step(1, "Say hello."), step(2, "Wait for ever.").uses("x", 1, "")];
    vec![
        first_plan(plan(steps)),
        Rule::text("hello").step("Say hello"),
        Rule::default().fault(Fault::Kind(FaultKind::Hang)).step("Wait for ever"),
    ]
}

#[test]
fn a_cancelled_run_ends_for_its_waiter_and_keeps_what_is_finished() {
    let fleet = Fleet::new(hanging());
    let _serving = fleet.serve("coordinator,planner,executor");
    let waiter = fleet.run(&json!({"goal": "go"}));
    let held = fleet.rig.sim.await_step("Wait for ever");

    let listed = fleet.rig.planfleet(&["runs", "list", "-o", "json"]).code(0).json();
    let id = listed[0]["run_id"].as_str().unwrap();
    assert_eq!(listed[0]["state"], "executing");
    fleet.rig.planfleet(&["runs", "cancel", id, "--reason", "changed my mind"]).code(0);

    let document = waiter.ended().code(4).json();
    assert_eq!((&document["state"], &document["partial"]), (&json!("cancelled"), &json!(true)));
    assert!(document["reason"].as_str().unwrap().contains("changed my mind"));
    assert_eq!(document["steps"][0]["output"], "hello");
    // The executor hears of it too, and lets go of the call.
    until("the end of the call", || fleet.rig.sim.all().0[held.number as usize - 1].ended_us);
    fleet.rig.planfleet(&["runs", "watch", id]).code(4);
}

#[test]
fn a_run_whose_time_is_up_expires() {
    let rig = Rig::new(hanging());
    let document = rig.run_local(&json!({"goal": "go", "deadline_s": 1})).code(5).json();
    assert_eq!((&document["state"], &document["partial"]), (&json!("expired"), &json!(true)));
    assert_eq!(document["steps"][0]["output"], "hello");
    let total_ms = document["timings"]["total_ms"].as_u64().unwrap();
    assert!((1_000..3_000).contains(&total_ms), "{total_ms}");
}

#[test]
fn a_run_that_has_used_its_tokens_ends() {
    let steps = [step(1, "Say hello."), step(2, "Say more.").uses("x", 1, "")];
    let usage = |prompt_tokens, completion_tokens| {
        Some(UsageFigures { prompt_tokens, completion_tokens, ..UsageFigures::default() })
    };
    let rig = Rig::new(vec![
        Rule { usage: usage(1_000, 500), ..first_plan(plan(steps)) },
        Rule { usage: usage(17_000, 200), ..Rule::text("hello").step("Say hello") },
        Rule::text("more").step("Say more"),
    ]);
    let document = rig.run_local(&json!({"goal": "go", "budget": {"tokens": 18_000}})).code(6).json();
    assert_eq!((&document["state"], &document["partial"]), (&json!("failed"), &json!(true)));
    assert!(document["reason"].as_str().unwrap().starts_with("budget: "), "{document:#}");
    assert_eq!((&document["steps"][0]["output"], rig.sim.executor("Say more").count()), (&json!("hello"), 0));
}

/// The waiter's patience is not the run's.
#[test]
fn a_waiter_may_stop_waiting() {
    let fleet = Fleet::new(hanging());
    let _serving = fleet.serve("coordinator,planner,executor");
    let outcome = fleet.rig.planfleet(&["run", "go", "--timeout", "1"]).code(5);
    assert!(outcome.err.contains("runs watch"), "{outcome:?}");
    let listed = fleet.rig.planfleet(&["runs", "list", "-o", "jsonl"]).code(0);
    assert!(listed.out.contains("executing"), "{listed:?}");
}
