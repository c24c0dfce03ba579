//! Time, deliveries, cancels.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use planfleet_bus::{broker::Outgoing, work::Origin};
use planfleet_core::{
    failure::{Failure, FailureClass},
    usage::{Account, Usage},
};
use planfleet_executor::Models;
use planfleet_llm::Price;
use planfleet_proto::subjects;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Bench, STEP_TIMEOUT, literal, model_step, order,
    script::{Script, Silent, calls, cost},
    soon, tool_step,
    tools::MUCH_BYTES,
};

fn in_ms(from_now: i64) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    u64::try_from(now.as_millis()).expect("a time").checked_add_signed(from_now)
}

#[tokio::test(start_paused = true)]
async fn a_step_has_its_time() {
    let mut bench = Bench::with(Models::default()).await;
    let began = Instant::now();
    let failure = bench.carry_out(tool_step("hang", vec![literal("text", "x")])).await.failure();
    assert_eq!(failure.class, FailureClass::Timeout);
    assert!(began.elapsed() >= STEP_TIMEOUT && began.elapsed() < STEP_TIMEOUT * 2);
    bench.emptied().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_step_used_before_its_time_was_up_is_charged() {
    let model = Script::new([Ok(calls("hang", r#"{"text": "x"}"#))]);
    let mut bench = Bench::with_model(&model).await;
    let spec = json!({"id": 7, "description": "Wait.", "tools": ["hang"]});
    let ended = bench.carry_out(order(spec, Vec::new())).await;
    assert_eq!(ended.usage(Account::Executor), Some(cost(1)));
    assert_eq!(ended.failure().class, FailureClass::Timeout);
}

/// What is charged for a call that a limit cuts off, at that price.
async fn cut_off_call(price: Option<Price>) -> Option<Usage> {
    let models = Models { executor: Some(Silent::handle(price)), ..Models::default() };
    let ended = Bench::with(models).await.carry_out(model_step(json!([]))).await;
    let usage = ended.usage(Account::Executor);
    assert_eq!(ended.failure().class, FailureClass::Timeout);
    usage
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cut_off_is_counted_at_an_unknown_cost() {
    let price = |each| Price { input: each, cached_input: each, cache_write: each, output: each };
    let unknown = Usage { calls: 1, nano_usd: None, ..Usage::NONE };
    assert_eq!(cut_off_call(None).await, Some(unknown));
    assert_eq!(cut_off_call(Some(price(1_000_000))).await, Some(unknown));
    let free = Usage { nano_usd: Some(0), ..unknown };
    assert_eq!(cut_off_call(Some(price(0))).await, Some(free), "whatever it used");
}

#[tokio::test(start_paused = true)]
async fn a_judge_s_call_that_is_cut_off_is_the_judge_s() {
    let model = Script::texts(["a poem"]);
    let judge = Some(Silent::handle(None));
    let models = Models { executor: Some(model.handle("small")), judge, ..Models::default() };
    let step = model_step(json!([{"kind": "judge", "arg": "Does it rhyme?"}]));
    let ended = Bench::with(models).await.carry_out(step).await;
    assert_eq!(ended.usage(Account::Executor), Some(cost(1)));
    let unknown = Usage { calls: 1, nano_usd: None, ..Usage::NONE };
    assert_eq!(ended.usage(Account::Judge), Some(unknown));
}

#[tokio::test(start_paused = true)]
async fn a_step_does_not_outlive_its_run() {
    let mut bench = Bench::with(Models::default()).await;
    let began = Instant::now();
    let mut late = tool_step("hang", vec![literal("text", "x")]);
    late.deadline_at_ms = in_ms(9_000);
    let failure = bench.carry_out(late).await.failure();
    assert_eq!(failure.class, FailureClass::Deadline, "no plan helps against it");
    assert!(began.elapsed() <= Duration::from_secs(10), "{:?}", began.elapsed());
}

/// A step that never ends, with these limits, is cut off after about so long, for that.
async fn cut_off(run: Option<i64>, step: Option<i64>, after: Duration, class: FailureClass, says: &str) {
    let mut bench = Bench::with(Models::default()).await;
    let mut endless = tool_step("hang", vec![literal("text", "x")]);
    (endless.deadline_at_ms, endless.timeout_at_ms) = (run.and_then(in_ms), step.and_then(in_ms));
    let began = Instant::now();
    let ended = bench.carry_out(endless).await;
    assert!(ended.report.started_ms > 0, "it was begun");
    let failure = ended.failure();
    assert_eq!((failure.class, failure.message.contains(says)), (class, true), "{failure}");
    // The limits are times of day, which go on while the test sets itself up.
    let took = began.elapsed();
    assert!((after - Duration::from_secs(2)..after + Duration::from_secs(1)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_limit_to_end_cuts_a_step_off() {
    use FailureClass::{Deadline, Timeout};
    let s = Duration::from_secs;
    cut_off(None, Some(9_000), s(9), Timeout, "in the time that its step allows").await;
    cut_off(Some(20_000), Some(9_000), s(9), Timeout, "in the time that its step allows").await;
    cut_off(Some(9_000), Some(20_000), s(9), Deadline, "the run's time is up").await;
    cut_off(Some(9_000), Some(9_000), s(9), Deadline, "the run's time is up").await;
    cut_off(Some(90_000), Some(80_000), STEP_TIMEOUT, Timeout, "within the 45 s").await;
}

/// An order that comes after its time is answered without being begun.
async fn too_late(run: i64, step: i64) -> Failure {
    let mut bench = Bench::with(Models::default()).await;
    let mut late = tool_step("parrot", vec![literal("text", "x")]);
    (late.deadline_at_ms, late.timeout_at_ms) = (in_ms(run), in_ms(step));
    let mut news = bench.bus.watch(&late.run).await.expect("news");
    let ended = bench.carry_out(late).await;
    assert_eq!((ended.report.started_ms, bench.calls.all()), (0, Vec::new()));
    assert_eq!(news.next().now_or_never(), None, "nobody is told that it has started");
    bench.emptied().await;
    ended.failure()
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_time_is_up_is_not_begun() {
    let failure = too_late(60_000, -1).await;
    assert_eq!(failure.class, FailureClass::Timeout);
    assert!(failure.message.contains("before an executor was free"), "{failure}");
    let failure = too_late(-1, 60_000).await;
    assert_eq!((failure.class, failure.message.as_str()), (FailureClass::Deadline, "the run's time is up"));
    assert_eq!(too_late(-1, -1).await.class, FailureClass::Deadline, "no plan helps against it");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_loses_every_executor_is_reported_lost() {
    let mut bench = Bench::empty().await;
    bench
        .bus
        .dispatch_step(&tool_step("parrot", vec![literal("text", "x")]), Origin::default())
        .await
        .unwrap();
    for _ in 0..3 {
        let pull = bench.bus.broker().pull(subjects::STEPS, "pool_default", 1, Duration::from_secs(1));
        let delivery = pull.await.unwrap().next().await.expect("work").unwrap();
        delivery.settle.give_back().await.unwrap();
    }
    bench.start(Models::default());
    let ended = bench.ended().await;
    assert_eq!(ended.report.attempt, 2, "as the order said");
    assert_eq!(ended.failure().class, FailureClass::Lost);
    assert_eq!(bench.calls.all(), []);
    bench.emptied().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_step_stops_and_leaves_no_record() {
    let bench = Bench::with(Models::default()).await;
    let order = tool_step("hang", vec![literal("text", "x")]);
    let mut news = bench.bus.watch(&order.run).await.unwrap();
    bench.bus.dispatch_step(&order, Origin::default()).await.unwrap();
    let started = soon("news", news.next()).await.expect("news");
    assert_eq!((started.event.as_str(), started.step), ("StepStarted", Some(order.step)));
    let began = Instant::now();
    bench.bus.broadcast_cancel(&order.run).await.unwrap();
    bench.emptied().await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(bench.bus.journal_tail(0).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_nobody_can_read_is_set_aside() {
    let bench = Bench::with(Models::default()).await;
    let subject = "pf.steps.default.1.t.00-a.1.1".to_owned();
    let payload = Bytes::from_static(b"\xff\xff");
    bench.bus.broker().publish(Outgoing { subject, payload, ..Outgoing::default() }).await.unwrap();
    bench.emptied().await;
    assert_eq!(bench.bus.broker().stream_state(subjects::DEAD_LETTERS).await.unwrap().messages, 1);
}

/// As 64 MiB are in a real fleet.
#[tokio::test(start_paused = true)]
async fn an_output_that_is_too_large_to_be_kept_is_a_failure_that_says_so() {
    let mut bench = Bench::with(Models::default()).await;
    bench.broker.limit_objects(MUCH_BYTES);
    let ended = bench.carry_out(tool_step("much", vec![literal("text", "x")])).await;
    assert!(ended.report.started_ms > 0, "what it used is reported");
    let failure = ended.failure();
    assert_eq!(failure.class, FailureClass::ToolError);
    let told = failure.message;
    assert!(told.starts_with("the output is too large: its record has 200"), "{told}");
    assert!(told.ends_with("bytes, and at most 200000 are kept; ask for less, or in parts"), "{told}");
    // It has left the queue: nobody tries again what would be refused again.
    bench.emptied().await;
}
