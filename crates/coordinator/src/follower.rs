//! A shard as it follows from its log, without a word to anybody.
//!
//! An owner has one and speaks for it; a standby has one and keeps silent. What
//! an owner still owes after silence is all here: the state itself, documents that
//! may not be kept, and what could not be read.

mod begin;

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt as _, stream::BoxStream};
use planfleet_bus::{DeadLetter, Error, JournalEntry, Lease, trace};
use planfleet_core::{
    command::Command,
    document::RunDocument,
    id::{RunId, ShardId},
    record::{Fact, Record},
    run::{Ignored, Why},
    shard::Shard,
};
use planfleet_proto::{decode::Entry, subjects};

pub(crate) use self::begin::{Progress, Role};
use crate::instruments::Instruments;

/// A shard's log, as it is read.
pub(crate) type Journal = BoxStream<'static, Result<JournalEntry, Error>>;

/// Entries folded in one go before anything else gets its turn: large enough to
/// amortise, small enough that a lease is renewed in time.
pub(crate) const FOLD_BATCH: usize = 512;

/// One shard and what surrounds it.
pub(crate) struct Follower {
    pub(crate) id: ShardId,
    pub(crate) shard: Shard,
    /// Runs whose documents are not known to be kept.
    finishing: BTreeMap<RunId, Finishing>,
    /// What could not be read, until an owner has seen to it.
    unreadable: Vec<Unreadable>,
    /// The newest epoch in the log, and whose it is.
    pub(crate) epoch: (u64, String),
    pub(crate) folded_to: u64,
    /// Everything up to here has been counted, by whoever owned the shard then.
    counted_to: u64,
    instruments: Arc<Instruments>,
}

/// A run that has ended and whose document is not known to be kept.
#[derive(Debug, Clone)]
pub(crate) struct Finishing {
    /// Where its records begin in the log.
    first_seq: u64,
    /// Where they end.
    last_seq: u64,
    pub(crate) document: Arc<RunDocument>,
    /// Somebody may be at work for it.
    cancelled: bool,
}

/// An entry that nobody can read.
pub(crate) struct Unreadable {
    /// The run it is about, if that can be told.
    pub(crate) run: Option<RunId>,
    pub(crate) letter: DeadLetter,
}

impl Follower {
    fn new(id: ShardId, instruments: Arc<Instruments>) -> Self {
        Self {
            id,
            shard: Shard::default(),
            finishing: BTreeMap::new(),
            unreadable: Vec::new(),
            epoch: (0, String::new()),
            folded_to: 0,
            counted_to: u64::MAX,
            instruments,
        }
    }

    /// From now on what is folded is counted, if the owner before has not folded it.
    pub(crate) fn count_from(&mut self, lease: &Lease) {
        self.counted_to = lease.folded_to;
    }

    /// Folds one entry and appends what follows from it to `commands`. What cannot
    /// be read is kept for [`Follower::take_unreadable`] and stops nobody.
    pub(crate) fn fold(&mut self, entry: JournalEntry, commands: &mut Vec<Command>) {
        let JournalEntry { seq, subject, run, content, headers, payload, .. } = entry;
        match content {
            Ok(Entry::Run(record)) => self.fold_record(seq, *record, commands),
            Ok(Entry::EpochOpened { epoch, owner, .. }) => {
                if epoch > self.epoch.0 {
                    self.epoch = (epoch, owner);
                }
            }
            Err(error) => {
                let (to, stream) = (subjects::dead_record(self.id), subjects::log(self.id));
                let reason = error.to_string();
                let letter = DeadLetter { to, stream, seq, subject, reason, headers, payload };
                self.unreadable.push(Unreadable { run, letter });
            }
        }
        self.folded_to = self.folded_to.max(seq);
    }

    fn fold_record(&mut self, seq: u64, record: Record, commands: &mut Vec<Command>) {
        let run = record.run.clone();
        let first_seq = self.shard.first_seq(&run).unwrap_or(seq);
        let begins = matches!(record.fact, Fact::TaskSubmitted(_));
        let (active, known) = (self.shard.len(), commands.len());
        match self.shard.apply(seq, record, commands) {
            Ok(()) if self.is_counted(seq) => {}
            Ok(()) => {
                self.instruments.record(Ok(()));
                if begins {
                    self.instruments.run_submitted();
                }
            }
            Err(ignored) => self.note_ignored(seq, &run, ignored),
        }
        self.instruments.active_runs(difference(active, self.shard.len()));
        let follows = commands.get(known..).unwrap_or_default();
        let cancelled = follows.iter().any(|command| matches!(command, Command::BroadcastCancel { .. }));
        for command in follows {
            if let Command::FinishRun(document) = command {
                let document = Arc::clone(document);
                if !self.is_counted(seq) {
                    self.instruments.run_ended(&document);
                }
                let ended = Finishing { first_seq, last_seq: seq, document, cancelled };
                self.finishing.insert(run.clone(), ended);
            }
        }
    }

    /// Whether the owner before has folded an entry, and has counted it.
    pub(crate) const fn is_counted(&self, seq: u64) -> bool {
        seq <= self.counted_to
    }

    /// Late and repeated records are how the system recovers. One that can follow
    /// from nothing says that whoever wrote it is wrong: it stops nobody, and is
    /// told once, by the first who folds it, as everything is counted once.
    fn note_ignored(&self, seq: u64, run: &RunId, ignored: Ignored) {
        let Ignored { record, state, why } = ignored;
        if self.is_counted(seq) {
            return;
        }
        if why != Why::Illegal {
            tracing::debug!(%run, seq, %ignored, "record ignored");
        } else {
            tracing::warn!(shard = self.id, %run, seq, record, state, "illegal record ignored: {why}");
        }
        self.instruments.record(Err(why));
    }

    /// Folds up to `tail` in silence, or up to a hole: then the entry behind it comes back.
    async fn catch_up(&mut self, journal: &mut Journal, tail: u64) -> Result<Option<JournalEntry>, Error> {
        let mut silence = Silence::default();
        while self.folded_to < tail {
            let Some(entry) = journal.next().await else { return Err(log_ended(self.id)) };
            let entry = entry?;
            if entry.seq > self.folded_to + 1 {
                return Ok(Some(entry));
            }
            silence.fold(self, entry).await;
        }
        Ok(None)
    }

    /// Folds all there is in silence.
    async fn fold_all(&mut self, journal: &mut Journal) -> Result<(), Error> {
        let mut silence = Silence::default();
        while let Some(entry) = journal.next().await {
            silence.fold(self, entry?).await;
        }
        Ok(())
    }

    /// What the state still owes, and the ends that may not have been written.
    pub(crate) fn owed(&self) -> Vec<Command> {
        let mut owed = Vec::new();
        for (run, ended) in &self.finishing {
            if ended.cancelled {
                owed.push(Command::BroadcastCancel { run: run.clone() });
            }
            owed.push(Command::FinishRun(Arc::clone(&ended.document)));
        }
        owed.extend(self.shard.owed());
        owed
    }

    /// The documents of all runs that ended up to `kept_to` are kept; what was
    /// unreadable up to `folded_to` has been set aside. Whoever owned the shard
    /// then has seen to it. A run that waits for what nobody can read may still be
    /// active: its owner may have died before it was given up.
    pub(crate) fn forget_kept(&mut self, lease: &Lease) {
        self.finishing.retain(|_, ended| ended.last_seq > lease.kept_to);
        let Self { shard, unreadable, .. } = self;
        unreadable.retain(|Unreadable { run, letter }| {
            letter.seq > lease.folded_to || run.as_ref().is_some_and(|run| shard.first_seq(run).is_some())
        });
    }

    /// A run's document is kept now: its span can be exported. After a takeover that may be
    /// done again.
    pub(crate) fn kept(&mut self, run: &RunId) {
        if let Some(ended) = self.finishing.remove(run) {
            trace::run_ended(&ended.document);
        }
    }

    /// A run that has ended and whose document is on its way.
    pub(crate) fn finishing(&self, run: &RunId) -> Option<&Finishing> {
        self.finishing.get(run)
    }

    /// What could not be read since this was last asked.
    pub(crate) fn take_unreadable(&mut self) -> Vec<Unreadable> {
        std::mem::take(&mut self.unreadable)
    }

    /// Where a replay without a snapshot has to start: at the first record of the
    /// oldest run that is active, whose document is not kept yet, or that has
    /// just ended.
    pub(crate) fn replay_from(&self) -> u64 {
        let finishing = self.finishing.values().map(|ended| ended.first_seq);
        self.shard.oldest_seq().into_iter().chain(finishing).min().unwrap_or(self.folded_to + 1)
    }

    /// The runs whose records a next owner needs.
    pub(crate) fn needed(&self) -> impl Iterator<Item = &RunId> {
        self.shard.active().chain(self.finishing.keys())
    }

    /// Where the records of the oldest of them begin.
    pub(crate) fn needed_from(&self) -> u64 {
        let finishing = self.finishing.values().map(|ended| ended.first_seq);
        self.shard.oldest_active_seq().into_iter().chain(finishing).min().unwrap_or(self.folded_to + 1)
    }

    /// The documents of all runs that ended up to here are kept.
    pub(crate) fn kept_to(&self) -> u64 {
        let unkept = self.finishing.values().map(|ended| ended.last_seq).min();
        unkept.map_or(self.folded_to, |seq| seq - 1)
    }
}

/// Folding without emitting; others get their turn now and then.
#[derive(Default)]
struct Silence {
    commands: Vec<Command>,
    folded: usize,
}

impl Silence {
    async fn fold(&mut self, follower: &mut Follower, entry: JournalEntry) {
        follower.fold(entry, &mut self.commands);
        self.commands.clear();
        self.folded += 1;
        if self.folded.is_multiple_of(FOLD_BATCH) {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.instruments.active_runs(difference(self.shard.len(), 0));
    }
}

fn difference(before: usize, after: usize) -> i64 {
    let signed = |count| i64::try_from(count).unwrap_or(i64::MAX);
    signed(after) - signed(before)
}

/// A log is read without end; one that ends has been removed.
pub(crate) fn log_ended(id: ShardId) -> Error {
    planfleet_bus::broker::Error::Missing(subjects::log(id)).into()
}
