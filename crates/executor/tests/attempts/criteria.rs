//! Every kind of criterion, for tool steps and for model steps.

use planfleet_core::{
    command::StepOrder,
    failure::{Failure, FailureClass},
    plan::CriterionKind,
    usage::Account,
};
use planfleet_executor::Models;
use serde_json::{Value, json};

use super::{
    Bench, literal, model_step, order,
    script::{Script, cost, says},
};

/// A kind, its argument, an output that meets it, one that does not, and what a
/// failure says was expected.
type Case = (CriterionKind, &'static str, Value, Value, &'static str);

fn cases() -> Vec<Case> {
    use CriterionKind as K;
    vec![
        (K::JsonSchema, r#"{"type":"object","required":["a"]}"#, json!({"a": 1}), json!({"b": 1}), "schema"),
        (K::Matches, "^[A-Z]", json!("Ada"), json!("ada"), "text that matches ^[A-Z]"),
        (K::Contains, "da", json!("Ada"), json!("Bob"), "text that contains \"da\""),
        (K::NotContains, "da", json!("Bob"), json!("Ada"), "text without \"da\""),
        (K::MinLength, "3", json!("Ada"), json!("Al"), "a length of at least 3, it is 2"),
        (K::MaxLength, "3", json!("Ada"), json!("Grace"), "a length of at most 3, it is 5"),
        (K::Equals, "yes", json!("yes"), json!("no"), "exactly yes"),
        (K::Range, "1..10", json!(7), json!(11), "a number from 1 to 10"),
        (K::Judge, "Is it kind?", json!("welcome"), json!("go away"), "a pass of the judge, who said: rude"),
    ]
}

fn criterion(kind: CriterionKind, arg: &str) -> Value {
    json!([{"kind": kind.as_str(), "arg": arg}])
}

fn tool_step(criteria: &Value, output: &Value) -> StepOrder {
    let spec = json!({"id": 7, "kind": "tool", "tools": ["value"], "success_criteria": criteria});
    order(spec, vec![literal("text", &output.to_string())])
}

/// What a model says whose output is that value.
fn text(output: &Value) -> String {
    output.as_str().map_or_else(|| output.to_string(), str::to_owned)
}

fn judge(pass: bool, times: usize) -> std::sync::Arc<Script> {
    let verdict = json!({"pass": pass, "reason": "rude"}).to_string();
    Script::new((0..times).map(|_| Ok(says(&verdict))))
}

/// The criterion, what was expected and what was seen, as the planner reads it.
fn assert_says(failure: &Failure, (kind, arg, _, bad, expected): &Case) {
    let written = format!("{} {arg}", kind.as_str());
    assert_eq!(failure.class, FailureClass::InvalidOutput, "{written}");
    assert_eq!(failure.criterion.as_deref(), Some(written.as_str()));
    assert_eq!(failure.seen.as_deref(), Some(text(bad).as_str()), "{written}");
    assert!(failure.message.contains(&written) && failure.message.contains(expected), "{failure}");
}

#[test]
fn every_kind_is_tried_here() {
    let tried: Vec<CriterionKind> = cases().into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(tried, CriterionKind::ALL);
}

#[tokio::test(start_paused = true)]
async fn tool_steps_are_held_to_every_kind() {
    for case in cases() {
        let (kind, arg, good, bad, _) = &case;
        let criteria = criterion(*kind, arg);
        for (output, pass) in [(good, true), (bad, false)] {
            let models = Models { judge: Some(judge(pass, 1).handle("judge")), ..Models::default() };
            let ended = Bench::with(models).await.carry_out(tool_step(&criteria, output)).await;
            let judged = (*kind == CriterionKind::Judge).then(|| cost(1));
            assert_eq!(ended.usage(Account::Judge), judged, "{kind:?}");
            match ended.outcome {
                Ok(value) => assert_eq!((pass, &value), (true, good), "{kind:?}"),
                Err(failure) if pass => panic!("{kind:?}: {failure}"),
                Err(failure) => assert_says(&failure, &case),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn model_steps_are_held_to_every_kind_after_one_repair() {
    for case in cases() {
        let (kind, arg, good, bad, _) = &case;
        let criteria = criterion(*kind, arg);
        for (outputs, pass) in [(vec![good], true), (vec![bad, bad], false)] {
            let calls = outputs.len();
            let model = Script::new(outputs.iter().map(|output| Ok(says(&text(output)))));
            let models = Models {
                executor: Some(model.handle("small")),
                judge: Some(judge(pass, calls).handle("judge")),
                ..Models::default()
            };
            let ended = Bench::with(models).await.carry_out(model_step(criteria.clone())).await;
            let calls = u64::try_from(calls).expect("a few");
            assert_eq!(ended.usage(Account::Executor), Some(cost(calls)), "{kind:?}");
            let judged = (*kind == CriterionKind::Judge).then(|| cost(calls));
            assert_eq!(ended.usage(Account::Judge), judged, "{kind:?}");
            match ended.outcome {
                Ok(value) => assert_eq!((pass, text(&value)), (true, text(good)), "{kind:?}"),
                Err(failure) if pass => panic!("{kind:?}: {failure}"),
                Err(failure) => assert_says(&failure, &case),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_can_be_met_in_the_repair_turn() {
    for (kind, arg, good, bad, expected) in cases() {
        let model = Script::new([&bad, &good].map(|output| Ok(says(&text(output)))));
        let verdicts = [r#"{"pass": false, "reason": "rude"}"#, r#"{"pass": true, "reason": "kind"}"#];
        let models = Models {
            executor: Some(model.handle("small")),
            judge: Some(Script::texts(verdicts).handle("judge")),
            ..Models::default()
        };
        let ended = Bench::with(models).await.carry_out(model_step(criterion(kind, arg))).await;
        assert_eq!(text(&ended.output()), text(&good), "{kind:?}");
        assert!(model.last_turn().contains(expected), "the model is told: {}", model.last_turn());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_is_trimmed() {
    let long = "x".repeat(100_000);
    let step = tool_step(&criterion(CriterionKind::JsonSchema, r#"{"type":"object"}"#), &json!(long));
    let failure = Bench::with(Models::default()).await.carry_out(step).await.failure();
    assert!(failure.seen.as_ref().is_some_and(|seen| seen.len() < 2_100), "{:?}", failure.seen);
    assert!(failure.message.len() < 3_000, "{} bytes", failure.message.len());
}

#[tokio::test(start_paused = true)]
async fn a_criterion_that_nobody_can_read_is_not_met_and_nothing_is_done_for_it() {
    for (kind, arg) in [(CriterionKind::Matches, "("), (CriterionKind::Judge, " ")] {
        let model = Script::texts([]);
        let mut bench = Bench::with_model(&model).await;
        for step in [tool_step(&criterion(kind, arg), &json!("x")), model_step(criterion(kind, arg))] {
            let ended = bench.carry_out(step).await;
            assert_eq!(ended.report.usage, []);
            let failure = ended.failure();
            assert_eq!(failure.class, FailureClass::InvalidOutput);
            assert_eq!(failure.criterion, Some(format!("{} {arg}", kind.as_str())));
            bench.emptied().await;
        }
        assert_eq!(bench.calls.all(), []);
    }
}
