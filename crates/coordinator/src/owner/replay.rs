//! The beginning of a tenure: everything in the log is folded without a word.

use std::sync::Arc;

use futures::FutureExt as _;
use planfleet_core::seeded::{self, Bug};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Stop, Tenure};
use crate::{
    follower::{Progress, Role},
    instruments::Instruments,
    standby::Standby,
};

/// Looks at the tail before commands are emitted. Each round is shorter than the
/// one before, as only what came meanwhile is left.
const ROUNDS_MAX: u32 = 4;

/// Opens the epoch and folds everything there is in silence. What a standby has is
/// taken once the epoch is open: a log that elects costs nobody's warmth.
pub(super) async fn replay(
    tenure: &mut Tenure,
    standby: &mut Standby,
    instruments: &Arc<Instruments>,
    stop: &CancellationToken,
) -> Result<Progress, Stop> {
    let (bus, shard, lease) = (tenure.bus.clone(), tenure.shard, tenure.held.lease.clone());
    tenure.during(stop, bus.open_epoch(shard, &lease)).await??;
    let started = Instant::now();
    let warm = standby.take();
    let was_warm = warm.is_some();
    let begun = warm.unwrap_or_else(|| {
        Progress::begin(bus.clone(), shard, lease.clone(), Role::Owner, instruments.clone()).boxed()
    });
    let mut progress = tenure.during(stop, begun).await??;
    let from = progress.follower.folded_to + 1;
    progress.follower.count_from(&lease);
    // What was finished while the log was read must not be dispatched again, so
    // the tail is looked at anew; a log that keeps growing is caught up with later.
    let mut tail = tenure.during(stop, bus.journal_tail(shard)).await??;
    for _ in 0..ROUNDS_MAX {
        if progress.follower.folded_to >= tail || seeded::is_on(Bug::TakeoverBeforeTail) {
            break;
        }
        tenure.during(stop, progress.catch_up(tail)).await??;
        tail = tenure.during(stop, bus.journal_tail(shard)).await??;
    }
    progress.follower.forget_kept(&lease);
    tracing::info!(
        shard,
        warm = was_warm,
        from,
        tail,
        active = progress.follower.shard.len(),
        took_ms = started.elapsed().as_millis(),
        "log replayed"
    );
    Ok(progress)
}
