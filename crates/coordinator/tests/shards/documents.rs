//! Documents that are larger than a message can be.

use std::sync::Arc;

use planfleet_bus::{Ended, client::Found};
use planfleet_core::{
    json::Json,
    plan::Plan,
    record::{Fact, StepSucceeded},
    task::Submission,
};
use planfleet_proto::INLINE_BYTES_MAX;
use serde_json::{Value, json};

use super::{Fleet, attempt, enveloped, planned, step, succeeded};

const OUTPUT_BYTES: usize = 200 * 1024;

/// What is kept of a cancelled run with one output of that size, where bodies are limited.
async fn kept(body_bytes_max: usize) -> Ended {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    a.spy.limit_bodies(body_bytes_max);
    let run = fleet.submit("run", planned()).await;
    let output = Json::from_value(&json!("x".repeat(OUTPUT_BYTES)));
    fleet.append(&run, Fact::StepSucceeded(Box::new(StepSucceeded { attempt: attempt(1, 1), output }))).await;
    fleet.append(&run, Fact::RunCancelRequested { reason: "enough".to_owned() }).await;
    let document = fleet.ended(&run).await;
    // Its end is acknowledged: no owner keeps it again.
    let tail = fleet.bus.journal_tail(0).await.expect("a log");
    super::until("a checkpoint", async || fleet.lease(0).await.kept_to == tail).await;
    let ended = fleet.bus.ended(&run).await.expect("an answer").expect("a document");
    assert_eq!((&ended.document, &document["state"]), (&document, &"cancelled".into()));
    ended
}

fn output(ended: &Ended) -> &Value {
    &ended.document["steps"][0]["output"]
}

fn reason(ended: &Ended) -> &str {
    ended.document["reason"].as_str().expect("a reason")
}

#[tokio::test(start_paused = true)]
async fn an_active_run_that_is_larger_than_a_message_is_shown_without_outputs() {
    let fleet = Fleet::with_shards(1).await;
    let _a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&step(&run, 1, 1)).await;
    assert_eq!(fleet.active(&run).await.get("trimmed"), None);
    for (step, state) in [(1, "succeeded"), (2, "succeeded")] {
        let output = Json::from_value(&json!("x".repeat(2 * OUTPUT_BYTES)));
        let success = StepSucceeded { attempt: attempt(step, 1), output };
        fleet.append(&run, Fact::StepSucceeded(Box::new(success))).await;
        let at = step as usize - 1;
        super::until(state, async || fleet.active(&run).await["steps"][at]["state"] == state).await;
    }
    let shown = fleet.active(&run).await;
    assert_eq!((&shown["trimmed"], &shown["steps"][0]["output"]), (&true.into(), &Value::Null));
    fleet.append(&run, succeeded(3)).await;
    let ended = fleet.ended(&run).await;
    assert_eq!(ended.get("trimmed"), None, "what is kept is whole");
}

#[tokio::test(start_paused = true)]
async fn an_active_run_of_thousands_of_items_is_shown_with_its_steps() {
    const ITEMS: u32 = 8_000;
    let fleet = Fleet::with_shards(1).await;
    let _a = fleet.start_alone("a").await;
    let plan: Plan = serde_json::from_value(json!({"final": 2, "steps": [
        {"id": 1, "description": "a", "for_each": {"from_step": 0, "path": "/items"}},
        {"id": 2, "description": "b", "depends_on": [1]}
    ]}))
    .expect("a plan");
    let mut submission = Submission { plan: Some(Arc::new(plan)), ..planned() };
    submission.task.inputs.insert("items".to_owned(), (0..ITEMS).collect::<Vec<_>>().into());
    let run = fleet.submit("run", enveloped(submission, |envelope| envelope.items_max = ITEMS)).await;
    let is_cut = async || matches!(fleet.client.find(&run).await, Ok(Found::Active(shown)) if shown["trimmed"] == true);
    super::until("a part of it", is_cut).await;
    let shown = fleet.active(&run).await;
    let steps: Vec<_> = shown["steps"].as_array().expect("steps").iter().map(|step| &step["id"]).collect();
    assert_eq!((steps, &shown["state"]), (vec![&json!(1), &json!(2)], &json!("executing")));
}

#[tokio::test(start_paused = true)]
async fn a_list_has_the_beginnings_of_reasons() {
    let fleet = Fleet::with_shards(1).await;
    let _a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&step(&run, 1, 1)).await;
    fleet.append(&run, Fact::RunPauseRequested { reason: "x".repeat(5_000) }).await;
    super::until("a pause", async || fleet.active(&run).await["state"] == "paused").await;
    let listed = fleet.client.list_counted(10).await.expect("a list");
    assert_eq!((listed.runs.len(), listed.runs_left_out, listed.shards_left_out), (1, 0, 0));
    let reason = listed.runs[0]["paused"].as_str().expect("a reason");
    assert!(reason.starts_with("xxx") && reason.chars().count() < 250, "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_document_is_kept_with_what_a_rerun_needs() {
    let ended = kept(3 * OUTPUT_BYTES).await;
    let carried = ended.rerun.as_ref().and_then(|rerun| rerun.carried.as_ref()).expect("what was done");
    assert_eq!((carried.outputs.len(), reason(&ended)), (1, "cancelled: enough"));
    assert_eq!(output(&ended).as_str().map(str::len), Some(OUTPUT_BYTES));
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_too_large_with_a_rerun_is_kept_without() {
    let ended = kept(OUTPUT_BYTES * 3 / 2).await;
    assert_eq!(ended.rerun, None);
    assert_eq!(output(&ended).as_str().map(str::len), Some(OUTPUT_BYTES), "outputs are kept");
    assert!(reason(&ended).starts_with("cancelled: enough\na rerun cannot go on"), "{}", reason(&ended));
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_still_too_large_is_kept_without_outputs() {
    let ended = kept(OUTPUT_BYTES / 2).await;
    assert_eq!((ended.rerun.is_some(), output(&ended)), (false, &Value::Null));
    assert_eq!((&ended.document["partial"], &ended.document["answer"]), (&true.into(), &Value::Null));
    assert!(reason(&ended).starts_with("cancelled: enough\nits outputs are larger"), "{}", reason(&ended));
}

/// What a planner may write at length fills a document without any output.
#[tokio::test(start_paused = true)]
async fn a_document_of_too_many_words_is_kept_without_steps() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    a.spy.limit_bodies(2 * INLINE_BYTES_MAX);
    let long = "long ".repeat(INLINE_BYTES_MAX / 8);
    let steps: Vec<_> = (1..=6).map(|id| json!({"id": id, "description": long})).collect();
    let plan = serde_json::from_value(json!({"final": 6, "steps": steps})).expect("a plan");
    let run = fleet.submit("run", Submission { plan: Some(Arc::new(plan)), ..planned() }).await;
    fleet.append(&run, Fact::RunCancelRequested { reason: "enough".to_owned() }).await;
    let document = fleet.ended(&run).await;
    assert_eq!((&document["state"], &document["steps"]), (&json!("cancelled"), &json!([])));
    let reason = document["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("cancelled: enough\nits steps are larger than the 64 MiB"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_inputs_are_too_large_fails_and_says_so() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    a.spy.limit_bodies(OUTPUT_BYTES);
    let steps = json!([
        {"id": 1, "description": "a"},
        {"id": 2, "description": "b", "inputs": [{"name": "x", "from_step": 1, "path": ""}]}
    ]);
    let plan = serde_json::from_value(json!({"final": 2, "steps": steps})).expect("a plan");
    let submission = enveloped(Submission { plan: Some(Arc::new(plan)), ..planned() }, |envelope| {
        envelope.replans_max = 0;
    });
    let run = fleet.submit("run", submission).await;
    let output = Json::from_value(&json!("x".repeat(OUTPUT_BYTES)));
    fleet.append(&run, Fact::StepSucceeded(Box::new(StepSucceeded { attempt: attempt(1, 1), output }))).await;
    let document = fleet.ended(&run).await;
    assert_eq!(document["state"], "failed");
    let told = document["steps"][1]["error"].to_string();
    assert!(told.contains("it cannot be dispatched: with its inputs it has 20"), "{told}");
    assert!(told.contains("and a message at most 204800; refer to parts of outputs"), "{told}");
}
