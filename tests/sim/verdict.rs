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
    if kept.len() != told.len() || made.len() != told.len() {
        world.witness.violation(format!(
            "{} runs, {} documents made, {} kept",
            told.len(),
            made.len(),
            kept.len()
        ));
    }
    for (run, reported) in &told {
        world.witness.counter.count("runs");
        let subject = subjects::done("default", run);
        let document = kept.iter().find(|entry| entry.subject == subject);
        let same = document.is_some_and(|entry| made.get(run).is_some_and(|made| entry.payload == *made));
        if !same {
            world.witness.violation(format!("the document of {run} is not the one that its log makes"));
        }
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

/// The documents that the logs make when they are folded from scratch.
async fn replayed(world: &World) -> BTreeMap<RunId, Vec<u8>> {
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
        made.extend(fold.documents.iter().map(|(run, doc)| (run.clone(), encode::run_finished(doc))));
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
