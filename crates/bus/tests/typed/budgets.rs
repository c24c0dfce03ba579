//! Budgets that several processes keep together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use planfleet_bus::budgets::{Budgets, Held, HoldError, Owner, Source};
use planfleet_core::{
    budget::{Amount, Book},
    task::Budget,
};
use planfleet_proto::subjects;
use tokio::time::{Instant, sleep};

use crate::{new_bus, run_id};

const LASTS: Duration = Duration::from_secs(60);

/// The paused clock's own time.
fn now_ms() -> u64 {
    static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let began = BEGAN.get_or_init(|| Instant::now().into_std());
    u64::try_from(Instant::now().into_std().duration_since(*began).as_millis()).expect("a short test")
}

/// Sets aside, and waits as calls do while others may leave some over.
async fn hold(
    budgets: &Budgets,
    sources: &[Source],
    amount: Amount,
    patience: Duration,
) -> Result<Held, HoldError> {
    let until = Instant::now() + patience;
    loop {
        match budgets.hold(sources, amount).await {
            Err(HoldError::Short { under_way: true, .. }) if Instant::now() < until => {}
            outcome => return outcome,
        }
        sleep(Duration::from_millis(500)).await;
    }
}

const fn usd(nano_usd: u64) -> Amount {
    Amount { nano_usd, tokens: 1 }
}

fn of_run(cap: u64) -> Vec<Source> {
    let cap = Some(Budget { nano_usd: Some(cap), tokens: None });
    vec![Source { owner: Owner::Run(run_id("00-a")), cap }]
}

#[tokio::test(start_paused = true)]
async fn sixty_four_branches_in_four_processes_never_pass_the_cap() {
    let bus = new_bus().await;
    let (spent, under_way, refused) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let processes: Vec<Budgets> =
        (0..4).map(|n| Budgets::new(Arc::clone(bus.broker()), format!("p{n}"), now_ms)).collect();
    let branch = |at: u64| {
        let (budgets, spent, under_way, refused) =
            (processes[usize::try_from(at % 4).unwrap()].clone(), &spent, &under_way, &refused);
        async move {
            for call in 0..5 {
                match hold(&budgets, &of_run(10_000), usd(900), LASTS).await {
                    Ok(held) => {
                        let most = under_way.fetch_add(900, Ordering::SeqCst) + 900;
                        assert!(spent.load(Ordering::SeqCst) + most <= 10_000, "the cap is passed");
                        sleep(Duration::from_millis(50 + at)).await;
                        let used = 10 + (at * 7 + call * 13) % 60;
                        spent.fetch_add(used, Ordering::SeqCst);
                        under_way.fetch_sub(900, Ordering::SeqCst);
                        held.settle(usd(used));
                    }
                    Err(HoldError::Short { free, .. }) => {
                        assert!(free.0.nano_usd.unwrap() < 900, "what is free could have been had");
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(HoldError::Broker(error)) => panic!("{error}"),
                }
            }
        }
    };
    join_all((0..64).map(branch)).await;
    sleep(Duration::from_secs(1)).await;
    let book = processes[0].book(&Owner::Run(run_id("00-a"))).await.unwrap().unwrap();
    assert_eq!((book.spent.nano_usd, book.held()), (spent.into_inner(), Amount::NONE), "to the nano-USD");
    assert!(book.spent.nano_usd > 9_100 && refused.into_inner() > 0, "it was used up: {book:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_held_counts_as_spent_when_its_time_is_up() {
    let bus = new_bus().await;
    let cap = Budget { nano_usd: Some(100), tokens: None };
    let mut book = Book::default();
    book.hold(&cap, "dead", usd(60), now_ms() + 45_000, now_ms()).unwrap();
    let written = serde_json::to_vec(&book).unwrap().into();
    bus.broker().kv_cas(subjects::BUDGETS, "run.00-a", written, 0).await.unwrap();
    let alive = Budgets::new(Arc::clone(bus.broker()), "alive".to_owned(), now_ms);
    let began = Instant::now();
    let error = hold(&alive, &of_run(100), usd(50), Duration::from_secs(300)).await.err();
    let Some(HoldError::Short { free, .. }) = error else { panic!("{error:?}") };
    assert_eq!(free.0.nano_usd, Some(40));
    let waited = began.elapsed().as_secs();
    assert!((45..50).contains(&waited), "{waited} s");
    hold(&alive, &of_run(100), usd(40), LASTS).await.unwrap().settle(usd(40));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_long_keeps_what_it_holds() {
    let bus = new_bus().await;
    let process = |name: &str| Budgets::new(Arc::clone(bus.broker()), name.to_owned(), now_ms);
    let (slow, other) = (process("slow"), process("other"));
    let held = hold(&slow, &of_run(100), usd(60), LASTS).await.unwrap();
    sleep(Duration::from_secs(600)).await;
    assert!(hold(&other, &of_run(100), usd(50), Duration::from_secs(100)).await.is_err());
    held.settle(usd(5));
    hold(&other, &of_run(100), usd(95), LASTS).await.unwrap().settle(usd(95));
}

/// Whoever asks may be gone before there is an answer.
#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_is_given_back() {
    let bus = new_bus().await;
    let budgets = Budgets::new(Arc::clone(bus.broker()), "p".to_owned(), now_ms);
    for polls in 0..12 {
        let sources = of_run(100);
        let mut hold = std::pin::pin!(hold(&budgets, &sources, usd(60), LASTS));
        for _ in 0..polls {
            if let std::task::Poll::Ready(held) = futures::poll!(hold.as_mut()) {
                held.unwrap().settle(Amount::NONE);
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    sleep(Duration::from_secs(1)).await;
    let book = budgets.book(&Owner::Run(run_id("00-a"))).await.unwrap().unwrap();
    assert_eq!((book.spent, book.held()), (Amount::NONE, Amount::NONE));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_paid_from_all_its_sources_or_from_none() {
    let bus = new_bus().await;
    let budgets = Budgets::new(Arc::clone(bus.broker()), "p".to_owned(), now_ms);
    let batch = Owner::Batch { tenant: "acme".to_owned(), batch: "b".to_owned() };
    let sources = || {
        let mut sources = of_run(1_000);
        sources.push(Source { owner: batch.clone(), cap: None });
        sources
    };
    hold(&budgets, &sources(), usd(500), LASTS).await.unwrap().settle(usd(10));
    assert_eq!(budgets.book(&batch).await.unwrap(), None, "without a cap nothing is kept");

    budgets.set_cap(&batch, Budget { nano_usd: None, tokens: Some(2) }, Amount::NONE).await.unwrap();
    hold(&budgets, &sources(), usd(500), LASTS).await.unwrap().settle(usd(10));
    let two = Amount { nano_usd: 1, tokens: 2 };
    let refused = hold(&budgets, &sources(), two, LASTS).await.err().unwrap().to_string();
    assert!(refused.contains("the budget of batch b of 2 tokens"), "{refused}");
    sleep(Duration::from_secs(1)).await;
    let run = budgets.book(&Owner::Run(run_id("00-a"))).await.unwrap().unwrap();
    assert_eq!((run.spent.nano_usd, run.held()), (20, Amount::NONE), "the run has nothing set aside for it");

    budgets.set_cap(&batch, Budget { nano_usd: None, tokens: Some(9) }, usd(700)).await.unwrap();
    hold(&budgets, &sources(), two, LASTS).await.unwrap().settle(Amount::NONE);
    let book = budgets.book(&batch).await.unwrap().unwrap();
    assert!(book.spent.nano_usd < 700, "it was counted before: {book:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cap_that_comes_late_counts_what_was_spent_before() {
    let bus = new_bus().await;
    let budgets = Budgets::new(Arc::clone(bus.broker()), "p".to_owned(), now_ms);
    let batch = Owner::Batch { tenant: "acme".to_owned(), batch: "b".to_owned() };
    let cap = Budget { nano_usd: Some(100), tokens: None };
    budgets.set_cap(&batch, cap, usd(80)).await.unwrap();
    let sources = [Source { owner: batch.clone(), cap: None }];
    assert!(hold(&budgets, &sources, usd(21), LASTS).await.is_err());
    hold(&budgets, &sources, usd(20), LASTS).await.unwrap().settle(usd(20));
    // Set once more, by a submit that goes on, it is counted once.
    budgets.set_cap(&batch, cap, usd(80)).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(budgets.book(&batch).await.unwrap().unwrap().spent.nano_usd, 100);
}
