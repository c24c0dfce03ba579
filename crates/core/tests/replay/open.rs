//! What is dispatched, armed or asked and not yet answered, kept from outside:
//! what a coordinator owes after a takeover has to be the same.

use std::collections::{BTreeMap, BTreeSet};

use planfleet_core::{
    command::Command,
    document::{RunDocument, StepEntry},
    id::{RunId, StepId},
    record::{Fact, Record, Timer},
    shard::Shard,
};

/// The name of a command: emitting it twice is harmless because of it.
pub(crate) fn name(command: &Command) -> String {
    match command {
        Command::DispatchPlan(order) => {
            format!("{} plan r{}.{}", order.run, order.draft.revision, order.draft.attempt)
        }
        Command::DispatchStep(order) => format!("{} step {}.{}", order.run, order.step, order.attempt),
        Command::ArmTimer { run, at_ms, timer } => format!("{run} timer {timer:?} at {at_ms}"),
        Command::BroadcastCancel { run } => format!("{run} cancel"),
        Command::AskApproval { run, gate } => format!("{run} asks about {gate:?}"),
        Command::TellRun { run, fact } => format!("{run} is told {}", fact.name()),
        Command::FinishRun(document) => format!("{} finish", document.run_id),
    }
}

/// What is dispatched or armed and not yet answered, kept from outside.
#[derive(Default)]
pub(crate) struct Open {
    orders: BTreeMap<String, Command>,
}

impl Open {
    /// An accepted record answers a command; the commands that follow are open.
    pub(crate) fn fold(&mut self, record: &Record, accepted: bool, commands: &[Command]) {
        if accepted {
            self.orders.retain(|_, open| !answers(record, open));
        }
        // What a paused run has put off is made up for without its timer.
        self.orders.retain(|_, open| !commands.iter().any(|command| makes_up_for(command, open)));
        for command in commands {
            match command {
                Command::FinishRun(document) => {
                    self.orders.retain(|_, open| run_of(open) != &document.run_id);
                }
                // What runs owe each other is looked at by tests/families.rs.
                Command::BroadcastCancel { .. } | Command::TellRun { .. } => {}
                _ => {
                    if let Command::ArmTimer { run, timer, .. } = command {
                        // Armed anew, for another time.
                        self.orders.retain(|_, open| !is_timer(open, run, *timer));
                    }
                    if let Command::ArmTimer { run, timer: Timer::Replan { .. }, .. } = command {
                        // Whatever the planner said: its work has left the queue.
                        let planning = |open: &Command| matches!(open, Command::DispatchPlan(_));
                        self.orders.retain(|_, open| run_of(open) != run || !planning(open));
                    }
                    self.orders.insert(name(command), command.clone());
                }
            }
        }
    }

    /// The names of what is open, without the work that a revision or another draft does not
    /// want, as the run's document shows it.
    pub(crate) fn names(&self, shard: &Shard, now_ms: u64) -> BTreeSet<String> {
        let wanted = |command: &Command| {
            let document = shard.document(run_of(command), now_ms).expect("only active runs have open work");
            match command {
                Command::DispatchStep(order) => is_wanted(&document, order.step, order.attempt),
                Command::ArmTimer { timer: Timer::Retry { step, attempt }, .. } => {
                    is_wanted(&document, *step, attempt - 1)
                }
                Command::ArmTimer { timer: Timer::Replan { revision, .. }, .. } => {
                    is_written(&document, *revision)
                }
                Command::ArmTimer { timer: Timer::StepTimeout { step, attempt }, .. } => {
                    is_wanted(&document, *step, *attempt)
                }
                Command::DispatchPlan(order) => is_written(&document, order.draft.revision),
                Command::AskApproval { gate, .. } => document.approvals.contains(gate),
                _ => true,
            }
        };
        self.orders.iter().filter(|(_, command)| wanted(command)).map(|(name, _)| name.clone()).collect()
    }
}

fn is_wanted(document: &RunDocument, step: StepId, attempt: u32) -> bool {
    let runs = |entry: &&StepEntry| entry.id.0 == StepId::plain(step.step) && entry.state == "running";
    document.steps.iter().any(|entry| runs(&entry))
        && document.steps.iter().any(|entry| entry.id.0 == step && entry.attempts == attempt)
}

/// The revision is being written still.
fn is_written(document: &RunDocument, revision: u32) -> bool {
    document.revisions.len() as u32 + 1 == revision
}

fn run_of(command: &Command) -> &RunId {
    match command {
        Command::DispatchPlan(order) => &order.run,
        Command::DispatchStep(order) => &order.run,
        Command::ArmTimer { run, .. }
        | Command::BroadcastCancel { run }
        | Command::TellRun { run, .. }
        | Command::AskApproval { run, .. } => run,
        Command::FinishRun(document) => &document.run_id,
    }
}

fn answers(record: &Record, command: &Command) -> bool {
    if run_of(command) != &record.run {
        return false;
    }
    let report = match &record.fact {
        Fact::StepSucceeded(success) => Some(&success.attempt),
        Fact::StepFailed(failed) => Some(&failed.attempt),
        _ => None,
    };
    match (command, &record.fact) {
        (Command::DispatchStep(order), Fact::TimerFired(Timer::StepTimeout { step, attempt })) => {
            // One that has fired too early answers nothing and is armed again.
            (*step, *attempt) == (order.step, order.attempt)
                && order.timeout_at_ms.is_some_and(|at_ms| at_ms <= record.at_ms)
        }
        (Command::DispatchStep(order), _) => {
            report.is_some_and(|report| (report.step, report.attempt) == (order.step, order.attempt))
        }
        (Command::ArmTimer { timer: Timer::StepTimeout { step, attempt }, .. }, _) if report.is_some() => {
            report.is_some_and(|report| (report.step, report.attempt) == (*step, *attempt))
        }
        (Command::ArmTimer { timer, .. }, Fact::TimerFired(fired)) => timer == fired,
        (Command::DispatchPlan(_), Fact::PlanFailed { .. }) => true,
        _ => false,
    }
}

fn is_timer(open: &Command, of: &RunId, wanted: Timer) -> bool {
    matches!(open, Command::ArmTimer { run, timer, .. } if run == of && *timer == wanted)
}

fn makes_up_for(command: &Command, open: &Command) -> bool {
    match (command, open) {
        (
            Command::DispatchStep(order),
            Command::ArmTimer { run, timer: Timer::Retry { step, attempt }, .. },
        ) => (&order.run, order.step, order.attempt) == (run, *step, *attempt),
        (
            Command::DispatchPlan(order),
            Command::ArmTimer { run, timer: Timer::Replan { revision, attempt }, .. },
        ) => (&order.run, order.draft.revision, order.draft.attempt) == (run, *revision, *attempt),
        _ => false,
    }
}
