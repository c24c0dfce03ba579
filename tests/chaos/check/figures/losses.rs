//! What died with a process, and how soon others went on with it.

use std::collections::HashMap;

use super::Figures;
use crate::{
    check::index::Index,
    history::{Effect, Fault, FaultKind, Target},
};

/// How long a cluster may be without leaders after a server has come or gone: an election
/// begins after 4 to 9 s of silence.
const ELECTION_MS: u64 = 10_000;

/// Until when a takeover is to be done, whatever happens then.
const TAKEOVER_MS: u64 = 10_000;

/// Fills in how soon shards and steps were gone on with.
pub(super) fn measure(index: &Index<'_>, figures: &mut Figures) {
    let by_work = effects_by_work(index);
    for fault in &index.history.faults {
        if !matches!(fault.kind, FaultKind::Kill | FaultKind::Terminate | FaultKind::Freeze) {
            continue;
        }
        match fault.target {
            Target::Coordinator => takeovers(index, fault, figures),
            Target::Executor => lost_steps(&by_work, fault, figures),
            Target::Planner | Target::Broker | Target::Model => {}
        }
    }
}

/// The shards that a coordinator owned when it was struck, and when the next epoch
/// of each was opened. One that was stopped and goes on before its leases are stale
/// keeps its shards, and counts for nothing.
fn takeovers(index: &Index<'_>, fault: &Fault, figures: &mut Figures) {
    let Some(owner) = fault.owner.as_deref() else { return };
    for epochs in index.epochs.values() {
        let next = epochs.partition_point(|opened| opened.at_ms <= fault.from_ms);
        let owned = next.checked_sub(1).is_some_and(|last| epochs[last].owner == owner);
        if !owned {
            continue;
        }
        match epochs.get(next) {
            Some(opened) => {
                let keeps = fault.kind == FaultKind::Freeze && opened.at_ms > fault.to_ms;
                // What comes later is no excuse.
                let within = opened.at_ms.min(fault.from_ms + TAKEOVER_MS);
                let times = match broker_harmed(index, fault.from_ms, within) {
                    true => &mut figures.hampered,
                    false => figures.takeovers.entry(fault.kind).or_default(),
                };
                if !keeps {
                    times.add(opened.at_ms - fault.from_ms);
                }
            }
            None => figures.orphaned += u64::from(fault.kind != FaultKind::Freeze),
        }
    }
}

/// Whether the broker was harmed between two moments, or had just been: nobody takes
/// anything over before there is one, and a cluster has to elect first.
fn broker_harmed(index: &Index<'_>, from_ms: u64, to_ms: u64) -> bool {
    let of_broker = |fault: &&Fault| fault.target == Target::Broker;
    let near = |fault: &Fault| fault.from_ms <= to_ms && from_ms <= fault.to_ms + ELECTION_MS;
    index.history.faults.iter().filter(of_broker).any(near)
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

/// Effects that had begun when the executor was struck, were never answered, and
/// began again.
fn lost_steps(by_work: &HashMap<Work<'_>, Vec<&Effect>>, fault: &Fault, figures: &mut Figures) {
    for effects in by_work.values() {
        for pair in effects.windows(2) {
            let [lost, again] = pair else { continue };
            let struck = lost.began_ms <= fault.from_ms && again.began_ms > fault.from_ms;
            if struck && lost.ended_ms.is_none() {
                figures.begun_again.entry(fault.kind).or_default().add(again.began_ms - fault.from_ms);
            }
        }
    }
}
