//! One durable consumer of a work queue: what is ready, what is in flight.
//!
//! Pure: the time is an argument.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::broker::{ConsumerSpec, Depth};

pub(super) struct Queue {
    pub(super) spec: ConsumerSpec,
    /// Lowest sequence first, so that what comes back goes before what is new.
    ready: BTreeSet<u64>,
    /// Until when each unacked delivery may take.
    in_flight: BTreeMap<u64, Instant>,
    deliveries: BTreeMap<u64, u64>,
}

impl Queue {
    pub(super) fn new(spec: ConsumerSpec) -> Self {
        Self { spec, ready: BTreeSet::new(), in_flight: BTreeMap::new(), deliveries: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, seq: u64) {
        self.ready.insert(seq);
    }

    /// Forgets a message: it was acked or trimmed.
    pub(super) fn remove(&mut self, seq: u64) {
        self.ready.remove(&seq);
        self.in_flight.remove(&seq);
        self.deliveries.remove(&seq);
    }

    /// Hands out the next message, and says how often it has been handed out.
    pub(super) fn take(&mut self, now: Instant) -> Option<(u64, u64)> {
        self.expire(now);
        if self.in_flight.len() as i64 >= self.spec.max_ack_pending {
            return None;
        }
        let seq = self.ready.pop_first()?;
        self.in_flight.insert(seq, now + self.spec.ack_wait);
        let deliveries = self.deliveries.entry(seq).or_default();
        *deliveries += 1;
        Some((seq, *deliveries))
    }

    pub(super) fn progress(&mut self, seq: u64, now: Instant) {
        if let Some(until) = self.in_flight.get_mut(&seq) {
            *until = now + self.spec.ack_wait;
        }
    }

    pub(super) fn give_back(&mut self, seq: u64) {
        if self.in_flight.remove(&seq).is_some() {
            self.ready.insert(seq);
        }
    }

    /// When the first ack wait is over.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.in_flight.values().min().copied()
    }

    pub(super) fn depth(&self) -> Depth {
        Depth { waiting: self.ready.len() as u64, in_flight: self.in_flight.len() as u64 }
    }

    fn expire(&mut self, now: Instant) {
        let over: Vec<u64> =
            self.in_flight.iter().filter(|(_, until)| **until <= now).map(|(seq, _)| *seq).collect();
        for seq in over {
            self.give_back(seq);
        }
    }
}
