//! First plans.

use std::sync::Arc;

use planfleet_core::{
    failure::FailureClass,
    record::{Decision, Draft, Fact},
    usage::{Account, Charge, Usage},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{
    Desk,
    model::{Reply, Script},
};

fn fetch(id: u32) -> Value {
    json!({"id": id, "description": "Fetch it.", "kind": "tool", "tools": ["fetch"],
           "inputs": [{"name": "url", "value": "https://example.org", "from_step": null, "path": null}]})
}

fn name(id: u32, from: u32) -> Value {
    json!({"id": id, "description": "Name the capital.", "depends_on": [from],
           "inputs": [{"name": "page", "value": null, "from_step": from, "path": "/text"}]})
}

pub(super) fn sound() -> Value {
    json!({"steps": [fetch(1), name(2, 1)], "final": 2})
}

/// Three faults: a tool outside the envelope, a dangling reference, no such final step.
fn unsound() -> Value {
    let mut shell = fetch(1);
    shell["tools"] = json!(["shell"]);
    json!({"steps": [shell, name(2, 7)], "final": 9})
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_published_and_sealed() {
    let model = Script::texts([sound()]);
    let mut desk = Desk::with(&model).await;
    desk.order(None).await;
    let (steps, sealed) = desk.sealed().await;
    assert_eq!(steps, [(1, 1), (2, 1)]);
    assert_eq!(sealed.draft, Draft { revision: 1, attempt: 1, take: 1 });
    assert_eq!((sealed.steps, sealed.decision), (2, Decision::Plan { final_step: 2 }));
    assert_eq!(sealed.model, "scripted");
    let usage = Usage { calls: 1, input_tokens: 100, output_tokens: 10, nano_usd: Some(120), ..Usage::NONE };
    assert_eq!(sealed.usage, [Charge::new(Account::Planner, "scripted", usage)]);
    desk.emptied().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_is_published_before_the_model_has_ended() {
    let text = sound().to_string();
    let gate = Arc::new(Semaphore::new(0));
    // The first step's object is closed in the first part, the second one's is not.
    let end = text.find(r#"},{"#).expect("two steps") + 1;
    let model = Script::new([Reply::Parts(text[..end].to_owned(), gate.clone(), text[end..].to_owned())]);
    let mut desk = Desk::with(&model).await;
    desk.order(None).await;
    let Fact::StepPlanned { draft, step } = desk.fact().await else { panic!("no step") };
    assert_eq!((step.id, draft.take), (1, 1));
    assert_eq!(desk.bus.journal_tail(0).await.unwrap(), 1, "the model still writes");
    gate.add_permits(1);
    let (steps, sealed) = desk.sealed().await;
    assert_eq!((steps, sealed.steps), (vec![(2, 1)], 2), "nothing is published twice");
}

#[tokio::test(start_paused = true)]
async fn an_unsound_plan_is_repaired_once_with_all_faults_shown() {
    let model = Script::texts([unsound(), sound()]);
    let mut desk = Desk::with(&model).await;
    desk.order(None).await;
    let (steps, sealed) = desk.sealed().await;
    assert_eq!(steps, [(1, 2), (2, 2)], "nothing of the unsound one was published");
    let used = Charge::sum(&sealed.usage);
    assert_eq!((sealed.draft.take, used.calls, used.nano_usd), (2, 2, Some(240)));
    let asked = model.asked();
    let repair = asked[1].last().expect("a turn");
    for fault in ["shell", "step 7", "\"final\" is 9"] {
        assert!(repair.contains(fault), "{fault}: {repair}");
    }
    assert_eq!(asked[1][asked[1].len() - 2], unsound().to_string(), "beside its own answer");
}

#[tokio::test(start_paused = true)]
async fn steps_of_a_take_that_is_repaired_are_published_again() {
    // Its first step is sound by itself and goes out early.
    let late = json!({"steps": [fetch(1), name(2, 7)], "final": 2});
    let model = Script::texts([late, sound()]);
    let mut desk = Desk::with(&model).await;
    desk.order(None).await;
    let (steps, sealed) = desk.sealed().await;
    assert_eq!(steps, [(1, 1), (1, 2), (2, 2)]);
    assert_eq!((sealed.draft.take, sealed.steps), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn three_unsound_plans_fail_with_their_faults() {
    let model = Script::texts([json!("no plan at all"), json!({}), unsound()]);
    let mut desk = Desk::with(&model).await;
    desk.order(None).await;
    let (draft, failure, usage) = desk.failed().await;
    assert_eq!((draft.take, failure.class, usage.calls), (3, FailureClass::InvalidOutput, 3));
    for fault in ["shell", "step 7", "\"final\" is 9"] {
        assert!(failure.message.contains(fault), "{fault}: {failure}");
    }
    desk.emptied().await;
}

#[tokio::test(start_paused = true)]
async fn words_around_the_plan_do_no_harm() {
    let model = Script::texts([format!("Here it is:\n```json\n{}\n```", sound())]);
    let mut desk = Desk::with(&model).await;
    desk.order(None).await;
    let (steps, sealed) = desk.sealed().await;
    assert_eq!((steps.len(), sealed.draft.take), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn the_prompt_has_the_goal_the_inputs_and_the_tools_of_the_envelope() {
    let model = Script::texts([sound()]);
    let mut desk = Desk::with(&model).await;
    desk.order(None).await;
    desk.sealed().await;
    let asked = model.asked();
    let [system, user] = asked[0].as_slice() else { panic!("two turns: {asked:?}") };
    assert!(system.contains("- fetch (read)") && !system.contains("shell"), "{system}");
    assert!(user.contains("Name the capital.") && user.contains("Chile"), "{user}");
    super::replan::assert_fences_hold(user, 2);
}
