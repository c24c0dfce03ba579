//! Removes stored bodies that nothing refers to any more, and what tools have kept over
//! their bounds, once in a while.
//!
//! One process of a fleet does it: the owner of shard 0, as its lease says. Should two
//! do it at once, while that shard changes hands, one of them finds less to do.

use std::{sync::Arc, time::Duration};

use planfleet_bus::{
    Bus, Error,
    blobs::sweep::{GRACE, Sweep},
    kept::Bounds,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::Config;

/// When stored bodies are swept.
#[derive(Debug, Clone)]
pub struct Sweeping {
    /// After the start of a process, whose fleet has better things to do at first.
    pub first: Duration,
    /// Between two sweeps. Each reads the headers of all messages.
    pub every: Duration,
    /// Bodies that were put or used within this time stay.
    pub grace: Duration,
    /// How much of what tools keep stays.
    pub kept: Bounds,
    /// Between two looks at it, which cost the list of it alone: what a tool can put in
    /// the meantime is what it can be over the bounds.
    pub kept_every: Duration,
}

impl Default for Sweeping {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(3600),
            every: Duration::from_secs(6 * 3600),
            grace: GRACE,
            kept: Bounds::default(),
            kept_every: Duration::from_secs(600),
        }
    }
}

/// Until `stop`; a sweep that is under way then is given up, which harms nothing.
pub(crate) async fn keep_swept(bus: Bus, config: Arc<Config>, stop: CancellationToken) {
    let Sweeping { first, every, .. } = config.sweeping;
    let mut pause = first;
    loop {
        let swept = async {
            sleep(jittered(pause, &config.name)).await;
            if let Err(error) = sweep_if_due(&bus, &config).await {
                tracing::warn!(%error, "stored bodies are not swept; another time");
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = swept => pause = every,
        }
    }
}

/// The same for what tools keep.
pub(crate) async fn keep_bounded(bus: Bus, config: Arc<Config>, stop: CancellationToken) {
    let Sweeping { kept, kept_every, .. } = &config.sweeping;
    loop {
        let bounded = async {
            sleep(jittered(*kept_every, &config.name)).await;
            if let Err(error) = bound_if_due(&bus, &config, kept).await {
                tracing::warn!(%error, "what tools keep is not looked at; another time");
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = bounded => {}
        }
    }
}

async fn bound_if_due(bus: &Bus, config: &Config, kept: &Bounds) -> Result<(), Error> {
    if !is_due(bus, config).await? {
        return Ok(());
    }
    let bounded = bus.bound_objects(kept, (config.now_ms)()).await?;
    if bounded.removed > 0 {
        let (objects, removed, bytes) = (bounded.objects, bounded.removed, bounded.removed_bytes);
        tracing::info!(objects, removed, bytes, "objects of tools were over their bounds, and are removed");
    }
    Ok(())
}

/// Whether it is this process's turn.
async fn is_due(bus: &Bus, config: &Config) -> Result<bool, Error> {
    let owner = bus.lease(0).await?.map(|held| held.lease.owner);
    Ok(owner.as_ref() == Some(&config.name))
}

async fn sweep_if_due(bus: &Bus, config: &Config) -> Result<(), Error> {
    if !is_due(bus, config).await? {
        return Ok(());
    }
    let sweep = Sweep { grace: config.sweeping.grace, ..Sweep::at((config.now_ms)()) };
    let swept = bus.sweep_blobs(&sweep).await?;
    tracing::info!(
        bodies = swept.bodies,
        referred = swept.referred,
        removed = swept.removed,
        removed_bytes = swept.removed_bytes,
        "stored bodies swept"
    );
    Ok(())
}

/// Up to a quarter longer, by the process's name: fleets that share a broker and have
/// been started together do not sweep together. The same each time, as everything that
/// a coordinator does follows from its arguments.
fn jittered(pause: Duration, name: &str) -> Duration {
    let mixed = name.bytes().fold(17_u32, |mixed, byte| mixed.wrapping_mul(31).wrapping_add(byte.into()));
    pause + pause / 4 * (mixed % 1000) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_spread_over_a_quarter_of_the_pause() {
        let hour = Duration::from_secs(3600);
        let pauses: Vec<_> = (0..50).map(|n| jittered(hour, &format!("pf-{n}"))).collect();
        assert!(pauses.iter().all(|pause| (hour..hour * 5 / 4).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().max() > pauses.iter().min().map(|least| *least + hour / 10).as_ref());
        assert_eq!(jittered(hour, "pf-1"), jittered(hour, "pf-1"));
    }
}
