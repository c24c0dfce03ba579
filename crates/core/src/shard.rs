//! A shard: the runs of one log, and the fold over it.

mod family;
mod recent;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
};

use self::{family::Family, recent::Recent};
use crate::{
    command::Command,
    document::{RunDocument, Summary},
    id::{RunId, StepId},
    plan::Plan,
    record::{Fact, Record, Timer},
    run::{Ignored, Run, Why},
    task::Envelope,
};

/// A repeated submit comes within the half minute for which a publisher tries
/// again; this is twice that. A replay has to start before the runs that ended in
/// it, so that a new owner knows the same.
pub const ENDED_REMEMBERED_MS: u64 = 60_000;

/// Bound on memory, whatever the rate at which runs end.
const ENDED_REMEMBERED_MAX: usize = 100_000;

/// The runs of one log.
#[derive(Debug, Default)]
pub struct Shard {
    runs: BTreeMap<RunId, Entry>,
    family: Family,
    /// The sequences of the first records of runs that are active or have ended
    /// lately: the oldest is what a replay has to start from.
    by_seq: BTreeSet<u64>,
    /// Runs that have ended lately, which a repeated submit must not start again.
    ended: BTreeSet<RunId>,
    /// The same by when they ended.
    ended_at: VecDeque<EndedRun>,
    plans: Recent<Plan>,
    envelopes: Recent<Envelope>,
    /// How many active runs each tenant has.
    tenants: BTreeMap<String, u64>,
    ended_count: u64,
}

/// A run that has ended lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRun {
    /// The run.
    pub run: RunId,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The log position of its first record.
    pub first_seq: u64,
}

#[derive(Debug)]
struct Entry {
    /// In a place of its own: a tree of large values has much room to spare.
    run: Box<Run>,
    first_seq: u64,
}

impl Shard {
    /// Folds the record at position `seq` of the log and appends what follows
    /// from it to `out`.
    ///
    /// # Errors
    /// When the record changes nothing; that is normal, and to be counted.
    pub fn apply(&mut self, seq: u64, record: Record, out: &mut Vec<Command>) -> Result<(), Ignored> {
        let Record { run: id, at_ms, fact } = record;
        self.forget_ended(at_ms);
        match (self.runs.get_mut(&id), fact) {
            (Some(entry), fact) => {
                let steers = family::steers(&fact);
                let outcome = entry.run.apply(fact, at_ms, out);
                let ended = entry.run.ended();
                if ended {
                    self.forget(&id, at_ms);
                }
                if outcome.is_ok() && (ended || steers) {
                    self.tell_family(&id, out);
                }
                outcome
            }
            (None, Fact::TaskSubmitted(_)) if self.ended.contains(&id) => {
                Err(Ignored { record: "TaskSubmitted", state: "Ended", why: Why::Repeated })
            }
            (None, Fact::TaskSubmitted(mut submission)) => {
                self.envelopes.share(&mut submission.envelope);
                if let Some(plan) = &mut submission.plan {
                    self.plans.share(plan);
                }
                let run = Run::start(id.clone(), Arc::from(submission), at_ms, out);
                self.by_seq.insert(seq);
                if run.ended() {
                    self.ended_count += 1;
                    self.remember(EndedRun { run: id, at_ms, first_seq: seq });
                } else {
                    match self.tenants.get_mut(run.tenant()) {
                        Some(count) => *count += 1,
                        None => drop(self.tenants.insert(run.tenant().to_owned(), 1)),
                    }
                    self.family.join(&run);
                    self.runs.insert(id.clone(), Entry { run: Box::new(run), first_seq: seq });
                    self.tell_family(&id, out);
                }
                Ok(())
            }
            (None, fact) => Err(Ignored { record: fact.name(), state: "Unknown", why: Why::UnknownRun }),
        }
    }

    fn forget(&mut self, id: &RunId, at_ms: u64) {
        if let Some(Entry { run, first_seq }) = self.runs.remove(id) {
            self.family.leave(&run);
            self.ended_count += 1;
            if let Some(count) = self.tenants.get_mut(run.tenant()) {
                *count -= 1;
                if *count == 0 {
                    self.tenants.remove(run.tenant());
                }
            }
            self.remember(EndedRun { run: id.clone(), at_ms, first_seq });
        }
    }

    fn remember(&mut self, ended: EndedRun) {
        self.ended.insert(ended.run.clone());
        self.ended_at.push_back(ended);
    }

    fn forget_ended(&mut self, now_ms: u64) {
        let too_many = |ended: &VecDeque<_>| ended.len() > ENDED_REMEMBERED_MAX;
        while let Some(oldest) = self.ended_at.front() {
            if oldest.at_ms.saturating_add(ENDED_REMEMBERED_MS) > now_ms && !too_many(&self.ended_at) {
                break;
            }
            if let Some(oldest) = self.ended_at.pop_front() {
                self.ended.remove(&oldest.run);
                self.by_seq.remove(&oldest.first_seq);
            }
        }
    }

    /// The runs that have ended lately, by when they did.
    pub fn lately_ended(&self) -> impl Iterator<Item = &EndedRun> {
        self.ended_at.iter()
    }

    /// Replaces what is known of runs that have ended lately: a shard that was
    /// folded from the records of some runs only knows those alone.
    pub fn recall_ended(&mut self, ended: impl IntoIterator<Item = EndedRun>) {
        for forgotten in self.ended_at.drain(..) {
            self.by_seq.remove(&forgotten.first_seq);
        }
        self.ended.clear();
        for ended in ended {
            self.by_seq.insert(ended.first_seq);
            self.remember(ended);
        }
    }

    /// What all active runs have dispatched, armed or asked for: emitted once
    /// after a takeover, when the log has been read to its tail.
    #[must_use]
    pub fn owed(&self) -> Vec<Command> {
        let mut out = Vec::new();
        for entry in self.runs.values() {
            entry.run.owed(&mut out);
            out.extend(self.told(&entry.run));
        }
        out
    }

    /// Whether what was owed still is: more may have been folded since.
    #[must_use]
    pub fn still_owes(&self, command: &Command) -> bool {
        let of = |run: &RunId| self.runs.get(run).map(|entry| &entry.run);
        match command {
            Command::DispatchStep(order) => {
                of(&order.run).is_some_and(|run| run.awaits_work(order.step, order.attempt))
            }
            Command::DispatchPlan(order) => {
                let draft = order.draft;
                of(&order.run).is_some_and(|run| run.awaits_planning(draft.revision, draft.attempt))
            }
            Command::ArmTimer { run, timer, .. } => self.awaits(run, *timer),
            Command::AskApproval { run, .. } => of(run).is_some(),
            Command::TellRun { run, fact } => self.still_tells(run, fact, command),
            // What ends a run is owed until it is done.
            Command::BroadcastCancel { .. } | Command::FinishRun(_) => true,
        }
    }

    /// Whether the firing of a timer would still change anything. One that was
    /// answered, or whose run has ended, need not become a record.
    #[must_use]
    pub fn awaits(&self, id: &RunId, timer: Timer) -> bool {
        self.runs.get(id).is_some_and(|entry| entry.run.awaits(timer))
    }

    /// The order of an attempt, if it is owed still: who has put it off need not keep it.
    #[must_use]
    pub fn step_owed(&self, id: &RunId, step: StepId, attempt: u32) -> Option<Command> {
        self.runs.get(id)?.run.step_owed(step, attempt)
    }

    /// The same of a revision's planning.
    #[must_use]
    pub fn planning_owed(&self, id: &RunId, revision: u32, attempt: u32) -> Option<Command> {
        self.runs.get(id)?.run.planning_owed(revision, attempt)
    }

    /// Whether an attempt is ordered, and neither answered nor given up.
    #[must_use]
    pub fn awaits_work(&self, id: &RunId, step: StepId, attempt: u32) -> bool {
        self.runs.get(id).is_some_and(|entry| entry.run.awaits_work(step, attempt))
    }

    /// The class of an active run's task, if it is known.
    #[must_use]
    pub fn class(&self, id: &RunId) -> Option<&str> {
        self.runs.get(id).and_then(|entry| entry.run.class())
    }

    /// An active run as it stands at `at_ms`.
    #[must_use]
    pub fn document(&self, id: &RunId, at_ms: u64) -> Option<RunDocument> {
        self.runs.get(id).map(|entry| entry.run.document(at_ms))
    }

    /// Active runs in a list as they stand at `at_ms`, by id, those behind `after` alone.
    pub fn summaries(&self, after: Option<&RunId>, at_ms: u64) -> impl Iterator<Item = Summary> {
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let runs = self.runs.range::<RunId, _>((behind, Bound::Unbounded));
        runs.map(move |(_, entry)| entry.run.summary(at_ms))
    }

    /// The log position from which on every active run has its records.
    #[must_use]
    pub fn oldest_active_seq(&self) -> Option<u64> {
        self.runs.values().map(|entry| entry.first_seq).min()
    }

    /// The active runs, by id.
    pub fn active(&self) -> impl Iterator<Item = &RunId> {
        self.runs.keys()
    }

    /// The active runs of a batch, by id.
    pub fn active_in<'a>(&'a self, batch: &'a str) -> impl Iterator<Item = &'a RunId> {
        let of_batch =
            move |(id, entry): &(&RunId, &Entry)| id.is_in_batch() && entry.run.batch() == Some(batch);
        self.runs.iter().filter(of_batch).map(|(id, _)| id)
    }

    /// How many runs are active.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// How many active runs each tenant has; only those who have some.
    pub fn tenants(&self) -> impl Iterator<Item = (&str, u64)> {
        self.tenants.iter().map(|(tenant, count)| (tenant.as_str(), *count))
    }

    /// How many runs have ended since the fold began.
    #[must_use]
    pub const fn ended_count(&self) -> u64 {
        self.ended_count
    }

    /// Whether no run is active.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The log position of an active run's first record.
    #[must_use]
    pub fn first_seq(&self, id: &RunId) -> Option<u64> {
        self.runs.get(id).map(|entry| entry.first_seq)
    }

    /// The log position of the first record of the oldest run that is active or
    /// has ended lately: everything below it is over and forgotten.
    #[must_use]
    pub fn oldest_seq(&self) -> Option<u64> {
        self.by_seq.first().copied()
    }
}
