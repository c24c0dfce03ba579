//! Bodies by reference that nothing refers to any more, found and removed: mark and sweep.
//!
//! Nothing that is still wanted is removed, whatever happens meanwhile. A message that
//! was there when its stream was read is counted. One that comes later was published by
//! somebody who has put or touched its body first: either before the list, and then the
//! body is younger than the grace, or after it, and then it is at another revision than
//! the list said and the removal comes to nothing. And whatever cannot be read to its
//! end, a stream or a snapshot, ends the sweep before anything is removed.

use std::{collections::BTreeMap, time::Duration};

use futures::TryStreamExt as _;
use planfleet_core::id::ShardId;
use planfleet_proto::subjects;

use super::HEADER;
use crate::{Bus, Error, broker};

/// How long a body is let alone after it was put or touched. Far longer than a publisher
/// tries (a minute), so that one whose machine has slept loses nothing; and nobody
/// misses the room of one day.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);

/// Bodies of one pass, for each of which memory holds some 100 bytes. A store of more is
/// swept in several passes, each of which reads all headers again.
const PASS_MAX: usize = 200_000;

/// How to sweep.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// Bodies that were put or touched less than this before `now_ms` stay.
    pub grace: Duration,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Only say what would be removed.
    pub dry_run: bool,
    /// Bodies that are judged at once. At least 1.
    pub pass_max: usize,
}

impl Sweep {
    /// The usual one.
    #[must_use]
    pub const fn at(now_ms: u64) -> Self {
        Self { grace: GRACE, now_ms, dry_run: false, pass_max: PASS_MAX }
    }

    fn grace_ms(&self) -> u64 {
        u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What a sweep has found and done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Bodies that were there.
    pub bodies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that were younger than the grace, and stayed.
    pub young: u64,
    /// The others that something referred to, which stayed.
    pub referred: u64,
    /// Those that were used again in the meantime, and stayed.
    pub used_again: u64,
    /// Those that were removed, or would be.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Bodies whose putting was never finished, which were removed or would be.
    pub unfinished: u64,
}

/// A SHA-256.
type Digest = [u8; 32];

/// Bodies that may go, unless something refers to them.
#[derive(Default)]
struct Candidates {
    by_digest: BTreeMap<Digest, Candidate>,
    /// Whether there are others, with higher digests.
    more: bool,
}

struct Candidate {
    revision: u64,
    bytes: u64,
}

impl Candidates {
    fn add(&mut self, digest: Digest, candidate: Candidate, max: usize) {
        self.by_digest.insert(digest, candidate);
        if self.by_digest.len() > max {
            self.by_digest.pop_last();
            self.more = true;
        }
    }

    fn keep(&mut self, referred: &str) {
        if let Some(digest) = digest_of(referred) {
            self.by_digest.remove(&digest);
        }
    }
}

fn digest_of(name: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    hex::decode_to_slice(name, &mut digest).is_ok().then_some(digest)
}

impl Bus {
    /// Removes the bodies that nothing refers to. Any number of processes may do it at once.
    ///
    /// # Errors
    /// When the broker cannot be reached, or what may refer to a body cannot be read.
    /// Then some may be removed already, and none that is wanted.
    pub async fn sweep_blobs(&self, sweep: &Sweep) -> Result<Swept, Error> {
        self.check_that_all_logs_are_known().await?;
        let before_ms = sweep.now_ms.saturating_sub(sweep.grace_ms());
        let unfinished = self.broker().object_leftovers(subjects::BLOBS, before_ms, !sweep.dry_run).await?;
        let mut swept = Swept { unfinished, ..Swept::default() };
        let mut behind = None;
        loop {
            let mut candidates = self.candidates(sweep, behind, &mut swept).await?;
            let Some((&last, _)) = candidates.by_digest.last_key_value() else {
                return Ok(swept);
            };
            let old = candidates.by_digest.len();
            self.spare_referred(&mut candidates).await?;
            swept.referred += (old - candidates.by_digest.len()) as u64;
            self.remove(&candidates, sweep, &mut swept).await?;
            if !candidates.more {
                return Ok(swept);
            }
            behind = Some(last);
        }
    }

    /// With fewer shards than there are, what the other logs refer to would be removed.
    async fn check_that_all_logs_are_known(&self) -> Result<(), Error> {
        let unknown = subjects::log(self.shards());
        match self.broker().stream_state(&unknown).await {
            Err(broker::Error::Missing(_)) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => {
                let difference = format!("it has a log {unknown}, and nats.shards is {}", self.shards());
                Err(broker::Error::Differs { name: "the fleet".to_owned(), difference }.into())
            }
        }
    }

    /// The old bodies with the lowest digests behind that one.
    async fn candidates(
        &self,
        sweep: &Sweep,
        behind: Option<Digest>,
        swept: &mut Swept,
    ) -> Result<Candidates, Error> {
        let mut candidates = Candidates::default();
        let mut objects = self.broker().object_list(subjects::BLOBS).await?;
        while let Some(object) = objects.try_next().await? {
            // What is named otherwise was not put here by us.
            let Some(digest) = digest_of(&object.name) else { continue };
            let young = object.modified_ms.saturating_add(sweep.grace_ms()) > sweep.now_ms;
            if behind.is_none() {
                swept.bodies += 1;
                swept.bytes += object.bytes;
                swept.young += u64::from(young);
            }
            if !young && behind.is_none_or(|behind| digest > behind) {
                let candidate = Candidate { revision: object.revision, bytes: object.bytes };
                candidates.add(digest, candidate, sweep.pass_max.max(1));
            }
        }
        Ok(candidates)
    }

    /// Takes out every candidate that something refers to.
    ///
    /// The order matters where a reference moves without anybody touching the body: an
    /// entry is in a snapshot before it is trimmed off the log.
    async fn spare_referred(&self, candidates: &mut Candidates) -> Result<(), Error> {
        self.spare_referred_in(subjects::STEPS, 1, candidates).await?;
        for shard in 0..self.shards() {
            let lease = self.lease(shard).await?.map(|held| held.lease).unwrap_or_default();
            // What lies below belongs to runs that have ended, and is never read again.
            self.spare_referred_in(&subjects::log(shard), lease.replay_from, candidates).await?;
            self.spare_referred_in_snapshots(shard, candidates).await?;
        }
        for stream in [subjects::DONE, subjects::DEAD_LETTERS] {
            self.spare_referred_in(stream, 1, candidates).await?;
        }
        Ok(())
    }

    async fn spare_referred_in(
        &self,
        stream: &str,
        from_seq: u64,
        candidates: &mut Candidates,
    ) -> Result<(), Error> {
        let mut entries = self.broker().read_headers(stream, from_seq.max(1)).await?;
        while let Some(entry) = entries.try_next().await? {
            // A dead letter carries the headers of its message, under longer names.
            let references = entry.headers.iter().filter(|(name, _)| name.ends_with(HEADER));
            references.for_each(|(_, digest)| candidates.keep(digest));
        }
        Ok(())
    }

    async fn spare_referred_in_snapshots(
        &self,
        shard: ShardId,
        candidates: &mut Candidates,
    ) -> Result<(), Error> {
        // Once more if the owner has replaced them in between, which it does rarely.
        let mut outcome = self.spare_referred_in_current_snapshots(shard, candidates).await;
        if let Err(Error::Snapshot { .. }) = outcome {
            outcome = self.spare_referred_in_current_snapshots(shard, candidates).await;
        }
        outcome
    }

    async fn spare_referred_in_current_snapshots(
        &self,
        shard: ShardId,
        candidates: &mut Candidates,
    ) -> Result<(), Error> {
        let lease = self.lease(shard).await?.map(|held| held.lease).unwrap_or_default();
        // Of an older one all runs have ended.
        for wanted in lease.snapshots.iter().filter(|snapshot| snapshot.folded_to >= lease.replay_from) {
            let snapshot = self.snapshot(wanted).await?;
            snapshot.blobs().for_each(|digest| candidates.keep(&digest));
        }
        Ok(())
    }

    /// Removes candidates that are as they were listed.
    async fn remove(&self, candidates: &Candidates, sweep: &Sweep, swept: &mut Swept) -> Result<(), Error> {
        for (digest, candidate) in &candidates.by_digest {
            let name = hex::encode(digest);
            let gone = sweep.dry_run
                || self.broker().object_delete(subjects::BLOBS, &name, Some(candidate.revision)).await?;
            if gone {
                swept.removed += 1;
                swept.removed_bytes += candidate.bytes;
            } else {
                swept.used_again += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::broker::{Broker as _, memory::MemoryBroker};

    /// What the whole sweep cannot show from outside: a body that is used between the
    /// list and the removal.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_used_again_meanwhile_stays() {
        let broker = Arc::new(MemoryBroker::started_at(1_000_000));
        broker.ensure_objects(subjects::BLOBS, 1).await.unwrap();
        let bus = Bus::new(broker.clone(), 1);
        let names = ["aa".repeat(32), "bb".repeat(32)];
        for name in &names {
            broker.object_put(subjects::BLOBS, name, Bytes::from_static(b"body")).await.unwrap();
        }
        let sweep = Sweep { grace: Duration::ZERO, ..Sweep::at(1_000_000) };
        let mut swept = Swept::default();
        let candidates = bus.candidates(&sweep, None, &mut swept).await.unwrap();
        assert_eq!(candidates.by_digest.len(), 2);
        assert!(broker.object_touch(subjects::BLOBS, &names[0]).await.unwrap());
        bus.remove(&candidates, &sweep, &mut swept).await.unwrap();
        assert_eq!((swept.used_again, swept.removed, swept.removed_bytes), (1, 1, 4));
        assert!(broker.object_get(subjects::BLOBS, &names[0]).await.unwrap().is_some());
        assert!(broker.object_get(subjects::BLOBS, &names[1]).await.unwrap().is_none());
    }
}
