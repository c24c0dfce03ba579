//! What is between the fold's orders and the broker's queue: work waits at the gate until
//! it is let go.

use std::{collections::BTreeSet, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use planfleet_bus::{Error, JournalEntry};
use planfleet_core::{
    command::Command,
    id::RunId,
    record::{Fact, Timer},
    seeded::{self, Bug},
};
use planfleet_proto::{
    decode::Entry,
    subjects::{Work, WorkKind},
};
use tokio::time::timeout;

use super::Owner;
use crate::flow::{LetGo, WorkName};

/// How long the broker has to say what is queued. It says hundreds of thousands in that
/// time; an owner that does not know lets go as if nothing were.
const QUEUE_READ: Duration = Duration::from_secs(10);

/// What the broker says of its queue when an owner begins, and the work that is owed until
/// that is known.
#[derive(Default)]
pub(super) struct Queue {
    reading: Option<BoxFuture<'static, Queued>>,
    read: Option<Known>,
    owed: Vec<Command>,
}

/// The work in the queue or with a worker.
pub(super) struct Known {
    queued: BTreeSet<Work>,
    /// Where the log ended afterwards: the outcome of what had left the queue is in it.
    tail: u64,
}

/// What is known, or why nothing is.
type Queued = Result<Known, String>;

impl Queue {
    /// Waits until it is read; for ever where that is not asked for.
    pub(super) async fn read(&mut self) -> Queued {
        let Some(reading) = &mut self.reading else { return std::future::pending().await };
        let queued = reading.await;
        self.reading = None;
        queued
    }

    /// Whether it is known what is in the queue, as far as it can be.
    const fn is_known(&self) -> bool {
        self.reading.is_none() && self.read.is_none()
    }
}

impl Owner {
    /// Finds what is owed, and asks which of it is in the broker's queue or with a worker: that
    /// holds its credit, whoever has let it go. Until that is known no work is let go, and the
    /// log is read all the same: what is done meanwhile is owed no more.
    pub(super) fn find_what_is_out(&mut self) {
        if seeded::is_on(Bug::TakeoverOwesNothing) {
            return;
        }
        let owed = self.follower.owed();
        let (work, rest): (Vec<_>, Vec<_>) = owed.into_iter().partition(|command| work_of(command).is_some());
        self.debts.add(rest);
        if !work.is_empty() {
            let (bus, shard) = (self.bus.clone(), self.id);
            let read = async move {
                let known = async {
                    let queued = bus.work_in_queue(shard).await?;
                    // Not before: work leaves the queue when its outcome is in the log.
                    Ok::<_, Error>(Known { queued, tail: bus.journal_tail(shard).await? })
                };
                match timeout(QUEUE_READ, known).await {
                    Ok(known) => known.map_err(|error| error.to_string()),
                    Err(_) => Err("the broker has not said it in time".to_owned()),
                }
            };
            self.queue = Queue { reading: Some(read.boxed()), read: None, owed: work };
        }
    }

    /// Takes what the broker has said. Where it has not, limits may be passed for a while.
    pub(super) fn hear_what_is_queued(&mut self, queued: Queued) {
        match queued {
            Ok(known) => self.queue.read = Some(known),
            Err(why) => {
                let shard = self.id;
                tracing::warn!(shard, why, "what is queued is not known; limits may be passed for a while");
                self.debts.add(std::mem::take(&mut self.queue.owed));
            }
        }
    }

    /// Once all is folded that was in the log then, what is still owed and not in the queue is
    /// nobody's. Before, it may have been done: its outcome is on its way to this reader.
    pub(super) fn note_what_is_out(&mut self) {
        let folded_to = self.follower.folded_to;
        let Some(Known { queued, .. }) = self.queue.read.take_if(|known| known.tail <= folded_to) else {
            return;
        };
        let owed = std::mem::take(&mut self.queue.owed);
        let shard = &self.follower.shard;
        let is_out = |command: &&Command| work_of(command).is_some_and(|work| queued.contains(&work));
        let out = owed.iter().filter(is_out).filter(|command| shard.still_owes(command));
        out.for_each(|command| self.gate.is_out(command));
        self.debts.add(owed);
    }

    /// Work that is ordered waits for its turn.
    pub(super) fn queue(&self, command: Command) {
        let class = work_of(&command).and_then(|work| self.follower.shard.class(&work.run));
        self.gate.push(command, self.follower.folded_to, class);
    }

    /// Carries out what is let go. What nobody wants any more gives its credit back.
    pub(super) fn release(&mut self) {
        if !self.queue.is_known() {
            return;
        }
        while !self.emitter.is_full() {
            let Some(LetGo { run, work, command, log_seq }) = self.gate.take() else { return };
            let shard = &self.follower.shard;
            let owed = match (command, work) {
                (Some(command), _) => Some(command).filter(|command| shard.still_owes(command)),
                (None, (WorkKind::Step(step), attempt)) => shard.step_owed(&run, step, attempt),
                (None, (WorkKind::Planning(revision), attempt)) => {
                    shard.planning_owed(&run, revision, attempt)
                }
            };
            match owed {
                Some(command) => self.emitter.emit(command, log_seq),
                None => self.gate.forget(&run, work),
            }
        }
    }

    /// An attempt whose time is over is out no more: whoever is at it stops at the same
    /// moment. A timer that the fold has ignored has ended nothing.
    pub(super) fn note_overdue(&self, overdue: Option<(RunId, WorkName)>) {
        if let Some((run, work)) = overdue
            && let (WorkKind::Step(step), attempt) = work
            && !self.follower.shard.awaits_work(&run, step, attempt)
        {
            self.emitter.answered(&run, work);
            self.gate.forget(&run, work);
        }
    }
}

/// The attempt whose time is over, says an entry.
pub(super) fn overdue(entry: &JournalEntry) -> Option<(RunId, WorkName)> {
    let Ok(Entry::Run(record)) = &entry.content else { return None };
    let Fact::TimerFired(Timer::StepTimeout { step, attempt }) = record.fact else { return None };
    Some((record.run.clone(), (WorkKind::Step(step), attempt)))
}

/// The work that a command dispatches, by its name.
fn work_of(command: &Command) -> Option<Work> {
    match command {
        Command::DispatchStep(order) => {
            Some(Work { run: order.run.clone(), what: WorkKind::Step(order.step), attempt: order.attempt })
        }
        Command::DispatchPlan(order) => {
            let what = WorkKind::Planning(order.draft.revision);
            Some(Work { run: order.run.clone(), what, attempt: order.draft.attempt })
        }
        _ => None,
    }
}
