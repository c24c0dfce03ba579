//! Which coordinators are there. A sign of life counts by when this process saw
//! it change, never by a time that somebody else wrote.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use planfleet_bus::Bus;
use planfleet_core::id::ShardId;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{Config, spread};

/// Signs of life that may be missed before a member counts as gone.
const BEATS_MISSED_MAX: u32 = 4;

/// Signs of life that a process finds when it comes may be of members that are gone: if
/// they have not changed when each has had time for another beat, they were.
const HALF_BEATS_OF_FOUND: u32 = 3;

/// A member that has been silent for this many beats is taken off the list, so
/// that the list does not grow with every restart.
const BEATS_FORGOTTEN: u32 = 300;

/// The members as this process sees them.
#[derive(Clone)]
pub struct Membership {
    bus: Bus,
    config: Arc<Config>,
    seen: Arc<Mutex<BTreeMap<String, Sign>>>,
}

#[derive(Debug, Clone, Copy)]
struct Sign {
    revision: u64,
    at: Instant,
    /// Its leases have gone stale, and it has given no sign of life since that was seen.
    presumed_gone: bool,
}

impl Membership {
    pub(crate) fn new(bus: Bus, config: Arc<Config>) -> Self {
        Self { bus, config, seen: Arc::default() }
    }

    /// Gives signs of life and looks for those of others until `stop`.
    pub(crate) async fn beat(&self, stop: CancellationToken) {
        let mut ticks = interval(self.config.member_beat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beat = 0;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            beat += 1;
            if let Err(error) = self.exchange(beat).await {
                tracing::warn!(%error, "cannot exchange signs of life");
            }
        }
    }

    async fn exchange(&self, beat: u64) -> Result<(), planfleet_bus::Error> {
        self.bus.announce_member(&self.config.name, beat).await?;
        self.look().await
    }

    /// Looks for signs of life of others.
    pub(crate) async fn look(&self) -> Result<(), planfleet_bus::Error> {
        let members = self.bus.members().await?;
        for gone in self.note(&members, Instant::now()) {
            self.bus.forget_member(&gone).await?;
        }
        Ok(())
    }

    /// Notes what was seen and returns who has been silent for very long.
    fn note(&self, members: &[(String, u64)], now: Instant) -> Vec<String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found_at = if seen.is_empty() { self.found_at(now) } else { now };
        seen.retain(|name, _| members.iter().any(|(member, _)| member == name));
        for (name, revision) in members {
            let fresh = Sign { revision: *revision, at: now, presumed_gone: false };
            let sign = seen.entry(name.clone()).or_insert(Sign { at: found_at, ..fresh });
            if sign.revision != *revision {
                *sign = fresh;
            }
        }
        let forgotten = self.config.member_beat * BEATS_FORGOTTEN;
        seen.iter()
            .filter(|(_, sign)| now.duration_since(sign.at) > forgotten)
            .map(|(n, _)| n.clone())
            .collect()
    }

    /// When what is found in the first look counts as seen, so that it counts for no
    /// longer than [`HALF_BEATS_OF_FOUND`].
    fn found_at(&self, now: Instant) -> Instant {
        let beat = self.config.member_beat;
        now.checked_sub(beat * BEATS_MISSED_MAX - beat * HALF_BEATS_OF_FOUND / 2).unwrap_or(now)
    }

    /// Whether this process should own a shard.
    pub(crate) fn prefers_self(&self, shard: ShardId) -> bool {
        self.preferred_among(shard, |_| true)
    }

    /// Whether this process should own a shard if its owner is gone.
    pub(crate) fn succeeds(&self, shard: ShardId, owner: &str) -> bool {
        self.preferred_among(shard, |name| name != owner)
    }

    /// Whether no other coordinator is there.
    pub(crate) fn is_alone(&self) -> bool {
        self.live(Instant::now()).iter().all(|name| *name == self.config.name)
    }

    fn preferred_among(&self, shard: ShardId, counts: impl Fn(&str) -> bool) -> bool {
        let live = self.live(Instant::now());
        let own = self.config.name.as_str();
        let others = live.iter().map(String::as_str).filter(|name| counts(name));
        spread::preferred(shard, others.chain([own])) == Some(own)
    }

    /// Counts a member as gone until its next sign of life, so that what was
    /// taken from it is not handed back to it.
    pub(crate) fn presume_gone(&self, name: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sign) = seen.get_mut(name) {
            sign.presumed_gone = true;
        }
    }

    fn live(&self, now: Instant) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let silence = self.config.member_beat * BEATS_MISSED_MAX;
        let there = |sign: &Sign| !sign.presumed_gone && now.duration_since(sign.at) <= silence;
        seen.iter().filter(|(_, sign)| there(sign)).map(|(n, _)| n.clone()).collect()
    }

    /// Takes this process off the list, so that others need not wait for its silence.
    pub(crate) async fn leave(&self) {
        if let Err(error) = self.bus.forget_member(&self.config.name).await {
            tracing::debug!(%error, "could not say goodbye");
        }
    }
}
