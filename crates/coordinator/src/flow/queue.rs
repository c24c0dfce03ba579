//! What is ready in one pool, in the order in which it is to be let go.
//!
//! Between priorities the higher one goes first; of work of lower priority that
//! waits, one piece goes after [`PASSED_OVER_MAX`] of higher ones, so that nothing
//! waits for ever. Between tenants of one priority the shares are those of their
//! weights: start-time fair queueing (Goyal, Vin and Cheng, 1996), where each
//! piece moves its tenant's virtual time on by a step over its weight, and the
//! tenant that is behind goes next. Within a tenant the older work goes first.
//!
//! Pieces of work count alike, as nobody knows beforehand how long one takes.
//!
//! **Invariant:** the order follows from what was put in and taken out alone: no
//! clock, no randomness, no hash map.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use planfleet_core::task::Priority;

/// Pieces of higher priority that go before one of a lower: where all priorities have
/// work, the lower ones get a sixteenth each.
const PASSED_OVER_MAX: u32 = 15;

/// The most that a tenant can weigh: with more, a step of virtual time would be too coarse.
pub const WEIGHT_MAX: u32 = 1_000;

/// Virtual time of one piece at weight 1: large enough that dividing it by any weight
/// rounds by less than a thousandth, and small enough for 10^13 pieces.
const STEP: u64 = 1 << 20;

/// Tenants without work whose virtual time is remembered before those are forgotten to
/// whom it makes no difference: a bound on memory where there are many small tenants.
const IDLE_MAX: usize = 1_024;

/// What of its own a piece of work needs besides its tenant's turn, in order; it waits
/// apart from what needs something else, so that it keeps nothing else waiting.
pub(super) type Lane = Vec<Key>;

/// Something of which only so much may be in use at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Model(Arc<str>),
    Tool(Arc<str>),
}

/// Where a piece of work waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) priority: Priority,
    pub(super) tenant: Arc<str>,
    pub(super) lane: Lane,
    /// Its place within: lower ones are older.
    pub(super) number: u64,
}

/// Ready work of one pool.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    classes: BTreeMap<Priority, Class<T>>,
    len: usize,
}

/// All of one priority.
#[derive(Debug)]
struct Class<T> {
    flows: BTreeMap<Arc<str>, Flow<T>>,
    /// The tenants of `flows`, by their virtual time.
    order: BTreeSet<(u64, Arc<str>)>,
    /// The virtual time up to which tenants without work have been served.
    idle: BTreeMap<Arc<str>, u64>,
    /// The virtual time of what went last.
    now: u64,
    /// Pieces of higher priority that have gone while these waited.
    passed_over: u32,
}

/// Work of one tenant and priority.
#[derive(Debug)]
struct Flow<T> {
    /// The virtual time at which its next piece goes.
    start: u64,
    lanes: BTreeMap<Lane, BTreeMap<u64, T>>,
    len: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { classes: BTreeMap::new(), len: 0 }
    }
}

impl<T> Default for Class<T> {
    fn default() -> Self {
        Self { flows: BTreeMap::new(), order: BTreeSet::new(), idle: BTreeMap::new(), now: 0, passed_over: 0 }
    }
}

impl<T> FairQueue<T> {
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How much waits, by priority and tenant.
    pub(super) fn depths(&self) -> impl Iterator<Item = (Priority, &Arc<str>, usize)> {
        self.classes.iter().flat_map(|(priority, class)| {
            class.flows.iter().map(|(tenant, flow)| (*priority, tenant, flow.len))
        })
    }

    pub(super) fn push(&mut self, spot: Spot, item: T) {
        let Spot { priority, tenant, lane, number } = spot;
        self.classes.entry(priority).or_default().push(&tenant, lane, number, item);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, spot: &Spot) -> Option<T> {
        let class = self.classes.get_mut(&spot.priority)?;
        let item = class.remove(spot)?;
        if class.flows.is_empty() {
            self.classes.remove(&spot.priority);
        }
        self.len -= 1;
        Some(item)
    }

    /// Takes out what goes next, of what `may` go: it is asked for a tenant's lane.
    /// `weight` says what a tenant weighs, from 1 to [`WEIGHT_MAX`].
    pub(super) fn next(
        &mut self,
        may: impl Fn(&str, &[Key]) -> bool,
        weight: impl Fn(&str) -> u32,
    ) -> Option<(Spot, T)> {
        let (priority, tenant, lane) = self.choose(may)?;
        for (_, lower) in self.classes.range_mut(priority..).skip(1) {
            lower.passed_over = lower.passed_over.saturating_add(1);
        }
        let class = self.classes.get_mut(&priority)?;
        class.passed_over = 0;
        let taken = class.take(&tenant, &lane, weight(&tenant));
        if class.flows.is_empty() {
            // Nobody is behind any more.
            self.classes.remove(&priority);
        }
        let (number, item) = taken?;
        self.len -= 1;
        Some((Spot { priority, tenant, lane, number }, item))
    }

    fn choose(&self, may: impl Fn(&str, &[Key]) -> bool) -> Option<(Priority, Arc<str>, Lane)> {
        let overdue = self.classes.iter().filter(|(_, class)| class.passed_over >= PASSED_OVER_MAX);
        overdue.chain(&self.classes).find_map(|(priority, class)| {
            let (tenant, lane) = class.choose(&may)?;
            Some((*priority, Arc::clone(tenant), lane.clone()))
        })
    }

    /// Takes out all that is to go elsewhere: `is` is asked for each tenant's item. Looks at
    /// everything.
    pub(super) fn take_if(&mut self, is: impl Fn(&str, &T) -> bool) -> Vec<(Spot, T)> {
        let spots = self.spots(is);
        spots.into_iter().filter_map(|spot| self.remove(&spot).map(|item| (spot, item))).collect()
    }

    fn spots(&self, is: impl Fn(&str, &T) -> bool) -> Vec<Spot> {
        let flows = self.classes.iter().flat_map(|(priority, class)| {
            class.flows.iter().map(move |(tenant, flow)| (*priority, tenant, flow))
        });
        let lanes = flows.flat_map(|(priority, tenant, flow)| {
            flow.lanes.iter().map(move |(lane, items)| (priority, tenant, lane, items))
        });
        let mut found = Vec::new();
        for (priority, tenant, lane, items) in lanes {
            let taken = items.iter().filter(|(_, item)| is(tenant, item));
            found.extend(taken.map(|(number, _)| Spot {
                priority,
                tenant: Arc::clone(tenant),
                lane: lane.clone(),
                number: *number,
            }));
        }
        found
    }
}

impl<T> Class<T> {
    fn push(&mut self, tenant: &Arc<str>, lane: Lane, number: u64, item: T) {
        let flow = self.flows.entry(Arc::clone(tenant)).or_insert_with(|| {
            // Who comes back is not ahead of others for having been away, nor of himself
            // for having been served just now.
            let start = self.idle.remove(tenant).unwrap_or_default().max(self.now);
            self.order.insert((start, Arc::clone(tenant)));
            Flow { start, lanes: BTreeMap::new(), len: 0 }
        });
        flow.lanes.entry(lane).or_default().insert(number, item);
        flow.len += 1;
    }

    fn choose(&self, may: impl Fn(&str, &[Key]) -> bool) -> Option<(&Arc<str>, &Lane)> {
        self.order.iter().find_map(|(_, tenant)| {
            let lanes = self.flows.get(tenant)?.lanes.iter();
            let free = lanes.filter(|(lane, _)| may(tenant, lane));
            let (lane, _) = free.min_by_key(|(_, items)| items.keys().next())?;
            Some((tenant, lane))
        })
    }

    fn take(&mut self, tenant: &Arc<str>, lane: &Lane, weight: u32) -> Option<(u64, T)> {
        let number = *self.flows.get(tenant)?.lanes.get(lane)?.keys().next()?;
        let flow = self.flows.get_mut(tenant)?;
        self.order.remove(&(flow.start, Arc::clone(tenant)));
        // Who was held back by a limit has saved nothing up either.
        flow.start = flow.start.max(self.now);
        self.now = flow.start;
        flow.start += STEP / u64::from(weight.clamp(1, WEIGHT_MAX));
        self.order.insert((flow.start, Arc::clone(tenant)));
        let item = self.cut(tenant, lane, number)?;
        Some((number, item))
    }

    fn remove(&mut self, spot: &Spot) -> Option<T> {
        self.cut(&spot.tenant, &spot.lane, spot.number)
    }

    fn cut(&mut self, tenant: &Arc<str>, lane: &Lane, number: u64) -> Option<T> {
        let flow = self.flows.get_mut(tenant)?;
        let items = flow.lanes.get_mut(lane)?;
        let item = items.remove(&number)?;
        if items.is_empty() {
            flow.lanes.remove(lane);
        }
        flow.len -= 1;
        if flow.len == 0 {
            let start = flow.start;
            self.flows.remove(tenant);
            self.order.remove(&(start, Arc::clone(tenant)));
            self.idle.insert(Arc::clone(tenant), start);
            if self.idle.len() > IDLE_MAX {
                let now = self.now;
                self.idle.retain(|_, served_to| *served_to > now);
            }
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests;
