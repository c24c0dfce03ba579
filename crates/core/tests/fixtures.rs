//! Plans that others wrote, run through the fold on virtual time: every step
//! starts the moment the last of those it waits for has ended, so that a plan
//! takes exactly as long as its critical path.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use planfleet_core::{
    command::Command,
    document::{RunDocument, RunState},
    id::StepId,
    json::Json,
    plan::{
        Plan,
        lint::{self, Existing},
        order, parse,
    },
    record::{AttemptReport, Fact, Record, StepSucceeded},
    shard::Shard,
    task::{Approval, Brief, Budget, Envelope, Review, Submission},
};
use serde_json::{Value, json};

const STEPS_MAX: u32 = 1_000;

fn lines(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The fixture's steps as a plan of model steps, each after those it depends on.
fn plan(line: &Value) -> Plan {
    let steps: Vec<Value> = line["steps"].as_array().unwrap().iter().map(|step| {
        json!({"id": step["id"], "description": step["description"], "depends_on": step["depends_on"]})
    }).collect();
    let read = parse::plan(json!({"steps": steps})).unwrap();
    let steps = order::by_dependency(read.steps);
    let final_step = steps.last().unwrap().id;
    Plan { steps, final_step }
}

fn submission(plan: Plan) -> Submission {
    let envelope = Envelope {
        tools: BTreeMap::new(),
        hosts: Vec::new(),
        pools: Vec::new(),
        budget: Budget::default(),
        deadline_ms: None,
        replans_max: 0,
        steps_max: STEPS_MAX,
        items_max: 0,
        attempts_max: 1,
        review: Review::Never,
        approval: Approval::default(),
        step_timeout_ms: None,
        quota_wait_ms: 0,
        lineage: Vec::new(),
    };
    Submission {
        task: Brief::default(),
        envelope: Arc::new(envelope),
        plan: Some(Arc::new(plan)),
        traceparent: None,
        carried: None,
        parent: None,
    }
}

/// Runs a plan with as many workers as it can use; every step takes as long as
/// `duration_ms` says. The run's document; its times are virtual.
fn run(plan: Plan, duration_ms: impl Fn(u32) -> u64) -> RunDocument {
    let (mut shard, mut seq) = (Shard::default(), 0);
    let mut ends: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::new();
    let mut coming = Some((0, Fact::TaskSubmitted(Box::new(submission(plan)))));
    while let Some((at_ms, fact)) = coming.take() {
        let mut commands = Vec::new();
        seq += 1;
        shard.apply(seq, Record { run: "00-fixture".parse().unwrap(), at_ms, fact }, &mut commands).unwrap();
        for command in commands {
            match command {
                Command::DispatchStep(order) => {
                    let step = order.step.step;
                    ends.push(Reverse((at_ms + duration_ms(step), step)));
                }
                Command::FinishRun(document) => return document.as_ref().clone(),
                other => panic!("a plan of its own asks for nothing else: {other:?}"),
            }
        }
        coming = ends.pop().map(|Reverse((at_ms, step))| (at_ms, done(step, at_ms)));
    }
    panic!("all work is done and the run has not ended");
}

fn done(step: u32, at_ms: u64) -> Fact {
    let attempt = AttemptReport {
        step: StepId::plain(step),
        attempt: 1,
        model: None,
        usage: Vec::new(),
        started_ms: at_ms.max(1),
        ended_ms: at_ms,
        calls: Vec::new(),
    };
    Fact::StepSucceeded(Box::new(StepSucceeded { attempt, output: Json::from_value(&json!("done")) }))
}

#[test]
fn every_plan_takes_as_long_as_its_critical_path() {
    let dags = lines("asynchow_dags.jsonl");
    assert_eq!(dags.len(), 799);
    for dag in &dags {
        let seconds = |value: &Value| value.as_f64().unwrap();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "durations of days in ms"
        )]
        let ms = |value: &Value| (seconds(value) * 1_000.0).round() as u64;
        let durations: BTreeMap<u64, u64> = dag["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| (step["id"].as_u64().unwrap(), ms(&step["duration_s"])))
            .collect();
        let document = run(plan(dag), |step| durations[&u64::from(step)]);
        assert_eq!(document.state, RunState::Succeeded, "{}", dag["title"]);
        assert_eq!(document.timings.total_ms, ms(&dag["optimal_s"]), "{}", dag["title"]);
    }
}

#[test]
fn every_gold_plan_lints_and_runs() {
    let plans = lines("worfbench_plans.jsonl");
    assert!(plans.len() > 1_000, "{}", plans.len());
    for line in &plans {
        let plan = plan(line);
        assert_eq!(lint::structure(&plan, &Existing::default(), STEPS_MAX as usize), [], "{line}");
        let document = run(plan, |_| 1);
        assert_eq!(document.state, RunState::Succeeded, "{line}");
    }
}
