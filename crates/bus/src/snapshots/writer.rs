//! Writing a snapshot, one segment in memory at a time.

use std::{collections::BTreeSet, io::Write as _};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use planfleet_core::{id::ShardId, shard::EndedRun};
use planfleet_proto::{Message as _, SNAPSHOT_VERSION, subjects, wire};
use sha2::{Digest as _, Sha256};

use super::{SnapshotRef, digest_of};
use crate::{Bus, Error, blobs, broker::LogEntry};

/// Entries of one segment before they are compressed: some fifty thousand of the
/// usual size, and little enough to be in memory while a shard is busy.
const SEGMENT_BYTES: usize = 16 * 1024 * 1024;

/// A snapshot that is being written. Nobody sees it before [`SnapshotWriter::finish`].
pub struct SnapshotWriter {
    bus: Bus,
    name: String,
    manifest: wire::SnapshotManifest,
    segment: Segment,
    blobs: BTreeSet<Vec<u8>>,
}

struct Segment {
    text: GzEncoder<Vec<u8>>,
    /// Before compression.
    bytes: usize,
    entries: u64,
}

impl Segment {
    fn new() -> Self {
        // A takeover waits for the reading, never for the writing, and the store
        // should not be busy with either.
        Self { text: GzEncoder::new(Vec::new(), Compression::fast()), bytes: 0, entries: 0 }
    }
}

impl Bus {
    /// Begins a snapshot of a shard up to `folded_to`, by the owner of that epoch.
    #[must_use]
    pub fn write_snapshot(&self, shard: ShardId, epoch: u64, folded_to: u64) -> SnapshotWriter {
        SnapshotWriter {
            bus: self.clone(),
            name: subjects::snapshot(shard, folded_to, epoch),
            manifest: wire::SnapshotManifest {
                version: SNAPSHOT_VERSION,
                shard: shard.into(),
                folded_to,
                ..wire::SnapshotManifest::default()
            },
            segment: Segment::new(),
            blobs: BTreeSet::new(),
        }
    }
}

impl SnapshotWriter {
    /// Adds an entry; they come in the log's order.
    ///
    /// # Errors
    /// When a full segment cannot be stored: the snapshot is given up then.
    pub async fn push(&mut self, entry: LogEntry) -> Result<(), Error> {
        self.blobs.extend(blobs::referred_to(&entry.headers).and_then(|digest| hex::decode(digest).ok()));
        let LogEntry { seq, at_ms, subject, headers, payload } = entry;
        let message =
            wire::SnapshotEntry { seq, at_unix_ms: at_ms, subject, headers, payload: payload.into() };
        let bytes = message.encode_length_delimited_to_vec();
        self.segment.text.write_all(&bytes).map_err(|error| self.broken(&error))?;
        self.segment.bytes += bytes.len();
        self.segment.entries += 1;
        if self.segment.bytes >= SEGMENT_BYTES {
            self.store_segment().await?;
        }
        Ok(())
    }

    /// Stores what is left, and the manifest that makes it a snapshot.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn finish(mut self, ended: impl IntoIterator<Item = EndedRun>) -> Result<SnapshotRef, Error> {
        if self.segment.entries > 0 {
            self.store_segment().await?;
        }
        let Self { bus, name, mut manifest, blobs, .. } = self;
        manifest.blobs = blobs.into_iter().collect();
        manifest.ended = ended.into_iter().map(ended_run).collect();
        manifest.digest = digest_of(&manifest);
        let folded_to = manifest.folded_to;
        bus.broker().object_put(subjects::SNAPSHOTS, &name, Bytes::from(manifest.encode_to_vec())).await?;
        Ok(SnapshotRef { name, folded_to })
    }

    async fn store_segment(&mut self) -> Result<(), Error> {
        let Segment { text, entries, .. } = std::mem::replace(&mut self.segment, Segment::new());
        let body = text.finish().map_err(|error| self.broken(&error))?;
        let name = subjects::segment(&self.name, self.manifest.segments.len());
        let digest = Sha256::digest(&body).to_vec();
        self.bus.broker().object_put(subjects::SNAPSHOTS, &name, Bytes::from(body)).await?;
        self.manifest.segments.push(wire::SnapshotSegment { name, digest, entries });
        Ok(())
    }

    fn broken(&self, error: &std::io::Error) -> Error {
        Error::Snapshot { name: self.name.clone(), problem: format!("cannot be written: {error}") }
    }
}

fn ended_run(ended: EndedRun) -> wire::EndedRun {
    let EndedRun { run, at_ms, first_seq } = ended;
    wire::EndedRun { run_id: run.to_string(), at_unix_ms: at_ms, first_seq }
}
