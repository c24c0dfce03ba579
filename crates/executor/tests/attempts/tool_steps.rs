//! Steps that are one tool call.

use planfleet_core::failure::FailureClass;
use planfleet_executor::Models;
use serde_json::json;

use super::{Bench, literal, order, output_of_step, tool_step};

#[tokio::test(start_paused = true)]
async fn a_tool_is_called_with_the_inputs_as_arguments() {
    let mut bench = Bench::with(Models::default()).await;
    let inputs = vec![output_of_step("text", &json!("hello")), literal("times", "3")];
    let ended = bench.carry_out(tool_step("parrot", inputs)).await;
    assert_eq!((ended.report.step.to_string(), ended.report.attempt), ("7".to_owned(), 2));
    assert_eq!((&ended.report.model, ended.report.usage.len()), (&None, 0), "no model, no cost");
    assert_eq!(ended.output(), json!({"text": "hello", "times": 3}));
    assert_eq!(bench.calls.all(), [("parrot".to_owned(), json!({"text": "hello", "times": 3}))]);
    assert_eq!(bench.calls.keys(), ["00-secretrun.7"], "the same for every attempt");
    bench.emptied().await;
}

#[tokio::test(start_paused = true)]
async fn an_output_that_misses_a_criterion_fails_with_what_was_seen() {
    let mut bench = Bench::with(Models::default()).await;
    let spec = json!({"id": 7, "kind": "tool", "tools": ["parrot"], "success_criteria": [
        {"kind": "contains", "arg": "text"}, {"kind": "contains", "arg": "welcome"}]});
    let failure = bench.carry_out(order(spec, vec![literal("text", "go away")])).await.failure();
    assert_eq!(failure.class, FailureClass::InvalidOutput);
    assert_eq!(failure.criterion.as_deref(), Some("contains welcome"));
    assert!(failure.seen.as_deref().is_some_and(|seen| seen.contains("go away")), "{failure:?}");
    assert_eq!(bench.calls.all().len(), 1, "a tool is not asked to mend its output");
}

#[tokio::test(start_paused = true)]
async fn a_tool_outside_the_envelope_is_denied_and_never_called() {
    let mut bench = Bench::with(Models::default()).await;
    let failure = bench.carry_out(tool_step("shell", vec![literal("text", "rm")])).await.failure();
    assert_eq!(failure.class, FailureClass::Denied);
    assert_eq!(bench.calls.all(), []);
}

#[tokio::test(start_paused = true)]
async fn bad_arguments_and_unknown_tools_are_tool_errors() {
    let mut bench = Bench::with(Models::default()).await;
    let inputs = vec![literal("text", "x"), literal("times", "many")];
    let failure = bench.carry_out(tool_step("parrot", inputs)).await.failure();
    assert_eq!(failure.class, FailureClass::ToolError);
    assert!(failure.message.contains("times"), "{failure}");
    bench.emptied().await;
    let failure = bench.carry_out(tool_step("teleport", Vec::new())).await.failure();
    assert_eq!(failure.class, FailureClass::ToolError);
    assert!(failure.message.contains("teleport"), "{failure}");
    assert_eq!(bench.calls.all(), []);
}

#[tokio::test(start_paused = true)]
async fn a_busy_tool_says_when_to_come_back() {
    let mut bench = Bench::with(Models::default()).await;
    let failure = bench.carry_out(tool_step("busy", vec![literal("text", "x")])).await.failure();
    assert_eq!((failure.class, failure.retry_after_ms), (FailureClass::Transient, Some(9_000)));
}

#[tokio::test(start_paused = true)]
async fn an_output_that_no_reader_of_the_log_would_take_fails_its_step() {
    let mut bench = Bench::with(Models::default()).await;
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let ended = bench.carry_out(tool_step("value", vec![literal("text", &nested(64))])).await;
    assert!(ended.outcome.is_ok());
    let failure = bench.carry_out(tool_step("value", vec![literal("text", &nested(65))])).await.failure();
    assert_eq!(failure.class, FailureClass::ToolError);
    assert_eq!(failure.message, "the output is nested 65 levels deep; at most 64 are kept");
}
