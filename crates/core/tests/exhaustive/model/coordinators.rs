//! Coordinators: who may own the shard, and what an owner does.

use planfleet_core::record::Timer;

use super::{Broken, Protocol, State, Turn};
use crate::exhaustive::words::{Action, Cmd, Entry, Fault, Who};

/// One of the two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Coordinator {
    /// Watches the lease. A crashed coordinator is started again as this.
    Standby,
    /// Has written its lease, and nothing in the log.
    Taken { epoch: u8, behind: bool },
    /// Has opened its epoch, and not read the log.
    Opened { epoch: u8, behind: bool },
    /// Emits.
    Owner(Owner),
}

/// A coordinator that emits; whether it still holds the lease, it does not know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) epoch: u8,
    /// It began behind the run, at a checkpoint: the run is unknown to it.
    pub(crate) behind: bool,
    /// Commands on their way to the broker, which they reach in any order.
    pub(crate) pending: Vec<Cmd>,
    pub(crate) timers: Vec<Timer>,
    /// It knows that the run's document is kept.
    pub(crate) kept: bool,
}

impl Owner {
    pub(crate) const fn new(epoch: u8, behind: bool) -> Self {
        Self { epoch, behind, pending: Vec::new(), timers: Vec::new(), kept: false }
    }

    /// It knows the run, and has not come upon a newer epoch.
    pub(super) const fn reads(&self, opened: u8) -> bool {
        !self.behind && self.epoch >= opened
    }

    /// Timers are its own business; everything else goes to the broker. Timers
    /// of a run that has ended may be on their way already, so none is taken back.
    pub(super) fn order(&mut self, commands: &[Cmd]) {
        for command in commands {
            match command {
                Cmd::Arm(timer) => self.timers.push(*timer),
                Cmd::Dispatch(..) | Cmd::TellCancel | Cmd::Finish(_) => self.pending.push(*command),
            }
        }
    }

    fn done_with(&mut self, command: Cmd) {
        let at = self.pending.iter().position(|pending| *pending == command);
        at.map(|at| self.pending.remove(at));
        self.kept |= matches!(command, Cmd::Finish(_));
    }
}

impl Coordinator {
    pub(super) const fn epoch(&self) -> Option<u8> {
        match self {
            Self::Standby => None,
            Self::Taken { epoch, .. } | Self::Opened { epoch, .. } => Some(*epoch),
            Self::Owner(owner) => Some(owner.epoch),
        }
    }

    pub(super) fn renumber(&mut self, number: impl Fn(u8) -> u8) {
        match self {
            Self::Standby => {}
            Self::Taken { epoch, .. } | Self::Opened { epoch, .. } => *epoch = number(*epoch),
            Self::Owner(owner) => owner.epoch = number(owner.epoch),
        }
    }

    /// One form for owners that differ in nothing that matters.
    pub(super) fn tidy(&mut self, opened: u8) {
        let Self::Owner(owner) = self else { return };
        owner.pending.sort_unstable();
        owner.timers.sort_unstable();
        owner.timers.dedup();
        if owner.epoch < opened && owner.pending.is_empty() && owner.timers.is_empty() {
            *self = Self::Standby;
        }
    }
}

impl State {
    fn owner(&mut self, at: usize) -> &mut Owner {
        match &mut self.coordinators[at] {
            Coordinator::Owner(owner) => owner,
            other => panic!("{other:?} owns nothing"),
        }
    }

    fn stop(&mut self, at: usize) {
        self.coordinators[at] = Coordinator::Standby;
    }
}

impl Turn<'_> {
    const fn who(&self, epoch: u8) -> Who {
        if epoch == self.from.lease { Who::Owner } else { Who::Former }
    }

    pub(super) fn coordinators(&mut self) -> Result<(), Broken> {
        for at in 0..2 {
            let from = self.from;
            match &from.coordinators[at] {
                Coordinator::Standby if at == 1 && from.coordinators[0] == Coordinator::Standby => {}
                Coordinator::Standby => self.take(at),
                Coordinator::Taken { epoch, behind } => self.open(at, *epoch, *behind),
                Coordinator::Opened { epoch, behind } => self.replay(at, *epoch, *behind),
                Coordinator::Owner(owner) => self.own(at, owner)?,
            }
            self.end_tenure(at);
        }
        Ok(())
    }

    /// The lease is taken when its holder has died, or seems to have.
    fn take(&mut self, at: usize) {
        let from = self.from;
        let alive = from.coordinators.iter().any(|who| who.epoch() == Some(from.lease));
        let fault = alive.then_some(Fault::CoordinatorPause);
        let epoch = from.lease + 1;
        self.add(Action::TakeLease, fault, |state| {
            state.lease = epoch;
            state.coordinators[at] = Coordinator::Taken { epoch, behind: state.checkpointed };
        });
    }

    fn open(&mut self, at: usize, epoch: u8, behind: bool) {
        self.act(Action::OpenEpoch(self.who(epoch)), |state| {
            state.opened = state.opened.max(epoch);
            state.coordinators[at] = Coordinator::Opened { epoch, behind };
        });
    }

    /// Silently to the tail, then everything that is owed.
    fn replay(&mut self, at: usize, epoch: u8, behind: bool) {
        if self.from.opened > epoch {
            self.act(Action::Replay(self.who(epoch)), |state| state.stop(at));
            return;
        }
        let mut owner = Owner::new(epoch, behind);
        if !behind && self.model.protocol != Protocol::OwesNothing {
            owner.order(&self.model.fold.owed(self.from.tail));
        }
        self.act(Action::Replay(self.who(epoch)), |state| state.coordinators[at] = Coordinator::Owner(owner));
    }

    fn own(&mut self, at: usize, owner: &Owner) -> Result<(), Broken> {
        for command in &owner.pending {
            self.emit(at, owner, *command)?;
        }
        for timer in &owner.timers {
            let fault = (*timer == Timer::Deadline).then_some(Fault::Deadline);
            let action = Action::Fire(self.who(owner.epoch), *timer);
            self.append(Entry::Timer(*timer), fault, action, |state| {
                state.owner(at).timers.retain(|armed| armed != timer);
            })?;
        }
        self.checkpoint(at, owner);
        Ok(())
    }

    fn emit(&mut self, at: usize, owner: &Owner, command: Cmd) -> Result<(), Broken> {
        let action = Action::Emit(self.who(owner.epoch), command);
        let book = self.model.fold.book(self.from.tail);
        if !book.orders.contains_key(&command.named()) {
            return Err(self.broken(action, "it is emitted, and the log does not say so"));
        }
        if let (Cmd::Finish(document), Some(kept)) = (command, self.from.done.or(book.document()))
            && document != kept
        {
            return Err(self.broken(action, format!("two documents of one run: {document} and {kept}")));
        }
        let takes_copies = self.model.protocol == Protocol::TakesCopies;
        self.act(action, |state| {
            state.publish(command, takes_copies);
            state.owner(at).done_with(command);
        });
        self.fault(Fault::LostAck, Action::EmitUnacked(self.who(owner.epoch), command), |state| {
            state.publish(command, takes_copies);
        });
        Ok(())
    }

    /// The lease is written by who holds it, past the run when its document is kept.
    fn checkpoint(&mut self, at: usize, owner: &Owner) {
        let from = self.from;
        let ended = !owner.behind && self.model.fold.book(from.tail).has_ended();
        let may = owner.kept || self.model.protocol == Protocol::ForgetsEarly;
        if from.lease == owner.epoch && !from.checkpointed && ended && may {
            self.act(Action::Checkpoint, |state| {
                state.checkpointed = true;
                state.owner(at).kept = true;
            });
        }
    }

    /// A crash, or a renewal that somebody else's lease refuses.
    fn end_tenure(&mut self, at: usize) {
        let Some(epoch) = self.from.coordinators[at].epoch() else { return };
        if self.from.lease != epoch {
            self.act(Action::LoseLease, |state| state.stop(at));
        } else {
            let action = Action::CrashCoordinator;
            self.fault(Fault::CoordinatorCrash, action, |state| state.stop(at));
        }
    }
}
