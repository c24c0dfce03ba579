//! Runs that have ended lately: a repeated submit of one may still come, and a
//! next owner that does not know it would start the run anew.

use std::collections::{BTreeSet, VecDeque};

use planfleet_core::shard::ENDED_REMEMBERED_MS;

/// The first records of runs that have ended lately, by the log's own time.
#[derive(Debug, Default)]
pub(super) struct LatelyEnded {
    by_time: VecDeque<(u64, u64)>,
    by_seq: BTreeSet<u64>,
}

impl LatelyEnded {
    /// A run has ended whose records begin at `first_seq`.
    pub(super) fn note(&mut self, at_ms: u64, first_seq: u64) {
        self.by_time.push_back((at_ms, first_seq));
        self.by_seq.insert(first_seq);
    }

    /// Forgets those of which nothing more can come.
    pub(super) fn forget(&mut self, now_ms: u64) {
        while let Some((at_ms, first_seq)) = self.by_time.front().copied() {
            if at_ms.saturating_add(ENDED_REMEMBERED_MS) > now_ms {
                return;
            }
            self.by_time.pop_front();
            self.by_seq.remove(&first_seq);
        }
    }

    /// Where the records of the oldest begin.
    pub(super) fn oldest_seq(&self) -> Option<u64> {
        self.by_seq.first().copied()
    }
}
