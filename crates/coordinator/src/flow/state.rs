//! What waits, what is out, and what moves from one to the other.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use planfleet_bus::flow::Pause;
use planfleet_core::{
    command::Command,
    id::{RunId, ShardId, StepId},
    reason::Wait,
};
use planfleet_proto::subjects::WorkKind;
use tokio::{sync::Notify, time::Instant};

use super::{
    FlowSettings, LetGo,
    limits::Limits,
    pauses::Pauses,
    pool::{Pool, Waiting},
    queue::Spot,
    ticket::{Ticket, WorkName},
    wait_for_pause,
    window::{self, Outlook, Part},
};
use crate::instruments::Instruments;

/// No work of a run comes before this.
const FIRST_WORK: WorkName = (WorkKind::Step(StepId::plain(0)), 0);

/// Everything that flow control knows.
pub(super) struct State {
    pub(super) coordinator: String,
    pub(super) settings: FlowSettings,
    shards: ShardId,
    /// Whether pauses are known: before, nothing is let go.
    heard: bool,
    pub(super) pools: BTreeMap<Arc<str>, Pool>,
    places: BTreeMap<(RunId, WorkName), Place>,
    pub(super) limits: Limits,
    pauses: Pauses,
    outboxes: BTreeMap<ShardId, Outbox>,
    /// Of the next piece of work that comes.
    number: u64,
    instruments: Arc<Instruments>,
}

/// Where a piece of work is.
struct Place {
    pool: Arc<str>,
    spot: Spot,
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Ready,
    Paused,
    /// Since when, if it was let go here.
    Out(Option<Instant>),
}

/// What is let go of a shard's, until its owner takes it. Windows bound it.
struct Outbox {
    let_go: VecDeque<LetGo>,
    open: Arc<Notify>,
}

impl Outbox {
    fn put(&mut self, let_go: LetGo) {
        self.let_go.push_back(let_go);
        self.open.notify_one();
    }
}

impl State {
    pub(super) fn new(
        coordinator: &str,
        settings: FlowSettings,
        shards: ShardId,
        instruments: Arc<Instruments>,
    ) -> Self {
        Self {
            coordinator: coordinator.to_owned(),
            limits: Limits::new(&settings, shards),
            settings,
            shards,
            heard: false,
            pools: BTreeMap::new(),
            places: BTreeMap::new(),
            pauses: Pauses::default(),
            outboxes: BTreeMap::new(),
            number: 0,
            instruments,
        }
    }

    pub(super) fn join(&mut self, shard: ShardId, open: Arc<Notify>) {
        self.limits.own(shard);
        self.outboxes.insert(shard, Outbox { let_go: VecDeque::new(), open });
    }

    /// Forgets everything of a shard.
    pub(super) fn leave(&mut self, shard: ShardId, now: Instant) {
        let of_shard = self.places.keys().filter(|(run, _)| run.shard() == shard);
        for name in of_shard.cloned().collect::<Vec<_>>() {
            self.strike(&name);
        }
        self.outboxes.remove(&shard);
        self.limits.disown(shard);
        self.refill(now);
    }

    pub(super) fn push(&mut self, ticket: Ticket, command: Command, log_seq: u64, now: Instant) {
        let name = (ticket.run.clone(), ticket.work);
        let known = self.places.get(&name).map(|place| place.at);
        if matches!(known, Some(At::Ready | At::Paused)) {
            return;
        }
        let (run, work) = name.clone();
        let at_once = LetGo { run, work, command: Some(command), log_seq };
        if matches!(known, Some(At::Out(_))) {
            return put(&mut self.outboxes, at_once);
        }
        let (pool, spot) = self.spot(&ticket, now);
        let paused = self.pauses.hold(&pool, &spot.tenant, ticket.class.as_deref());
        let free = !paused && self.heard && self.is_free(&pool, &spot, now);
        let Some(of_pool) = self.pools.get_mut(&pool) else { return };
        let Ticket { run, work, class, .. } = ticket;
        let waiting = Waiting { run, work, class, log_seq, since: now };
        let at = if free {
            of_pool.let_out(&spot);
            self.limits.take(&spot.tenant, &spot.lane);
            self.instruments.let_go(&pool, spot.priority, Duration::ZERO);
            put(&mut self.outboxes, at_once);
            At::Out(Some(now))
        } else if paused {
            of_pool.paused.insert(spot.number, (spot.clone(), waiting));
            At::Paused
        } else {
            of_pool.ready.push(spot.clone(), waiting);
            At::Ready
        };
        self.places.insert(name, Place { pool, spot, at });
        if at == At::Ready {
            self.refill(now);
        }
    }

    /// Whether work may go at once: nothing else waits, and there is room.
    fn is_free(&mut self, pool: &str, spot: &Spot, now: Instant) -> bool {
        let nothing_waits = self.pools.get(pool).is_some_and(|of_pool| of_pool.ready.is_empty());
        nothing_waits
            && self.limits.allow(&spot.tenant, &spot.lane)
            && self.pools.get(pool).map_or(0, |of_pool| of_pool.out_sum) < self.room(pool, now)
    }

    /// Notes what is out without having been let go here.
    pub(super) fn is_out(&mut self, ticket: Ticket, now: Instant) {
        let name = (ticket.run.clone(), ticket.work);
        if self.places.contains_key(&name) {
            return;
        }
        let (pool, spot) = self.spot(&ticket, now);
        if let Some(of_pool) = self.pools.get_mut(&pool) {
            of_pool.let_out(&spot);
            self.limits.take(&spot.tenant, &spot.lane);
            self.places.insert(name, Place { pool, spot, at: At::Out(None) });
        }
    }

    fn spot(&mut self, ticket: &Ticket, now: Instant) -> (Arc<str>, Spot) {
        self.number += 1;
        let spot = Spot {
            priority: ticket.priority,
            tenant: Arc::clone(&ticket.tenant),
            lane: self.limits.lane(ticket.needs.iter().cloned()),
            number: self.number,
        };
        let pool = match self.pools.get_key_value(&ticket.pool) {
            Some((pool, _)) => Arc::clone(pool),
            None => {
                self.pools.insert(Arc::clone(&ticket.pool), Pool::new(now));
                Arc::clone(&ticket.pool)
            }
        };
        (pool, spot)
    }

    pub(super) fn take(&mut self, shard: ShardId) -> Option<LetGo> {
        self.outboxes.get_mut(&shard)?.let_go.pop_front()
    }

    /// Notes that work is done; `at_work` says how long a worker was at it, where one says so.
    pub(super) fn answered(&mut self, run: &RunId, work: WorkName, at_work: Option<Duration>, now: Instant) {
        let every = self.settings.window_time;
        if let Some(Place { pool, at: At::Out(since), .. }) = self.strike(&(run.clone(), work))
            && let Some(pool) = self.pools.get_mut(&pool)
        {
            let out = since.filter(|_| at_work.is_some()).map(|since| now.duration_since(since));
            pool.returns.note(now, every, out, at_work.unwrap_or_default());
            self.refill(now);
        }
    }

    pub(super) fn forget(&mut self, run: &RunId, work: WorkName, now: Instant) {
        if self.strike(&(run.clone(), work)).is_some() {
            self.refill(now);
        }
    }

    pub(super) fn ended(&mut self, run: &RunId, now: Instant) {
        let of_run = self.of_run(run).map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let any = !of_run.is_empty();
        for name in of_run {
            self.strike(&name);
        }
        if any {
            self.refill(now);
        }
    }

    fn of_run<'a>(&'a self, run: &'a RunId) -> impl Iterator<Item = (&'a (RunId, WorkName), &'a Place)> {
        let from = (Bound::Included((run.clone(), FIRST_WORK)), Bound::Unbounded);
        self.places.range(from).take_while(move |((of, _), _)| of == run)
    }

    /// Forgets a piece of work, wherever it is.
    fn strike(&mut self, name: &(RunId, WorkName)) -> Option<Place> {
        let place = self.places.remove(name)?;
        let pool = self.pools.get_mut(&place.pool)?;
        match place.at {
            At::Ready => drop(pool.ready.remove(&place.spot)),
            At::Paused => drop(pool.paused.remove(&place.spot.number)),
            At::Out(_) => {
                pool.came_back(&place.spot);
                self.limits.give_back(&place.spot.tenant, &place.spot.lane);
            }
        }
        Some(place)
    }

    /// Lets go what there is room for.
    fn refill(&mut self, now: Instant) {
        if !self.heard {
            return;
        }
        let Self { pools, limits, settings, places, outboxes, instruments, .. } = self;
        let part = Part { owned: limits.owned().len(), of: usize::from(self.shards) };
        let weight = |tenant: &str| settings.tenants.get(tenant).map_or(1, |own| own.weight);
        for (name, pool) in pools.iter_mut().filter(|(_, pool)| !pool.ready.is_empty()) {
            let room = room(settings, limits, name, pool, part, now);
            while pool.out_sum < room {
                let allow = |tenant: &str, lane: &[_]| limits.allow(tenant, lane);
                let Some((spot, waiting)) = pool.ready.next(allow, weight) else { break };
                let Waiting { run, work, log_seq, since, .. } = waiting;
                pool.let_out(&spot);
                limits.take(&spot.tenant, &spot.lane);
                instruments.let_go(name, spot.priority, now.duration_since(since));
                if let Some(place) = places.get_mut(&(run.clone(), work)) {
                    place.at = At::Out(Some(now));
                }
                put(outboxes, LetGo { run, work, command: None, log_seq });
            }
        }
    }

    /// How much of a pool's may be out.
    pub(super) fn room(&mut self, name: &str, now: Instant) -> usize {
        let part = Part { owned: self.limits.owned().len(), of: usize::from(self.shards) };
        let Self { pools, limits, settings, .. } = self;
        pools.get_mut(name).map_or(0, |pool| room(settings, limits, name, pool, part, now))
    }

    /// What is paused now.
    pub(super) fn hear_pauses(&mut self, pauses: impl IntoIterator<Item = Pause>, now: Instant) {
        let pauses = Pauses::new(pauses);
        // Sorting looks at all that waits.
        if std::mem::replace(&mut self.heard, true) && pauses == self.pauses {
            return;
        }
        self.pauses = pauses;
        let Self { pools, places, pauses, .. } = self;
        for (name, pool) in pools {
            for (work, paused) in pool.sort(name, pauses) {
                if let Some(place) = places.get_mut(&work) {
                    place.at = if paused { At::Paused } else { At::Ready };
                }
            }
        }
        self.refill(now);
    }

    /// Slots of workers, and what others have out, by pool.
    pub(super) fn hear_outlook(
        &mut self,
        slots: &BTreeMap<&str, usize>,
        others: &BTreeMap<&str, usize>,
        now: Instant,
    ) {
        for name in slots.keys() {
            if !self.pools.contains_key(*name) {
                self.pools.insert(Arc::from(*name), Pool::new(now));
            }
        }
        let count = |counts: &BTreeMap<&str, usize>, pool: &str| counts.get(pool).copied().unwrap_or(0);
        for (name, pool) in &mut self.pools {
            pool.outlook = Outlook { slots: count(slots, name), others: count(others, name) };
        }
        self.refill(now);
    }

    /// How much is out, by pool.
    pub(super) fn taken(&self) -> BTreeMap<String, usize> {
        let out = self.pools.iter().filter(|(_, pool)| pool.out_sum > 0);
        out.map(|(name, pool)| (name.to_string(), pool.out_sum)).collect()
    }

    pub(super) fn waits(&self, run: &RunId) -> BTreeMap<WorkName, Wait> {
        let waiting = self.of_run(run).filter_map(|((_, work), place)| match place.at {
            At::Ready => Some((*work, Wait::Queue)),
            At::Paused => Some((*work, self.wait_in_pause(place))),
            At::Out(_) => None,
        });
        waiting.collect()
    }

    /// The names of all that is out.
    #[cfg(test)]
    pub(super) fn out(&self) -> Vec<(RunId, WorkName)> {
        let out = self.places.iter().filter(|(_, place)| matches!(place.at, At::Out(_)));
        out.map(|(name, _)| name.clone()).collect()
    }

    fn wait_in_pause(&self, place: &Place) -> Wait {
        let waiting = self.pools.get(&place.pool).and_then(|pool| pool.paused.get(&place.spot.number));
        let class = waiting.and_then(|(_, waiting)| waiting.class.as_deref());
        self.pauses.that_holds(&place.pool, &place.spot.tenant, class).map_or(Wait::Queue, wait_for_pause)
    }
}

fn put(outboxes: &mut BTreeMap<ShardId, Outbox>, let_go: LetGo) {
    if let Some(outbox) = outboxes.get_mut(&let_go.run.shard()) {
        outbox.put(let_go);
    }
}

fn room(
    settings: &FlowSettings,
    limits: &Limits,
    name: &str,
    pool: &mut Pool,
    part: Part,
    now: Instant,
) -> usize {
    let under_way = pool.returns.under_way(now, settings.window_time, pool.outlook.slots);
    let window = window::window(settings, pool.outlook, part, under_way);
    settings.pools.get(name).map_or(window, |max| window.min(limits.part(*max)))
}
