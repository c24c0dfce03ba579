//! The model's words: names of work, entries of the log, commands, faults and
//! actions, small enough to be kept by the hundred thousand.

use std::fmt;

use planfleet_core::{
    failure::FailureClass,
    id::StepId,
    record::{Draft, Timer},
};

/// What a dispatch is called: the last part of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Step(StepId, u32),
    /// Revision and attempt.
    Plan(u32, u32),
}

/// One entry of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entry {
    Submitted,
    /// `again`: not the first result of this attempt, and not the same output.
    Succeeded {
        step: StepId,
        attempt: u32,
        again: bool,
    },
    Failed {
        step: StepId,
        attempt: u32,
        class: FailureClass,
    },
    /// A step of the first plan, in one of two wordings.
    Planned {
        draft: Draft,
        step: u32,
        reworded: bool,
    },
    /// The one step of a revision.
    Replacement {
        draft: Draft,
        brief: u8,
    },
    Sealed {
        draft: Draft,
        brief: u8,
    },
    GaveUp {
        draft: Draft,
    },
    PlanFailed {
        draft: Draft,
    },
    Timer(Timer),
    Cancel,
}

/// A command, as far as the model carries it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cmd {
    /// With the brief that a planner gets.
    Dispatch(Name, u8),
    Arm(Timer),
    TellCancel,
    /// With the number of the document.
    Finish(u16),
}

impl Cmd {
    /// What makes it the same command, whoever emits it.
    pub(crate) const fn named(self) -> Self {
        match self {
            Self::Dispatch(name, _) => Self::Dispatch(name, 0),
            Self::Finish(_) => Self::Finish(0),
            Self::Arm(_) | Self::TellCancel => self,
        }
    }
}

/// What goes wrong, or comes from outside. Each use is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    CoordinatorCrash,
    /// Its lease is taken while it lives: from here on it is a zombie.
    CoordinatorPause,
    ExecutorCrash,
    PlannerCrash,
    /// The broker delivers again while the first executor is still at work.
    AckWaitOver,
    /// A publish was stored, and its publisher does not know and repeats it.
    LostAck,
    TransientFailure,
    ToolError,
    PlannerFailure,
    Cancel,
    Deadline,
}

/// Which coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The one whose epoch is in the lease.
    Owner,
    /// One that owned the shard before, and may not know yet that it does not now.
    Former,
}

/// What one actor does in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    TakeLease,
    OpenEpoch(Who),
    Replay(Who),
    Emit(Who, Cmd),
    EmitUnacked(Who, Cmd),
    Fire(Who, Timer),
    Checkpoint,
    LoseLease,
    CrashCoordinator,
    Pull(Name),
    Report(Entry),
    Ack(Name),
    GiveUpCancelled(Name),
    Redeliver(Name),
    CrashExecutor(Name),
    CrashPlanner(Name),
    AskForCancel,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "the owner",
            Self::Former => "the former owner",
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(step, attempt) => write!(f, "step {step}, attempt {attempt}"),
            Self::Plan(revision, attempt) => write!(f, "planning {revision}, attempt {attempt}"),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let draft = |d: &Draft| format!("draft {}.{}.{}", d.revision, d.attempt, d.take);
        match self {
            Self::Submitted => f.write_str("TaskSubmitted"),
            Self::Succeeded { step, attempt, again } => {
                let again = if *again { ", not its first result" } else { "" };
                write!(f, "StepSucceeded {step}, attempt {attempt}{again}")
            }
            Self::Failed { step, attempt, class } => {
                write!(f, "StepFailed {step}, attempt {attempt}: {class}")
            }
            Self::Planned { draft: d, step, reworded } => {
                let how = if *reworded { ", reworded" } else { "" };
                write!(f, "StepPlanned {step}{how}, {}", draft(d))
            }
            Self::Replacement { draft: d, .. } => write!(f, "StepPlanned, a replacement, {}", draft(d)),
            Self::Sealed { draft: d, .. } => write!(f, "PlanSealed, {}", draft(d)),
            Self::GaveUp { draft: d } => write!(f, "PlanSealed, giving up, {}", draft(d)),
            Self::PlanFailed { draft: d } => write!(f, "PlanFailed, {}", draft(d)),
            Self::Timer(timer) => write!(f, "TimerFired {timer:?}"),
            Self::Cancel => f.write_str("RunCancelRequested"),
        }
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dispatch(name, _) => write!(f, "the dispatch of {name}"),
            Self::Arm(timer) => write!(f, "the timer {timer:?}"),
            Self::TellCancel => f.write_str("the cancel broadcast"),
            Self::Finish(document) => write!(f, "document {document}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TakeLease => f.write_str("a standby takes the lease"),
            Self::OpenEpoch(who) => write!(f, "{who} appends EpochOpened"),
            Self::Replay(who) => write!(f, "{who} replays to the tail"),
            Self::Emit(who, command) => write!(f, "{who} emits {command}"),
            Self::EmitUnacked(who, command) => write!(f, "{who} emits {command}, and the ack is lost"),
            Self::Fire(who, timer) => write!(f, "{who} appends TimerFired {timer:?}"),
            Self::Checkpoint => f.write_str("the owner writes a checkpoint past the run"),
            Self::LoseLease => f.write_str("the former owner cannot renew its lease and stops"),
            Self::CrashCoordinator => f.write_str("the owner crashes"),
            Self::Pull(name) => write!(f, "a worker gets {name}"),
            Self::Report(entry) => write!(f, "a worker appends {entry}"),
            Self::Ack(name) => write!(f, "a worker acks {name}"),
            Self::GiveUpCancelled(name) => write!(f, "a worker hears of the cancel and acks {name}"),
            Self::Redeliver(name) => write!(f, "the ack wait of {name} runs out; its worker goes on"),
            Self::CrashExecutor(name) => write!(f, "the executor of {name} crashes"),
            Self::CrashPlanner(name) => write!(f, "the planner of {name} crashes"),
            Self::AskForCancel => f.write_str("the client appends RunCancelRequested"),
        }
    }
}
