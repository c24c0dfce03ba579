//! The life of one run, as one table: [`Run::apply`].
//!
//! A run is planning its first revision, waiting for a person to approve its
//! plan, executing, replanning, or ended; on top of that it may be paused.
//! Finished steps unlock those that wait for them the moment they finish; there
//! are no waves. Start reading at [`Run::apply`]; [`steps`] starts work,
//! [`results`] settles it, [`holds`] says what may not start yet, [`drafts`]
//! takes what planners write, [`commits`] makes revisions of it, [`ending`]
//! decides when it is over. `docs/run-lifecycle.md` shows the table as a chart.

mod awaits;
mod children;
mod commits;
mod drafts;
mod edges;
mod ending;
mod holds;
mod orders;
mod results;
mod shown;
mod step;
mod steps;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use self::{drafts::Drafting, edges::Edges, step::Step, steps::Parsed};
use crate::{
    command::Command,
    document::RunState,
    id::{RunId, StepId},
    reason::{Cause, End, EndCode},
    record::{CacheNote, Draft, Fact, Timer},
    seeded::{self, Bug},
    task::Submission,
    usage::{Charge, Ledger, NanoUsd, Usage},
};

/// One run.
#[derive(Debug, Clone)]
pub struct Run {
    id: RunId,
    submission: Arc<Submission>,
    submitted_ms: u64,
    phase: Phase,
    /// Why it is paused, if it is.
    paused: Option<Box<str>>,
    /// Nobody has to approve the plan, or somebody has.
    approved: bool,
    /// Why somebody has rejected it, until the planner is told.
    rejected: Option<Box<str>>,
    /// The newest revision that was sealed; 0 before the first.
    revision: u32,
    /// Every step of every revision, dropped ones included.
    steps: BTreeMap<u32, Step>,
    edges: Edges,
    final_step: u32,
    highest_id: u32,
    /// Steps that are neither finished, failed nor dropped.
    unfinished: u32,
    /// Failed steps that no revision has dropped yet.
    failed: BTreeSet<u32>,
    /// Steps that have finished since the planner looked last, where it wants to see each.
    unreviewed: Vec<u32>,
    replans: u32,
    /// The first revision whose planner was told that something is denied.
    told_in: Option<u32>,
    /// Nothing is charged before the first model is called, and many runs call none.
    ledger: Option<Box<Ledger>>,
    /// Runs whose planners do not get lost have none to speak of.
    strays: Option<Box<Strays>>,
    revisions: Vec<Revision>,
    /// What the plan cache had to do with the first plan.
    cache: Option<Box<CacheNote>>,
    times: Times,
}

/// Reports that are nothing to go on with, and cost something all the same.
#[derive(Debug, Clone, Default)]
struct Strays {
    /// Attempts of steps that no draft wants any more and that have not reported yet.
    attempts: BTreeSet<(StepId, u32)>,
    /// Drafts whose end was reported: each is charged once.
    drafts: BTreeSet<Draft>,
}

/// When things happened, in milliseconds since the Unix epoch, 0 before they
/// have, or as a sum of milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    planner_started: u64,
    first_step_started: u64,
    planning_ms: u64,
    /// Since when it has not got on for want of a model's credit.
    without_credit: u64,
}

/// The earlier of two times, of which the first may not be known yet.
fn earlier(known: u64, at_ms: u64) -> u64 {
    if known == 0 { at_ms } else { known.min(at_ms) }
}

/// What one revision changed, besides the steps that say of themselves which added them.
/// The first is number 1.
#[derive(Debug, Clone)]
struct Revision {
    cause: Cause,
    reason: Cow<'static, str>,
    dropped: Vec<u32>,
    /// Empty where no model was asked.
    model: Box<str>,
    nano_usd: Option<NanoUsd>,
}

/// Where a run stands.
#[derive(Debug, Clone)]
enum Phase {
    /// Its first plan is being written; steps without side effects run already.
    Planning(Box<Drafting>),
    /// Its newest revision waits for a person's approval; what earlier ones have
    /// started goes on.
    Approving,
    /// Its plan is whole and being carried out.
    Executing,
    /// The plan is being revised; after a failure, what does not depend on the
    /// failed step goes on.
    Replanning(Box<Drafting>),
    /// It is over.
    Ended,
}

impl Phase {
    const fn name(&self) -> &'static str {
        match self {
            Self::Planning(_) => "Planning",
            Self::Approving => "Approving",
            Self::Executing => "Executing",
            Self::Replanning(_) => "Replanning",
            Self::Ended => "Ended",
        }
    }
}

/// The folding of one record: its time, and the commands that follow from it.
struct Turn<'a> {
    at_ms: u64,
    out: &'a mut Vec<Command>,
    parsed: Parsed,
}

impl Turn<'_> {
    fn order(&mut self, command: Command) {
        self.out.push(command);
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Why {
    /// It says what is known already.
    #[error("it repeats what is known")]
    Repeated,
    /// It belongs to an attempt, draft or revision that has been replaced.
    #[error("it belongs to an attempt, draft or revision that has been replaced")]
    Replaced,
    /// Its time has come while the run is paused: the run makes up for it when it is resumed.
    #[error("the run is paused and takes it up when it is resumed")]
    Paused,
    /// The run is not known: it has ended or never was.
    #[error("the run has ended or is not known")]
    UnknownRun,
    /// It can follow from nothing that happened before: whoever wrote it is wrong.
    #[error("it cannot follow from what happened before")]
    Illegal,
}

impl Run {
    pub(crate) const fn id(&self) -> &RunId {
        &self.id
    }

    /// The batch that it is part of.
    pub(crate) fn batch(&self) -> Option<&str> {
        self.submission.task.batch.as_deref()
    }

    /// Whose it is.
    pub(crate) fn tenant(&self) -> &str {
        self.submission.task.tenant()
    }

    /// The kind of its task, as its user said it or as a planner was told.
    pub(crate) fn class(&self) -> Option<&str> {
        let told = self.cache.as_ref().map(|note| note.class.as_str());
        self.submission.task.class.as_deref().or(told)
    }

    /// The run that a submission starts, and its first commands.
    pub(crate) fn start(id: RunId, submission: Arc<Submission>, at_ms: u64, out: &mut Vec<Command>) -> Self {
        let first = Draft { revision: 1, attempt: 1, take: 0 };
        let approved = !submission.envelope.approval.plan;
        let mut run = Self {
            id,
            submission,
            submitted_ms: at_ms,
            phase: Phase::Executing,
            paused: None,
            approved,
            rejected: None,
            revision: 0,
            steps: BTreeMap::new(),
            edges: Edges::default(),
            final_step: 0,
            highest_id: 0,
            unfinished: 0,
            failed: BTreeSet::new(),
            unreviewed: Vec::new(),
            replans: 0,
            told_in: None,
            ledger: None,
            strays: None,
            // Most runs have one revision; the usual first growth would make room for four.
            revisions: Vec::with_capacity(1),
            cache: None,
            times: Times::default(),
        };
        let turn = &mut Turn { at_ms, out, parsed: Parsed::default() };
        run.arm_deadline(turn.out);
        match run.submission.plan.clone() {
            Some(plan) => run.adopt(&plan, turn),
            None => {
                run.phase = Phase::Planning(Box::new(Drafting::new(first, Cause::Planned)));
                turn.order(run.plan_order(first, None));
            }
        }
        run
    }

    /// Folds one fact into the run.
    ///
    /// # Errors
    /// When the fact changes nothing.
    pub(crate) fn apply(&mut self, fact: Fact, at_ms: u64, out: &mut Vec<Command>) -> Result<(), Ignored> {
        let (record, state) = (fact.name(), self.phase.name());
        let turn = &mut Turn { at_ms, out, parsed: Parsed::default() };
        let outcome = match (&self.phase, fact) {
            (Phase::Ended, _) => Err(Why::UnknownRun),
            (_, Fact::TaskSubmitted(_)) => Err(Why::Repeated),
            // Whatever it is doing, a run can be told to end, to hold, and that time has passed.
            (_, Fact::RunCancelRequested { reason }) => {
                self.cancel(&reason, turn);
                Ok(())
            }
            (_, Fact::TimerFired(Timer::Deadline)) => self.deadline(turn),
            (_, Fact::RunPauseRequested { reason }) => self.pause(reason),
            (_, Fact::RunResumeRequested) => self.resume(turn),
            (_, Fact::TimerFired(Timer::Retry { step, attempt })) => self.retry_step(step, attempt, turn),
            (_, Fact::TimerFired(Timer::StepTimeout { step, attempt })) => {
                self.step_timed_out(step, attempt, turn)
            }
            // Results count whatever the planner is doing.
            (_, Fact::StepSucceeded(success)) => self.step_succeeded(*success, turn),
            (_, Fact::StepFailed(failed)) => self.step_failed(*failed, turn),
            // Planners write while there is something to write; what they report
            // of drafts that nobody wants any more is charged.
            (_, Fact::PlanSealed(sealed)) => self.plan_sealed(sealed, turn),
            (_, Fact::PlanFailed { draft, failure, usage }) => {
                self.plan_failed(draft, &failure, &usage, turn)
            }
            (Phase::Planning(_) | Phase::Replanning(_), Fact::StepPlanned { draft, step }) => {
                self.step_planned(draft, Arc::from(step), turn)
            }
            (
                Phase::Planning(_) | Phase::Replanning(_),
                Fact::TimerFired(Timer::Replan { revision, attempt }),
            ) => self.retry_planning(revision, attempt, turn),
            (
                Phase::Approving | Phase::Executing,
                Fact::StepPlanned { .. } | Fact::TimerFired(Timer::Replan { .. }),
            ) => Err(Why::Replaced),
            // People decide about whole plans, or about single steps of them.
            (Phase::Planning(_), Fact::ApprovalDecided(_)) => Err(Why::Illegal),
            (_, Fact::ApprovalDecided(decided)) => self.decided(&decided, turn),
        };
        outcome.map_err(|why| Ignored { record, state, why })
    }

    /// Whether the run is over and can be forgotten.
    pub(crate) const fn ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    fn cancel(&mut self, reason: &str, turn: &mut Turn<'_>) {
        if seeded::is_on(Bug::CancelIgnored) {
            return;
        }
        let message = format!("cancelled: {reason}");
        self.end(RunState::Cancelled, End::new(EndCode::Cancelled, message), turn);
    }

    fn arm_deadline(&self, out: &mut Vec<Command>) {
        if let Some(at_ms) = self.deadline_at_ms() {
            out.push(self.timer(at_ms, Timer::Deadline));
        }
    }

    /// Time is the record's own: a timer that was fired too early is armed again.
    fn deadline(&mut self, turn: &mut Turn<'_>) -> Result<(), Why> {
        let due_ms = self.deadline_at_ms().ok_or(Why::Illegal)?;
        if turn.at_ms < due_ms {
            self.arm_deadline(turn.out);
            return Ok(());
        }
        let end = End::new(EndCode::Deadline, "deadline: the run's time is up");
        self.end(RunState::Expired, end, turn);
        Ok(())
    }

    fn deadline_at_ms(&self) -> Option<u64> {
        let own = self.submission.envelope.deadline_ms.map(|after| self.submitted_ms.saturating_add(after));
        let parents = self.submission.parent.as_ref().and_then(|parent| parent.until_ms);
        own.into_iter().chain(parents).min()
    }

    /// The current revision is whole: steps with side effects may start.
    const fn sealed(&self) -> bool {
        self.revision > 0
    }

    /// Why a record about a step that is not there changes nothing: it was, in an
    /// earlier draft, or it never was.
    const fn unknown_step(&self, id: u32) -> Why {
        if id <= self.highest_id { Why::Replaced } else { Why::Illegal }
    }

    /// What was used so far, by account.
    fn ledger(&self) -> Ledger {
        self.ledger.as_deref().cloned().unwrap_or_default()
    }
}

/// Charges what was used to a run's ledger.
fn charge(ledger: &mut Option<Box<Ledger>>, charges: &[Charge]) {
    for charge in charges.iter().filter(|charge| charge.usage != Usage::NONE) {
        ledger.get_or_insert_default().charge(charge);
    }
}
