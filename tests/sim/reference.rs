//! One shard's log, folded by one fold that is never interrupted: what the
//! fleet, with all that goes wrong, must have done.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use planfleet_core::{
    command::Command,
    document::RunDocument,
    id::{RunId, StepId},
    record::{AttemptReport, Draft, Fact, Record},
    run::{Ignored, Why},
    shard::Shard,
    usage::{Charge, Ledger},
};
use planfleet_proto::{
    decode::{self, Entry},
    encode,
    subjects::{self, WorkKind},
};

/// The uninterrupted fold of one log, and what followed from it.
#[derive(Default)]
pub(crate) struct Reference {
    shard: Shard,
    /// Every work that was ever ordered, by its name. Orders of steps are the same
    /// each time; orders of plans show the run as it stands.
    orders: BTreeMap<String, Option<Vec<u8>>>,
    /// The documents of runs that have ended.
    pub(crate) documents: BTreeMap<RunId, Arc<RunDocument>>,
    bills: BTreeMap<RunId, Bill>,
    /// Where each work's outcome came to be in the log.
    settled: BTreeMap<(RunId, WorkName), u64>,
    /// Where each owner's newest epoch begins.
    epochs: BTreeMap<String, u64>,
}

/// A step or a revision, and the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum WorkName {
    Step(StepId, u32),
    Plan(u32, u32),
}

/// What a run has used, added up from the log.
#[derive(Default)]
struct Bill {
    /// The drafts whose end was reported.
    drafts: BTreeSet<Draft>,
    ledger: Ledger,
    /// Attempts that have reported, with how often they were accepted.
    reported: BTreeMap<(StepId, u32), u32>,
}

/// What one entry came to.
pub(crate) struct Folded {
    /// For the transcript.
    pub(crate) line: String,
    /// How the run ended, if it did.
    pub(crate) ended: Option<&'static str>,
    /// Whether a revision was asked for.
    pub(crate) replan: bool,
    /// What must not be.
    pub(crate) violations: Vec<String>,
}

/// How an order compares with those of the fold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ordered {
    Alike,
    Otherwise,
    Never,
}

impl Reference {
    /// Folds the entry at that position.
    pub(crate) fn fold(&mut self, seq: u64, entry: Result<Entry, decode::Error>) -> Folded {
        let mut folded = Folded { line: String::new(), ended: None, replan: false, violations: Vec::new() };
        match entry {
            Ok(Entry::Run(record)) => self.record(seq, *record, &mut folded),
            Ok(Entry::EpochOpened { epoch, owner, .. }) => {
                folded.line = format!("EpochOpened {epoch} by {owner}");
                self.epochs.insert(owner, seq);
            }
            Err(error) => folded.violations.push(format!("entry {seq} cannot be read: {error}")),
        }
        folded
    }

    fn record(&mut self, seq: u64, record: Record, folded: &mut Folded) {
        let run = record.run.clone();
        let fact = record.fact.clone();
        let mut commands = Vec::new();
        let outcome = self.shard.apply(seq, record, &mut commands);
        folded.line = format!("{} {}: {}", describe(&fact), short(&run), said(&outcome));
        self.charge(&run, &fact, &outcome, folded);
        if let Some(work) = settles(&fact).filter(|_| outcome.is_ok()) {
            self.settled.entry((run, work)).or_insert(seq);
        }
        for command in &commands {
            self.note(command, folded);
        }
    }

    /// Adds to the run's bill: what each planner and each attempt used, once, wanted or not.
    fn charge(&mut self, run: &RunId, fact: &Fact, outcome: &Result<(), Ignored>, folded: &mut Folded) {
        let accepted = outcome.is_ok();
        if outcome.err().is_some_and(|ignored| ignored.why == Why::UnknownRun) {
            return;
        }
        let bill = self.bills.entry(run.clone()).or_default();
        match fact {
            Fact::PlanSealed(sealed) => bill.plan(sealed.draft, &sealed.usage),
            Fact::PlanFailed { draft, usage, .. } => bill.plan(*draft, usage),
            Fact::StepSucceeded(success) => bill.report(run, &success.attempt, accepted, folded),
            Fact::StepFailed(failed) => bill.report(run, &failed.attempt, accepted, folded),
            _ => {}
        }
    }

    fn note(&mut self, command: &Command, folded: &mut Folded) {
        match command {
            Command::DispatchStep(order) => {
                let subject = subjects::step(
                    &order.pool,
                    order.priority,
                    &order.tenant,
                    &order.run,
                    order.step,
                    order.attempt,
                );
                // Writing to a text cannot fail.
                let _ = write!(folded.line, " +step {}.{}", order.step, order.attempt);
                self.orders.insert(subject, Some(encode::step_order(order)));
            }
            Command::DispatchPlan(order) => {
                let (task, draft) = (&order.submission.task, order.draft);
                folded.replan = draft.revision > 1 && draft.attempt == 1;
                let _ = write!(folded.line, " +plan r{}.{}", draft.revision, draft.attempt);
                let subject = subjects::planning(
                    task.priority,
                    task.tenant(),
                    &order.run,
                    draft.revision,
                    draft.attempt,
                );
                self.orders.insert(subject, None);
            }
            Command::FinishRun(document) => self.finish(document, folded),
            Command::TellRun { run, fact } => {
                let _ = write!(folded.line, " +tell {} {}", short(run), fact.name());
            }
            Command::ArmTimer { .. } | Command::BroadcastCancel { .. } | Command::AskApproval { .. } => {}
        }
    }

    fn finish(&mut self, document: &Arc<RunDocument>, folded: &mut Folded) {
        let state = document.state.as_str();
        let _ = write!(folded.line, " +end {state}");
        folded.ended = Some(state);
        let run = &document.run_id;
        if self.documents.insert(run.clone(), Arc::clone(document)).is_some() {
            folded.violations.push(format!("{run} ended twice"));
        }
        let bill = self.bills.remove(run).unwrap_or_default().ledger;
        if bill != document.usage {
            folded.violations.push(format!(
                "the document of {run} says {:?} was used, its log says {bill:?}",
                document.usage
            ));
        }
    }

    /// Whether work of that name was ordered, and with that body.
    pub(crate) fn ordered(&self, subject: &str, payload: &[u8]) -> Ordered {
        match self.orders.get(subject) {
            None => Ordered::Never,
            Some(Some(body)) if body != payload => Ordered::Otherwise,
            Some(_) => Ordered::Alike,
        }
    }

    /// Whether the outcome of a work was in the log before an owner's epoch began.
    pub(crate) fn was_settled(&self, work: &subjects::Work, owner: &str) -> bool {
        let settled = self.settled_at(work);
        settled.is_some_and(|seq| self.epochs.get(owner).is_some_and(|epoch| seq < *epoch))
    }

    /// Whether the outcome of a work is in the log.
    pub(crate) fn is_settled(&self, work: &subjects::Work) -> bool {
        self.settled_at(work).is_some()
    }

    fn settled_at(&self, work: &subjects::Work) -> Option<u64> {
        let name = match work.what {
            WorkKind::Step(step) => WorkName::Step(step, work.attempt),
            WorkKind::Planning(revision) => WorkName::Plan(revision, work.attempt),
        };
        self.settled.get(&(work.run.clone(), name)).copied()
    }

    /// The runs that have not ended.
    pub(crate) fn active(&self) -> Vec<String> {
        self.shard.active().map(short).collect()
    }
}

impl Bill {
    /// A planner says that a draft of its is over.
    fn plan(&mut self, draft: Draft, usage: &[Charge]) {
        if self.drafts.insert(draft) {
            usage.iter().for_each(|charge| self.ledger.charge(charge));
        }
    }

    fn report(&mut self, run: &RunId, report: &AttemptReport, accepted: bool, folded: &mut Folded) {
        let first = !self.reported.contains_key(&(report.step, report.attempt));
        let count = self.reported.entry((report.step, report.attempt)).or_default();
        *count += u32::from(accepted);
        if *count > 1 {
            let (step, attempt) = (report.step, report.attempt);
            folded.violations.push(format!("attempt {step}.{attempt} of {run} was accepted twice"));
        }
        if first {
            report.usage.iter().for_each(|charge| self.ledger.charge(charge));
        }
    }
}

/// As much of a run's id as tells it from others.
pub(crate) fn short(run: &RunId) -> String {
    run.as_str().chars().take(9).collect()
}

/// The work whose outcome a fact is.
fn settles(fact: &Fact) -> Option<WorkName> {
    match fact {
        Fact::StepSucceeded(success) => Some(WorkName::Step(success.attempt.step, success.attempt.attempt)),
        Fact::StepFailed(failed) => Some(WorkName::Step(failed.attempt.step, failed.attempt.attempt)),
        Fact::PlanSealed(sealed) => Some(WorkName::Plan(sealed.draft.revision, sealed.draft.attempt)),
        Fact::PlanFailed { draft, .. } => Some(WorkName::Plan(draft.revision, draft.attempt)),
        _ => None,
    }
}

fn said(outcome: &Result<(), Ignored>) -> &'static str {
    match outcome.err().map(|ignored| ignored.why) {
        None => "applied",
        Some(Why::Repeated) => "repeated",
        Some(Why::Replaced) => "replaced",
        Some(Why::UnknownRun) => "unknown run",
        Some(Why::Illegal) => "illegal",
        Some(Why::Paused) => "paused",
    }
}

fn describe(fact: &Fact) -> String {
    let name = fact.name();
    match fact {
        Fact::StepPlanned { draft, step } => {
            format!("{name} r{}.{}.{} {}", draft.revision, draft.attempt, draft.take, step.id)
        }
        Fact::PlanSealed(sealed) => {
            let draft = sealed.draft;
            format!("{name} r{}.{}.{} of {}", draft.revision, draft.attempt, draft.take, sealed.steps)
        }
        Fact::PlanFailed { draft, failure, .. } => {
            let class = failure.class;
            format!("{name} r{}.{}.{} {class}", draft.revision, draft.attempt, draft.take)
        }
        Fact::StepSucceeded(success) => {
            format!("{name} {}.{}", success.attempt.step, success.attempt.attempt)
        }
        Fact::StepFailed(failed) => {
            let AttemptReport { step, attempt, .. } = &failed.attempt;
            format!("{name} {step}.{attempt} {}", failed.failure.class)
        }
        Fact::TimerFired(timer) => format!("{name} {timer:?}"),
        Fact::ApprovalDecided(decided) => format!("{name} {:?} {}", decided.gates, decided.approved),
        Fact::TaskSubmitted(_)
        | Fact::RunCancelRequested { .. }
        | Fact::RunPauseRequested { .. }
        | Fact::RunResumeRequested => name.to_owned(),
    }
}
