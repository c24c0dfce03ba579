//! Processes of a fleet die in the middle of a run, by `kill -9`. It changes
//! nothing but the time.

use planfleet_modelsim::{Fault, FaultKind, Latency, Rule};
use serde_json::{Value, json};

use crate::support::{Fleet, Outcome, Roles as _, first_plan, plan, slow, step, until};

/// Four steps in a row; the third takes its time.
fn four_steps() -> Vec<Rule> {
    let steps = [
        step(1, "Take one."),
        step(2, "Take two.").uses("x", 1, ""),
        step(3, "Take three.").uses("x", 2, ""),
        step(4, "Take four.").uses("x", 3, ""),
    ];
    vec![
        first_plan(plan(steps)),
        Rule::text("third").step("Take three").latency(slow(1_500)),
        Rule::text("done").when_model("hands"),
    ]
}

fn task() -> Value {
    json!({"goal": "Take four steps."})
}

fn succeeded(outcome: Outcome) -> Value {
    let document = outcome.code(0).json();
    assert_eq!((&document["state"], &document["partial"]), (&json!("succeeded"), &json!(false)));
    document
}

fn every_step_ran_once(fleet: &Fleet) {
    for text in ["Take one", "Take two", "Take three", "Take four"] {
        fleet.rig.sim.executor(text).only();
    }
    fleet.rig.sim.planner().only();
}

#[test]
fn a_new_coordinator_finishes_what_a_dead_one_began() {
    let fleet = Fleet::new(four_steps());
    let mut coordinator = fleet.serve("coordinator");
    let (_planner, _executor) = (fleet.serve("planner"), fleet.serve("executor"));
    let waiter = fleet.run(&task());
    let third = fleet.rig.sim.await_step("Take three");
    coordinator.kill();
    // The step that is in flight ends while nobody coordinates.
    until("the third step's end", || fleet.rig.sim.all().0[third.number as usize - 1].ended_us);
    let _new = fleet.serve("coordinator");
    succeeded(waiter.ended());
    every_step_ran_once(&fleet);
}

#[test]
fn a_standby_coordinator_takes_over() {
    let fleet = Fleet::new(four_steps());
    let mut first = fleet.serve("coordinator");
    let (_planner, _executor) = (fleet.serve("planner"), fleet.serve("executor"));
    // The first owns the shard before the second is there.
    fleet.wait_for_an_owner();
    let _standby = fleet.serve("coordinator");
    let waiter = fleet.run(&task());
    fleet.rig.sim.await_step("Take three");
    first.kill();
    succeeded(waiter.ended());
    every_step_ran_once(&fleet);
}

#[test]
fn a_coordinator_may_die_while_the_plan_streams() {
    let later = "Think of something else for a good while. ".repeat(10);
    let steps = [
        step(1, "Take one."),
        step(2, &later),
        step(3, &later),
        step(4, "Take four.").uses("x", 1, "").uses("y", 3, ""),
    ];
    let pace = Latency { tokens_per_s: Some(250.0), ..Latency::default() };
    let fleet =
        Fleet::new(vec![first_plan(plan(steps)).latency(pace), Rule::text("done").when_model("hands")]);
    let mut coordinator = fleet.serve("coordinator");
    let (_planner, _executor) = (fleet.serve("planner"), fleet.serve("executor"));
    let waiter = fleet.run(&task());
    fleet.rig.sim.await_step("Take one");
    coordinator.kill();
    let _new = fleet.serve("coordinator");
    succeeded(waiter.ended());
    fleet.rig.sim.planner().only();
    fleet.rig.sim.executor("Take one").only();
    fleet.rig.sim.executor("Take four").only();
}

#[test]
fn another_executor_does_what_a_dead_one_held() {
    let mut rules = four_steps();
    rules.insert(1, Rule::default().fault(Fault::Kind(FaultKind::Hang)).step("Take three").nth(1));
    let fleet = Fleet::new(rules);
    let _others = fleet.serve("coordinator,planner");
    let mut executor = fleet.serve("executor");
    let waiter = fleet.run(&task());
    fleet.await_only("Take three");
    executor.kill();
    let _another = fleet.serve("executor");
    let document = succeeded(waiter.ended());
    assert_eq!(fleet.rig.sim.executor("Take three").count(), 2);
    for text in ["Take one", "Take two", "Take four"] {
        fleet.rig.sim.executor(text).only();
    }
    // The same attempt, delivered again: not a failure, and nothing for the planner.
    assert_eq!(document["steps"][2]["attempts"], 1);
    fleet.rig.sim.planner().only();
}

#[test]
fn another_planner_writes_the_plan_that_a_dead_one_left_unfinished() {
    let mut rules = four_steps();
    // Half of the plan is written, and its first steps are at work already.
    let half = rules.remove(0).fault(Fault::Kind(FaultKind::HangMidStream)).nth(1);
    let fleet = Fleet::new([vec![half], four_steps()].concat());
    let _others = fleet.serve("coordinator,executor");
    let mut planner = fleet.serve("planner");
    let waiter = fleet.run(&task());
    fleet.rig.sim.await_step("Take one");
    planner.kill();
    let _another = fleet.serve("planner");
    let document = succeeded(waiter.ended());
    assert_eq!(fleet.rig.sim.planner().count(), 2);
    assert_eq!(document["steps"].as_array().unwrap().len(), 4, "{document:#}");
    // The new plan is equal: what the old one has begun is not begun again.
    fleet.rig.sim.executor("Take one").only();
}

#[test]
fn another_planner_takes_over_from_one_that_died_before_its_first_word() {
    let mut rules = four_steps();
    rules.insert(0, Rule::default().fault(Fault::Kind(FaultKind::Hang)).plans().nth(1));
    let fleet = Fleet::new(rules);
    let _others = fleet.serve("coordinator,executor");
    let mut planner = fleet.serve("planner");
    let waiter = fleet.run(&task());
    until("the call for a plan", || (fleet.rig.sim.planner().count() > 0).then_some(()));
    planner.kill();
    let _another = fleet.serve("planner");
    succeeded(waiter.ended());
    assert_eq!(fleet.rig.sim.planner().count(), 2);
    for text in ["Take one", "Take two", "Take three", "Take four"] {
        fleet.rig.sim.executor(text).only();
    }
}

#[test]
fn the_broker_may_crash_and_come_back() {
    let mut fleet = Fleet::new(four_steps());
    let _serving = fleet.serve("coordinator,planner,executor");
    let waiter = fleet.run(&task());
    fleet.await_only("Take three");
    fleet.broker.crash_and_restart(&fleet.rig.home);
    let document = succeeded(waiter.ended());
    assert_eq!(document["answer"], "done");
    for text in ["Take one", "Take two", "Take four"] {
        fleet.rig.sim.executor(text).only();
    }
}

#[test]
fn everything_may_crash_at_once() {
    let mut fleet = Fleet::new(four_steps());
    let mut serving = fleet.serve("coordinator,planner,executor");
    let run = fleet.submit(&task());
    fleet.await_only("Take three");
    serving.kill();
    fleet.broker.crash_and_restart(&fleet.rig.home);
    let _serving = fleet.serve("coordinator,planner,executor");
    succeeded(fleet.watch(&run));
    for text in ["Take one", "Take two", "Take four"] {
        fleet.rig.sim.executor(text).only();
    }
}

#[test]
fn an_executor_that_is_asked_to_stop_finishes_what_it_has_begun() {
    let fleet = Fleet::new(four_steps());
    let _others = fleet.serve("coordinator,planner");
    let executor = fleet.serve("executor");
    let waiter = fleet.run(&task());
    let third = fleet.rig.sim.await_step("Take three");
    executor.terminate();
    executor.ended().code(0);
    let call = &fleet.rig.sim.all().0[third.number as usize - 1];
    assert!(call.ended_us.is_some_and(|ended| ended - call.at_us >= 1_500_000), "{call:?}");
    let _another = fleet.serve("executor");
    succeeded(waiter.ended());
    every_step_ran_once(&fleet);
}

/// A coordinator that is asked to stop hands over at once: nobody waits for its lease to run out.
#[test]
fn a_coordinator_that_is_asked_to_stop_hands_over() {
    let fleet = Fleet::new(four_steps());
    let first = fleet.serve("coordinator");
    let (_planner, _executor) = (fleet.serve("planner"), fleet.serve("executor"));
    fleet.wait_for_an_owner();
    let _standby = fleet.serve("coordinator");
    let waiter = fleet.run(&task());
    fleet.rig.sim.await_step("Take two");
    first.terminate();
    first.ended().code(0);
    succeeded(waiter.ended());
    every_step_ran_once(&fleet);
}
