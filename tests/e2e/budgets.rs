//! Caps on money and tokens, which no number of calls at once passes.

use planfleet_modelsim::{Rule, UsageFigures};
use serde_json::{Value, json};

use crate::support::{Fleet, Rig, Roles as _, first_plan, plan, slow, step, until};

/// What each call of a step is billed: 10,000 tokens at 0.1 USD a million, 5,000 at 0.4.
const CALL_USD: f64 = 0.003;

fn dear(rule: Rule) -> Rule {
    let usage = UsageFigures { prompt_tokens: 10_000, completion_tokens: 5_000, ..UsageFigures::default() };
    Rule { usage: Some(usage), ..rule }
}

/// As many calls as there are items, all at once.
fn wide(items: usize, budget: &Value) -> Value {
    let each = json!({"from_step": 0, "path": "/items"});
    let looks = json!({"id": 1, "description": "Look at it.", "for_each": each});
    let items: Vec<usize> = (0..items).collect();
    json!({"plan": {"steps": [looks], "final": 1}, "inputs": {"items": items}, "budget": budget})
}

/// A crash in the middle: what the dead executor had under way was billed as well.
#[test]
fn sixty_four_branches_and_a_crash_stay_within_the_cap() {
    let mut fleet = Fleet::new(vec![dear(Rule::text("seen").step("Look at it")).latency(slow(150))]);
    fleet.rig.set("pools.default.slots=40");
    let _coordinator = fleet.serve("coordinator");
    let (mut dies, _stays) = (fleet.serve("executor"), fleet.serve("executor"));
    let waiter = fleet.run(&wide(64, &json!({"usd": 0.1})));
    until("some calls", || (fleet.rig.sim.all().count() >= 12).then_some(()));
    dies.kill();

    let document = waiter.ended().code(6).json();
    assert_eq!(document["end"]["code"], "budget", "{document:#}");
    assert_eq!((&document["state"], &document["partial"]), (&json!("failed"), &json!(true)));
    let calls = fleet.rig.sim.all().count();
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    let billed = calls as f64 * CALL_USD;
    assert!(billed <= 0.1, "{calls} calls were made, for {billed} USD");
    let told = document["usd"].as_f64().unwrap();
    // What the dead executor had under way is in no record, and may have been all there was.
    assert!(told <= billed + 1e-9, "{told} of {billed}");
    let reason = document["reason"].as_str().unwrap();
    assert!(reason.contains("the run's budget, 0.1 USD"), "{reason}");
}

#[test]
fn a_cap_that_suffices_is_no_hindrance() {
    let rig = Rig::new(vec![dear(Rule::text("seen").step("Look at it"))]);
    let document = rig.run_local(&wide(20, &json!({"usd": 0.07, "tokens": 400_000}))).code(0).json();
    assert_eq!(document["answer"].as_array().unwrap().len(), 20);
    assert!((document["usd"].as_f64().unwrap() - 20.0 * CALL_USD).abs() < 1e-9, "{}", document["usd"]);
    let hands = json!([{"model": "hands", "role": "executor", "calls": 20, "input_tokens": 200_000,
        "output_tokens": 100_000, "cached_tokens": 0, "usd": 0.06}]);
    assert_eq!(document["models"], hands);
}

/// The planner's call counts like any other, and is not made if it could be too dear.
#[test]
fn nothing_is_asked_that_cannot_be_paid() {
    let rig = Rig::new(vec![first_plan(plan([step(1, "Say hello.")]))]);
    let document = rig.run_local(&json!({"goal": "go", "budget": {"usd": 0.001}})).code(6).json();
    assert_eq!((&document["end"]["code"], rig.sim.all().count()), (&json!("budget"), 0), "{document:#}");
    assert!(document["reason"].as_str().unwrap().contains("model `brain`"), "{document:#}");
}

#[test]
fn money_cannot_be_counted_without_a_price() {
    let mut rig = Rig::new(vec![Rule::text("seen").step("Look at it")]);
    let models =
        std::fs::read_to_string(rig.home.path("fleet.toml")).unwrap().replace("price = ", "# price = ");
    rig.home.write("fleet.toml", models);
    let document = rig.run_local(&wide(1, &json!({"usd": 1}))).code(6).json();
    let reason = document["reason"].as_str().unwrap();
    assert!(reason.contains("the price of model `hands` is not known"), "{reason}");
    assert_eq!(rig.sim.all().count(), 0);
    rig.set("pools.default.slots=1");
    rig.run_local(&wide(1, &json!({"tokens": 100_000}))).code(0);
}

#[test]
fn a_tenant_s_day_is_shared_by_its_runs() {
    let mut rig = Rig::new(vec![dear(Rule::text("seen").step("Look at it"))]);
    rig.set("tenants.acme.tokens_per_day=40000");
    let fleet = Fleet::in_rig(rig);
    let _all = fleet.serve("coordinator,executor");
    let of_acme = |items| {
        let mut task = wide(items, &json!({}));
        task["tenant"] = json!("acme");
        task
    };
    fleet.run(&of_acme(2)).ended().code(0);
    let document = fleet.run(&of_acme(2)).ended().code(6).json();
    let reason = document["reason"].as_str().unwrap();
    assert!(reason.contains("the budget of tenant acme for 20"), "{reason}");
    assert_eq!(fleet.rig.sim.all().count(), 2, "30,000 of 40,000 tokens are used");
    fleet.run(&wide(2, &json!({}))).ended().code(0);
}
