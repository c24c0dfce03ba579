//! Calls that change the world are made once, whatever happens to those who make them.

use planfleet_bus::{broker::CasOutcome, calls::CallNote};
use planfleet_core::failure::FailureClass;
use planfleet_executor::Models;
use planfleet_llm::{Error, ErrorClass};
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
    let note = CallNote { attempt, arguments: None, outcome };
    let written = bench.bus.note_call(KEY, &note, 0).await.expect("a note");
    assert!(matches!(written, CasOutcome::Written(_)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_changes_something_leaves_its_outcome() {
    let mut bench = Bench::with(Models::default()).await;
    let ended = bench.carry_out(tool_step("pay", vec![literal("text", "17")])).await;
    let output = ended.output();
    assert_eq!(
        noted(&bench).await,
        Some(CallNote { attempt: 2, arguments: None, outcome: Some(Ok(output)) })
    );
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

#[tokio::test(start_paused = true)]
async fn a_model_that_has_changed_something_is_not_asked_afresh() {
    for trouble in [ErrorClass::Transient, ErrorClass::Quota] {
        let pay = || Ok(calls("pay", r#"{"text": "17"}"#));
        let again = std::iter::repeat_with(|| Err(Error::new(trouble, "trouble"))).take(9);
        let model = Script::new(std::iter::once(pay()).chain(again));
        let mut bench = Bench::with_model(&model).await;
        let spec = json!({"id": 7, "description": "Pay.", "tools": ["pay"]});
        let failure = bench.carry_out(order(spec, Vec::new())).await.failure();
        assert_eq!(failure.class, FailureClass::ToolError, "{failure}");
        assert!(failure.message.contains(r#"pay with {"text": "17"}, which gave {"text":"17""#), "{failure}");
    }
    // One that has only read is.
    let read = Ok(calls("parrot", r#"{"text": "17"}"#));
    let again = std::iter::repeat_with(|| Err(Error::new(ErrorClass::Transient, "trouble"))).take(9);
    let model = Script::new(std::iter::once(read).chain(again));
    let mut bench = Bench::with_model(&model).await;
    let spec = json!({"id": 7, "description": "Read.", "tools": ["parrot"]});
    let failure = bench.carry_out(order(spec, Vec::new())).await.failure();
    assert_eq!(failure.class, FailureClass::Transient, "{failure}");
}

#[tokio::test(start_paused = true)]
async fn the_same_call_in_other_words_is_not_made() {
    let before = Some(Ok(json!("paid 17 EUR")));
    let pay = |text: &str| Ok(calls("pay", &json!({"text": text}).to_string()));
    let model =
        Script::new([pay("17.00 EUR"), Ok(says("paid")), pay("17 EUR"), pay("3 EUR"), Ok(says("paid"))]);
    let mut bench = Bench::with_model(&model).await;
    let made = CallNote { attempt: 2, arguments: Some(r#"{"text":"17 EUR"}"#.to_owned()), outcome: before };
    bench.bus.note_call("00-secretrun.7.pay.0", &made, 0).await.expect("a note");
    let spec = json!({"id": 7, "description": "Pay.", "tools": ["pay"]});
    bench.carry_out(order(spec.clone(), Vec::new())).await.output();
    assert_eq!(bench.calls.all(), [], "it was paid before");
    let told = model.last_turn();
    assert!(told.contains("17 EUR") && told.contains("paid 17 EUR") && told.contains("not made"), "{told}");
    bench.emptied().await;
    // The same words are the same call, and another call is one of its own.
    bench.carry_out(order(spec, Vec::new())).await.output();
    assert_eq!(bench.calls.all(), [("pay".to_owned(), json!({"text": "3 EUR"}))]);
}
