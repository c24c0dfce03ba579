//! Drives one owned shard: replays its log to the tail without a word, emits
//! what the state still owes, then folds, emits, fires and answers until the
//! lease is lost or handed over.
//!
//! **Invariant:** nothing is emitted once the lease has not been renewed for
//! most of its staleness: another may own the shard by then.

mod checkpoint;
mod debts;
mod load;
mod questions;
mod release;
mod replay;
mod snapshots;
mod tenure;

use std::{future::ready, sync::Arc};

use futures::{FutureExt as _, StreamExt as _};
use planfleet_bus::{Bus, Error, JournalEntry, broker::LiveMessage, lease::Held, live::News};
use planfleet_core::{
    command::Command,
    id::{RunId, ShardId, StepId},
    record::{Fact, Timer},
    seeded::{self, Bug},
};
use planfleet_proto::{decode::Entry, subjects};
use planfleet_runtime::tasks::Tasks;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use self::{debts::Debts, questions::Questions, release::Queue, snapshots::Snapshots, tenure::Tenure};
use crate::{
    Config,
    emitter::{self, Emitter},
    flow::Gate,
    follower::{FOLD_BATCH, Follower, Journal, Progress, Unreadable},
    instruments::Instruments,
    membership::Membership,
    reads,
    standby::Standby,
    tenants::Tenants,
    timers::Timers,
};

/// The wait for a timer that is due when it is armed.
const TIMER_AGAIN_MS: u64 = 1_000;

/// What following a shard from its beginning takes for each active run: a tenth of a
/// second for a thousand, measured on two busy cores.
const WARM_UP: Duration = Duration::from_micros(100);

/// The longest that somebody who should own a shard waits for it.
const WARM_UP_MAX: Duration = Duration::from_secs(60);

/// How driving a shard ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Its lease was handed back.
    HandedOver,
    /// Its lease is somebody else's, or nobody can tell.
    Lost(&'static str),
}

/// What owning a shard takes, besides the lease.
pub(crate) struct Means {
    pub(crate) bus: Bus,
    pub(crate) config: Arc<Config>,
    /// Where what is done beside the owner's work runs.
    pub(crate) tasks: Tasks,
    pub(crate) instruments: Arc<Instruments>,
    pub(crate) gate: Gate,
    pub(crate) tenants: Arc<Tenants>,
}

/// Owns a shard until its lease is lost or handed over; begins with what a standby has.
pub(crate) async fn drive(
    id: ShardId,
    means: Means,
    held: Held,
    standby: &mut Standby,
    membership: &Membership,
    stop: &CancellationToken,
) -> Ending {
    let mut tenure = Tenure::new(id, means.bus.clone(), means.config.clone(), held);
    let replayed = replay::replay(&mut tenure, standby, &means.instruments, stop).await;
    let ended = match replayed {
        Ok(Progress { follower, journal, unusable, .. }) => {
            let mut owner = Owner::new(id, means, tenure, follower);
            owner.snapshots.forget(&unusable);
            return owner.serve(journal, membership, stop).await;
        }
        Err(ended) => ended,
    };
    match ended {
        Stop::Asked => {
            let lease = tenure.held.lease.clone();
            tenure.hand_back(lease).await
        }
        Stop::Lost(why) => Ending::Lost(why),
        Stop::Broker(error) => {
            tracing::warn!(shard = id, %error, "cannot read the log");
            Ending::Lost("the broker is out of reach")
        }
    }
}

/// One owned shard.
struct Owner {
    id: ShardId,
    bus: Bus,
    config: Arc<Config>,
    instruments: Arc<Instruments>,
    tenure: Tenure,
    follower: Follower,
    timers: Timers,
    emitter: Emitter,
    gate: Gate,
    tenants: Arc<Tenants>,
    debts: Debts,
    queue: Queue,
    snapshots: Snapshots,
    pace: load::Pace,
    trimmed_to: u64,
    /// Since when another one should own the shard.
    unwanted_since: Option<Instant>,
}

impl Owner {
    fn new(id: ShardId, means: Means, tenure: Tenure, follower: Follower) -> Self {
        let Means { bus, config, tasks, instruments, gate, tenants } = means;
        let lease = &tenure.held.lease;
        let known = lease.snapshots.clone();
        Self {
            id,
            timers: Timers::default(),
            emitter: Emitter::new(bus.clone(), lease.epoch),
            gate,
            tenants,
            debts: Debts::default(),
            queue: Queue::default(),
            snapshots: Snapshots::new(id, lease.epoch, bus.clone(), known, tasks, instruments.clone()),
            pace: load::Pace::default(),
            trimmed_to: 0,
            unwanted_since: None,
            tenure,
            follower,
            bus,
            config,
            instruments,
        }
    }

    async fn serve(
        mut self,
        mut journal: Journal,
        membership: &Membership,
        stop: &CancellationToken,
    ) -> Ending {
        if let Err(Stop::Lost(why)) = self.see_to_what_is_folded() {
            return Ending::Lost(why);
        }
        self.find_what_is_out();
        let Ok(asked) = self.bus.broker().subscribe(&subjects::reads(self.id)).await else {
            return Ending::Lost("the broker is out of reach");
        };
        let mut questions = Questions::new(asked);
        let mut renewals = interval(self.config.lease_renew);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let turn = self.turn(&mut journal, &mut questions, &mut renewals, stop).await;
            match turn {
                Ok(Turn::Go) => {}
                Ok(Turn::Renewed) if !self.is_to_hand_over(membership.prefers_self(self.id)) => {}
                Ok(Turn::Renewed | Turn::Stop) | Err(Stop::Asked) => return self.hand_over(membership).await,
                Err(Stop::Lost(why)) => return Ending::Lost(why),
                Err(Stop::Broker(error)) => {
                    tracing::warn!(shard = self.id, %error, "broker trouble; going on");
                }
            }
        }
    }

    /// Whether another one should own the shard, and has had the time to follow it: until
    /// then nobody would act for its runs.
    fn is_to_hand_over(&mut self, preferred: bool) -> bool {
        if preferred {
            self.unwanted_since = None;
            return false;
        }
        let since = *self.unwanted_since.get_or_insert_with(Instant::now);
        let runs = u32::try_from(self.follower.shard.len()).unwrap_or(u32::MAX);
        since.elapsed() >= WARM_UP.saturating_mul(runs).min(WARM_UP_MAX)
    }

    /// Whatever comes first.
    async fn turn(
        &mut self,
        journal: &mut Journal,
        questions: &mut Questions,
        renewals: &mut tokio::time::Interval,
        stop: &CancellationToken,
    ) -> Result<Turn, Stop> {
        // A process that was held up must not emit on the strength of an old renewal.
        if self.tenure.emission_left().is_zero() {
            self.renew().await?;
        }
        self.note_what_is_out();
        self.release();
        let may_answer = questions.hear();
        let timer_wait = self.timers.wait(self.now_ms());
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Turn::Stop),
            _ = renewals.tick() => {
                self.renew().await?;
                // A slow renewal must not make the next one due at once, and nothing else.
                renewals.reset();
                return Ok(Turn::Renewed);
            }
            finished = self.emitter.next(), if !self.emitter.is_idle() => {
                if let Some(run) = finished {
                    self.follower.kept(&run);
                }
            }
            () = self.snapshots.built() => {}
            queued = self.queue.read() => self.hear_what_is_queued(queued),
            () = sleep(timer_wait), if !self.emitter.is_full() => self.fire_due(),
            () = self.gate.opened(), if !self.emitter.is_full() => {}
            Some(question) = questions.next(), if may_answer => self.answer(question).await,
            entry = journal.next(), if !self.emitter.is_full() => {
                let Some(entry) = entry else { return Err(Stop::Lost("the log ended")) };
                self.fold_batch(entry?, journal).await?;
                // A busy log must not put off for ever what it waits for.
                self.pay_debts();
            }
            () = ready(()), if !self.debts.is_empty() && !self.emitter.is_full() => self.pay_debts(),
            // There was nothing in the log, and more may be asked.
            () = ready(()), if !may_answer => {}
        }
        Ok(Turn::Go)
    }

    /// Folds an entry and those that are there already.
    async fn fold_batch(&mut self, first: JournalEntry, journal: &mut Journal) -> Result<(), Stop> {
        let mut next = Some(first);
        let mut folded = 0;
        while let Some(entry) = next {
            self.note_answer(&entry);
            let (told, overdue) = (told(&entry), release::overdue(&entry));
            let mut commands = Vec::new();
            self.follower.fold(entry, &mut commands);
            self.note_overdue(overdue);
            self.see_to_what_is_folded()?;
            self.emit(commands);
            if let Some((run, event, step)) = told {
                self.bus.tell(&run, || News { event: event.to_owned(), step, model: None }).await?;
            }
            folded += 1;
            let more = folded < FOLD_BATCH && !self.emitter.is_full();
            next = if more { journal.next().now_or_never().flatten().transpose()? } else { None };
        }
        Ok(())
    }

    /// Work whose outcome has come is not tried to be queued any longer.
    fn note_answer(&self, entry: &JournalEntry) {
        if let Ok(Entry::Run(record)) = &entry.content
            && let Some(work) = emitter::answered(&record.fact)
        {
            self.emitter.answered(&record.run, work);
            self.gate.answered(&record.run, work, at_work(&record.fact));
        }
    }

    /// Stops at a newer epoch; sets aside what nobody can read.
    fn see_to_what_is_folded(&mut self) -> Result<(), Stop> {
        let (epoch, owner) = &self.follower.epoch;
        if *epoch > self.tenure.held.lease.epoch && !seeded::is_on(Bug::ZombieOwner) {
            tracing::warn!(shard = self.id, epoch, owner, "another coordinator has opened a newer epoch");
            return Err(Stop::Lost("another coordinator has opened a newer epoch"));
        }
        for unreadable in self.follower.take_unreadable() {
            self.set_aside(unreadable);
        }
        Ok(())
    }

    fn set_aside(&mut self, Unreadable { run, letter }: Unreadable) {
        let (seq, subject, reason) = (letter.seq, &letter.subject, &letter.reason);
        // A run must not wait for what nobody can read; asking again for its end changes nothing.
        if let Some(run) = run.filter(|run| self.follower.shard.first_seq(run).is_some()) {
            self.emitter.give_up(run, format!("record {seq} of it cannot be read: {reason}"));
        }
        // The owner before has set aside what is unreadable of all that it has folded.
        if self.follower.is_counted(seq) {
            return;
        }
        tracing::error!(
            shard = self.id,
            seq,
            subject,
            reason,
            "unreadable record set aside in the dead letters"
        );
        self.instruments.dead_letter();
        self.emitter.set_aside(letter);
    }

    fn emit(&mut self, commands: Vec<Command>) {
        for command in commands {
            self.instruments.command(emitter::name(&command));
            if let Command::DispatchPlan(order) = &command {
                self.instruments.plan_ordered(order);
            }
            match command {
                Command::ArmTimer { run, at_ms, timer } => self.arm(run, at_ms, timer),
                Command::DispatchStep(_) | Command::DispatchPlan(_) => self.queue(command),
                command => {
                    if let Command::FinishRun(document) = &command {
                        self.timers.forget(&document.run_id);
                        self.emitter.ended(&document.run_id);
                        self.gate.ended(&document.run_id);
                    }
                    self.emitter.emit(command, self.follower.folded_to);
                }
            }
        }
    }

    /// A timer that is due by this process's clock and not by the broker's is
    /// armed again by the fold: fired at once, it would come around without end.
    fn arm(&mut self, run: RunId, at_ms: u64, timer: Timer) {
        if self.follower.finishing(&run).is_none() {
            let now_ms = self.now_ms();
            let at_ms = if at_ms > now_ms { at_ms } else { now_ms.saturating_add(TIMER_AGAIN_MS) };
            self.timers.arm(run, at_ms, timer);
            self.timers.sweep(|run, timer| self.follower.shard.awaits(run, timer));
        }
    }

    /// Answers from memory; a run whose document is on its way is answered with that.
    async fn answer(&mut self, question: LiveMessage) {
        let now_ms = self.now_ms();
        let Self { follower, gate, .. } = &*self;
        let document = |run: &RunId| match follower.finishing(run) {
            Some(ended) => Some(ended.document.as_ref().clone()),
            None => follower.shard.document(run, now_ms),
        };
        if let Some((reply, answer)) = reads::answer(&follower.shard, gate, document, now_ms, question) {
            reads::send(&self.bus, reply, answer).await;
        }
    }

    /// Appends the records of timers that are due. One whose attempt was answered
    /// meanwhile never becomes a record.
    fn fire_due(&mut self) {
        let now_ms = self.now_ms();
        while !self.emitter.is_full() {
            let Some((run, timer)) = self.timers.next_due(now_ms) else { break };
            if self.follower.shard.awaits(&run, timer) {
                self.emitter.fire(run, timer);
            }
        }
    }

    fn now_ms(&self) -> u64 {
        (self.config.now_ms)()
    }
}

/// What a turn of the loop came to.
enum Turn {
    Go,
    Renewed,
    Stop,
}

/// Why driving cannot go on.
enum Stop {
    /// The process stops.
    Asked,
    Lost(&'static str),
    Broker(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Broker(error)
    }
}

impl From<planfleet_bus::broker::Error> for Stop {
    fn from(error: planfleet_bus::broker::Error) -> Self {
        Self::Broker(error.into())
    }
}

/// What those who watch a run are told of an entry.
fn told(entry: &JournalEntry) -> Option<(RunId, &'static str, Option<StepId>)> {
    let Ok(Entry::Run(record)) = &entry.content else { return None };
    Some((record.run.clone(), record.fact.name(), step_of(&record.fact)))
}

/// How long a worker was at it, by its own clock.
fn at_work(fact: &Fact) -> Option<Duration> {
    let attempt = match fact {
        Fact::StepSucceeded(success) => &success.attempt,
        Fact::StepFailed(failed) => &failed.attempt,
        _ => return None,
    };
    // Of what nobody began there is no time.
    (attempt.started_ms > 0)
        .then(|| Duration::from_millis(attempt.ended_ms.saturating_sub(attempt.started_ms)))
}

/// The step that a fact is about, if it is about one.
fn step_of(fact: &Fact) -> Option<StepId> {
    match fact {
        Fact::StepSucceeded(success) => Some(success.attempt.step),
        Fact::StepFailed(failed) => Some(failed.attempt.step),
        Fact::StepPlanned { step, .. } => Some(StepId::plain(step.id)),
        Fact::ApprovalDecided(decided) => match decided.gates.as_slice() {
            [gate] => emitter::step_of(*gate),
            _ => None,
        },
        Fact::TimerFired(Timer::Retry { step, .. } | Timer::StepTimeout { step, .. }) => Some(*step),
        Fact::TimerFired(Timer::Deadline | Timer::Replan { .. })
        | Fact::TaskSubmitted(_)
        | Fact::PlanSealed(_)
        | Fact::PlanFailed { .. }
        | Fact::RunCancelRequested { .. }
        | Fact::RunPauseRequested { .. }
        | Fact::RunResumeRequested => None,
    }
}
