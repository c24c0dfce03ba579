//! Submitting batches on a broker in memory: the window, stops, and what is written.

#![expect(clippy::unwrap_used, reason = "a rig that does not work fails its test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _};
use planfleet_api::{
    batch::{Desk, Event, Order, Outcome, Tallies, status::status, submit},
    submission::Scope,
};
use planfleet_bus::{
    Bus, Client, Manage, Topology,
    broker::{Headers, LiveMessage, memory::MemoryBroker},
    budgets::{Budgets, Owner},
};
use planfleet_core::{
    document::{RunDocument, RunState, Timings},
    id::RunId,
    record::Fact,
    task::{Budget, Submission},
    usage::Ledger,
};
use planfleet_proto::{decode::Entry, subjects};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

const SHARDS: u16 = 2;

/// A fleet that ends each run a moment after it was submitted.
struct Fleet {
    bus: Bus,
    /// Submits in the logs, by run.
    submits: Arc<std::sync::Mutex<BTreeMap<RunId, u64>>>,
    ended: Arc<AtomicU64>,
    /// Most runs that were open at once.
    most_open: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Fleet {
    async fn start(takes: Duration) -> Self {
        let bus = Bus::new(Arc::new(MemoryBroker::new()), SHARDS);
        let topology = Topology { shards: SHARDS, replicas: 1, pools: Vec::new(), manage: Manage::Create };
        bus.bootstrap(&topology).await.unwrap();
        let mut fleet = Self {
            bus: bus.clone(),
            submits: Arc::default(),
            ended: Arc::default(),
            most_open: Arc::default(),
            _tasks: JoinSet::new(),
        };
        for shard in 0..SHARDS {
            let bus = bus.clone();
            let (submits, ended, most) =
                (Arc::clone(&fleet.submits), Arc::clone(&fleet.ended), Arc::clone(&fleet.most_open));
            fleet._tasks.spawn(async move {
                let mut ends = JoinSet::new();
                let mut entries = bus.read_journal(shard, 1).await.unwrap();
                while let Some(entry) = entries.next().await {
                    let Entry::Run(record) = entry.unwrap().content.unwrap() else { continue };
                    let Fact::TaskSubmitted(submission) = record.fact else { continue };
                    let all = {
                        let mut submits = submits.lock().unwrap();
                        *submits.entry(record.run.clone()).or_default() += 1;
                        submits.len() as u64
                    };
                    most.fetch_max(all - ended.load(Ordering::SeqCst), Ordering::SeqCst);
                    let (bus, ended, run) = (bus.clone(), Arc::clone(&ended), record.run);
                    ends.spawn(async move {
                        sleep(takes).await;
                        ended.fetch_add(1, Ordering::SeqCst);
                        bus.finish(&document(run, &submission)).await.unwrap();
                    });
                }
            });
        }
        fleet
    }

    async fn submit(&self, order: Order, text: &str, stop: &CancellationToken) -> (Outcome, Vec<String>) {
        let client = Client::new(self.bus.clone());
        let find = |name: String| async move { Ok(Err(vec![format!("there is no {name}")])) }.boxed();
        let desk = Desk { client: &client, scope: &Scope::default(), templates: &find };
        let mut seen = Vec::new();
        let mut on = |event: Event<'_>| match event {
            Event::Refused(rejection) => seen.push(format!("line {}", rejection.line)),
            Event::Ended { document: Some(document), .. } => seen.push(document.unwrap()),
            _ => {}
        };
        let outcome = submit(&desk, order, text.as_bytes(), stop, &mut on).await.unwrap();
        (outcome, seen)
    }

    /// Says of every run that it is not known.
    async fn know_no_runs(&mut self) {
        for shard in 0..SHARDS {
            let mut asked = self.bus.broker().subscribe(&subjects::reads(shard)).await.unwrap();
            let bus = self.bus.clone();
            self._tasks.spawn(async move {
                while let Some(LiveMessage { reply, .. }) = asked.next().await {
                    bus.broker().publish_live(reply.unwrap(), Headers::new(), "null".into()).await.unwrap();
                }
            });
        }
    }

    /// How often the run of each task was submitted.
    fn submits(&self) -> Vec<u64> {
        self.submits.lock().unwrap().values().copied().collect()
    }
}

fn document(run: RunId, submission: &Submission) -> RunDocument {
    let task = &submission.task;
    RunDocument {
        run_id: run,
        custom_id: task.custom_id.clone(),
        batch_id: task.batch.clone(),
        tenant: task.tenant().to_owned(),
        submission: Arc::new(submission.clone()),
        created_ms: 1,
        ended_ms: Some(2),
        rerun_of: None,
        parent: None,
        state: RunState::Succeeded,
        answer: None,
        partial: false,
        end: None,
        paused: None,
        approvals: Vec::new(),
        planning: None,
        revisions: Vec::new(),
        final_step: None,
        steps: Vec::new(),
        usage: Ledger::default(),
        nano_usd: Some(1),
        timings: Timings::default(),
        cache: None,
        class: None,
        rerun: None,
        report: None,
    }
}

fn order(window: usize) -> Order {
    Order {
        id: "b".to_owned(),
        tenant: "acme".to_owned(),
        budget: Budget::default(),
        labels: BTreeMap::from([("team".to_owned(), "books".to_owned())]),
        mode: None,
        window,
        total: None,
        wait: true,
        documents: false,
        now_ms: || 1,
    }
}

fn tasks(count: usize) -> String {
    (0..count).map(|n| format!("{{\"goal\": \"Do {n}.\", \"custom_id\": \"t{n}\"}}\n")).collect()
}

#[tokio::test(start_paused = true)]
async fn submission_is_never_further_ahead_than_the_window() {
    for window in [1, 7, 300] {
        let fleet = Fleet::start(Duration::from_millis(100)).await;
        let (outcome, _) = fleet.submit(order(window), &tasks(700), &CancellationToken::new()).await;
        assert!(!outcome.stopped);
        assert_eq!((outcome.progress.submitted, outcome.progress.tally.succeeded), (700, 700));
        assert_eq!((outcome.batch.total, outcome.batch.submitted), (Some(700), 700));
        let most = fleet.most_open.load(Ordering::SeqCst);
        assert!(most <= window as u64, "{most} runs were open");
        assert!(most >= (window as u64).min(200), "and the window is used: {most}");
        assert!(fleet.submits().iter().all(|count| *count == 1));
    }
}

/// Stopped anywhere and taken up again, everything is submitted once, and no further ahead.
#[tokio::test(start_paused = true)]
async fn a_submit_that_is_stopped_goes_on() {
    const WINDOW: usize = 20;
    let fleet = Fleet::start(Duration::from_millis(50)).await;
    let mut submitted = 0;
    for pause_ms in [0, 30, 60, 100, 120, 160] {
        let stop = CancellationToken::new();
        let stopping = async {
            sleep(Duration::from_millis(pause_ms)).await;
            stop.cancel();
        };
        let text = tasks(400);
        let ((outcome, _), ()) = tokio::join!(fleet.submit(order(WINDOW), &text, &stop), stopping);
        assert!(outcome.stopped && outcome.progress.submitted < 400);
        submitted += outcome.progress.new;
    }
    assert!(submitted > 50, "{submitted}");
    let (outcome, seen) = fleet
        .submit(Order { documents: true, ..order(WINDOW) }, &tasks(400), &CancellationToken::new())
        .await;
    assert_eq!(outcome.progress.submitted, 400);
    // What was on its way when it was stopped has perhaps arrived.
    assert!((1..=400).contains(&(outcome.progress.new + submitted)), "what was submitted is known to be");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 400, "each document is handed out once");
    assert_eq!(fleet.submits(), vec![1; 400]);
    let most = fleet.most_open.load(Ordering::SeqCst);
    assert!(most <= WINDOW as u64, "{most} runs were open");
}

/// Keys are kept for longer than ends.
#[tokio::test(start_paused = true)]
async fn ends_that_are_kept_no_more_are_not_waited_for() {
    let mut fleet = Fleet::start(Duration::from_millis(10)).await;
    let stop = CancellationToken::new();
    fleet.submit(order(5), &tasks(30), &stop).await;
    fleet.bus.broker().trim(subjects::DONE, 21).await.unwrap();
    fleet.know_no_runs().await;
    let text = tasks(31);
    let again = tokio::time::timeout(Duration::from_secs(600), fleet.submit(order(5), &text, &stop));
    let (outcome, _) = again.await.expect("it does not wait for ever");
    let progress = &outcome.progress;
    assert_eq!((progress.submitted, progress.new, progress.tally.succeeded), (31, 1, 11));
    assert_eq!(fleet.submits(), vec![1; 31]);
}

#[tokio::test(start_paused = true)]
async fn a_second_submit_that_stops_early_takes_no_refusal_back() {
    let fleet = Fleet::start(Duration::from_millis(10)).await;
    let text = format!("{}nonsense\n", tasks(40));
    let (first, _) = fleet.submit(order(5), &text, &CancellationToken::new()).await;
    assert_eq!((first.batch.rejected, first.batch.total), (1, Some(41)));
    let stop = CancellationToken::new();
    stop.cancel();
    let (second, _) = fleet.submit(order(5), &text, &stop).await;
    assert!(second.stopped);
    assert_eq!((second.batch.rejected, second.batch.rejections.len(), second.batch.submitted), (1, 1, 40));
    // A whole one that finds nothing wrong does.
    let (third, _) = fleet.submit(order(5), &tasks(41), &CancellationToken::new()).await;
    assert_eq!((third.batch.rejected, third.batch.rejections.len(), third.batch.total), (0, 0, Some(41)));
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_of_a_batch_is_not_read_again() {
    let fleet = Fleet::start(Duration::ZERO).await;
    let (client, stop) = (Client::new(fleet.bus.clone()), CancellationToken::new());
    let tallies = Tallies::default();
    fleet.submit(order(9), &tasks(5), &stop).await;
    let counted = async |tallies: &Tallies| status(&client, "b", tallies).await.unwrap().tally.succeeded;
    assert_eq!(counted(&tallies).await, 5);
    // As if they were dropped for their age: who reads them all finds none.
    fleet.bus.broker().trim(subjects::DONE, u64::MAX).await.unwrap();
    assert_eq!((counted(&tallies).await, counted(&Tallies::default()).await), (5, 0));
    fleet.submit(Order { wait: false, ..order(9) }, &tasks(7), &stop).await;
    while fleet.ended.load(Ordering::SeqCst) < 7 {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!((counted(&tallies).await, counted(&Tallies::default()).await), (7, 2));
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_given_later_knows_what_was_spent_before() {
    let fleet = Fleet::start(Duration::from_millis(10)).await;
    let stop = CancellationToken::new();
    fleet.submit(order(9), &tasks(4), &stop).await;
    let budget = Budget { nano_usd: Some(50), tokens: None };
    fleet.submit(Order { budget, ..order(9) }, &tasks(4), &stop).await;
    let books = Budgets::new(Arc::clone(fleet.bus.broker()), "test".to_owned(), || 1);
    let owner = Owner::Batch { tenant: "acme".to_owned(), batch: "b".to_owned() };
    let book = books.book(&owner).await.unwrap().unwrap();
    // Each run has cost one.
    assert_eq!((book.cap, book.spent.nano_usd), (Some(budget), 4));
}

#[tokio::test(start_paused = true)]
async fn labels_tenant_and_budget_are_those_of_the_batch() {
    let fleet = Fleet::start(Duration::ZERO).await;
    let budget = Budget { nano_usd: Some(5), tokens: Some(7) };
    let text = "{\"goal\": \"g\", \"labels\": {\"team\": \"own\"}}\nnonsense\n{\"goal\": \"h\"}\n";
    let with_budget = Order { budget, documents: true, ..order(9) };
    let (outcome, seen) = fleet.submit(with_budget, text, &CancellationToken::new()).await;
    assert_eq!((outcome.progress.submitted, outcome.progress.rejected, outcome.batch.total), (2, 1, Some(3)));
    assert_eq!(outcome.batch.rejections[0].line, 2);
    assert!(seen.contains(&"line 2".to_owned()) && seen.len() == 3, "{seen:?}");
    let mut labels = BTreeSet::new();
    for shard in 0..SHARDS {
        let tail = usize::try_from(fleet.bus.journal_tail(shard).await.unwrap()).unwrap();
        let mut entries = fleet.bus.read_journal(shard, 1).await.unwrap().take(tail);
        while let Some(entry) = entries.next().await {
            let Entry::Run(record) = entry.unwrap().content.unwrap() else { panic!("no run") };
            let Fact::TaskSubmitted(submission) = record.fact else { panic!("no submit") };
            assert_eq!((submission.task.tenant(), submission.task.batch.as_deref()), ("acme", Some("b")));
            labels.insert((submission.task.custom_id.unwrap(), submission.task.labels["team"].clone()));
        }
    }
    let labelled = |line: &str, team: &str| (line.to_owned(), team.to_owned());
    assert_eq!(labels, BTreeSet::from([labelled("line-1", "own"), labelled("line-3", "books")]));
    let books = Budgets::new(Arc::clone(fleet.bus.broker()), "test".to_owned(), || 1);
    let owner = Owner::Batch { tenant: "acme".to_owned(), batch: "b".to_owned() };
    assert_eq!(books.book(&owner).await.unwrap().unwrap().cap, Some(budget));
}
