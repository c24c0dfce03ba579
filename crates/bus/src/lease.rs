//! Leases of shards, and who is there to hold them. Both are compare-and-set
//! records; whether one is stale is judged by the watcher's own clock.

use bytes::Bytes;
use planfleet_core::id::ShardId;
use planfleet_proto::subjects;
use serde::{Deserialize, Serialize};

use crate::{
    Bus, Error,
    admission::Load,
    broker::{CasOutcome, KvEntry},
    snapshots::SnapshotRef,
};

/// Who owns a shard, and how far its log has to be read again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// Grows by one with every takeover.
    pub epoch: u64,
    /// The owner's name; empty when it was handed back.
    pub owner: String,
    /// Everything below this position belongs to runs that have ended.
    pub replay_from: u64,
    /// The documents of all runs that ended up to this position are kept.
    pub kept_to: u64,
    /// Everything up to this position had been folded at the last renewal.
    pub folded_to: u64,
    /// The newest snapshots, the newest first: one to begin with, and one for the
    /// case that it is damaged.
    pub snapshots: Vec<SnapshotRef>,
    /// The version of the owner's decisions.
    pub logic_version: u32,
    /// How much the shard holds and takes.
    pub load: Load,
    /// Grows with every renewal, so that each is a write.
    pub beat: u64,
}

/// A lease and its revision, which a renewal has to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The lease.
    pub lease: Lease,
    /// Its revision.
    pub revision: u64,
}

fn key(shard: ShardId) -> String {
    format!("{shard:02}")
}

impl Bus {
    /// A shard's lease, if it ever had one.
    ///
    /// # Errors
    /// When the broker cannot be reached or the record cannot be read.
    pub async fn lease(&self, shard: ShardId) -> Result<Option<Held>, Error> {
        self.broker().kv_get(subjects::SHARDS, &key(shard)).await?.map(|entry| held(&entry)).transpose()
    }

    /// Writes a shard's lease if nobody else has since `revision` (0: there is none).
    /// `None` means that somebody has.
    ///
    /// # Errors
    /// When the broker cannot be reached: whether it was written is unknown then.
    pub async fn write_lease(
        &self,
        shard: ShardId,
        lease: &Lease,
        revision: u64,
    ) -> Result<Option<u64>, Error> {
        let value = serde_json::to_vec(lease).map_err(|error| Error::Answer(error.to_string()))?;
        let outcome =
            self.broker().kv_cas(subjects::SHARDS, &key(shard), Bytes::from(value), revision).await?;
        Ok(match outcome {
            CasOutcome::Written(revision) => Some(revision),
            CasOutcome::Conflict => None,
        })
    }

    /// Says that a coordinator is there. To be repeated; see [`Bus::members`].
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn announce_member(&self, name: &str, beat: u64) -> Result<(), Error> {
        let bucket = subjects::MEMBERS;
        let revision = self.broker().kv_get(bucket, name).await?.map_or(0, |entry| entry.revision);
        let value = Bytes::from(beat.to_string());
        // A conflict would mean another process of this name, which is as alive.
        self.broker().kv_cas(bucket, name, value, revision).await?;
        Ok(())
    }

    /// Every coordinator that was there lately, with the revision of its last sign of life.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn members(&self) -> Result<Vec<(String, u64)>, Error> {
        let all = self.broker().kv_all(subjects::MEMBERS).await?;
        Ok(all.into_iter().map(|(name, entry)| (name, entry.revision)).collect())
    }

    /// Takes a coordinator off the list.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn forget_member(&self, name: &str) -> Result<(), Error> {
        Ok(self.broker().kv_delete(subjects::MEMBERS, name).await?)
    }
}

fn held(entry: &KvEntry) -> Result<Held, Error> {
    let lease = serde_json::from_slice(&entry.value).map_err(|error| Error::Answer(error.to_string()))?;
    Ok(Held { lease, revision: entry.revision })
}
