//! Executors come and go as Kubernetes has them come and go: started beside the others, and asked
//! to stop by SIGTERM in the middle of their work. No step is lost and none is done twice.

use std::{collections::BTreeMap, time::Instant};

use planfleet_modelsim::{Fault, FaultKind, Rule};
use serde_json::{Value, json};

use crate::support::{Fleet, PATIENCE, Process, Roles as _, plan, slow, step, within};

const RUNS: usize = 60;
const STEPS: usize = 4;

/// Of each executor.
const SLOTS: usize = 4;

/// What a call takes: long enough that every executor has some whenever it is asked to stop.
const CALL_MS: u64 = 300;

/// So that calls are told apart by what they ask for.
fn mark(run: usize, step: usize) -> String {
    format!("Carry out run-{run:02} step-{step}.")
}

/// One step, two that need it, and one that needs both.
fn task(run: usize) -> Value {
    let steps = [
        step(1, &mark(run, 1)),
        step(2, &mark(run, 2)).uses("x", 1, ""),
        step(3, &mark(run, 3)).uses("x", 1, ""),
        step(4, &mark(run, 4)).uses("x", 2, "").uses("y", 3, ""),
    ];
    json!({"plan": plan(steps), "custom_id": format!("run-{run:02}")})
}

/// Whose executors stop within a grace that is longer than a step takes, and whose broker would
/// not give the work of one that stopped without a word to another while the test lasts.
fn fleet(rules: Vec<Rule>, grace_s: u64) -> Fleet {
    let mut fleet = Fleet::new(rules);
    fleet.rig.set(format!("pools.default.slots={SLOTS}"));
    fleet.rig.set(format!("pools.default.grace_s={grace_s}"));
    fleet.rig.set("pools.default.ack_wait_s=600");
    fleet
}

/// Waits until so many calls were made and more are in flight than half of the executors could hold.
fn busy(fleet: &Fleet, calls: usize, executors: usize) {
    within(PATIENCE * 2, &format!("{calls} calls by {executors} busy executors"), || {
        let all = fleet.rig.sim.all();
        let in_flight = all.0.iter().filter(|call| call.ended_us.is_none()).count();
        (all.count() >= calls && in_flight > executors * SLOTS / 2).then_some(())
    });
}

/// As the kubelet does it: a signal, a grace, and no more.
fn stopped(executors: impl IntoIterator<Item = Process>) {
    let executors: Vec<Process> = executors.into_iter().collect();
    for executor in &executors {
        executor.terminate();
    }
    for executor in executors {
        executor.ended().code(0);
    }
}

#[test]
fn a_fleet_that_is_scaled_while_a_batch_runs_does_every_step_once() {
    let fleet = fleet(vec![Rule::text("done").when_model("hands").latency(slow(CALL_MS))], 30);
    let _coordinator = fleet.serve("coordinator");
    let mut first: Vec<Process> = (0..4).map(|_| fleet.serve("executor")).collect();
    let lines: String = (0..RUNS).map(|run| format!("{}\n", task(run))).collect();
    fleet.rig.home.write("batch.jsonl", lines);
    let batch = fleet.rig.start(&["batch", "submit", "--wait", "batch.jsonl", "-o", "jsonl"]);

    // 4 -> 1 -> 3 -> 2, the last of the first four among those that go.
    let all = RUNS * STEPS;
    busy(&fleet, all / 6, 4);
    let last = first.pop().unwrap();
    stopped(first);
    busy(&fleet, all / 3, 1);
    let _second = [fleet.serve("executor"), fleet.serve("executor")];
    busy(&fleet, all / 2, 3);
    stopped([last]);

    let documents = batch.ended().code(0);
    let documents: Vec<Value> =
        documents.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(documents.len(), RUNS);
    for document in &documents {
        assert_eq!((&document["state"], &document["partial"]), (&json!("succeeded"), &json!(false)));
        let steps = document["steps"].as_array().unwrap();
        assert_eq!(steps.len(), STEPS);
        assert!(steps.iter().all(|step| step["attempts"] == 1), "{document:#}");
    }
    assert_eq!(
        calls_by_step(&fleet),
        (0..RUNS).flat_map(|run| (1..=STEPS).map(move |step| (mark(run, step), 1))).collect()
    );
}

/// How often each step's model was called.
fn calls_by_step(fleet: &Fleet) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let calls = fleet.rig.sim.all();
    for place in 0..calls.count() {
        let prompt = calls.prompt(place);
        let (_, rest) = prompt.split_once("Carry out ").unwrap();
        let (mark, _) = rest.split_once('.').unwrap();
        *counts.entry(format!("Carry out {mark}.")).or_default() += 1;
    }
    counts
}

/// What takes longer than the grace is handed back: another executor has it at once, not when the
/// broker has waited long enough.
#[test]
fn what_takes_longer_than_the_grace_is_given_to_another_at_once() {
    let hangs = Rule::default().fault(Fault::Kind(FaultKind::Hang)).step(&mark(0, 2)).nth(1);
    let fleet = fleet(vec![hangs, Rule::text("done").when_model("hands")], 1);
    let _coordinator = fleet.serve("coordinator");
    let first = fleet.serve("executor");
    let waiter = fleet.run(&task(0));
    fleet.rig.sim.await_step(&mark(0, 2));
    let asked = Instant::now();
    let another = fleet.serve("executor");
    stopped([first]);
    let document = waiter.ended().code(0).json();
    assert!(asked.elapsed() < PATIENCE, "as long as the broker waits for a lost one: {:?}", asked.elapsed());
    assert_eq!(document["state"], "succeeded");
    // The same attempt: that a pod was taken away is no failure of the step.
    assert!(document["steps"].as_array().unwrap().iter().all(|step| step["attempts"] == 1), "{document:#}");
    let counts = calls_by_step(&fleet);
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [1, 2, 1, 1], "{counts:?}");
    stopped([another]);
}
