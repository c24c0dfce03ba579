//! One key-value bucket.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::broker::{CasOutcome, KvEntry};

#[derive(Default)]
pub(super) struct Bucket {
    entries: BTreeMap<String, KvEntry>,
    /// Grows with every write of the bucket, deletions included.
    revision: u64,
}

impl Bucket {
    pub(super) fn get(&self, key: &str) -> Option<KvEntry> {
        self.entries.get(key).cloned()
    }

    pub(super) fn all(&self) -> BTreeMap<String, KvEntry> {
        self.entries.clone()
    }

    pub(super) fn compare_and_set(&mut self, key: &str, value: Bytes, expected: u64) -> CasOutcome {
        let current = self.entries.get(key).map_or(0, |entry| entry.revision);
        if current != expected {
            return CasOutcome::Conflict;
        }
        self.revision += 1;
        let entry = KvEntry { value, revision: self.revision };
        self.entries.insert(key.to_owned(), entry);
        CasOutcome::Written(self.revision)
    }

    pub(super) fn delete(&mut self, key: &str) {
        self.revision += 1;
        self.entries.remove(key);
    }
}
