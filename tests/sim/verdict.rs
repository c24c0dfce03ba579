//! What must hold when a world has ended: one document for each run, the one
//! that its log makes, and nothing left over.

use std::collections::BTreeMap;

use planfleet_bus::broker::LogEntry;
use planfleet_core::id::RunId;
use planfleet_proto::{decode, encode, subjects};

use super::{reference::Reference, world::World};

/// Checks what is left.
pub(crate) async fn judge(world: &World) {
    let told = world.all_told();
    let made = replayed(world).await;
    let kept = entries(world, subjects::DONE).await;
    // Nobody is told of a run's parts but by what the run has made of them.
    let parts = made.values().filter(|made| made.is_part).count();
    if kept.len() != made.len() || made.len() != told.len() + parts {
        let (made, kept) = (made.len(), kept.len());
        let counted = format!("{} runs, {parts} parts, {made} documents made, {kept} kept", told.len());
        world.witness.violation(counted);
    }
    for (run, made) in &made {
        world.witness.counter.count(if made.is_part { "runs that are steps" } else { "runs" });
        let subject = subjects::done("default", run);
        let document = kept.iter().find(|entry| entry.subject == subject);
        if document.is_none_or(|entry| entry.payload != made.document) {
            world.witness.violation(format!("the document of {run} is not the one that its log makes"));
        }
    }
    for (run, reported) in &told {
        if world.witness.bus().ended(run).await.ok().flatten().is_none_or(|ended| ended.document != *reported)
        {
            world.witness.violation(format!("the user of {run} was told otherwise than its document says"));
        }
    }
    for (stream, what) in [(subjects::STEPS, "work"), (subjects::DEAD_LETTERS, "dead letters")] {
        let left = world.broker_state(stream).await;
        if left > 0 {
            world.witness.violation(format!("{left} messages of {what} are left"));
        }
    }
}

/// A run's end, as its log makes it.
struct Made {
    document: Vec<u8>,
    /// It was a step of another run.
    is_part: bool,
}

/// The documents that the logs make when they are folded from scratch.
async fn replayed(world: &World) -> BTreeMap<RunId, Made> {
    let mut made = BTreeMap::new();
    for shard in 0..world.shards {
        let mut fold = Reference::default();
        for entry in entries(world, &subjects::log(shard)).await {
            let folded = fold.fold(entry.seq, decode::entry(&entry.payload, entry.at_ms));
            folded.violations.into_iter().for_each(|violation| world.witness.violation(violation));
        }
        let active = fold.active();
        if !active.is_empty() {
            world.witness.violation(format!("a replay leaves {active:?} active"));
        }
        made.extend(fold.documents.iter().map(|(run, document)| {
            let (is_part, document) = (document.parent.is_some(), encode::run_finished(document));
            (run.clone(), Made { document, is_part })
        }));
    }
    made
}

/// Everything that was ever in a stream.
async fn entries(world: &World, stream: &str) -> Vec<LogEntry> {
    match world.witness.all_entries(stream).await {
        Ok(entries) => entries,
        Err(error) => {
            world.witness.violation(format!("{stream} cannot be read: {error}"));
            Vec::new()
        }
    }
}
