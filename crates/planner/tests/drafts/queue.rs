//! Planning work on its queue: deliveries, errors of the provider, cancels.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use planfleet_core::{
    failure::FailureClass,
    usage::{Charge, Usage},
};
use planfleet_llm::{Error, ErrorClass};
use planfleet_planner::Models;
use planfleet_proto::subjects;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Desk,
    model::{Reply, Script, busy},
    order, soon,
};

fn sound() -> Value {
    json!({"steps": [{"id": 1, "description": "Name the capital."}], "final": 1})
}

/// Takes the work and loses it, as a crashed planner would.
async fn lose(desk: &Desk, times: usize) {
    for _ in 0..times {
        let pull = desk.bus.broker().pull(subjects::STEPS, "pool_plan", 1, Duration::from_secs(1));
        let delivery = pull.await.unwrap().next().await.expect("work").unwrap();
        delivery.settle.give_back().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_delivery_is_above_the_takes_of_the_first() {
    let desk = Desk::empty().await;
    desk.order(None).await;
    lose(&desk, 1).await;
    let model = Script::texts([sound()]);
    desk.start(Some(&model));
    let mut desk = desk;
    let (steps, sealed) = desk.sealed().await;
    assert_eq!((steps, sealed.draft.take), (vec![(1, 4)], 4), "takes 2 and 3 were the first one's repairs");
}

#[tokio::test(start_paused = true)]
async fn work_that_loses_every_planner_is_reported_lost() {
    let mut desk = Desk::empty().await;
    desk.order(None).await;
    lose(&desk, 3).await;
    let model = Script::texts([] as [Value; 0]);
    desk.start(Some(&model));
    let (draft, failure, _) = desk.failed().await;
    assert_eq!((draft.take, failure.class), (10, FailureClass::Lost));
    desk.emptied().await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_provider_is_the_coordinators_to_wait_for() {
    let model = Script::new([busy(Some(Duration::from_secs(60)))]);
    let mut desk = Desk::with(&model).await;
    let began = Instant::now();
    desk.order(None).await;
    let (_, failure, usage) = desk.failed().await;
    assert_eq!((failure.class, failure.retry_after_ms), (FailureClass::Transient, Some(60_000)));
    assert_eq!(usage.calls, 1);
    assert!(began.elapsed() < Duration::from_secs(1), "no slot is held meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_short_trouble_is_waited_out() {
    let model = Script::new([busy(None), busy(None), Reply::Text(sound().to_string())]);
    let mut desk = Desk::with(&model).await;
    desk.order(None).await;
    let (_, sealed) = desk.sealed().await;
    assert_eq!((Charge::sum(&sealed.usage).calls, sealed.draft.take), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn another_model_plans_while_the_first_is_paused() {
    let broke = Error { may_be_billed: false, ..Error::new(ErrorClass::Quota, "no credit") };
    let (first, second) = (Script::new([Reply::Error(broke)]), Script::texts([sound(), sound()]));
    let mut desk = Desk::empty().await;
    let planner = first.handle().with_fallbacks(vec![second.handle()]);
    desk.start_models(Models { planner: Some(planner), triage: None });
    for calls in [2, 1] {
        desk.order(None).await;
        let (_, sealed) = desk.sealed().await;
        assert_eq!((Charge::sum(&sealed.usage).calls, sealed.draft.take), (calls, 1));
        desk.emptied().await;
    }
    assert_eq!((first.asked().len(), second.asked().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn without_a_model_planning_fails_and_says_so() {
    let mut desk = Desk::empty().await;
    desk.start(None);
    desk.order(None).await;
    let (_, failure, usage) = desk.failed().await;
    assert_eq!((failure.class, usage.calls), (FailureClass::Quota, 0));
    assert!(failure.message.contains("roles.planner"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_never_ends_is_timed_out() {
    let silent = Arc::new(Semaphore::new(0));
    let model = Script::new([Reply::Parts(String::new(), silent, String::new())]);
    let mut desk = Desk::with(&model).await;
    desk.order(None).await;
    let (_, failure, usage) = desk.failed().await;
    assert_eq!(failure.class, FailureClass::Timeout);
    let unknown = Usage { calls: 1, nano_usd: None, ..Usage::NONE };
    assert_eq!(usage, unknown, "what nobody waited for may be billed all the same");
    desk.emptied().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_is_not_planned() {
    let silent = Arc::new(Semaphore::new(0));
    let model = Script::new([Reply::Parts(String::new(), silent, String::new())]);
    let desk = Desk::with(&model).await;
    desk.order(None).await;
    let asked = async {
        while model.asked().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("a question", asked).await;
    desk.bus.broadcast_cancel(&order(None).run).await.unwrap();
    desk.emptied().await;
    assert_eq!(desk.bus.journal_tail(0).await.unwrap(), 0, "nobody wants a record");
}
