//! Workers: slots, redelivery, drain, cancels, dead letters.

use std::{
    collections::VecDeque,
    future::{Future, pending},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use planfleet_bus::{
    Bus, Job, Pool, Settled, Worker,
    broker::{Headers, Outgoing},
    work::Origin,
};
use planfleet_core::command::StepOrder;
use planfleet_proto::{INLINE_BYTES_MAX, decode, subjects};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{ACK_WAIT, dead_letter, new_bus, order, pool, run_id, soon};

const GRACE: Duration = Duration::from_secs(5);

/// A worker that runs until it is stopped.
struct Running {
    stop: CancellationToken,
    worker: JoinSet<()>,
}

impl Running {
    fn start<H, F>(bus: &Bus, slots: usize, handler: H) -> Self
    where
        H: Fn(Job) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Settled> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let run = Worker::new(bus.clone(), pool(slots)).run(stop.clone(), GRACE, handler);
        let mut worker = JoinSet::new();
        worker.spawn(async move { run.await.expect("a broker") });
        Self { stop, worker }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        soon("the worker's end", self.worker.join_next()).await;
    }
}

/// Hands every job to the test and settles it as the test says.
fn desk() -> (impl Fn(Job) -> BoxedSettle + Clone + Send + Sync + 'static, mpsc::UnboundedReceiver<Job>) {
    let (sender, jobs) = mpsc::unbounded_channel();
    let handler = move |job: Job| -> BoxedSettle {
        sender.send(job).expect("a test that listens");
        Box::pin(pending())
    };
    (handler, jobs)
}

type BoxedSettle = std::pin::Pin<Box<dyn Future<Output = Settled> + Send>>;

/// Settles deliveries one after the other as listed, and says what was delivered.
fn listed(settled: Vec<Settled>) -> (impl Fn(Job) -> BoxedSettle + Clone + Send + Sync + 'static, Log) {
    let (log, todo) = (Log::default(), Arc::new(Mutex::new(VecDeque::from(settled))));
    let seen = log.clone();
    let handler = move |job: Job| -> BoxedSettle {
        seen.0.lock().expect("a log").push((job.subject.clone(), job.deliveries));
        let next = todo.lock().expect("a list").pop_front().unwrap_or(Settled::Done);
        Box::pin(async move { next })
    };
    (handler, log)
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(String, u64)>>>);

impl Log {
    fn deliveries(&self) -> Vec<u64> {
        self.0.lock().expect("a log").iter().map(|(_, deliveries)| *deliveries).collect()
    }
}

async fn dispatch(bus: &Bus, steps: std::ops::RangeInclusive<u32>) {
    for step in steps {
        bus.dispatch_step(&order(&run_id("00-a"), step), Origin::default()).await.expect("queued");
    }
}

async fn backlog(bus: &Bus) -> u64 {
    bus.broker().backlog(subjects::STEPS, "pool_default").await.expect("an answer")
}

/// Waits until the queue is empty.
async fn emptied(bus: &Bus) {
    let empty = async {
        while backlog(bus).await > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    soon("an empty queue", empty).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_carries_the_order_and_leaves_the_queue_when_done() {
    let bus = new_bus().await;
    let (sender, mut jobs) = mpsc::unbounded_channel();
    let worker = Running::start(&bus, 1, move |job: Job| {
        sender.send(job).expect("a test that listens");
        async { Settled::Done }
    });
    let mut large = order(&run_id("00-a"), 1);
    large.traceparent = Some("x".repeat(2 * INLINE_BYTES_MAX));
    bus.dispatch_step(&large, Origin::default()).await.unwrap();
    let job = soon("a job", jobs.recv()).await.unwrap();
    // The pool is in the subject alone. No `assert_eq`: nobody wants to see the difference.
    let carried = StepOrder { pool: large.pool.clone(), ..decode::step_order(&job.payload).unwrap() };
    assert!(carried == large, "also by reference");
    assert_eq!((job.subject.as_str(), job.deliveries), ("pf.steps.default.1.acme.00-a.1.1", 1));
    emptied(&bus).await;
    bus.dispatch_step(&large, Origin::default()).await.unwrap();
    assert_eq!(soon("a job", jobs.recv()).await.unwrap().deliveries, 1, "its name was free again");
    worker.stop().await;
}

/// As after an outage that was longer than the ack wait.
#[tokio::test(start_paused = true)]
async fn what_is_delivered_again_while_it_is_at_work_is_not_begun_again() {
    let bus = new_bus().await;
    let (begun, finish) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (counted, wanted) = (begun.clone(), finish.clone());
    let worker = Running::start(&bus, 4, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        let wanted = wanted.clone();
        async move {
            let _permit = wanted.acquire().await;
            Settled::Done
        }
    });
    // The broker waits for less than the worker thinks, so it hears nothing in time.
    let impatient = Pool { ack_wait: ACK_WAIT / 100, ..pool(4) }.consumer();
    bus.broker().ensure_consumer(&impatient).await.expect("a consumer");
    dispatch(&bus, 1..=1).await;
    sleep(ACK_WAIT).await;
    assert_eq!(begun.load(Ordering::Relaxed), 1);
    finish.add_permits(1);
    emptied(&bus).await;
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn exactly_as_many_jobs_as_slots_are_taken() {
    let bus = new_bus().await;
    dispatch(&bus, 1..=7).await;
    let gate = Arc::new(Semaphore::new(0));
    let (busy, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (entered, mut entries) = mpsc::unbounded_channel();
    let (at_gate, now_busy, most_busy) = (gate.clone(), busy.clone(), most.clone());
    let worker = Running::start(&bus, 3, move |_| {
        let (gate, busy, most) = (at_gate.clone(), now_busy.clone(), most_busy.clone());
        let entered = entered.clone();
        async move {
            most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            entered.send(()).expect("a test that listens");
            gate.acquire().await.expect("a gate").forget();
            busy.fetch_sub(1, Ordering::SeqCst);
            Settled::Done
        }
    });
    for _ in 0..3 {
        soon("a full worker", entries.recv()).await;
    }
    sleep(Duration::from_secs(3)).await;
    assert!(entries.try_recv().is_err(), "no more than its slots");
    let other = pull_all(&bus).await;
    assert_eq!(other, 4, "the rest is there for others");
    gate.add_permits(7);
    emptied(&bus).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    worker.stop().await;
}

/// What short jobs have made a worker hold ahead gets no slot when long ones come.
#[tokio::test(start_paused = true)]
async fn what_is_held_ahead_of_long_jobs_is_not_taken_again_and_again() {
    const SHORT: u32 = 800;
    const LONG: u32 = 48;
    let bus = new_bus().await;
    dispatch(&bus, 1..=SHORT + LONG).await;
    let deliveries = Log::default();
    let seen = deliveries.clone();
    let worker = Running::start(&bus, 16, move |job: Job| {
        let step = subjects::work(&job.subject).expect("work").what;
        let is_long = matches!(step, subjects::WorkKind::Step(step) if step.step > SHORT);
        seen.0.lock().expect("a log").push((job.subject, job.deliveries));
        async move {
            sleep(if is_long { Duration::from_secs(30) } else { Duration::from_millis(10) }).await;
            Settled::Done
        }
    });
    emptied(&bus).await;
    let deliveries = deliveries.deliveries();
    assert_eq!(deliveries.len(), (SHORT + LONG) as usize, "each is begun once");
    let most = deliveries.iter().max();
    assert_eq!(most, Some(&2), "some were held ahead, and handed back once");
    worker.stop().await;
}

/// How many jobs another worker can take just now; hands them back.
async fn pull_all(bus: &Bus) -> usize {
    use futures::StreamExt as _;
    let expires = Duration::from_millis(100);
    let pulled = bus.broker().pull(subjects::STEPS, "pool_default", 100, expires).await.expect("a pull");
    let deliveries: Vec<_> = pulled.collect().await;
    for delivery in &deliveries {
        delivery.as_ref().expect("a delivery").settle.give_back().await.expect("handed back");
    }
    deliveries.len()
}

#[tokio::test(start_paused = true)]
async fn a_long_job_is_not_delivered_again() {
    let bus = new_bus().await;
    dispatch(&bus, 1..=1).await;
    let began = Instant::now();
    let (sender, mut jobs) = mpsc::unbounded_channel();
    let worker = Running::start(&bus, 4, move |job: Job| {
        sender.send(job.deliveries).expect("a test that listens");
        async {
            sleep(ACK_WAIT * 5).await;
            Settled::Done
        }
    });
    emptied(&bus).await;
    assert!(began.elapsed() >= ACK_WAIT * 5);
    assert_eq!(soon("the job", jobs.recv()).await, Some(1));
    assert!(jobs.try_recv().is_err(), "delivered once");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_worker_had_is_delivered_again() {
    let bus = new_bus().await;
    dispatch(&bus, 1..=1).await;
    let (handler, mut jobs) = desk();
    let mut lost = Running::start(&bus, 1, handler.clone());
    assert_eq!(soon("a job", jobs.recv()).await.unwrap().deliveries, 1);
    lost.worker.shutdown().await;
    let began = Instant::now();
    let worker = Running::start(&bus, 1, handler);
    assert_eq!(soon("the job again", jobs.recv()).await.unwrap().deliveries, 2);
    assert!(began.elapsed() <= ACK_WAIT, "{:?}", began.elapsed());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_it_can_within_the_grace() {
    let bus = new_bus().await;
    dispatch(&bus, 1..=2).await;
    let (entered, mut entries) = mpsc::unbounded_channel();
    let worker = Running::start(&bus, 2, move |_| {
        entered.send(()).expect("a test that listens");
        async {
            sleep(GRACE / 2).await;
            Settled::Done
        }
    });
    soon("a job", entries.recv()).await;
    soon("a job", entries.recv()).await;
    let began = Instant::now();
    worker.stop().await;
    assert!(began.elapsed() < GRACE, "it does not wait for the whole grace");
    assert_eq!(backlog(&bus).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_hands_back_what_does_not_finish() {
    let bus = new_bus().await;
    dispatch(&bus, 1..=1).await;
    let (handler, mut jobs) = desk();
    let worker = Running::start(&bus, 1, handler.clone());
    soon("a job", jobs.recv()).await;
    let began = Instant::now();
    worker.stop().await;
    assert!(began.elapsed() >= GRACE);
    let began = Instant::now();
    let other = Running::start(&bus, 1, handler);
    assert_eq!(soon("the job again", jobs.recv()).await.unwrap().deliveries, 2);
    assert!(began.elapsed() < Duration::from_millis(10), "not only after the ack wait");
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_right_after_a_delivery_hands_it_back() {
    let bus = new_bus().await;
    let stop = CancellationToken::new();
    dispatch(&bus, 1..=1).await;
    let worker = Worker::new(bus.clone(), pool(1)).run(stop.clone(), Duration::ZERO, |_| pending());
    tokio::pin!(worker);
    // Polled by hand, so that the job's own task does not run before the stop.
    assert!(futures::poll!(worker.as_mut()).is_pending());
    stop.cancel();
    soon("the worker's end", worker).await.unwrap();
    assert_eq!(pull_all(&bus).await, 1, "not only after the ack wait");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_the_jobs_of_its_run_within_a_second() {
    let bus = new_bus().await;
    let (mine, other) = (run_id("00-a"), run_id("00-b"));
    for run in [&mine, &other] {
        bus.dispatch_step(&order(run, 1), Origin::default()).await.unwrap();
    }
    let (handler, mut jobs) = desk();
    let worker = Running::start(&bus, 4, handler);
    let mut taken = [soon("a job", jobs.recv()).await.unwrap(), soon("a job", jobs.recv()).await.unwrap()];
    taken.sort_by(|a, b| a.subject.cmp(&b.subject));
    let began = Instant::now();
    bus.broadcast_cancel(&mine).await.unwrap();
    soon("the cancel", taken[0].cancelled.cancelled()).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(!taken[1].cancelled.is_cancelled(), "another run goes on");
    bus.dispatch_step(&order(&mine, 2), Origin::default()).await.unwrap();
    let late = soon("a job", jobs.recv()).await.unwrap();
    assert!(late.cancelled.is_cancelled(), "a step that was pulled after the order");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_from_before_a_worker_s_start_reaches_it() {
    let bus = new_bus().await;
    let (mine, other) = (run_id("00-a"), run_id("00-b"));
    bus.broadcast_cancel(&mine).await.unwrap();
    bus.broadcast_cancel(&mine).await.expect("an order that stands already");
    for run in [&mine, &other] {
        bus.dispatch_step(&order(run, 1), Origin::default()).await.unwrap();
    }
    let (handler, mut jobs) = desk();
    let worker = Running::start(&bus, 4, handler);
    let mut taken = [soon("a job", jobs.recv()).await.unwrap(), soon("a job", jobs.recv()).await.unwrap()];
    taken.sort_by(|a, b| a.subject.cmp(&b.subject));
    soon("the cancel", taken[0].cancelled.cancelled()).await;
    assert!(!taken[1].cancelled.is_cancelled(), "another run goes on");
    worker.stop().await;
}

/// A worker that comes while a broker elects finds nothing there at first.
#[tokio::test(start_paused = true)]
async fn an_unreadable_body_is_set_aside() {
    let bus = new_bus().await;
    let (handler, log) = listed(vec![]);
    let worker = Running::start(&bus, 1, handler);
    let subject = "pf.steps.default.1.acme.00-a.1.1".to_owned();
    let headers = Headers::from([("Pf-Blob".to_owned(), "00".repeat(32))]);
    let gone = Outgoing { subject: subject.clone(), headers, payload: Bytes::new(), ..Outgoing::default() };
    bus.broker().publish(gone).await.unwrap();
    emptied(&bus).await;
    let (letter, count) = dead_letter(&bus, "pf.dlq.work.default").await.expect("a dead letter");
    assert_eq!((letter.subject, count), (subject, 1));
    assert!(letter.reason.contains("missing"), "{}", letter.reason);
    assert_eq!(log.deliveries(), [] as [u64; 0], "the handler never sees it");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_handler_cannot_read_is_set_aside() {
    let bus = new_bus().await;
    dispatch(&bus, 1..=1).await;
    let (handler, log) = listed(vec![Settled::Unreadable("no order".to_owned())]);
    let worker = Running::start(&bus, 1, handler);
    emptied(&bus).await;
    let (letter, _) = dead_letter(&bus, "pf.dlq.work.default").await.expect("a dead letter");
    assert_eq!(letter.reason, "no order");
    assert!(!letter.payload.is_empty(), "its bytes are kept");
    assert_eq!(log.deliveries(), [1]);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_is_delivered_again_at_once() {
    let bus = new_bus().await;
    dispatch(&bus, 1..=1).await;
    let (handler, log) = listed(vec![Settled::GiveBack, Settled::GiveBack, Settled::Done]);
    let began = Instant::now();
    let worker = Running::start(&bus, 1, handler);
    emptied(&bus).await;
    assert_eq!(log.deliveries(), [1, 2, 3]);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_costs_a_delivery_and_nothing_else() {
    let bus = new_bus().await;
    dispatch(&bus, 1..=1).await;
    let (sender, mut jobs) = mpsc::unbounded_channel();
    let worker = Running::start(&bus, 1, move |job: Job| {
        sender.send(job.deliveries).expect("a test that listens");
        async move { if job.deliveries == 1 { panic!("a bug") } else { Settled::Done } }
    });
    let began = Instant::now();
    assert_eq!(soon("a job", jobs.recv()).await, Some(1));
    assert_eq!(soon("the job again", jobs.recv()).await, Some(2));
    emptied(&bus).await;
    worker.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "nothing waited for: {:?}", began.elapsed());
}
