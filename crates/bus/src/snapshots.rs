//! Snapshots: a shard's log without the runs that are over, kept beside it, so
//! that a takeover is as long as what is active and the log can be trimmed.
//!
//! What is in a snapshot are the log's own entries. It is folded by the code that
//! folds the log, what is in it is read by every version that can read the log, and
//! nothing in it could disagree with that. A manifest names compressed segments and
//! their digests; it is written last, so that a snapshot is there whole or not at
//! all. What is damaged is told apart from what is out of reach.

mod reader;
mod writer;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use planfleet_core::{id::ShardId, shard::EndedRun};
use planfleet_proto::{Message as _, SNAPSHOT_VERSION, subjects, wire};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::writer::SnapshotWriter;
use crate::{
    Bus, Error, JournalEntry,
    broker::{self, LogEntry},
};

/// What a lease says of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRef {
    /// Its name among `pf_snapshots`.
    pub name: String,
    /// The log position that it goes up to: reading goes on behind it.
    pub folded_to: u64,
}

/// A snapshot whose manifest is there and whole.
#[derive(Clone)]
pub struct Snapshot {
    bus: Bus,
    manifest: wire::SnapshotManifest,
    ended: Vec<EndedRun>,
}

impl Bus {
    /// Finds a snapshot.
    ///
    /// # Errors
    /// [`Error::Snapshot`] when it is missing, damaged or of another version; the
    /// broker's own trouble as it is, and then nobody knows.
    pub async fn snapshot(&self, wanted: &SnapshotRef) -> Result<Snapshot, Error> {
        let bad = |problem: String| Error::Snapshot { name: wanted.name.clone(), problem };
        let bytes = object(self, &wanted.name).await?;
        let manifest = wire::SnapshotManifest::decode(bytes)
            .map_err(|error| bad(format!("has an unreadable manifest: {error}")))?;
        if !(1..=SNAPSHOT_VERSION).contains(&manifest.version) {
            let version = manifest.version;
            return Err(bad(format!(
                "is of version {version}; this program reads versions up to {SNAPSHOT_VERSION}"
            )));
        }
        if digest_of(&manifest) != manifest.digest {
            return Err(bad("has a damaged manifest".to_owned()));
        }
        if !wanted.name.starts_with(&subjects::snapshots_of(manifest.shard as ShardId)) {
            return Err(bad(format!("is of shard {}", manifest.shard)));
        }
        if manifest.folded_to != wanted.folded_to {
            return Err(bad(format!("goes up to {}, not {}", manifest.folded_to, wanted.folded_to)));
        }
        let ended = manifest.ended.iter().map(ended_run).collect::<Option<_>>();
        let ended = ended.ok_or_else(|| bad("names a run in no form of an id".to_owned()))?;
        Ok(Snapshot { bus: self.clone(), manifest, ended })
    }

    /// Removes what belongs to none of `kept`, as far as it is the owner's of `epoch` to
    /// judge: what was made under earlier epochs, and of its own what goes no further
    /// than the newest of `kept`, for one that goes further is being written.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn sweep_snapshots(
        &self,
        shard: ShardId,
        epoch: u64,
        kept: &[SnapshotRef],
    ) -> Result<usize, Error> {
        let (bucket, prefix) = (subjects::SNAPSHOTS, subjects::snapshots_of(shard));
        let is_kept = |name: &str| {
            let part_of = |kept: &SnapshotRef| {
                name.strip_prefix(&kept.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            kept.iter().any(part_of)
        };
        let newest = kept.iter().map(|kept| kept.folded_to).max().unwrap_or_default();
        let mut objects = self.broker().object_list(bucket).await?;
        let mut removed = 0;
        while let Some(object) = objects.try_next().await? {
            let of_shard = object.name.starts_with(&prefix);
            let over = subjects::snapshot_origin(&object.name)
                .is_some_and(|(folded_to, made)| made < epoch || made == epoch && folded_to <= newest);
            if of_shard && over && !is_kept(&object.name) {
                let gone = self.broker().object_delete(bucket, &object.name, Some(object.revision)).await?;
                removed += usize::from(gone);
            }
        }
        Ok(removed)
    }

    /// Removes what there is of a snapshot that was given up.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn remove_snapshot(&self, name: &str) -> Result<(), Error> {
        let mut objects = self.broker().object_list(subjects::SNAPSHOTS).await?;
        while let Some(object) = objects.try_next().await? {
            let rest = object.name.strip_prefix(name);
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                let (bucket, revision) = (subjects::SNAPSHOTS, Some(object.revision));
                self.broker().object_delete(bucket, &object.name, revision).await?;
            }
        }
        Ok(())
    }
}

impl Snapshot {
    /// The log position that it goes up to.
    #[must_use]
    pub const fn folded_to(&self) -> u64 {
        self.manifest.folded_to
    }

    /// Runs that had ended lately, by when they did.
    #[must_use]
    pub fn ended(&self) -> &[EndedRun] {
        &self.ended
    }

    /// How many entries it holds.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.manifest.segments.iter().map(|segment| segment.entries).sum()
    }

    /// The SHA-256 in hexadecimal of every body that its entries refer to.
    pub fn blobs(&self) -> impl Iterator<Item = String> {
        self.manifest.blobs.iter().map(hex::encode)
    }

    /// Its entries in the log's order, as they were. Ends with an error where a
    /// segment is damaged, out of reach or shorter than the manifest says.
    #[must_use]
    pub fn log(&self) -> BoxStream<'static, Result<LogEntry, Error>> {
        reader::entries(self.bus.clone(), self.manifest.segments.clone()).boxed()
    }

    /// The same, read.
    #[must_use]
    pub fn journal(&self) -> BoxStream<'static, Result<JournalEntry, Error>> {
        self.bus.opened(self.log())
    }
}

/// An object of a snapshot, if it is there and whole.
async fn object(bus: &Bus, name: &str) -> Result<Bytes, Error> {
    let bad = |problem: &str| Error::Snapshot { name: name.to_owned(), problem: problem.to_owned() };
    match bus.broker().object_get(subjects::SNAPSHOTS, name).await {
        Err(broker::Error::Damaged(_)) => Err(bad("is damaged")),
        found => found?.ok_or_else(|| bad("is missing")),
    }
}

/// What a manifest says of itself, by which damage is noticed.
fn digest_of(manifest: &wire::SnapshotManifest) -> Vec<u8> {
    let bare = wire::SnapshotManifest { digest: Vec::new(), ..manifest.clone() };
    Sha256::digest(bare.encode_to_vec()).to_vec()
}

fn ended_run(ended: &wire::EndedRun) -> Option<EndedRun> {
    let run = ended.run_id.parse().ok()?;
    Some(EndedRun { run, at_ms: ended.at_unix_ms, first_seq: ended.first_seq })
}
