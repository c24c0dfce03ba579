//! Sees everything that is asked of the broker and everything that it stores,
//! writes it down, and says at once when something happens that must not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use planfleet_bus::{
    Bus,
    broker::{self, LogEntry, Outgoing, Published},
};
use planfleet_core::id::ShardId;
use planfleet_proto::{
    decode::{self, Entry},
    subjects,
};

use super::{
    facts::Facts,
    reference::{Ordered, Reference, short},
    tally::Counter,
    time,
    transcript::Transcript,
};

/// The witness of one world.
pub(crate) struct Witness {
    /// The broker itself, with nothing in between.
    bus: Bus,
    /// How often something was stored or asked for.
    noise: AtomicU64,
    pub(crate) transcript: Transcript,
    pub(crate) counter: Counter,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    logs: BTreeMap<ShardId, Reference>,
    facts: Facts,
    /// Work that somebody has asked the broker to queue.
    asked: BTreeSet<String>,
    processes: BTreeMap<String, Emitted>,
    /// What logs no longer have.
    trimmed: BTreeMap<String, Vec<LogEntry>>,
    violations: Vec<String>,
}

/// What one coordinator has asked for.
#[derive(Default)]
struct Emitted {
    work: BTreeSet<String>,
    /// Runs whose end it has asked to be kept.
    ended: BTreeSet<String>,
}

impl Witness {
    pub(crate) fn new(bus: Bus) -> Self {
        Self {
            bus,
            noise: AtomicU64::new(0),
            transcript: Transcript::default(),
            counter: Counter::default(),
            seen: Mutex::default(),
        }
    }

    /// Grows with everything that is asked of the broker and that it stores.
    pub(crate) fn noise(&self) -> u64 {
        self.noise.load(Ordering::Relaxed)
    }

    /// The broker itself.
    pub(crate) const fn bus(&self) -> &Bus {
        &self.bus
    }

    pub(crate) fn line(&self, who: &str, what: fmt::Arguments<'_>) {
        self.transcript.line(who, what);
    }

    /// Something has gone wrong, as it was meant to.
    pub(crate) fn fault(&self, who: &str, kind: &'static str, what: fmt::Arguments<'_>) {
        self.counter.count(kind);
        self.transcript.line(who, format_args!("! {kind}: {what}"));
    }

    /// Something has happened that must not.
    pub(crate) fn violation(&self, what: String) {
        self.transcript.line("", format_args!("VIOLATION {what}"));
        self.seen().violations.push(what);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.seen().violations.clone()
    }

    /// What the uninterrupted fold of a shard's log has come to.
    pub(crate) fn look<T>(&self, shard: ShardId, look: impl FnOnce(&Reference) -> T) -> T {
        look(self.seen().logs.entry(shard).or_default())
    }

    /// Everything below a position is about to go from a log; it is kept for the verdict.
    pub(crate) async fn trimmed(&self, stream: &str, below_seq: u64) -> Result<(), broker::Error> {
        let gone = self.entries(stream).await?;
        let below = |entry: &LogEntry| entry.seq < below_seq;
        self.counter.add("entries trimmed", gone.iter().filter(|entry| below(entry)).count() as u64);
        let mut seen = self.seen();
        seen.trimmed.entry(stream.to_owned()).or_default().extend(gone.into_iter().filter(below));
        Ok(())
    }

    /// Everything that has ever been in a log.
    pub(crate) async fn all_entries(&self, stream: &str) -> Result<Vec<LogEntry>, broker::Error> {
        let left = self.entries(stream).await?;
        let trimmed = self.seen().trimmed.get(stream).cloned().unwrap_or_default();
        Ok([trimmed, left].concat())
    }

    /// Everything in a stream.
    async fn entries(&self, stream: &str) -> Result<Vec<LogEntry>, broker::Error> {
        let count = self.bus.broker().stream_state(stream).await?.messages;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let entries = self.bus.broker().read_log(stream, 1).await?;
        entries.take(count).try_collect().await
    }

    /// A process begins to publish.
    pub(crate) fn asks(&self, who: &str, subject: &str) {
        self.noise.fetch_add(1, Ordering::Relaxed);
        let violation = if subject.starts_with("pf.steps.") {
            self.asks_for_work(who, subject)
        } else if let Some(run) = subject.strip_prefix("pf.done.").and_then(|rest| rest.split('.').nth(1)) {
            self.seen().processes.entry(who.to_owned()).or_default().ended.insert(run.to_owned());
            None
        } else {
            None
        };
        if let Some(violation) = violation {
            self.violation(violation);
        }
    }

    /// New work is asked for by whoever holds the lease, and by nobody for a run
    /// that it has seen end.
    fn asks_for_work(&self, who: &str, subject: &str) -> Option<String> {
        let Some(work) = subjects::work(subject) else { return Some(format!("{subject} names no work")) };
        let run = work.run.clone();
        {
            let mut seen = self.seen();
            if seen.logs.entry(run.shard()).or_default().was_settled(&work, who) {
                return Some(format!("{who} asks for {subject}, whose outcome its replay has shown"));
            }
            let own = seen.processes.entry(who.to_owned()).or_default();
            if own.work.insert(subject.to_owned()) && own.ended.contains(run.as_str()) {
                return Some(format!("{who} asks for {subject}, whose run it has seen end"));
            }
            if !seen.asked.insert(subject.to_owned()) {
                return None;
            }
        }
        // The broker in memory answers at once.
        let held = self.bus.lease(run.shard()).now_or_never()?.ok()??;
        (held.lease.owner != who)
            .then(|| format!("{who} asks for {subject}, and the lease is held by {:?}", held.lease.owner))
    }

    /// The broker has taken a message, or refused it.
    pub(crate) fn stored(&self, who: &str, message: &Outgoing, published: Published) {
        self.noise.fetch_add(1, Ordering::Relaxed);
        let subject = message.subject.as_str();
        match published {
            Published::Present => self.line(who, format_args!("{} is there already", shown(subject))),
            Published::Stored(seq) if subject.starts_with("pf.ev.") => self.appended(who, seq, message),
            Published::Stored(_) if subject.starts_with("pf.steps.") => self.queued(who, message),
            Published::Stored(_) => self.line(who, format_args!("{} stored", shown(subject))),
        }
    }

    fn appended(&self, who: &str, seq: u64, message: &Outgoing) {
        let shard = message.subject.split('.').nth(2).and_then(|shard| shard.parse().ok()).unwrap_or(0);
        let folded = {
            let mut seen = self.seen();
            let entry = decode::entry(&message.payload, time::now_ms());
            if let Ok(Entry::Run(record)) = &entry {
                seen.facts.read(record);
            }
            seen.logs.entry(shard).or_default().fold(seq, entry)
        };
        self.line(who, format_args!("log {shard} #{seq} {}", folded.line));
        if let Some(state) = folded.ended {
            self.counter.count(state);
        }
        if folded.replan {
            self.counter.count("replans");
        }
        folded.violations.into_iter().for_each(|violation| self.violation(violation));
    }

    fn queued(&self, who: &str, message: &Outgoing) {
        let subject = message.subject.as_str();
        self.line(who, format_args!("{} queued", shown(subject)));
        let Some(work) = subjects::work(subject) else { return };
        let (ordered, too_early) = {
            let mut seen = self.seen();
            let early =
                decode::step_order(&message.payload).ok().and_then(|order| seen.facts.too_early(&order));
            let log = seen.logs.entry(work.run.shard()).or_default();
            if log.is_settled(&work) {
                // Its name was free again: it will be done twice.
                self.counter.count("settled work queued");
            }
            (log.ordered(subject, &message.payload), early)
        };
        if ordered != Ordered::Alike {
            self.violation(format!("{who} queues {subject}, which the log orders {ordered:?}"));
        }
        if let Some(why) = too_early {
            self.violation(format!("{subject} is queued too early: {why}"));
        }
    }

    /// A shard's lease was written.
    pub(crate) fn lease_written(&self, who: &str, shard: &str, before: &[u8], now: &[u8]) {
        let (from, to) = (owner(before), owner(now));
        if from == to {
            return;
        }
        let kind = match (from, to) {
            ("", _) => "shards taken",
            (_, "") => "shards handed over",
            _ => "takeovers",
        };
        self.counter.count(kind);
        self.line(who, format_args!("lease of {shard}: {from:?} -> {to:?}"));
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A subject, with its run shortened.
pub(crate) fn shown(subject: &str) -> String {
    match subjects::work(subject) {
        Some(work) => {
            let rest = subject.split('.').skip(6).collect::<Vec<_>>().join(".");
            format!("work {} {rest}", short(&work.run))
        }
        None => subject.to_owned(),
    }
}

/// The owner that a lease names; none where there is none. Leases are written all
/// the time, and reading them whole would take longer than all else.
fn owner(lease: &[u8]) -> &str {
    let text = std::str::from_utf8(lease).unwrap_or_default();
    let named = text.split_once("\"owner\":\"").and_then(|(_, rest)| rest.split_once('"'));
    named.map_or("", |(owner, _)| owner)
}
