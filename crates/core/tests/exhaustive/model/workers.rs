//! Executors and the planner: they take work, append what came of it, and only
//! then ack.

use planfleet_core::record::Draft;

use super::{Broken, Protocol, State, Turn};
use crate::exhaustive::words::{Action, Entry, Fault, Name};

/// An entry of the work queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Job {
    pub(crate) name: Name,
    pub(crate) brief: u8,
    /// Nobody has it.
    pub(crate) free: bool,
    /// How often it was delivered to a planner: each delivery is another take.
    pub(crate) deliveries: u8,
}

/// How firmly somebody holds a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grip {
    /// Nobody else is given it.
    Firm,
    /// Its ack wait has run out, and another may be given it.
    Late,
    /// It has left the queue; an ack of it does nothing.
    Gone,
}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Executor {
    Idle,
    /// Its outcome is not in the log.
    Working(Name, Grip),
    /// Its outcome is in the log, and the job is not acked.
    Reported(Name, Grip),
}

/// The planner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Planner {
    Idle,
    Writing {
        draft: Draft,
        brief: u8,
        /// It words the steps otherwise than the take before it.
        reworded: bool,
        /// Steps in the log.
        written: u32,
    },
    /// Its decision is in the log, and the job is not acked.
    Reported(Name),
}

impl Executor {
    pub(super) fn lose(&mut self, job: Name) {
        if let Self::Working(name, grip) | Self::Reported(name, grip) = self
            && *name == job
        {
            *grip = Grip::Gone;
        }
    }

    /// An ack that does nothing need not be waited for.
    pub(super) fn tidy(&mut self) {
        if matches!(self, Self::Reported(_, Grip::Gone)) {
            *self = Self::Idle;
        }
    }
}

impl State {
    /// A worker's process is gone: the broker gives its job to another.
    fn drop_job(&mut self, name: Name, grip: Grip) {
        if grip == Grip::Firm {
            self.free_job(name);
        }
    }

    fn ack(&mut self, name: Name, grip: Grip) {
        if grip != Grip::Gone {
            self.remove_job(name);
        }
    }
}

impl Turn<'_> {
    pub(super) fn executors(&mut self) -> Result<(), Broken> {
        let executors = self.from.executors;
        for (at, executor) in executors.into_iter().enumerate() {
            // They are interchangeable: what one can do, its double need not do as well.
            if at == 1 && executor == executors[0] {
                continue;
            }
            match executor {
                Executor::Idle => self.pull_steps(at)?,
                Executor::Working(name, grip) => self.work(at, name, grip)?,
                Executor::Reported(name, grip) => {
                    self.act(Action::Ack(name), |state| {
                        state.executors[at] = Executor::Idle;
                        state.ack(name, grip);
                    });
                    self.crash(at, name, grip);
                }
            }
        }
        Ok(())
    }

    fn pull_steps(&mut self, at: usize) -> Result<(), Broken> {
        let mut names: Vec<Name> = self.free_jobs().map(|job| job.name).collect();
        names.dedup();
        for name in names {
            let Name::Step(..) = name else { continue };
            let action = Action::Pull(name);
            let busy = Executor::Working(name, Grip::Firm);
            if self.from.executors.contains(&busy) {
                return Err(self.broken(action, "two executors have one attempt, and no ack wait ran out"));
            }
            self.act(action, |state| {
                state.hold(name);
                state.executors[at] = busy;
            });
        }
        Ok(())
    }

    fn free_jobs(&self) -> impl Iterator<Item = &Job> {
        self.from.queue.iter().filter(|job| job.free)
    }

    fn work(&mut self, at: usize, name: Name, grip: Grip) -> Result<(), Broken> {
        if self.model.protocol == Protocol::AckFirst && grip == Grip::Firm {
            self.act(Action::Ack(name), |state| state.remove_job(name));
            self.crash(at, name, grip);
            return Ok(());
        }
        self.report(at, name, grip)?;
        self.crash(at, name, grip);
        if grip == Grip::Firm {
            self.fault(Fault::AckWaitOver, Action::Redeliver(name), |state| {
                state.free_job(name);
                state.executors[at] = Executor::Working(name, Grip::Late);
            });
        }
        if self.from.cancel_told {
            self.act(Action::GiveUpCancelled(name), |state| {
                state.executors[at] = Executor::Idle;
                state.ack(name, grip);
            });
        }
        Ok(())
    }

    /// An attempt succeeds, or fails at a cost.
    fn report(&mut self, at: usize, name: Name, grip: Grip) -> Result<(), Broken> {
        let Name::Step(step, attempt) = name else { return Ok(()) };
        let again = self.model.fold.book(self.from.tail).reported.contains(&name);
        let mut outcomes = vec![(Entry::Succeeded { step, attempt, again }, None)];
        for (class, fault) in Self::failures() {
            outcomes.push((Entry::Failed { step, attempt, class }, Some(fault)));
        }
        for (entry, fault) in outcomes {
            self.append(entry, fault, Action::Report(entry), |state| {
                state.executors[at] = Executor::Reported(name, grip);
            })?;
        }
        Ok(())
    }

    fn crash(&mut self, at: usize, name: Name, grip: Grip) {
        let redelivers = self.model.protocol != Protocol::NoRedelivery;
        self.fault(Fault::ExecutorCrash, Action::CrashExecutor(name), |state| {
            state.executors[at] = Executor::Idle;
            if redelivers {
                state.drop_job(name, grip);
            }
        });
    }

    pub(super) fn planner(&mut self) -> Result<(), Broken> {
        match self.from.planner {
            Planner::Idle => {
                let jobs: Vec<Job> = self.free_jobs().copied().collect();
                for job in jobs {
                    self.pull_planning(job);
                }
                Ok(())
            }
            Planner::Writing { .. } => self.write_plan(),
            Planner::Reported(name) => {
                self.act(Action::Ack(name), |state| {
                    state.planner = Planner::Idle;
                    state.ack(name, Grip::Firm);
                });
                self.crash_planner(name);
                Ok(())
            }
        }
    }

    fn pull_planning(&mut self, job: Job) {
        let Name::Plan(revision, attempt) = job.name else { return };
        let take = job.deliveries + 1;
        let draft = Draft { revision, attempt, take: u32::from(take) };
        // Whoever takes over a first plan may want the same steps, or others.
        let others = take > 1 && revision == 1;
        for reworded in [false, true].into_iter().take(1 + usize::from(others)) {
            self.act(Action::Pull(job.name), |state| {
                state.hold(job.name);
                state.planner = Planner::Writing { draft, brief: job.brief, reworded, written: 0 };
            });
        }
    }

    fn write_plan(&mut self) -> Result<(), Broken> {
        let Planner::Writing { draft, brief, reworded, written } = self.from.planner else { return Ok(()) };
        let name = Name::Plan(draft.revision, draft.attempt);
        let steps = self.model.fold.case.steps.len();
        let (step, steps) = if draft.revision > 1 {
            (Entry::Replacement { draft, brief }, 1)
        } else {
            (Entry::Planned { draft, step: written + 1, reworded }, steps)
        };
        if (written as usize) < steps {
            self.append(step, None, Action::Report(step), |state| {
                state.planner = Planner::Writing { draft, brief, reworded, written: written + 1 };
            })?;
        } else {
            self.decide(name, Entry::Sealed { draft, brief }, None)?;
        }
        if draft.revision > 1 && written == 0 {
            self.decide(name, Entry::GaveUp { draft }, None)?;
        }
        self.decide(name, Entry::PlanFailed { draft }, Some(Fault::PlannerFailure))?;
        self.crash_planner(name);
        if self.from.cancel_told {
            self.act(Action::GiveUpCancelled(name), |state| {
                state.planner = Planner::Idle;
                state.ack(name, Grip::Firm);
            });
        }
        Ok(())
    }

    fn decide(&mut self, name: Name, decision: Entry, fault: Option<Fault>) -> Result<(), Broken> {
        self.append(decision, fault, Action::Report(decision), |state| {
            state.planner = Planner::Reported(name);
        })
    }

    fn crash_planner(&mut self, name: Name) {
        self.fault(Fault::PlannerCrash, Action::CrashPlanner(name), |state| {
            state.planner = Planner::Idle;
            state.free_job(name);
        });
    }
}

impl State {
    /// The broker delivers a job.
    fn hold(&mut self, name: Name) {
        if let Some(job) = self.queue.iter_mut().find(|job| job.name == name && job.free) {
            job.free = false;
            // Of steps nobody counts, but for a limit that is out of reach here.
            job.deliveries += u8::from(matches!(name, Name::Plan(..)));
        }
    }
}
