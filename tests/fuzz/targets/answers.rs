//! What planner models answer, whole and while it streams in.

use planfleet_core::{
    command::PlanOrder,
    json,
    plan::{
        PlanStep,
        lint::{self, Existing, Fault, Scope},
    },
};
use planfleet_proto::decode;
use serde_json::Value;

use super::plans;

// By path: as a dependency, the planner would bring a broker's client and HTTP along.
#[path = "../../../crates/planner/src/answer.rs"]
#[allow(dead_code, reason = "the planner's")]
mod planner_answer;
#[path = "../../../crates/planner/src/elements.rs"]
#[allow(dead_code, reason = "the planner's")]
mod planner_elements;

use self::{
    planner_answer::{self as read, Answer},
    planner_elements::Elements,
};

/// A replan request, for answers to one.
const REPLAN: &[u8] = include_bytes!("../corpus/plan_order/replan");

pub fn answer(bytes: &[u8]) {
    let text = super::text(bytes);
    let order = decode::plan_order(REPLAN).expect("the corpus has a replan request");
    let PlanOrder { submission, situation: Some(situation), .. } = order else { panic!("no replan") };
    let tools = plans::tools();
    let inputs = &submission.task.inputs;
    let scope = Scope { tools: &tools, inputs: Some(inputs), pools: &[], steps_max: plans::STEPS_MAX };
    let first = sound(read::plan(&text, &scope));
    let small = sound(read::positional(&text, &submission, &scope));
    for answer in [&first, &small].into_iter().flatten() {
        let plan = planfleet_core::plan::Plan { steps: answer.steps.clone(), final_step: final_step(answer) };
        assert_eq!(lint::full(&plan, &Existing::default(), &scope), []);
    }
    for step in small.iter().flat_map(|answer| &answer.steps) {
        let mut again: PlanStep = step.as_ref().clone();
        read::complete(&mut again, &submission);
        assert_eq!(&again, step.as_ref(), "a step that is complete stays as it is");
    }
    sound(read::replan(&text, &situation, &scope));
}

fn final_step(answer: &Answer) -> u32 {
    match answer.decision {
        planfleet_core::record::Decision::Plan { final_step } => final_step,
        ref other => panic!("a first plan decides {other:?}"),
    }
}

fn sound(answer: Result<Answer, Vec<Fault>>) -> Option<Answer> {
    if let Err(faults) = &answer {
        assert!(!faults.is_empty(), "refused for nothing");
        plans::told(faults);
    }
    answer.ok()
}

/// The elements of a stream are the same however it is cut, and those of the whole.
pub fn elements(bytes: &[u8]) {
    let text = super::text(bytes);
    let whole = Elements::default().push(&text);
    for size in [1, 3, 64] {
        let mut stream = Elements::default();
        let characters: Vec<char> = text.chars().collect();
        let pieces = characters.chunks(size).map(String::from_iter);
        let found: Vec<String> = pieces.flat_map(|piece| stream.push(&piece)).collect();
        assert_eq!(found, whole, "in pieces of {size}");
    }
    let Ok(Value::Object(mut object)) = json::parse_strict(&text) else { return };
    let steps = match object.remove("steps") {
        Some(Value::Array(steps)) => Some(steps),
        _ => None,
    };
    // A key that is written with escapes is not seen, and costs the early start only.
    let Some(steps) = steps.filter(|_| !whole.is_empty()) else { return };
    let streamed = whole.iter().filter_map(|element| json::parse_strict(element).ok());
    assert!(streamed.eq(steps.into_iter().filter(Value::is_object)), "{whole:?}");
}
