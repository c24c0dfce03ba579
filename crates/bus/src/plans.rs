//! The plan cache on the broker: one key for each kind of task.
//!
//! Entries are written by compare-and-set, so that of many who miss one kind of task one
//! plans. What came of runs is gathered by each coordinator and written once a second: a
//! note that is lost with its process changes a statistic.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use planfleet_core::{
    cache::{Entry, Outcomes},
    document::{RunDocument, RunState},
    failure::FailureClass,
    reason::{Cause, EndCode},
};
use planfleet_proto::subjects;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    Bus, Error,
    broker::{self, CasOutcome, KvEntry},
};

/// Between two writes of what came of runs.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Kinds of task of which outcomes wait to be written at once; more than that are not kept.
const KINDS_MAX: usize = 10_000;

/// Writers of one entry that meet.
const CAS_TRIES: u32 = 10;

/// An entry as it is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The entry.
    pub entry: Entry,
    /// To write it again by.
    pub revision: u64,
}

/// What came of runs since the last write, by key and by when the entry was made that they used.
#[derive(Debug, Default)]
pub struct PlanNotes(Mutex<Notes>);

type Notes = BTreeMap<(String, u64), Noted>;

#[derive(Debug, Clone, Copy, Default)]
struct Noted {
    used: Outcomes,
    fresh: Outcomes,
}

impl PlanNotes {
    fn noted(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bus {
    /// An entry of the plan cache.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn cached_plan(&self, key: &str) -> Result<Option<Kept>, Error> {
        let entry = self.broker().kv_get(subjects::PLANS, key).await?;
        entry.map(|entry| read(&entry)).transpose()
    }

    /// All entries that can be read, by key.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn cached_plans(&self) -> Result<BTreeMap<String, Kept>, Error> {
        self.read_all(subjects::PLANS, read).await
    }

    /// Writes an entry, if it is still as it was at `revision` (0: it is not there). `None`
    /// when somebody else wrote first.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn keep_plan(&self, key: &str, entry: &Entry, revision: u64) -> Result<Option<u64>, Error> {
        let value = serde_json::to_vec(entry).map_err(|error| Error::Answer(error.to_string()))?;
        match self.broker().kv_cas(subjects::PLANS, key, Bytes::from(value), revision).await? {
            CasOutcome::Written(revision) => Ok(Some(revision)),
            CasOutcome::Conflict => Ok(None),
        }
    }

    /// Removes an entry; the next such task is planned.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn forget_plan(&self, key: &str) -> Result<(), Error> {
        Ok(self.broker().kv_delete(subjects::PLANS, key).await?)
    }

    /// Changes an entry. `None` when it is not there.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub async fn change_plan(&self, key: &str, change: impl Fn(&mut Entry)) -> Result<Option<Entry>, Error> {
        for _ in 0..CAS_TRIES {
            let Some(Kept { mut entry, revision }) = self.cached_plan(key).await? else { return Ok(None) };
            change(&mut entry);
            if self.keep_plan(key, &entry, revision).await?.is_some() {
                return Ok(Some(entry));
            }
        }
        Err(broker::Error::Unreachable(format!("the cached plan {key} is being written by others")).into())
    }

    /// Takes note of what came of a run, for the plan that it was carried out by.
    pub fn note_outcome(&self, document: &RunDocument) {
        let (Some(note), Some(success)) = (&document.cache, outcome(document)) else { return };
        let mut noted = self.notes.noted();
        let used = (note.key.clone(), note.made_ms);
        if noted.len() >= KINDS_MAX && !noted.contains_key(&used) {
            return;
        }
        let kind = noted.entry(used).or_default();
        let outcomes = if note.hit { &mut kind.used } else { &mut kind.fresh };
        let one = Outcomes { succeeded: u64::from(success), failed: u64::from(!success) };
        outcomes.add(&one);
    }

    /// Writes what came of runs, once a second, for as long as it is polled.
    pub async fn write_outcomes(&self) {
        let mut flush = interval(FLUSH_EVERY);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            flush.tick().await;
            let noted = std::mem::take(&mut *self.notes.noted());
            for ((key, made_ms), Noted { used, fresh }) in noted {
                let written = self.change_plan(&key, |entry| {
                    // What came of an entry says nothing of the one that took its place.
                    if made_ms == 0 || made_ms == entry.made_ms {
                        entry.used.add(&used);
                        entry.fresh.add(&fresh);
                    }
                });
                if let Err(error) = written.await {
                    tracing::debug!(key, %error, "it is not noted what came of a plan");
                }
            }
        }
    }
}

/// Whether a plan has proven itself; `None` where its run ended for other reasons.
fn outcome(document: &RunDocument) -> Option<bool> {
    let end = document.end.as_ref();
    let mended = || document.revisions.iter().any(|one| matches!(one.cause, Cause::Failed { .. }));
    match document.state {
        RunState::Succeeded => Some(!document.partial && !mended()),
        RunState::Failed => {
            // No plan helps where money, a provider or a person is in the way.
            let of_plan = !matches!(end.map(|end| end.code), Some(EndCode::Budget | EndCode::Rejected));
            let elsewhere =
                |class| matches!(class, FailureClass::Quota | FailureClass::Transient | FailureClass::Lost);
            (of_plan && !end.and_then(|end| end.class).is_some_and(elsewhere)).then_some(false)
        }
        _ => None,
    }
}

fn read(entry: &KvEntry) -> Result<Kept, Error> {
    let unreadable = |error| Error::Answer(format!("a cached plan cannot be read: {error}"));
    let kept = serde_json::from_slice(&entry.value).map_err(unreadable)?;
    Ok(Kept { entry: kept, revision: entry.revision })
}
