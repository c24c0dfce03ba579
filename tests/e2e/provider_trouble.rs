//! What providers do to a run, and who deals with it.

use planfleet_modelsim::{Fault, FaultKind, Latency, Rule};
use serde_json::{Value, json};

use crate::support::{Fleet, Rig, Roles as _, first_plan, plan, replan, slow, step, until};

fn one_step() -> Value {
    plan([step(1, "Say hello.")])
}

fn run(rig: &Rig) -> crate::support::Outcome {
    rig.run_local(&json!({"goal": "Greet."}))
}

/// Steps of the half that came are at work; the plan is asked for again and
/// what has been done is not done twice.
#[test]
fn a_plan_that_breaks_off_is_asked_for_again() {
    let later = "Think of something else for a while. ".repeat(5);
    let steps =
        || plan([step(1, "Say hello."), step(2, &later).after(1), step(3, "Say goodbye.").uses("x", 2, "")]);
    let cut = first_plan(steps()).fault(Fault::Kind(FaultKind::CutMidStream)).times(1);
    let pace = Latency { tokens_per_s: Some(500.0), ..Latency::default() };
    let rig = Rig::new(vec![cut.latency(pace), first_plan(steps()), Rule::text("done").when_model("hands")]);
    let document = run(&rig).code(0).json();
    assert_eq!(rig.sim.planner().count(), 2);
    rig.sim.executor("Say hello").only();
    assert_eq!(document["revisions"].as_array().unwrap().len(), 1, "it is still the first plan");
}

#[test]
fn no_credit_ends_the_run_and_spends_no_replan() {
    let mut rig =
        Rig::new(vec![first_plan(one_step()), Rule::status(429, "insufficient_quota").step("Say hello")]);
    // Nobody waits for credit.
    rig.set("limits.quota_wait_s=0");
    let document = run(&rig).code(3).json();
    assert_eq!((rig.sim.planner().count(), rig.sim.executor("Say hello").count()), (1, 1));
    assert!(document["reason"].as_str().unwrap().starts_with("quota"), "{document:#}");
}

#[test]
fn a_model_without_credit_is_paused_for_the_fleet_and_another_takes_its_steps() {
    let mut rig = Rig::new(vec![
        first_plan(one_step()),
        Rule::status(429, "insufficient_quota").when_model("hands"),
        Rule::text("hello").when_model("judge"),
    ]);
    rig.set("roles.executor=hands,judge");
    let fleet = Fleet::in_rig(rig);
    let _serving = fleet.serve("coordinator,planner,executor");
    let document = fleet.run(&json!({"goal": "Greet."})).ended().code(0).json();
    assert_eq!((&document["answer"], &document["steps"][0]["model"]), (&json!("hello"), &json!("judge")));

    let hands = until("a pause that the fleet knows", || {
        let listed = fleet.rig.planfleet(&["models", "list", "-o", "json"]).code(0).json();
        let hands = listed.as_array()?.iter().find(|model| model["name"] == "hands")?["fleet"].clone();
        (hands["paused"]["reason"].is_string() && hands["processes"] == 1).then_some(hands)
    });
    let reason = hands["paused"]["reason"].as_str().unwrap();
    assert!(reason.contains("insufficient_quota") || reason.contains("429"), "{hands:#}");
    fleet.run(&json!({"goal": "Greet again."})).ended().code(0);
    let asked = fleet.rig.sim.all().0.iter().filter(|call| call.body["model"] == "hands").count();
    assert_eq!(asked, 1, "the paused model was not asked again");
}

#[test]
fn a_refusal_goes_to_the_planner() {
    let rig = Rig::new(vec![
        first_plan(one_step()),
        Rule::json(replan("more politely", [step(2, "Say hello, please.")])).replans().when("refused"),
        Rule::text("hello").step("please"),
        Rule::refusal("I would rather not.").step("Say hello"),
    ]);
    let document = run(&rig).code(0).json();
    assert_eq!(
        (&document["answer"], &document["steps"][0]["error"]["class"]),
        (&json!("hello"), &json!("refused"))
    );
}

#[test]
fn a_prompt_that_is_too_long_goes_to_the_planner() {
    let rig = Rig::new(vec![
        first_plan(one_step()),
        Rule::json(replan("shorter", [step(2, "Hello.")])).replans().when("context_overflow"),
        Rule::status(400, "context_length_exceeded").step("Say hello"),
        Rule::text("hello").step("Hello."),
    ]);
    assert_eq!(run(&rig).code(0).json()["answer"], "hello");
    assert_eq!(rig.sim.executor("Say hello").count(), 1);
}

#[test]
fn a_step_that_takes_too_long_goes_to_the_planner() {
    let mut rig = Rig::new(vec![
        first_plan(one_step()),
        Rule::json(replan("quicker", [step(2, "Hello.")])).replans().when("timeout"),
        Rule::default().fault(Fault::Kind(FaultKind::HangMidStream)).step("Say hello"),
        Rule::text("hello").step("Hello."),
    ]);
    rig.set("pools.default.step_timeout_s=1");
    assert_eq!(run(&rig).code(0).json()["answer"], "hello");
}

#[test]
fn an_answer_that_is_none_is_one_line_in_the_reason() {
    let rig = Rig::new(vec![Rule::default().fault(Fault::Kind(FaultKind::Garbage)).when_model("brain")]);
    let document = run(&rig).code(3).json();
    let reason = document["reason"].as_str().unwrap();
    assert!(reason.contains("brain") && !reason.contains('\n'), "{reason}");
}

#[test]
fn a_plan_that_was_cut_at_its_limit_never_runs_half() {
    let mut cut = Rule::text("{\"steps\": [").plans();
    cut.finish_reason = Some("length".to_owned());
    let rig = Rig::new(vec![cut]);
    let document = run(&rig).code(3).json();
    assert_eq!(document["steps"], json!([]));
}

/// Some models cannot help but talk around their JSON.
#[test]
fn a_plan_in_a_code_fence_is_a_plan() {
    let fenced = format!("Here is the plan:\n```json\n{}\n```\n", one_step());
    let rig = Rig::new(vec![Rule::text(fenced).plans(), Rule::text("hello").step("Say hello")]);
    assert_eq!(run(&rig).code(0).json()["answer"], "hello");
}

/// A structured output is a value, and parts of it can be referred to.
#[test]
fn a_step_may_put_out_a_value() {
    let schema = json!({
        "type": "object", "properties": {"town": {"type": "string"}, "ships": {"type": "array", "items": {"type": "string"}}},
        "required": ["town", "ships"], "additionalProperties": false
    });
    let steps = [
        step(1, "Describe the harbour.").must("json_schema", &schema.to_string()),
        step(2, "Name the ship's flag.").for_each(crate::support::at(1, "/ships")),
        step(3, "Say where.").uses("town", 1, "/town").uses("flags", 2, ""),
    ];
    let rig = Rig::new(vec![
        first_plan(plan(steps)),
        Rule::json(json!({"town": "Kiel"})).step("Describe").times(1),
        Rule::json(json!({"town": "Kiel", "ships": ["the-Ark", "the-Bee"]})).step("Describe"),
        Rule::text("red").step("flag").when("the-Ark").latency(slow(100)),
        Rule::text("blue").step("flag").when("the-Bee"),
        Rule::text("there").step("Say where").when("Kiel").when("red").when_not("the-Ark"),
    ]);
    let document = run(&rig).code(0).json();
    assert_eq!(document["answer"], "there");
    let describe = rig.sim.executor("Describe");
    assert_eq!(describe.0[0].body["response_format"]["json_schema"]["schema"], schema);
    assert!(describe.prompt(1).contains("{\"town\":\"Kiel\"}"), "the repair shows what was seen");
}
