//! What the benchmarks of the core fold, and how they report.

use std::{fs, path::Path, sync::Arc};

use planfleet_core::{
    id::{RunId, StepId},
    json::Json,
    plan::{Input, Plan, PlanStep, StepKind},
    record::{AttemptReport, Decision, Draft, Fact, PlanSealed, Record, StepSucceeded},
    task::{Approval, Brief, Budget, Envelope, Review, Submission},
    tool::Effect,
};
use serde_json::json;

const ROUNDS: usize = 5;

/// A diamond of ten steps: one, eight beside each other that use its output, one that waits for them.
pub(crate) fn diamond() -> Plan {
    let step = |id: u32, inputs: Vec<Input>, depends_on: Vec<u32>| PlanStep {
        id,
        description: "no-op".to_owned(),
        kind: StepKind::Tool,
        tools: vec!["noop".to_owned()],
        inputs,
        for_each: None,
        depends_on,
        expected_output: String::new(),
        success_criteria: Vec::new(),
        tier: "default".to_owned(),
        timeout_s: None,
    };
    let of_first =
        || Input { name: "x".to_owned(), value: None, from_step: Some(1), path: Some(String::new()) };
    let mut steps = vec![step(1, Vec::new(), Vec::new())];
    steps.extend((2..10).map(|id| step(id, vec![of_first()], Vec::new())));
    steps.push(step(10, Vec::new(), (2..10).collect()));
    Plan::new(steps, 10)
}

pub(crate) fn submission(plan: Option<Plan>) -> Submission {
    Submission {
        task: Brief { goal: Some("bench".to_owned()), ..Brief::default() },
        envelope: Arc::new(Envelope {
            tools: [("noop".to_owned(), Effect::Pure)].into(),
            hosts: Vec::new(),
            pools: Vec::new(),
            budget: Budget::default(),
            deadline_ms: None,
            replans_max: 3,
            steps_max: 100_000,
            items_max: 1_000,
            attempts_max: 3,
            review: Review::OnFailure,
            approval: Approval::default(),
            step_timeout_ms: None,
            quota_wait_ms: 0,
            lineage: Vec::new(),
        }),
        plan: plan.map(Arc::new),
        traceparent: None,
        carried: None,
        parent: None,
    }
}

pub(crate) fn run(number: usize) -> RunId {
    RunId::new(0, &format!("{number:032x}")).expect("a run id")
}

pub(crate) fn record(run: &RunId, fact: Fact) -> Record {
    Record { run: run.clone(), at_ms: 1, fact }
}

pub(crate) fn succeeded(step: u32) -> Fact {
    let attempt = AttemptReport {
        step: StepId::plain(step),
        attempt: 1,
        model: None,
        usage: Vec::new(),
        started_ms: 1,
        ended_ms: 2,
        calls: Vec::new(),
    };
    let output = Json::from_text("\"ok\"").expect("JSON");
    Fact::StepSucceeded(Box::new(StepSucceeded { attempt, output }))
}

/// The records of a run that brings its plan.
pub(crate) fn given(run: &RunId) -> Vec<Record> {
    let submitted = Fact::TaskSubmitted(Box::new(submission(Some(diamond()))));
    std::iter::once(submitted).chain((1..=10).map(succeeded)).map(|fact| record(run, fact)).collect()
}

/// The records of a run whose plan a planner streams.
pub(crate) fn planned(run: &RunId) -> Vec<Record> {
    let draft = Draft { revision: 1, attempt: 1, take: 1 };
    let step = |step: &Arc<PlanStep>| Fact::StepPlanned { draft, step: Box::new(step.as_ref().clone()) };
    let sealed = PlanSealed {
        draft,
        steps: 10,
        decision: Decision::Plan { final_step: 10 },
        reason: "planned".to_owned(),
        usage: Vec::new(),
        model: "planner".to_owned(),
        started_ms: 1,
        cache: None,
    };
    let mut facts = vec![Fact::TaskSubmitted(Box::new(submission(None)))];
    facts.extend(diamond().steps.iter().map(step));
    facts.push(Fact::PlanSealed(Box::new(sealed)));
    facts.extend((1..=10).map(succeeded));
    facts.into_iter().map(|fact| record(run, fact)).collect()
}

/// A step that waits for `depends_on` and has no inputs.
pub(crate) fn leaning(id: u32, depends_on: Vec<u32>) -> PlanStep {
    PlanStep { id, depends_on, inputs: Vec::new(), ..diamond().steps[0].as_ref().clone() }
}

#[expect(clippy::cast_precision_loss, reason = "shown")]
pub(crate) const fn count(count: usize) -> f64 {
    count as f64
}

pub(crate) fn per_second(number: usize, seconds: f64) -> f64 {
    count(number) / seconds
}

/// Median, least and most of some rounds.
pub(crate) fn rounds(name: &str, unit: &str, mut round: impl FnMut() -> f64) -> serde_json::Value {
    let mut figures: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    figures.sort_by(f64::total_cmp);
    let (median, least, most) = (figures[ROUNDS / 2], figures[0], figures[ROUNDS - 1]);
    println!("{name:<48} {median:>14.1} {unit:<12} ({least:.1} to {most:.1})");
    json!({"workload": name, "unit": unit, "median": median, "min": least, "max": most})
}

/// Writes a table to `target/bench`.
pub(crate) fn write(name: &str, table: &serde_json::Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    fs::create_dir_all(&folder).expect("target/bench");
    fs::write(folder.join(name), format!("{table:#}\n")).expect("a table in target/bench");
}
