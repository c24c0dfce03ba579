//! One key-value bucket.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::broker::{CasOutcome, KvChange, KvEntry};

#[derive(Default)]
pub(super) struct Bucket {
    /// Every key that was ever written, with its last revision.
    keys: BTreeMap<String, Slot>,
    /// The last change of every key, by revision.
    changes: BTreeMap<u64, String>,
    /// Grows with every write of the bucket, deletions included.
    revision: u64,
}

struct Slot {
    revision: u64,
    /// `None` when the key was removed.
    value: Option<Bytes>,
}

impl Slot {
    fn entry(&self) -> Option<KvEntry> {
        self.value.clone().map(|value| KvEntry { value, revision: self.revision })
    }
}

impl Bucket {
    pub(super) fn get(&self, key: &str) -> Option<KvEntry> {
        self.keys.get(key)?.entry()
    }

    pub(super) fn all(&self) -> BTreeMap<String, KvEntry> {
        self.keys.iter().filter_map(|(key, slot)| Some((key.clone(), slot.entry()?))).collect()
    }

    /// The first change behind a revision, with its own.
    pub(super) fn change_behind(&self, revision: u64) -> Option<(u64, KvChange)> {
        let (&revision, key) = self.changes.range(revision + 1..).next()?;
        Some((revision, KvChange { key: key.clone(), entry: self.get(key) }))
    }

    pub(super) fn compare_and_set(&mut self, key: &str, value: Bytes, expected: u64) -> CasOutcome {
        if self.get(key).map_or(0, |entry| entry.revision) != expected {
            return CasOutcome::Conflict;
        }
        CasOutcome::Written(self.write(key, Some(value)))
    }

    pub(super) fn delete(&mut self, key: &str) {
        self.write(key, None);
    }

    fn write(&mut self, key: &str, value: Option<Bytes>) -> u64 {
        self.revision += 1;
        let revision = self.revision;
        if let Some(before) = self.keys.insert(key.to_owned(), Slot { revision, value }) {
            self.changes.remove(&before.revision);
        }
        self.changes.insert(revision, key.to_owned());
        revision
    }
}
