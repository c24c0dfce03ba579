//! Steps that are runs of their own.

use planfleet_modelsim::{Fault, FaultKind, Rule, UsageFigures};
use serde_json::{Value, json};

use crate::support::{Fleet, Rig, Roles as _, Step, at, first_plan, plan, replan, slow, step, tool, until};

/// A part that is one call of the executor's model.
fn part(id: u32, goal: &str) -> Step {
    tool(id, "sub_task").literal("goal", goal).literal("mode", "direct")
}

/// Two parts side by side, and what follows from both.
fn halves() -> Value {
    let whole = step(3, "Put them together.").uses("left", 1, "").uses("right", 2, "");
    json!({"plan": plan([part(1, "Read the left half."), part(2, "Read the right half."), whole]),
           "tools": ["sub_task"]})
}

/// The executor's model does whole tasks, too.
fn rig(rules: Vec<Rule>) -> Rig {
    let mut rig = Rig::new(rules);
    rig.set("roles.strong=hands");
    rig
}

fn billed(rule: Rule) -> Rule {
    let usage = UsageFigures { prompt_tokens: 10_000, completion_tokens: 5_000, ..UsageFigures::default() };
    Rule { usage: Some(usage), ..rule }
}

#[test]
fn parts_are_done_side_by_side_and_charged_once() {
    let fleet = Fleet::in_rig(rig(vec![
        billed(Rule::text("whole").step("Put them together")),
        billed(Rule::text("half").step("half").latency(slow(1_000))),
    ]));
    let _all = fleet.serve("coordinator,executor");
    let document = fleet.run(&halves()).ended().code(0).json();

    assert_eq!((&document["answer"], &document["parent"]), (&json!("whole"), &Value::Null));
    let (left, right) =
        (fleet.rig.sim.executor("left half").only(), fleet.rig.sim.executor("right half").only());
    assert!(left.overlaps(&right), "{left:?} {right:?}");
    assert_eq!(document["usage"]["executor"]["calls"], 3, "{document:#}");
    assert_eq!(document["usage"]["executor"]["input_tokens"], 30_000);
    assert_eq!(document["steps"][0]["usage"]["input_tokens"], 10_000);

    let child = document["steps"][0]["child"].as_str().expect("a run did it");
    let child = fleet.rig.planfleet(&["runs", "get", child, "-o", "json"]).code(0).json();
    let parent = json!({"run_id": document["run_id"], "step": 1});
    assert_eq!((&child["answer"], &child["parent"]), (&json!("half"), &parent));
    let id = |document: &Value| document["run_id"].as_str().unwrap()[..3].to_owned();
    assert_eq!(id(&child), id(&document), "in the shard of its parent");

    let cost = fleet.rig.planfleet(&["cost", "report", "-o", "json"]).code(0).json();
    let usd = document["usd"].as_f64().unwrap();
    assert!(cost.to_string().contains(&format!("{usd}")), "{usd} in {cost:#}");
}

/// Whoever waits for a part holds no slot: else one slot would never do for runs in runs.
#[test]
fn one_slot_does_for_runs_in_runs() {
    let mut rig = rig(vec![
        first_plan(plan([part(1, "The innermost.")])).when("The middle"),
        Rule::text("done").step("The innermost"),
    ]);
    rig.set("pools.default.slots=1");
    let middle = tool(1, "sub_task").literal("goal", "The middle.").literal("tools", r#"["sub_task"]"#);
    let document = rig
        .run_local(&json!({"plan": plan([middle]), "tools": ["sub_task"], "deadline_s": 60}))
        .code(0)
        .json();
    assert_eq!(document["answer"], "done", "{document:#}");
    assert_eq!(document["usage"]["planner"]["calls"], 1, "the planner of a part is its parent's to pay");
}

#[test]
fn the_planner_mends_a_part_that_has_failed() {
    let doomed = part(1, "Find the source.").must("contains", "source");
    let rig = rig(vec![
        first_plan(plan([doomed])),
        Rule::json(replan("asks otherwise", [step(2, "Look it up by hand.")])).replans(),
        Rule::text("nothing").step("Find the source"),
        Rule::text("found").step("Look it up by hand"),
    ]);
    let document = rig.run_local(&json!({"goal": "find it", "tools": ["sub_task"]})).code(0).json();
    assert_eq!(document["answer"], "found");
    let failed = &document["steps"][0];
    assert_eq!((&failed["state"], &failed["error"]["class"]), (&json!("dropped"), &json!("invalid_output")));
    assert!(rig.sim.planner().prompt(1).contains("is not met"), "{}", rig.sim.planner().prompt(1));
}

#[test]
fn what_a_run_does_not_have_its_parts_do_not_get() {
    let greedy = part(1, "Fetch it.").literal("tools", r#"["http_fetch"]"#);
    let rig = rig(Vec::new());
    let document = rig.run_local(&json!({"plan": plan([greedy]), "tools": ["sub_task"]})).code(3).json();
    let error = &document["steps"][0]["error"];
    assert_eq!(error["class"], "denied", "{document:#}");
    assert!(error["message"].as_str().unwrap().contains("no tool \"http_fetch\" to pass on"), "{error}");
    assert_eq!(rig.sim.all().count(), 0);
}

#[test]
fn a_cancel_reaches_the_parts() {
    let fleet =
        Fleet::in_rig(rig(vec![Rule::default().fault(Fault::Kind(FaultKind::Hang)).step("Wait for ever")]));
    let _all = fleet.serve("coordinator,executor");
    let run = fleet.submit(&json!({"plan": plan([part(1, "Wait for ever.")]), "tools": ["sub_task"]}));
    fleet.rig.sim.await_step("Wait for ever");
    let get = |run: &str| fleet.rig.planfleet(&["runs", "get", run, "-o", "json"]).code(0).json();
    let child = get(&run)["steps"][0]["child"].as_str().unwrap().to_owned();
    assert_eq!(get(&child)["state"], "executing");
    fleet.rig.planfleet(&["runs", "cancel", &run]).code(0);
    until("the end of the part's call", || {
        fleet.rig.sim.executor("Wait for ever").0.iter().all(|call| call.ended_us.is_some()).then_some(())
    });
    until("the end of both", || {
        (get(&run)["state"] == "cancelled" && get(&child)["state"] == "cancelled").then_some(())
    });
    let reason = get(&child)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(&format!("step 1 of run {run}")), "{reason}");
    let refused = fleet.rig.planfleet(&["runs", "retry", &child]).code(1);
    assert!(refused.err.contains("retry that one"), "{}", refused.err);
}

#[test]
fn a_pause_reaches_the_parts() {
    let steps = [step(1, "The first thing."), step(2, "The second thing.").uses("x", 1, "")];
    let fleet = Fleet::in_rig(rig(vec![
        first_plan(plan(steps)).when("Two things"),
        Rule::text("one").step("The first thing").latency(slow(1_500)),
        Rule::text("two").step("The second thing"),
    ]));
    let _all = fleet.serve("coordinator,planner,executor");
    let both = tool(1, "sub_task").literal("goal", "Two things.");
    let run = fleet.submit(&json!({"plan": plan([both]), "tools": ["sub_task"]}));
    fleet.rig.sim.await_step("The first thing");
    fleet.rig.planfleet(&["runs", "pause", &run]).code(0);
    let get = |run: &str| fleet.rig.planfleet(&["runs", "get", run, "-o", "json"]).code(0).json();
    let child = get(&run)["steps"][0]["child"].as_str().unwrap().to_owned();
    until("the first thing's end", || (get(&child)["steps"][0]["state"] == "succeeded").then_some(()));
    assert_eq!(get(&child)["state"], "paused");
    assert_eq!(fleet.rig.sim.executor("The second thing").count(), 0);
    fleet.rig.planfleet(&["runs", "resume", &run]).code(0);
    assert_eq!(fleet.watch(&run).code(0).json()["answer"], "two");
}

/// Sixty-four parts at once, and one budget, which pays for sixteen.
#[test]
fn parts_never_pass_the_budget_of_the_whole() {
    let call_usd = 0.003;
    let rig = rig(vec![billed(Rule::text("seen").step("Look at it"))]);
    let each = part(1, "Look at it.").for_each(at(0, "/items"));
    let items: Vec<usize> = (0..64).collect();
    let task = json!({"plan": plan([each]), "tools": ["sub_task"], "inputs": {"items": items},
                      "budget": {"usd": 0.049}});
    let document = rig.run_local(&task).code(6).json();
    assert_eq!(document["end"]["code"], "budget", "{}", document["end"]);
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    let spent = rig.sim.all().count() as f64 * call_usd;
    assert!(spent > 0.0 && spent <= 0.049, "{spent}");
    let reason = document["reason"].as_str().unwrap();
    assert!(reason.contains("the run's budget, 0.049 USD"), "{reason}");
}

#[test]
fn a_coordinator_may_die_while_parts_are_at_work() {
    let fleet = Fleet::in_rig(rig(vec![
        Rule::text("whole").step("Put them together"),
        Rule::text("half").step("half").latency(slow(1_500)),
    ]));
    let mut dies = fleet.serve("coordinator");
    let _executor = fleet.serve("executor");
    let waiter = fleet.run(&halves());
    fleet.rig.sim.await_step("left half");
    let last = fleet.rig.sim.await_step("right half");
    dies.kill();
    // The parts' steps end while nobody coordinates.
    until("the parts' end", || fleet.rig.sim.all().0[last.number as usize - 1].ended_us);
    let _new = fleet.serve("coordinator");
    let document = waiter.ended().code(0).json();
    assert_eq!(document["answer"], "whole", "{document:#}");
    for text in ["left half", "right half", "Put them together"] {
        fleet.rig.sim.executor(text).only();
    }
}
