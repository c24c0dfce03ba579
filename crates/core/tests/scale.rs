//! The largest plans that are taken, folded whole. There is no clock here: a
//! fold that is quadratic does not end in any time that a test is given.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot set its run up has failed")]

use std::sync::Arc;

use planfleet_core::{
    command::Command,
    document::{RunDocument, RunState},
    id::{RunId, StepId},
    json::Json,
    plan::{ForEach, Input, Plan, PlanStep, StepKind},
    record::{AttemptReport, Fact, Record, StepSucceeded},
    shard::Shard,
    task::{Approval, Brief, Budget, Envelope, Review, Submission},
};

const STEPS: u32 = 100_000;

fn step(id: u32, depends_on: Vec<u32>) -> PlanStep {
    PlanStep {
        id,
        description: "work".to_owned(),
        kind: StepKind::Model,
        tools: Vec::new(),
        inputs: Vec::new(),
        for_each: None,
        depends_on,
        expected_output: String::new(),
        success_criteria: Vec::new(),
        tier: "default".to_owned(),
        timeout_s: None,
    }
}

fn reference(name: &str, from: u32, path: &str) -> Input {
    Input { name: name.to_owned(), value: None, from_step: Some(from), path: Some(path.to_owned()) }
}

fn each(from_step: u32, path: &str) -> Option<ForEach> {
    Some(ForEach { from_step, path: path.to_owned(), item_name: None })
}

fn submission(steps: Vec<PlanStep>) -> Submission {
    let final_step = steps.last().unwrap().id;
    Submission {
        task: Brief { goal: Some("scale".to_owned()), ..Brief::default() },
        envelope: Arc::new(Envelope {
            tools: std::collections::BTreeMap::new(),
            hosts: Vec::new(),
            pools: Vec::new(),
            budget: Budget::default(),
            deadline_ms: None,
            replans_max: 3,
            steps_max: STEPS + 1,
            items_max: STEPS,
            attempts_max: 3,
            review: Review::OnFailure,
            approval: Approval::default(),
            step_timeout_ms: None,
            quota_wait_ms: 0,
            lineage: Vec::new(),
        }),
        plan: Some(Arc::new(Plan::new(steps, final_step))),
        traceparent: None,
        carried: None,
        parent: None,
    }
}

/// What came of a run all of whose steps were answered in the order of their dispatch.
struct Outcome {
    dispatched: Vec<StepId>,
    document: RunDocument,
}

fn run_to_its_end(steps: Vec<PlanStep>, output: impl Fn(StepId) -> String) -> Outcome {
    let run: RunId = "00-scale".parse().unwrap();
    let mut shard = Shard::default();
    let mut commands = Vec::new();
    let mut seq = 0;
    let mut fold = |fact, commands: &mut Vec<Command>| {
        seq += 1;
        shard.apply(seq, Record { run: run.clone(), at_ms: seq, fact }, commands).unwrap();
    };
    fold(Fact::TaskSubmitted(Box::new(submission(steps))), &mut commands);
    let (mut dispatched, mut next) = (Vec::new(), 0);
    loop {
        for command in std::mem::take(&mut commands) {
            match command {
                Command::DispatchStep(order) => dispatched.push(order.step),
                Command::FinishRun(document) => {
                    assert_eq!(next, dispatched.len(), "nothing is left open");
                    return Outcome { dispatched, document: (*document).clone() };
                }
                other => unreachable!("{other:?}"),
            }
        }
        let step = dispatched[next];
        next += 1;
        let attempt = AttemptReport {
            step,
            attempt: 1,
            model: None,
            usage: Vec::new(),
            started_ms: 0,
            ended_ms: 0,
            calls: Vec::new(),
        };
        let output = Json::from_text(&output(step)).unwrap();
        fold(Fact::StepSucceeded(Box::new(StepSucceeded { attempt, output })), &mut commands);
    }
}

#[test]
fn a_chain_of_100_000_steps() {
    let chain = |id: u32| PlanStep {
        inputs: if id > 1 { vec![reference("before", id - 1, "")] } else { Vec::new() },
        ..step(id, Vec::new())
    };
    let outcome = run_to_its_end((1..=STEPS).map(chain).collect(), |step| step.step.to_string());
    assert!(outcome.dispatched.iter().copied().eq((1..=STEPS).map(StepId::plain)));
    assert_eq!(outcome.document.state, RunState::Succeeded);
    assert_eq!(outcome.document.answer.unwrap().as_str(), STEPS.to_string());
}

#[test]
fn a_fan_of_100_000_steps_into_one() {
    let mut steps: Vec<_> = (1..STEPS).map(|id| step(id, Vec::new())).collect();
    steps.push(step(STEPS, (1..STEPS).collect()));
    let outcome = run_to_its_end(steps, |_| "1".to_owned());
    assert!(outcome.dispatched.iter().copied().eq((1..=STEPS).map(StepId::plain)));
    assert_eq!(outcome.document.state, RunState::Succeeded);
}

#[test]
fn one_step_that_100_000_wait_for() {
    let mut steps = vec![step(1, Vec::new())];
    steps
        .extend((2..=STEPS).map(|id| PlanStep { inputs: vec![reference("all", 1, "")], ..step(id, vec![]) }));
    let outcome = run_to_its_end(steps, |_| "\"shared\"".to_owned());
    assert_eq!(outcome.dispatched.len(), STEPS as usize);
    assert_eq!(outcome.document.steps.len(), STEPS as usize);
}

#[test]
fn a_for_each_over_100_000_items_that_all_see_a_part_of_the_list_s_step() {
    let items = PlanStep {
        for_each: each(1, "/items"),
        inputs: vec![reference("title", 1, "/title")],
        ..step(2, Vec::new())
    };
    let list = format!("{{\"title\": \"t\", \"items\": [{}0]}}", "0,".repeat(STEPS as usize - 1));
    let outcome = run_to_its_end(vec![step(1, Vec::new()), items], |step| match step.item {
        None => list.clone(),
        Some(item) => item.to_string(),
    });
    assert_eq!(outcome.dispatched.len(), STEPS as usize + 1);
    let entries = &outcome.document.steps;
    assert_eq!(entries.len(), STEPS as usize + 2, "two steps, and the items of one");
    assert_eq!(entries.last().unwrap().id.0, StepId::item(2, STEPS - 1));
    assert!(outcome.document.answer.unwrap().as_str().starts_with("[0,1,2,"));
}

#[test]
fn a_chain_of_100_000_empty_for_each_steps_does_not_exhaust_the_stack() {
    let mut steps = vec![step(1, Vec::new())];
    steps.extend((2..=STEPS).map(|id| PlanStep { for_each: each(id - 1, ""), ..step(id, Vec::new()) }));
    let outcome = run_to_its_end(steps, |_| "[]".to_owned());
    assert_eq!(outcome.dispatched, [StepId::plain(1)]);
    assert_eq!(outcome.document.state, RunState::Succeeded);
    assert_eq!(outcome.document.answer.unwrap().as_str(), "[]");
}
