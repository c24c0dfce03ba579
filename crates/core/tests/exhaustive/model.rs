//! The world around the fold: one log, one lease, one work queue, two
//! coordinators, two executors, one planner, and the stream of ended runs.
//!
//! Actors act one at a time, in every order. What is left out is left out on
//! purpose:
//!
//! - Coordinators and executors have no names: states that differ only in who is
//!   who are one state. Of epochs there is only which is newer, of the log its
//!   class (see `fold.rs`).
//! - An owner reads an entry the moment it is appended, unless a newer epoch
//!   comes before it. Reading changes nothing outside, and commands wait for as
//!   long as they like, so that to read late is to emit late.
//! - There is no clock: a timer fires at any time after it was armed, and a lease
//!   runs out at any time. If its holder lives, that is the fault of a pause, and
//!   the holder goes on as if nothing had happened until it comes upon the newer
//!   epoch or renews. The real one stops earlier.
//! - A coordinator or worker that has crashed is started again at once.

use planfleet_core::failure::FailureClass;

use super::{
    fold::{ClassId, Fold},
    words::{Action, Cmd, Entry, Fault, Name},
};

mod coordinators;
mod order;
mod workers;

pub(crate) use coordinators::{Coordinator, Owner};
pub(crate) use workers::{Executor, Job, Planner};

/// How the protocol is to be broken, to see that it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    AsItIs,
    /// Executors ack a step before its outcome is in the log.
    AckFirst,
    /// The queue takes a name that it has already.
    TakesCopies,
    /// A takeover does not emit what is owed.
    OwesNothing,
    /// A checkpoint is written past a run whose document is not kept yet.
    ForgetsEarly,
    /// A worker whose delivery is lost gets no other.
    NoRedelivery,
}

/// Everything there is at one moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    /// What the whole log says.
    pub(crate) tail: ClassId,
    pub(crate) coordinators: [Coordinator; 2],
    pub(crate) queue: Vec<Job>,
    pub(crate) executors: [Executor; 2],
    pub(crate) planner: Planner,
    /// The epoch in the lease.
    pub(crate) lease: u8,
    /// The newest epoch in the log.
    pub(crate) opened: u8,
    /// The lease says that a replay may start behind the run.
    pub(crate) checkpointed: bool,
    /// The cancel was broadcast, and is kept for workers that come later.
    pub(crate) cancel_told: bool,
    /// The document in the stream of ended runs.
    pub(crate) done: Option<u16>,
}

/// One action and where it leads.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) action: Action,
    /// What it costs.
    pub(crate) fault: Option<Fault>,
    pub(crate) state: State,
}

/// An action that breaks a promise.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) action: Action,
    pub(crate) promise: String,
}

/// The model of one case.
pub(crate) struct Model {
    pub(crate) fold: Fold,
    pub(crate) protocol: Protocol,
}

impl Model {
    /// One coordinator owns the shard, the other stands by, and a task has just
    /// been submitted.
    ///
    /// # Errors
    /// With the promise that the fold breaks.
    pub(crate) fn start(&mut self) -> Result<State, String> {
        let folded = self.fold.next(0, Entry::Submitted)?;
        let mut owner = Owner::new(1, false);
        owner.order(&folded.commands);
        Ok(State {
            tail: folded.class,
            coordinators: [Coordinator::Standby, Coordinator::Owner(owner)],
            queue: Vec::new(),
            executors: [Executor::Idle, Executor::Idle],
            planner: Planner::Idle,
            lease: 1,
            opened: 1,
            checkpointed: false,
            cancel_told: false,
            done: None,
        })
    }

    /// Everything that can happen next.
    ///
    /// # Errors
    /// With the action that breaks a promise.
    pub(crate) fn next(&mut self, state: &State) -> Result<Vec<Next>, Broken> {
        let mut turn = Turn { model: self, from: state, out: Vec::new() };
        turn.coordinators()?;
        turn.executors()?;
        turn.planner()?;
        turn.client()?;
        let mut out = turn.out;
        let allowed = self.fold.case.faults;
        out.retain(|next| next.fault.is_none_or(|fault| allowed.contains(&fault)));
        Ok(out)
    }

    /// What is wrong with a state in which nothing but faults can happen.
    pub(crate) fn unfinished(&self, state: &State) -> Option<&'static str> {
        let book = self.fold.book(state.tail);
        let live = state.coordinators.iter().filter(|who| **who != Coordinator::Standby).count();
        let wrong = [
            (!book.has_ended(), "the run has not ended"),
            (state.done.is_none(), "the run's document is not kept"),
            (state.done != book.document(), "another document is kept than the log says"),
            (!state.queue.is_empty(), "work is left in the queue"),
            (state.executors != [Executor::Idle, Executor::Idle], "an executor is at work"),
            (state.planner != Planner::Idle, "the planner is at work"),
            (live != 1, "there is not one owner"),
            (!state.checkpointed, "a replay would begin with the run that is over"),
        ];
        wrong.into_iter().find_map(|(is, what)| is.then_some(what))
    }
}

/// One state, and what can follow from it.
pub(super) struct Turn<'a> {
    model: &'a mut Model,
    from: &'a State,
    out: Vec<Next>,
}

impl Turn<'_> {
    /// Somebody acts.
    fn act(&mut self, action: Action, change: impl FnOnce(&mut State)) {
        self.add(action, None, change);
    }

    /// Something goes wrong.
    fn fault(&mut self, fault: Fault, action: Action, change: impl FnOnce(&mut State)) {
        self.add(action, Some(fault), change);
    }

    fn add(&mut self, action: Action, fault: Option<Fault>, change: impl FnOnce(&mut State)) {
        let mut state = self.from.clone();
        change(&mut state);
        state.tidy();
        self.out.push(Next { action, fault, state });
    }

    /// Somebody appends a record, and goes on as `change` says.
    fn append(
        &mut self,
        entry: Entry,
        fault: Option<Fault>,
        action: Action,
        change: impl FnOnce(&mut State),
    ) -> Result<(), Broken> {
        let folded = self.model.fold.next(self.from.tail, entry);
        let folded = folded.map_err(|promise| Broken { action, promise })?;
        self.add(action, fault, |state| {
            change(state);
            state.tail = folded.class;
            state.read(&folded.commands);
        });
        Ok(())
    }

    fn client(&mut self) -> Result<(), Broken> {
        if self.model.fold.book(self.from.tail).has_ended() {
            return Ok(());
        }
        self.append(Entry::Cancel, Some(Fault::Cancel), Action::AskForCancel, |_| {})
    }

    fn broken(&self, action: Action, promise: impl Into<String>) -> Broken {
        Broken { action, promise: promise.into() }
    }

    /// The two ways in which an attempt fails here.
    const fn failures() -> [(FailureClass, Fault); 2] {
        [(FailureClass::Transient, Fault::TransientFailure), (FailureClass::ToolError, Fault::ToolError)]
    }
}

impl State {
    /// Everybody who reads the log reads one more entry.
    fn read(&mut self, commands: &[Cmd]) {
        let opened = self.opened;
        for coordinator in &mut self.coordinators {
            if let Coordinator::Owner(owner) = coordinator
                && owner.reads(opened)
            {
                owner.order(commands);
            }
        }
    }

    /// Removes one entry of that name that is in somebody's hands; whoever else
    /// held it holds nothing now.
    fn remove_job(&mut self, name: Name) {
        let at = self.queue.iter().position(|job| job.name == name && !job.free);
        let at = at.or_else(|| self.queue.iter().position(|job| job.name == name));
        at.map(|at| self.queue.remove(at));
        for executor in &mut self.executors {
            executor.lose(name);
        }
    }

    /// The broker delivers again.
    fn free_job(&mut self, name: Name) {
        if let Some(job) = self.queue.iter_mut().find(|job| job.name == name && !job.free) {
            job.free = true;
        }
    }

    /// One form for all states that differ only in names and orders without meaning.
    fn tidy(&mut self) {
        let opened = self.opened;
        for coordinator in &mut self.coordinators {
            coordinator.tidy(opened);
        }
        self.renumber_epochs();
        self.coordinators.sort_unstable();
        self.queue.sort_unstable();
        for executor in &mut self.executors {
            executor.tidy();
        }
        self.executors.sort_unstable();
    }

    /// Which epoch is newer matters, and not how many there were.
    fn renumber_epochs(&mut self) {
        let mut epochs = vec![self.lease, self.opened];
        epochs.extend(self.coordinators.iter().filter_map(Coordinator::epoch));
        epochs.sort_unstable();
        epochs.dedup();
        let number = |epoch: u8| (1..).zip(&epochs).find_map(|(at, known)| (*known == epoch).then_some(at));
        let number = |epoch: u8| number(epoch).expect("it is among them");
        (self.lease, self.opened) = (number(self.lease), number(self.opened));
        self.coordinators.iter_mut().for_each(|who| who.renumber(number));
    }

    fn has(&self, name: Name) -> bool {
        self.queue.iter().any(|job| job.name == name)
    }

    fn publish(&mut self, command: Cmd, takes_copies: bool) {
        match command {
            Cmd::Dispatch(name, brief) if takes_copies || !self.has(name) => {
                self.queue.push(Job { name, brief, free: true, deliveries: 0 });
            }
            Cmd::Dispatch(..) | Cmd::Arm(_) => {}
            Cmd::TellCancel => self.cancel_told = true,
            Cmd::Finish(document) => {
                self.done.get_or_insert(document);
            }
        }
    }
}
