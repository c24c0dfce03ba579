//! People hold a run, let it go, decide about it, and have it done again.

use planfleet_modelsim::Rule;
use serde_json::{Value, json};

use crate::support::{Fleet, Process, Roles as _, first_plan, plan, replan, slow, step, tool};

fn fleet(rules: Vec<Rule>) -> (Fleet, Process) {
    let fleet = Fleet::new(rules);
    let serving = fleet.serve("coordinator,planner,executor");
    (fleet, serving)
}

/// The id of the only run.
fn run_id(fleet: &Fleet) -> String {
    let listed = fleet.rig.planfleet(&["runs", "list", "-o", "json"]).code(0).json();
    listed[0]["run_id"].as_str().unwrap_or_else(|| panic!("no run: {listed:#}")).to_owned()
}

/// `planfleet runs …` about a run; the document that it shows.
fn steer(fleet: &Fleet, args: &[&str]) -> Value {
    let args: Vec<&str> = ["runs"].iter().chain(args).chain(&["-o", "json"]).copied().collect();
    fleet.rig.planfleet(&args).code(0).json()
}

#[test]
fn a_paused_run_starts_nothing_until_it_is_resumed() {
    let (fleet, _serving) = fleet(vec![Rule::text("hello").step("Say hello")]);
    let task = json!({"plan": plan([step(1, "Say hello.")]), "approval": {"plan": true}});
    let mut waiter = fleet.run(&task);
    waiter.says("revision 1 of the plan waits for approval: planfleet runs approve");
    let id = run_id(&fleet);

    let paused = steer(&fleet, &["pause", &id, "--reason", "lunch"]);
    assert_eq!((&paused["state"], &paused["paused"]), (&json!("paused"), &json!("lunch")));
    let again = fleet.rig.planfleet(&["runs", "pause", &id, "--reason", "tea"]).code(0);
    assert!(again.one_line().ends_with("was paused already: lunch"), "{again:#?}");
    let approved = steer(&fleet, &["approve", &id]);
    assert_eq!((&approved["state"], &approved["approvals"]), (&json!("paused"), &json!([])));
    assert_eq!(approved["steps"][0]["waits_for"], json!({"code": "pause"}));
    waiter.says(&format!("paused: lunch; to go on: planfleet runs resume {id}"));
    let shown = fleet.rig.planfleet(&["runs", "get", &id]).code(0).out;
    assert!(shown.contains("waits for the run to be resumed"), "{shown}");
    assert!(fleet.rig.planfleet(&["runs", "list"]).code(0).out.contains("lunch"));
    assert_eq!(fleet.rig.sim.executor("").count(), 0);

    steer(&fleet, &["resume", &id]);
    assert_eq!(waiter.ended().code(0).json()["answer"], "hello");
    let late = fleet.rig.planfleet(&["runs", "pause", &id]).code(1);
    assert!(late.one_line().ends_with("has ended already: succeeded"), "{late:#?}");
}

#[test]
fn a_step_with_a_guarded_tool_waits_for_a_person() {
    let (fleet, _serving) = fleet(vec![Rule::text("hello").step("Say hello")]);
    let steps = [step(1, "Say hello."), tool(2, "math_eval").literal("expression", "6 * 7").after(1)];
    let task = json!({"plan": plan(steps), "approval": {"tools": ["math_eval"]}});
    let mut waiter = fleet.run(&task);
    waiter.says("step 2 waits for approval");
    let id = run_id(&fleet);
    let going = fleet.rig.planfleet(&["runs", "resume", &id]).code(0);
    assert!(going.one_line().ends_with("was not paused: it is awaiting_approval"), "{going:#?}");

    let refused = fleet.rig.planfleet(&["runs", "approve", &id, "--step", "1"]).code(1);
    assert!(refused.one_line().ends_with("step 1 does not wait for approval; step 2 waits"), "{refused:#?}");
    fleet.rig.planfleet(&["runs", "reject", &id, "--step", "2"]).code(2);
    let mute = fleet.rig.planfleet(&["runs", "reject", &id, "--step", "2", "--reason", " "]).code(2);
    assert!(mute.one_line().contains("reason: missing"), "{mute:#?}");
    steer(&fleet, &["approve", &id, "--step", "2"]);
    assert_eq!(waiter.ended().code(0).json()["answer"], json!({"value": 42}));
}

#[test]
fn a_rejected_plan_is_written_again() {
    // What is not dropped stays in the plan.
    let mut shorter = replan("shorter", [step(2, "Say hello.")]);
    shorter["drop"] = json!([1]);
    let (fleet, _serving) = fleet(vec![
        first_plan(plan([step(1, "Say hello at length.")])),
        Rule::json(shorter).replans(),
        Rule::text("hello").step("Say hello."),
    ]);
    let mut waiter = fleet.rig.start(&["run", "greet", "--approve-plan", "-o", "json"]);
    waiter.says("revision 1 of the plan waits for approval");
    let id = run_id(&fleet);
    fleet.rig.planfleet(&["runs", "reject", &id, "--plan", "1", "--reason", "too long"]).code(0);
    waiter.says("plan 2 (rejected: too long)");
    waiter.says("revision 2 of the plan waits for approval");
    fleet.rig.planfleet(&["runs", "approve", &id, "--plan", "2"]).code(0);

    let document = waiter.ended().code(0).json();
    assert_eq!(document["answer"], "hello");
    assert_eq!(document["revisions"][1]["cause"], json!({"code": "rejected", "reason": "too long"}));
    assert_eq!((fleet.rig.sim.planner().count(), fleet.rig.sim.executor("at length").count()), (2, 0));
}

#[test]
fn a_plan_that_nobody_can_write_again_fails_when_it_is_rejected() {
    let (fleet, _serving) = fleet(Vec::new());
    let id = fleet.submit(&json!({"plan": plan([step(1, "Say hello.")]), "approval": {"plan": true}}));
    let mut watcher = fleet.rig.start(&["runs", "watch", &id]);
    watcher.says("revision 1 of the plan waits for approval");
    let rejected = steer(&fleet, &["reject", &id, "--reason", "not now"]);
    assert_eq!((&rejected["state"], &rejected["end"]["code"]), (&json!("failed"), &json!("rejected")));
    let shown = watcher.ended().code(3).out;
    assert!(shown.contains("failed (rejected)") && shown.contains("not now"), "{shown}");
}

#[test]
fn what_has_failed_is_done_again_and_what_is_done_is_not() {
    let (fleet, _serving) = fleet(vec![
        Rule::text("the Rhine").step("Name the river"),
        // The answer and its one repair.
        Rule::text("rather long").step("Give its length").times(2),
        Rule::text("1233 km").step("Give its length"),
    ]);
    let steps = [
        step(1, "Name the river."),
        step(2, "Give its length.").uses("river", 1, "").must("matches", "^[0-9]+ km$"),
    ];
    let failed = fleet.run(&json!({"plan": plan(steps)})).ended().code(3).json();
    assert_eq!(failed["end"]["code"], "no_goal");
    let id = failed["run_id"].as_str().unwrap();

    let again = fleet.rig.planfleet(&["runs", "retry", id, "-o", "json"]).code(0).json();
    assert_eq!((&again["rerun_of"], &again["answer"]), (&failed["run_id"], &json!("1233 km")));
    assert_eq!(again["revisions"][0]["cause"], json!({"code": "rerun", "run": id}));
    fleet.rig.sim.executor("Name the river").only();

    let second = again["run_id"].as_str().unwrap();
    let refused = fleet.rig.planfleet(&["runs", "retry", second]).code(1);
    assert!(refused.one_line().ends_with("has succeeded: nothing failed in it"), "{refused:#?}");
}

/// What many runs have in common is enough to name them.
#[test]
fn all_that_fit_are_cancelled_and_run_again() {
    let mut fleet = Fleet::new(vec![Rule::text("done").step("Take long").latency(slow(20_000))]);
    fleet.rig.set("nats.shards=4");
    let _serving = fleet.serve("coordinator,executor");
    fleet.wait_for_an_owner();
    let task = |tenant: &str, nth: usize| {
        let labels = json!({"nth": nth.to_string()});
        json!({"plan": plan([step(1, "Take long.")]), "tenant": tenant, "class": "slow", "labels": labels})
    };
    let runs: Vec<String> =
        (0..6).map(|nth| fleet.submit(&task(if nth < 4 { "acme" } else { "other" }, nth))).collect();
    let planfleet = |args: &[&str]| fleet.rig.planfleet(args);

    let shown = planfleet(&["runs", "cancel", "--tenant", "acme", "--dry-run", "-o", "json"]).code(0).json();
    assert_eq!(shown.as_array().unwrap().len(), 4, "{shown}");
    let refused = planfleet(&["runs", "cancel", "--tenant", "acme"]).code(2);
    assert!(
        refused.err.contains("--yes is missing") && refused.err.contains("cancel 4 runs"),
        "{refused:#?}"
    );
    planfleet(&["runs", "cancel"]).code(2);
    planfleet(&["runs", "cancel", &runs[0], "--tenant", "acme"]).code(2);
    planfleet(&["runs", "cancel", "--state", "failed"]).code(2);
    planfleet(&["runs", "cancel", "--older-than", "1h", "--yes"]).code(0);

    let done = planfleet(&["runs", "cancel", "--tenant", "acme", "--yes", "-o", "json"]).code(0).json();
    assert_eq!(done["cancelled"], 4);
    for run in &runs[..4] {
        fleet.watch(run).code(4);
    }
    let left = planfleet(&["runs", "cancel", "--all", "--dry-run", "-o", "json"]).code(0).json();
    assert_eq!(left.as_array().unwrap().len(), 2, "{left}");

    let again = ["runs", "retry", "--class", "slow", "--state", "cancelled", "--label", "nth=2"];
    let retried = planfleet(&[&again[..], &["--yes", "-o", "json"]].concat()).code(0).json();
    assert_eq!(retried["runs"][0]["rerun_of"], json!(runs[2]), "{retried}");
    let twice = planfleet(&[&again[..], &["--yes", "-o", "json"]].concat()).code(0).json();
    assert_eq!(retried["runs"], twice["runs"], "the same new run");
}
