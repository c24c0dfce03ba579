//! Drives one owned shard: replays its log to the tail without a word, emits
//! what the state still owes, then folds, emits, fires and answers until the
//! lease is lost or handed over.
//!
//! **Invariant:** nothing is emitted once the lease has not been renewed for
//! most of its staleness: another may own the shard by then.

mod checkpoint;
mod ended;
mod replay;

use std::{collections::BTreeMap, sync::Arc};

use futures::{FutureExt as _, StreamExt as _, stream::BoxStream};
use planfleet_bus::{Bus, DeadLetter, Error, JournalEntry, broker::LiveMessage, lease::Held, live::News};
use planfleet_core::{
    command::Command,
    document::RunDocument,
    id::{RunId, ShardId, StepId},
    record::{Fact, Record, Timer},
    run::{Ignored, Why},
    shard::Shard,
};
use planfleet_proto::{decode::Entry, subjects};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use self::ended::LatelyEnded;
use crate::{
    Config,
    emitter::{self, Emitter},
    instruments::Instruments,
    membership::Membership,
    reads,
    timers::Timers,
};

/// Entries folded before anything else gets its turn: large enough to amortise,
/// small enough that renewals come in time.
const FOLD_BATCH: usize = 512;

/// The wait for a timer that is due when it is armed.
const TIMER_AGAIN_MS: u64 = 1_000;

/// How driving a shard ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Its lease was handed back.
    HandedOver,
    /// Its lease is somebody else's, or nobody can tell.
    Lost(&'static str),
}

/// One owned shard.
pub(crate) struct Owner {
    id: ShardId,
    bus: Bus,
    config: Arc<Config>,
    held: Held,
    renewed_at: Instant,
    instruments: Arc<Instruments>,
    shard: Shard,
    timers: Timers,
    emitter: Emitter,
    /// Runs whose documents are not kept yet.
    finishing: BTreeMap<RunId, Finishing>,
    /// Runs that have ended lately.
    ended: LatelyEnded,
    folded_to: u64,
    trimmed_to: u64,
}

/// A run that has ended and whose document is not kept yet.
#[derive(Debug, Clone)]
struct Finishing {
    /// Where its records begin in the log.
    first_seq: u64,
    /// Where they end.
    last_seq: u64,
    document: Arc<RunDocument>,
}

type Journal = BoxStream<'static, Result<JournalEntry, Error>>;

impl Owner {
    pub(crate) fn new(
        id: ShardId,
        bus: Bus,
        config: Arc<Config>,
        held: Held,
        instruments: Arc<Instruments>,
    ) -> Self {
        Self {
            id,
            config,
            renewed_at: Instant::now(),
            instruments,
            shard: Shard::default(),
            timers: Timers::default(),
            emitter: Emitter::new(bus.clone()),
            finishing: BTreeMap::new(),
            ended: LatelyEnded::default(),
            folded_to: held.lease.replay_from.saturating_sub(1),
            trimmed_to: 0,
            held,
            bus,
        }
    }

    pub(crate) async fn drive(mut self, membership: &Membership, stop: &CancellationToken) -> Ending {
        let ending = match self.replay(stop).await {
            Ok(journal) => self.serve(journal, membership, stop).await,
            Err(Stop::Asked) => self.hand_over().await,
            Err(Stop::Lost(why)) => Ending::Lost(why),
            Err(Stop::Broker(error)) => {
                tracing::warn!(shard = self.id, %error, "cannot read the log");
                Ending::Lost("the broker is out of reach")
            }
        };
        self.instruments.active_runs(-i64::try_from(self.shard.len()).unwrap_or(i64::MAX));
        ending
    }

    async fn serve(
        &mut self,
        mut journal: Journal,
        membership: &Membership,
        stop: &CancellationToken,
    ) -> Ending {
        let Ok(mut asked) = self.bus.broker().subscribe(&subjects::reads(self.id)).await else {
            return Ending::Lost("the broker is out of reach");
        };
        let mut renewals = interval(self.config.lease_renew);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let turn = self.turn(&mut journal, &mut asked, &mut renewals, stop).await;
            match turn {
                Ok(Turn::Go) => {}
                Ok(Turn::Renewed) if membership.prefers_self(self.id) => {}
                Ok(Turn::Renewed | Turn::Stop) | Err(Stop::Asked) => return self.hand_over().await,
                Err(Stop::Lost(why)) => return Ending::Lost(why),
                Err(Stop::Broker(error)) => {
                    tracing::warn!(shard = self.id, %error, "broker trouble; going on");
                }
            }
        }
    }

    /// Whatever comes first.
    async fn turn(
        &mut self,
        journal: &mut Journal,
        asked: &mut BoxStream<'static, LiveMessage>,
        renewals: &mut tokio::time::Interval,
        stop: &CancellationToken,
    ) -> Result<Turn, Stop> {
        // A process that was held up must not emit on the strength of an old renewal.
        if self.emission_left().is_zero() {
            self.renew().await?;
        }
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
                    self.finishing.remove(&run);
                }
            }
            () = sleep(timer_wait), if !self.emitter.is_full() => self.fire_due(),
            Some(question) = asked.next() => self.answer(question).await,
            entry = journal.next(), if !self.emitter.is_full() => {
                let Some(entry) = entry else { return Err(Stop::Lost("the log ended")) };
                self.fold_batch(entry?, journal).await?;
            }
        }
        Ok(Turn::Go)
    }

    /// Folds an entry and those that are there already.
    async fn fold_batch(&mut self, first: JournalEntry, journal: &mut Journal) -> Result<(), Stop> {
        let mut next = Some(first);
        let mut folded = 0;
        while let Some(entry) = next {
            let news = news(&entry);
            let commands = self.fold(entry).await?;
            self.emit(commands);
            if let Some((run, news)) = news {
                self.bus.tell(&run, &news).await?;
            }
            folded += 1;
            let more = folded < FOLD_BATCH && !self.emitter.is_full();
            next = if more { journal.next().now_or_never().flatten().transpose()? } else { None };
        }
        Ok(())
    }

    /// Folds one entry. What cannot be read is set aside and stops nobody.
    async fn fold(&mut self, entry: JournalEntry) -> Result<Vec<Command>, Stop> {
        let JournalEntry { seq, subject, run, content, headers, payload, .. } = entry;
        let mut commands = Vec::new();
        match content {
            Ok(Entry::Run(record)) => self.fold_record(seq, *record, &mut commands),
            Ok(Entry::EpochOpened { epoch, owner, .. }) => {
                if epoch > self.held.lease.epoch {
                    tracing::warn!(
                        shard = self.id,
                        epoch,
                        owner,
                        "another coordinator has opened a newer epoch"
                    );
                    return Err(Stop::Lost("another coordinator has opened a newer epoch"));
                }
            }
            Err(error) => {
                let (to, stream, reason) =
                    (subjects::dead_record(self.id), subjects::log(self.id), error.to_string());
                self.set_aside(run, DeadLetter { to, stream, seq, subject, reason, headers, payload });
            }
        }
        self.folded_to = self.folded_to.max(seq);
        Ok(commands)
    }

    fn fold_record(&mut self, seq: u64, record: Record, commands: &mut Vec<Command>) {
        let (run, at_ms) = (record.run.clone(), record.at_ms);
        self.ended.forget(at_ms);
        let first_seq = self.shard.first_seq(&run).unwrap_or(seq);
        let before = self.shard.len();
        match self.shard.apply(seq, record, commands) {
            Ok(()) if self.is_counted(seq) => {}
            Ok(()) => self.instruments.record(Ok(())),
            Err(ignored) => self.note_ignored(seq, &run, ignored),
        }
        self.instruments.active_runs(difference(before, self.shard.len()));
        for command in commands.iter() {
            if let Command::FinishRun(document) = command {
                let document = Arc::clone(document);
                if !self.is_counted(seq) {
                    self.instruments.run_ended(document.state.as_str());
                }
                self.ended.note(at_ms, first_seq);
                self.finishing.insert(run.clone(), Finishing { first_seq, last_seq: seq, document });
            }
        }
    }

    /// Whether the owner before has folded a record, and has counted it.
    const fn is_counted(&self, seq: u64) -> bool {
        seq <= self.held.lease.folded_to
    }

    /// Late and repeated records are how the system recovers. One that can follow
    /// from nothing says that whoever wrote it is wrong: it stops nobody, and is
    /// told once, by the first who folds it, as everything is counted once.
    fn note_ignored(&self, seq: u64, run: &RunId, ignored: Ignored) {
        let Ignored { record, state, why } = ignored;
        if self.is_counted(seq) {
            return;
        }
        if why != Why::Illegal {
            tracing::debug!(%run, seq, %ignored, "record ignored");
        } else {
            tracing::warn!(shard = self.id, %run, seq, record, state, "illegal record ignored: {why}");
        }
        self.instruments.record(Err(why));
    }

    fn set_aside(&mut self, run: Option<RunId>, letter: DeadLetter) {
        let DeadLetter { seq, subject, reason, .. } = &letter;
        // A run must not wait for what nobody can read; asking again for its end changes nothing.
        if let Some(run) = run.filter(|run| self.shard.first_seq(run).is_some()) {
            self.emitter.give_up(run, format!("record {seq} of it cannot be read: {reason}"));
        }
        // The owner before has set aside what is unreadable of all that it has folded.
        if self.is_counted(*seq) {
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
            match command {
                Command::ArmTimer { run, at_ms, timer } => self.arm(run, at_ms, timer),
                command => {
                    if let Command::FinishRun(document) = &command {
                        self.timers.forget(&document.run_id);
                    }
                    self.emitter.emit(command);
                }
            }
        }
    }

    /// A timer that is due by this process's clock and not by the broker's is
    /// armed again by the fold: fired at once, it would come around without end.
    fn arm(&mut self, run: RunId, at_ms: u64, timer: Timer) {
        if !self.finishing.contains_key(&run) {
            let now_ms = self.now_ms();
            let at_ms = if at_ms > now_ms { at_ms } else { now_ms.saturating_add(TIMER_AGAIN_MS) };
            self.timers.arm(run, at_ms, timer);
            self.timers.sweep(|run, timer| self.shard.awaits(run, timer));
        }
    }

    /// Answers from memory; a run whose document is on its way is answered with that.
    async fn answer(&mut self, question: LiveMessage) {
        let now_ms = self.now_ms();
        let (shard, finishing) = (&self.shard, &self.finishing);
        let document = |run: &RunId| match finishing.get(run) {
            Some(ended) => Some(ended.document.as_ref().clone()),
            None => shard.document(run, now_ms),
        };
        if let Some((reply, answer)) = reads::answer(shard, document, question) {
            reads::send(&self.bus, reply, &answer).await;
        }
    }

    /// Appends the records of timers that are due. One whose attempt was answered
    /// meanwhile never becomes a record.
    fn fire_due(&mut self) {
        let now_ms = self.now_ms();
        while !self.emitter.is_full() {
            let Some((run, timer)) = self.timers.next_due(now_ms) else { break };
            if self.shard.awaits(&run, timer) {
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

fn difference(before: usize, after: usize) -> i64 {
    let signed = |count| i64::try_from(count).unwrap_or(i64::MAX);
    signed(after) - signed(before)
}

/// What those who watch a run are told of an entry.
fn news(entry: &JournalEntry) -> Option<(RunId, News)> {
    let Ok(Entry::Run(record)) = &entry.content else { return None };
    let (event, step) = (record.fact.name().to_owned(), step_of(&record.fact));
    Some((record.run.clone(), News { event, step, model: None }))
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
