//! One pool: what waits for its workers, and what is out to them.

use std::{collections::BTreeMap, sync::Arc};

use planfleet_core::{id::RunId, task::Priority};
use tokio::time::Instant;

use super::{
    pauses::Pauses,
    queue::{FairQueue, Spot},
    ticket::WorkName,
    window::{Outlook, Returns},
};

/// A pool as one coordinator knows it.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) ready: FairQueue<Waiting>,
    /// What is ready and paused, by its number.
    pub(super) paused: BTreeMap<u64, (Spot, Waiting)>,
    /// How much is out, by priority and tenant.
    pub(super) out: BTreeMap<(Priority, Arc<str>), usize>,
    pub(super) out_sum: usize,
    pub(super) returns: Returns,
    pub(super) outlook: Outlook,
}

/// A piece of work that is ready.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) run: RunId,
    pub(super) work: WorkName,
    pub(super) class: Option<Arc<str>>,
    pub(super) log_seq: u64,
    pub(super) since: Instant,
}

/// How much of a tenant's work there is at one priority.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Depth {
    pub(super) ready: usize,
    pub(super) paused: usize,
    pub(super) out: usize,
}

impl Pool {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            ready: FairQueue::default(),
            paused: BTreeMap::new(),
            out: BTreeMap::new(),
            out_sum: 0,
            returns: Returns::from(now),
            outlook: Outlook::default(),
        }
    }

    pub(super) fn let_out(&mut self, spot: &Spot) {
        self.out_sum += 1;
        *self.out.entry((spot.priority, Arc::clone(&spot.tenant))).or_default() += 1;
    }

    pub(super) fn came_back(&mut self, spot: &Spot) {
        self.out_sum -= 1;
        let key = (spot.priority, Arc::clone(&spot.tenant));
        if let Some(count) = self.out.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.out.remove(&key);
            }
        }
    }

    /// Sorts what is ready by whether it is paused; says what has changed sides, and
    /// whether each is paused now.
    pub(super) fn sort(&mut self, name: &str, pauses: &Pauses) -> Vec<((RunId, WorkName), bool)> {
        let hold = |tenant: &str, waiting: &Waiting| pauses.hold(name, tenant, waiting.class.as_deref());
        let mut changed = Vec::new();
        let goes_on = |_: &u64, (spot, waiting): &mut (Spot, Waiting)| !hold(&spot.tenant, waiting);
        for (_, (spot, waiting)) in self.paused.extract_if(.., goes_on) {
            changed.push(((waiting.run.clone(), waiting.work), false));
            self.ready.push(spot, waiting);
        }
        for (spot, waiting) in self.ready.take_if(hold) {
            changed.push(((waiting.run.clone(), waiting.work), true));
            self.paused.insert(spot.number, (spot, waiting));
        }
        changed
    }

    /// How much there is, by priority and tenant.
    pub(super) fn depths(&self) -> BTreeMap<(Priority, Arc<str>), Depth> {
        let mut depths = BTreeMap::<_, Depth>::new();
        for (priority, tenant, ready) in self.ready.depths() {
            depths.entry((priority, Arc::clone(tenant))).or_default().ready += ready;
        }
        for (spot, _) in self.paused.values() {
            depths.entry((spot.priority, Arc::clone(&spot.tenant))).or_default().paused += 1;
        }
        for (key, out) in &self.out {
            depths.entry(key.clone()).or_default().out += out;
        }
        depths
    }
}
