//! Plans that are used again.

use std::{sync::Arc, time::Duration};

use planfleet_bus::plans::Kept;
use planfleet_core::{
    cache::{Entry, Outcomes, Way},
    plan::PlanStep,
    record::{Decision, Fact, PlanSealed},
    task::{Brief, Mode},
};
use planfleet_llm::ErrorClass;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    Desk,
    model::{Reply, Script},
};

/// A plan that refers to the task's country.
fn reusable() -> Value {
    let country = json!({"name": "country", "value": null, "from_step": 0, "path": "/country"});
    json!({"steps": [{"id": 1, "description": "Name the capital of the country.", "inputs": [country]}], "final": 1})
}

fn of_class(country: &str) -> Brief {
    Brief {
        goal: Some("Name the capital.".to_owned()),
        inputs: json!({"country": country}).as_object().unwrap().clone(),
        class: Some("capitals".to_owned()),
        mode: Mode::Plan,
        ..Brief::default()
    }
}

async fn kept(desk: &Desk) -> Kept {
    let mut all = desk.bus.cached_plans().await.unwrap();
    assert_eq!(all.len(), 1, "{:?}", all.keys());
    all.pop_first().unwrap().1
}

/// The first step of the next plan, and its seal.
async fn planned(desk: &mut Desk) -> (PlanStep, PlanSealed) {
    let mut first = None;
    loop {
        match desk.fact().await {
            Fact::StepPlanned { step, .. } => first = first.or(Some(*step)),
            Fact::PlanSealed(sealed) => return (first.expect("a step"), *sealed),
            other => panic!("neither a step nor a seal: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_cold_tasks_of_one_kind_are_planned_once() {
    let planner = Script::texts([reusable()]);
    let mut desk = Desk::with(&planner).await;
    for run in 0..1_000 {
        desk.order_for(run, of_class("Chile")).await;
    }
    let mut hits = 0;
    for _ in 0..1_000 {
        let (step, sealed) = planned(&mut desk).await;
        assert_eq!(step.inputs[0].reference(), Some((0, "/country")));
        let note = sealed.cache.expect("the cache was asked");
        if note.hit {
            hits += 1;
            assert_eq!((note.saved_tokens, note.saved_nano_usd, sealed.usage.len()), (110, Some(120), 0));
            assert_eq!(sealed.model, "", "no planner was asked");
        }
    }
    assert_eq!((planner.asked().len(), hits), (1, 999));
    assert!(planner.asked()[0][1].contains("differ only in the task's inputs"), "it is told of others");
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_for_one_class_one_goal_and_the_same_inputs_alone() {
    let planner = Script::texts([reusable(), reusable(), reusable(), reusable(), reusable()]);
    let mut desk = Desk::with(&planner).await;
    let other_inputs = json!({"country": "Chile", "year": 1800}).as_object().unwrap().clone();
    let tasks = [
        of_class("Chile"),
        Brief { class: Some("cities".to_owned()), ..of_class("Chile") },
        Brief { goal: Some("Name the old capital.".to_owned()), ..of_class("Chile") },
        Brief { inputs: other_inputs, ..of_class("Chile") },
        Brief { tenant: Some("acme".to_owned()), ..of_class("Chile") },
    ];
    for (run, task) in tasks.into_iter().enumerate() {
        desk.order_for(run, task).await;
        let (_, sealed) = planned(&mut desk).await;
        assert!(!sealed.cache.unwrap().hit, "task {run}");
    }
    desk.order_for(9, of_class("Peru")).await;
    assert!(planned(&mut desk).await.1.cache.unwrap().hit);
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_holds_a_value_is_nobody_else_s() {
    let own = json!({"steps": [{"id": 1, "description": "Name the capital of Chile."}], "final": 1});
    let planner = Script::texts([own.clone(), own]);
    let mut desk = Desk::with(&planner).await;
    desk.order_for(1, of_class("Chile")).await;
    planned(&mut desk).await;
    assert!(matches!(kept(&desk).await.entry.way, Way::Each { .. }));
    desk.order_for(2, of_class("Peru")).await;
    let (_, sealed) = planned(&mut desk).await;
    assert_eq!((sealed.cache, planner.asked().len()), (None, 2), "each is planned for itself");
}

#[tokio::test(start_paused = true)]
async fn a_planner_that_fails_lets_another_try() {
    let refused = planfleet_llm::Error::new(ErrorClass::InvalidRequest, "no");
    let planner = Script::new([Reply::Error(refused), Reply::Text(reusable().to_string())]);
    let mut desk = Desk::with(&planner).await;
    desk.order_for(1, of_class("Chile")).await;
    desk.order_for(2, of_class("Peru")).await;
    desk.failed().await;
    assert!(!planned(&mut desk).await.1.cache.unwrap().hit);
    assert_eq!(planner.asked().len(), 2);
}

/// The entry of a kind of task as a planner writes it that is at it.
async fn another_is_at_it(desk: &mut Desk) -> String {
    desk.order_for(1, of_class("Chile")).await;
    let (_, sealed) = planned(desk).await;
    let key = sealed.cache.unwrap().key;
    say_again(desk, &key).await;
    key
}

async fn say_again(desk: &Desk, key: &str) {
    let writing = |entry: &mut Entry| {
        entry.made_ms += 1;
        entry.way = Way::Writing { holder: "00-other".to_owned(), until_ms: entry.made_ms };
    };
    desk.bus.change_plan(key, writing).await.unwrap().expect("an entry");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_planner_that_has_died_plans_himself() {
    let planner = Script::texts([reusable(), reusable()]);
    let mut desk = Desk::with(&planner).await;
    another_is_at_it(&mut desk).await;
    let began = tokio::time::Instant::now();
    desk.order_for(2, of_class("Peru")).await;
    assert!(!planned(&mut desk).await.1.cache.unwrap().hit);
    assert!((30..35).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_planner_that_says_he_is_at_it_is_waited_for() {
    let planner = Script::texts([reusable(), reusable()]);
    let mut desk = Desk::with(&planner).await;
    let key = another_is_at_it(&mut desk).await;
    desk.order_for(2, of_class("Peru")).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        say_again(&desk, &key).await;
    }
    assert_eq!(planner.asked().len(), 1, "nobody else has planned");
    desk.bus.forget_plan(&key).await.unwrap();
    assert!(!planned(&mut desk).await.1.cache.unwrap().hit);
}

/// Longer than others wait for one of whom nothing is heard.
#[tokio::test(start_paused = true)]
async fn a_slow_planner_plans_for_all_who_wait() {
    let gate = Arc::new(Semaphore::new(0));
    let slow = Reply::Parts(String::new(), gate.clone(), reusable().to_string());
    let planner = Script::new([slow, Reply::Text(reusable().to_string())]);
    let mut desk = Desk::with(&planner).await;
    desk.order_for(1, of_class("Chile")).await;
    desk.order_for(2, of_class("Peru")).await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    gate.add_permits(1);
    let hits =
        [planned(&mut desk).await, planned(&mut desk).await].map(|(_, sealed)| sealed.cache.unwrap().hit);
    assert_eq!((hits, planner.asked().len()), ([false, true], 1));
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_planned_anew() {
    let planner = Script::texts([reusable(), reusable()]);
    let mut desk = Desk::with(&planner).await;
    desk.order_for(1, of_class("Chile")).await;
    let (_, sealed) = planned(&mut desk).await;
    let key = sealed.cache.unwrap().key;
    let changed = desk.bus.change_plan(&key, |entry| entry.used = Outcomes { succeeded: 0, failed: 2 });
    changed.await.unwrap().expect("an entry");
    desk.order_for(2, of_class("Peru")).await;
    assert!(!planned(&mut desk).await.1.cache.unwrap().hit, "it was demoted");
    desk.order_for(3, of_class("Cuba")).await;
    assert!(planned(&mut desk).await.1.cache.unwrap().hit, "the new plan has failed nobody");
}

#[tokio::test(start_paused = true)]
async fn slots_are_taken_from_goals_and_put_into_the_plan() {
    let verdict = |country: &str| {
        let slots = json!([{"name": "country", "value": country}]);
        json!({"needs_plan": true, "reason": "so", "class": "capitals", "slots": slots})
    };
    let planner = Script::texts([reusable()]);
    let triage = Script::texts([verdict("Chile"), verdict("Peru")]);
    let mut desk = Desk::empty().await;
    desk.start_with(Some(&planner), Some(&triage));
    let asked =
        |country: &str| Brief { goal: Some(format!("Name the capital of {country}.")), ..Brief::default() };
    desk.order_for(1, asked("Chile")).await;
    let (step, _) = planned(&mut desk).await;
    assert_eq!((step.inputs[0].value.as_deref(), step.inputs[0].from_step), (Some("Chile"), None));
    assert!(planner.asked()[0][1].contains("country: <data>\"Chile\"</data>"), "its planner sees the slots");
    // The list of classes is read every two seconds.
    tokio::time::sleep(Duration::from_secs(3)).await;
    desk.order_for(2, asked("Peru")).await;
    let (step, sealed) = planned(&mut desk).await;
    assert_eq!(step.inputs[0].value.as_deref(), Some("Peru"));
    assert_eq!((sealed.decision, sealed.cache.unwrap().hit), (Decision::Plan { final_step: 1 }, true));
    assert!(triage.asked()[1][0].contains("- capitals, slots country"), "the second is told of the class");
    assert_eq!(planner.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_class_that_needs_no_plan_is_asked_about_once() {
    let (planner, triage) =
        (Script::texts::<&str>([]), Script::texts([json!({"needs_plan": false, "reason": "one question"})]));
    let mut desk = Desk::empty().await;
    desk.start_with(Some(&planner), Some(&triage));
    for (run, country) in ["Chile", "Peru", "Cuba"].into_iter().enumerate() {
        desk.order_for(run, Brief { mode: Mode::Auto, ..of_class(country) }).await;
        let (step, _) = planned(&mut desk).await;
        assert_eq!(step.description, "Name the capital.");
    }
    assert_eq!((planner.asked().len(), triage.asked().len()), (0, 1));
}
