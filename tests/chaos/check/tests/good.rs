//! A history in which much happens and nothing is wrong.

use planfleet_core::{
    failure::FailureClass,
    id::StepId,
    record::{Decision, Draft},
};
use serde_json::{Value, json};

use super::{
    steps::{chain, each, sum},
    story::Story,
};
use crate::{
    check::{Limits, judge},
    history::{Fate, FaultKind, History, Outcome, Target},
};

/// The history below is short, and two of its 17 steps are done once too often.
pub(super) const LIMITS: Limits = Limits { duplicates: 0.15, ..Limits::UNDER_FAULTS };

const fn draft(revision: u32, take: u32) -> Draft {
    Draft { revision, attempt: 1, take }
}

fn answers(answer: impl Into<Value>) -> Fate {
    Fate::Succeeds { path: "/json/value".to_owned(), answer: answer.into() }
}

/// One of everything: see the functions below.
pub(super) fn good() -> History {
    let mut story = Story::new();
    taken_over(&mut story);
    tried_again(&mut story);
    for_each(&mut story);
    replanned(&mut story);
    cancelled(&mut story);
    cancelled_too_late(&mut story);
    failed(&mut story);
    planned_twice(&mut story);
    story.history
}

/// Tag `chain`: its coordinator is killed on the way.
fn taken_over(story: &mut Story) {
    let run = story.submit(0, "chain", Some(chain(3)), answers(30));
    story.read(1, &run, "executing", 0);
    story.carry_out(&run, StepId::plain(1), 1, &json!(10));
    story.read(2, &run, "executing", 1);
    let struck_ms = story.now_ms;
    story.wait(4_000);
    story.take_over(0, "c1");
    story.fault(FaultKind::Kill, Target::Coordinator, "c0", struck_ms);
    story.carry_out(&run, StepId::plain(2), 1, &json!(20));
    story.read(2, &run, "executing", 2);
    story.carry_out(&run, StepId::plain(3), 1, &json!(30));
    story.succeed(&run);
    story.told_end(2, &run);
    story.submitted(&run, "chain", Outcome::Ok);
}

/// Tag `retry`: a provider fails for a while, and who was slow succeeds too late. Its
/// submit was not answered at first.
fn tried_again(story: &mut Story) {
    let run = story.submit(1, "retry", Some(chain(2)), answers(7));
    story.carry_out(&run, StepId::plain(1), 1, &json!(6));
    story.order(&run, StepId::plain(2), 1);
    story.effect(&run, StepId::plain(2), None);
    story.failure(&run, StepId::plain(2), 1, FailureClass::Transient);
    story.retry(&run, StepId::plain(2), 2);
    story.order(&run, StepId::plain(2), 2);
    story.effect(&run, StepId::plain(2), Some(json!(7)));
    story.effect(&run, StepId::plain(2), Some(json!(77)));
    story.result(&run, StepId::plain(2), 1, &json!(77));
    story.result(&run, StepId::plain(2), 2, &json!(7));
    story.runs.get_mut(&run).unwrap().take(StepId::plain(2), &json!(7));
    story.succeed(&run);
}

/// Tag `each`: an executor is killed with one of the items in its hands.
fn for_each(story: &mut Story) {
    let steps = vec![
        sum(1, &[(0, "/x")]),
        each(2, 1, "/json/value"),
        sum(3, &[(2, "/0/json/value"), (2, "/1/json/value")]),
    ];
    let run = story.submit(0, "each", Some(steps), answers(12));
    story.carry_out(&run, StepId::plain(1), 1, &json!([3, 4]));
    story.order(&run, StepId::item(2, 0), 1);
    story.effect(&run, StepId::item(2, 0), None);
    let struck_ms = story.now_ms;
    story.carry_out(&run, StepId::item(2, 1), 1, &json!(8));
    story.fault(FaultKind::Kill, Target::Executor, "e0", struck_ms);
    story.wait(2_000);
    story.effect(&run, StepId::item(2, 0), Some(json!(4)));
    story.result(&run, StepId::item(2, 0), 1, &json!(4));
    story.runs.get_mut(&run).unwrap().take(StepId::item(2, 0), &json!(4));
    story.carry_out(&run, StepId::plain(3), 1, &json!(12));
    story.succeed(&run);
}

/// Tag `replan`: planned, fails, planned again.
fn replanned(story: &mut Story) {
    let run = story.submit(1, "replan", None, answers(9));
    story.history.expected.get_mut("replan").unwrap().replanned = true;
    story.order_planning(&run, 1);
    story.read(1, &run, "planning", 0);
    story.planned(&run, draft(1, 1), &chain(2));
    story.carry_out(&run, StepId::plain(1), 1, &json!(1));
    story.sealed(&run, draft(1, 1), 2, Decision::Plan { final_step: 2 });
    story.order(&run, StepId::plain(2), 1);
    story.effect(&run, StepId::plain(2), None);
    story.failure(&run, StepId::plain(2), 1, FailureClass::ToolError);
    story.order_planning(&run, 2);
    story.read(1, &run, "replanning", 1);
    story.planned(&run, draft(2, 1), &[sum(3, &[(1, "/json/value")])]);
    story.sealed(&run, draft(2, 1), 1, Decision::Revise { drop: Vec::new(), final_step: Some(3) });
    story.carry_out(&run, StepId::plain(3), 1, &json!(9));
    story.succeed(&run);
}

/// Tag `cancel`: its first step is at work, and finishes in vain.
fn cancelled(story: &mut Story) {
    let otherwise = Box::new(answers(0));
    let run = story.submit(0, "cancel", Some(chain(2)), Fate::Cancelled { otherwise });
    story.order(&run, StepId::plain(1), 1);
    story.effect(&run, StepId::plain(1), Some(json!(5)));
    story.cancel(&run);
    story.end(&run, "cancelled", "cancelled", "cancelled: enough");
    story.result(&run, StepId::plain(1), 1, &json!(5));
}

/// Tag `late`: done before its cancel.
fn cancelled_too_late(story: &mut Story) {
    let otherwise = Box::new(answers(2));
    let run = story.submit(1, "late", Some(chain(1)), Fate::Cancelled { otherwise });
    story.carry_out(&run, StepId::plain(1), 1, &json!(2));
    story.succeed(&run);
    story.cancel(&run);
}

/// Tag `fail`: nobody can plan for it.
fn failed(story: &mut Story) {
    let fate = Fate::Fails { code: "no_goal".to_owned(), message: "500".to_owned() };
    let run = story.submit(1, "fail", Some(chain(2)), fate);
    story.order(&run, StepId::plain(1), 1);
    story.effect(&run, StepId::plain(1), None);
    story.failure(&run, StepId::plain(1), 1, FailureClass::ToolError);
    story.end(&run, "failed", "no_goal", "tool_error: step 1: answered 500");
}

/// Tag `drafts`: its planner dies after the first step, whose work another draft takes over.
fn planned_twice(story: &mut Story) {
    let run = story.submit(0, "drafts", None, answers(4));
    story.order_planning(&run, 1);
    story.planned(&run, draft(1, 1), &chain(1));
    story.carry_out(&run, StepId::plain(1), 1, &json!(3));
    story.planned(&run, draft(1, 2), &chain(2));
    story.sealed(&run, draft(1, 2), 2, Decision::Plan { final_step: 2 });
    story.carry_out(&run, StepId::plain(2), 1, &json!(4));
    story.succeed(&run);
}

#[test]
fn a_good_history_passes_every_rule_and_every_rule_looks_at_something() {
    let verdict = judge(&good(), &LIMITS);
    println!("{verdict}");
    assert!(verdict.is_good(), "{verdict}");
    assert!(verdict.idle().is_empty(), "{verdict}");
}

#[test]
fn an_empty_history_is_not_praised() {
    let verdict = judge(&History::default(), &LIMITS);
    assert_eq!(verdict.idle().len(), verdict.rules.len());
    assert!(verdict.to_string().contains("nothing to check"), "{verdict}");
}
