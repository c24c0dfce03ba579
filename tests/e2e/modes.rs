//! Which tasks are planned.

use planfleet_modelsim::{Rule, script::When};
use serde_json::{Value, json};

use crate::support::{Rig, Roles as _, first_plan, plan, step};

fn triage(needs_plan: bool) -> Rule {
    let rule = Rule::json(json!({"needs_plan": needs_plan, "reason": "so"})).when_model("hands");
    let when = When { schema: Some("triage".to_owned()), ..rule.when };
    Rule { when, ..rule }
}

fn rig(needs_plan: bool) -> Rig {
    let mut rig = Rig::new(vec![
        triage(needs_plan),
        first_plan(plan([step(1, "Say hello.")])),
        Rule::text("hello").step("Say hello"),
        Rule::text("Paris").when("capital of France"),
    ]);
    rig.set("planner.triage=true");
    rig
}

fn task(mode: &str) -> Value {
    json!({"goal": "Name the capital of France.", "mode": mode})
}

fn calls(document: &Value) -> Value {
    let of = |role: &str| document["usage"][role]["calls"].clone();
    json!([of("triage"), of("planner"), of("executor")])
}

#[test]
fn a_trivial_task_is_one_call_of_the_executor() {
    let rig = rig(false);
    let document = rig.run_local(&task("auto")).code(0).json();
    assert_eq!((&document["answer"], calls(&document)), (&json!("Paris"), json!([1, 0, 1])));
    assert_eq!(document["revisions"][0]["reason"], "not planned: so");
    assert!(document["usage"]["triage"]["usd"].as_f64().unwrap() > 0.0, "{document:#}");
}

#[test]
fn what_needs_a_plan_gets_one_and_so_does_what_asks_for_it() {
    let rig = rig(true);
    let document = rig.run_local(&task("auto")).code(0).json();
    assert_eq!((&document["answer"], calls(&document)), (&json!("hello"), json!([1, 1, 1])));
    let document = rig.run_local(&task("plan")).code(0).json();
    assert_eq!(calls(&document), json!([0, 1, 1]));
}

#[test]
fn direct_is_the_strong_model_s_work_and_nobody_else_s() {
    let mut rig = rig(true);
    rig.set("roles.strong=judge");
    let document = rig.run_local(&task("direct")).code(0).json();
    assert_eq!((&document["answer"], calls(&document)), (&json!("Paris"), json!([0, 0, 1])));
    assert_eq!(document["steps"][0]["model"], "judge", "{document:#}");
}
