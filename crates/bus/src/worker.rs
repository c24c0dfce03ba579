//! Taking work: pulls exactly as much as there are free slots, extends what
//! takes long, settles what is done, hands back what cannot be finished.
//!
//! Planners and executors run one each; what they do with a job is theirs.

mod cancels;
mod slots;

use std::{
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt as _, StreamExt as _,
    future::join_all,
    stream::{BoxStream, SelectAll},
};
use planfleet_core::{
    failure::{Failure, FailureClass},
    record::{AttemptReport, Draft, Fact, StepFailed},
    seeded::{self, Bug},
};
use planfleet_proto::subjects;
use tokio::{
    sync::OwnedSemaphorePermit,
    task::JoinSet,
    time::{Instant, interval_at, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

pub use self::slots::Slot;
use self::{
    cancels::Cancels,
    slots::{Pace, Slots},
};
use crate::{
    Bus, DeadLetter, Error,
    broker::{self, Delivery, Settle},
    topology::Pool,
    trace,
};

/// How long one pull waits for work. Short, because a stop waits for it; long
/// enough that an idle worker asks once a second and no more.
const PULL_EXPIRES: Duration = Duration::from_secs(1);

/// While work is asked for already, more is asked for when at least one slot in so many is
/// free: with one request for each slot of many, the requests would cost more than the work.
const SLOTS_PER_PULL_MIN: usize = 16;

/// And as soon as this many are, however many there are: a request is cheap beside as much
/// work, and a slot that waits for others to be free does nothing.
const SLOTS_FREE_MAX: usize = 16;

/// How long a stop waits for the broker to confirm the last acks: several answers' time.
const LAST_ACKS: Duration = Duration::from_secs(1);

/// Wait after a pull that failed: the broker is restarting or electing.
const PULL_RETRY: Duration = Duration::from_millis(250);

/// One job.
#[derive(Debug, Clone)]
pub struct Job {
    /// The subject: the job's name.
    pub subject: String,
    /// The body.
    pub payload: Bytes,
    /// How often it has been delivered, this time included.
    pub deliveries: u64,
    /// When it was queued, by the broker's clock, in milliseconds since the Unix epoch.
    pub queued_ms: u64,
    /// Cancelled when nobody wants the result any more.
    pub cancelled: CancellationToken,
    /// What the job works in. A handler whose work is done and has only to be recorded
    /// may leave it to the next job.
    pub slot: Slot,
}

/// How a job ended for the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Its outcome is recorded: it leaves the queue.
    Done,
    /// Its outcome could not be recorded: another worker shall do it.
    GiveBack,
    /// It cannot be read by anybody: it is set aside.
    Unreadable(String),
}

/// Takes work from one pool.
#[derive(Clone)]
pub struct Worker {
    bus: Bus,
    pool: Pool,
    cancels: Cancels,
}

struct Flight {
    settle: Arc<dyn Settle>,
    subject: String,
    /// Whether its outcome is in the log.
    recorded: bool,
}

impl Flight {
    fn of(delivery: &Delivery) -> Self {
        Self { settle: Arc::clone(&delivery.settle), subject: delivery.subject.clone(), recorded: false }
    }
}

/// What a job has of its worker.
struct Place {
    number: u64,
    in_flight: InFlight,
    room: OwnedSemaphorePermit,
    slots: Slots,
    stop: CancellationToken,
}

/// A delivery as it lies in the queue, its body perhaps elsewhere.
struct Original {
    subject: String,
    headers: broker::Headers,
    payload: Bytes,
}

/// What a pull brings: work, each piece with the room that it takes.
type Pull = BoxStream<'static, Result<(Delivery, Option<OwnedSemaphorePermit>), broker::Error>>;

type InFlight = Arc<Mutex<BTreeMap<u64, Flight>>>;

impl Worker {
    /// A worker for `pool`.
    #[must_use]
    pub fn new(bus: Bus, pool: Pool) -> Self {
        Self { bus, pool, cancels: Cancels::default() }
    }

    /// Works until `stop`, then finishes what is in flight within `grace` and
    /// hands the rest back.
    ///
    /// # Errors
    /// When the broker has no cancels to follow: the fleet is not made. What is out of
    /// reach is waited for.
    pub async fn run<H, F>(self, stop: CancellationToken, grace: Duration, handler: H) -> Result<(), Error>
    where
        H: Fn(Job) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Settled> + Send + 'static,
    {
        let in_flight = InFlight::default();
        let mut jobs = JoinSet::new();
        let (cancels, broker) = (self.cancels.clone(), Arc::clone(self.bus.broker()));
        let cancelled = Cancels::open(&*broker).await?;
        jobs.spawn(async move { cancels.follow(broker, cancelled).await });
        let bus = self.bus.clone();
        jobs.spawn(async move { bus.follow_watchers().await });
        let pulls = self.take_work(&stop, &mut jobs, &in_flight, handler).await;
        tokio::join!(hand_back(pulls), drain(jobs, &in_flight, grace));
        Ok(())
    }

    async fn take_work<H, F>(
        &self,
        stop: &CancellationToken,
        jobs: &mut JoinSet<()>,
        in_flight: &InFlight,
        handler: H,
    ) -> SelectAll<Pull>
    where
        H: Fn(Job) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Settled> + Send + 'static,
    {
        let slots = Slots::new(self.pool.slots);
        let mut pace = Pace::of(&slots);
        let enough = (self.pool.slots / SLOTS_PER_PULL_MIN).clamp(1, SLOTS_FREE_MAX);
        let mut pulls = SelectAll::new();
        let mut number = 0;
        let mut pull_from = Instant::now();
        loop {
            while jobs.try_join_next().is_some() {}
            pace.look();
            let wanted = if pulls.is_empty() { 1 } else { enough };
            let pulled = tokio::select! {
                biased;
                () = stop.cancelled() => return pulls,
                Some(pulled) = pulls.next() => pulled,
                room = slots.room(wanted, pull_from) => {
                    match self.pull(room).await {
                        Ok(pull) => pulls.push(pull),
                        Err(error) => self.put_off(&error, &mut pull_from),
                    }
                    continue;
                }
            };
            match pulled {
                // It will be settled as one; handed back, somebody else would begin it.
                Ok((delivery, _)) if is_at_work(in_flight, &delivery) => {
                    tracing::info!(subject = delivery.subject, "delivered again while it is at work here");
                }
                Ok((delivery, Some(room))) => {
                    number += 1;
                    // Before the task first runs, so that a stop in between hands it back.
                    lock(in_flight).insert(number, Flight::of(&delivery));
                    let place = Place {
                        number,
                        in_flight: in_flight.clone(),
                        room,
                        slots: slots.clone(),
                        stop: stop.clone(),
                    };
                    let span = self.span(&delivery);
                    let work = self.clone().process(place, delivery, handler.clone());
                    jobs.spawn(work.instrument(span));
                }
                // More than were asked for.
                Ok((delivery, None)) => give_back(&delivery.subject, &*delivery.settle).await,
                // The other pulls go on, or end for the same reason.
                Err(error) => self.put_off(&error, &mut pull_from),
            }
        }
    }

    /// Asks for more only in a while, as after every error: one line for all of a moment.
    fn put_off(&self, error: &broker::Error, pull_from: &mut Instant) {
        let now = Instant::now();
        if now >= *pull_from {
            *pull_from = now + PULL_RETRY;
            tracing::warn!(pool = %self.pool.name, %error, "cannot pull work; trying again");
        }
    }

    /// A broker that restarts or elects, or a pool that is not made yet.
    async fn pause(&self, error: &broker::Error) {
        tracing::warn!(pool = %self.pool.name, %error, "cannot pull work; trying again");
        sleep(PULL_RETRY).await;
    }

    /// Asks for as much as there is room for; each delivery takes its own along. When the pull
    /// is over, the rest is free again.
    async fn pull(&self, mut permits: OwnedSemaphorePermit) -> Result<Pull, broker::Error> {
        let (consumer, max) = (subjects::pool_consumer(&self.pool.name), permits.num_permits());
        let pulled = self.bus.broker().pull(subjects::STEPS, &consumer, max, PULL_EXPIRES).await?;
        Ok(pulled.map(move |delivery| delivery.map(|delivery| (delivery, permits.split(1)))).boxed())
    }

    fn span(&self, delivery: &Delivery) -> Span {
        let Delivery { subject, headers, payload, deliveries, .. } = delivery;
        trace::processing(subject, headers, &self.pool.name, payload.len(), *deliveries)
    }

    async fn process<H, F>(self, place: Place, delivery: Delivery, handler: H)
    where
        H: Fn(Job) -> F + Send + 'static,
        F: Future<Output = Settled> + Send + 'static,
    {
        let Place { number, in_flight, room, slots, stop } = place;
        let Delivery { subject, headers, payload, deliveries, at_ms, settle } = delivery;
        if seeded::is_on(Bug::AckBeforeWork) {
            let _ = settle.ack().await;
        }
        let settled = {
            // Where it is, as it is large: a future that is handed on is copied.
            let work = pin!(async {
                let slot = slots.slot(&stop).await?;
                let told = (deliveries, at_ms);
                Some(self.body_and_job(&subject, &headers, payload.clone(), told, slot, handler).await)
            });
            extend_while(self.pool.ack_wait / 3, &*settle, work).await
        };
        if settled == Some(Settled::Done) {
            // The outcome is recorded: the next one need not wait for the broker to have heard.
            if let Some(flight) = lock(&in_flight).get_mut(&number) {
                flight.recorded = true;
            }
            slots.finished(room);
        } else if settled.is_none() {
            slots.not_begun(room);
        }
        let settled = settled.unwrap_or(Settled::GiveBack);
        let again = deliveries == 1 && seeded::is_on(Bug::DoneHandedBack);
        let settled = if again { Settled::GiveBack } else { settled };
        self.settle(Original { subject, headers, payload }, &*settle, settled).await;
        lock(&in_flight).remove(&number);
    }

    /// Fetches the body, which may be large and far away, and does the job.
    async fn body_and_job<H, F>(
        &self,
        subject: &str,
        headers: &broker::Headers,
        payload: Bytes,
        (deliveries, queued_ms): (u64, u64),
        slot: Slot,
        handler: H,
    ) -> Settled
    where
        H: Fn(Job) -> F + Send + 'static,
        F: Future<Output = Settled> + Send + 'static,
    {
        let payload = match self.bus.body(subject, headers, payload).await {
            Ok(body) => body,
            Err(Error::Broker(error)) if !error.is_permanent() => {
                self.pause(&error).await;
                return Settled::GiveBack;
            }
            Err(error) => return Settled::Unreadable(error.to_string()),
        };
        let cancelled = self.cancels.token(subject);
        let job = Job {
            subject: subject.to_owned(),
            payload,
            deliveries,
            queued_ms,
            cancelled,
            slot: slot.clone(),
        };
        // One bad job must not leave its delivery behind, unsettled until the ack wait.
        let done = pin!(AssertUnwindSafe(async move { handler(job).await }).catch_unwind()).await;
        slot.free();
        self.cancels.done(subject);
        done.unwrap_or_else(|_panic| panicked(subject))
    }

    async fn settle(&self, original: Original, settle: &dyn Settle, settled: Settled) {
        let subject = original.subject.clone();
        let outcome = match settled {
            Settled::Done => settle.ack().await.map_err(Error::from),
            Settled::GiveBack => settle.give_back().await.map_err(Error::from),
            Settled::Unreadable(reason) => Box::pin(self.set_aside(original, settle, reason)).await,
        };
        if let Err(error) = outcome {
            // The broker delivers it again after the ack wait, and the fold ignores what it knows.
            tracing::warn!(subject, %error, "could not settle; it will be delivered again");
        }
    }

    async fn set_aside(&self, original: Original, settle: &dyn Settle, reason: String) -> Result<(), Error> {
        let Original { subject, headers, payload } = original;
        tracing::error!(subject, reason, "unreadable work set aside in the dead letters");
        self.report_unreadable(&subject, &reason).await?;
        self.bus
            .set_aside(DeadLetter {
                to: subjects::dead_work(&self.pool.name),
                stream: subjects::STEPS.to_owned(),
                seq: 0,
                subject,
                reason,
                headers,
                payload,
            })
            .await?;
        Ok(settle.ack().await?)
    }
}

impl Worker {
    /// The subject still says whose work it is: its run must not wait for it.
    async fn report_unreadable(&self, subject: &str, reason: &str) -> Result<(), Error> {
        let Some(work) = subjects::work(subject) else { return Ok(()) };
        let message = format!("no worker of pool {} can read it: {reason}", self.pool.name);
        let failure = Failure::new(FailureClass::Lost, message);
        self.bus.append(&work.run, &failed(work.what, work.attempt, failure)).await
    }
}

/// The record of work that came to nothing before anybody began it.
pub fn failed(what: subjects::WorkKind, attempt: u32, failure: Failure) -> Fact {
    match what {
        subjects::WorkKind::Step(step) => {
            let attempt = AttemptReport::unbegun(step, attempt);
            Fact::StepFailed(Box::new(StepFailed { attempt, failure }))
        }
        subjects::WorkKind::Planning(revision) => Fact::PlanFailed {
            draft: Draft { revision, attempt, take: u32::MAX },
            failure,
            usage: Vec::new(),
        },
    }
}

/// Whether a delivery is of work that was not given back: the broker has counted an ack
/// wait during which it could not be told that the work goes on.
fn is_at_work(in_flight: &InFlight, delivery: &Delivery) -> bool {
    delivery.deliveries > 1 && lock(in_flight).values().any(|flight| flight.subject == delivery.subject)
}

fn panicked(subject: &str) -> Settled {
    tracing::error!(subject, "the work panicked; another delivery of it is counted");
    Settled::GiveBack
}

/// Runs a job and tells the broker now and then that it goes on.
async fn extend_while<F: Future>(every: Duration, settle: &dyn Settle, mut job: Pin<&mut F>) -> F::Output {
    let every = every.max(Duration::from_millis(100));
    let mut ticks = interval_at(Instant::now() + every, every);
    loop {
        tokio::select! {
            biased;
            settled = &mut job => return settled,
            _ = ticks.tick() => {
                if let Err(error) = settle.progress().await {
                    tracing::debug!(%error, "progress ack not sent");
                }
            }
        }
    }
}

/// Lets jobs finish for `grace`, then hands back what is left.
async fn drain(mut jobs: JoinSet<()>, in_flight: &InFlight, grace: Duration) {
    let all_done = async {
        while !lock(in_flight).is_empty() {
            if jobs.join_next().await.is_none() {
                break;
            }
        }
    };
    let finished = timeout(grace, all_done).await.is_ok();
    jobs.abort_all();
    if finished {
        return;
    }
    let left = std::mem::take(&mut *lock(in_flight));
    let (recorded, others): (Vec<_>, Vec<_>) = left.into_values().partition(|flight| flight.recorded);
    for flight in &others {
        give_back(&flight.subject, &*flight.settle).await;
    }
    // Handed back, somebody would do again what is done.
    let acks = join_all(recorded.iter().map(|flight| flight.settle.ack()));
    if timeout(LAST_ACKS, acks).await.is_err() {
        tracing::warn!("acks of finished work are not confirmed; it may be delivered again");
    }
}

/// Gives back what open pulls still bring. One that is dropped would leave what is on its
/// way with nobody until its ack wait is over.
async fn hand_back(mut pulls: SelectAll<Pull>) {
    let rest = async {
        while let Some(pulled) = pulls.next().await {
            if let Ok((delivery, _)) = pulled {
                give_back(&delivery.subject, &*delivery.settle).await;
            }
        }
    };
    // Each ends by itself in that time.
    let _ = timeout(PULL_EXPIRES + LAST_ACKS, rest).await;
}

async fn give_back(subject: &str, settle: &dyn Settle) {
    if let Err(error) = settle.give_back().await {
        tracing::warn!(subject, %error, "could not hand back; it will be delivered again");
    }
}

/// A poisoned lock only means that another job panicked between two map operations.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
