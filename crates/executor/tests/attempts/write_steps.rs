//! Calls that change the world are made once, whatever happens to those who make them.

use planfleet_bus::{broker::CasOutcome, calls::CallNote};
use planfleet_core::failure::FailureClass;
use planfleet_executor::Models;
use serde_json::{Value, json};

use super::{
    Bench, literal, order,
    script::{Script, calls, says},
    tool_step,
    tools::MUCH_BYTES,
};

/// The key of the step that [`tool_step`] makes.
const KEY: &str = "00-secretrun.7";

async fn noted(bench: &Bench) -> Option<CallNote> {
    bench.bus.call_note(KEY).await.expect("an answer").map(|(note, _)| note)
}

async fn note(bench: &Bench, attempt: u32, outcome: Option<Result<Value, planfleet_core::failure::Failure>>) {
    let note = CallNote { attempt, outcome };
    let written = bench.bus.note_call(KEY, &note, 0).await.expect("a note");
    assert!(matches!(written, CasOutcome::Written(_)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_changes_something_leaves_its_outcome() {
    let mut bench = Bench::with(Models::default()).await;
    let ended = bench.carry_out(tool_step("pay", vec![literal("text", "17")])).await;
    let output = ended.output();
    assert_eq!(noted(&bench).await, Some(CallNote { attempt: 2, outcome: Some(Ok(output)) }));
    bench.emptied().await;
    bench.carry_out(tool_step("parrot", vec![literal("text", "x")])).await.output();
    let all = bench.bus.broker().kv_all("pf_calls").await.expect("a bucket");
    assert_eq!(all.len(), 1, "one that only reads leaves none");
}

#[tokio::test(start_paused = true)]
async fn a_known_outcome_is_used_and_nothing_is_called() {
    let mut bench = Bench::with(Models::default()).await;
    note(&bench, 1, Some(Ok(json!("paid before")))).await;
    let ended = bench.carry_out(tool_step("pay", vec![literal("text", "17")])).await;
    assert_eq!(ended.output(), "paid before");
    assert_eq!(bench.calls.all(), []);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_happened_is_not_made_again() {
    let mut bench = Bench::with(Models::default()).await;
    note(&bench, 2, None).await;
    let failure = bench.carry_out(tool_step("pay", vec![literal("text", "17")])).await.failure();
    assert_eq!(failure.class, FailureClass::Lost);
    assert!(failure.message.contains("may have been called"), "{failure}");
    assert_eq!(bench.calls.all(), []);
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_bears_it_is_called_again() {
    let mut bench = Bench::with(Models::default()).await;
    note(&bench, 2, None).await;
    let ended = bench.carry_out(tool_step("put", vec![literal("text", "17")])).await;
    assert_eq!(ended.output(), json!({"text": "17", "times": null}));
    assert_eq!((bench.calls.all().len(), bench.calls.keys()), (1, vec![KEY.to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_large_outcome_is_kept_too() {
    let mut bench = Bench::with(Models::default()).await;
    let text = "x".repeat(MUCH_BYTES);
    bench.carry_out(tool_step("pay", vec![literal("text", &text)])).await.output();
    let Some(CallNote { outcome: Some(Ok(output)), .. }) = noted(&bench).await else { panic!("no outcome") };
    assert_eq!(output["text"], text);
}

#[tokio::test(start_paused = true)]
async fn equal_calls_of_one_model_are_calls_of_their_own() {
    let pay = || Ok(calls("pay", r#"{"text": "17"}"#));
    let model = Script::new([pay(), pay(), Ok(says("paid twice"))]);
    let mut bench = Bench::with_model(&model).await;
    let spec = json!({"id": 7, "description": "Pay twice.", "tools": ["pay"]});
    bench.carry_out(order(spec, Vec::new())).await.output();
    let keys = bench.calls.keys();
    assert_eq!(keys.len(), 2);
    assert!(keys[0] != keys[1] && keys.iter().all(|key| key.starts_with("00-secretrun.7.")), "{keys:?}");
}
