//! A step fails, and the planner is told.

use planfleet_modelsim::Rule;
use serde_json::{Value, json};

use crate::support::{Rig, Roles as _, first_plan, plan, replan, step, tool};

/// Finds a name, then fails to make a number of it.
fn failing() -> Value {
    plan([
        step(1, "Name the river."),
        step(2, "Give its length.").uses("river", 1, "").must("matches", "^[0-9]+ km$"),
    ])
}

fn rules(after: Rule) -> Vec<Rule> {
    vec![
        first_plan(failing()),
        after.replans(),
        Rule::text("the-river-Rhine").step("Name the river"),
        Rule::text("rather long").step("Give its length"),
    ]
}

#[test]
fn the_planner_learns_the_criterion_what_was_seen_and_what_is_finished() {
    let mended = [step(3, "Answer 1233 km for it.").uses("river", 1, "").must("matches", "^[0-9]+ km$")];
    let mut rules = rules(Rule::json(replan("the description now names the number", mended)));
    rules.push(Rule::text("1233 km").step("Answer 1233 km"));
    let rig = Rig::new(rules);

    let document = rig.run_local(&json!({"goal": "How long is the river?"})).code(0).json();

    assert_eq!((&document["state"], &document["answer"]), (&json!("succeeded"), &json!("1233 km")));
    assert_eq!(document["partial"], false);
    // The answer and its one repair, in which the model sees what was wrong.
    let tries = rig.sim.executor("Give its length");
    assert_eq!(tries.count(), 2);
    assert!(
        tries.prompt(1).contains("^[0-9]+ km$") && tries.prompt(1).contains("rather long"),
        "{}",
        tries.prompt(1)
    );

    let asked = rig.sim.planner();
    assert_eq!(asked.count(), 2);
    let prompt = asked.prompt(1);
    for told in ["How long is the river?", "^[0-9]+ km$", "rather long", "the-river-Rhine", "invalid_output"]
    {
        assert!(prompt.contains(told), "{told:?} is not in {prompt}");
    }

    assert_eq!(rig.sim.executor("Name the river").count(), 1, "finished steps are not run again");
    let changed = &document["revisions"][1];
    assert_eq!(
        (&changed["revision"], &changed["added"], &changed["dropped"]),
        (&json!(2), &json!([3]), &json!([2]))
    );
    assert_eq!(changed["reason"], "the description now names the number");
    let dropped = &document["steps"][1];
    assert_eq!(
        (&dropped["state"], &dropped["error"]["class"]),
        (&json!("dropped"), &json!("invalid_output"))
    );
}

#[test]
fn what_does_not_depend_on_the_failure_goes_on_meanwhile() {
    let steps = [
        tool(1, "math_eval").literal("expression", "1 +"),
        step(2, "The long way."),
        step(3, "The end.").uses("a", 1, "/value").uses("b", 2, ""),
    ];
    let mended = [
        tool(4, "math_eval").literal("expression", "1 + 1"),
        step(5, "The new end.").uses("a", 4, "/value").uses("b", 2, ""),
    ];
    let rig = Rig::new(vec![
        first_plan(plan(steps)),
        Rule::json(replan("a whole expression", mended)).replans().latency(crate::support::slow(200)),
        Rule::text("walked").step("The long way").latency(crate::support::slow(600)),
        Rule::text("done").step("The new end"),
    ]);
    let document = rig.run_local(&json!({"goal": "go"})).code(0).json();
    assert_eq!(document["answer"], "done");
    assert!(rig.sim.planner().0[1].did_not_wait_for(&rig.sim.executor("The long way").only()));
    assert_eq!(rig.sim.executor("The end").count(), 0);
}

#[test]
fn a_faulty_plan_goes_back_twice_with_all_faults_and_then_fails_the_run() {
    let faulty = || {
        plan([
            tool(1, "crystal_ball").literal("question", "why"),
            step(2, "Use what is not there.").uses("x", 9, ""),
            tool(3, "math_eval"),
            step(4, "First half of a ring.").after(5),
            step(5, "Second half of a ring.").after(4),
        ])
    };
    let rig = Rig::new(vec![first_plan(faulty())]);

    let document = rig.run_local(&json!({"goal": "go"})).code(3).json();

    let asked = rig.sim.planner();
    assert_eq!(asked.count(), 3);
    let (again, reason) = (asked.prompt(1), document["reason"].as_str().unwrap().to_owned());
    for fault in ["crystal_ball", "step 9", "expression", "step 4", "step 5"] {
        assert!(again.contains(fault), "{fault:?} is not in {again}");
        assert!(reason.contains(fault), "{fault:?} is not in {reason}");
    }
    assert_eq!((&document["state"], &document["partial"]), (&json!("failed"), &json!(true)));
    assert_eq!(rig.sim.executor("").count(), 0, "an unsound plan is never half run");
}

#[test]
fn a_faulty_plan_that_is_mended_runs() {
    let rig = Rig::new(vec![
        first_plan(plan([step(1, "Use what is not there.").uses("x", 7, "")])).times(1),
        first_plan(plan([step(1, "Say hello.")])),
        Rule::text("hello").step("Say hello"),
    ]);
    let document = rig.run_local(&json!({"goal": "go"})).code(0).json();
    assert_eq!((&document["answer"], &document["usage"]["planner"]["calls"]), (&json!("hello"), &json!(2)));
}

#[test]
fn the_planner_may_finish_with_what_there_is() {
    let answer = json!({"decision": "finish", "reason": "the name is enough", "drop": [], "steps": [], "final": null, "answer": "The Rhine."});
    let rig = Rig::new(rules(Rule::json(answer)));
    let document = rig.run_local(&json!({"goal": "go"})).code(0).json();
    assert_eq!((&document["state"], &document["answer"]), (&json!("succeeded"), &json!("The Rhine.")));
    // It did not reach its final step.
    assert_eq!(document["partial"], true);
    assert!(document["reason"].as_str().unwrap().contains("the name is enough"));
}

#[test]
fn the_planner_may_give_up() {
    let answer = json!({"decision": "give_up", "reason": "nobody knows", "drop": [], "steps": [], "final": null, "answer": null});
    let rig = Rig::new(rules(Rule::json(answer)));
    let document = rig.run_local(&json!({"goal": "go"})).code(3).json();
    assert_eq!((&document["state"], &document["partial"]), (&json!("failed"), &json!(true)));
    let reason = document["reason"].as_str().unwrap();
    assert!(reason.contains("nobody knows") && reason.contains("^[0-9]+ km$"), "{reason}");
}

#[test]
fn replans_run_out() {
    let again = |id| {
        step(id, &format!("Give its length, try {id}.")).uses("river", 1, "").must("matches", "^[0-9]+ km$")
    };
    let mut rules = rules(Rule::json(replan("again", [again(3)])).times(1));
    rules.push(Rule::json(replan("and again", [again(4)])).replans());
    let rig = Rig::new(rules);
    let document = rig.run_local(&json!({"goal": "go", "max_replans": 2})).code(3).json();
    assert_eq!(rig.sim.planner().count(), 3);
    assert_eq!(document["revisions"].as_array().unwrap().len(), 3);
    let reason = document["reason"].as_str().unwrap();
    assert!(reason.contains("2 replans") && reason.contains("step 4"), "{reason}");
}

/// The loop guard: a revision that only repeats what failed is refused.
#[test]
fn the_same_plan_again_is_refused() {
    let same = step(3, "Give its length.").uses("river", 1, "").must("matches", "^[0-9]+ km$");
    let rig = Rig::new(rules(Rule::json(replan("the same", [same]))));
    let document = rig.run_local(&json!({"goal": "go"})).code(3).json();
    assert_eq!(rig.sim.executor("Give its length").count(), 2, "{document:#}");
}

#[test]
fn without_review_a_failure_is_the_end() {
    let rig = Rig::new(rules(Rule::json(json!({}))));
    let document = rig.run_local(&json!({"goal": "go", "review": "never"})).code(3).json();
    assert_eq!(rig.sim.planner().count(), 1);
    assert_eq!(
        (&document["state"], &document["steps"][0]["output"]),
        (&json!("failed"), &json!("the-river-Rhine"))
    );
}

/// Connection trouble is nobody's to plan for.
#[test]
fn a_provider_that_stumbles_is_asked_again_and_no_replan_is_spent() {
    let rig = Rig::new(vec![
        first_plan(plan([step(1, "Say hello.")])),
        Rule::status(503, "overloaded").retry_after_s(0.1).step("Say hello").times(2),
        Rule::text("hello").step("Say hello"),
    ]);
    let document = rig.run_local(&json!({"goal": "go"})).code(0).json();
    assert_eq!((rig.sim.planner().count(), rig.sim.executor("Say hello").count()), (1, 3));
    assert_eq!(document["answer"], "hello");
}
