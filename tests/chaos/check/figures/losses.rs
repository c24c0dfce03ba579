//! What died with a process, and how soon others went on with it.

use std::collections::HashMap;

use super::{
    Figures,
    promises::{Promise, Since},
};
use crate::{
    check::index::Index,
    history::{Effect, Fault, FaultKind, Target},
};

/// Fills in how soon shards and steps were gone on with.
pub(super) fn measure(index: &Index<'_>, figures: &mut Figures) {
    let by_work = effects_by_work(index);
    for fault in &index.history.faults {
        if !matches!(fault.kind, FaultKind::Kill | FaultKind::Terminate | FaultKind::Freeze) {
            continue;
        }
        match fault.target {
            Target::Coordinator => takeovers(index, fault, figures),
            Target::Executor => lost_steps(index, &by_work, fault, figures),
            Target::Api | Target::Planner | Target::Broker | Target::Model => {}
        }
    }
}

/// The shards that a coordinator owned when it was struck, and when the next epoch
/// of each was opened. One that was stopped and goes on before its leases are stale
/// keeps its shards, and counts for nothing.
fn takeovers(index: &Index<'_>, fault: &Fault, figures: &mut Figures) {
    let Some(owner) = fault.owner.as_deref() else { return };
    for (shard, epochs) in &index.epochs {
        let next = epochs.partition_point(|opened| opened.at_ms <= fault.from_ms);
        let owned = next.checked_sub(1).is_some_and(|last| epochs[last].owner == owner);
        if !owned {
            continue;
        }
        let promise = Promise::Takeover(fault.kind);
        let what = format!("shard {shard} of {owner}");
        let since = Since { promise, from_ms: fault.from_ms, fault: Some(fault), what };
        match epochs.get(next) {
            Some(opened) if fault.kind == FaultKind::Freeze && opened.at_ms > fault.to_ms => {}
            Some(opened) => since.done(opened.at_ms, index, figures),
            None if fault.kind == FaultKind::Freeze => {}
            None => figures.orphaned += u64::from(since.never(index, figures)),
        }
    }
}

type Work<'h> = (&'h str, &'h str, Option<u32>);

/// Effects by the piece of work that they belong to, in the order in which they began.
fn effects_by_work<'h>(index: &Index<'h>) -> HashMap<Work<'h>, Vec<&'h Effect>> {
    let mut by_work: HashMap<Work<'h>, Vec<&'h Effect>> = HashMap::new();
    for effect in index.runs.iter().flat_map(|run| &run.effects) {
        by_work.entry((&effect.tag, &effect.node, effect.item)).or_default().push(effect);
    }
    // What began once has nothing to be compared with.
    by_work.retain(|_, effects| effects.len() > 1);
    by_work
}

/// Effects that were open when the executor was struck, broke before it was mended, and
/// began again.
fn lost_steps(
    index: &Index<'_>,
    by_work: &HashMap<Work<'_>, Vec<&Effect>>,
    fault: &Fault,
    figures: &mut Figures,
) {
    for ((tag, node, _), effects) in by_work {
        for pair in effects.windows(2) {
            let [lost, again] = pair else { continue };
            let broke = lost.broke_ms.is_some_and(|broke| (fault.from_ms..=fault.to_ms).contains(&broke));
            if broke && lost.began_ms <= fault.from_ms && again.began_ms > fault.from_ms {
                let promise = Promise::BegunAgain(fault.kind);
                let what = format!("{node} of {tag}, lost with {},", fault.name);
                let since = Since { promise, from_ms: fault.from_ms, fault: Some(fault), what };
                since.done(again.began_ms, index, figures);
            }
        }
    }
}
