//! What flow control is told.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use planfleet_bus::{
    flow::{ByPool, Pause, SAY_SLOTS_EVERY, Target, Told},
    work::Origin,
};
use planfleet_core::id::StepId;
use planfleet_proto::subjects::{self, Work, WorkKind};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{new_bus, order, run_id, soon, unreadable};

fn slots(pool: &str, count: usize) -> ByPool {
    ByPool::from([(pool.to_owned(), count)])
}

#[tokio::test(start_paused = true)]
async fn slots_are_said_again_and_again_until_the_process_stops() {
    let (bus, stop) = (new_bus().await, CancellationToken::new());
    let mut heard = bus.follow_slots().await.unwrap();
    let mut next = async || soon("news of slots", heard.next()).await.unwrap().unwrap();
    let mut process = JoinSet::new();
    let (own, stopped) = (bus.clone(), stop.clone());
    process.spawn(async move { own.keep_slots_known("one", &slots("default", 4), stopped).await });
    let said = Told::Worker("one".to_owned(), Some(slots("default", 4)));
    assert_eq!(next().await, said);
    let began = tokio::time::Instant::now();
    assert_eq!(next().await, said);
    assert!(began.elapsed() <= SAY_SLOTS_EVERY);
    bus.say_taken("c", &slots("plan", 2)).await.unwrap();
    assert_eq!(next().await, Told::Taken("c".to_owned(), Some(slots("plan", 2))));
    stop.cancel();
    assert_eq!(next().await, Told::Worker("one".to_owned(), None));
    soon("its end", process.join_next()).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_there_until_it_is_resumed() {
    let bus = new_bus().await;
    let pause = |target: Target, reason: &str| Pause { target, reason: reason.to_owned(), since_ms: 7 };
    let (pool, class) = (Target::Pool("default".to_owned()), Target::Class("default".to_owned()));
    bus.pause(&pause(pool.clone(), "tea")).await.unwrap();
    bus.pause(&pause(class.clone(), "lunch")).await.unwrap();
    bus.pause(&pause(pool.clone(), "dinner")).await.unwrap();
    unreadable(&bus, subjects::PAUSES).await;
    let all: BTreeSet<_> =
        bus.pauses().await.unwrap().into_iter().map(|pause| (pause.target, pause.reason)).collect();
    let expected = [(pool.clone(), "dinner".to_owned()), (class.clone(), "lunch".to_owned())];
    assert_eq!(all, BTreeSet::from(expected));

    let mut heard = bus.follow_pauses().await.unwrap();
    let mut next = async || soon("news of pauses", heard.next()).await.unwrap().unwrap();
    let mut keys = BTreeSet::new();
    for _ in 0..2 {
        let (key, pause) = next().await;
        assert!(pause.is_some());
        keys.insert(key);
    }
    assert!(bus.resume(&pool).await.unwrap());
    assert!(!bus.resume(&pool).await.unwrap());
    let (key, pause) = next().await;
    assert!(pause.is_none() && keys.contains(&key), "{key}");
    assert_eq!(bus.pauses().await.unwrap().len(), 1);
    assert!(Target::Tenant("a b".to_owned()).check().is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_is_known_by_shard() {
    let bus = new_bus().await;
    assert!(bus.work_in_queue(0).await.unwrap().is_empty());
    let (one, other) = (run_id("00-one"), run_id("01-other"));
    for (run, step) in [(&one, 1), (&one, 2), (&other, 3)] {
        bus.dispatch_step(&order(run, step), Origin::default()).await.unwrap();
    }
    let work = |run, step| Work { run, what: WorkKind::Step(StepId::plain(step)), attempt: 1 };
    let queued = bus.work_in_queue(0).await.unwrap();
    assert_eq!(queued, BTreeSet::from([work(one.clone(), 1), work(one, 2)]));
    assert_eq!(bus.work_in_queue(1).await.unwrap(), BTreeSet::from([work(other, 3)]));
}
