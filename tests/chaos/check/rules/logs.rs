//! logs-are-whole, orders-keep-to-epochs: the logs, and who acts on them.

use std::collections::BTreeMap;

use planfleet_core::id::ShardId;
use planfleet_proto::decode::Entry;

use crate::{
    check::{
        index::{Epoch, Index},
        verdict::Pass,
    },
    history::Logged,
};

/// How far a log's times may go back. The broker takes a message's time before its
/// position is settled, so that neighbours may be out of order by as long as that
/// takes; servers share one clock.
const SKEW_MS: u64 = 10;

/// Each log has every position from 1, one owner for each epoch, times that do not go
/// back, and nothing that cannot be read or belongs elsewhere.
///
/// An epoch may come after a newer one, from an owner that was stopped between taking
/// its lease and saying so, and twice, from one that had no answer. That nobody acts in
/// an epoch that was overtaken is for [`orders_keep_to_epochs`] to see.
pub(super) fn logs_are_whole(index: &Index<'_>, pass: &mut Pass) {
    for (shard, log) in &index.history.logs {
        let (mut seq, mut newest_ms, mut owners) = (0, 0, BTreeMap::new());
        for logged in log {
            let at_ms = logged.at_ms;
            let run = run_of(index, logged);
            pass.check(logged.seq == seq + 1, run, at_ms, || {
                format!("log {shard}: position {} follows on {seq}", logged.seq)
            });
            pass.check(at_ms + SKEW_MS >= newest_ms, run, at_ms, || {
                format!(
                    "log {shard}: position {} is {} ms older than one before",
                    logged.seq,
                    newest_ms - at_ms
                )
            });
            (seq, newest_ms) = (logged.seq, newest_ms.max(at_ms));
            match &logged.entry {
                Ok(Entry::Run(record)) => {
                    pass.check(record.run.shard() == *shard, run, at_ms, || {
                        format!("log {shard}: position {seq} is about run {}", record.run)
                    });
                }
                Ok(Entry::EpochOpened { epoch: opened, owner, .. }) => {
                    let first = *owners.entry(*opened).or_insert(owner);
                    pass.check(first == owner, None, at_ms, || {
                        format!("log {shard}: {owner} opens epoch {opened}, which was opened by {first}")
                    });
                }
                Err(error) => {
                    pass.check(false, None, at_ms, || format!("log {shard}: position {seq}: {error}"));
                }
            }
        }
    }
}

fn run_of(index: &Index<'_>, logged: &Logged) -> Option<usize> {
    match &logged.entry {
        Ok(Entry::Run(record)) => index.find(&record.run),
        _ => None,
    }
}

/// An order of an epoch was given by who had read that epoch's beginning, for a new
/// owner reads to the tail before it says a word, and by nobody who had read of the
/// next one. (When the message arrives says nothing: it may have lain in a buffer of
/// a process that was stopped.)
pub(super) fn orders_keep_to_epochs(index: &Index<'_>, pass: &mut Pass) {
    let epochs: BTreeMap<ShardId, &Vec<Epoch<'_>>> =
        index.epochs.iter().map(|(id, log)| (*id, log)).collect();
    for (at, run) in index.each() {
        let log = epochs.get(&run.id.shard()).map(|log| log.as_slice()).unwrap_or_default();
        for dispatch in &run.dispatches {
            let (Some(epoch), Some(folded_to)) = (dispatch.epoch, dispatch.log_seq) else { continue };
            let own = log.iter().position(|opened| opened.epoch == epoch);
            let next = own.and_then(|own| log.get(own + 1));
            let own = own.map(|own| log[own]);
            let after_own = own.is_some_and(|own| own.seq <= folded_to);
            let before_next = next.is_none_or(|next| folded_to < next.seq);
            pass.check(after_own && before_next, at, dispatch.at_ms, || {
                let (own, next) = (own.map(|own| own.seq), next.map(|next| next.seq));
                let what = &dispatch.work.what;
                format!(
                    "run {}: {what:?} was ordered in epoch {epoch} at {folded_to}; \
                     that epoch began at {own:?} and the next one at {next:?}",
                    run.id
                )
            });
        }
    }
}
