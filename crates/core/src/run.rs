//! The life of one run, as one table: [`Run::apply`].
//!
//! A run is planning its first revision, executing, replanning, or ended.
//! Finished steps unlock those that wait for them the moment they finish; there
//! are no waves. Start reading at [`Run::apply`]; [`steps`] starts and settles
//! work, [`drafts`] takes what planners write,
//! [`commits`] makes revisions of it, [`ending`] decides when it is over.

mod commits;
mod drafts;
mod ending;
mod orders;
mod step;
mod steps;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use self::{drafts::Drafting, step::Step};
use crate::{
    command::Command,
    document::{RevisionNote, RunState},
    id::{RunId, StepId},
    record::{Draft, Fact, Timer},
    task::Submission,
    usage::Ledger,
};

/// One run.
#[derive(Debug, Clone)]
pub struct Run {
    id: RunId,
    submission: Arc<Submission>,
    submitted_ms: u64,
    phase: Phase,
    /// The newest revision that was sealed; 0 before the first.
    revision: u32,
    /// Every step of every revision, dropped ones included.
    steps: BTreeMap<u32, Step>,
    final_step: u32,
    highest_id: u32,
    /// Steps that are neither finished, failed nor dropped.
    unfinished: u32,
    /// Failed steps that no revision has dropped yet.
    failed: BTreeSet<u32>,
    replans: u32,
    /// The revision whose plan was first told that something is outside the envelope.
    denied_in: Option<u32>,
    /// A later revision asked for such a thing again.
    denied_again: bool,
    ledger: Ledger,
    /// Attempts of steps that no draft wants any more and that have not reported
    /// yet: what they use is used all the same.
    let_go: BTreeSet<(StepId, u32)>,
    revisions: Vec<RevisionNote>,
    times: Times,
}

/// When things happened, in milliseconds since the Unix epoch or as a sum of milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    planner_started: Option<u64>,
    first_step_started: Option<u64>,
    planning_ms: u64,
}

/// Where a run stands.
#[derive(Debug, Clone)]
enum Phase {
    /// Its first plan is being written; steps without side effects run already.
    Planning(Drafting),
    /// Its plan is whole and being carried out.
    Executing,
    /// A step has failed and the plan is being revised; what does not depend on
    /// the failed step goes on.
    Replanning(Drafting),
    /// It is over.
    Ended,
}

impl Phase {
    const fn name(&self) -> &'static str {
        match self {
            Self::Planning(_) => "Planning",
            Self::Executing => "Executing",
            Self::Replanning(_) => "Replanning",
            Self::Ended => "Ended",
        }
    }
}

/// A record that changed nothing, and why. Never an emergency: late and
/// repeated records are how the system recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{record} ignored in state {state}: {why}")]
pub struct Ignored {
    /// The record's name.
    pub record: &'static str,
    /// The state's name.
    pub state: &'static str,
    /// Why it changed nothing.
    pub why: Why,
}

/// Why a record changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It says what is known already.
    #[error("it repeats what is known")]
    Repeated,
    /// It belongs to an attempt or draft that has been replaced.
    #[error("it belongs to an attempt or draft that has been replaced")]
    Replaced,
    /// The run is not known: it has ended or never was.
    #[error("the run has ended or is not known")]
    UnknownRun,
    /// It can follow from nothing that happened before.
    #[error("it cannot follow from what happened before")]
    Illegal,
}

impl Run {
    /// The run that a submission starts, and its first commands.
    pub(crate) fn start(id: RunId, submission: Arc<Submission>, at_ms: u64, out: &mut Vec<Command>) -> Self {
        let first = Draft { revision: 1, attempt: 1, take: 0 };
        let mut run = Self {
            id,
            submission,
            submitted_ms: at_ms,
            phase: Phase::Planning(Drafting::new(first, Vec::new())),
            revision: 0,
            steps: BTreeMap::new(),
            final_step: 0,
            highest_id: 0,
            unfinished: 0,
            failed: BTreeSet::new(),
            replans: 0,
            denied_in: None,
            denied_again: false,
            ledger: Ledger::default(),
            let_go: BTreeSet::new(),
            revisions: Vec::new(),
            times: Times::default(),
        };
        run.arm_deadline(out);
        match run.submission.plan.clone() {
            Some(plan) => run.adopt(&plan, at_ms, out),
            None => out.push(run.plan_order(first, None)),
        }
        run
    }

    /// Folds one fact into the run.
    ///
    /// # Errors
    /// When the fact changes nothing.
    pub(crate) fn apply(&mut self, fact: Fact, at_ms: u64, out: &mut Vec<Command>) -> Result<(), Ignored> {
        let (record, state) = (fact.name(), self.phase.name());
        let outcome = match (&self.phase, fact) {
            (Phase::Ended, _) => Err(Why::UnknownRun),
            (_, Fact::TaskSubmitted(_)) => Err(Why::Repeated),
            (_, Fact::RunCancelRequested { reason }) => {
                self.end(RunState::Cancelled, Some(format!("cancelled: {reason}")), at_ms, out);
                Ok(())
            }
            (_, Fact::TimerFired(Timer::Deadline)) => self.deadline(at_ms, out),
            (_, Fact::TimerFired(Timer::Retry { step, attempt })) => self.retry_step(step, attempt, out),
            (_, Fact::StepSucceeded(success)) => self.step_succeeded(*success, at_ms, out),
            (_, Fact::StepFailed(failed)) => self.step_failed(*failed, at_ms, out),
            (Phase::Planning(_) | Phase::Replanning(_), Fact::StepPlanned { draft, step }) => {
                self.step_planned(draft, Arc::from(step), at_ms, out)
            }
            (Phase::Planning(_) | Phase::Replanning(_), Fact::PlanSealed(sealed)) => {
                self.plan_sealed(sealed, at_ms, out)
            }
            (Phase::Planning(_) | Phase::Replanning(_), Fact::PlanFailed { draft, failure, usage }) => {
                self.plan_failed(draft, failure, &usage, at_ms, out)
            }
            (
                Phase::Planning(_) | Phase::Replanning(_),
                Fact::TimerFired(Timer::Replan { revision, attempt }),
            ) => self.retry_planning(revision, attempt, out),
            (
                Phase::Executing,
                Fact::StepPlanned { .. }
                | Fact::PlanSealed(_)
                | Fact::PlanFailed { .. }
                | Fact::TimerFired(Timer::Replan { .. }),
            ) => Err(Why::Replaced),
        };
        outcome.map_err(|why| Ignored { record, state, why })
    }

    /// Whether the run is over and can be forgotten.
    pub(crate) const fn ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    fn arm_deadline(&self, out: &mut Vec<Command>) {
        if let Some(at_ms) = self.deadline_at_ms() {
            out.push(Command::ArmTimer { run: self.id.clone(), at_ms, timer: Timer::Deadline });
        }
    }

    /// Time is the record's own: a timer that was fired too early is armed again.
    fn deadline(&mut self, at_ms: u64, out: &mut Vec<Command>) -> Result<(), Why> {
        let due_ms = self.deadline_at_ms().ok_or(Why::Illegal)?;
        if at_ms < due_ms {
            self.arm_deadline(out);
            return Ok(());
        }
        self.end(RunState::Expired, Some("deadline: the run's time is up".to_owned()), at_ms, out);
        Ok(())
    }

    fn deadline_at_ms(&self) -> Option<u64> {
        self.submission.envelope.deadline_ms.map(|after| self.submitted_ms.saturating_add(after))
    }

    /// The current revision is whole: steps with side effects may start.
    const fn sealed(&self) -> bool {
        self.revision > 0
    }
}
