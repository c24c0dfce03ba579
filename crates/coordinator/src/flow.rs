//! Flow control: which of the ready work is let go, and when.
//!
//! The broker's queue is first come, first served, and so order has to be decided where
//! work waits: here. Work that the fold orders goes into a fair queue of its pool
//! ([`queue`]) and from there into the pool's window ([`window`]), as far as nothing
//! limits it ([`limits`]) and nobody has paused it ([`pauses`]). What is let go is in the
//! broker's queue, or with a worker, until its result is folded, its run has ended, or its
//! time is over. What [`follow`] hears of workers and pauses comes in from the side.
//!
//! All shards that a coordinator owns share one [`Flow`]: their runs compete for the same
//! workers. Each owner has a [`Gate`] and carries out itself what is let go of its shard's,
//! as only it knows whether it still owns that.
//!
//! **Invariant:** the log is the state. Nothing of this is kept: a new owner is owed by the
//! fold what its predecessor had ready or out, and it asks the broker which of it is queued
//! or with a worker; that is out from the beginning, whatever the window, and the rest waits
//! anew.
//!
//! **Invariant:** a credit is held by a name. What is let go is noted under the name of its
//! attempt, which is in the result's record too; noting or striking it twice changes nothing.
//!
//! **Bound:** what waits is some three hundred bytes for each piece of work, and part of what
//! active runs are in memory anyway; how many those are is for admission to bound.

mod follow;
mod limits;
mod pauses;
mod pool;
mod queue;
mod settings;
mod standing;
mod state;
mod ticket;
mod window;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use planfleet_bus::flow::Pause;
use planfleet_core::{
    command::Command,
    id::{RunId, ShardId},
    reason::Wait,
};
use serde_json::Value;
use tokio::{sync::Notify, time::Instant};

use self::state::State;
pub(crate) use self::{
    follow::Following,
    ticket::{Ticket, WorkName},
};
pub use self::{
    queue::WEIGHT_MAX,
    settings::{FlowRoles, FlowSettings, TenantFlow},
};
use crate::instruments::Instruments;

/// A dispatch that was let go.
#[derive(Debug)]
pub(crate) struct LetGo {
    pub(crate) run: RunId,
    pub(crate) work: WorkName,
    /// The order, unless it was put off: what waits is a name alone, and its run has the rest.
    pub(crate) command: Option<Command>,
    /// Up to where the log says that it is to be made.
    pub(crate) log_seq: u64,
}

/// Flow control of one coordinator.
#[derive(Clone)]
pub(crate) struct Flow {
    state: Arc<Mutex<State>>,
    roles: Arc<FlowRoles>,
}

/// Flow control as the owner of one shard has it. What waits or is out of the shard's is
/// forgotten with it.
pub(crate) struct Gate {
    flow: Flow,
    shard: ShardId,
    open: Arc<Notify>,
}

impl Flow {
    pub(crate) fn new(
        coordinator: &str,
        settings: FlowSettings,
        shards: ShardId,
        instruments: Arc<Instruments>,
    ) -> Self {
        let roles = Arc::new(settings.roles.clone());
        let state = State::new(coordinator, settings, shards, Arc::clone(&instruments));
        let state = Arc::new(Mutex::new(state));
        standing::export(&state);
        Self { state, roles }
    }

    /// The gate of a shard that is owned from now on.
    pub(crate) fn gate(&self, shard: ShardId) -> Gate {
        let open = Arc::new(Notify::new());
        self.lock().join(shard, Arc::clone(&open));
        Gate { flow: self.clone(), shard, open }
    }

    /// How everything stands, for people.
    pub(crate) fn standing(&self) -> Value {
        self.lock().standing(Instant::now())
    }

    /// A poisoned lock means that another owner panicked; every change leaves the state whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// Work that is to be done waits for its turn. What is out already is let go again: the
    /// broker takes its name once. `class` is that of its run's task.
    pub(crate) fn push(&self, command: Command, log_seq: u64, class: Option<&str>) {
        if let Some(ticket) = Ticket::of(&command, class, &self.flow.roles) {
            self.flow.lock().push(ticket, command, log_seq, Instant::now());
        }
    }

    /// A dispatch is in the broker's queue, or with a worker, since before this gate.
    pub(crate) fn is_out(&self, command: &Command) {
        if let Some(ticket) = Ticket::of(command, None, &self.flow.roles) {
            self.flow.lock().is_out(ticket, Instant::now());
        }
    }

    /// What is let go next, if anything is.
    pub(crate) fn take(&self) -> Option<LetGo> {
        self.flow.lock().take(self.shard)
    }

    /// Waits until something is let go; may be wrong.
    pub(crate) async fn opened(&self) {
        self.open.notified().await;
    }

    /// The result of work is in the log, with how long its worker was at it where that is known.
    pub(crate) fn answered(&self, run: &RunId, work: WorkName, at_work: Option<Duration>) {
        self.flow.lock().answered(run, work, at_work, Instant::now());
    }

    /// The time of work is over, or nobody wants it any more: it gives its credit back, and
    /// says nothing of how fast workers are.
    pub(crate) fn forget(&self, run: &RunId, work: WorkName) {
        self.flow.lock().forget(run, work, Instant::now());
    }

    /// A run has ended, with all its work.
    pub(crate) fn ended(&self, run: &RunId) {
        self.flow.lock().ended(run, Instant::now());
    }

    /// What the ready work of a run waits for.
    pub(crate) fn waits(&self, run: &RunId) -> BTreeMap<WorkName, Wait> {
        self.flow.lock().waits(run)
    }

    pub(crate) fn standing(&self) -> Value {
        self.flow.standing()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.flow.lock().leave(self.shard, Instant::now());
    }
}

/// What a pause does, as a run's document shows it.
fn wait_for_pause(pause: &Pause) -> Wait {
    Wait::QueuePaused { what: pause.target.to_string(), reason: pause.reason.clone() }
}

#[cfg(test)]
mod tests;
