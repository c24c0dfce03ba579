//! What is between the fold's orders and the broker's queue: work waits at the gate until
//! it is let go.

use std::time::Duration;

use planfleet_bus::JournalEntry;
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
use tokio_util::sync::CancellationToken;

use super::{Owner, Stop, debts::Debts};
use crate::flow::{LetGo, WorkName};

/// How long the broker has to say what is queued. It says hundreds of thousands in that
/// time; an owner that does not know lets go as if nothing were.
const QUEUE_READ: Duration = Duration::from_secs(10);

impl Owner {
    /// Finds what is owed, and which of it is in the broker's queue or with a worker: that
    /// holds its credit, whoever has let it go.
    pub(super) async fn find_what_is_out(&mut self, stop: &CancellationToken) -> Result<(), Stop> {
        let owed = self.follower.owed();
        if owed.iter().any(|command| work_of(command).is_some()) {
            let bus = self.bus.clone();
            let read = timeout(QUEUE_READ, bus.work_in_queue(self.id));
            match self.tenure.during(stop, read).await? {
                Ok(Ok(queued)) => {
                    let is_out =
                        |command: &&Command| work_of(command).is_some_and(|work| queued.contains(&work));
                    owed.iter().filter(is_out).for_each(|command| self.gate.is_out(command));
                }
                Ok(Err(error)) => self.warn_of_unknown_queue(&error),
                Err(_) => self.warn_of_unknown_queue(&"the broker has not said it in time"),
            }
        }
        if !seeded::is_on(Bug::TakeoverOwesNothing) {
            self.debts = Debts::new(owed);
        }
        Ok(())
    }

    fn warn_of_unknown_queue(&self, why: &dyn std::fmt::Display) {
        tracing::warn!(shard = self.id, %why, "what is queued is not known; limits may be passed for a while");
    }

    /// Work that is ordered waits for its turn.
    pub(super) fn queue(&self, command: Command) {
        let class = work_of(&command).and_then(|work| self.follower.shard.class(&work.run));
        self.gate.push(command, self.follower.folded_to, class);
    }

    /// Carries out what is let go. What nobody wants any more gives its credit back.
    pub(super) fn release(&mut self) {
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
                None => self.gate.answered(&run, work),
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
            self.gate.answered(&run, work);
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
