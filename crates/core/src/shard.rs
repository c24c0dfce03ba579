//! A shard: the runs of one log, and the fold over it.

mod recent;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use self::recent::Recent;
use crate::{
    command::Command,
    document::RunDocument,
    id::RunId,
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
    /// The sequences of the active runs' first records: the oldest is what a
    /// replay has to start from.
    by_seq: BTreeSet<u64>,
    /// Runs that have ended lately, which a repeated submit must not start again.
    ended: BTreeSet<RunId>,
    /// The same by when they ended.
    ended_at: VecDeque<(u64, RunId)>,
    plans: Recent<Plan>,
    envelopes: Recent<Envelope>,
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
                let outcome = entry.run.apply(fact, at_ms, out);
                if entry.run.ended() {
                    self.forget(&id, at_ms);
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
                if run.ended() {
                    self.remember(id, at_ms);
                } else {
                    self.by_seq.insert(seq);
                    self.runs.insert(id, Entry { run: Box::new(run), first_seq: seq });
                }
                Ok(())
            }
            (None, fact) => Err(Ignored { record: fact.name(), state: "Unknown", why: Why::UnknownRun }),
        }
    }

    fn forget(&mut self, id: &RunId, at_ms: u64) {
        if let Some(entry) = self.runs.remove(id) {
            self.by_seq.remove(&entry.first_seq);
        }
        self.remember(id.clone(), at_ms);
    }

    fn remember(&mut self, id: RunId, at_ms: u64) {
        if self.ended.insert(id.clone()) {
            self.ended_at.push_back((at_ms, id));
        }
    }

    fn forget_ended(&mut self, now_ms: u64) {
        let too_many = |ended: &VecDeque<_>| ended.len() > ENDED_REMEMBERED_MAX;
        while let Some((at_ms, _)) = self.ended_at.front() {
            if at_ms.saturating_add(ENDED_REMEMBERED_MS) > now_ms && !too_many(&self.ended_at) {
                break;
            }
            if let Some((_, id)) = self.ended_at.pop_front() {
                self.ended.remove(&id);
            }
        }
    }

    /// What all active runs have dispatched, armed or asked for: emitted once
    /// after a takeover, when the log has been read to its tail.
    #[must_use]
    pub fn owed(&self) -> Vec<Command> {
        let mut out = Vec::new();
        for entry in self.runs.values() {
            entry.run.owed(&mut out);
        }
        out
    }

    /// Whether the firing of a timer would still change anything. One that was
    /// answered, or whose run has ended, need not become a record.
    #[must_use]
    pub fn awaits(&self, id: &RunId, timer: Timer) -> bool {
        self.runs.get(id).is_some_and(|entry| entry.run.awaits(timer))
    }

    /// An active run as it stands at `at_ms`.
    #[must_use]
    pub fn document(&self, id: &RunId, at_ms: u64) -> Option<RunDocument> {
        self.runs.get(id).map(|entry| entry.run.document(at_ms))
    }

    /// The active runs, by id.
    pub fn active(&self) -> impl Iterator<Item = &RunId> {
        self.runs.keys()
    }

    /// How many runs are active.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.len()
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

    /// The log position of the oldest active run's first record: everything
    /// below it belongs to runs that have ended.
    #[must_use]
    pub fn oldest_seq(&self) -> Option<u64> {
        self.by_seq.first().copied()
    }
}
