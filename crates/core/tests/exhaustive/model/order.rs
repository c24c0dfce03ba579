//! Which orders need not be looked at, when no fault can come any more.
//!
//! An action that commutes with everything that others can do before it, and
//! that nothing takes away, may as well be done first and alone: the others
//! come to the same afterwards (an ample set of one; Peled, "All from one, one
//! for all", 1993). While faults are left every order is looked at, because a
//! crash in between makes a difference.

use super::{Coordinator, Executor, Model, Planner, State};
use crate::exhaustive::words::{Action, Cmd, Name, Who};

impl Model {
    /// Whether the action can go before all others.
    pub(crate) fn goes_first(&self, state: &State, action: Action) -> bool {
        let over = self.fold.book(state.tail).has_ended();
        match action {
            // Nobody else writes a lease that is nobody's.
            Action::TakeLease | Action::Checkpoint => true,
            // What is in the log decides what others order, unless all is decided.
            Action::OpenEpoch(_) => over || state.owners() == 0,
            Action::Replay(Who::Owner) | Action::Report(_) | Action::Fire(..) => over,
            Action::Emit(Who::Owner, Cmd::Finish(_) | Cmd::TellCancel) => true,
            Action::Emit(Who::Owner, Cmd::Dispatch(name, _)) => {
                !state.has(name) && state.pending_dispatches(name) == 1
            }
            Action::Ack(name) => {
                !state.replays() && state.pending_dispatches(name) == 0 && state.held_once(name)
            }
            Action::Pull(name) => state.pull_goes_first(name),
            _ => false,
        }
    }
}

impl State {
    fn owners(&self) -> usize {
        self.coordinators.iter().filter(|who| matches!(who, Coordinator::Owner(_))).count()
    }

    /// A coordinator is about to read the log, and to emit what is owed then.
    fn replays(&self) -> bool {
        let reads = |who: &Coordinator| matches!(who, Coordinator::Taken { .. } | Coordinator::Opened { .. });
        self.coordinators.iter().any(reads)
    }

    fn pending(&self) -> impl Iterator<Item = &Cmd> {
        self.coordinators.iter().flat_map(|who| match who {
            Coordinator::Owner(owner) => owner.pending.as_slice(),
            _ => &[],
        })
    }

    fn pending_dispatches(&self, of: Name) -> usize {
        self.pending().filter(|command| matches!(command, Cmd::Dispatch(name, _) if *name == of)).count()
    }

    fn has_timers(&self) -> bool {
        let timed = |who: &Coordinator| matches!(who, Coordinator::Owner(owner) if !owner.timers.is_empty());
        self.coordinators.iter().any(timed)
    }

    fn holders(&self, of: Name) -> usize {
        let holds = |executor: &&Executor| matches!(executor, Executor::Working(name, _) | Executor::Reported(name, _) if *name == of);
        self.executors.iter().filter(holds).count()
    }

    fn held_once(&self, name: Name) -> bool {
        self.holders(name) <= 1 && !self.queue.iter().any(|job| job.name == name && job.free)
    }

    /// Pulling a job keeps nobody from another, or there is no other to come before
    /// this one's result.
    fn pull_goes_first(&self, name: Name) -> bool {
        let Name::Step(..) = name else {
            return self.queue.iter().filter(|job| matches!(job.name, Name::Plan(..))).count() == 1;
        };
        let idle = self.executors.iter().filter(|executor| **executor == Executor::Idle).count();
        let quiet = self.planner == Planner::Idle
            && self.queue.iter().filter(|job| job.free).count() == 1
            && self.pending().next().is_none()
            && !self.has_timers()
            && !self.replays();
        self.holders(name) == 0 && (idle == 2 || quiet)
    }
}
